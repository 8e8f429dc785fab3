/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Object pools of the hot path: each thread keeps a few free objects, and gives them back to
 * a shared stack, or takes from it, in batches. (A call is made on one thread and freed on
 * another; the batch is what keeps the shared lock cold.) Under AddressSanitizer nothing is pooled.
 */
#ifndef WG_POOL_H
#define WG_POOL_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define WG_POOLS_MAX 32

struct wg_pool {
    uint16_t id;       /* 1 to WG_POOLS_MAX - 1, unique in the process */
    uint16_t batch;    /* objects moved at once; a thread keeps at most twice as many */
    uint32_t keep;     /* objects the shared stack keeps */
    void *(*make)(struct wg_pool *p);
    void (*destroy)(struct wg_pool *p, void *obj);
    size_t size;       /* for make */
    const char *name;  /* for dumps */
    atomic_flag lock;
    void *stack;       /* free objects, linked through their first word */
    uint32_t count;
    uint32_t least;    /* count was never below this since the last trim */
    atomic_uint used;
};

/* NULL when make gave NULL. The object's content is as it was left, but for its first word. */
void *wg_pool_get(struct wg_pool *p);
void wg_pool_put(struct wg_pool *p, void *obj);
/*
 * Destroys what lay in the shared stacks since the last trim and was not needed: to be called now and
 * then, seconds apart. The number of objects. One caller at a time.
 */
unsigned wg_pools_trim(void);
/* Every pool that was ever used, for dumps. */
void wg_pools_each(void (*each)(const struct wg_pool *p, void *arg), void *arg);

#endif
