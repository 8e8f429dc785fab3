#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: two gateways with caches over one brick: what one has acknowledged, the other shows at once
. "$(dirname "$0")/lib.sh"
need python3
start --layers '{ type = "performance/md-cache"; }, { type = "performance/nl-cache"; }'
second_gateway
python3 "$E2E/two_gateways.py" --a "$WG_NFS_PORT:$WG_MOUNT_PORT" --b "$nfs2:$mount2" --export "$WG_EXPORT"
# The caches did answer: this was no test of two gateways without any.
for sock in gateway gateway2; do
    hits=$("$WG_BIN" statedump --control "$T/a/run/$sock.sock" --json | grep -o '"hits":[^,}]*' | tr -dc '0-9\n' | paste -sd+ | (IFS=+ read -ra n; t=0; for x in "${n[@]}"; do t=$((t + x)); done; echo $t))
    echo "$sock: $hits answers from its caches"
    [ "$hits" -gt 0 ] || fail "the caches of $sock have answered nothing"
done
# The same through S3: an object written through one is what the other shows.
s3curl -X PUT "$WG_S3_ENDPOINT/both" >/dev/null
for i in 1 2 3 4 5; do
    for end in "$WG_S3_ENDPOINT" "http://127.0.0.1:$http2"; do
        printf '%*s' $((i * 10)) x >"$T/body"
        s3curl -T "$T/body" "$end/both/key" >/dev/null
        for ask in "$WG_S3_ENDPOINT" "http://127.0.0.1:$http2"; do
            length=$(s3curl -I "$ask/both/key" | tr -d '\r' | sed -n 's/^[Cc]ontent-[Ll]ength: //p')
            [ "$length" = $((i * 10)) ] || fail "$ask shows $length bytes, not $((i * 10))"
        done
    done
done
