/* SPDX-License-Identifier: Apache-2.0 */
/* Frames that wait for their time: what debug/delay and debug/fault delay. */
#ifndef WG_DEBUG_HOLD_H
#define WG_DEBUG_HOLD_H

#include <pthread.h>

#include "call.h"

struct wg_dump;

/* In the frame's local memory. */
struct wg_held {
    struct wg_timer timer; /* must be first */
    struct wg_work work;
    struct wg_hold *hold;
    struct wg_frame *frame;
    wg_handler *go;
    uint64_t until_ns;
    struct wg_held *prev, *next;
};

struct wg_hold {
    pthread_mutex_t lock;   /* of the list; a worker's lock may be taken under it */
    struct wg_held *first;
    unsigned n;
    atomic_uint releases;   /* how many there were; changes under the lock */
    bool offload;           /* what goes on may block: not on a worker */
    bool closed;            /* nothing is held any more */
};

void wg_hold_init(struct wg_hold *h, bool offload);
void wg_hold_fini(struct wg_hold *h);
/*
 * go(f) runs in ns, on a worker (or the offload pool), or when all are released. releases: of h, read
 * before the caller looked whether to hold; if there was one since, f goes on at once. Any thread.
 */
void wg_hold_frame(struct wg_hold *h, struct wg_held *w, struct wg_frame *f, uint64_t ns, unsigned releases,
                   wg_handler *go);
/* All that are held go on at once. */
void wg_hold_release(struct wg_hold *h);
/* The same, and from now on nothing is held: at the end of a graph. */
void wg_hold_close(struct wg_hold *h);
unsigned wg_hold_count(struct wg_hold *h);

#endif
