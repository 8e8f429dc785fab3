/* SPDX-License-Identifier: Apache-2.0 */
/* The module `windgate` that a translator imports: types of C, then the prelude's Python. */
#include "binding.h"

#define WG_LOG_PART "python"
#include "log.h"

/* _warn(text): what Python itself would print on stderr. */
static PyObject *warn(PyObject *module, PyObject *text)
{
    const char *s = PyUnicode_AsUTF8(text);

    (void)module;
    if (!s)
        return NULL;
    wg_warning("%s", s);
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = { { "_warn", warn, METH_O, NULL }, { 0 } };

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "windgate", "Translators for the Windgate gateway.", -1, functions, NULL, NULL, NULL, NULL,
};

static int add_numbers(PyObject *m)
{
    static const struct {
        const char *name;
        long value;
    } numbers[] = {
        { "REG", WG_REG }, { "DIR", WG_DIR }, { "BLK", WG_BLK }, { "CHR", WG_CHR }, { "LNK", WG_LNK },
        { "SOCK", WG_SOCK }, { "FIFO", WG_FIFO }, { "UNSTABLE", WG_UNSTABLE }, { "DATA_SYNC", WG_DATA_SYNC },
        { "FILE_SYNC", WG_FILE_SYNC }, { "UNCHECKED", WG_UNCHECKED }, { "GUARDED", WG_GUARDED },
        { "EXCLUSIVE", WG_EXCLUSIVE }, { "RENAME_NOREPLACE", WG_RENAME_NOREPLACE },
        { "RENAME_EXCHANGE", WG_RENAME_EXCHANGE }, { "SPACE_OBJECTS", WG_SPACE_OBJECTS },
        { "SPACE_UPLOADS", WG_SPACE_UPLOADS }, { "IF_NONE_MATCH_ANY", WG_IF_NONE_MATCH_ANY },
        { "IF_MATCH", WG_IF_MATCH }, { "IF_MATCH_ANY", WG_IF_MATCH_ANY }, { "IF_SIZE", WG_IF_SIZE },
        { "IF_MTIME", WG_IF_MTIME }, { "LIST_META", WG_LIST_META }, { "IO_MAX", WG_IO_MAX },
        { "EBADHANDLE", EBADHANDLE }, { "ENOTSYNC", ENOTSYNC }, { "EBADCOOKIE", EBADCOOKIE },
        { "ETOOSMALL", ETOOSMALL }, { "EBADTYPE", EBADTYPE }, { "ECONDITION", ECONDITION },
        { "ENOTEXPECTED", ENOTEXPECTED },
    };

    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (PyModule_AddIntConstant(m, numbers[i].name, numbers[i].value))
            return -1;
    return 0;
}

PyObject *wg_py_module(void)
{
    PyObject *m = PyModule_Create(&definition);

    if (m && !wg_py_values_init(m) && !wg_py_lists_init(m) && !wg_py_records_init(m) && !wg_py_actions_init(m) &&
        !wg_py_leases_init(m) && !wg_py_core_init(m) && !add_numbers(m))
        return m;
    Py_XDECREF(m);
    return NULL;
}
