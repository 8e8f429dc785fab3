/* SPDX-License-Identifier: Apache-2.0 */
/* Checksums, targets, ranges, conditions and dates of the S3 front end. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "frontends/s3/checksum.h"
#include "frontends/s3/date.h"
#include "frontends/s3/range.h"
#include "frontends/s3/s3.h"
#include "frontends/s3/uri.h"

static const char *of(enum wg_s3_sum alg, const void *p, size_t n)
{
    static char text[S3_SUM_TEXT];
    uint8_t v[S3_SUM_BYTES];

    return wg_s3_base64(v, wg_s3_sum_of(alg, p, n, v), text);
}

START_TEST(check_values)
{
    char *a = malloc(66560);

    memset(a, 'a', 66560);
    ck_assert_str_eq(of(S3_SUM_CRC32, "", 0), "AAAAAA==");
    ck_assert_str_eq(of(S3_SUM_CRC32C, "", 0), "AAAAAA==");
    ck_assert_str_eq(of(S3_SUM_CRC64NVME, "", 0), "AAAAAAAAAAA=");
    ck_assert_str_eq(of(S3_SUM_CRC32, "123456789", 9), "y/Q5Jg==");
    ck_assert_str_eq(of(S3_SUM_CRC32C, "123456789", 9), "4waSgw==");
    ck_assert_str_eq(of(S3_SUM_CRC64NVME, "123456789", 9), "rosUhgp5mIg=");
    ck_assert_str_eq(of(S3_SUM_CRC32, "hello world", 11), "DUoRhQ==");
    ck_assert_str_eq(of(S3_SUM_CRC32C, "hello world", 11), "yZRlqg==");
    ck_assert_str_eq(of(S3_SUM_CRC64NVME, "hello world", 11), "jSnVw/bqjr4=");
    ck_assert_str_eq(of(S3_SUM_CRC32, a, 66560), "sK4Y7A==");
    ck_assert_str_eq(of(S3_SUM_CRC32C, a, 66560), "sOO8/Q==");
    ck_assert_str_eq(of(S3_SUM_CRC64NVME, a, 66560), "pRf+emrnL+A=");
    ck_assert_str_eq(of(S3_SUM_SHA1, "abc", 3), "qZk+NkcGgWq6PiVxeFDCbJzQ2J0=");
    ck_assert_str_eq(of(S3_SUM_SHA256, "abc", 3), "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
    ck_assert_str_eq(of(S3_SUM_MD5, "", 0), "1B2M2Y8AsgTpgAmY7PhCfg==");
    free(a);
}
END_TEST

START_TEST(crc64_by_folding_is_crc64_by_tables)
{
    static uint8_t data[5000];
    unsigned seed = 7;

    for (unsigned i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)rand_r(&seed);
    for (unsigned len = 0; len < 400; len++)
        ck_assert_uint_eq(wg_crc64nvme(len, data + len % 17, len), wg_crc64nvme_plain(len, data + len % 17, len));
    for (unsigned i = 0; i < 2000; i++) {
        unsigned from = (unsigned)rand_r(&seed) % 1000, len = (unsigned)rand_r(&seed) % 4000;
        uint64_t crc = (uint64_t)rand_r(&seed) << 32 ^ (uint64_t)rand_r(&seed);

        ck_assert_uint_eq(wg_crc64nvme(crc, data + from, len), wg_crc64nvme_plain(crc, data + from, len));
    }
}
END_TEST

START_TEST(several_at_once_in_pieces_and_combined)
{
    char buf[3000];
    unsigned mask = 1u << S3_SUM_CRC32 | 1u << S3_SUM_CRC32C | 1u << S3_SUM_CRC64NVME | 1u << S3_SUM_SHA1 |
                    1u << S3_SUM_SHA256 | 1u << S3_SUM_MD5;

    for (unsigned i = 0; i < sizeof buf; i++)
        buf[i] = (char)(i * 7 + i / 256);
    for (unsigned cut = 0; cut <= sizeof buf; cut += 61) {
        struct wg_sums s;

        ck_assert_int_eq(wg_sums_init(&s, mask), 0);
        wg_sums_update(&s, buf, cut);
        wg_sums_update(&s, buf + cut, sizeof buf - cut);
        for (unsigned alg = S3_SUM_CRC32; alg < S3_SUM_MAX; alg++) {
            uint8_t v[S3_SUM_BYTES], whole[S3_SUM_BYTES], b[S3_SUM_BYTES];
            unsigned n = wg_s3_sums_final(&s, alg, v);

            ck_assert_int_eq(n, wg_s3_sum_of(alg, buf, sizeof buf, whole));
            ck_assert_mem_eq(v, whole, n);
            if (!wg_s3_sum_is_crc(alg))
                continue;
            wg_s3_sum_of(alg, buf, cut, v);
            wg_s3_sum_of(alg, buf + cut, sizeof buf - cut, b);
            wg_s3_crc_combine(alg, v, b, sizeof buf - cut);
            ck_assert_mem_eq(v, whole, n);
        }
        wg_sums_fini(&s);
    }
}
END_TEST

struct sum_case {
    const char *name[3], *value[3];
    enum wg_s3_code code;
    enum wg_s3_sum alg;
    bool given, trailer;
};

static const struct sum_case sum_cases[] = {
    { { 0 }, { 0 }, WG_S3_OK, S3_SUM_NONE, false, false },
    { { "x-amz-checksum-crc32", "x-amz-sdk-checksum-algorithm" }, { "DUoRhQ==", "CRC32" }, WG_S3_OK, S3_SUM_CRC32, true, false },
    { { "x-amz-trailer", "x-amz-sdk-checksum-algorithm" }, { "x-amz-checksum-crc32", "CRC32" }, WG_S3_OK, S3_SUM_CRC32, false, true },
    { { "x-amz-trailer" }, { "X-Amz-Checksum-SHA256" }, WG_S3_OK, S3_SUM_SHA256, false, true },
    { { "x-amz-checksum-algorithm", "x-amz-checksum-mode" }, { "SHA1", "ENABLED" }, WG_S3_OK, S3_SUM_NONE, false, false },
    { { "x-amz-checksum-crc32", "x-amz-checksum-sha1" }, { "DUoRhQ==", "x" }, WG_S3_InvalidRequest, 0, 0, 0 },
    { { "x-amz-checksum-crc32", "x-amz-trailer" }, { "DUoRhQ==", "x-amz-checksum-crc32" }, WG_S3_InvalidRequest, 0, 0, 0 },
    { { "x-amz-checksum-crc32", "x-amz-sdk-checksum-algorithm" }, { "DUoRhQ==", "SHA1" }, WG_S3_InvalidRequest, 0, 0, 0 },
    { { "x-amz-checksum-crc32" }, { "DUoRhQ=" }, WG_S3_InvalidRequest, 0, 0, 0 },
    { { "x-amz-checksum-crc32" }, { " UoRhQ==" }, WG_S3_InvalidRequest, 0, 0, 0 },
    { { "x-amz-checksum-sha512" }, { "DUoRhQ==" }, WG_S3_InvalidRequest, 0, 0, 0 },
    { { "x-amz-trailer" }, { "x-amz-meta-a" }, WG_S3_InvalidRequest, 0, 0, 0 },
    { { "x-amz-sdk-checksum-algorithm" }, { "CRC32" }, WG_S3_InvalidRequest, 0, 0, 0 },
    { { "content-md5" }, { "1B2M2Y8AsgTpgAmY7PhCfg==" }, WG_S3_OK, S3_SUM_NONE, false, false },
    { { "content-md5" }, { "1B2M2Y8AsgTpgAmY7PhCf" }, WG_S3_InvalidDigest, 0, 0, 0 },
};

START_TEST(checksum_headers)
{
    const struct sum_case *c = &sum_cases[_i];
    struct s3_pair pair[3];
    struct wg_s3_sum_req req;
    const char *message;
    unsigned n = 0;

    for (; n < 3 && c->name[n]; n++)
        pair[n] = (struct s3_pair){ wg_str_of(c->name[n]), wg_str_of(c->value[n]) };
    ck_assert_int_eq(wg_s3_sum_request(pair, n, &req, &message), c->code);
    if (c->code != WG_S3_OK)
        return;
    ck_assert_int_eq(req.alg, c->alg);
    ck_assert_int_eq(req.given, c->given);
    ck_assert_int_eq(req.in_trailer, c->trailer);
}
END_TEST

START_TEST(trailers_are_verified)
{
    struct s3_pair announced = { WG_STR("x-amz-trailer"), WG_STR("x-amz-checksum-crc32") };
    struct wg_s3_sum_req req;
    const char *message;
    uint8_t sum[S3_SUM_BYTES];

    wg_s3_sum_of(S3_SUM_CRC32, "hello world", 11, sum);
    ck_assert_int_eq(wg_s3_sum_request(&announced, 1, &req, &message), WG_S3_OK);
    ck_assert_int_eq(wg_s3_sum_verify(&req, sum, NULL), WG_S3_MalformedTrailerError);
    ck_assert_int_eq(wg_s3_sum_trailer(&req, WG_STR("x-amz-checksum-sha1"), WG_STR("x")), WG_S3_MalformedTrailerError);
    ck_assert_int_eq(wg_s3_sum_trailer(&req, WG_STR("x-amz-checksum-crc32"), WG_STR("x")), WG_S3_InvalidRequest);
    ck_assert_int_eq(wg_s3_sum_trailer(&req, WG_STR("x-amz-checksum-crc32"), WG_STR("DUoRhQ==")), WG_S3_OK);
    ck_assert_int_eq(wg_s3_sum_verify(&req, sum, NULL), WG_S3_OK);
    sum[3] ^= 1;
    ck_assert_int_eq(wg_s3_sum_verify(&req, sum, NULL), WG_S3_BadDigest);
}
END_TEST

static struct wg_s3_uri uri;
static char space[8192];

static enum wg_s3_code parse(const char *target, const char *host)
{
    struct wg_str domains[2] = { WG_STR("s3.example"), WG_STR("other") };

    return wg_s3_uri_parse(wg_str_of(target), wg_str_of(host), domains, 2, space, &uri);
}

static void is(const char *bucket, const char *key)
{
    ck_assert(wg_str_eq(uri.bucket, wg_str_of(bucket)));
    ck_assert(wg_str_eq(uri.key, wg_str_of(key)));
}

START_TEST(targets)
{
    static const struct {
        const char *target, *host, *bucket, *key;
    } c[] = {
        { "/", "h", "", "" },
        { "/bkt", "h", "bkt", "" },
        { "/bkt/", "h", "bkt", "" },
        { "/bkt?acl", "h", "bkt", "" },
        { "/bkt/a/b%20c%2Bd~%C3%A9+", "h", "bkt", "a/b c+d~\xc3\xa9+" },
        { "/bkt//a", "h", "bkt", "/a" },
        { "/bkt/../x/./", "h", "bkt", "../x/./" },
        { "/bkt/%2F%2f", "h", "bkt", "//" },
        { "/key/x", "bkt.s3.example", "bkt", "key/x" },
        { "/key/x", "b.k.t.S3.EXAMPLE:9000", "b.k.t", "key/x" },
        { "/", "bkt.other", "bkt", "" },
        { "/bkt/k", "s3.example", "bkt", "k" },
        { "/bkt/k", "xs3.example", "bkt", "k" },
        { "/bkt/k", ".s3.example", "bkt", "k" },
        { "/bkt/k", "[::1]:9000", "bkt", "k" },
        { "http://bkt.s3.example/k", "h", "bkt", "k" },
        { "http://h", "x", "", "" },
    };

    for (unsigned i = 0; i < sizeof c / sizeof *c; i++) {
        ck_assert_msg(parse(c[i].target, c[i].host) == WG_S3_OK, "%s", c[i].target);
        is(c[i].bucket, c[i].key);
    }
    ck_assert_int_eq(parse("/b/%", "h"), WG_S3_InvalidURI);
    ck_assert_int_eq(parse("/b/%2", "h"), WG_S3_InvalidURI);
    ck_assert_int_eq(parse("/b/%zz", "h"), WG_S3_InvalidURI);
    ck_assert_int_eq(parse("/b?a=%z1", "h"), WG_S3_InvalidURI);
    ck_assert_int_eq(parse("//k", "h"), WG_S3_InvalidURI);
    ck_assert_int_eq(parse("*", "h"), WG_S3_InvalidURI);
}
END_TEST

START_TEST(parameters)
{
    uint64_t n;

    ck_assert_int_eq(parse("/b?acl&x=1=2&&plus=a+b%2B&n=12&big=99999999999999999999&e=", "h"), WG_S3_OK);
    ck_assert_int_eq(uri.nparams, 6);
    ck_assert_int_eq(wg_s3_param(&uri, "acl")->len, 0);
    ck_assert(wg_str_eq(*wg_s3_param(&uri, "x"), WG_STR("1=2")));
    ck_assert(wg_str_eq(*wg_s3_param(&uri, "plus"), WG_STR("a+b+")));
    ck_assert_ptr_null(wg_s3_param(&uri, "ACL"));
    ck_assert_int_eq(wg_s3_param_u64(&uri, "n", 5, 100, &n), WG_S3_OK);
    ck_assert_int_eq(n, 12);
    ck_assert_int_eq(wg_s3_param_u64(&uri, "e", 5, 100, &n), WG_S3_OK);
    ck_assert_int_eq(n, 5);
    ck_assert_int_eq(wg_s3_param_u64(&uri, "n", 5, 11, &n), WG_S3_InvalidArgument);
    ck_assert_int_eq(wg_s3_param_u64(&uri, "big", 5, UINT64_MAX, &n), WG_S3_InvalidArgument);
    ck_assert_int_eq(wg_s3_param_u64(&uri, "x", 5, 11, &n), WG_S3_InvalidArgument);
}
END_TEST

START_TEST(key_length_and_parameter_count_are_bounded)
{
    char t[8192] = "/b/";

    memset(t + 3, 'k', 1024);
    ck_assert_int_eq(parse(t, "h"), WG_S3_OK);
    t[1027] = 'k';
    ck_assert_int_eq(parse(t, "h"), WG_S3_KeyTooLongError);
    strcpy(t, "/b?");
    for (unsigned i = 0; i < 65; i++)
        strcat(t, "a=b&");
    ck_assert_int_eq(parse(t, "h"), WG_S3_InvalidURI);
}
END_TEST

START_TEST(bucket_names)
{
    static const char *const good[] = { "abc", "a.b-c", "123", "my-bucket.2" };
    static const char *const bad[] = { "ab", "", "Abc", "a_b", "-abc", "abc-", "a..b", "1.2.3.4", "a/b", "xn--abc",
                                       ".abc", "abcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcd" };

    for (unsigned i = 0; i < sizeof good / sizeof *good; i++)
        ck_assert_msg(wg_s3_bucket_name_ok(wg_str_of(good[i])), "%s", good[i]);
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_msg(!wg_s3_bucket_name_ok(wg_str_of(bad[i])), "%s", bad[i]);
}
END_TEST

START_TEST(ranges)
{
    static const struct {
        const char *text;
        uint64_t size;
        bool given;
        enum wg_s3_code code;
        uint64_t first, len;
    } c[] = {
        { "bytes=0-9", 100, true, WG_S3_OK, 0, 10 },
        { "bytes=5-", 100, true, WG_S3_OK, 5, 95 },
        { "bytes=-7", 100, true, WG_S3_OK, 93, 7 },
        { "bytes=-700", 100, true, WG_S3_OK, 0, 100 },
        { "bytes=0-99999999999999999999999", 100, true, WG_S3_OK, 0, 100 },
        { "bytes=99-99", 100, true, WG_S3_OK, 99, 1 },
        { "bytes=100-", 100, true, WG_S3_InvalidRange, 0, 0 },
        { "bytes=100-200", 100, true, WG_S3_InvalidRange, 0, 0 },
        { "bytes=-0", 100, true, WG_S3_InvalidRange, 0, 0 },
        { "bytes=0-", 0, true, WG_S3_InvalidRange, 0, 0 },
        { "bytes=-5", 0, true, WG_S3_InvalidRange, 0, 0 },
        { "bytes=9-5", 100, false, WG_S3_OK, 0, 100 },
        { "bytes=0-1,3-4", 100, false, WG_S3_OK, 0, 100 },
        { "bytes=-", 100, false, WG_S3_OK, 0, 100 },
        { "bytes=a-b", 100, false, WG_S3_OK, 0, 100 },
        { "lines=0-1", 100, false, WG_S3_OK, 0, 100 },
        { "", 100, false, WG_S3_OK, 0, 100 },
    };

    for (unsigned i = 0; i < sizeof c / sizeof *c; i++) {
        struct wg_s3_range r;
        uint64_t first, len;

        wg_s3_range_parse(wg_str_of(c[i].text), &r);
        ck_assert_msg(r.given == c[i].given, "%s", c[i].text);
        ck_assert_int_eq(wg_s3_range_resolve(&r, c[i].size, &first, &len), c[i].code);
        if (c[i].code != WG_S3_OK)
            continue;
        ck_assert_uint_eq(first, c[i].first);
        ck_assert_uint_eq(len, c[i].len);
    }
}
END_TEST

#define OLD "Sat, 01 Jan 2000 00:00:00 GMT"
#define NOW "Sat, 21 Nov 2026 09:10:00 GMT"
#define ETAG "\"d41d8cd98f00b204e9800998ecf8427e\""

START_TEST(conditions)
{
    static const struct {
        const char *match, *none, *since, *unmodified;
        enum wg_s3_code code;
    } c[] = {
        { "", "", "", "", WG_S3_OK },
        { ETAG, "", "", "", WG_S3_OK },
        { "d41d8cd98f00b204e9800998ecf8427e", "", "", "", WG_S3_OK },
        { "\"x\", " ETAG, "", "", "", WG_S3_OK },
        { "*", "", "", "", WG_S3_OK },
        { "\"x\"", "", "", "", WG_S3_PreconditionFailed },
        { ETAG, "", "", OLD, WG_S3_OK }, /* If-Match is above If-Unmodified-Since */
        { "", "", "", OLD, WG_S3_PreconditionFailed },
        { "", "", "", NOW, WG_S3_OK },
        { "", "", "", "nonsense", WG_S3_OK },
        { "", ETAG, "", "", WG_S3_NotModified },
        { "", "W/" ETAG, "", "", WG_S3_NotModified },
        { "", "\"x\"", "", "", WG_S3_OK },
        { "", "\"x\"", NOW, "", WG_S3_OK }, /* If-None-Match is above If-Modified-Since */
        { "", "", NOW, "", WG_S3_NotModified },
        { "", "", OLD, "", WG_S3_OK },
        { ETAG, ETAG, "", "", WG_S3_NotModified },
    };
    struct wg_etag etag;
    int64_t mtime;

    ck_assert_int_eq(wg_etag_parse(WG_STR(ETAG), &etag), 0);
    ck_assert(wg_s3_date_parse(WG_STR(NOW), &mtime));
    for (unsigned i = 0; i < sizeof c / sizeof *c; i++) {
        struct wg_s3_conds k = { wg_str_of(c[i].match), wg_str_of(c[i].none), wg_str_of(c[i].since),
                                 wg_str_of(c[i].unmodified) };

        ck_assert_msg(wg_s3_conds_check(&k, &etag, mtime) == c[i].code, "%u", i);
    }
}
END_TEST

START_TEST(conditions_of_writes)
{
    struct wg_str none = { "", 0 };
    struct wg_etag e;
    uint32_t cond;

    ck_assert_int_eq(wg_s3_write_cond(none, none, &cond, &e), WG_S3_OK);
    ck_assert_int_eq(cond, 0);
    ck_assert_int_eq(wg_s3_write_cond(none, WG_STR("*"), &cond, &e), WG_S3_OK);
    ck_assert_int_eq(cond, WG_IF_NONE_MATCH_ANY);
    ck_assert_int_eq(wg_s3_write_cond(none, WG_STR(ETAG), &cond, &e), WG_S3_NotImplemented);
    ck_assert_int_eq(wg_s3_write_cond(WG_STR(ETAG), none, &cond, &e), WG_S3_OK);
    ck_assert_int_eq(cond, WG_IF_MATCH);
    ck_assert_int_eq(e.md5[0], 0xd4);
    ck_assert_int_eq(wg_s3_write_cond(WG_STR("\"foreign\""), none, &cond, &e), WG_S3_OK);
    ck_assert_int_eq(cond, WG_IF_MATCH);
    ck_assert_int_eq(wg_s3_write_cond(WG_STR("*"), none, &cond, &e), WG_S3_OK);
    ck_assert_int_eq(cond, WG_IF_MATCH_ANY);
}
END_TEST

START_TEST(dates)
{
    static const char *const same[] = { "Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT",
                                        "Sun Nov  6 08:49:37 1994", "1994-11-06T08:49:37Z",
                                        "1994-11-06T08:49:37.123Z", "Sun, 06 Nov 1994 08:49:37 +0000" };
    static const char *const bad[] = { "", "Sun", "Sun, 31 Jun 1994 08:49:37 GMT", "Sun, 06 Nov 1994 28:49:37 GMT",
                                       "1994-13-06T08:49:37Z", "1994-11-06", "Sun, 06 Nov 1994 08:49:37 CET" };
    char buf[WG_S3_DATE_TEXT];
    int64_t t;

    for (unsigned i = 0; i < sizeof same / sizeof *same; i++) {
        ck_assert_msg(wg_s3_date_parse(wg_str_of(same[i]), &t), "%s", same[i]);
        ck_assert_int_eq(t, 784111777);
    }
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_msg(!wg_s3_date_parse(wg_str_of(bad[i]), &t), "%s", bad[i]);
    ck_assert_str_eq(wg_s3_date_http(784111777, buf), same[0]);
    ck_assert_str_eq(wg_s3_date_iso(784111777, buf), "1994-11-06T08:49:37.000Z");
    ck_assert_str_eq(wg_s3_date_basic(784111777, buf), "19941106T084937Z");
    ck_assert(wg_s3_date_parse_basic(WG_STR("19941106T084937Z"), &t));
    ck_assert_int_eq(t, 784111777);
    ck_assert(!wg_s3_date_parse_basic(WG_STR("19941306T084937Z"), &t));
    wg_s3_date_http(INT64_MAX, buf);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("s3_wire");
    TCase *tc = tcase_create("wire");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_add_test(tc, crc64_by_folding_is_crc64_by_tables);
    tcase_add_test(tc, check_values);
    tcase_add_test(tc, several_at_once_in_pieces_and_combined);
    tcase_add_loop_test(tc, checksum_headers, 0, sizeof sum_cases / sizeof *sum_cases);
    tcase_add_test(tc, trailers_are_verified);
    tcase_add_test(tc, targets);
    tcase_add_test(tc, parameters);
    tcase_add_test(tc, key_length_and_parameter_count_are_bounded);
    tcase_add_test(tc, bucket_names);
    tcase_add_test(tc, ranges);
    tcase_add_test(tc, conditions);
    tcase_add_test(tc, conditions_of_writes);
    tcase_add_test(tc, dates);
    suite_add_tcase(s, tc);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
