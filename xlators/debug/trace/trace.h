/* SPDX-License-Identifier: Apache-2.0 */
/* The ring of debug/trace: lines of text, the newest kept. */
#ifndef WG_DEBUG_RING_H
#define WG_DEBUG_RING_H

#include <pthread.h>
#include <stdint.h>

#define WG_TRACE_LINE 704 /* bytes of a line kept, NUL included */

struct wg_ring {
    pthread_mutex_t lock;     /* a leaf */
    uint64_t next;            /* number of the next line; the first ever is 1 */
    uint32_t lines;           /* room */
    char (*line)[WG_TRACE_LINE];
};

/* 0 or ENOMEM. */
int wg_ring_init(struct wg_ring *r, uint32_t lines);
void wg_ring_fini(struct wg_ring *r);
/* Cut when longer than WG_TRACE_LINE - 1. Any thread. */
void wg_ring_add(struct wg_ring *r, const char *line, size_t len);
/*
 * Calls each(number, line, arg) for the lines from number after + 1 on, oldest first, at most max of
 * them: the newest max when newest is set. Those overwritten are left out. Under the ring's lock.
 */
void wg_ring_each(struct wg_ring *r, uint64_t after, uint32_t max, int newest,
                  void (*each)(uint64_t number, const char *line, void *arg), void *arg);

#endif
