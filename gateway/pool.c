/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "pool.h"

#if defined(__SANITIZE_ADDRESS__)
#define POOLING 0
#else
#define POOLING 1
#endif

struct cache {
    struct wg_pool *pool;
    void *head;
    unsigned count;
};

static __thread struct cache caches[WG_POOLS_MAX];
static __thread int registered;
static pthread_key_t exit_key;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static struct wg_pool *_Atomic used[WG_POOLS_MAX]; /* by id, for dumps */

static void lock(struct wg_pool *p)
{
    for (int i = 0; atomic_flag_test_and_set_explicit(&p->lock, memory_order_acquire); i++)
        if (i > 50)
            sched_yield();
}

static void unlock(struct wg_pool *p)
{
    atomic_flag_clear_explicit(&p->lock, memory_order_release);
}

static void *pop(void **head)
{
    void *obj = *head;

    *head = *(void **)obj;
    return obj;
}

static void push(void **head, void *obj)
{
    *(void **)obj = *head;
    *head = obj;
}

/* Gives n objects of the cache back; what the shared stack does not keep is destroyed. */
static void give_back(struct wg_pool *p, struct cache *c, unsigned n)
{
    void *excess = NULL;

    lock(p);
    while (n-- > 0 && c->count > 0) {
        void *obj = pop(&c->head);

        c->count--;
        if (p->count < p->keep) {
            push(&p->stack, obj);
            __atomic_store_n(&p->count, p->count + 1, __ATOMIC_RELAXED);
        } else {
            push(&excess, obj);
        }
    }
    unlock(p);
    while (excess)
        p->destroy(p, pop(&excess));
}

static void thread_exit(void *arg)
{
    (void)arg;
    for (int i = 0; i < WG_POOLS_MAX; i++)
        if (caches[i].pool)
            give_back(caches[i].pool, &caches[i], caches[i].count);
    registered = 0;
}

static void make_key(void)
{
    pthread_key_create(&exit_key, thread_exit);
}

static struct cache *my_cache(struct wg_pool *p)
{
    struct cache *c = &caches[p->id];

    c->pool = p;
    if (!registered) {
        pthread_once(&once, make_key);
        pthread_setspecific(exit_key, caches);
        registered = 1;
    }
    return c;
}

void *wg_pool_get(struct wg_pool *p)
{
    void *obj;

    if (POOLING) {
        struct cache *c = my_cache(p);

        if (!c->head && __atomic_load_n(&p->count, __ATOMIC_RELAXED) > 0) {
            lock(p);
            for (unsigned i = 0; i < p->batch && p->stack; i++, c->count++) {
                push(&c->head, pop(&p->stack));
                __atomic_store_n(&p->count, p->count - 1, __ATOMIC_RELAXED);
            }
            if (p->count < p->least)
                p->least = p->count;
            unlock(p);
        }
        if (c->head) {
            c->count--;
            atomic_fetch_add_explicit(&p->used, 1, memory_order_relaxed);
            return pop(&c->head);
        }
    }
    if (!atomic_load_explicit(&used[p->id], memory_order_relaxed))
        atomic_store_explicit(&used[p->id], p, memory_order_release);
    obj = p->make(p);
    if (obj)
        atomic_fetch_add_explicit(&p->used, 1, memory_order_relaxed);
    return obj;
}

void wg_pool_put(struct wg_pool *p, void *obj)
{
    atomic_fetch_sub_explicit(&p->used, 1, memory_order_relaxed);
    if (!POOLING) {
        p->destroy(p, obj);
        return;
    }

    struct cache *c = my_cache(p);

    push(&c->head, obj);
    if (++c->count >= 2u * p->batch)
        give_back(p, c, p->batch);
}

void wg_pools_each(void (*each)(const struct wg_pool *p, void *arg), void *arg)
{
    for (int i = 0; i < WG_POOLS_MAX; i++) {
        const struct wg_pool *p = atomic_load_explicit(&used[i], memory_order_acquire);

        if (p)
            each(p, arg);
    }
}

static unsigned trim(struct wg_pool *p)
{
    void *excess = NULL;
    unsigned n;

    lock(p);
    for (n = 0; n < p->least; n++)
        push(&excess, pop(&p->stack));
    __atomic_store_n(&p->count, p->count - n, __ATOMIC_RELAXED);
    p->least = p->count;
    unlock(p);
    while (excess)
        p->destroy(p, pop(&excess));
    return n;
}

unsigned wg_pools_trim(void)
{
    unsigned n = 0;

    for (int i = 0; i < WG_POOLS_MAX; i++) {
        struct wg_pool *p = atomic_load_explicit(&used[i], memory_order_acquire);

        if (p)
            n += trim(p);
    }
    return n;
}
