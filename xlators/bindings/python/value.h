/* SPDX-License-Identifier: Apache-2.0 */
/* Between value.c, key.c and struct.c. Setters: 0, or -1 with an exception. */
#ifndef WG_PY_VALUE_H
#define WG_PY_VALUE_H

#include "binding.h"

#define BYTES(o) PyBytes_AS_STRING(o)

/* Sets "what is expected, not ..."; -1. */
int wg_py_wrong(const char *what, PyObject *v);
/* bytes of bytes or str (UTF-8, undecodable bytes by surrogateescape); NULL with an exception. */
PyObject *wg_py_as_bytes(PyObject *v);
int wg_py_set_str(struct wg_str *to, PyObject *v, struct wg_arena *a);
/* The answer of == or !=. */
PyObject *wg_py_same(bool equal, int op);

int wg_py_keys_init(PyObject *module);
int wg_py_set_gfid(wg_gfid *to, PyObject *v);
PyObject *wg_py_get_ref(const struct wg_ref *r);
int wg_py_set_ref(struct wg_ref *to, PyObject *v);
PyObject *wg_py_get_loc(const struct wg_loc *l);
int wg_py_set_loc(struct wg_loc *to, PyObject *v, struct wg_arena *a);

int wg_py_structs_init(PyObject *module);
PyObject *wg_py_get_struct(enum wg_py_kind kind, const void *p);
int wg_py_set_struct(enum wg_py_kind kind, void *p, PyObject *v);

#endif
