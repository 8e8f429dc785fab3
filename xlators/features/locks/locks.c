/* SPDX-License-Identifier: Apache-2.0 */
/*
 * features/locks: advisory locks, at the store that they are about, so that all gateways see the same.
 *
 * What there is: named locks with a time to live (lock_take, lock_renew, lock_drop), from which
 * coroutines make leases (gateway/co.h). A lock that isn't renewed ends by the brick's monotonic
 * clock. Those who want a lock that is held stand in line, first come first served, and nothing
 * blocks a thread. A request that comes twice does the same once: its owner is known by then.
 * After a restart nothing new is granted until the locks held before could be renewed (grace.c);
 * a renewal in that time takes the lock up again.
 */
#include <stdlib.h>
#include <uuid/uuid.h>

#define WG_LOG_PART "locks"
#include "dump.h"
#include "log.h"
#include "xlators/features/locks/locks.h"

static const struct wg_option options[] = {
    { "ttl-max", WG_OPT_TIME, WG_LOCK_TTL_MIN, 3600000, "30s", "The longest time to live that a lock is given; "
      "after a restart of the machine new locks wait for as long.", true },
    { "wait-max", WG_OPT_TIME, 0, 3600000, "30s", "A taker waits in line for at most this.", true },
    { "max-locks", WG_OPT_INT, 1, 10000000, "65536", "Locks held or waited for at a time.", true },
    { "max-waiting", WG_OPT_INT, 0, 1000000, "128", "Takers in line at a time, of all locks; further ones are "
      "told to ask again. Each takes one of its client's outstanding calls.", true },
    { "state", WG_OPT_STR, 0, 0, "", "File that says for how long after a restart locks may still be held; "
      "empty: their holders end with this process.", false },
    { 0 },
};

static uint64_t ttl_of(const struct locks *t, uint32_t ttl_ms)
{
    uint64_t ns = (ttl_ms < WG_LOCK_TTL_MIN ? WG_LOCK_TTL_MIN : ttl_ms) * 1000000ull;

    return ns < t->ttl_max_ns ? ns : t->ttl_max_ns;
}

/* Longer names than those of files would be memory for the taking. */
static int check_name(struct wg_str name)
{
    return name.len == 0 ? EINVAL : name.len > WG_NAME_MAX ? ENAMETOOLONG : 0;
}

/* Until when f may wait; its call's deadline is its client's patience. */
static uint64_t wait_until(const struct locks *t, const struct wg_frame *f, uint64_t now)
{
    uint64_t wait = wg_in(f, lock_take)->wait_ms * 1000000ull;
    uint64_t until = now + (wait < t->wait_max_ns ? wait : t->wait_max_ns);

    return f->call->deadline_ns && f->call->deadline_ns < until ? f->call->deadline_ns : until;
}

/* --- the fops --- */

static void unwind_ttl(struct wg_frame *f, int err, uint64_t ttl_ns)
{
    uint32_t ms = (uint32_t)(ttl_ns / 1000000);

    if (!err && f->op == WG_OP_lock_take) {
        struct wg_lock_take_out *out = wg_new_out(f, lock_take);

        if (out)
            out->ttl_ms = ms;
        err = out ? 0 : ENOMEM;
    } else if (!err) {
        struct wg_lock_renew_out *out = wg_new_out(f, lock_renew);

        if (out)
            out->ttl_ms = ms;
        err = out ? 0 : ENOMEM;
    }
    wg_unwind(f, err);
}

enum { WAITS = -1 };

/* Held by somebody else, or nothing is granted yet. */
static int stand_in_line(struct locks *t, struct lock *l, struct wg_frame *f, uint64_t now, uint64_t ttl_ns)
{
    uint64_t until = wait_until(t, f, now);

    if (until <= now) {
        t->refused++;
        return EBUSY;
    }
    if (t->nwaiting >= t->max_waiting) {
        t->overflowed++;
        return EAGAIN;
    }
    locks_enqueue(l, f, now, until);
    l->last->ttl_ms = (uint32_t)(ttl_ns / 1000000);
    return WAITS;
}

/* The same request again, from a client that lost its connection: it takes its own place. */
static bool takes_own_place(struct lock *l, struct wg_frame *f, struct answers *a)
{
    const wg_gfid *owner = &wg_in(f, lock_take)->owner;

    for (struct waiter *w = l->first, *before = NULL; w; before = w, w = w->next) {
        struct waiter *mine = f->local;

        if (!wg_gfid_eq(wg_in(w->frame, lock_take)->owner, *owner))
            continue;
        *mine = *w;
        mine->frame = f;
        if (before)
            before->next = mine;
        else
            l->first = mine;
        if (l->last == w)
            l->last = mine;
        w->next = NULL;
        locks_end(w, EAGAIN, a);
        return true;
    }
    return false;
}

static int take(struct locks *t, struct lock *l, struct wg_frame *f, uint64_t now, uint64_t ttl_ns)
{
    const struct wg_lock_take_in *in = wg_in(f, lock_take);
    int err;

    if (l->held && wg_gfid_eq(l->owner, in->owner))
        return locks_hold(l, &in->owner, f, now, ttl_ns);
    if (locks_is_gone(t, l, &in->owner, now))
        return ECANCELED;
    if (t->draining)
        return EAGAIN;
    if (l->held || l->first || now < t->grace.until_ns)
        return stand_in_line(t, l, f, now, ttl_ns);
    err = locks_hold(l, &in->owner, f, now, ttl_ns);
    t->taken += !err;
    return err;
}

static void lock_take(struct wg_frame *f)
{
    const struct wg_lock_take_in *in = wg_in(f, lock_take);
    struct locks *t = f->this->priv;
    struct answers a = { .last = &a.first };
    uint64_t now = wg_now_ns(), ttl_ns = 0;
    struct lock *l;
    int err = check_name(in->name);

    if (!err && (in->flags || wg_gfid_is_zero(in->owner)))
        err = EINVAL;
    if (err)
        return wg_unwind(f, err);
    pthread_mutex_lock(&t->lock);
    ttl_ns = ttl_of(t, in->ttl_ms);
    l = locks_find(t, &in->at.gfid, in->name);
    if (l)
        locks_settle(l, now, &a);
    /* It may be gone after that. */
    l = locks_find(t, &in->at.gfid, in->name);
    if (!l)
        err = locks_add(t, &in->at.gfid, in->name, &l);
    if (!err && takes_own_place(l, f, &a))
        err = WAITS;
    else if (!err)
        err = take(t, l, f, now, ttl_ns);
    if (l)
        locks_settle(l, now, &a);
    pthread_mutex_unlock(&t->lock);
    if (err != WAITS)
        unwind_ttl(f, err, ttl_ns);
    locks_answer(&a);
}

/* After a restart the first renewal says who holds it: nobody can have been given it since. */
static int renew(struct locks *t, struct wg_frame *f, uint64_t now, uint64_t ttl_ns)
{
    const struct wg_lock_renew_in *in = wg_in(f, lock_renew);
    struct lock *l = locks_find(t, &in->at.gfid, in->name);
    int err = 0;

    if (l && l->held && l->until_ns > now) {
        t->renewed++;
        return wg_gfid_eq(l->owner, in->owner) ? locks_hold(l, &in->owner, f, now, ttl_ns) : ENOLCK;
    }
    if (now >= t->grace.until_ns)
        return ENOLCK;
    if (!l)
        err = locks_add(t, &in->at.gfid, in->name, &l);
    if (!err)
        err = locks_hold(l, &in->owner, f, now, ttl_ns);
    t->reclaimed += !err;
    return err;
}

static void lock_renew(struct wg_frame *f)
{
    const struct wg_lock_renew_in *in = wg_in(f, lock_renew);
    struct locks *t = f->this->priv;
    struct answers a = { .last = &a.first };
    uint64_t now = wg_now_ns(), ttl_ns;
    struct lock *l;
    int err = check_name(in->name);

    if (!err && wg_gfid_is_zero(in->owner))
        err = EINVAL;
    if (err)
        return wg_unwind(f, err);
    pthread_mutex_lock(&t->lock);
    ttl_ns = ttl_of(t, in->ttl_ms);
    err = renew(t, f, now, ttl_ns);
    l = locks_find(t, &in->at.gfid, in->name);
    if (l)
        locks_settle(l, now, &a);
    pthread_mutex_unlock(&t->lock);
    unwind_ttl(f, err, ttl_ns);
    locks_answer(&a);
}

static void lock_drop(struct wg_frame *f)
{
    const struct wg_lock_drop_in *in = wg_in(f, lock_drop);
    struct locks *t = f->this->priv;
    struct answers a = { .last = &a.first };
    struct wg_lock_drop_out *out = wg_new_out(f, lock_drop);
    uint64_t now = wg_now_ns();
    struct lock *l;
    struct waiter *w;

    if (!out)
        return wg_unwind(f, ENOMEM);
    pthread_mutex_lock(&t->lock);
    l = locks_find(t, &in->at.gfid, in->name);
    if (l && l->held && wg_gfid_eq(l->owner, in->owner)) {
        out->was_held = true;
        t->dropped++;
        locks_release(l);
    } else if (l && (w = locks_dequeue(l, &in->owner))) {
        locks_end(w, ECANCELED, &a);
    } else {
        locks_gone(t, &in->at.gfid, in->name, &in->owner, now);
    }
    if (l)
        locks_settle(l, now, &a);
    pthread_mutex_unlock(&t->lock);
    wg_unwind(f, 0);
    locks_answer(&a);
}

/* --- the class --- */

static int locks_reload(struct wg_xlator *xl)
{
    struct locks *t = xl->priv;

    pthread_mutex_lock(&t->lock);
    t->max_locks = (unsigned)wg_opt_int(xl, "max-locks");
    t->max_waiting = (unsigned)wg_opt_int(xl, "max-waiting");
    t->ttl_max_ns = (uint64_t)wg_opt_int(xl, "ttl-max") * 1000000;
    t->wait_max_ns = (uint64_t)wg_opt_int(xl, "wait-max") * 1000000;
    pthread_mutex_unlock(&t->lock);
    return 0;
}

static void locks_free(struct locks *t)
{
    grace_close(&t->grace);
    pthread_cond_destroy(&t->idle);
    pthread_mutex_destroy(&t->lock);
    free(t->name);
    free(t->path);
    free(t);
}

static void locks_fini(struct wg_xlator *xl)
{
    struct locks *t = xl->priv;
    bool last;

    if (!t)
        return;
    xl->priv = NULL;
    pthread_mutex_lock(&t->lock);
    last = --t->instances == 0;
    if (t->newest == xl && !last) { /* the change that it came by has failed */
        t->newest = NULL;
        t->draining = false;
    }
    pthread_mutex_unlock(&t->lock);
    if (last)
        locks_free(t);
}

static bool is_shared(struct locks *t)
{
    pthread_mutex_lock(&t->lock);
    bool shared = t->instances > 1;
    pthread_mutex_unlock(&t->lock);
    return shared;
}

static int locks_init(struct wg_xlator *xl)
{
    struct locks *t = calloc(1, sizeof *t);

    if (!t)
        return ENOMEM;
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->idle, NULL);
    t->grace.fd = -1;
    t->instances = 1;
    t->name = strdup(xl->name);
    t->path = strdup(wg_opt_str(xl, "state"));
    if (!t->name || !t->path) {
        locks_free(t);
        return ENOMEM;
    }
    xl->priv = t;
    return locks_reload(xl);
}

/* Both have one table: what is held in the old graph is held, and those in line there get their turn. */
static int locks_handover(struct wg_xlator *new, struct wg_xlator *old)
{
    struct locks *t = old->priv, *unused = new->priv;

    if (strcmp(t->path, unused->path)) {
        wg_error("%s: state can't change while locks may be held", new->name);
        return EINVAL;
    }
    pthread_mutex_lock(&t->lock);
    t->instances++;
    t->newest = new;
    pthread_mutex_unlock(&t->lock);
    new->priv = t;
    locks_free(unused);
    return locks_reload(new);
}

static int locks_start(struct wg_xlator *xl)
{
    struct locks *t = xl->priv;

    grace_open(t, t->path, wg_now_ns());
    return 0;
}

/* What was held stays so in the state file: its holders renew when the brick is back. */
static void locks_drain(struct wg_xlator *xl)
{
    struct locks *t = xl->priv;
    struct answers a = { .last = &a.first };

    pthread_mutex_lock(&t->lock);
    /* An old graph ends without calls, and the new one goes on with the table. */
    if (t->newest == xl || t->instances == 1) {
        t->draining = true;
        locks_end_all(t, EAGAIN, &a);
    }
    pthread_mutex_unlock(&t->lock);
    locks_answer(&a);
}

static void locks_stop(struct wg_xlator *xl)
{
    if (is_shared(xl->priv))
        return;
    locks_drain(xl);
    locks_clear(xl->priv);
}

static void dump_lock(const struct lock *l, uint64_t now, struct wg_dump *d)
{
    char at[UUID_STR_LEN];

    uuid_unparse_lower(l->at.b, at);
    wg_dump_object(d, NULL);
    wg_dump_strn(d, "name", l->name, l->len);
    wg_dump_str(d, "at", at);
    if (l->held) {
        wg_dump_str(d, "holder", l->client);
        wg_dump_u64(d, "age_us", (now - l->since_ns) / 1000);
        wg_dump_u64(d, "left_us", l->until_ns > now ? (l->until_ns - now) / 1000 : 0);
        wg_dump_u64(d, "renewals", l->renewals);
    }
    wg_dump_array(d, "waiting");
    for (const struct waiter *w = l->first; w; w = w->next) {
        wg_dump_object(d, NULL);
        wg_dump_strn(d, "client", w->frame->call->client.s, w->frame->call->client.len);
        wg_dump_u64(d, "call", w->frame->call->id);
        wg_dump_u64(d, "age_us", (now - w->since_ns) / 1000);
        wg_dump_u64(d, "left_us", w->until_ns > now ? (w->until_ns - now) / 1000 : 0);
        wg_dump_end(d);
    }
    wg_dump_end(d);
    wg_dump_end(d);
}

static void locks_dump(struct wg_xlator *xl, struct wg_dump *d)
{
    struct locks *t = xl->priv;
    uint64_t now = wg_now_ns();
    unsigned shown = 0;

    pthread_mutex_lock(&t->lock);
    wg_dump_u64(d, "held", t->nheld);
    wg_dump_u64(d, "waiting", t->nwaiting);
    wg_dump_u64(d, "grace_left_us", t->grace.until_ns > now ? (t->grace.until_ns - now) / 1000 : 0);
    wg_dump_u64(d, "taken", t->taken);
    wg_dump_u64(d, "renewed", t->renewed);
    wg_dump_u64(d, "taken_up_after_restart", t->reclaimed);
    wg_dump_u64(d, "dropped", t->dropped);
    wg_dump_u64(d, "ran_out", t->expired);
    wg_dump_u64(d, "refused", t->refused);
    wg_dump_u64(d, "refused_too_many", t->overflowed);
    wg_dump_array(d, "locks");
    for (unsigned i = 0; i < LOCKS_BUCKETS; i++)
        for (struct lock *l = t->buckets[i]; l && shown < LOCKS_SHOWN; l = l->next, shown++)
            dump_lock(l, now, d);
    wg_dump_end(d);
    pthread_mutex_unlock(&t->lock);
}

const struct wg_class wg_features_locks = {
    .type = "features/locks",
    .help = "Named locks that end when they aren't renewed; they order gateways' flows.",
    .options = options,
    .local_size = sizeof(struct waiter),
    .min_children = 1,
    .max_children = 1,
    .init = locks_init,
    .start = locks_start,
    .drain = locks_drain,
    .stop = locks_stop,
    .handover = locks_handover,
    .fini = locks_fini,
    .reload = locks_reload,
    .dump = locks_dump,
    .fops = {
        [WG_OP_lock_take] = lock_take,
        [WG_OP_lock_renew] = lock_renew,
        [WG_OP_lock_drop] = lock_drop,
    },
};
