/* SPDX-License-Identifier: Apache-2.0 */
/*
 * features/locks, inside: locks.c (the class), table.c (locks, their lines and timers), grace.c
 * (what outlives a restart).
 *
 * Threads: fops come on any thread; a lock's timer runs on a worker. One mutex for the table: locks
 * are few and short beside the fops they guard. Under it only the allocator, the workers' timers
 * and grace.c are called; frames are unwound after it (struct answers).
 */
#ifndef WG_LOCKS_H
#define WG_LOCKS_H

#include <pthread.h>

#include "work.h"
#include "xlator.h"

#define LOCKS_BUCKETS 1024
#define LOCKS_CLIENT 64  /* bytes of a client's address kept for dumps */
#define LOCKS_SHOWN 1000 /* in a dump */

struct locks;

/* A take that stands in line; the frame's local. */
struct waiter {
    struct wg_frame *frame;
    struct waiter *next;
    uint64_t since_ns, until_ns;
    int err;          /* once it is answered */
    uint32_t ttl_ms;  /* granted */
};

/* Those to unwind when the table's lock is free again. */
struct answers {
    struct waiter *first, **last;
};

/* In the table as long as it is held or waited for. */
struct lock {
    struct lock *next; /* of its bucket */
    struct locks *of;
    bool held;
    wg_gfid owner;
    uint64_t since_ns, until_ns, renewals;
    char client[LOCKS_CLIENT];
    struct waiter *first, *last;
    unsigned nwaiting;
    /*
     * Armed for whatever comes first; when that moves later (a renewal) it runs for nothing, once.
     * armed: it will run, or is about to wait for the table's lock. dead: out of the table; the timer frees it.
     */
    struct wg_timer timer;
    bool armed, dead;
    wg_gfid at;
    uint32_t len;
    char name[];
};

/* The state file. */
struct grace {
    const char *path;     /* the option; empty: no file is wanted */
    int fd;               /* -1: none */
    uint64_t written_ns;  /* what the file says */
    uint64_t until_ns;    /* nothing new is granted before */
};

#define LOCKS_GONE 1024            /* drops remembered */
#define LOCKS_GONE_NS 60000000000u /* for so long, more than a take is under way on another connection */

/* A drop that found nothing: its take is still to come, and must not be granted to nobody. */
struct gone {
    wg_gfid owner;
    uint64_t lock;   /* a hash of what it is about, and its name */
    uint64_t at_ns;
};

struct locks {
    char *name;           /* the translator's, and where its state is: of instances that come and go */
    char *path;
    pthread_mutex_t lock;
    unsigned instances;   /* two while a changed graph takes the place of another */
    struct wg_xlator *newest; /* of them; only compared with */
    pthread_cond_t idle;  /* no timer is armed */
    struct lock *buckets[LOCKS_BUCKETS];
    unsigned nlocks, nheld, nwaiting, narmed;
    unsigned max_locks, max_waiting;
    uint64_t ttl_max_ns, wait_max_ns;
    bool draining;
    struct gone gone[LOCKS_GONE]; /* a ring */
    unsigned ngone;               /* made so far: the next place, modulo its size */
    struct grace grace;
    uint64_t taken, renewed, reclaimed, dropped, expired, refused, overflowed;
};

/*
 * table.c. All under t->lock, which lock_of and the like do not take. Answers are for
 * locks_answer, after it.
 */
struct lock *locks_find(struct locks *t, const wg_gfid *at, struct wg_str name);
/* A new one; ENOLCK at max-locks, ENOMEM. */
int locks_add(struct locks *t, const wg_gfid *at, struct wg_str name, struct lock **ret);
/* Ends what has run out, grants what is free, and arms the timer; or removes l when nothing is left. */
void locks_settle(struct lock *l, uint64_t now, struct answers *a);
/* l is owner's from now on. 0, or why it could not be noted for a restart: then it is as before. */
int locks_hold(struct lock *l, const wg_gfid *owner, const struct wg_frame *f, uint64_t now, uint64_t ttl_ns);
void locks_release(struct lock *l);
/* f goes to the end of the line. */
void locks_enqueue(struct lock *l, struct wg_frame *f, uint64_t now, uint64_t until);
/* The one of owner in line, taken out of it; NULL: none. */
struct waiter *locks_dequeue(struct lock *l, const wg_gfid *owner);
/* owner has given up a lock that it will be seen to ask for. */
void locks_gone(struct locks *t, const wg_gfid *at, struct wg_str name, const wg_gfid *owner, uint64_t now);
bool locks_is_gone(const struct locks *t, const struct lock *l, const wg_gfid *owner, uint64_t now);
/* Answers w with err. */
void locks_end(struct waiter *w, int err, struct answers *a);
/* Answers all that wait, each lock's line. */
void locks_end_all(struct locks *t, int err, struct answers *a);
/* Unwinds; not under t->lock. */
void locks_answer(struct answers *a);
/* Waits until no timer runs any more, then frees all. Not under t->lock. */
void locks_clear(struct locks *t);

/*
 * grace.c: a file with the time until when the last lock may be held, in this machine's uptime, so
 * that a brick that starts again grants nothing before its holders have had the time to renew.
 * Under t->lock, or before calls come.
 */
void grace_open(struct locks *t, const char *path, uint64_t now);
/* Some lock is held until until_ns. 0, or the errno of the file: then it must not be given. */
int grace_note(struct locks *t, uint64_t until_ns);
/* None is held. */
void grace_clear(struct grace *g);
void grace_close(struct grace *g);

#endif
