/* SPDX-License-Identifier: Apache-2.0 */
/* Coroutines: fops, groups, queues, waits, offload, cancellation, thousands at once. */
#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "co.h"
#include "dump.h"
#include "graph.h"

/* Live coroutines, and what they may take; fibers of ThreadSanitizer are few and large. */
#if defined(WG_TEST_SMALL) /* under Valgrind */
#define MANY 1000
#define MANY_BYTES SIZE_MAX
#define FOPS 50000
#elif defined(__SANITIZE_THREAD__)
#define MANY 1000
#define MANY_BYTES SIZE_MAX
#elif defined(__SANITIZE_ADDRESS__)
#define MANY 10000
#define MANY_BYTES SIZE_MAX
#else
#define MANY 10000
#define MANY_BYTES (100u << 20)
#endif
#ifndef FOPS
#define FOPS 1000000
#endif

/* Resident memory of this process. */
static size_t resident(void)
{
    FILE *f = fopen("/proc/self/statm", "r");
    size_t pages = 0;

    if (f) {
        if (fscanf(f, "%*u %zu", &pages) != 1)
            pages = 0;
        fclose(f);
    }
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* test/slow answers getattr on another worker, with size = the call's uid. */
static void answer(struct wg_work *w)
{
    struct wg_frame *f = *(struct wg_frame **)(w + 1);
    struct wg_getattr_out *out = wg_new_out(f, getattr);

    if (!out)
        return wg_unwind(f, ENOMEM);
    out->attr.size = f->call->cred.uid;
    wg_unwind(f, 0);
}

static void slow_getattr(struct wg_frame *f)
{
    struct wg_work *w = f->local;

    *(struct wg_frame **)(w + 1) = f;
    w->fn = answer;
    wg_work_queue_on((unsigned)((wg_work_self() + 1) % (int)wg_work_count()), w);
}

static void at_once_access(struct wg_frame *f)
{
    struct wg_access_out *out = wg_new_out(f, access);

    if (!out)
        return wg_unwind(f, ENOMEM);
    out->granted = wg_in(f, access)->mask;
    wg_unwind(f, 0);
}

static const struct wg_class slow = {
    .type = "test/slow",
    .help = "answers later",
    .local_size = sizeof(struct wg_work) + sizeof(void *),
    .fops = { [WG_OP_getattr] = slow_getattr, [WG_OP_access] = at_once_access },
};

static struct wg_graph *graph;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static int ended, last_err;

static void done(void *arg, int err)
{
    (void)arg;
    pthread_mutex_lock(&lock);
    ended++;
    last_err = err;
    pthread_cond_signal(&cond);
    pthread_mutex_unlock(&lock);
}

/* Runs fn as a coroutine and returns what it returned. */
static int run(wg_co_fn *fn, void *arg)
{
    struct wg_call *root = wg_call_new(graph, WG_FROM_INTERNAL, "test");

    root->cred.uid = 7;
    ended = 0;
    ck_assert_int_eq(wg_co_start(root, "test", fn, arg, done), 0);
    wg_call_unref(root);
    pthread_mutex_lock(&lock);
    while (ended == 0)
        pthread_cond_wait(&cond, &lock);
    pthread_mutex_unlock(&lock);
    ck_assert_int_eq(wg_co_drain(wg_now_ns() + 5000000000u), 0);
    return last_err;
}

static int many_fops(struct wg_co *co, void *arg)
{
    int n = *(int *)arg;

    for (int i = 0; i < n; i++) {
        const struct wg_getattr_out *out;
        const struct wg_access_out *got;
        int err = wg_co_getattr(co, graph->top, &(struct wg_getattr_in){ 0 }, &out);

        if (err || out->attr.size != 7)
            return err ? err : EPROTO;
        err = wg_co_access(co, graph->top, &(struct wg_access_in){ .mask = (uint32_t)i }, &got);
        if (err || got->granted != (uint32_t)i)
            return err ? err : EPROTO;
        /* The root, this fop's, and those whose last reference is just being dropped. */
        if (wg_calls_live() > 6)
            return EMFILE;
    }
    return 0;
}

START_TEST(a_long_flow_of_fops_keeps_one_call_alive)
{
    int n = 20000;

    ck_assert_int_eq(run(many_fops, &n), 0);
    ck_assert_int_eq((int)wg_calls_live(), 0);
}
END_TEST

static int million(struct wg_co *co, void *arg)
{
    size_t before = 0;

    (void)arg;
    for (uint32_t i = 0; i < FOPS; i++) {
        const struct wg_access_out *out;
        int err = wg_co_access(co, graph->top, &(struct wg_access_in){ .mask = i }, &out);

        if (err || out->granted != i)
            return err ? err : EPROTO;
        if (i == FOPS / 10)
            before = resident();
    }
    return resident() > before + (4u << 20) && FOPS >= 1000000 ? EFBIG : 0;
}

START_TEST(a_million_fops_take_the_memory_of_one)
{
    ck_assert_int_eq(run(million, NULL), 0);
}
END_TEST

static int keep_fops(struct wg_co *co, void *arg)
{
    const struct wg_access_out *out[10];

    (void)arg;
    for (int i = 0; i < 10; i++) {
        int err = wg_co_access(co, graph->top, &(struct wg_access_in){ .mask = (uint32_t)i }, &out[i]);

        if (err)
            return err;
        wg_co_keep(co);
    }
    for (int i = 0; i < 10; i++)
        if (out[i]->granted != (uint32_t)i)
            return EPROTO;
    return 0;
}

START_TEST(kept_results_live_to_the_end)
{
    ck_assert_int_eq(run(keep_fops, NULL), 0);
}
END_TEST

static atomic_int running, most;

static int member(struct wg_co *co, void *arg)
{
    int now = atomic_fetch_add(&running, 1) + 1;
    int err;

    if (now > most)
        most = now;
    err = wg_co_sleep(co, 1000000);
    atomic_fetch_sub(&running, 1);
    return err ? err : (int)(intptr_t)arg;
}

static int group_of(struct wg_co *co, void *arg)
{
    struct wg_co_group *g = wg_co_group(co, 8);
    int n = *(int *)arg;

    for (int i = 0; i < n; i++)
        if (wg_co_spawn(g, "member", member, (void *)(intptr_t)(i == 90 ? EIO : 0)))
            break;
    return wg_co_collect(g);
}

START_TEST(a_group_runs_at_most_its_limit_and_reports_the_first_error)
{
    int n = 50;

    most = 0;
    ck_assert_int_eq(run(group_of, &n), 0);
    ck_assert_int_eq(most, 8);
    n = 200;
    ck_assert_int_eq(run(group_of, &n), EIO);
    ck_assert_int_eq(running, 0);
}
END_TEST

static atomic_int asleep;
static atomic_bool wake_up;

static int sleeper(struct wg_co *co, void *arg)
{
    (void)arg;
    atomic_fetch_add(&asleep, 1);
    while (!wake_up) {
        int err = wg_co_sleep(co, 20000000);

        if (err)
            return err;
    }
    return 0;
}

START_TEST(ten_thousand_are_alive_in_a_hundred_megabytes)
{
    struct wg_call *root = wg_call_new(graph, WG_FROM_INTERNAL, "test");
    size_t before = resident(), with;
    char *text;

    ended = asleep = 0;
    wake_up = false;
    for (int i = 0; i < MANY; i++)
        ck_assert_int_eq(wg_co_start(root, "sleeper", sleeper, NULL, done), 0);
    while (asleep < MANY)
        usleep(1000);
    with = resident();
    ck_assert_uint_le(with, MANY_BYTES);
    printf("%d coroutines: %zu KiB, of which %zu before\n", MANY, with >> 10, before >> 10);
    text = wg_dump_process(graph, false);
    ck_assert_ptr_nonnull(strstr(text, "sleeper"));
    ck_assert_ptr_nonnull(strstr(text, "waits_for"));
    free(text);
    wake_up = true;
    wg_call_unref(root);
    ck_assert_int_eq(wg_co_drain(wg_now_ns() + 60000000000u), 0);
    ck_assert_int_eq(ended, MANY);
}
END_TEST

START_TEST(a_shutdown_joins_all)
{
    struct wg_call *root = wg_call_new(graph, WG_FROM_INTERNAL, "test");

    ended = asleep = 0;
    wake_up = false;
    for (int i = 0; i < 100; i++)
        ck_assert_int_eq(wg_co_start(root, "sleeper", sleeper, NULL, done), 0);
    wg_call_unref(root);
    ck_assert_int_eq(wg_co_drain(wg_now_ns() + 1000000), ETIMEDOUT);
    wg_co_cancel_all();
    ck_assert_int_eq(wg_co_drain(wg_now_ns() + 60000000000u), 0);
    ck_assert_int_eq(ended, 100);
    ck_assert_int_eq(last_err, ECANCELED);
}
END_TEST

/* Everything that waits, in a flow whose deadline has passed. */
static int out_of_time(struct wg_co *co, void *arg)
{
    const struct wg_access_out *out;
    struct wg_co_queue *q = arg;
    struct wg_co_group *g;
    void *item;

    wg_co_deadline(co, wg_now_ns() + 1000000);
    if (wg_co_pop(co, q, &item) != ETIMEDOUT || wg_co_wait(co, 0) != ETIMEDOUT ||
        wg_co_sleep(co, 1) != ETIMEDOUT || wg_co_cancelled(co) != ETIMEDOUT ||
        wg_co_access(co, graph->top, &(struct wg_access_in){ 0 }, &out) != ETIMEDOUT)
        return EPROTO;
    g = wg_co_group(co, 1);
    if (wg_co_spawn(g, "late", sleeper, NULL) != ETIMEDOUT || wg_co_collect(g) != ETIMEDOUT)
        return EPROTO;
    /* What must be undone can be. */
    wg_co_shield(co, true);
    if (wg_co_sleep(co, 1) || wg_co_access(co, graph->top, &(struct wg_access_in){ 0 }, &out))
        return EPROTO;
    wg_co_shield(co, false);
    return wg_co_sleep(co, 1);
}

START_TEST(a_deadline_ends_every_wait)
{
    struct wg_co_queue *q = wg_co_queue_new(1);

    ck_assert_int_eq(run(out_of_time, q), ETIMEDOUT);
    wg_co_queue_free(q);
}
END_TEST

static int late_member(struct wg_co *co, void *arg)
{
    atomic_int *seen = arg;

    *seen = wg_co_wait(co, 0);
    return *seen;
}

static int late_owner(struct wg_co *co, void *arg)
{
    struct wg_co_group *g = wg_co_group(co, 4);

    wg_co_deadline(co, wg_now_ns() + 5000000);
    for (int i = 0; i < 3; i++)
        if (wg_co_spawn(g, "member", late_member, (atomic_int *)arg + i))
            return EPROTO;
    return wg_co_collect(g);
}

START_TEST(members_are_cancelled_for_their_owners_reason)
{
    atomic_int seen[3] = { 0 };

    ck_assert_int_eq(run(late_owner, seen), ETIMEDOUT);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(seen[i], ETIMEDOUT);
}
END_TEST

struct stream {
    struct wg_co_queue *q;
    long sum;
};

static int consumer(struct wg_co *co, void *arg)
{
    struct stream *s = arg;
    void *item;

    while (wg_co_pop(co, s->q, &item) == 0) {
        s->sum += (long)(intptr_t)item;
        if ((intptr_t)item % 100 == 0)
            wg_co_yield(co);
    }
    return 0;
}

static int producer_consumer(struct wg_co *co, void *arg)
{
    struct stream *s = arg;
    struct wg_co_group *g = wg_co_group(co, 2);

    wg_co_spawn(g, "consumer", consumer, s);
    for (intptr_t i = 1; i <= 10000; i++)
        if (wg_co_push(co, s->q, (void *)i))
            return EIO;
    wg_co_queue_close(s->q);
    return wg_co_collect(g);
}

START_TEST(a_bounded_queue_hands_everything_over)
{
    struct stream s = { wg_co_queue_new(4), 0 };

    ck_assert_int_eq(run(producer_consumer, &s), 0);
    ck_assert_int_eq(s.sum, 10000l * 10001 / 2);
    wg_co_queue_free(s.q);
}
END_TEST

static int slow_call(void *arg)
{
    usleep(2000);
    *(int *)arg = wg_work_self();
    return ERANGE;
}

static int quick_call(void *arg)
{
    *(int *)arg = wg_work_self();
    return 0;
}

static int offloads(struct wg_co *co, void *arg)
{
    int where = 99;

    (void)arg;
    if (wg_co_offload(co, slow_call, &where) != ERANGE || where != -1)
        return EPROTO;
    return wg_co_on_worker(co, quick_call, &where) || where < 0 ? EPROTO : 0;
}

START_TEST(blocking_calls_run_elsewhere)
{
    ck_assert_int_eq(run(offloads, NULL), 0);
}
END_TEST

static _Atomic(struct wg_co *) parked;

static int waiter(struct wg_co *co, void *arg)
{
    (void)arg;
    if (wg_co_wait(co, wg_now_ns() + 1000000) != ETIMEDOUT)
        return EPROTO;
    wg_co_wake(co);
    if (wg_co_wait(co, 0) != 0)
        return EPROTO;
    parked = co;
    return wg_co_wait(co, 0);
}

static void *waker(void *arg)
{
    while (!parked)
        usleep(100);
    if (arg)
        wg_co_cancel(parked);
    else
        wg_co_wake(parked);
    return NULL;
}

START_TEST(a_wait_ends_by_time_wake_or_cancel)
{
    for (int cancel = 0; cancel <= 1; cancel++) {
        pthread_t t;

        parked = NULL;
        pthread_create(&t, NULL, waker, cancel ? "" : NULL);
        ck_assert_int_eq(run(waiter, NULL), cancel ? ECANCELED : 0);
        pthread_join(t, NULL);
    }
}
END_TEST

static struct wg_co_mutex mutex;
static int counter;

static int locker(struct wg_co *co, void *arg)
{
    (void)arg;
    for (int i = 0; i < 100; i++) {
        int seen;

        wg_co_lock(co, &mutex);
        seen = counter;
        wg_co_yield(co);
        counter = seen + 1;
        wg_co_unlock(co, &mutex);
    }
    return 0;
}

START_TEST(a_mutex_is_held_across_switches)
{
    struct wg_call *root = wg_call_new(graph, WG_FROM_INTERNAL, "test");

    wg_co_mutex_init(&mutex);
    counter = 0;
    for (int i = 0; i < 20; i++)
        ck_assert_int_eq(wg_co_start(root, "locker", locker, NULL, NULL), 0);
    wg_call_unref(root);
    ck_assert_int_eq(wg_co_drain(wg_now_ns() + 20000000000u), 0);
    ck_assert_int_eq(counter, 2000);
}
END_TEST

static void on_error(void *arg, const char *text)
{
    (void)arg;
    ck_abort_msg("%s", text);
}

int main(void)
{
    static const char text[] = "volume s\n type test/slow\nend-volume\n";
    Suite *s = suite_create("co");
    TCase *t = tcase_create("co");
    SRunner *r;
    int failed;

    wg_class_add(&slow);
    wg_work_start(3);
    graph = wg_graph_parse("t", text, sizeof text - 1, on_error, NULL);
    if (!graph || wg_graph_init(graph))
        return 1;
    tcase_set_timeout(t, 60);
    tcase_add_test(t, a_long_flow_of_fops_keeps_one_call_alive);
    tcase_add_test(t, a_million_fops_take_the_memory_of_one);
    tcase_add_test(t, kept_results_live_to_the_end);
    tcase_add_test(t, a_group_runs_at_most_its_limit_and_reports_the_first_error);
    tcase_add_test(t, ten_thousand_are_alive_in_a_hundred_megabytes);
    tcase_add_test(t, a_shutdown_joins_all);
    tcase_add_test(t, a_deadline_ends_every_wait);
    tcase_add_test(t, members_are_cancelled_for_their_owners_reason);
    tcase_add_test(t, a_bounded_queue_hands_everything_over);
    tcase_add_test(t, blocking_calls_run_elsewhere);
    tcase_add_test(t, a_wait_ends_by_time_wake_or_cancel);
    tcase_add_test(t, a_mutex_is_held_across_switches);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_set_fork_status(r, CK_NOFORK);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    wg_graph_stop(graph);
    wg_graph_free(graph);
    wg_work_stop();
    return failed != 0;
}
