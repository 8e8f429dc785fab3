/* SPDX-License-Identifier: Apache-2.0 */
/*
 * debug/fault: fails, or delays, some of the fops that pass. Which: by fop, client and path; of
 * those the Nth, or a share. How: before the fop is executed (it never happens) or after (it has
 * happened and its answer is lost, as with a cut connection). Freshly made it does nothing.
 *
 * Options change on a running graph: an old set stays until fini, since a frame may still read it.
 */
#include <stdlib.h>

#define WG_LOG_PART "fault"
#include "dump.h"
#include "log.h"
#include "xlators/debug/hold.h"
#include "xlators/debug/match.h"

struct conf {
    struct wg_set set;   /* must be first */
    bool after;
    int err;
    uint64_t share;      /* of 2^32 */
    uint64_t nth, count; /* 0: not by number; no bound */
    uint64_t seed, delay_ns;
    atomic_uint_least64_t seen, hits; /* since these options came */
};

struct fault {
    struct wg_sets sets; /* must be first */
    struct wg_hold hold;
};

struct local {
    struct wg_held held;
    struct conf *conf;
};

static const struct wg_option options[] = {
    { "enabled", WG_OPT_BOOL, 0, 0, "on", "Off: everything passes.", true },
    WG_MATCH_OPTIONS,
    { "nth", WG_OPT_INT, 0, INT64_MAX, "0", "Only the Nth of the matching fops since the options were last "
      "set; 0: by rate.", true },
    { "rate", WG_OPT_STR, 0, 0, "0%", "Share of the matching fops, as '5%' or '0.01%'.", true },
    { "count", WG_OPT_INT, 0, INT64_MAX, "0", "At most so many since the options were last set; 0: no bound.",
      true },
    { "error", WG_OPT_STR, 0, 0, "EIO", "Errno that they answer, by name; 'none': they are only "
      "delayed.", true },
    { "when", WG_OPT_STR, 0, 0, "before", "'before': the fop is not executed; 'after': it is, and its "
      "answer is replaced.", true },
    { "delay", WG_OPT_TIME, 0, 86400000, "0", "Wait this long before answering (or executing).", true },
    { "seed", WG_OPT_INT, 0, INT64_MAX, "1", "Which of the matching fops the rate picks: the same for the same "
      "seed.", true },
    { 0 },
};

/* --- options --- */

static struct conf *conf_now(struct fault *p)
{
    return (struct conf *)atomic_load_explicit(&p->sets.now, memory_order_acquire);
}

static int read_conf(struct wg_set *set, const struct wg_xlator *xl)
{
    struct conf *c = (struct conf *)set;
    const char *error = wg_opt_str(xl, "error"), *when = wg_opt_str(xl, "when");

    c->nth = (uint64_t)wg_opt_int(xl, "nth");
    c->count = (uint64_t)wg_opt_int(xl, "count");
    c->seed = (uint64_t)wg_opt_int(xl, "seed");
    c->delay_ns = (uint64_t)wg_opt_int(xl, "delay") * 1000000u;
    c->after = strcmp(when, "after") == 0;
    if (!c->after && strcmp(when, "before") != 0)
        return wg_set_refuse(xl, "when", "before or after");
    if (wg_match_percent(wg_opt_str(xl, "rate"), &c->share))
        return wg_set_refuse(xl, "rate", "a percentage from 0% to 100%");
    c->err = strcmp(error, "none") == 0 ? 0 : wg_match_errno(error, strlen(error));
    if (!c->err && strcmp(error, "none") != 0)
        return wg_set_refuse(xl, "error", "the name of an errno, as ENOSPC, or none");
    return 0;
}

static int fault_reload(struct wg_xlator *xl)
{
    struct fault *p = xl->priv;
    int err = wg_sets_put(xl, sizeof(struct conf), read_conf, false);

    if (!err && !conf_now(p)->set.enabled)
        wg_hold_release(&p->hold);
    return err;
}

/* --- fops --- */

/* A number that depends on seed and n alone, evenly spread (splitmix64). */
static uint32_t dice(uint64_t seed, uint64_t n)
{
    uint64_t x = (seed << 32) + n * 0x9e3779b97f4a7c15u;

    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return (uint32_t)((x ^ x >> 31) >> 32);
}

static bool picked(struct conf *c, const struct wg_frame *f)
{
    uint64_t n;

    if (!wg_match_frame(&c->set.match, c->set.names, f))
        return false;
    n = atomic_fetch_add(&c->seen, 1) + 1;
    if (c->nth ? n != c->nth : dice(c->seed, n) >= c->share)
        return false;
    if (c->count && atomic_load(&c->hits) >= c->count)
        return false;
    n = atomic_fetch_add(&c->hits, 1);
    return !c->count || n < c->count;
}

static void strike(struct wg_frame *f)
{
    struct conf *c = ((struct local *)f->local)->conf;

    if (!c->err && !c->after) {
        wg_pass(f, wg_child(f));
        return;
    }
    if (c->err)
        f->out = NULL;
    wg_unwind(f, c->err ? c->err : f->err);
}

static void strike_in_time(struct wg_frame *f)
{
    struct fault *p = f->this->priv;
    struct local *l = f->local;
    unsigned releases = atomic_load(&p->hold.releases);

    if (l->conf->delay_ns)
        wg_hold_frame(&p->hold, &l->held, f, l->conf->delay_ns, releases, strike);
    else
        strike(f);
}

static void executed(struct wg_frame *f)
{
    /* io-threads above tries it again on a thread of its own: it has not been executed yet. */
    if (f->err == EWOULDBLOCK && f->call->nowait)
        wg_unwind(f, f->err);
    else
        strike_in_time(f);
}

static void fault_any(struct wg_frame *f)
{
    struct conf *c = conf_now(f->this->priv);
    struct local *l = f->local;

    if (!c->set.enabled || !picked(c, f))
        return wg_set_pass(&c->set, f);
    l->conf = c;
    wg_debug("%s: call %llu: %s %s with %s", f->this->name, (unsigned long long)f->call->id,
             c->delay_ns ? "delays" : "fails", wg_op_name(f->op), c->err ? wg_error_name(c->err) : "no error");
    if (c->after)
        wg_wind(f, wg_child(f), executed);
    else
        strike_in_time(f);
}

/* --- the class --- */

static void fault_fini(struct wg_xlator *xl)
{
    struct fault *p = xl->priv;

    wg_sets_free(&p->sets);
    wg_hold_fini(&p->hold);
    free(p);
    xl->priv = NULL;
}

static int fault_init(struct wg_xlator *xl)
{
    struct fault *p = calloc(1, sizeof *p);
    int err;

    if (!p)
        return ENOMEM;
    xl->priv = p;
    wg_hold_init(&p->hold, wg_match_may_block(xl));
    err = fault_reload(xl);
    if (err)
        fault_fini(xl);
    return err;
}

static void fault_drain(struct wg_xlator *xl)
{
    wg_hold_close(&((struct fault *)xl->priv)->hold);
}

static void fault_dump(struct wg_xlator *xl, struct wg_dump *d)
{
    struct fault *p = xl->priv;
    const struct conf *c = conf_now(p);

    wg_dump_bool(d, "enabled", c->set.enabled);
    wg_dump_u64(d, "matched", atomic_load(&c->seen));
    wg_dump_u64(d, "struck", atomic_load(&c->hits));
    wg_dump_u64(d, "held", wg_hold_count(&p->hold));
}

const struct wg_class wg_debug_fault = {
    .type = "debug/fault",
    .help = "Fails or delays chosen fops: the Nth, or a share, by fop, client and path.",
    .options = options,
    .local_size = sizeof(struct local),
    .min_children = 1,
    .max_children = 1,
    .init = fault_init,
    .drain = fault_drain,
    .fini = fault_fini,
    .reload = fault_reload,
    .dump = fault_dump,
    .any = fault_any,
};
