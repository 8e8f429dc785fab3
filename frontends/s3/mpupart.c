/* SPDX-License-Identifier: Apache-2.0 */
/* UploadPart and UploadPartCopy. */
#include <stdio.h>

#include "copydata.h"
#include "date.h"
#include "mpu.h"
#include "object.h"
#include "range.h"

static int part_number(struct s3_req *r, uint32_t *ret)
{
    uint64_t n;

    if (wg_s3_param_u64(&r->uri, "partNumber", 0, S3_PARTS_MAX, &n) != WG_S3_OK || n == 0)
        return wg_s3_fail(r, S3E(InvalidArgument), "Part number must be an integer between 1 and 10000, inclusive");
    *ret = (uint32_t)n;
    return 0;
}

int wg_s3_check_part(struct s3_req *r)
{
    uint32_t number = 0;

    if (wg_s3_header(r, "x-amz-server-side-encryption-customer-algorithm"))
        return wg_s3_fail(r, S3E(NotImplemented), "Server-side encryption is not supported.");
    return part_number(r, &number);
}

/* The checksum of a part is that of its upload, if that has one. */
static int check_sum(struct s3_req *r, const struct s3_upload *u, enum wg_s3_sum alg)
{
    const char *given = alg == S3_SUM_NONE ? "null" : wg_s3_sum_name(alg);

    if (u->alg == S3_SUM_NONE || alg == u->alg || (alg == S3_SUM_NONE && u->type == S3_SUM_FULL_OBJECT))
        return 0;
    return wg_s3_fail(r, S3E(InvalidRequest), "Checksum Type mismatch occurred, expected checksum Type: %s, "
                      "actual checksum Type: %s", wg_s3_sum_name(u->alg), given);
}

/* The part's own meta: its checksum, and the CRC64NVME that an upload without an algorithm ends in. */
static int sum_meta(struct s3_req *r, enum wg_s3_sum alg, const uint8_t *sum, const uint8_t crc64[8], struct wg_str *ret)
{
    struct wg_s3_meta *m = WG_NEW(&r->call->arena, struct wg_s3_meta);

    if (!m)
        return ENOMEM;
    wg_s3_meta_start(m);
    if (alg != S3_SUM_NONE)
        wg_s3_meta_put_sum(m, alg, S3_SUM_FULL_OBJECT, 0, sum);
    wg_s3_meta_put(m, S3_META_CRC64, (struct wg_str){ (const char *)crc64, 8 });
    *ret = wg_s3_meta_end(m);
    return 0;
}

/* in has the content; the part is there for others when this answers 0. */
static int publish(struct wg_co *co, struct s3_req *r, const struct s3_upload *u, struct wg_put_in *in,
                   const uint8_t *md5, struct wg_iatt *ret_attr)
{
    const struct wg_put_out *out;
    int err;

    in->bucket = u->bucket;
    in->space = WG_SPACE_UPLOADS;
    in->attrs = (struct wg_sattr){ .valid = WG_SET_MODE, .mode = 0600 };
    in->etag = (struct wg_etag){ .valid = true };
    memcpy(in->etag.md5, md5, sizeof in->etag.md5);
    err = wg_co_put(co, r->top, in, &out);
    if (err)
        return err;
    *ret_attr = out->attr;
    err = s3_upload_exists(co, r, u);
    if (err == S3E(NoSuchUpload)) {
        /* Aborted or completed meanwhile: nobody else will remove this part. */
        struct wg_del_in del = { .bucket = u->bucket, .space = WG_SPACE_UPLOADS, .key = in->key };
        const struct wg_del_out *gone;

        wg_co_del(co, r->top, &del, &gone);
    }
    return err;
}

static int stage(struct wg_co *co, struct s3_req *r, const struct s3_upload *u, struct wg_str key, uint64_t size,
                 struct wg_put_in *ret)
{
    struct wg_stage_in in = { .bucket = u->bucket, .space = WG_SPACE_UPLOADS, .key = key, .gfid = wg_gfid_new(),
                              .size = size };
    const struct wg_stage_out *out;
    int err = wg_co_stage(co, r->top, &in, &out);

    if (err)
        return err;
    ret->from = out->ref;
    ret->gfid = out->ref.gfid;
    return 0;
}

/* ---- UploadPart ---- */

static int finish_part(struct wg_co *co, struct s3_req *r, const struct s3_upload *u, struct wg_put_in *in,
                       const struct s3_digests *d)
{
    struct wg_iatt attr;
    char text[S3_SUM_TEXT];
    int err = check_sum(r, u, d->sum_alg);

    if (err)
        return err;
    err = sum_meta(r, d->sum_alg, d->sum, d->crc64, &in->meta);
    if (!err)
        err = publish(co, r, u, in, d->md5, &attr);
    if (err)
        return err;
    wg_s3_set_etag(r, &in->etag);
    if (d->sum_alg != S3_SUM_NONE)
        wg_s3_set(r, wg_s3_sum_header(d->sum_alg), "%s", wg_s3_base64(d->sum, wg_s3_sum_size(d->sum_alg), text));
    return wg_s3_reply(r, 200);
}

int wg_s3_upload_part(struct wg_co *co, struct s3_req *r)
{
    struct wg_put_in in = { .gfid = wg_gfid_new() };
    const struct s3_digests *d;
    struct s3_upload u;
    char key[S3_UPLOAD_KEY];
    uint32_t number = 0;
    int err = part_number(r, &number);

    if (!err)
        err = s3_open_upload(co, r, &u);
    if (err)
        return err;
    in.key = s3_upload_part(u.id, number, key);
    if (wg_s3_body_is_whole(r)) {
        err = wg_s3_body_whole(co, r, &in.data, &d);
        return err ? err : finish_part(co, r, &u, &in, d);
    }
    err = stage(co, r, &u, in.key, r->length == S3_UNKNOWN ? 0 : r->length, &in);
    if (err)
        return err;
    err = wg_s3_body_store(co, r, &in.from, &d);
    if (!err)
        err = finish_part(co, r, &u, &in, d);
    return s3_end_stage(co, r, &in.from, err);
}

/* ---- UploadPartCopy ---- */

struct part_copy {
    struct s3_req *r;
    struct s3_upload u;
    struct wg_put_in in;
    struct wg_xlator *from_top;
    struct wg_ref from;
    uint64_t offset, size;
    struct wg_iatt attr;
    enum wg_s3_sum alg;
    uint8_t sum[S3_SUM_BYTES];
};

static int source_range(struct s3_req *r, struct part_copy *c, uint64_t source_size)
{
    const struct wg_str *header = wg_s3_header(r, "x-amz-copy-source-range");
    struct wg_s3_range range;

    c->size = source_size;
    if (header) {
        if (wg_s3_copy_range_parse(*header, &range) != WG_S3_OK)
            return wg_s3_fail(r, S3E(InvalidArgument), "The x-amz-copy-source-range value must be of the form "
                              "bytes=first-last where first and last are the zero-based offsets of the first "
                              "and last bytes to copy");
        if (range.last >= source_size)
            return wg_s3_fail(r, S3E(InvalidArgument), "Range specified is not valid for source object of size: %llu",
                              (unsigned long long)source_size);
        c->offset = range.first;
        c->size = range.last - range.first + 1;
    }
    return c->size > S3_PUT_MAX ? S3E(EntityTooLarge) : 0;
}

static int open_source(struct wg_co *co, struct part_copy *c)
{
    struct wg_str bucket, key, real_key;
    const struct wg_get_out *obj;
    struct wg_ref in_bucket;
    int err = s3_copy_source(c->r, &bucket, &key);

    if (!err)
        err = s3_open_source(co, c->r, bucket, key, &obj, &c->from_top, &in_bucket, &real_key);
    if (err)
        return err;
    c->from = obj->ref;
    return source_range(c->r, c, obj->attr.size);
}

static int copy_part(struct wg_co *co, struct part_copy *c)
{
    uint8_t sum[S3_SUM_MAX][S3_SUM_BYTES];
    unsigned mask = 1u << S3_SUM_MD5 | 1u << S3_SUM_CRC64NVME;
    struct s3_copy_data data = { .from_top = c->from_top, .from = c->from, .from_offset = c->offset,
                                 .to = c->in.from, .size = c->size };
    int err = s3_copy_data(co, c->r, &data, NULL);

    c->alg = c->u.alg;
    if (c->alg != S3_SUM_NONE)
        mask |= 1u << c->alg;
    /* Of the copy itself, not of the source: that may have changed since. */
    if (!err)
        err = wg_s3_sum_inode(co, c->r, &c->in.from, c->size, mask, sum);
    if (!err)
        memcpy(c->sum, sum[c->alg], sizeof c->sum);
    if (!err)
        err = sum_meta(c->r, c->alg, c->sum, sum[S3_SUM_CRC64NVME], &c->in.meta);
    return err ? err : publish(co, c->r, &c->u, &c->in, sum[S3_SUM_MD5], &c->attr);
}

static int write_copied(void *arg)
{
    struct part_copy *c = arg;
    struct wg_s3_xml *x = wg_s3_xml_new("CopyPartResult");
    char text[S3_SUM_TEXT];

    wg_s3_xml_time(x, "LastModified", c->attr.mtime.sec);
    wg_s3_xml_etag(x, "ETag", &c->in.etag);
    if (c->alg != S3_SUM_NONE)
        wg_s3_xml_text(x, wg_s3_sum_element(c->alg), wg_s3_base64(c->sum, wg_s3_sum_size(c->alg), text));
    return wg_s3_reply_xml(c->r, x);
}

int wg_s3_upload_part_copy(struct wg_co *co, struct s3_req *r)
{
    struct part_copy *c = WG_NEW(&r->call->arena, struct part_copy);
    char key[S3_UPLOAD_KEY];
    uint32_t number = 0;
    int err;

    if (!c)
        return ENOMEM;
    c->r = r;
    err = part_number(r, &number);
    if (!err)
        err = s3_open_upload(co, r, &c->u);
    if (!err)
        err = open_source(co, c);
    if (err)
        return err;
    c->in.key = s3_upload_part(c->u.id, number, key);
    err = stage(co, r, &c->u, c->in.key, c->size, &c->in);
    if (err)
        return err;
    err = s3_end_stage(co, r, &c->in.from, copy_part(co, c));
    return err ? err : wg_co_on_worker(co, write_copied, c);
}
