/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A row is a u32 length and its fields, little-endian; a reader skips fields that it does not
 * know, so rows may grow at their end.
 */
#include <endian.h>

#include "errors.h"
#include "list.h"

static bool fits(const struct wg_appender *a, size_t n)
{
    return (size_t)(a->end - a->at) >= n;
}

static uint8_t *put(uint8_t *at, const void *p, size_t n)
{
    if (n > 0)
        memcpy(at, p, n);
    return at + n;
}

static uint8_t *put32(uint8_t *at, uint32_t v)
{
    v = htole32(v);
    return put(at, &v, 4);
}

static uint8_t *put64(uint8_t *at, uint64_t v)
{
    v = htole64(v);
    return put(at, &v, 8);
}

static uint8_t *put_str(uint8_t *at, struct wg_str v)
{
    return put(put32(at, v.len), v.s, v.len);
}

static uint8_t *put_time(uint8_t *at, struct wg_time t)
{
    return put32(put64(at, (uint64_t)t.sec), t.nsec);
}

static uint8_t *put_ref(uint8_t *at, const struct wg_ref *r)
{
    at = put(at, r->gfid.b, 16);
    *at++ = r->hint_len;
    return put(at, r->hint, r->hint_len);
}

/* Reads: false past the end of the row. */
static bool get(struct wg_cursor *c, void *p, size_t n)
{
    if ((size_t)(c->end - c->at) < n)
        return false;
    memcpy(p, c->at, n);
    c->at += n;
    return true;
}

static bool get32(struct wg_cursor *c, uint32_t *v)
{
    if (!get(c, v, 4))
        return false;
    *v = le32toh(*v);
    return true;
}

static bool get64(struct wg_cursor *c, uint64_t *v)
{
    if (!get(c, v, 8))
        return false;
    *v = le64toh(*v);
    return true;
}

static bool get_str(struct wg_cursor *c, struct wg_str *v)
{
    if (!get32(c, &v->len) || (size_t)(c->end - c->at) < v->len)
        return false;
    v->s = (const char *)c->at;
    c->at += v->len;
    return true;
}

static bool get_time(struct wg_cursor *c, struct wg_time *t)
{
    uint64_t sec;

    if (!get64(c, &sec) || !get32(c, &t->nsec))
        return false;
    t->sec = (int64_t)sec;
    return true;
}

static bool get_ref(struct wg_cursor *c, struct wg_ref *r)
{
    memset(r, 0, sizeof *r);
    return get(c, r->gfid.b, 16) && get(c, &r->hint_len, 1) && r->hint_len <= WG_HINT_MAX &&
           get(c, r->hint, r->hint_len);
}

/* --- rows --- */

#define IATT_BYTES (1 + 16 + 6 * 4 + 2 * 8 + 3 * 12)
#define REF_MAX (16 + 1 + WG_HINT_MAX)

int wg_append_start(struct wg_appender *a, uint32_t size)
{
    memset(a, 0, sizeof *a);
    a->buf = wg_iobuf_get(size ? size : 1);
    if (!a->buf)
        return ENOMEM;
    a->at = a->buf->base;
    a->end = a->at + size;
    return 0;
}

/* A row's length goes in front of it, so that later versions may add fields. */
static uint8_t *row_begin(struct wg_appender *a)
{
    return a->at + 4;
}

static bool row_end(struct wg_appender *a, uint8_t *at)
{
    put32(a->at, (uint32_t)(at - a->at) - 4);
    a->at = at;
    a->count++;
    return true;
}

static bool row_open(struct wg_cursor *c, struct wg_cursor *ret_row)
{
    uint32_t n;

    if (!get32(c, &n) || (size_t)(c->end - c->at) < n)
        return false;
    *ret_row = (struct wg_cursor){ c->at, c->at + n };
    c->at += n;
    return true;
}

static uint8_t *put_iatt(uint8_t *at, const struct wg_iatt *v)
{
    *at++ = v->type;
    at = put(at, v->gfid.b, 16);
    at = put32(put32(at, v->mode), v->nlink);
    at = put32(put32(at, v->uid), v->gid);
    at = put32(put32(at, v->rdev_major), v->rdev_minor);
    at = put64(put64(at, v->size), v->used);
    return put_time(put_time(put_time(at, v->atime), v->mtime), v->ctime);
}

static bool get_iatt(struct wg_cursor *c, struct wg_iatt *v)
{
    return get(c, &v->type, 1) && v->type <= WG_FIFO && get(c, v->gfid.b, 16) &&
           get32(c, &v->mode) && get32(c, &v->nlink) && get32(c, &v->uid) && get32(c, &v->gid) &&
           get32(c, &v->rdev_major) && get32(c, &v->rdev_minor) && get64(c, &v->size) &&
           get64(c, &v->used) && get_time(c, &v->atime) && get_time(c, &v->mtime) &&
           get_time(c, &v->ctime);
}

bool wg_append_dirent(struct wg_appender *a, const struct wg_dirent *e)
{
    uint8_t *at;

    if (!fits(a, 4 + 8 + 4 + e->name.len + REF_MAX + 1 + IATT_BYTES))
        return false;
    at = put64(row_begin(a), e->cookie);
    at = put_str(at, e->name);
    at = put_ref(at, &e->ref);
    *at++ = e->attr.valid;
    if (e->attr.valid)
        at = put_iatt(at, &e->attr);
    return row_end(a, at);
}

bool wg_next_dirent(struct wg_cursor *c, struct wg_dirent *ret)
{
    struct wg_cursor row;
    uint8_t valid;

    memset(ret, 0, sizeof *ret);
    if (!row_open(c, &row) || !get64(&row, &ret->cookie) || !get_str(&row, &ret->name) ||
        !get_ref(&row, &ret->ref) || !get(&row, &valid, 1))
        return false;
    ret->attr.valid = valid != 0;
    return !valid || get_iatt(&row, &ret->attr);
}

bool wg_append_objent(struct wg_appender *a, const struct wg_objent *e)
{
    uint8_t *at;

    if (!fits(a, 4 + 1 + 4 + e->key.len + REF_MAX + 8 + 12 + 16 + 4 + 1 + 4 + 4 + e->meta.len))
        return false;
    at = row_begin(a);
    *at++ = e->prefix;
    at = put_str(at, e->key);
    if (!e->prefix) {
        at = put_ref(at, &e->ref);
        at = put_time(put64(at, e->size), e->mtime);
        *at++ = (uint8_t)(e->etag.valid | e->etag.synthetic << 1);
        at = put32(put(at, e->etag.md5, 16), e->etag.parts);
        at = put_str(put32(at, e->uid), e->meta);
    }
    return row_end(a, at);
}

bool wg_next_objent(struct wg_cursor *c, struct wg_objent *ret)
{
    struct wg_cursor row;
    uint8_t prefix, flags;

    memset(ret, 0, sizeof *ret);
    if (!row_open(c, &row) || !get(&row, &prefix, 1) || !get_str(&row, &ret->key))
        return false;
    ret->prefix = prefix != 0;
    if (prefix)
        return true;
    if (!get_ref(&row, &ret->ref) || !get64(&row, &ret->size) || !get_time(&row, &ret->mtime) ||
        !get(&row, &flags, 1) || !get(&row, ret->etag.md5, 16) || !get32(&row, &ret->etag.parts) ||
        !get32(&row, &ret->uid) || !get_str(&row, &ret->meta))
        return false;
    ret->etag.valid = flags & 1;
    ret->etag.synthetic = flags >> 1 & 1;
    return true;
}

bool wg_append_xattr(struct wg_appender *a, const struct wg_xattr *e)
{
    if (!fits(a, 4 + 4 + (size_t)e->name.len + 4 + e->value.len))
        return false;
    return row_end(a, put_str(put_str(row_begin(a), e->name), e->value));
}

bool wg_next_xattr(struct wg_cursor *c, struct wg_xattr *ret)
{
    struct wg_cursor row;

    return row_open(c, &row) && get_str(&row, &ret->name) && get_str(&row, &ret->value);
}

struct wg_list wg_append_end(struct wg_appender *a)
{
    struct wg_list l = {
        .buf = a->buf,
        .base = a->buf->base,
        .len = (uint32_t)(a->at - (uint8_t *)a->buf->base),
        .count = a->count,
    };

    a->buf = NULL;
    return l;
}

void wg_append_abort(struct wg_appender *a)
{
    wg_iobuf_unref(a->buf);
    a->buf = NULL;
}
