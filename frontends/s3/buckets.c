/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a bucket's name to its directory. Every request needs it, so it is remembered for a
 * second: a directory that is gone answers ESTALE (and is looked up again), so the only thing
 * that can be late is a bucket renamed by NFS.
 */
#include "conn.h"
#include "buckets.h"

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

bool s3_bucket_cached(struct s3_req *r, struct wg_str name, struct wg_ref *ret)
{
    struct s3_bucket_slot *slot = slot_of(r->s3, name);

    pthread_mutex_lock(&slot->lock);
    bool hit = holds(slot, name) && wg_now_coarse_ns() < slot->until_ns;
    if (hit)
        *ret = slot->ref;
    pthread_mutex_unlock(&slot->lock);
    return hit;
}

int s3_bucket_answer(struct s3_req *r, struct wg_str name, int err, const struct wg_lookup_out *out,
                     struct wg_ref *ret)
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

int wg_s3_open_bucket(struct wg_co *co, struct s3_req *r, struct wg_str bucket, struct wg_ref *ret)
{
    struct wg_lookup_in in = { .at = { r->s3->root, bucket } };
    const struct wg_lookup_out *out;

    if (!wg_s3_bucket_name_ok(bucket))
        return S3E(NoSuchBucket);
    if (s3_bucket_cached(r, bucket, ret))
        return 0;
    int err = wg_co_lookup(co, r->top, &in, &out);
    return s3_bucket_answer(r, bucket, err, out, ret);
}

const struct wg_ref *wg_s3_root(const struct s3_req *r)
{
    return &r->s3->root;
}

const char *wg_s3_region(const struct s3_req *r)
{
    return r->s3->region;
}
