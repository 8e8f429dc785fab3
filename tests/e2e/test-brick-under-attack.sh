#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: strangers, garbage, half frames and giant lengths at a brick's listener: refused, and the brick serves on
. "$(dirname "$0")/lib.sh"
need openssl python3
export ASAN_OPTIONS=$ASAN_OPTIONS:quarantine_size_mb=1     # which else looks like memory that is kept
start
s=$T/strangers
mkdir "$s"
"$WG_BIN" certs ca --dir "$s/ca" >/dev/null
"$WG_BIN" certs node gateway --dir "$s/ca" >/dev/null          # the right name, of another CA
mv "$s/ca/gateway.pem" "$s/other-ca.pem"; mv "$s/ca/gateway.key" "$s/other-ca.key"
"$WG_BIN" certs node stranger --dir "$T/a/certs" >/dev/null    # the right CA, another name
mv "$T/a/certs/stranger.pem" "$s/not-allowed.pem"; mv "$T/a/certs/stranger.key" "$s/not-allowed.key"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 9 -subj /CN=gateway -addext subjectAltName=DNS:gateway \
    -keyout "$s/self-signed.key" -out "$s/self-signed.pem" 2>/dev/null
sign() {                                     # name, common name, names, from, until: by the right CA
    mkdir -p "$s/work" && : >"$s/work/index"
    printf '[ca]\ndefault_ca=c\n[c]\nnew_certs_dir=%s\ndatabase=%s\nrand_serial=yes\ndefault_md=sha256\npolicy=p\nx509_extensions=x\n[p]\ncommonName=supplied\n[x]\nsubjectAltName=%s\n' \
        "$s/work" "$s/work/index" "$3" >"$s/work/conf"
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$2" -keyout "$s/$1.key" -out "$s/work/csr" 2>/dev/null
    openssl ca -batch -notext -config "$s/work/conf" -cert "$T/a/certs/ca.pem" -keyfile "$T/a/certs/ca.key" -in "$s/work/csr" \
        -startdate "$4" -enddate "$5" -out "$s/$1.pem" 2>"$s/work/log" || { cat "$s/work/log"; return 1; }
}
sign expired gateway DNS:gateway 20200101000000Z 20210101000000Z
sign not-yet gateway DNS:gateway 20900101000000Z 20910101000000Z
sign tricky-name gateway DNS:gateway.example.com,DNS:xgateway 20200101000000Z 20900101000000Z # its names win over the common name
echo before >"$T/f"
s3curl -X PUT "$WG_S3_ENDPOINT/bucket"
s3curl -T "$T/f" "$WG_S3_ENDPOINT/bucket/before"
python3 "$E2E/brick_abuse.py" "${WG_BRICK_PORTS%% *}" "$(brick_pid)" "$T/a/certs" "$s"
s3curl -T "$T/f" "$WG_S3_ENDPOINT/bucket/after"
[ "$(nfs-cat "$(nfs_url bucket/before)")" = before ]
[ "$(nfs-cat "$(nfs_url bucket/after)")" = before ]
echo "$(wc -l <"$T/a/log/brick1.log") lines in the brick's log"
