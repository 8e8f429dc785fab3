/* SPDX-License-Identifier: Apache-2.0 */
/* Graphs that change while calls run: what is shared, reloaded, replaced, refused; and nothing is lost. */
#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define WG_LOG_PART "test"
#include "lease.h"
#include "log.h"
#include "options.h"
#include "volume.h"

static atomic_int inits, starts, stops, finis, reloads, handovers, drains, events;
static atomic_bool refuse_reload, refuse_start, hold;
static atomic_ullong generation; /* gives each instance its number */
static struct wg_frame *held[64];
static atomic_int nheld;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

struct part {
    unsigned long long number;
    int64_t limit;
    atomic_int inside; /* calls wound through this instance and not yet back */
    bool alive;
};

/* Check's own assertions are for one thread. */
static void must(bool holds)
{
    if (!holds)
        abort();
}

/* --- a store that can hold its answers --- */

static int store_init(struct wg_xlator *xl)
{
    xl->priv = calloc(1, sizeof(struct part));
    atomic_fetch_add(&inits, 1);
    return xl->priv ? 0 : ENOMEM;
}

static int part_start(struct wg_xlator *xl)
{
    struct part *p = xl->priv;

    if (atomic_load(&refuse_start) && strcmp(xl->name, "bad") == 0) {
        wg_error("%s: no", xl->name);
        return EPERM;
    }
    p->alive = true;
    atomic_fetch_add(&starts, 1);
    return 0;
}

static void part_stop(struct wg_xlator *xl)
{
    struct part *p = xl->priv;

    must(p->alive);
    must(atomic_load(&p->inside) == 0);
    p->alive = false;
    atomic_fetch_add(&stops, 1);
}

static void part_fini(struct wg_xlator *xl)
{
    free(xl->priv);
    atomic_fetch_add(&finis, 1);
}

static void store_access(struct wg_frame *f)
{
    const struct wg_access_in *in = wg_in(f, access);
    struct wg_access_out *out = wg_new_out(f, access);

    must(((struct part *)f->this->priv)->alive);
    if (!out)
        return wg_unwind(f, ENOMEM);
    out->granted = in->mask;
    if (in->mask == 7 && atomic_load(&hold)) {
        pthread_mutex_lock(&lock);
        held[atomic_fetch_add(&nheld, 1)] = f;
        pthread_mutex_unlock(&lock);
        return;
    }
    wg_unwind(f, 0);
}

static const struct wg_option store_options[] = {
    { "size", WG_OPT_INT, 0, 100, "1", "can't change.", false },
    { 0 },
};

static const struct wg_class store = {
    .type = "test/store", .help = "answers", .options = store_options, .lasting = true, .init = store_init,
    .start = part_start, .stop = part_stop, .fini = part_fini, .fops = { [WG_OP_access] = store_access },
};

/* --- a layer that adds a bit to the mask, counts, and remembers a number --- */

static int layer_init(struct wg_xlator *xl)
{
    struct part *p = calloc(1, sizeof *p);

    if (!p)
        return ENOMEM;
    p->number = atomic_fetch_add(&generation, 1) + 1;
    p->limit = wg_opt_int(xl, "limit");
    xl->priv = p;
    atomic_fetch_add(&inits, 1);
    return 0;
}

static int layer_reload(struct wg_xlator *xl)
{
    struct part *p = xl->priv;

    atomic_fetch_add(&reloads, 1);
    if (atomic_load(&refuse_reload) && wg_opt_int(xl, "limit") == 66) {
        wg_error("%s: limit 66 is one too many", xl->name);
        return EINVAL;
    }
    __atomic_store_n(&p->limit, wg_opt_int(xl, "limit"), __ATOMIC_RELAXED);
    return 0;
}

static int layer_handover(struct wg_xlator *new, struct wg_xlator *old)
{
    ((struct part *)new->priv)->number = ((struct part *)old->priv)->number;
    atomic_fetch_add(&handovers, 1);
    return 0;
}

static void layer_drain(struct wg_xlator *xl)
{
    (void)xl;
    atomic_fetch_add(&drains, 1);
}

static void layer_event(struct wg_xlator *xl, const struct wg_event *ev)
{
    (void)ev;
    must(((struct part *)xl->priv)->alive);
    atomic_fetch_add(&events, 1);
}

static void layer_back(struct wg_frame *f)
{
    struct part *p = f->this->priv;

    must(p->alive);
    atomic_fetch_sub(&p->inside, 1);
    wg_unwind(f, f->err);
}

static void layer_access(struct wg_frame *f)
{
    struct part *p = f->this->priv;

    must(p->alive);
    atomic_fetch_add(&p->inside, 1);
    (void)__atomic_load_n(&p->limit, __ATOMIC_RELAXED);
    wg_wind(f, wg_child(f), layer_back);
}

static const struct wg_option layer_options[] = {
    { "limit", WG_OPT_INT, 0, 1000000, "1", "changes in place.", true },
    { "mode", WG_OPT_STR, 0, 0, "plain", "needs a new instance.", false },
    { 0 },
};

static const struct wg_class layer = {
    .type = "test/layer", .help = "winds on", .options = layer_options, .min_children = 1, .max_children = 1,
    .init = layer_init, .start = part_start, .drain = layer_drain, .stop = part_stop, .fini = part_fini,
    .reload = layer_reload, .handover = layer_handover, .event = layer_event, .fops = { [WG_OP_access] = layer_access },
};

static const struct wg_class door = {
    .type = "test/door", .help = "lets calls in", .min_children = 1, .max_children = 1, .door = true, .lasting = true,
    .init = store_init, .start = part_start, .stop = part_stop, .fini = part_fini,
};

/* --- helpers --- */

static void complain(void *arg, const char *text)
{
    (void)arg;
    fprintf(stderr, "%s\n", text);
}

#define STORE "volume s\n type test/store\nend-volume\n"
#define LAYER(name, more, below) "volume " name "\n type test/layer\n" more " subvolumes " below "\nend-volume\n"
#define LIMIT(n) " option limit " #n "\n"

static struct wg_volume *v;
static char why[300];

static struct wg_graph *graph_of(const char *text)
{
    struct wg_graph *g = wg_graph_parse("test.vol", text, strlen(text), complain, NULL);

    ck_assert_ptr_nonnull(g);
    return g;
}

static void begin(const char *text)
{
    inits = starts = stops = finis = reloads = handovers = drains = events = 0;
    ck_assert_int_eq(wg_volume_start("v", graph_of(text), &v), 0);
}

static int change_to(const char *text)
{
    return wg_volume_change(v, graph_of(text), why, sizeof why);
}

static struct wg_xlator *current(const char *name)
{
    return wg_graph_find(atomic_load(&v->graph), name);
}

static unsigned old_graphs(void)
{
    unsigned old;
    uint64_t changes;

    wg_volume_counts(v, &old, &changes);
    return old;
}

static void wait_until_old(unsigned n)
{
    for (int i = 0; i < 20000 && old_graphs() != n; i++)
        usleep(1000);
    ck_assert_uint_eq(old_graphs(), n);
}

static void wait_for_old(void)
{
    wait_until_old(0);
}

static void end(void)
{
    wg_volume_stop(v, 10000);
    ck_assert_ptr_null(wg_volume_find("v"));
    ck_assert_int_eq(stops, starts);
    ck_assert_int_eq(finis, inits);
}

static void nothing(struct wg_call *call)
{
    *(int *)call->owner += 1;
}

static struct wg_call *ask(uint32_t mask, int *answered)
{
    struct wg_call *call = wg_volume_call(v, WG_FROM_INTERNAL, "test");
    struct wg_access_in *in;

    must(call);
    in = WG_NEW(&call->arena, struct wg_access_in);
    must(in);
    in->mask = mask;
    call->owner = answered;
    *answered = 0;
    wg_start(call, call->graph->entry, WG_OP_access, in, nothing);
    return call;
}

static unsigned depth_of(const struct wg_call *call)
{
    unsigned n = 0;

    for (const struct wg_frame *f = atomic_load(&call->frames); f; f = f->next)
        n++;
    return n;
}

static void check_call(unsigned depth)
{
    int answered;
    struct wg_call *call = ask(5, &answered);

    ck_assert_int_eq(answered, 1);
    ck_assert_int_eq(call->root->err, 0);
    ck_assert_uint_eq(wg_result(call, access)->granted, 5);
    ck_assert_uint_eq(depth_of(call), depth);
    wg_call_unref(call);
}

/* --- tests --- */

START_TEST(what_is_the_same_is_shared)
{
    struct wg_xlator *s, *a;

    begin(STORE LAYER("a", "", "s"));
    s = current("s");
    a = current("a");
    check_call(2);
    ck_assert_int_eq(change_to(STORE LAYER("a", "", "s") LAYER("b", "", "a")), 0);
    ck_assert_ptr_eq(current("s"), s);
    ck_assert_ptr_eq(current("a"), a);
    ck_assert_int_eq(inits, 3);
    check_call(3);
    wait_for_old();
    ck_assert_int_eq(finis, 0);
    ck_assert_int_eq(change_to(STORE LAYER("a", "", "s")), 0);
    wait_for_old();
    ck_assert_int_eq(finis, 1);
    ck_assert_int_eq(drains, 1);
    check_call(2);
    /* The same graph again is no change. */
    ck_assert_int_eq(change_to(STORE LAYER("a", "", "s")), 0);
    ck_assert_uint_eq(v->changes, 3);
    end();
}
END_TEST

START_TEST(a_layer_below_gives_those_above_new_instances_that_take_over)
{
    struct wg_xlator *s, *a;
    unsigned long long number;

    begin(STORE LAYER("a", "", "s"));
    s = current("s");
    a = current("a");
    number = ((struct part *)a->priv)->number;
    ck_assert_int_eq(change_to(STORE LAYER("b", "", "s") LAYER("a", "", "b")), 0);
    ck_assert_ptr_eq(current("s"), s);
    ck_assert_ptr_ne(current("a"), a);
    ck_assert_int_eq(handovers, 1);
    ck_assert_uint_eq(((struct part *)current("a")->priv)->number, number);
    check_call(3);
    end();
}
END_TEST

START_TEST(options_change_in_place_or_with_a_new_instance)
{
    struct wg_xlator *a;

    begin(STORE LAYER("a", LIMIT(1), "s"));
    a = current("a");
    ck_assert_int_eq(change_to(STORE LAYER("a", LIMIT(7), "s")), 0);
    ck_assert_ptr_eq(current("a"), a);
    ck_assert_int_eq(reloads, 1);
    ck_assert_int_eq(((struct part *)a->priv)->limit, 7);
    ck_assert_int_eq(wg_opt_int(a, "limit"), 7);
    ck_assert_str_eq(wg_opt_str(a, "limit"), "7");
    ck_assert_int_eq(change_to(STORE LAYER("a", "", "s")), 0); /* back to the default */
    ck_assert_int_eq(((struct part *)a->priv)->limit, 1);
    ck_assert_int_eq(change_to(STORE LAYER("a", " option mode fancy\n", "s")), 0);
    ck_assert_ptr_ne(current("a"), a);
    ck_assert_str_eq(wg_opt_str(current("a"), "mode"), "fancy");
    end();
}
END_TEST

START_TEST(what_is_refused_changes_nothing)
{
    struct wg_graph *g;
    struct wg_xlator *a, *b;

    begin(STORE LAYER("a", LIMIT(1), "s") LAYER("b", LIMIT(2), "a"));
    g = atomic_load(&v->graph);
    a = current("a");
    b = current("b");
    atomic_store(&refuse_reload, true);
    ck_assert_int_eq(change_to(STORE LAYER("a", LIMIT(5), "s") LAYER("b", LIMIT(66), "a") LAYER("c", "", "b")), EINVAL);
    ck_assert_str_eq(why, "b: limit 66 is one too many");
    ck_assert_int_eq(wg_opt_int(a, "limit"), 1);
    ck_assert_int_eq(((struct part *)a->priv)->limit, 1);
    ck_assert_int_eq(wg_opt_int(b, "limit"), 2);
    atomic_store(&refuse_reload, false);
    atomic_store(&refuse_start, true);
    ck_assert_int_eq(change_to(STORE LAYER("a", LIMIT(5), "s") LAYER("b", "", "a") LAYER("bad", "", "b")), EPERM);
    ck_assert_str_eq(why, "bad: no");
    atomic_store(&refuse_start, false);
    ck_assert_int_eq(change_to("volume s\n type test/store\n option size 2\nend-volume\n" LAYER("a", "", "s")), EBUSY);
    ck_assert_ptr_nonnull(strstr(why, "option size of s (test/store) can't change"));
    ck_assert_ptr_eq(atomic_load(&v->graph), g);
    ck_assert_int_eq(atomic_load(&events), 0);
    wg_notify(current("s"), &(struct wg_event){ .kind = WG_EV_RESET });
    ck_assert_int_eq(atomic_load(&events), 2); /* only those of the graph that is there */
    check_call(3);
    end();
}
END_TEST

START_TEST(a_call_ends_in_the_graph_it_began_in)
{
    struct wg_call *call;
    int answered;

    begin(STORE LAYER("a", "", "s"));
    atomic_store(&hold, true);
    call = ask(7, &answered);
    ck_assert_int_eq(answered, 0);
    ck_assert_int_eq(change_to(STORE), 0);
    ck_assert_int_eq(change_to(STORE LAYER("b", "", "s")), 0);
    wait_until_old(1); /* the first; the second had no calls */
    check_call(2);
    /* Its layer still hears events, beside the new one. */
    wg_notify(current("s"), &(struct wg_event){ .kind = WG_EV_RESET });
    ck_assert_int_eq(atomic_load(&events), 2);
    wg_unwind(held[--nheld], 0);
    ck_assert_int_eq(answered, 1);
    usleep(20000);
    ck_assert_uint_eq(old_graphs(), 1); /* the call is still held: its memory may point into the graph */
    wg_call_unref(call);
    wait_for_old();
    wg_notify(current("s"), &(struct wg_event){ .kind = WG_EV_RESET });
    ck_assert_int_eq(atomic_load(&events), 3);
    atomic_store(&hold, false);
    end();
}
END_TEST

START_TEST(old_graphs_are_bounded)
{
    struct wg_call *call[WG_VOLUME_OLD_MAX];
    int answered[WG_VOLUME_OLD_MAX];

    begin(STORE);
    atomic_store(&hold, true);
    for (int i = 0; i < WG_VOLUME_OLD_MAX; i++) {
        call[i] = ask(7, &answered[i]);
        ck_assert_int_eq(change_to(i % 2 ? STORE : STORE LAYER("a", "", "s")), 0);
    }
    ck_assert_int_eq(change_to(STORE LAYER("a", "", "s") LAYER("b", "", "a")), EBUSY);
    ck_assert_ptr_nonnull(strstr(why, "still have calls"));
    while (nheld > 0)
        wg_unwind(held[--nheld], 0);
    for (int i = 0; i < WG_VOLUME_OLD_MAX; i++)
        wg_call_unref(call[i]);
    atomic_store(&hold, false);
    wait_for_old();
    end();
}
END_TEST

#define DOOR(below) "volume d\n type test/door\n subvolumes " below "\nend-volume\n"

START_TEST(a_door_stays_whatever_is_below)
{
    struct wg_xlator *d;

    begin(STORE DOOR("s"));
    d = current("d");
    check_call(1);
    ck_assert_int_eq(change_to(STORE LAYER("a", "", "s") DOOR("a")), 0);
    ck_assert_ptr_eq(current("d"), d);
    ck_assert_ptr_eq(d->children[0], current("a"));
    check_call(2);
    ck_assert_int_eq(change_to(STORE LAYER("a", "", "s")), EBUSY);
    ck_assert_ptr_nonnull(strstr(why, "must stay on top"));
    check_call(2);
    ck_assert_int_eq(change_to(STORE DOOR("s")), 0);
    check_call(1);
    end();
}
END_TEST

START_TEST(a_closed_volume_takes_no_calls_until_it_starts_again)
{
    begin(STORE LAYER("a", "", "s"));
    wg_volume_close(v);
    ck_assert_ptr_null(wg_volume_call(v, WG_FROM_INTERNAL, "test"));
    wait_for_old();
    ck_assert_int_eq(finis, 2);
    ck_assert_int_eq(wg_volume_start("v", graph_of(STORE), &v), 0);
    check_call(1);
    end();
}
END_TEST

/* Whoever has it from before, a call or a command, finds it. */
START_TEST(a_closed_volume_stays_when_a_new_graph_does_not_start)
{
    struct wg_volume *was, *now;

    begin(STORE);
    was = v;
    wg_volume_close(v);
    wait_for_old();
    atomic_store(&refuse_start, true);
    ck_assert_int_ne(wg_volume_start("v", graph_of(STORE LAYER("bad", "", "s")), &now), 0);
    atomic_store(&refuse_start, false);
    ck_assert_ptr_null(now);
    ck_assert_ptr_eq(wg_volume_find("v"), was);
    ck_assert_ptr_null(wg_volume_call(was, WG_FROM_INTERNAL, "test"));
    ck_assert_int_eq(wg_volume_start("v", graph_of(STORE), &v), 0);
    ck_assert_ptr_eq(v, was);
    check_call(1);
    end();
}
END_TEST

/* --- under load --- */

enum { THREADS = 4, CHANGES = 300 };
static atomic_bool over;
static atomic_ullong answered_all, asked_all;

static void *load(void *arg)
{
    unsigned n = 0;

    while (!atomic_load(&over)) {
        int answered;
        struct wg_call *call = ask(1 + n++ % 6, &answered);

        atomic_fetch_add(&asked_all, 1);
        if (answered == 1 && call->root->err == 0 && wg_result(call, access)->granted == 1 + (n - 1) % 6)
            atomic_fetch_add(&answered_all, 1);
        wg_call_unref(call);
        if (n % 64 == 0)
            wg_notify(arg, &(struct wg_event){ .kind = WG_EV_RESET });
    }
    return NULL;
}

START_TEST(hundreds_of_changes_under_load_lose_nothing)
{
    static const char *const graph[] = {
        STORE LAYER("a", "", "s"),
        STORE LAYER("a", "", "s") LAYER("b", "", "a"),
        STORE LAYER("c", "", "s") LAYER("a", "", "c") LAYER("b", "", "a"),
        STORE LAYER("c", LIMIT(9), "s") LAYER("a", LIMIT(3), "c") LAYER("b", "", "a"),
        STORE,
        STORE LAYER("b", " option mode odd\n", "s"),
    };
    pthread_t t[THREADS];
    unsigned made = 0;

    begin(graph[0]);
    atomic_store(&over, false);
    asked_all = answered_all = 0;
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&t[i], NULL, load, current("s")), 0);
    for (int i = 0; made < CHANGES && i < 100000; i++) {
        unsigned long long before = atomic_load(&answered_all);
        int err = change_to(graph[made % (sizeof graph / sizeof *graph)]);

        ck_assert_msg(err == 0 || err == EBUSY, "%s", why);
        if (err)
            usleep(1000); /* too many old ones: calls were not scheduled for a while */
        else
            made++;
        while (atomic_load(&answered_all) == before) /* no stall: answers come after each change */
            sched_yield();
    }
    ck_assert_uint_eq(made, CHANGES);
    atomic_store(&over, true);
    for (int i = 0; i < THREADS; i++)
        pthread_join(t[i], NULL);
    ck_assert_uint_eq(asked_all, answered_all);
    wait_for_old();
    ck_assert_uint_eq(wg_calls_live(), 0);
    end();
}
END_TEST

/* As the commands of the control socket: a closed volume is not made anew. */
static struct wg_graph *with_or_without(const struct wg_graph *now, void *arg)
{
    int *turn = arg;

    return now ? graph_of((*turn)++ % 2 ? STORE : STORE LAYER("a", "", "s")) : NULL;
}

static void *edit(void *arg)
{
    char text[300];
    int turn = 0;

    while (!atomic_load(&over)) {
        wg_volume_edit(arg, with_or_without, &turn, text, sizeof text);
        usleep(50);
    }
    return NULL;
}

START_TEST(a_volume_is_closed_while_it_is_changed)
{
    pthread_t t;

    begin(STORE);
    atomic_store(&over, false);
    ck_assert_int_eq(pthread_create(&t, NULL, edit, v), 0);
    for (int i = 0; i < 100; i++) {
        usleep((unsigned)i % 7 * 100);
        wg_volume_close(v);
        wait_for_old();
        ck_assert_ptr_null(atomic_load(&v->graph));
        ck_assert_int_eq(wg_volume_start("v", graph_of(STORE), &v), 0);
    }
    atomic_store(&over, true);
    pthread_join(t, NULL);
    wait_for_old();
    end();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("volume");
    TCase *t = tcase_create("all");
    SRunner *r;
    int failed;

    wg_class_add(&store);
    wg_class_add(&layer);
    wg_class_add(&door);
    tcase_set_timeout(t, 120);
    tcase_add_test(t, what_is_the_same_is_shared);
    tcase_add_test(t, a_layer_below_gives_those_above_new_instances_that_take_over);
    tcase_add_test(t, options_change_in_place_or_with_a_new_instance);
    tcase_add_test(t, what_is_refused_changes_nothing);
    tcase_add_test(t, a_call_ends_in_the_graph_it_began_in);
    tcase_add_test(t, old_graphs_are_bounded);
    tcase_add_test(t, a_door_stays_whatever_is_below);
    tcase_add_test(t, a_closed_volume_takes_no_calls_until_it_starts_again);
    tcase_add_test(t, a_closed_volume_stays_when_a_new_graph_does_not_start);
    tcase_add_test(t, a_volume_is_closed_while_it_is_changed);
    tcase_add_test(t, hundreds_of_changes_under_load_lose_nothing);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_set_fork_status(r, CK_NOFORK);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
