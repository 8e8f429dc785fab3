/* SPDX-License-Identifier: Apache-2.0 */
/* The values with many fields (attributes, ETags, ...): one implementation, told by tables. */
#include "value.h"

/* iatt, sattr, wcc, etag, statfs */
struct struct_object {
    PyObject_HEAD
    union {
        struct wg_iatt iatt;
        struct wg_sattr sattr;
        struct wg_wcc wcc;
        struct wg_etag etag;
        struct wg_statfs statfs;
    } v;
};

/* --- structs with many fields --- */

#define F(kind, name) { #name, K_##kind, offsetof(T, name), 0 }

#define T struct wg_iatt
static const struct wg_py_field iatt_fields[] = {
    F(u8, type), F(gfid, gfid), F(u32, mode), F(u32, nlink), F(u32, uid), F(u32, gid), F(u32, rdev_major),
    F(u32, rdev_minor), F(u64, size), F(u64, used), F(time, atime), F(time, mtime), F(time, ctime), { 0 },
};
#undef T
#define T struct wg_sattr
static const struct wg_py_field sattr_fields[] = {
    { "mode", K_u32, offsetof(T, mode), WG_SET_MODE }, { "uid", K_u32, offsetof(T, uid), WG_SET_UID },
    { "gid", K_u32, offsetof(T, gid), WG_SET_GID }, { "size", K_u64, offsetof(T, size), WG_SET_SIZE },
    { "atime", K_time, offsetof(T, atime), WG_SET_ATIME }, { "mtime", K_time, offsetof(T, mtime), WG_SET_MTIME },
    { "guard", K_time, offsetof(T, guard), WG_SET_GUARD }, { "atime_now", K_flag, 0, WG_SET_ATIME_NOW },
    { "mtime_now", K_flag, 0, WG_SET_MTIME_NOW }, { 0 },
};
#undef T
#define T struct wg_wcc
static const struct wg_py_field wcc_fields[] = {
    F(bool, pre_valid), F(u64, pre_size), F(time, pre_mtime), F(time, pre_ctime), F(iatt, post), { 0 },
};
#undef T
#define T struct wg_etag
static const struct wg_py_field etag_fields[] = { F(md5, md5), F(u32, parts), F(bool, synthetic), { 0 } };
#undef T
#define T struct wg_statfs
static const struct wg_py_field statfs_fields[] = {
    F(u64, total_bytes), F(u64, free_bytes), F(u64, avail_bytes), F(u64, total_files), F(u64, free_files),
    F(u64, avail_files), F(u32, block), F(u32, name_max), F(bool, readonly), { 0 },
};
#undef T

static struct shape {
    enum wg_py_kind kind;
    const char *name;
    const struct wg_py_field *fields;
    size_t size;
    size_t valid; /* offset of the bool that says there is a value; SIZE_MAX: none */
    PyTypeObject *type;
    PyGetSetDef getset[16];
} shapes[] = {
    { K_iatt, "windgate.Iatt", iatt_fields, sizeof(struct wg_iatt), offsetof(struct wg_iatt, valid) },
    { K_sattr, "windgate.Sattr", sattr_fields, sizeof(struct wg_sattr), SIZE_MAX },
    { K_wcc, "windgate.Wcc", wcc_fields, sizeof(struct wg_wcc), SIZE_MAX },
    { K_etag, "windgate.Etag", etag_fields, sizeof(struct wg_etag), offsetof(struct wg_etag, valid) },
    { K_statfs, "windgate.Statfs", statfs_fields, sizeof(struct wg_statfs), SIZE_MAX },
};
#define NSHAPES (sizeof shapes / sizeof *shapes)

static struct shape *shape_of_kind(enum wg_py_kind kind)
{
    for (size_t i = 0; i < NSHAPES; i++)
        if (shapes[i].kind == kind)
            return &shapes[i];
    return NULL;
}

static struct shape *shape_of(PyObject *o)
{
    for (size_t i = 0; i < NSHAPES; i++)
        if (Py_IS_TYPE(o, shapes[i].type))
            return &shapes[i];
    return NULL;
}

static PyObject *struct_make(const struct shape *s, const void *v)
{
    struct struct_object *o = PyObject_New(struct struct_object, s->type);

    if (o)
        memcpy(&o->v, v, s->size);
    return (PyObject *)o;
}

/* None: no attributes, no ETag, given. */
PyObject *wg_py_get_struct(enum wg_py_kind kind, const void *p)
{
    const struct shape *s = shape_of_kind(kind);

    if (s->valid != SIZE_MAX && !*(const bool *)((const char *)p + s->valid))
        Py_RETURN_NONE;
    return struct_make(s, p);
}

int wg_py_set_struct(enum wg_py_kind kind, void *p, PyObject *v)
{
    const struct shape *s = shape_of_kind(kind);

    if (Py_IsNone(v))
        memset(p, 0, s->size);
    else if (Py_IS_TYPE(v, s->type))
        memcpy(p, &((struct struct_object *)v)->v, s->size);
    else
        return wg_py_wrong(strchr(s->name, '.') + 1, v);
    return 0;
}

static PyObject *struct_get(PyObject *self, void *field)
{
    return wg_py_get(field, &((struct struct_object *)self)->v);
}

static int struct_fill(const struct shape *s, void *v, PyObject *kw)
{
    Py_ssize_t pos = 0;
    PyObject *key, *value;

    while (kw && PyDict_Next(kw, &pos, &key, &value)) {
        const struct wg_py_field *f = s->fields;

        while (f->name && PyUnicode_CompareWithASCIIString(key, f->name))
            f++;
        if (!f->name) {
            PyErr_Format(PyExc_TypeError, "%s has no field '%U'", strchr(s->name, '.') + 1, key);
            return -1;
        }
        if (wg_py_set(f, v, value, NULL))
            return -1;
    }
    return 0;
}

static PyObject *struct_new(PyTypeObject *type, PyObject *args, PyObject *kw)
{
    struct struct_object o = { 0 };

    for (size_t i = 0; i < NSHAPES; i++) {
        const struct shape *s = &shapes[i];

        if (s->type != type)
            continue;
        if (PyTuple_GET_SIZE(args)) {
            PyErr_SetString(PyExc_TypeError, "fields are given by name");
            return NULL;
        }
        if (s->valid != SIZE_MAX)
            *(bool *)((char *)&o.v + s->valid) = true;
        return struct_fill(s, &o.v, kw) ? NULL : struct_make(s, &o.v);
    }
    return NULL;
}

static PyObject *struct_replace(PyObject *self, PyObject *args, PyObject *kw)
{
    const struct shape *s = shape_of(self);
    struct struct_object copy = { .v = { .wcc = { 0 } } };

    if (PyTuple_GET_SIZE(args)) {
        PyErr_SetString(PyExc_TypeError, "fields are given by name");
        return NULL;
    }
    memcpy(&copy.v, &((struct struct_object *)self)->v, s->size);
    return struct_fill(s, &copy.v, kw) ? NULL : struct_make(s, &copy.v);
}

static PyObject *struct_compare(PyObject *a, PyObject *b, int op)
{
    const struct shape *s = shape_of(a);
    int equal = 1;

    if (!s || s != shape_of(b))
        Py_RETURN_NOTIMPLEMENTED;
    for (const struct wg_py_field *f = s->fields; f->name && equal > 0; f++) {
        PyObject *x = struct_get(a, (void *)(uintptr_t)f), *y = struct_get(b, (void *)(uintptr_t)f);

        equal = x && y ? PyObject_RichCompareBool(x, y, Py_EQ) : -1;
        Py_XDECREF(x);
        Py_XDECREF(y);
    }
    return equal < 0 ? NULL : wg_py_same(equal, op);
}

static PyObject *struct_repr(PyObject *self)
{
    const struct shape *s = shape_of(self);
    PyObject *text = PyUnicode_FromFormat("%s(", strchr(s->name, '.') + 1), *part;

    for (const struct wg_py_field *f = s->fields; f->name && text; f++) {
        PyObject *v = struct_get(self, (void *)(uintptr_t)f);

        if (v && Py_IsNone(v)) {
            Py_DECREF(v);
            continue;
        }
        part = v ? PyUnicode_FromFormat("%s=%R, ", f->name, v) : NULL;
        Py_XDECREF(v);
        PyUnicode_AppendAndDel(&text, part);
    }
    if (text)
        PyUnicode_AppendAndDel(&text, PyUnicode_FromString(")"));
    return text;
}

static PyObject *struct_str(PyObject *self)
{
    char text[WG_ETAG_TEXT];

    if (Py_IS_TYPE(self, shape_of_kind(K_etag)->type))
        return PyUnicode_FromString(wg_etag_show(&((struct struct_object *)self)->v.etag, text));
    return struct_repr(self);
}

static PyMethodDef struct_methods[] = {
    { "replace", (PyCFunction)(void (*)(void))struct_replace, METH_VARARGS | METH_KEYWORDS,
      "A copy with these fields changed." },
    { 0 },
};

static int struct_init(PyObject *module, struct shape *s)
{
    PyType_Slot slots[] = {
        { Py_tp_new, struct_new }, { Py_tp_richcompare, struct_compare }, { Py_tp_repr, struct_repr },
        { Py_tp_str, struct_str }, { Py_tp_methods, struct_methods }, { Py_tp_getset, s->getset }, { 0, NULL },
    };
    PyType_Spec spec = { s->name, (int)(offsetof(struct struct_object, v) + s->size), 0,
                         Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE, slots };

    for (int i = 0; s->fields[i].name; i++)
        s->getset[i] = (PyGetSetDef){ s->fields[i].name, struct_get, NULL, NULL, (void *)(uintptr_t)&s->fields[i] };
    s->type = (PyTypeObject *)PyType_FromSpec(&spec);
    return s->type ? PyModule_AddObjectRef(module, strchr(s->name, '.') + 1, (PyObject *)s->type) : -1;
}

int wg_py_structs_init(PyObject *module)
{
    for (size_t i = 0; i < NSHAPES; i++)
        if (struct_init(module, &shapes[i]))
            return -1;
    return 0;
}
