/* SPDX-License-Identifier: Apache-2.0 */
/* The classes linked into the program, a line each (declaration and row). */
#include "xlator.h"

#define CLASSES(X) \
    X(wg_performance_io_threads) \
    X(wg_protocol_client) \
    X(wg_protocol_server) \
    X(wg_storage_posix)

#define X(name) extern const struct wg_class name;
CLASSES(X)
#undef X

#define LINKED_MAX 64
#define ADDED_MAX 64 /* classes of modules */

static const struct wg_class *classes[LINKED_MAX + ADDED_MAX + 1] = {
#define X(name) &name,
    CLASSES(X)
#undef X
};

const struct wg_class *const *wg_classes(void)
{
    return classes;
}

int wg_class_add(const struct wg_class *class)
{
    int i;

    if (wg_class_find(class->type))
        return EEXIST;
    for (i = 0; classes[i]; i++)
        ;
    if (i == LINKED_MAX + ADDED_MAX)
        return ENOMEM;
    classes[i] = class;
    return 0;
}

const struct wg_class *wg_class_find(const char *type)
{
    for (const struct wg_class *const *c = classes; *c; c++)
        if (!strcmp((*c)->type, type))
            return *c;
    return NULL;
}
