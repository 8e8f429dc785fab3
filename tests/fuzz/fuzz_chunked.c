/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libFuzzer: a mode byte, a piece size, then an aws-chunked body. However it is cut, the same data,
 * trailers and answer must come out.
 */
#include <stdlib.h>

#include "frontends/s3/checksum.h"
#include "frontends/s3/chunked.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
    enum wg_s3_code code;
    uint64_t n;
    uint64_t crc;
};

static struct seen run(enum wg_s3_payload mode, uint64_t want, const uint8_t *body, size_t len, size_t step)
{
    static struct wg_s3_chunked c;
    struct wg_s3_auth auth = { .payload = mode, .date = "20130524T000000Z", .scope = "20130524/r/s3/aws4_request" };
    struct seen s = { 0 };
    struct wg_str name, value;
    uint32_t t = 0;

    memset(auth.signature, '0', sizeof auth.signature);
    if (wg_s3_chunked_init(&c, &auth, want))
        abort();
    for (size_t at = 0; at < len && s.code == WG_S3_OK; at += step) {
        size_t n = len - at < step ? len - at : step, used;
        uint8_t *piece = malloc(n);

        memcpy(piece, body + at, n);
        for (size_t p = 0; p < n && s.code == WG_S3_OK; p += used) {
            struct wg_str out;

            s.code = wg_s3_chunked_feed(&c, piece + p, n - p, &used, &out);
            if (used == 0 && s.code == WG_S3_OK)
                abort();
            if (out.len)
                s.crc = wg_crc64nvme(s.crc, out.s, out.len);
            s.n += out.len;
        }
        free(piece);
    }
    if (s.code == WG_S3_OK)
        s.code = wg_s3_chunked_end(&c);
    if (s.code == WG_S3_OK && s.n > want)
        abort();
    while (wg_s3_chunked_trailer(&c, &t, &name, &value))
        s.crc = wg_crc64nvme(s.crc, name.s, name.len);
    wg_s3_chunked_fini(&c);
    return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum wg_s3_payload modes[4] = { S3_PAYLOAD_CHUNKED_TRAILER, S3_PAYLOAD_CHUNKED_TRAILER,
                                                 S3_PAYLOAD_SIGNED, S3_PAYLOAD_SIGNED_TRAILER };
    struct seen whole, cut;
    uint64_t want;

    if (size < 3 || size > 1u << 16)
        return 0;
    want = data[0] & 4 ? UINT64_MAX : data[1];
    whole = run(modes[data[0] & 3], want, data + 3, size - 3, size);
    cut = run(modes[data[0] & 3], want, data + 3, size - 3, 1 + data[2] % 16);
    if (whole.code != cut.code || (whole.code == WG_S3_OK && (whole.n != cut.n || whole.crc != cut.crc)))
        abort();
    return 0;
}
