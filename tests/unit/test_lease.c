/* SPDX-License-Identifier: Apache-2.0 */
/* What caches stand on: promises that come with answers, and events that end them. */
#include <check.h>
#include <stdlib.h>

#include "graph.h"
#include "lease.h"

static const wg_gfid dir = { { 1 } }, other = { { 2 } };
static unsigned asked; /* how often the store was */

/* test/truth: lookup of any name fails with ENOENT; mkdir reports a change of the name. */
static void truth_lookup(struct wg_frame *f)
{
    const struct wg_lookup_in *in = wg_in(f, lookup);

    asked++;
    wg_uses(f, &in->at.parent.gfid, in->at.name);
    wg_unwind(f, ENOENT);
}

static void truth_mkdir(struct wg_frame *f)
{
    const struct wg_mkdir_in *in = wg_in(f, mkdir);

    wg_changed(f, &in->at.parent.gfid, in->at.name);
    wg_unwind(f, wg_new_out(f, mkdir) ? 0 : ENOMEM);
}

static const struct wg_class truth = {
    .type = "test/truth",
    .help = "knows",
    .announces = true,
    .fops = { [WG_OP_lookup] = truth_lookup, [WG_OP_mkdir] = truth_mkdir },
};

/* test/memory remembers one answer. */
static struct wg_inval inval;
static struct {
    bool set;
    uint64_t seen;
    wg_inval_slot slots[4];
    int n;
    const struct wg_lease *lease;
} entry;

static void memory_looked_up(struct wg_frame *f)
{
    uint64_t *seen = f->local;

    entry.n = wg_inval_uses(f, entry.slots, 4);
    entry.set = f->err == ENOENT && f->lease && entry.n > 0;
    entry.seen = *seen;
    entry.lease = f->lease;
    wg_unwind(f, f->err);
}

static void memory_lookup(struct wg_frame *f)
{
    if (entry.set && wg_lease_holds(entry.lease, wg_now_coarse_ns()) &&
        wg_inval_unchanged(&inval, entry.seen, entry.slots, entry.n))
        return wg_unwind(f, ENOENT);
    *(uint64_t *)f->local = wg_inval_seen(&inval);
    f->want_lease = true;
    wg_wind(f, wg_child(f), memory_looked_up);
}

static void memory_event(struct wg_xlator *xl, const struct wg_event *ev)
{
    (void)xl;
    wg_inval_event(&inval, ev);
}

static const struct wg_class memory = {
    .type = "test/memory",
    .help = "remembers",
    .local_size = sizeof(uint64_t),
    .min_children = 1,
    .max_children = 1,
    .event = memory_event,
    .fops = { [WG_OP_lookup] = memory_lookup },
};

static void complain(void *arg, const char *text)
{
    (void)arg;
    ck_abort_msg("%s", text);
}

static struct wg_graph *graph;

static void setup(void)
{
    static const char text[] = "volume a\n type test/truth\nend-volume\n"
                               "volume b\n type test/memory\n subvolumes a\nend-volume\n";

    wg_class_add(&truth);
    wg_class_add(&memory);
    graph = wg_graph_parse("test", text, sizeof text - 1, complain, NULL);
    ck_assert_int_eq(wg_graph_init(graph), 0);
    ck_assert_int_eq(wg_graph_start(graph), 0);
    memset(&inval, 0, sizeof inval);
    entry.set = false;
    asked = 0;
}

static void teardown(void)
{
    wg_graph_stop(graph);
    wg_graph_free(graph);
}

static void finished(struct wg_call *call)
{
    (void)call;
}

static void look(wg_gfid parent, const char *name)
{
    struct wg_call *call = wg_call_new(graph, WG_FROM_INTERNAL, "test");
    struct wg_lookup_in in = { .at = { .parent.gfid = parent, .name = wg_str_of(name) } };

    wg_start(call, graph->top, WG_OP_lookup, &in, finished);
    ck_assert_int_eq(call->root->err, ENOENT);
    wg_call_unref(call);
}

static void make(wg_gfid parent, const char *name)
{
    struct wg_call *call = wg_call_new(graph, WG_FROM_INTERNAL, "test");
    struct wg_mkdir_in in = { .at = { .parent.gfid = parent, .name = wg_str_of(name) } };

    wg_start(call, graph->top, WG_OP_mkdir, &in, finished);
    ck_assert_int_eq(call->root->err, 0);
    wg_call_unref(call);
}

START_TEST(an_answer_is_remembered_until_what_it_used_changes)
{
    look(dir, "n");
    look(dir, "n");
    ck_assert_uint_eq(asked, 1);
    make(dir, "n");
    look(dir, "n");
    ck_assert_uint_eq(asked, 2);
}
END_TEST

START_TEST(other_changes_do_not_matter)
{
    look(dir, "n");
    make(dir, "m");
    make(other, "n");
    look(dir, "n");
    ck_assert_uint_eq(asked, 1);
}
END_TEST

START_TEST(a_change_of_unknown_names_and_a_reset_end_it)
{
    look(dir, "n");
    wg_notify(graph->xlators[0], &(struct wg_event){ WG_EV_INVALIDATE, dir, WG_ANY_NAME });
    look(dir, "n");
    ck_assert_uint_eq(asked, 2);
    wg_notify(graph->xlators[0], &(struct wg_event){ .kind = WG_EV_RESET });
    look(dir, "n");
    ck_assert_uint_eq(asked, 3);
}
END_TEST

START_TEST(a_change_during_the_question_lets_nothing_be_remembered)
{
    uint64_t seen = wg_inval_seen(&inval);
    wg_inval_slot slot = wg_inval_slot_of(&dir, WG_STR("n"));

    wg_notify(graph->xlators[0], &(struct wg_event){ WG_EV_INVALIDATE, dir, WG_STR("n") });
    ck_assert(!wg_inval_unchanged(&inval, seen, &slot, 1));
}
END_TEST

START_TEST(a_lease_that_has_run_out_ends_it)
{
    struct wg_lease lease = { wg_now_ns() + 3600000000000u };

    ck_assert(!wg_lease_holds(NULL, wg_now_ns()));
    ck_assert(wg_lease_holds(&lease, wg_now_ns()));
    atomic_store(&lease.until_ns, 1);
    ck_assert(!wg_lease_holds(&lease, wg_now_ns()));
    ck_assert(wg_lease_holds(&wg_lease_always, wg_now_ns()));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("lease");
    TCase *t = tcase_create("lease");
    SRunner *r;
    int failed;

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, an_answer_is_remembered_until_what_it_used_changes);
    tcase_add_test(t, other_changes_do_not_matter);
    tcase_add_test(t, a_change_of_unknown_names_and_a_reset_end_it);
    tcase_add_test(t, a_change_during_the_question_lets_nothing_be_remembered);
    tcase_add_test(t, a_lease_that_has_run_out_ends_it);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
