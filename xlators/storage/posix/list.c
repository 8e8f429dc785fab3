/* SPDX-License-Identifier: Apache-2.0 */
/*
 * list: keys in byte order, a page at a time. A walk over the tree, depth first, each directory's
 * names in the order of the index: since a directory sorts as its name plus "/", that is the order
 * of full keys. `bound` is the lowest key still wanted; it seeks in the index, and decides which
 * directories need not be entered, so that a page costs the page.
 *
 * A level is a directory with its key prefix. It has more than one source of names while chunks
 * (.@+, keymap.h) are open in it: their names continue a component, and are merged with the others.
 * Rows come from the index, which may know names that are gone: each is checked by statx, and what
 * is read of it is the truth.
 */
#include "listing.h"

#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BATCH 64          /* rows fetched at once from the index */
#define BATCH_DIR 1024    /* and from a directory, which costs all of it */
/* ---- keys ------------------------------------------------------------------------------------------- */

/* May keys that begin with p be wanted? */
static bool subtree_wanted(const struct listing *l, const char *p, uint32_t len)
{
    const struct wg_str *prefix = &l->in->prefix;

    return (cmp(p, len, l->bound, l->bound_len) >= 0 || begins(l->bound, l->bound_len, p, len)) &&
           (begins(p, len, prefix->s, prefix->len) || begins(prefix->s, prefix->len, p, len));
}

static bool beyond(const struct listing *l, const char *key, uint32_t len)
{
    const struct wg_str *prefix = &l->in->prefix;

    return !begins(key, len, prefix->s, prefix->len) && cmp(key, len, prefix->s, prefix->len) > 0;
}

/* The lowest key above all that begin with p; false when there is none. */
static bool successor(struct listing *l, const char *p, uint32_t len)
{
    while (len > 0 && (uint8_t)p[len - 1] == 0xff)
        len--;
    if (len == 0)
        return false;
    memmove(l->bound, p, len);
    l->bound[len - 1]++;
    l->bound_len = len;
    return true;
}

uint32_t wg_px_list_common(const struct listing *l, const char *key, uint32_t len)
{
    const struct wg_str *p = &l->in->prefix, *d = &l->in->delimiter;
    const char *at;

    if (d->len == 0 || !begins(key, len, p->s, p->len))
        return 0;
    at = memmem(key + p->len, len - p->len, d->s, d->len);
    return at ? (uint32_t)(at - key) + d->len : 0;
}

static bool first_bound(struct listing *l)
{
    const struct wg_str *p = &l->in->prefix, *m = &l->in->marker;
    uint32_t common;

    if (cmp(m->s, m->len, p->s, p->len) < 0 || m->len == 0) {
        memcpy(l->bound, p->len ? p->s : "", p->len);
        l->bound_len = p->len;
        return true;
    }
    common = l->in->start_at ? 0 : wg_px_list_common(l, m->s, m->len);
    if (common) /* the rest of a group that was given as one row */
        return successor(l, m->s, common);
    memcpy(l->bound, m->s, m->len);
    l->bound_len = m->len;
    if (!l->in->start_at)
        l->bound[l->bound_len++] = '\0'; /* no key lies between */
    return true;
}

/* ---- sources ------------------------------------------------------------------------------------------ */

/* Where in the source's names the bound lies; false: all of them are below it. */
static bool source_seek(struct listing *l, struct source *src)
{
    const char *rest = l->bound + src->prefix_len, *slash;
    uint32_t len;

    src->n = src->at = 0;
    src->more = true;
    src->next_len = 0;
    if (cmp(l->bound, l->bound_len, src->prefix, src->prefix_len) <= 0)
        return true;
    if (!begins(l->bound, l->bound_len, src->prefix, src->prefix_len)) {
        src->more = false;
        return false;
    }
    len = l->bound_len - src->prefix_len;
    slash = memchr(rest, '/', len);
    if (slash) /* a directory that the bound leads into sorts as its name with the slash */
        len = (uint32_t)(slash - rest) + 1;
    if (len > WG_KEY_CHUNK) /* a chunk with keys above the bound sorts by these bytes */
        len = WG_KEY_CHUNK;
    memcpy(src->next, rest, len);
    src->next_len = len;
    return true;
}

static int source_fill(struct listing *l, struct source *src)
{
    struct posix *px = l->s.px;
    const struct px_row *last;
    int err = 0;

    if (src->at < src->n || !src->more)
        return 0;
    src->at = src->n = 0;
    if (src->index) {
        err = wg_px_index_page(px, src->dir->gfid, src->next, src->next_len, src->rows, src->batch,
                               &src->n);
    } else {
        err = wg_px_as(px, &l->s.cred);
        if (err == 0)
            err = wg_px_readdir_page(src->dir->fd, src->dir == px->root, src->next, src->next_len,
                                     src->rows, src->batch, &src->n);
    }
    src->more = err == 0 && src->n == src->batch;
    if (src->n == 0)
        return err;
    last = &src->rows[src->n - 1];
    memcpy(src->next, last->sort, last->sort_len);
    src->next[last->sort_len] = 0;
    src->next_len = last->sort_len + 1u;
    return err;
}

static void source_free(struct listing *l, struct source *src)
{
    wg_px_release(l->s.px, src->dir);
    free(src->rows);
    free(src);
}

/* Takes dir over on 0. EACCES: the caller may not list it. */
static int source_new(struct listing *l, struct px_inode *dir, enum wg_key_dir in,
                      const char *prefix, uint32_t prefix_len, struct source **ret)
{
    struct posix *px = l->s.px;
    struct source *src;
    struct statx st;
    int err = wg_px_stat_inode(px, dir, &st);

    if (err == 0)
        err = wg_px_as(px, &l->s.cred);
    if (err == 0 && syscall(SYS_faccessat2, dir->fd, "", R_OK | X_OK, AT_EMPTY_PATH | AT_EACCESS) != 0)
        err = errno;
    if (err)
        return err;
    src = calloc(1, sizeof *src + prefix_len + 1);
    if (!src)
        return ENOMEM;
    src->index = wg_px_index_complete(px, dir, &st);
    src->batch = src->index ? BATCH : BATCH_DIR;
    src->rows = malloc(src->batch * sizeof *src->rows);
    if (!src->rows) {
        free(src);
        return ENOMEM;
    }
    src->dir = dir;
    src->in = in;
    src->prefix_len = prefix_len;
    memcpy(src->prefix, prefix, prefix_len);
    (void)source_seek(l, src);
    *ret = src;
    return wg_px_as(px, &l->s.cred);
}

/* ---- levels --------------------------------------------------------------------------------------------- */

static void pop(struct listing *l)
{
    struct level *v = &l->level[--l->depth];

    while (v->nsrc > 0)
        source_free(l, v->src[--v->nsrc]);
}

/* Takes dir over. A directory that the caller may not read has no keys for it. */
static int push(struct listing *l, struct px_inode *dir, enum wg_key_dir in, const char *prefix,
                uint32_t len)
{
    struct source *src;
    struct level *v;
    int err;

    if (l->depth == l->depth_max) {
        unsigned max = l->depth_max ? l->depth_max * 2 : 16;
        struct level *more = realloc(l->level, max * sizeof *more);

        if (!more) {
            wg_px_release(l->s.px, dir);
            return ENOMEM;
        }
        l->level = more;
        l->depth_max = max;
    }
    err = source_new(l, dir, in, prefix, len, &src);
    if (err) {
        wg_px_release(l->s.px, dir);
        return (err == EACCES || err == ESTALE) && l->depth > 0 ? 0 : err;
    }
    v = &l->level[l->depth++];
    *v = (struct level){ .nsrc = 1, .src = { src } };
    v->self = l->depth > 1 && cmp(prefix, len, l->bound, l->bound_len) >= 0;
    return 0;
}

/* Takes dir over. */
static int add_chunk(struct listing *l, struct level *v, struct px_inode *dir, enum wg_key_dir in,
                     const char *prefix, uint32_t len)
{
    struct source *src = NULL;
    int err = v->nsrc < SOURCES ? source_new(l, dir, in, prefix, len, &src) : ELOOP;

    if (err == 0)
        v->src[v->nsrc++] = src;
    else
        wg_px_release(l->s.px, dir);
    return err == EACCES || err == ESTALE || err == ELOOP ? 0 : err;
}

/* The bound has moved up: what lies below it is left. */
static void reseek(struct listing *l)
{
    struct level *v;

    while (l->depth > 1) {
        const struct source *main = l->level[l->depth - 1].src[0];

        if (subtree_wanted(l, main->prefix, main->prefix_len))
            break;
        pop(l);
    }
    if (l->depth == 0)
        return;
    /* Outer levels are past the directory that they are in. An open chunk is found again. */
    v = &l->level[l->depth - 1];
    v->self = false;
    while (v->nsrc > 1)
        source_free(l, v->src[--v->nsrc]);
    (void)source_seek(l, v->src[0]);
}

void wg_px_list_skip(struct listing *l, const char *p, uint32_t len)
{
    if (successor(l, p, len))
        reseek(l);
    else
        l->done = true; /* nothing is above */
}

static int row_cmp(const struct source *a, const struct source *b)
{
    const struct px_row *x = &a->rows[a->at], *y = &b->rows[b->at];
    char p[2][KEY_ROOM + WG_KEY_SORT_MAX];
    uint32_t n[2];

    memcpy(p[0], a->prefix, a->prefix_len);
    memcpy(p[0] + a->prefix_len, x->sort, x->sort_len);
    n[0] = a->prefix_len + x->sort_len;
    memcpy(p[1], b->prefix, b->prefix_len);
    memcpy(p[1] + b->prefix_len, y->sort, y->sort_len);
    n[1] = b->prefix_len + y->sort_len;
    return cmp(p[0], n[0], p[1], n[1]);
}

/* The source with the lowest row; NULL: the level is at its end. */
static int lowest(struct listing *l, struct level *v, struct source **ret)
{
    *ret = NULL;
    for (unsigned i = 0; i < v->nsrc;) {
        struct source *src = v->src[i];
        int err = source_fill(l, src);

        if (err)
            return err;
        if (src->at == src->n && i > 0) { /* a chunk that is through */
            source_free(l, src);
            v->src[i] = v->src[--v->nsrc];
            continue;
        }
        if (src->at < src->n && (!*ret || row_cmp(src, *ret) < 0))
            *ret = src;
        i++;
    }
    return 0;
}

/* ---- the walk ---------------------------------------------------------------------------------------------- */

static int enter(struct listing *l, struct level *v, struct source *src, const struct px_row *row,
                 const char *name, bool chunk, const char *key, uint32_t len)
{
    struct px_inode *dir;
    int err;

    if (!subtree_wanted(l, key, len))
        return 0;
    err = wg_px_child(l->s.px, &l->s.cred, src->dir, name, &dir, NULL);
    if (err == ENOENT)
        wg_px_list_note_gone(l, src, row, name);
    if (err)
        return err == ENOMEM ? err : 0;
    if (dir->type != WG_DIR) {
        wg_px_release(l->s.px, dir);
        return 0;
    }
    if (chunk)
        return add_chunk(l, v, dir, wg_key_dir_of(wg_str_of(name)), key, len);
    return push(l, dir, wg_key_dir_of(wg_str_of(name)), key, len);
}

static int step(struct listing *l)
{
    struct level *v = &l->level[l->depth - 1];
    struct source *src;
    struct wg_key_name part, k;
    struct px_row row;
    char name[WG_NAME_MAX + 1], key[KEY_ROOM];
    uint32_t name_len, len;
    int err = lowest(l, v, &src);

    if (err)
        return err;
    if (v->self && (!src || src->prefix_len > v->src[0]->prefix_len ||
                    src->rows[src->at].sort[0] != 0)) {
        v->self = false; /* the content of a directory object, the empty name, comes before it */
        return wg_px_list_self(l, v);
    }
    if (!src) {
        pop(l);
        return 0;
    }
    row = src->rows[src->at++];
    if (wg_key_unsort(row.sort, row.sort_len, name, &name_len, &part))
        return 0;
    name[name_len] = '\0';
    k = wg_key_of_name(src->in, wg_str_of(name), row.type == WG_DIR);
    len = src->prefix_len + k.piece.len + k.slash;
    if (k.kind == WG_KEY_NONE || len > WG_KEY_MAX)
        return 0;
    memcpy(key, src->prefix, src->prefix_len);
    memcpy(key + src->prefix_len, k.piece.s, k.piece.len);
    if (k.slash)
        key[len - 1] = '/';
    if (beyond(l, key, len)) {
        l->done = true;
        return 0;
    }
    if (row.type == WG_DIR)
        return enter(l, v, src, &row, name, k.kind == WG_KEY_CHUNKED, key, len);
    if (row.type != WG_REG && row.type != WG_LNK)
        return 0;
    return wg_px_list_file(l, src, &row, name, k.kind == WG_KEY_TWIN, key, len);
}

static int walk(struct listing *l)
{
    int err;

    wg_px_hold(l->s.base);
    err = push(l, l->s.base, WG_KEY_IN_BUCKET, "", 0);
    while (err == 0 && l->depth > 0 && !l->done)
        err = step(l);
    while (l->depth > 0)
        pop(l);
    return err;
}

static int finish(struct listing *l, int err)
{
    struct wg_arena *arena = &l->f->call->arena;
    struct wg_list list;

    if (err == 0 && l->out->truncated && l->rows.count == 0)
        err = ETOOSMALL;
    if (err) {
        wg_append_abort(&l->rows);
        return err;
    }
    list = wg_append_end(&l->rows);
    err = wg_keep_iobuf(arena, list.buf);
    if (err == 0)
        l->out->entries = list;
    if (err == 0 && l->out->truncated)
        err = wg_strdup(arena, (struct wg_str){ l->next, l->next_len }, &l->out->next);
    return err;
}

static int list(struct listing *l)
{
    const struct wg_list_in *in = l->in;
    uint32_t size = in->size == 0 || in->size > WG_IO_MAX ? WG_IO_MAX : in->size;
    int err;

    if (in->prefix.len > WG_KEY_MAX || in->marker.len > WG_KEY_MAX || in->delimiter.len > WG_KEY_MAX)
        return ENAMETOOLONG;
    err = wg_px_s3_base(&l->s, l->f, &in->bucket, in->space);
    if (err)
        return err;
    err = wg_append_start(&l->rows, size);
    if (err)
        return err;
    if (in->max > 0 && first_bound(l))
        err = walk(l);
    err = finish(l, err);
    wg_px_list_drop_gone(l);
    return err;
}

void wg_posix_list(struct wg_frame *f)
{
    struct wg_list_out *out = wg_new_out(f, list);
    struct listing *l;
    int err;

    wg_px_no_promise(f);
    if (!out)
        return wg_unwind(f, ENOMEM);
    if (f->call->nowait)
        return wg_unwind(f, EWOULDBLOCK);
    l = calloc(1, sizeof *l);
    if (!l)
        return wg_unwind(f, ENOMEM);
    l->f = f;
    l->in = wg_in(f, list);
    l->out = out;
    err = list(l);
    wg_px_s3_end(&l->s);
    free(l->gone);
    free(l->level);
    free(l);
    wg_unwind(f, err);
}
