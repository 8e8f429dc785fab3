#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: clients of a control socket that say nothing, too much or read nothing delay nobody, and end
. "$(dirname "$0")/lib.sh"
start
python3 "$E2E/control_abuse.py" "$WG_CONTROL" "$(gateway_pid)"
python3 "$E2E/control_abuse.py" "$WG_BRICK_CONTROLS" "$(brick_pid)"
"$WG_BIN" status --control "$WG_CONTROL"
