/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <sys/mman.h>

#include "iobuf.h"
#include "pool.h"

/*
 * One pool per size class. The pooled object is the struct with its memory attached, so that
 * a stream of 1 MiB buffers touches the same pages again and again. batch and keep bound what
 * lies idle: per class and thread 4 MiB at most, in the shared stack 64 MiB.
 */
static void *class_make(struct wg_pool *p);
static void class_destroy(struct wg_pool *p, void *obj);

#define CLASS(n, bytes, each, shared) \
    { .name = "payload", .id = 8 + n, .batch = each, .keep = shared, .make = class_make, .destroy = class_destroy, .size = bytes }

static struct wg_pool classes[] = {
    CLASS(0, 4 << 10, 32, 2048),    CLASS(1, 8 << 10, 32, 1024),   CLASS(2, 16 << 10, 16, 1024),
    CLASS(3, 32 << 10, 16, 512),    CLASS(4, 64 << 10, 8, 512),    CLASS(5, 128 << 10, 4, 256),
    CLASS(6, 256 << 10, 2, 128),    CLASS(7, 512 << 10, 2, 64),    CLASS(8, 1 << 20, 2, 48),
    CLASS(9, (1 << 20) + (64 << 10), 2, 48), CLASS(10, 2 << 20, 1, 8),
};
#define NCLASSES (sizeof classes / sizeof *classes)

static void *class_make(struct wg_pool *p)
{
    struct wg_iobuf *buf = malloc(sizeof *buf);

    if (!buf)
        return NULL;
    buf->base = aligned_alloc(4096, p->size);
    if (!buf->base) {
        free(buf);
        return NULL;
    }
    return buf;
}

static void class_destroy(struct wg_pool *p, void *obj)
{
    struct wg_iobuf *buf = obj;

    (void)p;
    free(buf->base);
    free(buf);
}

static void release_pooled(struct wg_iobuf *buf)
{
    wg_pool_put(buf->owner, buf);
}

static void release_mapped(struct wg_iobuf *buf)
{
    munmap(buf->base, buf->size);
    free(buf);
}

static struct wg_iobuf *get_mapped(uint32_t size)
{
    struct wg_iobuf *buf = malloc(sizeof *buf);
    uint32_t pages = (size + 4095) & ~4095u;
    void *base;

    if (!buf)
        return NULL;
    base = mmap(NULL, pages, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) {
        free(buf);
        return NULL;
    }
    wg_iobuf_wrap(buf, base, pages, release_mapped, NULL);
    return buf;
}

struct wg_iobuf *wg_iobuf_get(uint32_t size)
{
    if (size == 0 || size > (16u << 20))
        return NULL;
    for (size_t i = 0; i < NCLASSES; i++) {
        if (size <= classes[i].size) {
            struct wg_iobuf *buf = wg_pool_get(&classes[i]);

            if (buf)
                wg_iobuf_wrap(buf, buf->base, (uint32_t)classes[i].size, release_pooled, &classes[i]);
            return buf;
        }
    }
    return get_mapped(size);
}

void wg_iobuf_wrap(struct wg_iobuf *buf, void *base, uint32_t size,
                   void (*release)(struct wg_iobuf *), void *owner)
{
    atomic_init(&buf->refs, 1);
    buf->base = base;
    buf->size = size;
    buf->release = release;
    buf->owner = owner;
}

void wg_iobuf_unref(struct wg_iobuf *buf)
{
    if (buf && atomic_fetch_sub_explicit(&buf->refs, 1, memory_order_acq_rel) == 1)
        buf->release(buf);
}

void wg_iobuf_stats(uint64_t *ret_used, uint64_t *ret_pooled)
{
    *ret_used = *ret_pooled = 0;
    for (size_t i = 0; i < NCLASSES; i++) {
        *ret_used += (uint64_t)classes[i].used * classes[i].size;
        *ret_pooled += (uint64_t)__atomic_load_n(&classes[i].count, __ATOMIC_RELAXED) * classes[i].size;
    }
}
