/* SPDX-License-Identifier: Apache-2.0 */
/* The profile: histograms, counts per fop, requests by client, share and operation; on several threads. */
#include <check.h>
#include <cjson/cJSON.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "graph.h"
#include "report.h"
#include "stats.h"
#include "work.h"

static void store_getattr(struct wg_frame *f)
{
    wg_unwind(f, wg_new_out(f, getattr) ? 0 : ENOMEM);
}

static void store_lookup(struct wg_frame *f)
{
    wg_unwind(f, ENOENT);
}

static const struct wg_class store = {
    .type = "test/store",
    .help = "answers at once",
    .fops = { [WG_OP_getattr] = store_getattr, [WG_OP_lookup] = store_lookup },
};

static struct wg_graph *g;

static void on_error(void *arg, const char *text)
{
    (void)arg;
    ck_abort_msg("%s", text);
}

static void setup(void)
{
    const char *text = "volume s\n type test/store\nend-volume\n";

    g = wg_graph_parse("test", text, strlen(text), on_error, NULL);
    ck_assert_int_eq(wg_graph_init(g), 0);
    ck_assert_int_eq(wg_graph_start(g), 0);
}

static void teardown(void)
{
    wg_timing(false);
    wg_graph_stop(g);
    wg_graph_free(g);
}

static void nothing(struct wg_call *call)
{
    (void)call;
}

static void request(const char *client, const char *share, bool failed, unsigned op)
{
    static const struct wg_lookup_in in;
    struct wg_call *call = wg_call_new(g, WG_FROM_NFS, "TEST");
    struct wg_call *part;

    call->client = wg_str_of(client);
    call->share = wg_str_of(share);
    call->failed = failed;
    wg_start(call, g->top, op, &in, nothing);
    part = wg_call_new(g, WG_FROM_NFS, "TEST"); /* a part of it counts with it only */
    part->parent = call;
    wg_call_unref(part);
    wg_call_unref(call);
}

static int profile(const char *action, cJSON *answer)
{
    cJSON *r = cJSON_CreateObject();
    int err;

    cJSON_AddStringToObject(r, "action", action);
    err = wg_report_find("profile")->fn(r, answer);
    cJSON_Delete(r);
    return err;
}

static void act(const char *action)
{
    cJSON *answer = cJSON_CreateObject();

    ck_assert_int_eq(profile(action, answer), 0);
    cJSON_Delete(answer);
}

/* A number of the row of list whose key is label; -1 when there is none. */
static double figure(const char *list, const char *key, const char *label, const char *name)
{
    cJSON *answer = cJSON_CreateObject(), *item;
    double v = -1;

    ck_assert_int_eq(profile("show", answer), 0);
    cJSON_ArrayForEach(item, cJSON_GetObjectItem(answer, list))
        if (strcmp(cJSON_GetStringValue(cJSON_GetObjectItem(item, key)), label) == 0)
            v = cJSON_GetNumberValue(cJSON_GetObjectItem(item, name));
    cJSON_Delete(answer);
    return v;
}

START_TEST(a_bucket_is_at_most_an_eighth_off)
{
    for (uint64_t ns = 1024; ns < 137000000000u; ns += ns / 97 + 1) {
        uint64_t v = wg_hist_value(wg_hist_bucket(ns)), off = v > ns ? v - ns : ns - v;

        ck_assert_msg(off <= ns / 8, "%llu is shown as %llu", (unsigned long long)ns, (unsigned long long)v);
        ck_assert_uint_eq(wg_hist_bucket(v), wg_hist_bucket(ns));
    }
    ck_assert_uint_eq(wg_hist_bucket(0), 0);
    ck_assert_uint_eq(wg_hist_bucket(UINT64_MAX), WG_HIST_BUCKETS - 1);
}
END_TEST

START_TEST(quantiles_are_those_of_the_calls)
{
    struct wg_hist_sum s = { .calls = 100, .max_ns = 1000000 };

    s.bucket[wg_hist_bucket(1000)] = 90;
    s.bucket[wg_hist_bucket(100000)] = 9;
    s.bucket[wg_hist_bucket(1000000)] = 1;
    ck_assert_uint_eq(wg_hist_quantile(&s, 0.5), wg_hist_value(wg_hist_bucket(1000)));
    ck_assert_uint_eq(wg_hist_quantile(&s, 0.95), wg_hist_value(wg_hist_bucket(100000)));
    ck_assert_uint_eq(wg_hist_bucket(wg_hist_quantile(&s, 0.999)), wg_hist_bucket(1000000));
    ck_assert_uint_le(wg_hist_quantile(&s, 1), 1000000);
    s = (struct wg_hist_sum){ 0 };
    ck_assert_uint_eq(wg_hist_quantile(&s, 0.99), 0);
}
END_TEST

START_TEST(requests_are_told_apart)
{
    act("start");
    for (int i = 0; i < 10; i++)
        request("10.0.0.1:70", "/data", i == 0, WG_OP_getattr);
    for (int i = 0; i < 5; i++)
        request("10.0.0.1:71", "/data", false, WG_OP_lookup);
    request("[fd00::1]:72", "bucket", false, WG_OP_getattr);
    request("fd00::2", "bucket", false, WG_OP_getattr);
    ck_assert(figure("clients", "client", "10.0.0.1", "calls") == 15);
    ck_assert(figure("clients", "client", "10.0.0.1", "errors") == 6);
    ck_assert(figure("clients", "client", "[fd00::1]", "calls") == 1);
    ck_assert(figure("clients", "client", "fd00::2", "calls") == 1);
    ck_assert(figure("shares", "share", "/data", "calls") == 15);
    ck_assert(figure("shares", "share", "bucket", "calls") == 2);
    ck_assert(figure("operations", "operation", "nfs TEST", "calls") == 17);
    act("stop");
    request("10.0.0.1:70", "/data", false, WG_OP_getattr);
    ck_assert(figure("clients", "client", "10.0.0.1", "calls") == 15);
    act("reset");
    ck_assert(figure("clients", "client", "10.0.0.1", "calls") == -1);
}
END_TEST

START_TEST(fops_have_counts_and_times)
{
    struct wg_hist_sum s;

    act("start");
    for (int i = 0; i < 7; i++)
        request("c", "s", false, i < 3 ? WG_OP_lookup : WG_OP_getattr);
    wg_stats_hist(g->top, WG_OP_lookup, &s);
    ck_assert_uint_eq(s.calls, 3);
    ck_assert_uint_eq(s.errors, 3);
    ck_assert_uint_gt(s.ns, 0);
    ck_assert_uint_gt(s.max_ns, 0);
    wg_stats_hist(g->top, WG_OP_getattr, &s);
    ck_assert_uint_eq(s.calls, 4);
    ck_assert_uint_eq(s.errors, 0);
    ck_assert(figure("xlators", "xlator", "s", "type") != -1);
}
END_TEST

START_TEST(a_flood_of_clients_stays_bounded)
{
    cJSON *answer = cJSON_CreateObject();
    char name[32];

    act("start");
    for (int i = 0; i < 5000; i++) {
        snprintf(name, sizeof name, "client%d", i);
        request(name, "s", false, WG_OP_getattr);
    }
    ck_assert_int_eq(profile("show", answer), 0);
    ck_assert_int_le(cJSON_GetArraySize(cJSON_GetObjectItem(answer, "clients")), 1024);
    ck_assert(figure("clients", "client", "(others)", "calls") > 4000);
    ck_assert(figure("operations", "operation", "nfs TEST", "calls") == 5000);
    ck_assert_int_eq(profile("jump", answer), EINVAL);
    cJSON_Delete(answer);
}
END_TEST

static void *many(void *arg)
{
    for (int i = 0; i < 20000; i++)
        request(arg, "s", false, WG_OP_getattr);
    return NULL;
}

START_TEST(no_count_is_lost_on_several_threads)
{
    static char names[4][2] = { "a", "b", "a", "b" };
    struct wg_hist_sum s;
    pthread_t t[4];

    act("start");
    for (int i = 0; i < 4; i++)
        pthread_create(&t[i], NULL, many, names[i]);
    for (int i = 0; i < 20; i++)
        figure("clients", "client", "a", "calls"); /* reports meanwhile */
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    ck_assert(figure("clients", "client", "a", "calls") == 40000);
    ck_assert(figure("clients", "client", "b", "calls") == 40000);
    wg_stats_hist(g->top, WG_OP_getattr, &s);
    ck_assert_uint_eq(s.calls, 80000);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("profile");
    TCase *t = tcase_create("profile");
    SRunner *r;
    int failed;

    wg_class_add(&store);
    wg_work_start(1);
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_bucket_is_at_most_an_eighth_off);
    tcase_add_test(t, quantiles_are_those_of_the_calls);
    tcase_add_test(t, requests_are_told_apart);
    tcase_add_test(t, fops_have_counts_and_times);
    tcase_add_test(t, a_flood_of_clients_stays_bounded);
    tcase_add_test(t, no_count_is_lost_on_several_threads);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_set_fork_status(r, CK_NOFORK);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    wg_work_stop();
    return failed != 0;
}
