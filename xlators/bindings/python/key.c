/* SPDX-License-Identifier: Apache-2.0 */
/* Gfid, Ref and Loc: what every translator uses as keys. Copies, immutable, hashable. */
#include "value.h"

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

PyObject *wg_py_same(bool equal, int op)
{
    if (op != Py_EQ && op != Py_NE)
        Py_RETURN_NOTIMPLEMENTED;
    return PyBool_FromLong(equal == (op == Py_EQ));
}

static PyObject *gfid_compare(PyObject *a, PyObject *b, int op)
{
    if (!Py_IS_TYPE(a, &gfid_type) || !Py_IS_TYPE(b, &gfid_type))
        Py_RETURN_NOTIMPLEMENTED;
    return wg_py_same(wg_gfid_eq(((struct gfid_object *)a)->g, ((struct gfid_object *)b)->g), op);
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

int wg_py_set_gfid(wg_gfid *to, PyObject *v)
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
    return wg_py_wrong("a Gfid (or its 16 bytes, or 32 hexadecimal digits)", v);
}

static PyObject *gfid_new(PyTypeObject *type, PyObject *args, PyObject *kw)
{
    PyObject *v = NULL;
    wg_gfid g = { 0 };

    (void)type;
    if ((kw && PyDict_GET_SIZE(kw)) || !PyArg_ParseTuple(args, "|O:Gfid", &v) || (v && wg_py_set_gfid(&g, v)))
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

PyObject *wg_py_get_ref(const struct wg_ref *r)
{
    struct ref_object *o = PyObject_New(struct ref_object, &ref_type);

    if (o)
        o->r = *r;
    return (PyObject *)o;
}

int wg_py_set_ref(struct wg_ref *to, PyObject *v)
{
    if (Py_IS_TYPE(v, &ref_type)) {
        *to = ((struct ref_object *)v)->r;
        return 0;
    }
    memset(to, 0, sizeof *to);
    return wg_py_set_gfid(&to->gfid, v);
}

static PyObject *ref_new(PyTypeObject *type, PyObject *args, PyObject *kw)
{
    static char *names[] = { "gfid", "hint", NULL };
    PyObject *gfid, *hint = NULL;
    struct wg_ref r = { 0 };

    (void)type;
    if (!PyArg_ParseTupleAndKeywords(args, kw, "O|S:Ref", names, &gfid, &hint) || wg_py_set_gfid(&r.gfid, gfid))
        return NULL;
    if (hint && PyBytes_GET_SIZE(hint) > WG_HINT_MAX)
        return PyErr_Format(PyExc_ValueError, "a hint has at most %d bytes", WG_HINT_MAX);
    if (hint) {
        r.hint_len = (uint8_t)PyBytes_GET_SIZE(hint);
        memcpy(r.hint, BYTES(hint), r.hint_len);
    }
    return wg_py_get_ref(&r);
}

static Py_hash_t ref_hash(PyObject *self)
{
    return hash_gfid(&((struct ref_object *)self)->r.gfid);
}

static PyObject *ref_compare(PyObject *a, PyObject *b, int op)
{
    if (!Py_IS_TYPE(a, &ref_type) || !Py_IS_TYPE(b, &ref_type))
        Py_RETURN_NOTIMPLEMENTED;
    return wg_py_same(wg_gfid_eq(((struct ref_object *)a)->r.gfid, ((struct ref_object *)b)->r.gfid), op);
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

PyObject *wg_py_get_loc(const struct wg_loc *l)
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
        return wg_py_wrong("a Loc, or (parent, name)", v);
    if (wg_py_set_ref(parent, PyTuple_GET_ITEM(v, 0)))
        return -1;
    *ret_name = wg_py_as_bytes(PyTuple_GET_ITEM(v, 1));
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

int wg_py_set_loc(struct wg_loc *to, PyObject *v, struct wg_arena *a)
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
    bad = wg_py_set_str(&to->name, name, a);
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
        o = wg_py_get_loc(&l);
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
    return wg_py_same(wg_gfid_eq(x->parent.gfid, y->parent.gfid) && wg_str_eq(loc_name(x), loc_name(y)), op);
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
    return wg_py_get_ref(&((struct loc_object *)self)->parent);
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

int wg_py_keys_init(PyObject *module)
{
    PyObject *root;

    if (PyModule_AddType(module, &gfid_type) || PyModule_AddType(module, &ref_type) ||
        PyModule_AddType(module, &loc_type))
        return -1;
    root = wg_py_gfid(&WG_ROOT_GFID);
    if (PyModule_AddObjectRef(module, "ROOT", root))
        return -1;
    Py_DECREF(root);
    return 0;
}
