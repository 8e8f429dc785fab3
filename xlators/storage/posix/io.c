/* SPDX-License-Identifier: Apache-2.0 */
/* read, write, commit. A warm read is preadv2 and statx; a warm write statx, pwritev, statx. */
#include "posix.h"

#include <sys/uio.h>
#include <unistd.h>

/* ---- read -------------------------------------------------------------------------------- */

int wg_px_read_full(struct posix *px, struct px_inode *ino, int fd, void *buf, uint32_t size, uint64_t offset,
                    bool nowait, uint32_t *ret)
{
    bool uncached = wg_px_uncached_read(ino, offset, size);
    uint32_t done = 0;

    while (done < size) {
        struct iovec iov = { (char *)buf + done, size - done };
        ssize_t n = wg_px_preadv(px, fd, &iov, offset + done, nowait, uncached);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EOPNOTSUPP && nowait) {
            nowait = false; /* a file system that can't say: let it block */
            continue;
        }
        if (n < 0)
            return errno == EAGAIN ? EWOULDBLOCK : errno;
        if (n == 0)
            break;
        done += (uint32_t)n;
    }
    *ret = done;
    return 0;
}

/* One try; *ret_stale when the cached fd's permissions no longer hold. */
static int read_once(struct wg_frame *f, struct px_inode *ino, struct wg_iobuf *buf, uint32_t size,
                     uint32_t *ret_len, struct statx *st, bool *ret_stale)
{
    const struct wg_read_in *in = wg_in(f, read);
    struct posix *px = wg_px(f);
    struct px_open o;
    int err = wg_px_open(px, &f->call->cred, ino, O_RDONLY, &o);

    if (err)
        return err;
    *ret_len = 0;
    if (size > 0)
        err = wg_px_read_full(px, ino, o.fd, buf->base, size, in->offset, f->call->nowait, ret_len);
    if (err == 0)
        err = wg_px_stat_inode(px, ino, st);
    if (err == 0)
        wg_px_uncached_size(px, ino, st->stx_size);
    *ret_stale = err == 0 && !wg_px_open_fresh(ino, &o, st);
    wg_px_close(px, ino, &o);
    return err;
}

static int set_data(struct wg_frame *f, struct wg_read_out *out, struct wg_iobuf *buf, uint32_t len)
{
    struct wg_seg *seg;

    if (len == 0)
        return 0;
    seg = WG_NEW(&f->call->arena, struct wg_seg);
    if (!seg)
        return ENOMEM;
    *seg = (struct wg_seg){ buf, buf->base, len };
    out->data = (struct wg_data){ seg, 1, len };
    return 0;
}

void wg_posix_read(struct wg_frame *f)
{
    const struct wg_read_in *in = wg_in(f, read);
    struct wg_read_out *out = wg_new_out(f, read);
    uint32_t size = in->size < WG_IO_MAX ? in->size : WG_IO_MAX, len = 0;
    struct posix *px = wg_px(f);
    struct wg_iobuf *buf = NULL;
    struct px_inode *ino;
    struct statx st;
    bool stale = false;
    int err;

    if (!out)
        return wg_unwind(f, ENOMEM);
    if (in->offset > INT64_MAX)
        size = 0;
    else if (size > INT64_MAX - in->offset)
        size = (uint32_t)(INT64_MAX - in->offset);
    wg_px_ino_uses(f, &in->at.gfid);
    err = wg_px_find(px, &in->at, &ino);
    if (err)
        return wg_unwind(f, err);
    if (size > 0) {
        buf = wg_iobuf_get(size);
        err = buf ? wg_keep_iobuf(&f->call->arena, buf) : ENOMEM;
    }
    if (err == 0)
        err = read_once(f, ino, buf, size, &len, &st, &stale);
    if (err == 0 && stale)
        err = read_once(f, ino, buf, size, &len, &st, &stale);
    if (err == 0)
        err = set_data(f, out, buf, len);
    if (err == 0) {
        wg_px_iatt(&st, ino->gfid, &out->attr);
        out->eof = in->offset > INT64_MAX || in->offset + len >= st.stx_size;
    }
    wg_px_release(px, ino);
    wg_unwind(f, err);
}

/* ---- write ------------------------------------------------------------------------------- */

/* All of data at offset; *ret_count is what got there when the disk is full before the end. */
static int write_full(struct posix *px, struct px_inode *ino, int fd, const struct wg_data *data, uint64_t offset,
                      uint32_t *ret_count)
{
    bool uncached = atomic_load(&ino->pinned) && atomic_load(&ino->large); /* an object under construction */
    struct iovec iov[64];
    uint32_t i = 0, done = 0, skip = 0;

    while (done < data->len) {
        unsigned n = 0;
        ssize_t w;

        for (uint32_t k = i; k < data->nseg && n < 64; k++, n++) {
            uint32_t cut = k == i ? skip : 0;

            iov[n] = (struct iovec){ (char *)data->seg[k].base + cut, data->seg[k].len - cut };
        }
        if (n == 0)
            return EINVAL; /* len is not the sum of the segments */
        w = wg_px_pwritev(px, fd, iov, n, offset + done, uncached);
        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0) {
            int err = w < 0 ? errno : EIO;

            *ret_count = done;
            return done > 0 && (err == ENOSPC || err == EDQUOT) ? 0 : err;
        }
        done += (uint32_t)w;
        for (skip += (uint32_t)w; i < data->nseg && skip >= data->seg[i].len; i++)
            skip -= data->seg[i].len;
    }
    *ret_count = done;
    return 0;
}

/* An open data fd whose permissions hold now; pre is what the inode was. */
static int open_to_write(struct wg_frame *f, struct px_inode *ino, struct statx *pre, struct px_open *o)
{
    struct posix *px = wg_px(f);
    int err = wg_px_stat_inode(px, ino, pre);

    if (err == 0)
        err = wg_px_open(px, &f->call->cred, ino, O_WRONLY, o);
    if (err || wg_px_open_fresh(ino, o, pre))
        return err;
    wg_px_close(px, ino, o);
    return wg_px_open(px, &f->call->cred, ino, O_WRONLY, o);
}

static int write_and_sync(struct wg_frame *f, struct px_inode *ino, uint32_t mode, struct px_open *o,
                          struct wg_write_out *out)
{
    const struct wg_write_in *in = wg_in(f, write);
    struct posix *px = wg_px(f);

    /* What no slot keeps open can't wait for a commit. */
    uint32_t stable = o->slot ? in->stable : WG_FILE_SYNC;
    int err = wg_px_change(px, ino);

    if (err)
        return err;
    if (stable == WG_UNSTABLE)
        wg_px_unstable(px, ino, o);
    out->verf = atomic_load(&px->verf); /* before the write: a failure after it must differ */
    err = wg_px_as_writer(px, &f->call->cred, mode);
    if (err == 0)
        err = write_full(px, ino, o->fd, &in->data, in->offset, &out->count);
    wg_px_changed(px, ino);
    if (err == 0 && stable != WG_UNSTABLE)
        err = wg_px_sync_fd(px, o->fd, stable == WG_DATA_SYNC);
    out->committed = stable;
    return err;
}

static int write_locked(struct wg_frame *f, struct px_inode *ino, struct wg_write_out *out)
{
    const struct wg_write_in *in = wg_in(f, write);
    struct posix *px = wg_px(f);
    struct px_open o;
    struct statx st;
    int err = open_to_write(f, ino, &st, &o);

    if (err)
        return err;
    wg_px_wcc_pre(&st, &out->wcc);
    if (in->data.len > 0) {
        err = write_and_sync(f, ino, st.stx_mode, &o, out);
    } else {
        out->verf = atomic_load(&px->verf);
        out->committed = in->stable;
    }
    wg_px_close(px, ino, &o);
    return err;
}

void wg_posix_write(struct wg_frame *f)
{
    const struct wg_write_in *in = wg_in(f, write);
    struct wg_write_out *out = wg_new_out(f, write);
    struct posix *px = wg_px(f);
    struct px_alone alone;
    struct px_inode *ino;
    int err;

    if (!out)
        return wg_unwind(f, ENOMEM);
    if (in->stable > WG_FILE_SYNC)
        return wg_unwind(f, EINVAL);
    if (in->offset > INT64_MAX || in->data.len > INT64_MAX - in->offset)
        return wg_unwind(f, EFBIG);
    /* What needs the disk can't be done by who may not wait. */
    if (f->call->nowait && in->stable != WG_UNSTABLE)
        return wg_unwind(f, EWOULDBLOCK);
    err = wg_px_room(px, in->data.len);
    if (err == 0)
        err = wg_px_find(px, &in->at, &ino);
    if (err)
        return wg_unwind(f, err);
    pthread_rwlock_rdlock(&ino->content);
    wg_px_alone_begin(ino, &alone);
    err = write_locked(f, ino, out);
    wg_px_wcc_end(ino, &alone, &out->wcc);
    pthread_rwlock_unlock(&ino->content);
    wg_px_ino_changed(f, &ino->gfid);
    wg_px_release(px, ino);
    if (atomic_load(&px->unstable_fds) > px->unstable_max && !f->call->nowait)
        wg_px_table_relieve(px);
    wg_unwind(f, err);
}

/* ---- commit ------------------------------------------------------------------------------ */

void wg_posix_commit(struct wg_frame *f)
{
    const struct wg_commit_in *in = wg_in(f, commit);
    struct wg_commit_out *out = wg_new_out(f, commit);
    struct posix *px = wg_px(f);
    struct px_alone alone;
    struct px_inode *ino;
    struct statx st;
    int err;

    if (!out)
        return wg_unwind(f, ENOMEM);
    if (f->call->nowait)
        return wg_unwind(f, EWOULDBLOCK);
    err = wg_px_find(px, &in->at, &ino);
    if (err)
        return wg_unwind(f, err);
    if (ino->type != WG_REG)
        err = ino->type == WG_DIR ? EISDIR : EINVAL;
    wg_px_alone_begin(ino, &alone);
    if (err == 0)
        err = wg_px_stat_inode(px, ino, &st);
    if (err == 0) {
        wg_px_wcc_pre(&st, &out->wcc);
        err = wg_px_sync_inode(px, ino, true);
        out->verf = atomic_load(&px->verf); /* after: a failure that others met counts */
    }
    wg_px_wcc_end(ino, &alone, &out->wcc);
    wg_px_release(px, ino);
    wg_unwind(f, err);
}
