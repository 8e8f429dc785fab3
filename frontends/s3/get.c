/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GetObject and HeadObject. Not a coroutine: a small object is one fop, wound on the connection's
 * thread and answered from its completion, so a cached GET costs no hand-over of its own. Only
 * a symbolic link in the way makes it one.
 */
#include "auth.h"
#include "buckets.h"
#include "conn.h"
#include "meta.h"
#include "object.h"
#include "range.h"
#include "stream.h"

struct get {
    struct s3_req *r;
    struct wg_ref bucket;
    struct wg_lookup_in lookup;
    struct wg_get_in in;
    struct wg_s3_range range;
    struct wg_s3_conds conds;
    uint32_t part; /* partNumber; 0: none */
    bool followed; /* in.key is behind links, not the request's */
    bool retried;  /* the bucket's cached directory was gone */
    unsigned volume; /* where the bucket is looked for */
    uint32_t charged; /* of the body memory, for what comes with the fop */
    int sick;      /* the error of a volume that could not say whether it has it */
};

static struct wg_str header_or_none(const struct s3_req *r, const char *name)
{
    const struct wg_str *h = wg_s3_header(r, name);

    return h ? *h : (struct wg_str){ 0 };
}

static int parse_part(struct get *g)
{
    uint64_t n;
    int err = s3_err(wg_s3_param_u64(&g->r->uri, "partNumber", 0, 10000, &n));

    if (err)
        return err;
    if (wg_s3_param(&g->r->uri, "partNumber") && n == 0)
        return wg_s3_fail(g->r, S3E(InvalidArgument), "Part number must be an integer between 1 and 10000");
    if (n && g->range.given)
        return wg_s3_fail(g->r, S3E(InvalidRequest), "Cannot specify both Range header and partNumber query parameter");
    g->part = (uint32_t)n;
    return 0;
}

/* As much of the body memory as n is this request's, until its memory goes. */
static void charge(struct get *g, uint32_t n)
{
    atomic_fetch_add_explicit(&g->r->s3->body_used, (uint64_t)n - g->charged, memory_order_relaxed);
    g->charged = n;
}

static void uncharge(void *arg)
{
    charge(arg, 0);
}

/* How much comes with the get fop itself: all that is asked for, up to one payload. */
static void choose_first(struct get *g)
{
    const struct wg_s3_range *range = &g->range;

    if (g->r->method == S3_HEAD || g->part || range->suffix)
        return;
    g->in.size = s3_memory_tight(g->r->s3) ? S3_TIGHT : WG_IO_MAX;
    if (!range->given)
        return;
    g->in.offset = range->first;
    if (!range->open && range->last - range->first < g->in.size)
        g->in.size = (uint32_t)(range->last - range->first + 1);
}

static int prepare(struct get *g)
{
    struct s3_req *r = g->r;
    const struct wg_str *range = wg_s3_header(r, "range");

    if (range)
        wg_s3_range_parse(*range, &g->range);
    g->conds = (struct wg_s3_conds){
        .if_match = header_or_none(r, "if-match"),
        .if_none_match = header_or_none(r, "if-none-match"),
        .if_modified_since = header_or_none(r, "if-modified-since"),
        .if_unmodified_since = header_or_none(r, "if-unmodified-since"),
    };
    int err = s3_check_version(r);
    if (!err && wg_s3_header(r, "x-amz-server-side-encryption-customer-algorithm"))
        err = wg_s3_fail(r, S3E(InvalidRequest), "The encryption parameters are not applicable to this object.");
    if (!err)
        err = parse_part(g);
    g->in = (struct wg_get_in){ .space = WG_SPACE_OBJECTS, .key = r->uri.key };
    choose_first(g);
    if (!err)
        err = wg_on_release(&r->call->arena, uncharge, g);
    if (!err)
        charge(g, g->in.size); /* before it is there: many may ask at once */
    return err;
}

/* ---- The answer ---- */

static int resolve_range(struct get *g, const struct wg_get_out *obj, uint64_t *offset, uint64_t *len)
{
    struct s3_req *r = g->r;
    uint64_t size = obj->attr.size;

    if (g->part) {
        *offset = 0;
        *len = size;
        if (g->part == 1 && obj->etag.parts == 0)
            return 0;
        return wg_s3_meta_part(obj->meta, g->part, offset, len) && *offset + *len <= size
                   ? 0 : S3E(InvalidPartNumber);
    }
    int err = s3_err(wg_s3_range_resolve(&g->range, size, offset, len));
    if (err) {
        char *text = wg_printf(&r->call->arena, "%llu", (unsigned long long)size);
        wg_s3_fail_with(r, err, "RangeRequested", header_or_none(r, "range"));
        if (text)
            wg_s3_fail_with(r, err, "ActualObjectSize", wg_str_of(text));
    }
    return err;
}

static int send_object(struct get *g, const struct wg_get_out *obj, uint64_t offset, uint64_t len)
{
    struct s3_req *r = g->r;
    bool partial = g->part || g->range.given;
    bool whole = offset == 0 && len == obj->attr.size;
    unsigned status = partial ? 206 : 200;
    struct wg_data first = { 0 };

    s3_set_object_headers(r, obj, whole && !g->range.given, true);
    if (partial && len)
        wg_s3_set(r, "Content-Range", "bytes %llu-%llu/%llu", (unsigned long long)offset,
                  (unsigned long long)(offset + len - 1), (unsigned long long)obj->attr.size);
    if (g->part && obj->etag.parts)
        wg_s3_set(r, "x-amz-mp-parts-count", "%u", obj->etag.parts);
    if (r->method == S3_HEAD)
        return wg_s3_reply_length(r, status, len);
    if (g->in.size && g->in.offset == offset)
        first = obj->data;
    if (first.len == len)
        return wg_s3_reply_data(r, status, &first, NULL);
    if (first.len > len) /* it grew while it was read */
        first = (struct wg_data){ 0 };
    return wg_s3_reply_object(r, status, &obj->ref, offset, len, &first);
}

static int answer(struct get *g, const struct wg_get_out *obj)
{
    struct s3_req *r = g->r;
    uint64_t offset, len;

    if (obj->attr.type != WG_REG && obj->attr.type != WG_DIR)
        return S3E(NoSuchKey);
    int err = s3_err(wg_s3_conds_check(&g->conds, &obj->etag, obj->attr.mtime.sec));
    if (err == S3E(NotModified)) {
        wg_s3_set_etag(r, &obj->etag);
        wg_s3_set_time(r, "Last-Modified", obj->attr.mtime);
        wg_s3_reply_length(r, 304, obj->attr.size);
    }
    if (!wg_s3_if_range(header_or_none(r, "if-range"), &obj->etag, obj->attr.mtime.sec))
        g->range.given = false;
    if (!err)
        err = resolve_range(g, obj, &offset, &len);
    return err ? err : send_object(g, obj, offset, len);
}

/* ---- The fops ---- */

static void find_bucket(struct get *g);
static void get(struct get *g);

/* Finds the key behind the links; the object is then got as any other. */
static int follow_links(struct wg_co *co, void *arg)
{
    struct get *g = arg;
    const struct wg_get_out *obj;
    struct wg_get_in probe = { .bucket = g->bucket, .space = g->in.space, .key = g->in.key };

    return s3_get_following(co, g->r, &probe, &obj, &g->in.key);
}

static void links_followed(void *arg, int err)
{
    struct get *g = arg;

    if (err)
        return wg_s3_done(g->r, err);
    g->followed = true;
    get(g);
}

static void got(struct wg_call *call)
{
    struct get *g = ((struct s3_req *)call->owner)->start_state;
    struct s3_req *r = g->r;
    int err = call->root->err;
    const struct wg_get_out *obj = wg_result(call, get);

    charge(g, obj ? obj->data.len : 0);
    if (err == ESTALE && !g->retried) {
        g->retried = true;
        wg_s3_forget_bucket(r, r->uri.bucket);
        return find_bucket(g);
    }
    if (!g->followed && s3_is_link(err, obj, r->uri.key)) {
        err = wg_co_start(r->call, r->op->name, follow_links, g, links_followed);
        if (!err)
            return;
    } else if (!err) {
        err = answer(g, obj);
    }
    wg_s3_done(r, err == ESTALE ? S3E(NoSuchBucket) : err);
}

static void get(struct get *g)
{
    g->in.bucket = g->bucket;
    wg_start(g->r->call, g->r->top, WG_OP_get, &g->in, got);
}

static void look_up(struct get *g);

static void found_bucket(struct wg_call *call)
{
    struct get *g = ((struct s3_req *)call->owner)->start_state;
    int err = s3_bucket_answer(g->r, g->r->uri.bucket, g->volume, call->root->err, wg_result(call, lookup),
                               &g->bucket);

    if (err && err != S3E(NoSuchBucket) && !g->sick)
        g->sick = err;
    if (err && ++g->volume < s3_volumes(g->r))
        return look_up(g);
    if (err && g->sick)
        err = g->sick;
    if (err)
        return wg_s3_done(g->r, err);
    get(g);
}

/* In one volume after the other. */
static void look_up(struct get *g)
{
    struct s3_req *r = g->r;

    struct wg_xlator *top = s3_volume_top(r, g->volume);
    if (!top)
        return wg_s3_done(r, ENOMEM);
    r->top = top;
    g->lookup = (struct wg_lookup_in){ .at = { r->s3->root, r->uri.bucket } };
    wg_start(r->call, r->top, WG_OP_lookup, &g->lookup, found_bucket);
}

static void find_bucket(struct get *g)
{
    struct s3_req *r = g->r;

    g->volume = 0;
    g->sick = 0;
    if (s3_bucket_cached(r, r->uri.bucket, &g->bucket, &r->top))
        get(g);
    else
        look_up(g);
}

void wg_s3_get_object(struct s3_req *r)
{
    struct get *g = WG_NEW(&r->call->arena, struct get);

    if (!g)
        return wg_s3_done(r, ENOMEM);
    g->r = r;
    r->call->owner = r;
    r->start_state = g;
    int err = prepare(g);
    if (err)
        return wg_s3_done(r, err);
    find_bucket(g);
}
