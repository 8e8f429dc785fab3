/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What caches above this client may believe, and for how long (gateway/lease.h, docs/wire.md).
 *
 * The lease runs from when a request was first sent that the brick says renewed it. It never goes on
 * after a gap: once it has run out, or all lanes are lost, or the brick is another instance, everything
 * is dropped (WG_EV_RESET) and the drop number grows, which tells the brick that nothing of before
 * counts. Between the two the lease stands still at 0, so what is remembered can't come to life again:
 * an answer that was asked for under an old number is not granted under a new one, and what was
 * asked for before the reset is dead by the caches' own count.
 */
#include <stdlib.h>

#define WG_LOG_PART "client"
#include "log.h"
#include "xlators/protocol/client/client.h"

#define MARGIN 128 /* the clocks may part by one part in this many, and then some */

/*
 * Leases outlive their clients, since a cache's entries point to them: 24 bytes for each client that ever
 * was, which is few. Kept in a list, so that they are not lost.
 */
struct kept_lease {
    struct wg_lease lease;
    struct kept_lease *next;
};

static _Atomic(struct kept_lease *) kept;

int wg_client_lease_init(struct wg_client *c)
{
    struct kept_lease *k = calloc(1, sizeof *k);

    if (!k)
        return ENOMEM;
    k->next = atomic_load(&kept);
    while (!atomic_compare_exchange_weak(&kept, &k->next, k))
        ;
    c->lease = &k->lease;
    return 0;
}

static uint64_t end_of(struct wg_client *c, uint64_t sent_ns)
{
    uint64_t term = atomic_load(&c->cache_ns), margin = term / MARGIN + 10000000u;

    return term > margin ? sent_ns + term - margin : 0;
}

void wg_client_reset(struct wg_client *c)
{
    pthread_mutex_lock(&c->lock);
    atomic_store(&c->lease->until_ns, 0);
    atomic_fetch_add(&c->resetting, 1);
    atomic_store(&c->holding, false);
    pthread_mutex_unlock(&c->lock);
    wg_notify(c->xl, &(struct wg_event){ .kind = WG_EV_RESET });
    pthread_mutex_lock(&c->lock);
    if (atomic_load(&c->drop))
        atomic_fetch_add(&c->drop, 1);
    atomic_fetch_sub(&c->resetting, 1);
    pthread_mutex_unlock(&c->lock);
    atomic_fetch_add_explicit(&c->resets, 1, memory_order_relaxed);
}

/* Under the lock: true when it ran out before, and so must not go on. */
static bool extend(struct wg_client *c, uint64_t drop, uint64_t until)
{
    uint64_t old = atomic_load(&c->lease->until_ns), now = wg_now_ns();

    if (atomic_load(&c->drop) != drop || atomic_load(&c->resetting))
        return false;
    if (old && old <= now)
        return true;
    if (until > old && until > now)
        atomic_store(&c->lease->until_ns, until);
    return false;
}

void wg_client_leased(struct wg_client *c, unsigned flags, uint64_t drop, uint64_t sent_ns)
{
    uint64_t old = atomic_load_explicit(&c->lease->until_ns, memory_order_relaxed), until;
    bool reset = false;

    if (!drop)
        return;
    if (flags & WG_LEASE_LOST) {
        reset = drop == atomic_load(&c->drop);
    } else if (flags & WG_LEASE_RENEWED) {
        until = end_of(c, sent_ns);
        /* Not for every answer: only when it is worth the lock. */
        if (old && until < old + atomic_load(&c->cache_ns) / 16)
            return;
        pthread_mutex_lock(&c->lock);
        reset = extend(c, drop, until);
        pthread_mutex_unlock(&c->lock);
    }
    if (reset)
        wg_client_reset(c);
}

/*
 * Read in this order: a reset that comes between the two, or after both, is heard by the caches
 * after they had asked, and kills this answer.
 */
bool wg_client_may_keep(struct wg_client *c, uint64_t drop)
{
    bool may = drop && atomic_load(&c->drop) == drop && !atomic_load(&c->resetting);

    if (may && !atomic_load_explicit(&c->holding, memory_order_relaxed))
        atomic_store(&c->holding, true);
    return may;
}

static void tell(struct wg_client *c, struct wg_things things)
{
    struct wg_event ev = { .kind = WG_EV_INVALIDATE };

    while (wg_next_thing(&things, &ev.gfid, &ev.name))
        wg_notify(c->xl, &ev);
}

void wg_client_changed(struct wg_client *c, const struct wg_reply *r)
{
    if (r->flags & WG_REPLY_CHANGED_ALL)
        wg_notify(c->xl, &(struct wg_event){ .kind = WG_EV_RESET });
    else
        tell(c, r->changed);
}

void wg_client_unknown(struct wg_client *c, const struct wg_frame *f)
{
    if (wg_fops[f->op].kind == 'W' && atomic_load(&c->drop))
        wg_notify(c->xl, &(struct wg_event){ .kind = WG_EV_RESET });
}

int wg_client_recalled(struct wg_client_lane *l, uint64_t id, struct wg_dec *d)
{
    struct wg_client *c = l->client;
    struct wg_things things;

    if (wg_get_recall(d, &things))
        return EPROTO;
    atomic_fetch_add_explicit(&c->recalls, 1, memory_order_relaxed);
    if (things.count)
        tell(c, things);
    else
        wg_notify(c->xl, &(struct wg_event){ .kind = WG_EV_RESET });
    /* Should the lane break, the brick asks again on the next. */
    wg_lane_send(l->lane, &(struct wg_msg){ .type = WG_MSG_RECALLED, .id = id, .must = true });
    return 0;
}

/* --- without requests --- */

void wg_client_send_lease(struct wg_client *c, struct wg_client_lane *l)
{
    uint8_t body[32];
    struct wg_enc e = { .at = body, .end = body + sizeof body };
    uint64_t id, drop;

    pthread_mutex_lock(&c->lock);
    drop = atomic_load(&c->drop);
    id = ++c->asked_id;
    c->asked_ns = wg_now_coarse_ns();
    c->asked_drop = drop;
    pthread_mutex_unlock(&c->lock);
    wg_put_number(&e, drop);
    wg_lane_send(l->lane, &(struct wg_msg){ .type = WG_MSG_LEASE, .id = id, .body = body, .must = true,
                                            .body_len = (uint32_t)(e.at - body) });
}

void wg_client_lease_ok(struct wg_client *c, uint64_t id, unsigned flags)
{
    uint64_t sent = 0, drop = 0;

    pthread_mutex_lock(&c->lock);
    if (id == c->asked_id) {
        sent = c->asked_ns;
        drop = c->asked_drop;
    }
    pthread_mutex_unlock(&c->lock);
    if (sent)
        wg_client_leased(c, flags, drop, sent);
}

void wg_client_lease_tick(struct wg_client *c, uint64_t now)
{
    uint64_t until = atomic_load(&c->lease->until_ns), term = atomic_load(&c->cache_ns), asked;
    struct wg_client_lane *l;

    if (!until)
        return;
    if (until <= now) {
        wg_client_reset(c);
        return;
    }
    /* A third of the time has passed unheard: ask, and again every sixth. */
    if (until - now > term / 3 * 2 || !atomic_load(&c->holding))
        return;
    pthread_mutex_lock(&c->lock);
    asked = c->asked_ns;
    pthread_mutex_unlock(&c->lock);
    l = wg_client_open_lane(c);
    if (l && now > asked + term / 6)
        wg_client_send_lease(c, l);
}
