/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads of the core: a small pool of workers (for coroutines, and for completions that ran
 * too deep), each with its own queue and timers, and the offload pool for calls that block.
 */
#ifndef WG_WORK_H
#define WG_WORK_H

#include <stdint.h>

/* Embed it in what is queued; one queue at a time. */
struct wg_work {
    void (*fn)(struct wg_work *w);
    struct wg_work *next;
};

struct wg_timer {
    void (*fn)(struct wg_timer *t);
    uint64_t at_ns; /* CLOCK_MONOTONIC */
    uint32_t slot;  /* the heap's; 0 when not armed */
    uint16_t worker;
};

/* Starts n workers (0: one per core, at most 4). Once per process, before anything else here. */
int wg_work_start(unsigned n);
/* Runs what is queued, then ends the threads. */
void wg_work_stop(void);

/* Runs w->fn(w) soon on some worker (the caller's own when it is one). Any thread, never fails. */
void wg_work_queue(struct wg_work *w);
/* The same on a given worker, 0 <= worker < wg_work_count(). */
void wg_work_queue_on(unsigned worker, struct wg_work *w);
unsigned wg_work_count(void);
/* The number of the worker that runs this thread, or -1. */
int wg_work_self(void);

/* Blocking work on the offload pool (grows to max threads on demand, 16). */
void wg_offload_queue(struct wg_work *w);

/* fn(t) runs on t's worker at at_ns or a little later. Any thread. Re-arming moves it. */
void wg_timer_arm(struct wg_timer *t, uint64_t at_ns, void (*fn)(struct wg_timer *));
/* true: it will not run. false: it was not armed, has run, or runs now (wait for it yourself). */
int wg_timer_cancel(struct wg_timer *t);

#endif
