/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a bucket's name to its directory. Every request needs it, so it is remembered for a
 * second: a directory that is gone answers ESTALE (and is looked up again), so the only thing
 * that can be late is a bucket renamed by NFS.
 *
 * With several volumes a bucket is looked for in one after the other; its name is the server's,
 * so where two volumes have it (as NFS may make it) the first one's is meant.
 */
#include "buckets.h"
#include "conn.h"
#include "graph.h"

#define FRESH_NS 1000000000ull

static struct s3_bucket_slot *slot_of(struct wg_s3 *s3, struct wg_str name)
{
    uint32_t h = 2166136261u; /* FNV-1a */

    for (uint32_t i = 0; i < name.len; i++)
        h = (h ^ (uint8_t)name.s[i]) * 16777619u;
    return &s3->buckets[h % S3_BUCKET_CACHE];
}

static bool holds(const struct s3_bucket_slot *slot, struct wg_str name)
{
    return slot->until_ns && strlen(slot->name) == name.len && memcmp(slot->name, name.s, name.len) == 0;
}

unsigned s3_volumes(const struct s3_req *r)
{
    return r->s3->nvolumes;
}

static void unref_call(void *call)
{
    wg_call_unref(call);
}

/* A request keeps the graph of each volume that it has entered: of the first by its own call. */
struct wg_xlator *s3_volume_top(struct s3_req *r, unsigned volume)
{
    struct wg_arena *a = &r->call->arena;
    struct wg_call *call;

    if (volume == 0)
        return r->call->graph->entry;
    if (!r->entered)
        r->entered = wg_alloc(a, r->s3->nvolumes * sizeof(struct wg_call *));
    if (!r->entered)
        return NULL;
    if (!r->entered[volume]) {
        call = wg_volume_call(r->s3->volume[volume], WG_FROM_S3, r->call->what);
        if (call && wg_on_release(a, unref_call, call) != 0) {
            wg_call_unref(call);
            call = NULL;
        }
        if (call)
            call->client = r->call->client;
        r->entered[volume] = call;
    }
    return r->entered[volume] ? r->entered[volume]->graph->entry : NULL;
}

const char *s3_volume_name(const struct s3_req *r, unsigned volume)
{
    return r->s3->volume_name[volume];
}

struct wg_co_mutex *s3_bucket_mutex(struct s3_req *r, struct wg_str name)
{
    return &slot_of(r->s3, name)->making;
}

bool s3_bucket_cached(struct s3_req *r, struct wg_str name, struct wg_ref *ret, struct wg_xlator **ret_top)
{
    struct s3_bucket_slot *slot = slot_of(r->s3, name);

    pthread_mutex_lock(&slot->lock);
    bool hit = holds(slot, name) && wg_now_coarse_ns() < slot->until_ns;
    unsigned volume = slot->volume;
    if (hit)
        *ret = slot->ref;
    pthread_mutex_unlock(&slot->lock);
    struct wg_xlator *top = hit ? s3_volume_top(r, volume) : NULL;
    if (top)
        *ret_top = top;
    return top != NULL;
}

int s3_bucket_answer(struct s3_req *r, struct wg_str name, unsigned volume, int err,
                     const struct wg_lookup_out *out, struct wg_ref *ret)
{
    struct s3_bucket_slot *slot = slot_of(r->s3, name);

    if (err == ENOENT || (!err && out->attr.type != WG_DIR))
        return S3E(NoSuchBucket);
    if (err)
        return err;
    *ret = out->ref;
    pthread_mutex_lock(&slot->lock);
    memcpy(slot->name, name.s, name.len); /* a bucket name: at most 63 bytes */
    slot->name[name.len] = '\0';
    slot->ref = out->ref;
    slot->volume = volume;
    slot->until_ns = wg_now_coarse_ns() + FRESH_NS;
    pthread_mutex_unlock(&slot->lock);
    return 0;
}

void wg_s3_forget_bucket(struct s3_req *r, struct wg_str name)
{
    struct s3_bucket_slot *slot = slot_of(r->s3, name);

    pthread_mutex_lock(&slot->lock);
    if (holds(slot, name))
        slot->until_ns = 0;
    pthread_mutex_unlock(&slot->lock);
}

int s3_find_bucket(struct wg_co *co, struct s3_req *r, struct wg_str bucket, struct wg_ref *ret,
                   struct wg_xlator **ret_top)
{
    struct wg_lookup_in in = { .at = { r->s3->root, bucket } };
    const struct wg_lookup_out *out;
    int err = S3E(NoSuchBucket), sick = 0;

    if (!wg_s3_bucket_name_ok(bucket))
        return S3E(NoSuchBucket);
    if (s3_bucket_cached(r, bucket, ret, ret_top))
        return 0;
    for (unsigned i = 0; i < r->s3->nvolumes && err; i++) {
        *ret_top = s3_volume_top(r, i);
        if (!*ret_top)
            return ENOMEM;
        err = wg_co_lookup(co, *ret_top, &in, &out);
        err = s3_bucket_answer(r, bucket, i, err, out, ret);
        if (err && err != S3E(NoSuchBucket) && !sick)
            sick = err; /* it may be there: not being found elsewhere says nothing */
    }
    return err && sick ? sick : err;
}

int wg_s3_open_bucket(struct wg_co *co, struct s3_req *r, struct wg_str bucket, struct wg_ref *ret)
{
    struct wg_xlator *top = NULL;
    int err = s3_find_bucket(co, r, bucket, ret, &top);

    if (!err)
        r->top = top;
    return err;
}

const struct wg_ref *wg_s3_root(const struct s3_req *r)
{
    return &r->s3->root;
}

const char *wg_s3_region(const struct s3_req *r)
{
    return r->s3->region;
}
