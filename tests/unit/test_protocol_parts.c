/* SPDX-License-Identifier: Apache-2.0 */
/* What protocol/client and protocol/server are made of, each alone: table of calls, reply cache, wire format. */
#include <check.h>
#include <pthread.h>
#include <stdlib.h>

#include "xlators/protocol/client/inflight.h"
#include "xlators/protocol/server/replycache.h"

/* --- the table of calls in flight --- */

#define NFRAMES 64
static struct wg_frame frames[NFRAMES];
static struct wg_waiter locals[NFRAMES];

static void make_frames(void)
{
    memset(frames, 0, sizeof frames);
    memset(locals, 0, sizeof locals);
    for (int i = 0; i < NFRAMES; i++)
        frames[i].local = &locals[i];
}

static uint64_t begin(struct wg_inflight *t, int i, uint64_t deadline)
{
    uint64_t id;

    ck_assert_int_eq(wg_inflight_begin(t, &frames[i], deadline, &id), 0);
    return id;
}

static struct wg_frame *claim(struct wg_inflight *t, uint64_t id)
{
    uint64_t lane;
    uint32_t cost;

    return wg_inflight_claim(wg_inflight_find(t, id), id, &lane, &cost);
}

START_TEST(an_id_is_claimed_once)
{
    struct wg_inflight t;
    uint64_t id, next;

    make_frames();
    ck_assert_int_eq(wg_inflight_init(&t, 4), 0);
    id = begin(&t, 0, 1);
    ck_assert_ptr_eq(claim(&t, id), &frames[0]);
    ck_assert_ptr_null(claim(&t, id));
    ck_assert_int_eq(wg_inflight_release(&t, wg_inflight_find(&t, id)), 0);
    next = begin(&t, 1, 1);
    ck_assert_uint_eq(wg_id_slot(next), wg_id_slot(id));
    ck_assert(next > id);
    ck_assert_ptr_null(claim(&t, id));
    ck_assert_ptr_null(claim(&t, 0));
    ck_assert_ptr_null(wg_inflight_find(&t, 4));
    wg_inflight_fini(&t);
}
END_TEST

START_TEST(without_a_slot_calls_wait_in_order)
{
    struct wg_inflight t;
    uint64_t a, b;

    make_frames();
    ck_assert_int_eq(wg_inflight_init(&t, 1), 0);
    a = begin(&t, 0, 1);
    ck_assert_uint_eq(begin(&t, 1, 1), 0);
    ck_assert_uint_eq(begin(&t, 2, 1), 0);
    claim(&t, a);
    b = wg_inflight_release(&t, wg_inflight_find(&t, a));
    ck_assert_ptr_eq(wg_inflight_find(&t, b)->frame, &frames[1]);
    claim(&t, b);
    a = wg_inflight_release(&t, wg_inflight_find(&t, b));
    ck_assert_ptr_eq(claim(&t, a), &frames[2]);
    ck_assert_uint_eq(wg_inflight_release(&t, wg_inflight_find(&t, a)), 0);
    wg_inflight_fini(&t);
}
END_TEST

START_TEST(waiting_calls_end_at_their_deadline_or_at_the_end)
{
    struct wg_inflight t;
    struct wg_frame *f;
    uint64_t id;

    make_frames();
    ck_assert_int_eq(wg_inflight_init(&t, 1), 0);
    id = begin(&t, 0, 10);
    begin(&t, 1, 20);
    begin(&t, 2, 30);
    begin(&t, 3, 20);
    f = wg_inflight_drop_waiting(&t, 20, false);
    ck_assert_ptr_eq(f, &frames[3]);
    ck_assert_ptr_eq(locals[3].next, &frames[1]);
    ck_assert_ptr_null(locals[1].next);
    begin(&t, 4, 40);
    wg_inflight_close(&t);
    ck_assert_int_eq(wg_inflight_begin(&t, &frames[5], 1, &id), ECANCELED);
    f = wg_inflight_drop_waiting(&t, 0, true);
    ck_assert_ptr_eq(f, &frames[4]);
    ck_assert_ptr_eq(locals[4].next, &frames[2]);
    ck_assert_uint_eq(atomic_load(&t.waiting), 0);
    wg_inflight_fini(&t);
}
END_TEST

static struct wg_inflight shared;
static atomic_uint ended;

static void end_call(uint64_t id)
{
    while (id) {
        struct wg_slot *s = wg_inflight_find(&shared, id);

        ck_assert_ptr_nonnull(claim(&shared, id));
        atomic_fetch_add(&ended, 1);
        id = wg_inflight_release(&shared, s);
    }
}

static void *hammer(void *arg)
{
    struct wg_frame *mine = calloc(2000, sizeof *mine);
    struct wg_waiter *local = calloc(2000, sizeof *local);
    void **keep = arg;

    for (int i = 0; i < 2000; i++) {
        uint64_t id;

        mine[i].local = &local[i];
        ck_assert_int_eq(wg_inflight_begin(&shared, &mine[i], 1, &id), 0);
        end_call(id);
    }
    keep[0] = mine;
    keep[1] = local;
    return NULL;
}

START_TEST(no_call_is_lost_when_threads_share_few_slots)
{
    pthread_t th[4];
    void *keep[4][2];

    ck_assert_int_eq(wg_inflight_init(&shared, 3), 0);
    for (int i = 0; i < 4; i++)
        pthread_create(&th[i], NULL, hammer, keep[i]);
    for (int i = 0; i < 4; i++)
        pthread_join(th[i], NULL);
    ck_assert_uint_eq(atomic_load(&ended), 8000);
    ck_assert_uint_eq(atomic_load(&shared.used), 0);
    wg_inflight_fini(&shared);
    for (int i = 0; i < 4; i++)
        free(keep[i][0]), free(keep[i][1]);
}
END_TEST

/* --- the reply cache --- */

static enum wg_verdict come(struct wg_replycache *c, uint64_t id, uint64_t epoch, void *lane,
                            struct wg_found *found)
{
    struct wg_request r = { .epoch = epoch, .expires_ns = 1000 };

    return wg_replycache_begin(c, &r, id, 500, lane, found);
}

#define ID(seq, slot) ((uint64_t)(seq) << 16 | (slot))

START_TEST(a_replay_waits_for_the_first_execution_then_finds_its_answer)
{
    struct wg_replycache c;
    struct wg_found found;
    int a, b;

    ck_assert_int_eq(wg_replycache_init(&c, 4), 0);
    ck_assert_int_eq(come(&c, ID(1, 2), 0, &a, &found), WG_RUN);
    ck_assert_int_eq(come(&c, ID(1, 2), 0, &b, &found), WG_WAIT);
    ck_assert_ptr_eq(found.lane, &a);
    ck_assert_ptr_eq(wg_replycache_end(&c, ID(1, 2), "answer", 6), &b);
    ck_assert_int_eq(come(&c, ID(1, 2), 0, &a, &found), WG_ANSWERED);
    ck_assert_int_eq(found.len, 6);
    ck_assert_int_eq(memcmp(found.reply, "answer", 6), 0);
    ck_assert_int_eq(come(&c, ID(2, 2), 0, &a, &found), WG_RUN);
    ck_assert_int_eq(come(&c, ID(1, 2), 0, &a, &found), WG_IS_OLD);
    wg_replycache_fini(&c);
}
END_TEST

START_TEST(a_slot_in_use_or_out_of_range_is_a_broken_client)
{
    struct wg_replycache c;
    struct wg_found found;
    int a;

    ck_assert_int_eq(wg_replycache_init(&c, 4), 0);
    ck_assert_int_eq(come(&c, ID(1, 4), 0, &a, &found), WG_BROKEN);
    ck_assert_int_eq(come(&c, ID(1, 0), 0, &a, &found), WG_RUN);
    ck_assert_int_eq(come(&c, ID(2, 0), 0, &a, &found), WG_BROKEN);
    wg_replycache_fini(&c);
}
END_TEST

START_TEST(what_is_late_or_of_an_old_epoch_does_not_run)
{
    struct wg_replycache c;
    struct wg_found found;
    struct wg_request late = { .expires_ns = 10 };
    int a;

    ck_assert_int_eq(wg_replycache_init(&c, 4), 0);
    ck_assert_int_eq(wg_replycache_begin(&c, &late, ID(1, 0), 11, &a, &found), WG_IS_LATE);
    ck_assert_int_eq(come(&c, ID(2, 1), 0, &a, &found), WG_RUN);
    wg_replycache_raise(&c, 3);
    ck_assert_uint_eq(wg_replycache_running(&c, 3), 1);
    ck_assert_int_eq(come(&c, ID(3, 2), 2, &a, &found), WG_IS_STALE);
    ck_assert_int_eq(come(&c, ID(3, 2), 3, &a, &found), WG_RUN);
    wg_replycache_end(&c, ID(2, 1), "", 0);
    ck_assert_uint_eq(wg_replycache_running(&c, 3), 0);
    ck_assert_uint_eq(wg_replycache_running(&c, 4), 1);
    /* A request of a higher epoch raises it as well. */
    ck_assert_int_eq(come(&c, ID(4, 3), 5, &a, &found), WG_RUN);
    ck_assert_int_eq(come(&c, ID(5, 1), 4, &a, &found), WG_IS_STALE);
    wg_replycache_fini(&c);
}
END_TEST

START_TEST(every_modifying_fops_results_fit_an_entry)
{
    for (unsigned op = 0; op < WG_OP_MAX; op++) {
        uint8_t body[WG_REPLY_KEPT], rec[4096];
        struct wg_enc e = { .at = body, .end = body + sizeof body };

        if (wg_fops[op].kind != 'W')
            continue;
        /* Everything valid, so that nothing is left out; types of unbounded size must not be there. */
        ck_assert_ptr_null(strstr(wg_fops[op].out_sig, "str "));
        ck_assert_ptr_null(strstr(wg_fops[op].out_sig, "data "));
        ck_assert_ptr_null(strstr(wg_fops[op].out_sig, "list "));
        memset(rec, 1, sizeof rec);
        wg_put_reply(&e, &(struct wg_reply){ .op = (uint16_t)op });
        wg_put_record(&e, op, true, rec);
        ck_assert_msg(!e.overflow, "%s", wg_fops[op].name);
    }
}
END_TEST

/* --- the wire format --- */

START_TEST(a_request_survives_the_wire)
{
    uint32_t groups[3] = { 1, 2, 3 };
    struct wg_request r = { .op = 7, .flags = 1, .frontend = 2, .epoch = 3, .expires_ns = 4,
                            .request_id = { 5, 6 }, .client = WG_STR("10.0.0.1"),
                            .cred = { 7, 8, 3, groups, WG_STR("who") } };
    struct wg_request back;
    struct wg_arena arena;
    uint8_t body[1024], memory[1024];
    struct wg_enc e = { .at = body, .end = body + sizeof body };
    struct wg_dec d = { .at = body, .arena = &arena };

    wg_arena_init(&arena, memory, sizeof memory);
    wg_put_request(&e, &r);
    ck_assert(!e.overflow);
    d.end = e.at;
    ck_assert_int_eq(wg_get_request(&d, &back), 0);
    ck_assert_ptr_eq(d.at, e.at);
    ck_assert(back.op == 7 && back.flags == 1 && back.frontend == 2 && back.epoch == 3);
    ck_assert(back.expires_ns == 4 && back.request_id[0] == 5 && back.request_id[1] == 6);
    ck_assert(back.cred.uid == 7 && back.cred.gid == 8 && back.cred.ngroups == 3);
    ck_assert_uint_eq(back.cred.groups[2], 3);
    ck_assert(wg_str_eq(back.cred.principal, WG_STR("who")));
    ck_assert(wg_str_eq(back.client, WG_STR("10.0.0.1")));
    for (const uint8_t *cut = body; cut < e.at; cut++) {
        d = (struct wg_dec){ .at = body, .end = cut, .arena = &arena };
        ck_assert_int_eq(wg_get_request(&d, &back), EPROTO);
    }
    wg_arena_fini(&arena);
}
END_TEST

START_TEST(fop_tables_of_mixed_releases)
{
    uint8_t body[32768];
    struct wg_enc e = { .at = body, .end = body + sizeof body };
    struct wg_dec d;
    bool known[WG_OP_MAX];
    char text[160];
    uint8_t *at;

    wg_put_fops(&e);
    ck_assert(!e.overflow);
    d = (struct wg_dec){ .at = body, .end = e.at };
    ck_assert_int_eq(wg_get_fops(&d, known, text, sizeof text), 0);
    for (unsigned op = 0; op < WG_OP_MAX; op++)
        ck_assert(known[op] == (wg_fops[op].kind != 0));
    /* The first fop's first argument gets another name. */
    at = memmem(body, sizeof body, "loc at;", 7);
    at[5] = 'x';
    d = (struct wg_dec){ .at = body, .end = e.at };
    ck_assert_int_eq(wg_get_fops(&d, known, text, sizeof text), EPROTO);
    ck_assert_str_eq(text, "fop lookup (1) has other arguments here than at the peer");
    /* Then it is a fop that this release does not have. */
    at[5] = 't';
    body[4] = 0xff;
    d = (struct wg_dec){ .at = body, .end = e.at };
    ck_assert_int_eq(wg_get_fops(&d, known, text, sizeof text), 0);
    ck_assert(!known[WG_OP_lookup] && known[WG_OP_getattr]);
    for (const uint8_t *cut = body; cut < e.at; cut += 7) {
        d = (struct wg_dec){ .at = body, .end = cut };
        ck_assert_int_eq(wg_get_fops(&d, known, text, sizeof text), EPROTO);
    }
}
END_TEST

START_TEST(random_bytes_are_refused_or_read_but_never_beyond_their_end)
{
    struct wg_arena arena;
    unsigned seed = 1;

    for (int i = 0; i < 20000; i++) {
        size_t len = (unsigned)rand_r(&seed) % 200;
        uint8_t *p = malloc(len + 1);
        struct wg_hello h;
        struct wg_welcome w;
        struct wg_refuse x;
        struct wg_request r;
        bool known[WG_OP_MAX];
        char text[160];
        struct wg_dec d;

        wg_arena_init(&arena, NULL, 0);
        p = realloc(p, len ? len : 1);
        for (size_t k = 0; k < len; k++)
            p[k] = (uint8_t)(rand_r(&seed) % (k < 4 ? 3 : 256));
#define TRY(call) (d = (struct wg_dec){ .at = p, .end = p + len, .arena = &arena }, (void)(call))
        TRY(wg_get_hello(&d, &h));
        TRY(wg_get_welcome(&d, &w));
        TRY(wg_get_refuse(&d, &x));
        TRY(wg_get_request(&d, &r));
        TRY(wg_get_fops(&d, known, text, sizeof text));
        wg_arena_fini(&arena);
        free(p);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("protocol parts");
    TCase *tc = tcase_create("all");
    SRunner *r;
    int failed;

    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, an_id_is_claimed_once);
    tcase_add_test(tc, without_a_slot_calls_wait_in_order);
    tcase_add_test(tc, waiting_calls_end_at_their_deadline_or_at_the_end);
    tcase_add_test(tc, no_call_is_lost_when_threads_share_few_slots);
    tcase_add_test(tc, a_replay_waits_for_the_first_execution_then_finds_its_answer);
    tcase_add_test(tc, a_slot_in_use_or_out_of_range_is_a_broken_client);
    tcase_add_test(tc, what_is_late_or_of_an_old_epoch_does_not_run);
    tcase_add_test(tc, every_modifying_fops_results_fit_an_entry);
    tcase_add_test(tc, a_request_survives_the_wire);
    tcase_add_test(tc, fop_tables_of_mixed_releases);
    tcase_add_test(tc, random_bytes_are_refused_or_read_but_never_beyond_their_end);
    suite_add_tcase(s, tc);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
