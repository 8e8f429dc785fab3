/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PutObject. A body of one buffer is one put fop; a larger one is written to a staged inode
 * while it comes, and published when all that the client promised about it has held.
 */
#include "auth.h"
#include "handlers.h"
#include "meta.h"
#include "object.h"

/* ---- What is refused by the headers alone ---- */

static bool has_prefix(struct wg_str s, const char *prefix)
{
    size_t n = strlen(prefix);

    return s.len >= n && memcmp(s.s, prefix, n) == 0;
}

static bool one_of(const struct wg_str *s, const char *const *list)
{
    for (; *list; list++)
        if (wg_str_eq(*s, wg_str_of(*list)))
            return true;
    return false;
}

static int check_storage_class(struct s3_req *r)
{
    /* All are kept alike; those whose objects can't be read at once would be a lie. */
    static const char *const known[] = { "STANDARD", "REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA",
                                         "INTELLIGENT_TIERING", "GLACIER_IR", NULL };
    const struct wg_str *class = wg_s3_header(r, "x-amz-storage-class");

    return class && !one_of(class, known) ? S3E(InvalidStorageClass) : 0;
}

/* Headers that ask for what is not done here. Doing the rest without them would break a promise. */
static int check_unsupported(struct s3_req *r)
{
    for (unsigned i = 0; i < r->nheaders; i++) {
        struct wg_str name = r->headers[i].name;

        if (!has_prefix(name, "x-amz-"))
            continue;
        if (has_prefix(name, "x-amz-server-side-encryption"))
            return wg_s3_fail(r, S3E(NotImplemented), "Server-side encryption is not supported.");
        if (has_prefix(name, "x-amz-copy-source-server-side-encryption"))
            return wg_s3_fail(r, S3E(NotImplemented), "Server-side encryption is not supported.");
        if (has_prefix(name, "x-amz-object-lock-"))
            return wg_s3_fail(r, S3E(InvalidRequest), "Bucket is missing Object Lock Configuration");
        if (wg_str_eq(name, WG_STR("x-amz-write-offset-bytes")))
            return wg_s3_fail(r, S3E(NotImplemented), "Appending to an object is not supported.");
    }
    return 0;
}

int wg_s3_check_put(struct s3_req *r)
{
    uint32_t cond;
    struct wg_etag etag;
    int err = check_unsupported(r);

    if (!err)
        err = wg_s3_check_canned_acl(r);
    if (!err)
        err = check_storage_class(r);
    if (!err)
        err = s3_write_cond(r, &cond, &etag);
    return err;
}

/* ---- Publishing ---- */

static int put_meta(struct s3_req *r, const struct s3_digests *d, struct wg_str *ret)
{
    struct wg_s3_meta *m = WG_NEW(&r->call->arena, struct wg_s3_meta);

    if (!m)
        return ENOMEM;
    wg_s3_meta_start(m);
    enum wg_s3_code code = wg_s3_meta_put_headers(m, r->headers, r->nheaders);
    if (code != WG_S3_OK)
        return s3_err(code);
    if (d->sum_alg != S3_SUM_NONE)
        wg_s3_meta_put_sum(m, d->sum_alg, S3_SUM_FULL_OBJECT, 0, d->sum);
    *ret = wg_s3_meta_end(m); /* m is of the arena */
    return m->overflow ? S3E(MetadataTooLarge) : 0;
}

static int publish(struct wg_co *co, struct s3_req *r, struct wg_put_in *in, const struct s3_digests *d)
{
    const struct wg_put_out *out;
    int err = put_meta(r, d, &in->meta);

    if (!err)
        err = s3_write_cond(r, &in->cond, &in->if_match);
    if (err)
        return err;
    in->space = WG_SPACE_OBJECTS;
    in->key = r->uri.key;
    in->attrs = (struct wg_sattr){ .valid = WG_SET_MODE, .mode = 0644 };
    in->etag = (struct wg_etag){ .valid = true };
    memcpy(in->etag.md5, d->md5, sizeof d->md5);
    err = s3_put_following(co, r, in, &out);
    if (err)
        return err;
    wg_s3_set_etag(r, &out->etag);
    s3_echo_sum(r, d);
    return wg_s3_reply(r, 200);
}

static int put_whole(struct wg_co *co, struct s3_req *r)
{
    struct wg_put_in in = { .gfid = wg_gfid_new() };
    const struct s3_digests *d;
    int err = wg_s3_body_whole(co, r, &in.data, &d);

    for (int attempt = 0; !err && attempt < 2; attempt++) {
        err = wg_s3_open_bucket(co, r, r->uri.bucket, &in.bucket);
        if (!err)
            err = publish(co, r, &in, d);
        if (err != ESTALE)
            return err;
        wg_s3_forget_bucket(r, r->uri.bucket); /* the cached directory is gone */
        err = attempt == 0 ? 0 : S3E(NoSuchBucket);
    }
    return err;
}

/* ---- Staging ---- */

int s3_stage(struct wg_co *co, struct s3_req *r, uint64_t size, struct wg_ref *ret_bucket, struct wg_ref *ret)
{
    const struct wg_stage_out *out;
    int err = 0;

    for (int attempt = 0; !err && attempt < 2; attempt++) {
        err = wg_s3_open_bucket(co, r, r->uri.bucket, ret_bucket);
        if (err)
            return err;
        struct wg_stage_in in = { .bucket = *ret_bucket, .space = WG_SPACE_OBJECTS, .key = r->uri.key,
                                  .gfid = wg_gfid_new(), .size = size };
        err = s3_stage_following(co, r, &in, &out);
        if (!err)
            *ret = out->ref;
        if (err != ESTALE)
            return err;
        wg_s3_forget_bucket(r, r->uri.bucket);
        err = attempt == 0 ? 0 : S3E(NoSuchBucket);
    }
    return err;
}

int s3_end_stage(struct wg_co *co, struct s3_req *r, const struct wg_ref *staged, int err)
{
    struct wg_unstage_in in = { .gfid = staged->gfid };
    const struct wg_unstage_out *out;

    if (!err)
        return 0;
    wg_co_shield(co, true);
    wg_co_unstage(co, r->top, &in, &out); /* if this fails too the brick drops it after an hour */
    wg_co_shield(co, false);
    return err == ESTALE ? S3E(ServiceUnavailable) : err; /* the brick was restarted meanwhile */
}

static int put_stream(struct wg_co *co, struct s3_req *r)
{
    struct wg_put_in in = { 0 };
    const struct s3_digests *d;
    int err = s3_stage(co, r, r->length == S3_UNKNOWN ? 0 : r->length, &in.bucket, &in.from);

    if (err)
        return err;
    in.gfid = in.from.gfid;
    err = wg_s3_body_store(co, r, &in.from, &d);
    if (!err)
        err = publish(co, r, &in, d);
    return s3_end_stage(co, r, &in.from, err);
}

int wg_s3_put_object(struct wg_co *co, struct s3_req *r)
{
    return wg_s3_body_is_whole(r) ? put_whole(co, r) : put_stream(co, r);
}
