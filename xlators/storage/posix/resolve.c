/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From refs and names to inodes. Nothing here follows a symlink, and nothing but O_PATH is opened,
 * so that a FIFO, a device or somebody's automount can't be touched by finding it.
 */
#include "posix.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#define WG_LOG_PART "posix"
#include "log.h"

#define STAT_MASK (STATX_BASIC_STATS | STATX_BTIME)
#define FIND_DEPTH (1u << 16) /* parents opened one through the other when there are no handles */
#define FIND_ROUNDS 3         /* through all names of a gfid, before it is taken for gone */

int wg_px_stat(int fd, struct statx *ret)
{
    return statx(fd, "", AT_EMPTY_PATH | AT_NO_AUTOMOUNT, STAT_MASK, ret) == 0 ? 0 : errno;
}

int wg_px_stat_at(int dirfd, const char *name, struct statx *ret)
{
    int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT;

    return statx(dirfd, name, flags, STAT_MASK, ret) == 0 ? 0 : errno;
}

int wg_px_stat_inode(struct posix *px, struct px_inode *ino, struct statx *ret)
{
    int err = wg_px_stat(ino->fd, ret);

    if (err)
        return err;
    if (ret->stx_nlink > 0 || atomic_load(&ino->pinned))
        return 0;
    wg_px_forget(px, ino);
    return ESTALE;
}

uint8_t wg_px_type(uint16_t mode)
{
    static const uint8_t types[16] = {
        [S_IFREG >> 12] = WG_REG, [S_IFDIR >> 12] = WG_DIR,   [S_IFBLK >> 12] = WG_BLK,
        [S_IFCHR >> 12] = WG_CHR, [S_IFLNK >> 12] = WG_LNK,   [S_IFSOCK >> 12] = WG_SOCK,
        [S_IFIFO >> 12] = WG_FIFO,
    };

    return types[mode >> 12];
}

static struct wg_time time_of(struct statx_timestamp t)
{
    return (struct wg_time){ t.tv_sec, t.tv_nsec };
}

void wg_px_iatt(const struct statx *st, wg_gfid gfid, struct wg_iatt *ret)
{
    *ret = (struct wg_iatt){
        .valid = true,
        .type = wg_px_type(st->stx_mode),
        .gfid = gfid,
        .mode = st->stx_mode & 07777,
        .nlink = st->stx_nlink,
        .uid = st->stx_uid,
        .gid = st->stx_gid,
        .rdev_major = st->stx_rdev_major,
        .rdev_minor = st->stx_rdev_minor,
        .size = st->stx_size,
        .used = st->stx_blocks * 512,
        .atime = time_of(st->stx_atime),
        .mtime = time_of(st->stx_mtime),
        .ctime = time_of(st->stx_ctime),
    };
}

void wg_px_wcc_pre(const struct statx *st, struct wg_wcc *ret)
{
    ret->pre_valid = true;
    ret->pre_size = st->stx_size;
    ret->pre_mtime = time_of(st->stx_mtime);
    ret->pre_ctime = time_of(st->stx_ctime);
}

void wg_px_attr(struct px_inode *ino, struct wg_iatt *ret)
{
    struct statx st;

    if (wg_px_stat(ino->fd, &st) == 0)
        wg_px_iatt(&st, ino->gfid, ret);
    else
        ret->valid = false;
}

void wg_px_wcc_end(struct px_inode *ino, const struct px_alone *a, struct wg_wcc *wcc)
{
    wg_px_attr(ino, &wcc->post);
    if (!wg_px_alone_end(ino, a))
        wcc->pre_valid = false;
}

void wg_px_ref(const struct px_inode *ino, struct wg_ref *ret)
{
    *ret = (struct wg_ref){ .gfid = ino->gfid, .hint_len = ino->hint_len };
    memcpy(ret->hint, ino->hint, sizeof ret->hint);
}

/* ---- handles ------------------------------------------------------------------------------ */

struct handle {
    struct file_handle h;
    unsigned char bytes[WG_HINT_MAX - 1];
};

uint8_t wg_px_hint_at(struct posix *px, int dirfd, const char *name, uint8_t hint[WG_HINT_MAX])
{
    struct handle h = { .h.handle_bytes = sizeof h.bytes };
    int mount, flags = *name ? 0 : AT_EMPTY_PATH;

    memset(hint, 0, WG_HINT_MAX);
    if (!px->handles || name_to_handle_at(dirfd, name, &h.h, &mount, flags) != 0)
        return 0;
    if (h.h.handle_type < 0 || h.h.handle_type > 255)
        return 0;
    hint[0] = (uint8_t)h.h.handle_type;
    memcpy(hint + 1, h.h.f_handle, h.h.handle_bytes);
    return (uint8_t)(1 + h.h.handle_bytes);
}

uint8_t wg_px_hint(struct posix *px, int fd, uint8_t hint[WG_HINT_MAX])
{
    return wg_px_hint_at(px, fd, "", hint);
}

/*
 * The thread is the brick. An O_PATH fd, or -1. While the inode number is being given to a new inode,
 * ext4 answers ENOMEM (its iget_locked finds one that is I_CREATING); a moment later it is ESTALE.
 */
static int open_handle(struct posix *px, const uint8_t *hint, uint8_t len)
{
    struct handle h;
    int fd;

    if (!px->handles || len < 2 || len > WG_HINT_MAX)
        return errno = ESTALE, -1;
    h.h.handle_type = hint[0];
    h.h.handle_bytes = len - 1u;
    memcpy(h.h.f_handle, hint + 1, len - 1u);
    for (int tries = 0; tries < 20; tries++) {
        fd = open_by_handle_at(px->root_fd, &h.h, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        if (fd >= 0 || errno != ENOMEM)
            break;
        usleep(100);
    }
    return fd;
}

static int open_at(int dirfd, const char *name)
{
    return openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
}

/* ---- records of inodes just met ------------------------------------------------------------ */

static bool here(const struct posix *px, const struct statx *st)
{
    return st->stx_dev_major == px->dev_major && st->stx_dev_minor == px->dev_minor;
}

static bool derives(const struct posix *px, const struct statx *st)
{
    return !px->handles && !S_ISREG(st->stx_mode) && !S_ISDIR(st->stx_mode);
}

static int record_of(struct posix *px, int fd, const struct statx *st, struct px_rec *ret)
{
    if (!derives(px, st))
        return wg_px_rec_get(px, fd, ret);
    *ret = (struct px_rec){ .gfid = wg_px_rec_derive(px, st) };
    return 0;
}

/* Is rec's gfid known as another inode, which still exists? Then fd is a copy of it, xattrs and all. */
static bool is_copy(struct posix *px, const struct px_rec *rec, const struct statx *st)
{
    struct px_inode *other = wg_px_peek(px, rec->gfid);
    struct statx ost;
    bool copy;

    if (!other)
        return false;
    copy = other->ino != st->stx_ino && wg_px_stat(other->fd, &ost) == 0 && ost.stx_nlink > 0;
    if (other->ino != st->stx_ino && !copy)
        wg_px_forget(px, other);
    wg_px_release(px, other);
    return copy;
}

/*
 * A record for an inode that appeared behind our back; or that a dying brick had just made: then
 * its gfid stands in the index (R5).
 */
static int give_record(struct posix *px, const struct px_inode *dir, const char *name, int fd,
                       const struct statx *st, bool replace, struct px_rec *ret)
{
    uint8_t type = wg_px_type(st->stx_mode);
    int err;

    /* The parent of a directory that somebody moved out of the brick is none of ours. */
    if (!strcmp(name, ".."))
        return ESTALE;
    if (px->readonly)
        return EROFS;
    *ret = (struct px_rec){ .generation = 1 };
    if (S_ISDIR(st->stx_mode))
        ret->flags = wg_px_keydir_flags(dir, name) | PX_REC_UNSYNCED;
    if (replace || wg_px_index_row(px, dir->gfid, name, &ret->gfid, &type) != 0 ||
        type != wg_px_type(st->stx_mode) || is_copy(px, ret, st))
        ret->gfid = wg_gfid_new();
    err = wg_px_rec_init(px, fd, ret, replace);
    if (err == EEXIST)
        return wg_px_rec_get(px, fd, ret);
    if (err)
        return err;
    (void)wg_px_index_add(px, dir->gfid, name, ret->gfid, wg_px_type(st->stx_mode), NULL, 0);
    return 0;
}

int wg_px_renew(struct posix *px, struct px_inode *dir, const char *name, wg_gfid *ret)
{
    struct px_rec rec;
    struct statx st;
    int fd = open_at(dir->fd, name), err;

    if (fd < 0)
        return errno;
    err = wg_px_stat(fd, &st);
    if (err == 0)
        err = give_record(px, dir, name, fd, &st, true, &rec);
    close(fd);
    if (err == 0)
        *ret = rec.gfid;
    return err;
}

/* A copy was met while the one it is of is open. */
static int part(struct posix *px, struct px_inode *dir, const char *name, int fd, const struct statx *st,
                struct px_rec *rec)
{
    struct px_inode *first = wg_px_peek(px, rec->gfid);
    int err = give_record(px, dir, name, fd, st, true, rec);

    if (first) {
        wg_px_twins_note(px, first->fd, NULL, dir->fd, name, err == 0);
        wg_px_release(px, first);
    }
    return err;
}

/* ---- names ---------------------------------------------------------------------------------- */

/*
 * Opens a name and learns who it is. The thread is the caller, and is again at the end (the record of an
 * unprivileged brick is the brick's business, but there they are one).
 */
static int meet(struct posix *px, struct px_inode *dir, const char *name, struct px_inode **ret,
                struct statx *st)
{
    struct px_inode *ino;
    struct wg_ref ref;
    struct px_rec rec;
    int fd = open_at(dir->fd, name), err;

    if (fd < 0)
        return errno;
    err = wg_px_stat(fd, st);
    if (err == 0 && !here(px, st))
        err = EXDEV;
    if (err == 0) {
        err = record_of(px, fd, st, &rec);
        if (err == ENODATA)
            err = give_record(px, dir, name, fd, st, false, &rec);
        else if (err == 0 && is_copy(px, &rec, st))
            err = part(px, dir, name, fd, st, &rec);
    }
    if (err) {
        close(fd);
        return err;
    }
    err = wg_px_adopt(px, fd, &rec, st, false, &ino);
    if (err)
        return err;
    wg_px_ref(ino, &ref);
    wg_px_ident_learn(px, st, &ref);
    *ret = ino;
    return 0;
}

int wg_px_ident(struct posix *px, const struct wg_cred *cred, struct px_inode *dir,
                const char *name, struct wg_ref *ret, struct statx *st)
{
    struct px_inode *ino;
    int err = wg_px_as(px, cred);

    if (err == 0)
        err = wg_px_stat_at(dir->fd, name, st);
    if (err)
        return err;
    if (here(px, st) && wg_px_ident_get(px, st->stx_ino, st, ret))
        return 0;
    err = meet(px, dir, name, &ino, st);
    if (err)
        return err;
    wg_px_ref(ino, ret);
    wg_px_release(px, ino);
    return 0;
}

int wg_px_child(struct posix *px, const struct wg_cred *cred, struct px_inode *dir,
                const char *name, struct px_inode **ret, struct statx *st)
{
    struct px_inode *ino;
    struct wg_ref ref;
    struct statx mine;
    int err = wg_px_as(px, cred);

    st = st ? st : &mine;
    if (err == 0)
        err = wg_px_stat_at(dir->fd, name, st);
    if (err)
        return err;
    if (here(px, st) && wg_px_ident_get(px, st->stx_ino, st, &ref)) {
        ino = wg_px_peek(px, ref.gfid);
        if (ino && ino->ino == st->stx_ino) {
            *ret = ino;
            return 0;
        }
        if (ino)
            wg_px_release(px, ino);
    }
    return meet(px, dir, name, ret, st);
}

/* ---- refs ------------------------------------------------------------------------------------ */

/*
 * An open that failed: does it say that the inode is not there? Everything else (no memory, no
 * descriptors, EIO) must not make a client believe that its file is gone.
 */
static int open_failed(int err)
{
    static const int absent[] = { ESTALE, ENOENT, ENOTDIR, ELOOP, EINVAL, ENAMETOOLONG };

    for (unsigned i = 0; i < sizeof absent / sizeof absent[0]; i++)
        if (err == absent[i])
            return ESTALE;
    return err;
}

/* Takes fd over (of an open that may have failed). ESTALE when it is not gfid. */
static int adopt_if(struct posix *px, int fd, wg_gfid gfid, struct px_inode **ret)
{
    struct px_rec rec;
    struct statx st;
    int err;

    if (fd < 0)
        return open_failed(errno);
    err = wg_px_stat(fd, &st);
    if (err == 0)
        err = here(px, &st) ? record_of(px, fd, &st, &rec) : ESTALE;
    if (err == ENODATA || (err == 0 && (!wg_gfid_eq(rec.gfid, gfid) || st.stx_nlink == 0)))
        err = ESTALE;
    if (err) {
        close(fd);
        return err;
    }
    return wg_px_adopt(px, fd, &rec, &st, false, ret);
}

static int open_replaced(struct posix *px, wg_gfid gfid)
{
    char name[33];

    for (unsigned i = 0; i < 16; i++)
        snprintf(name + 2 * i, 3, "%02x", gfid.b[i]);
    return open_at(px->replaced_fd, name);
}

/*
 * The way from an inode that is open up to the one asked for. A row that did not hold is told apart, so that the
 * next attempt takes another name of that gfid.
 */
struct climb {
    struct px_where *at; /* from the one asked for, upwards */
    wg_gfid *gfid;
    unsigned n, room;
    wg_gfid bad;  /* zero: none */
    unsigned nth, rounds;
};

static int climb_grow(struct climb *c)
{
    unsigned room = c->room ? c->room * 2 : 8;
    struct px_where *at = realloc(c->at, room * sizeof *at);
    wg_gfid *gfid = at ? realloc(c->gfid, room * sizeof *gfid) : NULL;

    c->at = at ? at : c->at;
    c->gfid = gfid ? gfid : c->gfid;
    if (!gfid)
        return ENOMEM;
    c->room = room;
    return 0;
}

/* Up to an inode that is open, or can be by its handle: *ret. ESTALE: a gfid has no row, or rows go in a circle. */
static int climb_up(struct posix *px, struct climb *c, wg_gfid gfid, struct px_inode **ret)
{
    for (c->n = 0; c->n < FIND_DEPTH; gfid = c->at[c->n++].parent) {
        bool bad = wg_gfid_eq(gfid, c->bad);
        struct px_where *w;
        int err;

        *ret = wg_px_peek(px, gfid);
        if (*ret)
            return 0;
        if (c->n == c->room && climb_grow(c))
            return ENOMEM;
        if (c->n > 0 && wg_gfid_eq(gfid, c->gfid[c->n / 2]))
            return ESTALE;
        w = &c->at[c->n];
        c->gfid[c->n] = gfid;
        err = wg_px_index_find_nth(px, gfid, bad ? c->nth : 0, w);
        if (err == ENOENT && bad && c->nth > 0) { /* none of its names held: perhaps it was just renamed */
            c->nth = 0;
            c->rounds++;
            err = wg_px_index_find_nth(px, gfid, 0, w);
        }
        if (err)
            return err == ENOENT ? ESTALE : err;
        err = adopt_if(px, open_handle(px, w->hint, w->hint_len), gfid, ret);
        if (err != ESTALE)
            return err;
    }
    return ENAMETOOLONG;
}

/* From *ret (held) down the names again. ESTALE with c->bad: that one is not where its row says. */
static int climb_down(struct posix *px, struct climb *c, struct px_inode **ret)
{
    struct px_inode *dir = *ret;
    int err = 0;

    while (!err && c->n > 0) {
        unsigned i = --c->n;

        err = dir->type == WG_DIR ? adopt_if(px, open_at(dir->fd, c->at[i].name), c->gfid[i], ret) : ESTALE;
        wg_px_release(px, dir);
        dir = *ret;
        if (err != ESTALE)
            continue;
        c->nth = wg_gfid_eq(c->gfid[i], c->bad) ? c->nth + 1 : 1;
        c->bad = c->gfid[i];
        return ESTALE;
    }
    return err;
}

/* Where the index last saw gfid: its handle, else a name in a parent that is found the same way. */
static int find_by_index(struct posix *px, wg_gfid gfid, struct px_inode **ret)
{
    struct climb c = { 0 };
    int err;

    do {
        wg_gfid bad = c.bad;

        err = climb_up(px, &c, gfid, ret);
        if (err)
            break;
        err = climb_down(px, &c, ret);
        if (!wg_gfid_eq(bad, c.bad) && !wg_gfid_is_zero(bad))
            c.rounds++; /* several that move: not for ever */
    } while (err == ESTALE && c.rounds < FIND_ROUNDS);
    free(c.at);
    free(c.gfid);
    return err;
}

static int find(struct posix *px, const struct wg_ref *ref, struct px_inode **ret)
{
    struct px_inode *ino = wg_px_peek(px, ref->gfid);
    int err;

    if (ino) {
        atomic_fetch_add_explicit(&px->hits, 1, memory_order_relaxed);
        *ret = ino;
        return 0;
    }
    atomic_fetch_add_explicit(&px->misses, 1, memory_order_relaxed);
    if (wg_gfid_is_zero(ref->gfid))
        return EBADHANDLE;
    err = wg_px_as_brick(px);
    if (err == 0)
        err = adopt_if(px, open_handle(px, ref->hint, ref->hint_len), ref->gfid, ret);
    if (err == ESTALE)
        err = find_by_index(px, ref->gfid, ret);
    if (err == ESTALE)
        err = adopt_if(px, open_replaced(px, ref->gfid), ref->gfid, ret);
    return err;
}

int wg_px_find_indexed(struct posix *px, const struct wg_ref *ref, struct px_inode **ret)
{
    return find(px, ref, ret);
}

/* Where only the index knows the way, what it does not know yet is no stale reference. */
int wg_px_find(struct posix *px, const struct wg_ref *ref, struct px_inode **ret)
{
    bool unsure = !px->handles && wg_px_index_rebuilding(px);
    int err = find(px, ref, ret);

    return err == ESTALE && unsure ? EAGAIN : err;
}

int wg_px_find_dir(struct posix *px, const struct wg_ref *ref, struct px_inode **ret)
{
    struct px_inode *ino;
    int err = wg_px_find(px, ref, &ino);

    if (err)
        return err;
    if (ino->type != WG_DIR) {
        wg_px_release(px, ino);
        return ENOTDIR;
    }
    *ret = ino;
    return 0;
}
