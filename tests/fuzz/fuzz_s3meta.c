/* SPDX-License-Identifier: Apache-2.0 */
/* libFuzzer: any bytes as an object's packed metadata, as a disk or an older release might give them. */
#include <stdlib.h>

#include "frontends/s3/meta.h"
#include "frontends/s3/s3.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A checksum and sizes of parts, written, must be read as they were. */
static void write_back(struct wg_str bytes)
{
    static struct wg_s3_meta m;
    uint64_t sizes[64], offset = 0, at, size;
    uint8_t value[64] = { 0 };
    struct wg_s3_meta_sum sum;
    struct s3_pair header;
    uint32_t n = bytes.len < 64 ? bytes.len : 64;
    enum wg_s3_sum alg = n && (uint8_t)bytes.s[0] % S3_SUM_MD5 ? (enum wg_s3_sum)((uint8_t)bytes.s[0] % S3_SUM_MD5) : 1;

    if (n)
        memcpy(value, bytes.s, n);
    for (uint32_t i = 0; i < n; i++)
        sizes[i] = (uint8_t)bytes.s[i] / 64u;
    wg_s3_meta_start(&m);
    wg_s3_meta_put_sum(&m, alg, S3_SUM_COMPOSITE, n, value);
    wg_s3_meta_put_parts(&m, sizes, n);
    if (!wg_s3_meta_get_sum(wg_s3_meta_end(&m), &sum) || sum.alg != alg || sum.parts != n ||
        memcmp(sum.value, value, wg_s3_sum_size(alg)))
        abort();
    for (uint32_t i = 0; i < n; i++) {
        if (!wg_s3_meta_part(wg_s3_meta_end(&m), i + 1, &at, &size) || at != offset || size != sizes[i])
            abort();
        offset += size;
    }
    for (unsigned tag = 0; tag < 256; tag++)
        if (wg_s3_meta_header(tag) && !*wg_s3_meta_header(tag))
            abort();
    header = (struct s3_pair){ bytes.len & 1 ? WG_STR("content-encoding") : WG_STR("x-amz-meta-a"), bytes };
    wg_s3_meta_put_header(&m, &header);
    wg_s3_meta_put_pair(&m, S3_META_USER, bytes, bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct wg_s3_meta m, again;
    struct wg_str packed = { (const char *)data, (uint32_t)size }, name, value;
    struct wg_s3_meta_cursor c = wg_s3_meta_cursor(packed);
    struct wg_s3_meta_sum sum;
    char text[WG_S3_SUM_SHOWN];
    uint64_t offset, bytes;

    if (size > WG_META_MAX)
        return 0;
    while (wg_s3_meta_next_pair(&c, S3_META_USER, &name, &value))
        if (name.len + value.len > size)
            abort();
    for (c = wg_s3_meta_cursor(packed); wg_s3_meta_next_pair(&c, S3_META_TAG, &name, &value);)
        wg_s3_tag_ok(name, value);
    if (wg_s3_meta_get_sum(packed, &sum))
        wg_s3_meta_show_sum(&sum, text);
    for (uint32_t i = 0; i < 5; i++)
        wg_s3_meta_part(packed, i * 2499, &offset, &bytes);
    wg_s3_meta_start(&m);
    wg_s3_meta_copy_without(&m, packed, S3_META_TAG);
    wg_s3_meta_copy_only(&m, packed, S3_META_TAG);
    wg_s3_meta_start(&again);
    wg_s3_meta_copy_without(&again, wg_s3_meta_end(&m), S3_META_TAG);
    wg_s3_meta_copy_only(&again, wg_s3_meta_end(&m), S3_META_TAG);
    if (!m.overflow && !wg_str_eq(wg_s3_meta_end(&m), wg_s3_meta_end(&again)))
        abort();
    wg_s3_meta_start(&m);
    wg_s3_meta_put_tagging(&m, packed);
    write_back(packed);
    return 0;
}
