/* SPDX-License-Identifier: Apache-2.0 */
/* Files, the classes in them, and what these declare: options and fops. */
#include "binding.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "options.h"

const struct wg_option wg_py_base_options[] = {
    { "module", WG_OPT_PATH, 0, 0, NULL, "The Python file.", false },
    { "class", WG_OPT_STR, 0, 0, "", "The class in it; may be left out when there is one only.", false },
    { 0 },
};
#define NBASE 2

bool wg_py_file_id(const char *path, struct wg_py_file_id *ret)
{
    struct stat st;

    if (stat(path, &st))
        return false;
    ret->mtime_ns = (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec;
    ret->size = (uint64_t)st.st_size;
    ret->inode = (uint64_t)st.st_ino;
    return true;
}

PyObject *wg_py_load_class(const char *path, const char *name, char *why, size_t size)
{
    PyObject *fn = wg_py_prelude("_load"), *cls = fn ? PyObject_CallFunction(fn, "ss", path, name) : NULL;

    if (!cls)
        wg_py_exception_line(why, size);
    return cls;
}

/* --- options --- */

static void free_rows(struct wg_option *rows)
{
    for (struct wg_option *o = rows; o && o->name; o++) {
        free((void *)(uintptr_t)o->name);
        free((void *)(uintptr_t)o->value);
        free((void *)(uintptr_t)o->help);
    }
    free(rows);
}

/* The prelude's tuple (name, type, min, max, default or None, help, reload). */
static int read_row(PyObject *tuple, struct wg_option *o)
{
    const char *name, *value, *help;
    long long min, max;
    int type, reload;

    if (!PyArg_ParseTuple(tuple, "siLLzsp", &name, &type, &min, &max, &value, &help, &reload))
        return -1;
    o->type = (enum wg_opt_type)type;
    o->min = min;
    o->max = max;
    o->reload = reload;
    o->name = strdup(name);
    o->value = value ? strdup(value) : NULL;
    o->help = strdup(help);
    if (!o->name || !o->help || (value && !o->value)) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

/* The options that cls declares, ended by a NULL name; NULL with an exception. */
static struct wg_option *rows_of(PyObject *cls)
{
    PyObject *fn = wg_py_prelude("_option_rows"), *list = fn ? PyObject_CallOneArg(fn, cls) : NULL;
    struct wg_option *rows = list ? calloc((size_t)PyList_GET_SIZE(list) + 1, sizeof *rows) : NULL;

    for (Py_ssize_t i = 0; rows && i < PyList_GET_SIZE(list); i++)
        if (read_row(PyList_GET_ITEM(list, i), &rows[i])) {
            if (!rows[i].name)
                free((void *)(uintptr_t)rows[i].value);
            free_rows(rows);
            rows = NULL;
        }
    if (list && !rows && !PyErr_Occurred())
        PyErr_NoMemory();
    Py_XDECREF(list);
    return rows;
}

static PyObject *value_of(const struct wg_option *o, const char *text, int64_t number)
{
    switch (o->type) {
    case WG_OPT_BOOL:
        return PyBool_FromLong(number != 0);
    case WG_OPT_INT:
    case WG_OPT_SIZE:
        return PyLong_FromLongLong(number);
    case WG_OPT_TIME:
        return PyFloat_FromDouble((double)number / 1e3);
    default:
        return PyUnicode_DecodeFSDefault(text);
    }
}

/* One declared option's value: the volfile's, or the default. */
static PyObject *option_value(const struct wg_xlator *xl, const struct wg_option *o)
{
    int64_t number;

    for (const struct wg_kv *kv = xl->options; kv; kv = kv->next)
        if (!strcmp(kv->option->name, o->name) && wg_option_parse(o, kv->text, &number) == 0)
            return value_of(o, kv->text, number);
    if (!o->value || wg_option_parse(o, o->value, &number))
        return PyErr_Format(PyExc_ValueError, "option %s has no valid value", o->name);
    return value_of(o, o->value, number);
}

PyObject *wg_py_options(const struct wg_xlator *xl, PyObject *cls)
{
    struct wg_option *rows = rows_of(cls);
    PyObject *dict = rows ? PyDict_New() : NULL;

    for (const struct wg_option *o = rows; dict && o->name; o++) {
        PyObject *v = option_value(xl, o);

        if (!v || PyDict_SetItemString(dict, o->name, v))
            Py_CLEAR(dict);
        Py_XDECREF(v);
    }
    free_rows(rows);
    return dict;
}

/* --- the class of an instance --- */

static unsigned op_of(const char *name)
{
    for (unsigned op = 0; op < WG_OP_MAX; op++)
        if (wg_fops[op].kind && !strcmp(wg_fops[op].name, name))
            return op;
    return WG_OP_MAX;
}

static bool is_true(PyObject *o, const char *attribute)
{
    PyObject *v = PyObject_GetAttrString(o, attribute);
    bool yes = v && PyObject_IsTrue(v) == 1;

    PyErr_Clear();
    Py_XDECREF(v);
    return yes;
}

bool wg_py_wants_events(PyObject *cls)
{
    return is_true(cls, "leases") || is_true(cls, "_hears");
}

/* The fops that cls has methods for get our handler. */
static int set_fops(struct wg_py_class *c)
{
    PyObject *fn = wg_py_prelude("_methods"), *dict = fn ? PyObject_CallOneArg(fn, c->cls) : NULL;
    PyObject *fop, *method;
    Py_ssize_t pos = 0;

    while (dict && PyDict_Next(dict, &pos, &fop, &method)) {
        unsigned op = op_of(PyUnicode_AsUTF8(fop));

        if (op < WG_OP_MAX)
            c->class.fops[op] = wg_py_handle;
    }
    Py_XDECREF(dict);
    return dict ? 0 : -1;
}

void wg_py_forget(const struct wg_class *class)
{
    struct wg_py_class *c = (struct wg_py_class *)(uintptr_t)class;

    wg_py_enter();
    Py_XDECREF(c->cls);
    wg_py_leave();
    if (c->rows) {
        struct wg_option *own = c->rows + NBASE;

        for (; own->name; own++) {
            free((void *)(uintptr_t)own->name);
            free((void *)(uintptr_t)own->value);
            free((void *)(uintptr_t)own->help);
        }
    }
    free(c->rows);
    free(c);
}

/* The base's rows, then the class's own; takes own over. */
static struct wg_option *join_rows(struct wg_option *own)
{
    size_t n = 0;
    struct wg_option *all;

    while (own[n].name)
        n++;
    all = calloc(NBASE + n + 1, sizeof *all);
    if (!all) {
        free_rows(own);
        PyErr_NoMemory();
        return NULL;
    }
    memcpy(all, wg_py_base_options, NBASE * sizeof *all);
    memcpy(all + NBASE, own, n * sizeof *all);
    free(own);
    return all;
}

static int fill(struct wg_py_class *c)
{
    struct wg_option *own = rows_of(c->cls);

    c->rows = own ? join_rows(own) : NULL;
    if (!c->rows || set_fops(c))
        return -1;
    c->class.options = c->rows;
    return 0;
}

extern const struct wg_class wg_bindings_python;
void wg_py_event(struct wg_xlator *xl, const struct wg_event *ev);

const struct wg_class *wg_py_instance(struct wg_xlator *xl, char *why, size_t size)
{
    struct wg_py_class *c;
    const char *path = wg_opt_str(xl, "module");

    if (wg_py_start(why, size))
        return NULL;
    c = calloc(1, sizeof *c);
    if (!c) {
        snprintf(why, size, "out of memory");
        return NULL;
    }
    c->class = wg_bindings_python;
    c->class.instance = NULL;
    c->class.forget = wg_py_forget;
    wg_py_file_id(path, &c->id); /* before it is read: a change in between is seen at the next reload */
    wg_py_enter();
    c->cls = wg_py_load_class(path, wg_opt_str(xl, "class"), why, size);
    if (c->cls && fill(c)) {
        wg_py_exception_line(why, size);
        Py_CLEAR(c->cls);
    }
    if (c->cls && wg_py_wants_events(c->cls))
        c->class.event = wg_py_event;
    wg_py_leave();
    if (c->cls)
        return &c->class;
    wg_py_forget(&c->class);
    return NULL;
}

/* --- an instance of the Python class --- */

static PyObject *optional(PyObject *self, const char *name)
{
    PyObject *m = PyObject_GetAttrString(self, name);

    if (!m)
        PyErr_Clear();
    return m;
}

static int bind_methods(struct wg_py_code *c, PyObject *methods)
{
    PyObject *fop, *method;
    Py_ssize_t pos = 0;
    char where[256];

    while (PyDict_Next(methods, &pos, &fop, &method)) {
        unsigned op = op_of(PyUnicode_AsUTF8(fop));

        if (op == WG_OP_MAX)
            continue;
        c->method[op].fn = PyObject_GetAttr(c->self, method);
        if (!c->method[op].fn)
            return -1;
        snprintf(where, sizeof where, "%s.%s", Py_TYPE(c->self)->tp_name, PyUnicode_AsUTF8(fop));
        c->method[op].where = wg_py_keep_text(where);
    }
    return 0;
}

struct wg_py_code *wg_py_code_new(struct wg_py *p, PyObject *cls)
{
    PyObject *make = wg_py_prelude("_make"), *list = wg_py_prelude("_methods"), *methods = NULL, *opts;
    struct wg_py_code *c = calloc(1, sizeof *c);
    int bad = -1;

    if (!c) {
        PyErr_NoMemory();
        return NULL;
    }
    c->refs = 1;
    c->core = wg_py_core_new(p);
    opts = c->core && make && list ? wg_py_options(p->xl, cls) : NULL;
    if (opts)
        c->self = PyObject_CallFunction(make, "OOsO", cls, c->core, p->xl->name, opts);
    if (c->self)
        methods = PyObject_CallOneArg(list, cls);
    if (methods)
        bad = bind_methods(c, methods);
    if (!bad) {
        c->invalidate = optional(c->self, "invalidate");
        c->dump = optional(c->self, "dump");
    }
    if (!bad)
        wg_py_core_ready(c->core, c);
    Py_XDECREF(opts);
    Py_XDECREF(methods);
    if (bad) {
        PyObject *type, *value, *trace;

        PyErr_Fetch(&type, &value, &trace);
        wg_py_code_unref(c);
        PyErr_Restore(type, value, trace);
        return NULL;
    }
    return c;
}

/* The same options, of the same types and bounds. */
static bool same_options(const struct wg_option *a, const struct wg_option *b)
{
    for (; a->name && b->name; a++, b++)
        if (strcmp(a->name, b->name) || a->type != b->type || a->min != b->min || a->max != b->max ||
            a->reload != b->reload || !a->value != !b->value || (a->value && strcmp(a->value, b->value)))
            return false;
    return a->name == b->name;
}

bool wg_py_fits(const struct wg_xlator *xl, PyObject *cls)
{
    struct wg_py_class c = { .cls = cls };
    struct wg_option *rows = rows_of(cls);
    bool fits = rows && same_options(rows, xl->class->options + NBASE) && !set_fops(&c) &&
                (xl->class->event || !wg_py_wants_events(cls));

    for (unsigned op = 0; fits && op < WG_OP_MAX; op++)
        fits = !c.class.fops[op] || xl->class->fops[op];
    free_rows(rows);
    PyErr_Clear();
    return fits;
}

int wg_py_call_method(struct wg_py_code *c, const char *name, PyObject *arg)
{
    PyObject *m = optional(c->self, name), *r;

    if (!m)
        return 0;
    r = arg ? PyObject_CallOneArg(m, arg) : PyObject_CallNoArgs(m);
    Py_DECREF(m);
    Py_XDECREF(r);
    return r ? 0 : -1;
}

void wg_py_code_unref(struct wg_py_code *c)
{
    if (--c->refs > 0)
        return;
    if (c->started && wg_py_call_method(c, "stop", NULL))
        wg_py_log_exception("stop");
    if (c->core)
        wg_py_core_end(c->core);
    Py_CLEAR(c->core);
    for (unsigned op = 0; op < WG_OP_MAX; op++)
        Py_CLEAR(c->method[op].fn);
    Py_CLEAR(c->invalidate);
    Py_CLEAR(c->dump);
    Py_CLEAR(c->self);
    free(c);
}
