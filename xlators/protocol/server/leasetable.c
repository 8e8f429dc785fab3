/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who remembers what: a hash table of (thing, holder), bounded, in shards. A thing is its 64-bit
 * hash; two that share one cost a needless recall. Entries of a term that ended are dead at once (the
 * holder's floor), and taken out when somebody needs room.
 */
#include <stdlib.h>

#include "xlators/protocol/server/lease.h"

#define FULL_NS 100000000u /* a full shard is not searched for dead entries more often */

int wg_lease_table_make(struct wg_leases *t)
{
    uint32_t size = WG_LEASE_SHARDS * 16, each;

    while (size < t->want)
        size *= 2;
    /* Untouched pages cost nothing. */
    t->entries = calloc(size, sizeof *t->entries);
    t->buckets = calloc(size, sizeof *t->buckets);
    if (!t->entries || !t->buckets)
        return ENOMEM;
    each = size / WG_LEASE_SHARDS;
    for (unsigned i = 0; i < WG_LEASE_SHARDS; i++) {
        t->shard[i].entry = t->entries + (size_t)i * each;
        t->shard[i].bucket = t->buckets + (size_t)i * each;
    }
    __atomic_store_n(&t->size, each, __ATOMIC_RELEASE); /* changes look whether there is one */
    return 0;
}

void wg_lease_table_free(struct wg_leases *t)
{
    free(t->entries);
    free(t->buckets);
    t->entries = NULL;
    t->buckets = NULL;
    t->size = 0;
}

static struct wg_lease_shard *shard_of(struct wg_leases *t, uint64_t hash)
{
    return &t->shard[hash >> 58];
}

static uint32_t *bucket_of(struct wg_leases *t, struct wg_lease_shard *s, uint64_t hash)
{
    return &s->bucket[hash & (t->size - 1)];
}

static bool dead(struct wg_leases *t, const struct wg_lease_entry *e)
{
    struct wg_holder *h = t->holder[e->holder];

    return e->seq < atomic_load(&h->floor);
}

/* Under the shard's lock: the entry that link leads to goes. */
static void unlink_entry(struct wg_leases *t, struct wg_lease_shard *s, uint32_t *link)
{
    uint32_t i = *link;
    struct wg_lease_entry *e = &s->entry[i - 1];

    *link = e->next;
    e->next = s->free;
    s->free = i;
    s->live--;
    atomic_fetch_sub_explicit(&t->holder[e->holder]->entries, 1, memory_order_relaxed);
}

static void sweep(struct wg_leases *t, struct wg_lease_shard *s)
{
    for (uint32_t b = 0; b < t->size; b++)
        for (uint32_t *link = &s->bucket[b]; *link;) {
            if (dead(t, &s->entry[*link - 1]))
                unlink_entry(t, s, link);
            else
                link = &s->entry[*link - 1].next;
        }
}

/* Under the shard's lock: 1 + an index; 0: full. */
static uint32_t new_entry(struct wg_leases *t, struct wg_lease_shard *s)
{
    uint32_t i;
    uint64_t now;

    if (!s->free && s->made == t->size) {
        now = wg_now_coarse_ns();
        if (now - s->full_ns > FULL_NS) {
            sweep(t, s);
            s->full_ns = s->free ? 0 : now;
        }
    }
    if (!s->free)
        return s->made < t->size ? ++s->made : 0;
    i = s->free;
    s->free = s->entry[i - 1].next;
    return i;
}

static bool add(struct wg_leases *t, struct wg_holder *h, uint64_t hash)
{
    struct wg_lease_shard *s = shard_of(t, hash);
    uint64_t seq;
    uint32_t i, *bucket;

    pthread_mutex_lock(&s->lock);
    bucket = bucket_of(t, s, hash);
    seq = atomic_load(&h->seq);
    for (i = *bucket; i; i = s->entry[i - 1].next)
        if (s->entry[i - 1].hash == hash && s->entry[i - 1].holder == h->number)
            break;
    if (i) {
        s->entry[i - 1].seq = seq;
    } else {
        i = new_entry(t, s);
        if (i) {
            s->entry[i - 1] = (struct wg_lease_entry){ hash, seq, *bucket, h->number };
            *bucket = i;
            s->live++;
            atomic_fetch_add_explicit(&h->entries, 1, memory_order_relaxed);
        }
    }
    pthread_mutex_unlock(&s->lock);
    return i != 0;
}

/* A name goes with all of its directory's: who has one hears of changes of them all. */
bool wg_lease_add(struct wg_leases *t, struct wg_holder *h, const wg_gfid *gfid, struct wg_str name)
{
    return add(t, h, wg_hash_name(gfid, name)) &&
           (name.len == 0 || add(t, h, wg_hash_name(gfid, WG_ANY_NAME)));
}

void wg_lease_find(struct wg_leases *t, uint64_t hash, void (*each)(void *arg, struct wg_holder *h),
                   void *arg)
{
    struct wg_lease_shard *s = shard_of(t, hash);

    pthread_mutex_lock(&s->lock);
    for (uint32_t *link = bucket_of(t, s, hash); *link;) {
        struct wg_lease_entry *e = &s->entry[*link - 1];

        if (dead(t, e)) {
            unlink_entry(t, s, link);
            continue;
        }
        if (e->hash == hash)
            each(arg, t->holder[e->holder]);
        link = &e->next;
    }
    pthread_mutex_unlock(&s->lock);
}

void wg_lease_remove(struct wg_leases *t, struct wg_holder *h, uint64_t hash, uint64_t seq)
{
    struct wg_lease_shard *s = shard_of(t, hash);

    pthread_mutex_lock(&s->lock);
    for (uint32_t *link = bucket_of(t, s, hash); *link; link = &s->entry[*link - 1].next) {
        struct wg_lease_entry *e = &s->entry[*link - 1];

        if (e->hash == hash && e->holder == h->number) {
            if (e->seq < seq)
                unlink_entry(t, s, link);
            break;
        }
    }
    pthread_mutex_unlock(&s->lock);
}
