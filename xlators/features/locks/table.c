/* SPDX-License-Identifier: Apache-2.0 */
/* The locks, those who wait for them in order, and one timer each. */
#include <stdio.h>
#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define WG_LOG_PART "locks"
#include "log.h"
#include "xlators/features/locks/locks.h"

static uint64_t hash_of(const wg_gfid *at, struct wg_str name)
{
    return XXH3_64bits_withSeed(name.s, name.len, XXH3_64bits(at->b, sizeof at->b));
}

static struct lock **bucket(struct locks *t, const wg_gfid *at, struct wg_str name)
{
    return &t->buckets[hash_of(at, name) % LOCKS_BUCKETS];
}

struct lock *locks_find(struct locks *t, const wg_gfid *at, struct wg_str name)
{
    for (struct lock *l = *bucket(t, at, name); l; l = l->next)
        if (wg_gfid_eq(l->at, *at) && wg_str_eq((struct wg_str){ l->name, l->len }, name))
            return l;
    return NULL;
}

int locks_add(struct locks *t, const wg_gfid *at, struct wg_str name, struct lock **ret)
{
    struct lock **head = bucket(t, at, name), *l;

    if (t->nlocks >= t->max_locks) {
        t->overflowed++;
        return ENOLCK;
    }
    l = calloc(1, sizeof *l + name.len);
    if (!l)
        return ENOMEM;
    l->of = t;
    l->at = *at;
    l->len = name.len;
    memcpy(l->name, name.s, name.len);
    l->next = *head;
    *head = l;
    t->nlocks++;
    *ret = l;
    return 0;
}

/* --- time --- */

static void fired(struct wg_timer *timer);

static uint64_t next_event(const struct lock *l)
{
    uint64_t at = l->held ? l->until_ns : l->of->grace.until_ns;

    for (const struct waiter *w = l->first; w; w = w->next)
        if (w->until_ns < at)
            at = w->until_ns;
    return at;
}

/* true: it does not run any more. */
static bool disarm(struct lock *l)
{
    if (l->armed && wg_timer_cancel(&l->timer)) {
        l->armed = false;
        if (--l->of->narmed == 0)
            pthread_cond_broadcast(&l->of->idle);
    }
    return !l->armed;
}

/* A timer that is running looks at everything again as soon as it has the lock. */
static void arm(struct lock *l)
{
    uint64_t at = next_event(l);

    if (l->armed && l->timer.at_ns <= at)
        return;
    if (!disarm(l))
        return;
    l->armed = true;
    l->of->narmed++;
    wg_timer_arm(&l->timer, at, fired);
}

static void drop(struct lock *l)
{
    struct lock **link = bucket(l->of, &l->at, (struct wg_str){ l->name, l->len });

    while (*link != l)
        link = &(*link)->next;
    *link = l->next;
    l->of->nlocks--;
    l->dead = true;
    if (disarm(l))
        free(l);
}

static void fired(struct wg_timer *timer)
{
    struct lock *l = (struct lock *)((char *)timer - offsetof(struct lock, timer));
    struct locks *t = l->of;
    struct answers a = { .last = &a.first };

    pthread_mutex_lock(&t->lock);
    l->armed = false;
    if (--t->narmed == 0)
        pthread_cond_broadcast(&t->idle);
    if (l->dead)
        free(l);
    else
        locks_settle(l, wg_now_ns(), &a);
    pthread_mutex_unlock(&t->lock);
    locks_answer(&a);
}

/* --- who holds --- */

int locks_hold(struct lock *l, const wg_gfid *owner, const struct wg_frame *f, uint64_t now, uint64_t ttl_ns)
{
    struct locks *t = l->of;
    bool renewed = l->held && wg_gfid_eq(l->owner, *owner);
    int err = grace_note(t, now + ttl_ns);

    if (err) {
        wg_error("%s: a lock can't be noted for a restart: %s", t->name, wg_error_name(err));
        return err;
    }
    t->nheld += !l->held;
    l->held = true;
    l->until_ns = now + ttl_ns;
    if (renewed) {
        l->renewals++;
        return 0;
    }
    l->owner = *owner;
    l->since_ns = now;
    l->renewals = 0;
    snprintf(l->client, sizeof l->client, "%.*s", (int)f->call->client.len, f->call->client.s);
    return 0;
}

void locks_release(struct lock *l)
{
    struct locks *t = l->of;

    l->held = false;
    if (--t->nheld == 0)
        grace_clear(&t->grace);
}

/* --- who waits --- */

void locks_enqueue(struct lock *l, struct wg_frame *f, uint64_t now, uint64_t until)
{
    struct waiter *w = f->local;

    *w = (struct waiter){ .frame = f, .since_ns = now, .until_ns = until };
    if (l->first)
        l->last->next = w;
    else
        l->first = w;
    l->last = w;
    l->nwaiting++;
    l->of->nwaiting++;
}

static void unlink_waiter(struct lock *l, struct waiter *w, struct waiter *before)
{
    if (before)
        before->next = w->next;
    else
        l->first = w->next;
    if (l->last == w)
        l->last = before;
    w->next = NULL;
    l->nwaiting--;
    l->of->nwaiting--;
}

struct waiter *locks_dequeue(struct lock *l, const wg_gfid *owner)
{
    for (struct waiter *w = l->first, *before = NULL; w; before = w, w = w->next)
        if (wg_gfid_eq(wg_in(w->frame, lock_take)->owner, *owner)) {
            unlink_waiter(l, w, before);
            return w;
        }
    return NULL;
}

void locks_gone(struct locks *t, const wg_gfid *at, struct wg_str name, const wg_gfid *owner, uint64_t now)
{
    t->gone[t->ngone++ % LOCKS_GONE] = (struct gone){ *owner, hash_of(at, name), now };
}

/* Newest first, so as far as they are young: mostly there is none. */
bool locks_is_gone(const struct locks *t, const struct lock *l, const wg_gfid *owner, uint64_t now)
{
    for (unsigned i = 1; i <= LOCKS_GONE; i++) {
        const struct gone *g = &t->gone[(t->ngone - i) % LOCKS_GONE];

        if (!g->at_ns || now - g->at_ns > LOCKS_GONE_NS)
            return false;
        if (wg_gfid_eq(g->owner, *owner) && g->lock == hash_of(&l->at, (struct wg_str){ l->name, l->len }))
            return true;
    }
    return false;
}

void locks_end(struct waiter *w, int err, struct answers *a)
{
    w->err = err;
    *a->last = w;
    a->last = &w->next;
}

static void end_late(struct lock *l, uint64_t now, struct answers *a)
{
    struct waiter *w = l->first, *before = NULL, *next;

    for (; w; w = next) {
        next = w->next;
        if (w->until_ns > now) {
            before = w;
            continue;
        }
        unlink_waiter(l, w, before);
        l->of->refused++;
        locks_end(w, EBUSY, a);
    }
}

static void grant_next(struct lock *l, uint64_t now, struct answers *a)
{
    while (!l->held && l->first) {
        struct waiter *w = l->first;
        const struct wg_lock_take_in *in = wg_in(w->frame, lock_take);
        int err;

        unlink_waiter(l, w, NULL);
        err = locks_hold(l, &in->owner, w->frame, now, w->ttl_ms * 1000000ull);
        l->of->taken += !err;
        locks_end(w, err, a);
    }
}

void locks_settle(struct lock *l, uint64_t now, struct answers *a)
{
    struct locks *t = l->of;

    if (l->held && l->until_ns <= now) {
        wg_warning("%s: the lock %.*s of %s ran out", t->name, (int)l->len, l->name, l->client);
        t->expired++;
        locks_release(l);
    }
    end_late(l, now, a);
    if (now >= t->grace.until_ns)
        grant_next(l, now, a);
    if (l->held || l->first)
        arm(l);
    else
        drop(l);
}

void locks_end_all(struct locks *t, int err, struct answers *a)
{
    for (unsigned i = 0; i < LOCKS_BUCKETS; i++)
        for (struct lock *l = t->buckets[i], *next; l; l = next) {
            next = l->next;
            while (l->first) {
                struct waiter *w = l->first;

                unlink_waiter(l, w, NULL);
                locks_end(w, err, a);
            }
            if (!l->held)
                drop(l);
        }
}

void locks_answer(struct answers *a)
{
    struct waiter *w = a->first;

    while (w) {
        struct waiter *next = w->next;
        struct wg_frame *f = w->frame;
        struct wg_lock_take_out *out;
        int err = w->err;

        if (!err && (out = wg_new_out(f, lock_take)))
            out->ttl_ms = w->ttl_ms;
        else if (!err)
            err = ENOMEM; /* the lock is held, by nobody: its ttl ends that */
        wg_unwind(f, err); /* f and w are gone */
        w = next;
    }
}

void locks_clear(struct locks *t)
{
    pthread_mutex_lock(&t->lock);
    for (unsigned i = 0; i < LOCKS_BUCKETS; i++)
        while (t->buckets[i])
            drop(t->buckets[i]);
    while (t->narmed > 0)
        pthread_cond_wait(&t->idle, &t->lock);
    t->nheld = 0;
    pthread_mutex_unlock(&t->lock);
}
