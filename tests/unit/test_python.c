/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Translators in Python, over a store in C: what a method can do, that nothing it does wrong loses a
 * call or the process, options, reload, leases, tasks of its own; that memory stays constant.
 * python_cases.py has the translators.
 */
#include <check.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dump.h"
#include "graph.h"
#include "iobuf.h"
#include "lease.h"
#include "list.h"
#include "log.h"
#include "python_kit.h"

static char cases[PATH_MAX], scratch[] = "/tmp/wg-python.XXXXXX";

/* --- a store: names with "absent" are; with "slow" it answers on another thread --- */

static atomic_uint asked[WG_OP_MAX];
static char seen_name[256], seen_data[64];
static _Atomic bool note_name; /* in seen_name; one thread asks */
static _Atomic bool exists; /* "maybe" does */

static void *answer_later(void *arg)
{
    struct wg_frame *f = arg;
    struct wg_lookup_out *out = wg_new_out(f, lookup);

    usleep(2000);
    if (out)
        out->attr = (struct wg_iatt){ .valid = true, .type = WG_REG };
    wg_unwind(f, out ? 0 : ENOMEM);
    return NULL;
}

static void store_lookup(struct wg_frame *f)
{
    const struct wg_lookup_in *in = wg_in(f, lookup);
    struct wg_lookup_out *out;
    pthread_t thread;

    atomic_fetch_add(&asked[WG_OP_lookup], 1);
    wg_uses(f, &in->at.parent.gfid, in->at.name);
    if (in->at.name.len > 0 && in->at.name.len < sizeof seen_name && note_name) {
        memcpy(seen_name, in->at.name.s, in->at.name.len);
        seen_name[in->at.name.len] = '\0';
    }
    if ((in->at.name.len >= 6 && memmem(in->at.name.s, in->at.name.len, "absent", 6)) ||
        (wg_str_eq(in->at.name, WG_STR("maybe")) && !exists))
        return wg_unwind(f, ENOENT);
    if (in->at.name.len >= 4 && memmem(in->at.name.s, in->at.name.len, "slow", 4)) {
        ck_assert_int_eq(pthread_create(&thread, NULL, answer_later, f), 0);
        pthread_detach(thread);
        return;
    }
    out = wg_new_out(f, lookup);
    if (!out)
        return wg_unwind(f, ENOMEM);
    out->ref.gfid = WG_ROOT_GFID;
    out->attr = (struct wg_iatt){ .valid = true, .type = WG_REG, .mode = 0666, .size = in->at.name.len };
    wg_unwind(f, 0);
}

static void store_create(struct wg_frame *f)
{
    const struct wg_create_in *in = wg_in(f, create);

    exists = true;
    wg_changed(f, &in->at.parent.gfid, in->at.name);
    wg_unwind(f, wg_new_out(f, create) ? 0 : ENOMEM);
}

static void store_getattr(struct wg_frame *f)
{
    struct wg_getattr_out *out = wg_new_out(f, getattr);

    atomic_fetch_add(&asked[WG_OP_getattr], 1);
    if (!out)
        return wg_unwind(f, ENOMEM);
    out->attr = (struct wg_iatt){ .valid = true, .type = WG_DIR, .mode = 0777, .size = 42 };
    wg_unwind(f, 0);
}

static void store_read(struct wg_frame *f)
{
    const struct wg_read_in *in = wg_in(f, read);
    struct wg_read_out *out = wg_new_out(f, read);
    struct wg_iobuf *buf = wg_iobuf_get(in->size);
    struct wg_seg *seg = WG_NEW(&f->call->arena, struct wg_seg);

    if (!out || !buf || !seg || wg_keep_iobuf(&f->call->arena, buf))
        return wg_unwind(f, ENOMEM);
    memset(buf->base, 'r', in->size);
    *seg = (struct wg_seg){ buf, buf->base, in->size };
    out->data = (struct wg_data){ seg, 1, in->size };
    wg_unwind(f, 0);
}

static void store_write(struct wg_frame *f)
{
    const struct wg_write_in *in = wg_in(f, write);
    struct wg_write_out *out = wg_new_out(f, write);
    size_t n = 0;

    for (uint32_t i = 0; i < in->data.nseg; n += in->data.seg[i++].len)
        memcpy(seen_data + n, in->data.seg[i].base, in->data.seg[i].len);
    if (out)
        out->count = (uint32_t)n;
    wg_unwind(f, out ? 0 : ENOMEM);
}

static void store_readdir(struct wg_frame *f)
{
    struct wg_readdir_out *out = wg_new_out(f, readdir);
    struct wg_appender a;

    if (!out || wg_append_start(&a, 4096))
        return wg_unwind(f, ENOMEM);
    for (int i = 0; i < 4; i++) {
        char name = (char)('a' + i);
        struct wg_dirent e = { .cookie = 3 + (unsigned)i, .name = { &name, 1 } };

        wg_append_dirent(&a, &e);
    }
    out->entries = wg_append_end(&a);
    wg_unwind(f, wg_keep_iobuf(&f->call->arena, out->entries.buf));
}

static void store_getxattr(struct wg_frame *f)
{
    struct wg_getxattr_out *out = wg_new_out(f, getxattr);
    struct wg_xattr x = { WG_STR("user.one"), WG_STR("value") };
    struct wg_appender a;

    if (!out || wg_append_start(&a, 4096))
        return wg_unwind(f, ENOMEM);
    wg_append_xattr(&a, &x);
    out->xattrs = wg_append_end(&a);
    wg_unwind(f, wg_keep_iobuf(&f->call->arena, out->xattrs.buf));
}

static void store_any(struct wg_frame *f)
{
    f->out = wg_alloc(&f->call->arena, wg_fops[f->op].out_size);
    wg_unwind(f, f->out ? 0 : ENOMEM);
}

static const struct wg_class store = {
    .type = "test/store",
    .help = "answers",
    .announces = true,
    .any = store_any,
    .fops = { [WG_OP_lookup] = store_lookup, [WG_OP_getattr] = store_getattr, [WG_OP_read] = store_read,
              [WG_OP_write] = store_write, [WG_OP_readdir] = store_readdir, [WG_OP_getxattr] = store_getxattr,
              [WG_OP_create] = store_create },
};

/* --- graphs and calls --- */

static char error_line[1024];

static void on_error(void *arg, const char *text)
{
    (void)arg;
    snprintf(error_line, sizeof error_line, "%s", text);
}

static struct wg_graph *parse(const char *file, const char *class, const char *options)
{
    char text[PATH_MAX + 1024];

    error_line[0] = '\0';
    snprintf(text, sizeof text, "volume s\n type test/store\nend-volume\n"
             "volume py\n type bindings/python\n option module %s\n%s%s%s%s subvolumes s\nend-volume\n",
             file, class ? " option class " : "", class ? class : "", class ? "\n" : "", options);
    return wg_graph_parse("test.vol", text, strlen(text), on_error, NULL);
}

static struct wg_graph *graph_with(const char *class, const char *options)
{
    struct wg_graph *g = parse(cases, class, options);

    ck_assert_msg(g != NULL, "%s", error_line);
    ck_assert_int_eq(wg_graph_init(g), 0);
    ck_assert_int_eq(wg_graph_start(g), 0);
    return g;
}

static struct wg_graph *graph_of(const char *class)
{
    return graph_with(class, "");
}

static void graph_end(struct wg_graph *g)
{
    wg_graph_stop(g);
    wg_graph_free(g);
}

struct asker {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    int answers, err;
};

static void finish(struct wg_call *call)
{
    struct asker *a = call->owner;

    pthread_mutex_lock(&a->lock);
    a->answers++;
    a->err = call->root->err;
    pthread_cond_signal(&a->cond);
    pthread_mutex_unlock(&a->lock);
}

/* A call's whole way; *ret keeps it (unref it), for its results. */
static int ask_before(struct wg_graph *g, unsigned op, const void *in, uint64_t deadline_ns, struct wg_call **ret)
{
    static const uint32_t groups[] = { 4, 5 };
    struct asker a = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER };
    struct wg_call *call = wg_call_new(g, WG_FROM_INTERNAL, "test");

    call->owner = &a;
    call->cred = (struct wg_cred){ 1000, 100, 2, groups };
    call->client = WG_STR("192.0.2.7");
    call->deadline_ns = deadline_ns;
    wg_start(call, g->top, op, in, finish);
    pthread_mutex_lock(&a.lock);
    while (!a.answers)
        pthread_cond_wait(&a.cond, &a.lock);
    pthread_mutex_unlock(&a.lock);
    ck_assert_int_eq(a.answers, 1);
    if (ret)
        *ret = call;
    else
        wg_call_unref(call);
    return a.err;
}

static int ask(struct wg_graph *g, unsigned op, const void *in, struct wg_call **ret)
{
    return ask_before(g, op, in, 0, ret);
}

static int lookup(struct wg_graph *g, const char *name)
{
    struct wg_lookup_in in = { .at = { { WG_ROOT_GFID }, wg_str_of(name) } };

    return ask(g, WG_OP_lookup, &in, NULL);
}

/* A number in the translator's own dump. */
static long dumped(struct wg_graph *g, const char *name)
{
    char *text = wg_dump_process(g, true), *at, key[64];
    long n = -1;

    ck_assert_ptr_nonnull(text);
    snprintf(key, sizeof key, "\"%s\":", name);
    at = strstr(text, key);
    if (at)
        n = strtol(at + strlen(key), NULL, 10);
    free(text);
    return n;
}

static void wait_for(struct wg_graph *g, const char *name, long value)
{
    for (int i = 0; i < 3000 && dumped(g, name) != value; i++)
        usleep(10000);
    ck_assert_int_eq(dumped(g, name), value);
}

/* A thread that has answered a call may still have to let go of it. */
static void no_call_is_left(void)
{
    for (int i = 0; i < 3000 && wg_calls_live() > 0; i++)
        usleep(10000);
    ck_assert_int_eq((int)wg_calls_live(), 0);
}

/* --- ways to write a method --- */

START_TEST(a_generator_sees_the_reply_and_changes_it)
{
    struct wg_graph *g = graph_with("Change", " option mask 18\n");
    struct wg_getattr_in in = { 0 };
    struct wg_call *call;

    ck_assert_int_eq(ask(g, WG_OP_getattr, &in, &call), 0);
    ck_assert_int_eq((int)wg_result(call, getattr)->attr.mode, 0777 & ~18);
    wg_call_unref(call);
    graph_end(g);
}
END_TEST

START_TEST(fops_without_a_method_do_not_visit_it)
{
    struct wg_graph *g = graph_of("Change");

    ck_assert_str_eq(g->top->route[WG_OP_getattr].xl->name, "py");
    for (unsigned op = 0; op < WG_OP_MAX; op++)
        if (wg_fops[op].kind && op != WG_OP_getattr)
            ck_assert_str_eq(g->top->route[op].xl->name, "s");
    ck_assert(!g->top->class->event);
    graph_end(g);
}
END_TEST

START_TEST(plain_methods_answer_pass_and_wind)
{
    struct wg_graph *g = graph_of("Plain");
    struct wg_read_in read = { .size = 100 };
    struct wg_getattr_in in = { 0 };
    struct wg_call *call;

    ck_assert_int_eq(lookup(g, "forbidden"), EACCES);
    ck_assert_int_eq(lookup(g, "allowed"), 0);
    ck_assert_int_eq(lookup(g, "absent"), ENOENT);
    ck_assert_int_eq(lookup(g, "slow"), 0);
    ck_assert_int_eq(ask(g, WG_OP_read, &read, &call), 0);
    ck_assert_int_eq((int)wg_result(call, read)->data.len, 7);
    ck_assert_int_eq((int)read.size, 100); /* the caller's arguments are not written */
    wg_call_unref(call);
    ck_assert_int_eq(ask(g, WG_OP_getattr, &in, &call), 0);
    ck_assert_int_eq((int)wg_result(call, getattr)->attr.uid, 77);
    wg_call_unref(call);
    graph_end(g);
    g = graph_of("Shapes");
    ck_assert_int_eq(lookup(g, "name"), 0);
    ck_assert_int_eq(ask(g, WG_OP_getattr, &in, NULL), 0);
    ck_assert_int_eq(ask(g, WG_OP_read, &read, NULL), 0);
    graph_end(g);
}
END_TEST

START_TEST(a_method_runs_other_fops)
{
    struct wg_graph *g = graph_of("Other");
    struct wg_lookup_in in = { .at = { { WG_ROOT_GFID }, WG_STR("name") } };
    struct wg_call *call;

    ck_assert_int_eq(ask(g, WG_OP_lookup, &in, &call), 0);
    ck_assert_int_eq((int)wg_result(call, lookup)->parent.size, 6); /* of "rrrrrx" */
    ck_assert_int_eq((int)wg_result(call, lookup)->attr.size, 4);
    wg_call_unref(call);
    graph_end(g);
}
END_TEST

START_TEST(a_method_answers_with_results_of_its_own)
{
    struct wg_graph *g = graph_of("Made");
    struct wg_lookup_in in = { .at = { { WG_ROOT_GFID }, WG_STR("name") } };
    struct wg_readlink_in link = { 0 };
    struct wg_read_in read = { .offset = 2, .size = 3 };
    struct wg_readdir_in dir = { .size = 4096 };
    struct wg_getattr_in attr = { 0 };
    struct wg_seg seg[2] = { { NULL, "abcd", 4 }, { NULL, "efghij", 6 } };
    struct wg_write_in write = { .data = { seg, 2, 10 } };
    struct wg_cursor c;
    struct wg_dirent e;
    struct wg_call *call;
    int n = 0;

    ck_assert_int_eq(ask(g, WG_OP_lookup, &in, &call), 0);
    ck_assert_int_eq((int)(wg_result(call, lookup)->attr.size >> 40), 1);
    ck_assert(wg_gfid_eq(wg_result(call, lookup)->attr.gfid, wg_result(call, lookup)->ref.gfid));
    wg_call_unref(call);
    ck_assert_int_eq(ask(g, WG_OP_readlink, &link, &call), 0);
    ck_assert(wg_str_eq(wg_result(call, readlink)->target, WG_STR("\xc3\xbc" "ber")));
    wg_call_unref(call);
    ck_assert_int_eq(ask(g, WG_OP_read, &read, &call), 0);
    ck_assert_int_eq(memcmp(wg_result(call, read)->data.seg[0].base, "234", 3), 0);
    ck_assert(wg_result(call, read)->eof);
    wg_call_unref(call);
    ck_assert_int_eq(ask(g, WG_OP_readdir, &dir, &call), 0);
    c = wg_cursor(&wg_result(call, readdir)->entries);
    while (wg_next_dirent(&c, &e))
        n += e.cookie == 3 + (unsigned)n;
    ck_assert_int_eq(n, 5);
    wg_call_unref(call);
    ck_assert_int_eq(ask(g, WG_OP_getattr, &attr, &call), 0);
    ck_assert(!wg_result(call, getattr)->attr.valid);
    wg_call_unref(call);
    ck_assert_int_eq(ask(g, WG_OP_write, &write, &call), 0);
    ck_assert_int_eq(memcmp(seen_data, "ABCDEFGHIJ", 10), 0);
    wg_call_unref(call);
    graph_end(g);
}
END_TEST

START_TEST(lists_are_read_and_filtered)
{
    struct wg_graph *g = graph_of("Rows");
    struct wg_readdir_in dir = { .size = 4096 };
    struct wg_getxattr_in xattr = { 0 };
    struct wg_call *call;

    ck_assert_int_eq(ask(g, WG_OP_readdir, &dir, &call), 0);
    ck_assert_int_eq((int)wg_result(call, readdir)->entries.count, 3);
    wg_call_unref(call);
    ck_assert_int_eq(ask(g, WG_OP_getxattr, &xattr, &call), 0);
    ck_assert_int_eq((int)wg_result(call, getxattr)->xattrs.count, 2);
    wg_call_unref(call);
    graph_end(g);
}
END_TEST

START_TEST(any_treats_every_fop)
{
    static const union {
        uint64_t align;
        char bytes[4096];
    } zero;
    struct wg_graph *g = graph_of("Any");
    int n = 0;

    for (unsigned op = 0; op < WG_OP_MAX; op++)
        if (wg_fops[op].kind && op != WG_OP_read) {
            ck_assert_int_eq(ask(g, op, &zero, NULL), 0);
            n++;
        }
    ck_assert_int_eq(dumped(g, "seen"), n);
    graph_end(g);
}
END_TEST

START_TEST(values_behave)
{
    struct wg_graph *g = graph_of("Values");

    note_name = true;
    ck_assert_int_eq(lookup(g, "name"), 0);
    ck_assert_str_eq(seen_name, "name");
    note_name = false;
    graph_end(g);
}
END_TEST

START_TEST(the_stubs_for_editors_say_what_there_is)
{
    struct wg_graph *g = parse(python_source("tests/unit/python_stubs.py"), NULL, "");

    ck_assert_msg(g != NULL, "%s", error_line);
    ck_assert_int_eq(wg_graph_init(g), 0);
    ck_assert_int_eq(wg_graph_start(g), 0); /* WG_TEST_LOG=1 shows what differs */
    graph_end(g);
}
END_TEST

/* --- waiting --- */

START_TEST(a_generator_sleeps_and_offloads)
{
    struct wg_graph *g = graph_of("Waits");
    struct wg_statfs_in fs = { 0 };

    ck_assert_int_eq(lookup(g, "name"), 0);
    ck_assert_int_eq(lookup(g, "slow"), 0);
    ck_assert_int_eq(ask(g, WG_OP_statfs, &fs, NULL), EIO);
    graph_end(g);
}
END_TEST

START_TEST(who_sleeps_past_the_deadline_is_closed)
{
    struct wg_graph *g = graph_of("Waits");
    struct wg_getattr_in in = { 0 };

    ck_assert_int_eq(ask_before(g, WG_OP_getattr, &in, wg_now_ns() + 20000000, NULL), ETIMEDOUT);
    ck_assert_int_eq(dumped(g, "closed"), 1); /* its finally ran, and still saw the call */
    graph_end(g);
}
END_TEST

static void *drain_main(void *g)
{
    struct wg_xlator *xl = ((struct wg_graph *)g)->top;

    usleep(50000);
    xl->class->drain(xl);
    return NULL;
}

START_TEST(a_graph_that_stops_does_not_wait_for_sleepers)
{
    struct wg_graph *g = graph_of("Waits");
    struct wg_getattr_in in = { 0 };
    pthread_t t;

    ck_assert_int_eq(pthread_create(&t, NULL, drain_main, g), 0);
    ck_assert_int_eq(ask(g, WG_OP_getattr, &in, NULL), EAGAIN);
    pthread_join(t, NULL);
    ck_assert_int_eq(ask(g, WG_OP_getattr, &in, NULL), EAGAIN); /* nor for later ones */
    graph_end(g);
}
END_TEST

START_TEST(timers_and_tasks_of_its_own_run_and_end_with_it)
{
    struct wg_graph *g = graph_of("Own");

    wait_for(g, "found", 120);
    wait_for(g, "ticks", 5);
    wait_for(g, "failed", 1);
    wait_for(g, "spawned_tasks", 1); /* forever */
    graph_end(g);
    no_call_is_left();
}
END_TEST

START_TEST(a_task_that_only_offloads_ends_with_the_translator)
{
    struct wg_graph *g = graph_of("Restless");

    wait_for(g, "spawned_tasks", 1);
    graph_end(g);
    no_call_is_left();
}
END_TEST

START_TEST(a_process_that_ends_does_not_wait_for_its_tasks)
{
    struct wg_graph *g = graph_of("Own");

    wait_for(g, "spawned_tasks", 1);
    wg_graph_drain(g);
    no_call_is_left();
    ck_assert_int_eq(lookup(g, "name"), 0); /* clients are served to the end */
    graph_end(g);
}
END_TEST

/* --- all that goes wrong --- */

static const struct {
    const char *how;
    int err;
} wrongs[] = {
    { "raise", EIO }, { "raise-in-generator", EIO }, { "fail", EDQUOT }, { "fail-garbage", EIO }, { "exit", EIO },
    { "exit-in-generator", EIO }, { "interrupt", EIO }, { "stop-iteration", EIO }, { "recurse", EIO },
    { "recurse-in-c", EIO }, { "memory", EIO }, { "none", EIO }, { "generator-none", EIO }, { "garbage", EIO },
    { "number", EIO }, { "yield-garbage", EIO }, { "class", EIO }, { "coroutine", EIO },
    { "yield-after-unwind", EPERM }, { "yield-in-finally", EPERM }, { "other-reply", EIO },
    { "reply-of-other-fop", EIO }, { "tail-of-other-fop", EIO }, { "then-raises", EIO },
    { "then-wrong-arguments", EIO }, { "then-with-yield", EIO }, { "keep", 0 }, { "use-kept", 0 },
    { "wind-kept", EIO }, { "wind-kept-call", EIO }, { "unwind-kept", EIO }, { "keep-generator", EPERM },
    { "use-kept-generator", EIO }, { "share-generator", 0 }, { "close-self", EIO }, { "state-cycle", 0 },
    { "sleep-plain", EIO }, { "no-lease", EIO }, { "delete", EIO }, { "set-err", EXDEV },
    { "success-of-an-error", 0 }, { "bad-repr", EIO }, { "bad-str", EIO }, { "no-such-method", EIO },
};

START_TEST(nothing_that_a_method_does_wrong_loses_its_call)
{
    struct wg_graph *g = graph_of("Bad");

    for (size_t i = 0; i < sizeof wrongs / sizeof *wrongs; i++) {
        int err;

        if (!strcmp(wrongs[i].how, "share-generator"))
            continue; /* it would go on for good */
        err = lookup(g, wrongs[i].how);
        ck_assert_msg(err == wrongs[i].err, "%s answered %s, not %s", wrongs[i].how, wg_error_name(err),
                      wg_error_name(wrongs[i].err));
    }
    no_call_is_left();
    graph_end(g);
}
END_TEST

START_TEST(an_exception_is_in_the_log_with_its_traceback)
{
    struct wg_graph *g = graph_of("Bad");
    char path[256], text[8192];
    FILE *f;
    size_t n;

    snprintf(path, sizeof path, "%s/log", scratch);
    ck_assert_int_eq(wg_log_file(path), 0);
    for (int i = 0; i < 20; i++)
        ck_assert_int_eq(lookup(g, "then-raises"), EIO);
    graph_end(g);
    wg_log_file(getenv("WG_TEST_LOG") ? NULL : "/dev/null");
    f = fopen(path, "r");
    ck_assert_ptr_nonnull(f);
    n = fread(text, 1, sizeof text - 1, f);
    text[n] = '\0';
    fclose(f);
    ck_assert_ptr_nonnull(strstr(text, "Bad.lookup in py: PermissionError"));
    ck_assert_ptr_nonnull(strstr(text, "python_cases.py\", line "));
    ck_assert_ptr_nonnull(strstr(text, "in then\n"));
    ck_assert_ptr_nonnull(strstr(text, "PermissionError: [Errno 13] on purpose"));
    ck_assert_ptr_null(strstr(strstr(text, "Traceback") + 1, "Traceback")); /* not a line for each call */
}
END_TEST

/* --- loading --- */

static const char *file_with(const char *name, const char *text)
{
    static char path[256];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", scratch, name);
    f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
    return path;
}

static const struct {
    const char *text, *class, *options, *error;
} unfit[] = {
    { "import windgate\nclass A(windgate.Xlator:\n    pass\n", NULL, "", "bad.py:2: SyntaxError: " },
    { "x = 1\nimport nothing_of_this_name\n", NULL, "", "bad.py:2: ModuleNotFoundError: " },
    { "x = 1\n", NULL, "", "bad.py has no subclasses of windgate.Xlator" },
    { "from windgate import *\nclass A(Xlator): pass\nclass B(Xlator): pass\n", NULL, "",
      "has 2 subclasses of windgate.Xlator: say which by option class" },
    { "from windgate import *\nclass Abcd(Xlator): pass\n", "Abce", "", "has no class 'Abce'; the nearest is 'Abcd'" },
    { "import sys\nsys.exit(3)\n", NULL, "", "bad.py:2: SystemExit: 3" },
    { "def f(): return f()\nf()\n", NULL, "", "RecursionError" },
    { "from windgate import *\nclass A(Xlator): options = {'ttl': Time('5 parsecs')}\n", NULL, "",
      "the default of 'ttl' is not valid" },
    { "from windgate import *\nclass A(Xlator): options = {'ttl': Time('5s')}\n", NULL, " option tll 3\n",
      "test.vol:7: bindings/python has no option 'tll'; the nearest is 'ttl'" },
    { "from windgate import *\nclass A(Xlator): options = {'ttl': Time('5s', max=9000)}\n", NULL, " option ttl 10s\n",
      "test.vol:7: option 'ttl' is '10s'; it takes a time" },
    { "from windgate import *\nclass A(Xlator): options = {'dir': Path(help='where it is')}\n", NULL, "",
      "test.vol:4: volume 'py' needs 'option dir': where it is" },
    { "from windgate import *\nclass A(Xlator): options = {'module': Path('x')}\n", NULL, "",
      "'module' can't be the name of an option" },
    { "from windgate import *\nclass A(Xlator):\n    def lookup(self, call): return PASS\n", NULL, "",
      "bad.py:3: lookup must take (self, call, args)" },
    { "from windgate import *\nclass A(Xlator):\n    def any(self, call, args, *, more): return PASS\n", NULL, "",
      "bad.py:3: any must take (self, call, args)" },
    { "\0", NULL, "", "has no subclasses" },
};

START_TEST(a_file_that_is_wrong_is_refused_in_one_line)
{
    const char *path = file_with("bad.py", unfit[_i].text);

    ck_assert_ptr_null(parse(path, unfit[_i].class, unfit[_i].options));
    ck_assert_msg(strstr(error_line, unfit[_i].error) != NULL, "'%s' lacks '%s'", error_line, unfit[_i].error);
    ck_assert_ptr_null(strchr(error_line, '\n'));
    ck_assert_msg(strncmp(error_line, "test.vol:", 9) == 0, "%s", error_line);
}
END_TEST

START_TEST(classes_that_are_wrong_are_refused)
{
    struct wg_graph *g;

    ck_assert_ptr_null(parse(cases, "BadOption", ""));
    ck_assert_ptr_nonnull(strstr(error_line, "option 'ttl' of BadOption must be"));
    ck_assert_ptr_null(parse(cases, "Misspelt", ""));
    ck_assert_ptr_nonnull(strstr(error_line, "there is no fop 'lokup'; the nearest is 'lookup'"));
    ck_assert_ptr_null(parse("/nonexistent.py", NULL, ""));
    ck_assert_ptr_nonnull(strstr(error_line, "/nonexistent.py: No such file"));
    g = parse(cases, "BadInit", "");
    ck_assert_ptr_nonnull(g);
    ck_assert_int_eq(wg_graph_init(g), EINVAL);
    wg_graph_free(g);
    g = parse(cases, "BadStart", "");
    ck_assert_ptr_nonnull(g);
    ck_assert_int_eq(wg_graph_init(g), 0);
    ck_assert_int_eq(wg_graph_start(g), EINVAL);
    graph_end(g);
}
END_TEST

START_TEST(options_have_the_types_they_declare)
{
    graph_end(graph_with("Needs", " option folder /tmp\n option ttl 1500ms\n option on yes\n"));
}
END_TEST

/* --- reload --- */

static void edit(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
}

#define CODE(number, more) \
    "import errno\nfrom windgate import *\nclass A(Xlator):\n    n = 0\n" more \
    "    def lookup(self, call, args):\n        self.n += 1\n" \
    "        if args.at.name == b'wait':\n            yield sleep(0.3)\n" \
    "        return unwind(" number " + self.n)\n"

START_TEST(a_changed_file_is_reloaded_and_calls_end_in_the_old_code)
{
    char path[256];
    struct wg_graph *g;
    struct asker a = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER };
    struct wg_lookup_in in = { .at = { { WG_ROOT_GFID }, WG_STR("wait") } };
    struct wg_call *call;

    snprintf(path, sizeof path, "%s/live.py", scratch);
    edit(path, CODE("100", ""));
    g = parse(path, NULL, "");
    ck_assert_msg(g != NULL, "%s", error_line);
    ck_assert_int_eq(wg_graph_init(g), 0);
    ck_assert_int_eq(wg_graph_start(g), 0);
    ck_assert_int_eq(lookup(g, "x"), 101);
    ck_assert_int_eq(g->top->class->reload(g->top), 0); /* not changed: as it is */
    ck_assert_int_eq(lookup(g, "x"), 102);

    call = wg_call_new(g, WG_FROM_INTERNAL, "test");
    call->owner = &a;
    wg_start(call, g->top, WG_OP_lookup, &in, finish);
    edit(path, CODE("200", "    def handover(self, old):\n        self.n = old.n + 40\n"));
    ck_assert_int_eq(g->top->class->reload(g->top), 0);
    ck_assert_int_eq(lookup(g, "x"), 244);
    pthread_mutex_lock(&a.lock);
    while (!a.answers)
        pthread_cond_wait(&a.cond, &a.lock);
    pthread_mutex_unlock(&a.lock);
    ck_assert_int_eq(a.err, 103);
    wg_call_unref(call);

    edit(path, "this is no Python\n");
    ck_assert_int_ne(g->top->class->reload(g->top), 0);
    ck_assert_int_eq(lookup(g, "x"), 245); /* the old code stays */
    edit(path, CODE("300", "    def __init__(self):\n        1 / 0\n"));
    ck_assert_int_ne(g->top->class->reload(g->top), 0);
    ck_assert_int_eq(lookup(g, "x"), 246);
    edit(path, CODE("300", "    def handover(self, old):\n        1 / 0\n"));
    ck_assert_int_ne(g->top->class->reload(g->top), 0);
    ck_assert_int_eq(lookup(g, "x"), 247);
    edit(path, "from windgate import *\nclass A(Xlator):\n    pass # treats nothing any more\n");
    ck_assert_int_eq(g->top->class->reload(g->top), 0);
    ck_assert_int_eq(lookup(g, "x"), 0);
    graph_end(g);
}
END_TEST

static struct wg_graph *live;
static atomic_bool enough;
static atomic_int wrong_answers;

static void *reload_asker(void *arg)
{
    for (unsigned i = 0; !enough; i++) {
        int err = lookup(live, i % 50 ? "x" : "wait");

        wrong_answers += err != EPERM && err != EACCES;
    }
    return arg;
}

START_TEST(a_file_is_reloaded_again_and_again_while_calls_run)
{
#define EDITION(number) \
    "import errno, sys\nfrom windgate import *\nclass A(Xlator):\n    def start(self):\n" \
    "        self.spawn(self.own, 1000)\n        self.spawn(self.busy)\n        self.timer(0.001, self.tick)\n" \
    "    def stop(self):\n        sys.stops = getattr(sys, 'stops', 0) + 1\n" \
    "    def dump(self):\n        return {'stops': getattr(sys, 'stops', 0)}\n" \
    "    def own(self, call, s):\n        while True:\n            yield sleep(s)\n" \
    "    def busy(self, call):\n        while True:\n            yield wind(call, LookupArgs(at=(ROOT, 'x')))\n" \
    "            yield sleep(0.001)\n    def tick(self):\n        self.timer(0.001, self.tick)\n" \
    "    def lookup(self, call, args):\n        reply = yield wind(call, args)\n" \
    "        if args.at.name == b'wait':\n            yield sleep(0.002)\n        return unwind(" number ")\n"
    const char *path = file_with("often.py", EDITION("1"));
    pthread_t t[3];

    live = parse(path, NULL, "");
    ck_assert_msg(live != NULL, "%s", error_line);
    ck_assert_int_eq(wg_graph_init(live), 0);
    ck_assert_int_eq(wg_graph_start(live), 0);
    enough = false;
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(pthread_create(&t[i], NULL, reload_asker, NULL), 0);
    for (int i = 0; i < 50; i++) {
        edit(path, i % 2 ? EDITION("errno.EPERM") : EDITION("errno.EACCES") "# longer\n");
        ck_assert_int_eq(live->top->class->reload(live->top), 0);
        usleep(5000);
    }
    enough = true;
    for (int i = 0; i < 3; i++)
        pthread_join(t[i], NULL);
    ck_assert_int_eq(dumped(live, "reloads"), 50);
    wait_for(live, "spawned_tasks", 2); /* those of the last one */
    wait_for(live, "stops", 50);
    graph_end(live);
    no_call_is_left();
    ck_assert_int_eq(wrong_answers, 0);
}
END_TEST

/* --- leases --- */

START_TEST(a_cache_believes_its_answer_as_long_as_the_lease_holds)
{
    struct wg_graph *g = graph_of("Cache");
    struct wg_create_in in = { .at = { { WG_ROOT_GFID }, WG_STR("maybe") } };

    exists = false;
    ck_assert_int_eq(lookup(g, "maybe"), ENOENT);
    asked[WG_OP_lookup] = 0;
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(lookup(g, "maybe"), ENOENT);
    ck_assert_int_eq((int)asked[WG_OP_lookup], 0);
    ck_assert_int_eq(ask(g, WG_OP_create, &in, NULL), 0);
    ck_assert_int_eq(lookup(g, "maybe"), 0);
    ck_assert_int_eq(dumped(g, "heard"), 1);
    ck_assert_int_eq(lookup(g, "absent"), ENOENT);
    asked[WG_OP_lookup] = 0;
    ck_assert_int_eq(lookup(g, "absent"), ENOENT);
    wg_notify(wg_graph_find(g, "s"), &(struct wg_event){ WG_EV_RESET });
    ck_assert_int_eq(lookup(g, "absent"), ENOENT);
    ck_assert_int_eq((int)asked[WG_OP_lookup], 1);
    ck_assert_int_eq(dumped(g, "heard"), 2);
    graph_end(g);
}
END_TEST

/* --- many --- */

static struct wg_graph *stack;
static atomic_int unexpected;

static void *asker_main(void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg;

    for (int i = 0; i < 300; i++) {
        struct wg_getattr_in attr = { 0 };
        struct wg_read_in read = { .size = 100 };
        struct wg_readdir_in dir = { .size = 4096 };
        char name[32];

        snprintf(name, sizeof name, "%s%d", rand_r(&seed) % 50 == 0 ? "slow" : rand_r(&seed) % 3 ? "n" : "absent", i);
        unexpected += lookup(stack, name) != (strstr(name, "absent") ? ENOENT : 0);
        unexpected += ask(stack, WG_OP_getattr, &attr, NULL) != 0;
        unexpected += ask(stack, WG_OP_read, &read, NULL) != 0;
        unexpected += ask(stack, WG_OP_readdir, &dir, NULL) != 0;
    }
    return NULL;
}

static struct wg_graph *stack_of(const char *const *classes, int n)
{
    char text[16384];
    int at = snprintf(text, sizeof text, "volume p0\n type test/store\nend-volume\n");
    struct wg_graph *g;

    for (int i = 1; i <= n; i++)
        at += snprintf(text + at, sizeof text - (size_t)at, "volume p%d\n type bindings/python\n option module %s\n"
                       " option class %s\n subvolumes p%d\nend-volume\n", i, cases, classes[i - 1], i - 1);
    g = wg_graph_parse("stack.vol", text, strlen(text), on_error, NULL);
    ck_assert_msg(g != NULL, "%s", error_line);
    ck_assert_int_eq(wg_graph_init(g), 0);
    ck_assert_int_eq(wg_graph_start(g), 0);
    return g;
}

START_TEST(several_layers_serve_several_threads)
{
    static const char *const classes[] = { "Steady", "Cache", "Any", "Plain", "Steady" };
    pthread_t t[4];

    stack = stack_of(classes, 4);
    for (uintptr_t i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&t[i], NULL, asker_main, (void *)i), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    ck_assert_int_eq(unexpected, 0);
    no_call_is_left();
    graph_end(stack);
}
END_TEST

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
size_t __sanitizer_get_current_allocated_bytes(void);

/* What is freed stays resident for a while: the heap itself is asked. */
static long memory_kb(void)
{
    return (long)(__sanitizer_get_current_allocated_bytes() / 1024);
}
#else
static long memory_kb(void)
{
    char text[256];
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");

    if (f && fgets(text, sizeof text, f))
        sscanf(text, "%*d %ld", &pages);
    if (f)
        fclose(f);
    return pages * 4;
}
#endif

static void all_kinds(struct wg_graph *g, int n)
{
    struct wg_getattr_in attr = { 0 };
    struct wg_read_in read = { .size = 100 };
    struct wg_readdir_in dir = { .size = 4096 };
    struct wg_statfs_in fs = { 0 };
    struct wg_access_in access = { 0 };

    for (int i = 0; i < n; i++) {
        char name[32];

        snprintf(name, sizeof name, "%s%d", i % 3 ? "n" : "absent", i % 1000);
        lookup(g, name);
        ask(g, WG_OP_getattr, &attr, NULL);
        ask(g, WG_OP_read, &read, NULL);
        ask(g, WG_OP_readdir, &dir, NULL);
        ask(g, WG_OP_statfs, &fs, NULL);
        ask(g, WG_OP_access, &access, NULL);
    }
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define ROUNDS 3000
#else
#define ROUNDS 17000 /* six fops each */
#endif

START_TEST(memory_stays_constant)
{
    static const char counts[] =
        "import gc, sys\nfrom windgate import *\nclass A(Xlator):\n"
        "    def dump(self):\n        gc.collect()\n"
        "        return {'objects': len(gc.get_objects()), 'blocks': sys.getallocatedblocks()}\n";
    char path[256];
    static const char *const classes[] = { "Steady" };
    struct wg_graph *g = stack_of(classes, 1), *watch;
    long objects, blocks, kb;

    snprintf(path, sizeof path, "%s", file_with("counts.py", counts));
    watch = parse(path, NULL, "");
    ck_assert_msg(watch != NULL, "%s", error_line);
    ck_assert_int_eq(wg_graph_init(watch), 0);
    ck_assert_int_eq(wg_graph_start(watch), 0);
    all_kinds(g, 1000);
    dumped(watch, "objects");
    objects = dumped(watch, "objects");
    blocks = dumped(watch, "blocks");
    kb = memory_kb();
    all_kinds(g, ROUNDS);
    dumped(watch, "objects");
    /* Spare objects are kept, a few hundred; a leak would show a thousand times that. */
    ck_assert_int_le(dumped(watch, "objects"), objects + 200);
    ck_assert_int_le(dumped(watch, "blocks"), blocks + 1500);
    ck_assert_int_le(memory_kb(), kb + 2000);
    ck_assert_int_ge(dumped(g, "ticks"), 1);
    no_call_is_left();
    graph_end(watch);
    graph_end(g);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("python");
    TCase *t = tcase_create("python");
    char command[PATH_MAX];
    SRunner *r;
    int failed;

    if (!python_find())
        return 77;
    snprintf(cases, sizeof cases, "%s", python_source("tests/unit/python_cases.py"));
    if (!mkdtemp(scratch))
        return 1;
    wg_log_set(getenv("WG_TEST_LOG") ? "debug" : "error,python=error");
    if (!getenv("WG_TEST_LOG"))
        wg_log_file("/dev/null");
    wg_class_add(&store);
    tcase_set_timeout(t, 120);
    tcase_add_test(t, a_generator_sees_the_reply_and_changes_it);
    tcase_add_test(t, fops_without_a_method_do_not_visit_it);
    tcase_add_test(t, plain_methods_answer_pass_and_wind);
    tcase_add_test(t, a_method_runs_other_fops);
    tcase_add_test(t, a_method_answers_with_results_of_its_own);
    tcase_add_test(t, lists_are_read_and_filtered);
    tcase_add_test(t, any_treats_every_fop);
    tcase_add_test(t, values_behave);
    tcase_add_test(t, the_stubs_for_editors_say_what_there_is);
    tcase_add_test(t, a_generator_sleeps_and_offloads);
    tcase_add_test(t, who_sleeps_past_the_deadline_is_closed);
    tcase_add_test(t, a_graph_that_stops_does_not_wait_for_sleepers);
    tcase_add_test(t, timers_and_tasks_of_its_own_run_and_end_with_it);
    tcase_add_test(t, a_task_that_only_offloads_ends_with_the_translator);
    tcase_add_test(t, a_process_that_ends_does_not_wait_for_its_tasks);
    tcase_add_test(t, nothing_that_a_method_does_wrong_loses_its_call);
    tcase_add_test(t, an_exception_is_in_the_log_with_its_traceback);
    tcase_add_loop_test(t, a_file_that_is_wrong_is_refused_in_one_line, 0, sizeof unfit / sizeof *unfit);
    tcase_add_test(t, classes_that_are_wrong_are_refused);
    tcase_add_test(t, options_have_the_types_they_declare);
    tcase_add_test(t, a_changed_file_is_reloaded_and_calls_end_in_the_old_code);
    tcase_add_test(t, a_file_is_reloaded_again_and_again_while_calls_run);
    tcase_add_test(t, a_cache_believes_its_answer_as_long_as_the_lease_holds);
    tcase_add_test(t, several_layers_serve_several_threads);
    tcase_add_test(t, memory_stays_constant);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_set_fork_status(r, CK_NOFORK);
    wg_work_start(2);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    wg_work_stop();
    snprintf(command, sizeof command, "rm -rf %s", scratch);
    if (system(command))
        failed++;
    return failed != 0;
}
