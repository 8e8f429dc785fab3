/* SPDX-License-Identifier: Apache-2.0 */
/*
 * XDR (RFC 4506) over flat memory: a bounded cursor that reads and a bounded writer. Neither
 * allocates. The first access beyond the end sets `bad` and gives zeros from then on, so callers
 * test once, after the last field.
 */
#ifndef WG_NFS_XDR_H
#define WG_NFS_XDR_H

#include <endian.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "types.h"

struct wg_xdr_in {
    const uint8_t *at, *end;
    bool bad;
};

struct wg_xdr_out {
    uint8_t *at, *end;
    bool bad;
};

static inline uint32_t wg_xdr_pad(uint32_t len)
{
    return -len & 3;
}

static inline size_t wg_xdr_left(const struct wg_xdr_in *x)
{
    return (size_t)(x->end - x->at);
}

static inline uint32_t wg_xdr_get_u32(struct wg_xdr_in *x)
{
    uint32_t v;

    if (x->bad || wg_xdr_left(x) < sizeof v) {
        x->bad = true;
        return 0;
    }
    memcpy(&v, x->at, sizeof v);
    x->at += sizeof v;
    return be32toh(v);
}

static inline uint64_t wg_xdr_get_u64(struct wg_xdr_in *x)
{
    uint64_t hi = wg_xdr_get_u32(x);

    return hi << 32 | wg_xdr_get_u32(x);
}

/* A boolean is 0 or 1; anything else is malformed (RFC 4506 4.4). */
static inline bool wg_xdr_get_bool(struct wg_xdr_in *x)
{
    uint32_t v = wg_xdr_get_u32(x);

    if (v > 1)
        x->bad = true;
    return v == 1;
}

/* len bytes and their padding, in place; NULL (and bad) when they are not there. */
static inline const uint8_t *wg_xdr_get_fixed(struct wg_xdr_in *x, uint32_t len)
{
    const uint8_t *p = x->at;
    uint64_t whole = (uint64_t)len + wg_xdr_pad(len);

    if (x->bad || wg_xdr_left(x) < whole) {
        x->bad = true;
        return NULL;
    }
    x->at += whole;
    return p;
}

/* A counted string or opaque of at most max bytes, in place. */
static inline struct wg_str wg_xdr_get_bytes(struct wg_xdr_in *x, uint32_t max)
{
    struct wg_str s = { .len = wg_xdr_get_u32(x) };

    if (s.len > max)
        x->bad = true;
    s.s = (const char *)wg_xdr_get_fixed(x, s.len);
    if (x->bad)
        s = (struct wg_str){ NULL, 0 };
    return s;
}

static inline size_t wg_xdr_room(const struct wg_xdr_out *x)
{
    return (size_t)(x->end - x->at);
}

static inline void wg_xdr_put_u32(struct wg_xdr_out *x, uint32_t v)
{
    uint32_t be = htobe32(v);

    if (x->bad || wg_xdr_room(x) < sizeof be) {
        x->bad = true;
        return;
    }
    memcpy(x->at, &be, sizeof be);
    x->at += sizeof be;
}

static inline void wg_xdr_put_u64(struct wg_xdr_out *x, uint64_t v)
{
    wg_xdr_put_u32(x, (uint32_t)(v >> 32));
    wg_xdr_put_u32(x, (uint32_t)v);
}

/* len bytes and their zero padding, without a count. */
static inline void wg_xdr_put_fixed(struct wg_xdr_out *x, const void *p, uint32_t len)
{
    uint32_t pad = wg_xdr_pad(len);

    if (x->bad || wg_xdr_room(x) < (uint64_t)len + pad) {
        x->bad = true;
        return;
    }
    if (len)
        memcpy(x->at, p, len);
    memset(x->at + len, 0, pad);
    x->at += len + pad;
}

static inline void wg_xdr_put_bytes(struct wg_xdr_out *x, const void *p, uint32_t len)
{
    wg_xdr_put_u32(x, len);
    wg_xdr_put_fixed(x, p, len);
}

#endif
