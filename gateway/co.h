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
 * end, after wg_co_keep); or an errno, *out NULL or as the fop left it. When cancelled, the reason, at once.
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

/*
 * Sleeps until wg_co_wake (a wake that came before counts, once). deadline_ns: CLOCK_MONOTONIC; 0: none.
 * 0, ETIMEDOUT, or why it was cancelled.
 */
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
 * Cancels a flow: from now on its waits answer at once, and no new fop begins; the one under way is
 * waited for. The answer is ECANCELED here, ETIMEDOUT when its deadline passed, ENOLCK when it lost a lease:
 * the first reason counts. Spreads to the members of its groups. Any thread; co must not have ended.
 */
void wg_co_cancel(struct wg_co *co);
/* Why co is cancelled; 0: it is not (or is shielded). */
int wg_co_cancelled(const struct wg_co *co);
/* Cancels co at deadline_ns (CLOCK_MONOTONIC); 0: takes that back. Called by co itself. */
void wg_co_deadline(struct wg_co *co, uint64_t deadline_ns);
/*
 * While on, co does not see that it is cancelled: for what must be waited for or undone (buffers in use
 * elsewhere, a file to remove). Called by co itself; keep it short.
 */
void wg_co_shield(struct wg_co *co, bool on);

/*
 * Leases: a named lock at the brick (fop lock_take) that renews itself while the flow runs, and cancels the
 * flow with ENOLCK when it is lost: a renewal was refused, or none succeeded within the time to live,
 * counted from when the last good one was sent. The holder's end of a lease comes before the brick's, so
 * two flows never both believe to hold it; but a fop already sent may still run then. With fence no fop of
 * this flow (or of its groups) begins at the brick after that moment; it is then answered ETIMEDOUT.
 */
struct wg_co_lease;
struct wg_co_lease_args {
    struct wg_ref at;     /* the inode that it is about; zero: the volume */
    struct wg_str name;   /* 1 to WG_NAME_MAX bytes; copied */
    uint32_t ttl_ms;      /* the brick may give less */
    uint32_t wait_ms;     /* in line, behind who came before; 0: not */
    bool fence;
};
/*
 * xl: where the fops go. 0; EBUSY: another held it all the time; ENOTSUP: no features/locks there (an
 * older brick); another errno: not taken. *ret is the flow's until it drops it, or ends.
 */
int wg_co_lease_take(struct wg_co *co, struct wg_xlator *xl, const struct wg_co_lease_args *args,
                     struct wg_co_lease **ret);
/* Gives it up, without waiting for the brick; NULL: nothing. Does not undo a cancellation. By the flow. */
void wg_co_lease_drop(struct wg_co_lease *l);
/* 0, or ENOLCK once it is lost. By the flow, before the drop. */
int wg_co_lease_lost(const struct wg_co_lease *l);

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

/*
 * At shutdown: cancel those that live, then wait until they and their leases have ended. drain: 0, or
 * ETIMEDOUT. Not on a worker.
 */
unsigned wg_co_live(void);
void wg_co_cancel_all(void);
int wg_co_drain(uint64_t deadline_ns);

#endif
