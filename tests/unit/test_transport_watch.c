/* SPDX-License-Identifier: Apache-2.0 */
/* The watcher of busy lanes step by step, its thread played by the test: what happens between two of its steps. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>

#include "transport/watch.c" /* in place of the library's */

_Thread_local struct tl_view tl_view;

struct wg_lane *wg_lane_ref(struct wg_lane *l)
{
    atomic_fetch_add(&l->refs, 1);
    return l;
}

void wg_lane_unref(struct wg_lane *l)
{
    atomic_fetch_sub(&l->refs, 1);
}

int lane_handoff(struct wg_lane *l, uint64_t role)
{
    (void)l, (void)role;
    return EALREADY;
}

bool poller_busy(struct wg_lane *l)
{
    (void)l;
    return false;
}

bool poller_corks(struct wg_lane *l)
{
    return tl_view.lane == l;
}

int thread_start(pthread_t *ret, void *(*fn)(void *), void *arg, const char *name)
{
    (void)ret, (void)fn, (void)arg, (void)name;
    return 0;
}

void thread_done(void)
{
}

static struct wg_lane *lane(void)
{
    struct wg_lane *l = calloc(1, sizeof *l);

    ck_assert_ptr_nonnull(l);
    atomic_init(&l->refs, 1);
    l->o.busy_us = 1000;
    return l;
}

/* A callback of l. */
static void yields(struct wg_lane *l)
{
    tl_view.lane = l;
    wg_lane_yield(l);
    tl_view.lane = NULL;
}

/* Each lane that is not watched has the test's reference only. */
static void ends(struct wg_lane **l, unsigned n)
{
    let_go(forget_idle(take()));
    for (unsigned i = 0; i < n; i++) {
        ck_assert(!atomic_load(&l[i]->watched));
        ck_assert_uint_eq(atomic_load(&l[i]->refs), 1);
        free(l[i]);
    }
}

START_TEST(a_lane_that_comes_back_while_it_is_let_go)
{
    struct wg_lane *l[4] = { lane(), lane(), lane(), lane() }, *idle;

    for (unsigned i = 0; i < 3; i++) {
        yields(l[i]);
        l[i]->watch_idle = IDLE_TICKS;
    }
    idle = forget_idle(take());
    yields(l[3]);
    yields(l[2]);
    yields(l[0]);
    let_go(idle);
    for (unsigned i = 0; i < 4; i++) {
        ck_assert_int_eq(atomic_load(&l[i]->watched), i != 1);
        ck_assert_uint_eq(atomic_load(&l[i]->refs), i != 1 ? 2 : 1);
        l[i]->watch_idle = IDLE_TICKS;
    }
    ends(l, 4);
}
END_TEST

static void *quits(void *arg)
{
    (void)arg;
    watch_quit();
    return NULL;
}

START_TEST(a_lane_that_comes_while_the_last_one_ends)
{
    struct wg_lane *l[2] = { lane(), lane() };
    bool quit = false;
    pthread_t t;

    yields(l[0]);
    ck_assert_int_eq(pthread_create(&t, NULL, quits, NULL), 0);
    while (!quit) {
        pthread_mutex_lock(&watch.lock); /* free once it waits */
        quit = watch.quit;
        pthread_mutex_unlock(&watch.lock);
        usleep(1000);
    }
    yields(l[1]);
    ck_assert_int_eq(pthread_join(t, NULL), 0); /* doesn't wait for the end of the new one */
    ck_assert(atomic_load(&l[1]->watched));
    l[0]->watch_idle = l[1]->watch_idle = IDLE_TICKS;
    ends(l, 2);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("transport watch");
    TCase *t = tcase_create("steps");
    SRunner *r;
    int failed;

    tcase_set_timeout(t, 60);
    tcase_add_test(t, a_lane_that_comes_back_while_it_is_let_go);
    tcase_add_test(t, a_lane_that_comes_while_the_last_one_ends);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
