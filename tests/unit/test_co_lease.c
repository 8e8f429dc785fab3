/* SPDX-License-Identifier: Apache-2.0 */
/* Leases of flows: one holder, renewal, every way to lose one, and what the flow sees then. */
#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "co.h"
#include "dump.h"
#include "graph.h"

/*
 * test/gate stands above features/locks: it lets renewals through, or answers them with an errno, or
 * keeps them until it is opened.
 */
enum { KEEP = -1 };
static atomic_int gate;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static struct wg_frame *kept[16];
static int nkept;
static _Atomic uint64_t fop_deadline;

static void gate_renew(struct wg_frame *f)
{
    int how = gate;

    if (how > 0)
        return wg_unwind(f, how);
    if (how == KEEP) {
        pthread_mutex_lock(&lock);
        ck_assert_int_lt(nkept, 16);
        kept[nkept++] = f;
        pthread_mutex_unlock(&lock);
        return;
    }
    wg_pass(f, wg_child(f));
}

static void open_gate(void)
{
    gate = 0;
    pthread_mutex_lock(&lock);
    while (nkept > 0)
        wg_unwind(kept[--nkept], ETIMEDOUT);
    pthread_mutex_unlock(&lock);
}

static const struct wg_class gate_class = {
    .type = "test/gate", .help = "holds renewals", .min_children = 1, .max_children = 1,
    .fops = { [WG_OP_lock_renew] = gate_renew },
};

static void store_any(struct wg_frame *f)
{
    fop_deadline = f->call->deadline_ns;
    wg_unwind(f, f->op == WG_OP_lock_take ? ENOTSUP : 0);
}

static const struct wg_class store = { .type = "test/leasestore", .help = "answers", .any = store_any };

static struct wg_graph *graph;

static int ended, errs[64];

static void done(void *arg, int err)
{
    (void)arg;
    pthread_mutex_lock(&lock);
    errs[ended++] = err;
    pthread_cond_signal(&cond);
    pthread_mutex_unlock(&lock);
}

static void start(wg_co_fn *fn, void *arg)
{
    struct wg_call *root = wg_call_new(graph, WG_FROM_INTERNAL, "test");

    root->client = WG_STR("test client");
    ck_assert_int_eq(wg_co_start(root, "flow", fn, arg, done), 0);
    wg_call_unref(root);
}

static void all_ended(int n)
{
    pthread_mutex_lock(&lock);
    while (ended < n)
        pthread_cond_wait(&cond, &lock);
    pthread_mutex_unlock(&lock);
    ck_assert_int_eq(wg_co_drain(wg_now_ns() + 30000000000u), 0);
    ck_assert_int_eq((int)wg_calls_live(), 0);
}

static int run(wg_co_fn *fn, void *arg)
{
    ended = 0;
    start(fn, arg);
    all_ended(1);
    return errs[0];
}

static int lease(struct wg_co *co, const char *name, uint32_t ttl_ms, uint32_t wait_ms, struct wg_co_lease **ret)
{
    struct wg_co_lease_args args = { .name = wg_str_of(name), .ttl_ms = ttl_ms, .wait_ms = wait_ms };

    return wg_co_lease_take(co, graph->top, &args, ret);
}

#define LONG 30000

/* --- one holder --- */

static atomic_int inside, total;

static int one_at_a_time(struct wg_co *co, void *arg)
{
    (void)arg;
    for (int i = 0; i < 10; i++) {
        struct wg_co_lease *l;
        int err = lease(co, "one", LONG, LONG, &l);

        if (err)
            return err;
        if (atomic_fetch_add(&inside, 1) != 0)
            return EPROTO;
        wg_co_yield(co);
        atomic_fetch_add(&total, 1);
        atomic_fetch_sub(&inside, 1);
        wg_co_lease_drop(l);
    }
    return 0;
}

START_TEST(flows_take_turns)
{
    ended = total = 0;
    for (int i = 0; i < 16; i++)
        start(one_at_a_time, NULL);
    all_ended(16);
    for (int i = 0; i < 16; i++)
        ck_assert_int_eq(errs[i], 0);
    ck_assert_int_eq(total, 160);
}
END_TEST

static int ends_with_it(struct wg_co *co, void *arg)
{
    struct wg_co_lease *l;

    (void)arg;
    return lease(co, "left", LONG, LONG, &l);
}

START_TEST(the_end_of_a_flow_drops_its_leases)
{
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(run(ends_with_it, NULL), 0);
}
END_TEST

/* arg: the errno expected. */
static int cannot(struct wg_co *co, void *arg)
{
    struct wg_co_lease *mine, *other = NULL;
    struct wg_co_lease_args none = { .ttl_ms = 1 };
    int err = lease(co, "taken", LONG, 0, &mine);

    (void)arg;
    if (!err)
        err = lease(co, "taken", LONG, 0, &other) == EBUSY ? 0 : EPROTO;
    if (!err)
        err = lease(co, "taken", LONG, 50, &other) == EBUSY ? 0 : EPROTO;
    if (!err)
        err = wg_co_lease_take(co, graph->top, &none, &other) == EINVAL ? 0 : EPROTO;
    /* A store without the layer. */
    if (!err)
        err = wg_co_lease_take(co, wg_graph_find(graph, "s"), &(struct wg_co_lease_args){ .name = WG_STR("x"), .ttl_ms = 1 },
                               &other) == ENOTSUP ? 0 : EPROTO;
    if (!err && other)
        err = EPROTO;
    wg_co_lease_drop(other);
    return err;
}

START_TEST(what_cannot_be_had_is_told)
{
    ck_assert_int_eq(run(cannot, NULL), 0);
}
END_TEST

/* --- renewal --- */

static bool dump_has(const char *what)
{
    char *text = wg_dump_process(graph, true);
    bool has = strstr(text, what) != NULL;

    free(text);
    return has;
}

static int keeps(struct wg_co *co, void *arg)
{
    struct wg_co_lease *l;
    int err = lease(co, "kept", 2000, 0, &l);

    (void)arg;
    /* Several times to live, in a flow that does nothing but wait. */
    for (int i = 0; i < 60 && !err; i++)
        err = wg_co_sleep(co, 100000000);
    if (!err && (!dump_has("\"kept\"") || !dump_has("\"state\":\t\"held\"")))
        err = EPROTO;
    return err;
}

START_TEST(it_renews_itself)
{
    ck_assert_int_eq(run(keeps, NULL), 0);
}
END_TEST

static int survives_an_outage(struct wg_co *co, void *arg)
{
    struct wg_co_lease *l;
    int err = lease(co, "outage", 3000, 0, &l);

    (void)arg;
    gate = ENOTCONN;
    if (!err)
        err = wg_co_sleep(co, 1500000000);
    gate = 0;
    for (int i = 0; i < 20 && !err; i++)
        err = wg_co_sleep(co, 100000000);
    return err ? err : wg_co_lease_lost(l);
}

START_TEST(answers_that_say_nothing_are_asked_again)
{
    ck_assert_int_eq(run(survives_an_outage, NULL), 0);
}
END_TEST

/* --- losing it --- */

static atomic_int member_saw;

static int member(struct wg_co *co, void *arg)
{
    (void)arg;
    member_saw = wg_co_wait(co, 0);
    return member_saw;
}

/* Waits of every kind, after the lease was lost; arg: how it is. */
static int loses(struct wg_co *co, void *arg)
{
    const struct wg_getattr_out *out;
    struct wg_co_lease *l;
    struct wg_co_group *g;
    int err = lease(co, "lost", 300, LONG, &l);

    if (err)
        return err;
    gate = (int)(intptr_t)arg;
    member_saw = 0;
    g = wg_co_group(co, 2);
    wg_co_spawn(g, "member", member, NULL);
    if (wg_co_wait(co, 0) != ENOLCK)
        return EPROTO;
    if (wg_co_collect(g) != ENOLCK || member_saw != ENOLCK)
        return EPROTO;
    if (wg_co_sleep(co, 1000000) != ENOLCK || wg_co_cancelled(co) != ENOLCK || wg_co_lease_lost(l) != ENOLCK)
        return EPROTO;
    if (wg_co_getattr(co, graph->top, &(struct wg_getattr_in){ 0 }, &out) != ENOLCK)
        return EPROTO;
    /* Undoing is still possible. */
    wg_co_shield(co, true);
    err = wg_co_getattr(co, graph->top, &(struct wg_getattr_in){ 0 }, &out);
    wg_co_shield(co, false);
    wg_co_lease_drop(l);
    return err ? err : wg_co_cancelled(co);
}

START_TEST(a_refusal_cancels_the_flow)
{
    ck_assert_int_eq(run(loses, (void *)(intptr_t)ENOLCK), ENOLCK);
    gate = 0;
}
END_TEST

START_TEST(silence_cancels_the_flow)
{
    ended = 0;
    start(loses, (void *)(intptr_t)KEEP);
    pthread_mutex_lock(&lock);
    while (ended == 0)
        pthread_cond_wait(&cond, &lock);
    pthread_mutex_unlock(&lock);
    ck_assert_int_eq(errs[0], ENOLCK);
    /* The flow is gone; its last renewal has not come back. */
    ck_assert_int_eq(wg_co_drain(wg_now_ns() + 20000000), ETIMEDOUT);
    open_gate();
    all_ended(1);
}
END_TEST

START_TEST(an_outage_that_lasts_cancels_the_flow)
{
    ck_assert_int_eq(run(loses, (void *)(intptr_t)ENOTCONN), ENOLCK);
    gate = 0;
}
END_TEST

static int fenced(struct wg_co *co, void *arg)
{
    struct wg_co_lease_args args = { .name = WG_STR("fenced"), .ttl_ms = LONG, .fence = true };
    const struct wg_getattr_out *out;
    struct wg_co_lease *l;
    uint64_t now = wg_now_ns();
    int err;

    (void)arg;
    if (wg_co_getattr(co, graph->top, &(struct wg_getattr_in){ 0 }, &out) || fop_deadline != 0)
        return EPROTO;
    err = wg_co_lease_take(co, graph->top, &args, &l);
    if (!err)
        err = wg_co_getattr(co, graph->top, &(struct wg_getattr_in){ 0 }, &out);
    if (!err && (fop_deadline < now + LONG * 1000000ull || fop_deadline > wg_now_ns() + LONG * 1000000ull))
        err = EPROTO;
    return err;
}

START_TEST(a_fence_is_the_deadline_of_fops)
{
    ck_assert_int_eq(run(fenced, NULL), 0);
}
END_TEST

static atomic_bool out_of_line;

static int in_line(struct wg_co *co, void *arg)
{
    struct wg_co_lease *l;
    int err;

    if (arg)
        wg_co_deadline(co, wg_now_ns() + 50000000);
    err = lease(co, "line", LONG, LONG, &l);
    out_of_line = true;
    return err;
}

/* Holds it until the other one has given up. */
static int holder(struct wg_co *co, void *arg)
{
    struct wg_co_lease *l;
    int err = lease(co, "line", LONG, 0, &l);

    (void)arg;
    out_of_line = false;
    start(in_line, "");
    while (!err && !out_of_line)
        err = wg_co_sleep(co, 10000000);
    return err;
}

START_TEST(one_that_is_cancelled_leaves_the_line)
{
    ended = 0;
    start(holder, NULL);
    all_ended(2);
    ck_assert_int_eq(errs[0], ETIMEDOUT);
    ck_assert_int_eq(errs[1], 0);
    ck_assert_int_eq(run(in_line, NULL), 0);
}
END_TEST

/* --- a brick that is killed and started again --- */

static void on_error(void *arg, const char *text);

/* test/door leads to the brick's graph of the moment, or to nothing, as protocol/client would. */
static _Atomic(struct wg_graph *) brick;
static atomic_int passing;

/* A call of its own at the brick, which goes before the caller's: as over a connection. */
static void door_done(struct wg_call *call)
{
    struct wg_frame *f = call->owner;
    int err = call->root->err;

    if (!err)
        memcpy(wg_new_out_checked(f, f->op), call->root->out, wg_fops[f->op].out_size);
    wg_call_unref(call);
    atomic_fetch_sub(&passing, 1);
    wg_unwind(f, err);
}

static void door_any(struct wg_frame *f)
{
    struct wg_graph *g;
    struct wg_call *call;

    atomic_fetch_add(&passing, 1);
    g = brick;
    if (!g) {
        atomic_fetch_sub(&passing, 1);
        return wg_unwind(f, ENOTCONN);
    }
    call = wg_call_new(g, WG_FROM_BRICK, "test");
    call->owner = f;
    wg_start(call, g->top, f->op, f->in, door_done);
}

static const struct wg_class door = { .type = "test/door", .help = "leads elsewhere", .any = door_any };

static char state[64] = "/tmp/wg-leases-XXXXXX";

static void brick_up(void)
{
    char text[512];
    struct wg_graph *g;

    snprintf(text, sizeof text, "volume s\n type test/leasestore\nend-volume\nvolume locks\n type features/locks\n"
             " option state %s\n subvolumes s\nend-volume\n", state);
    g = wg_graph_parse("brick", text, strlen(text), on_error, NULL);
    ck_assert(g && !wg_graph_init(g) && !wg_graph_start(g));
    brick = g;
}

static void brick_down(void)
{
    struct wg_graph *g = atomic_exchange(&brick, NULL);

    while (passing > 0)
        usleep(1000);
    wg_graph_stop(g);
    wg_graph_free(g);
}

static struct wg_graph *remote;
static atomic_int stage; /* of restarted */

static int restarted(struct wg_co *co, void *arg)
{
    struct wg_co_lease_args args = { .name = WG_STR("held"), .ttl_ms = 5000 };
    struct wg_co_lease *l;
    int err = wg_co_lease_take(co, remote->top, &args, &l);

    (void)arg;
    stage = 1;
    while (!err && stage < 2)
        err = wg_co_sleep(co, 10000000);
    return err ? err : wg_co_lease_lost(l);
}

static int newcomer(struct wg_co *co, void *arg)
{
    struct wg_co_lease_args args = { .name = WG_STR("held"), .ttl_ms = 5000, .wait_ms = arg ? LONG : 0 };
    struct wg_co_lease *l;

    return wg_co_lease_take(co, remote->top, &args, &l);
}

START_TEST(a_restart_of_the_brick_takes_nothing_from_its_holder)
{
    static const char text[] = "volume d\n type test/door\nend-volume\n";
    int fd = mkstemp(state);

    close(fd);
    unlink(state);
    remote = wg_graph_parse("r", text, sizeof text - 1, on_error, NULL);
    ck_assert(remote && !wg_graph_init(remote) && !wg_graph_start(remote));
    brick_up();
    ended = stage = 0;
    start(restarted, NULL);
    while (stage == 0)
        usleep(1000);
    brick_down();
    brick_up();
    start(newcomer, NULL);
    pthread_mutex_lock(&lock);
    while (ended == 0)
        pthread_cond_wait(&cond, &lock);
    pthread_mutex_unlock(&lock);
    ck_assert_int_eq(errs[0], EBUSY);
    while (true) { /* until it has been renewed at the new one */
        char *dump = wg_dump_process(brick, true);
        bool has = strstr(dump, "\"taken_up_after_restart\":\t1") != NULL;

        free(dump);
        if (has)
            break;
        usleep(50000);
    }
    stage = 2;
    all_ended(2);
    ck_assert_int_eq(errs[1], 0);
    start(newcomer, ""); /* waits for what is left of the grace */
    all_ended(3);
    ck_assert_int_eq(errs[2], 0);
    brick_down();
    wg_graph_stop(remote);
    wg_graph_free(remote);
    unlink(state);
}
END_TEST

static void on_error(void *arg, const char *text)
{
    (void)arg;
    ck_abort_msg("%s", text);
}

int main(void)
{
    static const char text[] = "volume s\n type test/leasestore\nend-volume\n"
                               "volume locks\n type features/locks\n subvolumes s\nend-volume\n"
                               "volume gate\n type test/gate\n subvolumes locks\nend-volume\n";
    Suite *s = suite_create("co leases");
    TCase *t = tcase_create("co leases");
    SRunner *r;
    int failed;

    wg_class_add(&gate_class);
    wg_class_add(&store);
    wg_class_add(&door);
    wg_work_start(3);
    graph = wg_graph_parse("t", text, sizeof text - 1, on_error, NULL);
    if (!graph || wg_graph_init(graph) || wg_graph_start(graph))
        return 1;
    tcase_set_timeout(t, 60);
    tcase_add_test(t, flows_take_turns);
    tcase_add_test(t, the_end_of_a_flow_drops_its_leases);
    tcase_add_test(t, what_cannot_be_had_is_told);
    tcase_add_test(t, it_renews_itself);
    tcase_add_test(t, answers_that_say_nothing_are_asked_again);
    tcase_add_test(t, a_refusal_cancels_the_flow);
    tcase_add_test(t, silence_cancels_the_flow);
    tcase_add_test(t, an_outage_that_lasts_cancels_the_flow);
    tcase_add_test(t, a_fence_is_the_deadline_of_fops);
    tcase_add_test(t, one_that_is_cancelled_leaves_the_line);
    tcase_add_test(t, a_restart_of_the_brick_takes_nothing_from_its_holder);
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
