/* SPDX-License-Identifier: Apache-2.0 */
/* A task's memory; task.c's alone, but for its size and its place in p's list. */
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
    /* Of a spawned one. */
    struct wg_call *base;        /* its identity, for dumps */
    struct wg_call *own;         /* of its last fop */
    struct wg_py_task **link, *next; /* p's, under p->lock */
};

#endif
