/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of a list: what is under a name, read when it is asked for. */
#include "listing.h"

#include <linux/openat2.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static void stop(struct listing *l, bool truncated)
{
    l->done = true;
    l->out->truncated = truncated;
}

static void give(struct listing *l, const struct wg_objent *e)
{
    if (l->rows.count >= l->in->max || !wg_append_objent(&l->rows, e)) {
        stop(l, true);
        return;
    }
    memcpy(l->next, e->key.s, e->key.len);
    l->next_len = e->key.len;
}

/* A key that is there. It is a row, or belongs to the row of its common prefix. */
static void emit(struct listing *l, struct wg_objent *e)
{
    uint32_t common = wg_px_list_common(l, e->key.s, e->key.len);
    char key[KEY_ROOM];

    if (common == 0) {
        give(l, e);
        return;
    }
    memcpy(key, e->key.s, common);
    give(l, &(struct wg_objent){ .prefix = true, .key = { key, common } });
    if (l->done)
        return;
    wg_px_list_skip(l, key, common);
}

static int row_meta(struct listing *l, struct px_inode *dir, const char *name, const struct px_rec *rec,
                    struct wg_objent *e)
{
    int fd, err;
    char *buf;

    if (!(l->in->flags & WG_LIST_META) || !(rec->flags & PX_REC_META))
        return 0;
    buf = malloc(WG_META_MAX);
    if (!buf)
        return ENOMEM;
    fd = openat(dir->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        free(buf);
        return errno;
    }
    err = wg_px_meta_get(l->s.px, fd, buf, WG_META_MAX, &e->meta.len);
    close(fd);
    e->meta.s = buf;
    if (err)
        free(buf);
    return err;
}

static void fill(struct listing *l, const struct px_rec *rec, const struct statx *st,
                 struct wg_objent *e)
{
    if (!wg_px_ident_get(l->s.px, st->stx_ino, st, &e->ref))
        e->ref.gfid = rec->gfid;
    e->size = S_ISDIR(st->stx_mode) ? 0 : st->stx_size;
    e->mtime = (struct wg_time){ st->stx_mtime.tv_sec, st->stx_mtime.tv_nsec };
    e->uid = st->stx_uid;
}

/* A symlink shows as the file that it leads to inside the bucket; ENOENT for any other. */
static int follow(struct listing *l, const char *key, uint32_t key_len, bool twin, struct px_rec *rec,
                  struct statx *st)
{
    struct open_how how = { .flags = O_PATH | O_CLOEXEC,
                            .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV };
    char path[WG_KEY_PATH_MAX];
    uint32_t len;
    int fd, err;

    if (wg_key_to_path((struct wg_str){ key, key_len }, twin, path, &len))
        return ENOENT;
    fd = (int)syscall(SYS_openat2, l->s.base->fd, path, &how, sizeof how);
    if (fd < 0)
        return ENOENT;
    err = wg_px_stat(fd, st);
    if (err == 0 && !S_ISREG(st->stx_mode))
        err = ENOENT;
    if (err == 0)
        err = wg_px_rec_get(l->s.px, fd, rec);
    close(fd);
    return err ? ENOENT : 0;
}

static int read_row(struct listing *l, struct px_inode *dir, const char *name, const char *key,
                    uint32_t key_len, bool twin, struct px_rec *rec, struct statx *st)
{
    struct posix *px = l->s.px;
    struct px_inode *ino;
    int err = wg_px_stat_at(dir->fd, name, st);

    if (err)
        return err;
    if (S_ISLNK(st->stx_mode))
        return follow(l, key, key_len, twin, rec, st);
    if (!S_ISREG(st->stx_mode))
        return EISDIR;
    err = wg_px_rec_get_at(px, dir->fd, name, rec);
    if (err != ENODATA)
        return err;
    err = wg_px_child(px, &l->s.cred, dir, name, &ino, st); /* gives it a record */
    if (err)
        return err;
    err = wg_px_rec(px, ino, rec);
    wg_px_release(px, ino);
    return err;
}

void wg_px_list_note_gone(struct listing *l, const struct source *src, const struct px_row *row,
                      const char *name)
{
    if (!src->index || l->ngone == GONE_MAX)
        return;
    if (!l->gone)
        l->gone = calloc(GONE_MAX, sizeof *l->gone);
    if (!l->gone)
        return;
    l->gone[l->ngone] = (struct gone){ .dir = src->dir->gfid, .gfid = row->gfid };
    memcpy(l->gone[l->ngone++].name, name, strlen(name) + 1);
}

void wg_px_list_drop_gone(struct listing *l)
{
    struct posix *px = l->s.px;

    if (l->ngone == 0)
        return;
    (void)wg_px_as_brick(px);
    for (unsigned i = 0; i < l->ngone; i++) {
        struct gone *g = &l->gone[i];
        struct wg_ref ref = { .gfid = g->dir };
        struct px_inode *dir;
        struct px_names held;
        struct px_where w;
        struct statx st;

        if (wg_px_find_dir(px, &ref, &dir) != 0)
            continue;
        wg_px_lock_names(px, &held, &(struct px_at){ g->dir, g->name }, 1);
        if (wg_px_stat_at(dir->fd, g->name, &st) == ENOENT) {
            bool last = wg_px_index_find(px, g->gfid, &w) == 0 && wg_gfid_eq(w.parent, g->dir) &&
                        strcmp(w.name, g->name) == 0;

            (void)wg_px_index_remove(px, g->dir, g->name, g->gfid, last);
            atomic_fetch_add(&px->index->dropped, 1);
        }
        wg_px_unlock_names(px, &held);
        wg_px_release(px, dir);
    }
}

int wg_px_list_file(struct listing *l, struct source *src, const struct px_row *row, const char *name,
                    bool twin, const char *key, uint32_t len)
{
    struct wg_objent e = { .key = { key, len } };
    struct px_rec rec;
    struct statx st;
    int err;

    if (cmp(key, len, l->bound, l->bound_len) < 0 ||
        !begins(key, len, l->in->prefix.s, l->in->prefix.len) ||
        cmp(key, len, l->last, l->last_len) == 0)
        return 0;
    err = read_row(l, src->dir, name, key, len, twin, &rec, &st);
    if (err == ENOENT && row->type != WG_LNK)
        wg_px_list_note_gone(l, src, row, name);
    if (err)
        return err == ENOMEM ? err : 0; /* not an object, or not ours to see */
    memcpy(l->last, key, len);
    l->last_len = len;
    fill(l, &rec, &st, &e);
    wg_px_etag(l->s.px, NULL, &rec, &st, &e.etag);
    err = row_meta(l, src->dir, name, &rec, &e);
    if (err == 0)
        emit(l, &e);
    free((void *)(uintptr_t)e.meta.s);
    return err == ENOMEM ? err : 0;
}

int wg_px_list_self(struct listing *l, const struct level *v)
{
    struct source *src = v->src[0];
    struct wg_objent e = { .key = { src->prefix, src->prefix_len } };
    struct px_rec rec;
    struct statx st;
    int err;

    if (src->prefix_len > WG_KEY_MAX ||
        !begins(src->prefix, src->prefix_len, l->in->prefix.s, l->in->prefix.len) ||
        cmp(src->prefix, src->prefix_len, l->last, l->last_len) == 0)
        return 0;
    err = wg_px_stat_inode(l->s.px, src->dir, &st);
    if (err == 0)
        err = wg_px_rec(l->s.px, src->dir, &rec);
    if (err == 0)
        err = wg_px_s3_is_object(&l->s, src->dir, &rec, &st);
    if (err)
        return 0;
    fill(l, &rec, &st, &e);
    wg_px_s3_dir_etag(l->s.px, &rec, &st, &e.etag);
    err = row_meta(l, src->dir, ".", &rec, &e);
    if (err == 0)
        emit(l, &e);
    free((void *)(uintptr_t)e.meta.s);
    return err == ENOMEM ? err : 0;
}
