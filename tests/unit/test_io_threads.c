/* SPDX-License-Identifier: Apache-2.0 */
/* performance/io-threads: what runs where, deadlines in the queue, no more threads than allowed. */
#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "dump.h"
#include "graph.h"
#include "work.h"

static atomic_uint ran, running, most;
static _Atomic pthread_t last_thread;
static atomic_bool last_nowait;
static unsigned delay_us;

/* Reads of odd offsets would block. */
static void store_any(struct wg_frame *f)
{
    unsigned now = atomic_fetch_add(&running, 1) + 1, top = atomic_load(&most);

    while (now > top && !atomic_compare_exchange_weak(&most, &top, now))
        ;
    last_thread = pthread_self();
    last_nowait = f->call->nowait;
    if (f->op == WG_OP_read && f->call->nowait && wg_in(f, read)->offset % 2) {
        atomic_fetch_sub(&running, 1);
        return wg_unwind(f, EWOULDBLOCK);
    }
    if (delay_us)
        usleep(delay_us);
    atomic_fetch_add(&ran, 1);
    atomic_fetch_sub(&running, 1);
    wg_unwind(f, 0);
}

static const struct wg_class store = { .type = "test/iostore", .help = "answers", .any = store_any };

static struct wg_graph *graph;
static atomic_uint ended, failed;
static atomic_int last_err;

static void say(void *arg, const char *text)
{
    (void)arg;
    ck_abort_msg("%s", text);
}

static void start_graph(const char *options)
{
    char text[512];

    snprintf(text, sizeof text, "volume s\ntype test/iostore\nend-volume\nvolume io\n"
             "type performance/io-threads\n%ssubvolumes s\nend-volume\n", options);
    graph = wg_graph_parse("io.vol", text, strlen(text), say, NULL);
    ck_assert_int_eq(wg_graph_init(graph), 0);
    ck_assert_int_eq(wg_graph_start(graph), 0);
    ran = running = most = ended = failed = 0;
    delay_us = 0;
}

static void end_graph(void)
{
    wg_graph_stop(graph);
    wg_graph_free(graph);
}

static void finish(struct wg_call *call)
{
    atomic_store(&last_err, call->root->err);
    if (call->root->err)
        atomic_fetch_add(&failed, 1);
    wg_call_unref(call);
    atomic_fetch_add(&ended, 1);
}

static void start(unsigned op, const void *in, size_t size, unsigned timeout_ms)
{
    struct wg_call *call = wg_call_new(graph, WG_FROM_INTERNAL, "test");

    if (timeout_ms)
        call->deadline_ns = wg_now_ns() + timeout_ms * 1000000ull;
    wg_start(call, graph->top, op, wg_memdup(&call->arena, in, size), finish);
}

static void wait_ended(unsigned n)
{
    for (int i = 0; i < 10000 && atomic_load(&ended) < n; i++)
        usleep(1000);
    ck_assert_uint_eq(atomic_load(&ended), n);
}

START_TEST(what_does_not_block_runs_on_the_callers_thread)
{
    struct wg_getattr_in in = { .at = { .gfid = WG_ROOT_GFID } };
    struct wg_write_in write = { .stable = WG_UNSTABLE };

    start_graph("");
    start(WG_OP_getattr, &in, sizeof in, 0);
    ck_assert_uint_eq(ended, 1);
    ck_assert(pthread_equal(last_thread, pthread_self()));
    start(WG_OP_write, &write, sizeof write, 0);
    ck_assert_uint_eq(ended, 2);
    ck_assert(pthread_equal(last_thread, pthread_self()));
    end_graph();
}
END_TEST

START_TEST(what_syncs_runs_on_another)
{
    struct wg_commit_in commit = { .count = 0 };
    struct wg_write_in write = { .stable = WG_FILE_SYNC };

    start_graph("");
    start(WG_OP_commit, &commit, sizeof commit, 0);
    wait_ended(1);
    ck_assert(!pthread_equal(last_thread, pthread_self()));
    start(WG_OP_write, &write, sizeof write, 0);
    wait_ended(2);
    ck_assert(!pthread_equal(last_thread, pthread_self()));
    end_graph();
}
END_TEST

START_TEST(a_read_that_would_block_is_queued_and_then_may)
{
    struct wg_read_in in = { .offset = 2, .size = 10 };

    start_graph("");
    start(WG_OP_read, &in, sizeof in, 0);
    ck_assert_uint_eq(ended, 1);
    ck_assert(last_nowait);
    in.offset = 3;
    start(WG_OP_read, &in, sizeof in, 0);
    wait_ended(2);
    ck_assert(!last_nowait);
    ck_assert_uint_eq(failed, 0);
    ck_assert(!pthread_equal(last_thread, pthread_self()));
    end_graph();
}
END_TEST

START_TEST(a_fop_that_is_slow_on_average_moves_to_the_threads_and_back)
{
    struct wg_getattr_in in = { .at = { .gfid = WG_ROOT_GFID } };
    unsigned n = 0;

    start_graph("");
    delay_us = 3000;
    do {
        start(WG_OP_getattr, &in, sizeof in, 0);
        wait_ended(++n);
    } while (pthread_equal(last_thread, pthread_self()) && n < 30);
    ck_assert_uint_lt(n, 30);
    delay_us = 0;
    do {
        start(WG_OP_getattr, &in, sizeof in, 0);
        wait_ended(++n);
    } while (!pthread_equal(last_thread, pthread_self()) && n < 300);
    ck_assert_uint_lt(n, 300);
    end_graph();
}
END_TEST

START_TEST(threads_stay_within_their_number_and_nothing_is_lost)
{
    struct wg_commit_in in = { .count = 0 };
    char *text;

    start_graph("option threads 3\n");
    delay_us = 500;
    for (int i = 0; i < 200; i++)
        start(WG_OP_commit, &in, sizeof in, 0);
    text = wg_dump_process(graph, true);
    ck_assert_ptr_nonnull(strstr(text, "threads_idle"));
    free(text);
    wait_ended(200);
    ck_assert_uint_le(most, 3);
    ck_assert_uint_eq(ran, 200);
    end_graph();
}
END_TEST

START_TEST(what_is_past_its_deadline_in_the_queue_does_not_run)
{
    struct wg_commit_in in = { .count = 0 };

    start_graph("option threads 1\n");
    delay_us = 200000;
    start(WG_OP_commit, &in, sizeof in, 0);
    usleep(20000);
    start(WG_OP_commit, &in, sizeof in, 50);
    wait_ended(2);
    ck_assert_uint_eq(ran, 1);
    ck_assert_uint_eq(failed, 1);
    ck_assert_int_eq(last_err, ETIMEDOUT);
    end_graph();
}
END_TEST

START_TEST(stopping_runs_what_is_queued)
{
    struct wg_commit_in in = { .count = 0 };

    start_graph("option threads 2\n");
    delay_us = 1000;
    for (int i = 0; i < 50; i++)
        start(WG_OP_commit, &in, sizeof in, 0);
    end_graph();
    ck_assert_uint_eq(ended, 50);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("io-threads");
    TCase *tc = tcase_create("all");
    SRunner *r;
    int bad;

    if (wg_work_start(1) || wg_class_add(&store))
        abort();
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, what_does_not_block_runs_on_the_callers_thread);
    tcase_add_test(tc, what_syncs_runs_on_another);
    tcase_add_test(tc, a_read_that_would_block_is_queued_and_then_may);
    tcase_add_test(tc, a_fop_that_is_slow_on_average_moves_to_the_threads_and_back);
    tcase_add_test(tc, threads_stay_within_their_number_and_nothing_is_lost);
    tcase_add_test(tc, what_is_past_its_deadline_in_the_queue_does_not_run);
    tcase_add_test(tc, stopping_runs_what_is_queued);
    suite_add_tcase(s, tc);
    r = srunner_create(s);
    srunner_set_fork_status(r, CK_NOFORK);
    srunner_run_all(r, CK_NORMAL);
    bad = srunner_ntests_failed(r);
    srunner_free(r);
    wg_work_stop();
    return bad != 0;
}
