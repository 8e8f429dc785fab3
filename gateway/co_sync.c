/* SPDX-License-Identifier: Apache-2.0 */
/* Groups, queues and mutexes of coroutines. */
#include <sched.h>
#include <stdlib.h>

#include "co_internal.h"

/* --- groups: members run on their owner's worker, so a group needs no lock --- */

struct wg_co_group *wg_co_group(struct wg_co *co, unsigned limit)
{
    struct wg_co_group *g = calloc(1, sizeof *g);

    if (!g)
        return NULL;
    g->owner = co;
    g->limit = limit > 0 ? limit : 1;
    g->next = co->groups;
    co->groups = g;
    return g;
}

static void cancel_members(struct wg_co_group *g, int why)
{
    if (g->cancelled)
        return;
    g->cancelled = true;
    for (struct wg_co *m = g->members; m; m = m->sibling)
        wg_co_cancel_with(m, why);
}

void wg_co_spread_cancel(struct wg_co *co)
{
    int why = wg_co_cancelled(co);

    for (struct wg_co_group *g = why ? co->groups : NULL; g; g = g->next)
        cancel_members(g, why);
}

void wg_co_group_left(struct wg_co_group *g, struct wg_co *co)
{
    struct wg_co **at = &g->members;

    while (*at != co)
        at = &(*at)->sibling;
    *at = co->sibling;
    g->running--;
    if (co->err && !g->err) {
        g->err = co->err;
        cancel_members(g, ECANCELED);
    }
    wg_co_unpark(g->owner);
}

int wg_co_spawn(struct wg_co_group *g, const char *name, wg_co_fn *fn, void *arg)
{
    struct wg_co *co = g->owner;

    while (g->running >= g->limit && !g->err) {
        wg_co_spread_cancel(co);
        wg_co_park(co, "a place in its group");
    }
    if (g->err)
        return g->err;
    if (wg_co_cancelled(co))
        return g->err = wg_co_cancelled(co);
    return wg_co_launch(co->root, name, fn, arg, NULL, co->worker, g);
}

int wg_co_collect(struct wg_co_group *g)
{
    struct wg_co *co = g->owner;
    struct wg_co_group **at = &co->groups;
    int err;

    while (g->running > 0) {
        wg_co_spread_cancel(co);
        wg_co_park(co, "its group");
    }
    err = g->err;
    while (*at != g)
        at = &(*at)->next;
    *at = g->next;
    free(g);
    return err;
}

/* --- waiters: coroutines in line, of any worker --- */

static void spin(atomic_flag *f)
{
    while (atomic_flag_test_and_set_explicit(f, memory_order_acquire))
        sched_yield();
}

static void unspin(atomic_flag *f)
{
    atomic_flag_clear_explicit(f, memory_order_release);
}

struct line {
    struct wg_co_waiter *first, *last;
};

static void line_add(struct line *l, struct wg_co_waiter *w)
{
    w->next = NULL;
    if (l->first)
        l->last->next = w;
    else
        l->first = w;
    l->last = w;
}

static void line_remove(struct line *l, struct wg_co_waiter *w)
{
    struct wg_co_waiter **at = &l->first, *before = NULL;

    while (*at && *at != w) {
        before = *at;
        at = &(*at)->next;
    }
    if (!*at)
        return;
    *at = w->next;
    if (l->last == w)
        l->last = before;
}

/* Takes the first in line. Under the lock, unpark too: the waiter may stand in line again. */
static void line_wake_one(struct line *l)
{
    struct wg_co_waiter *w = l->first;

    if (!w)
        return;
    l->first = w->next;
    w->ready = true;
    wg_co_unpark(w->co);
}

/* --- queues --- */

struct wg_co_queue {
    atomic_flag lock;
    bool closed;
    unsigned capacity, count, head;
    struct line pushers, poppers;
    void *item[];
};

struct wg_co_queue *wg_co_queue_new(unsigned capacity)
{
    struct wg_co_queue *q;

    if (capacity == 0)
        capacity = 1;
    q = calloc(1, sizeof *q + capacity * sizeof q->item[0]);
    if (q)
        q->capacity = capacity;
    return q;
}

void wg_co_queue_free(struct wg_co_queue *q)
{
    free(q);
}

void wg_co_queue_close(struct wg_co_queue *q)
{
    spin(&q->lock);
    q->closed = true;
    while (q->pushers.first)
        line_wake_one(&q->pushers);
    while (q->poppers.first)
        line_wake_one(&q->poppers);
    unspin(&q->lock);
}

/* Under the queue's lock: waits in line; returns under the lock. The reason when cancelled. */
static int wait_in_line(struct wg_co *co, struct wg_co_queue *q, struct line *l, const char *what)
{
    struct wg_co_waiter *me = &co->waiter;

    *me = (struct wg_co_waiter){ .co = co };
    line_add(l, me);
    while (!me->ready && !wg_co_cancelled(co)) {
        unspin(&q->lock);
        wg_co_park(co, what);
        spin(&q->lock);
    }
    if (me->ready)
        return 0;
    line_remove(l, me);
    return wg_co_cancelled(co);
}

int wg_co_push(struct wg_co *co, struct wg_co_queue *q, void *item)
{
    int err = 0;

    spin(&q->lock);
    while (!err && !q->closed && q->count == q->capacity)
        err = wait_in_line(co, q, &q->pushers, "room in a queue");
    if (!err && q->closed)
        err = EPIPE;
    if (!err) {
        q->item[(q->head + q->count++) % q->capacity] = item;
        line_wake_one(&q->poppers);
    } else if (q->count < q->capacity) {
        line_wake_one(&q->pushers); /* a place that was meant for this one */
    }
    unspin(&q->lock);
    return err;
}

int wg_co_pop(struct wg_co *co, struct wg_co_queue *q, void **ret)
{
    int err = 0;

    spin(&q->lock);
    while (!err && q->count == 0 && !q->closed)
        err = wait_in_line(co, q, &q->poppers, "a queue's item");
    if (!err && q->count == 0)
        err = EPIPE;
    if (!err) {
        *ret = q->item[q->head];
        q->head = (q->head + 1) % q->capacity;
        q->count--;
        line_wake_one(&q->pushers);
    } else if (q->count > 0) {
        line_wake_one(&q->poppers);
    }
    unspin(&q->lock);
    return err;
}

/* --- mutex: handed to the first in line, so that nobody starves --- */

void wg_co_mutex_init(struct wg_co_mutex *m)
{
    *m = (struct wg_co_mutex){ .lock = ATOMIC_FLAG_INIT };
}

void wg_co_lock(struct wg_co *co, struct wg_co_mutex *m)
{
    struct wg_co_waiter *me = &co->waiter;

    spin(&m->lock);
    if (!m->holder) {
        m->holder = co;
        unspin(&m->lock);
        return;
    }
    *me = (struct wg_co_waiter){ .co = co };
    if (m->first)
        m->last->next = me;
    else
        m->first = me;
    m->last = me;
    while (m->holder != co) {
        unspin(&m->lock);
        wg_co_park(co, "a mutex");
        spin(&m->lock);
    }
    unspin(&m->lock);
}

void wg_co_unlock(struct wg_co *co, struct wg_co_mutex *m)
{
    struct wg_co_waiter *w;

    (void)co;
    spin(&m->lock);
    w = m->first;
    m->holder = w ? w->co : NULL;
    if (w) {
        m->first = w->next;
        wg_co_unpark(w->co);
    }
    unspin(&m->lock);
}
