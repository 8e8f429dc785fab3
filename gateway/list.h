/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packed lists: the wire form is the memory form. A list is an iobuf of rows, each
 * little-endian and self-delimiting; an appender writes them, a cursor reads them, both bounded.
 */
#ifndef WG_LIST_H
#define WG_LIST_H

#include "iobuf.h"
#include "types.h"

/* A row of readdir. attr.valid only with plus (and only where the brick could stat it). */
struct wg_dirent {
    uint64_t cookie;
    struct wg_str name;
    struct wg_ref ref; /* only gfid is set without plus (zero when unknown) */
    struct wg_iatt attr;
};

/* A row of list. prefix: a common prefix; then only key is set. */
struct wg_objent {
    bool prefix;
    struct wg_str key; /* the full S3 key, unescaped */
    struct wg_ref ref;
    uint64_t size;
    struct wg_time mtime;
    struct wg_etag etag;
    uint32_t uid;
    struct wg_str meta; /* with WG_LIST_META */
};

struct wg_xattr {
    struct wg_str name, value;
};

struct wg_appender {
    struct wg_iobuf *buf;
    uint8_t *at, *end;
    uint32_t count;
};

/* size bounds the packed bytes (<= WG_IO_MAX). 0 or ENOMEM. */
int wg_append_start(struct wg_appender *a, uint32_t size);
/* Each returns false, adding nothing, when the row does not fit. */
bool wg_append_dirent(struct wg_appender *a, const struct wg_dirent *e);
bool wg_append_objent(struct wg_appender *a, const struct wg_objent *e);
bool wg_append_xattr(struct wg_appender *a, const struct wg_xattr *e);
/* The list; the appender's reference of the buffer passes to the caller (wg_keep_iobuf it). */
struct wg_list wg_append_end(struct wg_appender *a);
void wg_append_abort(struct wg_appender *a);

struct wg_cursor {
    const uint8_t *at, *end;
};

static inline struct wg_cursor wg_cursor(const struct wg_list *l)
{
    return (struct wg_cursor){ l->base, (const uint8_t *)l->base + l->len };
}

/* Each returns false at the end, and at a malformed row. Strings point into the list. */
bool wg_next_dirent(struct wg_cursor *c, struct wg_dirent *ret);
bool wg_next_objent(struct wg_cursor *c, struct wg_objent *ret);
bool wg_next_xattr(struct wg_cursor *c, struct wg_xattr *ret);

#endif
