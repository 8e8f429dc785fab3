/* SPDX-License-Identifier: Apache-2.0 */
/* Where a test finds bindings/python and Python files of the source tree. */
#ifndef WG_TEST_PYTHON_KIT_H
#define WG_TEST_PYTHON_KIT_H

#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char python_build[PATH_MAX - 300];

/* A file of the source tree, "tests/unit/x.py"; static memory until the next call. */
static inline const char *python_source(const char *name)
{
    static char path[PATH_MAX];
    char here[] = __FILE__, *root = dirname(dirname(dirname(here)));

    /* __FILE__ is relative to the build directory, unless configure was called by a full path. */
    snprintf(path, sizeof path, "%s%s%s/%s", root[0] == '/' ? "" : python_build, root[0] == '/' ? "" : "/", root, name);
    return path;
}

/* False: this build has no Python. */
static inline bool python_find(void)
{
    char exe[PATH_MAX - 300] = "", path[PATH_MAX];

    if (readlink("/proc/self/exe", exe, sizeof exe - 1) < 0)
        abort();
    snprintf(python_build, sizeof python_build, "%s", dirname(dirname(dirname(exe))));
    snprintf(path, sizeof path, "%s/xlators", python_build);
    setenv("WG_MODULE_PATH", path, 1);
    snprintf(path, sizeof path, "%s/xlators/bindings/python.so", python_build);
    if (access(path, R_OK) == 0)
        return true;
    puts("skip: built without Python");
    return false;
}

#endif
