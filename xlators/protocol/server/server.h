/* SPDX-License-Identifier: Apache-2.0 */
/*
 * protocol/server, inside: the top of a brick's graph; owns the listeners. Files: server.c (the
 * class), session.c (clients and their lanes, the handshake), request.c (from message to call and
 * back), check.c (arguments from outside), replycache.c, orphans.c, lease.c (and leasetable.c,
 * leasefile.c: what clients remember), earlier.c.
 *
 * Threads: requests begin on their lane's reader and are answered by whoever finishes them.
 * Lock order: parked_lock, server's lock, a holder's (lease.h), session's lock, an entry's lock, the orphans'.
 * None is held while a call starts.
 */
#ifndef WG_SERVER_H
#define WG_SERVER_H

#include "xlators/protocol/server/lease.h"
#include "xlators/protocol/server/orphans.h"
#include "xlators/protocol/server/replycache.h"
#include "transport.h"
#include "xlator.h"

#define WG_SERVER_LISTENERS_MAX 8

/* A request that waits for the answer of another with its id (earlier.h). */
struct wg_parked {
    struct wg_parked *next;
    const struct wg_session *session;
    uint64_t id[2];
};

struct wg_server {
    struct wg_xlator *xl;
    struct wg_tls *tls;
    struct wg_listener *listeners[WG_SERVER_LISTENERS_MAX];
    unsigned nlisteners;
    uint8_t instance[16];         /* random: a new one each start */
    uint8_t volume[16], brick[16];
    uint32_t slots_max, sessions_max, lease_ms;
    pthread_mutex_t lock;         /* of sessions */
    struct wg_session *sessions;
    unsigned nsessions;
    pthread_mutex_t parked_lock;  /* of parked */
    struct wg_parked *parked;
    atomic_uint nparked;
    struct wg_orphans orphans;    /* answers of clients that went away */
    struct wg_leases leases;      /* what clients remember */
    atomic_uint_least64_t replays, stale, late, refused, malformed, forbidden;
};

/*
 * A client: its lanes, and what it must find again when they break. It stays while it has a lane
 * or a call that runs, or one of its requests may come again.
 */
struct wg_session {
    struct wg_server *server;
    struct wg_session *next;
    uint8_t client[16];
    char name[WG_WIRE_TEXT_MAX + 1];
    char peer[256];               /* of its certificate; another one may not use its id */
    uint32_t slots;
    uint64_t born_ns;
    bool puller;                  /* another brick, that may read references only */
    struct wg_replycache cache;
    _Atomic(struct wg_holder *) holder; /* NULL: it remembers nothing */
    atomic_bool away;             /* it has no lane: what ends now goes to the orphans too */
    atomic_uint running;          /* calls; the last that a call's end touches */
    pthread_mutex_t lock;         /* of the lanes' list and their waits */
    struct wg_server_lane *lanes;
    unsigned nlanes;
    atomic_uint waits;            /* lanes that wait for older epochs to end */
    atomic_uint paused;           /* lanes not read from */
};

/* One connection. Requests that are to be answered on it hold a reference. */
struct wg_server_lane {
    struct wg_server *server;
    struct wg_lane *lane;         /* referenced */
    struct wg_session *session;   /* NULL before its hello */
    struct wg_server_lane *next;  /* of the session */
    atomic_uint refs;
    atomic_bool welcomed;
    bool paused;                  /* not read from while too many calls run. The session's lock */
    uint64_t wait_epoch;          /* waits until nothing older runs; 0: not. The session's lock */
    bool wait_welcome;            /* with WELCOME, else with EPOCH_OK */
};

/* session.c */
extern const struct wg_lane_ops wg_server_lane_ops;
void wg_server_lane_unref(struct wg_server_lane *l);
/* A modifying call has ended: lanes that waited for that are answered. */
void wg_session_ended(struct wg_session *s);
/*
 * A client that gave up reads may use their slots again while they still run: beyond twice the
 * agreed number its lanes are not read from. Called when a call begins, and just before one ends.
 */
void wg_session_began(struct wg_server_lane *l);
void wg_session_resume(struct wg_session *s);
/* With no lane left: waits for the calls that run, and forgets every client. */
void wg_server_forget_all(struct wg_server *v);
/* Sends a message of ours on l, with the brick's clock. */
int wg_server_send(struct wg_server_lane *l, struct wg_msg *m);
/* The same on any lane of s that is open; ENOTCONN. */
int wg_session_send(struct wg_session *s, struct wg_msg *m);

/* request.c */
void wg_server_request(struct wg_server_lane *l, const struct wg_msg_hdr *hdr, const void *body,
                       struct wg_iobuf *payload);

/* check.c: 0, or EINVAL, ENAMETOOLONG for arguments that no store should see. */
int wg_check_in(unsigned op, const void *in);

/* The TCP port of a started server's first listener, for port 0. */
uint16_t wg_server_port(const struct wg_xlator *xl);

#endif
