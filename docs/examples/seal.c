/* SPDX-License-Identifier: Apache-2.0 */
/*
 * features/seal: files that nobody has changed for a while can't be written any more. It protects
 * content against WRITE, not names or whole replacements: it is the example of docs/writing-a-translator.md.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <dump.h>
#include <lease.h>
#include <module.h>

#define WG_LOG_PART "seal"
#include <log.h>

#define SEALED_MAX 1024 /* files that are remembered; a power of two */
#define REPORT_NS 60000000000ull

struct seal {
    struct wg_xlator *xl;
    _Atomic int64_t after_ms;
    pthread_mutex_t lock; /* a leaf: guards sealed; nothing is called under it */
    wg_gfid sealed[SEALED_MAX];
    atomic_uint refused;
    struct wg_timer timer;
    atomic_bool armed, stopping;
};

static const struct wg_option options[] = {
    { "after", WG_OPT_TIME, 1, INT64_MAX / 2, "1h", "A file that has not changed for this long is sealed.", true },
    { 0 },
};

/* --- per-inode state: which files are known to be sealed --- */

static wg_gfid *slot_of(struct seal *s, const wg_gfid *gfid)
{
    return &s->sealed[wg_hash_name(gfid, (struct wg_str){ 0 }) % SEALED_MAX];
}

static bool is_known(struct seal *s, const wg_gfid *gfid)
{
    bool known;

    pthread_mutex_lock(&s->lock);
    known = memcmp(slot_of(s, gfid), gfid, sizeof *gfid) == 0;
    pthread_mutex_unlock(&s->lock);
    return known;
}

static void remember(struct seal *s, const wg_gfid *gfid)
{
    pthread_mutex_lock(&s->lock);
    *slot_of(s, gfid) = *gfid;
    pthread_mutex_unlock(&s->lock);
}

/* Something below has changed: what was sealed may have a new date. */
static void seal_event(struct wg_xlator *xl, const struct wg_event *ev)
{
    struct seal *s = xl->priv;

    pthread_mutex_lock(&s->lock);
    if (ev->kind == WG_EV_RESET)
        memset(s->sealed, 0, sizeof s->sealed);
    else
        memset(slot_of(s, &ev->gfid), 0, sizeof(wg_gfid));
    pthread_mutex_unlock(&s->lock);
}

/* --- the fop it treats --- */

static void refuse(struct wg_frame *f)
{
    struct seal *s = f->this->priv;

    atomic_fetch_add(&s->refused, 1);
    wg_unwind(f, EPERM);
}

static void written(struct wg_frame *f)
{
    wg_unwind(f, f->err); /* the child's results go up as they are */
}

/* The answer to our own getattr is in wg_answer(f); f still is the write. */
static void dated(struct wg_frame *f)
{
    struct seal *s = f->this->priv;
    const struct wg_write_in *in = wg_in(f, write);
    const struct wg_getattr_out *got = wg_answer(f)->out;
    int64_t age_s;

    if (wg_answer(f)->err)
        return wg_unwind(f, wg_answer(f)->err);
    age_s = (int64_t)time(NULL) - got->attr.mtime.sec;
    if (age_s * 1000 < atomic_load(&s->after_ms))
        return wg_wind(f, wg_child(f), written);
    remember(s, &in->at.gfid);
    refuse(f);
}

static void seal_write(struct wg_frame *f)
{
    const struct wg_write_in *in = wg_in(f, write);
    struct wg_getattr_in *ask;

    if (is_known(f->this->priv, &in->at.gfid))
        return refuse(f);
    ask = wg_new_in(f, getattr); /* of the call's memory: it is not freed */
    if (!ask)
        return wg_unwind(f, ENOMEM);
    ask->at = in->at;
    wg_wind_to(f, wg_child(f), getattr, ask, dated);
}

/* --- a timer, and its life --- */

static void report(struct wg_timer *t)
{
    struct seal *s = (struct seal *)((char *)t - offsetof(struct seal, timer));
    unsigned n = atomic_exchange(&s->refused, 0);

    if (n)
        wg_notice("%s: %u writes to sealed files were refused", s->xl->name, n);
    if (atomic_load(&s->stopping))
        atomic_store(&s->armed, false);
    else
        wg_timer_arm(t, wg_now_ns() + REPORT_NS, report);
}

static int seal_start(struct wg_xlator *xl)
{
    struct seal *s = xl->priv;

    atomic_store(&s->armed, true);
    wg_timer_arm(&s->timer, wg_now_ns() + REPORT_NS, report);
    return 0;
}

static void seal_stop(struct wg_xlator *xl)
{
    struct seal *s = xl->priv;

    atomic_store(&s->stopping, true);
    /* When it can't be cancelled it runs just now. */
    while (atomic_load(&s->armed) && !wg_timer_cancel(&s->timer))
        usleep(1000);
}

static int seal_reload(struct wg_xlator *xl)
{
    atomic_store(&((struct seal *)xl->priv)->after_ms, wg_opt_int(xl, "after"));
    seal_event(xl, &(struct wg_event){ .kind = WG_EV_RESET });
    return 0;
}

static int seal_init(struct wg_xlator *xl)
{
    struct seal *s = calloc(1, sizeof *s);

    if (!s)
        return ENOMEM;
    s->xl = xl;
    pthread_mutex_init(&s->lock, NULL);
    xl->priv = s;
    return seal_reload(xl);
}

static void seal_fini(struct wg_xlator *xl)
{
    pthread_mutex_destroy(&((struct seal *)xl->priv)->lock);
    free(xl->priv);
}

static void seal_dump(struct wg_xlator *xl, struct wg_dump *d)
{
    wg_dump_u64(d, "refused_since_report", atomic_load(&((struct seal *)xl->priv)->refused));
}

static const struct wg_class seal = {
    .type = "features/seal",
    .help = "Refuses writes to files that have not changed for a while.",
    .options = options,
    .min_children = 1,
    .max_children = 1,
    .init = seal_init,
    .start = seal_start,
    .stop = seal_stop,
    .fini = seal_fini,
    .reload = seal_reload,
    .event = seal_event,
    .dump = seal_dump,
    .fops = { [WG_OP_write] = seal_write },
};

WG_MODULE(seal);
