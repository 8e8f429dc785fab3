/* SPDX-License-Identifier: Apache-2.0 */
/*
 * debug/delay: makes fops slow, as a far or busy brick does, or holds them until it is told to let
 * go. The result is the store's own. Options change on a running graph: an old set stays until fini.
 */
#include <stdlib.h>

#define WG_LOG_PART "delay"
#include "dump.h"
#include "log.h"
#include "xlators/debug/hold.h"
#include "xlators/debug/match.h"

#define FOREVER_NS (365 * 86400000000000ull)

struct conf {
    struct wg_set set; /* must be first */
    bool after, hold;
    uint64_t delay_ns, jitter_ns, share;
};

struct delay {
    struct wg_sets sets; /* must be first */
    struct wg_hold hold;
    atomic_uint_least64_t delayed, turn;
};

struct local {
    struct wg_held held;
    struct conf *conf;
};

static const struct wg_option options[] = {
    { "enabled", WG_OPT_BOOL, 0, 0, "on", "Off: everything passes, and what is held goes on.", true },
    WG_MATCH_OPTIONS,
    { "delay", WG_OPT_TIME, 0, 86400000, "0", "How long.", true },
    { "jitter", WG_OPT_TIME, 0, 86400000, "0", "Up to this much more, by chance.", true },
    { "rate", WG_OPT_STR, 0, 0, "100%", "Share of the matching fops, as '5%'.", true },
    { "when", WG_OPT_STR, 0, 0, "before", "'before' the fop is executed, or 'after'.", true },
    { "hold", WG_OPT_BOOL, 0, 0, "off", "Matching fops wait until this, or 'enabled', is off.", true },
    { 0 },
};

static struct conf *conf_now(struct delay *p)
{
    return (struct conf *)atomic_load_explicit(&p->sets.now, memory_order_acquire);
}

static int read_conf(struct wg_set *set, const struct wg_xlator *xl)
{
    struct conf *c = (struct conf *)set;
    const char *when = wg_opt_str(xl, "when");

    c->hold = wg_opt_bool(xl, "hold");
    c->delay_ns = (uint64_t)wg_opt_int(xl, "delay") * 1000000u;
    c->jitter_ns = (uint64_t)wg_opt_int(xl, "jitter") * 1000000u;
    c->after = strcmp(when, "after") == 0;
    if (!c->after && strcmp(when, "before") != 0)
        return wg_set_refuse(xl, "when", "before or after");
    if (wg_match_percent(wg_opt_str(xl, "rate"), &c->share))
        return wg_set_refuse(xl, "rate", "a percentage from 0% to 100%");
    return 0;
}

static int delay_reload(struct wg_xlator *xl)
{
    struct delay *p = xl->priv;
    const struct conf *old = conf_now(p), *now;
    int err = wg_sets_put(xl, sizeof *now, read_conf, false);

    if (err)
        return err;
    now = conf_now(p);
    if (!now->set.enabled || (old && old->hold && !now->hold))
        wg_hold_release(&p->hold);
    return 0;
}

/* --- fops --- */

static uint64_t chance(struct delay *p)
{
    uint64_t x = atomic_fetch_add_explicit(&p->turn, 0x9e3779b97f4a7c15u, memory_order_relaxed);

    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/* Options may have let all go since c was read. */
static bool let_go(struct delay *p, const struct conf *c)
{
    const struct conf *now = conf_now(p);

    return now != c && (!now->set.enabled || (c->hold && !now->hold));
}

static void wait_for(struct wg_frame *f, struct conf *c, wg_handler *go)
{
    struct delay *p = f->this->priv;
    struct local *l = f->local;
    unsigned releases = atomic_load(&p->hold.releases);
    uint64_t ns = c->hold ? FOREVER_NS : c->delay_ns;

    if (c->jitter_ns && !c->hold)
        ns += chance(p) % c->jitter_ns;
    atomic_fetch_add_explicit(&p->delayed, 1, memory_order_relaxed);
    wg_hold_frame(&p->hold, &l->held, f, let_go(p, c) ? 0 : ns, releases, go);
}

static void go_on(struct wg_frame *f)
{
    wg_pass(f, wg_child(f));
}

static void answer(struct wg_frame *f)
{
    wg_unwind(f, f->err);
}

static void executed(struct wg_frame *f)
{
    struct local *l = f->local;

    if (f->err == EWOULDBLOCK && f->call->nowait)
        wg_unwind(f, f->err); /* io-threads above tries again */
    else
        wait_for(f, l->conf, answer);
}

static void delay_any(struct wg_frame *f)
{
    struct delay *p = f->this->priv;
    struct conf *c = conf_now(p);
    struct local *l = f->local;
    bool slow = c->set.enabled && (c->hold || c->delay_ns || c->jitter_ns) &&
                wg_match_frame(&c->set.match, c->set.names, f) && (uint32_t)chance(p) < c->share;

    l->conf = c;
    if (slow && c->after)
        wg_wind(f, wg_child(f), executed);
    else if (slow)
        wait_for(f, c, go_on);
    else
        wg_set_pass(&c->set, f);
}

/* --- the class --- */

static void delay_fini(struct wg_xlator *xl)
{
    struct delay *p = xl->priv;

    wg_sets_free(&p->sets);
    wg_hold_fini(&p->hold);
    free(p);
    xl->priv = NULL;
}

static int delay_init(struct wg_xlator *xl)
{
    struct delay *p = calloc(1, sizeof *p);
    int err;

    if (!p)
        return ENOMEM;
    xl->priv = p;
    wg_hold_init(&p->hold, wg_match_may_block(xl));
    err = delay_reload(xl);
    if (err)
        delay_fini(xl);
    return err;
}

static void delay_drain(struct wg_xlator *xl)
{
    wg_hold_close(&((struct delay *)xl->priv)->hold);
}

static void delay_dump(struct wg_xlator *xl, struct wg_dump *d)
{
    struct delay *p = xl->priv;

    wg_dump_bool(d, "enabled", conf_now(p)->set.enabled);
    wg_dump_u64(d, "delayed", atomic_load(&p->delayed));
    wg_dump_u64(d, "held", wg_hold_count(&p->hold));
}

const struct wg_class wg_debug_delay = {
    .type = "debug/delay",
    .help = "Makes chosen fops slow, or holds them until told to let go.",
    .options = options,
    .local_size = sizeof(struct local),
    .min_children = 1,
    .max_children = 1,
    .init = delay_init,
    .drain = delay_drain,
    .fini = delay_fini,
    .reload = delay_reload,
    .dump = delay_dump,
    .any = delay_any,
};
