/* SPDX-License-Identifier: Apache-2.0 */
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "arena.h"
#include "errors.h"
#include "iobuf.h"
#include "pool.h"

#define BLOCK 4096 /* the usual block, header included; larger requests get their own */

struct wg_block {
    struct wg_block *next;
    size_t size;
};

static void *block_make(struct wg_pool *p)
{
    return malloc(p->size);
}

static void block_destroy(struct wg_pool *p, void *obj)
{
    (void)p;
    free(obj);
}

static struct wg_pool blocks = {
    .name = "arena blocks", .id = 1, .batch = 32, .keep = 4096, .size = BLOCK, .make = block_make, .destroy = block_destroy,
};

void wg_arena_lock(struct wg_arena *a)
{
    while (atomic_flag_test_and_set_explicit(&a->lock, memory_order_acquire))
        sched_yield();
}

void wg_arena_unlock(struct wg_arena *a)
{
    atomic_flag_clear_explicit(&a->lock, memory_order_release);
}

void wg_arena_init(struct wg_arena *a, void *first, size_t size)
{
    atomic_flag_clear(&a->lock);
    a->at = first;
    a->end = first ? (char *)first + size : NULL;
    a->blocks = NULL;
    a->releases = NULL;
    a->bytes = 0;
}

void wg_arena_fini(struct wg_arena *a)
{
    /* A release may itself look at the arena's memory, so all run before any block goes. */
    for (struct wg_release *r = a->releases; r; r = r->next)
        r->fn(r->arg);
    for (struct wg_block *b = a->blocks, *next; b; b = next) {
        next = b->next;
        if (b->size == BLOCK)
            wg_pool_put(&blocks, b);
        else
            free(b);
    }
    wg_arena_init(a, NULL, 0);
}

/* Adds a block that holds at least size more bytes. Under the lock. */
static bool grow(struct wg_arena *a, size_t size)
{
    size_t head = (sizeof(struct wg_block) + 15) & ~(size_t)15;
    struct wg_block *b;

    if (size > BLOCK - head) {
        /* A large piece has a block to itself; what is left of the current one stays in use. */
        b = malloc(head + size);
        if (!b)
            return false;
        b->size = head + size;
    } else {
        b = wg_pool_get(&blocks);
        if (!b)
            return false;
        b->size = BLOCK;
    }
    b->next = a->blocks;
    a->blocks = b;
    a->at = (char *)b + head;
    a->end = (char *)b + b->size;
    a->bytes += b->size;
    return true;
}

static inline void *take(struct wg_arena *a, size_t size)
{
    void *p;

    if ((size_t)(a->end - a->at) < size && !grow(a, size))
        return NULL;
    p = a->at;
    a->at += size;
    return p;
}

void *wg_alloc(struct wg_arena *a, size_t size)
{
    void *p;

    if (size > SIZE_MAX / 2)
        return NULL;
    size = (size + 15) & ~(size_t)15;
    wg_arena_lock(a);
    p = take(a, size);
    wg_arena_unlock(a);
    return p ? memset(p, 0, size) : NULL;
}

void *wg_alloc_locked(struct wg_arena *a, size_t size)
{
    void *p;

    if (size > SIZE_MAX / 2)
        return NULL;
    size = (size + 15) & ~(size_t)15;
    p = take(a, size);
    return p ? memset(p, 0, size) : NULL;
}

char *wg_memdup(struct wg_arena *a, const void *p, size_t len)
{
    char *copy = wg_alloc(a, len + 1);

    if (copy && len > 0)
        memcpy(copy, p, len);
    return copy;
}

int wg_strdup(struct wg_arena *a, struct wg_str from, struct wg_str *ret)
{
    char *copy = wg_memdup(a, from.s, from.len);

    if (!copy)
        return ENOMEM;
    *ret = (struct wg_str){ copy, from.len };
    return 0;
}

char *wg_printf(struct wg_arena *a, const char *fmt, ...)
{
    va_list ap;
    char *text;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0)
        return NULL;
    text = wg_alloc(a, (size_t)n + 1);
    if (!text)
        return NULL;
    va_start(ap, fmt);
    vsnprintf(text, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return text;
}

int wg_on_release(struct wg_arena *a, void (*fn)(void *), void *arg)
{
    struct wg_release *r = WG_NEW(a, struct wg_release);

    if (!r) {
        fn(arg);
        return ENOMEM;
    }
    r->fn = fn;
    r->arg = arg;
    wg_arena_lock(a);
    r->next = a->releases;
    a->releases = r;
    wg_arena_unlock(a);
    return 0;
}

static void unref_iobuf(void *buf)
{
    wg_iobuf_unref(buf);
}

int wg_keep_iobuf(struct wg_arena *a, struct wg_iobuf *buf)
{
    return wg_on_release(a, unref_iobuf, buf);
}
