/* SPDX-License-Identifier: Apache-2.0 */
/* What the core itself costs: a wind and unwind, a layer that passes, a call, a coroutine's fop. */
#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>
#include <unistd.h>

#include "co.h"
#include "co_stack.h"
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

static struct wg_graph *stack_with(const char *type, int n, const char *options)
{
    static char text[16384];
    char *at = text;
    struct wg_graph *g;

    at += sprintf(at, "volume s0\n type bench/store\nend-volume\n");
    for (int i = 1; i <= n; i++)
        at += sprintf(at, "volume s%d\n type %s\n subvolumes s%d\n%send-volume\n", i, type, i - 1, options);
    g = wg_graph_parse("bench.vol", text, (size_t)(at - text), on_error, NULL);
    if (!g || wg_graph_init(g) || wg_graph_start(g))
        exit(1);
    return g;
}

static struct wg_graph *stack_of(const char *type, int n)
{
    return stack_with(type, n, "");
}

static void nothing(struct wg_call *call)
{
    (void)call;
}

static double per_call(struct wg_graph *g)
{
    static const struct wg_getattr_in in;
    double best = 1e9;

    /* Many short turns: the best of them was not interrupted, on a busy machine too. */
    for (int turn = 0; turn < 200; turn++) {
        uint64_t t0 = wg_now_ns();

        for (int i = 0; i < ROUNDS / 100; i++) {
            struct wg_call *call = wg_call_new(g, WG_FROM_INTERNAL, "bench");

            wg_start(call, g->top, WG_OP_getattr, &in, nothing);
            wg_call_unref(call);
        }
        double ns = (double)(wg_now_ns() - t0) / (ROUNDS / 100);

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

/* --- switches alone --- */

static struct wg_stack *stack;

static void stack_entry(void)
{
    wg_stack_arrived(stack);
    for (;;)
        wg_stack_leave(stack, false);
}

/* There and back is two. */
static double per_switch(void)
{
    uint64_t t0;

    stack = wg_stack_get();
    if (!stack)
        exit(1);
    wg_stack_prepare(stack, stack_entry);
    wg_stack_enter(stack);
    t0 = wg_now_ns();
    for (int i = 0; i < ROUNDS; i++)
        wg_stack_enter(stack);
    return (double)(wg_now_ns() - t0) / ROUNDS / 2;
}

static ucontext_t here, there;

static void context_entry(void)
{
    for (;;)
        swapcontext(&there, &here);
}

static double per_swapcontext(void)
{
    static char memory[65536];
    uint64_t t0;

    getcontext(&there);
    there.uc_stack.ss_sp = memory;
    there.uc_stack.ss_size = sizeof memory;
    makecontext(&there, context_entry, 0);
    swapcontext(&here, &there);
    t0 = wg_now_ns();
    for (int i = 0; i < ROUNDS; i++)
        swapcontext(&here, &there);
    return (double)(wg_now_ns() - t0) / ROUNDS / 2;
}

static int nothing_much(struct wg_co *co, void *arg)
{
    (void)co;
    (void)arg;
    return 0;
}

static double spawn_ns;

static int spawn_loop(struct wg_co *co, void *arg)
{
    uint64_t t0 = wg_now_ns();

    (void)arg;
    for (int i = 0; i < ROUNDS / 16; i++) {
        struct wg_co_group *g = wg_co_group(co, 16);

        for (int k = 0; k < 16 && g; k++)
            wg_co_spawn(g, "bench", nothing_much, NULL);
        if (!g || wg_co_collect(g))
            return EIO;
    }
    spawn_ns = (double)(wg_now_ns() - t0) / (ROUNDS / 16 * 16);
    return 0;
}

static void run_co(struct wg_graph *g, wg_co_fn *fn)
{
    struct wg_call *root = wg_call_new(g, WG_FROM_INTERNAL, "bench");

    wg_co_start(root, "bench", fn, NULL, NULL);
    wg_call_unref(root);
    wg_co_drain(wg_now_ns() + 60000000000u);
}

static void show(const char *what, double ns)
{
    printf("{\"case\":\"%s\",\"ns\":%.1f}\n", what, ns);
}

int main(void)
{
    struct wg_graph *g;
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
    show("a layer of debug/trace, off", (per_call(stack_with("debug/trace", 10, " option enabled off\n")) - base) / 10);
    show("a layer of debug/trace that notes the fop", per_call(stack_with("debug/trace", 1, "")) - base);
    run_co(g, co_loop);
    show("a coroutine's fop", co_ns);
    run_co(g, spawn_loop);
    show("a coroutine spawned, run and collected", spawn_ns);
    show("a switch into a coroutine or back", per_switch());
    show("the same by swapcontext", per_swapcontext());
    wg_work_stop();
    return 0;
}
