/* SPDX-License-Identifier: Apache-2.0 */
/* Tags of objects, and GetObjectAttributes: what is read from and written to an object's meta alone. */

#include "handlers.h"
#include "object.h"
#include "range.h"

/* The object's attributes and meta, no data; and where it is when links lead there. */
static int get_object(struct wg_co *co, struct s3_req *r, struct wg_ref *bucket, struct wg_str *ret_key,
                      const struct wg_get_out **ret)
{
    struct wg_get_in in = { .key = r->uri.key };
    int err = s3_check_version(r);

    if (!err)
        err = wg_s3_open_bucket(co, r, r->uri.bucket, bucket);
    if (err)
        return err;
    in.bucket = *bucket;
    err = s3_get_following(co, r, &in, ret, ret_key);
    if (err != ESTALE)
        return err;
    wg_s3_forget_bucket(r, r->uri.bucket);
    return S3E(NoSuchBucket);
}

/* ---- Tags ---- */

struct tagging {
    struct s3_req *r;
    struct wg_str meta;
    struct wg_s3_tagging tags;
};

static int write_tags(void *arg)
{
    struct tagging *t = arg;
    struct wg_s3_xml *x = wg_s3_xml_new("Tagging");
    struct wg_str name, value;

    wg_s3_xml_open(x, "TagSet");
    for (struct wg_s3_meta_cursor c = wg_s3_meta_cursor(t->meta);
         wg_s3_meta_next_pair(&c, S3_META_TAG, &name, &value);) {
        wg_s3_xml_open(x, "Tag");
        wg_s3_xml_str(x, "Key", name);
        wg_s3_xml_str(x, "Value", value);
        wg_s3_xml_close(x);
    }
    wg_s3_xml_close(x);
    return wg_s3_reply_xml(t->r, x);
}

int wg_s3_get_object_tagging(struct wg_co *co, struct s3_req *r)
{
    struct tagging t = { .r = r };
    const struct wg_get_out *out;
    struct wg_ref bucket;
    struct wg_str key;
    int err = get_object(co, r, &bucket, &key, &out);

    if (err)
        return err;
    t.meta = out->meta;
    return wg_co_on_worker(co, write_tags, &t);
}

/* The object's meta with other tags; expect keeps it from landing on a newer object. */
static int set_tags(struct wg_co *co, struct s3_req *r, const struct wg_s3_tagging *tags)
{
    struct wg_s3_meta *m = WG_NEW(&r->call->arena, struct wg_s3_meta);
    struct wg_setmeta_in in = { 0 };
    const struct wg_setmeta_out *set;
    const struct wg_get_out *out;
    int err = get_object(co, r, &in.bucket, &in.key, &out);

    if (!m)
        return ENOMEM;
    if (err)
        return err;
    wg_s3_meta_start(m);
    wg_s3_meta_copy_without(m, out->meta, S3_META_TAG);
    for (unsigned i = 0; i < tags->n; i++)
        wg_s3_meta_put_pair(m, S3_META_TAG, tags->tag[i].name, tags->tag[i].value);
    if (m->overflow)
        return S3E(MetadataTooLarge);
    in.expect = out->ref.gfid;
    in.meta = wg_s3_meta_end(m);
    return wg_co_setmeta(co, r->top, &in, &set);
}

static int read_tags(void *arg)
{
    struct tagging *t = arg;

    return s3_err(wg_s3_xml_read_tagging(t->r->body_text, &t->r->call->arena, &t->tags));
}

int wg_s3_put_object_tagging(struct wg_co *co, struct s3_req *r)
{
    struct tagging t = { .r = r };
    int err = wg_co_on_worker(co, read_tags, &t);

    if (!err)
        err = set_tags(co, r, &t.tags);
    return err ? err : wg_s3_reply(r, 200);
}

int wg_s3_delete_object_tagging(struct wg_co *co, struct s3_req *r)
{
    struct wg_s3_tagging none = { 0 };
    int err = set_tags(co, r, &none);

    return err ? err : wg_s3_reply(r, 204);
}

/* ---- GetObjectAttributes ---- */

enum { ETAG = 1, CHECKSUM = 2, PARTS = 4, CLASS = 8, SIZE = 16 };

struct attributes {
    struct s3_req *r;
    unsigned wanted;
    uint64_t max_parts, after_part;
    const struct wg_get_out *out;
};

static int wanted_of(struct s3_req *r, unsigned *ret)
{
    static const char *const names[] = { "ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize" };
    const struct wg_str *h = wg_s3_header_joined(r, "x-amz-object-attributes");
    struct wg_str left = h ? *h : (struct wg_str){ "", 0 };

    while (left.len) {
        const char *comma = memchr(left.s, ',', left.len);
        uint32_t n = comma ? (uint32_t)(comma - left.s) : left.len;
        struct wg_str one = wg_s3_trim((struct wg_str){ left.s, n });
        unsigned bit = 0;

        left = comma ? (struct wg_str){ comma + 1, left.len - n - 1 } : (struct wg_str){ left.s, 0 };
        for (unsigned i = 0; i < 5; i++)
            if (wg_str_eq(one, wg_str_of(names[i])))
                bit = 1u << i;
        if (!bit)
            return wg_s3_fail(r, S3E(InvalidArgument), "Invalid attribute name specified.");
        *ret |= bit;
    }
    return *ret ? 0 : wg_s3_fail(r, S3E(InvalidArgument), "The x-amz-object-attributes header is missing.");
}

static void write_checksum(struct wg_s3_xml *x, struct wg_str meta)
{
    struct wg_s3_meta_sum sum;
    char text[WG_S3_SUM_SHOWN];

    if (!wg_s3_meta_get_sum(meta, &sum))
        return;
    wg_s3_xml_open(x, "Checksum");
    wg_s3_xml_text(x, wg_s3_sum_element(sum.alg), wg_s3_meta_show_sum(&sum, text));
    wg_s3_xml_text(x, "ChecksumType", sum.type == S3_SUM_COMPOSITE ? "COMPOSITE" : "FULL_OBJECT");
    wg_s3_xml_close(x);
}

static void write_part(struct wg_s3_xml *x, uint32_t number, uint64_t size, enum wg_s3_sum alg, const uint8_t *sum)
{
    char text[S3_SUM_TEXT];

    wg_s3_xml_open(x, "Part");
    wg_s3_xml_u64(x, "PartNumber", number);
    wg_s3_xml_u64(x, "Size", size);
    wg_s3_xml_text(x, wg_s3_sum_element(alg), wg_s3_base64(sum, wg_s3_sum_size(alg), text));
    wg_s3_xml_close(x);
}

/* As AWS: the single parts only of an object whose upload named a checksum algorithm. */
static void write_parts(struct wg_s3_xml *x, const struct attributes *a)
{
    uint32_t n = a->out->etag.parts, number = (uint32_t)a->after_part + 1, last = 0;
    uint64_t offset, size, left = a->max_parts;
    enum wg_s3_sum alg;
    bool shown = wg_s3_meta_part_sum(a->out->meta, 1, n, &alg) != NULL;

    wg_s3_xml_open(x, "ObjectParts");
    wg_s3_xml_u64(x, "PartsCount", n);
    for (; shown && number <= n && left > 0; number++, left--) {
        const uint8_t *sum = wg_s3_meta_part_sum(a->out->meta, number, n, &alg);

        if (!sum || !wg_s3_meta_part(a->out->meta, number, &offset, &size))
            break;
        write_part(x, number, size, alg, sum);
        last = number;
    }
    if (shown) {
        wg_s3_xml_u64(x, "PartNumberMarker", a->after_part);
        wg_s3_xml_u64(x, "NextPartNumberMarker", last);
        wg_s3_xml_u64(x, "MaxParts", a->max_parts);
        wg_s3_xml_bool(x, "IsTruncated", number <= n && left == 0);
    }
    wg_s3_xml_close(x);
}

/* A number in a header; absent: otherwise. */
static int number_of(struct s3_req *r, const char *name, uint64_t otherwise, uint64_t max, uint64_t *ret)
{
    const struct wg_str *h = wg_s3_header(r, name);

    *ret = otherwise;
    if (!h)
        return 0;
    *ret = 0;
    for (uint32_t i = 0; i < h->len; i++)
        if (h->s[i] < '0' || h->s[i] > '9' || (*ret = *ret * 10 + (uint64_t)(h->s[i] - '0')) > INT32_MAX)
            return wg_s3_fail(r, S3E(InvalidArgument), "%s is not an integer", name);
    if (h->len == 0)
        return wg_s3_fail(r, S3E(InvalidArgument), "%s is not an integer", name);
    *ret = *ret < max ? *ret : max;
    return 0;
}

static int write_attributes(void *arg)
{
    struct attributes *a = arg;
    const struct wg_get_out *out = a->out;
    struct wg_s3_xml *x = wg_s3_xml_new("GetObjectAttributesResponse");
    char text[WG_ETAG_TEXT];

    if (a->wanted & ETAG) /* here AWS gives it without quotes */
        wg_s3_xml_text(x, "ETag", wg_etag_show(&out->etag, text));
    /* A checksum counts for the content that it came with: one that NFS changed since has none. */
    if (a->wanted & CHECKSUM && !out->etag.synthetic)
        write_checksum(x, out->meta);
    if (a->wanted & PARTS && out->etag.parts && !out->etag.synthetic)
        write_parts(x, a);
    if (a->wanted & CLASS)
        wg_s3_xml_text(x, "StorageClass", "STANDARD");
    if (a->wanted & SIZE)
        wg_s3_xml_u64(x, "ObjectSize", out->attr.size);
    return wg_s3_reply_xml(a->r, x);
}

int wg_s3_get_object_attributes(struct wg_co *co, struct s3_req *r)
{
    struct attributes a = { .r = r };
    struct wg_ref bucket;
    struct wg_str key;
    int err = wanted_of(r, &a.wanted);

    if (!err)
        err = number_of(r, "x-amz-max-parts", 1000, 1000, &a.max_parts);
    if (!err)
        err = number_of(r, "x-amz-part-number-marker", 0, 10000, &a.after_part);
    if (!err)
        err = get_object(co, r, &bucket, &key, &a.out);
    if (err)
        return err;
    wg_s3_set_time(r, "Last-Modified", a.out->attr.mtime);
    return wg_co_on_worker(co, write_attributes, &a);
}
