/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small messages beside streams wait for a core, not for a lane: the readers of streams keep it for milliseconds.
 * Since Linux 6.12 a thread may ask for shorter slices of the same share; when it wakes, it then goes before those
 * whose slices are longer. So the reader of a lane without large messages asks for that while other lanes have them;
 * without streams it would only break up bursts. Older kernels take the wish and do nothing.
 */
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "internal.h"

#define QUICK_NS 300000u    /* shorter ones cost the streams, longer ones help less (tests/bench/transport_bench -o mix) */
#define BULK_FOR_NS (200 * MS) /* a large message counts for this long */

/* The kernel's struct sched_attr, first version; C libraries and kernel headers do not agree who declares it. */
struct attr {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
};

static atomic_uint_least64_t bulk_ns; /* of any lane */

void slice_bulk(struct wg_lane *l)
{
    uint64_t now = wg_now_coarse_ns();

    atomic_store_explicit(&l->bulk_ns, now, memory_order_relaxed);
    if (atomic_load_explicit(&bulk_ns, memory_order_relaxed) != now)
        atomic_store_explicit(&bulk_ns, now, memory_order_relaxed);
}

static bool lately(atomic_uint_least64_t *ns, uint64_t now)
{
    uint64_t then = atomic_load_explicit(ns, memory_order_relaxed);

    return then && now - then <= BULK_FOR_NS;
}

/* For those that were given another policy nothing is changed; errors too leave things as they were. */
static void ask(uint64_t runtime_ns)
{
    struct attr a = { .size = sizeof a };

    if (syscall(SYS_sched_getattr, 0, &a, sizeof a, 0) || a.policy != SCHED_OTHER)
        return;
    a.runtime = runtime_ns;
    a.deadline = a.period = 0;
    (void)syscall(SYS_sched_setattr, 0, &a, 0);
}

void slice_choose(struct wg_lane *l)
{
    static _Thread_local int quick = -1; /* a new thread has its maker's */
    uint64_t now = wg_now_coarse_ns();
    int want = lately(&bulk_ns, now) && !lately(&l->bulk_ns, now);

    if (quick == want || l->o.poller) /* a thread for many lanes serves both kinds */
        return;
    quick = want;
    ask(want ? QUICK_NS : 0);
}
