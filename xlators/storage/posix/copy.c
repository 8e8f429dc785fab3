/* SPDX-License-Identifier: Apache-2.0 */
/* Fops that read many bytes and answer few: copy_range and checksum. Both may block long. */
#include "posix.h"

#include "sums.h"

#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define COPY_MAX (1ull << 30) /* one fop's worth; copied may be short */
#define BLOCK (256u * 1024)

/* Shares the blocks where the file system can: alignment and support are the kernel's to judge. */
static bool reflink(int from, uint64_t from_off, int to, uint64_t to_off, uint64_t size)
{
    struct file_clone_range range = {
        .src_fd = from, .src_offset = from_off, .src_length = size, .dest_offset = to_off,
    };

    return ioctl(to, FICLONERANGE, &range) == 0;
}

static int copy_bytes(int from, uint64_t from_off, int to, uint64_t to_off, uint64_t size,
                      uint64_t *ret)
{
    uint64_t done = 0;

    while (done < size) {
        off_t a = (off_t)(from_off + done), b = (off_t)(to_off + done);
        ssize_t n = copy_file_range(from, &a, to, &b, size - done, 0);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            *ret = done;
            return done > 0 ? 0 : errno;
        }
        if (n == 0)
            break;
        done += (uint64_t)n;
    }
    *ret = done;
    return 0;
}

/* How much of size there is from offset on. */
static uint64_t clip(const struct statx *st, uint64_t offset, uint64_t size)
{
    uint64_t have = offset < st->stx_size ? st->stx_size - offset : 0;

    return size < have ? size : have;
}

static int copy_open(struct posix *px, struct px_inode *to, struct px_open *a, struct px_open *b,
                     const struct wg_copy_range_in *in, uint64_t size, uint64_t *ret)
{
    int err = wg_px_change(px, to);

    if (err)
        return err;
    wg_px_unstable(px, to, b);
    if (reflink(a->fd, in->from_offset, b->fd, in->to_offset, size))
        *ret = size;
    else
        err = copy_bytes(a->fd, in->from_offset, b->fd, in->to_offset, size, ret);
    wg_px_changed(px, to);
    if (err == 0 && !b->slot)
        err = wg_px_sync_fd(px, b->fd, true);
    return err;
}

/* Both contents are locked. What a commit of `to` makes durable, as after an UNSTABLE write. */
static int copy_locked(struct wg_frame *f, struct px_inode *from, struct px_inode *to,
                       struct wg_copy_range_out *out)
{
    const struct wg_copy_range_in *in = wg_in(f, copy_range);
    struct posix *px = wg_px(f);
    struct px_open a, b;
    struct statx st, pre;
    uint64_t size;
    int err = wg_px_stat_inode(px, from, &st);

    if (err == 0)
        err = wg_px_stat_inode(px, to, &pre);
    if (err)
        return err;
    wg_px_wcc_pre(&pre, &out->wcc);
    size = clip(&st, in->from_offset, in->size < COPY_MAX ? in->size : COPY_MAX);
    err = wg_px_room(px, size);
    if (err == 0)
        err = wg_px_open(px, &f->call->cred, from, O_RDONLY, &a);
    if (err)
        return err;
    err = wg_px_open(px, &f->call->cred, to, O_WRONLY, &b);
    if (err == 0) {
        if (size > 0)
            err = copy_open(px, to, &a, &b, in, size, &out->copied);
        wg_px_close(px, to, &b);
    }
    wg_px_close(px, from, &a);
    return err;
}

static void lock_both(struct px_inode *from, struct px_inode *to)
{
    /* In order of address (R1); one inode is locked once. */
    if (from < to)
        pthread_rwlock_rdlock(&from->content);
    pthread_rwlock_rdlock(&to->content);
    if (from > to)
        pthread_rwlock_rdlock(&from->content);
}

void wg_posix_copy_range(struct wg_frame *f)
{
    const struct wg_copy_range_in *in = wg_in(f, copy_range);
    struct wg_copy_range_out *out = wg_new_out(f, copy_range);
    struct posix *px = wg_px(f);
    struct px_inode *from, *to;
    struct px_alone alone;
    int err;

    if (!out)
        return wg_unwind(f, ENOMEM);
    if (f->call->nowait)
        return wg_unwind(f, EWOULDBLOCK);
    if (in->from_offset > INT64_MAX || in->to_offset > INT64_MAX ||
        in->size > INT64_MAX - (in->from_offset > in->to_offset ? in->from_offset : in->to_offset))
        return wg_unwind(f, EFBIG);
    err = wg_px_find(px, &in->from, &from);
    if (err)
        return wg_unwind(f, err);
    err = wg_px_find(px, &in->to, &to);
    if (err == 0) {
        lock_both(from, to);
        wg_px_alone_begin(to, &alone);
        err = copy_locked(f, from, to, out);
        wg_px_wcc_end(to, &alone, &out->wcc);
        pthread_rwlock_unlock(&to->content);
        wg_px_ino_changed(f, &to->gfid);
        if (from != to)
            pthread_rwlock_unlock(&from->content);
        wg_px_release(px, to);
    }
    wg_px_release(px, from);
    wg_unwind(f, err);
}

/* ---- checksum ---------------------------------------------------------------------------- */

/* "md5,crc32c": the mask; 0 for what is not known. */
static unsigned algorithms_of(struct wg_str names)
{
    unsigned mask = 0;

    while (names.len > 0) {
        const char *comma = memchr(names.s, ',', names.len);
        uint32_t n = comma ? (uint32_t)(comma - names.s) : names.len;
        enum wg_sum alg = wg_sum_named((struct wg_str){ names.s, n });

        if (alg == WG_SUM_NONE || (mask & 1u << alg))
            return 0;
        mask |= 1u << alg;
        n += comma != NULL;
        names = (struct wg_str){ names.s + n, names.len - n };
    }
    return mask;
}

static int digest_range(struct wg_sums *sums, int fd, uint64_t offset, uint64_t size, void *buf)
{
    while (size > 0) {
        size_t want = size < BLOCK ? (size_t)size : BLOCK;
        ssize_t n = pread(fd, buf, want, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno;
        if (n == 0)
            return 0;
        wg_sums_update(sums, buf, (size_t)n);
        offset += (uint64_t)n;
        size -= (uint64_t)n;
    }
    return 0;
}

/* The values one after the other, in the order of their numbers. */
static int digest(struct wg_frame *f, unsigned mask, int fd, struct wg_checksum_out *out)
{
    const struct wg_checksum_in *in = wg_in(f, checksum);
    struct wg_iobuf *buf = wg_iobuf_get(BLOCK);
    uint8_t *value = wg_alloc(&f->call->arena, WG_SUM_MAX * WG_SUM_BYTES);
    struct wg_sums sums = { 0 };
    unsigned len = 0;
    int err = buf && value ? wg_sums_init(&sums, mask) : ENOMEM;

    if (err == 0)
        err = digest_range(&sums, fd, in->offset, in->size, buf->base);
    for (unsigned alg = 1; alg < WG_SUM_MAX && err == 0; alg++)
        if (mask & 1u << alg)
            len += wg_sums_final(&sums, (enum wg_sum)alg, value + len);
    if (err == 0)
        out->value = (struct wg_str){ (char *)value, len };
    wg_sums_fini(&sums);
    wg_iobuf_unref(buf);
    return err;
}

void wg_posix_checksum(struct wg_frame *f)
{
    const struct wg_checksum_in *in = wg_in(f, checksum);
    struct wg_checksum_out *out = wg_new_out(f, checksum);
    unsigned mask = algorithms_of(in->algorithm);
    struct posix *px = wg_px(f);
    struct px_inode *ino;
    struct px_open o;
    int err;

    wg_px_no_promise(f);
    if (!out)
        return wg_unwind(f, ENOMEM);
    if (!mask)
        return wg_unwind(f, ENOTSUP);
    if (f->call->nowait)
        return wg_unwind(f, EWOULDBLOCK);
    if (in->offset > INT64_MAX)
        return wg_unwind(f, EINVAL);
    err = wg_px_find(px, &in->at, &ino);
    if (err)
        return wg_unwind(f, err);
    err = wg_px_open(px, &f->call->cred, ino, O_RDONLY, &o);
    if (err == 0) {
        err = digest(f, mask, o.fd, out);
        wg_px_close(px, ino, &o);
    }
    wg_px_attr(ino, &out->attr);
    wg_px_release(px, ino);
    wg_unwind(f, err);
}
