/* SPDX-License-Identifier: Apache-2.0 */
/* Directories to disk, and the room that must be left on it. */
#include "posix.h"

#include <sys/statvfs.h>
#include <unistd.h>

#define ROOM_FRESH_NS 500000000u
#define ROOM_AMPLE (256u << 20) /* below this every request asks the kernel */

int wg_px_dir_begin(struct posix *px, struct px_inode *dir, struct px_alone *a, struct wg_wcc *wcc)
{
    struct statx st;
    int err;

    wg_px_alone_begin(dir, a);
    err = wg_px_stat_inode(px, dir, &st);
    if (err) {
        (void)wg_px_alone_end(dir, a);
        return err;
    }
    wg_px_wcc_pre(&st, wcc);
    wg_px_index_before(px, dir->gfid, &st);
    return 0;
}

void wg_px_dir_end(struct posix *px, struct px_inode *dir, const struct px_alone *a,
                   struct wg_wcc *wcc)
{
    struct statx st;
    bool known = wg_px_stat(dir->fd, &st) == 0;

    if (!wg_px_alone_end(dir, a))
        wcc->pre_valid = false;
    if (known)
        wg_px_iatt(&st, dir->gfid, &wcc->post);
    wg_px_index_after(px, dir->gfid, known ? &st : NULL);
}

int wg_px_sync_dir(struct posix *px, int dirfd)
{
    struct px_loan loan;
    int fd, err = wg_px_as_brick(px);

    if (err)
        return err;
    fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 && errno == EACCES && wg_px_lend(px, dirfd, &loan)) {
        fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        wg_px_lend_end(px, &loan);
    }
    if (fd < 0)
        return errno;
    err = wg_px_sync_fd(px, fd, false);
    close(fd);
    return err;
}

static uint64_t room_now(struct posix *px)
{
    struct statvfs fs;
    uint64_t avail;

    if (fstatvfs(px->root_fd, &fs) != 0)
        return 0;
    avail = (uint64_t)fs.f_bavail * fs.f_frsize;
    return avail > px->reserve ? avail - px->reserve : 0;
}

int wg_px_room(struct posix *px, uint64_t bytes)
{
    uint64_t now, left;

    if (px->readonly)
        return EROFS;
    if (px->reserve == 0)
        return 0;
    now = wg_now_coarse_ns();
    left = atomic_load(&px->room_bytes);
    if (left > ROOM_AMPLE && left - ROOM_AMPLE > bytes &&
        now - atomic_load(&px->room_at_ns) < ROOM_FRESH_NS) {
        atomic_fetch_sub(&px->room_bytes, bytes);
        return 0;
    }
    left = room_now(px);
    if (left <= bytes && wg_px_retain_drop_all(px))
        left = room_now(px);
    atomic_store(&px->room_bytes, left);
    atomic_store(&px->room_at_ns, now);
    return left > bytes ? 0 : ENOSPC;
}
