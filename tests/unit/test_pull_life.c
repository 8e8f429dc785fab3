/* SPDX-License-Identifier: Apache-2.0 */
/* ref_pull when things change, fail or stop meanwhile, and what caches hear of it. */
#include "pull_kit.h"
#include "lease.h"

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
    end(&from);
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
    end(&to);
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
        end(&from);
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

/* ---- when the brick itself stops, or its graph changes --------------------------------------- */

START_TEST(a_brick_that_stops_ends_its_pulls_at_once)
{
    struct wg_ref a = file_of(&source, gateway, "a", "head -c 3000000 /dev/urandom > a"), z[3];
    struct wg_ref_pull_in in[3];
    struct op op[4];

    forget_last();
    end(&to);
    start_target("option pulls 2\n");
    for (int i = 0; i < 3; i++) {
        char name[4] = { 'z', (char)('0' + i) }, command[20];

        snprintf(command, sizeof command, "true > %s", name);
        z[i] = file_of(&target, to, name, command);
    }
    OK(refer(a, 0, 3000000, "two"));
    end(&from); /* away: what is asked of it waits for the deadline */
    for (int i = 0; i < 3; i++) { /* two wait for the source, one for them */
        in[i] = (struct wg_ref_pull_in){ .ref = token, .source = source_id(), .to = z[i], .size = 3000000 };
        begin(&op[i], to, WG_OP_ref_pull, &in[i], 100000);
    }
    begin(&op[3], to, WG_OP_ref_peer, &(struct wg_ref_peer_in){ source_id() }, 100000);
    wg_graph_drain(to);
    for (int i = 0; i < 4; i++) {
        ERR(wait_for(&op[i]), EAGAIN);
        wg_call_unref(op[i].call);
    }
    ERR(pull(z[0], 0, 0, 10, true), EAGAIN); /* nor does another begin */
}
END_TEST

START_TEST(one_that_is_replaced_finishes_its_pulls)
{
    struct wg_ref a = file_of(&source, gateway, "a", "head -c 30000000 /dev/urandom > a");
    struct wg_ref z = file_of(&target, to, "z", "true > z");
    struct wg_ref_pull_in in = { .ref = token, .source = source_id(), .to = z, .size = 30000000, .fresh = true };
    struct wg_xlator *xl;
    struct op op;

    OK(refer(a, 0, UINT64_MAX, "two"));
    begin(&op, to, WG_OP_ref_pull, &in, 60000);
    wg_graph_each(to, xl)
        wg_xlator_drain(xl, false);
    OK(wait_for(&op));
    wg_call_unref(op.call);
    OK(same_files("a", "z"));
}
END_TEST

/* ---- what caches hear ------------------------------------------------------------------------ */

static atomic_bool deaf;
static atomic_uint heard;

/* While deaf a gateway stands still in the middle of a recall. */
static void ear_event(struct wg_xlator *xl, const struct wg_event *ev)
{
    (void)xl, (void)ev;
    while (atomic_load(&deaf))
        usleep(1000);
    atomic_fetch_add(&heard, 1);
}

static const struct wg_class ear = {
    .type = "test/ear", .help = "hears", .min_children = 1, .max_children = 1, .event = ear_event,
};

static struct wg_graph *gateway_of_target(const char *above)
{
    char text[2048];

    snprintf(text, sizeof text, "volume client\ntype protocol/client\noption remote 127.0.0.1:%u\n"
             "option reconnect-delay 100ms\n%send-volume\n%s", wg_server_port(to->top), tls("gateway", "two"), above);
    return graph_of(text);
}

static bool may_remember(struct wg_graph *g, struct wg_ref file)
{
    struct wg_getattr_in in = { .at = file };
    struct op op;
    bool yes;

    op_init(&op, g, 30000);
    op.call->want_lease = true;
    wg_start(op.call, g->entry, WG_OP_getattr, &in, op_finish);
    OK(wait_for(&op));
    yes = op.call->root->lease != NULL;
    wg_call_unref(op.call);
    return yes;
}

START_TEST(a_pull_is_answered_when_other_gateways_have_forgotten_the_file)
{
    struct wg_ref a = file_of(&source, gateway, "a", "head -c 5000000 /dev/urandom > a"), z;
    struct wg_ref_pull_in in = { .ref = token, .source = source_id(), .size = 5000000, .fresh = true };
    struct wg_graph *one, *two;
    char server[1024];
    struct op op;

    OK(wg_class_add(&ear));
    forget_last();
    end(&to);
    snprintf(server, sizeof server, "volume server\ntype protocol/server\noption listen 127.0.0.1:0\n"
             "option cache-lease 100s\n%ssubvolumes pull\nend-volume\n", tls("two", "gateway"));
    start_target_below("", server);
    one = gateway_of_target("");
    two = gateway_of_target("volume ear\ntype test/ear\nsubvolumes client\nend-volume\n");
    in.to = z = file_of(&target, one, "z", "true > z");
    for (int i = 0; i < 1000 && !may_remember(two, z); i++)
        usleep(10000);
    ck_assert(may_remember(two, z));
    OK(refer(a, 0, UINT64_MAX, "two"));
    atomic_store(&deaf, true);
    begin(&op, one, WG_OP_ref_pull, &in, 60000);
    ck_assert_msg(!op_wait(&op, 300), /* time to err in */
                  "answered while another gateway believes in what was");
    atomic_store(&deaf, false);
    OK(wait_for(&op));
    wg_call_unref(op.call);
    ck_assert_uint_ge(atomic_load(&heard), 1);
    OK(same_files("a", "z"));
    forget_last();
    end(&one);
    end(&two);
}
END_TEST

#define X TEST_ROW
PULL_TESTS("pull-life",
    X(a_changed_source_is_told) X(a_brick_that_is_away_costs_the_deadline) X(more_than_fit_wait_their_turn)
    X(the_source_stops_in_the_middle)
    X(a_brick_that_stops_ends_its_pulls_at_once) X(one_that_is_replaced_finishes_its_pulls)
    X(a_pull_is_answered_when_other_gateways_have_forgotten_the_file))
