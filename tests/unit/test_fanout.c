/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Call counts: a frame winds to 1 to 4 children, which answer in every order and with every pattern of
 * failures, on one thread and on several; with and without a quorum, so that some answer after the
 * call was. The completion runs once, when it should, with the right answer; nothing is left behind.
 */
#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "graph.h"
#include "work.h"

#define MAX 4

/* --- children that answer when they are told to --- */

static struct wg_frame *held[MAX]; /* by child */
static atomic_uint nheld;

static unsigned child_number(const struct wg_xlator *xl)
{
    return (unsigned)(xl->name[1] - '0'); /* c0, c1, ... */
}

static void child_getattr(struct wg_frame *f)
{
    held[child_number(f->this)] = f;
    atomic_fetch_add(&nheld, 1);
}

static const struct wg_class child = {
    .type = "test/child",
    .help = "waits until it is told to answer",
    .fops = { [WG_OP_getattr] = child_getattr },
};

static void answer(unsigned i, bool fails)
{
    struct wg_frame *f = held[i];
    struct wg_getattr_out *out = wg_new_out(f, getattr);

    out->attr.size = i + 1;
    wg_unwind(f, fails ? EIO : 0);
}

/* --- the parent --- */

static atomic_uint completions, answered_then; /* answers that had come when it ran, a bit per child */
static unsigned need;

static void fan_done(struct wg_frame *f)
{
    unsigned bits = 0;

    for (unsigned i = 0; i < f->nchildren; i++)
        if (atomic_load(&wg_nth(f, i)->complete))
            bits |= 1u << i;
    atomic_store(&answered_then, bits);
    atomic_fetch_add(&completions, 1);
    wg_unwind(f, f->err);
}

static void fan_getattr(struct wg_frame *f)
{
    wg_wind_many(f, f->this->children, f->this->nchildren, need, fan_done);
}

static const struct wg_class fan = {
    .type = "test/fan",
    .help = "asks all",
    .min_children = 1,
    .max_children = MAX,
    .fops = { [WG_OP_getattr] = fan_getattr },
};

static void on_error(void *arg, const char *text)
{
    (void)arg;
    ck_abort_msg("%s", text);
}

static struct wg_graph *graph_of(unsigned n)
{
    char text[512];
    struct wg_graph *g;
    int at = 0;

    for (unsigned i = 0; i < n; i++)
        at += snprintf(text + at, sizeof text - (size_t)at, "volume c%u\n type test/child\nend-volume\n", i);
    at += snprintf(text + at, sizeof text - (size_t)at, "volume f\n type test/fan\n subvolumes");
    for (unsigned i = 0; i < n; i++)
        at += snprintf(text + at, sizeof text - (size_t)at, " c%u", i);
    at += snprintf(text + at, sizeof text - (size_t)at, "\nend-volume\n");
    g = wg_graph_parse("test", text, (size_t)at, on_error, NULL);
    ck_assert_int_eq(wg_graph_init(g), 0);
    ck_assert_int_eq(wg_graph_start(g), 0);
    return g;
}

static void graph_end(struct wg_graph *g)
{
    wg_graph_stop(g);
    wg_graph_free(g);
}

/* --- one call --- */

static atomic_uint finished;
static int result;
static uint64_t result_size;

static void finish(struct wg_call *call)
{
    const struct wg_getattr_out *out = wg_result(call, getattr);

    result = call->root->err;
    result_size = out && !result ? out->attr.size : 0;
    atomic_fetch_add(&finished, 1);
    wg_call_unref(call); /* the front end is done with it; stragglers are not */
}

static void start(struct wg_graph *g, unsigned n)
{
    static const struct wg_getattr_in in;

    atomic_store(&nheld, 0);
    atomic_store(&completions, 0);
    atomic_store(&finished, 0);
    result = -1;
    wg_start(wg_call_new(g, WG_FROM_INTERNAL, "test"), g->top, WG_OP_getattr, &in, finish);
    ck_assert_uint_eq(atomic_load(&nheld), n);
}

/* What must be known once the children of bits have answered, of which those of fails failed. */
static void check(unsigned n, unsigned bits, unsigned fails)
{
    unsigned good = (unsigned)__builtin_popcount(bits & ~fails);
    bool due = bits == (1u << n) - 1 || (need > 0 && good >= need);

    ck_assert_uint_eq(atomic_load(&completions), due);
    ck_assert_uint_eq(atomic_load(&finished), due);
    if (due && good > 0)
        ck_assert_int_eq(result, 0);
    else if (due)
        ck_assert_int_eq(result, EIO);
}

/* The next permutation in order; false after the last. */
static bool permute(unsigned *p, unsigned n)
{
    unsigned i = n - 1, j = n - 1;

    while (i > 0 && p[i - 1] >= p[i])
        i--;
    if (i == 0)
        return false;
    while (p[j] <= p[i - 1])
        j--;
    unsigned t = p[i - 1];
    p[i - 1] = p[j];
    p[j] = t;
    for (j = n - 1; i < j; i++, j--) {
        t = p[i];
        p[i] = p[j];
        p[j] = t;
    }
    return true;
}

/* --- on one thread: everything is known after each answer --- */

static void one_order(struct wg_graph *g, const unsigned *order, unsigned n, unsigned fails)
{
    unsigned bits = 0, first_good = 0;

    start(g, n);
    check(n, 0, fails);
    for (unsigned k = 0; k < n; k++) {
        bool was_due = atomic_load(&completions) > 0;

        answer(order[k], fails >> order[k] & 1);
        bits |= 1u << order[k];
        check(n, bits, fails);
        if (!was_due && atomic_load(&completions)) {
            ck_assert_uint_eq(atomic_load(&answered_then), bits);
            first_good = bits & ~fails ? (unsigned)__builtin_ctz(bits & ~fails) + 1 : 0;
            ck_assert_uint_eq(result_size, first_good);
        }
    }
    ck_assert_uint_eq(atomic_load(&completions), 1);
    ck_assert_uint_eq(wg_calls_live(), 0);
}

START_TEST(every_order_every_failure_every_quorum)
{
    unsigned n = (unsigned)_i + 1;
    static const int cases[] = { 0, 2 * 2, 3 * 4 * 2, 4 * 8 * 6, 5 * 16 * 24 }; /* quorums, failures, orders */
    struct wg_graph *g = graph_of(n);
    int orders = 0;

    for (need = 0; need <= n; need++)
        for (unsigned fails = 0; fails < 1u << n; fails++) {
            unsigned order[MAX] = { 0, 1, 2, 3 };

            do {
                one_order(g, order, n, fails);
                orders++;
            } while (permute(order, n));
        }
    ck_assert_int_eq(orders, cases[n]);
    graph_end(g);
}
END_TEST

/* --- each child on a thread of its own --- */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    unsigned round, turn, done;
    unsigned order[MAX], n, fails;
    bool in_order, stop;
} play = { .lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER };

static void *player(void *arg)
{
    unsigned me = (unsigned)(uintptr_t)arg, seen = 0;

    for (;;) {
        bool fails;

        pthread_mutex_lock(&play.lock);
        while (!play.stop && (play.round == seen || (play.in_order && play.order[play.turn] != me)))
            pthread_cond_wait(&play.cond, &play.lock);
        if (play.stop) {
            pthread_mutex_unlock(&play.lock);
            return NULL;
        }
        seen = play.round;
        fails = play.fails >> me & 1;
        pthread_mutex_unlock(&play.lock);
        answer(me, fails);
        pthread_mutex_lock(&play.lock);
        play.turn++;
        play.done++;
        pthread_cond_broadcast(&play.cond);
        pthread_mutex_unlock(&play.lock);
    }
}

static void play_round(struct wg_graph *g, const unsigned *order, unsigned n, unsigned fails)
{
    start(g, n);
    pthread_mutex_lock(&play.lock);
    for (unsigned i = 0; i < n; i++)
        play.order[i] = order ? order[i] : i;
    play.in_order = order != NULL;
    play.turn = play.done = 0;
    play.fails = fails;
    play.round++;
    pthread_cond_broadcast(&play.cond);
    while (play.done < n)
        pthread_cond_wait(&play.cond, &play.lock);
    pthread_mutex_unlock(&play.lock);
    check(n, (1u << n) - 1, fails);
    ck_assert_uint_eq(wg_calls_live(), 0);
}

static void with_players(unsigned n, void (*rounds)(struct wg_graph *g, unsigned n))
{
    struct wg_graph *g = graph_of(n);
    pthread_t thread[MAX];

    play.stop = false;
    play.round = 0;
    for (unsigned i = 0; i < n; i++)
        pthread_create(&thread[i], NULL, player, (void *)(uintptr_t)i);
    rounds(g, n);
    pthread_mutex_lock(&play.lock);
    play.stop = true;
    pthread_cond_broadcast(&play.cond);
    pthread_mutex_unlock(&play.lock);
    for (unsigned i = 0; i < n; i++)
        pthread_join(thread[i], NULL);
    graph_end(g);
}

static void every_order(struct wg_graph *g, unsigned n)
{
    const unsigned all = (1u << n) - 1, patterns[] = { 0, 1, all & 2, all };

    for (need = 0; need <= n; need++)
        for (unsigned p = 0; p < 4; p++) {
            unsigned order[MAX] = { 0, 1, 2, 3 };

            do
                play_round(g, order, n, patterns[p]);
            while (permute(order, n));
        }
}

static void all_at_once(struct wg_graph *g, unsigned n)
{
    for (int i = 0; i < 1000; i++) {
        need = (unsigned)i % (n + 1);
        play_round(g, NULL, n, (unsigned)i * 7 % (1u << n));
    }
}

START_TEST(every_order_on_several_threads)
{
    with_players((unsigned)_i + 2, every_order);
}
END_TEST

START_TEST(answers_that_race)
{
    with_players((unsigned)_i + 2, all_at_once);
}
END_TEST

START_TEST(a_straggler_may_come_long_after_the_answer)
{
    struct wg_graph *g = graph_of(3);

    need = 1;
    start(g, 3);
    answer(2, false);
    ck_assert_uint_eq(atomic_load(&finished), 1);
    ck_assert_uint_eq(wg_calls_live(), 1); /* abandoned, counted, in dumps; not freed */
    usleep(20000);
    answer(0, true);
    ck_assert_uint_eq(wg_calls_live(), 1);
    answer(1, false);
    ck_assert_uint_eq(wg_calls_live(), 0);
    ck_assert_uint_eq(atomic_load(&completions), 1);
    ck_assert_uint_eq(result_size, 3);
    graph_end(g);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("fanout");
    TCase *t = tcase_create("fanout");
    SRunner *r;
    int failed;

    wg_class_add(&child);
    wg_class_add(&fan);
    tcase_set_timeout(t, 240);
    tcase_add_loop_test(t, every_order_every_failure_every_quorum, 0, MAX);
    tcase_add_loop_test(t, every_order_on_several_threads, 0, MAX - 1);
    tcase_add_loop_test(t, answers_that_race, 0, MAX - 1);
    tcase_add_test(t, a_straggler_may_come_long_after_the_answer);
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
