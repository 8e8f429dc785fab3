/* SPDX-License-Identifier: Apache-2.0 */
/* A graph's life: link, init, start, stop, free. */
#include <stdlib.h>

#define WG_LOG_PART "graph"
#include "graph.h"
#include "log.h"
#include "options.h"

struct wg_stats *wg_stats_new(void);

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

static void undo(struct wg_graph *g, const struct wg_xlator *upto)
{
    for (struct wg_xlator *xl = g->first; xl && xl != upto; xl = xl->next)
        if (xl->class->fini)
            xl->class->fini(xl);
}

int wg_graph_init(struct wg_graph *g)
{
    for (struct wg_xlator *xl = g->first; xl; xl = xl->next) {
        int err = 0;

        link_xlator(xl);
        xl->stats = wg_stats_new();
        if (!xl->stats)
            err = ENOMEM;
        else if (xl->class->init)
            err = xl->class->init(xl);
        if (err) {
            wg_error("volume '%s' (%s) can't be set up: %s", xl->name, xl->class->type, wg_error_name(err));
            undo(g, xl);
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
static int set_listeners(struct wg_graph *g, struct wg_xlator *xl)
{
    struct wg_xlator **list;
    unsigned n = 0;
    int err;

    if (!xl)
        return 0;
    err = set_listeners(g, xl->next);
    if (err)
        return err;
    list = calloc((size_t)g->nxlators + 1, sizeof(struct wg_xlator *));
    if (!list)
        return ENOMEM;
    for (struct wg_xlator *up = xl->next; up; up = up->next)
        if (is_child(xl, up)) {
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
    int none = set_listeners(g, g->first);

    if (none)
        return none;
    for (struct wg_xlator *xl = g->first; xl; xl = xl->next) {
        int err = xl->class->start ? xl->class->start(xl) : 0;

        if (err) {
            wg_error("volume '%s' (%s) can't start: %s", xl->name, xl->class->type, wg_error_name(err));
            for (struct wg_xlator *x = g->first; x != xl; x = x->next)
                if (x->class->stop)
                    x->class->stop(x);
            return err;
        }
    }
    g->started = true;
    return 0;
}

static void stop_after(struct wg_xlator *xl)
{
    if (!xl)
        return;
    stop_after(xl->next);
    if (xl->class->stop)
        xl->class->stop(xl);
}

static void fini_after(struct wg_xlator *xl)
{
    if (!xl)
        return;
    fini_after(xl->next);
    if (xl->class->fini)
        xl->class->fini(xl);
}

void wg_graph_stop(struct wg_graph *g)
{
    for (struct wg_xlator *xl = g->started ? g->first : NULL; xl; xl = xl->next)
        if (xl->class->drain)
            xl->class->drain(xl);
    if (g->started)
        stop_after(g->first);
    g->started = false;
    fini_after(g->first);
}

void wg_graph_free(struct wg_graph *g)
{
    for (struct wg_xlator *xl = g->first, *next; xl; xl = next) {
        next = xl->next;
        if (xl->class && xl->class->forget)
            xl->class->forget(xl->class);
        for (struct wg_kv *kv = xl->options, *more; kv; kv = more) {
            more = kv->next;
            free(kv->text);
            free(kv);
        }
        free(xl->children);
        free(xl->listeners);
        free(xl->stats);
        free((char *)(uintptr_t)xl->name);
        free(xl);
    }
    free(g->text);
    free(g->file);
    free(g);
}
