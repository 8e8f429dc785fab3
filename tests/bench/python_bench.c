/* SPDX-License-Identifier: Apache-2.0 */
/* What a Python translator costs: a call with one more layer of each kind, less the call without it. */
#include <libgen.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "graph.h"

#define ROUNDS 2000    /* a turn is short, so that the best one had the processor for itself */
#define TURNS 300
#define TOGETHER 200000 /* calls of each of two threads */

static void store_getattr(struct wg_frame *f)
{
    struct wg_getattr_out *out = wg_new_out(f, getattr);

    if (out)
        out->attr.valid = true;
    wg_unwind(f, out ? 0 : ENOMEM);
}

static const struct wg_class store = {
    .type = "bench/store", .help = "answers at once", .fops = { [WG_OP_getattr] = store_getattr },
};

static void on_error(void *arg, const char *text)
{
    (void)arg;
    fprintf(stderr, "%s\n", text);
    exit(1);
}

static struct wg_graph *graph_of(const char *file, const char *class)
{
    char text[PATH_MAX + 512] = "volume s\n type bench/store\nend-volume\n";
    struct wg_graph *g;

    if (class)
        snprintf(text, sizeof text, "volume s\n type bench/store\nend-volume\nvolume p\n type bindings/python\n"
                 " option module %s\n option class %s\n subvolumes s\nend-volume\n", file, class);
    g = wg_graph_parse("bench.vol", text, strlen(text), on_error, NULL);
    if (!g || wg_graph_init(g) || wg_graph_start(g))
        exit(1);
    return g;
}

static void nothing(struct wg_call *call)
{
    (void)call;
}

static void calls(struct wg_graph *g, int n)
{
    static const struct wg_getattr_in in;

    for (int i = 0; i < n; i++) {
        struct wg_call *call = wg_call_new(g, WG_FROM_INTERNAL, "bench");

        wg_start(call, g->top, WG_OP_getattr, &in, nothing);
        wg_call_unref(call);
    }
}

static double one_turn(struct wg_graph *g)
{
    uint64_t t0 = wg_now_ns();

    calls(g, ROUNDS);
    return (double)(wg_now_ns() - t0) / ROUNDS;
}

/* The best of several turns each; they alternate, so that both meet the same machine. */
static void per_call(struct wg_graph *without, struct wg_graph *with, double *ret_without, double *ret_with)
{
    *ret_without = *ret_with = 1e9;
    for (int turn = 0; turn < TURNS; turn++) {
        double a = one_turn(without), b = one_turn(with);

        *ret_without = a < *ret_without ? a : *ret_without;
        *ret_with = b < *ret_with ? b : *ret_with;
    }
}

static void *thread_main(void *g)
{
    calls(g, TOGETHER);
    return NULL;
}

/* Calls per second of two threads together: they share the GIL. */
static double two_threads(struct wg_graph *g)
{
    pthread_t t[2];
    uint64_t t0 = wg_now_ns();

    for (int i = 0; i < 2; i++)
        if (pthread_create(&t[i], NULL, thread_main, g))
            exit(1);
    for (int i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
    return 2.0 * TOGETHER * 1e9 / (double)(wg_now_ns() - t0);
}

int main(int argc, char **argv)
{
    static const char *const classes[][2] = {
        { "Nothing", "a Python layer that treats other fops" },
        { "Pass", "a method that returns PASS" },
        { "Answer", "a method that answers" },
        { "Cache", "a method that looks in a dictionary and answers" },
        { "Then", "a method and its completion" },
        { "Generator", "a generator that winds and returns the reply" },
        { "Change", "a generator that changes the attributes of the reply" },
    };
    char path[PATH_MAX];
    struct wg_graph *bare;
    double without, with;

    if (argc != 2) {
        fprintf(stderr, "usage: python_bench .../tests/bench/python_bench.py (WG_MODULE_PATH=xlators)\n");
        return 2;
    }
    snprintf(path, sizeof path, "%s", argv[1]);
    wg_class_add(&store);
    wg_work_start(1);
    bare = graph_of(NULL, NULL);
    per_call(bare, graph_of(NULL, NULL), &without, &with);
    printf("{\"case\":\"a call without it\",\"ns\":%.1f}\n", without);
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
        struct wg_graph *g = graph_of(path, classes[i][0]);
        bool answers = i == 2 || i == 3; /* and the call below it does not run */

        per_call(bare, g, &without, &with);
        printf("{\"case\":\"%s\",\"ns\":%.1f%s}\n", classes[i][1], with - (answers ? 0 : without),
               answers ? ",\"whole_call\":true" : "");
        if (i == 5)
            printf("{\"case\":\"the same on two threads at once\",\"calls_per_s\":%.0f}\n", two_threads(g));
    }
    wg_work_stop();
    return 0;
}
