/* SPDX-License-Identifier: Apache-2.0 */
/* The call as a method sees it, and what a method may yield or return. */
#include "binding.h"

#define SPARE_MAX 256

/* --- Call --- */

static struct wg_py_call *spare_calls;
static int nspare_calls;

struct wg_py_call *wg_py_call_new(struct wg_call *call, unsigned op, struct wg_py_task *task)
{
    struct wg_py_call *c = spare_calls;

    if (c) {
        spare_calls = (struct wg_py_call *)c->state;
        nspare_calls--;
        PyObject_Init((PyObject *)c, &wg_py_call_type);
    } else {
        c = PyObject_New(struct wg_py_call, &wg_py_call_type);
    }
    if (!c)
        return NULL;
    c->call = call;
    c->op = op;
    c->task = task;
    c->state = NULL;
    return c;
}

static void call_dealloc(PyObject *self)
{
    struct wg_py_call *c = (struct wg_py_call *)self;

    Py_XDECREF(c->state);
    if (nspare_calls < SPARE_MAX) {
        c->state = (PyObject *)spare_calls;
        spare_calls = c;
        nspare_calls++;
    } else {
        PyObject_Free(c);
    }
}

enum { CALL_ID, CALL_UID, CALL_GID, CALL_GROUPS, CALL_PRINCIPAL, CALL_CLIENT, CALL_FRONTEND, CALL_WHAT, CALL_OP,
       CALL_TIME_LEFT, CALL_REPLAY };

static PyObject *groups_of(const struct wg_cred *cred)
{
    PyObject *t = PyTuple_New(cred->ngroups);

    for (uint32_t i = 0; t && i < cred->ngroups; i++) {
        PyObject *n = PyLong_FromUnsignedLong(cred->groups[i]);

        if (!n)
            Py_CLEAR(t);
        else
            PyTuple_SET_ITEM(t, i, n);
    }
    return t;
}

static PyObject *text_of(struct wg_str s)
{
    return PyUnicode_DecodeUTF8(s.s ? s.s : "", s.len, "backslashreplace");
}

static PyObject *time_left(const struct wg_call *call)
{
    if (!call->deadline_ns)
        Py_RETURN_NONE;
    return PyFloat_FromDouble(((double)call->deadline_ns - (double)wg_now_ns()) / 1e9);
}

static PyObject *call_get(PyObject *self, void *which)
{
    static const char *const frontends[] = { "internal", "nfs", "s3", "brick", "admin" };
    struct wg_py_call *c = (struct wg_py_call *)self;
    struct wg_call *call = c->call;

    if (!call) {
        PyErr_SetString(PyExc_ReferenceError, "the call is over; copy what you need of it before");
        return NULL;
    }
    switch ((intptr_t)which) {
    case CALL_ID:
        return PyLong_FromUnsignedLongLong(call->id);
    case CALL_UID:
        return PyLong_FromUnsignedLong(call->cred.uid);
    case CALL_GID:
        return PyLong_FromUnsignedLong(call->cred.gid);
    case CALL_GROUPS:
        return groups_of(&call->cred);
    case CALL_PRINCIPAL:
        return text_of(call->cred.principal);
    case CALL_CLIENT:
        return text_of(call->client);
    case CALL_FRONTEND:
        return PyUnicode_FromString(call->frontend <= WG_FROM_ADMIN ? frontends[call->frontend] : "?");
    case CALL_WHAT:
        return PyUnicode_FromString(call->what ? call->what : "");
    case CALL_OP:
        return PyUnicode_FromString(wg_op_name(c->op));
    case CALL_TIME_LEFT:
        return time_left(call);
    default:
        return PyBool_FromLong(call->replay);
    }
}

static PyObject *state_get(PyObject *self, void *closure)
{
    struct wg_py_call *c = (struct wg_py_call *)self;

    (void)closure;
    return Py_NewRef(c->state ? c->state : Py_None);
}

/* It may point back at the call: so it ends with the task, and can't be set after. */
static int state_set(PyObject *self, PyObject *v, void *closure)
{
    struct wg_py_call *c = (struct wg_py_call *)self;

    (void)closure;
    if (!c->call) {
        PyErr_SetString(PyExc_ReferenceError, "the call is over");
        return -1;
    }
    Py_XSETREF(c->state, Py_XNewRef(v));
    return 0;
}

static PyGetSetDef call_getset[] = {
    { "id", call_get, NULL, "int: unique in this process; as in the statedump.", (void *)CALL_ID },
    { "uid", call_get, NULL, "int: who asks.", (void *)CALL_UID },
    { "gid", call_get, NULL, "int", (void *)CALL_GID },
    { "groups", call_get, NULL, "tuple of int: the supplementary groups.", (void *)CALL_GROUPS },
    { "principal", call_get, NULL, "str: the S3 access key id or NFS machine name.", (void *)CALL_PRINCIPAL },
    { "client", call_get, NULL, "str: the client's address.", (void *)CALL_CLIENT },
    { "frontend", call_get, NULL, "str: nfs, s3, brick, admin or internal.", (void *)CALL_FRONTEND },
    { "what", call_get, NULL, "str: the protocol's operation, as PutObject.", (void *)CALL_WHAT },
    { "op", call_get, NULL, "str: the fop.", (void *)CALL_OP },
    { "time_left", call_get, NULL, "float: seconds to the deadline; None: it has none.", (void *)CALL_TIME_LEFT },
    { "replay", call_get, NULL, "bool: it may have been executed before.", (void *)CALL_REPLAY },
    { "state", state_get, state_set, "Whatever the translator keeps with the call.", NULL },
    { 0 },
};

PyTypeObject wg_py_call_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "windgate.Call",
    .tp_doc = "The client's request.",
    .tp_basicsize = sizeof(struct wg_py_call),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = call_dealloc,
    .tp_getset = call_getset,
};

/* --- Wind --- */

static struct wg_py_wind *spare_winds;
static int nspare_winds;

static PyObject *wind(PyObject *module, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    static const char *const known[] = { "call", "args", "then", "lease" };
    PyObject *v[4] = { NULL };
    Py_ssize_t nnames = names ? PyTuple_GET_SIZE(names) : 0;
    struct wg_py_wind *w;
    int lease = 0;

    (void)module;
    for (Py_ssize_t i = 0; i < n && i < 4; i++)
        v[i] = args[i];
    for (Py_ssize_t i = 0; i < nnames; i++) {
        int k = 0;

        while (k < 4 && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, i), known[k]))
            k++;
        if (k == 4)
            return PyErr_Format(PyExc_TypeError, "wind has no argument '%U'", PyTuple_GET_ITEM(names, i));
        v[k] = args[n + i];
    }
    if (n > 4 || !v[0] || !v[1] || !Py_IS_TYPE(v[0], &wg_py_call_type) || !wg_py_is_record(v[1]) ||
        ((struct wg_py_record *)v[1])->reply)
        return PyErr_Format(PyExc_TypeError, "wind takes the call, and arguments of a fop");
    if (v[2] && !Py_IsNone(v[2]) && !PyCallable_Check(v[2]))
        return PyErr_Format(PyExc_TypeError, "then must be a function of (call, args, reply)");
    if (v[3] && (lease = PyObject_IsTrue(v[3])) < 0)
        return NULL;
    w = spare_winds;
    if (w) {
        spare_winds = (struct wg_py_wind *)w->then;
        nspare_winds--;
        PyObject_Init((PyObject *)w, &wg_py_wind_type);
    } else {
        w = PyObject_New(struct wg_py_wind, &wg_py_wind_type);
    }
    if (!w)
        return NULL;
    w->call = (struct wg_py_call *)Py_NewRef(v[0]);
    w->args = (struct wg_py_record *)Py_NewRef(v[1]);
    w->then = v[2] && !Py_IsNone(v[2]) ? Py_NewRef(v[2]) : NULL;
    w->lease = lease;
    return (PyObject *)w;
}

static void wind_dealloc(PyObject *self)
{
    struct wg_py_wind *w = (struct wg_py_wind *)self;

    Py_DECREF(w->call);
    Py_DECREF(w->args);
    Py_XDECREF(w->then);
    if (nspare_winds < SPARE_MAX) {
        w->then = (PyObject *)spare_winds;
        spare_winds = w;
        nspare_winds++;
    } else {
        PyObject_Free(w);
    }
}

PyTypeObject wg_py_wind_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "windgate.Wind",
    .tp_basicsize = sizeof(struct wg_py_wind),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = wind_dealloc,
};

/* --- Unwind --- */

/* unwind(err), unwind(reply), unwind(0, reply) */
static PyObject *unwind(PyObject *module, PyObject *const *args, Py_ssize_t n)
{
    PyObject *reply = n == 2 ? args[1] : n == 1 && !PyLong_Check(args[0]) ? args[0] : NULL;
    struct wg_py_unwind *u;
    long err = 0;

    (void)module;
    if (n < 1 || n > 2 || (reply && (!wg_py_is_record(reply) || !((struct wg_py_record *)reply)->reply)))
        return PyErr_Format(PyExc_TypeError, "unwind takes an errno, or a reply, or both");
    if (n == 1 && reply)
        err = ((struct wg_py_record *)reply)->err;
    else
        err = PyLong_AsLong(args[0]);
    if (err == -1 && PyErr_Occurred())
        return NULL;
    if (err < 0 || err > 4095)
        return PyErr_Format(PyExc_ValueError, "%ld is no errno", err);
    u = PyObject_New(struct wg_py_unwind, &wg_py_unwind_type);
    if (u) {
        u->err = (int)err;
        u->reply = (struct wg_py_record *)Py_XNewRef(reply);
    }
    return (PyObject *)u;
}

static void unwind_dealloc(PyObject *self)
{
    Py_XDECREF(((struct wg_py_unwind *)self)->reply);
    PyObject_Free(self);
}

PyTypeObject wg_py_unwind_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "windgate.Unwind",
    .tp_basicsize = sizeof(struct wg_py_unwind),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = unwind_dealloc,
};

/* --- sleep and offload --- */

static PyObject *wait_new(double seconds, PyObject *fn, PyObject *args)
{
    struct wg_py_wait *w = PyObject_New(struct wg_py_wait, &wg_py_wait_type);

    if (w) {
        w->seconds = seconds;
        w->fn = Py_XNewRef(fn);
        w->args = Py_XNewRef(args);
    }
    return (PyObject *)w;
}

static PyObject *sleep_for(PyObject *module, PyObject *v)
{
    double s = PyFloat_AsDouble(v);

    (void)module;
    if (s == -1 && PyErr_Occurred())
        return NULL;
    if (!(s >= 0 && s < 1e9))
        return PyErr_Format(PyExc_ValueError, "sleep takes seconds, 0 or more");
    return wait_new(s, NULL, NULL);
}

static PyObject *offload(PyObject *module, PyObject *args)
{
    PyObject *rest, *w;

    (void)module;
    if (PyTuple_GET_SIZE(args) < 1 || !PyCallable_Check(PyTuple_GET_ITEM(args, 0)))
        return PyErr_Format(PyExc_TypeError, "offload takes a function and its arguments");
    rest = PyTuple_GetSlice(args, 1, PyTuple_GET_SIZE(args));
    if (!rest)
        return NULL;
    w = wait_new(0, PyTuple_GET_ITEM(args, 0), rest);
    Py_DECREF(rest);
    return w;
}

static void wait_dealloc(PyObject *self)
{
    struct wg_py_wait *w = (struct wg_py_wait *)self;

    Py_XDECREF(w->fn);
    Py_XDECREF(w->args);
    PyObject_Free(w);
}

PyTypeObject wg_py_wait_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "windgate.Wait",
    .tp_basicsize = sizeof(struct wg_py_wait),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = wait_dealloc,
};

/* --- PASS, Fail --- */

static PyObject *pass_repr(PyObject *self)
{
    (void)self;
    return PyUnicode_FromString("windgate.PASS");
}

PyTypeObject wg_py_pass_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "windgate.Pass",
    .tp_basicsize = sizeof(PyObject),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_repr = pass_repr,
};

static PyObject *fail;

void wg_py_set_fail(int err)
{
    PyObject *n = PyLong_FromLong(err);

    if (n)
        PyErr_SetObject(fail, n);
    Py_XDECREF(n);
}

int wg_py_take_fail(void)
{
    PyObject *type, *value, *trace, *args;
    long n = 0;

    if (!PyErr_ExceptionMatches(fail))
        return 0;
    PyErr_Fetch(&type, &value, &trace);
    PyErr_NormalizeException(&type, &value, &trace);
    args = PyObject_GetAttrString(value, "args");
    if (args && PyTuple_Check(args) && PyTuple_GET_SIZE(args))
        n = PyLong_AsLong(PyTuple_GET_ITEM(args, 0));
    PyErr_Clear();
    Py_XDECREF(args);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(trace);
    return n > 0 && n <= 4095 ? (int)n : EIO;
}

static PyMethodDef functions[] = {
    { "wind", (PyCFunction)(void (*)(void))wind, METH_FASTCALL | METH_KEYWORDS,
      "wind(call, args, then=None, lease=False): ask the layer below." },
    { "unwind", (PyCFunction)(void (*)(void))unwind, METH_FASTCALL, "unwind(err), unwind(reply): answer." },
    { "sleep", sleep_for, METH_O, "sleep(seconds): to yield on." },
    { "offload", offload, METH_VARARGS, "offload(fn, *args): fn may block; to yield on, gives its result." },
    { 0 },
};

int wg_py_actions_init(PyObject *module)
{
    PyObject *pass;

    if (PyType_Ready(&wg_py_wind_type) || PyType_Ready(&wg_py_unwind_type) || PyType_Ready(&wg_py_wait_type) ||
        PyType_Ready(&wg_py_pass_type) || PyModule_AddType(module, &wg_py_call_type) ||
        PyModule_AddFunctions(module, functions))
        return -1;
    fail = PyErr_NewExceptionWithDoc("windgate.Fail", "raise Fail(errno): ends the call with that error, and no "
                                     "traceback in the log.", NULL, NULL);
    if (!fail || PyModule_AddObjectRef(module, "Fail", fail))
        return -1;
    pass = PyObject_New(PyObject, &wg_py_pass_type);
    if (!pass || PyModule_AddObjectRef(module, "PASS", pass))
        return -1;
    Py_DECREF(pass);
    return 0;
}
