/* SPDX-License-Identifier: Apache-2.0 */
/* features/locks: who holds, who waits, what ends a lock, and what a restart does to it. */
#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dump.h"
#include "graph.h"
#include "volume.h"
#include "work.h"

static void store_any(struct wg_frame *f)
{
    wg_unwind(f, 0);
}

static const struct wg_class store = { .type = "test/lockstore", .help = "answers", .any = store_any };

static void pass_any(struct wg_frame *f)
{
    wg_pass(f, wg_child(f));
}

static const struct wg_class layer = {
    .type = "test/locklayer", .help = "passes", .min_children = 1, .max_children = 1, .any = pass_any,
};

static char dir[64], state[96];
static struct wg_graph *graph;

static void say(void *arg, const char *text)
{
    (void)arg;
    ck_abort_msg("%s", text);
}

static void up(const char *options)
{
    char text[512];

    snprintf(text, sizeof text, "volume s\ntype test/lockstore\nend-volume\nvolume locks\n"
             "type features/locks\n%s\nsubvolumes s\nend-volume\n", options);
    graph = wg_graph_parse("locks.vol", text, strlen(text), say, NULL);
    ck_assert_int_eq(wg_graph_init(graph), 0);
    ck_assert_int_eq(wg_graph_start(graph), 0);
}

static void down(void)
{
    wg_graph_stop(graph);
    wg_graph_free(graph);
}

/* With the state file: what a killed brick leaves behind is in it before it stops. */
static void up_with_state(void)
{
    char options[160];

    snprintf(options, sizeof options, "option state %s", state);
    up(options);
}

/* --- asking --- */

struct ask {
    struct wg_call *call;
    struct wg_lock_take_in take;
    struct wg_lock_renew_in renew;
    struct wg_lock_drop_in drop;
    char name[32];
    bool ended;
    int err;
    uint32_t ttl_ms;
    bool was_held;
    int order; /* of its end among all */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static int ends;

static void finish(struct wg_call *call)
{
    struct ask *a = call->owner;

    pthread_mutex_lock(&lock);
    a->err = call->root->err;
    if (!a->err && call->root->op == WG_OP_lock_take)
        a->ttl_ms = wg_result(call, lock_take)->ttl_ms;
    if (!a->err && call->root->op == WG_OP_lock_renew)
        a->ttl_ms = wg_result(call, lock_renew)->ttl_ms;
    if (!a->err && call->root->op == WG_OP_lock_drop)
        a->was_held = wg_result(call, lock_drop)->was_held;
    a->order = ++ends;
    a->ended = true;
    pthread_cond_broadcast(&cond);
    pthread_mutex_unlock(&lock);
    wg_call_unref(call);
}

static wg_gfid owner_of(int who)
{
    return (wg_gfid){ .b = { 0xaa, (uint8_t)who } };
}

static void begin(struct ask *a, unsigned op, const void *in)
{
    struct wg_call *call = wg_call_new(graph, WG_FROM_INTERNAL, "test");

    a->ended = false;
    call->owner = a;
    call->client = WG_STR("192.0.2.7:99");
    wg_start(call, graph->top, op, in, finish);
}

static void take(struct ask *a, const char *name, int who, uint32_t ttl_ms, uint32_t wait_ms)
{
    snprintf(a->name, sizeof a->name, "%s", name);
    a->take = (struct wg_lock_take_in){ .name = wg_str_of(a->name), .owner = owner_of(who), .ttl_ms = ttl_ms,
                                        .wait_ms = wait_ms };
    begin(a, WG_OP_lock_take, &a->take);
}

static int ended(struct ask *a)
{
    pthread_mutex_lock(&lock);
    while (!a->ended)
        pthread_cond_wait(&cond, &lock);
    pthread_mutex_unlock(&lock);
    return a->err;
}

static bool still_waits(struct ask *a)
{
    pthread_mutex_lock(&lock);
    bool ret = !a->ended;
    pthread_mutex_unlock(&lock);
    return ret;
}

static int take_now(const char *name, int who, uint32_t ttl_ms)
{
    struct ask a;

    take(&a, name, who, ttl_ms, 0);
    return ended(&a);
}

static int renew(const char *name, int who, uint32_t ttl_ms)
{
    struct ask a;

    snprintf(a.name, sizeof a.name, "%s", name);
    a.renew = (struct wg_lock_renew_in){ .name = wg_str_of(a.name), .owner = owner_of(who), .ttl_ms = ttl_ms };
    begin(&a, WG_OP_lock_renew, &a.renew);
    return ended(&a);
}

static bool drop(const char *name, int who)
{
    struct ask a;

    snprintf(a.name, sizeof a.name, "%s", name);
    a.drop = (struct wg_lock_drop_in){ .name = wg_str_of(a.name), .owner = owner_of(who) };
    begin(&a, WG_OP_lock_drop, &a.drop);
    ck_assert_int_eq(ended(&a), 0);
    return a.was_held;
}

/* A number of the dump of the translator. */
static long dumped(const char *what)
{
    char *text = wg_dump_process(graph, true), key[64], *at;
    long v;

    snprintf(key, sizeof key, "\"%s\":", what);
    at = strstr(text, key);
    ck_assert_ptr_nonnull(at);
    v = strtol(at + strlen(key), NULL, 10);
    free(text);
    return v;
}

/* --- tests --- */

#define LONG 30000

START_TEST(one_holds_and_the_next_gets_it_when_it_is_dropped)
{
    struct ask b;

    up("");
    ck_assert_int_eq(take_now("a", 1, LONG), 0);
    ck_assert_int_eq(take_now("a", 2, LONG), EBUSY);
    ck_assert_int_eq(take_now("b", 2, LONG), 0);
    take(&b, "a", 3, LONG, LONG);
    ck_assert(still_waits(&b));
    ck_assert(drop("a", 1));
    ck_assert_int_eq(ended(&b), 0);
    ck_assert_int_eq(b.ttl_ms, LONG);
    ck_assert(!drop("a", 1));
    ck_assert(drop("a", 3));
    down();
}
END_TEST

START_TEST(those_who_wait_are_served_in_order)
{
    struct ask a[8];

    up("");
    ck_assert_int_eq(take_now("a", 1, LONG), 0);
    for (int i = 0; i < 8; i++)
        take(&a[i], "a", 10 + i, LONG, LONG);
    drop("a", 1);
    for (int i = 0; i < 8; i++) {
        ck_assert_int_eq(ended(&a[i]), 0);
        for (int j = i + 1; j < 8; j++)
            ck_assert(still_waits(&a[j]));
        ck_assert(drop("a", 10 + i));
    }
    down();
}
END_TEST

START_TEST(what_is_not_renewed_ends_and_its_holder_is_told)
{
    struct ask b;

    up("");
    ck_assert_int_eq(take_now("a", 1, 100), 0);
    take(&b, "a", 2, LONG, LONG);
    ck_assert_int_eq(ended(&b), 0);
    ck_assert_int_eq(renew("a", 1, 100), ENOLCK);
    ck_assert(!drop("a", 1));
    ck_assert_int_eq(renew("a", 2, LONG), 0);
    ck_assert_int_eq(dumped("ran_out"), 1);
    ck_assert(drop("a", 2));
    /* One that nobody waited for, too. */
    ck_assert_int_eq(take_now("b", 1, 100), 0);
    while (dumped("held") > 0)
        usleep(10000);
    ck_assert_int_eq(renew("b", 1, 100), ENOLCK);
    down();
}
END_TEST

START_TEST(renewals_keep_it)
{
    struct ask b;
    uint64_t begin_ns = wg_now_ns();

    up("");
    ck_assert_int_eq(take_now("a", 1, 2000), 0);
    take(&b, "a", 2, LONG, LONG);
    /* On a machine that stands still for two seconds this shows nothing. */
    for (int i = 0; i < 30 && wg_now_ns() - begin_ns < 10000000000u; i++) {
        int err = renew("a", 1, 2000);

        ck_assert(err == 0 || wg_now_ns() - begin_ns > 2000000000u);
        usleep(100000);
    }
    drop("a", 1);
    ck_assert_int_eq(ended(&b), 0);
    drop("a", 2);
    down();
}
END_TEST

START_TEST(a_wait_ends_in_time)
{
    struct ask b, c;

    up("option wait-max 200ms");
    ck_assert_int_eq(take_now("a", 1, LONG), 0);
    take(&b, "a", 2, LONG, 50);
    take(&c, "a", 3, LONG, LONG); /* wait-max */
    ck_assert_int_eq(ended(&b), EBUSY);
    ck_assert_int_eq(ended(&c), EBUSY);
    ck_assert_int_eq(dumped("waiting"), 0);
    drop("a", 1);
    down();
}
END_TEST

START_TEST(requests_that_come_twice_do_no_harm)
{
    struct ask b, again, c;

    up("");
    ck_assert_int_eq(take_now("a", 1, LONG), 0);
    ck_assert_int_eq(take_now("a", 1, LONG), 0);
    take(&b, "a", 2, LONG, LONG);
    take(&c, "a", 3, LONG, LONG);
    take(&again, "a", 2, LONG, LONG); /* takes its own place, before c */
    ck_assert_int_eq(ended(&b), EAGAIN);
    ck_assert_int_eq(dumped("waiting"), 2);
    drop("a", 1);
    ck_assert_int_eq(ended(&again), 0);
    ck_assert(still_waits(&c));
    ck_assert(!drop("a", 1));
    drop("a", 2);
    ck_assert_int_eq(ended(&c), 0);
    drop("a", 3);
    down();
}
END_TEST

START_TEST(a_place_in_line_can_be_given_up)
{
    struct ask b, c;

    up("");
    ck_assert_int_eq(take_now("a", 1, LONG), 0);
    take(&b, "a", 2, LONG, LONG);
    take(&c, "a", 3, LONG, LONG);
    ck_assert(!drop("a", 2));
    ck_assert_int_eq(ended(&b), ECANCELED);
    drop("a", 1);
    ck_assert_int_eq(ended(&c), 0);
    drop("a", 3);
    down();
}
END_TEST

START_TEST(a_take_that_its_drop_has_overtaken_is_not_granted)
{
    up("");
    ck_assert(!drop("a", 1));
    ck_assert_int_eq(take_now("a", 1, 30000), ECANCELED);
    ck_assert_int_eq(take_now("a", 2, 30000), 0); /* nobody is kept from it */
    for (int i = 0; i < 3000; i++)                /* however many */
        ck_assert(!drop("b", 3 + i % 200));
    ck_assert_int_eq(take_now("b", 202, 30000), ECANCELED);
    ck_assert_int_eq(take_now("b", 250, 30000), 0);
    down();
}
END_TEST

START_TEST(what_is_held_when_a_brick_dies_is_taken_up_by_its_holder)
{
    struct ask b, c;

    up_with_state();
    ck_assert_int_eq(take_now("a", 1, 3000), 0);
    ck_assert_int_eq(take_now("b", 2, 3000), 0);
    down();
    up_with_state();
    /* Nobody gets either, though nothing is known of them ... */
    ck_assert_int_eq(take_now("a", 3, 3000), EBUSY);
    take(&b, "b", 3, 3000, LONG);
    take(&c, "a", 4, LONG, LONG);
    /* ... until the holder says so ... */
    ck_assert_int_eq(renew("a", 1, LONG), 0);
    ck_assert_int_eq(renew("a", 5, LONG), ENOLCK);
    /* ... or the time is over. */
    ck_assert_int_eq(ended(&b), 0);
    ck_assert_int_eq(renew("b", 2, 3000), ENOLCK);
    ck_assert(still_waits(&c));
    ck_assert(drop("a", 1));
    ck_assert_int_eq(ended(&c), 0);
    down();
}
END_TEST

START_TEST(a_restart_costs_nothing_when_nothing_was_held)
{
    unlink(state);
    up_with_state();
    ck_assert_int_eq(take_now("a", 1, LONG), 0);
    drop("a", 1);
    down();
    up_with_state();
    ck_assert_int_eq(take_now("a", 2, LONG), 0);
    drop("a", 2);
    down();
}
END_TEST

START_TEST(another_boot_waits_for_the_longest_time)
{
    FILE *f = fopen(state, "w");
    char options[160];

    fprintf(f, "%-48s", "00000000-0000-0000-0000-000000000000");
    fclose(f);
    snprintf(options, sizeof options, "option state %s\noption ttl-max 300ms", state);
    up(options);
    ck_assert_int_eq(take_now("a", 1, LONG), EBUSY);
    struct ask b;
    take(&b, "a", 1, LONG, LONG);
    ck_assert_int_eq(ended(&b), 0);
    ck_assert_int_eq(b.ttl_ms, 300);
    drop("a", 1);
    down();
}
END_TEST

START_TEST(without_its_file_nothing_is_granted)
{
    up("option state /nonexistent/locks\noption ttl-max 100ms");
    struct ask b;
    take(&b, "a", 1, LONG, LONG);
    ck_assert_int_eq(ended(&b), ENOENT);
    down();
}
END_TEST

START_TEST(bounds_are_kept)
{
    struct ask b, c;
    char name[300];

    up("option max-locks 2\noption max-waiting 1");
    ck_assert_int_eq(take_now("", 1, LONG), EINVAL);
    memset(name, 'n', sizeof name);
    c.take = (struct wg_lock_take_in){ .name = { name, sizeof name }, .owner = owner_of(1), .ttl_ms = LONG };
    begin(&c, WG_OP_lock_take, &c.take);
    ck_assert_int_eq(ended(&c), ENAMETOOLONG);
    c.take = (struct wg_lock_take_in){ .name = { name, 10 }, .ttl_ms = LONG };
    begin(&c, WG_OP_lock_take, &c.take);
    ck_assert_int_eq(ended(&c), EINVAL);
    ck_assert_int_eq(take_now("a", 1, LONG), 0);
    ck_assert_int_eq(take_now("b", 1, LONG), 0);
    ck_assert_int_eq(take_now("c", 1, LONG), ENOLCK);
    take(&b, "a", 2, LONG, LONG);
    take(&c, "a", 3, LONG, LONG);
    ck_assert_int_eq(ended(&c), EAGAIN);
    /* A stop answers those who wait. */
    down();
    ck_assert_int_eq(ended(&b), EAGAIN);
}
END_TEST

/* --- a graph that changes --- */

static struct wg_graph *layered(const char *below, const char *options)
{
    char text[600];

    snprintf(text, sizeof text, "volume s\ntype test/lockstore\nend-volume\n%svolume locks\n"
             "type features/locks\n%s\nsubvolumes %s\nend-volume\n",
             *below ? "volume l\ntype test/locklayer\nsubvolumes s\nend-volume\n" : "", options, *below ? "l" : "s");
    return wg_graph_parse("locks.vol", text, strlen(text), say, NULL);
}

START_TEST(locks_outlive_a_change_of_the_graph_below_them)
{
    char why[256], options[160];
    struct wg_volume *v;
    struct ask b, c, d;

    unlink(state);
    snprintf(options, sizeof options, "option state %s", state);
    ck_assert_int_eq(wg_volume_start("v", graph = layered("", options), &v), 0);
    ck_assert_int_eq(take_now("a", 1, LONG), 0);
    take(&b, "a", 2, LONG, LONG); /* keeps the old graph */
    /* Not with another file. */
    ck_assert_int_ne(wg_volume_change(v, layered("l", "option state /tmp/other"), why, sizeof why), 0);
    graph = layered("l", options);
    ck_assert_msg(wg_volume_change(v, graph, why, sizeof why) == 0, "%s", why);
    ck_assert_int_eq(take_now("a", 3, LONG), EBUSY);
    ck_assert_int_eq(renew("a", 1, LONG), 0);
    take(&c, "a", 3, LONG, LONG);
    ck_assert(drop("a", 1));
    ck_assert_int_eq(ended(&b), 0);
    ck_assert(still_waits(&c));
    ck_assert(drop("a", 2));
    ck_assert_int_eq(ended(&c), 0);
    /* The end of the volume answers those in line, of both graphs. */
    take(&d, "a", 4, LONG, LONG);
    ck_assert_msg(wg_volume_change(v, layered("", options), why, sizeof why) == 0, "%s", why);
    take(&b, "a", 5, LONG, LONG);
    wg_graph_drain(v->graph);
    ck_assert_int_eq(ended(&d), EAGAIN);
    ck_assert_int_eq(ended(&b), EAGAIN);
    wg_volume_close(v);
    wg_volume_stop(v, 30000);
}
END_TEST

/* --- many at once --- */

#define THREADS 4
#define ROUNDS 150

static atomic_int inside, wrong;

static void *contend(void *arg)
{
    int me = 100 + (int)(intptr_t)arg;

    for (int i = 0; i < ROUNDS; i++) {
        struct ask a;

        take(&a, "hot", me, LONG, LONG);
        if (ended(&a) || atomic_fetch_add(&inside, 1) != 0)
            atomic_fetch_add(&wrong, 1);
        atomic_fetch_sub(&inside, 1);
        drop("hot", me);
        /* Locks whose timers run while they go. */
        take(&a, "cold", me, 100, 1);
        if (ended(&a) == 0 && i % 2)
            drop("cold", me);
    }
    return NULL;
}

START_TEST(never_two_at_a_time)
{
    pthread_t t[THREADS];

    up("");
    for (intptr_t i = 0; i < THREADS; i++)
        pthread_create(&t[i], NULL, contend, (void *)i);
    for (int i = 0; i < THREADS; i++)
        pthread_join(t[i], NULL);
    ck_assert_int_eq(wrong, 0);
    down();
}
END_TEST

START_TEST(dumps_name_holders_and_waiters)
{
    struct ask b;
    char *text;

    up("");
    take_now("upload/17", 1, LONG);
    take(&b, "upload/17", 2, LONG, LONG);
    text = wg_dump_process(graph, false);
    ck_assert_ptr_nonnull(strstr(text, "upload/17"));
    ck_assert_ptr_nonnull(strstr(text, "192.0.2.7:99"));
    ck_assert_ptr_nonnull(strstr(text, "waiting"));
    free(text);
    drop("upload/17", 1);
    ended(&b);
    down();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("locks");
    TCase *t = tcase_create("locks");
    SRunner *r;
    int failed;

    snprintf(dir, sizeof dir, "/tmp/wg-locks-XXXXXX");
    if (!mkdtemp(dir))
        return 1;
    snprintf(state, sizeof state, "%s/locks", dir);
    wg_class_add(&store);
    wg_class_add(&layer);
    wg_work_start(2);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, one_holds_and_the_next_gets_it_when_it_is_dropped);
    tcase_add_test(t, those_who_wait_are_served_in_order);
    tcase_add_test(t, what_is_not_renewed_ends_and_its_holder_is_told);
    tcase_add_test(t, renewals_keep_it);
    tcase_add_test(t, a_wait_ends_in_time);
    tcase_add_test(t, requests_that_come_twice_do_no_harm);
    tcase_add_test(t, a_place_in_line_can_be_given_up);
    tcase_add_test(t, a_take_that_its_drop_has_overtaken_is_not_granted);
    tcase_add_test(t, what_is_held_when_a_brick_dies_is_taken_up_by_its_holder);
    tcase_add_test(t, a_restart_costs_nothing_when_nothing_was_held);
    tcase_add_test(t, another_boot_waits_for_the_longest_time);
    tcase_add_test(t, without_its_file_nothing_is_granted);
    tcase_add_test(t, bounds_are_kept);
    tcase_add_test(t, locks_outlive_a_change_of_the_graph_below_them);
    tcase_add_test(t, never_two_at_a_time);
    tcase_add_test(t, dumps_name_holders_and_waiters);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_set_fork_status(r, CK_NOFORK);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    wg_work_stop();
    unlink(state);
    rmdir(dir);
    return failed != 0;
}
