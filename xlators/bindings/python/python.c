/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bindings/python: translators that are classes in a Python file.
 *
 *     volume nl
 *         type bindings/python
 *         option module /etc/windgate/negative_lookup.py
 *         option ttl 5s
 *         subvolumes client
 *     end-volume
 */
#include "binding.h"

#include <pthread.h>
#include <stdlib.h>

#define WG_LOG_PART "python"
#include "dump.h"
#include "log.h"
#include "module.h"
#include "task.h"

static struct wg_py_class *class_of(const struct wg_xlator *xl)
{
    return (struct wg_py_class *)(uintptr_t)xl->class;
}

/* Code takes over: under the GIL, between two calls' beginnings. */
static void use_code(struct wg_py *p, struct wg_py_code *code)
{
    code->started = true;
    p->code = code;
    __atomic_store_n(&p->hears, code->invalidate != NULL, __ATOMIC_RELEASE);
}

static void py_free(struct wg_py *p)
{
    wg_py_memory_leave(p->memory);
    wg_py_memory_leave(p->first_memory);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->quiet);
    free(p);
}

static int set_up(struct wg_xlator *xl, struct wg_py *p)
{
    struct wg_py_code *code = NULL;
    char why[400];

    if (xl->class->event)
        p->memory = wg_py_memory_new();
    if (p->memory || !xl->class->event)
        code = wg_py_code_new(p, class_of(xl)->cls);
    if (!code) {
        wg_py_exception_line(why, sizeof why);
        wg_error("volume '%s': %s", xl->name, why);
        py_free(p);
        return EINVAL;
    }
    use_code(p, code);
    return 0;
}

static int py_init(struct wg_xlator *xl)
{
    struct wg_py *p = calloc(1, sizeof *p);
    int err;

    if (!p)
        return ENOMEM;
    p->xl = xl;
    p->id = class_of(xl)->id;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->quiet, NULL);
    wg_py_enter();
    err = set_up(xl, p);
    wg_py_leave();
    if (!err)
        xl->priv = p;
    return err;
}

static int py_start(struct wg_xlator *xl)
{
    struct wg_py *p = xl->priv;
    char why[400];
    int bad;

    pthread_mutex_lock(&p->lock);
    p->stopping = p->draining = false;
    pthread_mutex_unlock(&p->lock);
    wg_py_enter();
    bad = wg_py_call_method(p->code, "start", NULL);
    if (bad) {
        wg_py_exception_line(why, sizeof why);
        wg_error("volume '%s': start: %s", xl->name, why);
    }
    wg_py_leave();
    return bad ? EINVAL : 0;
}

static void py_drain(struct wg_xlator *xl)
{
    wg_py_tasks_drain(xl->priv, xl->ending);
}

static void py_stop(struct wg_xlator *xl)
{
    struct wg_py *p = xl->priv;

    wg_py_enter();
    wg_py_core_quiet(p->code->core);
    wg_py_leave();
    wg_py_tasks_stop(p);
}

static void py_fini(struct wg_xlator *xl)
{
    struct wg_py *p = xl->priv;

    wg_py_enter();
    wg_py_code_unref(p->code);
    py_free(p);
    wg_py_leave();
    xl->priv = NULL;
}

/* --- reload --- */

/* New options in place; the class hears of it by reload(). */
static int refresh_options(struct wg_py *p)
{
    PyObject *fn = wg_py_prelude("_set_options");
    PyObject *opts = fn ? wg_py_options(p->xl, (PyObject *)Py_TYPE(p->code->self)) : NULL;
    PyObject *r = opts ? PyObject_CallFunctionObjArgs(fn, p->code->self, opts, NULL) : NULL;

    Py_XDECREF(opts);
    Py_XDECREF(r);
    return r ? wg_py_call_method(p->code, "reload", NULL) : -1;
}

/* A new instance, started, that has taken over what it wants of old's. NULL after a line in why. */
static struct wg_py_code *successor(struct wg_py *p, PyObject *cls, struct wg_py_code *old, char *why, size_t size)
{
    struct wg_py_code *code = wg_py_code_new(p, cls);
    int bad = -1;

    if (code) {
        code->started = true;
        bad = wg_py_call_method(code, "start", NULL);
    }
    if (!bad)
        bad = wg_py_call_method(code, "handover", old->self);
    if (!bad)
        return code;
    wg_py_exception_line(why, size);
    if (code) {
        wg_py_tasks_retire(p, code);
        wg_py_code_unref(code);
    }
    return NULL;
}

/*
 * A changed file. The new class takes calls from now on; those in flight end in the old one. When it
 * treats other fops or has other options, the graph has to change: then *ret_fits is false, and what changes
 * graphs finds this instance stale.
 */
static int change_code(struct wg_py *p, bool *ret_fits, char *why, size_t size)
{
    struct wg_py_code *old = p->code, *code;
    PyObject *cls = wg_py_load_class(wg_opt_str(p->xl, "module"), wg_opt_str(p->xl, "class"), why, size);

    if (!cls)
        return EINVAL;
    *ret_fits = wg_py_fits(p->xl, cls);
    code = *ret_fits ? successor(p, cls, old, why, size) : NULL;
    Py_DECREF(cls);
    if (!code)
        return *ret_fits ? EINVAL : 0;
    wg_py_core_quiet(old->core);
    wg_py_tasks_retire(p, old);
    use_code(p, code);
    p->reloads++;
    wg_py_code_unref(old);
    return 0;
}

static int reload_file(struct wg_py *p, const struct wg_py_file_id *id)
{
    const char *path = wg_opt_str(p->xl, "module");
    char why[400] = "";
    bool fits = true;
    int err = change_code(p, &fits, why, sizeof why);

    if (err) {
        wg_error("%s: the old code stays: %s", p->xl->name, why);
    } else if (fits) {
        p->id = *id;
        wg_notice("%s: %s was reloaded", p->xl->name, path);
    }
    return err || fits ? err : ESTALE;
}

static int py_reload(struct wg_xlator *xl)
{
    struct wg_py *p = xl->priv;
    struct wg_py_file_id id = p->id;
    int err = 0;

    if (!wg_py_file_id(wg_opt_str(xl, "module"), &id))
        wg_warning("%s: %s can't be read; the old code stays", xl->name, wg_opt_str(xl, "module"));
    wg_py_enter();
    if (memcmp(&id, &p->id, sizeof id))
        err = reload_file(p, &id);
    if (!err && refresh_options(p)) {
        wg_py_log_exception("reload");
        err = EINVAL;
    }
    wg_py_leave();
    return err;
}

/* Changed in a way that could not be taken in place. */
static bool py_stale(const struct wg_xlator *old, const struct wg_xlator *new)
{
    const struct wg_py *p = old->priv;

    return memcmp(&p->id, &class_of(new)->id, sizeof p->id) != 0;
}

/*
 * To an instance of a new graph. It takes over the memory of leases too, so that those which it is handed hold on;
 * old goes on telling it what changes until it ends, and calls in its own, empty one have not begun.
 */
static int py_handover(struct wg_xlator *new, struct wg_xlator *old)
{
    struct wg_py *p = new->priv, *before = old->priv;
    int bad;

    wg_py_enter();
    if (p->memory && before->memory && !p->first_memory) {
        p->first_memory = p->memory;
        p->memory = (struct wg_py_memory *)Py_NewRef((PyObject *)before->memory);
        p->memory->users++;
    }
    bad = wg_py_call_method(p->code, "handover", before->code->self);
    if (bad) {
        char why[400];

        wg_py_exception_line(why, sizeof why);
        wg_error("%s: handover: %s", new->name, why);
    }
    wg_py_leave();
    return bad ? EINVAL : 0;
}

/* --- events, dumps --- */

void wg_py_event(struct wg_xlator *xl, const struct wg_event *ev);
void wg_py_event(struct wg_xlator *xl, const struct wg_event *ev)
{
    struct wg_py *p = xl->priv;
    PyObject *gfid = NULL, *name = NULL, *r = NULL;

    wg_inval_event(p->memory->inval, ev);
    if (!__atomic_load_n(&p->hears, __ATOMIC_ACQUIRE))
        return;
    wg_py_enter();
    if (ev->kind == WG_EV_RESET) {
        gfid = Py_NewRef(Py_None);
        name = Py_NewRef(Py_None);
    } else {
        gfid = wg_py_gfid(&ev->gfid);
        name = PyBytes_FromStringAndSize(ev->name.s, ev->name.len);
    }
    if (gfid && name && p->code->invalidate)
        r = PyObject_CallFunctionObjArgs(p->code->invalidate, gfid, name, NULL);
    if (!r && PyErr_Occurred())
        wg_py_log_exception("invalidate");
    Py_XDECREF(r);
    Py_XDECREF(gfid);
    Py_XDECREF(name);
    wg_py_leave();
}

/* What the class's own dump() gives: a dictionary of plain values. */
static void dump_own(struct wg_py *p, struct wg_dump *d)
{
    PyObject *dict = p->code->dump ? PyObject_CallNoArgs(p->code->dump) : NULL, *key, *value;
    Py_ssize_t pos = 0;

    if (!dict || !PyDict_Check(dict)) {
        if (PyErr_Occurred())
            wg_py_log_exception("dump");
        Py_XDECREF(dict);
        return;
    }
    wg_dump_object(d, "own");
    while (PyDict_Next(dict, &pos, &key, &value)) {
        PyObject *k = PyObject_Str(key), *v = PyObject_Str(value);
        const char *name = k ? PyUnicode_AsUTF8(k) : NULL, *text = v ? PyUnicode_AsUTF8(v) : NULL;

        if (name && text && PyLong_CheckExact(value) && PyLong_AsLongLong(value) != -1)
            wg_dump_i64(d, name, PyLong_AsLongLong(value));
        else if (name && text)
            wg_dump_str(d, name, text);
        PyErr_Clear();
        Py_XDECREF(k);
        Py_XDECREF(v);
    }
    wg_dump_end(d);
    Py_DECREF(dict);
}

static void py_dump(struct wg_xlator *xl, struct wg_dump *d)
{
    struct wg_py *p = xl->priv;

    wg_dump_str(d, "module", wg_opt_str(xl, "module"));
    pthread_mutex_lock(&p->lock);
    wg_dump_u64(d, "spawned_tasks", p->spawned);
    pthread_mutex_unlock(&p->lock);
    wg_py_enter();
    wg_dump_u64(d, "exceptions", p->exceptions);
    wg_dump_u64(d, "reloads", p->reloads);
    wg_dump_str(d, "class", Py_TYPE(p->code->self)->tp_name);
    wg_dump_u64(d, "calls_in_this_code", p->code->refs - 1);
    dump_own(p, d);
    wg_py_leave();
}

extern const struct wg_class wg_bindings_python;
const struct wg_class wg_bindings_python = {
    .type = "bindings/python",
    .help = "A translator written in Python.",
    .options = wg_py_base_options,
    .local_size = sizeof(struct wg_py_task),
    .min_children = 1,
    .max_children = 1,
    .instance = wg_py_instance,
    .init = py_init,
    .start = py_start,
    .drain = py_drain,
    .stop = py_stop,
    .fini = py_fini,
    .reload = py_reload,
    .handover = py_handover,
    .stale = py_stale,
    .dump = py_dump,
};

WG_MODULE(wg_bindings_python);
