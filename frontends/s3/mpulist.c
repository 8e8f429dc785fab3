/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ListMultipartUploads. Records sort as uploads are listed (mpu.h), so a page of uploads is a page of
 * records, and a group that is rolled up into a common prefix is passed over in one step.
 */
#include <stdlib.h>

#include "mpu.h"

#define PAGE_BYTES (512u << 10)

struct row {
    char id[S3_UPLOAD_ID + 1];
    struct wg_str key;
    struct wg_str prefix; /* len > 0: rolled up into it */
    int64_t started;
    uint32_t uid;
    enum wg_s3_sum alg;
    enum wg_s3_sum_type type;
};

struct uploads {
    struct s3_req *r;
    struct wg_ref bucket;
    struct wg_str prefix, delimiter, key_marker, id_marker;
    uint32_t max;
    bool url, truncated;
    struct row *row; /* max of them */
    unsigned n;
    /* Uploads whose records sort alike: those of one key, or of keys too long to be told apart there. */
    struct wg_str sorted;
    struct row *same;
    unsigned nsame, room;
    struct wg_str passed; /* a common prefix just given: the walk goes on behind it */
};

/* ---- Rows ---- */

static int by_key(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    int c = wg_s3_compare(x->key, y->key);

    return c ? c : strcmp(x->id, y->id);
}

/* After the markers: later keys, and with an upload id the later ids of the marker's key. */
static bool is_after(const struct uploads *u, const struct row *row)
{
    int c = u->key_marker.len ? wg_s3_compare(row->key, u->key_marker) : 1;

    if (c == 0 && u->id_marker.len)
        return wg_s3_compare(wg_str_of(row->id), u->id_marker) > 0;
    return c > 0;
}

/* No more of this group: unless its records can't be told from others by their names. */
static void pass_over(struct uploads *u, struct wg_str group)
{
    char sorted[WG_KEY_MAX];

    if (s3_upload_sorted(group, sorted).len < S3_UPLOAD_SORTED + 2)
        u->passed = group;
}

/* Shows a row, or the prefix it belongs to. */
static void show(struct uploads *u, struct row *row)
{
    struct wg_str last = u->n ? u->row[u->n - 1].prefix : (struct wg_str){ "", 0 };

    if (u->truncated || !wg_s3_has_prefix(row->key, u->prefix) || !is_after(u, row))
        return;
    row->prefix = wg_s3_common_prefix(row->key, u->prefix, u->delimiter);
    if (row->prefix.len) {
        pass_over(u, row->prefix);
        if (wg_str_eq(row->prefix, last) || (u->key_marker.len && wg_s3_compare(row->prefix, u->key_marker) <= 0))
            return;
    }
    if (u->n == u->max)
        u->truncated = true;
    else
        u->row[u->n++] = *row;
}

static void show_same(struct uploads *u)
{
    if (u->nsame > 1)
        qsort(u->same, u->nsame, sizeof *u->same, by_key);
    for (unsigned i = 0; i < u->nsame; i++)
        show(u, &u->same[i]);
    u->nsame = 0;
}

static int keep_same(struct uploads *u, const struct row *row)
{
    if (u->nsame == u->room) {
        unsigned room = u->room ? u->room * 2 : 16;
        struct row *more = wg_alloc(&u->r->call->arena, room * sizeof *more);

        if (!more)
            return ENOMEM;
        if (u->nsame)
            memcpy(more, u->same, u->nsame * sizeof *more);
        u->same = more;
        u->room = room;
    }
    u->same[u->nsame++] = *row;
    return 0;
}

static int take_record(struct uploads *u, const struct wg_objent *e)
{
    struct wg_arena *arena = &u->r->call->arena;
    struct wg_str sorted, key;
    struct row row = { .started = e->mtime.sec, .uid = e->uid };
    int err = 0;

    if (!s3_upload_split(e->key, &sorted, row.id) || !wg_s3_meta_get(e->meta, S3_META_KEY, &key))
        return 0;
    if (!wg_str_eq(sorted, u->sorted)) {
        show_same(u);
        err = wg_strdup(arena, sorted, &u->sorted);
    }
    s3_upload_sums(e->meta, &row.alg, &row.type);
    if (!err)
        err = wg_strdup(arena, key, &row.key);
    return err ? err : keep_same(u, &row);
}

/* ---- The walk ---- */

/* Where the markers say to begin; what sorts there and is not after them is left out by is_after. */
static struct wg_str first_marker(const struct uploads *u, char *to)
{
    static const char behind_ids[S3_UPLOAD_ID + 1] = "\xff";
    char id[S3_UPLOAD_ID + 1] = "";
    struct wg_str sorted;

    if (!u->key_marker.len)
        return (struct wg_str){ to, 0 };
    sorted = s3_upload_sorted(u->key_marker, to);
    if (sorted.len == S3_UPLOAD_SORTED + 2) /* other keys may sort alike */
        return sorted;
    if (!u->id_marker.len)
        memcpy(id, behind_ids, sizeof id);
    else
        memcpy(id, u->id_marker.s, u->id_marker.len < S3_UPLOAD_ID ? u->id_marker.len : S3_UPLOAD_ID);
    sorted = s3_upload_record(u->key_marker, id, to);
    sorted.len -= S3_UPLOAD_ID - (uint32_t)strlen(id);
    return sorted;
}

/* Reads records until a page is full, or there are no more, or a group has to be passed over. */
static int walk_on(struct wg_co *co, struct uploads *u, struct wg_list_in *in, bool *ret_more)
{
    const struct wg_list_out *out;
    struct wg_objent e;
    int err;

    in->max = u->max - u->n + 2; /* one that tells whether there is more, and one that ends the last group */
    err = wg_co_list(co, u->r->top, in, &out);
    if (err)
        return err == ESTALE ? S3E(NoSuchBucket) : err;
    for (struct wg_cursor c = wg_cursor(&out->entries); !err && !u->passed.len && wg_next_objent(&c, &e);)
        err = e.prefix ? 0 : take_record(u, &e);
    *ret_more = out->truncated && out->next.len > 0;
    in->start_at = false;
    return err ? err : wg_strdup(&u->r->call->arena, out->next, &in->marker);
}

/* The first record that can't be of the group just passed; len 0: there is none. */
static int pass(struct uploads *u, struct wg_list_in *in)
{
    char sorted[WG_KEY_MAX], *to = wg_alloc(&u->r->call->arena, WG_KEY_MAX);
    struct wg_str group = s3_upload_sorted(u->passed, sorted);

    if (!to)
        return ENOMEM;
    u->passed.len = 0;
    in->marker = wg_s3_after_prefix(group, to);
    in->start_at = true;
    u->nsame = 0; /* of the group, or above it and read again */
    u->sorted.len = 0;
    return 0;
}

static int walk(struct wg_co *co, struct uploads *u)
{
    char prefix[WG_KEY_MAX], marker[WG_KEY_MAX];
    struct wg_list_in in = { .bucket = u->bucket, .space = WG_SPACE_UPLOADS, .start_at = true,
                             .prefix = s3_upload_sorted(u->prefix, prefix), .size = PAGE_BYTES,
                             .flags = WG_LIST_META };
    bool more = u->max > 0;
    int err = 0;

    in.marker = first_marker(u, marker);
    while (!err && more && !u->truncated) {
        err = walk_on(co, u, &in, &more);
        if (!err && !more && !u->passed.len)
            show_same(u); /* the last group; it may be one to pass over, and then there is none behind it */
        if (!err && u->passed.len && !u->truncated) {
            err = pass(u, &in);
            more = true;
        }
    }
    return err;
}

/* ---- Uploads of an older release: sorted here, and put between those of the walk ---- */

static int take_old(void *arg, const struct s3_old_upload *up)
{
    struct row row = { .started = up->started, .uid = up->uid };
    struct uploads *u = arg;
    struct wg_str key;
    int err;

    if (!wg_s3_meta_get(up->meta, S3_META_KEY, &key))
        return 0;
    memcpy(row.id, up->id, sizeof row.id);
    s3_upload_sums(up->meta, &row.alg, &row.type);
    err = wg_strdup(&u->r->call->arena, key, &row.key);
    return err ? err : keep_same(u, &row);
}

/* In the order of the answer: a common prefix stands where it is itself. */
static int by_shown(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    int c = wg_s3_compare(x->prefix.len ? x->prefix : x->key, y->prefix.len ? y->prefix : y->key);

    return c ? c : strcmp(x->prefix.len ? "" : x->id, y->prefix.len ? "" : y->id);
}

/* The rows of u and of old, the same prefix once, at most u->max. */
static int merge(struct uploads *u, const struct uploads *old)
{
    const struct row *last = u->n ? &u->row[u->n - 1] : NULL;
    struct row *all = wg_alloc(&u->r->call->arena, (u->n + old->n) * sizeof *all);
    unsigned n = u->n, kept = 0;

    if (!all)
        return ENOMEM;
    memcpy(all, u->row, n * sizeof *all);
    for (unsigned i = 0; i < old->n; i++)
        if (!u->truncated || (last && by_shown(&old->row[i], last) < 0)) /* others are on later pages */
            all[n++] = old->row[i];
    qsort(all, n, sizeof *all, by_shown);
    for (unsigned i = 0; i < n; i++) {
        if (kept && all[i].prefix.len && wg_str_eq(all[i].prefix, u->row[kept - 1].prefix))
            continue;
        if (kept == u->max) {
            u->truncated = true;
            break;
        }
        u->row[kept++] = all[i];
    }
    u->n = kept;
    return 0;
}

static int add_old(struct wg_co *co, struct uploads *u)
{
    struct uploads *old = WG_NEW(&u->r->call->arena, struct uploads);
    int err = old ? 0 : ENOMEM;

    if (!err) {
        *old = (struct uploads){ .r = u->r, .prefix = u->prefix, .delimiter = u->delimiter,
                                 .key_marker = u->key_marker, .id_marker = u->id_marker };
        err = u->max ? s3_each_old_upload(co, u->r, &u->bucket, take_old, old) : 0;
    }
    if (err || old->nsame == 0)
        return err;
    old->max = old->nsame;
    old->row = wg_alloc(&u->r->call->arena, old->nsame * sizeof *old->row);
    if (!old->row)
        return ENOMEM;
    show_same(old);
    return old->n ? merge(u, old) : 0;
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
    if (!err) {
        u.row = wg_alloc(&r->call->arena, (u.max ? u.max : 1) * sizeof *u.row);
        err = u.row ? walk(co, &u) : ENOMEM;
    }
    if (!err)
        err = add_old(co, &u);
    if (err == S3E(NoSuchBucket))
        wg_s3_forget_bucket(r, r->uri.bucket);
    return err ? err : wg_co_on_worker(co, write_uploads, &u);
}
