/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ListMultipartUploads. Uploads are stored by id and asked for by key, so all records of the bucket
 * are read (several at a time) and put in order here; what is under way at one time is bounded by the clients.
 */
#include <stdio.h>
#include <stdlib.h>

#include "mpu.h"

#define AT_ONCE 16
#define UPLOADS_MAX 100000 /* of one bucket; beyond it the list would be wrong, so it is an error */

struct row {
    struct uploads *all;
    char id[S3_UPLOAD_ID + 1];
    struct wg_str key; /* len 0: no record (being made, or being dropped) */
    struct wg_str prefix; /* len > 0: rolled up into it */
    int64_t started;
    uint32_t uid;
    enum wg_s3_sum alg;
    enum wg_s3_sum_type type;
};

struct uploads {
    struct s3_req *r;
    struct wg_ref bucket;
    struct row *row;
    unsigned n, room;
    struct wg_str prefix, delimiter, key_marker, id_marker;
    uint32_t max;
    bool url, truncated;
};

static int add_id(void *arg, const char *id)
{
    struct uploads *u = arg;

    if (u->n == UPLOADS_MAX)
        return S3E(SlowDown);
    if (u->n == u->room) {
        unsigned room = u->room ? u->room * 2 : 64;
        struct row *more = wg_alloc(&u->r->call->arena, room * sizeof *more);

        if (!more)
            return ENOMEM;
        if (u->n)
            memcpy(more, u->row, u->n * sizeof *more);
        u->row = more;
        u->room = room;
    }
    u->row[u->n] = (struct row){ .all = u };
    memcpy(u->row[u->n++].id, id, S3_UPLOAD_ID + 1);
    return 0;
}

static int read_row(struct wg_co *co, void *arg)
{
    struct row *row = arg;
    struct uploads *u = row->all;
    char key[S3_UPLOAD_KEY];
    struct wg_get_in in = { .bucket = u->bucket, .space = WG_SPACE_UPLOADS, .key = s3_upload_record(row->id, key) };
    const struct wg_get_out *out;
    struct wg_str name;
    int err = wg_co_get(co, u->r->top, &in, &out);

    if (err)
        return err == ENOENT || err == EACCES || err == ENOTDIR || err == EISDIR ? 0 : err;
    if (!wg_s3_meta_get(out->meta, S3_META_KEY, &name) || !wg_s3_has_prefix(name, u->prefix))
        return 0;
    row->started = out->attr.mtime.sec;
    row->uid = out->attr.uid;
    s3_upload_sums(out->meta, &row->alg, &row->type);
    return wg_strdup(&u->r->call->arena, name, &row->key);
}

static int read_rows(struct wg_co *co, struct uploads *u)
{
    struct wg_co_group *g = wg_co_group(co, AT_ONCE);
    int err = 0, joined;

    if (!g)
        return ENOMEM;
    for (unsigned i = 0; i < u->n && !err; i++)
        err = wg_co_spawn(g, "ListMultipartUploads record", read_row, &u->row[i]);
    joined = wg_co_collect(g);
    return err ? err : joined;
}

/* ---- Order and markers ---- */

static int by_key(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    int c = wg_s3_compare(x->key, y->key);

    if (c)
        return c;
    return x->started != y->started ? (x->started > y->started) - (x->started < y->started) : strcmp(x->id, y->id);
}

/* With an upload-id-marker: uploads of the marker's key after that one, then later keys. */
static bool after_markers(const struct uploads *u, const struct row *row, bool *seen_id)
{
    int c = u->key_marker.len ? wg_s3_compare(row->key, u->key_marker) : 1;

    if (c == 0 && u->id_marker.len) {
        bool was = *seen_id;

        *seen_id |= wg_str_eq(wg_str_of(row->id), u->id_marker);
        return was;
    }
    return c > 0;
}

/* Keeps the rows of this page: those shown, and of rolled-up ones the first. */
static void select_rows(struct uploads *u)
{
    struct wg_str last = { NULL, 0 };
    unsigned kept = 0;
    bool seen_id = false;

    if (u->n)
        qsort(u->row, u->n, sizeof *u->row, by_key);
    for (unsigned i = 0; i < u->n; i++) {
        struct row *row = &u->row[i];

        if (row->key.len == 0 || !after_markers(u, row, &seen_id))
            continue;
        row->prefix = wg_s3_common_prefix(row->key, u->prefix, u->delimiter);
        if (row->prefix.len && (wg_str_eq(row->prefix, last) ||
                                (u->key_marker.len && wg_s3_compare(row->prefix, u->key_marker) <= 0)))
            continue;
        if (kept == u->max) {
            u->truncated = u->max > 0;
            break;
        }
        last = row->prefix;
        u->row[kept++] = *row;
    }
    u->n = kept;
}

/* ---- The answer ---- */

static void write_row(struct wg_s3_xml *x, const struct uploads *u, const struct row *row)
{
    wg_s3_xml_open(x, "Upload");
    wg_s3_xml_key(x, "Key", row->key, u->url);
    wg_s3_xml_text(x, "UploadId", row->id);
    wg_s3_xml_owner(x, "Initiator", u->r, row->uid);
    wg_s3_xml_owner(x, "Owner", u->r, row->uid);
    wg_s3_xml_text(x, "StorageClass", "STANDARD");
    wg_s3_xml_time(x, "Initiated", row->started);
    if (row->alg != S3_SUM_NONE) {
        wg_s3_xml_text(x, "ChecksumAlgorithm", wg_s3_sum_name(row->alg));
        wg_s3_xml_text(x, "ChecksumType", s3_sum_type_name(row->type));
    }
    wg_s3_xml_close(x);
}

static void write_head(struct wg_s3_xml *x, const struct uploads *u)
{
    wg_s3_xml_str(x, "Bucket", u->r->uri.bucket);
    wg_s3_xml_key(x, "KeyMarker", u->key_marker, u->url);
    wg_s3_xml_str(x, "UploadIdMarker", u->id_marker);
    if (u->truncated) {
        const struct row *last = &u->row[u->n - 1];

        wg_s3_xml_key(x, "NextKeyMarker", last->prefix.len ? last->prefix : last->key, u->url);
        wg_s3_xml_text(x, "NextUploadIdMarker", last->prefix.len ? "" : last->id);
    }
    wg_s3_xml_key(x, "Prefix", u->prefix, u->url);
    if (u->delimiter.len)
        wg_s3_xml_key(x, "Delimiter", u->delimiter, u->url);
    wg_s3_xml_u64(x, "MaxUploads", u->max);
    if (u->url)
        wg_s3_xml_text(x, "EncodingType", "url");
    wg_s3_xml_bool(x, "IsTruncated", u->truncated);
}

static int write_uploads(void *arg)
{
    struct uploads *u = arg;
    struct wg_s3_xml *x = wg_s3_xml_new("ListMultipartUploadsResult");

    select_rows(u);
    write_head(x, u);
    for (unsigned i = 0; i < u->n; i++)
        if (u->row[i].prefix.len == 0)
            write_row(x, u, &u->row[i]);
    for (unsigned i = 0; i < u->n; i++) {
        if (u->row[i].prefix.len == 0)
            continue;
        wg_s3_xml_open(x, "CommonPrefixes");
        wg_s3_xml_key(x, "Prefix", u->row[i].prefix, u->url);
        wg_s3_xml_close(x);
    }
    return wg_s3_reply_xml(u->r, x);
}

int wg_s3_list_uploads(struct wg_co *co, struct s3_req *r)
{
    struct uploads u = { .r = r, .prefix = wg_s3_param_or_empty(r, "prefix"),
                         .delimiter = wg_s3_param_or_empty(r, "delimiter"),
                         .key_marker = wg_s3_param_or_empty(r, "key-marker"),
                         .id_marker = wg_s3_param_or_empty(r, "upload-id-marker") };
    int err = wg_s3_page_size(r, "max-uploads", &u.max);

    if (!err)
        err = wg_s3_encoding_type(r, &u.url);
    if (!err)
        err = wg_s3_open_bucket(co, r, r->uri.bucket, &u.bucket);
    if (!err)
        err = wg_s3_may(co, r, &u.bucket, S3_MAY_READ);
    if (!err)
        err = s3_each_upload(co, r, &u.bucket, add_id, &u);
    if (!err)
        err = read_rows(co, &u);
    if (err == S3E(NoSuchBucket))
        wg_s3_forget_bucket(r, r->uri.bucket);
    return err ? err : wg_co_on_worker(co, write_uploads, &u);
}
