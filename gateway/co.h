/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Coroutines: multi-step flows written straight on. A coroutine runs on one worker from start
 * to end (compilers cache the address of errno across a switch); many share few workers.
 *
 * Rules: wg_co_<fop> switches out first and the worker winds on its own stack; foreign
 * libraries run in wg_co_offload or on the worker's stack (wg_co_on_worker), never on a
 * coroutine's 256 KiB. Each fop runs in a child call with its own arena, dropped when the next
 * begins on this coroutine unless wg_co_keep was called, so that a million fops run in constant memory.
 */
#ifndef WG_CO_H
#define WG_CO_H

#include "call.h"
#include "work.h"

struct wg_co;
struct wg_co_group;
struct wg_co_queue;

typedef int wg_co_fn(struct wg_co *co, void *arg);

/*
 * Starts fn(co, arg) as a coroutine on some worker (the caller's own when it is one, else in
 * turn). root gives credentials, client, deadline and graph to its fops; a reference is held to the
 * end. done(arg, err) runs on the worker after fn returned; may be NULL. name: static text, for dumps.
 * 0, or ENOMEM and nothing was started. Any thread.
 */
int wg_co_start(struct wg_call *root, const char *name, wg_co_fn *fn, void *arg,
                void (*done)(void *arg, int err));

/* The call that owns the coroutine: credentials, arena for what must outlive a fop. */
struct wg_call *wg_co_call(struct wg_co *co);

/*
 * args is copied, but not what it points at: strings and data must be in the root call's arena,
 * static, or kept by it, since a fan-out's straggler may read them late.
 * wg_co_<fop>(co, xl, in, &out): 0 and *out, valid until the next fop of this coroutine (or the
 * end, after wg_co_keep); or an errno, *out NULL or as the fop left it. ECANCELED at once when cancelled.
 */
#define FOP(no, name, kind, in, out)                                               \
    int wg_co_##name(struct wg_co *co, struct wg_xlator *xl, const struct wg_##name##_in *args, \
                     const struct wg_##name##_out **ret);
#include "fops.def"
#undef FOP

/* Keeps the last fop's results to the coroutine's end. */
void wg_co_keep(struct wg_co *co);

/* Concurrent children, at most limit at once; spawn waits for a place. Owned by co's scope. */
struct wg_co_group *wg_co_group(struct wg_co *co, unsigned limit);
int wg_co_spawn(struct wg_co_group *g, const char *name, wg_co_fn *fn, void *arg);
/* Waits for all; the first error. Frees g. After an error the rest are cancelled, not lost. */
int wg_co_collect(struct wg_co_group *g);

/* Sleeps until wg_co_wake (a wake that came before counts, once). 0, ECANCELED or ETIMEDOUT. */
int wg_co_wait(struct wg_co *co, uint64_t deadline_ns);
/* Any thread; co must not have ended (a request object's lock, say, makes sure of that). */
void wg_co_wake(struct wg_co *co);
int wg_co_sleep(struct wg_co *co, uint64_t ns);
void wg_co_yield(struct wg_co *co);

/* Runs fn(arg) on the offload pool, for what can only block; its return value. */
int wg_co_offload(struct wg_co *co, int (*fn)(void *arg), void *arg);
/* Runs fn(arg) on the worker's own, full-sized stack: for libraries that need stack. */
int wg_co_on_worker(struct wg_co *co, int (*fn)(void *arg), void *arg);

/*
 * Its waits answer ECANCELED from now on, and no new fop begins; the one under way is waited
 * for. Spreads to the members of its groups. Any thread; co must not have ended.
 */
void wg_co_cancel(struct wg_co *co);
bool wg_co_cancelled(const struct wg_co *co);

/* Bounded queue of pointers between coroutines of one worker or several. */
struct wg_co_queue *wg_co_queue_new(unsigned capacity);
int wg_co_push(struct wg_co *co, struct wg_co_queue *q, void *item);  /* waits for room; EPIPE when closed */
int wg_co_pop(struct wg_co *co, struct wg_co_queue *q, void **ret);   /* waits; EPIPE when closed and empty */
void wg_co_queue_close(struct wg_co_queue *q);
void wg_co_queue_free(struct wg_co_queue *q);

/* A mutex between coroutines (never held across a blocking call of a thread). */
struct wg_co_mutex {
    atomic_flag lock;
    struct wg_co *holder;
    struct wg_co_waiter *first, *last;
};
void wg_co_mutex_init(struct wg_co_mutex *m);
void wg_co_lock(struct wg_co *co, struct wg_co_mutex *m);
void wg_co_unlock(struct wg_co *co, struct wg_co_mutex *m);

/* Live coroutines; waits until none is left or the time is up. At shutdown. */
unsigned wg_co_live(void);
int wg_co_drain(uint64_t deadline_ns);

#endif
