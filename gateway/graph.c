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

static bool contains(const struct wg_graph *g, const struct wg_xlator *xl)
{
    for (int i = 0; i < g->nxlators; i++)
        if (g->xlators[i] == xl)
            return true;
    return false;
}

/* Those above xl in g that listen, nearest first: parents are declared after their children. */
static void add_listeners(const struct wg_graph *g, const struct wg_xlator *xl, bool *above,
                          struct wg_xlator **list, unsigned *n)
{
    memset(above, 0, (size_t)g->nxlators);
    for (int i = 0; i < g->nxlators; i++) {
        struct wg_xlator *up = g->xlators[i];

        above[i] = is_child(xl, up);
        for (int j = 0; j < i && !above[i]; j++)
            above[i] = above[j] && is_child(g->xlators[j], up);
        if (above[i] && up->class->event)
            add_listener(list, n, up);
    }
}

int wg_graph_listen(struct wg_graph *const *graphs, unsigned n)
{
    unsigned total = 0, widest = 0;
    bool *above;
    int err = 0;

    for (unsigned i = 0; i < n; i++) {
        total += (unsigned)graphs[i]->nxlators;
        widest = (unsigned)graphs[i]->nxlators > widest ? (unsigned)graphs[i]->nxlators : widest;
    }
    above = calloc(widest + 1, sizeof *above);
    for (unsigned i = 0; above && i < n && !err; i++)
        for (int k = 0; k < graphs[i]->nxlators && !err; k++) {
            struct wg_xlator *xl = graphs[i]->xlators[k], **list;
            unsigned heard = 0;

            list = calloc(total + 1, sizeof(struct wg_xlator *));
            if (!list) {
                err = ENOMEM;
                break;
            }
            for (unsigned j = 0; j < n; j++)
                if (contains(graphs[j], xl))
                    add_listeners(graphs[j], xl, above, list, &heard);
            wg_listeners_set(xl, list, heard);
        }
    free(above);
    return above ? err : ENOMEM;
}

/* Children first, so that a parent may use what is below as soon as it starts. */
int wg_graph_start(struct wg_graph *g)
{
    struct wg_xlator *xl;
    int err;

    wg_graph_each(g, xl) {
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
    err = g->volume == &g->alone ? wg_graph_listen(&g, 1) : 0;
    if (err)
        stop_all(g);
    return err;
}

void wg_xlator_drain(struct wg_xlator *xl, bool ending)
{
    if (xl->state != WG_XL_STARTED || (xl->drained && (xl->ending || !ending)))
        return;
    xl->drained = true;
    xl->ending = ending;
    if (xl->class->drain)
        xl->class->drain(xl);
}

void wg_graph_drain(struct wg_graph *g)
{
    struct wg_xlator *xl;

    wg_graph_each(g, xl)
        if (xl->refs == 1 && !xl->drained)
            wg_xlator_drain(xl, true);
}

void wg_graph_stop(struct wg_graph *g)
{
    wg_graph_drain(g);
    stop_all(g);
    fini_all(g);
}

void wg_graph_stop_door(struct wg_graph *g)
{
    struct wg_xlator *xl = g->top;

    wg_graph_drain(g);
    if (!xl->class->door || xl->state != WG_XL_STARTED)
        return;
    if (xl->class->stop)
        xl->class->stop(xl);
    xl->state = WG_XL_READY;
}

void wg_xlator_free(struct wg_xlator *xl)
{
    if (xl->class && xl->class->forget)
        xl->class->forget(xl->class);
    for (struct wg_kv *kv = xl->options, *more; kv; kv = more) {
        more = kv->next;
        wg_kv_free(kv);
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
            wg_xlator_free(g->xlators[i]);
    free(g->xlators);
    free(g->text);
    free(g->file);
    free(g);
}
