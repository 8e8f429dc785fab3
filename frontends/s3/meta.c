/* SPDX-License-Identifier: Apache-2.0 */
#include "meta.h"

#include <stdio.h>
#include <strings.h>

#include "range.h"
#include "s3.h"
#include "uri.h"

#define META_VERSION 1

static const struct {
    enum wg_s3_tag tag;
    const char *request, *response;
} kept[] = {
    { S3_META_CONTENT_TYPE, "content-type", "Content-Type" },
    { S3_META_CONTENT_ENCODING, "content-encoding", "Content-Encoding" },
    { S3_META_CONTENT_DISPOSITION, "content-disposition", "Content-Disposition" },
    { S3_META_CONTENT_LANGUAGE, "content-language", "Content-Language" },
    { S3_META_CACHE_CONTROL, "cache-control", "Cache-Control" },
    { S3_META_EXPIRES, "expires", "Expires" },
    { S3_META_REDIRECT, "x-amz-website-redirect-location", "x-amz-website-redirect-location" },
};

/* ---- Writing ---- */

void wg_s3_meta_start(struct wg_s3_meta *m)
{
    m->buf[0] = META_VERSION;
    m->len = 1;
    m->overflow = false;
}

/* Room for a field of len bytes, its head written; NULL when it does not fit. */
static uint8_t *field(struct wg_s3_meta *m, enum wg_s3_tag tag, size_t len)
{
    uint8_t *at = m->buf + m->len;

    if (len > UINT16_MAX || len + 3 > sizeof m->buf - m->len) {
        m->overflow = true;
        return NULL;
    }
    at[0] = (uint8_t)tag;
    at[1] = (uint8_t)len;
    at[2] = (uint8_t)(len >> 8);
    m->len += 3 + (uint32_t)len;
    return at + 3;
}

static uint8_t *put_bytes(uint8_t *at, struct wg_str s)
{
    if (s.len)
        memcpy(at, s.s, s.len);
    return at + s.len;
}

static uint8_t *put_le(uint8_t *at, uint64_t v, unsigned n)
{
    for (; n--; v >>= 8)
        *at++ = (uint8_t)v;
    return at;
}

static uint64_t get_le(const uint8_t *at, unsigned n)
{
    uint64_t v = 0;

    while (n--)
        v = v << 8 | at[n];
    return v;
}

void wg_s3_meta_put(struct wg_s3_meta *m, enum wg_s3_tag tag, struct wg_str value)
{
    uint8_t *at = field(m, tag, value.len);

    if (at)
        put_bytes(at, value);
}

void wg_s3_meta_put_pair(struct wg_s3_meta *m, enum wg_s3_tag tag, struct wg_str name, struct wg_str value)
{
    unsigned width = tag == S3_META_USER ? 1 : 2;
    uint8_t *at;

    if (name.len >= 1u << 8 * width) {
        m->overflow = true;
        return;
    }
    at = field(m, tag, (size_t)width + name.len + value.len);
    if (at)
        put_bytes(put_bytes(put_le(at, name.len, width), name), value);
}

void wg_s3_meta_put_sum(struct wg_s3_meta *m, enum wg_s3_sum alg, enum wg_s3_sum_type type, uint32_t parts,
                        const uint8_t *value)
{
    unsigned n = wg_s3_sum_size(alg);
    uint8_t *at = field(m, S3_META_SUM, 6 + n);

    if (!at)
        return;
    at = put_le(put_le(put_le(at, alg, 1), type, 1), parts, 4);
    memcpy(at, value, n);
}

static void copy_fields(struct wg_s3_meta *m, struct wg_str packed, enum wg_s3_tag tag, bool only)
{
    struct wg_s3_meta_cursor c = wg_s3_meta_cursor(packed);
    struct wg_str value;
    unsigned t;

    while (wg_s3_meta_next(&c, &t, &value))
        if ((t == tag) == only)
            wg_s3_meta_put(m, (enum wg_s3_tag)t, value);
}

void wg_s3_meta_copy_without(struct wg_s3_meta *m, struct wg_str packed, enum wg_s3_tag tag)
{
    copy_fields(m, packed, tag, false);
}

void wg_s3_meta_copy_only(struct wg_s3_meta *m, struct wg_str packed, enum wg_s3_tag tag)
{
    copy_fields(m, packed, tag, true);
}

struct wg_str wg_s3_meta_end(const struct wg_s3_meta *m)
{
    return (struct wg_str){ (const char *)m->buf, m->len > 1 ? m->len : 0 };
}

/* Bytes that an optional field may have. */
static uint32_t spare(const struct wg_s3_meta *m)
{
    return m->len + 3 < WG_S3_META_SURE ? WG_S3_META_SURE - m->len - 3 : 0;
}

void wg_s3_meta_put_part_sums(struct wg_s3_meta *m, enum wg_s3_sum alg, const uint8_t (*sum)[S3_SUM_BYTES], uint32_t n)
{
    unsigned bytes = wg_s3_sum_size(alg);
    uint8_t *at;

    if (n == 0 || n > (WG_S3_META_SURE - 1) / bytes || 1 + n * bytes > spare(m))
        return;
    at = field(m, S3_META_PART_SUMS, 1 + (size_t)n * bytes);
    if (!at)
        return;
    *at++ = (uint8_t)alg;
    for (uint32_t i = 0; i < n; i++, at += bytes)
        memcpy(at, sum[i], bytes);
}

const uint8_t *wg_s3_meta_part_sum(struct wg_str packed, uint32_t number, uint32_t n, enum wg_s3_sum *ret_alg)
{
    struct wg_str v;
    unsigned bytes;

    if (!wg_s3_meta_get(packed, S3_META_PART_SUMS, &v) || v.len < 1 || number == 0 || number > n)
        return NULL;
    *ret_alg = (enum wg_s3_sum)v.s[0];
    bytes = (uint8_t)v.s[0] < S3_SUM_MD5 ? wg_s3_sum_size(*ret_alg) : 0;
    if (bytes == 0 || v.len - 1 != (uint64_t)n * bytes)
        return NULL;
    return (const uint8_t *)v.s + 1 + (size_t)(number - 1) * bytes;
}

void wg_s3_meta_put_parts(struct wg_s3_meta *m, const uint64_t *size, uint32_t n)
{
    uint8_t runs[WG_S3_META_SURE], *at = runs;
    uint32_t max = spare(m);

    for (uint32_t i = 0; i < n && at + 12 <= runs + max;) {
        uint32_t from = i;

        while (i < n && size[i] == size[from])
            i++;
        at = put_le(put_le(at, i - from, 4), size[from], 8);
    }
    if (at > runs)
        wg_s3_meta_put(m, S3_META_PARTS, (struct wg_str){ (char *)runs, (uint32_t)(at - runs) });
}

/* ---- From headers ---- */

/* "gzip,aws-chunked" is stored as "gzip": the framing was the upload's. */
static void put_encoding(struct wg_s3_meta *m, struct wg_str v)
{
    char out[1024];
    uint32_t n = 0;

    if (v.len > sizeof out - 2) {
        m->overflow = true;
        return;
    }
    while (v.len) {
        const char *comma = memchr(v.s, ',', v.len);
        uint32_t len = comma ? (uint32_t)(comma - v.s) : v.len;
        struct wg_str one = wg_s3_trim((struct wg_str){ v.s, len });

        v = comma ? (struct wg_str){ comma + 1, v.len - len - 1 } : (struct wg_str){ v.s, 0 };
        if (one.len == 0 || (one.len == 11 && strncasecmp(one.s, "aws-chunked", 11) == 0))
            continue;
        if (n)
            out[n++] = ',';
        memcpy(out + n, one.s, one.len);
        n += one.len;
    }
    if (n)
        wg_s3_meta_put(m, S3_META_CONTENT_ENCODING, (struct wg_str){ out, n });
}

void wg_s3_meta_put_header(struct wg_s3_meta *m, const struct s3_pair *h)
{
    static const struct wg_str user = WG_STR("x-amz-meta-");

    if (h->name.len > user.len && memcmp(h->name.s, user.s, user.len) == 0) {
        wg_s3_meta_put_pair(m, S3_META_USER,
                            (struct wg_str){ h->name.s + user.len, h->name.len - user.len }, h->value);
        return;
    }
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        if (!wg_str_eq(h->name, wg_str_of(kept[i].request)) || h->value.len == 0)
            continue;
        if (kept[i].tag == S3_META_CONTENT_ENCODING)
            put_encoding(m, h->value);
        else
            wg_s3_meta_put(m, kept[i].tag, h->value);
    }
}

/* Characters of UTF-8 text: bytes that do not continue one. */
static unsigned characters(struct wg_str s)
{
    unsigned n = 0;

    for (uint32_t i = 0; i < s.len; i++)
        n += ((uint8_t)s.s[i] & 0xc0) != 0x80;
    return n;
}

static bool tag_text_ok(struct wg_str s)
{
    for (uint32_t i = 0; i < s.len; i++) {
        uint8_t c = (uint8_t)s.s[i];

        if (c < 0x80 && !wg_s3_unreserved(c) && !strchr(" +=:/@", c))
            return false;
        if (c == 0 || c == '~')
            return false;
    }
    return true;
}

bool wg_s3_tag_ok(struct wg_str name, struct wg_str value)
{
    return name.len > 0 && characters(name) <= 128 && characters(value) <= 256 && tag_text_ok(name) &&
           tag_text_ok(value) && !(name.len >= 4 && strncasecmp(name.s, "aws:", 4) == 0);
}

/* Form encoding: here '+' is a blank. */
static bool form_decode(struct wg_str from, char *to, struct wg_str *ret)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < from.len; i++)
        to[i] = from.s[i] == '+' ? ' ' : from.s[i];
    if (!wg_s3_decode((struct wg_str){ to, from.len }, to, &n))
        return false;
    *ret = (struct wg_str){ to, n };
    return true;
}

static bool has_pair(const struct wg_s3_meta *m, enum wg_s3_tag tag, struct wg_str name)
{
    struct wg_s3_meta_cursor c = wg_s3_meta_cursor(wg_s3_meta_end(m));
    struct wg_str n, v;

    while (wg_s3_meta_next_pair(&c, tag, &n, &v))
        if (wg_str_eq(n, name))
            return true;
    return false;
}

enum wg_s3_code wg_s3_meta_put_tagging(struct wg_s3_meta *m, struct wg_str text)
{
    char names[128 * 4 * 3], values[256 * 4 * 3];
    unsigned count = wg_s3_meta_count(wg_s3_meta_end(m), S3_META_TAG);

    while (text.len) {
        const char *amp = memchr(text.s, '&', text.len);
        uint32_t len = amp ? (uint32_t)(amp - text.s) : text.len;
        const char *eq = memchr(text.s, '=', len);
        uint32_t n = eq ? (uint32_t)(eq - text.s) : len;
        struct wg_str raw = eq ? (struct wg_str){ eq + 1, len - n - 1 } : (struct wg_str){ text.s, 0 };
        struct wg_str name = { text.s, n }, value;

        text = amp ? (struct wg_str){ amp + 1, text.len - len - 1 } : (struct wg_str){ text.s, 0 };
        if (len == 0)
            continue;
        if (n > sizeof names || raw.len > sizeof values || !form_decode(name, names, &name) ||
            !form_decode(raw, values, &value))
            return WG_S3_InvalidArgument;
        if (!wg_s3_tag_ok(name, value) || has_pair(m, S3_META_TAG, name))
            return WG_S3_InvalidTag;
        if (++count > WG_S3_TAGS_MAX)
            return WG_S3_BadRequest;
        wg_s3_meta_put_pair(m, S3_META_TAG, name, value);
    }
    return m->overflow ? WG_S3_MetadataTooLarge : WG_S3_OK;
}

enum wg_s3_code wg_s3_meta_put_headers(struct wg_s3_meta *m, const struct s3_pair *headers, unsigned n)
{
    enum wg_s3_code code = WG_S3_OK;
    uint64_t user = 0;

    for (unsigned i = 0; i < n && code == WG_S3_OK; i++) {
        const struct s3_pair *h = &headers[i];

        if (h->name.len > 11 && memcmp(h->name.s, "x-amz-meta-", 11) == 0)
            user += h->name.len - 11 + h->value.len;
        wg_s3_meta_put_header(m, h);
        if (wg_str_eq(h->name, WG_STR("x-amz-tagging")))
            code = wg_s3_meta_put_tagging(m, h->value);
    }
    if (code == WG_S3_OK && (user > WG_S3_USER_META_MAX || m->overflow))
        return WG_S3_MetadataTooLarge;
    return code;
}

/* ---- Reading ---- */

struct wg_s3_meta_cursor wg_s3_meta_cursor(struct wg_str packed)
{
    const uint8_t *p = (const uint8_t *)packed.s;

    if (packed.len == 0 || p[0] != META_VERSION)
        return (struct wg_s3_meta_cursor){ p, p };
    return (struct wg_s3_meta_cursor){ p + 1, p + packed.len };
}

bool wg_s3_meta_next(struct wg_s3_meta_cursor *c, unsigned *ret_tag, struct wg_str *ret_value)
{
    size_t left = (size_t)(c->end - c->at), len;

    if (left < 3)
        return false;
    len = get_le(c->at + 1, 2);
    if (len > left - 3) {
        c->at = c->end;
        return false;
    }
    *ret_tag = c->at[0];
    *ret_value = (struct wg_str){ (const char *)c->at + 3, (uint32_t)len };
    c->at += 3 + len;
    return true;
}

bool wg_s3_meta_get(struct wg_str packed, enum wg_s3_tag tag, struct wg_str *ret)
{
    struct wg_s3_meta_cursor c = wg_s3_meta_cursor(packed);
    unsigned t;

    while (wg_s3_meta_next(&c, &t, ret))
        if (t == (unsigned)tag)
            return true;
    *ret = (struct wg_str){ "", 0 };
    return false;
}

bool wg_s3_meta_next_pair(struct wg_s3_meta_cursor *c, enum wg_s3_tag tag, struct wg_str *ret_name,
                          struct wg_str *ret_value)
{
    unsigned t, width = tag == S3_META_USER ? 1 : 2;
    struct wg_str v;

    while (wg_s3_meta_next(c, &t, &v)) {
        uint32_t n;

        if (t != (unsigned)tag || v.len < width)
            continue;
        n = (uint32_t)get_le((const uint8_t *)v.s, width);
        if (n > v.len - width)
            continue;
        *ret_name = (struct wg_str){ v.s + width, n };
        *ret_value = (struct wg_str){ v.s + width + n, v.len - width - n };
        return true;
    }
    return false;
}

unsigned wg_s3_meta_count(struct wg_str packed, enum wg_s3_tag tag)
{
    struct wg_s3_meta_cursor c = wg_s3_meta_cursor(packed);
    struct wg_str v;
    unsigned t, n = 0;

    while (wg_s3_meta_next(&c, &t, &v))
        n += t == (unsigned)tag;
    return n;
}

const char *wg_s3_meta_header(unsigned tag)
{
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        if (kept[i].tag == tag)
            return kept[i].response;
    return NULL;
}

bool wg_s3_meta_get_sum(struct wg_str packed, struct wg_s3_meta_sum *ret)
{
    struct wg_str v;
    const uint8_t *p;

    if (!wg_s3_meta_get(packed, S3_META_SUM, &v) || v.len < 6)
        return false;
    p = (const uint8_t *)v.s;
    if (p[0] == S3_SUM_NONE || p[0] >= S3_SUM_MD5 || p[1] < S3_SUM_FULL_OBJECT || p[1] > S3_SUM_COMPOSITE ||
        v.len - 6 != wg_s3_sum_size((enum wg_s3_sum)p[0]))
        return false;
    *ret = (struct wg_s3_meta_sum){ (enum wg_s3_sum)p[0], (enum wg_s3_sum_type)p[1],
                                    (uint32_t)get_le(p + 2, 4), p + 6 };
    return true;
}

char *wg_s3_meta_show_sum(const struct wg_s3_meta_sum *s, char *buf)
{
    size_t n;

    wg_s3_base64(s->value, wg_s3_sum_size(s->alg), buf);
    n = strlen(buf);
    if (s->type == S3_SUM_COMPOSITE)
        snprintf(buf + n, WG_S3_SUM_SHOWN - n, "-%u", s->parts);
    return buf;
}

bool wg_s3_meta_part(struct wg_str packed, uint32_t number, uint64_t *ret_offset, uint64_t *ret_size)
{
    struct wg_str v;
    uint64_t offset = 0;

    if (number == 0 || !wg_s3_meta_get(packed, S3_META_PARTS, &v))
        return false;
    number--;
    for (const uint8_t *p = (const uint8_t *)v.s, *end = p + v.len; end - p >= 12; p += 12) {
        uint32_t count = (uint32_t)get_le(p, 4);
        uint64_t size = get_le(p + 4, 8), all, at;

        if (number < count) {
            *ret_size = size;
            return !__builtin_mul_overflow(size, (uint64_t)number, &at) &&
                   !__builtin_add_overflow(offset, at, ret_offset);
        }
        number -= count;
        if (__builtin_mul_overflow(size, (uint64_t)count, &all) || __builtin_add_overflow(offset, all, &offset))
            return false;
    }
    return false;
}
