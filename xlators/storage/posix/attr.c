/* SPDX-License-Identifier: Apache-2.0 */
/* Fops on one inode's attributes: lookup, getattr, setattr, access, readlink, statfs. */
#include "posix.h"

#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#define WG_LOG_PART "posix"
#include "log.h"

/* "." and ".." are looked up like names, as the caller; the root is its own parent. */
static int lookup_name(struct posix *px, struct wg_frame *f, struct px_inode *dir,
                       struct wg_str name, struct wg_ref *ref, struct statx *st)
{
    char buf[WG_NAME_MAX + 1];
    int err = wg_px_name(px, dir, name, PX_USE, buf);
    wg_gfid met;

    if (err)
        return err;
    if (dir == px->root && !strcmp(buf, ".."))
        buf[1] = '\0';
    wg_uses(f, &dir->gfid, name);
    err = wg_px_ident(px, &f->call->cred, dir, buf, ref, st);
    /* Whose attributes they are is known after they were read: they are read again once that is said. */
    for (int tries = 0; err == 0 && f->want_lease; tries++) {
        met = ref->gfid;
        wg_px_ino_uses(f, &met);
        err = wg_px_ident(px, &f->call->cred, dir, buf, ref, st);
        if (err == 0 && wg_gfid_eq(met, ref->gfid))
            break;
        if (tries == 3) {
            wg_px_no_promise(f);
            break;
        }
    }
    return err;
}

void wg_posix_lookup(struct wg_frame *f)
{
    const struct wg_lookup_in *in = wg_in(f, lookup);
    struct wg_lookup_out *out = wg_new_out(f, lookup);
    struct posix *px = wg_px(f);
    struct px_inode *dir;
    struct statx st;
    int err;

    if (!out)
        return wg_unwind(f, ENOMEM);
    err = wg_px_find_dir(px, &in->at.parent, &dir);
    if (err)
        return wg_unwind(f, err);
    err = lookup_name(px, f, dir, in->at.name, &out->ref, &st);
    if (err == 0)
        wg_px_iatt(&st, out->ref.gfid, &out->attr);
    wg_px_attr(dir, &out->parent);
    if (out->parent.valid && out->parent.nlink == 0)
        err = ESTALE;
    wg_px_release(px, dir);
    wg_unwind(f, err);
}

void wg_posix_getattr(struct wg_frame *f)
{
    const struct wg_getattr_in *in = wg_in(f, getattr);
    struct wg_getattr_out *out = wg_new_out(f, getattr);
    struct posix *px = wg_px(f);
    struct px_inode *ino;
    struct statx st;
    int err;

    if (!out)
        return wg_unwind(f, ENOMEM);
    wg_px_ino_uses(f, &in->at.gfid);
    err = wg_px_find(px, &in->at, &ino);
    if (err)
        return wg_unwind(f, err);
    err = wg_px_stat_inode(px, ino, &st);
    if (err == 0)
        wg_px_iatt(&st, ino->gfid, &out->attr);
    wg_px_release(px, ino);
    wg_unwind(f, err);
}

/* ---- setattr ----------------------------------------------------------------------------- */

static bool time_is(struct wg_time t, struct statx_timestamp s)
{
    return t.sec == s.tv_sec && t.nsec == s.tv_nsec;
}

static int set_owner(struct px_inode *ino, const struct wg_sattr *a)
{
    uid_t uid = a->valid & WG_SET_UID ? a->uid : (uid_t)-1;
    gid_t gid = a->valid & WG_SET_GID ? a->gid : (gid_t)-1;

    if (!(a->valid & (WG_SET_UID | WG_SET_GID)))
        return 0;
    return fchownat(ino->fd, "", uid, gid, AT_EMPTY_PATH) == 0 ? 0 : errno;
}

static int set_mode(struct posix *px, struct px_inode *ino, const struct wg_sattr *a)
{
    char path[PX_FD_PATH];
    int err;

    if (!(a->valid & WG_SET_MODE))
        return 0;
    if (ino->type == WG_LNK)
        return ENOTSUP;
    wg_px_fd_path(path, ino->fd);
    if (px->handles)
        return chmod(path, a->mode & 07777) == 0 ? 0 : errno;
    /* Not while somebody has this inode's mode on loan. */
    pthread_mutex_lock(&px->lend_lock);
    err = chmod(path, a->mode & 07777) == 0 ? 0 : errno;
    pthread_mutex_unlock(&px->lend_lock);
    return err;
}

static struct timespec time_arg(const struct wg_sattr *a, uint32_t to, uint32_t now, struct wg_time t)
{
    if (a->valid & now)
        return (struct timespec){ .tv_nsec = UTIME_NOW };
    if (a->valid & to)
        return (struct timespec){ .tv_sec = t.sec, .tv_nsec = t.nsec };
    return (struct timespec){ .tv_nsec = UTIME_OMIT };
}

/* A clean record follows its inode's mtime (R7); between the two the ETag is a synthetic one. */
static int set_times(struct posix *px, struct px_inode *ino, const struct wg_sattr *a)
{
    struct timespec ts[2] = {
        time_arg(a, WG_SET_ATIME, WG_SET_ATIME_NOW, a->atime),
        time_arg(a, WG_SET_MTIME, WG_SET_MTIME_NOW, a->mtime),
    };
    struct px_rec rec;
    struct statx st;
    bool held;

    if (ts[0].tv_nsec == UTIME_OMIT && ts[1].tv_nsec == UTIME_OMIT)
        return 0;
    if ((a->valid & WG_SET_ATIME && a->atime.nsec > 999999999) ||
        (a->valid & WG_SET_MTIME && a->mtime.nsec > 999999999))
        return EINVAL;
    held = ino->type == WG_REG && wg_px_rec(px, ino, &rec) == 0 && wg_px_stat(ino->fd, &st) == 0 &&
           wg_px_rec_holds(&rec, &st);
    if (utimensat(ino->fd, "", ts, AT_EMPTY_PATH) != 0)
        return errno;
    if (!held || wg_px_stat(ino->fd, &st) != 0 || time_is(rec.mtime, st.stx_mtime))
        return 0;
    rec.mtime = (struct wg_time){ st.stx_mtime.tv_sec, st.stx_mtime.tv_nsec };
    if (wg_px_rec_set(px, ino->fd, &rec) == 0)
        wg_px_rec_changed(px, ino, &rec);
    return 0;
}

int wg_px_set_attrs(struct posix *px, const struct wg_cred *cred, struct px_inode *ino,
                    const struct wg_sattr *attrs)
{
    int err = wg_px_as(px, cred);

    if (err == 0)
        err = set_owner(ino, attrs);
    if (err == 0) /* after the owner: changing that clears the set-id bits */
        err = set_mode(px, ino, attrs);
    if (err == 0)
        err = set_times(px, ino, attrs);
    return err;
}

int wg_px_as_writer(struct posix *px, const struct wg_cred *cred, uint32_t mode)
{
    return mode & (S_ISUID | S_ISGID) ? wg_px_as(px, cred) : 0;
}

int wg_px_set_size(struct posix *px, const struct wg_cred *cred, struct px_inode *ino, uint64_t size)
{
    struct px_open o;
    struct statx st;
    int err;

    if (size > INT64_MAX)
        return EFBIG;
    err = wg_px_open(px, cred, ino, O_WRONLY, &o);
    if (err)
        return err;
    err = wg_px_stat(ino->fd, &st);
    if (err == 0 && !wg_px_open_fresh(ino, &o, &st)) {
        wg_px_close(px, ino, &o);
        err = wg_px_open(px, cred, ino, O_WRONLY, &o);
        if (err)
            return err;
    }
    if (err == 0)
        err = wg_px_change(px, ino);
    if (err == 0) {
        err = wg_px_as_writer(px, cred, st.stx_mode);
        if (err == 0 && ftruncate(o.fd, (off_t)size) != 0)
            err = errno;
        wg_px_changed(px, ino);
    }
    wg_px_close(px, ino, &o);
    return err;
}

static int setattr_locked(struct posix *px, const struct wg_cred *cred, struct px_inode *ino,
                          const struct wg_sattr *a, struct wg_wcc *wcc)
{
    struct statx st;
    int err = wg_px_stat_inode(px, ino, &st);

    if (err)
        return err;
    wg_px_wcc_pre(&st, wcc);
    if ((a->valid & WG_SET_GUARD) && !time_is(a->guard, st.stx_ctime))
        return ENOTSYNC;
    if (a->valid & WG_SET_SIZE)
        err = wg_px_set_size(px, cred, ino, a->size);
    if (err == 0)
        err = wg_px_set_attrs(px, cred, ino, a);
    return err;
}

void wg_posix_setattr(struct wg_frame *f)
{
    const struct wg_setattr_in *in = wg_in(f, setattr);
    struct wg_setattr_out *out = wg_new_out(f, setattr);
    struct posix *px = wg_px(f);
    struct px_alone alone;
    struct px_inode *ino;
    int err;

    if (!out)
        return wg_unwind(f, ENOMEM);
    if (px->readonly)
        return wg_unwind(f, EROFS);
    err = wg_px_find(px, &in->at, &ino);
    if (err)
        return wg_unwind(f, err);
    pthread_rwlock_wrlock(&ino->content);
    wg_px_alone_begin(ino, &alone);
    err = setattr_locked(px, &f->call->cred, ino, &in->attrs, &out->wcc);
    wg_px_wcc_end(ino, &alone, &out->wcc);
    pthread_rwlock_unlock(&ino->content);
    wg_px_ino_changed(f, &ino->gfid);
    /* Who may look names up in it, and so what a lookup of any says. */
    if (ino->type == WG_DIR && (in->attrs.valid & (WG_SET_MODE | WG_SET_UID | WG_SET_GID)))
        wg_changed(f, &ino->gfid, WG_ANY_NAME);
    wg_px_unwind_changed(f, err, ino, NULL);
    wg_px_release(px, ino);
}

/* ---- access, readlink, statfs ------------------------------------------------------------ */

enum { /* RFC 1813 3.3.4 */
    ACCESS_READ = 1, ACCESS_LOOKUP = 2, ACCESS_MODIFY = 4, ACCESS_EXTEND = 8,
    ACCESS_DELETE = 16, ACCESS_EXECUTE = 32,
};

/* What the kernel says of R, W and X to the thread's identity, as the bits that it stands for. */
static uint32_t granted_bits(const char *path, uint32_t mask, bool dir)
{
    const struct { int mode; uint32_t bits; } rows[] = {
        { R_OK, ACCESS_READ },
        { dir ? W_OK | X_OK : W_OK,
          ACCESS_MODIFY | ACCESS_EXTEND | (dir ? ACCESS_DELETE : 0u) },
        { X_OK, dir ? ACCESS_LOOKUP : ACCESS_EXECUTE },
    };
    uint32_t granted = 0;

    for (unsigned i = 0; i < 3; i++)
        if ((mask & rows[i].bits) &&
            syscall(SYS_faccessat2, AT_FDCWD, path, rows[i].mode, AT_EACCESS) == 0)
            granted |= mask & rows[i].bits;
    return granted;
}

void wg_posix_access(struct wg_frame *f)
{
    const struct wg_access_in *in = wg_in(f, access);
    struct wg_access_out *out = wg_new_out(f, access);
    struct posix *px = wg_px(f);
    struct px_inode *ino;
    char path[PX_FD_PATH];
    struct statx st;
    int err;

    if (!out)
        return wg_unwind(f, ENOMEM);
    wg_px_ino_uses(f, &in->at.gfid);
    err = wg_px_find(px, &in->at, &ino);
    if (err)
        return wg_unwind(f, err);
    err = wg_px_stat_inode(px, ino, &st);
    if (err == 0)
        err = wg_px_as(px, &f->call->cred);
    if (err == 0) {
        wg_px_iatt(&st, ino->gfid, &out->attr);
        out->granted = granted_bits(wg_px_fd_path(path, ino->fd), in->mask, ino->type == WG_DIR);
    }
    wg_px_release(px, ino);
    wg_unwind(f, err);
}

void wg_posix_readlink(struct wg_frame *f)
{
    const struct wg_readlink_in *in = wg_in(f, readlink);
    struct wg_readlink_out *out = wg_new_out(f, readlink);
    char *target = out ? wg_alloc(&f->call->arena, WG_PATH_MAX) : NULL;
    struct posix *px = wg_px(f);
    struct px_inode *ino;
    struct statx st;
    ssize_t n;
    int err;

    if (!target)
        return wg_unwind(f, ENOMEM);
    wg_px_ino_uses(f, &in->at.gfid);
    err = wg_px_find(px, &in->at, &ino);
    if (err)
        return wg_unwind(f, err);
    err = wg_px_stat_inode(px, ino, &st);
    if (err == 0)
        wg_px_iatt(&st, ino->gfid, &out->attr);
    if (err == 0 && ino->type != WG_LNK)
        err = EINVAL;
    if (err == 0) {
        n = readlinkat(ino->fd, "", target, WG_PATH_MAX);
        if (n < 0)
            err = errno;
        else
            out->target = (struct wg_str){ target, (uint32_t)n };
    }
    wg_px_release(px, ino);
    wg_unwind(f, err);
}

static uint64_t less(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

void wg_posix_statfs(struct wg_frame *f)
{
    const struct wg_statfs_in *in = wg_in(f, statfs);
    struct wg_statfs_out *out = wg_new_out(f, statfs);
    struct posix *px = wg_px(f);
    struct px_inode *ino;
    struct statvfs fs;
    int err;

    wg_px_no_promise(f);
    if (!out)
        return wg_unwind(f, ENOMEM);
    err = wg_px_find(px, &in->at, &ino);
    if (err)
        return wg_unwind(f, err);
    wg_px_attr(ino, &out->attr);
    wg_px_release(px, ino);
    if (fstatvfs(px->root_fd, &fs) != 0)
        return wg_unwind(f, errno);
    out->fs = (struct wg_statfs){
        .total_bytes = (uint64_t)fs.f_blocks * fs.f_frsize,
        .free_bytes = less((uint64_t)fs.f_bfree * fs.f_frsize, px->reserve),
        .avail_bytes = less((uint64_t)fs.f_bavail * fs.f_frsize, px->reserve),
        .total_files = fs.f_files,
        .free_files = fs.f_ffree,
        .avail_files = fs.f_favail,
        .block = (uint32_t)fs.f_bsize,
        .name_max = WG_NAME_MAX,
        .readonly = px->readonly || (fs.f_flag & ST_RDONLY),
    };
    wg_unwind(f, 0);
}
