/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From S3 keys to inodes. Directories that a PUT needs are made on the way and marked; they go
 * with their last key. Between making and publishing, a DELETE beside us may remove them again:
 * then the PUT sees ENOENT and walks anew.
 */
#include "s3.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

/* ---- directories not on disk yet ------------------------------------------------------------- */

/*
 * A directory that was just made, by a PUT or through NFS, is used by others at once, and each PUT
 * below it answers for its name being on disk. Its record says that this is still to be done
 * (PX_REC_UNSYNCED), so that it is known after a restart as well, and done once.
 */
static bool is_unsynced(struct posix *px, struct px_inode *dir)
{
    struct px_rec rec;

    return wg_px_rec(px, dir, &rec) == 0 && (rec.flags & PX_REC_UNSYNCED);
}

/* The name of dir is on disk. Under the lock of that name: a rename beside us sets the mark anew. */
static void set_synced(struct px_s3 *s, struct px_inode *dir)
{
    struct posix *px = s->px;
    struct px_rec rec;

    if (wg_px_rec(px, dir, &rec) || !(rec.flags & PX_REC_UNSYNCED))
        return;
    rec.flags &= (uint8_t)~PX_REC_UNSYNCED;
    if (wg_px_rec_set(px, dir->fd, &rec) == 0)
        wg_px_rec_changed(px, dir, &rec);
    wg_px_ino_changed(s->f, &dir->gfid); /* its ctime */
}

/* Is dir what name holds? As the brick. */
static bool holds(struct posix *px, struct px_inode *parent, const char *name, struct px_inode *dir)
{
    struct statx now;

    return wg_px_stat_at(parent->fd, name, &now) == 0 && now.stx_ino == dir->ino &&
           now.stx_dev_major == px->dev_major && now.stx_dev_minor == px->dev_minor;
}

/* The name of dir where the index last saw it. ENOENT: it is another one by now. */
static int sync_indexed(struct px_s3 *s, struct px_inode *dir, const struct px_where *w)
{
    struct posix *px = s->px;
    struct px_inode *parent;
    struct px_names held;
    int err = wg_px_find_dir(px, &(struct wg_ref){ .gfid = w->parent }, &parent);

    if (err)
        return err;
    wg_px_lock_names(px, &held, &(struct px_at){ parent->gfid, w->name }, 1);
    err = wg_px_as_brick(px);
    if (err == 0 && !holds(px, parent, w->name, dir))
        err = ENOENT;
    if (err == 0)
        err = wg_px_sync_dir(px, parent->fd);
    if (err == 0)
        set_synced(s, dir);
    wg_px_unlock_names(px, &held);
    wg_px_release(px, parent);
    return err;
}

/*
 * The bucket's own name is in whatever holds it: the root, or a directory that is exported. Which
 * name that is says the index, so it is compared again under the name's lock. Where the index doesn't
 * know (it is being rebuilt, or somebody moved the bucket by hand), the parent is synced and the mark
 * stays, for the next PUT.
 */
static int sync_base(struct px_s3 *s)
{
    struct posix *px = s->px;
    struct px_where w;
    int up, err;

    if (s->base == px->root || !is_unsynced(px, s->base))
        return 0;
    for (int tries = 0; tries < 4; tries++) {
        err = wg_px_index_find(px, s->base->gfid, &w);
        if (err == 0)
            err = sync_indexed(s, s->base, &w);
        if (err == 0)
            return 0;
    }
    err = wg_px_as_brick(px);
    if (err)
        return err;
    up = openat(s->base->fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (up < 0)
        return errno;
    err = wg_px_sync_dir(px, up);
    close(up);
    return err;
}

int wg_px_s3_sync_path(struct px_s3 *s)
{
    int err = 0;

    for (unsigned i = s->ndir - 1; i > 0 && err == 0; i--) {
        struct px_names held;

        if (!s->made[i] && !is_unsynced(s->px, s->dir[i]))
            continue;
        wg_px_lock_names(s->px, &held, &(struct px_at){ s->dir[i - 1]->gfid, s->name[i - 1] }, 1);
        err = wg_px_sync_dir(s->px, s->dir[i - 1]->fd);
        if (err == 0)
            set_synced(s, s->dir[i]);
        wg_px_unlock_names(s->px, &held);
    }
    return err ? err : sync_base(s);
}

void wg_px_s3_durable(struct px_s3 *s, struct px_inode *dir)
{
    unsigned i = s->durable[0] != NULL;

    if (s->durable[0] == dir || s->durable[i])
        return;
    wg_px_hold(dir);
    s->durable[i] = dir;
}

void wg_px_s3_unwind(struct px_s3 *s, struct wg_frame *f, int err)
{
    struct px_inode *a = s->durable[0], *b = s->durable[1];
    struct posix *px = wg_px(f);

    wg_px_s3_end(s);
    wg_px_unwind_durable(f, err, a, b);
    if (a)
        wg_px_release(px, a);
    if (b)
        wg_px_release(px, b);
}

/* ---- begin and end --------------------------------------------------------------------------- */

static int split(struct px_s3 *s, char *path)
{
    unsigned n = 1, i = 0;

    for (const char *p = path; *p; p++)
        n += *p == '/';
    s->ncomp = n;
    s->name = wg_alloc(s->arena, n * sizeof *s->name);
    s->dir = wg_alloc(s->arena, n * sizeof *s->dir);
    s->made = wg_alloc(s->arena, n * sizeof *s->made);
    if (!s->name || !s->dir || !s->made)
        return ENOMEM;
    s->name[i++] = path;
    for (char *p = path; *p; p++)
        if (*p == '/') {
            *p = '\0';
            s->name[i++] = p + 1;
        }
    return 0;
}

int wg_px_s3_base(struct px_s3 *s, struct wg_frame *f, const struct wg_ref *bucket, uint32_t space)
{
    struct px_inode *dir;
    int err;

    *s = (struct px_s3){ .px = wg_px(f), .f = f, .arena = &f->call->arena,
                         .space = space, .cred = f->call->cred, .owner = f->call->cred };
    if (space != WG_SPACE_OBJECTS && space != WG_SPACE_UPLOADS)
        return EINVAL;
    err = wg_px_find_dir(s->px, bucket, &dir);
    if (err || space == WG_SPACE_OBJECTS) {
        s->base = err ? NULL : dir;
        return err;
    }
    s->cred = (struct wg_cred){ 0 };
    err = wg_px_uploads(s->px, dir->gfid, &s->base);
    wg_px_release(s->px, dir);
    return err;
}

int wg_px_s3_begin(struct px_s3 *s, struct wg_frame *f, const struct wg_ref *bucket,
                   uint32_t space, struct wg_str key)
{
    char path[WG_KEY_PATH_MAX], *copy;
    uint32_t len;
    int err = wg_px_s3_base(s, f, bucket, space);

    if (err)
        return err;
    err = wg_key_to_path(key, false, path, &len);
    if (err)
        return err;
    copy = wg_memdup(s->arena, path, len);
    err = copy ? split(s, copy) : ENOMEM;
    if (err)
        return err;
    s->marker = key.s[key.len - 1] == '/';
    s->dir[0] = s->base;
    s->ndir = 1;
    return 0;
}

/*
 * A directory being removed can still be found by name until rmdir has returned, by a thread that
 * may not run just now: whoever only tries again would use up its tries in no time.
 */
void wg_px_s3_pause(unsigned tries)
{
    if (tries > 2)
        nanosleep(&(struct timespec){ 0, 20000L * tries }, NULL);
}

void wg_px_s3_rewind(struct px_s3 *s)
{
    for (; s->ndir > 1; s->ndir--)
        wg_px_release(s->px, s->dir[s->ndir - 1]);
    if (s->twin_dir)
        wg_px_release(s->px, s->twin_dir);
    s->twin_dir = NULL;
    s->twin_name = NULL;
}

void wg_px_s3_end(struct px_s3 *s)
{
    if (s->dir)
        wg_px_s3_rewind(s);
    if (s->base)
        wg_px_release(s->px, s->base);
    s->base = NULL;
}

/* ---- walking ---------------------------------------------------------------------------------- */

static int enter(struct px_s3 *s, struct px_inode *child, bool made)
{
    if (child->type != WG_DIR) {
        int err = child->type == WG_LNK ? ELOOP : ENOTDIR;

        wg_px_release(s->px, child);
        return err;
    }
    s->made[s->ndir] = made;
    s->dir[s->ndir++] = child;
    return 0;
}

int wg_px_s3_walk(struct px_s3 *s, unsigned n)
{
    int err = 0;

    while (err == 0 && s->ndir < n) {
        struct px_inode *child;

        wg_uses(s->f, &s->dir[s->ndir - 1]->gfid, wg_str_of(s->name[s->ndir - 1]));
        err = wg_px_child(s->px, &s->cred, s->dir[s->ndir - 1], s->name[s->ndir - 1], &child, NULL);
        if (err == 0)
            err = enter(s, child, false);
    }
    return err == ENOTDIR || err == EXDEV ? ENOENT : err;
}

void wg_px_s3_before(struct posix *px, struct px_inode *dir)
{
    struct statx st = { 0 };

    atomic_fetch_add(&dir->begun, 1); /* struct px_alone, of which nobody wants the result */
    (void)wg_px_stat(dir->fd, &st);
    wg_px_index_before(px, dir->gfid, &st);
}

void wg_px_s3_after(struct posix *px, struct px_inode *dir)
{
    struct statx st;

    wg_px_index_after(px, dir->gfid, wg_px_stat(dir->fd, &st) ? NULL : &st);
    atomic_fetch_add(&dir->ended, 1);
}

/* Under a default ACL the kernel limits by it and by the mode; without, 022 stands for a umask. */
static mode_t dir_mode(struct px_inode *dir)
{
    char path[PX_FD_PATH];

    return getxattr(wg_px_fd_path(path, dir->fd), "system.posix_acl_default", NULL, 0) > 0 ? 0777
                                                                                           : 0755;
}

/* The directory just made gets its record. */
static int dir_adopt(struct px_s3 *s, struct px_inode *dir, const char *name, wg_gfid gfid,
                     struct px_inode **ret)
{
    struct px_rec rec = { .gfid = gfid, .generation = 1 };
    int fd = openat(dir->fd, name, O_PATH | O_NOFOLLOW | O_DIRECTORY | O_CLOEXEC), err;
    struct wg_ref ref;
    struct statx st;

    if (fd < 0)
        return errno;
    rec.flags = PX_REC_MADE | PX_REC_UNSYNCED | wg_px_keydir_flags(dir, name);
    err = wg_px_rec_init(s->px, fd, &rec, false);
    if (err == EEXIST) /* a lookup was quicker: it took the gfid from our row, but can't know more */
        err = wg_px_rec_init(s->px, fd, &rec, true);
    if (err == 0)
        err = wg_px_stat(fd, &st);
    if (err) {
        close(fd);
        return err;
    }
    wg_px_index_born(s->px, gfid, &st);
    err = wg_px_adopt(s->px, fd, &rec, &st, false, ret);
    if (err == 0) {
        wg_px_rec_changed(s->px, *ret, &rec);
        wg_px_ref(*ret, &ref);
        wg_px_ident_put(s->px, &st, &ref);
    }
    return err;
}

/* Names locked, nothing there. */
static int make_dir(struct px_s3 *s, struct px_inode *dir, const char *name, wg_gfid gfid,
                    struct px_inode **ret)
{
    int err;

    if (wg_gfid_is_zero(gfid))
        gfid = wg_gfid_new();
    err = wg_px_room(s->px, 4096);
    if (err == 0)
        err = wg_px_index_add(s->px, dir->gfid, name, gfid, WG_DIR, NULL, 0);
    if (err)
        return err;
    wg_px_s3_before(s->px, dir);
    err = wg_px_as(s->px, &s->cred);
    if (err == 0 && mkdirat(dir->fd, name, dir_mode(dir)) < 0)
        err = errno;
    if (err == 0) {
        err = dir_adopt(s, dir, name, gfid, ret);
        wg_px_s3_after(s->px, dir);
        wg_px_name_changed(s->f, &dir->gfid, name);
        wg_px_ino_changed(s->f, &gfid);
        return err;
    }
    wg_px_s3_after(s->px, dir);
    (void)wg_px_index_remove(s->px, dir->gfid, name, gfid, true);
    return err;
}

/* ---- twins -------------------------------------------------------------------------------------- */

/* The twin of a name: one name in the same directory, or a chunk directory and a name in it. */
static int twin_of(struct px_s3 *s, struct px_inode *dir, const char *name, bool make,
                   struct px_inode **ret_dir, char **ret_name)
{
    char buf[WG_KEY_TWIN_MAX], *slash, *copy;
    struct px_inode *chunk;
    uint32_t len;
    unsigned in = WG_KEY_IN_DIR;
    int err = wg_px_keydir(s->px, dir, &in);

    if (err)
        return err;
    err = wg_key_twin((enum wg_key_dir)in, wg_str_of(name), buf, &len);
    copy = err ? NULL : wg_memdup(s->arena, buf, len);
    if (!copy)
        return err ? err : ENOMEM;
    slash = strchr(copy, '/');
    *ret_name = slash ? slash + 1 : copy;
    *ret_dir = NULL;
    if (!slash) {
        wg_px_hold(dir);
        *ret_dir = dir;
        return 0;
    }
    *slash = '\0';
    for (int tries = 0; tries < 4; tries++) {
        struct px_names held;

        wg_uses(s->f, &dir->gfid, wg_str_of(copy));
        err = wg_px_child(s->px, &s->cred, dir, copy, &chunk, NULL);
        if (err == ENOENT && make) {
            wg_px_lock_names(s->px, &held, &(struct px_at){ dir->gfid, copy }, 1);
            err = make_dir(s, dir, copy, (wg_gfid){ 0 }, &chunk);
            wg_px_unlock_names(s->px, &held);
        }
        if (err != EEXIST)
            break;
    }
    if (err)
        return err == ENOENT && !make ? 0 : err;
    if (chunk->type != WG_DIR) {
        wg_px_release(s->px, chunk);
        return ENOTDIR;
    }
    *ret_dir = chunk;
    return 0;
}

int wg_px_s3_twin(struct px_s3 *s, bool make)
{
    if (s->twin_dir || (s->twin_name && !make))
        return 0;
    return twin_of(s, s->dir[s->ncomp - 1], s->name[s->ncomp - 1], make, &s->twin_dir, &s->twin_name);
}

void wg_px_s3_lock(struct px_s3 *s, struct px_names *held)
{
    struct px_at at[2] = { { s->dir[s->ncomp - 1]->gfid, s->name[s->ncomp - 1] } };
    unsigned n = 1;

    if (s->twin_dir)
        at[n++] = (struct px_at){ s->twin_dir->gfid, s->twin_name };
    wg_px_lock_names(s->px, held, at, n);
}

void wg_px_s3_lock_dir(struct px_s3 *s, struct px_names *held)
{
    unsigned last = s->ncomp - 1, n = 1;
    struct px_at at[3] = { { s->dir[last]->gfid, s->name[last] } };

    if (s->twin_dir)
        at[n++] = (struct px_at){ s->twin_dir->gfid, s->twin_name };
    if (last > 0)
        at[n++] = (struct px_at){ s->dir[last - 1]->gfid, s->name[last - 1] };
    wg_px_lock_names(s->px, held, at, n);
}

/* A twin was replaced by the file that hid it. */
static void hidden_gone(struct px_s3 *s, struct px_inode *hidden)
{
    struct statx st;

    wg_px_ino_changed(s->f, &hidden->gfid);
    if (wg_px_stat(hidden->fd, &st) == 0 && st.stx_nlink == 0) {
        wg_px_ident_drop(s->px, &st);
        wg_px_forget(s->px, hidden);
    }
}

/* Names locked: the file moves to its twin's name, so that a directory can have its own. */
static int move_to_twin(struct px_s3 *s, struct px_inode *dir, const char *name,
                        struct px_inode *twin_dir, const char *twin, struct px_inode *file)
{
    struct px_inode *hidden = NULL;
    int err = wg_px_child(s->px, &s->cred, twin_dir, twin, &hidden, NULL);

    if (err && err != ENOENT)
        return err;
    err = wg_px_index_add(s->px, twin_dir->gfid, twin, file->gfid, file->type, file->hint, file->hint_len);
    if (err == 0)
        err = wg_px_as(s->px, &s->cred);
    if (err == 0) {
        wg_px_s3_before(s->px, dir);
        wg_px_s3_before(s->px, twin_dir);
        /* A twin that is there already is hidden by the plain file: it goes, as rename does it. */
        if (renameat(dir->fd, name, twin_dir->fd, twin) < 0)
            err = errno;
        wg_px_s3_after(s->px, twin_dir);
        wg_px_s3_after(s->px, dir);
        if (err)
            (void)wg_px_index_remove(s->px, twin_dir->gfid, twin, file->gfid, false);
    }
    if (err == 0 && hidden)
        hidden_gone(s, hidden);
    if (hidden)
        wg_px_release(s->px, hidden);
    if (err)
        return err;
    wg_px_name_changed(s->f, &dir->gfid, name);
    wg_px_name_changed(s->f, &twin_dir->gfid, twin);
    wg_px_ino_changed(s->f, &file->gfid);
    return wg_px_index_moved(s->px, dir->gfid, name, twin_dir->gfid, twin, file->gfid, file->type);
}

/* One directory of the path: there, made, or made after the file of its name has moved. */
static int make_one(struct px_s3 *s, wg_gfid gfid)
{
    struct px_inode *dir = s->dir[s->ndir - 1], *child, *twin_dir = NULL;
    char *name = s->name[s->ndir - 1], *twin = NULL;
    struct px_names held;
    struct px_at at[2] = { { dir->gfid, name } };
    bool made = false;
    int err = wg_px_child(s->px, &s->cred, dir, name, &child, NULL);

    if (err == 0 && child->type != WG_REG)
        return enter(s, child, false);
    if (err == 0) {
        wg_px_release(s->px, child);
        err = twin_of(s, dir, name, true, &twin_dir, &twin);
    }
    if (err && err != ENOENT)
        return err;
    if (twin_dir)
        at[1] = (struct px_at){ twin_dir->gfid, twin };
    wg_px_lock_names(s->px, &held, at, twin_dir ? 2 : 1);
    err = wg_px_child(s->px, &s->cred, dir, name, &child, NULL);
    if (err == 0 && child->type == WG_REG && twin_dir) {
        err = move_to_twin(s, dir, name, twin_dir, twin, child);
        wg_px_release(s->px, child);
        err = err ? err : ENOENT;
    }
    if (err == ENOENT) {
        err = make_dir(s, dir, name, gfid, &child);
        made = err == 0;
    }
    wg_px_unlock_names(s->px, &held);
    if (twin_dir) {
        int e = made ? wg_px_sync_dir(s->px, twin_dir->fd) : 0;

        wg_px_release(s->px, twin_dir);
        err = err ? err : e;
    }
    if (err == 0 && child->type == WG_REG) { /* it became one meanwhile */
        wg_px_release(s->px, child);
        return EAGAIN;
    }
    return err ? err : enter(s, child, made);
}

int wg_px_s3_make(struct px_s3 *s, unsigned n, wg_gfid gfid)
{
    static const wg_gfid none;
    unsigned again = 0;
    int err = 0;

    for (int tries = 0; err == 0 && s->ndir < n && tries < PX_S3_TRIES + (int)n; tries++) {
        err = make_one(s, s->ndir + 1 == n ? gfid : none);
        if (err == EEXIST || err == EAGAIN) {
            err = 0; /* made or changed beside us: look again */
            wg_px_s3_pause(again++);
        }
    }
    if (err == 0 && s->ndir < n)
        err = EBUSY;
    return err;
}

/* ---- leaving -------------------------------------------------------------------------------------- */

void wg_px_s3_gone(struct px_s3 *s, struct px_inode *dir, const char *name, struct px_inode *ino,
                   const struct statx *st, bool last)
{
    struct posix *px = s->px;
    struct statx now;

    wg_px_name_changed(s->f, &dir->gfid, name);
    if (ino->type == WG_DIR)
        wg_px_dir_gone(s->f, &ino->gfid);
    else
        wg_px_ino_changed(s->f, &ino->gfid);
    (void)wg_px_index_remove(px, dir->gfid, name, ino->gfid, last);
    if (!last || (wg_px_stat(ino->fd, &now) == 0 && now.stx_nlink > 0 && ino->type != WG_DIR))
        return; /* it has other names, or is kept for its readers */
    wg_px_ident_drop(px, st);
    wg_px_forget(px, ino);
}

/* Names locked. EBUSY: not ours to remove. */
static int prune_locked(struct px_s3 *s, struct px_inode *parent, const char *name,
                        struct px_inode *dir)
{
    struct statx st, now;
    struct px_rec rec;
    int err = wg_px_rec(s->px, dir, &rec);

    if (err || (rec.flags & (PX_REC_MADE | PX_REC_MARKER)) != PX_REC_MADE)
        return EBUSY;
    err = wg_px_as(s->px, &s->cred);
    if (err == 0)
        err = wg_px_stat(dir->fd, &st);
    if (err == 0)
        err = wg_px_stat_at(parent->fd, name, &now);
    if (err == 0 && now.stx_ino != st.stx_ino)
        err = EBUSY;
    if (err)
        return err;
    wg_px_s3_before(s->px, parent);
    if (unlinkat(parent->fd, name, AT_REMOVEDIR) < 0)
        err = errno;
    wg_px_s3_after(s->px, parent);
    if (err)
        return err;
    wg_px_s3_gone(s, parent, name, dir, &st, true);
    return 0;
}

static int prune_one(struct px_s3 *s, struct px_inode *parent, const char *name, struct px_inode *dir)
{
    struct px_names held;
    int err;

    wg_px_lock_names(s->px, &held, &(struct px_at){ parent->gfid, name }, 1);
    err = prune_locked(s, parent, name, dir);
    wg_px_unlock_names(s->px, &held);
    return err;
}

void wg_px_s3_prune(struct px_s3 *s, unsigned last)
{
    if (s->twin_dir && s->twin_dir != s->dir[s->ncomp - 1]) {
        char chunk[WG_NAME_MAX + 1];

        /* The twin's chunk: its name is the twin path's first component. */
        snprintf(chunk, sizeof chunk, ".@+%.*s", WG_KEY_CHUNK, s->name[s->ncomp - 1]);
        (void)prune_one(s, s->dir[s->ncomp - 1], chunk, s->twin_dir);
    }
    for (unsigned i = last; i > 0; i--)
        if (prune_one(s, s->dir[i - 1], s->name[i - 1], s->dir[i]) != 0)
            break;
}
