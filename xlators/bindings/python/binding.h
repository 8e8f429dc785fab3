/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Translators in Python: what the files of this folder share. README.md has the ideas and the
 * rules. All functions here are called with the GIL held, unless they say otherwise.
 */
#ifndef WG_PY_BINDING_H
#define WG_PY_BINDING_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "iobuf.h"
#include "lease.h"
#include "xlator.h"

/* --- interpreter.c: one interpreter for the process; a thread state for each thread --- */

/* Starts Python, once. 0; or EINVAL after a line in why. Any thread, without the GIL. */
int wg_py_start(char *why, size_t size);
/* Takes the GIL; leave gives it back. Not nested: C code is never called with the GIL held. */
void wg_py_enter(void);
void wg_py_leave(void);
/* A function of the prelude, borrowed. */
PyObject *wg_py_prelude(const char *name);
/* Logs the exception that is set, with its traceback, and clears it. */
void wg_py_log_exception(const char *where);
/* The exception that is set in one line; clears it. */
void wg_py_exception_line(char *buf, size_t size);
/* A text that lives as long as the process ("Class.lookup"), for frames and dumps; "python" without memory. */
const char *wg_py_keep_text(const char *text);

/* --- value.c: the values that fops carry --- */

enum wg_py_kind {
    K_bool, K_u8, K_u32, K_u64, K_gfid, K_ref, K_loc, K_str, K_time, K_iatt, K_sattr, K_wcc, K_etag,
    K_data, K_list, K_statfs, K_md5, K_flag,
    K_secret = K_str,
};

enum wg_py_rows { ROWS_NONE, ROWS_DIRENT, ROWS_OBJENT, ROWS_XATTR };

struct wg_py_field {
    const char *name;
    enum wg_py_kind kind;
    uint16_t at;    /* offset in its struct */
    uint32_t mask;  /* counts only when set in the u32 at offset 0 (sattr); of a list: enum wg_py_rows */
};

/* A new reference, or NULL with an exception. Copies; payload and lists take references of their iobufs. */
PyObject *wg_py_get(const struct wg_py_field *f, const void *base);
/* Writes v to the field; memory comes from a. 0, or -1 with an exception. */
int wg_py_set(const struct wg_py_field *f, void *base, PyObject *v, struct wg_arena *a);
/* After a struct was copied: gives the field memory of a's own for what it points to. 0 or -1. */
int wg_py_own(const struct wg_py_field *f, void *base, struct wg_arena *a);
int wg_py_values_init(PyObject *module);
PyObject *wg_py_gfid(const wg_gfid *g);

/* --- list.c: payload and lists --- */

int wg_py_lists_init(PyObject *module);
PyObject *wg_py_data_get(const struct wg_data *d);
int wg_py_data_set(struct wg_data *d, PyObject *v, struct wg_arena *a);
int wg_py_data_own(struct wg_data *d, struct wg_arena *a);
PyObject *wg_py_list_get(const struct wg_list *l, enum wg_py_rows rows);
int wg_py_list_set(struct wg_list *l, enum wg_py_rows rows, PyObject *v, struct wg_arena *a);
int wg_py_list_own(struct wg_list *l, struct wg_arena *a);

/* --- record.c: arguments and results of fops, made from fops.def --- */

/*
 * A view of a record in a call, or (made in Python) one of its own. A call's is never written:
 * the first change makes a copy in the call's arena. When the task ends its views end: then
 * every access raises ReferenceError.
 */
struct wg_py_record {
    PyObject_HEAD
    void *rec;               /* NULL: a reply without results, or over */
    struct wg_arena *arena;  /* where what is set goes */
    struct wg_py_record **link, *next; /* the task's list */
    PyObject *lease;         /* of a reply: Lease or NULL */
    int err;
    uint16_t op;
    bool reply, over;
    bool mine;               /* rec is not shared: may be written */
    bool own;                /* arena is its own, malloc'd */
};

int wg_py_records_init(PyObject *module);
bool wg_py_is_record(PyObject *o);
/* A view, put into *list; NULL with an exception. */
struct wg_py_record *wg_py_record_new(unsigned op, bool reply, const void *rec, struct wg_arena *a,
                                      struct wg_py_record **list);
void wg_py_records_end(struct wg_py_record **list);
/* The record itself, for the call that has arena a: copied when it is of its own. 0 or -1. */
int wg_py_record_for(struct wg_py_record *r, struct wg_arena *a, void **ret);

/* --- action.c: what a method may yield or return --- */

struct wg_py_task;

struct wg_py_call {
    PyObject_HEAD
    struct wg_call *call;    /* NULL: over */
    struct wg_py_task *task;
    unsigned op;
    PyObject *state;         /* the translator's own */
};

struct wg_py_wind {
    PyObject_HEAD
    struct wg_py_call *call;
    struct wg_py_record *args;
    PyObject *then;          /* or NULL */
    bool lease;
};

struct wg_py_unwind {
    PyObject_HEAD
    int err;
    struct wg_py_record *reply; /* or NULL */
};

struct wg_py_wait {          /* sleep, offload */
    PyObject_HEAD
    double seconds;
    PyObject *fn, *args;     /* fn NULL: sleep */
};

extern PyTypeObject wg_py_call_type, wg_py_wind_type, wg_py_unwind_type, wg_py_wait_type, wg_py_pass_type;
int wg_py_actions_init(PyObject *module);
struct wg_py_call *wg_py_call_new(struct wg_call *call, unsigned op, struct wg_py_task *task);
/* Sets windgate.Fail(err): an end without a traceback. */
void wg_py_set_fail(int err);
/* The errno of a windgate.Fail that is set (cleared then), or 0. */
int wg_py_take_fail(void);

/* --- lease.c: until when an answer may be believed --- */

/* The changes that an xlator has heard of. Outlives it while entries refer to it. */
struct wg_py_memory {
    PyObject_HEAD
    struct wg_inval *inval;
    unsigned users;          /* instances that tell it; at 0 no entry holds any more */
};

int wg_py_leases_init(PyObject *module);
struct wg_py_memory *wg_py_memory_new(void); /* of one user */
/* A user leaves it, and drops a reference. NULL is allowed. */
void wg_py_memory_leave(struct wg_py_memory *m);
/* Of f's answer, wound when the memory's number was seen; None when it may not be remembered. */
PyObject *wg_py_lease_of(struct wg_py_memory *m, const struct wg_frame *f, uint64_t seen);

/* --- load.c: files, classes, options --- */

/* One file's class at work. Counted: calls in flight end in the code they began in. */
struct wg_py_code {
    unsigned refs;
    PyObject *self;
    PyObject *core;          /* what self.timer and the like go through */
    struct { PyObject *fn; const char *where; } method[WG_OP_MAX];
    PyObject *invalidate, *dump;
    bool started;            /* its stop() runs when the last call has left it */
    bool retired;            /* replaced: its own tasks end; changed with the GIL and p->lock, read with either */
};

struct wg_py_file_id {
    uint64_t mtime_ns, size, inode;
};

/* A class struct for each instance: its fops are the methods there are. */
struct wg_py_class {
    struct wg_class class;
    PyObject *cls;
    struct wg_option *rows;
    struct wg_py_file_id id;
};

struct wg_py {
    struct wg_xlator *xl;
    struct wg_py_code *code; /* changed under the GIL */
    struct wg_py_memory *_Atomic memory; /* NULL: the class asks for no leases */
    struct wg_py_memory *first_memory; /* its own, when it has taken over another's; events may still be in it */
    struct wg_py_file_id id;
    bool draining;           /* nobody may wait any more; under lock */
    _Atomic bool stopping;   /* of the spawned ones too; changed under lock, read with the GIL alone as a hint */
    bool hears;              /* the class has invalidate() */
    struct wg_py_task *tasks; /* those that sleep, or were spawned; under lock */
    unsigned spawned;
    pthread_cond_t quiet;    /* none is left; with lock */
    pthread_mutex_t lock;    /* taken inside of the GIL; who has it does not wait for the GIL */
    uint64_t reloads, exceptions, said_ns;
};

const struct wg_class *wg_py_instance(struct wg_xlator *xl, char *why, size_t size); /* without the GIL */
void wg_py_forget(const struct wg_class *class);
/* The instance of p's class: __init__ and so on. NULL with an exception. */
struct wg_py_code *wg_py_code_new(struct wg_py *p, PyObject *cls);
void wg_py_code_unref(struct wg_py_code *c);
/* Whether cls can take the place of xl's code in place: no fops, options or events that xl was not made for. */
bool wg_py_fits(const struct wg_xlator *xl, PyObject *cls);
/* Calls self.name(...) if the class has it: 0, or -1 with an exception. */
int wg_py_call_method(struct wg_py_code *c, const char *name, PyObject *arg);
/* Reads a class from a file. NULL after a line in why. */
PyObject *wg_py_load_class(const char *path, const char *name, char *why, size_t size);
/* The class asks for leases, or has invalidate(). */
bool wg_py_wants_events(PyObject *cls);
bool wg_py_file_id(const char *path, struct wg_py_file_id *ret);
PyObject *wg_py_options(const struct wg_xlator *xl, PyObject *cls);
extern const struct wg_option wg_py_base_options[];

/* --- task.c: a method at work on a call --- */

void wg_py_handle(struct wg_frame *f); /* without the GIL */
/* Runs fn(call, *args) as a task without a client. 0, or -1 with an exception. */
int wg_py_spawn(struct wg_py *p, struct wg_py_code *code, PyObject *fn, PyObject *args);
/* code is replaced: the tasks that it spawned end at their next step. */
void wg_py_tasks_retire(struct wg_py *p, struct wg_py_code *code);
/* Answers calls that sleep, from now on too, with EAGAIN; ending: the spawned ones end, too. Without the GIL. */
void wg_py_tasks_drain(struct wg_py *p, bool ending);
/* Ends the spawned ones, and waits until they have. Without the GIL. */
void wg_py_tasks_stop(struct wg_py *p);

/* --- core.c: what a translator reaches by self --- */

int wg_py_core_init(PyObject *module);
PyObject *wg_py_core_new(struct wg_py *p);
/* The code that it belongs to is whole: it may spawn. */
void wg_py_core_ready(PyObject *core, struct wg_py_code *code);
/* Cuts the object from p: timers end. */
void wg_py_core_end(PyObject *core);
/* Cancels its timers. */
void wg_py_core_quiet(PyObject *core);

/* --- module.c --- */

PyObject *wg_py_module(void); /* for the interpreter's table */

#endif
