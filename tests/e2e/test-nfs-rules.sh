#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: root squash, all squash, read-only, reserved ports, networks and flavors, as an export's rule says
. "$(dirname "$0")/lib.sh"
need_root
start
python3 - "$T/a/conf/gateway.conf" <<'P'
import re, sys
conf = open(sys.argv[1]).read()
rules = '''exports = (
    { path = "/vol"; volume = "vol"; squash = "none"; privileged-port = false; },
    { path = "/root-squash"; volume = "vol"; privileged-port = false; },
    { path = "/all-squash"; volume = "vol"; squash = "all"; anon-uid = 1234; anon-gid = 2345; allow-none = true; privileged-port = false; },
    { path = "/read-only"; volume = "vol"; squash = "none"; read-only = true; privileged-port = false; },
    { path = "/reserved"; volume = "vol"; squash = "none"; },
    { path = "/elsewhere"; volume = "vol"; clients = [ "10.99.0.0/16", "fd00::/8" ]; privileged-port = false; }
);
'''
open(sys.argv[1], 'w').write(re.sub(r'exports = \(.*?\);\n', lambda m: rules, conf, flags=re.S))
P
kill -HUP "$(gateway_pid)"
wait_for 10 grep -q reloaded "$T/a/log/gateway.log"
python3 "$E2E/nfs_rules.py" "$WG_NFS_PORT" "$WG_MOUNT_PORT"
