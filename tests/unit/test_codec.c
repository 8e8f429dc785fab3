/* SPDX-License-Identifier: Apache-2.0 */
/* The codec made from fops.def: every record round-trips, and old and new peers understand each other. */
#include <check.h>
#include <stdlib.h>

#include "fop.h"
#include "iobuf.h"
#include "list.h"

static uint8_t body[65536];
static struct wg_arena arena;

static size_t encode(unsigned op, bool out, const void *rec, struct wg_enc *e)
{
    memset(e, 0, sizeof *e);
    e->at = body;
    e->end = body + sizeof body;
    wg_put_record(e, op, out, rec);
    ck_assert(!e->overflow);
    return (size_t)(e->at - body);
}

static int decode(unsigned op, bool out, size_t len, struct wg_iobuf *payload, uint32_t plen, void **ret)
{
    struct wg_dec d = { .at = body, .end = body + len, .arena = &arena, .payload = payload };

    if (payload) {
        d.pat = payload->base;
        d.pend = d.pat + plen;
    }
    return wg_get_record(&d, op, out, ret);
}

static void setup(void)
{
    wg_arena_init(&arena, NULL, 0);
}

static void teardown(void)
{
    wg_arena_fini(&arena);
}

START_TEST(an_empty_record_of_every_fop_round_trips)
{
    for (unsigned op = 0; op < WG_OP_MAX; op++) {
        if (!wg_fops[op].kind)
            continue;
        for (int out = 0; out <= 1; out++) {
            void *rec = wg_alloc(&arena, out ? wg_fops[op].out_size : wg_fops[op].in_size), *back;
            struct wg_enc e, again;
            uint8_t copy[4096];
            size_t len = encode(op, out, rec, &e);

            memcpy(copy, body, len);
            ck_assert_int_eq(decode(op, out, len, NULL, 0, &back), 0);
            ck_assert_int_eq((int)encode(op, out, back, &again), (int)len);
            ck_assert_mem_eq(copy, body, len);
        }
    }
}
END_TEST

START_TEST(values_arrive_as_they_were_sent)
{
    uint32_t text[] = { 1, 2, 3 };
    struct wg_iobuf *buf = wg_iobuf_get(4096);
    struct wg_seg seg = { buf, buf->base, 12 };
    struct wg_write_in in = { .at = { .gfid = WG_ROOT_GFID, .hint_len = 3, .hint = "abc" },
                              .offset = 0xfedcba9876543210u, .stable = WG_FILE_SYNC, .data = { &seg, 1, 12 } };
    struct wg_write_in *back;
    struct wg_enc e;
    size_t len = encode(WG_OP_write, false, &in, &e);

    memcpy(buf->base, text, sizeof text);
    ck_assert_int_eq((int)e.payload, 12);
    ck_assert_int_eq(decode(WG_OP_write, false, len, buf, 12, (void **)&back), 0);
    ck_assert(wg_gfid_eq(back->at.gfid, WG_ROOT_GFID));
    ck_assert_mem_eq(back->at.hint, "abc", 3);
    ck_assert(back->offset == in.offset);
    ck_assert_int_eq((int)back->data.len, 12);
    ck_assert_mem_eq(back->data.seg[0].base, text, 12);
    wg_iobuf_unref(buf);
}
END_TEST

START_TEST(a_payload_shorter_than_it_claims_is_refused)
{
    struct wg_iobuf *buf = wg_iobuf_get(4096);
    struct wg_seg seg = { buf, buf->base, 100 };
    struct wg_write_in in = { .data = { &seg, 1, 100 } };
    void *back;
    struct wg_enc e;
    size_t len = encode(WG_OP_write, false, &in, &e);

    ck_assert_int_eq(decode(WG_OP_write, false, len, buf, 99, &back), EPROTO);
    wg_iobuf_unref(buf);
}
END_TEST

START_TEST(fields_an_older_peer_did_not_send_read_as_zero)
{
    struct wg_mknod_in in = { .type = WG_FIFO, .major = 7, .minor = 9 }, *back;
    struct wg_enc e;
    size_t len = encode(WG_OP_mknod, false, &in, &e);
    uint32_t n;

    /* The peer knows all but the last two fields, minor (u32) and attrs (1 + 60 bytes). */
    n = (uint32_t)(len - 4 - 4 - 61);
    memcpy(body, &n, 4);
    ck_assert_int_eq(decode(WG_OP_mknod, false, 4 + n, NULL, 0, (void **)&back), 0);
    ck_assert_int_eq((int)back->type, WG_FIFO);
    ck_assert_int_eq((int)back->major, 7);
    ck_assert_int_eq((int)back->minor, 0);
}
END_TEST

START_TEST(a_tail_from_a_newer_peer_is_skipped)
{
    struct wg_getattr_in in = { .at.gfid = WG_ROOT_GFID }, *back;
    struct wg_enc e;
    size_t len = encode(WG_OP_getattr, false, &in, &e);
    uint32_t n = (uint32_t)len - 4 + 10;

    memset(body + len, 0xee, 10);
    memcpy(body, &n, 4);
    ck_assert_int_eq(decode(WG_OP_getattr, false, len + 10, NULL, 0, (void **)&back), 0);
    ck_assert(wg_gfid_eq(back->at.gfid, WG_ROOT_GFID));
}
END_TEST

START_TEST(every_truncation_is_refused_or_read_as_zero_never_past_the_end)
{
    struct wg_rename_in in = { .from.name = WG_STR("old"), .to.name = WG_STR("new"), .flags = 1 };
    struct wg_enc e;
    size_t len = encode(WG_OP_rename, false, &in, &e);

    for (size_t cut = 0; cut < len; cut++) {
        uint8_t *exact = malloc(cut + 1);
        struct wg_dec d = { .arena = &arena };
        void *back;
        uint32_t n = cut >= 4 ? (uint32_t)cut - 4 : 0;

        memcpy(exact, body, cut);
        if (cut >= 4)
            memcpy(exact, &n, 4);
        d.at = exact;
        d.end = exact + cut;
        (void)wg_get_record(&d, WG_OP_rename, false, &back);
        free(exact);
    }
}
END_TEST

START_TEST(lists_round_trip_and_stop_at_their_bound)
{
    struct wg_appender a;
    struct wg_dirent e = { .name = WG_STR("some name"), .attr = { .valid = true, .type = WG_REG, .size = 1ull << 40 } }, back;
    struct wg_objent o = { .key = WG_STR("a/b"), .size = 5, .etag = { .valid = true, .parts = 3 }, .meta = WG_STR("m") }, ob;
    struct wg_list l;
    struct wg_cursor c;
    unsigned n = 0;

    ck_assert_int_eq(wg_append_start(&a, 4096), 0);
    for (e.cookie = 3; wg_append_dirent(&a, &e); e.cookie++)
        n++;
    l = wg_append_end(&a);
    ck_assert_int_eq((int)l.count, (int)n);
    ck_assert_int_le((int)l.len, 4096);
    c = wg_cursor(&l);
    for (unsigned i = 0; i < n; i++) {
        ck_assert(wg_next_dirent(&c, &back));
        ck_assert(back.cookie == i + 3 && back.attr.size == 1ull << 40 && wg_str_eq(back.name, e.name));
    }
    ck_assert(!wg_next_dirent(&c, &back));
    wg_iobuf_unref(l.buf);
    ck_assert_int_eq(wg_append_start(&a, 4096), 0);
    ck_assert(wg_append_objent(&a, &o));
    l = wg_append_end(&a);
    c = wg_cursor(&l);
    ck_assert(wg_next_objent(&c, &ob));
    ck_assert(wg_str_eq(ob.key, o.key) && ob.etag.parts == 3 && wg_str_eq(ob.meta, o.meta));
    wg_iobuf_unref(l.buf);
}
END_TEST

START_TEST(etags_read_back_as_shown)
{
    static const char *const texts[] = { "0123456789abcdef0123456789abcdef", "0123456789abcdef0123456789abcdef-7",
                                         "0123456789abcdef0123456789abcdef-0" };
    struct wg_etag e;
    char buf[WG_ETAG_TEXT];

    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(wg_etag_parse(wg_str_of(texts[i]), &e), 0);
        ck_assert_str_eq(wg_etag_show(&e, buf), texts[i]);
        ck_assert_int_eq(e.synthetic, i == 2);
    }
    ck_assert_int_eq(wg_etag_parse(WG_STR("xyz"), &e), EINVAL);
    ck_assert_int_eq(wg_etag_parse(WG_STR("0123456789abcdef0123456789abcdef-"), &e), EINVAL);
}
END_TEST

START_TEST(records_are_shown_for_people)
{
    struct wg_mkdir_in in = { .at = { .parent.gfid = WG_ROOT_GFID, .name = WG_STR("a\n") },
                              .attrs = { .valid = WG_SET_MODE, .mode = 0755 } };
    char text[512];

    wg_show_record(WG_OP_mkdir, false, &in, text, sizeof text);
    ck_assert_str_eq(text, "at=00000000-0000-0000-0000-000000000001/\"a\\x0a\" "
                           "gfid=00000000-0000-0000-0000-000000000000 attrs={ mode=0755 }");
    wg_show_record(WG_OP_mkdir, false, &in, text, 20);
    ck_assert_int_lt((int)strlen(text), 20);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("codec");
    TCase *t = tcase_create("codec");
    SRunner *r;
    int failed;

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, an_empty_record_of_every_fop_round_trips);
    tcase_add_test(t, values_arrive_as_they_were_sent);
    tcase_add_test(t, a_payload_shorter_than_it_claims_is_refused);
    tcase_add_test(t, fields_an_older_peer_did_not_send_read_as_zero);
    tcase_add_test(t, a_tail_from_a_newer_peer_is_skipped);
    tcase_add_test(t, every_truncation_is_refused_or_read_as_zero_never_past_the_end);
    tcase_add_test(t, lists_round_trip_and_stop_at_their_bound);
    tcase_add_test(t, etags_read_back_as_shown);
    tcase_add_test(t, records_are_shown_for_people);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_set_fork_status(r, CK_NOFORK);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
