/* SPDX-License-Identifier: Apache-2.0 */
/* The record: 64 bytes in one xattr of each inode. docs/on-disk-format.md has the layout. */
#include "posix.h"

#include <endian.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define SYS_GETXATTRAT 464 /* the same on every architecture; not yet in all headers */
#define REC_VERSION 1
#define REC_SIZE 64
#define META_SURE 2048 /* bytes of meta that fit beside a record on every file system */
#define YOUNG_NS 1000000000 /* a write's mtime is set at its start; it may run this long */

static void put32(uint8_t *p, uint32_t v)
{
    v = htole32(v);
    memcpy(p, &v, sizeof v);
}

static void put64(uint8_t *p, uint64_t v)
{
    v = htole64(v);
    memcpy(p, &v, sizeof v);
}

static uint32_t get32(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof v);
    return le32toh(v);
}

static uint64_t get64(const uint8_t *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof v);
    return le64toh(v);
}

static void rec_encode(const struct px_rec *rec, uint8_t b[REC_SIZE])
{
    memset(b, 0, REC_SIZE);
    b[0] = REC_VERSION;
    b[1] = rec->flags;
    b[2] = rec->parts & 0xff;
    b[3] = rec->parts >> 8;
    put32(b + 4, rec->generation);
    memcpy(b + 8, rec->gfid.b, 16);
    memcpy(b + 24, rec->md5, 16);
    put64(b + 40, rec->size);
    put64(b + 48, (uint64_t)rec->mtime.sec);
    put32(b + 56, rec->mtime.nsec);
}

static int rec_decode(const uint8_t b[REC_SIZE], struct px_rec *ret)
{
    if (b[0] != REC_VERSION)
        return EIO;
    ret->flags = b[1];
    ret->parts = (uint16_t)(b[2] | b[3] << 8);
    ret->generation = get32(b + 4);
    memcpy(ret->gfid.b, b + 8, 16);
    memcpy(ret->md5, b + 24, 16);
    ret->size = get64(b + 40);
    ret->mtime.sec = (int64_t)get64(b + 48);
    ret->mtime.nsec = get32(b + 56);
    return wg_gfid_is_zero(ret->gfid) ? EIO : 0;
}

const char *wg_px_fd_path(char buf[PX_FD_PATH], int fd)
{
    static const char prefix[] = "/proc/self/fd/";
    char digits[12];
    unsigned n = 0;
    char *p = buf;

    /* On the path of every record read: no printf. */
    memcpy(p, prefix, sizeof prefix - 1);
    p += sizeof prefix - 1;
    do
        digits[n++] = (char)('0' + fd % 10);
    while ((fd /= 10) > 0);
    while (n > 0)
        *p++ = digits[--n];
    *p = '\0';
    return buf;
}

/* buf holds PX_FD_PATH + WG_NAME_MAX + 2 bytes. */
static const char *name_path(char *buf, int dirfd, const char *name)
{
    size_t n;

    wg_px_fd_path(buf, dirfd);
    n = strlen(buf);
    buf[n] = '/';
    memcpy(buf + n + 1, name, strlen(name) + 1);
    return buf;
}

static int rec_read(ssize_t n, const uint8_t *b, struct px_rec *ret)
{
    if (n == REC_SIZE)
        return rec_decode(b, ret);
    return n >= 0 || errno == ERANGE ? EIO : errno;
}

/*
 * An xattr of fd's inode. user.* xattrs, of unprivileged bricks, obey
 * the file's mode, which is none of their business: there the mode is lent.
 */
static ssize_t xattr_get(struct posix *px, int fd, const char *name, void *buf, size_t size)
{
    char path[PX_FD_PATH];
    struct px_loan loan;
    ssize_t n;

    n = getxattr(wg_px_fd_path(path, fd), name, buf, size);
    if (n < 0 && errno == EACCES && wg_px_lend(px, fd, &loan)) {
        n = getxattr(path, name, buf, size);
        wg_px_lend_end(px, &loan);
    }
    return n;
}

static int xattr_set(struct posix *px, int fd, const char *name, const void *buf, size_t size,
                     int flags)
{
    char path[PX_FD_PATH];
    struct px_loan loan;
    int r;

    r = setxattr(wg_px_fd_path(path, fd), name, buf, size, flags);
    if (r < 0 && errno == EACCES && wg_px_lend(px, fd, &loan)) {
        r = setxattr(path, name, buf, size, flags);
        wg_px_lend_end(px, &loan);
    }
    return r == 0 ? 0 : errno;
}

int wg_px_rec_get(struct posix *px, int fd, struct px_rec *ret)
{
    uint8_t b[REC_SIZE];

    return rec_read(xattr_get(px, fd, px->rec_name, b, sizeof b), b, ret);
}

int wg_px_rec_set(struct posix *px, int fd, const struct px_rec *rec)
{
    uint8_t b[REC_SIZE];

    rec_encode(rec, b);
    return xattr_set(px, fd, px->rec_name, b, sizeof b, 0);
}

int wg_px_rec_init(struct posix *px, int fd, const struct px_rec *rec, bool replace)
{
    uint8_t b[REC_SIZE];

    rec_encode(rec, b);
    return xattr_set(px, fd, px->rec_name, b, sizeof b, replace ? 0 : XATTR_CREATE);
}

/*
 * lgetxattr relative to a directory: getxattrat of Linux 6.13, half the cost of the way through
 * /proc, which older kernels need.
 */
static ssize_t xattr_get_at(int dirfd, const char *name, const char *xattr, void *buf, uint32_t size)
{
    static atomic_bool missing;
    struct {
        uint64_t value;
        uint32_t size, flags;
    } args = { (uintptr_t)buf, size, 0 };
    char path[PX_FD_PATH + WG_NAME_MAX + 2];
    ssize_t n;

    if (!atomic_load_explicit(&missing, memory_order_relaxed)) {
        n = syscall(SYS_GETXATTRAT, dirfd, name, AT_SYMLINK_NOFOLLOW, xattr, &args, sizeof args);
        if (n >= 0 || (errno != ENOSYS && errno != EPERM))
            return n;
        atomic_store(&missing, true); /* sandboxes answer EPERM for what they do not know */
    }
    return lgetxattr(name_path(path, dirfd, name), xattr, buf, size);
}

int wg_px_rec_get_at(struct posix *px, int dirfd, const char *name, struct px_rec *ret)
{
    uint8_t b[REC_SIZE];

    return rec_read(xattr_get_at(dirfd, name, px->rec_name, b, sizeof b), b, ret);
}

int wg_px_rec_set_at(struct posix *px, int dirfd, const char *name, const struct px_rec *rec)
{
    char path[PX_FD_PATH + WG_NAME_MAX + 2];
    uint8_t b[REC_SIZE];

    rec_encode(rec, b);
    return lsetxattr(name_path(path, dirfd, name), px->rec_name, b, sizeof b, 0) == 0 ? 0 : errno;
}

static void md5(const void *p, size_t n, uint8_t out[16])
{
    EVP_Digest(p, n, out, NULL, EVP_md5(), NULL);
}

wg_gfid wg_px_rec_derive(const struct posix *px, const struct statx *st)
{
    uint8_t b[36];
    wg_gfid g;

    memcpy(b, px->volume_id, 16);
    put64(b + 16, st->stx_ino);
    put64(b + 24, (uint64_t)st->stx_btime.tv_sec);
    put32(b + 32, st->stx_btime.tv_nsec);
    md5(b, sizeof b, g.b);
    /* The shape of RFC 4122's version 3, so that it can't meet a random one. */
    g.b[6] = (g.b[6] & 0x0f) | 0x30;
    g.b[8] = (g.b[8] & 0x3f) | 0x80;
    return g;
}

int wg_px_meta_get(struct posix *px, int fd, void *buf, uint32_t size, uint32_t *ret_len)
{
    ssize_t n = xattr_get(px, fd, px->meta_name, buf, size);

    if (n < 0 && errno != ENODATA)
        return errno == ERANGE ? EIO : errno;
    *ret_len = n < 0 ? 0 : (uint32_t)n;
    return 0;
}

int wg_px_meta_set(struct posix *px, int fd, const void *meta, uint32_t len)
{
    char path[PX_FD_PATH];
    struct px_loan loan;
    int r;

    if (len > 0) {
        r = xattr_set(px, fd, px->meta_name, meta, len, 0);
        /* An inode has room for one block of xattrs (ext4): that is no full disk. */
        return r == ENOSPC && len > META_SURE ? E2BIG : r;
    }
    r = removexattr(wg_px_fd_path(path, fd), px->meta_name);
    if (r < 0 && errno == EACCES && wg_px_lend(px, fd, &loan)) {
        r = removexattr(path, px->meta_name);
        wg_px_lend_end(px, &loan);
    }
    return r == 0 || errno == ENODATA ? 0 : errno;
}

bool wg_px_rec_holds(const struct px_rec *rec, const struct statx *st)
{
    return (rec->flags & PX_REC_CLEAN) != 0 && rec->size == st->stx_size &&
           rec->mtime.sec == st->stx_mtime.tv_sec && rec->mtime.nsec == st->stx_mtime.tv_nsec;
}

void wg_px_rec_stamp(struct px_rec *rec, const struct wg_etag *etag, const struct statx *st)
{
    rec->flags = (uint8_t)((rec->flags & ~PX_REC_EXCL) | PX_REC_CLEAN);
    rec->parts = (uint16_t)etag->parts;
    memcpy(rec->md5, etag->md5, 16);
    rec->size = st->stx_size;
    rec->mtime = (struct wg_time){ st->stx_mtime.tv_sec, st->stx_mtime.tv_nsec };
}

bool wg_px_young(const struct statx *st)
{
    struct timespec now;
    int64_t age;

    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    if (st->stx_mtime.tv_sec + 3 < now.tv_sec)
        return false;
    age = (now.tv_sec - st->stx_mtime.tv_sec) * 1000000000LL + now.tv_nsec - st->stx_mtime.tv_nsec;
    return age < YOUNG_NS;
}

static void synthesize(const struct px_rec *rec, const struct statx *st, struct wg_etag *ret)
{
    uint8_t b[40];

    memcpy(b, rec->gfid.b, 16);
    put32(b + 16, rec->generation);
    put64(b + 20, st->stx_size);
    put64(b + 28, (uint64_t)st->stx_mtime.tv_sec);
    put32(b + 36, st->stx_mtime.tv_nsec);
    md5(b, sizeof b, ret->md5);
    ret->synthetic = true;
}

/*
 * Clocks tick coarsely on older kernels: two writes within one tick leave the same mtime. So
 * whoever changes the content after an ETag went out, or is doing so now, takes a new generation;
 * and what the ETag is made of is read after that has been asked for (R6).
 */
static void observe(struct posix *px, struct px_inode *ino, struct px_rec *rec, struct statx *st)
{
    struct statx fresh;

    atomic_store(&ino->observed, true);
    (void)wg_px_rec(px, ino, rec);
    if (wg_px_stat(ino->fd, &fresh) == 0)
        *st = fresh;
}

void wg_px_etag(struct posix *px, struct px_inode *ino, const struct px_rec *rec,
                const struct statx *st, struct wg_etag *ret)
{
    struct px_inode *found = NULL;
    struct px_rec r = *rec;
    struct statx s = *st;

    *ret = (struct wg_etag){ .valid = true };
    if (!wg_px_rec_holds(rec, st)) {
        if (!ino && wg_px_young(st))
            ino = found = wg_px_peek(px, rec->gfid);
        if (ino)
            observe(px, ino, &r, &s);
        synthesize(&r, &s, ret);
    } else {
        memcpy(ret->md5, rec->md5, 16);
        ret->parts = rec->parts;
    }
    if (found)
        wg_px_release(px, found);
}

/* Under ino->mutex: a new generation, dirty. */
static int make_dirty(struct posix *px, struct px_inode *ino)
{
    struct px_rec rec;
    int err = 0;

    if (ino->rec_known)
        rec = ino->rec;
    else
        err = wg_px_rec_get(px, ino->fd, &rec);
    if (err)
        return err;
    /* An exclusive create's verifier stays: nothing else uses md5 while dirty. */
    rec.flags &= (uint8_t)~PX_REC_CLEAN;
    rec.generation++;
    err = wg_px_rec_set(px, ino->fd, &rec);
    if (err)
        return err;
    ino->rec = rec;
    ino->rec_known = true;
    atomic_fetch_add_explicit(&px->dirtied, 1, memory_order_relaxed);
    return 0;
}

static int dirty_now(struct posix *px, struct px_inode *ino)
{
    int err = 0;

    pthread_mutex_lock(&ino->mutex);
    if (!ino->rec_known) {
        err = wg_px_rec_get(px, ino->fd, &ino->rec);
        ino->rec_known = err == 0;
    }
    /* observed is cleared before the new generation is there: an ETag made in between sets it again. */
    if (err == 0 && (atomic_exchange(&ino->observed, false) || (ino->rec.flags & PX_REC_CLEAN))) {
        err = make_dirty(px, ino);
        if (err)
            atomic_store(&ino->observed, true);
    }
    if (err == 0)
        atomic_store(&ino->dirty, true);
    pthread_mutex_unlock(&ino->mutex);
    return err;
}

int wg_px_change(struct posix *px, struct px_inode *ino)
{
    int err = 0;

    atomic_fetch_add(&ino->writers, 1);
    atomic_fetch_add(&ino->changes, 1);
    if (!atomic_load(&ino->dirty) || atomic_load(&ino->observed))
        err = dirty_now(px, ino);
    if (err)
        atomic_fetch_sub(&ino->writers, 1);
    return err;
}

void wg_px_changed(struct posix *px, struct px_inode *ino)
{
    if (atomic_load(&ino->observed))
        (void)dirty_now(px, ino); /* on failure observed stays, and the next change tries again */
    atomic_fetch_sub(&ino->writers, 1);
}
