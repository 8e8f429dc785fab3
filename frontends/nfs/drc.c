/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdlib.h>

#include "call.h"
#include "drc.h"
#include "dump.h"

enum {
    SHARDS = 32,
    CLIENTS = 8,      /* rings kept per shard; more only while they are in use */
    BUCKETS = 1024,
    RESULTS = 288,    /* the largest: CREATE with handle, attributes and wcc_data */
    PROBES = 64,
    WAITERS = 4,      /* of one request; more are dropped, the client asks again */
};

enum state { FREE, BUSY, DONE };

struct drc_entry {
    uint8_t id[16];
    uint8_t state;
    uint8_t nwaiters;
    uint16_t len;
    uint32_t chain;      /* next in the bucket, index + 1 */
    uint64_t serial;     /* of the connection that was answered */
    struct wg_rpc *waiters;
    uint8_t results[RESULTS];
};

struct drc_client {
    struct in6_addr addr;
    struct drc_client *next;
    unsigned users;      /* under the shard's lock */
    uint64_t used_ns;
    pthread_mutex_t lock; /* what follows */
    uint32_t buckets[BUCKETS]; /* index + 1 */
    uint64_t hits;
    unsigned at, n;
    struct drc_entry entries[];
};

static struct {
    pthread_mutex_t lock;
    struct drc_client *first;
} shards[SHARDS] = { [0 ... SHARDS - 1] = { PTHREAD_MUTEX_INITIALIZER, NULL } };

static unsigned ring_size = 1024;

void drc_size(unsigned entries)
{
    __atomic_store_n(&ring_size, entries, __ATOMIC_RELAXED);
}

/* --- clients --- */

static unsigned shard_of(const struct in6_addr *a)
{
    return (a->s6_addr[15] ^ a->s6_addr[14] ^ a->s6_addr[7]) % SHARDS;
}

/* Under the shard's lock: gives up the ring that was not used for longest. */
static void evict(unsigned shard)
{
    struct drc_client **oldest = NULL;
    unsigned n = 0;

    for (struct drc_client **at = &shards[shard].first; *at; at = &(*at)->next, n++)
        if ((*at)->users == 0 && (!oldest || (*at)->used_ns < (*oldest)->used_ns))
            oldest = at;
    if (n >= CLIENTS && oldest) {
        struct drc_client *c = *oldest;

        *oldest = c->next;
        pthread_mutex_destroy(&c->lock);
        free(c);
    }
}

static struct drc_client *find(unsigned shard, const struct in6_addr *a)
{
    for (struct drc_client *c = shards[shard].first; c; c = c->next)
        if (memcmp(&c->addr, a, sizeof *a) == 0)
            return c;
    return NULL;
}

static struct drc_client *enter(const struct in6_addr *a, bool make)
{
    unsigned shard = shard_of(a), n = __atomic_load_n(&ring_size, __ATOMIC_RELAXED);
    struct drc_client *c;

    pthread_mutex_lock(&shards[shard].lock);
    c = find(shard, a);
    if (!c && make) {
        evict(shard);
        c = calloc(1, sizeof *c + n * sizeof *c->entries);
        if (c) {
            c->addr = *a;
            c->n = n;
            pthread_mutex_init(&c->lock, NULL);
            c->next = shards[shard].first;
            shards[shard].first = c;
        }
    }
    if (c) {
        c->users++;
        c->used_ns = wg_now_coarse_ns();
    }
    pthread_mutex_unlock(&shards[shard].lock);
    return c;
}

static void leave(struct drc_client *c)
{
    unsigned shard = shard_of(&c->addr);

    pthread_mutex_lock(&shards[shard].lock);
    c->users--;
    pthread_mutex_unlock(&shards[shard].lock);
}

/* --- entries, under the client's lock --- */

static uint32_t *bucket_of(struct drc_client *c, const uint8_t id[16])
{
    uint32_t v;

    memcpy(&v, id, sizeof v); /* the id is a MAC: any part of it is a hash */
    return &c->buckets[v % BUCKETS];
}

static struct drc_entry *lookup(struct drc_client *c, const uint8_t id[16])
{
    for (uint32_t i = *bucket_of(c, id); i; i = c->entries[i - 1].chain)
        if (memcmp(c->entries[i - 1].id, id, 16) == 0)
            return &c->entries[i - 1];
    return NULL;
}

static void unlink_entry(struct drc_client *c, struct drc_entry *e)
{
    uint32_t self = (uint32_t)(e - c->entries) + 1;
    uint32_t *at = bucket_of(c, e->id);

    while (*at != self)
        at = &c->entries[*at - 1].chain;
    *at = e->chain;
    e->state = FREE;
}

/* The next entry of the ring that is not under execution; NULL when PROBES are. */
static struct drc_entry *claim(struct drc_client *c, const uint8_t id[16])
{
    for (unsigned i = 0; i < PROBES && i < c->n; i++) {
        struct drc_entry *e = &c->entries[c->at++ % c->n];
        uint32_t *bucket;

        if (e->state == BUSY)
            continue;
        if (e->state == DONE)
            unlink_entry(c, e);
        memcpy(e->id, id, 16);
        e->state = BUSY;
        e->nwaiters = 0;
        e->waiters = NULL;
        bucket = bucket_of(c, id);
        e->chain = *bucket;
        *bucket = (uint32_t)(e - c->entries) + 1;
        return e;
    }
    return NULL;
}

static enum drc_verdict again(struct drc_client *c, struct drc_entry *e, struct wg_rpc *r)
{
    c->hits++;
    if (e->state == BUSY && e->nwaiters < WAITERS) {
        r->next = e->waiters;
        e->waiters = r;
        e->nwaiters++;
        return DRC_WAITS;
    }
    if (e->state == BUSY)
        return DRC_REPLAY; /* with nothing in it: the caller drops it */
    wg_rpc_accept(r, WG_RPC_OK);
    memcpy(r->out.at, e->results, e->len);
    r->out.at += e->len;
    return DRC_REPLAY;
}

/* Under the client's lock, which it lets go of meanwhile: is the entry of that id of a connection that is in use? */
static bool is_others(struct drc_client *c, const uint8_t id[16], const struct wg_rpc *r)
{
    const struct drc_entry *e = lookup(c, id);
    uint64_t serial = e ? e->serial : 0;
    bool in_use;

    if (!e || serial == r->peer->serial)
        return false;
    pthread_mutex_unlock(&c->lock);
    in_use = wg_rpc_in_use(serial);
    pthread_mutex_lock(&c->lock);
    e = lookup(c, id);
    return in_use && e && e->serial == serial;
}

enum drc_verdict drc_begin(struct drc_ticket *t, struct wg_rpc *r, const uint8_t id[16])
{
    struct drc_client *c = enter(&r->peer->addr, true);
    enum drc_verdict v = DRC_NEW;
    struct drc_entry *e;

    *t = (struct drc_ticket){ NULL, NULL };
    if (!c)
        return DRC_NEW;
    pthread_mutex_lock(&c->lock);
    if (is_others(c, id, r)) {
        v = DRC_OTHERS;
    } else if ((e = lookup(c, id))) {
        v = again(c, e, r);
    } else {
        e = claim(c, id);
        if (e) {
            e->serial = r->peer->serial;
            *t = (struct drc_ticket){ c, e };
        }
    }
    pthread_mutex_unlock(&c->lock);
    if (!t->client)
        leave(c);
    return v;
}

struct wg_rpc *drc_end(struct drc_ticket *t, const uint8_t *results, uint32_t len)
{
    struct drc_client *c = t->client;
    struct drc_entry *e = t->entry;
    struct wg_rpc *waiters;

    if (!c)
        return NULL;
    pthread_mutex_lock(&c->lock);
    waiters = e->waiters;
    e->waiters = NULL;
    if (waiters)
        e->serial = waiters->peer->serial;
    if (results && len <= RESULTS) {
        memcpy(e->results, results, len);
        e->len = (uint16_t)len;
        e->state = DONE;
    } else {
        unlink_entry(c, e);
    }
    pthread_mutex_unlock(&c->lock);
    leave(c);
    t->client = NULL;
    return waiters;
}

void drc_forget(const struct wg_rpc_peer *peer)
{
    struct drc_client *c = enter(&peer->addr, false);

    if (!c)
        return;
    pthread_mutex_lock(&c->lock);
    for (unsigned i = 0; i < c->n; i++)
        if (c->entries[i].state == DONE && c->entries[i].serial == peer->serial)
            unlink_entry(c, &c->entries[i]);
    pthread_mutex_unlock(&c->lock);
    leave(c);
}

void drc_dump(struct wg_dump *d)
{
    uint64_t clients = 0, busy = 0, done = 0, hits = 0;

    for (unsigned s = 0; s < SHARDS; s++) {
        pthread_mutex_lock(&shards[s].lock);
        for (struct drc_client *c = shards[s].first; c; c = c->next, clients++) {
            pthread_mutex_lock(&c->lock);
            hits += c->hits;
            for (unsigned i = 0; i < c->n; i++) {
                busy += c->entries[i].state == BUSY;
                done += c->entries[i].state == DONE;
            }
            pthread_mutex_unlock(&c->lock);
        }
        pthread_mutex_unlock(&shards[s].lock);
    }
    wg_dump_object(d, "replay_cache");
    wg_dump_u64(d, "clients", clients);
    wg_dump_u64(d, "executing", busy);
    wg_dump_u64(d, "replies", done);
    wg_dump_u64(d, "retransmissions", hits);
    wg_dump_end(d);
}

void drc_free(void)
{
    for (unsigned s = 0; s < SHARDS; s++) {
        while (shards[s].first) {
            struct drc_client *c = shards[s].first;

            shards[s].first = c->next;
            pthread_mutex_destroy(&c->lock);
            free(c);
        }
    }
}
