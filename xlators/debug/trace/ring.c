/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "xlators/debug/trace/trace.h"

int wg_ring_init(struct wg_ring *r, uint32_t lines)
{
    *r = (struct wg_ring){ .next = 1, .lines = lines };
    r->line = calloc(lines, sizeof *r->line);
    if (!r->line)
        return ENOMEM;
    pthread_mutex_init(&r->lock, NULL);
    return 0;
}

void wg_ring_fini(struct wg_ring *r)
{
    if (!r->line)
        return;
    pthread_mutex_destroy(&r->lock);
    free(r->line);
    r->line = NULL;
}

void wg_ring_add(struct wg_ring *r, const char *line, size_t len)
{
    char *to;

    if (len > WG_TRACE_LINE - 1)
        len = WG_TRACE_LINE - 1;
    pthread_mutex_lock(&r->lock);
    to = r->line[r->next++ % r->lines];
    memcpy(to, line, len);
    to[len] = '\0';
    pthread_mutex_unlock(&r->lock);
}

void wg_ring_each(struct wg_ring *r, uint64_t after, uint32_t max, int newest,
                  void (*each)(uint64_t number, const char *line, void *arg), void *arg)
{
    uint64_t at, end;

    pthread_mutex_lock(&r->lock);
    end = r->next;
    at = after + 1;
    if (end > r->lines && at < end - r->lines)
        at = end - r->lines;
    if (at == 0)
        at = 1;
    if (newest && end > max && at < end - max)
        at = end - max;
    for (; at < end && max > 0; at++, max--)
        each(at, r->line[at % r->lines], arg);
    pthread_mutex_unlock(&r->lock);
}
