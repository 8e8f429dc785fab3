/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A Lease says whether an answer still holds: until the store's promise runs out, or something that
 * the answer depends on has changed. Asking it takes no lock and no Python, and a change that raced
 * with the answer is noticed as well (gateway/lease.h).
 */
#include "binding.h"

#define USES_MAX 12 /* slots; an answer with more grounds is not remembered */

struct lease_object {
    PyObject_VAR_HEAD
    struct wg_py_memory *memory;
    const struct wg_lease *lease;
    uint64_t seen;
    wg_inval_slot slots[];
};

static PyTypeObject memory_type, lease_type;

struct wg_py_memory *wg_py_memory_new(void)
{
    struct wg_py_memory *m = PyObject_New(struct wg_py_memory, &memory_type);

    if (!m)
        return NULL;
    m->users = 1;
    m->inval = calloc(1, sizeof *m->inval);
    if (!m->inval) {
        Py_DECREF(m);
        PyErr_NoMemory();
        return NULL;
    }
    return m;
}

void wg_py_memory_leave(struct wg_py_memory *m)
{
    if (!m)
        return;
    m->users--;
    Py_DECREF(m);
}

static void memory_dealloc(PyObject *self)
{
    free(((struct wg_py_memory *)self)->inval);
    PyObject_Free(self);
}

PyObject *wg_py_lease_of(struct wg_py_memory *m, const struct wg_frame *f, uint64_t seen)
{
    wg_inval_slot slots[USES_MAX];
    struct lease_object *o;
    int n;

    if (!m || !wg_lease_holds(f->lease, wg_now_ns()))
        Py_RETURN_NONE;
    n = wg_inval_uses(f, slots, USES_MAX);
    if (n < 0)
        Py_RETURN_NONE;
    o = PyObject_NewVar(struct lease_object, &lease_type, n);
    if (!o)
        return NULL;
    o->memory = (struct wg_py_memory *)Py_NewRef((PyObject *)m);
    o->lease = f->lease;
    o->seen = seen;
    memcpy(o->slots, slots, (size_t)n * sizeof *slots);
    return (PyObject *)o;
}

static bool holds(const struct lease_object *o)
{
    return o->memory->users > 0 && wg_lease_holds(o->lease, wg_now_ns()) &&
           wg_inval_unchanged(o->memory->inval, o->seen, o->slots, (int)Py_SIZE(o));
}

static void lease_dealloc(PyObject *self)
{
    Py_DECREF(((struct lease_object *)self)->memory);
    PyObject_Free(self);
}

static PyObject *lease_holds(PyObject *self, PyObject *none)
{
    (void)none;
    return PyBool_FromLong(holds((struct lease_object *)self));
}

static int lease_bool(PyObject *self)
{
    return holds((struct lease_object *)self);
}

static PyMethodDef lease_methods[] = {
    { "holds", lease_holds, METH_NOARGS, "Whether the answer may still be believed." },
    { 0 },
};

static PyNumberMethods lease_number = { .nb_bool = lease_bool };

static PyTypeObject lease_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "windgate.Lease",
    .tp_doc = "True as long as the answer that it came with may be believed.",
    .tp_basicsize = sizeof(struct lease_object),
    .tp_itemsize = sizeof(wg_inval_slot),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = lease_dealloc,
    .tp_methods = lease_methods,
    .tp_as_number = &lease_number,
};

static PyTypeObject memory_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "windgate._Memory",
    .tp_basicsize = sizeof(struct wg_py_memory),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = memory_dealloc,
};

int wg_py_leases_init(PyObject *module)
{
    return PyType_Ready(&memory_type) || PyModule_AddType(module, &lease_type) ? -1 : 0;
}
