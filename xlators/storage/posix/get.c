/* SPDX-License-Identifier: Apache-2.0 */
/* get: everything a GET or HEAD needs in one round trip. setmeta: an object's meta in place. */
#include "s3.h"

#include <sys/syscall.h>
#include <unistd.h>

/* ---- get ------------------------------------------------------------------------------------------ */

struct getting {
    struct px_s3 s;
    struct wg_frame *f;
    const struct wg_get_in *in;
    struct wg_get_out *out;
};

static int get_data(struct getting *g, struct px_inode *ino, int fd, uint64_t file_size)
{
    struct wg_arena *arena = &g->f->call->arena;
    uint32_t size = g->in->size < WG_IO_MAX ? g->in->size : WG_IO_MAX;
    struct wg_iobuf *buf;
    struct wg_seg *seg;
    uint32_t len = 0;
    int err;

    if (g->in->offset >= file_size)
        return 0;
    if (size > file_size - g->in->offset)
        size = (uint32_t)(file_size - g->in->offset);
    buf = wg_iobuf_get(size);
    seg = WG_NEW(arena, struct wg_seg);
    err = buf ? wg_keep_iobuf(arena, buf) : ENOMEM;
    if (err || !seg)
        return ENOMEM;
    wg_px_uncached_size(g->s.px, ino, file_size);
    err = wg_px_read_full(g->s.px, ino, fd, buf->base, size, g->in->offset, g->f->call->nowait, &len);
    if (err || len == 0)
        return err;
    *seg = (struct wg_seg){ buf, buf->base, len };
    g->out->data = (struct wg_data){ seg, 1, len };
    return 0;
}

static int get_meta(struct getting *g, struct px_inode *ino, const struct px_rec *rec)
{
    char *buf;
    uint32_t len;
    int err;

    if (!(rec->flags & PX_REC_META))
        return 0;
    buf = wg_alloc(&g->f->call->arena, WG_META_MAX);
    if (!buf)
        return ENOMEM;
    err = wg_px_meta_get(g->s.px, ino->fd, buf, WG_META_MAX, &len);
    if (err == 0)
        g->out->meta = (struct wg_str){ buf, len };
    return err;
}

/*
 * Data may be asked for or not; that it may be read is asked always, so that HEAD answers as GET.
 * The record is read before the attributes and after the open: with an inode that a publish replaces
 * meanwhile this is the old object, whole.
 */
static int get_file(struct getting *g, struct px_inode *ino)
{
    struct posix *px = g->s.px;
    struct px_open o;
    struct px_rec rec;
    struct statx st;
    int err;

    wg_px_ino_uses(g->f, &ino->gfid);
    err = wg_px_open(px, &g->s.cred, ino, O_RDONLY, &o);
    if (err)
        return err;
    err = wg_px_stat(ino->fd, &st);
    if (err == 0 && !wg_px_open_fresh(ino, &o, &st)) {
        wg_px_close(px, ino, &o);
        err = wg_px_open(px, &g->s.cred, ino, O_RDONLY, &o);
        if (err)
            return err;
        err = wg_px_stat(ino->fd, &st);
    }
    if (err == 0)
        err = wg_px_rec(px, ino, &rec);
    if (err == 0) {
        wg_px_etag(px, ino, &rec, &st, &g->out->etag);
        wg_px_iatt(&st, ino->gfid, &g->out->attr);
        wg_px_ref(ino, &g->out->ref);
        err = get_meta(g, ino, &rec);
    }
    if (err == 0 && g->in->size > 0)
        err = get_data(g, ino, o.fd, st.stx_size);
    wg_px_close(px, ino, &o);
    return err;
}

/*
 * A symlink is not followed: its target is the answer, for the gateway to go on with inside the
 * bucket. One on the way is answered as if it were the last, seen from the key's own directory.
 */
static int get_link(struct getting *g, struct px_inode *dir, const char *name, unsigned deeper)
{
    struct wg_arena *arena = &g->f->call->arena;
    char *buf = wg_alloc(arena, WG_PATH_MAX), *at;
    struct px_inode *ino;
    struct statx st;
    size_t used = 0;
    ssize_t n;
    int err;

    wg_px_no_promise(g->f);
    if (!buf)
        return ENOMEM;
    err = wg_px_child(g->s.px, &g->s.cred, dir, name, &ino, &st);
    if (err)
        return err;
    wg_px_iatt(&st, ino->gfid, &g->out->attr);
    wg_px_ref(ino, &g->out->ref);
    wg_px_release(g->s.px, ino);
    if (3 * (size_t)deeper >= WG_PATH_MAX)
        return ENOENT;
    for (unsigned i = 0; i < deeper; i++, used += 3)
        memcpy(buf + used, "../", 3);
    n = readlinkat(dir->fd, name, buf + used, WG_PATH_MAX - used);
    if (n < 0)
        return errno == EINVAL ? ENOENT : errno;
    if (deeper > 0 && buf[used] == '/') { /* absolute: no directory of ours matters */
        memmove(buf, buf + used, (size_t)n);
        used = 0;
    }
    used += (size_t)n;
    for (unsigned i = g->s.ncomp - deeper; i < g->s.ncomp; i++) {
        size_t len = strlen(g->s.name[i]);

        if (used + 1 + len >= WG_PATH_MAX)
            return ENOENT;
        at = buf + used;
        *at = '/';
        memcpy(at + 1, g->s.name[i], len);
        used += 1 + len;
    }
    g->out->link_target = (struct wg_str){ buf, (uint32_t)used };
    return 0;
}

static int get_dir(struct getting *g)
{
    struct px_inode *dir = g->s.dir[g->s.ncomp - 1];
    struct px_rec rec;
    struct statx st;
    int err = wg_px_s3_look_dir(&g->s, &rec, &st);

    wg_px_no_promise(g->f); /* whether it is an object depends on the time, too */
    if (err)
        return err;
    wg_px_s3_dir_etag(g->s.px, &rec, &st, &g->out->etag);
    wg_px_iatt(&st, dir->gfid, &g->out->attr);
    g->out->attr.size = 0;
    wg_px_ref(dir, &g->out->ref);
    return get_meta(g, dir, &rec);
}

static int get(struct getting *g)
{
    struct px_s3 *s = &g->s;
    struct px_obj o;
    int err = wg_px_s3_walk(s, s->ncomp);

    if (err == ELOOP)
        return get_link(g, s->dir[s->ndir - 1], s->name[s->ndir - 1], s->ncomp - s->ndir);
    if (err)
        return err;
    for (int tries = 0; tries < 3; tries++) {
        err = wg_px_s3_look(s, &o);
        if (err)
            break;
        if (o.ino->type == WG_LNK)
            err = get_link(g, o.dir, o.name, 0);
        else
            err = get_file(g, o.ino);
        wg_px_release(s->px, o.ino);
        if (err != ESTALE) /* removed between look and open: look again */
            return err;
    }
    if ((err == ENOENT || err == EISDIR) && s->marker)
        return get_dir(g);
    return err;
}

void wg_posix_get(struct wg_frame *f)
{
    const struct wg_get_in *in = wg_in(f, get);
    struct getting g = { .f = f, .in = in, .out = wg_new_out(f, get) };
    int err;

    if (!g.out)
        return wg_unwind(f, ENOMEM);
    err = wg_px_s3_begin(&g.s, f, &in->bucket, in->space, in->key);
    if (err == 0)
        err = get(&g);
    wg_px_s3_end(&g.s);
    wg_unwind(f, err);
}

/* ---- setmeta ---------------------------------------------------------------------------------------- */

struct setting {
    struct px_s3 s;
    const struct wg_setmeta_in *in;
    struct wg_setmeta_out *out;
    struct px_cond cond;
    bool changed;
};

static int may_write(struct px_s3 *s, struct px_inode *ino, const struct statx *st)
{
    int err = wg_px_as(s->px, &s->cred);

    if (err || !s->px->switches || s->cred.uid == st->stx_uid)
        return err;
    return syscall(SYS_faccessat2, ino->fd, "", W_OK, AT_EMPTY_PATH | AT_EACCESS) == 0 ? 0 : errno;
}

static int set(struct setting *m, struct px_inode *ino, struct px_rec *rec, struct statx *st)
{
    struct posix *px = m->s.px;
    const struct wg_str *meta = &m->in->meta;
    int err;

    if (!wg_gfid_is_zero(m->in->expect) && !wg_gfid_eq(m->in->expect, ino->gfid))
        return ENOTEXPECTED;
    err = may_write(&m->s, ino, st);
    if (err == 0) /* an unprivileged user. xattr asks for write permission: NFS's rule is kept */
        err = wg_px_meta_set(px, ino->fd, meta->s, meta->len);
    if (err)
        return err;
    m->changed = true;
    rec->flags &= (uint8_t)~PX_REC_META;
    rec->flags |= meta->len > 0 ? PX_REC_META : 0;
    err = wg_px_rec_set(px, ino->fd, rec);
    if (err)
        return err;
    wg_px_rec_changed(px, ino, rec);
    return wg_px_stat(ino->fd, st);
}

static int setmeta_file(struct setting *m, struct px_inode *ino)
{
    struct posix *px = m->s.px;
    struct wg_etag etag;
    struct px_rec rec;
    struct statx st;
    int err;

    if (ino->type != WG_REG)
        return ENOENT;
    pthread_rwlock_wrlock(&ino->content);
    err = wg_px_stat(ino->fd, &st);
    if (err == 0)
        err = wg_px_rec(px, ino, &rec);
    if (err == 0) {
        wg_px_etag(px, ino, &rec, &st, &etag);
        err = wg_px_s3_check(&m->cond, &etag, &st);
    }
    if (err == 0)
        err = set(m, ino, &rec, &st);
    if (err == 0) {
        wg_px_etag(px, ino, &rec, &st, &m->out->etag);
        wg_px_iatt(&st, ino->gfid, &m->out->attr);
    }
    pthread_rwlock_unlock(&ino->content);
    return err ? err : wg_px_sync_inode(px, ino, false);
}

static int setmeta_dir(struct setting *m)
{
    struct px_inode *dir = m->s.dir[m->s.ncomp - 1];
    struct wg_etag etag;
    struct px_rec rec;
    struct statx st;
    int err = wg_px_s3_look_dir(&m->s, &rec, &st);

    if (err)
        return err;
    wg_px_s3_dir_etag(m->s.px, &rec, &st, &etag);
    err = wg_px_s3_check(&m->cond, &etag, &st);
    rec.flags |= PX_REC_MARKER; /* what has meta is an object of its own */
    if (err == 0)
        err = set(m, dir, &rec, &st);
    if (err)
        return err;
    wg_px_s3_dir_etag(m->s.px, &rec, &st, &m->out->etag);
    wg_px_iatt(&st, dir->gfid, &m->out->attr);
    m->out->attr.size = 0;
    return wg_px_sync_dir(m->s.px, dir->fd);
}

static int setmeta(struct setting *m)
{
    struct px_s3 *s = &m->s;
    struct px_names held;
    struct px_obj o;
    int err = wg_px_s3_walk(s, s->ncomp);

    if (err == 0)
        err = wg_px_s3_twin(s, false);
    if (err)
        return err;
    if (s->marker)
        wg_px_s3_lock_dir(s, &held);
    else
        wg_px_s3_lock(s, &held);
    err = wg_px_s3_look(s, &o);
    if (err == 0) {
        err = setmeta_file(m, o.ino);
        if (m->changed)
            wg_px_ino_changed(s->f, &o.ino->gfid);
        wg_px_release(s->px, o.ino);
    } else if ((err == ENOENT || err == EISDIR) && s->marker) {
        err = setmeta_dir(m);
        if (m->changed)
            wg_px_ino_changed(s->f, &s->dir[s->ncomp - 1]->gfid);
    }
    wg_px_unlock_names(s->px, &held);
    return err;
}

void wg_posix_setmeta(struct wg_frame *f)
{
    const struct wg_setmeta_in *in = wg_in(f, setmeta);
    struct setting m = { .in = in, .out = wg_new_out(f, setmeta) };
    int err = m.out ? 0 : ENOMEM;

    if (err == 0 && in->meta.len > WG_META_MAX)
        err = EINVAL;
    if (err == 0 && f->call->nowait)
        err = EWOULDBLOCK;
    if (err == 0)
        err = wg_px_room(wg_px(f), 4096);
    if (err)
        return wg_unwind(f, err);
    m.cond = (struct px_cond){ .flags = in->cond, .match = &in->if_match };
    err = wg_px_s3_begin(&m.s, f, &in->bucket, in->space, in->key);
    if (err == 0)
        err = setmeta(&m);
    wg_px_s3_end(&m.s);
    wg_unwind(f, err);
}
