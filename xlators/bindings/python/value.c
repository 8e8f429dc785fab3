/* SPDX-License-Identifier: Apache-2.0 */
/* Fields of records, by their type: from C to Python and back. */
#include "value.h"

#define NS 1000000000ll

int wg_py_wrong(const char *what, PyObject *v)
{
    PyErr_Format(PyExc_TypeError, "%s is expected, not %s", what, Py_TYPE(v)->tp_name);
    return -1;
}

/* --- bytes and numbers --- */

/* A bytes object of bytes or str (UTF-8, undecodable bytes by surrogateescape); NULL with an exception. */
PyObject *wg_py_as_bytes(PyObject *v)
{
    if (PyBytes_Check(v))
        return Py_NewRef(v);
    if (PyUnicode_Check(v))
        return PyUnicode_AsEncodedString(v, "utf-8", "surrogateescape");
    wg_py_wrong("bytes or str", v);
    return NULL;
}

int wg_py_set_str(struct wg_str *to, PyObject *v, struct wg_arena *a)
{
    PyObject *b = wg_py_as_bytes(v);
    char *copy;

    if (!b)
        return -1;
    if (PyBytes_GET_SIZE(b) > WG_IO_MAX) {
        Py_DECREF(b);
        PyErr_SetString(PyExc_ValueError, "longer than 1 MiB");
        return -1;
    }
    copy = wg_memdup(a, BYTES(b), (size_t)PyBytes_GET_SIZE(b));
    if (copy)
        *to = (struct wg_str){ copy, (uint32_t)PyBytes_GET_SIZE(b) };
    else
        PyErr_NoMemory();
    Py_DECREF(b);
    return copy ? 0 : -1;
}

static int set_number(uint64_t max, PyObject *v, uint64_t *ret)
{
    *ret = PyLong_Check(v) ? PyLong_AsUnsignedLongLong(v) : UINT64_MAX;
    if (!PyLong_Check(v))
        return wg_py_wrong("a whole number", v);
    if (PyErr_Occurred())
        return -1;
    if (*ret > max) {
        PyErr_Format(PyExc_OverflowError, "%llu is more than %llu", (unsigned long long)*ret,
                     (unsigned long long)max);
        return -1;
    }
    return 0;
}

/* Nanoseconds since 1970, as os.stat's st_mtime_ns. */
static PyObject *get_time(const struct wg_time *t)
{
    PyObject *sec, *factor, *nsec, *product, *sum = NULL;

    if (t->sec > -(INT64_MAX / NS) && t->sec < INT64_MAX / NS)
        return PyLong_FromLongLong(t->sec * NS + t->nsec);
    sec = PyLong_FromLongLong(t->sec);
    factor = PyLong_FromLongLong(NS);
    nsec = PyLong_FromLong((long)t->nsec);
    product = sec && factor ? PyNumber_Multiply(sec, factor) : NULL;
    if (product && nsec)
        sum = PyNumber_Add(product, nsec);
    Py_XDECREF(sec);
    Py_XDECREF(factor);
    Py_XDECREF(nsec);
    Py_XDECREF(product);
    return sum;
}

static int set_time(struct wg_time *t, PyObject *v)
{
    long long ns, sec;

    if (!PyLong_Check(v))
        return wg_py_wrong("nanoseconds since 1970 as a whole number", v);
    ns = PyLong_AsLongLong(v);
    if (ns == -1 && PyErr_Occurred())
        return -1;
    sec = ns / NS;
    if (ns % NS < 0)
        sec--;
    *t = (struct wg_time){ sec, (uint32_t)(ns - sec * NS) };
    return 0;
}

/* --- fields --- */

PyObject *wg_py_get(const struct wg_py_field *f, const void *base)
{
    const void *p = (const char *)base + f->at;

    if (f->mask && f->kind != K_list && f->kind != K_flag && !(*(const uint32_t *)base & f->mask))
        Py_RETURN_NONE;
    switch (f->kind) {
    case K_bool:
        return PyBool_FromLong(*(const bool *)p);
    case K_u8:
        return PyLong_FromUnsignedLong(*(const uint8_t *)p);
    case K_u32:
        return PyLong_FromUnsignedLong(*(const uint32_t *)p);
    case K_u64:
        return PyLong_FromUnsignedLongLong(*(const uint64_t *)p);
    case K_gfid:
        return wg_py_gfid(p);
    case K_ref:
        return wg_py_get_ref(p);
    case K_loc:
        return wg_py_get_loc(p);
    case K_str:
        return PyBytes_FromStringAndSize(((const struct wg_str *)p)->s, ((const struct wg_str *)p)->len);
    case K_time:
        return get_time(p);
    case K_md5:
        return PyBytes_FromStringAndSize(p, 16);
    case K_flag:
        return PyBool_FromLong(*(const uint32_t *)base & f->mask);
    case K_data:
        return wg_py_data_get(p);
    case K_list:
        return wg_py_list_get(p, (enum wg_py_rows)f->mask);
    case K_iatt:
    case K_sattr:
    case K_wcc:
    case K_etag:
    case K_statfs:
        return wg_py_get_struct(f->kind, p);
    }
    PyErr_SetString(PyExc_SystemError, "a field of no known type");
    return NULL;
}

static int set_flag(uint32_t *bits, uint32_t mask, PyObject *v)
{
    int on = PyObject_IsTrue(v);

    if (on < 0)
        return -1;
    *bits = on ? *bits | mask : *bits & ~mask;
    return 0;
}

static int set_value(const struct wg_py_field *f, void *p, PyObject *v, struct wg_arena *a)
{
    uint64_t n;
    int on;

    switch (f->kind) {
    case K_bool:
        on = PyObject_IsTrue(v);
        *(bool *)p = on > 0;
        return on < 0 ? -1 : 0;
    case K_u8:
        if (set_number(f->at == offsetof(struct wg_iatt, type) ? WG_FIFO : UINT8_MAX, v, &n))
            return -1;
        *(uint8_t *)p = (uint8_t)n;
        return 0;
    case K_u32:
        if (set_number(UINT32_MAX, v, &n))
            return -1;
        *(uint32_t *)p = (uint32_t)n;
        return 0;
    case K_u64:
        if (set_number(UINT64_MAX, v, &n))
            return -1;
        *(uint64_t *)p = n;
        return 0;
    case K_gfid:
        return wg_py_set_gfid(p, v);
    case K_ref:
        return wg_py_set_ref(p, v);
    case K_loc:
        return wg_py_set_loc(p, v, a);
    case K_str:
        return wg_py_set_str(p, v, a);
    case K_time:
        return set_time(p, v);
    case K_md5:
        if (!PyBytes_Check(v) || PyBytes_GET_SIZE(v) != 16)
            return wg_py_wrong("16 bytes", v);
        memcpy(p, BYTES(v), 16);
        return 0;
    case K_data:
        return wg_py_data_set(p, v, a);
    case K_list:
        return wg_py_list_set(p, (enum wg_py_rows)f->mask, v, a);
    default:
        return wg_py_set_struct(f->kind, p, v);
    }
}

int wg_py_set(const struct wg_py_field *f, void *base, PyObject *v, struct wg_arena *a)
{
    uint32_t *bits = base;

    if (f->kind == K_flag)
        return set_flag(bits, f->mask, v);
    if (f->mask && f->kind != K_list) {
        if (Py_IsNone(v)) {
            *bits &= ~f->mask;
            return 0;
        }
        *bits |= f->mask;
    }
    return set_value(f, (char *)base + f->at, v, a);
}

int wg_py_own(const struct wg_py_field *f, void *base, struct wg_arena *a)
{
    void *p = (char *)base + f->at;
    struct wg_str *s = f->kind == K_str ? p : f->kind == K_loc ? &((struct wg_loc *)p)->name : NULL;

    if (f->kind == K_data)
        return wg_py_data_own(p, a);
    if (f->kind == K_list)
        return wg_py_list_own(p, a);
    if (s && wg_strdup(a, *s, s)) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

int wg_py_values_init(PyObject *module)
{
    return wg_py_keys_init(module) || wg_py_structs_init(module) ? -1 : 0;
}
