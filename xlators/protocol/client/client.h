/* SPDX-License-Identifier: Apache-2.0 */
/*
 * protocol/client, inside: one per brick of a graph. Files: client.c (the class), send.c (from
 * frame to lane, and again), handshake.c (what comes in on a lane), giveup.c (deadlines and
 * epochs), inflight.c (the table of calls).
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
    atomic_bool out;            /* taken out of service: calls fail at once */
    uint64_t down_since_ns;     /* no lane is open since; 0: one is. The tick's */

    pthread_mutex_t lock;       /* of the next two, and the text */
    uint8_t instance[16];       /* the brick's present one */
    uint64_t instances;         /* how many were seen */
    char refused[256];          /* what the last refusal said */

    pthread_mutex_t tick_lock;  /* held while the tick runs */
    struct wg_timer tick;
    bool stopping;

    atomic_uint_least64_t replayed, timeouts, stale, late;
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

/* giveup.c */
void wg_client_tick(struct wg_timer *t);
void wg_client_send_epoch(struct wg_client *c, struct wg_client_lane *l);
void wg_client_epoch_ok(struct wg_client *c, uint64_t epoch);

#endif
