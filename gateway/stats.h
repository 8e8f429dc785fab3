/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters and times. Each (xlator, fop) has counters in shards, always; and while the profile is
 * on, a histogram of how long it took, and the same for whole requests by client, by share (export or
 * bucket) and by operation. Everything is bounded, and costs no lock that calls share.
 */
#ifndef WG_STATS_H
#define WG_STATS_H

#include "call.h"

/*
 * Buckets of a histogram: 8 to each power of two, from 128 ns on, so a figure read from it is at
 * most an eighth off; the last takes all beyond 137 seconds.
 */
#define WG_HIST_BUCKETS 224

static inline unsigned wg_hist_bucket(uint64_t ns)
{
    uint64_t v = ns >> 7;
    unsigned e;

    if (v < 8)
        return (unsigned)v;
    e = 63 - (unsigned)__builtin_clzll(v);
    return e > 29 ? WG_HIST_BUCKETS - 1 : (e - 2) * 8 + (unsigned)(v >> (e - 3) & 7);
}

/* The middle of a bucket, ns. */
uint64_t wg_hist_value(unsigned bucket);

/* Of one thing: what a report shows. */
struct wg_hist_sum {
    uint64_t calls, errors, max_ns;
    uint64_t ns; /* together; of fops, as the buckets tell it */
    uint64_t bucket[WG_HIST_BUCKETS];
};
/* The time that part (0 to 1) of the calls took at most; 0 without calls. */
uint64_t wg_hist_quantile(const struct wg_hist_sum *s, double part);

/* The counters of an xlator; listed for the report until freed. NULL when memory is out. */
struct wg_stats *wg_stats_new(const struct wg_xlator *xl);
void wg_stats_free(struct wg_stats *s);

/* Of f, which has just ended. Any thread. */
void wg_stats_count(const struct wg_frame *f);
/* What the profile saw of an xlator and a fop. */
void wg_stats_hist(const struct wg_xlator *xl, unsigned op, struct wg_hist_sum *ret);

/* Each xlator that has counters, in whatever graph; under the lock that freeing one takes. */
void wg_stats_each(void (*each)(const struct wg_xlator *xl, void *arg), void *arg);
/* All histograms to nothing. A call that ends meanwhile may be half counted. */
void wg_stats_clear(void);

/* Of a request that ends now. While the profile is on; any thread. */
void wg_profile_request(const struct wg_call *call);

/* Whether each frame is timed exactly. */
extern bool wg_timed; /* read with __atomic_load_n */
static inline bool wg_timing_on(void)
{
    return __atomic_load_n(&wg_timed, __ATOMIC_RELAXED);
}

/* A number of this thread, from 1 on: spreads shards. */
extern __thread unsigned wg_thread_number_; /* 0: none yet */
unsigned wg_thread_number_new(void);
static inline unsigned wg_thread_number(void)
{
    return wg_thread_number_ ? wg_thread_number_ : wg_thread_number_new();
}

#endif
