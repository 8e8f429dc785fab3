#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: S3 copies of a large object on one brick, and from brick to brick, bring no object bytes through the gateway
. "$(dirname "$0")/lib.sh"
. "$E2E/two-bricks.sh"
two_bricks
SIZE=${SIZE:-200000003}                      # 1 GiB in the measurement of docs/performance.md
SIZE=$SIZE python3 - "$T/f" <<'P'
import os, random, sys
left, r = int(os.environ["SIZE"]), random.Random(1)
with open(sys.argv[1], "wb") as f:
    while left: left -= f.write(r.randbytes(min(left, 1 << 20)))
P
s3curl -T "$T/f" "$S3/bk1/f"

wire() { dump_of gateway | number lanes rx_bytes; dump_of gateway | number lanes tx_bytes; }
total() { wire | paste -sd+ | bc; }
before=$(total)
[ "$before" -gt "$SIZE" ] || fail "the counters of lanes do not count: $before"

say "on one brick"
copy bk1/f bk1/same
cmp "$T/f" "$BRICKS/one/bk1/same"
say "to the other brick"
start_ns=$(date +%s%N)
copy bk1/f bk2/far >"$T/answer"
say "took $((($(date +%s%N) - start_ns) / 1000000)) ms"
grep -q '<ETag>' "$T/answer"
cmp "$T/f" "$BRICKS/two/bk2/far"
say "back, as parts"
id=$(s3curl -X POST "$S3/bk1/parts?uploads" | sed -n 's/.*<UploadId>\(.*\)<\/UploadId>.*/\1/p')
half=100000000
for i in 1 2; do
    range="bytes=$(((i - 1) * half))-$((i == 1 ? half - 1 : SIZE - 1))"
    etag=$(s3curl -X PUT -H "x-amz-copy-source: /bk2/far" -H "x-amz-copy-source-range: $range" \
        "$S3/bk1/parts?partNumber=$i&uploadId=$id" | sed -n 's/.*<ETag>&quot;\(.*\)&quot;<.*/\1/p;s/.*<ETag>"\(.*\)"<.*/\1/p')
    echo "<Part><PartNumber>$i</PartNumber><ETag>\"$etag\"</ETag></Part>"
done >"$T/parts"
s3curl -X POST -H "x-amz-content-sha256: UNSIGNED-PAYLOAD" -d "<CompleteMultipartUpload>$(cat "$T/parts")</CompleteMultipartUpload>" "$S3/bk1/parts?uploadId=$id" | grep -q ETag
cmp "$T/f" "$BRICKS/one/bk1/parts"

moved=$(($(total) - before))
say "through the gateway's lanes: $moved bytes for four copies of $SIZE"
[ "$moved" -lt 4000000 ] || fail "the gateway moved $moved bytes"
dump_of gateway >"$T/dump"
[ "$(number s3 bytes-copied-through-gateway <"$T/dump")" = 0 ]
[ "$(number s3 bytes-copied-between-bricks <"$T/dump")" = $((2 * SIZE)) ]
[ "$(dump_of two | number features/pull bytes)" = "$SIZE" ]
[ "$(dump_of one | number features/pull bytes)" = "$SIZE" ]

say "what the copies look like"
md5=$(md5sum <"$T/f" | cut -d' ' -f1)
s3curl -I "$S3/bk2/far" | grep -qi "^etag: \"$md5\""
s3curl "$S3/" | grep -o '<Name>[^<]*</Name>' | tr -d '\n' | grep -q '<Name>bk1</Name><Name>bk2</Name>'
s3curl -X PUT "$S3/bk2"                                 # names are the server's, not a volume's
[ ! -e "$BRICKS/one/bk2" ]
s3curl -X PUT -H "x-amz-content-sha256: UNSIGNED-PAYLOAD" -d '<CreateBucketConfiguration><LocationConstraint>vone</LocationConstraint></CreateBucketConfiguration>' \
    "$S3/bk2" >"$T/again" 2>/dev/null && fail "a bucket of that name is in two volumes"
grep -q BucketAlreadyOwnedByYou "$T/again"
s3curl -X DELETE "$S3/bk2/far" && s3curl -X DELETE "$S3/bk2" && [ ! -e "$BRICKS/two/bk2" ]
wait_for 20 sh -c "[ \"\$('$WG_TEST_BIN' statedump --control '$T/w/one.sock' | grep -c 'puller=two')\" = 0 ]"
