/* SPDX-License-Identifier: Apache-2.0 */
/* libFuzzer: a host line and a request target; what was decoded must encode and decode to itself. */
#include <stdlib.h>

#include "frontends/s3/date.h"
#include "frontends/s3/range.h"
#include "frontends/s3/uri.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void round_trip(struct wg_str s)
{
    char *text = malloc(3 * (size_t)s.len + 1), *back = malloc(3 * (size_t)s.len + 1);
    uint32_t n;

    n = (uint32_t)wg_s3_encode(s, true, text);
    if (!wg_s3_decode((struct wg_str){ text, n }, back, &n) || !wg_str_eq(s, (struct wg_str){ back, n }))
        abort();
    free(text);
    free(back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct wg_str domains[2] = { WG_STR("s3.example"), WG_STR("x") };
    static struct wg_s3_uri uri;
    const uint8_t *nl = size ? memchr(data, '\n', size) : NULL;
    struct wg_str host = { (const char *)data, (uint32_t)(nl ? nl - data : 0) };
    struct wg_str target = { (const char *)data + host.len + (nl != NULL), (uint32_t)(size - host.len - (nl != NULL)) };
    struct wg_s3_range range;
    struct wg_s3_conds conds = { target, host, target, host };
    struct wg_etag etag = { .valid = true }, asked;
    uint64_t first, len;
    uint32_t cond;
    int64_t sec;
    char *space;

    if (size == 0 || size > 1u << 16)
        return 0;
    space = malloc(target.len + 1);
    if (wg_s3_uri_parse(target, host, domains, 2, space, &uri) == WG_S3_OK) {
        if (uri.key.len > WG_KEY_MAX)
            abort();
        round_trip(uri.key);
        round_trip(uri.bucket);
        for (uint32_t i = 0; i < uri.nparams; i++)
            round_trip(uri.param[i].value);
        wg_s3_bucket_name_ok(uri.bucket);
        wg_s3_param_u64(&uri, "n", 0, 1000, &first);
    }
    wg_s3_range_parse(target, &range);
    if (wg_s3_range_resolve(&range, size, &first, &len) == WG_S3_OK && (len > size || first > size - len))
        abort();
    wg_s3_copy_range_parse(target, &range);
    wg_s3_conds_check(&conds, &etag, 1);
    wg_s3_write_cond(target, host, &cond, &asked);
    wg_s3_date_parse(target, &sec);
    wg_s3_date_parse_basic(target, &sec);
    free(space);
    return 0;
}
