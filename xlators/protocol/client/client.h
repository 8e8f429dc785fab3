/* SPDX-License-Identifier: Apache-2.0 */
/*
 * protocol/client, inside: one per brick of a graph. Files: client.c (the class), send.c (from
 * frame to lane, and again), handshake.c (what comes in on a lane), giveup.c (deadlines and
 * epochs), inflight.c (the table of calls), lease.c (what caches above may believe).
 *
 * Threads: a fop is sent on its caller's thread; a lane's callbacks, and so completions, run on
 * the lane's reader; deadlines on a worker's timer. Lock order: tick_lock, lock, then those of
 * inflight.h. None is held when a frame is unwound (but tick_lock, which nobody else waits for
 * than the end of the program).
 */
#ifndef WG_CLIENT_H
#define WG_CLIENT_H

#include "xlators/protocol/client/inflight.h"
#include "transport.h"
#include "work.h"
#include "xlator.h"

#define WG_CLIENT_LANES_MAX 16
#define WG_CLIENT_QUEUE_MAX (64u << 20)  /* bytes queued on a lane before calls wait elsewhere */
#define WG_CLIENT_TICK_NS 50000000u     /* deadlines are looked at this often */
#define WG_CLIENT_CLOCK_NS 1000000000u  /* a lane's clock offset is taken anew this often */

struct wg_client_lane {
    struct wg_client *client;
    struct wg_lane *lane;       /* set when it first comes up, by its reader */
    struct wg_lane *held;       /* the same, with references for stop (connected) and fini */
    bool connected;             /* until stop */
    unsigned index;
    _Atomic uint64_t open;      /* the connection, once the brick said WELCOME; 0: not open */
    uint64_t settled;           /* what its handshake asked the brick to settle. The reader's */
    atomic_bool full;           /* its queue is: until writable() */
    _Atomic int64_t cost;       /* of what is in flight on it */
    atomic_uint inflight;
    _Atomic int64_t offset_ns;  /* brick's clock minus ours; at most the true one */
    _Atomic uint64_t sampled_ns;
    _Atomic uint64_t instance;  /* number of the brick's instance it speaks to */
};

struct wg_client {
    struct wg_xlator *xl;
    struct wg_tls *tls;
    struct wg_poller *poller;
    uint8_t id[16];             /* random: names this client to the brick */
    uint8_t volume[16], brick[16];
    uint64_t timeout_ns, out_ns;
    uint64_t stuck_ns;
    unsigned nlanes;
    struct wg_client_lane lanes[WG_CLIENT_LANES_MAX];
    struct wg_inflight table;
    _Atomic uint64_t fops;      /* what the brick knows, a bit each */
    _Atomic uint64_t epoch;
    _Atomic uint64_t settle;    /* answers were given about epochs below without the brick's word */
    _Atomic uint64_t acked;     /* epochs that the brick has acknowledged */
    _Atomic uint64_t lease_ns;
    struct wg_lease *lease;     /* of the caches above; outlives this. until_ns changes under lock */
    _Atomic uint64_t cache_ns;  /* for how long it runs; 0: the brick promises nothing */
    _Atomic uint64_t drop;      /* grows with each reset; 0: no cache has ever asked. Under lock */
    atomic_uint resetting;      /* resets under way: nothing is granted or renewed. Under lock */
    atomic_bool holding;        /* something was granted since the last reset */
    atomic_bool out;            /* taken out of service: calls fail at once */
    uint64_t down_since_ns;     /* no lane is open since; 0: one is. The tick's */

    pthread_mutex_t lock;       /* of the next five, and the text */
    uint64_t asked_id, asked_ns, asked_drop; /* the last LEASE that was sent */
    uint8_t instance[16];       /* the brick's present one */
    uint64_t instances;         /* how many were seen */
    char refused[256];          /* what the last refusal said */

    pthread_mutex_t tick_lock;  /* held while the tick runs */
    struct wg_timer tick;
    bool stopping;

    atomic_uint_least64_t replayed, timeouts, stale, late, recalls, resets;
};

/* send.c */

/* Sends request id if it is still in flight, or parks it until a lane opens. */
void wg_client_send(struct wg_client *c, uint64_t id);
/* Sends again, in order, what was on connection conn (0: what is parked). */
void wg_client_replay(struct wg_client *c, uint64_t conn);
/* Ends request id with err, unless somebody else did. */
void wg_client_end(struct wg_client *c, uint64_t id, int err);
/*
 * After a claim: takes its cost from lane (1 + its number, 0: none), frees the slot and sends
 * who waited for one.
 */
void wg_client_finish(struct wg_client *c, struct wg_slot *s, uint64_t lane, uint32_t cost);
/* An open lane, NULL when there is none. */
struct wg_client_lane *wg_client_open_lane(struct wg_client *c);

/* handshake.c */
extern const struct wg_lane_ops wg_client_lane_ops;

/* lease.c */
int wg_client_lease_init(struct wg_client *c);
/* Everything remembered may be wrong: caches are told, and a new term begins. Any thread, without locks. */
void wg_client_reset(struct wg_client *c);
/* flags (WG_LEASE_*) came with the answer to what was first sent at sent_ns under the number drop. */
void wg_client_leased(struct wg_client *c, unsigned flags, uint64_t drop, uint64_t sent_ns);
/* The answer was granted under drop: does that count? */
bool wg_client_may_keep(struct wg_client *c, uint64_t drop);
/* What the client's own fop changed: caches are told before it is unwound. */
void wg_client_changed(struct wg_client *c, const struct wg_reply *r);
/* f ends, and what it changed is not known. */
void wg_client_unknown(struct wg_client *c, const struct wg_frame *f);
/* RECALL: 0, or EPROTO. */
int wg_client_recalled(struct wg_client_lane *l, uint64_t id, struct wg_dec *d);
void wg_client_send_lease(struct wg_client *c, struct wg_client_lane *l);
void wg_client_lease_ok(struct wg_client *c, uint64_t id, unsigned flags);
void wg_client_lease_tick(struct wg_client *c, uint64_t now);

/* giveup.c */
void wg_client_tick(struct wg_timer *t);
void wg_client_send_epoch(struct wg_client *c, struct wg_client_lane *l);
void wg_client_epoch_ok(struct wg_client *c, uint64_t epoch);

#endif
