/* SPDX-License-Identifier: Apache-2.0 */
/* What a translator reaches by self: timers, tasks of its own, the log. */
#include "binding.h"

#define WG_LOG_PART "python"
#include "log.h"

struct timer_object {
    PyObject_HEAD
    struct wg_timer timer;
    PyObject *fn, *args;         /* NULL: not armed */
    const char *where;
    struct timer_object **link, *next; /* the armed ones of a core; an armed one has a reference of itself */
};

struct core_object {
    PyObject_HEAD
    struct wg_py *p;             /* NULL: the translator is gone */
    struct wg_py_code *code;     /* NULL: in __init__ */
    const char *name;
    struct timer_object *timers;
};

static PyTypeObject core_type, timer_type;

/* --- timers --- */

/* No more armed. What it called is handed out. */
static void disarm(struct timer_object *t, PyObject **ret_fn, PyObject **ret_args)
{
    *ret_fn = t->fn;
    *ret_args = t->args;
    t->fn = t->args = NULL;
    *t->link = t->next;
    if (t->next)
        t->next->link = t->link;
}

static void fired(struct wg_timer *timer)
{
    struct timer_object *t = (struct timer_object *)((char *)timer - offsetof(struct timer_object, timer));
    PyObject *fn, *args, *r;

    wg_py_enter();
    if (t->fn) { /* else it was cancelled while we waited for the GIL */
        disarm(t, &fn, &args);
        r = PyObject_CallObject(fn, args);
        if (!r)
            wg_py_log_exception(t->where);
        Py_XDECREF(r);
        Py_DECREF(fn);
        Py_DECREF(args);
    }
    Py_DECREF(t);
    wg_py_leave();
}

static void cancel(struct timer_object *t)
{
    PyObject *fn, *args;
    bool caught;

    if (!t->fn)
        return;
    disarm(t, &fn, &args);
    caught = wg_timer_cancel(&t->timer); /* else fired() is on its way and drops the reference */
    Py_DECREF(fn);
    Py_DECREF(args);
    if (caught)
        Py_DECREF(t);
}

static PyObject *timer_cancel(PyObject *self, PyObject *none)
{
    (void)none;
    Py_INCREF(self);
    cancel((struct timer_object *)self);
    Py_DECREF(self);
    Py_RETURN_NONE;
}

static PyMethodDef timer_methods[] = {
    { "cancel", timer_cancel, METH_NOARGS, "It will not run, unless it does already." },
    { 0 },
};

static void timer_dealloc(PyObject *self)
{
    PyObject_Free(self); /* not armed: an armed one is referenced */
}

static PyTypeObject timer_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "windgate.Timer",
    .tp_basicsize = sizeof(struct timer_object),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = timer_dealloc,
    .tp_methods = timer_methods,
};

static int is_alive(const struct core_object *c)
{
    if (!c->p)
        PyErr_SetString(PyExc_RuntimeError, "the translator has been stopped");
    else if (wg_work_count() == 0)
        PyErr_SetString(PyExc_RuntimeError, "there are no workers yet: do it in start(), not in __init__");
    return c->p && wg_work_count() > 0;
}

/* timer(seconds, fn, *args) */
static PyObject *core_timer(PyObject *self, PyObject *args)
{
    struct core_object *c = (struct core_object *)self;
    struct timer_object *t;
    PyObject *rest;
    double s;

    if (PyTuple_GET_SIZE(args) < 2 || !PyCallable_Check(PyTuple_GET_ITEM(args, 1)))
        return PyErr_Format(PyExc_TypeError, "timer takes seconds, a function and its arguments");
    s = PyFloat_AsDouble(PyTuple_GET_ITEM(args, 0));
    if (s == -1 && PyErr_Occurred())
        return NULL;
    if (!(s >= 0 && s < 1e9))
        return PyErr_Format(PyExc_ValueError, "timer takes seconds, 0 or more");
    if (!is_alive(c))
        return NULL;
    rest = PyTuple_GetSlice(args, 2, PyTuple_GET_SIZE(args));
    t = rest ? PyObject_New(struct timer_object, &timer_type) : NULL;
    if (!t) {
        Py_XDECREF(rest);
        return NULL;
    }
    memset(&t->timer, 0, sizeof t->timer);
    t->fn = Py_NewRef(PyTuple_GET_ITEM(args, 1));
    t->args = rest;
    t->where = c->name;
    t->next = c->timers;
    t->link = &c->timers;
    if (t->next)
        t->next->link = &t->next;
    c->timers = t;
    Py_INCREF(t);
    wg_timer_arm(&t->timer, wg_now_ns() + (uint64_t)(s * 1e9), fired);
    return (PyObject *)t;
}

/* --- the rest --- */

static PyObject *core_spawn(PyObject *self, PyObject *args)
{
    struct core_object *c = (struct core_object *)self;
    PyObject *rest;
    int bad;

    if (PyTuple_GET_SIZE(args) < 1 || !PyCallable_Check(PyTuple_GET_ITEM(args, 0)))
        return PyErr_Format(PyExc_TypeError, "spawn takes a function of (call, ...) and its other arguments");
    if (!is_alive(c))
        return NULL;
    if (!c->code)
        return PyErr_Format(PyExc_RuntimeError, "spawn in start(), not in __init__");
    if (c->p->stopping || c->code->retired)
        return PyErr_Format(PyExc_RuntimeError, "the translator is being stopped");
    rest = PyTuple_GetSlice(args, 1, PyTuple_GET_SIZE(args));
    bad = rest ? wg_py_spawn(c->p, c->code, PyTuple_GET_ITEM(args, 0), rest) : -1;
    Py_XDECREF(rest);
    if (bad)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *core_log(PyObject *self, PyObject *args)
{
    static const char *const names[] = { "error", "warning", "notice", "info", "debug" };
    const char *text, *level;

    if (!PyArg_ParseTuple(args, "ss", &level, &text))
        return NULL;
    for (int i = 0; i < 5; i++)
        if (!strcmp(level, names[i])) {
            wg_log((enum wg_level)i, "%s: %s", ((struct core_object *)self)->name, text);
            Py_RETURN_NONE;
        }
    return PyErr_Format(PyExc_ValueError, "a level is error, warning, notice, info or debug");
}

static PyMethodDef core_methods[] = {
    { "timer", core_timer, METH_VARARGS, NULL },
    { "spawn", core_spawn, METH_VARARGS, NULL },
    { "log", core_log, METH_VARARGS, NULL },
    { 0 },
};

static void core_dealloc(PyObject *self)
{
    PyObject_Free(self);
}

static PyTypeObject core_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "windgate._Core",
    .tp_basicsize = sizeof(struct core_object),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = core_dealloc,
    .tp_methods = core_methods,
};

PyObject *wg_py_core_new(struct wg_py *p)
{
    struct core_object *c = PyObject_New(struct core_object, &core_type);

    if (c) {
        c->p = p;
        c->code = NULL;
        c->name = wg_py_keep_text(p->xl->name);
        c->timers = NULL;
    }
    return (PyObject *)c;
}

void wg_py_core_ready(PyObject *core, struct wg_py_code *code)
{
    ((struct core_object *)core)->code = code;
}

void wg_py_core_quiet(PyObject *core)
{
    struct core_object *c = (struct core_object *)core;

    while (c->timers)
        cancel(c->timers);
}

void wg_py_core_end(PyObject *core)
{
    wg_py_core_quiet(core);
    ((struct core_object *)core)->p = NULL;
}

int wg_py_core_init(PyObject *module)
{
    return PyType_Ready(&core_type) || PyModule_AddType(module, &timer_type) ? -1 : 0;
}
