/* SPDX-License-Identifier: Apache-2.0 */
/* The classes linked into the program, a line each (declaration and row). */
#include <pthread.h>
#include <stdatomic.h>

#include "xlator.h"

#ifndef CLASSES /* a build of a part names its own */
#define CLASSES(X) \
    X(wg_debug_delay) \
    X(wg_debug_fault) \
    X(wg_debug_io_stats) \
    X(wg_debug_sink) \
    X(wg_debug_trace) \
    X(wg_features_locks) \
    X(wg_features_pull) \
    X(wg_performance_io_threads) \
    X(wg_performance_md_cache) \
    X(wg_performance_nl_cache) \
    X(wg_protocol_client) \
    X(wg_protocol_server) \
    X(wg_storage_posix)
#endif

#define X(name) extern const struct wg_class name;
CLASSES(X)
#undef X

#define LINKED_MAX 64
#define ADDED_MAX 64 /* classes of modules */

/* Only ever appended to, under the lock; read without it, also while a module is added. */
static const struct wg_class *_Atomic classes[LINKED_MAX + ADDED_MAX + 1] = {
#define X(name) &name,
    CLASSES(X)
#undef X
};
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

const struct wg_class *const *wg_classes(void)
{
    return (const struct wg_class *const *)classes;
}

int wg_class_add(const struct wg_class *class)
{
    int i, err = 0;

    pthread_mutex_lock(&lock);
    for (i = 0; classes[i]; i++)
        ;
    if (wg_class_find(class->type))
        err = EEXIST;
    else if (i == LINKED_MAX + ADDED_MAX)
        err = ENOMEM;
    else
        classes[i] = class;
    pthread_mutex_unlock(&lock);
    return err;
}

const struct wg_class *wg_class_find(const char *type)
{
    for (int i = 0; classes[i]; i++)
        if (!strcmp(classes[i]->type, type))
            return classes[i];
    return NULL;
}
