/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fops that take a name away: unlink, rmdir, rename. The caller may say which gfid it expects
 * under a name; a replay whose victim is gone has had its effect.
 */
#include "posix.h"

#include <dirent.h>
#include <stdio.h>
#include <unistd.h>

/* No name and no record of it any more: ident and inode table forget who it was. */
static void gone(struct posix *px, const struct wg_ref *ref, const struct statx *st)
{
    struct px_inode *ino = wg_px_peek(px, ref->gfid);
    struct statx now;

    wg_px_ident_drop(px, st);
    if (!ino)
        return;
    if (wg_px_stat(ino->fd, &now) != 0 || now.stx_nlink == 0)
        wg_px_forget(px, ino);
    wg_px_release(px, ino);
}

static bool last_name(const struct statx *st)
{
    return S_ISDIR(st->stx_mode) || st->stx_nlink <= 1;
}

/* ---- unlink, rmdir ----------------------------------------------------------------------- */

struct removing {
    struct posix *px;
    const struct wg_cred *cred;
    struct px_inode *dir;
    char name[WG_NAME_MAX + 1];
    wg_gfid expect;
    wg_gfid victim; /* what was removed; zero: nothing */
    uint64_t id[2]; /* wg_px_done_id */
    bool replay, rmdir;
};

static int remove_locked(struct removing *r)
{
    struct posix *px = r->px;
    enum px_earlier earlier = wg_px_done_find(px, r->id);
    struct wg_ref ref;
    struct statx st;
    int err;

    r->replay = r->replay || earlier != PX_NEVER;
    if (earlier == PX_DONE)
        return 0;
    err = wg_px_ident(px, r->cred, r->dir, r->name, &ref, &st);
    if (err == ENOENT && earlier == PX_BEGUN)
        return 0;
    /* Of a caller that expects nothing there, a replay has removed nothing either. */
    if (err == ENOENT && r->replay && !wg_gfid_is_zero(r->expect))
        return 0;
    if (err)
        return err;
    if (!wg_gfid_is_zero(r->expect) && !wg_gfid_eq(r->expect, ref.gfid))
        return r->replay ? 0 : ENOTEXPECTED;
    if (!r->rmdir && S_ISDIR(st.stx_mode))
        return EISDIR;
    err = wg_px_as(px, r->cred);
    if (err)
        return err;
    wg_px_done_mark(px, r->id);
    if (unlinkat(r->dir->fd, r->name, r->rmdir ? AT_REMOVEDIR : 0) != 0)
        err = errno;
    wg_px_done_end(px, r->id, err == 0);
    if (err)
        return err;
    r->victim = ref.gfid;
    if (last_name(&st))
        gone(px, &ref, &st);
    /* The name is gone whatever becomes of its row: readers check rows. */
    (void)wg_px_index_remove(px, r->dir->gfid, r->name, ref.gfid, last_name(&st));
    return 0;
}

/* An earlier sending of the same may have removed what it expected. */
static void tell_removed(struct removing *r, struct wg_frame *f)
{
    const wg_gfid *victim = wg_gfid_is_zero(r->victim) ? &r->expect : &r->victim;

    if (wg_gfid_is_zero(r->victim) && !r->replay)
        return;
    wg_px_name_changed(f, &r->dir->gfid, r->name);
    if (r->rmdir)
        wg_px_dir_gone(f, victim);
    else
        wg_px_ino_changed(f, victim);
}

static int remove_name(struct removing *r, struct wg_frame *f, const struct wg_loc *at,
                       struct wg_wcc *wcc)
{
    struct px_alone alone;
    struct px_names names;
    struct px_at place;
    int err;

    r->px = wg_px(f);
    r->cred = &f->call->cred;
    r->replay = f->call->replay;
    if (r->px->readonly)
        return EROFS;
    if (wg_str_eq(at->name, WG_STR(".")))
        return EINVAL;
    if (wg_str_eq(at->name, WG_STR("..")))
        return r->rmdir ? ENOTEMPTY : EINVAL;
    err = wg_px_find_dir(r->px, &at->parent, &r->dir);
    if (err)
        return err;
    err = wg_px_name(r->px, r->dir, at->name, PX_USE, r->name);
    if (err == 0) {
        place = (struct px_at){ r->dir->gfid, r->name };
        wg_px_done_begin(f, r->dir, r->name, r->id);
        wg_px_lock_names(r->px, &names, &place, 1);
        err = wg_px_dir_begin(r->px, r->dir, &alone, wcc);
        if (err == 0) {
            err = remove_locked(r);
            wg_px_dir_end(r->px, r->dir, &alone, wcc);
        }
        wg_px_unlock_names(r->px, &names);
        tell_removed(r, f);
    }
    return err;
}

static void end_removing(struct removing *r, struct wg_frame *f, int err)
{
    struct posix *px = r->px;
    struct px_inode *dir = r->dir;

    wg_px_unwind_changed(f, err, dir, NULL);
    if (dir)
        wg_px_release(px, dir);
}

void wg_posix_unlink(struct wg_frame *f)
{
    const struct wg_unlink_in *in = wg_in(f, unlink);
    struct wg_unlink_out *out = wg_new_out(f, unlink);
    struct removing r = { .expect = in->expect };

    if (!out)
        return wg_unwind(f, ENOMEM);
    end_removing(&r, f, remove_name(&r, f, &in->at, &out->parent));
}

void wg_posix_rmdir(struct wg_frame *f)
{
    const struct wg_rmdir_in *in = wg_in(f, rmdir);
    struct wg_rmdir_out *out = wg_new_out(f, rmdir);
    struct removing r = { .expect = in->expect, .rmdir = true };

    if (!out)
        return wg_unwind(f, ENOMEM);
    end_removing(&r, f, remove_name(&r, f, &in->at, &out->parent));
}

/* ---- rename ------------------------------------------------------------------------------ */

struct side {
    struct px_inode *dir;
    char name[WG_NAME_MAX + 1];
    bool there;
    struct wg_ref ref;
    struct statx st;
};

struct renaming {
    struct posix *px;
    const struct wg_cred *cred;
    struct side from, to;
    wg_gfid moved, victim; /* expected; zero: any */
    uint32_t flags;
    uint64_t id[2]; /* wg_px_done_id */
    bool replay, changed, marked;
};

static int look(struct renaming *r, struct side *s)
{
    int err = wg_px_ident(r->px, r->cred, s->dir, s->name, &s->ref, &s->st);

    s->there = err == 0;
    return err == ENOENT ? 0 : err;
}

static bool is(const struct side *s, wg_gfid gfid)
{
    return s->there && !wg_gfid_is_zero(gfid) && wg_gfid_eq(s->ref.gfid, gfid);
}

/* Has this request been executed? It has when what it moves is where it wants it. */
static bool done_before(const struct renaming *r)
{
    if (!r->replay || !is(&r->to, r->moved) || is(&r->from, r->moved))
        return false;
    return !(r->flags & WG_RENAME_EXCHANGE) || wg_gfid_is_zero(r->victim) || is(&r->from, r->victim);
}

static int check_expected(const struct renaming *r)
{
    if (!r->from.there)
        return ENOENT;
    if (!wg_gfid_is_zero(r->moved) && !is(&r->from, r->moved))
        return ENOTEXPECTED;
    if (!wg_gfid_is_zero(r->victim) && !is(&r->to, r->victim))
        return ENOTEXPECTED;
    return 0;
}

static bool is_empty_dir(const struct side *s)
{
    _Alignas(8) char buf[512];
    int fd = openat(s->dir->fd, s->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    bool empty = true;
    ssize_t n;

    if (fd < 0)
        return false;
    while (empty && (n = getdents64(fd, buf, sizeof buf)) > 0)
        for (ssize_t at = 0; at < n;) {
            const struct dirent64 *e = (const void *)(buf + at);

            empty = empty && (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."));
            at += e->d_reclen;
        }
    close(fd);
    return empty;
}

/*
 * A name may mean something to S3 where it goes: the same rules as for making one; and a directory
 * whose names would mean something else there can't go with them inside.
 */
static int check_meaning(struct renaming *r, const struct side *what, const struct side *where)
{
    bool dir = S_ISDIR(what->st.stx_mode);
    char buf[WG_NAME_MAX + 1];
    int err = wg_px_name(r->px, where->dir, wg_str_of(where->name), dir ? PX_MAKE_DIR : PX_MAKE_FILE,
                         buf);

    if (err || !dir)
        return err;
    if (wg_key_dir_rename_ok(wg_str_of(what->name), wg_str_of(where->name)))
        return 0;
    err = wg_px_as_brick(r->px);
    if (err)
        return err;
    return is_empty_dir(what) ? 0 : EINVAL;
}

/* A directory's names mean what its own new name says. */
static void set_keydir(struct renaming *r, const struct side *what, const struct side *where)
{
    uint8_t flags = wg_px_keydir_flags(where->dir, where->name);
    struct px_inode *ino;
    struct px_rec rec;

    if (!S_ISDIR(what->st.stx_mode) || wg_px_find(r->px, &what->ref, &ino) != 0)
        return;
    if (wg_px_rec(r->px, ino, &rec) == 0 && (rec.flags & PX_REC_KEYDIR) != flags) {
        rec.flags = (uint8_t)((rec.flags & ~PX_REC_KEYDIR) | flags);
        if (wg_px_rec_set(r->px, ino->fd, &rec) == 0)
            wg_px_rec_changed(r->px, ino, &rec);
    }
    wg_px_release(r->px, ino);
}

/* A directory is about to get another name, which will not be on disk at once. */
static int set_unsynced(struct renaming *r, const struct side *what)
{
    struct px_inode *ino;
    struct px_rec rec;
    int err;

    if (!S_ISDIR(what->st.stx_mode))
        return 0;
    err = wg_px_find(r->px, &what->ref, &ino);
    if (err)
        return err;
    err = wg_px_rec(r->px, ino, &rec);
    if (err == 0 && !(rec.flags & PX_REC_UNSYNCED)) {
        rec.flags |= PX_REC_UNSYNCED;
        r->marked = true;
        err = wg_px_rec_set(r->px, ino->fd, &rec);
        if (err == 0)
            wg_px_rec_changed(r->px, ino, &rec);
    }
    wg_px_release(r->px, ino);
    return err;
}

/* The row that says: where holds what. */
static int add_row(struct renaming *r, const struct side *where, const struct side *what)
{
    return wg_px_index_add(r->px, where->dir->gfid, where->name, what->ref.gfid,
                           wg_px_type(what->st.stx_mode), what->ref.hint, what->ref.hint_len);
}

/* After a failure the rows say again what the names hold. */
static void restore_rows(struct renaming *r)
{
    if (r->to.there)
        (void)add_row(r, &r->to, &r->to);
    else
        (void)wg_px_index_remove(r->px, r->to.dir->gfid, r->to.name, r->from.ref.gfid, false);
    (void)add_row(r, &r->from, &r->from);
}

static void after(struct renaming *r)
{
    struct posix *px = r->px;

    set_keydir(r, &r->from, &r->to);
    if (r->flags & WG_RENAME_EXCHANGE) {
        set_keydir(r, &r->to, &r->from);
        return;
    }
    if (r->to.there) {
        if (last_name(&r->to.st))
            gone(px, &r->to.ref, &r->to.st);
        (void)wg_px_index_remove(px, r->to.dir->gfid, r->to.name, r->to.ref.gfid,
                                 last_name(&r->to.st));
    }
    (void)wg_px_index_moved(px, r->from.dir->gfid, r->from.name, r->to.dir->gfid, r->to.name,
                            r->from.ref.gfid, wg_px_type(r->from.st.stx_mode));
}

static int rename_locked(struct renaming *r)
{
    bool exchange = r->flags & WG_RENAME_EXCHANGE;
    enum px_earlier earlier = wg_px_done_find(r->px, r->id);
    int err;

    r->replay = r->replay || earlier != PX_NEVER;
    if (earlier == PX_DONE)
        return 0;
    err = look(r, &r->from);
    if (err == 0)
        err = look(r, &r->to);
    if (err)
        return err;
    if (done_before(r) || (earlier == PX_BEGUN && !r->from.there && r->to.there))
        return 0;
    err = check_expected(r);
    if (err)
        return err;
    if ((r->flags & WG_RENAME_NOREPLACE) && r->to.there)
        return EEXIST;
    if (exchange && !r->to.there)
        return ENOENT;
    if (r->to.there && wg_gfid_eq(r->from.ref.gfid, r->to.ref.gfid))
        return 0; /* two names of one file: POSIX says that nothing happens */
    err = check_meaning(r, &r->from, &r->to);
    if (err == 0 && exchange)
        err = check_meaning(r, &r->to, &r->from);
    if (err == 0)
        err = set_unsynced(r, &r->from);
    if (err == 0 && exchange)
        err = set_unsynced(r, &r->to);
    if (err == 0)
        err = add_row(r, &r->to, &r->from);
    if (err == 0 && exchange)
        err = add_row(r, &r->from, &r->to);
    if (err == 0)
        err = wg_px_as(r->px, r->cred);
    wg_px_done_mark(r->px, r->id);
    if (err == 0 &&
        renameat2(r->from.dir->fd, r->from.name, r->to.dir->fd, r->to.name, r->flags) != 0)
        err = errno;
    wg_px_done_end(r->px, r->id, err == 0);
    r->changed = err == 0;
    if (err)
        restore_rows(r);
    else
        after(r);
    return err;
}

static int find_side(struct renaming *r, struct side *s, const struct wg_loc *at)
{
    int err = wg_px_find_dir(r->px, &at->parent, &s->dir);

    if (err)
        return err;
    if (wg_str_eq(at->name, WG_STR(".")) || wg_str_eq(at->name, WG_STR("..")))
        return EINVAL;
    return wg_px_name(r->px, s->dir, at->name, PX_USE, s->name);
}

/* Changes of a directory are counted: where both names are in one, it is one. */
static int rename_begun(struct renaming *r, struct wg_rename_out *out)
{
    struct px_alone from, to;
    int err = wg_px_dir_begin(r->px, r->from.dir, &from, &out->from_parent);

    if (err)
        return err;
    if (r->to.dir == r->from.dir) {
        err = rename_locked(r);
    } else {
        err = wg_px_dir_begin(r->px, r->to.dir, &to, &out->to_parent);
        if (err == 0) {
            err = rename_locked(r);
            wg_px_dir_end(r->px, r->to.dir, &to, &out->to_parent);
        }
    }
    wg_px_dir_end(r->px, r->from.dir, &from, &out->from_parent);
    if (r->to.dir == r->from.dir)
        out->to_parent = out->from_parent;
    return err;
}

static void tell_moved(struct wg_frame *f, const struct side *what, bool elsewhere, bool replaced)
{
    if (!what->there)
        return;
    if (S_ISDIR(what->st.stx_mode) && replaced)
        wg_px_dir_gone(f, &what->ref.gfid);
    else
        wg_px_ino_changed(f, &what->ref.gfid);
    if (S_ISDIR(what->st.stx_mode) && elsewhere)
        wg_changed(f, &what->ref.gfid, WG_STR(".."));
}

static void tell_renamed(struct renaming *r, struct wg_frame *f)
{
    bool elsewhere = r->from.dir != r->to.dir;

    if (!r->changed && !r->replay && !r->marked) /* the mark, too, changes a ctime */
        return;
    wg_px_name_changed(f, &r->from.dir->gfid, r->from.name);
    wg_px_name_changed(f, &r->to.dir->gfid, r->to.name);
    tell_moved(f, &r->from, elsewhere, false);
    tell_moved(f, &r->to, elsewhere, !(r->flags & WG_RENAME_EXCHANGE));
}

static int rename_names(struct renaming *r, struct wg_frame *f,
                        const struct wg_rename_in *in, struct wg_rename_out *out)
{
    struct px_names names;
    int err = r->px->readonly ? EROFS : wg_px_room(r->px, 4096);

    if (err == 0)
        err = find_side(r, &r->from, &in->from);
    if (err == 0)
        err = find_side(r, &r->to, &in->to);
    if (err == ENOENT && r->to.dir == r->px->root && wg_str_eq(in->to.name, WG_STR(PX_PRIVATE)))
        err = EACCES;
    if (err == 0) {
        const struct px_at places[] = { { r->from.dir->gfid, r->from.name },
                                        { r->to.dir->gfid, r->to.name } };

        wg_px_done_begin(f, r->from.dir, r->from.name, r->id);
        wg_px_lock_names(r->px, &names, places, 2);
        err = rename_begun(r, out);
        wg_px_unlock_names(r->px, &names);
        tell_renamed(r, f);
    }
    return err;
}

/* r goes with the frame. */
static void end_renaming(struct renaming *r, struct wg_frame *f, int err)
{
    struct px_inode *from = r->from.dir, *to = r->to.dir;
    struct posix *px = r->px;

    wg_px_unwind_changed(f, err, from, to);
    if (from)
        wg_px_release(px, from);
    if (to)
        wg_px_release(px, to);
}

void wg_posix_rename(struct wg_frame *f)
{
    const struct wg_rename_in *in = wg_in(f, rename);
    struct wg_rename_out *out = wg_new_out(f, rename);
    struct renaming *r = WG_NEW(&f->call->arena, struct renaming);

    if (!out || !r)
        return wg_unwind(f, ENOMEM);
    if (in->flags & ~(uint32_t)(WG_RENAME_NOREPLACE | WG_RENAME_EXCHANGE) ||
        in->flags == (WG_RENAME_NOREPLACE | WG_RENAME_EXCHANGE))
        return wg_unwind(f, EINVAL);
    r->px = wg_px(f);
    r->cred = &f->call->cred;
    r->replay = f->call->replay;
    r->flags = in->flags;
    r->moved = in->moved;
    r->victim = in->victim;
    end_renaming(r, f, rename_names(r, f, in, out));
}
