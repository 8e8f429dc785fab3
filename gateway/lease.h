/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What caches stand on: a layer may remember an answer when the store promises to say so before
 * the answer stops being true. Five parts work together:
 *
 *  - A *cache* (a layer above) asks: it sets f->want_lease before it winds. In its completion
 *    f->lease is NULL (don't remember it) or says how long the promise holds, and f->uses lists
 *    what the answer depends on.
 *  - The *store* says, while it executes, what an answer depends on (wg_uses, before it looks) and
 *    what a modifying fop changed (wg_changed, after the change and before it unwinds).
 *  - In a brick, *protocol/server* watches a call (call->watch): it notes who depends on what, and
 *    answers a change only when the other gateways have given back, or lost, what they held.
 *  - In a gateway, *protocol/client* carries this, and tells the layers above by wg_notify.
 *    Without a brick the store's own wg_changed does so.
 *  - The cache's event() forgets. struct wg_inval makes this one store, without a search.
 *
 * Names: a thing that can change is an inode (its attributes, content and xattrs: name empty) or one
 * name in a directory (gfid of the directory, and the name). A directory is reported with WG_ANY_NAME, and
 * with the empty name besides, when all answers about its names may be others now: its permissions (mode,
 * owner, ACL) changed, it was removed, or which names changed is not known.
 *
 * Not promised: access times, blocks used, and the `parent` that a lookup answers beside what it was asked
 * for. A cache keeps none of them.
 */
#ifndef WG_LEASE_H
#define WG_LEASE_H

#include "call.h"

#define WG_ANY_NAME WG_STR("/") /* no name has a slash */

/* Until when answers may be believed, CLOCK_MONOTONIC; owned by who grants it, outlives the graph. */
struct wg_lease {
    _Atomic uint64_t until_ns;
};

/* Of a store in this process: it always tells. */
extern const struct wg_lease wg_lease_always;

/* What an answer depends on. In the call's arena. */
struct wg_use {
    wg_gfid gfid;
    struct wg_str name;
    const struct wg_use *next;
};

/*
 * Watches the calls that somebody else's caches depend on (protocol/server), and the calls of their
 * coroutines: of one request's, several may be told at a time, on several threads.
 */
struct wg_watch {
    /* Before f's layer looks at it. Called only when f->want_lease. */
    void (*uses)(struct wg_watch *w, struct wg_frame *f, const wg_gfid *gfid, struct wg_str name);
    /* After the change, before f unwinds. */
    void (*changed)(struct wg_watch *w, struct wg_frame *f, const wg_gfid *gfid, struct wg_str name);
};

/* The answer of f depends on this; say it before looking. gfid and name are copied. Costs nothing unasked. */
#define wg_uses(f, gfid, name) ((f)->want_lease ? wg_uses_((f), (gfid), (name)) : (void)0)
void wg_uses_(struct wg_frame *f, const wg_gfid *gfid, struct wg_str name);

/*
 * f has changed this. After the change, before the unwind; on errors too, when something may have changed. Caches
 * of this process have forgotten it when this returns.
 */
void wg_changed(struct wg_frame *f, const wg_gfid *gfid, struct wg_str name);

enum wg_event_kind {
    WG_EV_INVALIDATE, /* gfid, name: changed */
    WG_EV_RESET,      /* anything may have changed */
};

struct wg_event {
    enum wg_event_kind kind;
    wg_gfid gfid;
    struct wg_str name;
};

/*
 * Tells every layer above xl that has an event function, nearest first (so that a layer that asks
 * again finds nothing old below). Any thread; no lock of the caller's that such a layer could take
 * may be held. event() must not block, wind or change the graph.
 */
void wg_notify(struct wg_xlator *xl, const struct wg_event *ev);

/*
 * A cache's memory of changes. An entry keeps `seen`, taken before the fop was wound, and the slots
 * of what it uses; it counts while none of them has changed since. So a change that races with a
 * fill needs no lock: the entry is born dead. Slots are shared by hash, which costs a needless miss now and then.
 */
#define WG_INVAL_SLOTS 16384

struct wg_inval {
    _Atomic uint64_t now;   /* number of the last change */
    _Atomic uint64_t reset; /* of the last reset */
    _Atomic uint64_t slot[WG_INVAL_SLOTS];
};

typedef uint16_t wg_inval_slot;

static inline uint64_t wg_inval_seen(struct wg_inval *iv)
{
    return atomic_load_explicit(&iv->now, memory_order_acquire);
}

/* A hash of gfid and name, seeded at random for each process. For tables too. */
uint64_t wg_hash_name(const wg_gfid *gfid, struct wg_str name);

static inline wg_inval_slot wg_inval_slot_of(const wg_gfid *gfid, struct wg_str name)
{
    return (wg_inval_slot)(wg_hash_name(gfid, name) % WG_INVAL_SLOTS);
}

/*
 * The slots of f's uses: at most max into ret; a name adds its directory's WG_ANY_NAME slot. The number,
 * or -1 when there are more (don't remember the answer then).
 */
int wg_inval_uses(const struct wg_frame *f, wg_inval_slot *ret, int max);

static inline bool wg_inval_unchanged(struct wg_inval *iv, uint64_t seen, const wg_inval_slot *slots, int n)
{
    bool ok = atomic_load_explicit(&iv->reset, memory_order_acquire) <= seen;

    for (int i = 0; ok && i < n; i++)
        ok = atomic_load_explicit(&iv->slot[slots[i]], memory_order_acquire) <= seen;
    return ok;
}

static inline bool wg_lease_holds(const struct wg_lease *l, uint64_t now_ns)
{
    return l && atomic_load_explicit(&l->until_ns, memory_order_acquire) > now_ns;
}

/* The event function of a cache that has an inval. */
void wg_inval_event(struct wg_inval *iv, const struct wg_event *ev);

#endif
