/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ListObjects, ListObjectsV2, ListObjectVersions: one walk over the brick's pages in byte order, three
 * forms of answer. A listing costs the pages it shows, whatever the bucket holds.
 */
#include <openssl/evp.h>
#include <stdio.h>

#include "handlers.h"

#define PAGE_BYTES (512u << 10)
#define PAGES_MAX 64 /* fops of one listing: pages may come back nearly empty */
#define TOKEN 'w'    /* first byte of a continuation token's content: its form */

enum form { V1, V2, VERSIONS };

struct page {
    struct page *next;
    struct wg_list entries;
};

struct listing {
    struct s3_req *r;
    enum form form;
    struct wg_str prefix, delimiter;
    struct wg_str asked; /* marker, start-after or key-marker as sent */
    struct wg_str token; /* as sent */
    struct wg_str after; /* where the walk starts, exclusive */
    uint32_t max;
    bool url, owner;
    struct page *first, **last;
    uint32_t count;
    bool truncated;
    struct wg_str next; /* the last row's key */
};

/* ---- The walk ---- */

/* Counts the rows of a page that are shown; *ret_stop when there are enough. */
static int take_page(struct listing *l, const struct wg_list *entries, bool *ret_stop)
{
    struct wg_cursor c = wg_cursor(entries);
    struct wg_objent e, last = { 0 };

    *ret_stop = false;
    while (wg_next_objent(&c, &e)) {
        /* A marker inside a common prefix, or equal to it, has passed it. */
        if (e.prefix && l->after.len && wg_s3_compare(e.key, l->after) <= 0)
            continue;
        if (l->count == l->max) {
            l->truncated = *ret_stop = true;
            break;
        }
        l->count++;
        last = e;
    }
    return last.key.len ? wg_strdup(&l->r->call->arena, last.key, &l->next) : 0;
}

static int walk(struct wg_co *co, struct listing *l, const struct wg_ref *bucket)
{
    struct wg_list_in in = { .bucket = *bucket, .prefix = l->prefix, .delimiter = l->delimiter,
                             .marker = l->after, .size = PAGE_BYTES };
    bool stop = l->max == 0;

    for (unsigned n = 0; !stop; n++) {
        const struct wg_list_out *out;
        struct page *p = WG_NEW(&l->r->call->arena, struct page);
        int err;

        if (!p)
            return ENOMEM;
        in.max = l->max - l->count + 1; /* one more tells whether there is more */
        err = wg_co_list(co, l->r->top, &in, &out);
        if (err)
            return err == ESTALE || err == ENOENT ? S3E(NoSuchBucket) : err;
        wg_co_keep(co);
        p->entries = out->entries;
        *l->last = p;
        l->last = &p->next;
        err = take_page(l, &out->entries, &stop);
        if (err)
            return err;
        if (!out->truncated)
            break;
        if (n == PAGES_MAX) {
            /* All that is left has a marker behind it; the client comes back from there. */
            l->truncated = stop = true;
            l->next = l->count ? l->next : out->next;
        }
        in.marker = out->next;
    }
    return 0;
}

/* ---- Answers ---- */

static void write_object(struct wg_s3_xml *x, const struct listing *l, const struct wg_objent *e)
{
    wg_s3_xml_open(x, l->form == VERSIONS ? "Version" : "Contents");
    wg_s3_xml_key(x, "Key", e->key, l->url);
    if (l->form == VERSIONS) {
        wg_s3_xml_text(x, "VersionId", "null");
        wg_s3_xml_bool(x, "IsLatest", true);
    }
    wg_s3_xml_time(x, "LastModified", e->mtime.sec);
    wg_s3_xml_etag(x, "ETag", &e->etag);
    wg_s3_xml_u64(x, "Size", e->size);
    wg_s3_xml_text(x, "StorageClass", "STANDARD");
    if (l->owner)
        wg_s3_xml_owner(x, "Owner", l->r, e->uid);
    wg_s3_xml_close(x);
}

/* Objects first, then prefixes, as AWS has them. */
static void write_rows(struct wg_s3_xml *x, const struct listing *l, bool prefixes)
{
    uint32_t left = l->count;

    for (const struct page *p = l->first; p; p = p->next) {
        struct wg_objent e;

        for (struct wg_cursor c = wg_cursor(&p->entries); left && wg_next_objent(&c, &e);) {
            if (e.prefix && l->after.len && wg_s3_compare(e.key, l->after) <= 0)
                continue;
            left--;
            if (e.prefix != prefixes)
                continue;
            if (!prefixes) {
                write_object(x, l, &e);
                continue;
            }
            wg_s3_xml_open(x, "CommonPrefixes");
            wg_s3_xml_key(x, "Prefix", e.key, l->url);
            wg_s3_xml_close(x);
        }
    }
}

static void write_token(struct wg_s3_xml *x, const struct listing *l)
{
    unsigned char plain[1 + 2 * WG_KEY_MAX], text[(sizeof plain + 2) / 3 * 4 + 1];
    int n = (int)(l->next.len < sizeof plain ? l->next.len : sizeof plain - 1);

    plain[0] = TOKEN;
    memcpy(plain + 1, l->next.s, (size_t)n);
    EVP_EncodeBlock(text, plain, n + 1);
    wg_s3_xml_text(x, "NextContinuationToken", (char *)text);
}

static void write_v2(struct wg_s3_xml *x, const struct listing *l)
{
    wg_s3_xml_u64(x, "KeyCount", l->count);
    if (l->token.len)
        wg_s3_xml_str(x, "ContinuationToken", l->token);
    if (l->asked.len)
        wg_s3_xml_key(x, "StartAfter", l->asked, l->url);
    if (l->truncated)
        write_token(x, l);
}

static void write_v1(struct wg_s3_xml *x, const struct listing *l)
{
    wg_s3_xml_key(x, "Marker", l->asked, l->url);
    if (l->truncated && l->delimiter.len)
        wg_s3_xml_key(x, "NextMarker", l->next, l->url);
}

static void write_versions(struct wg_s3_xml *x, const struct listing *l)
{
    wg_s3_xml_key(x, "KeyMarker", l->asked, l->url);
    wg_s3_xml_str(x, "VersionIdMarker", wg_s3_param_or_empty(l->r, "version-id-marker"));
    if (l->truncated) {
        wg_s3_xml_key(x, "NextKeyMarker", l->next, l->url);
        wg_s3_xml_text(x, "NextVersionIdMarker", "null");
    }
}

static int write_listing(void *arg)
{
    struct listing *l = arg;
    struct wg_s3_xml *x = wg_s3_xml_new(l->form == VERSIONS ? "ListVersionsResult" : "ListBucketResult");

    wg_s3_xml_str(x, "Name", l->r->uri.bucket);
    wg_s3_xml_key(x, "Prefix", l->prefix, l->url);
    if (l->form == V2)
        write_v2(x, l);
    else if (l->form == V1)
        write_v1(x, l);
    else
        write_versions(x, l);
    wg_s3_xml_u64(x, "MaxKeys", l->max);
    if (l->delimiter.len)
        wg_s3_xml_key(x, "Delimiter", l->delimiter, l->url);
    if (l->url)
        wg_s3_xml_text(x, "EncodingType", "url");
    wg_s3_xml_bool(x, "IsTruncated", l->truncated);
    write_rows(x, l, false);
    write_rows(x, l, true);
    return wg_s3_reply_xml(l->r, x);
}

/* ---- Requests ---- */

static int read_token(struct listing *l, const struct wg_str *token)
{
    unsigned char *plain;
    int n, pad = 0;

    l->token = *token;
    if (token->len == 0 || token->len % 4 != 0 || token->len > 4 * WG_KEY_MAX)
        return wg_s3_fail(l->r, S3E(InvalidArgument), "The continuation token provided is incorrect");
    plain = wg_alloc(&l->r->call->arena, token->len);
    if (!plain)
        return ENOMEM;
    n = EVP_DecodeBlock(plain, (const unsigned char *)token->s, (int)token->len);
    while (pad < 2 && token->s[token->len - 1 - (unsigned)pad] == '=')
        pad++;
    if (n - pad < 2 || plain[0] != TOKEN)
        return wg_s3_fail(l->r, S3E(InvalidArgument), "The continuation token provided is incorrect");
    l->after = (struct wg_str){ (char *)plain + 1, (uint32_t)(n - pad) - 1 };
    return 0;
}

static int read_request(struct listing *l)
{
    static const char *const start[] = { [V1] = "marker", [V2] = "start-after", [VERSIONS] = "key-marker" };
    const struct wg_str *token = l->form == V2 ? wg_s3_param(&l->r->uri, "continuation-token") : NULL;
    int err;

    l->prefix = wg_s3_param_or_empty(l->r, "prefix");
    l->delimiter = wg_s3_param_or_empty(l->r, "delimiter");
    l->asked = l->after = wg_s3_param_or_empty(l->r, start[l->form]);
    l->owner = l->form != V2 || wg_str_eq(wg_s3_param_or_empty(l->r, "fetch-owner"), WG_STR("true"));
    if (l->form == VERSIONS && l->asked.len == 0 && wg_s3_param_or_empty(l->r, "version-id-marker").len)
        return wg_s3_fail(l->r, S3E(InvalidArgument), "A version-id marker cannot be specified without a key marker.");
    err = wg_s3_encoding_type(l->r, &l->url);
    if (!err)
        err = wg_s3_page_size(l->r, "max-keys", &l->max);
    return err || !token ? err : read_token(l, token);
}

static int list_objects(struct wg_co *co, struct s3_req *r, enum form form)
{
    struct listing l = { .r = r, .form = form };
    struct wg_ref bucket;
    int err;

    l.last = &l.first;
    err = read_request(&l);
    for (unsigned attempt = 0; !err && attempt < 2; attempt++) {
        err = wg_s3_open_bucket(co, r, r->uri.bucket, &bucket);
        if (err)
            break;
        err = l.max ? walk(co, &l, &bucket) : wg_s3_may(co, r, &bucket, S3_MAY_READ);
        if (err != S3E(NoSuchBucket))
            break;
        wg_s3_forget_bucket(r, r->uri.bucket); /* the directory is gone; maybe there is a new one */
        err = attempt == 0 ? 0 : err;
    }
    return err ? err : wg_co_on_worker(co, write_listing, &l);
}

int wg_s3_list_objects(struct wg_co *co, struct s3_req *r)
{
    return list_objects(co, r, V1);
}

int wg_s3_list_objects_v2(struct wg_co *co, struct s3_req *r)
{
    return list_objects(co, r, V2);
}

int wg_s3_list_versions(struct wg_co *co, struct s3_req *r)
{
    return list_objects(co, r, VERSIONS);
}
