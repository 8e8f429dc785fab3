/* SPDX-License-Identifier: Apache-2.0 */
/* The classes linked into the program, a line each (declaration and row). */
#include "xlator.h"

#define CLASSES(X)

#define X(name) extern const struct wg_class name;
CLASSES(X)
#undef X

static const struct wg_class *const classes[] = {
#define X(name) &name,
    CLASSES(X)
#undef X
    NULL,
};

const struct wg_class *const *wg_classes(void)
{
    return classes;
}

const struct wg_class *wg_class_find(const char *type)
{
    for (const struct wg_class *const *c = classes; *c; c++)
        if (!strcmp((*c)->type, type))
            return *c;
    return NULL;
}
