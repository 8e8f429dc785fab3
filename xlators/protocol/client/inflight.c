/* SPDX-License-Identifier: Apache-2.0 */
#include "xlators/protocol/client/inflight.h"

#include <stdlib.h>

int wg_inflight_init(struct wg_inflight *t, uint32_t nslots)
{
    memset(t, 0, sizeof *t);
    t->slots = calloc(nslots, sizeof *t->slots);
    if (!t->slots)
        return ENOMEM;
    t->nslots = nslots;
    pthread_mutex_init(&t->waiting_lock, NULL);
    for (uint32_t i = 0; i < nslots; i++) {
        pthread_mutex_init(&t->slots[i].lock, NULL);
        t->slots[i].next_free = i + 1 < nslots ? i + 2 : 0;
    }
    atomic_init(&t->free, 1);
    return 0;
}

void wg_inflight_fini(struct wg_inflight *t)
{
    for (uint32_t i = 0; i < t->nslots; i++)
        pthread_mutex_destroy(&t->slots[i].lock);
    pthread_mutex_destroy(&t->waiting_lock);
    free(t->slots);
    t->slots = NULL;
    t->nslots = 0;
}

/*
 * The free slots are a stack without a lock: the last one used is the first used again, so few
 * calls touch few slots. The tag changes with each pop, so that a slot which was taken and came
 * back between a reader's load and its exchange is noticed.
 */
static struct wg_slot *pop_free(struct wg_inflight *t)
{
    uint64_t old = atomic_load(&t->free), new;
    struct wg_slot *s;

    do {
        if (!(uint32_t)old)
            return NULL;
        s = &t->slots[(uint32_t)old - 1];
        new = ((old >> 32) + 1) << 32 | __atomic_load_n(&s->next_free, __ATOMIC_RELAXED);
    } while (!atomic_compare_exchange_weak(&t->free, &old, new));
    return s;
}

static void push_free(struct wg_inflight *t, struct wg_slot *s)
{
    uint64_t old = atomic_load(&t->free), new;

    do {
        __atomic_store_n(&s->next_free, (uint32_t)old, __ATOMIC_RELAXED);
        new = (old >> 32) << 32 | (uint32_t)(s - t->slots + 1);
    } while (!atomic_compare_exchange_weak(&t->free, &old, new));
}

static struct wg_waiter *waiter(struct wg_frame *f)
{
    return f->local;
}

static uint64_t occupy(struct wg_inflight *t, struct wg_slot *s, struct wg_frame *f)
{
    uint64_t seq = atomic_fetch_add_explicit(&t->seq, 1, memory_order_relaxed) + 1;
    uint64_t id = seq << 16 | (uint64_t)(s - t->slots);

    pthread_mutex_lock(&s->lock);
    s->id = id;
    s->frame = f;
    s->deadline_ns = waiter(f)->deadline_ns;
    s->sent_ns = s->gaveup = s->instance = s->lane = s->epoch = s->first_ns = s->drop = 0;
    s->cost = 0;
    s->lane_index = 0;
    s->replay = false;
    pthread_mutex_unlock(&s->lock);
    atomic_fetch_add_explicit(&t->used, 1, memory_order_relaxed);
    return id;
}

static struct wg_frame *pop_waiting(struct wg_inflight *t)
{
    struct wg_frame *f = t->first;

    if (f) {
        t->first = waiter(f)->next;
        if (!t->first)
            t->last = NULL;
        atomic_fetch_sub(&t->waiting, 1);
    }
    return f;
}

/* A slot that came free just before f was queued would be seen by nobody else: look again. */
static struct wg_slot *enqueue(struct wg_inflight *t, struct wg_frame *f)
{
    waiter(f)->next = NULL;
    if (t->last)
        waiter(t->last)->next = f;
    else
        t->first = f;
    t->last = f;
    atomic_fetch_add(&t->waiting, 1);
    return pop_free(t);
}

int wg_inflight_begin(struct wg_inflight *t, struct wg_frame *f, uint64_t deadline_ns,
                      uint64_t *ret_id)
{
    struct wg_slot *s = NULL;
    struct wg_frame *first = f;

    if (atomic_load(&t->closed))
        return ECANCELED;
    waiter(f)->deadline_ns = deadline_ns;
    /* Those that wait go first. */
    if (atomic_load(&t->waiting) == 0)
        s = pop_free(t);
    if (!s) {
        pthread_mutex_lock(&t->waiting_lock);
        if (atomic_load(&t->closed)) {
            pthread_mutex_unlock(&t->waiting_lock);
            return ECANCELED;
        }
        s = enqueue(t, f);
        first = s ? pop_waiting(t) : NULL;
        pthread_mutex_unlock(&t->waiting_lock);
    }
    *ret_id = s ? occupy(t, s, first) : 0;
    return 0;
}

struct wg_slot *wg_inflight_find(struct wg_inflight *t, uint64_t id)
{
    return wg_id_slot(id) < t->nslots ? &t->slots[wg_id_slot(id)] : NULL;
}

struct wg_frame *wg_inflight_claim(struct wg_slot *s, uint64_t id, uint64_t *ret_lane,
                                   uint32_t *ret_cost)
{
    struct wg_frame *f = NULL;

    pthread_mutex_lock(&s->lock);
    if (id && s->id == id) {
        f = s->frame;
        *ret_lane = s->lane_index;
        *ret_cost = s->cost;
        s->id = 0;
        s->frame = NULL;
    }
    pthread_mutex_unlock(&s->lock);
    return f;
}

uint64_t wg_inflight_release(struct wg_inflight *t, struct wg_slot *s)
{
    struct wg_frame *f;

    atomic_fetch_sub_explicit(&t->used, 1, memory_order_relaxed);
    push_free(t, s);
    if (atomic_load(&t->waiting) == 0)
        return 0;
    pthread_mutex_lock(&t->waiting_lock);
    s = t->first ? pop_free(t) : NULL;
    f = s ? pop_waiting(t) : NULL;
    pthread_mutex_unlock(&t->waiting_lock);
    return s ? occupy(t, s, f) : 0;
}

struct wg_frame *wg_inflight_drop_waiting(struct wg_inflight *t, uint64_t now_ns, bool all)
{
    struct wg_frame *dropped = NULL, *f, *next, **link;

    if (atomic_load(&t->waiting) == 0)
        return NULL;
    pthread_mutex_lock(&t->waiting_lock);
    link = &t->first;
    t->last = NULL;
    for (f = t->first; f; f = next) {
        next = waiter(f)->next;
        if (all || waiter(f)->deadline_ns <= now_ns) {
            *link = next;
            waiter(f)->next = dropped;
            dropped = f;
            atomic_fetch_sub(&t->waiting, 1);
        } else {
            link = &waiter(f)->next;
            t->last = f;
        }
    }
    pthread_mutex_unlock(&t->waiting_lock);
    return dropped;
}

void wg_inflight_close(struct wg_inflight *t)
{
    pthread_mutex_lock(&t->waiting_lock);
    atomic_store(&t->closed, true);
    pthread_mutex_unlock(&t->waiting_lock);
}

void wg_inflight_each(struct wg_inflight *t, void (*each)(struct wg_slot *s, void *arg), void *arg)
{
    for (uint32_t i = 0; i < t->nslots; i++) {
        struct wg_slot *s = &t->slots[i];

        pthread_mutex_lock(&s->lock);
        if (s->id)
            each(s, arg);
        pthread_mutex_unlock(&s->lock);
    }
}
