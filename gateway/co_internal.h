/* SPDX-License-Identifier: Apache-2.0 */
/* What co.c, co_sync.c and co_fop.c share. */
#ifndef WG_CO_INTERNAL_H
#define WG_CO_INTERNAL_H

#include "co.h"
#include "co_stack.h"

/*
 * park is where a coroutine sleeps: RUNNING; WOKEN, a wake came while it ran; PARKED. It is
 * set to PARKED by the worker, after the switch, so that nobody resumes half a saved context.
 */
enum { CO_RUNNING, CO_WOKEN, CO_PARKED };

/* A place in a line (of a queue or a mutex); a coroutine stands in one line at a time. */
struct wg_co_waiter {
    struct wg_co *co;
    struct wg_co_waiter *next;
    bool ready;
};

struct wg_co {
    /*
     * These outlive the coroutine: its memory goes to a pool and is never freed, so that a
     * wake that comes late (its sender was between "done" and "unpark") meets at worst another
     * coroutine, to which it is a spurious resume.
     */
    struct wg_work work;
    atomic_int park;
    unsigned worker;
    struct wg_co *pooled;
    /* From here on zeroed at each start. */
    struct wg_stack *stack;
    struct wg_call *root;
    const char *name;
    wg_co_fn *fn;
    void *arg;
    void (*done)(void *arg, int err);
    atomic_bool token;     /* wg_co_wake, not yet taken by wg_co_wait */
    atomic_int cancelled;  /* why; 0: not */
    bool shielded;         /* its waits and fops don't look at that */
    bool finished;
    int err;
    const char *waits_for; /* for dumps */
    uint64_t waits_call;   /* the same: the call of its fop; 0: none */
    uint64_t begin_ns;
    /* What the worker does on its own stack once this one is switched out. */
    void (*outside)(struct wg_co *co);
    /* The fop under way, and what on_worker and offload run. */
    unsigned op;
    struct wg_xlator *xl;
    const void *in;
    struct wg_call *call;  /* of the last fop; its results live as long */
    struct wg_call *kept;  /* calls kept, linked through their owner */
    atomic_bool fop_done;
    void (*on_cancel)(struct wg_co *co); /* what makes the fop under way end soon; NULL: nothing */
    void *on_cancel_arg;
    int (*run)(void *arg);
    void *run_arg;
    int run_err;
    atomic_bool run_done;
    struct wg_work run_work;
    struct wg_co_waiter waiter;
    struct wg_timer timer;
    atomic_bool timer_fired;
    struct wg_timer deadline;
    struct wg_co_lease *leases; /* not yet dropped */
    struct wg_co_group *group;  /* that it is a member of */
    struct wg_co *sibling;      /* in that group */
    struct wg_co_group *groups; /* its own, open ones */
    struct wg_co *prev, *next;  /* the worker's list, for dumps */
};

struct wg_co_group {
    struct wg_co *owner;
    struct wg_co_group *next;
    unsigned limit, running;
    int err;
    bool cancelled;
    struct wg_co *members;
};

/* Switches out until somebody resumes co (spurious resumes happen: check the condition). */
void wg_co_park(struct wg_co *co, const char *waits_for);
/* Makes a parked co run again, or its next park return at once. Any thread. */
void wg_co_unpark(struct wg_co *co);
/* A coroutine on the given worker; group may be NULL. */
int wg_co_launch(struct wg_call *root, const char *name, wg_co_fn *fn, void *arg,
                 void (*done)(void *, int), unsigned worker, struct wg_co_group *group);
/* A member of g has ended with err. On the worker. */
void wg_co_group_left(struct wg_co_group *g, struct wg_co *co);
/* Cancels the members of co's groups, when co is cancelled. On the worker. */
void wg_co_spread_cancel(struct wg_co *co);
/* Drops the calls of co's fops. */
void wg_co_drop_calls(struct wg_co *co);
/* Cancels co; its waits and fops answer err (the first one's) from now on. As wg_co_cancel. */
void wg_co_cancel_with(struct wg_co *co, int err);
/* A call with root's credentials, client and deadline that keeps root. NULL when memory is out. */
struct wg_call *wg_co_child_call(struct wg_call *root);
/* Drops those that the flow has not. On the worker. */
void wg_co_drop_leases(struct wg_co *co);
/* The moment from which co's fops must not begin: the end of a fencing lease of its or its owners'; 0: none. */
uint64_t wg_co_fence(const struct wg_co *co);
/* Leases whose renewal or end is under way. */
unsigned wg_co_leases_live(void);

#endif
