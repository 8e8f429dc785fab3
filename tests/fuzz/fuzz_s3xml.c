/* SPDX-License-Identifier: Apache-2.0 */
/* libFuzzer: any bytes as each of the XML bodies; and as text that is written. */
#include <stdlib.h>

#include "frontends/s3/xml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Everything that is written, with others' text in it. */
static void write_all(struct wg_str s)
{
    struct wg_etag etag = { .valid = true };
    struct wg_s3_xml *x = wg_s3_xml_new_plain("R");
    char *text;
    size_t len;

    wg_s3_xml_open(x, "O");
    wg_s3_xml_attr(x, "a", "b");
    wg_s3_xml_content(x, s);
    wg_s3_xml_close(x);
    wg_s3_xml_u64(x, "N", s.len);
    wg_s3_xml_bool(x, "B", s.len & 1);
    wg_s3_xml_time(x, "T", (int64_t)s.len << 20);
    wg_s3_xml_etag(x, "E", &etag);
    wg_s3_xml_key(x, "K", s, false);
    if (wg_s3_xml_end(x, &text, &len) == 0) {
        if (memchr(text, '\0', len) || len < s.len / 8)
            abort();
        wg_s3_xml_free(text);
    }
    if (wg_s3_xml_error(WG_S3_NoSuchKey, s.len & 1 ? NULL : "message", s, "id", "host", WG_STR("<A>b</A>"), &text, &len) == 0) {
        struct wg_str written = { text, (uint32_t)len };

        if (len < 20 || !memmem(written.s, written.len, "NoSuchKey", 9))
            abort();
        wg_s3_xml_free(text);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wg_str body = { (const char *)data, (uint32_t)size };
    struct wg_arena arena;
    struct wg_s3_delete d;
    struct wg_s3_complete c;
    struct wg_s3_tagging t;
    struct wg_str location;
    struct wg_s3_xml *x;
    char *text;
    size_t len;

    if (size > 1u << 16)
        return 0;
    wg_arena_init(&arena, NULL, 0);
    if (wg_s3_xml_read_delete(body, &arena, &d) == WG_S3_OK && (d.n == 0 || d.n > 1000))
        abort();
    if (wg_s3_xml_read_complete(body, &arena, &c) == WG_S3_OK && (c.n == 0 || c.n > 10000))
        abort();
    if (wg_s3_xml_read_tagging(body, &arena, &t) == WG_S3_OK && t.n > 10)
        abort();
    wg_s3_xml_read_location(body, &arena, &location);
    wg_s3_xml_read_acl(body, WG_STR("owner"));
    x = wg_s3_xml_new("R");
    wg_s3_xml_str(x, "S", body);
    wg_s3_xml_key(x, "K", body, true);
    if (wg_s3_xml_end(x, &text, &len) == 0)
        wg_s3_xml_free(text);
    write_all(body);
    wg_arena_fini(&arena);
    return 0;
}
