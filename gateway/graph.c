/* SPDX-License-Identifier: Apache-2.0 */
/* A graph's life: link, init, start, stop, free. */
#include <stdlib.h>
#include <unistd.h>

#define WG_LOG_PART "graph"
#include "graph.h"
#include "log.h"
#include "options.h"
#include "stats.h"

#define FREE_WAIT_MS 5000

/*
 * For each fop, who treats it: this xlator, or the nearest below it through single (or serving) children.
 * Children are declared, hence linked, before their parents.
 */
static void link_xlator(struct wg_xlator *xl)
{
    for (unsigned op = 0; op < WG_OP_MAX; op++) {
        wg_handler *fn = xl->class->fops[op] ? xl->class->fops[op] : wg_fops[op].kind ? xl->class->any : NULL;

        xl->route[op].xl = NULL;
        xl->route[op].fn = NULL;
        if (fn) {
            xl->route[op].xl = xl;
            xl->route[op].fn = fn;
        } else if (xl->nchildren == 1 || (xl->nchildren > 1 && xl->class->first_child_serves)) {
            xl->route[op] = xl->children[0]->route[op];
        }
    }
}

/* Ends what was begun here: translators of this graph alone, from the top down. */
static void stop_all(struct wg_graph *g)
{
    for (int i = g->nxlators; i-- > 0;) {
        struct wg_xlator *xl = g->xlators[i];

        if (xl->refs > 1 || xl->state != WG_XL_STARTED)
            continue;
        if (xl->class->stop)
            xl->class->stop(xl);
        xl->state = WG_XL_READY;
    }
}

static void fini_all(struct wg_graph *g)
{
    for (int i = g->nxlators; i-- > 0;) {
        struct wg_xlator *xl = g->xlators[i];

        if (xl->refs > 1 || xl->state != WG_XL_READY)
            continue;
        if (xl->class->fini)
            xl->class->fini(xl);
        xl->state = WG_XL_PARSED;
    }
}

static int init_one(struct wg_xlator *xl)
{
    int err = 0;

    link_xlator(xl);
    if (!xl->stats)
        xl->stats = wg_stats_new(xl);
    if (!xl->stats)
        err = ENOMEM;
    else if (xl->class->init)
        err = xl->class->init(xl);
    if (err)
        wg_error("volume '%s' (%s) can't be set up: %s", xl->name, xl->class->type, wg_error_name(err));
    else
        xl->state = WG_XL_READY;
    return err;
}

int wg_graph_init(struct wg_graph *g)
{
    struct wg_xlator *xl;

    if (!g->volume) {
        g->volume = &g->alone;
        atomic_store(&g->alone.graph, g);
    }
    wg_graph_each(g, xl) {
        int err;

        if (xl->state != WG_XL_PARSED)
            continue;
        xl->volume = g->volume;
        err = init_one(xl);
        if (err) {
            fini_all(g);
            return err;
        }
    }
    return 0;
}

static bool is_child(const struct wg_xlator *xl, const struct wg_xlator *parent)
{
    for (unsigned i = 0; i < parent->nchildren; i++)
        if (parent->children[i] == xl)
            return true;
    return false;
}

static void add_listener(struct wg_xlator **list, unsigned *n, struct wg_xlator *xl)
{
    for (unsigned i = 0; i < *n; i++)
        if (list[i] == xl)
            return;
    list[(*n)++] = xl;
}

/* Parents are declared after their children: theirs are known when a child's are gathered. */
static int set_listeners(struct wg_graph *g, int at)
{
    struct wg_xlator **list = calloc((size_t)g->nxlators + 1, sizeof(struct wg_xlator *));
    struct wg_xlator *xl = g->xlators[at];
    unsigned n = 0;

    if (!list)
        return ENOMEM;
    for (int j = at + 1; j < g->nxlators; j++) {
        struct wg_xlator *up = g->xlators[j];

        if (!is_child(xl, up))
            continue;
        if (up->class->event)
            add_listener(list, &n, up);
        for (unsigned i = 0; i < up->nlisteners; i++)
            add_listener(list, &n, up->listeners[i]);
    }
    wg_listeners_set(xl, list, n);
    return 0;
}

/* Children first, so that a parent may use what is below as soon as it starts. */
int wg_graph_start(struct wg_graph *g)
{
    struct wg_xlator *xl;

    for (int i = g->nxlators; i-- > 0;) {
        int err = set_listeners(g, i);

        if (err)
            return err;
    }
    wg_graph_each(g, xl) {
        int err;

        if (xl->state != WG_XL_READY)
            continue;
        err = xl->class->start ? xl->class->start(xl) : 0;
        if (err) {
            wg_error("volume '%s' (%s) can't start: %s", xl->name, xl->class->type, wg_error_name(err));
            stop_all(g);
            return err;
        }
        xl->state = WG_XL_STARTED;
    }
    return 0;
}

void wg_graph_stop(struct wg_graph *g)
{
    stop_all(g);
    fini_all(g);
}

static void free_xlator(struct wg_xlator *xl)
{
    if (xl->class && xl->class->forget)
        xl->class->forget(xl->class);
    for (struct wg_kv *kv = xl->options, *more; kv; kv = more) {
        more = kv->next;
        free(kv->text);
        free(kv);
    }
    free(xl->children);
    free(xl->listeners);
    wg_stats_free(xl->stats);
    free(xl->file);
    free((char *)(uintptr_t)xl->name);
    free(xl);
}

struct wg_graph *wg_graph_new(void)
{
    struct wg_graph *g = aligned_alloc(_Alignof(struct wg_graph), sizeof *g);

    if (g)
        memset(g, 0, sizeof *g);
    return g;
}

/* A call's last reference may go on another thread, just after its answer has been seen. */
static bool wait_until_idle(struct wg_graph *g)
{
    for (int ms = 0; ms < FREE_WAIT_MS; ms++) {
        if (wg_graph_idle(g))
            return true;
        usleep(1000);
    }
    return wg_graph_idle(g);
}

void wg_graph_free(struct wg_graph *g)
{
    if (!wait_until_idle(g)) {
        wg_error("calls are still under way in a graph that is not needed any more: its memory is kept");
        return;
    }
    for (int i = g->nxlators; i-- > 0;)
        if (--g->xlators[i]->refs == 0)
            free_xlator(g->xlators[i]);
    free(g->xlators);
    free(g->text);
    free(g->file);
    free(g);
}
