/* SPDX-License-Identifier: Apache-2.0 */
/* docs/examples/limit.c above a store of the test: who waits, who does not, and who is let go. */
#include <check.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "docs/examples/limit.c"
#include "graph.h"
#include "work.h"

static void store_getattr(struct wg_frame *f)
{
    wg_unwind(f, wg_new_out(f, getattr) ? 0 : ENOMEM);
}

static const struct wg_class store = {
    .type = "test/store", .help = "answers", .fops = { [WG_OP_getattr] = store_getattr },
};

static void complain(void *arg, const char *text)
{
    (void)arg;
    ck_abort_msg("%s", text);
}

static struct wg_graph *up(const char *lines)
{
    struct wg_graph *g;
    char text[400];

    snprintf(text, sizeof text, "volume s\n type test/store\nend-volume\nvolume limit\n type features/limit\n%s"
             " subvolumes s\nend-volume\n", lines);
    g = wg_graph_parse("test", text, strlen(text), complain, NULL);
    ck_assert_int_eq(wg_graph_init(g), 0);
    ck_assert_int_eq(wg_graph_start(g), 0);
    return g;
}

static void down(struct wg_graph *g)
{
    wg_graph_stop(g);
    wg_graph_free(g);
}

static void ended(struct wg_call *call)
{
    atomic_store((atomic_int *)call->owner, call->root->err ? call->root->err : -1); /* -1: done */
}

/* Begins an operation of uid; *ret is 0 while it waits. */
static void begin(struct wg_graph *g, uint32_t uid, uint64_t deadline_ns, atomic_int *ret)
{
    static const struct wg_getattr_in in = { .at = { .gfid = { { 7 } } } };
    struct wg_call *call = wg_call_new(g, WG_FROM_INTERNAL, "test");

    *ret = 0;
    call->owner = ret;
    call->cred.uid = uid;
    call->deadline_ns = deadline_ns;
    wg_start(call, g->entry, WG_OP_getattr, &in, ended);
    wg_call_unref(call);
}

static int wait_for(atomic_int *ret)
{
    for (int ms = 0; !atomic_load(ret) && ms < 30000; ms++)
        usleep(1000);
    return atomic_load(ret);
}

START_TEST(each_user_has_a_rate_of_its_own)
{
    struct wg_graph *g = up(" option rate 1\n option burst 2\n");
    atomic_int ret[6];

    for (int i = 0; i < 4; i++)
        begin(g, 10, 0, &ret[i]);
    begin(g, 11, 0, &ret[4]);
    begin(g, 10, wg_now_ns() + 1000000, &ret[5]); /* its turn comes too late */
    ck_assert_int_eq(ret[0], -1);
    ck_assert_int_eq(ret[1], -1);
    ck_assert_int_eq(ret[2], -1); /* two at once, and the one that is due now */
    ck_assert_int_eq(ret[3], 0);
    ck_assert_int_eq(ret[4], -1);
    ck_assert_int_eq(ret[5], EAGAIN);
    ck_assert_int_eq(wait_for(&ret[3]), -1);
    down(g);
}
END_TEST

START_TEST(those_that_wait_go_on_when_the_graph_ends)
{
    struct wg_graph *g = up(" option rate 1\n option burst 1\n");
    atomic_int ret[50];

    for (int i = 0; i < 50; i++)
        begin(g, 10, 0, &ret[i]); /* the last would wait for 48 s */
    ck_assert_int_eq(ret[49], 0);
    wg_graph_drain(g);
    for (int i = 0; i < 50; i++)
        ck_assert_int_eq(wait_for(&ret[i]), -1);
    begin(g, 10, 0, &ret[0]);
    ck_assert_int_eq(ret[0], -1);
    down(g);
}
END_TEST

START_TEST(many_wait_and_are_served_while_it_is_drained)
{
    struct wg_graph *g = up(" option rate 20000\n option burst 1\n");
    static atomic_int ret[5000];

    for (int i = 0; i < 5000; i++)
        begin(g, (uint32_t)i % 3, 0, &ret[i]);
    wg_graph_drain(g); /* beside timers that run just now */
    for (int i = 0; i < 5000; i++)
        ck_assert_int_eq(wait_for(&ret[i]), -1);
    down(g);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("example: limit");
    TCase *t = tcase_create("limit");
    SRunner *r;
    int failed;

    if (wg_work_start(2) || wg_class_add(&store) || wg_class_add(&limit))
        return 1;
    tcase_set_timeout(t, 60);
    tcase_add_test(t, each_user_has_a_rate_of_its_own);
    tcase_add_test(t, those_that_wait_go_on_when_the_graph_ends);
    tcase_add_test(t, many_wait_and_are_served_while_it_is_drained);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_set_fork_status(r, CK_NOFORK); /* threads are started already */
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    wg_work_stop();
    return failed != 0;
}
