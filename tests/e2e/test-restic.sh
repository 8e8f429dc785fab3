#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: restic backs up, checks, restores and prunes
. "$(dirname "$0")/lib.sh"
need restic
start
export RESTIC_REPOSITORY="s3:$WG_S3_ENDPOINT/restic/repo" RESTIC_PASSWORD=x XDG_CACHE_HOME=$T/cache
mkdir "$T/src" && for i in $(seq 30); do random_file "$T/src/$i" $((i * 20000)); done
restic init
restic backup "$T/src"
random_file "$T/src/1" 50000
restic backup "$T/src"
restic check --read-data
restic restore latest --target "$T/restored"
diff -r "$T/src" "$T/restored$T/src"
restic forget --keep-last 1 --prune
restic check
