/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A task: one method at work on one call (it lives in the frame's local), or a spawned one with no
 * client. A step is: take the GIL, run Python until it yields or returns, note in plain C what it
 * asked for, drop the GIL, do that. So no C code is ever entered with the GIL held, and a layer
 * below may block, or answer on another thread, as it likes.
 *
 * However a method ends, the frame is answered: wg_py_settle() turns every result, exceptions and
 * garbage too, into something to do.
 */
#include <assert.h>
#include <pthread.h>

#include "binding.h"
#include "task.h"

#define WG_LOG_PART "python"
#include "log.h"

#define SAY_EVERY_NS 1000000000ull /* tracebacks of one translator */


#define TASK_OF(ptr, member) ((struct wg_py_task *)((char *)(ptr) - offsetof(struct wg_py_task, member)))

static struct wg_call *call_of(const struct wg_py_task *t)
{
    return t->f ? t->f->call : t->base;
}

/* Drops all that is Python's. Its views end, whoever still has them. */
void wg_py_task_end(struct wg_py_task *t)
{
    PyObject *gen = t->gen;

    t->gen = NULL;
    if (gen && Py_REFCNT(gen) > 1) {
        /* Somebody keeps it: it must not run on by itself. */
        PyObject *r = PyObject_CallMethod(gen, "close", NULL);

        if (!r)
            PyErr_WriteUnraisable(gen);
        Py_XDECREF(r);
    }
    Py_XDECREF(gen); /* an unfinished one is closed: its finally clauses still see the call */
    Py_CLEAR(t->then);
    Py_CLEAR(t->fn);
    Py_CLEAR(t->fn_args);
    wg_py_records_end(&t->records);
    Py_CLEAR(t->args);
    if (t->call) {
        t->call->call = NULL;
        t->call->task = NULL;
        Py_CLEAR(t->call->state);
        Py_CLEAR(t->call);
    }
    if (t->code)
        wg_py_code_unref(t->code);
    t->code = NULL;
}

static void answer(struct wg_py_task *t, int err, void *out)
{
    t->todo = TODO_UNWIND;
    t->err = err;
    t->out = out;
}

/* Success without results would be followed through NULL above. */
static void need_out(struct wg_py_task *t)
{
    if (t->err || t->out || !t->f)
        return;
    t->out = wg_alloc(&t->f->call->arena, wg_fops[t->f->op].out_size);
    if (!t->out)
        t->err = ENOMEM;
}

/* The exception that is set becomes the answer. */
static void failed(struct wg_py_task *t)
{
    int err = wg_py_take_fail();

    answer(t, err ? err : EIO, NULL);
    if (err)
        return;
    t->p->exceptions++;
    if (wg_now_ns() - t->p->said_ns >= SAY_EVERY_NS) {
        char where[160];

        t->p->said_ns = wg_now_ns();
        snprintf(where, sizeof where, "%s in %s", t->where, t->p->xl->name);
        wg_py_log_exception(where);
    }
    PyErr_Clear();
}

/* --- what was asked for --- */

static int take_lease(struct wg_py_task *t)
{
    if (!t->p->memory || !t->f || t->op != t->f->op) {
        PyErr_SetString(PyExc_TypeError, t->p->memory ? "only the call's own fop can ask for a lease"
                        : "a class that asks for leases says so: leases = True");
        return -1;
    }
    t->f->want_lease = true;
    t->seen = wg_inval_seen(t->p->memory->inval);
    return 0;
}

/* True, with an exception: a spawned one of a translator that stops; that is no fault of its. */
static bool ends_here(const struct wg_py_task *t)
{
    if (t->f || !(t->p->stopping || t->code->retired))
        return false;
    wg_py_set_fail(EAGAIN);
    return true;
}

static int take_wind(struct wg_py_task *t, struct wg_py_wind *w, bool yielded)
{
    void *in;

    if (w->call != t->call) {
        PyErr_SetString(PyExc_ValueError, "wind was given another call than the method's own");
        return -1;
    }
    if (yielded && w->then) {
        PyErr_SetString(PyExc_TypeError, "then= is for methods that return; the yield itself gives the reply");
        return -1;
    }
    if (ends_here(t))
        return -1;
    if (!t->f && wg_py_next_call(t))
        return -1;
    if (wg_py_record_for(w->args, t->f ? &t->f->call->arena : &t->own->arena, &in))
        return -1;
    t->op = w->args->op;
    t->in = in;
    t->lease = w->lease;
    if (t->f && t->op == t->f->op && t->in != t->f->in)
        t->f->want_lease = false; /* the layers above asked something else */
    if (w->lease && take_lease(t))
        return -1;
    t->todo = TODO_WIND;
    Py_XSETREF(t->then, Py_XNewRef(w->then));
    if (yielded || w->then)
        return 0;
    if (!t->f || t->op != t->f->op) {
        PyErr_SetString(PyExc_TypeError, "the reply of another fop can't be this one's: yield the wind, or give then=");
        return -1;
    }
    t->todo = t->in == t->f->in && !w->lease ? TODO_PASS : TODO_TAIL;
    return 0;
}

static int take_reply(struct wg_py_task *t, int err, struct wg_py_record *r)
{
    void *out = NULL;
    bool as_it_came = t->f && r && !r->mine && r->err == err && r->rec == t->f->out && err == t->f->err;

    if (t->f && r) {
        if (r->op != t->f->op) {
            PyErr_Format(PyExc_TypeError, "a %s was answered with a reply of %s", wg_op_name(t->f->op), wg_op_name(r->op));
            return -1;
        }
        if (wg_py_record_for(r, &t->f->call->arena, &out))
            return -1;
    }
    answer(t, err, out);
    need_out(t);
    if (t->f && !as_it_came)
        t->f->lease = NULL; /* our own words, which no store has promised to take back */
    return 0;
}

static int take_wait(struct wg_py_task *t, struct wg_py_wait *w, bool yielded)
{
    if (!yielded) {
        PyErr_SetString(PyExc_TypeError, "sleep and offload are to be yielded");
        return -1;
    }
    if (wg_work_count() == 0) {
        PyErr_SetString(PyExc_RuntimeError, "there are no workers yet");
        return -1;
    }
    if (w->fn) {
        if (ends_here(t)) /* one that only offloads would never be seen asleep */
            return -1;
        t->todo = TODO_OFFLOAD;
        Py_XSETREF(t->fn, Py_NewRef(w->fn));
        Py_XSETREF(t->fn_args, Py_NewRef(w->args));
        return 0;
    }
    t->todo = TODO_SLEEP;
    t->at_ns = wg_now_ns() + (uint64_t)(w->seconds * 1e9);
    if (t->f && t->f->call->deadline_ns && t->f->call->deadline_ns < t->at_ns)
        t->at_ns = t->f->call->deadline_ns;
    return 0;
}

/* v: what the method yielded or returned. 0, or -1 with an exception. */
static int take(struct wg_py_task *t, PyObject *v, bool yielded)
{
    PyTypeObject *type = Py_TYPE(v);

    if (type == &wg_py_wind_type)
        return take_wind(t, (struct wg_py_wind *)v, yielded);
    if (type == &wg_py_unwind_type)
        return take_reply(t, ((struct wg_py_unwind *)v)->err, ((struct wg_py_unwind *)v)->reply);
    if (wg_py_is_record(v) && ((struct wg_py_record *)v)->reply)
        return take_reply(t, ((struct wg_py_record *)v)->err, (struct wg_py_record *)v);
    if (type == &wg_py_wait_type)
        return take_wait(t, (struct wg_py_wait *)v, yielded);
    if (type == &wg_py_pass_type && t->f) {
        t->todo = TODO_PASS;
        return 0;
    }
    if (!t->f && !yielded) { /* a spawned one returns what it likes */
        answer(t, 0, NULL);
        return 0;
    }
    PyErr_Format(PyExc_TypeError, "%s %s %R; it must be a wind, an unwind, a reply%s", t->where,
                 yielded ? "yielded" : "returned", v, yielded ? ", a sleep or an offload" : " or PASS");
    return -1;
}

/* --- running Python --- */

static bool last(const struct wg_py_task *t)
{
    return t->todo == TODO_UNWIND || t->todo == TODO_PASS || t->todo == TODO_TAIL;
}

/* Sends v into the generator; what came of it. */
static void go_on(struct wg_py_task *t, PyObject *v)
{
    PyObject *r = NULL;
    PySendResult s = PyIter_Send(t->gen, v, &r);

    if (s == PYGEN_ERROR || take(t, r, s == PYGEN_NEXT))
        failed(t);
    Py_XDECREF(r);
    if (last(t))
        wg_py_task_end(t);
}

/* The generator gets the exception that is set. */
static void go_on_with_exception(struct wg_py_task *t)
{
    PyObject *type, *value, *trace, *r, *result = NULL;

    PyErr_Fetch(&type, &value, &trace);
    PyErr_NormalizeException(&type, &value, &trace);
    if (trace)
        PyException_SetTraceback(value, trace);
    r = PyObject_CallMethod(t->gen, "throw", "O", value);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(trace);
    if (!r && PyErr_ExceptionMatches(PyExc_StopIteration)) {
        PyErr_Fetch(&type, &value, &trace);
        PyErr_NormalizeException(&type, &value, &trace);
        result = PyObject_GetAttrString(value, "value");
        Py_XDECREF(type);
        Py_XDECREF(value);
        Py_XDECREF(trace);
    }
    if ((!r && !result) || take(t, r ? r : result, r != NULL))
        failed(t);
    Py_XDECREF(r);
    Py_XDECREF(result);
    if (last(t))
        wg_py_task_end(t);
}

/* r: what a call of a method gave, taken over; NULL: it raised. */
void wg_py_settle(struct wg_py_task *t, PyObject *r)
{
    if (r && PyGen_CheckExact(r)) {
        Py_XSETREF(t->gen, r);
        go_on(t, Py_None);
        return;
    }
    if (!r || take(t, r, false))
        failed(t);
    Py_XDECREF(r);
    if (last(t))
        wg_py_task_end(t);
}

static void begin(struct wg_py_task *t)
{
    struct wg_frame *f = t->f;
    PyObject *args[3];

    t->code = t->p->code;
    t->code->refs++;
    t->where = t->code->method[f->op].where;
    if (!t->code->method[f->op].fn) { /* code that was reloaded treats it no more */
        t->todo = TODO_PASS;
        wg_py_task_end(t);
        return;
    }
    t->call = wg_py_call_new(f->call, f->op, t);
    t->args = wg_py_record_new(f->op, false, f->in, &f->call->arena, &t->records);
    if (!t->call || !t->args) {
        failed(t);
        wg_py_task_end(t);
        return;
    }
    args[1] = (PyObject *)t->call;
    args[2] = (PyObject *)t->args;
    wg_py_settle(t, PyObject_Vectorcall(t->code->method[f->op].fn, args + 1, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL));
}

/* A fop has answered. */
void wg_py_replied(struct wg_py_task *t, int err, void *out)
{
    struct wg_py_record *reply = wg_py_record_new(t->op, true, out, t->f ? &t->f->call->arena : &t->own->arena,
                                                  &t->records);
    PyObject *args[4] = { NULL, (PyObject *)t->call, (PyObject *)t->args, (PyObject *)reply };

    if (!reply) {
        failed(t);
        wg_py_task_end(t);
        return;
    }
    reply->err = err;
    if (t->lease)
        reply->lease = wg_py_lease_of(t->p->memory, t->f, t->seen);
    if (t->lease && !reply->lease)
        PyErr_Clear(); /* no memory to remember with */
    if (t->gen) {
        go_on(t, (PyObject *)reply);
    } else {
        PyObject *then = t->then;

        t->then = NULL;
        wg_py_settle(t, PyObject_Vectorcall(then, args + 1, 3 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL));
        Py_DECREF(then);
    }
    Py_DECREF(reply);
}

/* --- doing it, without the GIL --- */

static void done(struct wg_frame *f)
{
    struct wg_py_task *t = f->local;
    const struct wg_frame *a = wg_answer(f);

    wg_py_enter();
    wg_py_replied(t, a->err, a->err && a->op != t->op ? NULL : a->out);
    wg_py_leave();
    wg_py_act(t);
}

static void tail_done(struct wg_frame *f)
{
    wg_unwind_(f, f->err, ((struct wg_py_task *)f->local)->where);
}

/* Into p's list; a spawned one is there from the beginning. Under p->lock. */
void wg_py_list_in(struct wg_py_task *t)
{
    t->next = t->p->tasks;
    t->link = &t->p->tasks;
    if (t->next)
        t->next->link = &t->next;
    t->p->tasks = t;
}

void wg_py_list_out(struct wg_py_task *t)
{
    *t->link = t->next;
    if (t->next)
        t->next->link = t->link;
}

/* Nobody may wait any more. Under p->lock, or with the GIL as a hint. */
static bool gives_up(const struct wg_py_task *t)
{
    return t->f ? t->p->draining : t->p->stopping || t->code->retired;
}

static void slept(struct wg_timer *timer)
{
    struct wg_py_task *t = TASK_OF(timer, timer);
    uint64_t deadline = call_of(t)->deadline_ns;
    bool give_up;

    pthread_mutex_lock(&t->p->lock);
    if (t->f)
        wg_py_list_out(t);
    give_up = gives_up(t);
    pthread_mutex_unlock(&t->p->lock);
    wg_py_enter();
    if (give_up || (deadline && wg_now_ns() >= deadline)) {
        wg_py_task_end(t);
        answer(t, give_up ? EAGAIN : ETIMEDOUT, NULL);
    } else {
        go_on(t, Py_None);
    }
    wg_py_leave();
    wg_py_act(t);
}

/* Under the lock, so that who drains or stops finds it armed, or it finds that. */
static void sleep_until(struct wg_py_task *t)
{
    pthread_mutex_lock(&t->p->lock);
    if (t->f)
        wg_py_list_in(t);
    if (gives_up(t))
        t->at_ns = 0;
    wg_timer_arm(&t->timer, t->at_ns, slept);
    pthread_mutex_unlock(&t->p->lock);
}

static void offloaded(struct wg_work *work)
{
    struct wg_py_task *t = TASK_OF(work, work);
    PyObject *r;

    wg_py_enter();
    r = PyObject_CallObject(t->fn, t->fn_args);
    Py_CLEAR(t->fn);
    Py_CLEAR(t->fn_args);
    if (r) {
        go_on(t, r);
        Py_DECREF(r);
    } else {
        go_on_with_exception(t);
    }
    wg_py_leave();
    wg_py_act(t);
}

void wg_py_act(struct wg_py_task *t)
{
    struct wg_frame *f = t->f;

    switch (t->todo) {
    case TODO_SLEEP:
        sleep_until(t);
        break;
    case TODO_OFFLOAD:
        t->work.fn = offloaded;
        wg_offload_queue(&t->work);
        break;
    case TODO_WIND:
        if (f)
            wg_wind_(f, wg_child(f), t->op, t->in, done, t->where, t->where);
        else
            wg_py_wind_own(t);
        break;
    case TODO_TAIL:
        wg_wind_(f, wg_child(f), t->op, t->in, tail_done, t->where, t->where);
        break;
    case TODO_PASS:
        wg_pass_(f, wg_child(f), t->where);
        break;
    case TODO_UNWIND:
        if (!f)
            return wg_py_bury(t);
        f->out = t->out;
        wg_unwind_(f, t->err, t->where);
        break;
    }
}

void wg_py_handle(struct wg_frame *f)
{
    struct wg_py_task *t = f->local;

    t->f = f;
    t->p = f->this->priv;
    wg_py_enter();
    begin(t);
    wg_py_leave();
    wg_py_act(t);
}

/* --- the end of the graph --- */

/* Whoever sleeps, and is meant, is woken on its worker now. Under p->lock. */
static void wake(struct wg_py *p, bool spawned)
{
    for (struct wg_py_task *t = p->tasks; t; t = t->next)
        if (!t->f == spawned && wg_timer_cancel(&t->timer))
            wg_timer_arm(&t->timer, 0, slept);
}

void wg_py_tasks_retire(struct wg_py *p, struct wg_py_code *code)
{
    pthread_mutex_lock(&p->lock);
    code->retired = true;
    for (struct wg_py_task *t = p->tasks; t; t = t->next)
        if (!t->f && t->code == code && wg_timer_cancel(&t->timer))
            wg_timer_arm(&t->timer, 0, slept);
    pthread_mutex_unlock(&p->lock);
}

void wg_py_tasks_drain(struct wg_py *p, bool ending)
{
    pthread_mutex_lock(&p->lock);
    p->draining = true;
    wake(p, false);
    if (ending) { /* the process waits for their calls */
        p->stopping = true;
        wake(p, true);
    }
    pthread_mutex_unlock(&p->lock);
}

void wg_py_tasks_stop(struct wg_py *p)
{
    pthread_mutex_lock(&p->lock);
    p->stopping = true;
    wake(p, true);
    while (p->spawned > 0)
        pthread_cond_wait(&p->quiet, &p->lock);
    pthread_mutex_unlock(&p->lock);
}
