/* SPDX-License-Identifier: Apache-2.0 */
#include "range.h"

#include <strings.h>

#include "date.h"
#include "fop.h"

struct wg_str wg_s3_trim(struct wg_str s)
{
    while (s.len && (s.s[0] == ' ' || s.s[0] == '\t'))
        s = (struct wg_str){ s.s + 1, s.len - 1 };
    while (s.len && (s.s[s.len - 1] == ' ' || s.s[s.len - 1] == '\t'))
        s.len--;
    return s;
}

struct wg_str wg_s3_unquote(struct wg_str s)
{
    s = wg_s3_trim(s);
    if (s.len >= 12 && memcmp(s.s, "&quot;", 6) == 0 && memcmp(s.s + s.len - 6, "&quot;", 6) == 0)
        return (struct wg_str){ s.s + 6, s.len - 12 };
    if (s.len >= 2 && s.s[0] == '"' && s.s[s.len - 1] == '"')
        return (struct wg_str){ s.s + 1, s.len - 2 };
    return s;
}

/* Digits from *at on; false when there are none. Numbers past 64 bits are as good as the largest. */
static bool digits(struct wg_str s, uint32_t *at, uint64_t *ret)
{
    uint32_t from = *at;

    for (*ret = 0; *at < s.len && s.s[*at] >= '0' && s.s[*at] <= '9'; ++*at)
        if (__builtin_mul_overflow(*ret, 10, ret) || __builtin_add_overflow(*ret, s.s[*at] - '0', ret))
            *ret = UINT64_MAX;
    return *at > from;
}

void wg_s3_range_parse(struct wg_str header, struct wg_s3_range *ret)
{
    struct wg_s3_range r = { 0 };
    uint32_t at = 6;
    bool has_first, has_last;

    *ret = r;
    header = wg_s3_trim(header);
    if (header.len < 7 || strncasecmp(header.s, "bytes=", 6) != 0)
        return;
    while (at < header.len && header.s[at] == ' ')
        at++;
    has_first = digits(header, &at, &r.first);
    if (at == header.len || header.s[at++] != '-')
        return;
    has_last = digits(header, &at, &r.last);
    if (at != header.len || (!has_first && !has_last) || (has_first && has_last && r.last < r.first))
        return;
    r.given = true;
    r.suffix = !has_first;
    r.open = has_first && !has_last;
    *ret = r;
}

enum wg_s3_code wg_s3_range_resolve(const struct wg_s3_range *r, uint64_t size, uint64_t *ret_first,
                                    uint64_t *ret_len)
{
    *ret_first = 0;
    *ret_len = size;
    if (!r->given)
        return WG_S3_OK;
    if (r->suffix) {
        if (r->last == 0 || size == 0)
            return WG_S3_InvalidRange;
        *ret_len = r->last < size ? r->last : size;
        *ret_first = size - *ret_len;
        return WG_S3_OK;
    }
    if (r->first >= size)
        return WG_S3_InvalidRange;
    *ret_first = r->first;
    *ret_len = (r->open || r->last >= size ? size - 1 : r->last) - r->first + 1;
    return WG_S3_OK;
}

enum wg_s3_code wg_s3_copy_range_parse(struct wg_str header, struct wg_s3_range *ret)
{
    wg_s3_range_parse(header, ret);
    if (!ret->given || ret->suffix || ret->open)
        return WG_S3_InvalidArgument;
    return WG_S3_OK;
}

/* Whether a comma list of ETags, or "*", names text. Weak tags compare as strong ones: ours are all strong. */
static bool list_has(struct wg_str list, struct wg_str text)
{
    while (list.len) {
        const char *comma = memchr(list.s, ',', list.len);
        uint32_t n = comma ? (uint32_t)(comma - list.s) : list.len;
        struct wg_str one = wg_s3_trim((struct wg_str){ list.s, n });

        list = comma ? (struct wg_str){ comma + 1, list.len - n - 1 } : (struct wg_str){ list.s, 0 };
        if (one.len > 2 && one.s[0] == 'W' && one.s[1] == '/')
            one = (struct wg_str){ one.s + 2, one.len - 2 };
        one = wg_s3_unquote(one);
        if ((one.len == 1 && one.s[0] == '*') || wg_str_eq(one, text))
            return true;
    }
    return false;
}

enum wg_s3_code wg_s3_conds_check(const struct wg_s3_conds *c, const struct wg_etag *etag, int64_t mtime)
{
    char buf[WG_ETAG_TEXT];
    struct wg_str text = wg_str_of(wg_etag_show(etag, buf));
    int64_t sec;

    if (c->if_match.len) {
        if (!list_has(c->if_match, text))
            return WG_S3_PreconditionFailed;
    } else if (c->if_unmodified_since.len && wg_s3_date_parse(c->if_unmodified_since, &sec) && mtime > sec) {
        return WG_S3_PreconditionFailed;
    }
    if (c->if_none_match.len)
        return list_has(c->if_none_match, text) ? WG_S3_NotModified : WG_S3_OK;
    if (c->if_modified_since.len && wg_s3_date_parse(c->if_modified_since, &sec) && mtime <= sec)
        return WG_S3_NotModified;
    return WG_S3_OK;
}

bool wg_s3_if_range(struct wg_str if_range, const struct wg_etag *etag, int64_t mtime)
{
    char buf[WG_ETAG_TEXT];
    int64_t sec;

    if (!if_range.len || wg_str_eq(wg_s3_unquote(if_range), wg_str_of(wg_etag_show(etag, buf))))
        return true;
    return wg_s3_date_parse(wg_s3_trim(if_range), &sec) && sec == mtime;
}

enum wg_s3_code wg_s3_write_cond(struct wg_str if_match, struct wg_str if_none_match, uint32_t *ret_cond,
                                 struct wg_etag *ret_etag)
{
    *ret_cond = 0;
    memset(ret_etag, 0, sizeof *ret_etag);
    if (if_none_match.len) {
        struct wg_str v = wg_s3_unquote(if_none_match);

        if (v.len != 1 || v.s[0] != '*' || if_match.len)
            return WG_S3_NotImplemented;
        *ret_cond = WG_IF_NONE_MATCH_ANY;
    }
    if (if_match.len) {
        struct wg_str v = wg_s3_unquote(if_match);

        if (v.len == 1 && v.s[0] == '*') {
            *ret_cond = WG_IF_MATCH_ANY;
            return WG_S3_OK;
        }
        *ret_cond = WG_IF_MATCH;
        if (wg_etag_parse(v, ret_etag) != 0) {
            memset(ret_etag, 0xff, sizeof ret_etag->md5);
            ret_etag->parts = UINT32_MAX;
            ret_etag->synthetic = false;
            ret_etag->valid = true;
        }
    }
    return WG_S3_OK;
}
