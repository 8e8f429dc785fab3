/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tasks without a client: each fop runs in a call of its own, so that a flow of a million fops runs
 * in constant memory. They count in p->spawned until they are over.
 */
#include <pthread.h>
#include <stdlib.h>

#include "binding.h"
#include "task.h"

#define TASK_OF(ptr, member) ((struct wg_py_task *)((char *)(ptr) - offsetof(struct wg_py_task, member)))

/* The call of the next fop of a spawned task: what the last one answered ends with it. */
int wg_py_next_call(struct wg_py_task *t)
{
    struct wg_call *call = wg_call_new(NULL, WG_FROM_INTERNAL, t->where);

    if (!call) {
        PyErr_NoMemory();
        return -1;
    }
    wg_py_records_end(&t->records);
    if (t->own)
        wg_call_unref(t->own);
    call->owner = t;
    t->own = call;
    return 0;
}

static void own_done(struct wg_call *call)
{
    struct wg_py_task *t = call->owner;

    wg_py_enter();
    wg_py_replied(t, call->root->err, call->root->out);
    wg_py_leave();
    wg_py_act(t);
}

void wg_py_wind_own(struct wg_py_task *t)
{
    wg_start_(t->own, t->p->xl->children[0], t->op, t->in, own_done, t->where, t->where);
}

/* A spawned task is over. */
void wg_py_bury(struct wg_py_task *t)
{
    struct wg_py *p = t->p;

    if (t->own)
        wg_call_unref(t->own);
    wg_call_unref(t->base);
    pthread_mutex_lock(&p->lock);
    wg_py_list_out(t);
    if (--p->spawned == 0)
        pthread_cond_signal(&p->quiet);
    pthread_mutex_unlock(&p->lock);
    free(t);
}

static void run_spawned(struct wg_work *work)
{
    struct wg_py_task *t = TASK_OF(work, work);
    PyObject *fn, *args;

    wg_py_enter();
    fn = t->fn;
    args = t->fn_args;
    t->fn = t->fn_args = NULL;
    wg_py_settle(t, PyObject_CallObject(fn, args));
    Py_DECREF(fn);
    Py_DECREF(args);
    wg_py_leave();
    wg_py_act(t);
}

static PyObject *call_and(struct wg_py_task *t, PyObject *args)
{
    Py_ssize_t n = PyTuple_GET_SIZE(args);
    PyObject *all = PyTuple_New(n + 1);

    if (!all)
        return NULL;
    PyTuple_SET_ITEM(all, 0, Py_NewRef((PyObject *)t->call));
    for (Py_ssize_t i = 0; i < n; i++)
        PyTuple_SET_ITEM(all, i + 1, Py_NewRef(PyTuple_GET_ITEM(args, i)));
    return all;
}

int wg_py_spawn(struct wg_py *p, struct wg_py_code *code, PyObject *fn, PyObject *args)
{
    struct wg_py_task *t = calloc(1, sizeof *t);

    if (!t) {
        PyErr_NoMemory();
        return -1;
    }
    t->p = p;
    t->where = wg_py_keep_text("spawned");
    t->base = wg_call_new(NULL, WG_FROM_INTERNAL, "python");
    t->call = t->base ? wg_py_call_new(t->base, WG_OP_MAX, t) : NULL;
    t->fn_args = t->call ? call_and(t, args) : NULL;
    if (!t->fn_args) {
        if (!PyErr_Occurred())
            PyErr_NoMemory();
        wg_py_task_end(t);
        if (t->base)
            wg_call_unref(t->base);
        free(t);
        return -1;
    }
    t->fn = Py_NewRef(fn);
    t->code = code;
    t->code->refs++;
    pthread_mutex_lock(&p->lock);
    wg_py_list_in(t);
    p->spawned++;
    pthread_mutex_unlock(&p->lock);
    t->work.fn = run_spawned;
    wg_work_queue(&t->work);
    return 0;
}
