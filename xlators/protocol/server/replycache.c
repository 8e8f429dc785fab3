/* SPDX-License-Identifier: Apache-2.0 */
#include "xlators/protocol/server/replycache.h"

#include <stdlib.h>

int wg_replycache_init(struct wg_replycache *c, uint32_t nslots)
{
    memset(c, 0, sizeof *c);
    c->entries = calloc(nslots, sizeof *c->entries);
    if (!c->entries)
        return ENOMEM;
    c->n = nslots;
    for (uint32_t i = 0; i < nslots; i++)
        pthread_mutex_init(&c->entries[i].lock, NULL);
    return 0;
}

void wg_replycache_fini(struct wg_replycache *c)
{
    for (uint32_t i = 0; i < c->n; i++)
        pthread_mutex_destroy(&c->entries[i].lock);
    free(c->entries);
    c->entries = NULL;
    c->n = 0;
}

static void raise_to(_Atomic uint64_t *value, uint64_t to)
{
    uint64_t old = atomic_load(value);

    while (old < to && !atomic_compare_exchange_weak(value, &old, to))
        ;
}

void wg_replycache_raise(struct wg_replycache *c, uint64_t epoch)
{
    raise_to(&c->epoch, epoch);
}

/* e holds this very request already. */
static enum wg_verdict again(struct wg_entry *e, void *lane, struct wg_found *ret)
{
    if (e->state == WG_ENTRY_RUNS) {
        ret->lane = e->lane;
        e->lane = lane;
        return WG_WAIT;
    }
    ret->len = e->len;
    memcpy(ret->reply, e->reply, e->len);
    return WG_ANSWERED;
}

/*
 * The epoch is read under the entry's lock, and raise stores it before running() takes that
 * lock: so either running() counts this request, or this request sees the new epoch.
 */
static enum wg_verdict first(struct wg_replycache *c, struct wg_entry *e,
                             const struct wg_request *r, uint64_t id, uint64_t now_ns, void *lane)
{
    if (e->state == WG_ENTRY_RUNS)
        return WG_BROKEN;
    if (r->epoch < atomic_load(&c->epoch))
        return WG_IS_STALE;
    if (now_ns > r->expires_ns)
        return WG_IS_LATE;
    e->id = id;
    e->epoch = r->epoch;
    memcpy(e->request_id, r->request_id, sizeof e->request_id);
    e->state = WG_ENTRY_RUNS;
    e->lane = lane;
    return WG_RUN;
}

enum wg_verdict wg_replycache_begin(struct wg_replycache *c, const struct wg_request *r,
                                    uint64_t id, uint64_t now_ns, void *lane,
                                    struct wg_found *ret)
{
    struct wg_entry *e;
    enum wg_verdict v;

    if (wg_id_slot(id) >= c->n)
        return WG_BROKEN;
    e = &c->entries[wg_id_slot(id)];
    wg_replycache_raise(c, r->epoch);
    raise_to(&c->last_expiry, r->expires_ns);
    pthread_mutex_lock(&e->lock);
    if (id < e->id)
        v = WG_IS_OLD;
    else if (id == e->id)
        v = again(e, lane, ret);
    else
        v = first(c, e, r, id, now_ns, lane);
    pthread_mutex_unlock(&e->lock);
    return v;
}

void *wg_replycache_end(struct wg_replycache *c, uint64_t id, const void *reply, uint32_t len)
{
    struct wg_entry *e = &c->entries[wg_id_slot(id)];
    void *lane;

    pthread_mutex_lock(&e->lock);
    lane = e->lane;
    e->lane = NULL;
    e->len = (uint16_t)len;
    memcpy(e->reply, reply, len);
    e->state = WG_ENTRY_DONE;
    pthread_mutex_unlock(&e->lock);
    return lane;
}

unsigned wg_replycache_running(struct wg_replycache *c, uint64_t epoch)
{
    unsigned n = 0;

    for (uint32_t i = 0; i < c->n; i++) {
        struct wg_entry *e = &c->entries[i];

        pthread_mutex_lock(&e->lock);
        n += e->state == WG_ENTRY_RUNS && e->epoch < epoch;
        pthread_mutex_unlock(&e->lock);
    }
    return n;
}
