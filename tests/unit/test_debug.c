/* SPDX-License-Identifier: Apache-2.0 */
/* The debug translators over a real store: fault, delay, trace, sink, io-stats; options changed in place. */
#include <cjson/cJSON.h>
#include <pthread.h>

#include "brick.h"
#include "dump.h"
#include "options.h"
#include "report.h"
#include "top.h"
#include "work.h"

static struct brick b;

/* The store with one more layer: "type" and its option lines. */
static int try_layer(const char *type, const char *lines)
{
    char extra[1024];

    snprintf(extra, sizeof extra, " option init yes\nend-volume\nvolume layer\n type %s\n%s subvolumes brick",
             type, lines);
    return brick_try(&b, extra);
}

static void start_layer(const char *type, const char *lines)
{
    brick_mkdir(&b);
    OK(try_layer(type, lines));
}

/* What a live change of an option does: the value, then reload. */
static int set(const char *option, const char *value)
{
    struct wg_xlator *xl = b.graph->top;
    char *old = NULL;
    int err;

    for (struct wg_kv *kv = xl->options; kv; kv = kv->next)
        if (strcmp(kv->option->name, option) == 0) {
            ck_assert(kv->option->reload);
            old = kv->text;
            kv->text = strdup(value);
            OK(wg_option_parse(kv->option, value, &kv->number));
        }
    ck_assert_msg(old != NULL, "no option %s", option);
    err = xl->class->reload(xl);
    free(old);
    return err;
}

static cJSON *dump(void)
{
    char *text = wg_dump_process(b.graph, true);
    cJSON *j = cJSON_Parse(text);

    ck_assert_ptr_nonnull(j);
    free(text);
    return j;
}

static cJSON *layer_of(cJSON *j)
{
    cJSON *xl;

    cJSON_ArrayForEach(xl, cJSON_GetObjectItem(j, "xlators"))
        if (strcmp(cJSON_GetStringValue(cJSON_GetObjectItem(xl, "name")), "layer") == 0)
            return xl;
    ck_abort_msg("no layer in the dump");
}

static double layer_number(const char *name)
{
    cJSON *j = dump();
    double v = cJSON_GetNumberValue(cJSON_GetObjectItem(layer_of(j), name));

    cJSON_Delete(j);
    return v;
}

/* --- fault --- */

START_TEST(a_fresh_fault_does_nothing)
{
    start_layer("debug/fault", "");
    mkfile(&b, brick_root(), "f", 0644);
    ck_assert(layer_number("matched") >= 1);
    ck_assert(layer_number("struck") == 0);
    brick_end(&b);
}
END_TEST

START_TEST(the_nth_matching_fop_fails_once)
{
    start_layer("debug/fault", " option fops getattr,write\n option nth 3\n option error ENOSPC\n");
    for (int i = 1; i <= 5; i++) {
        lookup(&b, brick_root(), ".");
        ERR(FOP_(&b, getattr, .at = brick_root()), i == 3 ? ENOSPC : 0);
    }
    OK(set("nth", "2")); /* counts anew */
    OK(FOP_(&b, getattr, .at = brick_root()));
    ERR(FOP_(&b, getattr, .at = brick_root()), ENOSPC);
    OK(set("enabled", "off"));
    OK(set("nth", "1"));
    OK(FOP_(&b, getattr, .at = brick_root()));
    brick_end(&b);
}
END_TEST

START_TEST(before_it_never_happened_and_after_it_has)
{
    start_layer("debug/fault", " option fops mkdir\n option nth 1\n");
    ERR(FOP_(&b, mkdir, .at = at(brick_root(), "a"), .gfid = wg_gfid_new(), .attrs = mode_of(0755)), EIO);
    ERR(FOP_(&b, lookup, .at = at(brick_root(), "a")), ENOENT);
    OK(set("when", "after"));
    ERR(FOP_(&b, mkdir, .at = at(brick_root(), "a"), .gfid = wg_gfid_new(), .attrs = mode_of(0755)), EIO);
    ck_assert_ptr_null(b.call->root->out);
    lookup(&b, brick_root(), "a");
    brick_end(&b);
}
END_TEST

START_TEST(a_share_fails_and_the_same_for_the_same_seed)
{
    char first[1001] = "", second[1001] = "";
    int n = 0;

    start_layer("debug/fault", " option fops getattr\n option rate 25%\n option seed 7\n");
    for (int i = 0; i < 1000; i++)
        n += first[i] = FOP_(&b, getattr, .at = brick_root()) ? 1 : 0;
    ck_assert(n > 180 && n < 320);
    OK(set("seed", "7"));
    for (int i = 0; i < 1000; i++)
        second[i] = FOP_(&b, getattr, .at = brick_root()) ? 1 : 0;
    ck_assert_mem_eq(first, second, 1000);
    OK(set("count", "3"));
    n = 0;
    for (int i = 0; i < 1000; i++)
        n += FOP_(&b, getattr, .at = brick_root()) != 0;
    ck_assert_int_eq(n, 3);
    brick_end(&b);
}
END_TEST

START_TEST(a_path_picks_files_also_when_they_are_named_by_gfid)
{
    struct wg_ref d, f, g;

    start_layer("debug/fault", " option fops read,write\n option rate 100%\n option path *.db\n");
    d = mkdir_(&b, brick_root(), "dir", 0755);
    f = mkfile(&b, d, "a.db", 0644);
    g = mkfile(&b, d, "a.txt", 0644);
    ERR(put_text(&b, f, 0, "x", WG_UNSTABLE), EIO);
    OK(put_text(&b, g, 0, "x", WG_UNSTABLE));
    OK(set("path", "/dir/a.*")); /* from the root, by what it has learnt */
    ERR(put_text(&b, f, 0, "x", WG_UNSTABLE), EIO);
    ERR(put_text(&b, g, 0, "x", WG_UNSTABLE), EIO);
    OK(set("path", "/other/*"));
    OK(put_text(&b, f, 0, "x", WG_UNSTABLE));
    OK(FOP_(&b, rename, .from = at(d, "a.db"), .to = at(brick_root(), "b.db"), .moved = f.gfid));
    OK(set("path", "/b.db"));
    ERR(put_text(&b, f, 0, "x", WG_UNSTABLE), EIO);
    brick_end(&b);
}
END_TEST

START_TEST(an_s3_key_is_a_path_under_its_bucket)
{
    struct wg_ref bucket;
    struct wg_seg seg = { NULL, (void *)(uintptr_t)"x", 1 };

    start_layer("debug/fault", " option rate 100%\n option fops get,put\n option path /pics/2026/*\n");
    bucket = mkdir_(&b, brick_root(), "pics", 0755);
    ERR(FOP_(&b, put, .bucket = bucket, .key = WG_STR("2026/a"), .gfid = wg_gfid_new(), .data = { &seg, 1, 1 }), EIO);
    OK(FOP_(&b, put, .bucket = bucket, .key = WG_STR("2025/a"), .gfid = wg_gfid_new(), .data = { &seg, 1, 1 }));
    ERR(FOP_(&b, get, .bucket = bucket, .key = WG_STR("2026/a"), .size = 10), EIO);
    brick_end(&b);
}
END_TEST

static const struct {
    const char *type, *option;
} bad[] = {
    { "debug/fault", " option fops wrte\n" },
    { "debug/fault", " option fops ,\n" },
    { "debug/fault", " option rate 101%\n" },
    { "debug/fault", " option rate often\n" },
    { "debug/fault", " option error EWHAT\n" },
    { "debug/fault", " option when later\n" },
    { "debug/delay", " option when never\n" },
    { "debug/delay", " option rate -1\n" },
    { "debug/trace", " option errors EWHAT\n" },
    { "debug/trace", " option to paper\n" },
};

START_TEST(a_bad_option_is_refused)
{
    brick_mkdir(&b);
    ERR(try_layer(bad[_i].type, bad[_i].option), EINVAL);
    brick_end(&b);
}
END_TEST

START_TEST(a_bad_change_leaves_what_was)
{
    start_layer("debug/fault", " option fops getattr\n option rate 100%\n");
    ERR(set("error", "EWHAT"), EINVAL);
    ERR(FOP_(&b, getattr, .at = brick_root()), EIO);
    brick_end(&b);
}
END_TEST

/* --- what answers later --- */

struct answer {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool done;
    struct wg_call *call;
};

static void answered(struct wg_call *call)
{
    struct answer *a = call->owner;

    pthread_mutex_lock(&a->lock);
    a->done = true;
    pthread_cond_signal(&a->cond);
    pthread_mutex_unlock(&a->lock);
}

static void ask_for(struct answer *a, struct wg_call *whole)
{
    struct wg_getattr_in *in;

    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->cond, NULL);
    a->done = false;
    a->call = wg_call_new(b.graph, WG_FROM_INTERNAL, "test");
    a->call->owner = a;
    a->call->parent = whole;
    in = WG_NEW(&a->call->arena, struct wg_getattr_in);
    in->at = brick_root();
    wg_start(a->call, b.graph->top, WG_OP_getattr, in, answered);
}

static void ask(struct answer *a)
{
    ask_for(a, NULL);
}

static int result(struct answer *a)
{
    int err;

    pthread_mutex_lock(&a->lock);
    while (!a->done)
        pthread_cond_wait(&a->cond, &a->lock);
    pthread_mutex_unlock(&a->lock);
    err = a->call->root->err;
    wg_call_unref(a->call);
    return err;
}

START_TEST(a_delayed_fop_answers_later_with_the_stores_result)
{
    struct answer a;
    uint64_t begin = wg_now_ns();

    start_layer("debug/delay", _i ? " option delay 50ms\n option jitter 5ms\n option when after\n" : " option delay 50ms\n");
    begin = wg_now_ns();
    ask(&a);
    OK(result(&a));
    ck_assert(wg_now_ns() - begin >= 50000000u);
    brick_end(&b);
}
END_TEST

static const char *const let_go[][2] = { { "hold", "off" }, { "enabled", "off" } };

START_TEST(held_fops_go_on_when_let_go)
{
    static struct answer a[100];

    start_layer("debug/delay", " option hold on\n");
    for (int i = 0; i < 100; i++)
        ask(&a[i]);
    ck_assert(layer_number("held") == 100);
    for (int i = 0; i < 100; i++)
        ck_assert(!a[i].done);
    OK(set(let_go[_i][0], let_go[_i][1]));
    for (int i = 0; i < 100; i++)
        OK(result(&a[i]));
    brick_end(&b);
}
END_TEST

static atomic_bool stop_asking;

static void *ask_on(void *arg)
{
    while (!atomic_load(&stop_asking)) {
        struct answer a;

        ask(&a);
        ++*(int *)arg;
        if (result(&a) != 0)
            *(int *)arg = -1000000;
    }
    return NULL;
}

/* Dumps, and who holds what, while calls come and go. */
static void look_at_it(void)
{
    cJSON *answer = cJSON_CreateObject(), *j = dump(), *r;

    OK(wg_top(b.graph, 10, answer));
    ck_assert(cJSON_IsNumber(cJSON_GetObjectItem(answer, "live")));
    cJSON_ArrayForEach(r, cJSON_GetObjectItem(answer, "requests")) {
        ck_assert(cJSON_GetNumberValue(cJSON_GetObjectItem(r, "id")) > 0);
        ck_assert_ptr_nonnull(cJSON_GetObjectItem(r, "held_by"));
    }
    cJSON_Delete(answer);
    cJSON_Delete(j);
}

START_TEST(top_names_who_holds_a_request)
{
    cJSON *answer = cJSON_CreateObject(), *r, *held;
    struct answer a, part;
    struct wg_call *whole;

    start_layer("debug/delay", " option hold on\n");
    ask(&a);
    whole = wg_call_new(b.graph, WG_FROM_S3, "PutObject"); /* winds nothing itself: its part does */
    whole->share = WG_STR("bucket");
    whole->object = WG_STR("key");
    whole->client = WG_STR("10.0.0.7:700");
    wg_call_told(whole);
    ask_for(&part, whole);
    OK(wg_top(b.graph, 10, answer));
    ck_assert(cJSON_GetNumberValue(cJSON_GetObjectItem(answer, "live")) == 2);
    r = cJSON_GetArrayItem(cJSON_GetObjectItem(answer, "requests"), 1);
    ck_assert_str_eq(cJSON_GetStringValue(cJSON_GetObjectItem(r, "operation")), "PutObject");
    ck_assert_str_eq(cJSON_GetStringValue(cJSON_GetObjectItem(r, "object")), "key");
    ck_assert_str_eq(cJSON_GetStringValue(cJSON_GetObjectItem(r, "client")), "10.0.0.7:700");
    held = cJSON_GetObjectItem(r, "held_by");
    ck_assert_str_eq(cJSON_GetStringValue(cJSON_GetObjectItem(held, "xlator")), "layer");
    ck_assert_str_eq(cJSON_GetStringValue(cJSON_GetObjectItem(held, "type")), "debug/delay");
    ck_assert_str_eq(cJSON_GetStringValue(cJSON_GetObjectItem(held, "fop")), "getattr");
    cJSON_Delete(answer);
    OK(set("hold", "off"));
    OK(result(&a));
    OK(result(&part));
    answer = cJSON_CreateObject();
    OK(wg_top(b.graph, 10, answer)); /* now it is its client's turn */
    r = cJSON_GetArrayItem(cJSON_GetObjectItem(answer, "requests"), 0);
    held = cJSON_GetObjectItem(r, "held_by");
    ck_assert_str_eq(cJSON_GetStringValue(cJSON_GetObjectItem(held, "type")), "client");
    cJSON_Delete(answer);
    wg_call_unref(whole);
    brick_end(&b);
}
END_TEST

START_TEST(holding_and_letting_go_loses_no_call)
{
    pthread_t thread[3];
    int n[3] = { 0 };

    start_layer("debug/delay", " option hold on\n");
    atomic_store(&stop_asking, false);
    for (int i = 0; i < 3; i++)
        pthread_create(&thread[i], NULL, ask_on, &n[i]);
    for (int i = 0; i < 200; i++) {
        OK(set("hold", i % 2 ? "on" : "off"));
        usleep(500);
        if (i % 10 == 9)
            look_at_it();
    }
    atomic_store(&stop_asking, true);
    OK(set("hold", "off"));
    for (int i = 0; i < 3; i++) {
        pthread_join(thread[i], NULL);
        ck_assert_int_gt(n[i], 0);
    }
    brick_end(&b);
}
END_TEST

START_TEST(a_fault_delays_too)
{
    struct answer a;
    uint64_t begin;

    start_layer("debug/fault", " option rate 100%\n option delay 30ms\n option error none\n");
    begin = wg_now_ns();
    ask(&a);
    OK(result(&a));
    ck_assert(wg_now_ns() - begin >= 30000000u);
    OK(set("error", "ESTALE"));
    ask(&a);
    ERR(result(&a), ESTALE);
    brick_end(&b);
}
END_TEST

/* --- trace --- */

/* The newest line noted, or "". */
static const char *newest(unsigned *ret_n)
{
    static char line[1024];
    cJSON *request = cJSON_CreateObject(), *answer = cJSON_CreateObject(), *lines, *last;

    OK(wg_report_find("trace")->fn(request, answer));
    lines = cJSON_GetObjectItem(cJSON_GetArrayItem(cJSON_GetObjectItem(answer, "traces"), 0), "lines");
    *ret_n = (unsigned)cJSON_GetArraySize(lines);
    last = cJSON_GetArrayItem(lines, (int)*ret_n - 1);
    snprintf(line, sizeof line, "%s", last ? cJSON_GetStringValue(cJSON_GetObjectItem(last, "line")) : "");
    cJSON_Delete(request);
    cJSON_Delete(answer);
    return line;
}

START_TEST(a_trace_notes_arguments_and_results)
{
    struct wg_ref f;
    const char *line;
    unsigned n;

    start_layer("debug/trace", "");
    f = mkfile(&b, mkdir_(&b, brick_root(), "d", 0755), "f", 0640);
    OK(put_text(&b, f, 7, "hello", WG_UNSTABLE));
    line = newest(&n);
    ck_assert_uint_eq(n, 3);
    ck_assert_msg(strstr(line, " write /d/f OK ") != NULL, "%s", line);
    ck_assert_msg(strstr(line, "offset=7") != NULL && strstr(line, "count=5") != NULL, "%s", line);
    ck_assert_msg(!strstr(line, "hello"), "%s", line);
    ERR(FOP_(&b, lookup, .at = at(brick_root(), "no")), ENOENT);
    line = newest(&n);
    ck_assert_msg(strstr(line, " lookup /no ENOENT ") != NULL, "%s", line);
    brick_end(&b);
}
END_TEST

START_TEST(a_trace_filters)
{
    unsigned n;

    start_layer("debug/trace", " option fops lookup\n option errors ENOENT,EIO\n");
    OK(FOP_(&b, getattr, .at = brick_root()));
    lookup(&b, brick_root(), ".");
    newest(&n);
    ck_assert_uint_eq(n, 0);
    ERR(FOP_(&b, lookup, .at = at(brick_root(), "no")), ENOENT);
    newest(&n);
    ck_assert_uint_eq(n, 1);
    OK(set("path", "y*"));
    ERR(FOP_(&b, lookup, .at = at(brick_root(), "no")), ENOENT);
    ERR(FOP_(&b, lookup, .at = at(brick_root(), "yes")), ENOENT);
    newest(&n);
    ck_assert_uint_eq(n, 2);
    OK(set("client", "10.*"));
    ERR(FOP_(&b, lookup, .at = at(brick_root(), "yes")), ENOENT);
    newest(&n);
    ck_assert_uint_eq(n, 2);
    OK(set("client", "*"));
    OK(set("slower-than", "1h"));
    ERR(FOP_(&b, lookup, .at = at(brick_root(), "yes")), ENOENT);
    OK(set("slower-than", "0"));
    OK(set("enabled", "off"));
    ERR(FOP_(&b, lookup, .at = at(brick_root(), "yes")), ENOENT);
    newest(&n);
    ck_assert_uint_eq(n, 2);
    brick_end(&b);
}
END_TEST

START_TEST(the_ring_keeps_the_newest)
{
    cJSON *request = cJSON_CreateObject(), *answer = cJSON_CreateObject(), *lines;

    start_layer("debug/trace", " option lines 16\n");
    for (int i = 0; i < 40; i++)
        OK(FOP_(&b, getattr, .at = brick_root()));
    cJSON_AddNumberToObject(request, "after", 3);
    OK(wg_report_find("trace")->fn(request, answer));
    lines = cJSON_GetObjectItem(cJSON_GetArrayItem(cJSON_GetObjectItem(answer, "traces"), 0), "lines");
    ck_assert_int_eq(cJSON_GetArraySize(lines), 16);
    ck_assert(cJSON_GetNumberValue(cJSON_GetObjectItem(cJSON_GetArrayItem(lines, 0), "n")) == 25);
    cJSON_Delete(request);
    cJSON_Delete(answer);
    brick_end(&b);
    request = cJSON_CreateObject();
    answer = cJSON_CreateObject();
    ERR(wg_report_find("trace")->fn(request, answer), ENOENT);
    cJSON_Delete(request);
    cJSON_Delete(answer);
}
END_TEST

START_TEST(a_reference_is_never_shown)
{
    struct wg_ref_drop_in in = { .ref = WG_STR("verysecret") };
    char text[256];

    ck_assert_str_eq(wg_show_record(WG_OP_ref_drop, false, &in, text, sizeof text), "ref=<10 bytes>");
}
END_TEST

/* --- sink --- */

START_TEST(a_sink_is_off_until_told)
{
    struct wg_ref f;

    start_layer("debug/sink", "");
    f = mkfile(&b, brick_root(), "f", 0644);
    OK(put_text(&b, f, 0, "kept", WG_FILE_SYNC));
    ck_assert_str_eq(get_text(&b, f), "kept");
    OK(set("enabled", "on"));
    OK(put_text(&b, f, 0, "lost", WG_FILE_SYNC));
    ck_assert_uint_eq(OUT_(&b, write)->count, 4);
    OK(FOP_(&b, commit, .at = f));
    OK(FOP_(&b, read, .at = f, .size = 100000));
    ck_assert_uint_eq(OUT_(&b, read)->data.len, 100000);
    OK(set("enabled", "off"));
    ck_assert_str_eq(get_text(&b, f), "kept");
    brick_end(&b);
}
END_TEST

START_TEST(a_sink_leaves_no_half_object)
{
    struct wg_ref bucket, staged;
    wg_gfid g = wg_gfid_new();
    struct wg_seg seg = { NULL, (void *)(uintptr_t)"0123456789", 10 };

    start_layer("debug/sink", "");
    bucket = mkdir_(&b, brick_root(), "bucket", 0755);
    OK(FOP_(&b, put, .bucket = bucket, .key = WG_STR("old"), .gfid = wg_gfid_new(), .data = { &seg, 1, 10 }));
    OK(set("enabled", "on"));
    OK(FOP_(&b, stage, .bucket = bucket, .key = WG_STR("k"), .gfid = g));
    staged = OUT_(&b, stage)->ref;
    OK(put_text(&b, staged, 0, "data", WG_UNSTABLE));
    OK(FOP_(&b, put, .bucket = bucket, .key = WG_STR("k"), .gfid = g, .from = staged));
    OK(FOP_(&b, get, .bucket = bucket, .key = WG_STR("old"), .offset = 4, .size = 100));
    ck_assert_uint_eq(OUT_(&b, get)->data.len, 6);
    ck_assert_int_eq(((const char *)OUT_(&b, get)->data.seg[0].base)[0], 0);
    OK(set("enabled", "off"));
    ERR(FOP_(&b, get, .bucket = bucket, .key = WG_STR("k"), .size = 100), ENOENT);
    brick_end(&b);
}
END_TEST

/* --- io-stats --- */

START_TEST(io_stats_know_the_busiest_file)
{
    struct wg_ref f, g;
    cJSON *j, *layer, *first;

    start_layer("debug/io-stats", " option top 2\n");
    f = mkfile(&b, brick_root(), "busy", 0644);
    for (int i = 0; i < 200; i++) { /* more files than places */
        char name[16];

        snprintf(name, sizeof name, "f%d", i);
        g = mkfile(&b, brick_root(), name, 0644);
        OK(put_text(&b, g, 0, "x", WG_UNSTABLE));
        OK(put_text(&b, f, 0, "0123456789", WG_UNSTABLE));
    }
    get_text(&b, f);
    j = dump();
    layer = layer_of(j);
    ck_assert(cJSON_GetNumberValue(cJSON_GetObjectItem(cJSON_GetObjectItem(layer, "written"), "bytes")) == 2200);
    ck_assert(cJSON_GetNumberValue(cJSON_GetObjectItem(cJSON_GetObjectItem(layer, "read"), "bytes")) == 10);
    first = cJSON_GetArrayItem(cJSON_GetObjectItem(layer, "files"), 0);
    ck_assert_str_eq(cJSON_GetStringValue(cJSON_GetObjectItem(first, "path")), "/busy");
    ck_assert(cJSON_GetNumberValue(cJSON_GetObjectItem(first, "written_bytes")) == 2000);
    ck_assert_int_eq(cJSON_GetArraySize(cJSON_GetObjectItem(layer, "files")), 2);
    cJSON_Delete(j);
    OK(set("enabled", "off"));
    OK(set("enabled", "on"));
    j = dump();
    ck_assert_int_eq(cJSON_GetArraySize(cJSON_GetObjectItem(layer_of(j), "files")), 0);
    cJSON_Delete(j);
    brick_end(&b);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("debug");
    TCase *t = tcase_create("debug");
    SRunner *r;
    int failed;

    wg_work_start(2);
    tcase_set_timeout(t, 120);
    tcase_add_test(t, a_fresh_fault_does_nothing);
    tcase_add_test(t, the_nth_matching_fop_fails_once);
    tcase_add_test(t, before_it_never_happened_and_after_it_has);
    tcase_add_test(t, a_share_fails_and_the_same_for_the_same_seed);
    tcase_add_test(t, a_path_picks_files_also_when_they_are_named_by_gfid);
    tcase_add_test(t, an_s3_key_is_a_path_under_its_bucket);
    tcase_add_loop_test(t, a_bad_option_is_refused, 0, sizeof bad / sizeof *bad);
    tcase_add_test(t, a_bad_change_leaves_what_was);
    tcase_add_loop_test(t, a_delayed_fop_answers_later_with_the_stores_result, 0, 2);
    tcase_add_loop_test(t, held_fops_go_on_when_let_go, 0, 2);
    tcase_add_test(t, top_names_who_holds_a_request);
    tcase_add_test(t, holding_and_letting_go_loses_no_call);
    tcase_add_test(t, a_fault_delays_too);
    tcase_add_test(t, a_trace_notes_arguments_and_results);
    tcase_add_test(t, a_trace_filters);
    tcase_add_test(t, the_ring_keeps_the_newest);
    tcase_add_test(t, a_reference_is_never_shown);
    tcase_add_test(t, a_sink_is_off_until_told);
    tcase_add_test(t, a_sink_leaves_no_half_object);
    tcase_add_test(t, io_stats_know_the_busiest_file);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_set_fork_status(r, CK_NOFORK);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    wg_work_stop();
    return failed != 0;
}
