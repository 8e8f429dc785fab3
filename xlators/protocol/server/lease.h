/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leases: which client may remember what, and how it is made to forget before an answer says that
 * something has changed. Files: lease.c (terms), recall.c, leasetable.c (who remembers what),
 * leasefile.c (who might still, after a restart).
 *
 * A client that remembers answers is a *holder*. Its lease runs for some seconds from each of its
 * requests. While it runs, a reading request may leave entries (thing, holder) in the table, before
 * the store looks at the thing. A modifying request looks its changes up in the table after they
 * were made, sends a RECALL to each other holder that it finds, and is answered when all have said
 * RECALLED or their leases have run out. One that ran out while somebody waited is lost: the client is
 * told so, drops everything, and begins a new one by a higher drop number.
 *
 * Why no answer is remembered for too long: an entry that is made before a recall goes out is of a
 * request that the client had sent before the recall comes in, so the client does not keep
 * that answer (its caches compare); one made later reads what is new. So RECALLED removes what is
 * older than the recall (by the holder's sequence), and nothing else.
 *
 * Threads: any. Lock order: leases.lock, a holder's, its session's; leases.tick_lock; the table's
 * shards are leaves. None is held when a request is answered.
 */
#ifndef WG_SERVER_LEASE_H
#define WG_SERVER_LEASE_H

#include <pthread.h>

#include "lease.h"
#include "work.h"
#include "xlators/protocol/wire.h"

#define WG_LEASE_USES_MAX 64     /* an answer that depends on more is not granted */
#define WG_LEASE_COARSE_NS 10000000u /* what coarse clocks may be behind: added here, taken off there */

struct wg_session;
struct wg_leases;
struct wg_changes;

/* Things in lists: struct wg_use first, so that the list can be encoded. */
struct wg_lease_thing {
    struct wg_use use;
    uint64_t hash;
};

/* One holder asked to forget, by one request; in the request's arena, or malloc'd (without changes). */
struct wg_recall {
    struct wg_recall *next;     /* of the holder, oldest first; under its lock */
    struct wg_recall *more;     /* of the request */
    struct wg_holder *holder;
    struct wg_changes *changes; /* who waits; NULL: nobody */
    uint64_t id;                /* the holder's sequence; 0: not sent yet */
    uint64_t since_ns;
    bool all;                   /* everything, things or not */
    uint16_t nthings;
    struct wg_lease_thing *things;
};

/* A session that remembers answers. Never freed before the server; used again by other sessions. */
struct wg_holder {
    uint16_t number;
    _Atomic uint64_t drop;     /* of the present term; changes under lock */
    _Atomic uint64_t until_ns; /* of the lease; 0: none, and none to be had in this term */
    _Atomic uint64_t seq;      /* grows with each recall */
    _Atomic uint64_t floor;    /* the table's entries below it are dead */
    atomic_uint entries;       /* in the table, dead ones too */
    atomic_bool frozen;        /* owes an answer for too long: not renewed */
    atomic_bool doomed;        /* not renewed before it begins a new term */
    pthread_mutex_t lock;      /* of the rest */
    struct wg_session *session; /* NULL: a client that went away */
    uint8_t client[16];
    struct wg_recall *first, **last; /* sent, or to be, and not answered */
    struct wg_holder *next_free;
};

#define WG_LEASE_SHARDS 64

struct wg_lease_entry {
    uint64_t hash, seq;
    uint32_t next;   /* 1 + index in the shard */
    uint16_t holder;
};

struct wg_lease_shard {
    pthread_mutex_t lock;
    uint32_t *bucket; /* 1 + index */
    struct wg_lease_entry *entry;
    uint32_t made, free, live;
    uint64_t full_ns; /* nothing could be freed then */
} __attribute__((aligned(64)));

struct wg_leases {
    const char *name;          /* of the server, for logs */
    uint64_t term_ns;          /* 0: nobody is granted anything */
    uint32_t size;             /* entries of the table, a power of two; 0: not made yet */
    uint32_t want;
    uint32_t *buckets;
    struct wg_lease_entry *entries;
    struct wg_lease_shard shard[WG_LEASE_SHARDS];
    _Atomic uint32_t nholders;
    uint32_t holders_max;
    struct wg_holder **holder; /* by number */
    atomic_uint terms;         /* leases that run; 0: nothing to look up */
    struct wg_holder ghost;    /* stands for those that an earlier instance left behind */
    atomic_bool closing;       /* nobody waits any more */
    pthread_mutex_t lock;      /* of holders being made, free ones, and the file */
    struct wg_holder *free;
    int fd;                    /* of the file; -1: none */
    bool unnoted;              /* the last client could not be written to it */
    uint8_t (*ghosts)[16];
    unsigned nghosts;
    pthread_mutex_t tick_lock; /* of the next five; before the worker's */
    struct wg_timer tick;
    uint64_t armed_ns;         /* when it will run; 0: not armed */
    bool running, poked, quiet;
    _Atomic uint64_t doom_ns;  /* when the last doomed lease has run out */
    atomic_uint waiting;       /* recalls not answered */
    atomic_bool crowded;       /* the table was full */
    uint64_t flushed_ns;
    atomic_uint_least64_t granted, overflowed, recalled, expired, flushes;
};

/*
 * What a request has changed and whom it must wait for: embed it. The arena, own (the request's own
 * holder or NULL) and list are set by its owner; list: the changes are wanted by the client itself.
 */
struct wg_changes {
    struct wg_leases *leases;
    struct wg_arena *arena;
    struct wg_holder *own;
    bool list;
    bool changed;               /* anything */
    bool too_many;              /* of the list: more than fits into an answer */
    bool lost;                  /* no memory: every holder's lease must run out */
    uint16_t nthings;
    uint32_t bytes;
    struct wg_lease_thing *things;
    struct wg_recall *recalls;
    struct wg_recall ghost;
    atomic_uint waits;
    void (*done)(struct wg_changes *c);
};

/* lease.c */
int wg_leases_init(struct wg_leases *t, const char *name, uint64_t term_ns, uint32_t entries,
                   uint32_t holders_max);
void wg_leases_fini(struct wg_leases *t);
/* At a start: path is the file of holders, or empty. */
void wg_leases_open(struct wg_leases *t, const char *path);
/* From now on nobody waits, and those that do are answered. */
void wg_leases_close(struct wg_leases *t);
/* When no request is left: the timer does not run any more. */
void wg_leases_quiet(struct wg_leases *t);

/*
 * A request (or LEASE) of session s came in, with its drop number, not 0: its lease is renewed or begins. *slot
 * is the session's holder, made at the first time. WG_LEASE_RENEWED, WG_LEASE_LOST or 0.
 */
unsigned wg_holder_touch(struct wg_leases *t, struct wg_session *s, _Atomic(struct wg_holder *) *slot,
                         const uint8_t client[16], uint64_t drop);
/* The session is about to be forgotten: false while its client may still believe in its lease. */
bool wg_holder_forgettable(struct wg_holder *h, uint64_t now);
void wg_holder_leave(struct wg_leases *t, struct wg_holder *h);
/* The session has a lane again, or another: what it has not answered is sent once more. */
void wg_holder_resend(struct wg_holder *h);
void wg_holder_recalled(struct wg_leases *t, struct wg_holder *h, uint64_t id);

/* recall.c: something changed: looked up, and remembered in c. c may be of a change that no request made. */
void wg_leases_changed(struct wg_changes *c, const wg_gfid *gfid, struct wg_str name);
/* Recalls what c has found; c->done(c) runs once, on any thread, maybe before this returns. */
void wg_leases_recall(struct wg_changes *c);
/* A change in the background: holders are told, nobody waits. */
void wg_leases_tell(struct wg_leases *t, const struct wg_event *ev);

/* The table is full: somebody is to begin anew. */
void wg_leases_crowded(struct wg_leases *t);

/* Between lease.c and recall.c. The timer runs at that time, or before; or soon. */
void wg_leases_arm(struct wg_leases *t, uint64_t at);
void wg_leases_hurry(struct wg_leases *t);
void wg_leases_flush(struct wg_leases *t, uint64_t now);
/* Under h's lock: its recalls come off, to be ended without it. */
struct wg_recall *wg_holder_take_all(struct wg_holder *h);
/* Under h's lock: its lease ends if it has run out; true when it did. */
bool wg_holder_expire(struct wg_leases *t, struct wg_holder *h, uint64_t now);
void wg_recalls_end(struct wg_leases *t, struct wg_recall *list);

/* leasetable.c */
int wg_lease_table_make(struct wg_leases *t);
/* Without a lock: an old instance's clients are waited for before anybody new has made one. */
static inline bool wg_lease_table_made(struct wg_leases *t)
{
    return __atomic_load_n(&t->size, __ATOMIC_ACQUIRE) != 0;
}
void wg_lease_table_free(struct wg_leases *t);
/* false: full. Before the store looks. */
bool wg_lease_add(struct wg_leases *t, struct wg_holder *h, const wg_gfid *gfid, struct wg_str name);
/* Calls each(arg, holder) for all that hold hash, with the shard's lock held. */
void wg_lease_find(struct wg_leases *t, uint64_t hash, void (*each)(void *arg, struct wg_holder *h),
                   void *arg);
/* Removes h's entry of hash if it is older than seq. */
void wg_lease_remove(struct wg_leases *t, struct wg_holder *h, uint64_t hash, uint64_t seq);

/* leasefile.c: under leases.lock, but open and close. */
void wg_lease_file_open(struct wg_leases *t, const char *path);
void wg_lease_file_close(struct wg_leases *t);
/* False: it could not be noted, so it must be granted nothing: a next instance would not wait for it. */
bool wg_lease_file_add(struct wg_leases *t, const uint8_t client[16]);
/* Writes who is a holder now, and nobody else. */
void wg_lease_file_rewrite(struct wg_leases *t);
/* client has dropped everything: true when it was the last ghost. */
bool wg_lease_file_seen(struct wg_leases *t, const uint8_t client[16]);

#endif
