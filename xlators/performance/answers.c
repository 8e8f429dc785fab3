/* SPDX-License-Identifier: Apache-2.0 */
#include "answers.h"

#include <pthread.h>
#include <stdlib.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "dump.h"

#define SHARDS 32
#define USES_MAX 40       /* slots that one answer may depend on: a key of twenty components */
#define BUCKET_BYTES 512  /* one bucket for so many bytes of the bound */
#define BUCKETS_MAX 65536 /* in a shard */

struct entry {
    struct entry *chain;        /* of its bucket */
    struct entry *newer, *older; /* of the shard, by use */
    uint64_t hash;
    uint64_t seen, made_ns;
    const struct wg_lease *lease;
    uint32_t bytes;             /* this allocation */
    uint32_t value_len;
    uint16_t key_len;
    uint16_t nslots;
    wg_inval_slot slots[];      /* then the key, then the value */
};

struct shard {
    pthread_mutex_t lock;
    struct entry **buckets;
    struct entry *newest, *oldest;
    uint64_t bytes, entries;
    uint64_t hits, misses, outdated, evicted, kept;
} __attribute__((aligned(64)));

struct wg_answers {
    struct wg_inval inval;
    _Atomic uint64_t bytes_max, ttl_ns;
    atomic_uint_least64_t refused;
    uint32_t nbuckets; /* of each shard, a power of two */
    struct shard shard[SHARDS];
};

bool wg_answer_key(struct wg_answer_key *ret, uint8_t kind, const struct wg_cred *cred, const wg_gfid *gfid,
                   struct wg_str more)
{
    static const wg_gfid salt = { { 1 } }; /* any constant: seeds the digest from the process's seed */
    uint64_t who[2] = { 0, 0 };

    if (more.len > sizeof ret->bytes - 33)
        return false;
    if (cred) {
        uint64_t seed = wg_hash_name(&salt, (struct wg_str){ NULL, 0 });
        uint32_t ids[2] = { cred->uid, cred->gid };
        XXH128_hash_t h = XXH3_128bits_withSeed(ids, sizeof ids, seed);

        if (cred->ngroups > 0)
            h = XXH3_128bits_withSeed(cred->groups, cred->ngroups * sizeof *cred->groups, h.low64 ^ h.high64);
        who[0] = h.low64;
        who[1] = h.high64;
    }
    ret->bytes[0] = kind;
    memcpy(ret->bytes + 1, who, 16);
    memcpy(ret->bytes + 17, gfid->b, 16);
    if (more.len > 0)
        memcpy(ret->bytes + 33, more.s, more.len);
    ret->len = 33 + more.len;
    ret->hash = wg_hash_name(&salt, (struct wg_str){ (const char *)ret->bytes, ret->len });
    return true;
}

static uint8_t *key_of(struct entry *e)
{
    return (uint8_t *)(e->slots + e->nslots);
}

static struct shard *shard_of(struct wg_answers *a, uint64_t hash)
{
    return &a->shard[hash % SHARDS];
}

static struct entry **bucket_of(struct wg_answers *a, struct shard *s, uint64_t hash)
{
    return &s->buckets[(hash / SHARDS) & (a->nbuckets - 1)];
}

/* --- order of use; the shard's lock is held --- */

static void link_newest(struct shard *s, struct entry *e)
{
    e->newer = NULL;
    e->older = s->newest;
    if (s->newest)
        s->newest->newer = e;
    else
        s->oldest = e;
    s->newest = e;
}

static void unlink_order(struct shard *s, struct entry *e)
{
    *(e->newer ? &e->newer->older : &s->newest) = e->older;
    *(e->older ? &e->older->newer : &s->oldest) = e->newer;
}

static void drop(struct wg_answers *a, struct shard *s, struct entry *e)
{
    struct entry **at = bucket_of(a, s, e->hash);

    while (*at != e)
        at = &(*at)->chain;
    *at = e->chain;
    unlink_order(s, e);
    s->bytes -= e->bytes;
    s->entries--;
    free(e);
}

static struct entry *find(struct wg_answers *a, struct shard *s, const struct wg_answer_key *key)
{
    struct entry *e = *bucket_of(a, s, key->hash);

    while (e && (e->hash != key->hash || e->key_len != key->len || memcmp(key_of(e), key->bytes, key->len) != 0))
        e = e->chain;
    return e;
}

/* --- the table --- */

struct wg_answers *wg_answers_new(uint64_t bytes, uint64_t ttl_ns)
{
    struct wg_answers *a = aligned_alloc(64, sizeof *a);

    if (!a)
        return NULL;
    memset(a, 0, sizeof *a);
    a->nbuckets = 64;
    while (a->nbuckets < BUCKETS_MAX && (uint64_t)a->nbuckets * SHARDS * BUCKET_BYTES < bytes)
        a->nbuckets *= 2;
    wg_answers_limit(a, bytes, ttl_ns);
    for (int i = 0; i < SHARDS; i++) {
        pthread_mutex_init(&a->shard[i].lock, NULL);
        a->shard[i].buckets = calloc(a->nbuckets, sizeof(struct entry *));
        if (!a->shard[i].buckets) {
            wg_answers_free(a);
            return NULL;
        }
    }
    return a;
}

void wg_answers_free(struct wg_answers *a)
{
    if (!a)
        return;
    for (int i = 0; i < SHARDS; i++) {
        while (a->shard[i].oldest)
            drop(a, &a->shard[i], a->shard[i].oldest);
        free(a->shard[i].buckets);
    }
    free(a);
}

void wg_answers_limit(struct wg_answers *a, uint64_t bytes, uint64_t ttl_ns)
{
    atomic_store(&a->bytes_max, bytes);
    atomic_store(&a->ttl_ns, ttl_ns);
}

uint64_t wg_answers_seen(struct wg_answers *a)
{
    return wg_inval_seen(&a->inval);
}

static bool holds(struct wg_answers *a, const struct entry *e, uint64_t now)
{
    return wg_lease_holds(e->lease, now) && now - e->made_ns < atomic_load_explicit(&a->ttl_ns, memory_order_relaxed) &&
           wg_inval_unchanged(&a->inval, e->seen, e->slots, e->nslots);
}

bool wg_answers_get(struct wg_answers *a, const struct wg_answer_key *key, void *ret, uint32_t max,
                    uint32_t *ret_len)
{
    struct shard *s = shard_of(a, key->hash);
    uint64_t now = wg_now_ns();
    struct entry *e;
    bool hit = false;

    pthread_mutex_lock(&s->lock);
    e = find(a, s, key);
    if (e && !holds(a, e, now)) {
        drop(a, s, e);
        s->outdated++;
    } else if (e && e->value_len <= max) {
        hit = true;
        if (e->value_len > 0)
            memcpy(ret, key_of(e) + e->key_len, e->value_len);
        if (ret_len)
            *ret_len = e->value_len;
        if (s->newest != e) {
            unlink_order(s, e);
            link_newest(s, e);
        }
    }
    *(hit ? &s->hits : &s->misses) += 1;
    pthread_mutex_unlock(&s->lock);
    return hit;
}

static void put(struct wg_answers *a, const struct wg_lease *lease, uint64_t seen, const wg_inval_slot *slots, int n,
                const struct wg_answer_key *key, const void *value, uint32_t len)
{
    size_t bytes = sizeof(struct entry) + (size_t)n * sizeof *slots + key->len + len;
    uint64_t limit = atomic_load_explicit(&a->bytes_max, memory_order_relaxed) / SHARDS;
    struct shard *s = shard_of(a, key->hash);
    struct entry *e, *old, **at;

    if (bytes > limit || !(e = malloc(bytes)))
        return;
    *e = (struct entry){ .hash = key->hash, .seen = seen, .made_ns = wg_now_ns(), .lease = lease,
                         .bytes = (uint32_t)bytes, .value_len = len, .key_len = (uint16_t)key->len,
                         .nslots = (uint16_t)n };
    memcpy(e->slots, slots, (size_t)n * sizeof *slots);
    memcpy(key_of(e), key->bytes, key->len);
    if (len > 0)
        memcpy(key_of(e) + key->len, value, len);
    pthread_mutex_lock(&s->lock);
    old = find(a, s, key);
    if (old)
        drop(a, s, old);
    while (s->oldest && s->bytes + bytes > limit) {
        drop(a, s, s->oldest);
        s->evicted++;
    }
    at = bucket_of(a, s, e->hash);
    e->chain = *at;
    *at = e;
    link_newest(s, e);
    s->bytes += bytes;
    s->entries++;
    s->kept++;
    pthread_mutex_unlock(&s->lock);
}

static void keep(struct wg_answers *a, const struct wg_frame *f, uint64_t seen, const wg_inval_slot *slots, int n,
                 const struct wg_answer_key *key, const void *value, uint32_t len)
{
    if (!f->lease || n <= 0 || !wg_inval_unchanged(&a->inval, seen, slots, n))
        atomic_fetch_add_explicit(&a->refused, 1, memory_order_relaxed);
    else
        put(a, f->lease, seen, slots, n, key, value, len);
}

void wg_answers_put(struct wg_answers *a, const struct wg_frame *f, uint64_t seen,
                    const struct wg_answer_key *key, const void *value, uint32_t len)
{
    wg_inval_slot slots[USES_MAX];

    keep(a, f, seen, slots, wg_inval_uses(f, slots, USES_MAX), key, value, len);
}

void wg_answers_put_on(struct wg_answers *a, const struct wg_frame *f, uint64_t seen, const wg_gfid *gfid,
                       struct wg_str name, const struct wg_answer_key *key, const void *value, uint32_t len)
{
    const wg_inval_slot slots[2] = { wg_inval_slot_of(gfid, name), wg_inval_slot_of(gfid, WG_ANY_NAME) };
    const struct wg_use *u = f->uses;

    while (u && !(wg_gfid_eq(u->gfid, *gfid) && wg_str_eq(u->name, name)))
        u = u->next;
    keep(a, f, seen, slots, !u ? 0 : name.len > 0 ? 2 : 1, key, value, len);
}

void wg_answers_event(struct wg_answers *a, const struct wg_event *ev)
{
    wg_inval_event(&a->inval, ev);
}

void wg_answers_clear(struct wg_answers *a)
{
    wg_inval_event(&a->inval, &(struct wg_event){ .kind = WG_EV_RESET });
}

void wg_answers_dump(struct wg_answers *a, struct wg_dump *d, const char *name)
{
    struct shard sum = { .bytes = 0 };

    for (int i = 0; i < SHARDS; i++) {
        struct shard *s = &a->shard[i];

        pthread_mutex_lock(&s->lock);
        sum.bytes += s->bytes;
        sum.entries += s->entries;
        sum.hits += s->hits;
        sum.misses += s->misses;
        sum.outdated += s->outdated;
        sum.evicted += s->evicted;
        sum.kept += s->kept;
        pthread_mutex_unlock(&s->lock);
    }
    wg_dump_object(d, name);
    wg_dump_u64(d, "entries", sum.entries);
    wg_dump_u64(d, "bytes", sum.bytes);
    wg_dump_u64(d, "bytes_max", atomic_load(&a->bytes_max));
    wg_dump_u64(d, "hits", sum.hits);
    wg_dump_u64(d, "misses", sum.misses);
    wg_dump_u64(d, "kept", sum.kept);
    wg_dump_u64(d, "refused", atomic_load(&a->refused));
    wg_dump_u64(d, "outdated", sum.outdated);
    wg_dump_u64(d, "evicted", sum.evicted);
    wg_dump_u64(d, "changes", atomic_load(&a->inval.now));
    wg_dump_end(d);
}
