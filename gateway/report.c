/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <string.h>

#include "report.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct wg_report *first;

void wg_report_register(struct wg_report *r)
{
    pthread_mutex_lock(&lock);
    r->next = first;
    first = r;
    pthread_mutex_unlock(&lock);
}

const struct wg_report *wg_report_find(const char *name)
{
    const struct wg_report *r;

    pthread_mutex_lock(&lock);
    for (r = first; r && strcmp(r->name, name) != 0; r = r->next)
        ;
    pthread_mutex_unlock(&lock);
    return r;
}
