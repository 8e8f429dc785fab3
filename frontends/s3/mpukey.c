/* SPDX-License-Identifier: Apache-2.0 */
/* The names of upload records: see mpu.h. */
#include "mpu.h"

#include <stdio.h>

#define HEAD 2 /* "k/" */
#define TAIL (2 + S3_UPLOAD_ID)

struct wg_str s3_upload_sorted(struct wg_str prefix, char *to)
{
    uint32_t n = HEAD;

    memcpy(to, "k/", HEAD);
    for (uint32_t i = 0; i < prefix.len && n < HEAD + S3_UPLOAD_SORTED; i++) {
        char c = prefix.s[i], second = c == 1 ? 2 : c == '.' ? '!' : '~';

        to[n++] = c == '/' ? '.' : c;
        if ((c == 1 || c == '.' || c == '/') && n < HEAD + S3_UPLOAD_SORTED)
            to[n++] = second;
    }
    return (struct wg_str){ to, n };
}

struct wg_str s3_upload_record(struct wg_str key, const char *id, char *to)
{
    struct wg_str s = s3_upload_sorted(key, to);

    to[s.len] = to[s.len + 1] = 1;
    memcpy(to + s.len + 2, id, S3_UPLOAD_ID);
    return (struct wg_str){ to, s.len + TAIL };
}

bool s3_upload_split(struct wg_str record, struct wg_str *ret_sorted, char *ret_id)
{
    const char *at = record.s + record.len - TAIL;

    if (record.len <= HEAD + TAIL || memcmp(record.s, "k/", HEAD) != 0 || at[0] != 1 || at[1] != 1)
        return false;
    *ret_sorted = (struct wg_str){ record.s, record.len - TAIL };
    memcpy(ret_id, at + 2, S3_UPLOAD_ID);
    ret_id[S3_UPLOAD_ID] = '\0';
    return strspn(ret_id, "0123456789abcdef") == S3_UPLOAD_ID;
}
