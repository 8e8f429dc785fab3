#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: a Linux kernel mounts the export and does what programs do
. "$(dirname "$0")/lib.sh"
need_client
start
client -- bash "$E2E/in-client-basic"
