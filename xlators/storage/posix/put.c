/* SPDX-License-Identifier: Apache-2.0 */
/*
 * put: the object is whole before it has a name, and on disk before the answer. In order
 * (publish() and its callers; nothing else makes a PUT durable):
 *
 *   1. an unnamed file gets the data, attributes, record and meta; fsync
 *   2. names locked; the object under the key is found, held exclusively, and compared
 *   3. the index has the row
 *   4. a new name: linkat, which decides. A replacement: linked into staging, the old inode kept for
 *      its readers, renamed over
 *   5. names released; fsync of the parent of each directory made on the way; the answer waits for the
 *      fsync of the directory, which concurrent ones share (commit.c)
 *
 * Killed anywhere, the key has the whole old object or the whole new one.
 */
#include "s3.h"

#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define FS_ACCESS(fd, mask) \
    ((int)syscall(SYS_faccessat2, (fd), "", (mask), AT_EMPTY_PATH | AT_EACCESS))

struct putting {
    struct px_s3 s;
    const struct wg_put_in *in;
    struct wg_put_out *out;
    struct px_cond cond;
    wg_gfid gfid;
    struct px_inode *ino; /* the new object, referenced */
    bool staged;
    bool replay;          /* sent again: it may have been done */
    bool refused;         /* by a condition: not to be tried again */
};

/* ---- 1: the content --------------------------------------------------------------------------- */

static int write_all(int fd, const struct wg_data *data)
{
    uint64_t offset = 0;

    for (uint32_t i = 0; i < data->nseg; i++) {
        const char *p = data->seg[i].base;
        uint32_t left = data->seg[i].len;

        while (left > 0) {
            ssize_t n = pwrite(fd, p, left, (off_t)offset);

            if (n < 0 && errno == EINTR)
                continue;
            if (n <= 0)
                return n < 0 ? errno : EIO;
            p += n;
            left -= (uint32_t)n;
            offset += (uint32_t)n;
        }
    }
    return 0;
}

/* Attributes first, since they change the mtime that the record repeats. */
static int seal(struct putting *p, int fd)
{
    struct posix *px = p->s.px;
    struct wg_sattr attrs = p->in->attrs;
    struct px_rec rec;
    struct statx st;
    int err = 0;

    attrs.valid &= ~(uint32_t)(WG_SET_SIZE | WG_SET_GUARD);
    if (!p->staged) /* made with it */
        attrs.valid &= ~(uint32_t)WG_SET_MODE;
    if (attrs.valid)
        err = wg_px_set_attrs(px, &p->s.cred, p->ino, &attrs);
    if (err == 0)
        err = wg_px_rec(px, p->ino, &rec);
    if (err == 0 && p->in->meta.len > 0) {
        err = wg_px_meta_set(px, fd, p->in->meta.s, p->in->meta.len);
        rec.flags |= PX_REC_META;
    }
    if (err == 0)
        err = wg_px_stat(fd, &st);
    if (err)
        return err;
    if (p->in->etag.valid)
        wg_px_rec_stamp(&rec, &p->in->etag, &st);
    err = wg_px_rec_set(px, fd, &rec);
    if (err == 0)
        wg_px_rec_changed(px, p->ino, &rec);
    return err;
}

static int new_content(struct putting *p)
{
    int fd, err = wg_px_room(p->s.px, p->in->data.len);

    if (err == 0)
        err = wg_px_tmpfile(&p->s, p->s.dir[p->s.ncomp - 1], p->gfid, &p->in->attrs, &p->ino, &fd);
    if (err)
        return err;
    err = write_all(fd, &p->in->data);
    if (err == 0)
        err = seal(p, fd);
    if (err == 0)
        err = wg_px_sync_fd(p->s.px, fd, false);
    if (err)
        close(fd);
    else
        wg_px_keep_open(p->s.px, &p->s.owner, p->ino, O_RDWR, fd);
    return err;
}

/* Late writes are kept out by the exclusive hold that publish takes over. */
static int staged_content(struct putting *p)
{
    int err = seal(p, p->ino->fd);

    return err ? err : wg_px_sync_inode(p->s.px, p->ino, false);
}

/* ---- 2 to 4: the name ----------------------------------------------------------------------------- */

/* What rename as the brick would not check: may the caller replace a name in dir? */
static int may_replace(struct px_s3 *s, struct px_inode *dir, const struct statx *victim)
{
    struct statx st;
    int err = wg_px_as(s->px, &s->cred);

    if (err || !s->px->switches)
        return err;
    if (FS_ACCESS(dir->fd, W_OK | X_OK) != 0)
        return errno;
    err = wg_px_stat(dir->fd, &st);
    if (err == 0 && (st.stx_mode & S_ISVTX) && s->cred.uid != 0 &&
        s->cred.uid != st.stx_uid && s->cred.uid != victim->stx_uid)
        err = EPERM;
    return err;
}

static int link_new(struct putting *p, struct px_inode *dir, const char *name)
{
    struct posix *px = p->s.px;
    char path[PX_FD_PATH];
    int err = wg_px_as(px, &p->s.cred);

    if (err == 0 && linkat(AT_FDCWD, wg_px_fd_path(path, p->ino->fd), dir->fd, name,
                           AT_SYMLINK_FOLLOW) < 0)
        err = errno;
    return err;
}

/* Links into staging and renames over; old is what is lost. Leaves the thread as the brick. */
static int replace(struct putting *p, struct px_inode *dir, const char *name, struct px_obj *old)
{
    struct posix *px = p->s.px;
    int fd = wg_px_staging_fd(px), err = may_replace(&p->s, dir, &old->st);
    char path[PX_FD_PATH], temp[33];

    if (err == 0)
        err = wg_px_as_brick(px);
    if (err)
        return err;
    for (unsigned i = 0; i < 16; i++)
        snprintf(temp + 2 * i, 3, "%02x", p->gfid.b[i]);
    if (linkat(AT_FDCWD, wg_px_fd_path(path, p->ino->fd), fd, temp, AT_SYMLINK_FOLLOW) < 0 &&
        errno != EEXIST)
        return errno;
    err = old->ino->type == WG_REG ? wg_px_retain(px, old->ino) : 0;
    if (err == 0 && renameat(fd, temp, dir->fd, name) < 0) {
        err = errno;
        if (old->ino->type == WG_REG)
            wg_px_retain_undo(px, old->ino);
    }
    if (err)
        (void)unlinkat(fd, temp, 0);
    return err;
}

static void answer(struct putting *p, struct px_inode *ino, const struct statx *st)
{
    struct px_rec rec = { 0 };

    wg_px_ref(ino, &p->out->ref);
    wg_px_iatt(st, ino->gfid, &p->out->attr);
    (void)wg_px_rec(p->s.px, ino, &rec);
    wg_px_etag(p->s.px, ino, &rec, st, &p->out->etag);
}

static int compare(struct putting *p, struct px_obj *old)
{
    struct wg_etag etag = { 0 };
    struct px_rec rec;
    int err;

    if (!old->ino)
        return wg_px_s3_check_none(&p->cond);
    if (old->ino->type != WG_REG)
        return wg_px_s3_check(&p->cond, &etag, &old->st);
    err = wg_px_stat(old->ino->fd, &old->st);
    if (err == 0)
        err = wg_px_rec(p->s.px, old->ino, &rec);
    if (err)
        return err;
    wg_px_etag(p->s.px, old->ino, &rec, &old->st, &etag);
    return wg_px_s3_check(&p->cond, &etag, &old->st);
}

static int give_name(struct putting *p, struct px_inode *dir, const char *name, struct px_obj *old)
{
    struct posix *px = p->s.px;
    bool over = old->ino && old->dir == dir && old->name == name;
    int err = wg_px_index_add(px, dir->gfid, name, p->gfid, WG_REG, p->ino->hint, p->ino->hint_len);

    if (err)
        return err;
    wg_px_s3_before(px, dir);
    err = over ? replace(p, dir, name, old) : link_new(p, dir, name);
    wg_px_s3_after(px, dir);
    if (err) {
        (void)wg_px_index_remove(px, dir->gfid, name, p->gfid, true);
        if (over) /* the row was overwritten with ours */
            (void)wg_px_index_add(px, dir->gfid, name, old->ino->gfid, old->ino->type,
                                  old->ino->hint, old->ino->hint_len);
        return err;
    }
    if (over) /* which also says that the name has changed */
        wg_px_s3_gone(&p->s, dir, name, old->ino, &old->st, old->st.stx_nlink <= 1);
    else
        wg_px_name_changed(p->s.f, &dir->gfid, name);
    return 0;
}

/* The plain name is there again: the twin that stood for it goes. */
static int drop_twin(struct putting *p, struct px_obj *old)
{
    struct posix *px = p->s.px;
    int err = old->ino->type == WG_REG ? wg_px_retain(px, old->ino) : 0;

    if (err == 0)
        err = wg_px_as(px, &p->s.cred);
    if (err)
        return err;
    wg_px_s3_before(px, old->dir);
    if (unlinkat(old->dir->fd, old->name, 0) < 0 && errno != ENOENT)
        err = errno;
    wg_px_s3_after(px, old->dir);
    if (err == 0)
        wg_px_s3_gone(&p->s, old->dir, old->name, old->ino, &old->st, old->st.stx_nlink <= 1);
    else if (old->ino->type == WG_REG)
        wg_px_retain_undo(px, old->ino);
    return err;
}

/* EAGAIN: the twin's chunk directory is needed first. *ret_dir: where it was published. */
static int publish_locked(struct putting *p, struct px_obj *old, struct px_inode **ret_dir)
{
    struct px_s3 *s = &p->s;
    struct px_inode *dir = s->dir[s->ncomp - 1];
    const char *name = s->name[s->ncomp - 1];
    struct statx st;
    int err, plain = wg_px_as(s->px, &s->cred);

    if (plain == 0)
        plain = wg_px_stat_at(dir->fd, name, &st);
    if (plain && plain != ENOENT)
        return plain;
    if (plain == 0 && S_ISDIR(st.stx_mode)) {
        if (!s->twin_dir)
            return EAGAIN;
        dir = s->twin_dir;
        name = s->twin_name;
    }
    /* A device, FIFO or socket is no object, so it isn't replaced by one; nor would it help to try again. */
    if (plain == 0 && !S_ISDIR(st.stx_mode) && !S_ISREG(st.stx_mode) && !S_ISLNK(st.stx_mode))
        return EPERM;
    *ret_dir = dir;
    err = compare(p, old);
    p->refused = err != 0;
    if (err)
        return err;
    err = give_name(p, dir, name, old);
    if (err == 0 && old->ino && old->twin && dir != old->dir)
        err = drop_twin(p, old);
    else if (err == 0 && old->ino && old->twin && name != old->name)
        err = drop_twin(p, old);
    return err;
}

/* Both exclusively, in order of address (R1). old may be NULL. */
static void hold(struct px_inode *a, struct px_inode *b)
{
    if (b && b < a) {
        struct px_inode *t = a;

        a = b;
        b = t;
    }
    pthread_rwlock_wrlock(&a->content);
    if (b && b != a)
        pthread_rwlock_wrlock(&b->content);
}

static void unhold(struct px_inode *a, struct px_inode *b)
{
    pthread_rwlock_unlock(&a->content);
    if (b && b != a)
        pthread_rwlock_unlock(&b->content);
}

static int publish(struct putting *p, struct px_inode **ret_dir)
{
    struct px_s3 *s = &p->s;
    struct px_names held;
    struct px_obj old;
    int err = wg_px_s3_twin(s, false);

    if (err)
        return err;
    wg_px_s3_lock(s, &held);
    err = wg_px_s3_look(s, &old);
    if (err == ENOENT || err == EISDIR)
        err = 0;
    if (err == 0 && old.ino && wg_gfid_eq(old.ino->gfid, p->gfid)) {
        answer(p, old.ino, &old.st); /* a replay of what has been done */
        *ret_dir = old.dir;
        wg_px_release(s->px, old.ino);
        wg_px_unlock_names(s->px, &held);
        return 0;
    }
    if (err == 0) {
        struct statx st;

        hold(p->ino, old.ino);
        /* The staged file is sealed under the hold that keeps late writes out of it. */
        err = p->staged ? staged_content(p) : 0;
        if (err == 0)
            err = publish_locked(p, &old, ret_dir);
        if (err == 0)
            err = wg_px_stat(p->ino->fd, &st);
        if (err == 0) {
            wg_px_unpin(s->px, p->ino);
            wg_px_ref(p->ino, &p->out->ref);
            wg_px_ident_put(s->px, &st, &p->out->ref);
            answer(p, p->ino, &st);
        }
        unhold(p->ino, old.ino);
    }
    if (old.ino)
        wg_px_release(s->px, old.ino);
    wg_px_unlock_names(s->px, &held);
    return err;
}

static bool again(int err)
{
    return err == EAGAIN || err == ENOENT || err == ESTALE || err == EEXIST;
}

/* The path to the file is on disk; the answer waits for the file's own name. */
static int durable(struct putting *p, struct px_inode *dir)
{
    struct px_s3 *s = &p->s;
    int err = wg_px_s3_sync_path(s);

    if (err == 0)
        wg_px_s3_durable(s, dir);
    if (err == 0 && s->twin_dir == dir) /* and for its chunk's */
        wg_px_s3_durable(s, s->dir[s->ncomp - 1]);
    return err;
}

/* Directories made, the name given; tried again when a DELETE prunes them beside us. */
static int put_file(struct putting *p)
{
    struct px_s3 *s = &p->s;
    struct px_inode *dir = NULL;
    int err = EAGAIN;

    for (int tries = 0; tries < PX_S3_TRIES && again(err) && !p->refused; tries++) {
        bool chunk = err == EAGAIN && tries > 0;

        wg_px_s3_pause((unsigned)tries);
        if (!chunk)
            wg_px_s3_rewind(s);
        err = wg_px_s3_make(s, s->ncomp, (wg_gfid){ 0 });
        if (err == 0 && chunk)
            err = wg_px_s3_twin(s, true);
        if (err == 0 && !p->ino)
            err = new_content(p);
        if (err == 0)
            err = publish(p, &dir);
    }
    if (err == 0)
        err = durable(p, dir);
    if (err && s->ndir > 1)
        wg_px_s3_prune(s, s->ndir - 1);
    return err == EEXIST || err == EAGAIN ? EBUSY : err;
}

/* ---- directory objects ---------------------------------------------------------------------------------- */

/* The content of a directory object goes: from now on it is of size 0. Names locked. */
static int drop_content(struct putting *p, struct px_obj *old)
{
    int err;

    pthread_rwlock_wrlock(&old->ino->content);
    err = drop_twin(p, old);
    pthread_rwlock_unlock(&old->ino->content);
    return err;
}

static int mark(struct putting *p, struct px_inode *dir)
{
    struct posix *px = p->s.px;
    struct px_rec rec;
    struct statx st;
    int err = wg_px_as(px, &p->s.cred);

    if (err == 0 && px->switches && FS_ACCESS(dir->fd, W_OK) != 0)
        err = errno;
    if (err == 0)
        err = wg_px_rec(px, dir, &rec);
    if (err == 0)
        err = wg_px_meta_set(px, dir->fd, p->in->meta.s, p->in->meta.len);
    if (err == 0)
        err = wg_px_stat(dir->fd, &st);
    if (err)
        return err;
    rec.flags &= (uint8_t)~(PX_REC_MADE | PX_REC_META);
    rec.flags |= PX_REC_MARKER | (p->in->meta.len > 0 ? PX_REC_META : 0);
    if (p->in->etag.valid)
        wg_px_rec_stamp(&rec, &p->in->etag, &st);
    err = wg_px_rec_set(px, dir->fd, &rec);
    if (err == 0)
        wg_px_rec_changed(px, dir, &rec);
    wg_px_ino_changed(p->s.f, &dir->gfid);
    return err;
}

static int put_dir_locked(struct putting *p)
{
    struct px_s3 *s = &p->s;
    struct px_inode *dir = s->dir[s->ncomp - 1];
    struct px_obj old;
    struct px_rec rec;
    struct wg_etag etag;
    struct statx st;
    int err = wg_px_s3_look(s, &old);

    if (err == 0) {
        err = compare(p, &old);
    } else if (err == ENOENT || err == EISDIR) {
        err = wg_px_s3_look_dir(s, &rec, &st);
        if (err == 0 && wg_gfid_eq(dir->gfid, p->gfid) && (rec.flags & PX_REC_MARKER)) {
            err = 0; /* a replay */
        } else if (err == 0) {
            wg_px_s3_dir_etag(s->px, &rec, &st, &etag);
            err = wg_px_s3_check(&p->cond, &etag, &st);
        } else if (err == ENOENT) {
            err = wg_px_s3_check_none(&p->cond);
        }
    }
    p->refused = err != 0;
    if (err == 0)
        err = mark(p, dir);
    if (err == 0 && old.ino)
        err = drop_content(p, &old);
    if (old.ino)
        wg_px_release(s->px, old.ino);
    if (err == 0)
        err = wg_px_stat_inode(s->px, dir, &st);
    if (err == 0)
        err = wg_px_rec(s->px, dir, &rec);
    if (err == 0) {
        wg_px_ref(dir, &p->out->ref);
        wg_px_iatt(&st, dir->gfid, &p->out->attr);
        p->out->attr.size = 0;
        wg_px_s3_dir_etag(s->px, &rec, &st, &p->out->etag);
    }
    return err;
}

/* An empty directory object: the directory itself. */
static int put_dir(struct putting *p)
{
    struct px_s3 *s = &p->s;
    int err = ESTALE;

    for (int tries = 0; tries < PX_S3_TRIES && (err == ESTALE || err == ENOENT) && !p->refused;
         tries++) {
        struct px_names held;

        wg_px_s3_pause((unsigned)tries);
        wg_px_s3_rewind(s);
        err = wg_px_s3_make(s, s->ncomp, p->gfid);
        if (err == 0)
            err = wg_px_s3_twin(s, false);
        if (err)
            continue;
        wg_px_s3_lock_dir(s, &held);
        err = put_dir_locked(p);
        wg_px_unlock_names(s->px, &held);
    }
    if (err == 0)
        err = durable(p, s->dir[s->ncomp - 1]);
    if (err && s->ndir > 1)
        wg_px_s3_prune(s, s->ndir - 1);
    return err;
}

/* ---- the fop ----------------------------------------------------------------------------------------------- */

/* Nothing staged any more: it was published by an earlier sending of this request, or is lost. */
static int replayed(struct putting *p)
{
    struct px_obj o;
    int err = wg_px_s3_walk(&p->s, p->s.ncomp);

    if (err == 0)
        err = wg_px_s3_look(&p->s, &o);
    if (err == 0) {
        /* Published, but the brick may have ended before its name was on disk. */
        err = wg_gfid_eq(o.ino->gfid, p->gfid) ? durable(p, o.dir) : ESTALE;
        if (err == 0)
            answer(p, o.ino, &o.st);
        wg_px_release(p->s.px, o.ino);
    } else {
        err = ESTALE;
    }
    wg_px_s3_rewind(&p->s);
    return err;
}

static bool seen_before(struct putting *p)
{
    struct px_inode *ino = p->replay ? NULL : wg_px_peek(p->s.px, p->gfid);

    if (ino)
        wg_px_release(p->s.px, ino);
    return p->replay || ino;
}

static int put(struct putting *p)
{
    struct statx st = { 0 };
    int err;

    if (p->staged) {
        if (wg_px_staged(p->s.px, p->in->from.gfid, &p->ino) != 0)
            return replayed(p);
        err = wg_px_stat(p->ino->fd, &st);
        if (err)
            return err;
    } else {
        /* Before a second inode of this gfid is made: has this been done already? */
        if (seen_before(p) && replayed(p) == 0)
            return 0;
        st.stx_size = p->in->data.len;
    }
    if (!p->s.marker || p->s.ncomp < 2 || st.stx_size > 0)
        return put_file(p);
    err = put_dir(p);
    if (err == 0 && p->staged) {
        wg_px_unpin(p->s.px, p->ino);
        wg_px_forget(p->s.px, p->ino);
    }
    return err;
}

static int check_args(const struct wg_put_in *in)
{
    bool staged = !wg_gfid_is_zero(in->from.gfid);
    uint64_t len = 0;

    for (uint32_t i = 0; i < in->data.nseg; i++)
        len += in->data.seg[i].len;
    if (len != in->data.len || in->meta.len > WG_META_MAX)
        return EINVAL;
    if (staged && (in->data.len > 0 || (!wg_gfid_is_zero(in->gfid) &&
                                        !wg_gfid_eq(in->gfid, in->from.gfid))))
        return EINVAL;
    return 0;
}

void wg_posix_put(struct wg_frame *f)
{
    const struct wg_put_in *in = wg_in(f, put);
    struct putting p = { .in = in, .out = wg_new_out(f, put) };
    struct posix *px = wg_px(f);
    int err = p.out ? check_args(in) : ENOMEM;

    if (err == 0 && f->call->nowait)
        err = EWOULDBLOCK;
    if (err)
        return wg_unwind(f, err);
    p.staged = !wg_gfid_is_zero(in->from.gfid);
    p.replay = f->call->replay;
    p.gfid = p.staged ? in->from.gfid : wg_gfid_is_zero(in->gfid) ? wg_gfid_new() : in->gfid;
    p.cond = (struct px_cond){ .flags = in->cond, .match = &in->if_match };
    err = wg_px_s3_begin(&p.s, f, &in->bucket, in->space, in->key);
    if (err == 0)
        err = put(&p);
    if (p.ino) {
        wg_px_ino_changed(f, &p.gfid); /* attributes, and its first name */
        if (err == 0 && p.staged)
            (void)wg_px_stage_take(px, p.gfid);
        else if (err && !p.staged) /* never published: nobody knows it */
            wg_px_forget(px, p.ino);
        wg_px_release(px, p.ino);
    }
    wg_px_s3_unwind(&p.s, f, err);
}
