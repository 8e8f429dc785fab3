/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two bricks and a gateway over TLS: features/pull > protocol/client (puller) > protocol/server >
 * storage/posix. What is copied, and who may do what.
 */
#include <pthread.h>
#include <signal.h>

#include "brick.h"
#include "dump.h"
#include "test_pki.h"
#include "work.h"
#include "xlators/protocol/server/server.h"

#define SOURCE_ID "11111111-1111-4111-8111-111111111111"
#define TARGET_ID "22222222-2222-4222-8222-222222222222"
#define MIB (1u << 20)

static struct pki pki;
static struct brick source, target; /* of which we use the directories */
static struct wg_graph *from, *to, *gateway;
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
    OK(wg_graph_init(g));
    OK(wg_graph_start(g));
    return g;
}

static void end_graph(struct wg_graph **g)
{
    if (!*g)
        return;
    wg_graph_stop(*g);
    wg_graph_free(*g);
    *g = NULL;
}

static const char *tls(const char *own, const char *allowed)
{
    static char text[4][640];
    static int turn;
    char *t = text[turn++ & 3];

    snprintf(t, sizeof text[0],
             "option tls-cert %s/%s.crt\noption tls-key %s/%s.key\noption tls-ca %s/ca.crt\n"
             "option tls-allow \"%s\"\n", pki.dir, own, pki.dir, own, pki.dir, allowed);
    return t;
}

static void start_source(const char *store_options)
{
    char text[4096];

    snprintf(text, sizeof text,
             "volume store\ntype storage/posix\noption directory %s\noption init yes\n"
             "option brick-id " SOURCE_ID "\n%s\nend-volume\n"
             "volume io\ntype performance/io-threads\nsubvolumes store\nend-volume\n"
             "volume server\ntype protocol/server\noption listen 127.0.0.1:%u\n%s"
             "option pull-allow two\noption brick-id " SOURCE_ID "\nsubvolumes io\nend-volume\n",
             source.dir, store_options, port, tls("one", "gateway"));
    from = graph_of(text);
    port = wg_server_port(from->top);
}

static void start_target(const char *pull_options)
{
    char text[4096];

    snprintf(text, sizeof text,
             "volume store\ntype storage/posix\noption directory %s\noption init yes\n"
             "option brick-id " TARGET_ID "\nend-volume\n"
             "volume io\ntype performance/io-threads\nsubvolumes store\nend-volume\n"
             "volume peer\ntype protocol/client\noption remote 127.0.0.1:%u\noption puller yes\n%s"
             "option reconnect-delay 100ms\noption brick-id " SOURCE_ID "\nend-volume\n"
             "volume pull\ntype features/pull\n%s\nsubvolumes io peer\nend-volume\n",
             target.dir, port, tls("two", "one"), pull_options);
    to = graph_of(text);
}

static struct wg_graph *client(const char *own, const char *more)
{
    char text[2048];

    snprintf(text, sizeof text, "volume client\ntype protocol/client\noption remote 127.0.0.1:%u\n"
             "option reconnect-delay 100ms\n%s%s\nend-volume\n", port, tls(own, "one"), more);
    return graph_of(text);
}

static void setup(void)
{
    signal(SIGPIPE, SIG_IGN);
    pki_start(&pki);
    pki_issue(&pki, "one");
    pki_issue(&pki, "two");
    pki_issue(&pki, "gateway");
    OK(wg_work_start(2));
    brick_mkdir(&source);
    brick_mkdir(&target);
    port = 0;
    start_source("");
    start_target("");
    gateway = client("gateway", "");
}

static void forget_last(void);

static void teardown(void)
{
    forget_last();
    end_graph(&gateway);
    end_graph(&to);
    end_graph(&from);
    wg_work_stop();
    brick_end(&source);
    brick_end(&target);
    pki_end(&pki);
}

/* ---- fops ---------------------------------------------------------------------------------- */

struct op {
    struct wg_call *call;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool ended;
};

static void finish(struct wg_call *call)
{
    struct op *o = call->owner;

    pthread_mutex_lock(&o->lock);
    o->ended = true;
    pthread_cond_signal(&o->cond);
    pthread_mutex_unlock(&o->lock);
}

static void begin(struct op *o, struct wg_graph *g, unsigned op, const void *in, unsigned timeout_ms)
{
    *o = (struct op){ .call = wg_call_new(g, WG_FROM_INTERNAL, "test") };
    pthread_mutex_init(&o->lock, NULL);
    pthread_cond_init(&o->cond, NULL);
    o->call->owner = o;
    if (timeout_ms)
        o->call->deadline_ns = wg_now_ns() + timeout_ms * 1000000ull;
    wg_start(o->call, g->top, op, in, finish);
}

static int wait_for(struct op *o)
{
    pthread_mutex_lock(&o->lock);
    while (!o->ended)
        pthread_cond_wait(&o->cond, &o->lock);
    pthread_mutex_unlock(&o->lock);
    return o->call->root->err;
}

static struct op last;

static int run(struct wg_graph *g, unsigned op, const void *in, unsigned timeout_ms)
{
    if (last.call)
        wg_call_unref(last.call);
    begin(&last, g, op, in, timeout_ms);
    return wait_for(&last);
}

#define DO(g, name, ...) run((g), WG_OP_##name, &(struct wg_##name##_in){ __VA_ARGS__ }, 60000)
#define GOT(name) wg_result(last.call, name)

static void forget_last(void)
{
    if (last.call)
        wg_call_unref(last.call);
    last.call = NULL;
}

/* A file of that content, made behind the brick's back; then known to it. */
static struct wg_ref file_of(struct brick *b, struct wg_graph *g, const char *name, const char *command)
{
    char text[1024];

    snprintf(text, sizeof text, "cd %s && (%s) 2> /dev/null && chmod 644 %s", b->dir, command, name);
    OK(system(text));
    OK(DO(g, lookup, .at = { brick_root(), wg_str_of(name) }));
    return GOT(lookup)->ref;
}

static int same_files(const char *a, const char *z)
{
    char text[1024];

    snprintf(text, sizeof text, "cmp %s/%s %s/%s", source.dir, a, target.dir, z);
    return system(text);
}

static char bytes[32];
static struct wg_str token = { bytes, sizeof bytes };
static bool snapshot;

static int refer(struct wg_ref file, uint64_t offset, uint64_t size, const char *puller)
{
    int err = DO(gateway, ref_create, .at = file, .offset = offset, .size = size, .puller = wg_str_of(puller));

    if (err)
        return err;
    memcpy(bytes, GOT(ref_create)->ref.s, sizeof bytes);
    snapshot = GOT(ref_create)->snapshot;
    return 0;
}

static wg_gfid source_id(void)
{
    wg_gfid g;

    memset(g.b, 0x11, sizeof g.b);
    g.b[6] = 0x41;
    g.b[8] = 0x81;
    return g;
}

static int pull(struct wg_ref file, uint64_t offset, uint64_t to_offset, uint64_t size, bool fresh)
{
    return DO(to, ref_pull, .ref = token, .source = source_id(), .offset = offset, .to = file,
              .to_offset = to_offset, .size = size, .fresh = fresh);
}

/* ---- what is copied ------------------------------------------------------------------------ */

START_TEST(a_pull_copies_the_bytes)
{
    struct wg_ref a = file_of(&source, gateway, "a", "head -c 7654321 /dev/urandom > a");
    struct wg_ref z = file_of(&target, to, "z", "true > z");
    char *dump;

    OK(refer(a, 0, UINT64_MAX, "two"));
    OK(pull(z, 0, 0, 7654321, true));
    ck_assert_uint_eq(GOT(ref_pull)->copied, 7654321);
    OK(same_files("a", "z"));
    dump = wg_dump_process(to, true);
    ck_assert_ptr_nonnull(strstr(dump, "7654321"));
    free(dump);
    OK(DO(gateway, ref_drop, .ref = token));
    ck_assert(GOT(ref_drop)->was_there);
    ERR(pull(z, 0, 0, 10, true), EREFLOST);
}
END_TEST

START_TEST(parts_land_where_they_are_told)
{
    struct wg_ref a = file_of(&source, gateway, "a", "head -c 3000000 /dev/urandom > a");
    struct wg_ref z = file_of(&target, to, "z", "head -c 3000000 /dev/zero > z");

    OK(refer(a, 1000, 2000000, "two"));
    ERR(pull(z, 0, 0, 10, true), EINVAL); /* below the range */
    ck_assert_uint_eq(GOT(ref_pull)->copied, 0);
    OK(pull(z, 1000, 1000, 1500000, true));
    OK(pull(z, 1501000, 1501000, 499000 + 1000, true));
    OK(refer(a, 0, 1000, "two"));
    OK(pull(z, 0, 0, 1000, true));
    OK(refer(a, 2001000, UINT64_MAX, "two"));
    OK(pull(z, 2001000, 2001000, 999000, true));
    OK(same_files("a", "z"));
    ERR(pull(z, 2999999, 0, 2, true), EINVAL); /* beyond */
}
END_TEST

START_TEST(holes_stay_holes_or_become_zeros)
{
    struct wg_ref a = file_of(&source, gateway, "a", "truncate -s 5G a && printf x | dd of=a conv=notrunc bs=1 seek=4G "
                              "&& printf y | dd of=a conv=notrunc bs=1");
    struct wg_ref z = file_of(&target, to, "z", "true > z"), y;
    uint64_t size = 5ull << 30, done = 0;
    struct stat st;
    char path[600];

    OK(refer(a, 0, UINT64_MAX, "two"));
    while (done < size) {
        OK(pull(z, done, done, size - done, true));
        ck_assert_uint_gt(GOT(ref_pull)->copied, 0);
        done += GOT(ref_pull)->copied;
    }
    snprintf(path, sizeof path, "%s/z", target.dir);
    OK(stat(path, &st));
    ck_assert_int_eq(st.st_size, (off_t)size);
    ck_assert_int_lt(st.st_blocks, 2 * 8192); /* two pieces, and no more */
    y = file_of(&target, to, "y", "tr '\\0' q < /dev/zero | head -c 3000000 > y");
    OK(pull(y, 1u << 20, 0, 3000000, false));
    snprintf(path, sizeof path, "head -c 3000000 /dev/zero | cmp - %s/y", target.dir);
    OK(system(path));
}
END_TEST

/* ---- who may ------------------------------------------------------------------------------ */

START_TEST(a_gateway_does_not_read_references)
{
    struct wg_ref a = file_of(&source, gateway, "a", "echo text > a");

    OK(refer(a, 0, 10, "gateway"));
    ERR(DO(gateway, ref_read, .ref = token, .size = 5), EACCES);
}
END_TEST

START_TEST(a_puller_does_nothing_else)
{
    struct wg_ref a = file_of(&source, gateway, "a", "echo text > a");
    struct wg_graph *brick = client("two", "option puller yes\n");

    ERR(DO(brick, getattr, .at = a), EACCES);
    ERR(DO(brick, read, .at = a, .size = 4), EACCES);
    ERR(DO(brick, lookup, .at = { brick_root(), WG_STR("a") }), EACCES);
    ERR(DO(brick, ref_create, .at = a, .size = 4, .puller = WG_STR("two")), EACCES);
    ERR(DO(brick, ref_pull, .ref = token, .to = a), EACCES);
    ERR(DO(brick, ref_drop, .ref = token), EACCES);
    ERR(DO(brick, setattr, .at = a), EACCES);
    ERR(DO(brick, write, .at = a), EACCES);
    ERR(DO(brick, ref_peer, .source = source_id()), EACCES); /* no asking on */
    OK(DO(brick, ref_peer, .source = { { 0 } }));
    ck_assert(wg_str_eq(GOT(ref_peer)->name, WG_STR("two")));
    OK(refer(a, 0, 10, "two"));
    OK(DO(brick, ref_read, .ref = token, .size = 5));
    OK(refer(a, 0, 10, "someone"));
    ERR(DO(brick, ref_read, .ref = token, .size = 5), EACCES);
    forget_last();
    end_graph(&brick);
}
END_TEST

/* A session that is refused: its calls get no answer. */
static void is_refused(const char *own, const char *more)
{
    struct wg_graph *g = client(own, more);

    ERR(run(g, WG_OP_ref_peer, &(struct wg_ref_peer_in){ { { 0 } } }, 700), ETIMEDOUT);
    forget_last();
    end_graph(&g);
}

START_TEST(names_decide_who_is_what)
{
    is_refused("gateway", "option puller yes\n"); /* not in pull-allow */
    is_refused("two", "");                        /* only in pull-allow */
}
END_TEST

START_TEST(a_reference_of_another_puller_is_no_use)
{
    struct wg_ref a = file_of(&source, gateway, "a", "echo text > a");
    struct wg_ref z = file_of(&target, to, "z", "true > z");

    OK(refer(a, 0, 10, "three"));
    ERR(pull(z, 0, 0, 5, true), EACCES);
    OK(refer(a, 0, 10, "two"));
    bytes[31] ^= 1;
    ERR(pull(z, 0, 0, 5, true), EREFLOST);
    token.len = 5;
    ERR(pull(z, 0, 0, 5, true), EREFLOST);
    token.len = 32;
    bytes[31] ^= 1;
    OK(pull(z, 0, 0, 5, true));
}
END_TEST

START_TEST(a_brick_connects_to_its_peers_only)
{
    struct wg_ref z = file_of(&target, to, "z", "true > z");
    wg_gfid other = wg_gfid_new();

    ERR(DO(to, ref_pull, .ref = token, .source = other, .to = z, .size = 1), ENOTSUP);
    ERR(DO(to, ref_peer, .source = other), ENOTSUP);
    OK(DO(to, ref_peer, .source = source_id()));
    ck_assert(wg_str_eq(GOT(ref_peer)->name, WG_STR("two")));
    OK(DO(to, ref_peer, .source = { { 0 } }));
    ck_assert(!wg_gfid_eq(GOT(ref_peer)->brick, source_id()));
    ERR(DO(to, ref_pull, .ref = token, .source = source_id(), .to = z, .size = 1, .offset = UINT64_MAX), EFBIG);
    ERR(DO(to, ref_pull, .ref = token, .source = source_id(), .to = z, .size = 1, .to_offset = INT64_MAX), EFBIG);
    OK(DO(to, ref_pull, .ref = token, .source = source_id(), .to = z));
}
END_TEST

/* ---- when things go wrong ------------------------------------------------------------------ */

START_TEST(a_changed_source_is_told)
{
    struct wg_ref a = file_of(&source, gateway, "a", "head -c 3000000 /dev/zero > a");
    struct wg_ref z = file_of(&target, to, "z", "true > z");

    OK(refer(a, 0, 3000000, "two"));
    OK(DO(gateway, setattr, .at = a, .attrs = { .valid = WG_SET_SIZE, .size = 2000000 }));
    if (snapshot)
        OK(pull(z, 0, 0, 3000000, true));
    else
        ERR(pull(z, 0, 0, 3000000, true), ECHANGED);
    OK(refer(a, 0, 3000000, "two"));
    OK(DO(gateway, unlink, .at = { brick_root(), WG_STR("a") }));
    OK(pull(z, 0, 0, 2000000, true)); /* removed, but whole */
}
END_TEST

START_TEST(a_brick_that_is_away_costs_the_deadline)
{
    struct wg_ref a = file_of(&source, gateway, "a", "head -c 3000000 /dev/urandom > a");
    struct wg_ref z = file_of(&target, to, "z", "true > z");
    struct wg_ref_pull_in in = { .source = source_id(), .to = z, .size = 3000000 };

    OK(refer(a, 0, 3000000, "two"));
    in.ref = token;
    end_graph(&from);
    ERR(run(to, WG_OP_ref_pull, &in, 500), ETIMEDOUT);
    start_source("");
    ERR(run(to, WG_OP_ref_pull, &in, 30000), EREFLOST);
    OK(refer(a, 0, 3000000, "two"));
    OK(run(to, WG_OP_ref_pull, &in, 30000));
    OK(same_files("a", "z"));
}
END_TEST

#define MANY 12

START_TEST(more_than_fit_wait_their_turn)
{
    struct wg_ref a = file_of(&source, gateway, "a", "head -c 4000000 /dev/urandom > a"), z;
    struct wg_ref_pull_in in[MANY];
    struct op op[MANY];
    char name[40], command[60], *dump;

    forget_last();
    end_graph(&to);
    start_target("option pulls 2\noption pieces 3\n");
    OK(refer(a, 0, 4000000, "two"));
    for (unsigned i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "z%u", i);
        snprintf(command, sizeof command, "true > %s", name);
        z = file_of(&target, to, name, command);
        in[i] = (struct wg_ref_pull_in){ .ref = token, .source = source_id(), .to = z, .size = 4000000 };
    }
    for (unsigned i = 0; i < MANY; i++)
        begin(&op[i], to, WG_OP_ref_pull, &in[i], 60000);
    dump = wg_dump_process(to, true);
    free(dump);
    for (unsigned i = 0; i < MANY; i++) {
        OK(wait_for(&op[i]));
        ck_assert_uint_eq(wg_result(op[i].call, ref_pull)->copied, 4000000);
        wg_call_unref(op[i].call);
        snprintf(name, sizeof name, "z%u", i);
        OK(same_files("a", name));
    }
}
END_TEST

START_TEST(the_source_stops_in_the_middle)
{
    struct wg_ref a = file_of(&source, gateway, "a", "head -c 30000000 /dev/urandom > a");
    struct wg_ref z = file_of(&target, to, "z", "true > z");
    struct wg_ref_pull_in in = { .ref = token, .source = source_id(), .to = z, .size = 30000000, .fresh = true };

    for (int i = 0; i < 10; i++) {
        struct op op;
        int err;

        OK(refer(a, 0, UINT64_MAX, "two"));
        begin(&op, to, WG_OP_ref_pull, &in, 20000);
        usleep((unsigned)i * 3000);
        end_graph(&from);
        start_source("");
        err = wait_for(&op); /* the reference is lost, or it was done before */
        ck_assert_msg(err == 0 || err == EREFLOST, "%s", wg_error_name(err));
        wg_call_unref(op.call);
    }
    OK(refer(a, 0, UINT64_MAX, "two"));
    OK(run(to, WG_OP_ref_pull, &in, 20000));
    OK(same_files("a", "z"));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("pull");
    TCase *t = tcase_create("pull");
    SRunner *r;
    int failed;

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 240);
#define X TEST_ROW
    X(a_pull_copies_the_bytes) X(parts_land_where_they_are_told) X(holes_stay_holes_or_become_zeros)
    X(a_gateway_does_not_read_references) X(a_puller_does_nothing_else) X(names_decide_who_is_what)
    X(a_reference_of_another_puller_is_no_use) X(a_brick_connects_to_its_peers_only)
    X(a_changed_source_is_told) X(a_brick_that_is_away_costs_the_deadline) X(more_than_fit_wait_their_turn)
    X(the_source_stops_in_the_middle)
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
