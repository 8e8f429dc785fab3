/* SPDX-License-Identifier: Apache-2.0 */
/* A task's memory, and what task.c and spawn.c share. With the GIL unless said otherwise. */
#ifndef WG_PY_TASK_H
#define WG_PY_TASK_H

#include "binding.h"

enum wg_py_todo { TODO_UNWIND, TODO_PASS, TODO_TAIL, TODO_WIND, TODO_SLEEP, TODO_OFFLOAD };

struct wg_py_task {
    struct wg_frame *f;          /* NULL: spawned */
    struct wg_py *p;
    struct wg_py_code *code;     /* a reference: it ends in the code it began in */
    const char *where;           /* "Class.method" */
    PyObject *gen;               /* of a method that yields */
    PyObject *then;              /* of one that returned wind(..., then) */
    PyObject *fn, *fn_args;      /* to be offloaded, or spawned */
    struct wg_py_call *call;
    struct wg_py_record *args;
    struct wg_py_record *records; /* views to end with it */
    /* What Python asked for, in C's terms. */
    enum wg_py_todo todo;
    int err;
    unsigned op;
    bool lease;
    const void *in;
    void *out;
    uint64_t seen;               /* of the leases' memory, before the wind */
    uint64_t at_ns;
    struct wg_timer timer;
    struct wg_work work;
    struct wg_py_task **link, *next; /* p's list, under p->lock */
    /* Of a spawned one. */
    struct wg_call *base;        /* its identity, for dumps */
    struct wg_call *own;         /* of its last fop */
};

/* Drops all that is Python's. Its views end, whoever still has them. */
void wg_py_task_end(struct wg_py_task *t);
/* r: what a call of a method gave, taken over; NULL: it raised. Sets todo. */
void wg_py_settle(struct wg_py_task *t, PyObject *r);
/* A fop has answered: goes on. Sets todo. */
void wg_py_replied(struct wg_py_task *t, int err, void *out);
/* Does what todo says; t may be gone after. Without the GIL. */
void wg_py_act(struct wg_py_task *t);
/* In and out of p's list. Under p->lock. */
void wg_py_list_in(struct wg_py_task *t);
void wg_py_list_out(struct wg_py_task *t);

/* A spawned task: the call of its next fop (0, or -1 with an exception); starts it; ends. The last two without the GIL. */
int wg_py_next_call(struct wg_py_task *t);
void wg_py_wind_own(struct wg_py_task *t);
void wg_py_bury(struct wg_py_task *t);

#endif
