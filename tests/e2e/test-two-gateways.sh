#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: two gateways with caches over one brick: what one has acknowledged, the other shows at once
. "$(dirname "$0")/lib.sh"
need python3
start --layers '{ type = "performance/md-cache"; }, { type = "performance/nl-cache"; }'
# A second gateway, a machine of its own but for the certificate; with the handles' key, so that handles are alike.
nfs2=$(free_port) mount2=$(free_port) http2=$(free_port) https2=$(free_port)
mkdir "$T/state2"
cp -p "$T"/a/gateway/{handle.key,users.db,users.db.key} "$T/state2/"
sed -e "s|/run/gateway.sock|/run/gateway2.sock|; s|/log/gateway.log|/log/gateway2.log|; s|state = .*|state = \"$T/state2\";|" \
    -e "s| port = $WG_NFS_PORT;| port = $nfs2;|; s|mount-port = .*|mount-port = $mount2;|" \
    -e "s| port = ${WG_S3_ENDPOINT##*:};| port = $http2;|; s|tls-port = .*|tls-port = $https2;|" \
    "$T/a/conf/gateway.conf" >"$T/a/conf/gateway2.conf"
"$WG_BIN" gateway --config "$T/a/conf/gateway2.conf" >"$T/gateway2.out" 2>&1 &
second=$!
on_exit "kill $second 2>/dev/null; wait $second || true"
wait_for 30 "$WG_BIN" status --control "$T/a/run/gateway2.sock" --timeout 1
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
