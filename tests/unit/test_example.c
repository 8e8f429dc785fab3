/* SPDX-License-Identifier: Apache-2.0 */
/* The example of docs/writing-a-translator.md, in a graph above a store of the test. */
#include <check.h>

#include "docs/examples/seal.c"
#include "graph.h"
#include "work.h"

static int64_t age_s; /* of the only file */
static int writes;

static void store_getattr(struct wg_frame *f)
{
    struct wg_getattr_out *out = wg_new_out(f, getattr);

    if (out)
        out->attr.mtime.sec = time(NULL) - age_s;
    wg_unwind(f, out ? 0 : ENOMEM);
}

static void store_write(struct wg_frame *f)
{
    writes++;
    wg_unwind(f, wg_new_out(f, write) ? 0 : ENOMEM);
}

static const struct wg_class store = {
    .type = "test/store", .help = "answers",
    .fops = { [WG_OP_getattr] = store_getattr, [WG_OP_write] = store_write },
};

static void complain(void *arg, const char *text)
{
    (void)arg;
    ck_abort_msg("%s", text);
}

static void nothing(struct wg_call *call)
{
    (void)call;
}

static int write_to(struct wg_graph *g)
{
    static const struct wg_write_in in = { .at = { .gfid = { { 7 } } } };
    struct wg_call *call = wg_call_new(g, WG_FROM_INTERNAL, "test");
    int err;

    wg_start(call, g->entry, WG_OP_write, &in, nothing);
    err = call->root->err;
    wg_call_unref(call);
    return err;
}

START_TEST(old_files_are_sealed)
{
    static const char text[] = "volume s\n type test/store\nend-volume\n"
                               "volume seal\n type features/seal\n option after 10s\n subvolumes s\nend-volume\n";
    struct wg_graph *g = wg_graph_parse("test", text, sizeof text - 1, complain, NULL);

    ck_assert_int_eq(wg_graph_init(g), 0);
    ck_assert_int_eq(wg_graph_start(g), 0);
    ck_assert_int_eq(write_to(g), 0);
    age_s = 100;
    ck_assert_int_eq(write_to(g), EPERM);
    age_s = 0;
    ck_assert_int_eq(write_to(g), EPERM); /* remembered */
    wg_notify(g->xlators[0], &(struct wg_event){ WG_EV_INVALIDATE, { { 7 } }, { 0 } });
    ck_assert_int_eq(write_to(g), 0);
    ck_assert_int_eq(writes, 2);
    wg_graph_stop(g);
    wg_graph_free(g);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("example");
    TCase *t = tcase_create("all");
    SRunner *r;
    int failed;

    wg_class_add(&store);
    wg_class_add(&seal);
    wg_work_start(1);
    tcase_add_test(t, old_files_are_sealed);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_set_fork_status(r, CK_NOFORK);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    wg_work_stop();
    return failed ? 1 : 0;
}
