/* SPDX-License-Identifier: Apache-2.0 */
/* DeleteObjects: up to a thousand keys, several under way at once, each with its own result. */
#include <stdio.h>

#include "date.h"
#include "handlers.h"
#include "object.h"
#include "range.h"

#define AT_ONCE 16

struct deleting {
    struct s3_req *r;
    struct wg_ref bucket;
    struct wg_s3_delete list;
    struct one *one;
};

struct one {
    struct deleting *all;
    const struct wg_s3_delete_item *item;
    int err;
};

static int read_body(void *arg)
{
    struct deleting *d = arg;

    return s3_err(wg_s3_xml_read_delete(d->r->body_text, &d->r->call->arena, &d->list));
}

static bool read_u64(struct wg_str s, uint64_t *ret)
{
    *ret = 0;
    for (uint32_t i = 0; i < s.len; i++)
        if (s.s[i] < '0' || s.s[i] > '9' || __builtin_mul_overflow(*ret, 10, ret) ||
            __builtin_add_overflow(*ret, s.s[i] - '0', ret))
            return false;
    return s.len > 0;
}

/* Conditions of one key: its ETag, size and time. */
static int conditions(const struct wg_s3_delete_item *item, struct wg_del_in *in)
{
    struct wg_str none = { "", 0 };
    int err = s3_err(wg_s3_write_cond(item->etag, none, &in->cond, &in->if_match));

    if (err)
        return err;
    if (item->size.len) {
        in->cond |= WG_IF_SIZE;
        if (!read_u64(item->size, &in->if_size))
            return S3E(InvalidArgument);
    }
    if (item->last_modified.len) {
        in->cond |= WG_IF_MTIME;
        if (!wg_s3_date_parse(item->last_modified, &in->if_mtime.sec))
            return S3E(InvalidArgument);
    }
    return 0;
}

static int delete_one(struct wg_co *co, void *arg)
{
    struct one *o = arg;
    struct wg_del_in in = { .bucket = o->all->bucket, .key = o->item->key };
    const struct wg_del_out *out;

    if (in.key.len > WG_KEY_MAX)
        o->err = S3E(KeyTooLongError);
    else if (o->item->version_id.len && !wg_str_eq(o->item->version_id, WG_STR("null")))
        o->err = S3E(NoSuchVersion);
    else
        o->err = conditions(o->item, &in);
    if (!o->err)
        o->err = s3_del_following(co, o->all->r, &in, &out);
    if (o->err == ENOENT && !in.cond)
        o->err = 0; /* what is not there is deleted */
    return o->err == ECANCELED ? ECANCELED : 0;
}

static void write_one(struct wg_s3_xml *x, const struct one *o, bool quiet)
{
    if (!o->err && quiet)
        return;
    wg_s3_xml_open(x, o->err ? "Error" : "Deleted");
    wg_s3_xml_str(x, "Key", o->item->key);
    if (o->item->version_id.len)
        wg_s3_xml_str(x, "VersionId", o->item->version_id);
    if (o->err) {
        wg_s3_xml_text(x, "Code", wg_s3_error_row(o->err)->name);
        wg_s3_xml_text(x, "Message", wg_s3_error_row(o->err)->message);
    }
    wg_s3_xml_close(x);
}

static int write_result(void *arg)
{
    struct deleting *d = arg;
    struct wg_s3_xml *x = wg_s3_xml_new("DeleteResult");

    for (unsigned i = 0; i < d->list.n; i++)
        write_one(x, &d->one[i], d->list.quiet);
    return wg_s3_reply_xml(d->r, x);
}

static int delete_all(struct wg_co *co, struct deleting *d)
{
    struct wg_co_group *g = wg_co_group(co, AT_ONCE);
    int err = 0, joined;

    if (!g)
        return ENOMEM;
    for (unsigned i = 0; i < d->list.n && !err; i++) {
        d->one[i] = (struct one){ .all = d, .item = &d->list.item[i] };
        err = wg_co_spawn(g, "DeleteObjects key", delete_one, &d->one[i]);
    }
    joined = wg_co_collect(g);
    return err ? err : joined;
}

int wg_s3_delete_objects(struct wg_co *co, struct s3_req *r)
{
    struct deleting d = { .r = r };
    int err = wg_co_on_worker(co, read_body, &d);

    if (!err)
        err = wg_s3_open_bucket(co, r, r->uri.bucket, &d.bucket);
    if (err)
        return err;
    d.one = wg_alloc(&r->call->arena, d.list.n * sizeof *d.one);
    if (!d.one)
        return ENOMEM;
    err = delete_all(co, &d);
    return err ? err : wg_co_on_worker(co, write_result, &d);
}
