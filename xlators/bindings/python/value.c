/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The values that fops carry, as Python objects. All are copies and immutable: they may be kept,
 * hashed and compared for as long as one likes. Gfid, Ref and Loc are written out, since every
 * translator uses them as keys; the structs with many fields share one implementation.
 */
#include "binding.h"

#include <math.h>

#define NS 1000000000ll

struct gfid_object {
    PyObject_HEAD
    wg_gfid g;
};

struct ref_object {
    PyObject_HEAD
    struct wg_ref r;
};

struct loc_object {
    PyObject_VAR_HEAD /* the name's bytes and a NUL */
    struct wg_ref parent;
    char name[];
};

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

#define BYTES(o) PyBytes_AS_STRING(o)

static int wrong(const char *what, PyObject *v)
{
    PyErr_Format(PyExc_TypeError, "%s is expected, not %s", what, Py_TYPE(v)->tp_name);
    return -1;
}

/* --- bytes and numbers --- */

/* A bytes object of bytes or str (UTF-8, undecodable bytes by surrogateescape); NULL with an exception. */
static PyObject *as_bytes(PyObject *v)
{
    if (PyBytes_Check(v))
        return Py_NewRef(v);
    if (PyUnicode_Check(v))
        return PyUnicode_AsEncodedString(v, "utf-8", "surrogateescape");
    wrong("bytes or str", v);
    return NULL;
}

static int set_str(struct wg_str *to, PyObject *v, struct wg_arena *a)
{
    PyObject *b = as_bytes(v);
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
        return wrong("a whole number", v);
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
        return wrong("nanoseconds since 1970 as a whole number", v);
    ns = PyLong_AsLongLong(v);
    if (ns == -1 && PyErr_Occurred())
        return -1;
    sec = ns / NS;
    if (ns % NS < 0)
        sec--;
    *t = (struct wg_time){ sec, (uint32_t)(ns - sec * NS) };
    return 0;
}

/* --- Gfid --- */

static PyTypeObject gfid_type, ref_type, loc_type;

PyObject *wg_py_gfid(const wg_gfid *g)
{
    struct gfid_object *o = PyObject_New(struct gfid_object, &gfid_type);

    if (o)
        o->g = *g;
    return (PyObject *)o;
}

static Py_hash_t hash_gfid(const wg_gfid *g)
{
    Py_hash_t h = (Py_hash_t)wg_hash_name(g, (struct wg_str){ "", 0 });

    return h == -1 ? -2 : h;
}

static Py_hash_t gfid_hash(PyObject *self)
{
    return hash_gfid(&((struct gfid_object *)self)->g);
}

static PyObject *same(bool equal, int op)
{
    if (op != Py_EQ && op != Py_NE)
        Py_RETURN_NOTIMPLEMENTED;
    return PyBool_FromLong(equal == (op == Py_EQ));
}

static PyObject *gfid_compare(PyObject *a, PyObject *b, int op)
{
    if (!Py_IS_TYPE(a, &gfid_type) || !Py_IS_TYPE(b, &gfid_type))
        Py_RETURN_NOTIMPLEMENTED;
    return same(wg_gfid_eq(((struct gfid_object *)a)->g, ((struct gfid_object *)b)->g), op);
}

static void gfid_text(const wg_gfid *g, char *buf)
{
    char *at = buf;

    for (int i = 0; i < 16; i++)
        at += sprintf(at, i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x", g->b[i]);
}

static PyObject *gfid_str(PyObject *self)
{
    char text[37];

    gfid_text(&((struct gfid_object *)self)->g, text);
    return PyUnicode_FromString(text);
}

static PyObject *gfid_repr(PyObject *self)
{
    char text[37];

    gfid_text(&((struct gfid_object *)self)->g, text);
    return PyUnicode_FromFormat("Gfid('%s')", text);
}

static int parse_gfid(const char *s, wg_gfid *ret)
{
    int n = 0;

    for (; *s && n < 32; s++) {
        int digit = Py_ISDIGIT(*s) ? *s - '0' : Py_ISXDIGIT(*s) ? (*s | 32) - 'a' + 10 : -1;

        if (*s == '-')
            continue;
        if (digit < 0)
            return -1;
        ret->b[n / 2] = (uint8_t)(ret->b[n / 2] << 4 | digit);
        n++;
    }
    return n == 32 && !*s ? 0 : -1;
}

static int set_gfid(wg_gfid *to, PyObject *v)
{
    if (Py_IS_TYPE(v, &gfid_type)) {
        *to = ((struct gfid_object *)v)->g;
        return 0;
    }
    if (Py_IS_TYPE(v, &ref_type)) {
        *to = ((struct ref_object *)v)->r.gfid;
        return 0;
    }
    if (PyBytes_Check(v) && PyBytes_GET_SIZE(v) == 16) {
        memcpy(to->b, BYTES(v), 16);
        return 0;
    }
    if (PyUnicode_Check(v)) {
        const char *s = PyUnicode_AsUTF8(v);

        if (s && parse_gfid(s, to) == 0)
            return 0;
    }
    PyErr_Clear();
    return wrong("a Gfid (or its 16 bytes, or 32 hexadecimal digits)", v);
}

static PyObject *gfid_new(PyTypeObject *type, PyObject *args, PyObject *kw)
{
    PyObject *v = NULL;
    wg_gfid g = { 0 };

    (void)type;
    if ((kw && PyDict_GET_SIZE(kw)) || !PyArg_ParseTuple(args, "|O:Gfid", &v) || (v && set_gfid(&g, v)))
        return PyErr_Occurred() ? NULL : (PyErr_SetString(PyExc_TypeError, "Gfid takes no keywords"), NULL);
    return wg_py_gfid(&g);
}

static PyObject *gfid_random(PyObject *type, PyObject *none)
{
    wg_gfid g = wg_gfid_new();

    (void)type;
    (void)none;
    return wg_py_gfid(&g);
}

static PyObject *gfid_bytes(PyObject *self, PyObject *none)
{
    (void)none;
    return PyBytes_FromStringAndSize((const char *)((struct gfid_object *)self)->g.b, 16);
}

static int gfid_bool(PyObject *self)
{
    return !wg_gfid_is_zero(((struct gfid_object *)self)->g);
}

static PyMethodDef gfid_methods[] = {
    { "new", gfid_random, METH_NOARGS | METH_CLASS, "A new random id, to name an inode that is to be made." },
    { "__bytes__", gfid_bytes, METH_NOARGS, NULL },
    { 0 },
};

static PyNumberMethods gfid_number = { .nb_bool = gfid_bool };

static PyTypeObject gfid_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "windgate.Gfid",
    .tp_doc = "The 128-bit id of an inode.",
    .tp_basicsize = sizeof(struct gfid_object),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = gfid_new,
    .tp_hash = gfid_hash,
    .tp_richcompare = gfid_compare,
    .tp_str = gfid_str,
    .tp_repr = gfid_repr,
    .tp_methods = gfid_methods,
    .tp_as_number = &gfid_number,
};

/* --- Ref: an inode, as it is addressed --- */

static PyObject *get_ref(const struct wg_ref *r)
{
    struct ref_object *o = PyObject_New(struct ref_object, &ref_type);

    if (o)
        o->r = *r;
    return (PyObject *)o;
}

static int set_ref(struct wg_ref *to, PyObject *v)
{
    if (Py_IS_TYPE(v, &ref_type)) {
        *to = ((struct ref_object *)v)->r;
        return 0;
    }
    memset(to, 0, sizeof *to);
    return set_gfid(&to->gfid, v);
}

static PyObject *ref_new(PyTypeObject *type, PyObject *args, PyObject *kw)
{
    static char *names[] = { "gfid", "hint", NULL };
    PyObject *gfid, *hint = NULL;
    struct wg_ref r = { 0 };

    (void)type;
    if (!PyArg_ParseTupleAndKeywords(args, kw, "O|S:Ref", names, &gfid, &hint) || set_gfid(&r.gfid, gfid))
        return NULL;
    if (hint && PyBytes_GET_SIZE(hint) > WG_HINT_MAX)
        return PyErr_Format(PyExc_ValueError, "a hint has at most %d bytes", WG_HINT_MAX);
    if (hint) {
        r.hint_len = (uint8_t)PyBytes_GET_SIZE(hint);
        memcpy(r.hint, BYTES(hint), r.hint_len);
    }
    return get_ref(&r);
}

static Py_hash_t ref_hash(PyObject *self)
{
    return hash_gfid(&((struct ref_object *)self)->r.gfid);
}

static PyObject *ref_compare(PyObject *a, PyObject *b, int op)
{
    if (!Py_IS_TYPE(a, &ref_type) || !Py_IS_TYPE(b, &ref_type))
        Py_RETURN_NOTIMPLEMENTED;
    return same(wg_gfid_eq(((struct ref_object *)a)->r.gfid, ((struct ref_object *)b)->r.gfid), op);
}

static PyObject *ref_repr(PyObject *self)
{
    char text[37];

    gfid_text(&((struct ref_object *)self)->r.gfid, text);
    return PyUnicode_FromFormat("Ref('%s')", text);
}

static PyObject *ref_gfid(PyObject *self, void *closure)
{
    (void)closure;
    return wg_py_gfid(&((struct ref_object *)self)->r.gfid);
}

static PyObject *ref_hint(PyObject *self, void *closure)
{
    struct wg_ref *r = &((struct ref_object *)self)->r;

    (void)closure;
    return PyBytes_FromStringAndSize((const char *)r->hint, r->hint_len);
}

static PyGetSetDef ref_getset[] = {
    { "gfid", ref_gfid, NULL, "Gfid: the inode's id.", NULL },
    { "hint", ref_hint, NULL, "bytes: the brick's own, opaque.", NULL },
    { 0 },
};

static PyTypeObject ref_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "windgate.Ref",
    .tp_doc = "An inode: its id, and the brick's hint. Equal when the ids are.",
    .tp_basicsize = sizeof(struct ref_object),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = ref_new,
    .tp_hash = ref_hash,
    .tp_richcompare = ref_compare,
    .tp_repr = ref_repr,
    .tp_getset = ref_getset,
};

/* --- Loc: a name in a directory --- */

static PyObject *get_loc(const struct wg_loc *l)
{
    struct loc_object *o = PyObject_NewVar(struct loc_object, &loc_type, (Py_ssize_t)l->name.len + 1);

    if (!o)
        return NULL;
    o->parent = l->parent;
    if (l->name.len)
        memcpy(o->name, l->name.s, l->name.len);
    o->name[l->name.len] = '\0';
    return (PyObject *)o;
}

static struct wg_str loc_name(const struct loc_object *o)
{
    return (struct wg_str){ o->name, (uint32_t)Py_SIZE(o) - 1 };
}

/* The parts that the fields of a loc accept: a Loc, or a pair of parent and name. */
static int loc_parts(PyObject *v, struct wg_ref *parent, PyObject **ret_name)
{
    if (!PyTuple_Check(v) || PyTuple_GET_SIZE(v) != 2)
        return wrong("a Loc, or (parent, name)", v);
    if (set_ref(parent, PyTuple_GET_ITEM(v, 0)))
        return -1;
    *ret_name = as_bytes(PyTuple_GET_ITEM(v, 1));
    if (!*ret_name)
        return -1;
    if (PyBytes_GET_SIZE(*ret_name) < 1 || PyBytes_GET_SIZE(*ret_name) > WG_NAME_MAX ||
        memchr(BYTES(*ret_name), '/', (size_t)PyBytes_GET_SIZE(*ret_name)) ||
        memchr(BYTES(*ret_name), 0, (size_t)PyBytes_GET_SIZE(*ret_name))) {
        Py_CLEAR(*ret_name);
        PyErr_SetString(PyExc_ValueError, "a name has 1 to 255 bytes, no '/' and no NUL");
        return -1;
    }
    return 0;
}

static int set_loc(struct wg_loc *to, PyObject *v, struct wg_arena *a)
{
    PyObject *name;
    int bad;

    if (Py_IS_TYPE(v, &loc_type)) {
        to->parent = ((struct loc_object *)v)->parent;
        if (wg_strdup(a, loc_name((struct loc_object *)v), &to->name) == 0)
            return 0;
        PyErr_NoMemory();
        return -1;
    }
    if (loc_parts(v, &to->parent, &name))
        return -1;
    bad = set_str(&to->name, name, a);
    Py_DECREF(name);
    return bad;
}

static PyObject *loc_new(PyTypeObject *type, PyObject *args, PyObject *kw)
{
    static char *names[] = { "parent", "name", NULL };
    PyObject *parent, *text, *pair, *name = NULL, *o = NULL;
    struct wg_loc l = { 0 };

    (void)type;
    if (!PyArg_ParseTupleAndKeywords(args, kw, "OO:Loc", names, &parent, &text))
        return NULL;
    pair = PyTuple_Pack(2, parent, text);
    if (pair && loc_parts(pair, &l.parent, &name) == 0) {
        l.name = (struct wg_str){ BYTES(name), (uint32_t)PyBytes_GET_SIZE(name) };
        o = get_loc(&l);
    }
    Py_XDECREF(name);
    Py_XDECREF(pair);
    return o;
}

static Py_hash_t loc_hash(PyObject *self)
{
    struct loc_object *o = (struct loc_object *)self;
    Py_hash_t h = (Py_hash_t)wg_hash_name(&o->parent.gfid, loc_name(o));

    return h == -1 ? -2 : h;
}

static PyObject *loc_compare(PyObject *a, PyObject *b, int op)
{
    struct loc_object *x = (struct loc_object *)a, *y = (struct loc_object *)b;

    if (!Py_IS_TYPE(a, &loc_type) || !Py_IS_TYPE(b, &loc_type))
        Py_RETURN_NOTIMPLEMENTED;
    return same(wg_gfid_eq(x->parent.gfid, y->parent.gfid) && wg_str_eq(loc_name(x), loc_name(y)), op);
}

static PyObject *loc_repr(PyObject *self)
{
    struct loc_object *o = (struct loc_object *)self;
    PyObject *name = PyBytes_FromStringAndSize(o->name, Py_SIZE(o) - 1), *text = NULL;
    char gfid[37];

    gfid_text(&o->parent.gfid, gfid);
    if (name)
        text = PyUnicode_FromFormat("Loc('%s', %R)", gfid, name);
    Py_XDECREF(name);
    return text;
}

static PyObject *loc_get_parent(PyObject *self, void *closure)
{
    (void)closure;
    return get_ref(&((struct loc_object *)self)->parent);
}

static PyObject *loc_get_name(PyObject *self, void *closure)
{
    (void)closure;
    return PyBytes_FromStringAndSize(((struct loc_object *)self)->name, Py_SIZE(self) - 1);
}

static PyGetSetDef loc_getset[] = {
    { "parent", loc_get_parent, NULL, "Ref: the directory.", NULL },
    { "name", loc_get_name, NULL, "bytes: the name in it.", NULL },
    { 0 },
};

static PyTypeObject loc_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "windgate.Loc",
    .tp_doc = "A name in a directory. Equal when directory and name are: a key for dictionaries.",
    .tp_basicsize = sizeof(struct loc_object),
    .tp_itemsize = 1,
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = loc_new,
    .tp_hash = loc_hash,
    .tp_richcompare = loc_compare,
    .tp_repr = loc_repr,
    .tp_getset = loc_getset,
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
static PyObject *get_struct(enum wg_py_kind kind, const void *p)
{
    const struct shape *s = shape_of_kind(kind);

    if (s->valid != SIZE_MAX && !*(const bool *)((const char *)p + s->valid))
        Py_RETURN_NONE;
    return struct_make(s, p);
}

static int set_struct(enum wg_py_kind kind, void *p, PyObject *v)
{
    const struct shape *s = shape_of_kind(kind);

    if (Py_IsNone(v))
        memset(p, 0, s->size);
    else if (Py_IS_TYPE(v, s->type))
        memcpy(p, &((struct struct_object *)v)->v, s->size);
    else
        return wrong(strchr(s->name, '.') + 1, v);
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
    return equal < 0 ? NULL : same(equal, op);
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
        return get_ref(p);
    case K_loc:
        return get_loc(p);
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
        return get_struct(f->kind, p);
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
        return set_gfid(p, v);
    case K_ref:
        return set_ref(p, v);
    case K_loc:
        return set_loc(p, v, a);
    case K_str:
        return set_str(p, v, a);
    case K_time:
        return set_time(p, v);
    case K_md5:
        if (!PyBytes_Check(v) || PyBytes_GET_SIZE(v) != 16)
            return wrong("16 bytes", v);
        memcpy(p, BYTES(v), 16);
        return 0;
    case K_data:
        return wg_py_data_set(p, v, a);
    case K_list:
        return wg_py_list_set(p, (enum wg_py_rows)f->mask, v, a);
    default:
        return set_struct(f->kind, p, v);
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
    PyObject *root;

    if (PyModule_AddType(module, &gfid_type) || PyModule_AddType(module, &ref_type) ||
        PyModule_AddType(module, &loc_type))
        return -1;
    for (size_t i = 0; i < NSHAPES; i++)
        if (struct_init(module, &shapes[i]))
            return -1;
    root = wg_py_gfid(&WG_ROOT_GFID);
    if (PyModule_AddObjectRef(module, "ROOT", root))
        return -1;
    Py_DECREF(root);
    return 0;
}
