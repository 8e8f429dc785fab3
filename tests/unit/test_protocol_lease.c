/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leases between gateways and a brick: several protocol/client > TLS lanes > one protocol/server > a
 * store of names. Each gateway has an ear on top, which counts what it hears, and remembers answers
 * when a test wants that.
 */
#include <fcntl.h>

#include "lease.h"
#include "protocol_kit.h"

#define NAMES 64

/* --- the store: names that are there or not --- */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t opened;
    bool there[NAMES];
    bool closed;         /* lookups that have looked wait before they answer */
    atomic_uint looked;  /* that wait so */
    atomic_uint changes; /* told by each mkdir besides its own */
    bool jitter;
} disk = { .lock = PTHREAD_MUTEX_INITIALIZER, .opened = PTHREAD_COND_INITIALIZER };

static struct wg_xlator *store;

static unsigned number_of(struct wg_str name)
{
    unsigned n = 0;

    for (uint32_t i = 1; i < name.len; i++)
        n = n * 10 + (unsigned)(name.s[i] - '0');
    return n;
}

static void look(struct wg_frame *f)
{
    const struct wg_lookup_in *in = wg_in(f, lookup);
    unsigned n = number_of(in->at.name);
    bool there;

    wg_uses(f, &in->at.parent.gfid, in->at.name);
    pthread_mutex_lock(&disk.lock);
    there = n < NAMES && disk.there[n];
    if (disk.closed) {
        atomic_fetch_add(&disk.looked, 1);
        while (disk.closed)
            pthread_cond_wait(&disk.opened, &disk.lock);
        atomic_fetch_sub(&disk.looked, 1);
    }
    pthread_mutex_unlock(&disk.lock);
    if (disk.jitter && wg_now_ns() % 8 == 0)
        usleep((unsigned)(wg_now_ns() % 500));
    wg_unwind(f, there ? wg_new_out(f, lookup) ? 0 : ENOMEM : ENOENT);
}

static void *look_later(void *arg)
{
    look(arg);
    return NULL;
}

/* On a thread of its own when it will wait: a lane's reader is not to be held. */
static void store_lookup(struct wg_frame *f)
{
    pthread_attr_t attr;
    pthread_t th;

    if (!__atomic_load_n(&disk.closed, __ATOMIC_RELAXED))
        return look(f);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    if (pthread_create(&th, &attr, look_later, f))
        abort();
    pthread_attr_destroy(&attr);
}

static void set_name(struct wg_frame *f, const struct wg_loc *at, bool there)
{
    unsigned n = number_of(at->name);

    pthread_mutex_lock(&disk.lock);
    if (n < NAMES)
        disk.there[n] = there;
    pthread_mutex_unlock(&disk.lock);
    wg_changed(f, &at->parent.gfid, at->name);
    wg_changed(f, &at->parent.gfid, (struct wg_str){ 0 });
    for (unsigned i = 0; i < atomic_load(&disk.changes); i++) {
        wg_gfid g = { { 9, (uint8_t)i } };

        wg_changed(f, &g, (struct wg_str){ 0 });
    }
}

static void store_mkdir(struct wg_frame *f)
{
    set_name(f, &wg_in(f, mkdir)->at, true);
    wg_unwind(f, wg_new_out(f, mkdir) ? 0 : ENOMEM);
}

static void store_rmdir(struct wg_frame *f)
{
    set_name(f, &wg_in(f, rmdir)->at, false);
    wg_unwind(f, wg_new_out(f, rmdir) ? 0 : ENOMEM);
}

static int store_init(struct wg_xlator *xl)
{
    store = xl;
    return 0;
}

static const struct wg_class store_class = {
    .type = "test/names",
    .help = "names that are there or not",
    .announces = true,
    .init = store_init,
    .fops = { [WG_OP_lookup] = store_lookup, [WG_OP_mkdir] = store_mkdir, [WG_OP_rmdir] = store_rmdir },
};

/* --- the ear: hears events; a cache of absent and present names when asked to be --- */

struct ear {
    struct wg_inval inval;
    atomic_uint invalidated, resets;
    _Atomic int last;             /* number of the last name heard of */
    atomic_bool deaf;             /* event() hangs, as in a process that stands still */
    atomic_bool remembers;
    struct {
        pthread_mutex_t lock;
        bool set;
        int err;
        uint64_t seen;
        wg_inval_slot slots[4];
        int nslots;
        const struct wg_lease *lease;
    } entry[NAMES];
    atomic_uint hits;
};

static void ear_event(struct wg_xlator *xl, const struct wg_event *ev)
{
    struct ear *e = xl->priv;

    while (atomic_load(&e->deaf))
        usleep(1000);
    if (ev->kind == WG_EV_RESET) {
        atomic_fetch_add(&e->resets, 1);
    } else {
        if (ev->name.len)
            atomic_store(&e->last, (int)number_of(ev->name));
        atomic_fetch_add(&e->invalidated, 1);
    }
    wg_inval_event(&e->inval, ev);
}

static int ear_init(struct wg_xlator *xl)
{
    struct ear *e = calloc(1, sizeof *e);

    xl->priv = e;
    for (unsigned i = 0; e && i < NAMES; i++)
        pthread_mutex_init(&e->entry[i].lock, NULL);
    return e ? 0 : ENOMEM;
}

static void ear_fini(struct wg_xlator *xl)
{
    free(xl->priv);
}

static void ear_looked_up(struct wg_frame *f)
{
    struct ear *e = f->this->priv;
    unsigned n = number_of(wg_in(f, lookup)->at.name);

    if (atomic_load(&e->remembers) && f->lease && (!f->err || f->err == ENOENT)) {
        pthread_mutex_lock(&e->entry[n].lock);
        e->entry[n].seen = *(uint64_t *)f->local;
        e->entry[n].nslots = wg_inval_uses(f, e->entry[n].slots, 4);
        e->entry[n].set = e->entry[n].nslots > 0;
        e->entry[n].lease = f->lease;
        e->entry[n].err = f->err;
        pthread_mutex_unlock(&e->entry[n].lock);
    }
    wg_unwind(f, f->err);
}

static void ear_lookup(struct wg_frame *f)
{
    struct ear *e = f->this->priv;
    unsigned n = number_of(wg_in(f, lookup)->at.name);
    int hit = -1;

    if (atomic_load(&e->remembers)) {
        pthread_mutex_lock(&e->entry[n].lock);
        if (e->entry[n].set && wg_lease_holds(e->entry[n].lease, wg_now_coarse_ns()) &&
            wg_inval_unchanged(&e->inval, e->entry[n].seen, e->entry[n].slots, e->entry[n].nslots))
            hit = e->entry[n].err;
        pthread_mutex_unlock(&e->entry[n].lock);
        f->want_lease = true;
    }
    if (hit >= 0) {
        atomic_fetch_add(&e->hits, 1);
        return wg_unwind(f, hit == 0 && !wg_new_out(f, lookup) ? ENOMEM : hit);
    }
    *(uint64_t *)f->local = wg_inval_seen(&e->inval);
    wg_wind(f, wg_child(f), ear_looked_up);
}

static const struct wg_class ear_class = {
    .type = "test/ear",
    .help = "listens",
    .local_size = sizeof(uint64_t),
    .min_children = 1,
    .max_children = 1,
    .init = ear_init,
    .fini = ear_fini,
    .event = ear_event,
    .fops = { [WG_OP_lookup] = ear_lookup },
};

/* --- graphs --- */

/* between: volumes on the store, the last of which is called top. */
static struct wg_graph *start_brick_with(const char *between, const char *top, const char *more)
{
    char text[2048];
    struct wg_graph *g;

    snprintf(text, sizeof text, "volume store\ntype test/names\nend-volume\n%s"
             "volume server\ntype protocol/server\noption listen 127.0.0.1:%u\n%s%s\nsubvolumes %s\nend-volume\n",
             between, port, tls("brick", "gateway"), more, top);
    g = graph_of(text);
    port = wg_server_port(g->top);
    return g;
}

static struct wg_graph *start_brick(const char *more)
{
    return start_brick_with("", "store", more);
}

static struct wg_graph *start_gateway(unsigned lanes)
{
    char text[2048];

    snprintf(text, sizeof text, "volume client\ntype protocol/client\noption remote 127.0.0.1:%u\n"
             "option lanes %u\noption reconnect-delay 100ms\n%send-volume\n"
             "volume ear\ntype test/ear\nsubvolumes client\nend-volume\n", port, lanes, tls("gateway", "brick"));
    return graph_of(text);
}

static struct ear *ear_of(struct wg_graph *g)
{
    return g->top->priv;
}

static struct wg_client *client_of(struct wg_graph *g)
{
    return wg_graph_find(g, "client")->priv;
}

static struct wg_leases *leases_of(struct wg_graph *brick)
{
    return &((struct wg_server *)brick->top->priv)->leases;
}

/* --- calls --- */

static struct wg_loc about(struct op *o, struct wg_graph *g, unsigned n)
{
    op_init(o, g, 0);
    snprintf(o->name, sizeof o->name, "n%u", n);
    return (struct wg_loc){ { WG_ROOT_GFID }, wg_str_of(o->name) };
}

static int op_end(struct op *o)
{
    int err;

    ck_assert_msg(op_wait(o, 30000), "a call of %s does not end", o->name);
    err = o->call->root->err;
    wg_call_unref(o->call);
    return err;
}

/* A lookup by who would remember the answer, if keep. */
static void start_look(struct op *o, struct wg_graph *g, unsigned n, bool keep)
{
    struct wg_loc at = about(o, g, n);
    struct wg_lookup_in *in = wg_alloc(&o->call->arena, sizeof *in);

    in->at = at;
    o->seen = wg_inval_seen(&ear_of(g)->inval);
    o->call->want_lease = keep;
    wg_start(o->call, g->top, WG_OP_lookup, in, op_finish);
}

static bool kept(struct op *o)
{
    ck_assert_msg(op_wait(o, 30000), "a lookup of %s does not end", o->name);
    return o->call->root->lease != NULL;
}

/* true: the answer may be remembered. *err: what it was. */
static bool look_and_keep(struct wg_graph *g, unsigned n, int *err)
{
    struct op o;
    bool may;

    start_look(&o, g, n, true);
    may = kept(&o);
    *err = op_end(&o);
    return may;
}

static void start_set(struct op *o, struct wg_graph *g, unsigned n, bool there)
{
    struct wg_loc at = about(o, g, n);

    if (there) {
        struct wg_mkdir_in *in = wg_alloc(&o->call->arena, sizeof *in);

        in->at = at;
        in->gfid = wg_gfid_new();
        wg_start(o->call, g->top, WG_OP_mkdir, in, op_finish);
    } else {
        struct wg_rmdir_in *in = wg_alloc(&o->call->arena, sizeof *in);

        in->at = at;
        wg_start(o->call, g->top, WG_OP_rmdir, in, op_finish);
    }
}

static int set(struct wg_graph *g, unsigned n, bool there)
{
    struct op o;

    start_set(&o, g, n, there);
    return op_end(&o);
}

static void gate(bool closed)
{
    pthread_mutex_lock(&disk.lock);
    __atomic_store_n(&disk.closed, closed, __ATOMIC_RELAXED);
    pthread_cond_broadcast(&disk.opened);
    pthread_mutex_unlock(&disk.lock);
}

#define WAIT_FOR(cond)                                       \
    for (int i_ = 0; !(cond); i_++) {                        \
        ck_assert_msg(i_ < 20000, "never: %s", #cond);       \
        usleep(1000);                                        \
    }

static void hold(struct wg_graph *g, unsigned n)
{
    int err;

    WAIT_FOR(look_and_keep(g, n, &err));
}

static void setup(void)
{
    memset(disk.there, 0, sizeof disk.there);
    disk.jitter = false;
    atomic_store(&disk.changes, 0);
    gate(false);
    port = 0;
}

/* --- what is promised and taken back --- */

START_TEST(a_change_is_answered_when_the_other_gateway_has_forgotten)
{
    struct wg_graph *brick = start_brick(""), *a = start_gateway(2), *b = start_gateway(2);
    int err;

    ck_assert(look_and_keep(a, 3, &err));
    ck_assert_int_eq(err, ENOENT);
    ck_assert(wg_lease_holds(client_of(a)->lease, wg_now_ns()));
    ck_assert_int_eq(set(b, 3, true), 0);
    ck_assert_uint_eq(atomic_load(&ear_of(a)->invalidated), 1);
    ck_assert_int_eq(atomic_load(&ear_of(a)->last), 3);
    ck_assert_uint_eq(atomic_load(&ear_of(a)->resets), 0);
    /* It has forgotten: nobody is asked again. */
    ck_assert_int_eq(set(b, 3, false), 0);
    ck_assert_uint_eq(atomic_load(&ear_of(a)->invalidated), 1);
    ck_assert_uint_eq(atomic_load(&leases_of(brick)->recalled), 1);
    end_graph(a);
    end_graph(b);
    end_graph(brick);
}
END_TEST

START_TEST(caches_in_the_brick_hear_what_gateways_change)
{
    struct wg_graph *brick = start_brick_with("volume ear\ntype test/ear\nsubvolumes store\nend-volume\n", "ear", "");
    struct wg_graph *a = start_gateway(2), *b = start_gateway(2);
    struct ear *ear = wg_graph_find(brick, "ear")->priv;
    struct op o;

    atomic_store(&ear->remembers, true);
    start_look(&o, b, 3, false);
    ck_assert_int_eq(op_end(&o), ENOENT);
    ck_assert_int_eq(set(a, 3, true), 0);
    ck_assert_uint_eq(atomic_load(&ear->invalidated), 2); /* the name, the directory */
    start_look(&o, b, 3, false);
    ck_assert_int_eq(op_end(&o), 0);
    ck_assert_uint_eq(atomic_load(&leases_of(brick)->recalled), 0); /* the server is told once, by the request */
    end_graph(a);
    end_graph(b);
    end_graph(brick);
}
END_TEST

START_TEST(an_answer_tells_what_it_depends_on)
{
    struct wg_graph *brick = start_brick(""), *a = start_gateway(2);
    struct op o;

    start_look(&o, a, 5, true);
    ck_assert(kept(&o));
    ck_assert_ptr_nonnull(o.call->root->uses);
    ck_assert(wg_gfid_eq(o.call->root->uses->gfid, WG_ROOT_GFID));
    ck_assert(wg_str_eq(o.call->root->uses->name, WG_STR("n5")));
    ck_assert_ptr_null(o.call->root->uses->next);
    op_end(&o);
    start_look(&o, a, 5, false);
    ck_assert(!kept(&o));
    op_end(&o);
    end_graph(a);
    end_graph(brick);
}
END_TEST

START_TEST(own_changes_come_with_the_answer)
{
    struct wg_graph *brick = start_brick(""), *a = start_gateway(2);

    hold(a, 1);
    ck_assert_int_eq(set(a, 1, true), 0);
    ck_assert_uint_eq(atomic_load(&ear_of(a)->invalidated), 2); /* the name, the directory */
    ck_assert_int_eq(atomic_load(&ear_of(a)->last), 1);
    ck_assert_uint_eq(atomic_load(&leases_of(brick)->recalled), 0);
    /* More than an answer holds. */
    atomic_store(&disk.changes, 100);
    ck_assert_int_eq(set(a, 1, false), 0);
    ck_assert_uint_eq(atomic_load(&ear_of(a)->resets), 1);
    end_graph(a);
    end_graph(brick);
}
END_TEST

START_TEST(who_does_not_ask_pays_nothing)
{
    struct wg_graph *brick = start_brick(""), *a = start_gateway(2), *b = start_gateway(2);
    struct op o;

    start_look(&o, a, 1, false);
    op_end(&o);
    ck_assert_int_eq(set(b, 1, true), 0);
    ck_assert_uint_eq(atomic_load(&leases_of(brick)->nholders), 0);
    ck_assert_uint_eq(leases_of(brick)->size, 0);
    ck_assert_uint_eq(atomic_load(&ear_of(b)->invalidated), 0);
    end_graph(a);
    end_graph(b);
    end_graph(brick);
}
END_TEST

START_TEST(a_brick_can_promise_nothing)
{
    struct wg_graph *brick = start_brick("option cache-lease 0"), *a = start_gateway(2);
    int err;

    ck_assert(!look_and_keep(a, 1, &err));
    ck_assert(!look_and_keep(a, 1, &err));
    ck_assert_int_eq(set(a, 1, true), 0);
    end_graph(a);
    end_graph(brick);
}
END_TEST

START_TEST(an_answer_that_a_recall_overtakes_is_not_remembered)
{
    struct wg_graph *brick = start_brick(""), *a = start_gateway(2), *b = start_gateway(2);
    wg_inval_slot slots[4];
    struct op o;
    int n;

    hold(a, 0);
    gate(true);
    start_look(&o, a, 7, true); /* has looked, and sees nothing */
    WAIT_FOR(atomic_load(&disk.looked) == 1);
    ck_assert_int_eq(set(b, 7, true), 0);
    ck_assert_int_eq(atomic_load(&ear_of(a)->last), 7);
    gate(false);
    if (kept(&o)) {
        n = wg_inval_uses(o.call->root, slots, 4);
        ck_assert_int_gt(n, 0);
        ck_assert(!wg_inval_unchanged(&ear_of(a)->inval, o.seen, slots, n));
    }
    ck_assert_int_eq(op_end(&o), ENOENT);
    end_graph(a);
    end_graph(b);
    end_graph(brick);
}
END_TEST

START_TEST(a_gateway_that_stands_still_delays_a_change_once)
{
    struct wg_graph *brick = start_brick("option cache-lease 500ms"), *a = start_gateway(1), *b = start_gateway(1);
    int err;

    hold(a, 1);
    hold(a, 2);
    atomic_store(&ear_of(a)->deaf, true);
    ck_assert_int_eq(set(b, 1, true), 0); /* when a's lease has run out */
    ck_assert_uint_eq(atomic_load(&leases_of(brick)->expired), 1);
    ck_assert(!wg_lease_holds(client_of(a)->lease, wg_now_ns()));
    ck_assert_int_eq(set(b, 2, true), 0); /* at once */
    ck_assert_uint_eq(atomic_load(&leases_of(brick)->expired), 1);
    ck_assert_uint_eq(atomic_load(&leases_of(brick)->recalled), 1);
    atomic_store(&ear_of(a)->deaf, false);
    /* It begins anew. */
    WAIT_FOR(look_and_keep(a, 2, &err));
    ck_assert_int_eq(err, 0);
    ck_assert_uint_ge(atomic_load(&ear_of(a)->resets), 1);
    end_graph(a);
    end_graph(b);
    end_graph(brick);
}
END_TEST

START_TEST(others_go_on_while_a_change_waits)
{
    struct wg_graph *brick = start_brick("option cache-lease 1h"), *a = start_gateway(1), *b = start_gateway(1);
    struct op waits;
    int err;

    hold(a, 1);
    atomic_store(&ear_of(a)->deaf, true);
    start_set(&waits, b, 1, true);
    ck_assert(!op_wait(&waits, 100));
    for (unsigned n = 10; n < 20; n++)
        ck_assert_int_eq(set(b, n, true), 0);
    look_and_keep(b, 1, &err);
    ck_assert_int_eq(err, 0); /* the change is made, only not yet answered */
    ck_assert(!op_wait(&waits, 0));
    atomic_store(&ear_of(a)->deaf, false);
    ck_assert_int_eq(op_end(&waits), 0);
    end_graph(a);
    end_graph(b);
    end_graph(brick);
}
END_TEST

START_TEST(two_gateways_recall_each_other)
{
    struct wg_graph *brick = start_brick("option cache-lease 1h"), *a = start_gateway(2), *b = start_gateway(2);

    for (unsigned round = 0; round < 50; round++) {
        struct op x, y;

        hold(a, 1);
        hold(b, 2);
        start_set(&x, a, 2, round % 2 == 0);
        start_set(&y, b, 1, round % 2 == 0);
        ck_assert_int_eq(op_end(&x), 0);
        ck_assert_int_eq(op_end(&y), 0);
    }
    ck_assert_uint_eq(atomic_load(&leases_of(brick)->expired), 0);
    end_graph(a);
    end_graph(b);
    end_graph(brick);
}
END_TEST

START_TEST(a_lease_is_renewed_while_nothing_happens)
{
    struct wg_graph *brick = start_brick("option cache-lease 600ms"), *a = start_gateway(2), *b = start_gateway(2);
    uint64_t until;

    hold(a, 1);
    for (int i = 0; i < 5; i++) {
        until = atomic_load(&client_of(a)->lease->until_ns);
        WAIT_FOR(atomic_load(&client_of(a)->lease->until_ns) != until);
    }
    /* On a machine that stands still for long it may have been lost; then all was dropped. */
    if (atomic_load(&ear_of(a)->resets) == 0)
        ck_assert_uint_gt(atomic_load(&client_of(a)->lease->until_ns), until);
    ck_assert_int_eq(set(b, 1, true), 0);
    ck_assert(atomic_load(&ear_of(a)->invalidated) || atomic_load(&ear_of(a)->resets));
    end_graph(a);
    end_graph(b);
    end_graph(brick);
}
END_TEST

/* --- what breaks --- */

static void cut(struct wg_graph *g)
{
    struct wg_client *c = client_of(g);

    for (unsigned i = 0; i < c->nlanes; i++)
        wg_lane_reset(c->lanes[i].held, 0, ECONNRESET, "the test cuts it");
}

START_TEST(without_lanes_everything_is_dropped)
{
    struct wg_graph *brick = start_brick("option cache-lease 1h"), *a = start_gateway(2), *b = start_gateway(2);
    unsigned resets;

    for (unsigned round = 0; round < 10; round++) {
        hold(a, 1);
        resets = atomic_load(&ear_of(a)->resets);
        cut(a);
        /* Answered when a has come back, and said that it has dropped everything. */
        ck_assert_int_eq(set(b, 1, round % 2 == 0), 0);
        ck_assert(atomic_load(&ear_of(a)->resets) > resets ||
                  atomic_load(&ear_of(a)->last) == 1);
    }
    ck_assert_uint_eq(atomic_load(&leases_of(brick)->expired), 0);
    end_graph(a);
    end_graph(b);
    end_graph(brick);
}
END_TEST

START_TEST(a_recall_is_said_again_on_another_lane)
{
    struct wg_graph *brick = start_brick("option cache-lease 1h"), *a = start_gateway(2), *b = start_gateway(2);

    for (unsigned round = 0; round < 20; round++) {
        struct wg_client *c = client_of(a);
        struct op o;

        hold(a, 1);
        start_set(&o, b, 1, round % 2 == 0);
        wg_lane_reset(c->lanes[round % 2].held, 0, ECONNRESET, "the test cuts it");
        ck_assert_int_eq(op_end(&o), 0);
    }
    ck_assert_uint_eq(atomic_load(&leases_of(brick)->expired), 0);
    end_graph(a);
    end_graph(b);
    end_graph(brick);
}
END_TEST

static unsigned lines_of(const char *file)
{
    FILE *f = fopen(file, "r");
    unsigned n = 0;

    ck_assert_ptr_nonnull(f);
    for (int c; (c = getc(f)) != EOF;)
        n += c == '\n';
    fclose(f);
    return n;
}

START_TEST(a_restarted_brick_waits_for_those_who_might_remember)
{
    char file[] = "/tmp/wg-leases.XXXXXX", more[128];
    struct wg_graph *brick, *a, *b;
    struct op o;
    int fd = mkstemp(file);

    ck_assert_int_ge(fd, 0);
    close(fd);
    snprintf(more, sizeof more, "option cache-lease 1h\noption cache-file %s\n", file);
    brick = start_brick(more);
    a = start_gateway(2);
    b = start_gateway(2);
    hold(a, 1);
    end_graph(brick);
    ck_assert_uint_eq(lines_of(file), 1);
    brick = start_brick(more);
    /* a comes back, and says that it has dropped everything. */
    ck_assert_int_eq(set(b, 1, true), 0);
    ck_assert_uint_ge(atomic_load(&ear_of(a)->resets), 1);
    hold(a, 2);
    /* One that never comes back: a change waits for as long as it might believe. */
    end_graph(brick);
    end_graph(a);
    ck_assert_uint_eq(lines_of(file), 1);
    brick = start_brick(more);
    start_set(&o, b, 2, true);
    ck_assert(!op_wait(&o, 300));
    wg_graph_stop(b);
    ck_assert_int_eq(op_end(&o), ECANCELED);
    wg_graph_free(b); /* without calls, now */
    end_graph(brick);
    unlink(file);
}
END_TEST

START_TEST(a_client_that_went_away_is_forgotten_by_the_file)
{
    char file[] = "/tmp/wg-leases.XXXXXX", more[128];
    struct wg_graph *brick, *a;
    int fd = mkstemp(file);

    ck_assert_int_ge(fd, 0);
    close(fd);
    snprintf(more, sizeof more, "option cache-lease 200ms\noption cache-file %s\n", file);
    brick = start_brick(more);
    a = start_gateway(2);
    hold(a, 1);
    end_graph(a);
    WAIT_FOR(atomic_load(&leases_of(brick)->terms) == 0);
    WAIT_FOR(lines_of(file) == 0);
    end_graph(brick);
    unlink(file);
}
END_TEST

START_TEST(a_gateway_that_cannot_be_noted_is_promised_nothing)
{
    char path[128], options[200];
    struct wg_graph *brick, *a;
    int err, fd, good;

    snprintf(path, sizeof path, "%s/noted", pki.dir);
    snprintf(options, sizeof options, "option cache-file %s\n", path);
    brick = start_brick(options);
    fd = leases_of(brick)->fd;
    good = dup(fd);
    err = open(path, O_RDONLY | O_CLOEXEC); /* as a disk that takes nothing */
    ck_assert_int_eq(dup2(err, fd), fd);
    close(err);
    a = start_gateway(2);
    for (int i = 0; i < 20; i++)
        ck_assert(!look_and_keep(a, 1, &err));
    ck_assert_int_eq(dup2(good, fd), fd);
    hold(a, 1); /* now it is */
    close(good);
    end_graph(a);
    end_graph(brick);
    unlink(path);
}
END_TEST

START_TEST(a_full_table_promises_less_and_begins_anew)
{
    struct wg_graph *brick = start_brick("option cache-entries 1024"), *a = start_gateway(2), *b = start_gateway(2);
    unsigned refused = 0;
    int err;

    for (unsigned n = 1000; n < 6000; n++)
        refused += !look_and_keep(a, n, &err);
    ck_assert_uint_gt(refused, 0);
    ck_assert_uint_gt(atomic_load(&leases_of(brick)->overflowed), 0);
    WAIT_FOR(atomic_load(&leases_of(brick)->flushes) > 0 && atomic_load(&ear_of(a)->resets) > 0);
    WAIT_FOR(look_and_keep(a, 1, &err));
    ck_assert_int_eq(set(b, 1, true), 0);
    ck_assert_int_eq(atomic_load(&ear_of(a)->last), 1);
    end_graph(a);
    end_graph(b);
    end_graph(brick);
}
END_TEST

START_TEST(changes_in_the_background_are_told)
{
    struct wg_graph *brick = start_brick(""), *a = start_gateway(2);

    hold(a, 4);
    wg_notify(store, &(struct wg_event){ WG_EV_INVALIDATE, WG_ROOT_GFID, WG_STR("n4") });
    WAIT_FOR(atomic_load(&ear_of(a)->last) == 4);
    hold(a, 4);
    wg_notify(store, &(struct wg_event){ WG_EV_INVALIDATE, WG_ROOT_GFID, WG_ANY_NAME });
    WAIT_FOR(atomic_load(&ear_of(a)->invalidated) == 2);
    wg_notify(store, &(struct wg_event){ .kind = WG_EV_RESET });
    WAIT_FOR(atomic_load(&ear_of(a)->resets) == 1);
    WAIT_FOR(atomic_load(&leases_of(brick)->waiting) == 0);
    end_graph(a);
    end_graph(brick);
}
END_TEST

/* --- gateways that race --- */

#define RACE_NAMES 8

static struct {
    struct wg_graph *gw[2];
    atomic_uint state[RACE_NAMES]; /* odd: being changed; /2 odd: there */
    atomic_bool stop;
    atomic_uint wrong, checked;
} race;

static void *racing_writer(void *arg)
{
    unsigned me = (unsigned)(uintptr_t)arg;

    /* Each name has one writer, which uses either gateway. */
    for (unsigned round = 0; !atomic_load(&race.stop); round++) {
        unsigned n = me + 2 * (round % (RACE_NAMES / 2)), s = atomic_fetch_add(&race.state[n], 1);

        ck_assert_int_eq(set(race.gw[(round / 7) % 2], n, (s / 2) % 2 == 0), 0);
        atomic_fetch_add(&race.state[n], 1);
        usleep((unsigned)(wg_now_ns() % 1500));
    }
    return NULL;
}

static void *racing_reader(void *arg)
{
    struct wg_graph *g = race.gw[(uintptr_t)arg % 2];
    unsigned n = (unsigned)(uintptr_t)arg;

    while (!atomic_load(&race.stop)) {
        unsigned before, after;
        struct op o;
        int err;

        n = (n + 1) % RACE_NAMES;
        before = atomic_load(&race.state[n]);
        start_look(&o, g, n, true);
        err = op_end(&o);
        after = atomic_load(&race.state[n]);
        if (before % 2 || before != after)
            continue;
        atomic_fetch_add(&race.checked, 1);
        if (err != ((before / 2) % 2 ? 0 : ENOENT))
            atomic_fetch_add(&race.wrong, 1);
    }
    return NULL;
}

static void run_race(const char *more, unsigned ms, bool cuts)
{
    struct wg_graph *brick = start_brick(more);
    pthread_t th[6];

    memset(&race, 0, sizeof race);
    disk.jitter = true;
    for (int i = 0; i < 2; i++) {
        race.gw[i] = start_gateway(2);
        atomic_store(&ear_of(race.gw[i])->remembers, true);
    }
    for (uintptr_t i = 0; i < 6; i++)
        ck_assert_int_eq(pthread_create(&th[i], NULL, i < 2 ? racing_writer : racing_reader, (void *)i), 0);
    for (unsigned t = 0; t < ms; t += 20) {
        usleep(20000);
        if (cuts && t % 100 == 0)
            cut(race.gw[t / 100 % 2]);
        else if (cuts && t % 60 == 0)
            wg_lane_reset(client_of(race.gw[0])->lanes[t % 2].held, 0, ECONNRESET, "the test cuts it");
    }
    atomic_store(&race.stop, true);
    for (int i = 0; i < 6; i++)
        pthread_join(th[i], NULL);
    ck_assert_uint_eq(atomic_load(&race.wrong), 0);
    ck_assert_uint_gt(atomic_load(&race.checked), 0);
    ck_assert_uint_gt(atomic_load(&ear_of(race.gw[0])->hits) + atomic_load(&ear_of(race.gw[1])->hits), 0);
    end_graph(race.gw[0]);
    end_graph(race.gw[1]);
    end_graph(brick);
}

START_TEST(no_gateway_shows_the_past)
{
    run_race("", 1500, false);
}
END_TEST

START_TEST(nor_does_one_whose_lanes_break)
{
    run_race("option cache-lease 10s", 2000, true);
}
END_TEST

START_TEST(nor_with_leases_that_run_out_at_any_time)
{
    run_race("option cache-lease 100ms\noption cache-entries 1024\n", 1500, false);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, a_change_is_answered_when_the_other_gateway_has_forgotten);
    tcase_add_test(t, caches_in_the_brick_hear_what_gateways_change);
    tcase_add_test(t, an_answer_tells_what_it_depends_on);
    tcase_add_test(t, own_changes_come_with_the_answer);
    tcase_add_test(t, who_does_not_ask_pays_nothing);
    tcase_add_test(t, a_brick_can_promise_nothing);
    tcase_add_test(t, an_answer_that_a_recall_overtakes_is_not_remembered);
    tcase_add_test(t, a_gateway_that_stands_still_delays_a_change_once);
    tcase_add_test(t, others_go_on_while_a_change_waits);
    tcase_add_test(t, two_gateways_recall_each_other);
    tcase_add_test(t, a_lease_is_renewed_while_nothing_happens);
    tcase_add_test(t, without_lanes_everything_is_dropped);
    tcase_add_test(t, a_recall_is_said_again_on_another_lane);
    tcase_add_test(t, a_restarted_brick_waits_for_those_who_might_remember);
    tcase_add_test(t, a_client_that_went_away_is_forgotten_by_the_file);
    tcase_add_test(t, a_gateway_that_cannot_be_noted_is_promised_nothing);
    tcase_add_test(t, a_full_table_promises_less_and_begins_anew);
    tcase_add_test(t, changes_in_the_background_are_told);
    tcase_add_test(t, no_gateway_shows_the_past);
    tcase_add_test(t, nor_does_one_whose_lanes_break);
    tcase_add_test(t, nor_with_leases_that_run_out_at_any_time);
}

int main(int argc, char **argv)
{
    (void)argv;
    return protocol_main("protocol-lease", (const struct wg_class *const[]){ &store_class, &ear_class, NULL }, setup, add,
                         argc > 1);
}
