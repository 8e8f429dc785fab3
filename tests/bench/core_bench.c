/* SPDX-License-Identifier: Apache-2.0 */
/* What the core itself costs: a wind and unwind, a layer that passes, a call, a coroutine's fop. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "co.h"
#include "graph.h"

#define ROUNDS 400000

static void store_getattr(struct wg_frame *f)
{
    struct wg_getattr_out *out = wg_new_out(f, getattr);

    wg_unwind(f, out ? 0 : ENOMEM);
}

static const struct wg_class store = {
    .type = "bench/store", .help = "answers at once", .fops = { [WG_OP_getattr] = store_getattr },
};

static void layer_done(struct wg_frame *f)
{
    wg_unwind(f, f->err);
}

static void layer_any(struct wg_frame *f)
{
    wg_wind(f, wg_child(f), layer_done);
}

static const struct wg_class layer = {
    .type = "bench/layer", .help = "winds and unwinds", .min_children = 1, .max_children = 1, .any = layer_any,
};

static const struct wg_class bare = {
    .type = "bench/bare", .help = "treats nothing", .min_children = 1, .max_children = 1,
};

static void on_error(void *arg, const char *text)
{
    (void)arg;
    fprintf(stderr, "%s\n", text);
    exit(1);
}

static struct wg_graph *stack_of(const char *type, int n)
{
    static char text[16384];
    char *at = text;
    struct wg_graph *g;

    at += sprintf(at, "volume s0\n type bench/store\nend-volume\n");
    for (int i = 1; i <= n; i++)
        at += sprintf(at, "volume s%d\n type %s\n subvolumes s%d\nend-volume\n", i, type, i - 1);
    g = wg_graph_parse("bench.vol", text, (size_t)(at - text), on_error, NULL);
    if (!g || wg_graph_init(g) || wg_graph_start(g))
        exit(1);
    return g;
}

static void nothing(struct wg_call *call)
{
    (void)call;
}

static double per_call(struct wg_graph *g)
{
    static const struct wg_getattr_in in;
    double best = 1e9;

    for (int turn = 0; turn < 5; turn++) {
        uint64_t t0 = wg_now_ns();

        for (int i = 0; i < ROUNDS; i++) {
            struct wg_call *call = wg_call_new(g, WG_FROM_INTERNAL, "bench");

            wg_start(call, g->top, WG_OP_getattr, &in, nothing);
            wg_call_unref(call);
        }
        double ns = (double)(wg_now_ns() - t0) / ROUNDS;

        best = ns < best ? ns : best;
    }
    return best;
}

static struct wg_graph *co_graph;
static double co_ns;

static int co_loop(struct wg_co *co, void *arg)
{
    static const struct wg_getattr_in in;
    uint64_t t0 = wg_now_ns();

    (void)arg;
    for (int i = 0; i < ROUNDS; i++) {
        const struct wg_getattr_out *out;

        if (wg_co_getattr(co, co_graph->top, &in, &out))
            return EIO;
    }
    co_ns = (double)(wg_now_ns() - t0) / ROUNDS;
    return 0;
}

static void show(const char *what, double ns)
{
    printf("{\"case\":\"%s\",\"ns\":%.1f}\n", what, ns);
}

int main(void)
{
    struct wg_graph *g;
    struct wg_call *root;
    double base, ten;

    wg_class_add(&store);
    wg_class_add(&layer);
    wg_class_add(&bare);
    wg_work_start(1);
    g = stack_of("bench/layer", 0);
    base = per_call(g);
    show("call with one fop answered at once", base);
    g = stack_of("bench/layer", 10);
    ten = per_call(g);
    show("one more layer that winds and unwinds", (ten - base) / 10);
    wg_timing(true);
    show("the same with timing on", (per_call(g) - base) / 10);
    wg_timing(false);
    g = stack_of("bench/bare", 10);
    show("one more layer that treats nothing", (per_call(g) - base) / 10);
    co_graph = g;
    root = wg_call_new(g, WG_FROM_INTERNAL, "bench");
    wg_co_start(root, "bench", co_loop, NULL, NULL);
    wg_call_unref(root);
    wg_co_drain(wg_now_ns() + 60000000000u);
    show("a coroutine's fop", co_ns);
    wg_work_stop();
    return 0;
}
