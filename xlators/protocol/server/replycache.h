/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each modifying fop once: what a brick remembers of a client's modifying requests, one entry a
 * slot. An entry is made on receipt, so that a replay on another lane waits for the first
 * execution; the answer is kept until the client uses the slot again, which says that it has it.
 *
 * An entry's lock is held for a few lines, and no other lock is taken under it.
 */
#ifndef WG_SERVER_REPLYCACHE_H
#define WG_SERVER_REPLYCACHE_H

#include <pthread.h>

#include "xlators/protocol/wire.h"

/*
 * No modifying fop has a larger answer: its results are of fixed size (a unit test checks), and the
 * list of what it changed is cut.
 */
#define WG_REPLY_CHANGED 640
#define WG_REPLY_KEPT (640 + 4 + WG_REPLY_CHANGED)

enum wg_entry_state { WG_ENTRY_EMPTY, WG_ENTRY_RUNS, WG_ENTRY_DONE };

struct wg_entry {
    pthread_mutex_t lock;
    uint64_t id;
    uint64_t epoch;
    uint64_t request_id[2]; /* the front end's name for the request; 0: none */
    uint8_t state;       /* enum wg_entry_state */
    uint16_t len;        /* of the reply */
    void *lane;          /* where the answer of a running one goes; holds a reference of the caller's */
    uint8_t reply[WG_REPLY_KEPT];
};

struct wg_replycache {
    struct wg_entry *entries;
    uint32_t n;
    _Atomic uint64_t epoch; /* of the client; what is older is not begun */
    _Atomic uint64_t last_expiry;
};

enum wg_verdict {
    WG_RUN,       /* execute it, then wg_replycache_end */
    WG_WAIT,      /* runs already: its answer goes to this lane instead; lane: the old one */
    WG_ANSWERED,  /* the reply is handed out */
    WG_IS_STALE,  /* not executed: an old epoch */
    WG_IS_LATE,   /* not executed: past its expiry */
    WG_IS_OLD,    /* the client has its answer: drop it */
    WG_BROKEN,    /* the slot's last request still runs, or no such slot: a broken client */
};

int wg_replycache_init(struct wg_replycache *c, uint32_t nslots);
void wg_replycache_fini(struct wg_replycache *c);

/* What begin hands out besides its verdict. */
struct wg_found {
    void *lane;                   /* with WG_WAIT */
    uint32_t len;                 /* with WG_ANSWERED */
    uint8_t reply[WG_REPLY_KEPT];
};

/*
 * A modifying request came in on lane. With WG_RUN the entry keeps lane; with WG_WAIT it keeps
 * lane and hands out the one it had.
 */
enum wg_verdict wg_replycache_begin(struct wg_replycache *c, const struct wg_request *r,
                                    uint64_t id, uint64_t now_ns, void *lane,
                                    struct wg_found *ret);

/* It is executed; reply, at most WG_REPLY_KEPT bytes, is kept. The lane to send it on, once. */
void *wg_replycache_end(struct wg_replycache *c, uint64_t id, const void *reply, uint32_t len);

/* Raises the epoch (never lowers it). */
void wg_replycache_raise(struct wg_replycache *c, uint64_t epoch);
/* How many of epochs below run. After raise(epoch), 0 means that none will ever run again. */
unsigned wg_replycache_running(struct wg_replycache *c, uint64_t epoch);

#endif
