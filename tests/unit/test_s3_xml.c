/* SPDX-License-Identifier: Apache-2.0 */
/* XML bodies and packed metadata of the S3 front end. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontends/s3/meta.h"
#include "frontends/s3/s3.h"
#include "frontends/s3/xml.h"

static struct wg_arena arena;

static void setup(void)
{
    wg_arena_init(&arena, NULL, 0);
}

static void teardown(void)
{
    wg_arena_fini(&arena);
}

START_TEST(written_text_is_escaped)
{
    struct wg_s3_xml *x = wg_s3_xml_new("R");
    char *text;
    size_t len;

    wg_s3_xml_open(x, "A");
    wg_s3_xml_str(x, "K", WG_STR("a<b>&\"\x01\r\n\xc3\xa9\xff\xe2\x82z\0y"));
    wg_s3_xml_u64(x, "N", UINT64_MAX);
    wg_s3_xml_bool(x, "B", true);
    wg_s3_xml_time(x, "T", 784111777);
    wg_s3_xml_close(x);
    wg_s3_xml_key(x, "U", WG_STR("a b+/\x01\xff"), true);
    wg_s3_xml_key(x, "P", WG_STR("a b+/"), false);
    ck_assert_int_eq(wg_s3_xml_end(x, &text, &len), 0);
    ck_assert_uint_eq(strlen(text), len);
    ck_assert_str_eq(text,
                     "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<R xmlns=\"" WG_S3_XMLNS "\">"
                     "<A><K>a&lt;b&gt;&amp;&quot;&#x1;&#xd;&#xa;\xc3\xa9\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz&#x0;y</K>"
                     "<N>18446744073709551615</N><B>true</B><T>1994-11-06T08:49:37.000Z</T></A>"
                     "<U>a%20b%2B/%01%FF</U><P>a b+/</P></R>\n");
    wg_s3_xml_free(text);
}
END_TEST

START_TEST(long_text_is_whole)
{
    char big[5000];
    struct wg_s3_xml *x = wg_s3_xml_new_plain("R");
    char *text;
    size_t len;

    memset(big, 'x', sizeof big);
    wg_s3_xml_str(x, "K", (struct wg_str){ big, sizeof big });
    ck_assert_int_eq(wg_s3_xml_end(x, &text, &len), 0);
    ck_assert_uint_eq(len, strlen("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<R><K></K></R>\n") + sizeof big);
    wg_s3_xml_free(text);
}
END_TEST

START_TEST(errors_have_their_parts)
{
    char *text;
    size_t len;

    ck_assert_int_eq(wg_s3_xml_error(WG_S3_NoSuchKey, NULL, WG_STR("/b/k<"), "ID", "HOST",
                                     WG_STR("<Key>k&lt;</Key>"), &text, &len), 0);
    ck_assert_ptr_nonnull(strstr(text, "<Error><Code>NoSuchKey</Code><Message>The specified key does not "
                                       "exist.</Message><Key>k&lt;</Key><Resource>/b/k&lt;</Resource>"
                                       "<RequestId>ID</RequestId><HostId>HOST</HostId></Error>"));
    wg_s3_xml_free(text);
}
END_TEST

#define NS " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\""

START_TEST(delete_is_read)
{
    struct wg_s3_delete d;

    ck_assert_int_eq(wg_s3_xml_read_delete(
        WG_STR("<?xml version=\"1.0\"?>\n<Delete" NS "><Quiet>true</Quiet>\n <Object><Key> a&amp;b&#10;</Key></Object>"
               "<Object><Key><![CDATA[<c>]]></Key><VersionId>null</VersionId></Object><!-- x --></Delete>"),
        &arena, &d), WG_S3_OK);
    ck_assert(d.quiet);
    ck_assert_int_eq(d.n, 2);
    ck_assert(wg_str_eq(d.item[0].key, WG_STR(" a&b\n")));
    ck_assert(wg_str_eq(d.item[1].key, WG_STR("<c>")));
    ck_assert(wg_str_eq(d.item[1].version_id, WG_STR("null")));
}
END_TEST

START_TEST(delete_takes_a_thousand)
{
    struct wg_s3_delete d;
    char *body = malloc(100000);

    for (unsigned n = 1000; n <= 1001; n++) {
        strcpy(body, "<Delete>");
        for (unsigned i = 0; i < n; i++)
            sprintf(body + 8 + i * 35, "<Object><Key>%06u</Key></Object>   ", i);
        strcat(body, "</Delete>");
        ck_assert_int_eq(wg_s3_xml_read_delete(wg_str_of(body), &arena, &d), n == 1000 ? WG_S3_OK : WG_S3_MalformedXML);
    }
    ck_assert(wg_str_eq(d.item[999].key, WG_STR("000999")));
    free(body);
}
END_TEST

static const char *const malformed[] = {
    "",
    "x",
    "<Delete>",
    "<Delete></Delete>",
    "<Delete><Object></Object></Delete>",
    "<Delete><Object><Key></Key></Object></Delete>",
    "<Other><Object><Key>a</Key></Object></Other>",
    "<Delete><Object><Key>a</Key></Object></Delete><Delete/>",
    "<Delete><Object><Key>a</Object></Key></Delete>",
    "<Delete><Object><Key>&undefined;</Key></Object></Delete>",
    "<!DOCTYPE Delete [<!ENTITY a \"b\">]><Delete><Object><Key>&a;</Key></Object></Delete>",
    "<!DOCTYPE Delete SYSTEM \"file:///etc/passwd\"><Delete><Object><Key>a</Key></Object></Delete>",
    "<Delete><Object><Key>a\x01</Key></Object></Delete>",
    "<Delete><Object><Key>\xff</Key></Object></Delete>",
    "<Delete><a><a><a><a><a><a><a><a><a/></a></a></a></a></a></a></a></a></Delete>",
    "\xff\xfe<\0D\0",
};

START_TEST(malformed_bodies_are_refused)
{
    struct wg_s3_delete d;

    ck_assert_msg(wg_s3_xml_read_delete(wg_str_of(malformed[_i]), &arena, &d) == WG_S3_MalformedXML, "%s",
                  malformed[_i]);
}
END_TEST

/* libxml2 compares each attribute with all before it: a few megabytes of them would take minutes. */
START_TEST(many_attributes_are_refused_at_once)
{
    const unsigned n = 400000;
    char *body = malloc(n * 20 + 100), *at;
    struct wg_s3_delete d;

    at = body + sprintf(body, "<Delete");
    for (unsigned i = 0; i < n; i++)
        at += sprintf(at, _i ? " xmlns:a%u='>'" : " a%u='>'", i);
    sprintf(at, "><Object><Key>k</Key></Object></Delete>");
    ck_assert_int_eq(wg_s3_xml_read_delete(wg_str_of(body), &arena, &d), WG_S3_MalformedXML);
    free(body);

    /* Many short tags of them are as bad. */
    ck_assert_int_eq(wg_s3_xml_read_delete(WG_STR("<Delete><Object a='' b='' c='' d='' e='' f='' g='' h='' i='' j='' k='' l='' "
                                                  "m='' n='' o='' p='' q=''><Key>k</Key></Object></Delete>"),
                                           &arena, &d), WG_S3_MalformedXML);
}
END_TEST

START_TEST(keys_in_character_references_are_read)
{
    char *body = malloc(10000), *at = body + sprintf(body, "<Delete><Object><Key>");
    struct wg_s3_delete d;

    for (unsigned i = 0; i < 1024; i++)
        at += sprintf(at, "&#x0061;");
    sprintf(at, "</Key></Object></Delete>");
    ck_assert_int_eq(wg_s3_xml_read_delete(wg_str_of(body), &arena, &d), WG_S3_OK);
    ck_assert_uint_eq(d.item[0].key.len, 1024);
    free(body);
}
END_TEST

START_TEST(complete_is_read)
{
    struct wg_s3_complete c;

    /* s3cmd has no namespace and no quotes, rclone numeric entities. */
    ck_assert_int_eq(wg_s3_xml_read_complete(
        WG_STR("<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>abc</ETag></Part>"
               "<Part><ETag>&#34;def&#34;</ETag><ChecksumCRC32>DUoRhQ==</ChecksumCRC32><PartNumber>10000</PartNumber>"
               "</Part></CompleteMultipartUpload>"), &arena, &c), WG_S3_OK);
    ck_assert_int_eq(c.n, 2);
    ck_assert_int_eq(c.part[0].number, 1);
    ck_assert(wg_str_eq(c.part[0].etag, WG_STR("abc")));
    ck_assert_int_eq(c.part[1].number, 10000);
    ck_assert(wg_str_eq(c.part[1].etag, WG_STR("def")));
    ck_assert_int_eq(c.part[1].alg, S3_SUM_CRC32);
    ck_assert_int_eq(wg_s3_xml_read_complete(WG_STR("<CompleteMultipartUpload/>"), &arena, &c), WG_S3_MalformedXML);
    ck_assert_int_eq(wg_s3_xml_read_complete(
        WG_STR("<CompleteMultipartUpload><Part><PartNumber>10001</PartNumber><ETag>a</ETag></Part>"
               "</CompleteMultipartUpload>"), &arena, &c), WG_S3_InvalidArgument);
}
END_TEST

START_TEST(small_bodies_are_read)
{
    struct wg_str location;
    struct wg_s3_tagging t;

    ck_assert_int_eq(wg_s3_xml_read_location(WG_STR(""), &arena, &location), WG_S3_OK);
    ck_assert_int_eq(location.len, 0);
    ck_assert_int_eq(wg_s3_xml_read_location(WG_STR("<CreateBucketConfiguration" NS "><LocationConstraint>eu-west-1"
                                                    "</LocationConstraint></CreateBucketConfiguration>"),
                                             &arena, &location), WG_S3_OK);
    ck_assert(wg_str_eq(location, WG_STR("eu-west-1")));
    ck_assert_int_eq(wg_s3_xml_read_tagging(WG_STR("<Tagging><TagSet><Tag><Key>k</Key><Value></Value></Tag></TagSet></Tagging>"),
                                            &arena, &t), WG_S3_OK);
    ck_assert_int_eq(t.n, 1);
    ck_assert_int_eq(wg_s3_xml_read_tagging(WG_STR("<Tagging><TagSet><Tag><Key>k</Key><Value/></Tag>"
                                                   "<Tag><Key>k</Key><Value/></Tag></TagSet></Tagging>"),
                                            &arena, &t), WG_S3_InvalidTag);
    ck_assert_int_eq(wg_s3_xml_read_tagging(WG_STR("<Tagging><TagSet><Tag><Key>k</Key></Tag></TagSet></Tagging>"),
                                            &arena, &t), WG_S3_MalformedXML);
}
END_TEST

#define ACL(id, permission)                                                                                \
    "<AccessControlPolicy><Owner><ID>" id "</ID></Owner><AccessControlList><Grant><Grantee "               \
    "xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"CanonicalUser\"><ID>" id           \
    "</ID></Grantee><Permission>" permission "</Permission></Grant></AccessControlList></AccessControlPolicy>"

START_TEST(only_the_owners_full_control_is_an_acl)
{
    ck_assert_int_eq(wg_s3_xml_read_acl(WG_STR(ACL("me", "FULL_CONTROL")), WG_STR("me")), WG_S3_OK);
    ck_assert_int_eq(wg_s3_xml_read_acl(WG_STR(ACL("me", "READ")), WG_STR("me")), WG_S3_NotImplemented);
    ck_assert_int_eq(wg_s3_xml_read_acl(WG_STR(ACL("you", "FULL_CONTROL")), WG_STR("me")), WG_S3_NotImplemented);
    ck_assert_int_eq(wg_s3_xml_read_acl(WG_STR("<a/>"), WG_STR("me")), WG_S3_MalformedACLError);
}
END_TEST

/* ---- Metadata ---- */

static struct wg_s3_meta m;

START_TEST(headers_are_kept)
{
    static const struct s3_pair h[] = {
        { WG_STR("host"), WG_STR("h") },
        { WG_STR("content-type"), WG_STR("text/plain") },
        { WG_STR("content-encoding"), WG_STR("gzip, AWS-chunked") },
        { WG_STR("x-amz-meta-a"), WG_STR("1") },
        { WG_STR("x-amz-meta-b"), WG_STR("") },
        { WG_STR("x-amz-tagging"), WG_STR("k=v+w&x=%2B") },
    };
    struct wg_s3_meta_cursor c;
    struct wg_str v, n;

    wg_s3_meta_start(&m);
    ck_assert_int_eq(wg_s3_meta_end(&m).len, 0);
    ck_assert_int_eq(wg_s3_meta_put_headers(&m, h, 6), WG_S3_OK);
    ck_assert(wg_s3_meta_get(wg_s3_meta_end(&m), S3_META_CONTENT_TYPE, &v) && wg_str_eq(v, WG_STR("text/plain")));
    ck_assert(wg_s3_meta_get(wg_s3_meta_end(&m), S3_META_CONTENT_ENCODING, &v) && wg_str_eq(v, WG_STR("gzip")));
    c = wg_s3_meta_cursor(wg_s3_meta_end(&m));
    ck_assert(wg_s3_meta_next_pair(&c, S3_META_USER, &n, &v) && wg_str_eq(n, WG_STR("a")) && wg_str_eq(v, WG_STR("1")));
    ck_assert(wg_s3_meta_next_pair(&c, S3_META_USER, &n, &v) && wg_str_eq(n, WG_STR("b")) && v.len == 0);
    ck_assert(!wg_s3_meta_next_pair(&c, S3_META_USER, &n, &v));
    c = wg_s3_meta_cursor(wg_s3_meta_end(&m));
    ck_assert(wg_s3_meta_next_pair(&c, S3_META_TAG, &n, &v) && wg_str_eq(v, WG_STR("v w")));
    ck_assert(wg_s3_meta_next_pair(&c, S3_META_TAG, &n, &v) && wg_str_eq(v, WG_STR("+")));
}
END_TEST

START_TEST(aws_chunked_alone_leaves_no_encoding)
{
    struct s3_pair h = { WG_STR("content-encoding"), WG_STR("aws-chunked") };

    wg_s3_meta_start(&m);
    ck_assert_int_eq(wg_s3_meta_put_headers(&m, &h, 1), WG_S3_OK);
    ck_assert_int_eq(wg_s3_meta_end(&m).len, 0);
}
END_TEST

START_TEST(limits_of_metadata)
{
    char big[5000];
    struct s3_pair h = { WG_STR("x-amz-meta-a"), { big, 2047 } };
    struct s3_pair t = { WG_STR("x-amz-tagging"), WG_STR("a=1&b=2&c=3&d=4&e=5&f=6&g=7&h=8&i=9&j=10&k=11") };

    memset(big, 'v', sizeof big);
    wg_s3_meta_start(&m);
    ck_assert_int_eq(wg_s3_meta_put_headers(&m, &h, 1), WG_S3_OK);
    h.value.len = 2048;
    ck_assert_int_eq(wg_s3_meta_put_headers(&m, &h, 1), WG_S3_MetadataTooLarge);
    wg_s3_meta_start(&m);
    ck_assert_int_eq(wg_s3_meta_put_headers(&m, &t, 1), WG_S3_BadRequest);
    t.value = WG_STR("a=1&a=2");
    wg_s3_meta_start(&m);
    ck_assert_int_eq(wg_s3_meta_put_headers(&m, &t, 1), WG_S3_InvalidTag);
    t.value = WG_STR("a=%2");
    wg_s3_meta_start(&m);
    ck_assert_int_eq(wg_s3_meta_put_headers(&m, &t, 1), WG_S3_InvalidArgument);
    wg_s3_meta_start(&m);
    for (unsigned i = 0; i < 20; i++)
        wg_s3_meta_put(&m, S3_META_CONTENT_TYPE, (struct wg_str){ big, 1000 });
    ck_assert(m.overflow);
    ck_assert_int_le(wg_s3_meta_end(&m).len, WG_META_MAX);
}
END_TEST

START_TEST(sums_and_parts_are_kept)
{
    uint64_t size[1000], offset, n;
    struct wg_s3_meta_sum s;
    char buf[WG_S3_SUM_SHOWN];

    wg_s3_meta_start(&m);
    wg_s3_meta_put_sum(&m, S3_SUM_CRC32, S3_SUM_COMPOSITE, 3, (const uint8_t *)"\x0d\x4a\x11\x85");
    for (unsigned i = 0; i < 1000; i++)
        size[i] = i < 990 ? 8 << 20 : i;
    wg_s3_meta_put_parts(&m, size, 1000);
    ck_assert(wg_s3_meta_get_sum(wg_s3_meta_end(&m), &s));
    ck_assert_str_eq(wg_s3_meta_show_sum(&s, buf), "DUoRhQ==-3");
    ck_assert(wg_s3_meta_part(wg_s3_meta_end(&m), 1, &offset, &n) && offset == 0 && n == 8 << 20);
    ck_assert(wg_s3_meta_part(wg_s3_meta_end(&m), 992, &offset, &n));
    ck_assert_uint_eq(offset, 990ull * (8 << 20) + 990);
    ck_assert_uint_eq(n, 991);
    ck_assert(!wg_s3_meta_part(wg_s3_meta_end(&m), 1001, &offset, &n));
    ck_assert(!wg_s3_meta_part(wg_s3_meta_end(&m), 0, &offset, &n));
}
END_TEST

START_TEST(what_is_kept_of_parts_is_bounded)
{
    static uint8_t sum[2000][S3_SUM_BYTES];
    uint64_t size[2000], offset, n;
    enum wg_s3_sum alg;

    for (unsigned i = 0; i < 2000; i++) {
        size[i] = i;
        memset(sum[i], (int)i, sizeof *sum);
    }
    wg_s3_meta_start(&m);
    wg_s3_meta_put_parts(&m, size, 100);
    wg_s3_meta_put_part_sums(&m, S3_SUM_CRC32, (const uint8_t (*)[S3_SUM_BYTES])sum, 600);
    ck_assert_uint_eq(wg_s3_meta_part_sum(wg_s3_meta_end(&m), 1, 600, &alg)[0], 0);
    ck_assert_uint_eq(wg_s3_meta_part_sum(wg_s3_meta_end(&m), 600, 600, &alg)[3], 599 % 256);
    ck_assert_int_eq(alg, S3_SUM_CRC32);
    ck_assert_ptr_null(wg_s3_meta_part_sum(wg_s3_meta_end(&m), 601, 600, &alg));
    ck_assert_ptr_null(wg_s3_meta_part_sum(wg_s3_meta_end(&m), 0, 600, &alg));
    ck_assert_ptr_null(wg_s3_meta_part_sum(wg_s3_meta_end(&m), 1, 599, &alg));
    wg_s3_meta_start(&m);
    wg_s3_meta_put_part_sums(&m, S3_SUM_CRC32, (const uint8_t (*)[S3_SUM_BYTES])sum, 1000); /* too many */
    ck_assert_ptr_null(wg_s3_meta_part_sum(wg_s3_meta_end(&m), 1, 1000, &alg));
    wg_s3_meta_put_parts(&m, size, 2000); /* as many as fit */
    ck_assert(wg_s3_meta_part(wg_s3_meta_end(&m), 300, &offset, &n) && n == 299);
    ck_assert(!wg_s3_meta_part(wg_s3_meta_end(&m), 400, &offset, &n));
    ck_assert_int_le(m.len, WG_S3_META_SURE);
    ck_assert(!m.overflow);
}
END_TEST

START_TEST(unknown_fields_are_carried_and_cut_ones_end)
{
    static struct wg_s3_meta to;
    struct wg_str packed, v;

    wg_s3_meta_start(&m);
    wg_s3_meta_put(&m, (enum wg_s3_tag)200, WG_STR("future"));
    wg_s3_meta_put_pair(&m, S3_META_TAG, WG_STR("k"), WG_STR("v"));
    wg_s3_meta_put(&m, S3_META_EXPIRES, WG_STR("never"));
    packed = wg_s3_meta_end(&m);
    wg_s3_meta_start(&to);
    wg_s3_meta_copy_without(&to, packed, S3_META_TAG);
    ck_assert_int_eq(wg_s3_meta_count(wg_s3_meta_end(&to), S3_META_TAG), 0);
    ck_assert(wg_s3_meta_get(wg_s3_meta_end(&to), (enum wg_s3_tag)200, &v) && wg_str_eq(v, WG_STR("future")));
    for (uint32_t n = 0; n < packed.len; n++) {
        char *cut = malloc(n);

        memcpy(cut, packed.s, n);
        ck_assert(!wg_s3_meta_get((struct wg_str){ cut, n }, S3_META_EXPIRES, &v));
        free(cut);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("s3_xml");
    TCase *tc = tcase_create("xml");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, written_text_is_escaped);
    tcase_add_test(tc, long_text_is_whole);
    tcase_add_test(tc, errors_have_their_parts);
    tcase_add_test(tc, delete_is_read);
    tcase_add_test(tc, delete_takes_a_thousand);
    tcase_add_loop_test(tc, malformed_bodies_are_refused, 0, sizeof malformed / sizeof *malformed);
    tcase_add_loop_test(tc, many_attributes_are_refused_at_once, 0, 2);
    tcase_add_test(tc, keys_in_character_references_are_read);
    tcase_add_test(tc, complete_is_read);
    tcase_add_test(tc, small_bodies_are_read);
    tcase_add_test(tc, only_the_owners_full_control_is_an_acl);
    tcase_add_test(tc, headers_are_kept);
    tcase_add_test(tc, aws_chunked_alone_leaves_no_encoding);
    tcase_add_test(tc, limits_of_metadata);
    tcase_add_test(tc, sums_and_parts_are_kept);
    tcase_add_test(tc, what_is_kept_of_parts_is_bounded);
    tcase_add_test(tc, unknown_fields_are_carried_and_cut_ones_end);
    suite_add_tcase(s, tc);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
