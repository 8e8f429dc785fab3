/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Data fds. Each is opened as the caller through /proc/self/fd, so that the kernel decides, and
 * kept in its inode for the same caller and mode. NFS has no open: what an open file allows its
 * owner on a local disk is added here, after EACCES only.
 */
#include "posix.h"

#include <sys/syscall.h>
#include <unistd.h>

bool wg_px_lend(struct posix *px, int fd, struct px_loan *loan)
{
    char path[PX_FD_PATH];
    struct statx st;
    int saved = errno;

    if (px->handles || wg_px_stat(fd, &st) != 0 || st.stx_uid != geteuid() ||
        (!S_ISREG(st.stx_mode) && !S_ISDIR(st.stx_mode)))
        return errno = saved, false;
    pthread_mutex_lock(&px->lend_lock);
    /* Read again: the last borrower may just have given it back. */
    loan->fd = fd;
    if (wg_px_stat(fd, &st) != 0 ||
        chmod(wg_px_fd_path(path, fd), (st.stx_mode & 07777) | S_IRUSR | S_IWUSR) != 0) {
        pthread_mutex_unlock(&px->lend_lock);
        return errno = saved, false;
    }
    loan->mode = st.stx_mode & 07777;
    return true;
}

void wg_px_lend_end(struct posix *px, const struct px_loan *loan)
{
    char path[PX_FD_PATH];
    int saved = errno;

    (void)chmod(wg_px_fd_path(path, loan->fd), loan->mode);
    pthread_mutex_unlock(&px->lend_lock);
    errno = saved;
}

/* After EACCES: do NFS's rules allow it? The thread is the caller. */
static bool nfs_allows(struct posix *px, const struct wg_cred *cred, const char *path,
                       const struct statx *st, int access)
{
    if (!px->switches || cred->uid == st->stx_uid)
        return true;
    return access == O_RDONLY && syscall(SYS_faccessat2, AT_FDCWD, path, X_OK, AT_EACCESS) == 0;
}

/* An fd, or -1 and errno. */
static int open_as(struct posix *px, const struct wg_cred *cred, struct px_inode *ino, int access,
                   const struct statx *st)
{
    const int flags = access | O_CLOEXEC | O_NOCTTY;
    char path[PX_FD_PATH];
    struct px_loan loan;
    int fd, err = wg_px_as(px, cred);

    if (err)
        return errno = err, -1;
    fd = open(wg_px_fd_path(path, ino->fd), flags);
    if (fd >= 0 || errno != EACCES)
        return fd;
    if (!nfs_allows(px, cred, path, st, access))
        return errno = EACCES, -1;
    err = wg_px_as_brick(px);
    if (err)
        return errno = err, -1;
    fd = open(path, flags);
    if (fd < 0 && errno == EACCES && wg_px_lend(px, ino->fd, &loan)) {
        fd = open(path, flags);
        wg_px_lend_end(px, &loan);
    }
    return fd;
}

static bool serves(const struct px_slot *s, uint32_t who, int access)
{
    return s->fd >= 0 && !s->stale && s->who == who && (s->access == access || s->access == O_RDWR);
}

static bool open_cached(struct px_inode *ino, uint32_t who, int access, struct px_open *ret)
{
    struct px_slot *s = NULL;

    pthread_mutex_lock(&ino->mutex);
    for (unsigned i = 0; i < PX_SLOTS && !s; i++)
        if (serves(&ino->slot[i], who, access))
            s = &ino->slot[i];
    if (s) {
        s->users++;
        s->used = ++ino->opens;
        *ret = (struct px_open){ s->fd, s };
    }
    pthread_mutex_unlock(&ino->mutex);
    return s != NULL;
}

/* Under ino->mutex; s has no users. */
static void slot_close(struct posix *px, struct px_inode *ino, struct px_slot *s)
{
    close(s->fd);
    s->fd = -1;
    s->stale = false;
    atomic_fetch_sub(&px->slots_open, 1);
    if (s->unstable) {
        s->unstable = false;
        atomic_fetch_sub(&ino->unstable, 1);
        atomic_fetch_sub(&px->unstable_fds, 1);
    }
}

/* A free slot, or the one longest unused; NULL when all are busy. Under ino->mutex. */
static struct px_slot *slot_take(struct posix *px, struct px_inode *ino)
{
    struct px_slot *best = NULL;

    for (unsigned i = 0; i < PX_SLOTS; i++) {
        struct px_slot *s = &ino->slot[i];

        if (s->fd < 0)
            return s;
        if (s->users == 0 && !s->unstable && (!best || s->used < best->used))
            best = s;
    }
    if (best)
        slot_close(px, ino, best);
    return best;
}

/* Puts fd into a slot with one user; NULL when there is none for it. */
static struct px_slot *slot_put(struct posix *px, struct px_inode *ino, uint32_t who, int access,
                                int fd, const struct statx *st)
{
    struct px_slot *s;

    if (who == 0)
        return NULL;
    pthread_mutex_lock(&ino->mutex);
    s = slot_take(px, ino);
    if (s) {
        *s = (struct px_slot){
            .fd = fd,
            .users = 1,
            .who = who,
            .access = (uint8_t)access,
            .mode = st->stx_mode,
            .uid = st->stx_uid,
            .gid = st->stx_gid,
            .used = ++ino->opens,
        };
        atomic_fetch_add(&px->slots_open, 1);
    }
    pthread_mutex_unlock(&ino->mutex);
    return s;
}

int wg_px_open(struct posix *px, const struct wg_cred *cred, struct px_inode *ino, int access,
               struct px_open *ret)
{
    uint32_t who = px->switches ? wg_px_who(cred) : 1;
    struct statx st;
    int fd, err;

    if (ino->type != WG_REG)
        return ino->type == WG_DIR ? EISDIR : EINVAL;
    if (who != 0 && open_cached(ino, who, access, ret))
        return 0;
    if (atomic_load(&px->slots_open) > px->slots_max)
        wg_px_table_relieve(px);
    err = wg_px_stat(ino->fd, &st);
    if (err)
        return err;
    fd = open_as(px, cred, ino, access, &st);
    if (fd < 0)
        return errno;
    *ret = (struct px_open){ fd, slot_put(px, ino, who, access, fd, &st) };
    return 0;
}

void wg_px_close(struct posix *px, struct px_inode *ino, struct px_open *o)
{
    if (!o->slot) {
        close(o->fd);
        return;
    }
    pthread_mutex_lock(&ino->mutex);
    if (--o->slot->users == 0 && o->slot->stale && !o->slot->unstable)
        slot_close(px, ino, o->slot);
    pthread_mutex_unlock(&ino->mutex);
}

bool wg_px_open_fresh(struct px_inode *ino, struct px_open *o, const struct statx *st)
{
    struct px_slot *s = o->slot;

    if (!s || (s->mode == st->stx_mode && s->uid == st->stx_uid && s->gid == st->stx_gid))
        return true;
    pthread_mutex_lock(&ino->mutex);
    s->stale = true;
    pthread_mutex_unlock(&ino->mutex);
    return false;
}

void wg_px_close_all(struct posix *px, struct px_inode *ino)
{
    unsigned left = 0;

    pthread_mutex_lock(&ino->mutex);
    for (unsigned i = 0; i < PX_SLOTS; i++) {
        struct px_slot *s = &ino->slot[i];

        if (s->fd < 0)
            continue;
        if (s->users == 0 && !s->unstable) {
            slot_close(px, ino, s);
            continue;
        }
        s->stale = true;
        left++;
    }
    if (left == 0)
        ino->opens = 0;
    pthread_mutex_unlock(&ino->mutex);
}

void wg_px_keep_open(struct posix *px, const struct wg_cred *cred, struct px_inode *ino, int access,
                     int fd)
{
    struct px_open o = { .fd = fd };
    struct statx st;

    if (atomic_load(&px->slots_open) > px->slots_max)
        wg_px_table_relieve(px);
    if (wg_px_stat(fd, &st) == 0)
        o.slot = slot_put(px, ino, px->switches ? wg_px_who(cred) : 1, access, fd, &st);
    wg_px_close(px, ino, &o);
}

/* ---- what is unsynced -------------------------------------------------------------------- */

void wg_px_unstable(struct posix *px, struct px_inode *ino, struct px_open *o)
{
    if (!o->slot)
        return;
    pthread_mutex_lock(&ino->mutex);
    if (!o->slot->unstable) {
        o->slot->unstable = true;
        atomic_fetch_add(&ino->unstable, 1);
        atomic_fetch_add(&px->unstable_fds, 1);
    }
    pthread_mutex_unlock(&ino->mutex);
}

/*
 * A failed writeback is told once to each fd that was open then. Nobody may take the data of
 * any client for safe after that: the verifier changes, whoever learns of it.
 */
int wg_px_sync_fd(struct posix *px, int fd, bool datasync)
{
    int err = (datasync ? fdatasync(fd) : fsync(fd)) == 0 ? 0 : errno;

    if (err) {
        atomic_fetch_add(&px->verf, 0x9e3779b97f4a7c15u);
        atomic_fetch_add(&px->sync_failed, 1);
    }
    return err;
}

/* Syncs one slot that has unsynced writes; 0 when it has none. */
static int slot_sync(struct posix *px, struct px_inode *ino, struct px_slot *s, bool datasync)
{
    int err;

    pthread_mutex_lock(&ino->mutex);
    if (s->fd < 0 || !s->unstable) {
        pthread_mutex_unlock(&ino->mutex);
        return 0;
    }
    s->users++;
    /* A write that comes while we sync marks it again. */
    s->unstable = false;
    atomic_fetch_sub(&ino->unstable, 1);
    atomic_fetch_sub(&px->unstable_fds, 1);
    pthread_mutex_unlock(&ino->mutex);

    err = wg_px_sync_fd(px, s->fd, datasync);

    pthread_mutex_lock(&ino->mutex);
    if (--s->users == 0 && s->stale && !s->unstable)
        slot_close(px, ino, s);
    pthread_mutex_unlock(&ino->mutex);
    return err;
}

/* Nothing of ours is unsynced; still what others wrote must be on disk at the answer. */
static int sync_reopened(struct posix *px, struct px_inode *ino, bool datasync)
{
    char path[PX_FD_PATH];
    struct px_loan loan;
    int fd, err = wg_px_as_brick(px);

    if (err)
        return err;
    wg_px_fd_path(path, ino->fd);
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0 && errno == EACCES && wg_px_lend(px, ino->fd, &loan)) {
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        wg_px_lend_end(px, &loan);
    }
    if (fd < 0)
        return errno;
    err = wg_px_sync_fd(px, fd, datasync);
    close(fd);
    return err;
}

int wg_px_sync_inode(struct posix *px, struct px_inode *ino, bool datasync)
{
    bool any = atomic_load(&ino->unstable) > 0;
    int err = 0;

    for (unsigned i = 0; i < PX_SLOTS; i++) {
        int e = slot_sync(px, ino, &ino->slot[i], datasync);

        err = err ? err : e;
    }
    return any ? err : sync_reopened(px, ino, datasync);
}
