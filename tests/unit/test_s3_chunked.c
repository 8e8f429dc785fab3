/* SPDX-License-Identifier: Apache-2.0 */
/* aws-chunked in all forms, cut at every position. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontends/s3/chunked.h"
#include "frontends/s3/hmac.h"

#define CR "\r\n"

static struct wg_s3_auth auth_of(enum wg_s3_payload mode, const char *seed)
{
    struct wg_s3_auth a = { .payload = mode, .date = "20130524T000000Z",
                            .scope = "20130524/us-east-1/s3/aws4_request" };

    memcpy(a.signature, seed, 64);
    ck_assert(wg_s3_unhex(WG_STR("dbb893acc010964918f1fd433add87c70e8b0db6be30c1fbeafefa5ec6ba8378"), a.key, 32));
    return a;
}

struct result {
    enum wg_s3_code code;
    char data[70000];
    size_t n;
    char trailers[256];
};

/* Feeds body in pieces that end at each of the cuts; cut 0 is none. */
static void run(const struct wg_s3_auth *a, uint64_t want, const char *body, size_t len, size_t cut, size_t step,
                struct result *r)
{
    static struct wg_s3_chunked c;
    size_t at = 0;

    memset(r, 0, sizeof *r);
    ck_assert_int_eq(wg_s3_chunked_init(&c, a, want), 0);
    while (at < len && r->code == WG_S3_OK) {
        size_t end = step ? at + step : at < cut ? cut : len, used;
        /* A copy of exact size lets the sanitizer see a read past the end. */
        char *piece = malloc(end > len ? len - at : end - at);
        struct wg_str out;

        end = end > len ? len : end;
        memcpy(piece, body + at, end - at);
        for (size_t p = at; p < end && r->code == WG_S3_OK; p += used) {
            r->code = wg_s3_chunked_feed(&c, piece + (p - at), end - p, &used, &out);
            if (out.len)
                memcpy(r->data + r->n, out.s, out.len);
            r->n += out.len;
        }
        free(piece);
        at = end;
    }
    if (r->code == WG_S3_OK)
        r->code = wg_s3_chunked_end(&c);

    struct wg_str name, value;
    uint32_t t = 0;

    while (wg_s3_chunked_trailer(&c, &t, &name, &value))
        snprintf(r->trailers + strlen(r->trailers), sizeof r->trailers - strlen(r->trailers), "%.*s=%.*s;",
                 (int)name.len, name.s, (int)value.len, value.s);
    wg_s3_chunked_fini(&c);
}

static const char zeros[] = "0000000000000000000000000000000000000000000000000000000000000000";

#define HELLO "b" CR "hello world" CR "0" CR "x-amz-checksum-crc32:DUoRhQ==" CR CR

START_TEST(unsigned_trailer_at_every_cut)
{
    struct wg_s3_auth a = auth_of(S3_PAYLOAD_CHUNKED_TRAILER, zeros);
    struct result r;

    for (size_t cut = 0; cut < sizeof HELLO; cut++) {
        run(&a, 11, HELLO, sizeof HELLO - 1, cut, 0, &r);
        ck_assert_int_eq(r.code, WG_S3_OK);
        ck_assert_int_eq(r.n, 11);
        ck_assert_mem_eq(r.data, "hello world", 11);
        ck_assert_str_eq(r.trailers, "x-amz-checksum-crc32=DUoRhQ==;");
    }
    run(&a, 11, HELLO, sizeof HELLO - 1, 0, 1, &r);
    ck_assert_int_eq(r.code, WG_S3_OK);
    for (size_t len = 0; len < sizeof HELLO - 1; len++) {
        run(&a, 11, HELLO, len, 0, 0, &r);
        ck_assert_int_eq(r.code, WG_S3_IncompleteBody);
    }
}
END_TEST

static const struct {
    const char *body;
    uint64_t want;
    enum wg_s3_code code;
} unsigned_bodies[] = {
    { "0" CR "x-amz-checksum-crc32:AAAAAA==" CR CR, 0, WG_S3_OK },
    { "0" CR CR, 0, WG_S3_OK },
    { "0" CR "X-Amz-Checksum-CRC32 : \t AAAAAA== " CR CR, 0, WG_S3_OK },
    { "0" CR "x-amz-checksum-crc32:AAAAAA==\n" CR CR, 0, WG_S3_OK }, /* as minio-go writes it */
    { "3" CR "abc" CR "3" CR "def" CR "0" CR CR, 6, WG_S3_OK },
    { "3;ext=1" CR "abc" CR "0" CR CR, 3, WG_S3_OK },
    { "3" CR "abc" CR "0" CR CR, 4, WG_S3_IncompleteBody },
    { "3" CR "abc" CR "0" CR CR, 2, WG_S3_IncompleteBody },
    { "3" CR "abc" CR "0" CR CR, UINT64_MAX, WG_S3_OK },
    { "3" CR "abcd" CR "0" CR CR, 3, WG_S3_IncompleteBody },
    { CR, 0, WG_S3_IncompleteBody },
    { "xyz" CR, 0, WG_S3_IncompleteBody },
    { "-1" CR, 0, WG_S3_IncompleteBody },
    { "ffffffffffffffffffff" CR, UINT64_MAX, WG_S3_IncompleteBody },
    { "0" CR "nocolon" CR CR, 0, WG_S3_MalformedTrailerError },
    { "0" CR ":x" CR CR, 0, WG_S3_MalformedTrailerError },
    { "0" CR "x-amz-trailer-signature:00" CR CR, 0, WG_S3_MalformedTrailerError },
    { "0" CR CR "more", 0, WG_S3_IncompleteBody },
};

START_TEST(unsigned_bodies_good_and_bad)
{
    struct wg_s3_auth a = auth_of(S3_PAYLOAD_CHUNKED_TRAILER, zeros);
    const char *body = unsigned_bodies[_i].body;
    struct result r;

    for (size_t cut = 0; cut <= strlen(body); cut++) {
        run(&a, unsigned_bodies[_i].want, body, strlen(body), cut, 0, &r);
        ck_assert_msg(r.code == unsigned_bodies[_i].code, "%s: %s", body, wg_s3_code_row(r.code)->name);
    }
}
END_TEST

START_TEST(long_lines_are_refused)
{
    struct wg_s3_auth a = auth_of(S3_PAYLOAD_CHUNKED_TRAILER, zeros);
    char body[4000];
    struct result r;

    memset(body, '0', sizeof body);
    run(&a, 0, body, sizeof body, 0, 7, &r);
    ck_assert_int_eq(r.code, WG_S3_IncompleteBody);
    memcpy(body, "0\r\n", 3);
    run(&a, 0, body, sizeof body, 0, 7, &r);
    ck_assert_int_eq(r.code, WG_S3_MalformedTrailerError);
}
END_TEST

/* The published uploads of 66560 bytes of 'a' in chunks of 65536, 1024 and 0. */
static size_t published(char *to, const char *const sig[3], const char *end)
{
    size_t n = (size_t)sprintf(to, "10000;chunk-signature=%s" CR, sig[0]);

    memset(to + n, 'a', 65536);
    n += 65536;
    n += (size_t)sprintf(to + n, CR "400;chunk-signature=%s" CR, sig[1]);
    memset(to + n, 'a', 1024);
    n += 1024;
    return n + (size_t)sprintf(to + n, CR "0;chunk-signature=%s" CR "%s", sig[2], end);
}

static const char *const plain_sigs[3] = {
    "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
    "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
    "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
};
#define PLAIN_SEED "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
static const char *const trailer_sigs[3] = {
    "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
    "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
    "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
};
#define TRAILER_SEED "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"
#define TRAILER_SIG "x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435"
#define SUM "x-amz-checksum-crc32c:sOO8/Q=="

static char body[70000];

START_TEST(published_signed_chunks)
{
    struct wg_s3_auth a = auth_of(S3_PAYLOAD_SIGNED, PLAIN_SEED);
    size_t len = published(body, plain_sigs, CR);
    struct result r;

    for (size_t cut = 0; cut < 300; cut++) { /* the first lines, and the last ones */
        run(&a, 66560, body, len, cut, 0, &r);
        ck_assert_int_eq(r.code, WG_S3_OK);
        ck_assert_int_eq(r.n, 66560);
        run(&a, 66560, body, len, len - cut, 0, &r);
        ck_assert_int_eq(r.code, WG_S3_OK);
    }
    run(&a, 66560, body, len, 0, 997, &r);
    ck_assert_int_eq(r.code, WG_S3_OK);
    body[30000] ^= 1;
    run(&a, 66560, body, len, 0, 0, &r);
    ck_assert_int_eq(r.code, WG_S3_SignatureDoesNotMatch);
    body[30000] ^= 1;
    a.key[0] ^= 1;
    run(&a, 66560, body, len, 0, 0, &r);
    ck_assert_int_eq(r.code, WG_S3_SignatureDoesNotMatch);
}
END_TEST

START_TEST(published_signed_trailer)
{
    static const struct {
        const char *end;
        enum wg_s3_code code;
    } ends[] = {
        { SUM CR TRAILER_SIG CR CR, WG_S3_OK },
        { SUM "\n" CR TRAILER_SIG CR CR, WG_S3_OK }, /* minio-go */
        { SUM CR CR, WG_S3_MalformedTrailerError },
        { SUM CR, WG_S3_IncompleteBody },
        { CR, WG_S3_MalformedTrailerError },
        { "x-amz-checksum-crc32c:AAAAAA==" CR TRAILER_SIG CR CR, WG_S3_SignatureDoesNotMatch },
        { TRAILER_SIG CR SUM CR CR, WG_S3_SignatureDoesNotMatch },
        { SUM CR TRAILER_SIG CR "x-amz-more:1" CR CR, WG_S3_MalformedTrailerError },
    };
    struct wg_s3_auth a = auth_of(S3_PAYLOAD_SIGNED_TRAILER, TRAILER_SEED);
    struct result r;

    for (unsigned i = 0; i < sizeof ends / sizeof *ends; i++) {
        size_t len = published(body, trailer_sigs, ends[i].end);

        for (size_t cut = 0; cut < 250; cut++) {
            run(&a, 66560, body, len, len - cut, 0, &r);
            ck_assert_msg(r.code == ends[i].code, "%u: %s", i, wg_s3_code_row(r.code)->name);
        }
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("s3_chunked");
    TCase *tc = tcase_create("chunked");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, unsigned_trailer_at_every_cut);
    tcase_add_loop_test(tc, unsigned_bodies_good_and_bad, 0, sizeof unsigned_bodies / sizeof *unsigned_bodies);
    tcase_add_test(tc, long_lines_are_refused);
    tcase_add_test(tc, published_signed_chunks);
    tcase_add_test(tc, published_signed_trailer);
    suite_add_tcase(s, tc);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
