/* SPDX-License-Identifier: Apache-2.0 */
/*
 * iobuf: reference-counted payload memory, page-aligned. Payloads are never copied by an
 * xlator; whoever keeps one past the call (a lane's send queue) takes its own reference.
 */
#ifndef WG_IOBUF_H
#define WG_IOBUF_H

#include <stdatomic.h>
#include <stdint.h>

struct wg_iobuf {
    struct wg_iobuf *next; /* the pool's; first, for pool.c */
    atomic_uint refs;
    uint32_t size;  /* usable bytes at base */
    void *base;     /* page-aligned when from wg_iobuf_get */
    void (*release)(struct wg_iobuf *buf); /* runs once, at the last unref, on any thread */
    void *owner;    /* for release */
};

/*
 * A buffer of at least size bytes (0 < size <= 16 MiB), one reference, content undefined. From
 * per-size pools (4 KiB to 2 MiB, powers of two and 1 MiB + 64 KiB); larger ones are mapped.
 * NULL when memory is out. Any thread.
 */
struct wg_iobuf *wg_iobuf_get(uint32_t size);

/*
 * Wraps foreign memory: base stays valid until release(buf) is called at the last unref; release
 * must also free buf itself if it was allocated. One reference.
 */
void wg_iobuf_wrap(struct wg_iobuf *buf, void *base, uint32_t size,
                   void (*release)(struct wg_iobuf *), void *owner);

static inline struct wg_iobuf *wg_iobuf_ref(struct wg_iobuf *buf)
{
    atomic_fetch_add_explicit(&buf->refs, 1, memory_order_relaxed);
    return buf;
}

/* Drops a reference; NULL is allowed. Any thread. */
void wg_iobuf_unref(struct wg_iobuf *buf);

/* For dumps: bytes in use and bytes kept free in the pools. */
void wg_iobuf_stats(uint64_t *ret_used, uint64_t *ret_pooled);

#endif
