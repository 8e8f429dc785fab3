/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One interpreter, started when the first Python translator is read and never ended: threads of
 * the gateway may be inside it until the process exits. (Subinterpreters of 3.11 share the GIL, so
 * they would not buy parallelism, and many extension modules refuse them.)
 *
 * Each thread keeps a thread state for good; PyGILState_Ensure would make and free one for every
 * fop on the gateway's threads.
 */
#include "binding.h"

#include <dlfcn.h>
#include <pthread.h>
#include <time.h>

#define WG_LOG_PART "python"
#include "log.h"

static const char prelude_text[] =
#include "prelude.h"
    ;

static pthread_mutex_t start_lock = PTHREAD_MUTEX_INITIALIZER;
static int started;             /* under start_lock: 0 not yet, 1 runs, -1 failed */
static PyInterpreterState *interpreter;
static PyObject *prelude;       /* the module's dictionary */
static pthread_key_t exit_key;
static __thread PyThreadState *mine;

static void thread_exit(void *state)
{
    PyEval_RestoreThread(state);
    PyThreadState_Clear(state);
    PyThreadState_DeleteCurrent();
}

void wg_py_enter(void)
{
    if (!mine) {
        /* Without memory for it the call can't even be answered: wait until there is some. */
        while (!(mine = PyThreadState_New(interpreter)))
            nanosleep(&(struct timespec){ 0, 1000000 }, NULL);
        pthread_setspecific(exit_key, mine);
    }
    PyEval_RestoreThread(mine);
}

void wg_py_leave(void)
{
    PyEval_SaveThread();
}

/* Extension modules (_socket, say) expect Python's symbols to be global; our module was loaded local. */
static void make_global(void)
{
    Dl_info info;

    if (dladdr((void *)(uintptr_t)&Py_InitializeFromConfig, &info) && info.dli_fname)
        dlopen(info.dli_fname, RTLD_NOW | RTLD_GLOBAL | RTLD_NOLOAD);
}

static PyStatus initialise(void)
{
    PyPreConfig pre;
    PyConfig config;
    PyStatus s;

    PyPreConfig_InitIsolatedConfig(&pre);
    pre.utf8_mode = 1;
#ifdef __SANITIZE_ADDRESS__
    pre.allocator = PYMEM_ALLOCATOR_MALLOC; /* so that the sanitizer sees each object */
#endif
    s = Py_PreInitialize(&pre);
    if (PyStatus_Exception(s))
        return s;
    if (PyImport_AppendInittab("windgate", wg_py_module))
        return PyStatus_NoMemory();
    PyConfig_InitIsolatedConfig(&config);
    config.install_signal_handlers = 0; /* signals are the program's */
    config.write_bytecode = 0;
    config.buffered_stdio = 0;          /* nothing flushes it at the end */
    config.faulthandler = 0;
    s = Py_InitializeFromConfig(&config);
    PyConfig_Clear(&config);
    return s;
}

/* Runs the prelude in the windgate module itself. */
static int run_prelude(void)
{
    PyObject *module = PyImport_ImportModule("windgate"), *code, *r;

    if (!module)
        return -1;
    prelude = Py_NewRef(PyModule_GetDict(module));
    Py_DECREF(module);
    code = Py_CompileString(prelude_text, "<windgate>", Py_file_input);
    if (!code)
        return -1;
    if (PyDict_SetItemString(prelude, "__builtins__", PyEval_GetBuiltins()) < 0)
        return -1;
    r = PyEval_EvalCode(code, prelude, prelude);
    Py_DECREF(code);
    Py_XDECREF(r);
    return r ? 0 : -1;
}

static int start(char *why, size_t size)
{
    PyStatus s;
    int bad;

    if (Py_IsInitialized()) {
        snprintf(why, size, "Python runs in this process already, started by somebody else");
        return -1;
    }
    make_global();
    if (pthread_key_create(&exit_key, thread_exit)) {
        snprintf(why, size, "Python can't start: no thread key");
        return -1;
    }
    s = initialise();
    if (PyStatus_Exception(s)) {
        snprintf(why, size, "Python can't start: %s", s.err_msg ? s.err_msg : "it does not say why");
        return -1;
    }
    interpreter = PyInterpreterState_Get();
    bad = run_prelude();
    if (bad)
        wg_py_exception_line(why, size);
    /* The state of the thread that started it is the interpreter's own and stays with this thread. */
    mine = PyEval_SaveThread();
    return bad ? -1 : 1;
}

int wg_py_start(char *why, size_t size)
{
    int ok;

    pthread_mutex_lock(&start_lock);
    if (!started) {
        started = start(why, size);
        if (started > 0)
            wg_info("Python %s", PY_VERSION);
    } else if (started < 0) {
        snprintf(why, size, "Python could not be started");
    }
    ok = started > 0;
    pthread_mutex_unlock(&start_lock);
    return ok ? 0 : EINVAL;
}

PyObject *wg_py_prelude(const char *name)
{
    PyObject *o = PyDict_GetItemString(prelude, name);

    if (!o)
        PyErr_Format(PyExc_SystemError, "the prelude has no %s", name);
    return o;
}

/* --- exceptions as text --- */

/* The exception that is set, as an object; clears it. */
static PyObject *take_exception(void)
{
    PyObject *type, *value, *trace;

    PyErr_Fetch(&type, &value, &trace);
    if (!type)
        return NULL;
    PyErr_NormalizeException(&type, &value, &trace);
    if (trace)
        PyException_SetTraceback(value, trace);
    Py_XDECREF(type);
    Py_XDECREF(trace);
    return value;
}

void wg_py_exception_line(char *buf, size_t size)
{
    PyObject *e = take_exception();
    PyObject *fn = e && prelude ? PyDict_GetItemString(prelude, "_one_line") : NULL;
    PyObject *text = fn ? PyObject_CallOneArg(fn, e) : e ? PyObject_Str(e) : NULL;
    const char *s = text ? PyUnicode_AsUTF8(text) : NULL;

    snprintf(buf, size, "%s", s ? s : e ? Py_TYPE(e)->tp_name : "an error that Python does not tell");
    PyErr_Clear();
    Py_XDECREF(text);
    Py_XDECREF(e);
}

void wg_py_log_exception(const char *where)
{
    PyObject *e = take_exception(), *fn = wg_py_prelude("_lines");
    PyObject *lines = e && fn ? PyObject_CallOneArg(fn, e) : NULL;

    wg_error("%s: %s", where, e ? Py_TYPE(e)->tp_name : "failed without an exception");
    for (Py_ssize_t i = 0; lines && i < PyList_Size(lines); i++) {
        const char *s = PyUnicode_AsUTF8(PyList_GetItem(lines, i));

        if (s)
            wg_error("  %s", s);
    }
    PyErr_Clear();
    Py_XDECREF(lines);
    Py_XDECREF(e);
}

const char *wg_py_keep_text(const char *text)
{
    struct kept {
        struct kept *next;
        char text[];
    };
    static struct kept *first; /* as many as there are names of methods; the GIL guards it */
    struct kept *k;

    for (k = first; k; k = k->next)
        if (!strcmp(k->text, text))
            return k->text;
    k = malloc(sizeof *k + strlen(text) + 1);
    if (!k)
        return "python";
    strcpy(k->text, text);
    k->next = first;
    first = k;
    return k->text;
}
