/* SPDX-License-Identifier: Apache-2.0 */
/* Which object is under a key, and whether a condition holds for it. */
#include "s3.h"

#include <dirent.h>
#include <time.h>
#include <unistd.h>

/* ---- looking ------------------------------------------------------------------------------------ */

static int look_at(struct px_s3 *s, struct px_inode *dir, const char *name, struct px_obj *ret)
{
    int err;

    wg_uses(s->f, &dir->gfid, wg_str_of(name));
    err = wg_px_child(s->px, &s->cred, dir, name, &ret->ino, &ret->st);
    if (err)
        return err == EXDEV || err == ENOTDIR ? ENOENT : err;
    ret->dir = dir;
    ret->name = name;
    if (ret->ino->type == WG_REG || ret->ino->type == WG_LNK)
        return 0;
    err = ret->ino->type == WG_DIR ? EISDIR : ENOENT;
    wg_px_release(s->px, ret->ino);
    ret->ino = NULL;
    return err;
}

int wg_px_s3_look(struct px_s3 *s, struct px_obj *ret)
{
    int err, plain;

    *ret = (struct px_obj){ 0 };
    plain = look_at(s, s->dir[s->ncomp - 1], s->name[s->ncomp - 1], ret);
    if (plain != ENOENT && plain != EISDIR)
        return plain;
    err = wg_px_s3_twin(s, false);
    if (err)
        return err;
    err = s->twin_dir ? look_at(s, s->twin_dir, s->twin_name, ret) : ENOENT;
    if (err == 0)
        ret->twin = true;
    return err == ENOENT ? plain : err;
}

int wg_px_dir_empty(int fd, bool *ret)
{
    int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), err;
    DIR *d = copy < 0 ? NULL : fdopendir(copy);
    struct dirent *e;

    if (!d) {
        err = errno;
        if (copy >= 0)
            close(copy);
        return err;
    }
    errno = 0;
    do
        e = readdir(d);
    while (e && (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")));
    err = errno;
    *ret = e == NULL;
    closedir(d);
    return err;
}

/*
 * One that a PUT made is none while it may be on its way to get a key. If it stays empty (its files
 * were removed by NFS), it shows as NFS's own empty directories do, so that S3 can delete it.
 */
#define SETTLED_S 10

int wg_px_s3_is_object(struct px_s3 *s, struct px_inode *dir, const struct px_rec *rec,
                       const struct statx *st)
{
    struct timespec now;
    bool empty = false;
    int err;

    if (rec->flags & PX_REC_MARKER)
        return 0;
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    if ((rec->flags & PX_REC_MADE) && now.tv_sec - st->stx_mtime.tv_sec < SETTLED_S)
        return ENOENT;
    err = wg_px_as(s->px, &s->cred);
    if (err == 0)
        err = wg_px_dir_empty(dir->fd, &empty);
    return err ? err : empty ? 0 : ENOENT;
}

int wg_px_s3_look_dir(struct px_s3 *s, struct px_rec *rec, struct statx *st)
{
    struct px_inode *dir = s->dir[s->ncomp - 1];
    int err;

    if (dir == s->base)
        return ENOENT;
    err = wg_px_stat_inode(s->px, dir, st);
    if (err == 0)
        err = wg_px_rec(s->px, dir, rec);
    if (err == 0)
        err = wg_px_s3_is_object(s, dir, rec, st);
    return err == ESTALE ? ENOENT : err;
}

void wg_px_s3_dir_etag(struct posix *px, const struct px_rec *rec, const struct statx *st,
                       struct wg_etag *ret)
{
    static const uint8_t md5_of_nothing[16] = { 0xd4, 0x1d, 0x8c, 0xd9, 0x8f, 0x00, 0xb2, 0x04,
                                                0xe9, 0x80, 0x09, 0x98, 0xec, 0xf8, 0x42, 0x7e };

    (void)px;
    (void)st;
    *ret = (struct wg_etag){ .valid = true };
    if ((rec->flags & PX_REC_MARKER) && (rec->flags & PX_REC_CLEAN)) {
        memcpy(ret->md5, rec->md5, 16);
        ret->parts = rec->parts;
    } else {
        memcpy(ret->md5, md5_of_nothing, 16);
    }
}

/* ---- conditions ---------------------------------------------------------------------------------- */

static bool same_etag(const struct wg_etag *a, const struct wg_etag *b)
{
    return a->valid && b->valid && a->synthetic == b->synthetic && a->parts == b->parts &&
           memcmp(a->md5, b->md5, 16) == 0;
}

int wg_px_s3_check(const struct px_cond *c, const struct wg_etag *etag, const struct statx *st)
{
    if (c->flags & WG_IF_NONE_MATCH_ANY)
        return ECONDITION;
    if ((c->flags & WG_IF_MATCH) && !same_etag(etag, c->match))
        return ECONDITION;
    if ((c->flags & WG_IF_SIZE) && (S_ISDIR(st->stx_mode) ? 0 : st->stx_size) != c->size)
        return ECONDITION;
    if ((c->flags & WG_IF_MTIME) && st->stx_mtime.tv_sec != c->mtime.sec)
        return ECONDITION;
    return 0;
}

int wg_px_s3_check_none(const struct px_cond *c)
{
    return c->flags & (WG_IF_MATCH | WG_IF_MATCH_ANY | WG_IF_SIZE | WG_IF_MTIME) ? ENOENT : 0;
}
