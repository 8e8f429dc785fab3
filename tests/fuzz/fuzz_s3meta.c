/* SPDX-License-Identifier: Apache-2.0 */
/* libFuzzer: any bytes as an object's packed metadata, as a disk or an older release might give them. */
#include <stdlib.h>

#include "frontends/s3/meta.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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
    return 0;
}
