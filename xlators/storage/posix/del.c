/* SPDX-License-Identifier: Apache-2.0 */
/*
 * del: the object under a key goes; its inode is kept for who reads it by handle. Then the
 * directories that PUTs made for it go, if it was their last key.
 */
#include "s3.h"

#include <sys/syscall.h>
#include <unistd.h>

struct deleting {
    struct px_s3 s;
    const struct wg_del_in *in;
    struct wg_del_out *out;
    struct px_cond cond;
};

static int del_inode(struct deleting *d, struct px_obj *o)
{
    struct posix *px = d->s.px;
    bool file = o->ino->type == WG_REG;
    struct wg_etag etag = { 0 };
    struct px_rec rec;
    int err = wg_px_stat(o->ino->fd, &o->st);

    if (err == 0 && !wg_gfid_is_zero(d->in->expect) && !wg_gfid_eq(d->in->expect, o->ino->gfid))
        err = ENOTEXPECTED;
    if (err == 0 && file)
        err = wg_px_rec(px, o->ino, &rec);
    if (err)
        return err;
    if (file)
        wg_px_etag(px, o->ino, &rec, &o->st, &etag);
    err = wg_px_s3_check(&d->cond, &etag, &o->st);
    if (err == 0 && file)
        err = wg_px_retain(px, o->ino);
    if (err)
        return err;
    err = wg_px_as(px, &d->s.cred);
    wg_px_s3_before(px, o->dir);
    if (err == 0 && unlinkat(o->dir->fd, o->name, 0) < 0)
        err = errno;
    wg_px_s3_after(px, o->dir);
    if (err && file)
        wg_px_retain_undo(px, o->ino);
    if (err == 0)
        wg_px_s3_gone(&d->s, o->dir, o->name, o->ino, &o->st, o->st.stx_nlink <= 1);
    return err;
}

static int del_file(struct deleting *d, struct px_obj *o)
{
    int err;

    pthread_rwlock_wrlock(&o->ino->content);
    err = del_inode(d, o);
    pthread_rwlock_unlock(&o->ino->content);
    if (err == ENOENT) /* taken away behind our back */
        return 0;
    d->out->existed = err == 0;
    return err;
}

/* Unmarking is the brick's doing, so that the kernel does not ask: may the caller remove names there? */
static int may_unmark(struct px_s3 *s)
{
    struct px_inode *parent = s->dir[s->ncomp - 2];
    int err = wg_px_as(s->px, &s->cred);

    if (err || !s->px->switches)
        return err;
    return syscall(SYS_faccessat2, parent->fd, "", W_OK | X_OK, AT_EMPTY_PATH | AT_EACCESS) == 0
               ? 0
               : errno;
}

/* The directory object: it stays as a directory while it holds other keys. */
static int del_dir(struct deleting *d, bool had_content)
{
    struct px_s3 *s = &d->s;
    struct px_inode *dir = s->dir[s->ncomp - 1];
    struct wg_etag etag;
    struct px_rec rec;
    struct statx st;
    int err = wg_px_s3_look_dir(s, &rec, &st);

    if (err == ENOENT) {
        d->out->existed = had_content;
        return had_content ? 0 : wg_px_s3_check_none(&d->cond);
    }
    if (err)
        return err;
    wg_px_s3_dir_etag(s->px, &rec, &st, &etag);
    if (!had_content)
        err = wg_px_s3_check(&d->cond, &etag, &st);
    if (err)
        return err;
    /* From now on it is like one that a PUT made: prune takes it away if it is empty. */
    rec.flags &= (uint8_t)~(PX_REC_MARKER | PX_REC_META | PX_REC_CLEAN);
    rec.flags |= PX_REC_MADE;
    err = may_unmark(s);
    if (err == 0)
        err = wg_px_meta_set(s->px, dir->fd, NULL, 0);
    if (err == 0)
        err = wg_px_rec_set(s->px, dir->fd, &rec);
    if (err == 0)
        wg_px_rec_changed(s->px, dir, &rec);
    wg_px_ino_changed(s->f, &dir->gfid);
    d->out->existed = err == 0;
    return err;
}

static int del_locked(struct deleting *d, struct px_inode **ret_changed)
{
    struct px_s3 *s = &d->s;
    struct px_obj o;
    bool had_content = false;
    int err = wg_px_s3_look(s, &o);

    if (err == 0) {
        *ret_changed = o.dir;
        err = del_file(d, &o);
        had_content = d->out->existed;
        wg_px_release(s->px, o.ino);
    } else if (err == ENOENT || err == EISDIR) {
        err = s->marker ? 0 : wg_px_s3_check_none(&d->cond);
    }
    if (err == 0 && s->marker) {
        *ret_changed = s->dir[s->ncomp - 1];
        err = del_dir(d, had_content);
    }
    return err;
}

/* Nearest ancestor that is still there: what was pruned below it goes to disk with it. */
static void sync_what_is_left(struct px_s3 *s, struct px_inode *changed)
{
    struct statx st;

    if (changed && wg_px_stat(changed->fd, &st) == 0 && st.stx_nlink > 0)
        return wg_px_s3_durable(s, changed);
    for (unsigned i = s->ndir; i > 0; i--)
        if (wg_px_stat(s->dir[i - 1]->fd, &st) == 0 && st.stx_nlink > 0)
            return wg_px_s3_durable(s, s->dir[i - 1]);
}

/* Nothing there. Sent again, it may have removed it before, and ended before that was on disk. */
static int nothing(struct deleting *d)
{
    int err = wg_px_s3_check_none(&d->cond);

    if (err == 0 && d->s.f->call->replay)
        sync_what_is_left(&d->s, NULL);
    return err;
}

static int del(struct deleting *d)
{
    struct px_s3 *s = &d->s;
    struct px_inode *changed = NULL;
    struct px_names held;
    int err = wg_px_s3_walk(s, s->ncomp);

    if (err == 0)
        err = wg_px_s3_twin(s, false);
    if (err == ENOENT) /* which is what was wanted */
        return nothing(d);
    if (err)
        return err;
    if (s->marker)
        wg_px_s3_lock_dir(s, &held);
    else
        wg_px_s3_lock(s, &held);
    err = del_locked(d, &changed);
    wg_px_unlock_names(s->px, &held);
    if (err == 0 && !d->out->existed)
        return nothing(d);
    if (err)
        return err;
    wg_px_s3_prune(s, s->ndir - 1);
    sync_what_is_left(s, changed);
    return 0;
}

void wg_posix_del(struct wg_frame *f)
{
    const struct wg_del_in *in = wg_in(f, del);
    struct deleting d = { .in = in, .out = wg_new_out(f, del) };
    int err = d.out ? 0 : ENOMEM;

    if (err == 0 && wg_px(f)->readonly)
        err = EROFS;
    if (err == 0 && f->call->nowait)
        err = EWOULDBLOCK;
    if (err)
        return wg_unwind(f, err);
    d.cond = (struct px_cond){ .flags = in->cond, .match = &in->if_match, .size = in->if_size,
                               .mtime = in->if_mtime };
    err = wg_px_s3_begin(&d.s, f, &in->bucket, in->space, in->key);
    if (err == 0)
        err = del(&d);
    wg_px_s3_unwind(&d.s, f, err);
}
