/* SPDX-License-Identifier: Apache-2.0 */
/* Calls and frames: wind, unwind, pass-through, fan-out with quorum, stragglers; volfile errors. */
#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "graph.h"
#include "iobuf.h"
#include "work.h"

/* test/store answers lookup at once, getattr later on a thread of its own (EIO when named with an x). */
static pthread_t later[64];
static atomic_int nlater;

static void store_lookup(struct wg_frame *f)
{
    struct wg_lookup_out *out = wg_new_out(f, lookup);

    if (!out)
        return wg_unwind(f, ENOMEM);
    out->ref.gfid = wg_in(f, lookup)->at.parent.gfid;
    wg_unwind(f, 0);
}

static void *answer_later(void *arg)
{
    struct wg_frame *f = arg;

    usleep((unsigned)(wg_now_ns() % 3000));
    if (!wg_new_out(f, getattr))
        wg_unwind(f, ENOMEM);
    else
        wg_unwind(f, strchr(f->this->name, 'x') ? EIO : 0);
    return NULL;
}

static void store_getattr(struct wg_frame *f)
{
    if (pthread_create(&later[atomic_fetch_add(&nlater, 1)], NULL, answer_later, f))
        abort();
}

static const struct wg_class store = {
    .type = "test/store",
    .help = "answers at once or later",
    .fops = { [WG_OP_lookup] = store_lookup, [WG_OP_getattr] = store_getattr },
};

/* test/count counts what passes and winds the same on. */
static atomic_int counted, strange;

static void count_done(struct wg_frame *f)
{
    if (*(int *)f->local != 42)
        strange++;
    counted++;
    wg_unwind(f, f->err);
}

static void count_any(struct wg_frame *f)
{
    if (*(int *)f->local != 0)
        strange++;
    *(int *)f->local = 42;
    wg_wind(f, wg_child(f), count_done);
}

static const struct wg_class counter = {
    .type = "test/count",
    .help = "counts",
    .local_size = sizeof(int),
    .min_children = 1,
    .max_children = 1,
    .any = count_any,
};

static const struct wg_class bare = { .type = "test/bare", .help = "treats nothing", .min_children = 1, .max_children = 1 };

static const struct wg_option fan_options[] = {
    { "need", WG_OPT_INT, 0, 16, "0", "answers that are enough; 0: all", false },
    { NULL },
};

static void fan_done(struct wg_frame *f)
{
    wg_unwind(f, f->err);
}

static void fan_getattr(struct wg_frame *f)
{
    wg_wind_many(f, f->this->children, f->this->nchildren, (unsigned)wg_opt_int(f->this, "need"), fan_done);
}

static const struct wg_class fan = {
    .type = "test/fan",
    .help = "asks all",
    .options = fan_options,
    .min_children = 1,
    .max_children = -1,
    .fops = { [WG_OP_getattr] = fan_getattr },
};

/* test/own: each instance has options and fops of its own, by the option "kind". */
static const struct wg_option own_options[] = {
    { "kind", WG_OPT_STR, 0, 0, NULL, "which class of its own", false },
    { NULL },
};
static const struct wg_option own_full[] = {
    { "kind", WG_OPT_STR, 0, 0, NULL, "which class of its own", false },
    { "depth", WG_OPT_INT, 0, 9, "3", "an option of this instance alone", false },
    { NULL },
};
static const struct wg_class own;
static atomic_int own_live;

static void own_forget(const struct wg_class *class)
{
    own_live--;
    free((void *)(uintptr_t)class);
}

static const struct wg_class *own_instance(struct wg_xlator *xl, char *why, size_t size)
{
    struct wg_class *c = malloc(sizeof *c);

    if (strcmp(wg_opt_str(xl, "kind"), "lookup")) {
        snprintf(why, size, "no such kind");
        free(c);
        return NULL;
    }
    *c = own;
    c->options = own_full;
    c->fops[WG_OP_lookup] = count_any;
    c->forget = own_forget;
    own_live++;
    return c;
}

static const struct wg_class own = {
    .type = "test/own", .help = "a class for each", .options = own_options, .local_size = sizeof(int),
    .min_children = 1, .max_children = 1, .instance = own_instance,
};

static void on_error(void *arg, const char *text)
{
    snprintf(arg, 256, "%s", text);
}

static struct wg_graph *graph_of(const char *text)
{
    char err[256] = "";
    struct wg_graph *g = wg_graph_parse("test.vol", text, strlen(text), on_error, err);

    ck_assert_msg(g != NULL, "%s", err);
    ck_assert_int_eq(wg_graph_init(g), 0);
    ck_assert_int_eq(wg_graph_start(g), 0);
    return g;
}

static void graph_end(struct wg_graph *g)
{
    wg_graph_stop(g);
    wg_graph_free(g);
}

struct answer {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool done;
    int err;
    bool has_out;
};

static void finish(struct wg_call *call)
{
    struct answer *a = call->owner;

    pthread_mutex_lock(&a->lock);
    a->done = true;
    a->err = call->root->err;
    a->has_out = call->root->out != NULL;
    pthread_cond_signal(&a->cond);
    pthread_mutex_unlock(&a->lock);
}

static struct answer ask(struct wg_graph *g, unsigned op, const void *in)
{
    struct answer a = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER };
    struct wg_call *call = wg_call_new(g, WG_FROM_INTERNAL, "test");

    call->owner = &a;
    wg_start(call, g->top, op, in, finish);
    pthread_mutex_lock(&a.lock);
    while (!a.done)
        pthread_cond_wait(&a.cond, &a.lock);
    pthread_mutex_unlock(&a.lock);
    wg_call_unref(call);
    return a;
}

static void join_later(void)
{
    for (int i = 0; i < nlater; i++)
        pthread_join(later[i], NULL);
    nlater = 0;
}

#define STORE(name) "volume " name "\n type test/store\nend-volume\n"
#define OVER(name, type, below) "volume " name "\n type " type "\n subvolumes " below "\nend-volume\n"

START_TEST(a_fop_passes_layers_that_do_not_treat_it)
{
    struct wg_graph *g = graph_of(STORE("s") OVER("b1", "test/bare", "s") OVER("c", "test/count", "b1")
                                  OVER("b2", "test/bare", "c"));
    struct wg_lookup_in in = { .at.name = WG_STR("x") };
    struct answer a;

    counted = 0;
    a = ask(g, WG_OP_lookup, &in);
    ck_assert_int_eq(a.err, 0);
    ck_assert(a.has_out);
    ck_assert_int_eq(counted, 1);
    ck_assert_int_eq(strange, 0);
    ck_assert_str_eq(g->top->route[WG_OP_lookup].xl->name, "c");
    ck_assert_int_eq((int)wg_stats_sum(wg_graph_find(g, "s"), WG_OP_lookup).calls, 1);
    ck_assert_int_eq((int)wg_calls_live(), 0);
    graph_end(g);
}
END_TEST

START_TEST(a_fop_nobody_treats_answers_enotsup)
{
    struct wg_graph *g = graph_of(STORE("s") OVER("b", "test/bare", "s"));
    struct wg_read_in in = { .size = 1 };

    ck_assert_int_eq(ask(g, WG_OP_read, &in).err, ENOTSUP);
    graph_end(g);
}
END_TEST

START_TEST(a_fan_out_fails_only_when_no_answer_is_good)
{
    struct wg_graph *g = graph_of(STORE("store1") STORE("storex") STORE("store3")
                                  OVER("f", "test/fan", "store1 storex store3"));
    struct wg_getattr_in in = { 0 };

    for (int i = 0; i < 50; i++) {
        ck_assert_int_eq(ask(g, WG_OP_getattr, &in).err, 0);
        join_later();
    }
    graph_end(g);
    g = graph_of(STORE("storex") STORE("storexx") OVER("f", "test/fan", "storex storexx"));
    ck_assert_int_eq(ask(g, WG_OP_getattr, &in).err, EIO);
    join_later();
    graph_end(g);
}
END_TEST

START_TEST(a_quorum_answers_early_and_stragglers_find_their_call)
{
    struct wg_graph *g = graph_of(STORE("store1") STORE("store2") STORE("store3")
                                  "volume f\n type test/fan\n option need 2\n subvolumes store1 store2 store3\nend-volume\n");
    struct wg_getattr_in in = { 0 };

    for (int i = 0; i < 100; i++) {
        ck_assert_int_eq(ask(g, WG_OP_getattr, &in).err, 0);
        join_later();
        ck_assert_int_eq((int)wg_calls_live(), 0);
    }
    graph_end(g);
}
END_TEST

START_TEST(a_stack_deeper_than_the_limit_goes_on_on_a_worker)
{
    static char text[65536];
    char *at = text;
    struct wg_lookup_in in = { .at.name = WG_STR("x") };
    struct wg_graph *g;

    at += sprintf(at, STORE("s0"));
    for (int i = 1; i <= 300; i++)
        at += sprintf(at, OVER("s%d", "test/count", "s%d"), i, i - 1);
    g = graph_of(text);
    counted = 0;
    ck_assert_int_eq(ask(g, WG_OP_lookup, &in).err, 0);
    ck_assert_int_eq(counted, 300);
    graph_end(g);
}
END_TEST

START_TEST(an_instance_may_have_a_class_of_its_own)
{
    struct wg_graph *g = graph_of(STORE("s") "volume o\n type test/own\n option depth 5\n option kind lookup\n"
                                  " subvolumes s\nend-volume\n");

    ck_assert_str_eq(g->top->route[WG_OP_lookup].xl->name, "o");
    ck_assert_str_eq(g->top->route[WG_OP_getattr].xl->name, "s");
    ck_assert_int_eq((int)wg_opt_int(g->top, "depth"), 5);
    ck_assert_str_eq(wg_opt_str(g->top, "kind"), "lookup");
    graph_end(g);
    ck_assert_int_eq(own_live, 0);
}
END_TEST

START_TEST(releases_run_when_the_call_ends)
{
    struct wg_call *call = wg_call_new(NULL, WG_FROM_INTERNAL, "test");
    struct wg_iobuf *buf = wg_iobuf_get(5000);

    wg_iobuf_ref(buf);
    ck_assert_int_eq(wg_keep_iobuf(&call->arena, buf), 0);
    for (int i = 0; i < 1000; i++)
        ck_assert_ptr_nonnull(wg_alloc(&call->arena, (size_t)(i * 7)));
    wg_call_unref(call);
    ck_assert_int_eq((int)buf->refs, 1);
    wg_iobuf_unref(buf);
}
END_TEST

static const struct {
    const char *text, *error;
} bad[] = {
    { "", "test.vol:1: no volume is declared" },
    { "volume a\n type test/stor\nend-volume\n", "test.vol:2: unknown type 'test/stor'; the nearest is 'test/store'" },
    { "volume a\n type test/store\n option x y\n", "test.vol:3: test/store has no options" },
    { STORE("a") "volume f\n type test/fan\n option neet 1\n",
      "test.vol:6: test/fan has no option 'neet'; the nearest is 'need'" },
    { STORE("a") "volume f\n type test/fan\n option need 99\n",
      "test.vol:6: option 'need' is '99'; it takes a whole number from 0 to 16" },
    { STORE("a") "volume f\n type test/fan\n subvolumes b\n",
      "test.vol:6: subvolume 'b' is not declared above; the nearest is 'a'" },
    { STORE("a") STORE("b"), "test.vol:1: volume 'a' is in no other's subvolumes, and is not the last one" },
    { "volume a\n type \"test/store\n", "test.vol:2: a quoted word does not end on its line" },
    { STORE("a") "volume o\n type test/own\n option depht 3\n option kind lookup\n subvolumes a\nend-volume\n",
      "test.vol:6: test/own has no option 'depht'; the nearest is 'depth'" },
    { STORE("a") "volume o\n type test/own\n option kind none\n option depht 3\n subvolumes a\nend-volume\n",
      "test.vol:4: volume 'o': no such kind" },
    { "volume a\n type test/store\n type test/store\n", "test.vol:3: volume 'a' has 'type' twice" },
    { "volum a\n", "test.vol:1: unknown word 'volum'; the nearest is 'volume'" },
    { "volume a\n type test/store\n", "test.vol:1: volume 'a' has no 'end-volume'" },
};

START_TEST(a_bad_volfile_gives_one_line_with_file_and_line)
{
    char err[256] = "";

    ck_assert_ptr_null(wg_graph_parse("test.vol", bad[_i].text, strlen(bad[_i].text), on_error, err));
    ck_assert_str_eq(err, bad[_i].error);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("call");
    TCase *t = tcase_create("call");
    SRunner *r;
    int failed;

    wg_class_add(&store);
    wg_class_add(&counter);
    wg_class_add(&bare);
    wg_class_add(&fan);
    wg_class_add(&own);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, a_fop_passes_layers_that_do_not_treat_it);
    tcase_add_test(t, a_fop_nobody_treats_answers_enotsup);
    tcase_add_test(t, a_fan_out_fails_only_when_no_answer_is_good);
    tcase_add_test(t, a_quorum_answers_early_and_stragglers_find_their_call);
    tcase_add_test(t, a_stack_deeper_than_the_limit_goes_on_on_a_worker);
    tcase_add_test(t, an_instance_may_have_a_class_of_its_own);
    tcase_add_test(t, releases_run_when_the_call_ends);
    tcase_add_loop_test(t, a_bad_volfile_gives_one_line_with_file_and_line, 0, sizeof bad / sizeof *bad);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_set_fork_status(r, CK_NOFORK);
    wg_work_start(2);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    wg_work_stop();
    return failed != 0;
}
