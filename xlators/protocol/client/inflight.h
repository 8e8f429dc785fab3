/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The calls that a client has sent, or is going to: one slot each, and a queue of those that
 * found none free (so the brick's bound on a client's calls is kept by the client waiting, not
 * by errors). A slot's number and sequence are the request's id on the wire.
 *
 * Lock order: waiting_lock, then a slot's lock. No lock is held when a frame is unwound or sent.
 */
#ifndef WG_CLIENT_INFLIGHT_H
#define WG_CLIENT_INFLIGHT_H

#include <pthread.h>

#include "xlators/protocol/wire.h"

struct wg_slot {
    pthread_mutex_t lock;
    uint64_t id;             /* of the request in it; 0: none */
    struct wg_frame *frame;  /* its; alive as long as id stands and lock is held */
    uint64_t deadline_ns;
    uint64_t sent_ns;        /* the last transmission; 0: never */
    uint64_t gaveup;         /* over the deadline: ends when this epoch is acknowledged; 0: not */
    uint64_t instance;       /* of the brick's instances that it was sent to, the last; 0: none */
    uint64_t lane;           /* the connection it went out on; 0: waits for one */
    uint64_t epoch;          /* it was sent with */
    uint64_t first_ns;       /* its first transmission; 0: never sent */
    uint64_t drop;           /* of the client's lease, at the last one */
    uint32_t cost;           /* what it adds to its lane's load */
    uint8_t lane_index;      /* 1 + the number of that lane; 0: none */
    bool replay;             /* an earlier instance of the brick may have it */
    uint32_t next_free;      /* 1 + the next free slot's number; 0: the last */
};

/* At the start of the local memory of each frame that uses the table. */
struct wg_waiter {
    struct wg_frame *next;
    uint64_t deadline_ns;
};

struct wg_inflight {
    struct wg_slot *slots;
    uint32_t nslots;
    _Atomic uint64_t free;   /* tag << 32 | 1 + the first free slot's number */
    _Atomic uint64_t seq;
    atomic_uint used;
    pthread_mutex_t waiting_lock;
    struct wg_frame *first, *last; /* waiting for a slot, through struct wg_waiter */
    atomic_uint waiting;
    atomic_bool closed;
};

int wg_inflight_init(struct wg_inflight *t, uint32_t nslots);
void wg_inflight_fini(struct wg_inflight *t);

/*
 * Takes a slot for f. *ret_id: the request to send now, which may be of a frame that has waited
 * longer than f; 0: f waits for a slot (somebody's wg_inflight_release will return it).
 * ECANCELED after close, f is the caller's again. Any thread.
 */
int wg_inflight_begin(struct wg_inflight *t, struct wg_frame *f, uint64_t deadline_ns,
                      uint64_t *ret_id);

/* The slot of an id that came from outside; NULL when there can be none. */
struct wg_slot *wg_inflight_find(struct wg_inflight *t, uint64_t id);

/*
 * Ends a request: its frame, once, to whoever comes first (the reply, a deadline, the end of the
 * program); NULL to the others. *ret_cost, *ret_lane: what to take from which lane's load (1 + its number).
 * Afterwards the winner calls wg_inflight_release and unwinds the frame.
 */
struct wg_frame *wg_inflight_claim(struct wg_slot *s, uint64_t id, uint64_t *ret_lane,
                                   uint32_t *ret_cost);

/* The slot is free; if a frame waits it gets one: the id of the request to send now, or 0. */
uint64_t wg_inflight_release(struct wg_inflight *t, struct wg_slot *s);

/* Those waiting for a slot, all or past now_ns, as a list: the caller unwinds them. */
struct wg_frame *wg_inflight_drop_waiting(struct wg_inflight *t, uint64_t now_ns, bool all);
/* From now on begin answers ECANCELED. */
void wg_inflight_close(struct wg_inflight *t);

/* Calls each(s, arg) with the lock of each slot in use held, in order of slots. */
void wg_inflight_each(struct wg_inflight *t, void (*each)(struct wg_slot *s, void *arg), void *arg);

#endif
