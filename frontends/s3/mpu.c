/* SPDX-License-Identifier: Apache-2.0 */
/* Uploads: their record, their parts, how they begin and are dropped. */
#include "mpu.h"

#include <endian.h>
#include <stdio.h>

#include "hmac.h"

#define CLAIM_MS 10000 /* the time to live of the lease on ending an upload, and the wait for it */
#define PAGE 1000
#define PAGE_BYTES (768u << 10)

struct wg_str s3_upload_part(const char *id, uint32_t number, char *to)
{
    snprintf(to, S3_UPLOAD_KEY, "%.32s/part.%05u", id, number % 100000);
    return wg_str_of(to);
}

const char *s3_sum_type_name(enum wg_s3_sum_type type)
{
    return type == S3_SUM_COMPOSITE ? "COMPOSITE" : "FULL_OBJECT";
}

void s3_upload_sums(struct wg_str meta, enum wg_s3_sum *ret_alg, enum wg_s3_sum_type *ret_type)
{
    struct wg_str v;

    *ret_alg = S3_SUM_NONE;
    *ret_type = S3_SUM_FULL_OBJECT;
    if (!wg_s3_meta_get(meta, S3_META_SUM_WANTED, &v) || v.len != 2 || (uint8_t)v.s[0] >= S3_SUM_MD5)
        return;
    *ret_alg = (enum wg_s3_sum)v.s[0];
    *ret_type = v.s[1] == S3_SUM_COMPOSITE ? S3_SUM_COMPOSITE : S3_SUM_FULL_OBJECT;
}

/* ---- The record ---- */

static bool absent(int err)
{
    return err == ENOENT || err == ENOTDIR || err == EISDIR;
}

static int get_record(struct wg_co *co, struct s3_req *r, const struct wg_ref *bucket, const char *id,
                      const struct wg_get_out **ret, bool *ret_old)
{
    char key[WG_KEY_MAX];
    struct wg_get_in in = { .bucket = *bucket, .space = WG_SPACE_UPLOADS,
                            .key = s3_upload_record(r->uri.key, id, key) };
    int err = wg_co_get(co, r->top, &in, ret);

    *ret_old = absent(err);
    if (*ret_old) {
        in.key = s3_upload_old_record(id, key);
        err = wg_co_get(co, r->top, &in, ret);
    }
    return absent(err) ? S3E(NoSuchUpload) : err;
}

/* The parameter, if it has the form of our ids. */
static bool upload_id(const struct s3_req *r, char *ret)
{
    const struct wg_str *v = wg_s3_param(&r->uri, "uploadId");
    uint8_t bytes[S3_UPLOAD_ID / 2];

    if (!v || !wg_s3_unhex(*v, bytes, sizeof bytes))
        return false;
    wg_s3_hex(bytes, sizeof bytes, ret);
    ret[S3_UPLOAD_ID] = '\0';
    return true;
}

static int read_record(struct s3_req *r, const struct wg_get_out *out, struct s3_upload *u)
{
    struct wg_str key;
    int err;

    if (!wg_s3_meta_get(out->meta, S3_META_KEY, &key) || !wg_str_eq(key, r->uri.key))
        return S3E(NoSuchUpload);
    if (out->attr.uid != r->call->cred.uid && r->call->cred.uid != 0)
        return EACCES;
    err = wg_strdup(&r->call->arena, out->meta, &u->meta);
    if (err)
        return err;
    u->uid = out->attr.uid;
    u->started = out->attr.mtime.sec;
    s3_upload_sums(u->meta, &u->alg, &u->type);
    return 0;
}

int s3_open_upload(struct wg_co *co, struct s3_req *r, struct s3_upload *ret)
{
    const struct wg_get_out *out;
    int err = 0;

    for (unsigned attempt = 0; !err && attempt < 2; attempt++) {
        err = wg_s3_open_bucket(co, r, r->uri.bucket, &ret->bucket);
        if (err)
            return err;
        if (!upload_id(r, ret->id))
            return S3E(NoSuchUpload);
        err = get_record(co, r, &ret->bucket, ret->id, &out, &ret->old);
        if (err != ESTALE)
            return err ? err : read_record(r, out, ret);
        wg_s3_forget_bucket(r, r->uri.bucket);
        err = attempt == 0 ? 0 : S3E(NoSuchBucket);
    }
    return err;
}

int s3_claim_upload(struct wg_co *co, struct s3_req *r, struct s3_upload *ret)
{
    struct wg_co_lease_args args = { .ttl_ms = CLAIM_MS, .wait_ms = CLAIM_MS };
    struct wg_co_lease *lease;
    char name[S3_UPLOAD_ID + 16];
    int err = s3_open_upload(co, r, ret);

    if (err)
        return err;
    snprintf(name, sizeof name, "s3 upload %s", ret->id);
    args.at = ret->bucket;
    args.name = wg_str_of(name);
    err = wg_co_lease_take(co, r->top, &args, &lease);
    if (err == ENOTSUP)
        return 0; /* a brick of an older release: as it was then */
    if (err)
        return err == EBUSY ? S3E(OperationAborted) : err;
    return s3_open_upload(co, r, ret);
}

int s3_upload_exists(struct wg_co *co, struct s3_req *r, const struct s3_upload *u)
{
    const struct wg_get_out *out;
    bool old;

    return get_record(co, r, &u->bucket, u->id, &out, &old);
}

/* ---- CreateMultipartUpload ---- */

/* x-amz-checksum-algorithm and x-amz-checksum-type, with AWS's defaults and combinations. */
static int wanted_sums(struct s3_req *r, enum wg_s3_sum *ret_alg, enum wg_s3_sum_type *ret_type)
{
    const struct wg_str *alg = wg_s3_header(r, "x-amz-checksum-algorithm");
    const struct wg_str *type = wg_s3_header(r, "x-amz-checksum-type");

    *ret_alg = alg ? wg_s3_sum_named(*alg) : S3_SUM_NONE;
    if (alg && *ret_alg == S3_SUM_NONE)
        return wg_s3_fail(r, S3E(InvalidRequest), "Checksum algorithm provided is unsupported.");
    if (type && !alg)
        return wg_s3_fail(r, S3E(InvalidRequest), "The x-amz-checksum-type header can only be used with the "
                          "x-amz-checksum-algorithm header.");
    *ret_type = *ret_alg == S3_SUM_CRC64NVME ? S3_SUM_FULL_OBJECT : S3_SUM_COMPOSITE;
    if (type && wg_str_eq(*type, WG_STR("COMPOSITE")))
        *ret_type = S3_SUM_COMPOSITE;
    else if (type && wg_str_eq(*type, WG_STR("FULL_OBJECT")))
        *ret_type = S3_SUM_FULL_OBJECT;
    else if (type)
        return wg_s3_fail(r, S3E(InvalidRequest), "Value for x-amz-checksum-type header is invalid.");
    if (alg && ((*ret_type == S3_SUM_COMPOSITE && *ret_alg == S3_SUM_CRC64NVME) ||
                (*ret_type == S3_SUM_FULL_OBJECT && !wg_s3_sum_is_crc(*ret_alg))))
        return wg_s3_fail(r, S3E(InvalidRequest), "The %s checksum type cannot be used with the %s checksum algorithm.",
                          s3_sum_type_name(*ret_type), wg_s3_sum_name(*ret_alg));
    return 0;
}

static int record_meta(struct s3_req *r, enum wg_s3_sum alg, enum wg_s3_sum_type type, struct wg_str *ret)
{
    struct wg_s3_meta *m = WG_NEW(&r->call->arena, struct wg_s3_meta);
    char wanted[2] = { (char)alg, (char)type };
    enum wg_s3_code code;

    if (!m)
        return ENOMEM;
    wg_s3_meta_start(m);
    code = wg_s3_meta_put_headers(m, r->headers, r->nheaders);
    if (code != WG_S3_OK)
        return s3_err(code);
    wg_s3_meta_put(m, S3_META_KEY, r->uri.key);
    if (alg != S3_SUM_NONE)
        wg_s3_meta_put(m, S3_META_SUM_WANTED, (struct wg_str){ wanted, 2 });
    *ret = wg_s3_meta_end(m);
    return m->overflow ? S3E(MetadataTooLarge) : 0;
}

/* Nanoseconds, so that ids sort by time, and 62 random bits. */
static void new_id(char id[S3_UPLOAD_ID + 1])
{
    wg_gfid bytes = wg_gfid_new();
    struct timespec now;
    uint64_t ns;

    clock_gettime(CLOCK_REALTIME, &now);
    ns = htobe64((uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
    memcpy(bytes.b, &ns, sizeof ns);
    wg_s3_hex(bytes.b, sizeof bytes.b, id);
    id[S3_UPLOAD_ID] = '\0';
}

struct created {
    struct s3_req *r;
    const char *id;
};

static int write_created(void *arg)
{
    struct created *c = arg;
    struct wg_s3_xml *x = wg_s3_xml_new("InitiateMultipartUploadResult");

    wg_s3_xml_str(x, "Bucket", c->r->uri.bucket);
    wg_s3_xml_str(x, "Key", c->r->uri.key);
    wg_s3_xml_text(x, "UploadId", c->id);
    return wg_s3_reply_xml(c->r, x);
}

int wg_s3_create_upload(struct wg_co *co, struct s3_req *r)
{
    struct wg_put_in in = { .space = WG_SPACE_UPLOADS, .gfid = wg_gfid_new(), .cond = WG_IF_NONE_MATCH_ANY,
                            .attrs = { .valid = WG_SET_MODE, .mode = 0600 } };
    const struct wg_put_out *out;
    enum wg_s3_sum alg;
    enum wg_s3_sum_type type = 0;
    char id[S3_UPLOAD_ID + 1] = { 0 }, key[WG_KEY_MAX];
    int err = wanted_sums(r, &alg, &type);

    if (!err)
        err = record_meta(r, alg, type, &in.meta);
    if (!err)
        err = wg_s3_open_bucket(co, r, r->uri.bucket, &in.bucket);
    if (!err)
        err = wg_s3_may(co, r, &in.bucket, S3_MAY_WRITE);
    if (err == S3E(NoSuchBucket))
        wg_s3_forget_bucket(r, r->uri.bucket);
    if (err)
        return err;
    new_id(id);
    in.key = s3_upload_record(r->uri.key, id, key);
    err = wg_co_put(co, r->top, &in, &out);
    if (err)
        return err;
    if (alg != S3_SUM_NONE) {
        wg_s3_set(r, "x-amz-checksum-algorithm", "%s", wg_s3_sum_name(alg));
        wg_s3_set(r, "x-amz-checksum-type", "%s", s3_sum_type_name(type));
    }
    return wg_co_on_worker(co, write_created, &(struct created){ r, id });
}

/* ---- Parts ---- */

static bool part_of_row(const struct wg_objent *e, struct s3_part *ret)
{
    struct wg_s3_meta_sum sum;
    struct wg_str crc64;
    uint32_t number = 0;

    if (e->prefix || e->key.len != S3_UPLOAD_ID + 11)
        return false;
    for (uint32_t i = e->key.len - 5; i < e->key.len; i++) {
        if (e->key.s[i] < '0' || e->key.s[i] > '9')
            return false;
        number = number * 10 + (uint32_t)(e->key.s[i] - '0');
    }
    *ret = (struct s3_part){ .number = number, .size = e->size, .ref = e->ref, .etag = e->etag, .mtime = e->mtime };
    if (wg_s3_meta_get_sum(e->meta, &sum)) {
        ret->alg = sum.alg;
        memcpy(ret->sum, sum.value, wg_s3_sum_size(sum.alg));
    }
    ret->has_crc64 = wg_s3_meta_get(e->meta, S3_META_CRC64, &crc64) && crc64.len == sizeof ret->crc64;
    if (ret->has_crc64)
        memcpy(ret->crc64, crc64.s, sizeof ret->crc64);
    return number >= 1 && number <= S3_PARTS_MAX;
}

static int add_part(struct s3_req *r, struct s3_parts *p, const struct s3_part *part)
{
    if (p->n == p->room) {
        unsigned room = p->room ? p->room * 2 : 16;
        struct s3_part *more = wg_alloc(&r->call->arena, room * sizeof *more);

        if (!more)
            return ENOMEM;
        if (p->n)
            memcpy(more, p->part, p->n * sizeof *more);
        p->part = more;
        p->room = room;
    }
    p->part[p->n++] = *part;
    return 0;
}

int s3_list_parts(struct wg_co *co, struct s3_req *r, const struct s3_upload *u, uint32_t after, uint32_t max,
                  struct s3_parts *ret)
{
    char prefix[S3_UPLOAD_KEY], marker[S3_UPLOAD_KEY];

    memset(ret, 0, sizeof *ret);
    snprintf(prefix, sizeof prefix, "%s/part.", u->id);
    for (bool more = max > 0; more;) {
        struct wg_list_in in = { .bucket = u->bucket, .space = WG_SPACE_UPLOADS, .prefix = wg_str_of(prefix),
                                 .marker = s3_upload_part(u->id, after, marker), .max = PAGE,
                                 .size = PAGE_BYTES, .flags = WG_LIST_META };
        const struct wg_list_out *out;
        struct wg_objent e;
        int err = wg_co_list(co, r->top, &in, &out);

        if (err)
            return err;
        more = out->truncated && out->entries.count > 0;
        for (struct wg_cursor c = wg_cursor(&out->entries); wg_next_objent(&c, &e);) {
            struct s3_part part;

            if (!part_of_row(&e, &part))
                continue;
            if (ret->n == max) {
                ret->truncated = true;
                return 0;
            }
            after = part.number;
            err = add_part(r, ret, &part);
            if (err)
                return err;
        }
    }
    return 0;
}

struct listing_parts {
    struct s3_req *r;
    struct s3_upload u;
    struct s3_parts parts;
    uint32_t max;
    uint64_t after;
    bool url;
};

static int write_parts(void *arg)
{
    struct listing_parts *l = arg;
    struct wg_s3_xml *x = wg_s3_xml_new("ListPartsResult");
    char text[S3_SUM_TEXT];

    wg_s3_xml_str(x, "Bucket", l->r->uri.bucket);
    wg_s3_xml_key(x, "Key", l->r->uri.key, l->url);
    wg_s3_xml_text(x, "UploadId", l->u.id);
    wg_s3_xml_owner(x, "Initiator", l->r, l->u.uid);
    wg_s3_xml_owner(x, "Owner", l->r, l->u.uid);
    wg_s3_xml_text(x, "StorageClass", "STANDARD");
    if (l->u.alg != S3_SUM_NONE) {
        wg_s3_xml_text(x, "ChecksumAlgorithm", wg_s3_sum_name(l->u.alg));
        wg_s3_xml_text(x, "ChecksumType", s3_sum_type_name(l->u.type));
    }
    wg_s3_xml_u64(x, "PartNumberMarker", l->after);
    wg_s3_xml_u64(x, "NextPartNumberMarker", l->parts.n ? l->parts.part[l->parts.n - 1].number : 0);
    wg_s3_xml_u64(x, "MaxParts", l->max);
    if (l->url)
        wg_s3_xml_text(x, "EncodingType", "url");
    wg_s3_xml_bool(x, "IsTruncated", l->parts.truncated);
    for (unsigned i = 0; i < l->parts.n; i++) {
        const struct s3_part *p = &l->parts.part[i];

        wg_s3_xml_open(x, "Part");
        wg_s3_xml_u64(x, "PartNumber", p->number);
        wg_s3_xml_time(x, "LastModified", p->mtime.sec);
        wg_s3_xml_etag(x, "ETag", &p->etag);
        wg_s3_xml_u64(x, "Size", p->size);
        if (p->alg != S3_SUM_NONE)
            wg_s3_xml_text(x, wg_s3_sum_element(p->alg), wg_s3_base64(p->sum, wg_s3_sum_size(p->alg), text));
        wg_s3_xml_close(x);
    }
    return wg_s3_reply_xml(l->r, x);
}

int wg_s3_list_parts(struct wg_co *co, struct s3_req *r)
{
    struct listing_parts l = { .r = r };
    int err = wg_s3_page_size(r, "max-parts", &l.max);

    if (!err)
        err = wg_s3_encoding_type(r, &l.url);
    if (!err && wg_s3_param_u64(&r->uri, "part-number-marker", 0, INT32_MAX, &l.after) != WG_S3_OK)
        err = wg_s3_fail(r, S3E(InvalidArgument), "part-number-marker is not an integer");
    if (!err)
        err = s3_open_upload(co, r, &l.u);
    if (!err)
        err = s3_list_parts(co, r, &l.u, l.after > S3_PARTS_MAX ? S3_PARTS_MAX : (uint32_t)l.after, l.max, &l.parts);
    return err ? err : wg_co_on_worker(co, write_parts, &l);
}

/* ---- Dropping ---- */

static int drop_key(struct wg_co *co, struct s3_req *r, const struct wg_ref *bucket, struct wg_str key)
{
    struct wg_del_in in = { .bucket = *bucket, .space = WG_SPACE_UPLOADS, .key = key };
    const struct wg_del_out *out;
    int err = wg_co_del(co, r->top, &in, &out);

    return err == ENOENT || err == ENOTDIR ? 0 : err;
}

/* All that begins with "<id>/part.", however much. */
static int drop_parts(struct wg_co *co, struct s3_req *r, const struct wg_ref *bucket, const char *id)
{
    struct s3_upload u = { .bucket = *bucket };
    struct s3_parts parts;
    uint32_t after = 0;

    snprintf(u.id, sizeof u.id, "%.32s", id);
    do {
        int err = s3_list_parts(co, r, &u, after, PAGE, &parts);

        for (unsigned i = 0; !err && i < parts.n; i++) {
            char key[S3_UPLOAD_KEY];

            after = parts.part[i].number;
            err = drop_key(co, r, bucket, s3_upload_part(id, after, key));
        }
        if (err)
            return err;
    } while (parts.truncated);
    return 0;
}

int s3_drop_upload(struct wg_co *co, struct s3_req *r, const struct wg_ref *bucket, struct wg_str record,
                   const char *id)
{
    int err = drop_parts(co, r, bucket, id);

    /* The record last, so that an abort which was cut short can be repeated ... */
    if (!err)
        err = drop_key(co, r, bucket, record);
    /* ... and parts once more, for those stored by who still saw the record. */
    return err ? err : drop_parts(co, r, bucket, id);
}

int s3_end_upload(struct wg_co *co, struct s3_req *r, const struct s3_upload *u)
{
    char record[WG_KEY_MAX];

    return s3_drop_upload(co, r, &u->bucket, u->old ? s3_upload_old_record(u->id, record)
                                                    : s3_upload_record(r->uri.key, u->id, record), u->id);
}

int wg_s3_abort_upload(struct wg_co *co, struct s3_req *r)
{
    struct s3_upload u;
    int err = s3_claim_upload(co, r, &u);

    if (!err)
        err = s3_end_upload(co, r, &u);
    return err ? err : wg_s3_reply(r, 204);
}

/* ---- All of a bucket ---- */

/* The next page of names in the space of uploads, copied; *marker moves on to the last of them. */
struct names {
    struct wg_str prefix, delimiter, marker;
    unsigned n;
    struct wg_str name[PAGE];
    bool more;
};

static int next_names(struct wg_co *co, struct s3_req *r, const struct wg_ref *bucket, struct names *p)
{
    struct wg_list_in in = { .bucket = *bucket, .space = WG_SPACE_UPLOADS, .prefix = p->prefix,
                             .delimiter = p->delimiter, .marker = p->marker, .max = PAGE, .size = PAGE_BYTES };
    const struct wg_list_out *out;
    struct wg_objent e;
    int err = wg_co_list(co, r->top, &in, &out);

    if (err)
        return err == ESTALE ? S3E(NoSuchBucket) : err;
    p->n = 0;
    p->more = out->truncated && out->entries.count > 0;
    for (struct wg_cursor c = wg_cursor(&out->entries); !err && p->n < PAGE && wg_next_objent(&c, &e);)
        err = wg_strdup(&r->call->arena, e.key, &p->name[p->n++]);
    if (!err && p->n)
        p->marker = p->name[p->n - 1];
    return err;
}

static int drop_records(struct wg_co *co, struct s3_req *r, const struct wg_ref *bucket, struct names *p)
{
    int err;

    *p = (struct names){ .prefix = WG_STR("k/") };
    do {
        err = next_names(co, r, bucket, p);
        for (unsigned i = 0; !err && i < p->n; i++) {
            struct wg_str sorted;
            char id[S3_UPLOAD_ID + 1];

            if (s3_upload_split(p->name[i], &sorted, id))
                err = s3_drop_upload(co, r, bucket, p->name[i], id);
        }
    } while (!err && p->more);
    return err;
}

/* Parts whose record is gone: a drop was cut short; and uploads of an older release. */
static int drop_rest(struct wg_co *co, struct s3_req *r, const struct wg_ref *bucket, struct names *p)
{
    char record[S3_UPLOAD_KEY];
    int err;

    *p = (struct names){ .delimiter = WG_STR("/") };
    do {
        err = next_names(co, r, bucket, p);
        for (unsigned i = 0; !err && i < p->n; i++)
            if (p->name[i].len == S3_UPLOAD_ID + 1)
                err = s3_drop_upload(co, r, bucket, s3_upload_old_record(p->name[i].s, record), p->name[i].s);
    } while (!err && p->more);
    return err;
}

int s3_drop_uploads(struct wg_co *co, struct s3_req *r, const struct wg_ref *bucket)
{
    struct names *p = WG_NEW(&r->call->arena, struct names);
    int err = p ? drop_records(co, r, bucket, p) : ENOMEM;

    return err ? err : drop_rest(co, r, bucket, p);
}
