/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CompleteMultipartUpload: the parts named are checked against those stored, copied by the brick
 * into one staged inode, and published; then the upload is dropped. Until the publish nothing is
 * changed, so it can be repeated; after it, the object's own meta says which upload made it.
 */
#include <stdio.h>

#include "mpu.h"
#include "object.h"
#include "range.h"

#define AT_ONCE 4                /* copies under way */
#define LONG_COPY (256ull << 20) /* from here a client might give up waiting */

struct complete {
    struct s3_req *r;
    struct s3_upload u;
    struct wg_s3_complete asked;
    struct s3_parts stored;
    const struct s3_part **part; /* asked.n of stored's, in order */
    uint64_t *size;              /* of each */
    uint64_t total;
    struct wg_put_in in;
    struct wg_etag etag;
    enum wg_s3_sum alg; /* NONE: the object gets no checksum */
    enum wg_s3_sum_type type;
    uint8_t sum[S3_SUM_BYTES];
    struct wg_str text; /* checksum as in headers; len 0: none */
};

/* ---- What was asked ---- */

static int read_body(void *arg)
{
    struct complete *c = arg;

    return s3_err(wg_s3_xml_read_complete(c->r->body_text, &c->r->call->arena, &c->asked));
}

static int check_order(const struct complete *c)
{
    for (unsigned i = 1; i < c->asked.n; i++)
        if (c->asked.part[i].number <= c->asked.part[i - 1].number)
            return S3E(InvalidPartOrder);
    return 0;
}

static bool matches(const struct wg_s3_part_item *asked, const struct s3_part *p)
{
    char text[S3_SUM_TEXT];
    struct wg_etag etag;

    if (p->number != asked->number || wg_etag_parse(asked->etag, &etag) != 0 || etag.parts != p->etag.parts ||
        memcmp(etag.md5, p->etag.md5, sizeof etag.md5) != 0)
        return false;
    if (asked->alg == S3_SUM_NONE)
        return true;
    if (asked->alg == S3_SUM_CRC64NVME && p->alg != asked->alg && p->has_crc64)
        return wg_str_eq(asked->sum, wg_str_of(wg_s3_base64(p->crc64, sizeof p->crc64, text)));
    return asked->alg == p->alg &&
           wg_str_eq(asked->sum, wg_str_of(wg_s3_base64(p->sum, wg_s3_sum_size(p->alg), text)));
}

static int too_small(struct complete *c, const struct s3_part *p)
{
    char text[WG_ETAG_TEXT];

    wg_s3_fail_with(c->r, 0, "ProposedSize", wg_str_of(wg_printf(&c->r->call->arena, "%llu", (unsigned long long)p->size)));
    wg_s3_fail_with(c->r, 0, "MinSizeAllowed", WG_STR("5242880"));
    wg_s3_fail_with(c->r, 0, "PartNumber", wg_str_of(wg_printf(&c->r->call->arena, "%u", p->number)));
    return wg_s3_fail_with(c->r, S3E(EntityTooSmall), "ETag", wg_str_of(wg_etag_show(&p->etag, text)));
}

/* Both lists are in order of number: one walk. */
static int match_parts(struct complete *c)
{
    unsigned at = 0;

    c->part = wg_alloc(&c->r->call->arena, c->asked.n * sizeof *c->part);
    c->size = wg_alloc(&c->r->call->arena, c->asked.n * sizeof *c->size);
    if (!c->part || !c->size)
        return ENOMEM;
    for (unsigned i = 0; i < c->asked.n; i++) {
        while (at < c->stored.n && c->stored.part[at].number < c->asked.part[i].number)
            at++;
        if (at == c->stored.n || !matches(&c->asked.part[i], &c->stored.part[at]))
            return S3E(InvalidPart);
        c->part[i] = &c->stored.part[at];
        c->size[i] = c->part[i]->size;
        c->total += c->size[i];
        if (c->total > S3_OBJECT_MAX)
            return S3E(EntityTooLarge);
    }
    for (unsigned i = 0; i + 1 < c->asked.n; i++)
        if (c->size[i] < S3_PART_MIN)
            return too_small(c, c->part[i]);
    return 0;
}

static int check_size(const struct complete *c)
{
    const struct wg_str *h = wg_s3_header(c->r, "x-amz-mp-object-size");
    char text[24];

    snprintf(text, sizeof text, "%llu", (unsigned long long)c->total);
    if (h && !wg_str_eq(*h, wg_str_of(text)))
        return wg_s3_fail(c->r, S3E(InvalidRequest), "The provided 'x-amz-mp-object-size' header does not match "
                          "what was computed.");
    return 0;
}

/* ---- ETag and checksum of the whole ---- */

static int hash_parts(void *arg)
{
    struct complete *c = arg;
    struct wg_sums md5, sums;
    bool composite = c->alg != S3_SUM_NONE && c->type == S3_SUM_COMPOSITE;
    uint8_t value[S3_SUM_BYTES];

    if (wg_sums_init(&md5, 1u << S3_SUM_MD5) != 0)
        return ENOMEM;
    if (wg_sums_init(&sums, composite ? 1u << c->alg : 0) != 0) {
        wg_sums_fini(&md5);
        return ENOMEM;
    }
    for (unsigned i = 0; i < c->asked.n; i++) {
        const struct s3_part *p = c->part[i];

        wg_sums_update(&md5, p->etag.md5, sizeof p->etag.md5);
        if (composite)
            wg_sums_update(&sums, p->sum, wg_s3_sum_size(c->alg));
        else if (c->alg != S3_SUM_NONE && i == 0)
            memcpy(c->sum, p->sum, sizeof c->sum);
        else if (c->alg != S3_SUM_NONE)
            wg_s3_crc_combine(c->alg, c->sum, p->sum, p->size);
    }
    wg_s3_sums_final(&md5, S3_SUM_MD5, value);
    if (composite)
        wg_s3_sums_final(&sums, c->alg, c->sum);
    wg_sums_fini(&md5);
    wg_sums_fini(&sums);
    c->etag = (struct wg_etag){ .valid = true, .parts = c->asked.n };
    memcpy(c->etag.md5, value, sizeof c->etag.md5);
    return 0;
}

/*
 * An upload that named no algorithm ends in a CRC64NVME of the whole, as AWS does it. A part that came
 * without the checksum that the upload promises: the brick computes it.
 */
static int complete_sums(struct wg_co *co, struct complete *c)
{
    c->alg = c->u.alg == S3_SUM_NONE ? S3_SUM_CRC64NVME : c->u.alg;
    c->type = c->u.type;
    for (unsigned i = 0; i < c->asked.n; i++) {
        struct s3_part *p = (struct s3_part *)c->part[i];
        uint8_t sum[S3_SUM_MAX][S3_SUM_BYTES];
        int err = 0;

        if (p->alg == c->alg)
            continue;
        if (c->alg == S3_SUM_CRC64NVME && p->has_crc64)
            memcpy(sum[c->alg], p->crc64, sizeof p->crc64);
        else
            err = wg_s3_sum_inode(co, c->r, &p->ref, p->size, 1u << c->alg, sum);
        if (err)
            return err;
        memcpy(p->sum, sum[c->alg], sizeof p->sum);
        p->alg = c->alg;
    }
    return 0;
}

/* x-amz-checksum-* here is that of the whole object. */
static int check_sum(struct complete *c)
{
    const struct wg_str *type = wg_s3_header(c->r, "x-amz-checksum-type");
    struct wg_s3_meta_sum sum = { c->alg, c->type, c->asked.n, c->sum };
    char text[WG_S3_SUM_SHOWN];

    if (type && !wg_str_eq(*type, wg_str_of(s3_sum_type_name(c->u.type))))
        return wg_s3_fail(c->r, S3E(InvalidRequest), "The upload was created with checksum type %s.",
                          s3_sum_type_name(c->u.type));
    if (c->alg != S3_SUM_NONE && wg_strdup(&c->r->call->arena, wg_str_of(wg_s3_meta_show_sum(&sum, text)), &c->text) != 0)
        return ENOMEM;
    for (unsigned i = 0; i < c->r->nheaders; i++) {
        enum wg_s3_sum alg = wg_s3_sum_of_header(c->r->headers[i].name);

        if (alg == S3_SUM_NONE)
            continue;
        if (alg != c->alg)
            return wg_s3_fail(c->r, S3E(InvalidRequest), "The upload was not created with this checksum algorithm.");
        if (!wg_str_eq(c->r->headers[i].value, c->text))
            return S3E(BadDigest);
    }
    return 0;
}

static int keep_part_sums(struct complete *c, struct wg_s3_meta *m, struct wg_str *ret)
{
    uint8_t (*sum)[S3_SUM_BYTES] = wg_alloc(&c->r->call->arena, c->asked.n * sizeof *sum);

    if (!sum)
        return ENOMEM;
    for (unsigned i = 0; i < c->asked.n; i++)
        memcpy(sum[i], c->part[i]->sum, sizeof *sum);
    wg_s3_meta_put_part_sums(m, c->alg, (const uint8_t (*)[S3_SUM_BYTES])sum, c->asked.n);
    *ret = wg_s3_meta_end(m);
    return 0;
}

static int whole_meta(struct complete *c, struct wg_str *ret)
{
    static const enum wg_s3_tag kept[] = {
        S3_META_CONTENT_TYPE, S3_META_CONTENT_ENCODING, S3_META_CONTENT_DISPOSITION, S3_META_CONTENT_LANGUAGE,
        S3_META_CACHE_CONTROL, S3_META_EXPIRES, S3_META_USER, S3_META_TAG, S3_META_REDIRECT,
    };
    struct wg_s3_meta *m = WG_NEW(&c->r->call->arena, struct wg_s3_meta);

    if (!m)
        return ENOMEM;
    wg_s3_meta_start(m);
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        wg_s3_meta_copy_only(m, c->u.meta, kept[i]);
    if (c->alg != S3_SUM_NONE)
        wg_s3_meta_put_sum(m, c->alg, c->type, c->asked.n, c->sum);
    wg_s3_meta_put(m, S3_META_UPLOAD, wg_str_of(c->u.id));
    if (m->overflow)
        return S3E(MetadataTooLarge);
    /* Of parts last: an object can do without, when its user metadata and tags fill the room. */
    wg_s3_meta_put_parts(m, c->size, c->asked.n);
    *ret = wg_s3_meta_end(m);
    return c->u.alg == S3_SUM_NONE ? 0 : keep_part_sums(c, m, ret);
}

/* ---- The object ---- */

struct piece {
    struct complete *c;
    unsigned i;
    uint64_t offset;
};

static int copy_piece(struct wg_co *co, void *arg)
{
    struct piece *p = arg;

    return wg_s3_copy_bytes(co, p->c->r, &p->c->part[p->i]->ref, 0, &p->c->in.from, p->offset, p->c->size[p->i]);
}

static int copy_pieces(struct wg_co *co, struct complete *c)
{
    struct piece *piece = wg_alloc(&c->r->call->arena, c->asked.n * sizeof *piece);
    struct wg_co_group *g = piece ? wg_co_group(co, AT_ONCE) : NULL;
    uint64_t offset = 0;
    int err = 0, joined;

    if (!g)
        return ENOMEM;
    for (unsigned i = 0; i < c->asked.n && !err; i++) {
        piece[i] = (struct piece){ c, i, offset };
        offset += c->size[i];
        err = wg_co_spawn(g, "CompleteMultipartUpload part", copy_piece, &piece[i]);
    }
    joined = wg_co_collect(g);
    return joined ? joined : err;
}

/* The condition as it is now, so that most failures are told before the answer has begun. */
static int check_condition(struct wg_co *co, struct complete *c)
{
    struct wg_get_in in = { .bucket = c->u.bucket, .key = c->r->uri.key };
    const struct wg_get_out *out;
    struct wg_str key;
    int err;

    if (!c->in.cond)
        return 0;
    err = s3_get_following(co, c->r, &in, &out, &key);
    if (err == ENOENT || err == ENOTDIR)
        return c->in.cond & WG_IF_NONE_MATCH_ANY ? 0 : S3E(NoSuchKey);
    if (err)
        return err;
    if (c->in.cond & WG_IF_NONE_MATCH_ANY)
        return S3E(PreconditionFailed);
    if (c->in.cond & WG_IF_MATCH && (out->etag.parts != c->in.if_match.parts ||
                                     memcmp(out->etag.md5, c->in.if_match.md5, 16) != 0))
        return S3E(PreconditionFailed);
    return 0;
}

static int make_object(struct wg_co *co, struct complete *c)
{
    const struct wg_put_out *out;
    int err = 0;

    if (c->total >= LONG_COPY)
        err = wg_s3_keep_alive(co, c->r);
    if (!err)
        err = copy_pieces(co, c);
    if (err)
        return err;
    c->in.bucket = c->u.bucket;
    c->in.key = c->r->uri.key;
    c->in.gfid = c->in.from.gfid;
    c->in.attrs = (struct wg_sattr){ .valid = WG_SET_MODE, .mode = 0644 };
    c->in.etag = c->etag;
    return s3_put_following(co, c->r, &c->in, &out);
}

static int stage_and_make(struct wg_co *co, struct complete *c)
{
    struct wg_stage_in in = { .bucket = c->u.bucket, .key = c->r->uri.key, .gfid = wg_gfid_new(), .size = c->total };
    const struct wg_stage_out *out;
    int err = s3_stage_following(co, c->r, &in, &out);

    if (err)
        return err;
    c->in.from = out->ref;
    return s3_end_stage(co, c->r, &c->in.from, make_object(co, c));
}

/* ---- The answer ---- */

static int write_completed(void *arg)
{
    struct complete *c = arg;
    struct s3_req *r = c->r;
    struct wg_s3_xml *x = wg_s3_xml_new("CompleteMultipartUploadResult");
    char *key = wg_alloc(&r->call->arena, 3 * r->uri.key.len + 1);
    const char *location = NULL;

    if (key) {
        wg_s3_encode(r->uri.key, true, key);
        location = wg_printf(&r->call->arena, "http%s://%.*s/%.*s/%s", r->tls ? "s" : "", (int)r->host.len, r->host.s,
                             (int)r->uri.bucket.len, r->uri.bucket.s, key);
    }
    if (location)
        wg_s3_xml_text(x, "Location", location);
    wg_s3_xml_str(x, "Bucket", r->uri.bucket);
    wg_s3_xml_str(x, "Key", r->uri.key);
    wg_s3_xml_etag(x, "ETag", &c->etag);
    if (c->text.len) {
        wg_s3_xml_str(x, wg_s3_sum_element(c->alg), c->text);
        wg_s3_xml_text(x, "ChecksumType", s3_sum_type_name(c->type));
    }
    return wg_s3_reply_xml(r, x);
}

/*
 * There is no such upload: was it completed before? Clients repeat a Complete whose answer they did
 * not see, and AWS says the same again.
 */
static int completed_before(struct wg_co *co, struct complete *c)
{
    struct wg_get_in in = { .bucket = c->u.bucket, .key = c->r->uri.key };
    const struct wg_get_out *out;
    struct wg_s3_meta_sum sum;
    struct wg_str id, key;
    char text[WG_S3_SUM_SHOWN];

    if (s3_get_following(co, c->r, &in, &out, &key) != 0 || !wg_s3_meta_get(out->meta, S3_META_UPLOAD, &id) ||
        !wg_str_eq(id, wg_str_of(c->u.id)))
        return S3E(NoSuchUpload);
    c->etag = out->etag;
    if (wg_s3_meta_get_sum(out->meta, &sum)) {
        c->alg = sum.alg;
        c->type = sum.type;
        if (wg_strdup(&c->r->call->arena, wg_str_of(wg_s3_meta_show_sum(&sum, text)), &c->text) != 0)
            return ENOMEM;
    }
    return wg_co_on_worker(co, write_completed, c);
}

static int prepare(struct wg_co *co, struct complete *c)
{
    int err = check_order(c);

    if (!err)
        err = s3_write_cond(c->r, &c->in.cond, &c->in.if_match);
    if (!err)
        err = s3_list_parts(co, c->r, &c->u, 0, S3_PARTS_MAX, &c->stored);
    if (!err)
        err = match_parts(c);
    if (!err)
        err = check_size(c);
    if (!err)
        err = complete_sums(co, c);
    if (!err)
        err = wg_co_on_worker(co, hash_parts, c);
    if (!err)
        err = check_sum(c);
    if (!err)
        err = whole_meta(c, &c->in.meta);
    return err ? err : check_condition(co, c);
}

int wg_s3_complete_upload(struct wg_co *co, struct s3_req *r)
{
    struct complete *c = WG_NEW(&r->call->arena, struct complete);
    int err;

    if (!c)
        return ENOMEM;
    c->r = r;
    err = wg_co_on_worker(co, read_body, c);
    if (!err)
        err = s3_claim_upload(co, r, &c->u);
    if (err == S3E(NoSuchUpload) && c->u.id[0])
        return completed_before(co, c);
    if (err)
        return err;
    err = prepare(co, c);
    if (!err)
        err = stage_and_make(co, c);
    if (err && s3_upload_exists(co, r, &c->u) == S3E(NoSuchUpload))
        return completed_before(co, c); /* the same Complete ran beside this one, and took the parts */
    if (err)
        return err;
    /* What can't be removed now is an upload that was completed: abort or bucket removal get it. */
    s3_end_upload(co, r, &c->u);
    return wg_co_on_worker(co, write_completed, c);
}
