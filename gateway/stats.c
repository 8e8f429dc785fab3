/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdlib.h>

#include "stats.h"
#include "xlator.h"

#define SHARDS 8

/* The sum of times is not kept: an atomic step fewer, and the buckets tell it well enough. */
struct histogram {
    struct {
        atomic_uint_least64_t errors, max;
        atomic_uint_least64_t bucket[WG_HIST_BUCKETS];
    } shard[SHARDS];
};

struct wg_stats {
    struct {
        atomic_uint_least64_t calls, errors;
    } shard[SHARDS][WG_OP_MAX];
    _Atomic(struct histogram *) hist[WG_OP_MAX]; /* made when the first is timed */
    const struct wg_xlator *xl;
    struct wg_stats *next, **link; /* of all; under lock */
};

bool wg_timed;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* a leaf */
static struct wg_stats *all;

void wg_timing(bool on)
{
    __atomic_store_n(&wg_timed, on, __ATOMIC_RELAXED);
}

__thread unsigned wg_thread_number_;

unsigned wg_thread_number_new(void)
{
    static atomic_uint next;

    return wg_thread_number_ = atomic_fetch_add(&next, 1) + 1;
}

/* --- histograms --- */

uint64_t wg_hist_value(unsigned bucket)
{
    unsigned e = bucket / 8 + 2;

    if (bucket < 8)
        return bucket * 128 + 64;
    return ((8 + bucket % 8) * 2 + 1) * (1ull << (e - 3)) * 64;
}

uint64_t wg_hist_quantile(const struct wg_hist_sum *s, double part)
{
    uint64_t want = (uint64_t)(part * (double)s->calls), seen = 0;

    if (s->calls == 0)
        return 0;
    for (unsigned i = 0; i < WG_HIST_BUCKETS; i++) {
        seen += s->bucket[i];
        if (seen > want || seen == s->calls) {
            uint64_t v = wg_hist_value(i);

            return v < s->max_ns ? v : s->max_ns;
        }
    }
    return s->max_ns;
}

static struct histogram *histogram_of(struct wg_stats *s, unsigned op)
{
    struct histogram *h = atomic_load_explicit(&s->hist[op], memory_order_acquire), *new;

    if (h)
        return h;
    new = calloc(1, sizeof *new);
    if (new && !atomic_compare_exchange_strong(&s->hist[op], &h, new)) {
        free(new);
        return h;
    }
    return new;
}

static void add_time(struct wg_stats *s, unsigned shard, const struct wg_frame *f)
{
    struct histogram *h = histogram_of(s, f->op);
    uint64_t ns = wg_now_ns() - f->begin_ns, max;

    if (!h)
        return;
    atomic_fetch_add_explicit(&h->shard[shard].bucket[wg_hist_bucket(ns)], 1, memory_order_relaxed);
    if (f->err)
        atomic_fetch_add_explicit(&h->shard[shard].errors, 1, memory_order_relaxed);
    max = atomic_load_explicit(&h->shard[shard].max, memory_order_relaxed);
    while (ns > max && !atomic_compare_exchange_weak_explicit(&h->shard[shard].max, &max, ns,
                                                              memory_order_relaxed, memory_order_relaxed))
        ;
}

/* --- counters --- */

void wg_stats_count(const struct wg_frame *f)
{
    struct wg_stats *s = f->this ? f->this->stats : NULL;
    unsigned shard = wg_thread_number() % SHARDS;

    if (!s)
        return;
    atomic_fetch_add_explicit(&s->shard[shard][f->op].calls, 1, memory_order_relaxed);
    if (f->err)
        atomic_fetch_add_explicit(&s->shard[shard][f->op].errors, 1, memory_order_relaxed);
    if (wg_timing_on())
        add_time(s, shard, f);
}

struct wg_stats *wg_stats_new(const struct wg_xlator *xl)
{
    struct wg_stats *s = calloc(1, sizeof *s);

    if (!s)
        return NULL;
    s->xl = xl;
    pthread_mutex_lock(&lock);
    s->next = all;
    s->link = &all;
    if (all)
        all->link = &s->next;
    all = s;
    pthread_mutex_unlock(&lock);
    return s;
}

void wg_stats_free(struct wg_stats *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&lock);
    *s->link = s->next;
    if (s->next)
        s->next->link = s->link;
    pthread_mutex_unlock(&lock);
    for (unsigned op = 0; op < WG_OP_MAX; op++)
        free(atomic_load(&s->hist[op]));
    free(s);
}

static void sum_up(const struct histogram *h, struct wg_hist_sum *ret)
{
    *ret = (struct wg_hist_sum){ 0 };
    for (int i = 0; h && i < SHARDS; i++) {
        uint64_t max = h->shard[i].max;

        ret->errors += h->shard[i].errors;
        if (max > ret->max_ns)
            ret->max_ns = max;
        for (unsigned b = 0; b < WG_HIST_BUCKETS; b++)
            ret->bucket[b] += h->shard[i].bucket[b];
    }
    /* Calls are what the buckets hold, so that quantiles are never asked beyond them. */
    for (unsigned b = 0; b < WG_HIST_BUCKETS; b++) {
        ret->calls += ret->bucket[b];
        ret->ns += ret->bucket[b] * wg_hist_value(b);
    }
}

void wg_stats_hist(const struct wg_xlator *xl, unsigned op, struct wg_hist_sum *ret)
{
    sum_up(xl->stats && op < WG_OP_MAX ? atomic_load(&xl->stats->hist[op]) : NULL, ret);
}

struct wg_fop_stats wg_stats_sum(const struct wg_xlator *xl, unsigned op)
{
    struct wg_fop_stats sum = { 0 };
    struct wg_hist_sum times;

    for (int i = 0; xl->stats && op < WG_OP_MAX && i < SHARDS; i++) {
        sum.calls += xl->stats->shard[i][op].calls;
        sum.errors += xl->stats->shard[i][op].errors;
    }
    wg_stats_hist(xl, op, &times);
    sum.ns = times.ns;
    return sum;
}

void wg_stats_each(void (*each)(const struct wg_xlator *xl, void *arg), void *arg)
{
    pthread_mutex_lock(&lock);
    for (const struct wg_stats *s = all; s; s = s->next)
        each(s->xl, arg);
    pthread_mutex_unlock(&lock);
}

static void clear(struct histogram *h)
{
    for (int i = 0; i < SHARDS; i++) {
        atomic_store_explicit(&h->shard[i].errors, 0, memory_order_relaxed);
            atomic_store_explicit(&h->shard[i].max, 0, memory_order_relaxed);
        for (unsigned b = 0; b < WG_HIST_BUCKETS; b++)
            atomic_store_explicit(&h->shard[i].bucket[b], 0, memory_order_relaxed);
    }
}

void wg_stats_clear(void)
{
    pthread_mutex_lock(&lock);
    for (struct wg_stats *s = all; s; s = s->next)
        for (unsigned op = 0; op < WG_OP_MAX; op++) {
            struct histogram *h = atomic_load(&s->hist[op]);

            if (h)
                clear(h);
        }
    pthread_mutex_unlock(&lock);
}
