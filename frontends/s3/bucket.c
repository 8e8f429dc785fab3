/* SPDX-License-Identifier: Apache-2.0 */
/* Buckets: top-level directories of the volume, mode 0700, owned by the user who made them. */
#include <stdio.h>
#include <stdlib.h>

#include "auth.h"
#include "buckets.h"
#include "mpu.h"

#define BUCKET_MODE 0700

/*
 * The root directory is nobody's in particular: who may make and remove buckets in it is the
 * front end's decision, so those two fops go as the superuser.
 */
static struct wg_cred become_root(struct wg_co *co)
{
    struct wg_call *call = wg_co_call(co);
    struct wg_cred was = call->cred;

    call->cred.uid = call->cred.gid = 0;
    call->cred.ngroups = 0;
    return was;
}

/* ---- CreateBucket ---- */

struct reading_location {
    struct s3_req *r;
    struct wg_str location;
};

static int read_location(void *arg)
{
    struct reading_location *l = arg;

    return s3_err(wg_s3_xml_read_location(l->r->body_text, &l->r->call->arena, &l->location));
}

static bool location_is_here(const struct s3_req *r, struct wg_str location)
{
    struct wg_str scope = r->auth ? wg_str_of(r->auth->scope) : WG_STR("");

    if (location.len == 0 || wg_str_eq(location, wg_str_of(wg_s3_region(r))))
        return true;
    return scope.len > 10 + location.len && scope.s[9 + location.len] == '/' &&
           memcmp(scope.s + 9, location.s, location.len) == 0;
}

/*
 * Ours is right, and so is the one that the client believes we are in: it signed for it. The name of a
 * volume makes the bucket there.
 */
static bool location_ok(const struct s3_req *r, struct wg_str location, unsigned *ret)
{
    for (unsigned i = 0; location.len && i < s3_volumes(r); i++)
        if (wg_str_eq(location, wg_str_of(s3_volume_name(r, i)))) {
            *ret = i;
            return true;
        }
    return location_is_here(r, location);
}

static int enter_volume(struct s3_req *r, unsigned volume)
{
    struct wg_xlator *top = s3_volume_top(r, volume);

    if (top)
        r->top = top;
    return top ? 0 : ENOMEM;
}

/* A new bucket's name is a host's too: no label of it begins or ends with "-". */
static bool labels_ok(struct wg_str name)
{
    return !memmem(name.s, name.len, ".-", 2) && !memmem(name.s, name.len, "-.", 2);
}

static int check_create(struct wg_co *co, struct s3_req *r)
{
    unsigned volume = 0;
    struct reading_location l = { .r = r };
    const struct wg_str *lock = wg_s3_header(r, "x-amz-bucket-object-lock-enabled");
    int err;

    if (!wg_s3_bucket_name_ok(r->uri.bucket) || !labels_ok(r->uri.bucket))
        return S3E(InvalidBucketName);
    if (lock && !wg_str_eq(*lock, WG_STR("false")))
        return wg_s3_fail(r, S3E(NotImplemented), "Object lock is not supported.");
    err = wg_s3_check_canned_acl(r);
    if (!err)
        err = wg_co_on_worker(co, read_location, &l);
    if (!err && !location_ok(r, l.location, &volume))
        return S3E(InvalidLocationConstraint);
    return err ? err : enter_volume(r, volume);
}

/* Whose is the name that was there already? */
static int name_taken(struct wg_co *co, struct s3_req *r)
{
    struct wg_lookup_in in = { .at = { *wg_s3_root(r), r->uri.bucket } };
    const struct wg_lookup_out *out;
    int err = wg_co_lookup(co, r->top, &in, &out);

    if (err)
        return err == ENOENT ? S3E(OperationAborted) : err;
    return out->attr.type == WG_DIR && out->attr.uid == r->call->cred.uid ? S3E(BucketAlreadyOwnedByYou)
                                                                           : S3E(BucketAlreadyExists);
}

/*
 * The name must be free in the other volumes too. Two gateways may both find it so at once: then the first volume's
 * bucket is the one that is served, and the other stays out of sight.
 */
static int check_elsewhere(struct wg_co *co, struct s3_req *r)
{
    struct wg_xlator *here = r->top;
    int err = 0;

    for (unsigned i = 0; i < s3_volumes(r) && !err; i++) {
        err = enter_volume(r, i);
        if (err || r->top == here)
            continue;
        err = name_taken(co, r);
        if (err == S3E(OperationAborted)) /* nobody's */
            err = 0;
    }
    r->top = here;
    return err;
}

/* In us-east-1, and there alone, making one's own bucket again succeeds and changes nothing. */
static int again(struct s3_req *r, int err)
{
    return err == S3E(BucketAlreadyOwnedByYou) && strcmp(wg_s3_region(r), "us-east-1") == 0 ? 0 : err;
}

static int created(struct s3_req *r)
{
    wg_s3_set(r, "Location", "/%.*s", (int)r->uri.bucket.len, r->uri.bucket.s);
    return wg_s3_reply(r, 200);
}

/* Nobody else of this gateway makes the name meanwhile. */
static int make(struct wg_co *co, struct s3_req *r)
{
    struct wg_mkdir_in in = { .at = { *wg_s3_root(r), r->uri.bucket }, .gfid = wg_gfid_new() };
    const struct wg_mkdir_out *out;
    struct wg_cred was;
    int err = check_elsewhere(co, r);

    if (err && !r->body_text.len && !again(r, err)) /* no volume was named: the one that has it will do */
        return created(r);
    if (err)
        return err;
    in.attrs = (struct wg_sattr){ .valid = WG_SET_MODE | WG_SET_UID | WG_SET_GID, .mode = BUCKET_MODE,
                                  .uid = r->call->cred.uid, .gid = r->call->cred.gid };
    was = become_root(co);
    err = wg_co_mkdir(co, r->top, &in, &out);
    wg_co_call(co)->cred = was;
    if (err == EEXIST) {
        err = again(r, name_taken(co, r));
        return err ? err : created(r);
    }
    if (err)
        return err;
    wg_s3_forget_bucket(r, r->uri.bucket);
    return created(r);
}

int wg_s3_create_bucket(struct wg_co *co, struct s3_req *r)
{
    int err = check_create(co, r);
    struct wg_co_mutex *m = err ? NULL : s3_bucket_mutex(r, r->uri.bucket);

    if (err)
        return err;
    wg_co_lock(co, m);
    err = make(co, r);
    wg_co_unlock(co, m);
    return err;
}

/* ---- DeleteBucket ---- */

/* Only the bucket's owner removes it; the kernel would ask who owns the root. */
static int check_owner(struct wg_co *co, struct s3_req *r, const struct wg_ref *bucket)
{
    struct wg_getattr_in in = { .at = *bucket };
    const struct wg_getattr_out *out;
    int err = wg_co_getattr(co, r->top, &in, &out);

    if (err == ESTALE || err == ENOENT)
        return S3E(NoSuchBucket);
    if (err)
        return err;
    return out->attr.uid == r->call->cred.uid || r->call->cred.uid == 0 ? 0 : EACCES;
}

/* Before its uploads are dropped: rmdir itself decides, but by then they would be gone for nothing. */
static int check_empty(struct wg_co *co, struct s3_req *r, const struct wg_ref *bucket)
{
    struct wg_list_in in = { .bucket = *bucket, .max = 1, .size = 64 << 10 };
    const struct wg_list_out *out;
    int err = wg_co_list(co, r->top, &in, &out);

    if (err)
        return err == ESTALE ? S3E(NoSuchBucket) : err;
    return out->entries.count ? S3E(BucketNotEmpty) : 0;
}

int wg_s3_delete_bucket(struct wg_co *co, struct s3_req *r)
{
    struct wg_rmdir_in in = { .at = { *wg_s3_root(r), r->uri.bucket } };
    const struct wg_rmdir_out *out;
    struct wg_ref bucket;
    struct wg_cred was;
    int err = wg_s3_open_bucket(co, r, r->uri.bucket, &bucket);

    if (!err)
        err = check_owner(co, r, &bucket);
    if (err == S3E(NoSuchBucket))
        wg_s3_forget_bucket(r, r->uri.bucket);
    if (err)
        return err;
    in.expect = bucket.gfid;
    err = check_empty(co, r, &bucket);
    if (err)
        return err;
    was = become_root(co);
    err = s3_drop_uploads(co, r, &bucket);
    if (!err)
        err = wg_co_rmdir(co, r->top, &in, &out);
    wg_co_call(co)->cred = was;
    wg_s3_forget_bucket(r, r->uri.bucket);
    if (err)
        return err == ENOENT || err == ENOTEXPECTED ? S3E(NoSuchBucket) : err;
    return wg_s3_reply(r, 204);
}

/* ---- HeadBucket, GetBucketLocation ---- */

int wg_s3_head_bucket(struct wg_co *co, struct s3_req *r)
{
    struct wg_ref bucket;
    int err = wg_s3_open_bucket(co, r, r->uri.bucket, &bucket);

    if (!err)
        err = wg_s3_may(co, r, &bucket, S3_MAY_READ);
    if (err)
        return err;
    wg_s3_set(r, "x-amz-bucket-region", "%s", wg_s3_region(r));
    wg_s3_set(r, "x-amz-access-point-alias", "false");
    return wg_s3_reply(r, 200);
}

/* ---- ListBuckets ---- */

struct bucket_row {
    struct wg_str name;
    int64_t mtime;
};

struct bucket_list {
    struct s3_req *r;
    struct bucket_row *row;
    unsigned n, room;
    struct wg_str prefix, after;
    uint64_t max;
    bool truncated;
};

static int add_bucket(struct bucket_list *l, const struct wg_dirent *e)
{
    struct wg_arena *a = &l->r->call->arena;

    if (e->attr.type != WG_DIR || e->attr.uid != l->r->call->cred.uid || !wg_s3_bucket_name_ok(e->name) ||
        !wg_s3_has_prefix(e->name, l->prefix) || wg_s3_compare(e->name, l->after) <= 0)
        return 0;
    if (l->n == l->room) {
        struct bucket_row *more = wg_alloc(a, (l->room ? l->room * 2 : 64) * sizeof *more);

        if (!more)
            return ENOMEM;
        if (l->n)
            memcpy(more, l->row, l->n * sizeof *more);
        l->row = more;
        l->room = l->room ? l->room * 2 : 64;
    }
    l->row[l->n].mtime = e->attr.mtime.sec;
    return wg_strdup(a, e->name, &l->row[l->n++].name);
}

/* Rows without attributes (a brick may leave them out) are asked for. */
static int with_attributes(struct wg_co *co, struct s3_req *r, struct wg_dirent *e)
{
    struct wg_lookup_in in = { .at = { *wg_s3_root(r), e->name } };
    const struct wg_lookup_out *out;
    int err;

    if (e->attr.valid || !wg_s3_bucket_name_ok(e->name))
        return 0;
    err = wg_co_lookup(co, r->top, &in, &out);
    if (!err)
        e->attr = out->attr;
    return err == ENOENT ? 0 : err;
}

/* Of the volume that r->top is of. */
static int read_root(struct wg_co *co, struct bucket_list *l)
{
    struct s3_req *r = l->r;
    uint64_t cookie = 0;

    for (;;) {
        struct wg_readdir_in in = { .at = *wg_s3_root(r), .cookie = cookie, .size = 64 << 10, .plus = true };
        const struct wg_readdir_out *out;
        struct wg_cred was = become_root(co);
        int err = wg_co_readdir(co, r->top, &in, &out);
        struct wg_dirent e;
        bool eof;

        wg_co_call(co)->cred = was;
        if (err)
            return err;
        wg_co_keep(co); /* the lookups below would drop it */
        eof = out->eof || out->entries.count == 0;
        for (struct wg_cursor c = wg_cursor(&out->entries); !err && wg_next_dirent(&c, &e);) {
            cookie = e.cookie;
            err = with_attributes(co, r, &e);
            if (!err)
                err = add_bucket(l, &e);
        }
        if (err || eof)
            return err;
    }
}

static int by_name(const void *a, const void *b)
{
    return wg_s3_compare(((const struct bucket_row *)a)->name, ((const struct bucket_row *)b)->name);
}

/* A name in two volumes is one bucket. */
static void drop_doubles(struct bucket_list *l)
{
    unsigned n = 0;

    for (unsigned i = 0; i < l->n; i++)
        if (n == 0 || !wg_str_eq(l->row[i].name, l->row[n - 1].name))
            l->row[n++] = l->row[i];
    l->n = n;
}

static int write_buckets(void *arg)
{
    struct bucket_list *l = arg;
    struct wg_s3_xml *x = wg_s3_xml_new("ListAllMyBucketsResult");

    if (l->n)
        qsort(l->row, l->n, sizeof *l->row, by_name);
    drop_doubles(l);
    l->truncated = l->n > l->max;
    if (l->truncated)
        l->n = (unsigned)l->max;
    wg_s3_xml_owner(x, "Owner", l->r, l->r->call->cred.uid);
    wg_s3_xml_open(x, "Buckets");
    for (unsigned i = 0; i < l->n; i++) {
        wg_s3_xml_open(x, "Bucket");
        wg_s3_xml_str(x, "Name", l->row[i].name);
        wg_s3_xml_time(x, "CreationDate", l->row[i].mtime);
        wg_s3_xml_close(x);
    }
    wg_s3_xml_close(x);
    if (l->prefix.len)
        wg_s3_xml_str(x, "Prefix", l->prefix);
    if (l->truncated)
        wg_s3_xml_str(x, "ContinuationToken", l->row[l->n - 1].name);
    return wg_s3_reply_xml(l->r, x);
}

int wg_s3_list_buckets(struct wg_co *co, struct s3_req *r)
{
    struct bucket_list l = { .r = r, .prefix = wg_s3_param_or_empty(r, "prefix"),
                             .after = wg_s3_param_or_empty(r, "continuation-token") };
    int err = 0;

    if (wg_s3_param_u64(&r->uri, "max-buckets", 10000, 10000, &l.max) != WG_S3_OK || l.max == 0)
        return wg_s3_fail(r, S3E(InvalidArgument), "max-buckets must be between 1 and 10000");
    for (unsigned i = 0; i < s3_volumes(r) && !err; i++) {
        err = enter_volume(r, i);
        if (!err)
            err = read_root(co, &l);
    }
    return err ? err : wg_co_on_worker(co, write_buckets, &l);
}
