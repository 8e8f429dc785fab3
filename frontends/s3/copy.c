/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CopyObject. The brick copies (reflink where its file system can), or pulls from another one; no byte of the
 * object comes through here. A copy onto itself changes metadata in place and does not touch the data.
 */
#include <string.h>

#include "buckets.h"
#include "copydata.h"
#include "handlers.h"
#include "meta.h"
#include "object.h"
#include "range.h"
#include "xml.h"

#define COPY_TRIES 3               /* with a new staged inode each */
#define LONG_COPY (512ull << 20)   /* from here a client might give up waiting */

struct copy {
    struct wg_xlator *from_top;
    struct wg_ref from_bucket;
    struct wg_str from_key;  /* after links */
    struct wg_ref ref;
    struct wg_iatt attr;
    struct wg_etag etag;
    struct wg_str meta;
    bool replace, replace_tags;
    bool self;
    enum wg_s3_sum alg; /* asked for the copy; NONE: the source's goes with it */
    struct wg_str made; /* meta of the copy */
};

/* ---- The source ---- */

int s3_copy_source(struct s3_req *r, struct wg_str *ret_bucket, struct wg_str *ret_key)
{
    const struct wg_str *h = wg_s3_header(r, "x-amz-copy-source");
    struct wg_str text = h ? *h : (struct wg_str){ 0 };
    const char *q = text.len ? memrchr(text.s, '?', text.len) : NULL;
    char *space = wg_alloc(&r->call->arena, text.len + 1);
    uint32_t len;

    if (!space)
        return ENOMEM;
    if (q) {
        struct wg_str version = { q + 1, (uint32_t)(text.s + text.len - q - 1) };
        if (version.len > 10 && memcmp(version.s, "versionId=", 10) == 0) {
            if (!wg_str_eq(version, WG_STR("versionId=null")))
                return S3E(NoSuchVersion);
            text.len = (uint32_t)(q - text.s);
        }
    }
    if (!wg_s3_decode(text, space, &len))
        return S3E(InvalidArgument);
    struct wg_str path = { space, len };
    if (path.len && path.s[0] == '/') {
        path.s++;
        path.len--;
    }
    const char *slash = path.len ? memchr(path.s, '/', path.len) : NULL;
    if (!slash || slash == path.s || slash + 1 == path.s + path.len)
        return wg_s3_fail(r, S3E(InvalidArgument),
                          "Copy Source must mention the source bucket and key: sourcebucket/sourcekey");
    *ret_bucket = (struct wg_str){ path.s, (uint32_t)(slash - path.s) };
    *ret_key = (struct wg_str){ slash + 1, (uint32_t)(path.s + path.len - slash - 1) };
    if (ret_key->len > WG_KEY_MAX)
        return S3E(KeyTooLongError);
    return memchr(ret_key->s, '\0', ret_key->len) ? S3E(InvalidArgument) : 0;
}

static struct wg_str header_or_none(const struct s3_req *r, const char *name)
{
    const struct wg_str *h = wg_s3_header(r, name);

    return h ? *h : (struct wg_str){ 0 };
}

static int source_conditions(struct s3_req *r, const struct wg_get_out *obj)
{
    struct wg_s3_conds c = {
        .if_match = header_or_none(r, "x-amz-copy-source-if-match"),
        .if_none_match = header_or_none(r, "x-amz-copy-source-if-none-match"),
        .if_modified_since = header_or_none(r, "x-amz-copy-source-if-modified-since"),
        .if_unmodified_since = header_or_none(r, "x-amz-copy-source-if-unmodified-since"),
    };

    return wg_s3_conds_check(&c, &obj->etag, obj->attr.mtime.sec) == WG_S3_OK ? 0 : S3E(PreconditionFailed);
}

static int open_source(struct wg_co *co, struct s3_req *r, struct wg_str bucket, struct wg_str key,
                       const struct wg_get_out **ret, struct wg_xlator **ret_top, struct wg_ref *ret_bucket,
                       struct wg_str *ret_key)
{
    int err = s3_find_bucket(co, r, bucket, ret_bucket, ret_top);

    if (err)
        return err;
    struct wg_get_in in = { .bucket = *ret_bucket, .space = WG_SPACE_OBJECTS, .key = key };
    err = s3_get_following_at(co, r, *ret_top, &in, ret, ret_key);
    if (err == ESTALE) {
        wg_s3_forget_bucket(r, bucket);
        err = s3_find_bucket(co, r, bucket, ret_bucket, ret_top);
        in.bucket = *ret_bucket;
        if (!err)
            err = s3_get_following_at(co, r, *ret_top, &in, ret, ret_key);
    }
    return err ? err : source_conditions(r, *ret);
}

int s3_open_source(struct wg_co *co, struct s3_req *r, struct wg_str bucket, struct wg_str key,
                   const struct wg_get_out **ret, struct wg_xlator **ret_top, struct wg_ref *ret_bucket,
                   struct wg_str *ret_key)
{
    int err = open_source(co, r, bucket, key, ret, ret_top, ret_bucket, ret_key);
    const char *code = err ? wg_s3_error_row(err)->name : "";

    /* What is not there is the source, not what the request's path names. */
    if (strcmp(code, "NoSuchKey") == 0)
        return wg_s3_fail_with(r, err, "Key", key);
    if (strcmp(code, "NoSuchBucket") == 0)
        return wg_s3_fail_with(r, err, "BucketName", bucket);
    return err;
}

static int read_directive(struct s3_req *r, const char *name, bool *ret)
{
    const struct wg_str *h = wg_s3_header(r, name);

    *ret = h && wg_str_eq(*h, WG_STR("REPLACE"));
    if (h && !*ret && !wg_str_eq(*h, WG_STR("COPY")))
        return wg_s3_fail(r, S3E(InvalidArgument), "Unknown directive of %s", name);
    return 0;
}

static int read_algorithm(struct s3_req *r, enum wg_s3_sum *ret)
{
    const struct wg_str *h = wg_s3_header(r, "x-amz-checksum-algorithm");

    *ret = h ? wg_s3_sum_named(*h) : S3_SUM_NONE;
    return h && *ret == S3_SUM_NONE ? wg_s3_fail(r, S3E(InvalidRequest), "Checksum algorithm provided is unsupported.") : 0;
}

static int open_copy(struct wg_co *co, struct s3_req *r, struct copy *c)
{
    struct wg_str bucket, key;
    const struct wg_get_out *obj;
    int err = s3_copy_source(r, &bucket, &key);

    if (!err)
        err = read_directive(r, "x-amz-metadata-directive", &c->replace);
    if (!err)
        err = read_directive(r, "x-amz-tagging-directive", &c->replace_tags);
    if (!err)
        err = read_algorithm(r, &c->alg);
    if (!err)
        err = s3_open_source(co, r, bucket, key, &obj, &c->from_top, &c->from_bucket, &c->from_key);
    if (err)
        return err;
    c->ref = obj->ref;
    c->attr = obj->attr;
    c->etag = obj->etag;
    c->self = wg_str_eq(bucket, r->uri.bucket) && wg_str_eq(key, r->uri.key);
    if (obj->attr.size > S3_PUT_MAX)
        return wg_s3_fail(r, S3E(InvalidRequest), "The specified copy source is larger than the maximum "
                          "allowable size for a copy source: %llu", (unsigned long long)S3_PUT_MAX);
    return wg_strdup(&r->call->arena, obj->meta, &c->meta);
}

/* ---- Metadata of the copy ---- */

/*
 * The checksum asked for, of the copy's own bytes at ref, unless it came with the source. Without
 * being asked the source's goes with the bytes as it is, composite or whole: a copy need not be read.
 */
static int put_sums(struct wg_co *co, struct s3_req *r, const struct copy *c, const struct wg_ref *ref,
                    bool same_content, struct wg_s3_meta *m)
{
    struct wg_s3_meta_sum has;
    uint8_t sum[S3_SUM_MAX][S3_SUM_BYTES];
    bool fits = c->alg == S3_SUM_NONE || (wg_s3_meta_get_sum(c->meta, &has) && has.alg == c->alg &&
                                          has.type == S3_SUM_FULL_OBJECT);
    int err;

    if (same_content && fits) {
        wg_s3_meta_copy_only(m, c->meta, S3_META_SUM);
        wg_s3_meta_copy_only(m, c->meta, S3_META_PART_SUMS);
    } else if (c->alg != S3_SUM_NONE) {
        err = wg_s3_sum_inode(co, r, ref, c->attr.size, 1u << c->alg, sum);
        if (err)
            return err;
        wg_s3_meta_put_sum(m, c->alg, S3_SUM_FULL_OBJECT, 0, sum[c->alg]);
    }
    return 0;
}

static int copy_meta(struct wg_co *co, struct s3_req *r, struct copy *c, const struct wg_ref *ref, bool same_content,
                     struct wg_str *ret)
{
    struct wg_s3_meta *m = WG_NEW(&r->call->arena, struct wg_s3_meta);
    struct wg_s3_meta *all = WG_NEW(&r->call->arena, struct wg_s3_meta);
    enum wg_s3_code code = WG_S3_OK;
    int err;

    if (!m || !all)
        return ENOMEM;
    wg_s3_meta_start(m);
    wg_s3_meta_start(all);
    /* Each piece from the request's headers or from the source. */
    code = wg_s3_meta_put_headers(all, r->headers, r->nheaders);
    if (code != WG_S3_OK)
        return s3_err(code);
    static const enum wg_s3_tag described[] = {
        S3_META_CONTENT_TYPE, S3_META_CONTENT_ENCODING, S3_META_CONTENT_DISPOSITION,
        S3_META_CONTENT_LANGUAGE, S3_META_CACHE_CONTROL, S3_META_EXPIRES, S3_META_USER,
    };
    struct wg_str given = wg_s3_meta_end(all);
    for (unsigned i = 0; i < sizeof described / sizeof *described; i++)
        wg_s3_meta_copy_only(m, c->replace ? given : c->meta, described[i]);
    wg_s3_meta_copy_only(m, c->replace_tags ? given : c->meta, S3_META_TAG);
    wg_s3_meta_copy_only(m, given, S3_META_REDIRECT);
    err = put_sums(co, r, c, ref, same_content, m);
    if (err)
        return err;
    if (same_content)
        wg_s3_meta_copy_only(m, c->meta, S3_META_PARTS);
    *ret = c->made = wg_s3_meta_end(m);
    return m->overflow ? S3E(MetadataTooLarge) : 0;
}

/* ---- Onto itself ---- */

static int copy_self(struct wg_co *co, struct s3_req *r, struct copy *c, struct wg_iatt *ret_attr,
                     struct wg_etag *ret_etag)
{
    struct wg_setmeta_in in = { .bucket = c->from_bucket, .space = WG_SPACE_OBJECTS, .key = c->from_key,
                                .expect = c->attr.gfid };
    const struct wg_setmeta_out *out;

    if (!c->replace && !c->replace_tags && c->alg == S3_SUM_NONE && !wg_s3_header(r, "x-amz-storage-class") &&
        !wg_s3_header(r, "x-amz-website-redirect-location"))
        return wg_s3_fail(r, S3E(InvalidRequest), "This copy request is illegal because it is trying to copy "
                          "an object to itself without changing the object's metadata, storage class, website "
                          "redirect location or encryption attributes.");
    int err = s3_write_cond(r, &in.cond, &in.if_match);
    r->top = c->from_top;
    if (!err)
        err = copy_meta(co, r, c, &c->ref, /* same_content */ true, &in.meta);
    if (!err)
        err = wg_co_setmeta(co, r->top, &in, &out);
    if (err)
        return err;
    *ret_attr = out->attr;
    *ret_etag = out->etag;
    return 0;
}

/* ---- To another key ---- */

/*
 * The ETag goes with the bytes only if these did not change while they were copied: the brick marks an
 * inode dirty before its first write, so an ETag that still stands now stood all the time.
 */
static bool unchanged(struct wg_co *co, const struct copy *c)
{
    struct wg_get_in in = { .bucket = c->from_bucket, .space = WG_SPACE_OBJECTS, .key = c->from_key };
    const struct wg_get_out *now;

    return c->etag.valid && !c->etag.synthetic && wg_co_get(co, c->from_top, &in, &now) == 0 &&
           wg_gfid_eq(now->attr.gfid, c->attr.gfid) && s3_same_content(&now->etag, &c->etag) &&
           now->attr.size == c->attr.size;
}

/* copied: what the source's ETag was while it was copied, if that is known. */
static int publish(struct wg_co *co, struct s3_req *r, struct copy *c, const struct wg_etag *copied,
                   struct wg_put_in *in, struct wg_iatt *ret_attr, struct wg_etag *ret_etag)
{
    const struct wg_put_out *out;
    bool same = s3_same_content(&c->etag, copied) || unchanged(co, c);
    int err = copy_meta(co, r, c, &in->from, same, &in->meta);

    if (!err)
        err = s3_write_cond(r, &in->cond, &in->if_match);
    if (err)
        return err;
    in->space = WG_SPACE_OBJECTS;
    in->key = r->uri.key;
    in->gfid = in->from.gfid;
    in->attrs = (struct wg_sattr){ .valid = WG_SET_MODE, .mode = 0644 };
    if (same)
        in->etag = c->etag; /* else the brick gives a synthetic one */
    err = s3_put_following(co, r, in, &out);
    if (err)
        return err;
    *ret_attr = out->attr;
    *ret_etag = out->etag;
    return 0;
}

/* ESTALE: the target's brick was restarted, which forgot the staged inode (or the source is gone). */
static int copy_once(struct wg_co *co, struct s3_req *r, struct copy *c, bool *alive,
                     struct wg_iatt *ret_attr, struct wg_etag *ret_etag)
{
    struct wg_put_in in = { 0 };
    /* Room is asked for what there is to write: holes are not. */
    uint64_t room = c->attr.used < c->attr.size ? c->attr.used : c->attr.size;
    int err = s3_stage(co, r, room, &in.bucket, &in.from);

    if (err)
        return err;
    if (c->attr.size >= LONG_COPY && !*alive) {
        *alive = true;
        err = wg_s3_keep_alive(co, r);
    }
    struct s3_copy_data data = { .from_top = c->from_top, .from = c->ref, .to = in.from, .size = c->attr.size };
    struct wg_etag etag;
    if (!err)
        err = s3_copy_data(co, r, &data, &etag);
    if (!err)
        err = publish(co, r, c, &etag, &in, ret_attr, ret_etag);
    if (err == ESTALE) {
        s3_end_stage(co, r, &in.from, err);
        return ESTALE;
    }
    return s3_end_stage(co, r, &in.from, err);
}

static int copy_other(struct wg_co *co, struct s3_req *r, struct copy *c, struct wg_iatt *ret_attr,
                      struct wg_etag *ret_etag)
{
    bool alive = false;
    int err = ESTALE;

    for (int i = 0; err == ESTALE && i < COPY_TRIES; i++)
        err = copy_once(co, r, c, &alive, ret_attr, ret_etag);
    return err == ESTALE ? S3E(ServiceUnavailable) : err;
}

/* ---- The answer ---- */

struct result {
    struct s3_req *r;
    const struct wg_iatt *attr;
    const struct wg_etag *etag;
    const struct copy *c;
};

static int write_result(void *arg)
{
    struct result *a = arg;
    struct wg_s3_xml *x = wg_s3_xml_new("CopyObjectResult");
    char *text;
    size_t len;

    wg_s3_xml_time(x, "LastModified", a->attr->mtime.sec);
    wg_s3_xml_etag(x, "ETag", a->etag);
    struct wg_s3_meta_sum sum;
    if (!a->etag->synthetic && wg_s3_meta_get_sum(a->c->made, &sum)) {
        char shown[WG_S3_SUM_SHOWN];
        wg_s3_xml_text(x, wg_s3_sum_element(sum.alg), wg_s3_meta_show_sum(&sum, shown));
        wg_s3_xml_text(x, "ChecksumType", sum.type == S3_SUM_COMPOSITE ? "COMPOSITE" : "FULL_OBJECT");
    }
    int err = wg_s3_xml_end(x, &text, &len);
    return err ? err : wg_s3_reply_owned(a->r, 200, "application/xml", text, len, wg_s3_xml_free);
}

int wg_s3_copy_object(struct wg_co *co, struct s3_req *r)
{
    struct copy *c = WG_NEW(&r->call->arena, struct copy);
    struct wg_iatt attr;
    struct wg_etag etag;

    if (!c)
        return ENOMEM;
    int err = open_copy(co, r, c);
    if (!err)
        err = c->self ? copy_self(co, r, c, &attr, &etag) : copy_other(co, r, c, &attr, &etag);
    if (err)
        return err;
    struct result result = { r, &attr, &etag, c };
    return wg_co_on_worker(co, write_result, &result);
}
