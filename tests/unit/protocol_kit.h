/* SPDX-License-Identifier: Apache-2.0 */
/* Graphs that speak to each other over TLS, and calls in them: for the tests of protocol/ and of pulls. */
#ifndef WG_PROTOCOL_KIT_H
#define WG_PROTOCOL_KIT_H

#include <check.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "graph.h"
#include "log.h"
#include "test_pki.h"
#include "work.h"
#include "xlators/protocol/client/client.h"
#include "xlators/protocol/server/server.h"

static struct pki pki;
static uint16_t port; /* of the brick: 0 before it has one */

static inline void say(void *arg, const char *text)
{
    (void)arg;
    ck_abort_msg("%s", text);
}

static inline struct wg_graph *graph_of(const char *text)
{
    struct wg_graph *g = wg_graph_parse("test.vol", text, strlen(text), say, NULL);

    ck_assert_ptr_nonnull(g);
    ck_assert_int_eq(wg_graph_init(g), 0);
    ck_assert_int_eq(wg_graph_start(g), 0);
    return g;
}

static inline void end_graph(struct wg_graph *g)
{
    wg_graph_stop(g);
    wg_graph_free(g);
}

/* Options of a volume: who it is, and who may be at the other end. Good until the fourth call from now. */
static inline const char *tls(const char *own, const char *allowed)
{
    static char text[4][640];
    static int turn;
    char *t = text[turn++ & 3];

    snprintf(t, sizeof text[0],
             "option tls-cert %s/%s.crt\noption tls-key %s/%s.key\noption tls-ca %s/ca.crt\n"
             "option tls-allow \"%s\"\n", pki.dir, own, pki.dir, own, pki.dir, allowed);
    return t;
}

/* --- calls --- */

struct op {
    struct wg_call *call;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool ended;
    unsigned times;
    int err;
    char name[16];
    uint64_t seen;
};

static inline void op_finish(struct wg_call *call)
{
    struct op *o = call->owner;

    pthread_mutex_lock(&o->lock);
    o->err = call->root->err;
    o->ended = true;
    o->times++;
    pthread_cond_signal(&o->cond);
    pthread_mutex_unlock(&o->lock);
}

/* timeout_ms 0: no deadline. */
static inline void op_init(struct op *o, struct wg_graph *g, unsigned timeout_ms)
{
    memset(o, 0, sizeof *o);
    pthread_mutex_init(&o->lock, NULL);
    pthread_cond_init(&o->cond, NULL);
    o->call = wg_call_new(g, WG_FROM_INTERNAL, "test");
    o->call->owner = o;
    if (timeout_ms)
        o->call->deadline_ns = wg_now_ns() + timeout_ms * 1000000ull;
}

/* Whether it has ended within that time. */
static inline bool op_wait(struct op *o, unsigned ms)
{
    struct timespec until;
    bool ended;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += ms % 1000 * 1000000;
    if (until.tv_nsec >= 1000000000)
        until.tv_sec++, until.tv_nsec -= 1000000000;
    pthread_mutex_lock(&o->lock);
    while (!o->ended && pthread_cond_timedwait(&o->cond, &o->lock, &until) == 0)
        ;
    ended = o->ended;
    pthread_mutex_unlock(&o->lock);
    return ended;
}

/* --- main --- */

/*
 * Runs tests of one process: threads are started before them, and would not be there after a fork. classes end with
 * NULL; setup runs before each test.
 */
static inline int protocol_main(const char *name, const struct wg_class *const *classes, void (*setup)(void),
                                void (*add)(TCase *t), bool verbose)
{
    Suite *s = suite_create(name);
    TCase *t = tcase_create(name);
    SRunner *r;
    int failed;

    signal(SIGPIPE, SIG_IGN);
    wg_log_set(getenv("WG_TEST_LOG") ? getenv("WG_TEST_LOG") : "error");
    pki_start(&pki);
    pki_issue(&pki, "brick");
    pki_issue(&pki, "gateway");
    if (wg_work_start(2))
        abort();
    for (; *classes; classes++)
        if (wg_class_add(*classes))
            abort();
    tcase_set_timeout(t, 300);
    tcase_add_checked_fixture(t, setup, NULL);
    add(t);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_set_fork_status(r, CK_NOFORK);
    srunner_run_all(r, verbose ? CK_VERBOSE : CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    wg_work_stop();
    pki_end(&pki);
    return failed != 0;
}

#endif
