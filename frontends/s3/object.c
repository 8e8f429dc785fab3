/* SPDX-License-Identifier: Apache-2.0 */
/* What the object operations share, and DeleteObject. */
#include "object.h"

#include "auth.h"
#include "date.h"
#include "meta.h"
#include "range.h"

int s3_check_version(const struct s3_req *r)
{
    const struct wg_str *v = wg_s3_param(&r->uri, "versionId");

    if (v && !v->len)
        return S3E(InvalidArgument);
    return !v || wg_str_eq(*v, WG_STR("null")) ? 0 : S3E(NoSuchVersion);
}

static struct wg_str header_or_none(const struct s3_req *r, const char *name)
{
    const struct wg_str *h = wg_s3_header(r, name);

    return h ? *h : (struct wg_str){ 0 };
}

int s3_write_cond(struct s3_req *r, uint32_t *ret_cond, struct wg_etag *ret_etag)
{
    return s3_err(wg_s3_write_cond(header_or_none(r, "if-match"), header_or_none(r, "if-none-match"),
                                   ret_cond, ret_etag));
}

/* ---- Headers of an object ---- */

static const struct {
    const char *param;
    unsigned tag;
} overridable[] = {
    { "response-content-type", S3_META_CONTENT_TYPE },
    { "response-content-encoding", S3_META_CONTENT_ENCODING },
    { "response-content-disposition", S3_META_CONTENT_DISPOSITION },
    { "response-content-language", S3_META_CONTENT_LANGUAGE },
    { "response-cache-control", S3_META_CACHE_CONTROL },
    { "response-expires", S3_META_EXPIRES },
};

/* The header of a tag: the request's override, else what is stored. */
static void set_stored(struct s3_req *r, struct wg_str meta, const char *param, unsigned tag, bool overrides)
{
    const struct wg_str *given = overrides ? wg_s3_param(&r->uri, param) : NULL;
    struct wg_str value;

    if (given && given->len)
        wg_s3_set_str(r, wg_s3_meta_header(tag), *given);
    else if (wg_s3_meta_get(meta, tag, &value))
        wg_s3_set_str(r, wg_s3_meta_header(tag), value);
    else if (tag == S3_META_CONTENT_TYPE)
        wg_s3_set_str(r, "Content-Type", WG_STR("binary/octet-stream"));
}

static void set_user_meta(struct s3_req *r, struct wg_str meta)
{
    struct wg_s3_meta_cursor c = wg_s3_meta_cursor(meta);
    struct wg_str name, value, redirect;

    while (wg_s3_meta_next_pair(&c, S3_META_USER, &name, &value)) {
        char *full = wg_printf(&r->call->arena, "x-amz-meta-%.*s", (int)name.len, name.s);
        if (full)
            wg_s3_set_str(r, full, value);
    }
    unsigned tags = wg_s3_meta_count(meta, S3_META_TAG);
    if (tags)
        wg_s3_set(r, "x-amz-tagging-count", "%u", tags);
    if (wg_s3_meta_get(meta, S3_META_REDIRECT, &redirect))
        wg_s3_set_str(r, "x-amz-website-redirect-location", redirect);
}

static void set_sum(struct s3_req *r, struct wg_str meta)
{
    const struct wg_str *mode = wg_s3_header(r, "x-amz-checksum-mode");
    struct wg_s3_meta_sum sum;
    char text[WG_S3_SUM_SHOWN];

    if (!mode || !wg_str_eq(*mode, WG_STR("ENABLED")) || !wg_s3_meta_get_sum(meta, &sum))
        return;
    wg_s3_set(r, wg_s3_sum_header(sum.alg), "%s", wg_s3_meta_show_sum(&sum, text));
    wg_s3_set_str(r, "x-amz-checksum-type",
                  sum.type == S3_SUM_COMPOSITE ? WG_STR("COMPOSITE") : WG_STR("FULL_OBJECT"));
}

void s3_set_object_headers(struct s3_req *r, const struct wg_get_out *obj, bool whole, bool overrides)
{
    wg_s3_set_etag(r, &obj->etag);
    wg_s3_set_time(r, "Last-Modified", obj->attr.mtime);
    wg_s3_set_str(r, "Accept-Ranges", WG_STR("bytes"));
    for (unsigned i = 0; i < sizeof overridable / sizeof *overridable; i++)
        set_stored(r, obj->meta, overridable[i].param, overridable[i].tag, overrides);
    set_user_meta(r, obj->meta);
    /* A checksum counts for the content that it came with: one that NFS changed since has none. */
    if (whole && !obj->etag.synthetic)
        set_sum(r, obj->meta);
}

void s3_echo_sum(struct s3_req *r, const struct s3_digests *d)
{
    char text[S3_SUM_TEXT];

    if (d->sum_alg == S3_SUM_NONE)
        return;
    wg_s3_set(r, wg_s3_sum_header(d->sum_alg), "%s",
              wg_s3_base64(d->sum, wg_s3_sum_size(d->sum_alg), text));
    wg_s3_set_str(r, "x-amz-checksum-type", WG_STR("FULL_OBJECT"));
}

/* ---- DeleteObject ---- */

static int parse_u64(struct wg_str s, uint64_t *ret)
{
    uint64_t n = 0;

    if (s.len == 0 || s.len > 19)
        return EINVAL;
    for (uint32_t i = 0; i < s.len; i++) {
        if (s.s[i] < '0' || s.s[i] > '9')
            return EINVAL;
        n = n * 10 + (uint64_t)(s.s[i] - '0');
    }
    *ret = n;
    return 0;
}

static int delete_conditions(struct s3_req *r, struct wg_del_in *in)
{
    const struct wg_str *size = wg_s3_header(r, "x-amz-if-match-size");
    const struct wg_str *time = wg_s3_header(r, "x-amz-if-match-last-modified-time");
    int err = s3_write_cond(r, &in->cond, &in->if_match);

    if (err)
        return err;
    if (size) {
        in->cond |= WG_IF_SIZE;
        if (parse_u64(*size, &in->if_size) != 0)
            return S3E(InvalidArgument);
    }
    if (time) {
        in->cond |= WG_IF_MTIME;
        if (!wg_s3_date_parse(*time, &in->if_mtime.sec))
            return S3E(InvalidArgument);
    }
    return 0;
}

int wg_s3_delete_object(struct wg_co *co, struct s3_req *r)
{
    struct wg_del_in in = { .space = WG_SPACE_OBJECTS, .key = r->uri.key };
    const struct wg_del_out *out;
    int err = s3_check_version(r);

    if (!err)
        err = delete_conditions(r, &in);
    for (int attempt = 0; !err && attempt < 2; attempt++) {
        err = wg_s3_open_bucket(co, r, r->uri.bucket, &in.bucket);
        if (err)
            break;
        err = s3_del_following(co, r, &in, &out);
        if (err != ESTALE)
            break;
        wg_s3_forget_bucket(r, r->uri.bucket);
        err = attempt == 0 ? 0 : S3E(NoSuchBucket);
    }
    if ((err == ENOENT || err == ENOTDIR || err == EISDIR) && !in.cond)
        err = 0; /* nothing there is what was asked for */
    return err ? err : wg_s3_reply(r, 204);
}
