/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arguments and results: a Python class for each, made from the rows of fops.def. An object is a
 * view of the C struct; nothing is converted before somebody looks.
 */
#include "binding.h"

#include <ctype.h>

#define SPARE_MAX 256

struct shape {
    const struct wg_py_field *fields;
    PyGetSetDef *getset;
    PyTypeObject *type;
    char name[64];
};

static struct shape shapes[WG_OP_MAX][2]; /* arguments, results */
static struct wg_py_record *spare;        /* free ones, linked by next; all types have one size */
static int nspare;

/* --- the table --- */


#define IN(type, field) { #field, K_##type, offsetof(struct_of_row, field), 0 },
#define OUT(type, field) { #field, K_##type, offsetof(struct_of_row, field), 0 },
#define FOP(no, name, kind, in, out)                                  \
    static struct wg_py_field *name##_in_fields(void)                 \
    {                                                                 \
        typedef struct wg_##name##_in struct_of_row;                  \
        static struct wg_py_field fields[] = { in { 0 } };            \
        return fields;                                                \
    }                                                                 \
    static struct wg_py_field *name##_out_fields(void)                \
    {                                                                 \
        typedef struct wg_##name##_out struct_of_row;                 \
        static struct wg_py_field fields[] = { out { 0 } };           \
        return fields;                                                \
    }
#include "fops.def"
#undef FOP
#undef IN
#undef OUT

static struct wg_py_field *(*const tables[WG_OP_MAX][2])(void) = {
#define FOP(no, name, kind, in, out) [no] = { name##_in_fields, name##_out_fields },
#include "fops.def"
#undef FOP
};

/* What the rows of a fop's list are; the table only says "list". */
static enum wg_py_rows rows_of(unsigned op)
{
    switch (op) {
    case WG_OP_readdir:
        return ROWS_DIRENT;
    case WG_OP_list:
        return ROWS_OBJENT;
    case WG_OP_getxattr:
        return ROWS_XATTR;
    }
    return ROWS_NONE;
}

static const struct shape *shape_of(const struct wg_py_record *r)
{
    return &shapes[r->op][r->reply];
}

static size_t size_of(const struct wg_py_record *r)
{
    return r->reply ? wg_fops[r->op].out_size : wg_fops[r->op].in_size;
}

/* --- life --- */

static struct wg_py_record *record_alloc(unsigned op, bool reply)
{
    PyTypeObject *type = shapes[op][reply].type;
    struct wg_py_record *r = spare;

    if (r) {
        spare = r->next;
        nspare--;
    } else {
        r = PyObject_Malloc(sizeof *r);
        if (!r) {
            PyErr_NoMemory();
            return NULL;
        }
    }
    memset(r, 0, sizeof *r);
    r->op = (uint16_t)op;
    r->reply = reply;
    PyObject_Init((PyObject *)r, type);
    return r;
}

struct wg_py_record *wg_py_record_new(unsigned op, bool reply, const void *rec, struct wg_arena *a,
                                      struct wg_py_record **list)
{
    struct wg_py_record *r = record_alloc(op, reply);

    if (!r)
        return NULL;
    r->rec = (void *)(uintptr_t)rec;
    r->arena = a;
    r->link = list;
    r->next = *list;
    if (r->next)
        r->next->link = &r->next;
    *list = r;
    return r;
}

static void unlink_record(struct wg_py_record *r)
{
    if (!r->link)
        return;
    *r->link = r->next;
    if (r->next)
        r->next->link = r->link;
    r->link = NULL;
    r->next = NULL;
}

void wg_py_records_end(struct wg_py_record **list)
{
    while (*list) {
        struct wg_py_record *r = *list;

        unlink_record(r);
        r->rec = NULL;
        r->arena = NULL;
        r->over = true;
    }
}

static void record_dealloc(PyObject *self)
{
    struct wg_py_record *r = (struct wg_py_record *)self;
    PyTypeObject *type = Py_TYPE(self);

    unlink_record(r);
    Py_XDECREF(r->lease);
    if (r->own) {
        wg_arena_fini(r->arena);
        free(r->arena);
    }
    if (nspare < SPARE_MAX) {
        r->next = spare;
        spare = r;
        nspare++;
    } else {
        PyObject_Free(r);
    }
    Py_DECREF(type);
}

/* One of its own: its memory is an arena that goes with it. */
static PyObject *record_tp_new(PyTypeObject *type, PyObject *args, PyObject *kw)
{
    struct wg_py_record *r = NULL;
    Py_ssize_t pos = 0;
    PyObject *key, *value;

    for (unsigned op = 0; op < WG_OP_MAX && !r; op++)
        for (int reply = 0; reply < 2; reply++)
            if (shapes[op][reply].type == type)
                r = record_alloc(op, reply);
    if (!r || PyTuple_GET_SIZE(args)) {
        Py_XDECREF(r);
        PyErr_SetString(PyExc_TypeError, "fields are given by name");
        return NULL;
    }
    r->arena = malloc(sizeof *r->arena);
    if (r->arena) {
        wg_arena_init(r->arena, NULL, 0);
        r->own = true;
        r->mine = true;
        r->rec = wg_alloc(r->arena, size_of(r));
    }
    if (!r->rec) {
        Py_DECREF(r);
        return PyErr_NoMemory();
    }
    while (kw && PyDict_Next(kw, &pos, &key, &value))
        if (PyObject_SetAttr((PyObject *)r, key, value)) {
            Py_DECREF(r);
            return NULL;
        }
    return (PyObject *)r;
}

/* --- fields --- */

static int is_over(const struct wg_py_record *r)
{
    if (r->over)
        PyErr_SetString(PyExc_ReferenceError, "the call is over; copy what you need of it before");
    return r->over;
}

static PyObject *field_get(PyObject *self, void *field)
{
    struct wg_py_record *r = (struct wg_py_record *)self;

    if (!r->rec) {
        if (is_over(r))
            return NULL;
        Py_RETURN_NONE; /* a reply without results */
    }
    return wg_py_get(field, r->rec);
}

/* Results may be shared with whoever answered, arguments with the layers above: the first change copies. */
static int make_mine(struct wg_py_record *r)
{
    void *copy;

    if (r->mine && r->rec)
        return 0;
    copy = wg_alloc(r->arena, size_of(r));
    if (!copy) {
        PyErr_NoMemory();
        return -1;
    }
    if (r->rec)
        memcpy(copy, r->rec, size_of(r));
    r->rec = copy;
    r->mine = true;
    return 0;
}

static int field_set(PyObject *self, PyObject *v, void *field)
{
    struct wg_py_record *r = (struct wg_py_record *)self;

    if (!v) {
        PyErr_SetString(PyExc_TypeError, "a field can't be deleted");
        return -1;
    }
    if (is_over(r) || make_mine(r))
        return -1;
    return wg_py_set(field, r->rec, v, r->arena);
}

static PyObject *op_get(PyObject *self, void *closure)
{
    (void)closure;
    return PyUnicode_FromString(wg_op_name(((struct wg_py_record *)self)->op));
}

static PyObject *err_get(PyObject *self, void *closure)
{
    (void)closure;
    return PyLong_FromLong(((struct wg_py_record *)self)->err);
}

static int err_set(PyObject *self, PyObject *v, void *closure)
{
    long err = v ? PyLong_AsLong(v) : -1;

    (void)closure;
    if (PyErr_Occurred())
        return -1;
    if (err < 0 || err > 4095) {
        PyErr_SetString(PyExc_ValueError, "err is 0 or an errno");
        return -1;
    }
    ((struct wg_py_record *)self)->err = (int)err;
    return 0;
}

static PyObject *lease_get(PyObject *self, void *closure)
{
    PyObject *lease = ((struct wg_py_record *)self)->lease;

    (void)closure;
    return Py_NewRef(lease ? lease : Py_None);
}

static PyObject *leased_get(PyObject *self, void *closure)
{
    PyObject *lease = ((struct wg_py_record *)self)->lease;

    (void)closure;
    return PyBool_FromLong(lease && !Py_IsNone(lease));
}

static PyObject *record_repr(PyObject *self)
{
    struct wg_py_record *r = (struct wg_py_record *)self;
    char text[1024];

    if (r->reply && r->err)
        return PyUnicode_FromFormat("<%s err=%s>", shape_of(r)->name, wg_error_name(r->err));
    if (!r->rec)
        return PyUnicode_FromFormat("<%s%s>", shape_of(r)->name, r->over ? ", over" : "");
    return PyUnicode_FromFormat("<%s %s>", shape_of(r)->name,
                                wg_show_record(r->op, r->reply, r->rec, text, sizeof text));
}

/* --- for the engine --- */

bool wg_py_is_record(PyObject *o)
{
    return Py_TYPE(o)->tp_dealloc == record_dealloc;
}

int wg_py_record_for(struct wg_py_record *r, struct wg_arena *a, void **ret)
{
    if (is_over(r))
        return -1;
    *ret = r->rec;
    if (r->arena == a)
        return 0;
    if (!r->own) {
        PyErr_Format(PyExc_ValueError, "%s of another call", shape_of(r)->name);
        return -1;
    }
    *ret = wg_alloc(a, size_of(r));
    if (!*ret) {
        PyErr_NoMemory();
        return -1;
    }
    memcpy(*ret, r->rec, size_of(r));
    for (const struct wg_py_field *f = shape_of(r)->fields; f->name; f++)
        if (wg_py_own(f, *ret, a))
            return -1;
    return 0;
}

/* --- the classes --- */

/* "copy_range" gives "CopyRange". */
static void camel(const char *name, char *to)
{
    bool up = true;

    for (; *name; name++) {
        if (*name != '_')
            *to++ = up ? (char)toupper((unsigned char)*name) : *name;
        up = *name == '_';
    }
    *to = '\0';
}

/* A field that is called like a word of the language gets an underscore: from_. NULL with an exception. */
static const char *python_name(PyObject *keywords, const char *name)
{
    PyObject *o = PyUnicode_FromString(name);
    int is = o ? PySequence_Contains(keywords, o) : -1;
    char longer[64];

    Py_XDECREF(o);
    if (is <= 0)
        return is ? NULL : name;
    snprintf(longer, sizeof longer, "%s_", name);
    return wg_py_keep_text(longer);
}

static int make_type(PyObject *module, PyObject *keywords, unsigned op, int reply)
{
    struct shape *s = &shapes[op][reply];
    struct wg_py_field *fields = tables[op][reply]();
    char full[96];
    size_t n = 0;
    PyGetSetDef *g;

    for (; fields[n].name; n++)
        if (fields[n].kind == K_list)
            fields[n].mask = rows_of(op);
    s->fields = fields;
    camel(wg_fops[op].name, s->name);
    strcat(s->name, reply ? "Reply" : "Args");
    snprintf(full, sizeof full, "windgate.%s", s->name);
    g = s->getset = calloc(n + 5, sizeof *g); /* as long as the type, which is for good */
    if (!g)
        return -1;
    for (size_t i = 0; i < n; i++) {
        *g = (PyGetSetDef){ python_name(keywords, fields[i].name), field_get, field_set, NULL, &fields[i] };
        if (!g++->name)
            return -1;
    }
    *g++ = (PyGetSetDef){ "op", op_get, NULL, "The fop's name.", NULL };
    if (reply) {
        *g++ = (PyGetSetDef){ "err", err_get, err_set, "0 or an errno.", NULL };
        *g++ = (PyGetSetDef){ "lease", lease_get, NULL, "Lease, or None: not to be remembered.", NULL };
        *g++ = (PyGetSetDef){ "leased", leased_get, NULL, "Whether there is a lease.", NULL };
    }
    PyType_Slot slots[] = {
        { Py_tp_new, record_tp_new }, { Py_tp_dealloc, record_dealloc }, { Py_tp_repr, record_repr },
        { Py_tp_getset, s->getset }, { 0, NULL },
    };
    PyType_Spec spec = { wg_py_keep_text(full), sizeof(struct wg_py_record), 0,
                         Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE, slots };

    s->type = (PyTypeObject *)PyType_FromSpec(&spec);
    return s->type ? PyModule_AddObjectRef(module, s->name, (PyObject *)s->type) : -1;
}

/* windgate.FOPS: name -> "R" or "W". */
int wg_py_records_init(PyObject *module)
{
    PyObject *fops = PyDict_New(), *module_keyword = PyImport_ImportModule("keyword");
    PyObject *keywords = module_keyword ? PyObject_GetAttrString(module_keyword, "kwlist") : NULL;

    for (unsigned op = 0; fops && keywords && op < WG_OP_MAX; op++) {
        PyObject *kind;

        if (!wg_fops[op].kind)
            continue;
        if (make_type(module, keywords, op, 0) || make_type(module, keywords, op, 1))
            return -1;
        kind = PyUnicode_FromStringAndSize(&wg_fops[op].kind, 1);
        if (!kind || PyDict_SetItemString(fops, wg_fops[op].name, kind))
            return -1;
        Py_DECREF(kind);
    }
    Py_XDECREF(module_keyword);
    if (!fops || !keywords || PyModule_AddObjectRef(module, "FOPS", fops))
        return -1;
    Py_DECREF(keywords);
    Py_DECREF(fops);
    return 0;
}
