#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: whenever the machine stops, an acknowledged PUT is whole and no other is half visible
. "$(dirname "$0")/lib.sh"
need strace python3
start
strace -f -ttt -T -y -s 0 -o "$T/strace" -p "$(brick_pid)" -e trace=openat,openat2,open_by_handle_at,close,fsync,fdatasync,syncfs,write,pwrite64,pwritev,pwritev2,ftruncate,fallocate,copy_file_range,setxattr,fsetxattr,chmod,fchmod,chown,fchown,mkdirat,mknodat,symlinkat,linkat,renameat,renameat2,unlinkat 2>"$T/strace.err" &
tracer=$!
on_exit "kill $tracer 2>/dev/null"
wait_for 10 grep -q attached "$T/strace.err" || skip "strace can't attach here: $(tail -1 "$T/strace.err")"
s3curl -X PUT "$WG_S3_ENDPOINT/bucket"
random_file "$T/small" 3000
random_file "$T/big" 3000000
# Puts KEY FILE, and notes when it was sent and when the answer was there.
put() {
    local began
    began=$(date +%s.%6N)
    s3curl -o /dev/null -T "$T/$2" "$WG_S3_ENDPOINT/bucket/$1" &&
        echo "$began $(date +%s.%6N) bucket/$1" >>"$T/acks.$3"
}
worker() {                                   # directories are shared between workers, keys are not
    for i in 1 2 3 4 5; do
        put "d$i/e/f/small-$1" small "$1"
        put "d$i/big-$1" big "$1"
        put "d$i/e/f/small-$1" small "$1"
        put "top-$1" small "$1"
    done
}
pids=()
for w in 1 2 3 4; do worker $w & pids+=($!); done
wait "${pids[@]}"
sleep 0.5
kill $tracer
wait $tracer || true
cat "$T"/acks.* >"$T/acks"
python3 "$E2E/replay_log.py" "$T/strace" "$T/acks" "$WG_BRICK_DIRS"
