/* SPDX-License-Identifier: Apache-2.0 */
/* SigV4 and SigV2 against the published vectors and against signatures that botocore made. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "frontends/s3/auth.h"
#include "frontends/s3/date.h"
#include "frontends/s3/hmac.h"
#include "frontends/s3/s3.h"

#define ACCESS "AKIAIOSFODNN7EXAMPLE"
#define SECRET "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static int find_secret(void *arg, struct wg_str key, struct wg_str *ret)
{
    (void)arg;
    if (!wg_str_eq(key, WG_STR(ACCESS)))
        return ENOENT;
    *ret = WG_STR(SECRET);
    return 0;
}

static int64_t when(const char *basic)
{
    int64_t t;

    ck_assert(wg_s3_date_parse_basic(wg_str_of(basic), &t));
    return t;
}

struct request {
    const char *method, *target, *now;
    const char *headers[32]; /* name, value, ..., NULL */
};

static struct wg_s3_auth got;

static enum wg_s3_code try(const struct request *q)
{
    static char space[4096];
    static struct wg_s3_uri uri;
    struct s3_pair pair[16];
    struct wg_s3_auth_in in = { .method = wg_str_of(q->method), .uri = &uri, .headers = pair,
                                .now = when(q->now), .secret = find_secret };
    struct wg_str host = WG_STR("");

    for (unsigned i = 0; q->headers[i]; i += 2) {
        pair[in.nheaders].name = wg_str_of(q->headers[i]);
        pair[in.nheaders++].value = wg_str_of(q->headers[i + 1]);
        if (strcmp(q->headers[i], "host") == 0)
            host = wg_str_of(q->headers[i + 1]);
    }
    struct wg_str domain = WG_STR("s3.amazonaws.com");

    ck_assert_int_eq(wg_s3_uri_parse(wg_str_of(q->target), host, &domain, 1, space, &uri), WG_S3_OK);
    return wg_s3_authenticate(&in, &got);
}

#define SCOPE "/20130524/us-east-1/s3/aws4_request"
#define HEADER(signed, signature) \
    "AWS4-HMAC-SHA256 Credential=" ACCESS SCOPE ",SignedHeaders=" signed ",Signature=" signature

static struct request published_get(void)
{
    return (struct request){
        "GET", "/test.txt", "20130524T000500Z",
        { "host", "examplebucket.s3.amazonaws.com", "range", "bytes=0-9", "x-amz-content-sha256", EMPTY,
          "x-amz-date", "20130524T000000Z", "authorization",
          HEADER("host;range;x-amz-content-sha256;x-amz-date",
                 "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41") } };
}

START_TEST(published_get_is_accepted)
{
    struct request q = published_get();
    char hex[64];

    ck_assert_int_eq(try(&q), WG_S3_OK);
    ck_assert(wg_str_eq(got.access_key, WG_STR(ACCESS)));
    ck_assert_int_eq(got.payload, S3_PAYLOAD_SHA256);
    wg_s3_hex(got.key, 32, hex);
    ck_assert_mem_eq(hex, "dbb893acc010964918f1fd433add87c70e8b0db6be30c1fbeafefa5ec6ba8378", 64);
    ck_assert_int_eq(try(&q), WG_S3_OK); /* from the cache of signing keys */
}
END_TEST

START_TEST(published_list_with_query_is_accepted)
{
    struct request q = {
        "GET", "/?max-keys=2&prefix=J", "20130524T000000Z",
        { "host", "examplebucket.s3.amazonaws.com", "x-amz-content-sha256", EMPTY, "x-amz-date",
          "20130524T000000Z", "authorization",
          HEADER("host;x-amz-content-sha256;x-amz-date",
                 "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7") } };

    ck_assert_int_eq(try(&q), WG_S3_OK);
    q.target = "/?prefix=%4a&max-keys=2"; /* canonicalised by decoding and encoding */
    ck_assert_int_eq(try(&q), WG_S3_OK);
    q.target = "/?max-keys=3&prefix=J";
    ck_assert_int_eq(try(&q), WG_S3_SignatureDoesNotMatch);
}
END_TEST

START_TEST(subresource_without_value_signs_as_empty)
{
    struct request q = {
        "GET", "/?lifecycle", "20130524T000000Z",
        { "host", "examplebucket.s3.amazonaws.com", "x-amz-content-sha256", EMPTY, "x-amz-date",
          "20130524T000000Z", "authorization",
          HEADER("host;x-amz-content-sha256;x-amz-date",
                 "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543") } };

    ck_assert_int_eq(try(&q), WG_S3_OK);
    q.target = "/?lifecycle=";
    ck_assert_int_eq(try(&q), WG_S3_OK);
}
END_TEST

START_TEST(anything_changed_is_refused)
{
    static const struct {
        int header;
        const char *value;
        enum wg_s3_code want;
    } changes[] = {
        { 3, "bytes=0-10", WG_S3_SignatureDoesNotMatch },
        { 1, "other.s3.amazonaws.com", WG_S3_SignatureDoesNotMatch },
        { 5, "UNSIGNED-PAYLOAD", WG_S3_SignatureDoesNotMatch },
        { 5, "nonsense", WG_S3_InvalidArgument },
        { 7, "20130524T000001Z", WG_S3_SignatureDoesNotMatch },
        { 7, "20130525T000000Z", WG_S3_AuthorizationHeaderMalformed },
        { 7, "yesterday", WG_S3_AccessDenied },
        { 9, "AWS4-HMAC-SHA256 Credential=" ACCESS, WG_S3_AuthorizationHeaderMalformed },
        { 9, "Bearer x", WG_S3_InvalidArgument },
        { 9, "AWS4-ECDSA-P256-SHA256 Credential=x", WG_S3_NotImplemented },
        { 9, HEADER("range;x-amz-content-sha256;x-amz-date", EMPTY), WG_S3_AccessDenied },
        { 9, HEADER("host;x-amz-date", EMPTY), WG_S3_AccessDenied },
        { 9, HEADER("host;x-amz-content-sha256;x-amz-date;x-missing", EMPTY), WG_S3_SignatureDoesNotMatch },
        { 9, HEADER("host;x-amz-content-sha256;x-amz-date", "short"), WG_S3_SignatureDoesNotMatch },
        { 9, "AWS4-HMAC-SHA256 Credential=nobody" SCOPE ",SignedHeaders=host,Signature=" EMPTY,
          WG_S3_InvalidAccessKeyId },
        { 9, "AWS4-HMAC-SHA256 Credential=x/20130524/us-east-1/ec2/aws4_request,SignedHeaders=host,Signature=x",
          WG_S3_AuthorizationHeaderMalformed },
    };

    for (unsigned i = 0; i < sizeof changes / sizeof *changes; i++) {
        struct request q = published_get();

        q.headers[changes[i].header] = changes[i].value;
        ck_assert_msg(try(&q) == changes[i].want, "change %u: %s", i, wg_s3_code_row(try(&q))->name);
    }
}
END_TEST

START_TEST(headers_missing_are_named_errors)
{
    struct request q = published_get();

    q.headers[8] = NULL;
    ck_assert_int_eq(try(&q), WG_S3_AccessDenied); /* anonymous */
    q = published_get();
    q.headers[4] = "x-other";
    ck_assert_int_eq(try(&q), WG_S3_InvalidRequest); /* x-amz-content-sha256 was signed, and is gone */
    q = published_get();
    q.headers[10] = "x-amz-meta-more";
    q.headers[11] = "unsigned";
    ck_assert_int_eq(try(&q), WG_S3_AccessDenied);
    q = published_get();
    q.headers[10] = "x-amz-security-token";
    q.headers[11] = "t";
    ck_assert_int_eq(try(&q), WG_S3_InvalidToken);
    q = published_get();
    q.target = "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256";
    ck_assert_int_eq(try(&q), WG_S3_InvalidArgument); /* two mechanisms */
}
END_TEST

START_TEST(clock_may_be_15_minutes_off)
{
    struct request q = published_get();

    q.now = "20130524T001500Z";
    ck_assert_int_eq(try(&q), WG_S3_OK);
    q.now = "20130523T234500Z";
    ck_assert_int_eq(try(&q), WG_S3_OK);
    q.now = "20130524T001501Z";
    ck_assert_int_eq(try(&q), WG_S3_RequestTimeTooSkewed);
    q.now = "20130523T234459Z";
    ck_assert_int_eq(try(&q), WG_S3_RequestTimeTooSkewed);
}
END_TEST

#define PRESIGNED(expires, signature)                                                        \
    "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=" ACCESS                    \
    "%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=" \
    expires "&X-Amz-SignedHeaders=host&X-Amz-Signature=" signature
#define PRESIGNATURE "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"

START_TEST(presigned_v4_works_until_it_expires)
{
    struct request q = { "GET", PRESIGNED("86400", PRESIGNATURE), "20130524T000000Z",
                         { "host", "examplebucket.s3.amazonaws.com" } };

    ck_assert_int_eq(try(&q), WG_S3_OK);
    ck_assert(got.presigned);
    ck_assert_int_eq(got.payload, S3_PAYLOAD_UNSIGNED);
    q.now = "20130525T000000Z";
    ck_assert_int_eq(try(&q), WG_S3_OK);
    q.now = "20130525T000001Z";
    ck_assert_int_eq(try(&q), WG_S3_AccessDenied);
    ck_assert_str_eq(got.message, "Request has expired");
    q.now = "20130523T234459Z";
    ck_assert_int_eq(try(&q), WG_S3_AccessDenied);
    q.now = "20130524T000000Z";
    q.target = PRESIGNED("86401", PRESIGNATURE);
    ck_assert_int_eq(try(&q), WG_S3_SignatureDoesNotMatch);
    q.target = PRESIGNED("604801", PRESIGNATURE);
    ck_assert_int_eq(try(&q), WG_S3_AuthorizationQueryParametersError);
    q.target = PRESIGNED("-1", PRESIGNATURE);
    ck_assert_int_eq(try(&q), WG_S3_AuthorizationQueryParametersError);
    q.target = "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256";
    ck_assert_int_eq(try(&q), WG_S3_AuthorizationQueryParametersError);
}
END_TEST

/* From the AWS page "Signing and authenticating REST requests". */
START_TEST(published_v2_headers_are_accepted)
{
    struct request q = { "GET", "/photos/puppy.jpg", "20070327T193642Z",
                         { "host", "awsexamplebucket1.us-west-1.s3.amazonaws.com", "date",
                           "Tue, 27 Mar 2007 19:36:42 +0000", "authorization",
                           "AWS " ACCESS ":wrongwrongwrongwrongwrongwro" } };

    ck_assert_int_eq(try(&q), WG_S3_SignatureDoesNotMatch);
    q.now = "20070327T203642Z";
    ck_assert_int_eq(try(&q), WG_S3_RequestTimeTooSkewed);
    q.headers[5] = "AWS nothing";
    ck_assert_int_eq(try(&q), WG_S3_InvalidArgument);
}
END_TEST

#include "s3_auth_botocore.h"

START_TEST(botocore_signatures_are_accepted)
{
    ck_assert_int_gt((int)(sizeof botocore / sizeof *botocore), 10);
    ck_assert_msg(try(&botocore[_i]) == WG_S3_OK, "%s %s: %s", botocore[_i].method, botocore[_i].target,
                  wg_s3_code_row(try(&botocore[_i]))->name);
}
END_TEST

#define CURL(signed, signature) \
    "AWS4-HMAC-SHA256 Credential=" ACCESS "/20261121/us-east-1/s3/aws4_request, SignedHeaders=" signed ", Signature=" signature

/* As curl 7.88 --aws-sigv4 sends them: no hash of the payload, path and query signed as they are. */
START_TEST(curl_signatures_are_accepted)
{
    static const struct request curl[] = {
        { "PUT", "/b/a%20b/c+d", "20261121T101711Z",
          { "host", "127.0.0.1:29177", "x-amz-date", "20261121T101711Z", "authorization",
            CURL("host;x-amz-date", "339d9b2fcd5fcc2e3ddf5a5c3596c2aa5f7f5eae52ec666bbbd0de1acba582d7") } },
        { "GET", "/b?list-type=2&prefix=a/&acl", "20261121T101711Z",
          { "host", "127.0.0.1:29177", "x-amz-date", "20261121T101711Z", "authorization",
            CURL("host;x-amz-date", "6c747f75a8e924db4ed59b8d1e9f6eaa3b7fa619e5852869432aba41e664644d") } },
        { "PUT", "/b/k", "20261121T101711Z",
          { "host", "127.0.0.1:29177", "x-amz-date", "20261121T101711Z", "x-amz-content-sha256", "UNSIGNED-PAYLOAD",
            "authorization",
            CURL("host;x-amz-content-sha256;x-amz-date", "b808ce01218e91667f2d5d7b0f1f0bb214378c97fcedf004e7f8605851460006") } },
    };

    for (unsigned i = 0; i < 3; i++) {
        ck_assert_msg(try(&curl[i]) == WG_S3_OK, "%u: %s", i, wg_s3_code_row(try(&curl[i]))->name);
        ck_assert_int_eq(got.payload, S3_PAYLOAD_UNSIGNED);
    }
}
END_TEST

START_TEST(v2_query_expires)
{
    struct request q = botocore[0]; /* a presigned GET of version 2 */

    ck_assert(got.v4 == false);
    q.now = "20140101T000000Z";
    ck_assert_int_eq(try(&q), WG_S3_AccessDenied);
    ck_assert_str_eq(got.message, "Request has expired");
    q = botocore[0];
    q.method = "PUT";
    ck_assert_int_eq(try(&q), WG_S3_SignatureDoesNotMatch);
    q.target = "/b/k?AWSAccessKeyId=" ACCESS "&Signature=x&Expires=never";
    ck_assert_int_eq(try(&q), WG_S3_AccessDenied);
    q.target = "/b/k?AWSAccessKeyId=" ACCESS;
    ck_assert_int_eq(try(&q), WG_S3_AccessDenied);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("s3_auth");
    TCase *tc = tcase_create("auth");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_add_test(tc, published_get_is_accepted);
    tcase_add_test(tc, published_list_with_query_is_accepted);
    tcase_add_test(tc, subresource_without_value_signs_as_empty);
    tcase_add_test(tc, anything_changed_is_refused);
    tcase_add_test(tc, headers_missing_are_named_errors);
    tcase_add_test(tc, clock_may_be_15_minutes_off);
    tcase_add_test(tc, presigned_v4_works_until_it_expires);
    tcase_add_test(tc, published_v2_headers_are_accepted);
    tcase_add_loop_test(tc, botocore_signatures_are_accepted, 0, sizeof botocore / sizeof *botocore);
    tcase_add_test(tc, curl_signatures_are_accepted);
    tcase_add_test(tc, v2_query_expires);
    suite_add_tcase(s, tc);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
