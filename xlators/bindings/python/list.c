/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Payload and packed lists. Python sees the memory of the iobufs themselves, by a reference of its
 * own, so that such an object may be kept past the call; only memory without an owner is copied.
 */
#include "binding.h"

#include "list.h"

struct data_object {
    PyObject_VAR_HEAD
    uint32_t len;
    PyObject *joined;      /* bytes: all segments, when somebody asked for them in one piece */
    struct wg_seg seg[];   /* each with a reference of its buf */
};

struct list_object {
    PyObject_HEAD
    struct wg_list l;      /* with a reference of its buf */
    enum wg_py_rows rows;
};

static PyTypeObject data_type, list_type;

/* A buffer with a copy of len bytes; NULL with an exception. */
static struct wg_iobuf *buffer_of(const void *p, size_t len)
{
    struct wg_iobuf *buf = NULL;

    if (len > WG_IO_MAX)
        PyErr_Format(PyExc_ValueError, "%zu bytes; a fop carries at most %u", len, WG_IO_MAX);
    else if (!(buf = wg_iobuf_get(len ? (uint32_t)len : 1)))
        PyErr_NoMemory();
    else if (len)
        memcpy(buf->base, p, len);
    return buf;
}

/* --- Data --- */

PyObject *wg_py_data_get(const struct wg_data *d)
{
    struct data_object *o = PyObject_NewVar(struct data_object, &data_type, d->nseg);

    if (!o)
        return NULL;
    o->len = d->len;
    o->joined = NULL;
    for (uint32_t i = 0; i < d->nseg; i++)
        o->seg[i] = (struct wg_seg){ 0 };
    for (uint32_t i = 0; i < d->nseg; i++) {
        struct wg_seg s = d->seg[i];

        if (s.buf) {
            wg_iobuf_ref(s.buf);
        } else {
            s.buf = buffer_of(s.base, s.len);
            if (!s.buf) {
                Py_DECREF(o);
                return NULL;
            }
            s.base = s.buf->base;
        }
        o->seg[i] = s;
    }
    return (PyObject *)o;
}

static void data_dealloc(PyObject *self)
{
    struct data_object *o = (struct data_object *)self;

    for (Py_ssize_t i = 0; i < Py_SIZE(o); i++)
        wg_iobuf_unref(o->seg[i].buf);
    Py_XDECREF(o->joined);
    PyObject_Free(o);
}

static PyObject *data_bytes(PyObject *self, PyObject *none)
{
    struct data_object *o = (struct data_object *)self;
    PyObject *b;
    char *at;

    (void)none;
    if (o->joined)
        return Py_NewRef(o->joined);
    b = PyBytes_FromStringAndSize(NULL, o->len);
    if (!b)
        return NULL;
    at = PyBytes_AS_STRING(b);
    for (Py_ssize_t i = 0; i < Py_SIZE(o); i++) {
        memcpy(at, o->seg[i].base, o->seg[i].len);
        at += o->seg[i].len;
    }
    return b;
}

static int data_buffer(PyObject *self, Py_buffer *view, int flags)
{
    struct data_object *o = (struct data_object *)self;

    if (Py_SIZE(o) == 1)
        return PyBuffer_FillInfo(view, self, o->seg[0].base, o->seg[0].len, 1, flags);
    if (!o->joined)
        o->joined = data_bytes(self, NULL);
    return o->joined ? PyBuffer_FillInfo(view, self, PyBytes_AS_STRING(o->joined), o->len, 1, flags) : -1;
}

static PyObject *data_segments(PyObject *self, PyObject *none)
{
    struct data_object *o = (struct data_object *)self;
    PyObject *list = PyList_New(Py_SIZE(o));

    (void)none;
    for (Py_ssize_t i = 0; list && i < Py_SIZE(o); i++) {
        struct wg_data one = { &o->seg[i], 1, o->seg[i].len };
        PyObject *data = wg_py_data_get(&one), *view = data ? PyMemoryView_FromObject(data) : NULL;

        Py_XDECREF(data);
        if (!view)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, i, view);
    }
    return list;
}

static Py_ssize_t data_length(PyObject *self)
{
    return ((struct data_object *)self)->len;
}

static PyObject *data_repr(PyObject *self)
{
    return PyUnicode_FromFormat("<Data of %zd bytes>", data_length(self));
}

static PyMethodDef data_methods[] = {
    { "__bytes__", data_bytes, METH_NOARGS, NULL },
    { "segments", data_segments, METH_NOARGS, "Its pieces, memoryviews that copy nothing." },
    { 0 },
};

static PyBufferProcs data_buffers = { .bf_getbuffer = data_buffer };
static PySequenceMethods data_sequence = { .sq_length = data_length };

static PyTypeObject data_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "windgate.Data",
    .tp_doc = "Payload: bytes(data), memoryview(data), data.segments().",
    .tp_basicsize = sizeof(struct data_object),
    .tp_itemsize = sizeof(struct wg_seg),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = data_dealloc,
    .tp_repr = data_repr,
    .tp_methods = data_methods,
    .tp_as_buffer = &data_buffers,
    .tp_as_sequence = &data_sequence,
};

static int no_memory(void)
{
    PyErr_NoMemory();
    return -1;
}

/* d's segments become a's: a copy of the array, a reference of each buffer. */
int wg_py_data_own(struct wg_data *d, struct wg_arena *a)
{
    struct wg_seg *seg = wg_alloc(a, (d->nseg + 1) * sizeof *seg);

    if (!seg)
        return no_memory();
    for (uint32_t i = 0; i < d->nseg; i++) {
        seg[i] = d->seg[i];
        if (seg[i].buf && wg_keep_iobuf(a, wg_iobuf_ref(seg[i].buf)))
            return no_memory();
    }
    d->seg = seg;
    return 0;
}

int wg_py_data_set(struct wg_data *d, PyObject *v, struct wg_arena *a)
{
    Py_buffer view;
    struct wg_iobuf *buf;
    struct wg_seg seg;
    int bad;

    if (Py_IS_TYPE(v, &data_type)) {
        struct data_object *o = (struct data_object *)v;

        *d = (struct wg_data){ o->seg, (uint32_t)Py_SIZE(o), o->len };
        return wg_py_data_own(d, a);
    }
    if (PyObject_GetBuffer(v, &view, PyBUF_SIMPLE))
        return -1;
    buf = buffer_of(view.buf, (size_t)view.len);
    seg = (struct wg_seg){ buf, buf ? buf->base : NULL, (uint32_t)view.len };
    PyBuffer_Release(&view);
    if (!buf)
        return -1;
    *d = (struct wg_data){ &seg, seg.len > 0, seg.len };
    bad = wg_py_data_own(d, a);
    wg_iobuf_unref(buf);
    return bad;
}

/* --- rows: named tuples, made from these tables --- */

#define ROW(kind, type, name) { #name, K_##kind, offsetof(type, name), 0 }

static const struct wg_py_field dirent_fields[] = {
    ROW(u64, struct wg_dirent, cookie), ROW(str, struct wg_dirent, name), ROW(ref, struct wg_dirent, ref),
    ROW(iatt, struct wg_dirent, attr), { 0 },
};
static const struct wg_py_field objent_fields[] = {
    ROW(bool, struct wg_objent, prefix), ROW(str, struct wg_objent, key), ROW(ref, struct wg_objent, ref),
    ROW(u64, struct wg_objent, size), ROW(time, struct wg_objent, mtime), ROW(etag, struct wg_objent, etag),
    ROW(u32, struct wg_objent, uid), ROW(str, struct wg_objent, meta), { 0 },
};
static const struct wg_py_field xattr_fields[] = {
    ROW(str, struct wg_xattr, name), ROW(str, struct wg_xattr, value), { 0 },
};

union row {
    struct wg_dirent dirent;
    struct wg_objent objent;
    struct wg_xattr xattr;
};

static struct {
    const char *name;
    const struct wg_py_field *fields;
    PyTypeObject *type;
} shapes[] = {
    [ROWS_DIRENT] = { "windgate.Dirent", dirent_fields, NULL },
    [ROWS_OBJENT] = { "windgate.Objent", objent_fields, NULL },
    [ROWS_XATTR] = { "windgate.Xattr", xattr_fields, NULL },
};

static bool next_row(struct wg_cursor *c, enum wg_py_rows rows, union row *row)
{
    switch (rows) {
    case ROWS_DIRENT:
        return wg_next_dirent(c, &row->dirent);
    case ROWS_OBJENT:
        return wg_next_objent(c, &row->objent);
    case ROWS_XATTR:
        return wg_next_xattr(c, &row->xattr);
    case ROWS_NONE:
        break;
    }
    return false;
}

static bool append_row(struct wg_appender *a, enum wg_py_rows rows, const union row *row)
{
    return rows == ROWS_DIRENT ? wg_append_dirent(a, &row->dirent)
                                 : wg_append_xattr(a, &row->xattr);
}

static PyObject *row_get(enum wg_py_rows rows, const union row *row)
{
    PyObject *o = PyStructSequence_New(shapes[rows].type);

    for (int i = 0; o && shapes[rows].fields[i].name; i++) {
        PyObject *v = wg_py_get(&shapes[rows].fields[i], row);

        if (!v)
            Py_CLEAR(o);
        else
            PyStructSequence_SetItem(o, i, v);
    }
    return o;
}

/* Fields in their order: a row of ours, or any tuple of as many. */
static int row_set(enum wg_py_rows rows, union row *row, PyObject *v, struct wg_arena *a)
{
    const struct wg_py_field *f = shapes[rows].fields;
    Py_ssize_t n = 0;

    memset(row, 0, sizeof *row);
    while (f[n].name)
        n++;
    if (!PyTuple_Check(v) || PyTuple_GET_SIZE(v) != n) {
        PyErr_Format(PyExc_TypeError, "a row must be a %s, or a tuple of its %zd fields", shapes[rows].name, n);
        return -1;
    }
    for (Py_ssize_t i = 0; i < n; i++)
        if (wg_py_set(&f[i], row, PyTuple_GET_ITEM(v, i), a))
            return -1;
    return 0;
}

/* --- List --- */

PyObject *wg_py_list_get(const struct wg_list *l, enum wg_py_rows rows)
{
    struct list_object *o;
    struct wg_iobuf *buf = l->buf ? wg_iobuf_ref(l->buf) : buffer_of(l->base, l->len);

    if (!buf)
        return NULL;
    o = PyObject_New(struct list_object, &list_type);
    if (!o) {
        wg_iobuf_unref(buf);
        return NULL;
    }
    o->l = *l;
    if (!l->buf)
        o->l.base = buf->base;
    o->l.buf = buf;
    o->rows = rows;
    return (PyObject *)o;
}

static void list_dealloc(PyObject *self)
{
    wg_iobuf_unref(((struct list_object *)self)->l.buf);
    PyObject_Free(self);
}

static PyObject *list_iter(PyObject *self)
{
    struct list_object *o = (struct list_object *)self;
    struct wg_cursor c = wg_cursor(&o->l);
    PyObject *list = PyList_New(0), *it = NULL;
    union row row;
    int bad = list ? 0 : -1;

    while (!bad && next_row(&c, o->rows, &row)) {
        PyObject *v = row_get(o->rows, &row);

        bad = v ? PyList_Append(list, v) : -1;
        Py_XDECREF(v);
    }
    if (!bad)
        it = PyObject_GetIter(list);
    Py_XDECREF(list);
    return it;
}

static Py_ssize_t list_length(PyObject *self)
{
    return ((struct list_object *)self)->l.count;
}

static PySequenceMethods list_sequence = { .sq_length = list_length };

static PyTypeObject list_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "windgate.List",
    .tp_doc = "A packed list of rows; iterate over it.",
    .tp_basicsize = sizeof(struct list_object),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = list_dealloc,
    .tp_iter = list_iter,
    .tp_as_sequence = &list_sequence,
};

int wg_py_list_own(struct wg_list *l, struct wg_arena *a)
{
    return l->buf && wg_keep_iobuf(a, wg_iobuf_ref(l->buf)) ? no_memory() : 0;
}

static int append_all(struct wg_appender *out, enum wg_py_rows rows, PyObject *it)
{
    PyObject *item;
    struct wg_arena memory; /* of one row's strings, until they are packed */
    union row row;
    int bad = 0;

    while (!bad && (item = PyIter_Next(it))) {
        wg_arena_init(&memory, NULL, 0);
        bad = row_set(rows, &row, item, &memory);
        if (!bad && !append_row(out, rows, &row)) {
            PyErr_SetString(PyExc_ValueError, "the rows do not fit into 1 MiB");
            bad = -1;
        }
        wg_arena_fini(&memory);
        Py_DECREF(item);
    }
    return bad || PyErr_Occurred() ? -1 : 0;
}

int wg_py_list_set(struct wg_list *l, enum wg_py_rows rows, PyObject *v, struct wg_arena *a)
{
    struct wg_appender out;
    PyObject *it;

    if (Py_IS_TYPE(v, &list_type)) {
        *l = ((struct list_object *)v)->l;
        return wg_py_list_own(l, a);
    }
    if (rows == ROWS_NONE) {
        PyErr_SetString(PyExc_TypeError, "rows of this list can't be made in Python");
        return -1;
    }
    it = PyObject_GetIter(v);
    if (!it)
        return -1;
    if (wg_append_start(&out, WG_IO_MAX)) {
        Py_DECREF(it);
        return no_memory();
    }
    if (append_all(&out, rows, it)) {
        Py_DECREF(it);
        wg_append_abort(&out);
        return -1;
    }
    Py_DECREF(it);
    *l = wg_append_end(&out);
    return wg_keep_iobuf(a, l->buf) ? no_memory() : 0;
}

int wg_py_lists_init(PyObject *module)
{
    if (PyModule_AddType(module, &data_type) || PyModule_AddType(module, &list_type))
        return -1;
    for (int r = ROWS_DIRENT; r <= ROWS_XATTR; r++) {
        static PyStructSequence_Field fields[4][10];
        PyStructSequence_Desc desc = { shapes[r].name, "A row of a list.", fields[r], 0 };

        for (; shapes[r].fields[desc.n_in_sequence].name; desc.n_in_sequence++)
            fields[r][desc.n_in_sequence].name = shapes[r].fields[desc.n_in_sequence].name;
        shapes[r].type = PyStructSequence_NewType(&desc);
        if (!shapes[r].type ||
            PyModule_AddObjectRef(module, strchr(shapes[r].name, '.') + 1, (PyObject *)shapes[r].type))
            return -1;
    }
    return 0;
}
