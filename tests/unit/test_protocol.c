/* SPDX-License-Identifier: Apache-2.0 */
/*
 * protocol/client and protocol/server: results, exactly once under cuts and restarts, deadlines, epochs, shutdown.
 */
#include "protocol_store.h"
#include "xlators/protocol/server/server.h"

/* --- results --- */

START_TEST(results_errors_and_credentials_pass)
{
    struct wg_graph *brick = start_brick("", ""), *gw = start_gateway("");
    static const uint32_t groups[] = { 10, 20 };
    struct wg_lookup_in look = { .at = { { WG_ROOT_GFID }, WG_STR("absent") } };
    struct op o;

    op_init(&o, gw, 0);
    o.call->cred = (struct wg_cred){ 1000, 100, 2, groups, WG_STR("me") };
    o.call->client = WG_STR("192.0.2.1");
    wg_start(o.call, gw->top, WG_OP_lookup, &look, op_finish);
    ck_assert(op_wait(&o, 10000));
    ck_assert_int_eq(o.err, ENOENT);
    ck_assert_uint_eq(wg_result(o.call, lookup)->parent.mode, 0755);
    ck_assert(disk.cred.uid == 1000 && disk.cred.gid == 100 && disk.cred.ngroups == 2);
    ck_assert_uint_eq(disk.group1, 20);
    ck_assert_str_eq(disk.client, "192.0.2.1");
    op_end(&o);

    look.at.name = WG_STR("other");
    op_init(&o, gw, 0);
    wg_start(o.call, gw->top, WG_OP_lookup, &look, op_finish);
    ck_assert(op_wait(&o, 10000));
    ck_assert_int_eq(o.err, EACCES);
    op_end(&o);

    /* A fop that the store does not treat; a name that no store should see. */
    op_init(&o, gw, 0);
    wg_start(o.call, gw->top, WG_OP_statfs, &(struct wg_statfs_in){ { WG_ROOT_GFID } }, op_finish);
    ck_assert(op_wait(&o, 10000));
    ck_assert_int_eq(o.err, ENOTSUP);
    op_end(&o);
    look.at.name = WG_STR("a/b");
    op_init(&o, gw, 0);
    wg_start(o.call, gw->top, WG_OP_lookup, &look, op_finish);
    ck_assert(op_wait(&o, 10000));
    ck_assert_int_eq(o.err, EINVAL);
    op_end(&o);
    end_graph(gw);
    end_graph(brick);
}
END_TEST

/* One check for all bytes: each notes its line in a file. */
static bool filled(const struct wg_seg *seg, uint8_t fill)
{
    for (uint32_t i = 0; i < seg->len; i++)
        if (((const uint8_t *)seg->base)[i] != fill)
            return false;
    return true;
}

static void check_read(struct wg_graph *gw, uint64_t offset, uint32_t size)
{
    struct wg_read_in in = { .offset = offset, .size = size };
    const struct wg_read_out *out;
    struct op o;

    op_init(&o, gw, 0);
    wg_start(o.call, gw->top, WG_OP_read, &in, op_finish);
    ck_assert(op_wait(&o, 10000));
    ck_assert_int_eq(o.err, 0);
    out = wg_result(o.call, read);
    ck_assert_uint_eq(out->data.len, size);
    for (uint32_t i = 0; i < out->data.nseg; i++)
        ck_assert(filled(&out->data.seg[i], (uint8_t)offset));
    op_end(&o);
}

static void check_write(struct wg_graph *gw, uint8_t fill, uint32_t size)
{
    struct wg_iobuf *buf = wg_iobuf_get(size);
    struct wg_seg seg[2] = { { buf, buf->base, 1 }, { buf, (char *)buf->base + 1, size - 1 } };
    struct wg_write_in in = { .offset = fill, .data = { seg, 2, size } };
    struct op o;

    memset(buf->base, fill, size);
    op_init(&o, gw, 0);
    wg_start(o.call, gw->top, WG_OP_write, &in, op_finish);
    ck_assert(op_wait(&o, 10000));
    ck_assert_int_eq(o.err, 0);
    ck_assert_uint_eq(wg_result(o.call, write)->count, size);
    ck_assert_uint_eq(wg_result(o.call, write)->verf, 7);
    op_end(&o);
    wg_iobuf_unref(buf);
}

START_TEST(payloads_pass_both_ways)
{
    static const char io[] = "volume io\ntype performance/io-threads\nsubvolumes store\nend-volume\n";
    struct wg_graph *brick = start_brick("", io), *gw = start_gateway("");

    for (uint32_t size = 2; size <= WG_IO_MAX; size *= 8) {
        check_read(gw, size + 3, size);
        check_read(gw, size + 4, size);
        check_write(gw, (uint8_t)(size + 5), size);
    }
    check_read(gw, 1, WG_IO_MAX);
    check_write(gw, 2, WG_IO_MAX);
    end_graph(gw);
    end_graph(brick);
}
END_TEST

/* --- once --- */

#define STORM_THREADS 4
#define STORM_OPS 1500
#define STORM_DEPTH 16

static struct wg_graph *storm_gw;
static atomic_uint storm_failed, storm_left;

static void *storm(void *arg)
{
    unsigned first = (unsigned)(uintptr_t)arg * STORM_OPS;
    struct op *ops = calloc(STORM_DEPTH, sizeof *ops);

    for (unsigned i = 0; i < STORM_OPS + STORM_DEPTH; i++) {
        struct op *o = &ops[i % STORM_DEPTH];

        if (i >= STORM_DEPTH) {
            if (!op_wait(o, 60000))
                abort();
            if (o->err || o->times != 1)
                atomic_fetch_add(&storm_failed, 1);
            wg_call_unref(o->call);
        }
        if (i < STORM_OPS)
            start_mkdir(o, storm_gw, first + i, 60000);
        if (i % 64 == 0)
            usleep(3000);
    }
    free(ops);
    atomic_fetch_sub(&storm_left, 1);
    return NULL;
}

static void run_storm(bool restarts)
{
    struct wg_graph *brick = start_brick("", "");
    pthread_t th[STORM_THREADS];
    unsigned seed = 5, cuts = 0, starts = 0;

    storm_gw = start_gateway("option lanes 3\noption outstanding 40\noption reconnect-delay 20ms\n");
    atomic_store(&storm_failed, 0);
    atomic_store(&storm_left, STORM_THREADS);
    for (uintptr_t i = 0; i < STORM_THREADS; i++)
        pthread_create(&th[i], NULL, storm, (void *)i);
    while (atomic_load(&storm_left)) {
        struct wg_client *c = client_of(storm_gw);

        usleep(2000 + (unsigned)rand_r(&seed) % 10000);
        wg_lane_reset(c->lanes[(unsigned)rand_r(&seed) % 3].held, 0, ECONNRESET, "cut by the test");
        if (restarts && ++cuts % 20 == 0) {
            end_graph(brick);
            brick = start_brick("", "");
            starts++;
        }
    }
    for (int i = 0; i < STORM_THREADS; i++)
        pthread_join(th[i], NULL);
    ck_assert_uint_eq(atomic_load(&storm_failed), 0);
    ck_assert_uint_eq(atomic_load(&disk.doubles), 0);
    for (unsigned i = 0; i < STORM_THREADS * STORM_OPS; i++)
        ck_assert_uint_eq(atomic_load(&disk.effects[i]), 1);
    ck_assert(atomic_load(&client_of(storm_gw)->replayed) > 0);
    ck_assert_uint_eq(atomic_load(&client_of(storm_gw)->table.used), 0);
    for (unsigned i = 0; i < 3; i++)
        ck_assert(atomic_load(&client_of(storm_gw)->lanes[i].cost) == 0);
    end_graph(storm_gw);
    end_graph(brick);
    wait_later();
}

START_TEST(lanes_cut_at_random_each_fop_runs_once)
{
    run_storm(false);
}
END_TEST

START_TEST(brick_restarted_at_random_each_fop_runs_once)
{
    run_storm(true);
}
END_TEST

START_TEST(the_client_keeps_the_bound_on_its_calls_by_waiting)
{
    struct wg_graph *brick = start_brick("option outstanding 4\n", ""), *gw;
    struct op ops[64];

    gw = start_gateway("option outstanding 4\n");
    ck_assert_int_eq(one_mkdir(gw, 4000, 0), 0);
    gate(true);
    for (unsigned i = 0; i < 64; i++)
        start_mkdir(&ops[i], gw, i * 4, 0);
    usleep(200000);
    ck_assert_uint_eq(atomic_load(&client_of(gw)->table.waiting), 60);
    gate(false);
    for (unsigned i = 0; i < 64; i++) {
        ck_assert(op_wait(&ops[i], 10000));
        ck_assert_int_eq(ops[i].err, 0);
        op_end(&ops[i]);
    }
    ck_assert_uint_le(atomic_load(&disk.most), 4);
    end_graph(gw);
    end_graph(brick);
    wait_later();
}
END_TEST

/* --- an NFS client sends again, through the gateway that came after its first --- */

static void start_named(struct op *o, struct wg_graph *gw, unsigned n)
{
    struct wg_mkdir_in *in;

    op_init(o, gw, 0);
    o->call->request_id[0] = 77;
    o->call->request_id[1] = n;
    in = wg_alloc(&o->call->arena, sizeof *in);
    in->at = (struct wg_loc){ { WG_ROOT_GFID }, WG_STR("name") };
    in->gfid = gfid_of(n);
    wg_start(o->call, gw->top, WG_OP_mkdir, in, op_finish);
}

static struct wg_server *server_of(struct wg_graph *brick)
{
    return brick->top->priv;
}

/* The brick has not noticed that the first gateway is gone: its connections stand. */
START_TEST(what_another_gateway_had_done_is_answered_alike)
{
    struct wg_graph *brick = start_brick("", ""), *gw = start_gateway(""), *next = start_gateway("");
    struct op a, b;

    start_named(&a, gw, 4);
    ck_assert(op_wait(&a, 20000));
    start_named(&b, next, 4);
    ck_assert(op_wait(&b, 20000));
    ck_assert_int_eq(a.err, 0);
    ck_assert_int_eq(b.err, 0);
    ck_assert_uint_eq(atomic_load(&disk.effects[4]), 1);
    ck_assert_uint_eq(atomic_load(&disk.doubles), 0);
    op_end(&a);
    op_end(&b);
    end_graph(next);
    end_graph(gw);
    end_graph(brick);
    wait_later();
}
END_TEST

START_TEST(what_another_gateway_has_under_way_is_waited_for)
{
    struct wg_graph *brick = start_brick("", ""), *gw = start_gateway(""), *next = start_gateway(""),
                    *third = start_gateway("");
    struct op o[3];

    gate(true);
    start_named(&o[0], gw, 4);
    while (atomic_load(&disk.running) == 0)
        usleep(1000);
    start_named(&o[1], next, 4);
    while (atomic_load(&server_of(brick)->nparked) < 1)
        usleep(1000);
    start_named(&o[2], third, 4);
    while (atomic_load(&server_of(brick)->nparked) < 2)
        usleep(1000);
    gate(false);
    for (unsigned i = 0; i < 3; i++) {
        ck_assert(op_wait(&o[i], 20000));
        ck_assert_int_eq(o[i].err, 0);
        op_end(&o[i]);
    }
    ck_assert_uint_eq(atomic_load(&server_of(brick)->nparked), 0);
    ck_assert_uint_eq(atomic_load(&disk.effects[4]), 1);
    ck_assert_uint_eq(atomic_load(&disk.doubles), 0);
    ck_assert_uint_eq(atomic_load(&disk.most), 1);
    end_graph(third);
    end_graph(next);
    end_graph(gw);
    end_graph(brick);
    wait_later();
}
END_TEST

/* Both at once, many times: neither waits for one that waits. */
START_TEST(two_gateways_that_send_the_same_do_it_once)
{
    struct wg_graph *brick = start_brick("", ""), *gw = start_gateway(""), *next = start_gateway("");

    for (unsigned n = 1; n < 400; n++) {
        struct op a, b;

        start_named(&a, n % 2 ? gw : next, n);
        start_named(&b, n % 2 ? next : gw, n);
        ck_assert(op_wait(&a, 20000));
        ck_assert(op_wait(&b, 20000));
        ck_assert_int_eq(a.err, 0);
        ck_assert_int_eq(b.err, 0);
        ck_assert_uint_eq(atomic_load(&disk.effects[n]), 1);
        op_end(&a);
        op_end(&b);
    }
    ck_assert_uint_eq(atomic_load(&disk.doubles), 0);
    end_graph(next);
    end_graph(gw);
    end_graph(brick);
    wait_later();
}
END_TEST

/* --- deadlines and epochs --- */

START_TEST(a_reading_fop_ends_at_its_deadline_and_its_late_reply_is_dropped)
{
    struct wg_graph *brick = start_brick("", ""), *gw = start_gateway("");
    struct wg_getattr_in in = { { WG_ROOT_GFID } };
    uint64_t begin;
    struct op o;

    ck_assert_int_eq(one_mkdir(gw, 1, 0), 0);
    begin = wg_now_ns();
    op_init(&o, gw, 300);
    wg_start(o.call, gw->top, WG_OP_getattr, &in, op_finish);
    ck_assert(op_wait(&o, 10000));
    ck_assert_int_eq(o.err, ETIMEDOUT);
    ck_assert(wg_now_ns() - begin < 1000000000u);
    op_end(&o);
    pthread_mutex_lock(&stuck_lock);
    wg_unwind(stuck, EIO);
    pthread_mutex_unlock(&stuck_lock);
    ck_assert_int_eq(one_mkdir(gw, 2, 0), 0);
    end_graph(gw);
    end_graph(brick);
}
END_TEST

START_TEST(a_modifying_fop_that_runs_is_not_given_up_before_it_ends)
{
    struct wg_graph *brick = start_brick("", ""), *gw = start_gateway("");
    struct op o;

    ck_assert_int_eq(one_mkdir(gw, 1, 0), 0);
    gate(true);
    start_mkdir(&o, gw, 4, 200);
    ck_assert(!op_wait(&o, 800));
    gate(false);
    ck_assert(op_wait(&o, 5000));
    ck_assert(o.err == 0 || o.err == ETIMEDOUT);
    ck_assert_uint_eq(atomic_load(&disk.effects[4]), 1);
    op_end(&o);
    ck_assert_uint_eq(atomic_load(&client_of(gw)->epoch), 1);
    ck_assert_int_eq(one_mkdir(gw, 5, 0), 0);
    end_graph(gw);
    end_graph(brick);
    wait_later();
}
END_TEST

static int lookup_absent(struct wg_graph *gw)
{
    struct wg_lookup_in in = { .at = { { WG_ROOT_GFID }, WG_STR("absent") } };
    struct op o;
    int err;

    op_init(&o, gw, 0);
    wg_start(o.call, gw->top, WG_OP_lookup, &in, op_finish);
    ck_assert(op_wait(&o, 20000));
    err = o.err;
    op_end(&o);
    return err;
}

/* Each mkdir keeps the thread that read it until the gate opens, and the gate opens only after the lookups' answers. */
START_TEST(fops_that_keep_their_reader_hold_up_nobody)
{
    struct wg_graph *brick = start_brick("", ""), *gw = start_gateway("option lanes 1\n"),
                    *other = start_gateway("option lanes 1\n");
    struct op slow[3];

    ck_assert_int_eq(one_mkdir(gw, 1, 0), 0);
    gate(true);
    for (unsigned i = 0; i < 3; i++) {
        start_mkdir(&slow[i], gw, 4 * i + 5, 0); /* such numbers run inline */
        ck_assert_int_eq(lookup_absent(gw), ENOENT); /* on the same lane */
        ck_assert_int_eq(lookup_absent(other), ENOENT);
    }
    for (unsigned i = 0; i < 3; i++)
        ck_assert(!slow[i].ended);
    gate(false);
    for (unsigned i = 0; i < 3; i++) {
        ck_assert(op_wait(&slow[i], 20000));
        ck_assert_int_eq(slow[i].err, 0);
        op_end(&slow[i]);
    }
    end_graph(other);
    end_graph(gw);
    end_graph(brick);
}
END_TEST

START_TEST(a_modifying_fop_given_up_in_a_queue_never_runs)
{
    static const char io[] = "volume io\ntype performance/io-threads\noption threads 1\n"
                             "option inline-limit 0\nsubvolumes store\nend-volume\n";
    struct wg_graph *brick = start_brick("", io), *gw = start_gateway("");
    struct op first, second;

    ck_assert_int_eq(one_mkdir(gw, 1, 0), 0);
    gate(true);
    start_mkdir(&first, gw, 2, 20000);
    usleep(50000);
    start_mkdir(&second, gw, 3, 200);
    ck_assert(!op_wait(&second, 600));
    gate(false);
    ck_assert(op_wait(&first, 5000));
    ck_assert(op_wait(&second, 5000));
    ck_assert_int_eq(first.err, 0);
    ck_assert_int_eq(second.err, ETIMEDOUT);
    ck_assert_uint_eq(atomic_load(&disk.effects[3]), 0);
    op_end(&first);
    op_end(&second);
    ck_assert_int_eq(one_mkdir(gw, 5, 0), 0);
    ck_assert_uint_eq(atomic_load(&disk.effects[3]), 0);
    end_graph(gw);
    end_graph(brick);
}
END_TEST

START_TEST(without_a_brick_calls_wait_then_time_out_then_fail_at_once)
{
    struct wg_graph *brick = start_brick("", ""), *gw;
    uint64_t begin;
    struct op o;

    end_graph(brick);
    gw = start_gateway("option out-of-service-after 500ms\n");
    begin = wg_now_ns();
    ck_assert_int_eq(one_mkdir(gw, 1, 200), ETIMEDOUT);
    ck_assert(wg_now_ns() - begin >= 190000000u);
    usleep(600000);
    begin = wg_now_ns();
    ck_assert_int_eq(one_mkdir(gw, 2, 5000), ENOTCONN);
    ck_assert(wg_now_ns() - begin < 100000000u);
    brick = start_brick("", "");
    for (int i = 0; i < 500 && one_mkdir(gw, 3, 5000) == ENOTCONN; i++)
        usleep(20000);
    end_graph(gw);
    gw = start_gateway("");
    ck_assert_int_eq(one_mkdir(gw, 4, 5000), 0);
    end_graph(brick);
    /* Sent, and the brick is gone before it answers: it waits for the brick to come back. */
    start_mkdir(&o, gw, 5, 10000);
    ck_assert(!op_wait(&o, 200));
    brick = start_brick("", "");
    ck_assert(op_wait(&o, 10000));
    ck_assert_int_eq(o.err, 0);
    op_end(&o);
    end_graph(gw);
    end_graph(brick);
}
END_TEST

/* The lease: the brick stands still (as with SIGSTOP) while the call is given up. */
START_TEST(a_call_at_a_brick_that_vanished_ends_after_the_lease)
{
    struct wg_graph *brick = start_brick("option lease 300ms\n", ""), *gw;
    struct wg_client *c;
    uint64_t begin;
    struct op o;

    gw = start_gateway("");
    c = client_of(gw);
    ck_assert_int_eq(one_mkdir(gw, 1, 0), 0);
    gate(true);
    begin = wg_now_ns();
    start_mkdir(&o, gw, 4, 300);
    usleep(50000);
    /* No lane comes back: the names that the client accepts are changed. */
    ck_assert_int_eq(wg_tls_set_allow(c->tls, (const char *const[]){ "nobody" }, 1, NULL, 0), 0);
    for (unsigned i = 0; i < c->nlanes; i++)
        wg_lane_reset(c->lanes[i].held, 0, ECONNRESET, "cut by the test");
    ck_assert(op_wait(&o, 5000));
    ck_assert_int_eq(o.err, ETIMEDOUT);
    ck_assert(wg_now_ns() - begin >= 590000000u);
    op_end(&o);
    /* Back again, the brick lets nothing in before it has settled what it was told to. */
    ck_assert_int_eq(wg_tls_set_allow(c->tls, (const char *const[]){ "brick" }, 1, NULL, 0), 0);
    start_mkdir(&o, gw, 5, 20000);
    ck_assert(!op_wait(&o, 1500));
    ck_assert_uint_eq(atomic_load(&disk.effects[5]), 0);
    gate(false);
    ck_assert(op_wait(&o, 20000));
    ck_assert_int_eq(o.err, 0);
    ck_assert_uint_eq(atomic_load(&disk.effects[4]), 1);
    op_end(&o);
    end_graph(gw);
    end_graph(brick);
    wait_later();
}
END_TEST

START_TEST(a_brick_that_is_stuck_is_left_until_the_call_has_ended)
{
    struct wg_graph *brick = start_brick("", ""), *gw = start_gateway("option stuck-after 300ms\n");
    struct op o;

    ck_assert_int_eq(one_mkdir(gw, 1, 0), 0);
    gate(true);
    start_mkdir(&o, gw, 4, 200);
    ck_assert(op_wait(&o, 5000));
    ck_assert_int_eq(o.err, ETIMEDOUT);
    op_end(&o);
    start_mkdir(&o, gw, 5, 20000);
    ck_assert(!op_wait(&o, 1000));
    ck_assert_uint_eq(atomic_load(&disk.effects[5]), 0);
    gate(false);
    ck_assert(op_wait(&o, 20000));
    ck_assert_int_eq(o.err, 0);
    op_end(&o);
    end_graph(gw);
    end_graph(brick);
    wait_later();
}
END_TEST

/* --- the end --- */

START_TEST(stopping_under_load_ends_every_call)
{
    struct wg_graph *brick = start_brick("", ""), *gw = start_gateway("option outstanding 16\n");
    struct op ops[64];

    ck_assert_int_eq(one_mkdir(gw, 1, 0), 0);
    gate(true);
    for (unsigned i = 0; i < 64; i++)
        start_mkdir(&ops[i], gw, i * 4, 0);
    wg_graph_stop(gw);
    for (unsigned i = 0; i < 64; i++) {
        ck_assert(ops[i].ended);
        ck_assert_int_eq(ops[i].err, ECANCELED);
        op_end(&ops[i]);
    }
    wg_graph_free(gw);
    gate(false);
    end_graph(brick);
    wait_later();
}
END_TEST

START_TEST(dumps_of_both_sides)
{
    struct wg_graph *brick = start_brick("", ""), *gw = start_gateway("");
    struct op o;
    char *text;

    ck_assert_int_eq(one_mkdir(gw, 1, 0), 0);
    gate(true);
    start_mkdir(&o, gw, 4, 0);
    usleep(50000);
    text = wg_dump_process(gw, true);
    ck_assert_ptr_nonnull(strstr(text, "mkdir"));
    free(text);
    text = wg_dump_process(brick, true);
    ck_assert_ptr_nonnull(strstr(text, "reply_cache"));
    free(text);
    gate(false);
    ck_assert(op_wait(&o, 5000));
    op_end(&o);
    end_graph(gw);
    end_graph(brick);
    wait_later();
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, results_errors_and_credentials_pass);
    tcase_add_test(t, payloads_pass_both_ways);
    tcase_add_test(t, lanes_cut_at_random_each_fop_runs_once);
    tcase_add_test(t, brick_restarted_at_random_each_fop_runs_once);
    tcase_add_test(t, the_client_keeps_the_bound_on_its_calls_by_waiting);
    tcase_add_test(t, a_reading_fop_ends_at_its_deadline_and_its_late_reply_is_dropped);
    tcase_add_test(t, a_modifying_fop_that_runs_is_not_given_up_before_it_ends);
    tcase_add_test(t, fops_that_keep_their_reader_hold_up_nobody);
    tcase_add_test(t, what_another_gateway_had_done_is_answered_alike);
    tcase_add_test(t, what_another_gateway_has_under_way_is_waited_for);
    tcase_add_test(t, two_gateways_that_send_the_same_do_it_once);
    tcase_add_test(t, a_modifying_fop_given_up_in_a_queue_never_runs);
    tcase_add_test(t, without_a_brick_calls_wait_then_time_out_then_fail_at_once);
    tcase_add_test(t, a_call_at_a_brick_that_vanished_ends_after_the_lease);
    tcase_add_test(t, a_brick_that_is_stuck_is_left_until_the_call_has_ended);
    tcase_add_test(t, stopping_under_load_ends_every_call);
    tcase_add_test(t, dumps_of_both_sides);
}

int main(int argc, char **argv)
{
    (void)argv;
    return protocol_main("protocol", (const struct wg_class *const[]){ &store_class, NULL }, reset_disk, add, argc > 1);
}
