/* SPDX-License-Identifier: Apache-2.0 */
/*
 * features/limit: each user may do so many operations a second; what is above that waits its turn. The example of
 * docs/writing-a-translator.md for frames that are kept for later. It stands above performance/io-threads: those that
 * waited go on on a worker, which a store may not block.
 */
#include <pthread.h>
#include <stdlib.h>

#include <dump.h>
#include <module.h>

#define USERS 1024 /* places; users that share one share its rate */

struct waiting { /* in a frame's local memory */
    struct wg_timer timer; /* must be first */
    struct wg_frame *frame;
    struct waiting *prev, *next;
};

struct limit {
    _Atomic int64_t rate, burst;
    pthread_mutex_t lock;      /* of the rest; only a timer's lock is taken under it */
    uint64_t next_ns[USERS];   /* when the next operation is due */
    struct waiting *first;
    unsigned nwaiting;
    bool closed;
    uint64_t delayed, refused;
};

static const struct wg_option options[] = {
    { "rate", WG_OPT_INT, 1, 1000000, NULL, "Operations of a user per second.", true },
    { "burst", WG_OPT_INT, 1, 1000000, "100", "So many at once before the rate counts.", true },
    { 0 },
};

/* When this operation of uid may begin; the place is taken, unless that is at the deadline or later. Under the lock. */
static uint64_t due(struct limit *l, uint32_t uid, uint64_t now, uint64_t deadline)
{
    uint64_t step = 1000000000u / (uint64_t)atomic_load(&l->rate), *next = &l->next_ns[uid % USERS];
    uint64_t credit = step * (uint64_t)atomic_load(&l->burst), at;

    if (*next + credit < now)
        *next = now - credit;
    at = *next;
    if (at < deadline)
        *next += step;
    return at;
}

static void unlink_it(struct limit *l, struct waiting *w)
{
    if (w->prev)
        w->prev->next = w->next;
    else
        l->first = w->next;
    if (w->next)
        w->next->prev = w->prev;
    l->nwaiting--;
}

/* On a worker. After wg_pass neither the frame nor l is ours: the call may be over. */
static void its_turn(struct wg_timer *t)
{
    struct waiting *w = (struct waiting *)t;
    struct wg_frame *f = w->frame;
    struct limit *l = f->this->priv;

    pthread_mutex_lock(&l->lock);
    unlink_it(l, w);
    pthread_mutex_unlock(&l->lock);
    wg_pass(f, wg_child(f));
}

static void any(struct wg_frame *f)
{
    struct limit *l = f->this->priv;
    uint64_t now = wg_now_ns(), deadline = f->call->deadline_ns ? f->call->deadline_ns : UINT64_MAX, at;
    struct waiting *w = f->local;
    bool refuse;

    pthread_mutex_lock(&l->lock);
    at = due(l, f->call->cred.uid, now, deadline);
    refuse = at >= deadline;
    if (l->closed || at <= now || refuse) {
        l->refused += refuse;
        pthread_mutex_unlock(&l->lock);
        if (refuse)
            wg_unwind(f, EAGAIN);
        else
            wg_pass(f, wg_child(f));
        return;
    }
    *w = (struct waiting){ .frame = f, .next = l->first };
    if (w->next)
        w->next->prev = w;
    l->first = w;
    l->nwaiting++;
    l->delayed++;
    wg_timer_arm(&w->timer, at, its_turn); /* it runs after the lock is free */
    pthread_mutex_unlock(&l->lock);
}

/* The graph ends, or this layer is taken out of it: nobody waits any more. */
static void limit_drain(struct wg_xlator *xl)
{
    struct limit *l = xl->priv;
    struct waiting *free_now = NULL, *next;

    pthread_mutex_lock(&l->lock);
    l->closed = true;
    for (struct waiting *w = l->first; w; w = next) {
        next = w->next;
        if (!wg_timer_cancel(&w->timer))
            continue; /* its turn comes just now */
        unlink_it(l, w);
        w->next = free_now;
        free_now = w;
    }
    pthread_mutex_unlock(&l->lock);
    for (; free_now; free_now = next) {
        next = free_now->next;
        wg_pass(free_now->frame, wg_child(free_now->frame));
    }
}

static int limit_reload(struct wg_xlator *xl)
{
    struct limit *l = xl->priv;

    atomic_store(&l->rate, wg_opt_int(xl, "rate"));
    atomic_store(&l->burst, wg_opt_int(xl, "burst"));
    return 0;
}

static int limit_init(struct wg_xlator *xl)
{
    struct limit *l = calloc(1, sizeof *l);

    if (!l)
        return ENOMEM;
    pthread_mutex_init(&l->lock, NULL);
    xl->priv = l;
    return limit_reload(xl);
}

static void limit_fini(struct wg_xlator *xl)
{
    pthread_mutex_destroy(&((struct limit *)xl->priv)->lock);
    free(xl->priv);
}

static void limit_dump(struct wg_xlator *xl, struct wg_dump *d)
{
    struct limit *l = xl->priv;

    pthread_mutex_lock(&l->lock);
    wg_dump_u64(d, "waiting", l->nwaiting);
    wg_dump_u64(d, "delayed", l->delayed);
    wg_dump_u64(d, "refused", l->refused);
    pthread_mutex_unlock(&l->lock);
}

static const struct wg_class limit = {
    .type = "features/limit",
    .help = "Each user may do so many operations a second.",
    .options = options,
    .local_size = sizeof(struct waiting),
    .min_children = 1,
    .max_children = 1,
    .init = limit_init,
    .drain = limit_drain,
    .fini = limit_fini,
    .reload = limit_reload,
    .dump = limit_dump,
    .any = any,
};

WG_MODULE(limit);
