/* SPDX-License-Identifier: Apache-2.0 */
#include "handlers.h"

#include <stdio.h>

#define COPY_STEP (256ull << 20) /* bytes of one copy_range: seconds on a slow disk */

int wg_s3_reply_xml(struct s3_req *r, struct wg_s3_xml *x)
{
    char *text;
    size_t len;
    int err = wg_s3_xml_end(x, &text, &len);

    return err ? err : wg_s3_reply_owned(r, 200, "application/xml", text, len, wg_s3_xml_free);
}

struct wg_str wg_s3_owner_id(const struct s3_req *r, uint32_t uid, char *text)
{
    if (r->user && uid == r->call->cred.uid)
        snprintf(text, S3_OWNER_TEXT, "%.*s", (int)r->user->name.len, r->user->name.s);
    else
        snprintf(text, S3_OWNER_TEXT, "uid-%u", uid);
    return wg_str_of(text);
}

void wg_s3_xml_owner(struct wg_s3_xml *x, const char *name, const struct s3_req *r, uint32_t uid)
{
    char text[S3_OWNER_TEXT];
    struct wg_str id = wg_s3_owner_id(r, uid, text);

    wg_s3_xml_open(x, name);
    wg_s3_xml_str(x, "ID", id);
    wg_s3_xml_str(x, "DisplayName", id);
    wg_s3_xml_close(x);
}

int wg_s3_check_canned_acl(struct s3_req *r)
{
    static const char *const fine[] = { "private", "bucket-owner-full-control", "bucket-owner-read" };
    static const char *const known[] = { "public-read", "public-read-write", "authenticated-read",
                                         "aws-exec-read", "log-delivery-write" };
    static const struct wg_str grant = WG_STR("x-amz-grant-");
    const struct wg_str *acl = wg_s3_header(r, "x-amz-acl");

    for (unsigned i = 0; i < r->nheaders; i++)
        if (wg_s3_has_prefix(r->headers[i].name, grant))
            return wg_s3_fail(r, S3E(NotImplemented), "Grants to others are not supported.");
    if (!acl)
        return 0;
    for (size_t i = 0; i < sizeof fine / sizeof *fine; i++)
        if (wg_str_eq(*acl, wg_str_of(fine[i])))
            return 0;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (wg_str_eq(*acl, wg_str_of(known[i])))
            return wg_s3_fail(r, S3E(NotImplemented), "Only the canned ACL private is supported.");
    return S3E(InvalidArgument);
}

int wg_s3_may(struct wg_co *co, struct s3_req *r, const struct wg_ref *bucket, uint32_t mask)
{
    struct wg_access_in in = { .at = *bucket, .mask = mask };
    const struct wg_access_out *out;
    int err = wg_co_access(co, r->top, &in, &out);

    if (err)
        return err == ESTALE || err == ENOENT ? S3E(NoSuchBucket) : err;
    return (out->granted & mask) == mask ? 0 : EACCES;
}

struct wg_str wg_s3_param_or_empty(const struct s3_req *r, const char *name)
{
    const struct wg_str *v = wg_s3_param(&r->uri, name);

    return v ? *v : (struct wg_str){ "", 0 };
}

int wg_s3_encoding_type(struct s3_req *r, bool *ret_url)
{
    struct wg_str v = wg_s3_param_or_empty(r, "encoding-type");

    *ret_url = wg_str_eq(v, WG_STR("url"));
    if (v.len && !*ret_url)
        return wg_s3_fail(r, S3E(InvalidArgument), "Invalid Encoding Method specified in Request");
    return 0;
}

int wg_s3_page_size(struct s3_req *r, const char *name, uint32_t *ret)
{
    uint64_t n;

    if (wg_s3_param_u64(&r->uri, name, 1000, INT32_MAX, &n) != WG_S3_OK)
        return wg_s3_fail(r, S3E(InvalidArgument), "Provided %s not an integer or within integer range", name);
    *ret = n > 1000 ? 1000 : (uint32_t)n;
    return 0;
}

int wg_s3_compare(struct wg_str a, struct wg_str b)
{
    uint32_t n = a.len < b.len ? a.len : b.len;
    int c = n ? memcmp(a.s, b.s, n) : 0;

    return c ? c : (a.len > b.len) - (a.len < b.len);
}

struct wg_str wg_s3_after_prefix(struct wg_str prefix, char *to)
{
    uint32_t n = prefix.len;

    while (n && (uint8_t)prefix.s[n - 1] == 0xff)
        n--;
    if (n) {
        memcpy(to, prefix.s, n);
        to[n - 1] = (char)((uint8_t)to[n - 1] + 1);
    }
    return (struct wg_str){ to, n };
}

struct wg_str wg_s3_common_prefix(struct wg_str key, struct wg_str prefix, struct wg_str delimiter)
{
    const char *at;

    if (delimiter.len == 0 || key.len <= prefix.len)
        return (struct wg_str){ "", 0 };
    at = memmem(key.s + prefix.len, key.len - prefix.len, delimiter.s, delimiter.len);
    return at ? (struct wg_str){ key.s, (uint32_t)(at - key.s) + delimiter.len } : (struct wg_str){ "", 0 };
}

int wg_s3_copy_bytes(struct wg_co *co, struct s3_req *r, const struct wg_ref *from, uint64_t from_offset,
                     const struct wg_ref *to, uint64_t to_offset, uint64_t size)
{
    while (size) {
        struct wg_copy_range_in in = { .from = *from, .from_offset = from_offset, .to = *to,
                                       .to_offset = to_offset, .size = size < COPY_STEP ? size : COPY_STEP };
        const struct wg_copy_range_out *out;
        int err = wg_co_copy_range(co, r->top, &in, &out);

        if (err)
            return err;
        if (out->copied == 0 || out->copied > in.size)
            return EIO;
        from_offset += out->copied;
        to_offset += out->copied;
        size -= out->copied;
    }
    return 0;
}

/* ---- Digests of what is stored ---- */

struct summing {
    struct wg_sums sums;
    const struct wg_data *data;
};

static int sum_data(void *arg)
{
    struct summing *s = arg;

    for (uint32_t i = 0; i < s->data->nseg; i++)
        wg_sums_update(&s->sums, s->data->seg[i].base, s->data->seg[i].len);
    return 0;
}

static int sum_by_reading(struct wg_co *co, struct s3_req *r, const struct wg_ref *at, uint64_t size,
                          struct summing *s)
{
    for (uint64_t offset = 0; offset < size;) {
        struct wg_read_in in = { .at = *at, .offset = offset, .size = WG_IO_MAX };
        const struct wg_read_out *out;
        int err = wg_co_read(co, r->top, &in, &out);

        if (err)
            return err;
        if (out->data.len == 0)
            return EIO;
        s->data = &out->data;
        wg_co_offload(co, sum_data, s);
        offset += out->data.len;
    }
    return 0;
}

/* The values as the brick gives them: one after the other, in the order of their numbers. */
static bool take_values(struct wg_str value, unsigned mask, uint8_t (*ret)[S3_SUM_BYTES])
{
    uint32_t at = 0;

    for (unsigned alg = 1; alg < S3_SUM_MAX; alg++) {
        uint32_t n = mask & 1u << alg ? wg_s3_sum_size((enum wg_s3_sum)alg) : 0;

        if (n > value.len - at)
            return false;
        if (n)
            memcpy(ret[alg], value.s + at, n);
        at += n;
    }
    return at == value.len;
}

int wg_s3_sum_inode(struct wg_co *co, struct s3_req *r, const struct wg_ref *at, uint64_t size,
                    unsigned mask, uint8_t (*ret)[S3_SUM_BYTES])
{
    char names[64] = "";
    struct wg_checksum_in in = { .at = *at, .size = size };
    const struct wg_checksum_out *out;
    struct summing s;
    int err;

    for (unsigned alg = 1; alg < S3_SUM_MAX; alg++)
        if (mask & 1u << alg) {
            strcat(names, *names ? "," : "");
            strcat(names, wg_s3_sum_name((enum wg_s3_sum)alg));
        }
    in.algorithm = wg_str_of(names);
    err = wg_co_checksum(co, r->top, &in, &out);
    if (!err && take_values(out->value, mask, ret))
        return 0;
    if (err && err != ENOTSUP && err != EINVAL)
        return err;
    if (wg_sums_init(&s.sums, mask) != 0)
        return ENOMEM;
    err = sum_by_reading(co, r, at, size, &s);
    for (unsigned alg = 1; !err && alg < S3_SUM_MAX; alg++)
        if (mask & 1u << alg)
            wg_s3_sums_final(&s.sums, (enum wg_s3_sum)alg, ret[alg]);
    wg_sums_fini(&s.sums);
    return err;
}
