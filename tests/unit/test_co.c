/* SPDX-License-Identifier: Apache-2.0 */
/* Coroutines: fops, groups, queues, waits, offload, cancellation, thousands at once. */
#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "co.h"
#include "graph.h"

#if defined(__SANITIZE_THREAD__)
#define MANY 500
#elif defined(__SANITIZE_ADDRESS__)
#define MANY 2000
#else
#define MANY 10000
#endif

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

static int sleeper(struct wg_co *co, void *arg)
{
    (void)arg;
    return wg_co_sleep(co, 50000000);
}

START_TEST(thousands_are_alive_at_once)
{
    struct wg_call *root = wg_call_new(graph, WG_FROM_INTERNAL, "test");

    ended = 0;
    for (int i = 0; i < MANY; i++)
        ck_assert_int_eq(wg_co_start(root, "sleeper", sleeper, NULL, done), 0);
    wg_call_unref(root);
    ck_assert_int_eq(wg_co_drain(wg_now_ns() + 20000000000u), 0);
    ck_assert_int_eq(ended, MANY);
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
    tcase_add_test(t, kept_results_live_to_the_end);
    tcase_add_test(t, a_group_runs_at_most_its_limit_and_reports_the_first_error);
    tcase_add_test(t, thousands_are_alive_at_once);
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
