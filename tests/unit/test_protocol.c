/* SPDX-License-Identifier: Apache-2.0 */
/*
 * protocol/client > TLS lanes > protocol/server > a store that counts what it executes: results,
 * exactly once under cuts and restarts, deadlines, epochs, refusals, hostile peers, shutdown.
 */
#include <check.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "dump.h"
#include "graph.h"
#include "iobuf.h"
#include "log.h"
#include "test_pki.h"
#include "work.h"
#include "xlators/protocol/client/client.h"
#include "xlators/protocol/server/server.h"

#define OPS_MAX 20000

/* --- the store: its globals stand for the disk, and outlive a restart of the brick --- */

static struct {
    atomic_uint effects[OPS_MAX]; /* of the mkdir of that number */
    atomic_uint doubles;          /* executed again without being told that it may be a replay */
    atomic_uint running, most;
    pthread_mutex_t lock;
    pthread_cond_t opened;
    bool closed;                  /* mkdirs wait */
    struct wg_cred cred;
    uint32_t group1;
    char client[64];
} disk = { .lock = PTHREAD_MUTEX_INITIALIZER, .opened = PTHREAD_COND_INITIALIZER };

static void gate(bool closed)
{
    pthread_mutex_lock(&disk.lock);
    disk.closed = closed;
    pthread_cond_broadcast(&disk.opened);
    pthread_mutex_unlock(&disk.lock);
}

static wg_gfid gfid_of(unsigned n)
{
    wg_gfid g = { { 1 } };

    memcpy(g.b + 4, &n, sizeof n);
    return g;
}

static unsigned number_of(wg_gfid g)
{
    unsigned n;

    memcpy(&n, g.b + 4, sizeof n);
    return n;
}

static void execute_mkdir(struct wg_frame *f)
{
    const struct wg_mkdir_in *in = wg_in(f, mkdir);
    unsigned n = number_of(in->gfid), running = atomic_fetch_add(&disk.running, 1) + 1;
    unsigned most = atomic_load(&disk.most);
    struct wg_mkdir_out *out = wg_new_out(f, mkdir);

    while (running > most && !atomic_compare_exchange_weak(&disk.most, &most, running))
        ;
    pthread_mutex_lock(&disk.lock);
    while (disk.closed)
        pthread_cond_wait(&disk.opened, &disk.lock);
    pthread_mutex_unlock(&disk.lock);
    /* The name holds that gfid already: success for a replay, or something ran twice. */
    if (!atomic_load(&disk.effects[n]))
        atomic_fetch_add(&disk.effects[n], 1);
    else if (!f->call->replay)
        atomic_fetch_add(&disk.doubles, 1);
    atomic_fetch_sub(&disk.running, 1);
    out->ref.gfid = in->gfid;
    out->attr.valid = true;
    out->attr.size = n;
    wg_unwind(f, 0);
}

static pthread_mutex_t later_lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned nlater;

static void *answer_later(void *arg)
{
    usleep((unsigned)(wg_now_ns() % 2000));
    execute_mkdir(arg);
    pthread_mutex_lock(&later_lock);
    nlater--;
    pthread_mutex_unlock(&later_lock);
    return NULL;
}

/* Some answer at once on the reader, some later on another thread (all when the gate may close). */
static void store_mkdir(struct wg_frame *f)
{
    pthread_attr_t attr;
    pthread_t th;

    if (number_of(wg_in(f, mkdir)->gfid) % 4)
        return execute_mkdir(f);
    pthread_mutex_lock(&later_lock);
    nlater++;
    pthread_mutex_unlock(&later_lock);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    if (pthread_create(&th, &attr, answer_later, f))
        abort();
    pthread_attr_destroy(&attr);
}

static void store_lookup(struct wg_frame *f)
{
    const struct wg_lookup_in *in = wg_in(f, lookup);

    disk.cred = f->call->cred;
    disk.group1 = disk.cred.ngroups > 1 ? disk.cred.groups[1] : 0;
    snprintf(disk.client, sizeof disk.client, "%.*s", (int)f->call->client.len, f->call->client.s);
    if (wg_str_eq(in->at.name, WG_STR("absent"))) {
        struct wg_lookup_out *out = wg_new_out(f, lookup);

        out->parent.valid = true;
        out->parent.mode = 0755;
        return wg_unwind(f, ENOENT);
    }
    wg_unwind(f, EACCES);
}

static void store_read(struct wg_frame *f)
{
    const struct wg_read_in *in = wg_in(f, read);
    struct wg_read_out *out = wg_new_out(f, read);
    struct wg_iobuf *buf = wg_iobuf_get(in->size);
    struct wg_seg *seg = wg_alloc(&f->call->arena, 2 * sizeof *seg);

    if (f->call->nowait && in->offset % 2)
        return wg_iobuf_unref(buf), wg_unwind(f, EWOULDBLOCK);
    wg_keep_iobuf(&f->call->arena, buf);
    memset(buf->base, (int)in->offset, in->size);
    seg[0] = (struct wg_seg){ buf, buf->base, in->size / 2 };
    seg[1] = (struct wg_seg){ buf, (char *)buf->base + in->size / 2, in->size - in->size / 2 };
    out->data = (struct wg_data){ seg, 2, in->size };
    out->eof = true;
    wg_unwind(f, 0);
}

static void store_write(struct wg_frame *f)
{
    const struct wg_write_in *in = wg_in(f, write);
    struct wg_write_out *out = wg_new_out(f, write);

    for (uint32_t i = 0; i < in->data.nseg; i++)
        for (uint32_t k = 0; k < in->data.seg[i].len; k++)
            if (((const uint8_t *)in->data.seg[i].base)[k] != (uint8_t)in->offset)
                return wg_unwind(f, EIO);
    out->count = in->data.len;
    out->verf = 7;
    wg_unwind(f, 0);
}

static pthread_mutex_t stuck_lock = PTHREAD_MUTEX_INITIALIZER;
static struct wg_frame *stuck;

static void store_getattr(struct wg_frame *f)
{
    pthread_mutex_lock(&stuck_lock);
    stuck = f;
    pthread_mutex_unlock(&stuck_lock);
}

static const struct wg_class store_class = {
    .type = "test/store",
    .help = "counts what it executes",
    .fops = {
        [WG_OP_mkdir] = store_mkdir, [WG_OP_lookup] = store_lookup, [WG_OP_read] = store_read,
        [WG_OP_write] = store_write, [WG_OP_getattr] = store_getattr,
    },
};

/* --- graphs --- */

static struct pki pki;
static uint16_t port;

static void say(void *arg, const char *text)
{
    (void)arg;
    ck_abort_msg("%s", text);
}

static struct wg_graph *graph_of(const char *text)
{
    struct wg_graph *g = wg_graph_parse("test.vol", text, strlen(text), say, NULL);

    ck_assert_ptr_nonnull(g);
    ck_assert_int_eq(wg_graph_init(g), 0);
    ck_assert_int_eq(wg_graph_start(g), 0);
    return g;
}

static const char *tls_options(const char *own, const char *allowed)
{
    static char text[2][640];
    static int turn;
    char *t = text[turn++ & 1];

    snprintf(t, sizeof text[0],
             "option tls-cert %s/%s.crt\noption tls-key %s/%s.key\noption tls-ca %s/ca.crt\n"
             "option tls-allow \"%s\"\n", pki.dir, own, pki.dir, own, pki.dir, allowed);
    return t;
}

static struct wg_graph *start_brick(const char *more, const char *between)
{
    char text[2048];
    struct wg_graph *g;

    snprintf(text, sizeof text,
             "volume store\ntype test/store\nend-volume\n%s"
             "volume server\ntype protocol/server\noption listen 127.0.0.1:%u\n%s%s\nsubvolumes %s\nend-volume\n",
             between, port, tls_options("brick", "gateway"), more, *between ? "io" : "store");
    g = graph_of(text);
    port = wg_server_port(g->top);
    return g;
}

static struct wg_graph *start_gateway(const char *more)
{
    char text[2048];

    snprintf(text, sizeof text, "volume client\ntype protocol/client\noption remote 127.0.0.1:%u\n%s%s\nend-volume\n",
             port, tls_options("gateway", "brick"), more);
    return graph_of(text);
}

static void end_graph(struct wg_graph *g)
{
    wg_graph_stop(g);
    wg_graph_free(g);
}

static struct wg_client *client_of(struct wg_graph *g)
{
    return g->top->priv;
}

/* --- calls --- */

struct op {
    struct wg_call *call;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool ended;
    unsigned times;
    int err;
};

static void op_finish(struct wg_call *call)
{
    struct op *o = call->owner;

    pthread_mutex_lock(&o->lock);
    o->err = call->root->err;
    o->ended = true;
    o->times++;
    pthread_cond_signal(&o->cond);
    pthread_mutex_unlock(&o->lock);
}

static void op_init(struct op *o, struct wg_graph *g, unsigned timeout_ms)
{
    memset(o, 0, sizeof *o);
    pthread_mutex_init(&o->lock, NULL);
    pthread_cond_init(&o->cond, NULL);
    o->call = wg_call_new(g, WG_FROM_INTERNAL, "test");
    o->call->owner = o;
    if (timeout_ms)
        o->call->deadline_ns = wg_now_ns() + timeout_ms * 1000000ull;
}

static bool op_wait(struct op *o, unsigned ms)
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

static void op_end(struct op *o)
{
    ck_assert_uint_eq(o->times, 1);
    wg_call_unref(o->call);
}

static void start_mkdir(struct op *o, struct wg_graph *g, unsigned n, unsigned timeout_ms)
{
    struct wg_mkdir_in *in;

    op_init(o, g, timeout_ms);
    in = wg_alloc(&o->call->arena, sizeof *in);
    in->at = (struct wg_loc){ { WG_ROOT_GFID }, WG_STR("name") };
    in->gfid = gfid_of(n);
    wg_start(o->call, g->top, WG_OP_mkdir, in, op_finish);
}

static int one_mkdir(struct wg_graph *g, unsigned n, unsigned timeout_ms)
{
    struct op o;
    int err;

    start_mkdir(&o, g, n, timeout_ms);
    ck_assert(op_wait(&o, 20000));
    err = o.err;
    op_end(&o);
    return err;
}

static void reset_disk(void)
{
    for (unsigned i = 0; i < OPS_MAX; i++)
        atomic_store(&disk.effects[i], 0);
    atomic_store(&disk.doubles, 0);
    atomic_store(&disk.most, 0);
    atomic_store(&disk.running, 0);
    gate(false);
    port = 0;
}

static void wait_later(void)
{
    for (int i = 0; i < 5000; i++) {
        unsigned n;

        pthread_mutex_lock(&later_lock);
        n = nlater;
        pthread_mutex_unlock(&later_lock);
        if (!n)
            return;
        usleep(1000);
    }
    ck_abort_msg("the store still runs calls");
}

/* --- results --- */

START_TEST(results_errors_and_credentials_pass)
{
    struct wg_graph *brick = start_brick("", ""), *gw = start_gateway("");
    static const uint32_t groups[] = { 10, 20 };
    struct wg_lookup_in look = { .at = { { WG_ROOT_GFID }, WG_STR("absent") } };
    struct op o;

    op_init(&o, gw, 0);
    o.call->cred = (struct wg_cred){ 1000, 100, 2, groups, WG_STR("me") };
    o.call->client = WG_STR("192.0.2.1");
    wg_start(o.call, gw->top, WG_OP_lookup, &look, op_finish);
    ck_assert(op_wait(&o, 10000));
    ck_assert_int_eq(o.err, ENOENT);
    ck_assert_uint_eq(wg_result(o.call, lookup)->parent.mode, 0755);
    ck_assert(disk.cred.uid == 1000 && disk.cred.gid == 100 && disk.cred.ngroups == 2);
    ck_assert_uint_eq(disk.group1, 20);
    ck_assert_str_eq(disk.client, "192.0.2.1");
    op_end(&o);

    look.at.name = WG_STR("other");
    op_init(&o, gw, 0);
    wg_start(o.call, gw->top, WG_OP_lookup, &look, op_finish);
    ck_assert(op_wait(&o, 10000));
    ck_assert_int_eq(o.err, EACCES);
    op_end(&o);

    /* A fop that the store does not treat; a name that no store should see. */
    op_init(&o, gw, 0);
    wg_start(o.call, gw->top, WG_OP_statfs, &(struct wg_statfs_in){ { WG_ROOT_GFID } }, op_finish);
    ck_assert(op_wait(&o, 10000));
    ck_assert_int_eq(o.err, ENOTSUP);
    op_end(&o);
    look.at.name = WG_STR("a/b");
    op_init(&o, gw, 0);
    wg_start(o.call, gw->top, WG_OP_lookup, &look, op_finish);
    ck_assert(op_wait(&o, 10000));
    ck_assert_int_eq(o.err, EINVAL);
    op_end(&o);
    end_graph(gw);
    end_graph(brick);
}
END_TEST

/* One check for all bytes: each notes its line in a file. */
static bool filled(const struct wg_seg *seg, uint8_t fill)
{
    for (uint32_t i = 0; i < seg->len; i++)
        if (((const uint8_t *)seg->base)[i] != fill)
            return false;
    return true;
}

static void check_read(struct wg_graph *gw, uint64_t offset, uint32_t size)
{
    struct wg_read_in in = { .offset = offset, .size = size };
    const struct wg_read_out *out;
    struct op o;

    op_init(&o, gw, 0);
    wg_start(o.call, gw->top, WG_OP_read, &in, op_finish);
    ck_assert(op_wait(&o, 10000));
    ck_assert_int_eq(o.err, 0);
    out = wg_result(o.call, read);
    ck_assert_uint_eq(out->data.len, size);
    for (uint32_t i = 0; i < out->data.nseg; i++)
        ck_assert(filled(&out->data.seg[i], (uint8_t)offset));
    op_end(&o);
}

static void check_write(struct wg_graph *gw, uint8_t fill, uint32_t size)
{
    struct wg_iobuf *buf = wg_iobuf_get(size);
    struct wg_seg seg[2] = { { buf, buf->base, 1 }, { buf, (char *)buf->base + 1, size - 1 } };
    struct wg_write_in in = { .offset = fill, .data = { seg, 2, size } };
    struct op o;

    memset(buf->base, fill, size);
    op_init(&o, gw, 0);
    wg_start(o.call, gw->top, WG_OP_write, &in, op_finish);
    ck_assert(op_wait(&o, 10000));
    ck_assert_int_eq(o.err, 0);
    ck_assert_uint_eq(wg_result(o.call, write)->count, size);
    ck_assert_uint_eq(wg_result(o.call, write)->verf, 7);
    op_end(&o);
    wg_iobuf_unref(buf);
}

START_TEST(payloads_pass_both_ways)
{
    static const char io[] = "volume io\ntype performance/io-threads\nsubvolumes store\nend-volume\n";
    struct wg_graph *brick = start_brick("", io), *gw = start_gateway("");

    for (uint32_t size = 2; size <= WG_IO_MAX; size *= 8) {
        check_read(gw, size + 3, size);
        check_read(gw, size + 4, size);
        check_write(gw, (uint8_t)(size + 5), size);
    }
    check_read(gw, 1, WG_IO_MAX);
    check_write(gw, 2, WG_IO_MAX);
    end_graph(gw);
    end_graph(brick);
}
END_TEST

/* --- once --- */

#define STORM_THREADS 4
#define STORM_OPS 1500
#define STORM_DEPTH 16

static struct wg_graph *storm_gw;
static atomic_uint storm_failed, storm_left;

static void *storm(void *arg)
{
    unsigned first = (unsigned)(uintptr_t)arg * STORM_OPS;
    struct op *ops = calloc(STORM_DEPTH, sizeof *ops);

    for (unsigned i = 0; i < STORM_OPS + STORM_DEPTH; i++) {
        struct op *o = &ops[i % STORM_DEPTH];

        if (i >= STORM_DEPTH) {
            if (!op_wait(o, 60000))
                abort();
            if (o->err || o->times != 1)
                atomic_fetch_add(&storm_failed, 1);
            wg_call_unref(o->call);
        }
        if (i < STORM_OPS)
            start_mkdir(o, storm_gw, first + i, 60000);
        if (i % 64 == 0)
            usleep(3000);
    }
    free(ops);
    atomic_fetch_sub(&storm_left, 1);
    return NULL;
}

static void run_storm(bool restarts)
{
    struct wg_graph *brick = start_brick("", "");
    pthread_t th[STORM_THREADS];
    unsigned seed = 5, cuts = 0, starts = 0;

    storm_gw = start_gateway("option lanes 3\noption outstanding 40\noption reconnect-delay 20ms\n");
    atomic_store(&storm_failed, 0);
    atomic_store(&storm_left, STORM_THREADS);
    for (uintptr_t i = 0; i < STORM_THREADS; i++)
        pthread_create(&th[i], NULL, storm, (void *)i);
    while (atomic_load(&storm_left)) {
        struct wg_client *c = client_of(storm_gw);

        usleep(2000 + (unsigned)rand_r(&seed) % 10000);
        wg_lane_reset(c->lanes[(unsigned)rand_r(&seed) % 3].held, 0, ECONNRESET, "cut by the test");
        if (restarts && ++cuts % 20 == 0) {
            end_graph(brick);
            brick = start_brick("", "");
            starts++;
        }
    }
    for (int i = 0; i < STORM_THREADS; i++)
        pthread_join(th[i], NULL);
    ck_assert_uint_eq(atomic_load(&storm_failed), 0);
    ck_assert_uint_eq(atomic_load(&disk.doubles), 0);
    for (unsigned i = 0; i < STORM_THREADS * STORM_OPS; i++)
        ck_assert_uint_eq(atomic_load(&disk.effects[i]), 1);
    ck_assert(atomic_load(&client_of(storm_gw)->replayed) > 0);
    ck_assert_uint_eq(atomic_load(&client_of(storm_gw)->table.used), 0);
    for (unsigned i = 0; i < 3; i++)
        ck_assert(atomic_load(&client_of(storm_gw)->lanes[i].cost) == 0);
    end_graph(storm_gw);
    end_graph(brick);
    wait_later();
}

START_TEST(lanes_cut_at_random_each_fop_runs_once)
{
    run_storm(false);
}
END_TEST

START_TEST(brick_restarted_at_random_each_fop_runs_once)
{
    run_storm(true);
}
END_TEST

START_TEST(the_client_keeps_the_bound_on_its_calls_by_waiting)
{
    struct wg_graph *brick = start_brick("option outstanding 4\n", ""), *gw;
    struct op ops[64];

    gw = start_gateway("option outstanding 4\n");
    ck_assert_int_eq(one_mkdir(gw, 4000, 0), 0);
    gate(true);
    for (unsigned i = 0; i < 64; i++)
        start_mkdir(&ops[i], gw, i * 4, 0);
    usleep(200000);
    ck_assert_uint_eq(atomic_load(&client_of(gw)->table.waiting), 60);
    gate(false);
    for (unsigned i = 0; i < 64; i++) {
        ck_assert(op_wait(&ops[i], 10000));
        ck_assert_int_eq(ops[i].err, 0);
        op_end(&ops[i]);
    }
    ck_assert_uint_le(atomic_load(&disk.most), 4);
    end_graph(gw);
    end_graph(brick);
    wait_later();
}
END_TEST

/* --- deadlines and epochs --- */

START_TEST(a_reading_fop_ends_at_its_deadline_and_its_late_reply_is_dropped)
{
    struct wg_graph *brick = start_brick("", ""), *gw = start_gateway("");
    struct wg_getattr_in in = { { WG_ROOT_GFID } };
    uint64_t begin;
    struct op o;

    ck_assert_int_eq(one_mkdir(gw, 1, 0), 0);
    begin = wg_now_ns();
    op_init(&o, gw, 300);
    wg_start(o.call, gw->top, WG_OP_getattr, &in, op_finish);
    ck_assert(op_wait(&o, 10000));
    ck_assert_int_eq(o.err, ETIMEDOUT);
    ck_assert(wg_now_ns() - begin < 1000000000u);
    op_end(&o);
    pthread_mutex_lock(&stuck_lock);
    wg_unwind(stuck, EIO);
    pthread_mutex_unlock(&stuck_lock);
    ck_assert_int_eq(one_mkdir(gw, 2, 0), 0);
    end_graph(gw);
    end_graph(brick);
}
END_TEST

START_TEST(a_modifying_fop_that_runs_is_not_given_up_before_it_ends)
{
    struct wg_graph *brick = start_brick("", ""), *gw = start_gateway("");
    struct op o;

    ck_assert_int_eq(one_mkdir(gw, 1, 0), 0);
    gate(true);
    start_mkdir(&o, gw, 4, 200);
    ck_assert(!op_wait(&o, 800));
    gate(false);
    ck_assert(op_wait(&o, 5000));
    ck_assert(o.err == 0 || o.err == ETIMEDOUT);
    ck_assert_uint_eq(atomic_load(&disk.effects[4]), 1);
    op_end(&o);
    ck_assert_uint_eq(atomic_load(&client_of(gw)->epoch), 1);
    ck_assert_int_eq(one_mkdir(gw, 5, 0), 0);
    end_graph(gw);
    end_graph(brick);
    wait_later();
}
END_TEST

static int lookup_absent(struct wg_graph *gw)
{
    struct wg_lookup_in in = { .at = { { WG_ROOT_GFID }, WG_STR("absent") } };
    struct op o;
    int err;

    op_init(&o, gw, 0);
    wg_start(o.call, gw->top, WG_OP_lookup, &in, op_finish);
    ck_assert(op_wait(&o, 20000));
    err = o.err;
    op_end(&o);
    return err;
}

/* Each mkdir keeps the thread that read it until the gate opens, and the gate opens only after the lookups' answers. */
START_TEST(fops_that_keep_their_reader_hold_up_nobody)
{
    struct wg_graph *brick = start_brick("", ""), *gw = start_gateway("option lanes 1\n"),
                    *other = start_gateway("option lanes 1\n");
    struct op slow[3];

    ck_assert_int_eq(one_mkdir(gw, 1, 0), 0);
    gate(true);
    for (unsigned i = 0; i < 3; i++) {
        start_mkdir(&slow[i], gw, 4 * i + 5, 0); /* such numbers run inline */
        ck_assert_int_eq(lookup_absent(gw), ENOENT); /* on the same lane */
        ck_assert_int_eq(lookup_absent(other), ENOENT);
    }
    for (unsigned i = 0; i < 3; i++)
        ck_assert(!slow[i].ended);
    gate(false);
    for (unsigned i = 0; i < 3; i++) {
        ck_assert(op_wait(&slow[i], 20000));
        ck_assert_int_eq(slow[i].err, 0);
        op_end(&slow[i]);
    }
    end_graph(other);
    end_graph(gw);
    end_graph(brick);
}
END_TEST

START_TEST(a_modifying_fop_given_up_in_a_queue_never_runs)
{
    static const char io[] = "volume io\ntype performance/io-threads\noption threads 1\n"
                             "option inline-limit 0\nsubvolumes store\nend-volume\n";
    struct wg_graph *brick = start_brick("", io), *gw = start_gateway("");
    struct op first, second;

    ck_assert_int_eq(one_mkdir(gw, 1, 0), 0);
    gate(true);
    start_mkdir(&first, gw, 2, 20000);
    usleep(50000);
    start_mkdir(&second, gw, 3, 200);
    ck_assert(!op_wait(&second, 600));
    gate(false);
    ck_assert(op_wait(&first, 5000));
    ck_assert(op_wait(&second, 5000));
    ck_assert_int_eq(first.err, 0);
    ck_assert_int_eq(second.err, ETIMEDOUT);
    ck_assert_uint_eq(atomic_load(&disk.effects[3]), 0);
    op_end(&first);
    op_end(&second);
    ck_assert_int_eq(one_mkdir(gw, 5, 0), 0);
    ck_assert_uint_eq(atomic_load(&disk.effects[3]), 0);
    end_graph(gw);
    end_graph(brick);
}
END_TEST

START_TEST(without_a_brick_calls_wait_then_time_out_then_fail_at_once)
{
    struct wg_graph *brick = start_brick("", ""), *gw;
    uint64_t begin;
    struct op o;

    end_graph(brick);
    gw = start_gateway("option out-of-service-after 500ms\n");
    begin = wg_now_ns();
    ck_assert_int_eq(one_mkdir(gw, 1, 200), ETIMEDOUT);
    ck_assert(wg_now_ns() - begin >= 190000000u);
    usleep(600000);
    begin = wg_now_ns();
    ck_assert_int_eq(one_mkdir(gw, 2, 5000), ENOTCONN);
    ck_assert(wg_now_ns() - begin < 100000000u);
    brick = start_brick("", "");
    for (int i = 0; i < 500 && one_mkdir(gw, 3, 5000) == ENOTCONN; i++)
        usleep(20000);
    end_graph(gw);
    gw = start_gateway("");
    ck_assert_int_eq(one_mkdir(gw, 4, 5000), 0);
    end_graph(brick);
    /* Sent, and the brick is gone before it answers: it waits for the brick to come back. */
    start_mkdir(&o, gw, 5, 10000);
    ck_assert(!op_wait(&o, 200));
    brick = start_brick("", "");
    ck_assert(op_wait(&o, 10000));
    ck_assert_int_eq(o.err, 0);
    op_end(&o);
    end_graph(gw);
    end_graph(brick);
}
END_TEST

/* The lease: the brick stands still (as with SIGSTOP) while the call is given up. */
START_TEST(a_call_at_a_brick_that_vanished_ends_after_the_lease)
{
    struct wg_graph *brick = start_brick("option lease 300ms\n", ""), *gw;
    struct wg_client *c;
    uint64_t begin;
    struct op o;

    gw = start_gateway("");
    c = client_of(gw);
    ck_assert_int_eq(one_mkdir(gw, 1, 0), 0);
    gate(true);
    begin = wg_now_ns();
    start_mkdir(&o, gw, 4, 300);
    usleep(50000);
    /* No lane comes back: the names that the client accepts are changed. */
    ck_assert_int_eq(wg_tls_set_allow(c->tls, (const char *const[]){ "nobody" }, 1, NULL, 0), 0);
    for (unsigned i = 0; i < c->nlanes; i++)
        wg_lane_reset(c->lanes[i].held, 0, ECONNRESET, "cut by the test");
    ck_assert(op_wait(&o, 5000));
    ck_assert_int_eq(o.err, ETIMEDOUT);
    ck_assert(wg_now_ns() - begin >= 590000000u);
    op_end(&o);
    /* Back again, the brick lets nothing in before it has settled what it was told to. */
    ck_assert_int_eq(wg_tls_set_allow(c->tls, (const char *const[]){ "brick" }, 1, NULL, 0), 0);
    start_mkdir(&o, gw, 5, 20000);
    ck_assert(!op_wait(&o, 1500));
    ck_assert_uint_eq(atomic_load(&disk.effects[5]), 0);
    gate(false);
    ck_assert(op_wait(&o, 20000));
    ck_assert_int_eq(o.err, 0);
    ck_assert_uint_eq(atomic_load(&disk.effects[4]), 1);
    op_end(&o);
    end_graph(gw);
    end_graph(brick);
    wait_later();
}
END_TEST

START_TEST(a_brick_that_is_stuck_is_left_until_the_call_has_ended)
{
    struct wg_graph *brick = start_brick("", ""), *gw = start_gateway("option stuck-after 300ms\n");
    struct op o;

    ck_assert_int_eq(one_mkdir(gw, 1, 0), 0);
    gate(true);
    start_mkdir(&o, gw, 4, 200);
    ck_assert(op_wait(&o, 5000));
    ck_assert_int_eq(o.err, ETIMEDOUT);
    op_end(&o);
    start_mkdir(&o, gw, 5, 20000);
    ck_assert(!op_wait(&o, 1000));
    ck_assert_uint_eq(atomic_load(&disk.effects[5]), 0);
    gate(false);
    ck_assert(op_wait(&o, 20000));
    ck_assert_int_eq(o.err, 0);
    op_end(&o);
    end_graph(gw);
    end_graph(brick);
    wait_later();
}
END_TEST

/* --- the end --- */

START_TEST(stopping_under_load_ends_every_call)
{
    struct wg_graph *brick = start_brick("", ""), *gw = start_gateway("option outstanding 16\n");
    struct op ops[64];

    ck_assert_int_eq(one_mkdir(gw, 1, 0), 0);
    gate(true);
    for (unsigned i = 0; i < 64; i++)
        start_mkdir(&ops[i], gw, i * 4, 0);
    wg_graph_stop(gw);
    for (unsigned i = 0; i < 64; i++) {
        ck_assert(ops[i].ended);
        ck_assert_int_eq(ops[i].err, ECANCELED);
        op_end(&ops[i]);
    }
    wg_graph_free(gw);
    gate(false);
    end_graph(brick);
    wait_later();
}
END_TEST

START_TEST(dumps_of_both_sides)
{
    struct wg_graph *brick = start_brick("", ""), *gw = start_gateway("");
    struct op o;
    char *text;

    ck_assert_int_eq(one_mkdir(gw, 1, 0), 0);
    gate(true);
    start_mkdir(&o, gw, 4, 0);
    usleep(50000);
    text = wg_dump_process(gw, true);
    ck_assert_ptr_nonnull(strstr(text, "mkdir"));
    free(text);
    text = wg_dump_process(brick, true);
    ck_assert_ptr_nonnull(strstr(text, "reply_cache"));
    free(text);
    gate(false);
    ck_assert(op_wait(&o, 5000));
    op_end(&o);
    end_graph(gw);
    end_graph(brick);
    wait_later();
}
END_TEST

/* --- refusals --- */

START_TEST(a_client_of_another_volume_is_told_so)
{
    struct wg_graph *brick = start_brick("option volume-id 11111111-1111-1111-1111-111111111111\n", "");
    struct wg_graph *gw = start_gateway("option volume-id 22222222-1111-1111-1111-111111111111\n");
    struct wg_client *c = client_of(gw);

    ck_assert_int_eq(one_mkdir(gw, 1, 500), ETIMEDOUT);
    pthread_mutex_lock(&c->lock);
    ck_assert_str_eq(c->refused, "this brick is of another volume");
    pthread_mutex_unlock(&c->lock);
    end_graph(gw);
    gw = start_gateway("option volume-id 11111111-1111-1111-1111-111111111111\n");
    ck_assert_int_eq(one_mkdir(gw, 2, 0), 0);
    end_graph(gw);
    end_graph(brick);
}
END_TEST

START_TEST(a_client_that_asks_for_too_much_is_told_so)
{
    struct wg_graph *brick = start_brick("option outstanding 8\n", ""), *gw = start_gateway("");
    struct wg_client *c = client_of(gw);

    ck_assert_int_eq(one_mkdir(gw, 1, 500), ETIMEDOUT);
    pthread_mutex_lock(&c->lock);
    ck_assert_ptr_nonnull(strstr(c->refused, "outstanding"));
    pthread_mutex_unlock(&c->lock);
    end_graph(gw);
    end_graph(brick);
}
END_TEST

/* A peer that has a certificate and speaks the framing, but not our protocol. */
struct hostile {
    atomic_uint ups, downs, refused;
    unsigned seed;
    bool hello;
};

static void put_hello(struct wg_lane *lane, bool other_signature, uint32_t slots)
{
    uint8_t body[32768];
    struct wg_enc e = { .at = body, .end = body + sizeof body };
    struct wg_hello h = { .version = WG_WIRE_VERSION, .client = { 9 }, .name = WG_STR("hostile"), .slots = slots };

    wg_put_hello(&e, &h);
    wg_put_fops(&e);
    if (other_signature)
        memcpy(memmem(body, sizeof body, "u64 offset", 10), "u32", 3);
    wg_lane_send(lane, &(struct wg_msg){ .type = WG_MSG_HELLO, .body = body, .body_len = (uint32_t)(e.at - body) });
}

static void throw_garbage(struct wg_lane *lane, struct hostile *h)
{
    uint8_t body[512];
    uint32_t len = (unsigned)rand_r(&h->seed) % sizeof body;

    for (uint32_t i = 0; i < len; i++)
        body[i] = (uint8_t)(i % 4 == 0 || rand_r(&h->seed) % 3 ? rand_r(&h->seed) % 80 : 0);
    wg_lane_send(lane, &(struct wg_msg){
        .type = (uint8_t)(WG_MSG_FIRST_TYPE + (unsigned)rand_r(&h->seed) % 11), .body = body, .body_len = len,
        .id = (uint64_t)rand_r(&h->seed) << 16 | (unsigned)rand_r(&h->seed) % 10 });
}

/* A request that is right up to its record, which is random. */
static void throw_request(struct wg_lane *lane, struct hostile *h)
{
    uint8_t body[1024];
    struct wg_enc e = { .at = body, .end = body + sizeof body };
    struct wg_request r = { .op = (uint16_t)((unsigned)rand_r(&h->seed) % 42), .expires_ns = UINT64_MAX };
    uint32_t len, fields = (unsigned)rand_r(&h->seed) % 300;

    wg_put_request(&e, &r);
    memcpy(e.at, &fields, 4);
    e.at += 4;
    for (uint32_t i = 0; i < fields; i++)
        *e.at++ = (uint8_t)(rand_r(&h->seed) % (i % 5 ? 4 : 256));
    len = (uint32_t)(e.at - body);
    /* mkdir writes into the model by number, and getattr waits for the test: not those. */
    if (r.op != WG_OP_mkdir && r.op != WG_OP_getattr)
        wg_lane_send(lane, &(struct wg_msg){ .type = WG_MSG_REQUEST, .body = body, .body_len = len,
                                             .id = (uint64_t)rand_r(&h->seed) << 16 | 1 });
}

static void hostile_up(struct wg_lane *lane, uint64_t conn)
{
    struct hostile *h = wg_lane_user(lane);
    unsigned n = atomic_fetch_add(&h->ups, 1);

    (void)conn;
    if (n % 3) {
        put_hello(lane, false, 16);
        for (int i = 0; i < 20; i++)
            n % 3 == 1 ? throw_garbage(lane, h) : throw_request(lane, h);
    } else {
        throw_garbage(lane, h);
    }
}

static void hostile_message(struct wg_lane *lane, const struct wg_msg_hdr *hdr, const void *body,
                            struct wg_iobuf *payload)
{
    struct hostile *h = wg_lane_user(lane);
    struct wg_dec d = { .at = body, .end = (const uint8_t *)body + hdr->body_len };
    struct wg_refuse r;

    if (hdr->type == WG_MSG_REFUSE && !wg_get_refuse(&d, &r) &&
        wg_str_eq(r.text, WG_STR("fop read (6) has other arguments here than at the peer")))
        atomic_fetch_add(&h->refused, 1);
    wg_iobuf_unref(payload);
}

static void hostile_down(struct wg_lane *lane, const struct wg_down *why)
{
    struct hostile *h = wg_lane_user(lane);

    (void)why;
    atomic_fetch_add(&h->downs, 1);
}

static struct wg_lane *hostile_lane(struct hostile *h, const struct wg_lane_ops *ops, struct wg_tls *tls)
{
    struct wg_lane *lane;
    char addr[32];

    snprintf(addr, sizeof addr, "127.0.0.1:%u", port);
    ck_assert_int_eq(wg_lane_connect(addr, &(struct wg_lane_opts){ .ops = ops, .user = h, .name = "hostile", .tls = tls,
                                             .backoff_min_ms = 1, .backoff_max_ms = 5 }, &lane), 0);
    return lane;
}

START_TEST(garbage_at_every_stage_ends_only_its_own_lane)
{
    static const struct wg_lane_ops ops = { .up = hostile_up, .message = hostile_message, .down = hostile_down };
    struct wg_graph *brick = start_brick("", ""), *gw = start_gateway("");
    struct hostile h = { .seed = 3 };
    struct wg_lane *lane;
    unsigned n = 0;

    ck_assert_int_eq(one_mkdir(gw, n++, 0), 0);
    lane = hostile_lane(&h, &ops, client_of(gw)->tls);
    for (int i = 0; i < 500 && atomic_load(&h.ups) < 150; i++) {
        ck_assert_int_eq(one_mkdir(gw, n++, 0), 0);
        usleep(10000);
        /* What it sent was all well-formed by chance: next. */
        if (i % 10 == 9)
            wg_lane_reset(lane, 0, ECONNRESET, "next");
    }
    ck_assert_uint_ge(atomic_load(&h.ups), 20);
    wg_lane_close(lane);
    ck_assert_int_eq(one_mkdir(gw, n++, 0), 0);
    end_graph(gw);
    end_graph(brick);
}
END_TEST

static void other_up(struct wg_lane *lane, uint64_t conn)
{
    (void)conn;
    put_hello(lane, true, 16);
}

START_TEST(a_changed_signature_is_refused_by_name)
{
    static const struct wg_lane_ops ops = { .up = other_up, .message = hostile_message, .down = hostile_down };
    struct wg_graph *brick = start_brick("", ""), *gw = start_gateway("");
    struct hostile h = { .seed = 3 };
    struct wg_lane *lane;

    ck_assert_int_eq(one_mkdir(gw, 1, 0), 0);
    lane = hostile_lane(&h, &ops, client_of(gw)->tls);
    for (int i = 0; i < 500 && !atomic_load(&h.refused); i++)
        usleep(10000);
    ck_assert_uint_ge(atomic_load(&h.refused), 1);
    wg_lane_close(lane);
    end_graph(gw);
    end_graph(brick);
}
END_TEST

/* A brick that answers with garbage: the client's calls end, by another lane or their deadline. */
static void bad_brick_message(struct wg_lane *lane, const struct wg_msg_hdr *hdr, const void *body,
                              struct wg_iobuf *payload)
{
    static unsigned seed = 11;
    uint8_t reply[16384];
    struct wg_enc e = { .at = reply, .end = reply + sizeof reply };
    struct wg_msg m = { .type = WG_MSG_REPLY, .id = hdr->id, .body = reply };

    (void)body;
    wg_iobuf_unref(payload);
    if (hdr->type == WG_MSG_HELLO) {
        m.type = WG_MSG_WELCOME;
        m.low = wg_now_ns();
        wg_put_welcome(&e, &(struct wg_welcome){ .version = WG_WIRE_VERSION, .instance = { 1 }, .lease_ms = 100 });
        wg_put_fops(&e);
    } else if (rand_r(&seed) % 2) {
        wg_put_reply(&e, &(struct wg_reply){ .op = WG_OP_mkdir, .flags = (uint16_t)(rand_r(&seed) % 8) });
        for (int i = 0; i < 40; i++)
            *e.at++ = (uint8_t)(rand_r(&seed) % 4);
    } else {
        m.type = (uint8_t)(WG_MSG_FIRST_TYPE + (unsigned)rand_r(&seed) % 10);
        for (int i = 0; i < 40; i++)
            *e.at++ = (uint8_t)rand_r(&seed);
    }
    m.body_len = (uint32_t)(e.at - reply);
    wg_lane_send(lane, &m);
}

static void bad_brick_up(struct wg_lane *lane, uint64_t conn)
{
    (void)lane;
    (void)conn;
}

START_TEST(a_brick_that_answers_garbage_only_fails_calls)
{
    static const struct wg_lane_ops ops = { .up = bad_brick_up, .message = bad_brick_message, .down = hostile_down };
    struct wg_graph *brick = start_brick("", ""), *gw;
    struct wg_server *v = brick->top->priv;
    struct hostile h = { 0 };
    struct wg_listener *l;

    ck_assert_int_eq(wg_listen("127.0.0.1:0", &(struct wg_listener_opts){
        .lane = { .ops = &ops, .user = &h, .name = "bad", .tls = v->tls } }, &l), 0);
    port = wg_listener_port(l);
    gw = start_gateway("option stuck-after 500ms\n");
    for (unsigned i = 0; i < 8; i++)
        one_mkdir(gw, i, 300);
    end_graph(gw);
    wg_listener_close(l);
    end_graph(brick);
}
END_TEST

int main(int argc, char **argv)
{
    Suite *s = suite_create("protocol");
    TCase *tc = tcase_create("all");
    SRunner *r;
    int failed;

    (void)argc;
    signal(SIGPIPE, SIG_IGN);
    wg_log_set(getenv("WG_TEST_LOG") ? getenv("WG_TEST_LOG") : "error");
    pki_start(&pki);
    pki_issue(&pki, "brick");
    pki_issue(&pki, "gateway");
    if (wg_work_start(2) || wg_class_add(&store_class))
        abort();
    tcase_set_timeout(tc, 120);
    tcase_add_checked_fixture(tc, reset_disk, NULL);
    tcase_add_test(tc, results_errors_and_credentials_pass);
    tcase_add_test(tc, payloads_pass_both_ways);
    tcase_add_test(tc, lanes_cut_at_random_each_fop_runs_once);
    tcase_add_test(tc, brick_restarted_at_random_each_fop_runs_once);
    tcase_add_test(tc, the_client_keeps_the_bound_on_its_calls_by_waiting);
    tcase_add_test(tc, a_reading_fop_ends_at_its_deadline_and_its_late_reply_is_dropped);
    tcase_add_test(tc, a_modifying_fop_that_runs_is_not_given_up_before_it_ends);
    tcase_add_test(tc, fops_that_keep_their_reader_hold_up_nobody);
    tcase_add_test(tc, a_modifying_fop_given_up_in_a_queue_never_runs);
    tcase_add_test(tc, without_a_brick_calls_wait_then_time_out_then_fail_at_once);
    tcase_add_test(tc, a_call_at_a_brick_that_vanished_ends_after_the_lease);
    tcase_add_test(tc, a_brick_that_is_stuck_is_left_until_the_call_has_ended);
    tcase_add_test(tc, stopping_under_load_ends_every_call);
    tcase_add_test(tc, dumps_of_both_sides);
    tcase_add_test(tc, a_client_of_another_volume_is_told_so);
    tcase_add_test(tc, a_client_that_asks_for_too_much_is_told_so);
    tcase_add_test(tc, garbage_at_every_stage_ends_only_its_own_lane);
    tcase_add_test(tc, a_changed_signature_is_refused_by_name);
    tcase_add_test(tc, a_brick_that_answers_garbage_only_fails_calls);
    suite_add_tcase(s, tc);
    r = srunner_create(s);
    /* Threads are started before the tests, and would not be there after a fork. */
    srunner_set_fork_status(r, CK_NOFORK);
    srunner_run_all(r, argv[1] ? CK_VERBOSE : CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    wg_work_stop();
    pki_end(&pki);
    return failed != 0;
}
