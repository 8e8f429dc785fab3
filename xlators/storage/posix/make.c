/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fops that make a name: create, mkdir, symlink, mknod, link. Each goes the same way: check the
 * name, lock it, see what is there (a replay finds its own work by the gfid that the caller
 * named), note the name in the index, make it as the caller, set the record. A brick killed before
 * the last step leaves an inode whose gfid the index knows (R5). (A file could be made without
 * a name, its record set, and linked; that costs a half more and needs more of the file system.)
 */
#include "posix.h"

#include <sys/sysmacros.h>
#include <unistd.h>

/* What one of these fops works on. */
struct making {
    struct posix *px;
    const struct wg_cred *cred;
    struct px_inode *dir;
    struct px_names names;
    bool begun; /* wg_px_dir_begin, with alone */
    bool changed; /* the directory, or it may have been by an earlier sending: caches are told */
    struct px_alone alone;
    char name[WG_NAME_MAX + 1];
    wg_gfid gfid; /* for the new inode */
    uint8_t type;
    struct wg_sattr attrs;
    uint8_t flags;       /* of the record */
    uint64_t verf;       /* with PX_REC_EXCL */
    const char *target;  /* of a symlink */
    struct px_inode *also; /* referenced: goes to disk besides dir where answers say so; NULL: nothing */
    dev_t dev;           /* of a device */
    struct wg_wcc *wcc;  /* of the directory */
    struct wg_ref *ret_ref;
    struct wg_iatt *ret_attr;
};

static int begin(struct making *m, struct wg_frame *f, const struct wg_loc *at)
{
    struct px_at place;
    int err;

    m->px = wg_px(f);
    m->cred = &f->call->cred;
    m->changed = f->call->replay;
    err = wg_px_room(m->px, 4096);
    if (err == 0)
        err = wg_px_find_dir(m->px, &at->parent, &m->dir);
    if (err)
        return err;
    err = wg_px_name(m->px, m->dir, at->name, m->type == WG_DIR ? PX_MAKE_DIR : PX_MAKE_FILE,
                     m->name);
    if (err == 0) {
        place = (struct px_at){ m->dir->gfid, m->name };
        wg_px_lock_names(m->px, &m->names, &place, 1);
        err = wg_px_dir_begin(m->px, m->dir, &m->alone, m->wcc);
        m->begun = err == 0;
    }
    return err;
}

static void end(struct making *m, struct wg_frame *f, int err)
{
    struct posix *px = m->px;
    struct px_inode *dir = m->dir, *also = m->also; /* m goes with the frame */

    if (dir) {
        if (m->begun)
            wg_px_dir_end(m->px, m->dir, &m->alone, m->wcc);
        wg_px_unlock_names(m->px, &m->names);
        if (m->begun && m->changed) {
            wg_px_name_changed(f, &m->dir->gfid, m->name);
            wg_px_ino_changed(f, &m->gfid); /* seen before its attributes were set */
        }
    }
    wg_px_unwind_changed(f, err, dir, also);
    if (dir)
        wg_px_release(px, dir);
    if (also)
        wg_px_release(px, also);
}

static void answer(struct making *m, const struct wg_ref *ref, const struct statx *st)
{
    *m->ret_ref = *ref;
    wg_px_iatt(st, ref->gfid, m->ret_attr);
}

/* Before the name is made: should we be killed before the record is set, this says its gfid (R5). */
static int note(struct making *m)
{
    return wg_px_index_add(m->px, m->dir->gfid, m->name, m->gfid, m->type, NULL, 0);
}

static void unnote(struct making *m)
{
    (void)wg_px_index_remove(m->px, m->dir->gfid, m->name, m->gfid, true);
}

/* What of the wanted attributes the new inode does not have yet. */
static struct wg_sattr missing(const struct wg_sattr *want, const struct statx *st)
{
    struct wg_sattr a = *want;

    a.valid &= ~(uint32_t)(WG_SET_SIZE | WG_SET_GUARD);
    if (a.uid == st->stx_uid)
        a.valid &= ~(uint32_t)WG_SET_UID;
    if (a.gid == st->stx_gid)
        a.valid &= ~(uint32_t)WG_SET_GID;
    /* mkdir and open drop set-id bits, and setgid directories add one: that is not undone. */
    if (S_ISLNK(st->stx_mode) || ((a.mode & ~(uint32_t)st->stx_mode & 07777) & 07000) == 0)
        a.valid &= ~(uint32_t)WG_SET_MODE;
    if (a.valid & WG_SET_MODE)
        a.mode |= st->stx_mode & S_ISGID;
    return a;
}

static mode_t mode_of(const struct making *m)
{
    mode_t otherwise = m->type == WG_DIR ? 0755 : 0644;

    if (m->flags & PX_REC_EXCL)
        otherwise = 0600; /* the client's SETATTR follows */
    return m->attrs.valid & WG_SET_MODE ? m->attrs.mode & 07777 : otherwise;
}

static struct px_rec record_for(const struct making *m)
{
    struct px_rec rec = { .gfid = m->gfid, .generation = 1, .flags = m->flags };

    if (m->flags & PX_REC_EXCL)
        memcpy(rec.md5, &m->verf, sizeof m->verf);
    return rec;
}

/* ---- something new ----------------------------------------------------------------------- */

/* The file's fd in *ret_fd; -1 for what has no data. */
static int make_name(struct making *m, int *ret_fd)
{
    static const mode_t kinds[] = {
        [WG_BLK] = S_IFBLK, [WG_CHR] = S_IFCHR, [WG_SOCK] = S_IFSOCK, [WG_FIFO] = S_IFIFO,
    };
    int r, flags = O_CREAT | O_EXCL | O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY;

    *ret_fd = -1;
    if (m->type == WG_REG)
        r = *ret_fd = openat(m->dir->fd, m->name, flags, mode_of(m));
    else if (m->type == WG_DIR)
        r = mkdirat(m->dir->fd, m->name, mode_of(m));
    else if (m->type == WG_LNK)
        r = symlinkat(m->target, m->dir->fd, m->name);
    else
        r = mknodat(m->dir->fd, m->name, kinds[m->type] | mode_of(m), m->dev);
    return r >= 0 ? 0 : errno;
}

/* Who looks names up does not lock them, and may have given the new inode its record before us. */
static int set_record(struct making *m, int fd, struct px_rec *rec)
{
    struct px_rec theirs;
    int err;

    *rec = record_for(m);
    err = wg_px_rec_init(m->px, fd, rec, false);
    if (err != EEXIST)
        return err;
    err = wg_px_rec_get(m->px, fd, &theirs);
    if (err)
        return err;
    m->gfid = rec->gfid = theirs.gfid;
    return wg_px_rec_init(m->px, fd, rec, true);
}

/* The gfid of the new inode, or of what can't be told one. */
static int identify(struct making *m, int fd, struct px_rec *rec, struct statx *st)
{
    int err = wg_px_stat(fd, st);

    if (err)
        return err;
    if (m->px->handles || m->type == WG_DIR || m->type == WG_REG) {
        err = set_record(m, fd, rec);
        return err ? err : wg_px_stat(fd, st); /* the record changed ctime */
    }
    m->gfid = wg_px_rec_derive(m->px, st);
    *rec = record_for(m);
    return note(m);
}

/* The inode just made (data: its fd, taken over, or -1) goes into the table with its attributes. */
static int adopt_new(struct making *m, int data, struct px_inode **ret, struct statx *st)
{
    struct px_rec rec;
    int fd = openat(m->dir->fd, m->name, O_PATH | O_NOFOLLOW | O_CLOEXEC), err;

    err = fd < 0 ? errno : 0;
    if (err == 0 && data >= 0 && (m->attrs.valid & WG_SET_SIZE) && m->attrs.size > 0)
        err = m->attrs.size > INT64_MAX ? EFBIG : ftruncate(data, (off_t)m->attrs.size) ? errno : 0;
    if (err == 0)
        err = identify(m, fd, &rec, st);
    if (err) {
        if (fd >= 0)
            close(fd);
        if (data >= 0)
            close(data);
        return err;
    }
    err = wg_px_adopt_new(m->px, fd, &rec, st, ret);
    if (data >= 0 && err == 0)
        wg_px_keep_open(m->px, m->cred, *ret, O_RDWR, data); /* the creator writes next */
    else if (data >= 0)
        close(data);
    if (err)
        return err;
    m->attrs = missing(&m->attrs, st);
    if (m->attrs.valid == 0)
        return 0;
    err = wg_px_set_attrs(m->px, m->cred, *ret, &m->attrs);
    return err ? err : wg_px_stat((*ret)->fd, st);
}

static int make_new(struct making *m)
{
    struct px_inode *ino = NULL;
    struct wg_ref ref;
    struct statx st;
    int data, err = note(m);

    if (err == 0)
        err = wg_px_as(m->px, m->cred);
    if (err == 0)
        err = make_name(m, &data);
    if (err) {
        unnote(m);
        return err;
    }
    m->changed = true;
    err = adopt_new(m, data, &ino, &st);
    if (err == 0) {
        wg_px_ref(ino, &ref);
        wg_px_ident_put(m->px, &st, &ref);
        if (m->type == WG_DIR)
            wg_px_index_born(m->px, m->gfid, &st);
        answer(m, &ref, &st);
    } else if (wg_px_as(m->px, m->cred) == 0 &&
               unlinkat(m->dir->fd, m->name, m->type == WG_DIR ? AT_REMOVEDIR : 0) == 0) {
        unnote(m); /* nothing half made stays */
        if (ino)
            wg_px_forget(m->px, ino);
    }
    if (err == 0)
        m->also = ino; /* its record was set after its name was made: perhaps in another transaction */
    else if (ino)
        wg_px_release(m->px, ino);
    return err;
}

/* ---- what is there already --------------------------------------------------------------- */

/* 0: it is what this request made. */
static int check_existing(struct making *m, bool replay, const struct wg_ref *ref,
                          const struct statx *st)
{
    char buf[WG_PATH_MAX];
    ssize_t n;

    if (wg_gfid_eq(ref->gfid, m->gfid))
        return 0;
    /* Unprivileged bricks can't name these inodes as they were told. */
    if (m->px->handles || !replay || wg_px_type(st->stx_mode) != m->type || m->type == WG_DIR)
        return EEXIST;
    if (m->type != WG_LNK)
        return 0;
    n = readlinkat(m->dir->fd, m->name, buf, sizeof buf);
    return n >= 0 && (size_t)n == strlen(m->target) && !memcmp(buf, m->target, (size_t)n) ? 0 : EEXIST;
}

static int make(struct making *m, bool replay)
{
    struct wg_ref ref;
    struct statx st;
    int err = wg_px_ident(m->px, m->cred, m->dir, m->name, &ref, &st);

    if (err == ENOENT)
        return make_new(m);
    if (err == 0)
        err = check_existing(m, replay, &ref, &st);
    if (err == 0)
        answer(m, &ref, &st);
    return err;
}

/* UNCHECKED on a name that is there: its size may be set, nothing else (as knfsd does). */
static int open_existing(struct making *m, struct wg_frame *f, const struct wg_ref *ref,
                         struct statx *st)
{
    struct px_inode *ino;
    int err;

    if (!S_ISREG(st->stx_mode))
        return EEXIST;
    if (m->attrs.valid & WG_SET_SIZE) {
        err = wg_px_find(m->px, ref, &ino);
        if (err)
            return err;
        pthread_rwlock_wrlock(&ino->content);
        err = wg_px_set_size(m->px, m->cred, ino, m->attrs.size);
        if (err == 0)
            err = wg_px_stat(ino->fd, st);
        pthread_rwlock_unlock(&ino->content);
        wg_px_ino_changed(f, &ino->gfid);
        m->also = ino;
        if (err)
            return err;
    }
    answer(m, ref, st);
    return 0;
}

static bool verifier_is(struct making *m, const struct wg_ref *ref)
{
    struct px_inode *ino;
    struct px_rec rec;
    bool same = false;

    if (wg_px_find(m->px, ref, &ino) != 0)
        return false;
    if (wg_px_rec(m->px, ino, &rec) == 0)
        same = (rec.flags & PX_REC_EXCL) && !memcmp(rec.md5, &m->verf, sizeof m->verf);
    wg_px_release(m->px, ino);
    return same;
}

static int create(struct making *m, struct wg_frame *f, uint32_t how)
{
    struct wg_ref ref;
    struct statx st;
    int err = wg_px_ident(m->px, m->cred, m->dir, m->name, &ref, &st);

    if (err == ENOENT)
        return make_new(m);
    if (err)
        return err;
    if (wg_gfid_eq(ref.gfid, m->gfid) || (how == WG_EXCLUSIVE && verifier_is(m, &ref))) {
        answer(m, &ref, &st);
        return 0;
    }
    return how == WG_UNCHECKED ? open_existing(m, f, &ref, &st) : EEXIST;
}

/* ---- handlers ---------------------------------------------------------------------------- */

static wg_gfid gfid_or_new(wg_gfid given)
{
    return wg_gfid_is_zero(given) ? wg_gfid_new() : given;
}

void wg_posix_create(struct wg_frame *f)
{
    const struct wg_create_in *in = wg_in(f, create);
    struct wg_create_out *out = wg_new_out(f, create);
    struct making m = { .type = WG_REG, .attrs = in->attrs, .verf = in->verf };
    int err;

    if (!out)
        return wg_unwind(f, ENOMEM);
    if (in->how > WG_EXCLUSIVE)
        return wg_unwind(f, EINVAL);
    m.gfid = gfid_or_new(in->gfid);
    if (in->how == WG_EXCLUSIVE)
        m.flags = PX_REC_EXCL;
    m.wcc = &out->parent;
    m.ret_ref = &out->ref;
    m.ret_attr = &out->attr;
    err = begin(&m, f, &in->at);
    if (err == 0)
        err = create(&m, f, in->how);
    end(&m, f, err);
}

void wg_posix_mkdir(struct wg_frame *f)
{
    const struct wg_mkdir_in *in = wg_in(f, mkdir);
    struct wg_mkdir_out *out = wg_new_out(f, mkdir);
    struct making m = { .type = WG_DIR, .attrs = in->attrs };
    int err;

    if (!out)
        return wg_unwind(f, ENOMEM);
    m.gfid = gfid_or_new(in->gfid);
    m.wcc = &out->parent;
    m.ret_ref = &out->ref;
    m.ret_attr = &out->attr;
    err = begin(&m, f, &in->at);
    if (err == 0) {
        m.flags = wg_px_keydir_flags(m.dir, m.name) | PX_REC_UNSYNCED;
        err = make(&m, f->call->replay);
    }
    end(&m, f, err);
}

void wg_posix_symlink(struct wg_frame *f)
{
    const struct wg_symlink_in *in = wg_in(f, symlink);
    struct wg_symlink_out *out = wg_new_out(f, symlink);
    struct making m = { .type = WG_LNK, .attrs = in->attrs };
    int err;

    if (!out)
        return wg_unwind(f, ENOMEM);
    if (in->target.len == 0 || memchr(in->target.s, '\0', in->target.len))
        return wg_unwind(f, EINVAL);
    if (in->target.len >= WG_PATH_MAX)
        return wg_unwind(f, ENAMETOOLONG);
    m.target = wg_memdup(&f->call->arena, in->target.s, in->target.len);
    if (!m.target)
        return wg_unwind(f, ENOMEM);
    m.gfid = gfid_or_new(in->gfid);
    m.wcc = &out->parent;
    m.ret_ref = &out->ref;
    m.ret_attr = &out->attr;
    err = begin(&m, f, &in->at);
    if (err == 0)
        err = make(&m, f->call->replay);
    end(&m, f, err);
}

void wg_posix_mknod(struct wg_frame *f)
{
    const struct wg_mknod_in *in = wg_in(f, mknod);
    struct wg_mknod_out *out = wg_new_out(f, mknod);
    struct making m = { .type = (uint8_t)in->type, .attrs = in->attrs };
    int err;

    if (!out)
        return wg_unwind(f, ENOMEM);
    if (in->type != WG_BLK && in->type != WG_CHR && in->type != WG_SOCK && in->type != WG_FIFO)
        return wg_unwind(f, EBADTYPE);
    if (in->type == WG_BLK || in->type == WG_CHR)
        m.dev = makedev(in->major, in->minor);
    m.gfid = gfid_or_new(in->gfid);
    m.wcc = &out->parent;
    m.ret_ref = &out->ref;
    m.ret_attr = &out->attr;
    err = begin(&m, f, &in->at);
    if (err == 0)
        err = make(&m, f->call->replay);
    end(&m, f, err);
}

/* The new name for ino; a replay finds it there. */
static int link_name(struct making *m, struct px_inode *ino, bool replay, const uint64_t *id)
{
    enum px_earlier earlier = wg_px_done_find(m->px, id);
    char path[PX_FD_PATH];
    struct wg_ref ref;
    struct statx st;
    int err;

    m->changed |= earlier != PX_NEVER; /* told again */
    if (earlier == PX_DONE)
        return 0;
    err = wg_px_ident(m->px, m->cred, m->dir, m->name, &ref, &st);
    if (err == 0)
        return (replay || earlier == PX_BEGUN) && wg_gfid_eq(ref.gfid, ino->gfid) ? 0 : EEXIST;
    if (err != ENOENT)
        return err;
    err = wg_px_stat_inode(m->px, ino, &st);
    if (err)
        return err;
    err = wg_px_index_add(m->px, m->dir->gfid, m->name, m->gfid, m->type, ino->hint, ino->hint_len);
    if (err == 0)
        err = wg_px_as(m->px, m->cred);
    wg_px_done_mark(m->px, id);
    if (err == 0 && linkat(AT_FDCWD, wg_px_fd_path(path, ino->fd), m->dir->fd, m->name,
                           AT_SYMLINK_FOLLOW) != 0)
        err = errno;
    wg_px_done_end(m->px, id, err == 0);
    m->changed |= err == 0;
    if (err)
        (void)wg_px_index_remove(m->px, m->dir->gfid, m->name, m->gfid, false);
    return err;
}

void wg_posix_link(struct wg_frame *f)
{
    const struct wg_link_in *in = wg_in(f, link);
    struct wg_link_out *out = wg_new_out(f, link);
    struct making m = { .type = WG_REG };
    struct px_alone alone;
    struct px_inode *ino;
    uint64_t id[2];
    int err;

    if (!out)
        return wg_unwind(f, ENOMEM);
    err = wg_px_find(wg_px(f), &in->at, &ino);
    if (err)
        return wg_unwind(f, err);
    m.gfid = ino->gfid;
    m.type = ino->type;
    m.wcc = &out->parent;
    if (ino->type == WG_DIR) {
        wg_px_release(wg_px(f), ino);
        return wg_unwind(f, EISDIR);
    }
    wg_px_alone_begin(ino, &alone); /* its ctime and link count change */
    err = begin(&m, f, &in->to);
    if (err == 0) {
        wg_px_done_begin(f, m.dir, m.name, id);
        err = link_name(&m, ino, f->call->replay, id);
    }
    (void)wg_px_alone_end(ino, &alone);
    wg_px_attr(ino, &out->attr);
    wg_px_release(wg_px(f), ino);
    end(&m, f, err);
}
