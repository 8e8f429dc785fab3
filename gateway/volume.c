/* SPDX-License-Identifier: Apache-2.0 */
#include "volume.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define WG_LOG_PART "graph"
#include "log.h"
#include "options.h"

#define LOOK_FIRST_MS 10 /* how often an old graph's calls are counted: soon at first, then less and less */
#define LOOK_LAST_MS 500

/*
 * Guards which graphs there are (not what they do): the list of volumes, each one's old graphs, options
 * that change, and what a dump walks over.
 */
static pthread_mutex_t graphs = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t ended = PTHREAD_COND_INITIALIZER;
static struct wg_volume *volumes;

static struct wg_graph *current_of(struct wg_volume *v)
{
    return atomic_load_explicit(&v->graph, memory_order_acquire);
}

/* --- old graphs --- */

/* All of a volume's graphs but one, newest first; NULL when memory is out. The caller frees it. */
static struct wg_graph **graphs_of(struct wg_volume *v, const struct wg_graph *but, unsigned *ret_n)
{
    struct wg_graph **all = calloc(v->nold + 2, sizeof(struct wg_graph *));

    *ret_n = 0;
    if (!all)
        return NULL;
    if (current_of(v) && current_of(v) != but)
        all[(*ret_n)++] = current_of(v);
    for (struct wg_graph *g = v->old; g; g = g->next)
        if (g != but)
            all[(*ret_n)++] = g;
    return all;
}

/* Takes an old graph without calls off the list; nobody hears events through it any more. Under the lock. */
static struct wg_graph *take_idle(struct wg_volume *v)
{
    struct wg_graph **at = &v->old, *g, **rest;
    unsigned n;

    while (*at && ((*at)->held || !wg_graph_idle(*at)))
        at = &(*at)->next;
    g = *at;
    if (!g)
        return NULL;
    rest = graphs_of(v, g, &n);
    if (!rest || wg_graph_listen(rest, n)) {
        free(rest);
        return NULL; /* out of memory: the next round tries again */
    }
    free(rest);
    *at = g->next;
    v->nold--;
    return g;
}

static void wait_ms(unsigned ms)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_nsec += (long)ms * 1000000;
    t.tv_sec += t.tv_nsec / 1000000000;
    t.tv_nsec %= 1000000000;
    pthread_cond_timedwait(&ended, &graphs, &t);
}

/* A volume's thread that ends old graphs; it is there while there are some. */
static void *reap(void *arg)
{
    struct wg_volume *v = arg;
    unsigned ms = LOOK_FIRST_MS;

    pthread_setname_np(pthread_self(), "wg-graphs");
    pthread_mutex_lock(&graphs);
    while (v->old && !v->stopping) {
        struct wg_graph *g = v->changing ? NULL : take_idle(v);

        if (!g) {
            wait_ms(ms);
            ms = ms * 2 < LOOK_LAST_MS ? ms * 2 : LOOK_LAST_MS;
            continue;
        }
        ms = LOOK_FIRST_MS;
        pthread_mutex_unlock(&graphs);
        wg_graph_stop(g);
        wg_graph_free(g);
        pthread_mutex_lock(&graphs);
        pthread_cond_broadcast(&ended);
    }
    v->reaping = false;
    pthread_cond_broadcast(&ended);
    pthread_mutex_unlock(&graphs);
    return NULL;
}

/* Under the lock, which it lets go of to join a thread that has nothing more to do. */
static void want_reaper(struct wg_volume *v)
{
    if (v->reaping)
        return;
    v->reaping = true;
    if (v->joinable) {
        pthread_mutex_unlock(&graphs);
        pthread_join(v->reaper, NULL);
        pthread_mutex_lock(&graphs);
    }
    v->joinable = pthread_create(&v->reaper, NULL, reap, v) == 0;
    v->reaping = v->joinable; /* without a thread the next change, or the stop, tries again */
}

/* --- matching --- */

/* A change under way: the new graph, and for each of its places the parsed block that an old one stands for. */
struct change {
    struct wg_volume *v;
    struct wg_graph *old, *new;
    struct wg_xlator **twin;    /* by place in new; NULL: a new instance */
    bool listens;
    bool any;                   /* something differs at all */
    char *why;
    size_t size;
};

static int refuse(struct change *c, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static int refuse(struct change *c, int err, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(c->why, c->size, fmt, ap);
    va_end(ap);
    return err;
}

static bool same_children(const struct wg_xlator *o, const struct wg_xlator *n)
{
    if (o->class->door)
        return true;
    if (o->nchildren != n->nchildren)
        return false;
    for (unsigned i = 0; i < o->nchildren; i++)
        if (o->children[i] != n->children[i])
            return false;
    return true;
}

/* The first option that differs and can't be changed in place; NULL: there is none. */
static const char *fixed_difference(const struct wg_xlator *o, const struct wg_xlator *n)
{
    unsigned known = 0, given = 0;

    for (const struct wg_kv *kv = n->options; kv; kv = kv->next, given++) {
        const struct wg_kv *was = wg_kv_find(o, kv->option->name);

        if (!was || was->option->type != kv->option->type)
            return kv->option->name;
        if (strcmp(was->text, kv->text) != 0 && !was->option->reload)
            return kv->option->name;
    }
    for (const struct wg_kv *kv = o->options; kv; kv = kv->next)
        known++;
    return known == given ? NULL : "?";
}

/* Replaces block n by o, the old instance, everywhere in the new graph. */
static void share(struct change *c, int at, struct wg_xlator *o)
{
    struct wg_xlator *n = c->new->xlators[at], *up;

    wg_graph_each(c->new, up)
        for (unsigned i = 0; i < up->nchildren; i++)
            if (up != n && up->children[i] == n)
                up->children[i] = o;
    c->twin[at] = n;
    c->new->xlators[at] = o;
    atomic_fetch_add(&o->refs, 1);
    if (c->new->top == n)
        c->new->top = o;
    if (c->new->entry == n)
        c->new->entry = o;
}

static int match_one(struct change *c, int at)
{
    struct wg_xlator *n = c->new->xlators[at], *o = c->old ? wg_graph_find(c->old, n->name) : NULL;
    const char *differs;

    if (!o || strcmp(o->class->type, n->class->type) != 0) {
        c->any = true;
        return 0;
    }
    differs = fixed_difference(o, n);
    if (!differs && same_children(o, n) && !(o->class->stale && o->class->stale(o, n))) {
        share(c, at, o);
        return 0;
    }
    c->any = true;
    if (!o->class->lasting)
        return 0;
    if (differs)
        return refuse(c, EBUSY, "option %s of %s (%s) can't change while it runs: it counts after a restart", differs,
                      o->name, o->class->type);
    return refuse(c, EBUSY, "%s (%s) can't be replaced while it runs, so what is below it can't change", o->name,
                  o->class->type);
}

static int match(struct change *c)
{
    int err = 0;

    c->twin = calloc((size_t)c->new->nxlators + 1, sizeof(struct wg_xlator *));
    if (!c->twin)
        return refuse(c, ENOMEM, "out of memory");
    c->any = !c->old || c->new->nxlators != c->old->nxlators;
    for (int i = 0; i < c->new->nxlators && !err; i++)
        err = match_one(c, i); /* children come first, so theirs are settled */
    if (err || !c->old)
        return err;
    if (c->old->top->class->door && c->new->top != c->old->top)
        err = refuse(c, EBUSY, "%s (%s) must stay on top: gateways are connected to it", c->old->top->name,
                     c->old->top->class->type);
    else if (c->new->top->class->door && c->new->top != c->old->top)
        err = refuse(c, EINVAL, "%s can't stand on top of a volume of a gateway", c->new->top->class->type);
    for (int i = 0; i < c->new->nxlators && !c->any; i++)
        c->any = c->old->xlators[i] != c->new->xlators[i];
    return err;
}

/* --- options in place --- */

static int exchange(struct wg_kv *a, struct wg_kv *b)
{
    char *text = a->text, *other = b->text;
    int64_t number = a->number, other_number = b->number;
    bool given = a->given, other_given = b->given;
    int err = wg_kv_set(a, other, other_number, other_given);

    if (!err)
        err = wg_kv_set(b, text, number, given);
    if (err)
        wg_kv_set(a, text, number, given); /* a text of before: needs no memory */
    return err;
}

/* Gives o the values of its twin, and the twin those of before: doing it twice undoes it. True: one differed. */
static bool exchange_options(struct wg_xlator *o, struct wg_xlator *twin, int *ret_err)
{
    const struct wg_kv *upto = NULL;
    bool any = false;

    pthread_mutex_lock(&graphs);
    for (struct wg_kv *kv = twin->options; kv && !*ret_err; kv = kv->next) {
        struct wg_kv *was = wg_kv_find(o, kv->option->name);

        if (strcmp(was->text, kv->text) == 0)
            continue;
        any = true;
        *ret_err = exchange(was, kv);
        upto = kv;
    }
    for (struct wg_kv *kv = twin->options; *ret_err && kv != upto; kv = kv->next)
        exchange(wg_kv_find(o, kv->option->name), kv);
    pthread_mutex_unlock(&graphs);
    return any;
}

static int reload_one(struct wg_xlator *o, struct wg_xlator *twin, bool *ret_any)
{
    int err = 0, again = 0;

    *ret_any = exchange_options(o, twin, &err);
    if (err || !*ret_any || !o->class->reload)
        return err;
    err = o->class->reload(o);
    if (err) {
        exchange_options(o, twin, &again);
        o->class->reload(o);
    }
    return err;
}

/* All of them, or, after an error, none. */
static int reload_changed(struct change *c)
{
    bool any;
    int err = 0, i;

    for (i = 0; i < c->new->nxlators && !err; i++) {
        if (!c->twin[i])
            continue;
        err = reload_one(c->new->xlators[i], c->twin[i], &any);
        c->any = c->any || any;
        if (err && !c->why[0])
            refuse(c, err, "%s (%s) does not take the options: %s", c->new->xlators[i]->name,
                   c->new->xlators[i]->class->type, wg_error_name(err));
    }
    for (i -= 2; err && i >= 0; i--)
        if (c->twin[i])
            reload_one(c->new->xlators[i], c->twin[i], &any); /* its twin has the old values now */
    return err;
}

/* --- the change --- */

static int hand_over(struct change *c)
{
    for (int i = 0; i < c->new->nxlators; i++) {
        struct wg_xlator *n = c->new->xlators[i], *o = c->old ? wg_graph_find(c->old, n->name) : NULL;
        int err;

        if (c->twin[i] || !o || !n->class->handover || strcmp(o->class->type, n->class->type) != 0)
            continue;
        err = n->class->handover(n, o);
        if (err)
            return refuse(c, err, "%s (%s) can't take over from the one before: %s", n->name, n->class->type,
                          wg_error_name(err));
    }
    return 0;
}

/* Who is in which graph has changed, or is about to: more is a graph that comes. Under the lock. */
static int listen_again(struct wg_volume *v, struct wg_graph *more)
{
    unsigned n;
    struct wg_graph **all = graphs_of(v, NULL, &n);
    int err;

    if (all && more)
        all[n++] = more;
    err = all ? wg_graph_listen(all, n) : ENOMEM;
    free(all);
    return err;
}

/*
 * New layers hear events before they take over what others remember, and before calls enter them. From now
 * on, and until the graph is in place, no old graph is ended: that would make them deaf.
 */
static int listen_too(struct change *c)
{
    int err;

    pthread_mutex_lock(&graphs);
    c->v->changing = c->listens = true;
    err = listen_again(c->v, c->new);
    pthread_mutex_unlock(&graphs);
    return err ? refuse(c, err, "out of memory") : 0;
}

static void forget_listeners(struct change *c)
{
    pthread_mutex_lock(&graphs);
    while (listen_again(c->v, NULL))
        wait_ms(LOOK_LAST_MS); /* memory is out: the layers of the new graph can't go while they may be called */
    c->v->changing = false;
    pthread_mutex_unlock(&graphs);
}

/* Those of the old graph that the new one lacks shall not keep calls waiting for others. */
static void drain_gone(struct change *c)
{
    struct wg_xlator *xl, *there;

    wg_graph_each(c->old, xl) {
        bool gone = true;

        wg_graph_each(c->new, there)
            gone = gone && there != xl;
        if (gone)
            wg_xlator_drain(xl, false);
    }
}

static void put_in_place(struct change *c)
{
    struct wg_volume *v = c->v;
    struct wg_xlator *door = c->new->top->class->door ? c->new->top : NULL;

    pthread_mutex_lock(&graphs);
    if (door && door->nchildren == 1)
        door->children[0] = c->new->entry;
    atomic_store_explicit(&v->graph, c->new, memory_order_release);
    v->changing = false;
    v->changes++;
    if (c->old) {
        c->old->held = true;
        c->old->next = v->old;
        v->old = c->old;
        v->nold++;
        pthread_mutex_unlock(&graphs);
        drain_gone(c);
        pthread_mutex_lock(&graphs);
        c->old->held = false;
        want_reaper(v);
    }
    pthread_cond_broadcast(&ended);
    pthread_mutex_unlock(&graphs);
}

static void free_twins(struct change *c)
{
    for (int i = 0; c->twin && i < c->new->nxlators; i++)
        if (c->twin[i])
            wg_xlator_free(c->twin[i]);
    free(c->twin);
    c->twin = NULL;
}

/* Classes say what is wrong in the log; the first such line of this thread is why. */
static int begin_new(struct change *c)
{
    int err;

    wg_log_capture(c->why, c->size);
    err = wg_graph_init(c->new);
    if (!err)
        err = wg_graph_start(c->new);
    if (!err)
        err = listen_too(c);
    if (!err)
        err = hand_over(c);
    if (!err)
        err = reload_changed(c);
    wg_log_capture(NULL, 0);
    return err;
}

static void undo(struct change *c)
{
    if (c->listens)
        forget_listeners(c);
    wg_graph_stop(c->new);
    free_twins(c);
    wg_graph_free(c->new);
}

static int change(struct change *c)
{
    struct wg_volume *v = c->v;
    unsigned nold;
    int err;

    pthread_mutex_lock(&graphs);
    nold = v->nold;
    pthread_mutex_unlock(&graphs);
    c->new->volume = v;
    err = nold < WG_VOLUME_OLD_MAX ? match(c)
        : refuse(c, EBUSY, "%u graphs of before still have calls under way: try again later", nold);
    if (!err)
        err = begin_new(c);
    if (err || !c->any) {
        undo(c);
        return err;
    }
    free_twins(c);
    put_in_place(c);
    return 0;
}

static struct wg_graph *as_given(const struct wg_graph *now, void *g)
{
    (void)now;
    return g;
}

int wg_volume_change(struct wg_volume *v, struct wg_graph *g, char *why, size_t size)
{
    return wg_volume_edit(v, as_given, g, why, size);
}

int wg_volume_edit(struct wg_volume *v, struct wg_graph *(*make)(const struct wg_graph *now, void *arg), void *arg,
                   char *why, size_t size)
{
    struct change c = { .v = v, .why = why, .size = size };
    int err;

    why[0] = '\0';
    pthread_mutex_lock(&v->change);
    c.old = current_of(v);
    c.new = make(c.old, arg);
    err = c.new ? change(&c) : EINVAL;
    pthread_mutex_unlock(&v->change);
    if (err && !why[0])
        snprintf(why, size, "%s", wg_error_name(err));
    return err;
}

static void log_error(void *arg, const char *text)
{
    (void)arg;
    wg_error("%s", text);
}

/* The current graph once more, from its text: what has become stale in it gets new instances. Under v->change. */
static int make_again(struct wg_volume *v)
{
    char why[300] = "";
    struct change c = { .v = v, .old = current_of(v), .why = why, .size = sizeof why };
    int err;

    c.new = wg_graph_parse(c.old->file, c.old->text, strlen(c.old->text), log_error, NULL);
    err = c.new ? change(&c) : EINVAL;
    if (!err)
        wg_notice("volume %s has a new graph", v->name);
    else if (c.new)
        wg_error("volume %s stays as it is: %s", v->name, why[0] ? why : wg_error_name(err));
    return err;
}

int wg_volume_reload(struct wg_volume *v)
{
    struct wg_xlator *xl;
    bool stale = false;
    int failed = 0;

    pthread_mutex_lock(&v->change);
    if (current_of(v))
        wg_graph_each(current_of(v), xl) {
            int err = xl->class->reload ? xl->class->reload(xl) : 0;

            stale = stale || err == ESTALE;
            failed += err && err != ESTALE;
        }
    if (stale && make_again(v))
        failed++;
    pthread_mutex_unlock(&v->change);
    return failed;
}

/* --- volumes --- */

static struct wg_volume *volume_new(const char *name)
{
    struct wg_volume *v = calloc(1, sizeof *v), **at = &volumes;

    if (!v || !(v->name = strdup(name))) {
        free(v);
        return NULL;
    }
    pthread_mutex_init(&v->change, NULL);
    pthread_mutex_lock(&graphs);
    while (*at)
        at = &(*at)->next;
    *at = v;
    pthread_mutex_unlock(&graphs);
    return v;
}

static void volume_free(struct wg_volume *v)
{
    pthread_mutex_lock(&graphs);
    for (struct wg_volume **at = &volumes; *at; at = &(*at)->next)
        if (*at == v) {
            *at = v->next;
            break;
        }
    pthread_mutex_unlock(&graphs);
    pthread_mutex_destroy(&v->change);
    free(v->name);
    free(v);
}

int wg_volume_start(const char *name, struct wg_graph *g, struct wg_volume **ret)
{
    struct wg_volume *v = wg_volume_find(name);
    bool known = v; /* calls, commands or its own thread may still have one that was closed */
    char why[300];
    int err;

    *ret = NULL;
    if (v && current_of(v)) {
        wg_graph_free(g);
        return EEXIST;
    }
    if (!known)
        v = volume_new(name);
    if (!v) {
        wg_graph_free(g);
        return ENOMEM;
    }
    err = wg_volume_change(v, g, why, sizeof why);
    if (!err)
        *ret = v;
    else if (!known)
        volume_free(v);
    return err;
}

void wg_volume_close(struct wg_volume *v)
{
    struct wg_graph *g;

    pthread_mutex_lock(&v->change); /* a command of the control socket may be changing it */
    pthread_mutex_lock(&graphs);
    g = atomic_exchange(&v->graph, NULL);
    if (g) {
        g->next = v->old;
        v->old = g;
        v->nold++;
        want_reaper(v);
    }
    pthread_mutex_unlock(&graphs);
    pthread_mutex_unlock(&v->change);
}

/* Until old graphs, and then the calls of the current one, have ended. Under the lock. */
static bool settle(struct wg_volume *v, uint64_t end_ns)
{
    bool settled = false;

    while (!settled) {
        if (v->old)
            want_reaper(v);
        settled = !v->old && (!current_of(v) || wg_graph_idle(current_of(v)));
        if (settled || wg_now_ns() > end_ns)
            break;
        pthread_cond_broadcast(&ended); /* look now */
        wait_ms(LOOK_FIRST_MS);
    }
    return settled;
}

void wg_volume_stop(struct wg_volume *v, int64_t wait)
{
    struct wg_graph *g = current_of(v);
    bool settled;

    if (g)
        wg_graph_stop_door(g);
    pthread_mutex_lock(&graphs);
    settled = settle(v, wg_now_ns() + (uint64_t)wait * 1000000u);
    v->stopping = true;
    pthread_cond_broadcast(&ended);
    pthread_mutex_unlock(&graphs);
    if (v->joinable)
        pthread_join(v->reaper, NULL);
    if (!settled) {
        wg_error("volume %s: calls are still under way after %lld ms: its graphs are left", v->name, (long long)wait);
        return;
    }
    if (g) {
        wg_graph_stop(g);
        wg_graph_free(g);
    }
    volume_free(v);
}

static void let_go(struct wg_volume *v, struct wg_xlator *xl, bool draining, void *arg)
{
    (void)v, (void)draining, (void)arg;
    wg_xlator_drain(xl, true);
}

void wg_volumes_drain(void)
{
    wg_volumes_each(let_go, NULL);
}

void wg_volumes_stop(int64_t wait)
{
    struct wg_volume *v, *last;

    /* One that can't be stopped stays in the list: each is tried once. */
    for (struct wg_volume *upto = NULL;; upto = last) {
        pthread_mutex_lock(&graphs);
        for (v = volumes, last = NULL; v && v != upto; v = v->next)
            last = v;
        pthread_mutex_unlock(&graphs);
        if (!last)
            return;
        wg_volume_stop(last, wait);
    }
}

struct wg_volume *wg_volume_find(const char *name)
{
    struct wg_volume *v;

    pthread_mutex_lock(&graphs);
    for (v = volumes; v && strcmp(v->name, name) != 0; v = v->next)
        ;
    pthread_mutex_unlock(&graphs);
    return v;
}

static bool in_newer(struct wg_volume *v, const struct wg_graph *upto, const struct wg_xlator *xl)
{
    struct wg_xlator *there;

    if (current_of(v))
        wg_graph_each(current_of(v), there)
            if (there == xl)
                return true;
    for (const struct wg_graph *g = v->old; g != upto; g = g->next)
        wg_graph_each(g, there)
            if (there == xl)
                return true;
    return false;
}

void wg_volumes_each(void (*each)(struct wg_volume *v, struct wg_xlator *xl, bool draining, void *arg), void *arg)
{
    struct wg_xlator *xl;

    pthread_mutex_lock(&graphs);
    for (struct wg_volume *v = volumes; v; v = v->next) {
        if (current_of(v))
            wg_graph_each(current_of(v), xl)
                each(v, xl, false, arg);
        for (struct wg_graph *g = v->old; g; g = g->next)
            wg_graph_each(g, xl)
                if (!in_newer(v, g, xl))
                    each(v, xl, true, arg);
    }
    pthread_mutex_unlock(&graphs);
}

void wg_volume_look(struct wg_volume *v, void (*look)(const struct wg_graph *g, void *arg), void *arg)
{
    pthread_mutex_lock(&graphs);
    if (current_of(v))
        look(current_of(v), arg);
    pthread_mutex_unlock(&graphs);
}

void wg_volume_counts(struct wg_volume *v, unsigned *ret_old, uint64_t *ret_changes)
{
    pthread_mutex_lock(&graphs);
    *ret_old = v->nold;
    *ret_changes = v->changes;
    pthread_mutex_unlock(&graphs);
}
