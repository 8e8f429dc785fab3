#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: git init, commit, gc and fsck work on the mount, for root and for an unprivileged user
. "$(dirname "$0")/lib.sh"
need_client
need git
start
cat >"$T/job" <<'J'
set -euo pipefail
cd "$1"
export HOME=/tmp GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
git init -q repo
cd repo
for i in 1 2 3; do
    mkdir d$i
    for j in 1 2 3 4 5 6 7 8; do echo "$i $j $RANDOM" >d$i/f$j; done
    git add -A
    git commit -qm "c$i"
done
git gc -q
git fsck --full --strict
[ "$(git log --oneline | wc -l)" = 3 ]
git clone -q . ../clone
git -C ../clone fsck
J
client -- bash -c 'mkdir $NFS_MNT/root $NFS_MNT/user && chown 1234:1234 $NFS_MNT/user && bash $T/job $NFS_MNT/root &&
    setpriv --reuid 1234 --regid 1234 --clear-groups bash $T/job $NFS_MNT/user'
