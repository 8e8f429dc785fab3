/* SPDX-License-Identifier: Apache-2.0 */
/*
 * features/pull: at the top of a brick's graph, executes ref_pull: fetches the bytes that a
 * reference names from the brick that made it, straight over TLS, and writes them to the store below
 * (docs/copy-by-reference.md).
 *
 * The first child is the store; the others are the bricks that may be pulled from, each a
 * protocol/client with `puller yes` and a brick-id. Nobody can make this brick connect to anywhere else: a
 * ref_pull names a brick, not an address.
 *
 * A pull is a coroutine with a few pieces under way, so memory is bounded by pulls times pieces times
 * 1 MiB. Members of a group run on one worker: a job's fields need no lock; those that a dump reads are
 * atomic. self->lock is a leaf, but for the worker's that a cancellation takes.
 */
#include <pthread.h>
#include <stdlib.h>
#include <uuid/uuid.h>

#define WG_LOG_PART "pull"
#include "co.h"
#include "dump.h"
#include "log.h"
#include "options.h"
#include "xlator.h"

#define PIECE (1u << 20)
#define PULL_MAX (1ull << 30) /* of one fop; copied may be short */

struct peer {
    struct wg_xlator *xl;
    wg_gfid brick;
};

struct job {
    struct job *next;          /* of the live ones, or of those that wait */
    struct wg_frame *f;
    struct wg_co *co;          /* while it runs; under lock */
    struct peer *peer;
    uint64_t size;             /* what this fop copies at most */
    _Atomic uint64_t begin_ns; /* 0: it waits */
    uint64_t stop_ns;          /* no piece begins after that */
    _Atomic uint64_t next_at;  /* pieces below have begun; relative to the ranges' beginnings */
    _Atomic uint64_t bytes;    /* fetched */
    uint64_t hole_end;         /* up to here there is nothing to fetch */
    uint64_t failed_at;        /* the lowest piece that failed */
    uint64_t end;              /* of what was written */
    uint64_t verf;
    bool has_verf;
};

struct piece {
    struct job *job;
    uint64_t at;
    uint32_t size;
};

struct pull {
    struct wg_xlator *xl;
    struct peer *peers;
    unsigned npeers;
    unsigned max;             /* under lock */
    _Atomic unsigned window;
    pthread_mutex_t lock;
    bool draining;
    struct job *live, *waiting, **last;
    unsigned nlive;
    atomic_uint_least64_t pulls, failed, waited, bytes, holes;
};

static const struct wg_option options[] = {
    { "pulls", WG_OPT_INT, 1, 256, "8", "Copies from other bricks under way at a time; more wait.", true },
    { "pieces", WG_OPT_INT, 1, 64, "4", "Pieces of 1 MiB that each of them has under way.", true },
    { NULL },
};

static struct pull *self(const struct wg_frame *f)
{
    return f->this->priv;
}

static struct peer *find_peer(struct pull *p, wg_gfid brick)
{
    for (unsigned i = 0; i < p->npeers; i++)
        if (wg_gfid_eq(p->peers[i].brick, brick))
            return &p->peers[i];
    return NULL;
}

/* ---- one piece ---------------------------------------------------------------------------- */

static int write_bytes(struct wg_co *co, struct piece *c, uint64_t at, struct wg_data data)
{
    struct job *j = c->job;
    const struct wg_ref_pull_in *in = wg_in(j->f, ref_pull);
    struct wg_write_in w = { .at = in->to, .offset = in->to_offset + at, .stable = WG_UNSTABLE, .data = data };
    const struct wg_write_out *out;
    int err = wg_co_write(co, wg_child(j->f), &w, &out);

    if (err)
        return err;
    if (out->count != data.len)
        return ENOSPC; /* a store writes less only when it is full */
    if (j->has_verf && j->verf != out->verf)
        return EAGAIN; /* something unsynced was lost meanwhile */
    j->verf = out->verf;
    j->has_verf = true;
    if (j->end < at + data.len)
        j->end = at + data.len;
    return 0;
}

/* Of a range that may hold something else. */
static int write_zeros(struct wg_co *co, struct piece *c)
{
    static const uint8_t zeros[65536];
    struct wg_seg seg[PIECE / sizeof zeros];
    struct wg_data data = { seg, 0, c->size };

    for (uint32_t done = 0; done < c->size; data.nseg++) {
        uint32_t n = c->size - done < sizeof zeros ? c->size - done : (uint32_t)sizeof zeros;

        seg[data.nseg] = (struct wg_seg){ NULL, (void *)(uintptr_t)zeros, n };
        done += n;
    }
    return write_bytes(co, c, c->at, data); /* winds once, and ends before seg goes */
}

static int fetch(struct wg_co *co, struct piece *c)
{
    struct job *j = c->job;
    struct pull *p = self(j->f);
    const struct wg_ref_pull_in *in = wg_in(j->f, ref_pull);
    struct wg_ref_read_in r = { .ref = in->ref, .offset = in->offset + c->at, .size = c->size };
    const struct wg_ref_read_out *out;
    int err = wg_co_ref_read(co, j->peer->xl, &r, &out);

    if (err)
        return err;
    if (out->data.len == 0 && out->hole >= c->size) {
        uint64_t hole_end = c->at + out->hole;

        atomic_fetch_add_explicit(&p->holes, c->size, memory_order_relaxed);
        if (!in->fresh)
            return write_zeros(co, c);
        if (hole_end >= c->at && j->hole_end < hole_end)
            j->hole_end = hole_end;
        return 0;
    }
    if (out->data.len != c->size)
        return EINVAL; /* the range ends before */
    wg_co_keep(co);
    atomic_fetch_add_explicit(&p->bytes, c->size, memory_order_relaxed);
    atomic_fetch_add_explicit(&j->bytes, c->size, memory_order_relaxed);
    return write_bytes(co, c, c->at, out->data);
}

static int piece(struct wg_co *co, void *arg)
{
    struct piece *c = arg;
    int err = fetch(co, c);

    if (err && c->at < c->job->failed_at)
        c->job->failed_at = c->at;
    return err;
}

/* ---- a pull ------------------------------------------------------------------------------- */

static int spawn_pieces(struct wg_co_group *g, struct job *j)
{
    uint64_t at = 0;
    int err = 0;

    while (at < j->size && !err) {
        struct piece *c;

        if (at < j->hole_end) {
            at = j->hole_end < j->size ? j->hole_end : j->size;
            atomic_store(&j->next_at, at);
            continue;
        }
        if (at > 0 && wg_now_ns() > j->stop_ns)
            break;
        c = WG_NEW(&j->f->call->arena, struct piece);
        if (!c)
            return ENOMEM;
        *c = (struct piece){ j, at, j->size - at < PIECE ? (uint32_t)(j->size - at) : PIECE };
        at += c->size;
        err = wg_co_spawn(g, "ref_pull piece", piece, c);
        if (!err)
            atomic_store(&j->next_at, at);
    }
    return err;
}

/* A hole at the end leaves the file too short. */
static int set_end(struct wg_co *co, struct job *j, uint64_t copied)
{
    const struct wg_ref_pull_in *in = wg_in(j->f, ref_pull);
    struct wg_getattr_in get = { .at = in->to };
    struct wg_setattr_in set = { .at = in->to, .attrs = { .valid = WG_SET_SIZE, .size = in->to_offset + copied } };
    const struct wg_getattr_out *now;
    const struct wg_setattr_out *out;
    int err = j->end < copied ? wg_co_getattr(co, wg_child(j->f), &get, &now) : 0;

    if (err || j->end >= copied || now->attr.size >= set.attrs.size)
        return err;
    return wg_co_setattr(co, wg_child(j->f), &set, &out);
}

/* From here on a drain finds co, or the job sees that there was one. */
static int show(struct job *j, struct wg_co *co)
{
    struct pull *p = self(j->f);
    bool draining;

    pthread_mutex_lock(&p->lock);
    j->co = co;
    draining = p->draining;
    pthread_mutex_unlock(&p->lock);
    return draining ? EAGAIN : 0;
}

static int fetch_all(struct wg_co *co, struct job *j)
{
    struct wg_ref_pull_out *out = wg_new_out(j->f, ref_pull);
    struct wg_co_group *g = out ? wg_co_group(co, atomic_load(&self(j->f)->window)) : NULL;
    int err, first;

    if (!g)
        return ENOMEM;
    first = spawn_pieces(g, j);
    err = wg_co_collect(g);
    if (!err)
        err = first;
    out->copied = atomic_load(&j->next_at) < j->failed_at ? atomic_load(&j->next_at) : j->failed_at;
    out->verf = j->verf;
    if (!err)
        err = set_end(co, j, out->copied);
    return err;
}

static int run(struct wg_co *co, void *arg)
{
    struct job *j = arg;
    int err = show(j, co);

    if (!err)
        err = fetch_all(co, j);
    if (show(j, NULL) && err == ECANCELED)
        err = EAGAIN;
    return err;
}

static void start_job(struct job *j);

/* j is over: its place goes to the next that waits. */
static void leave(struct pull *p, struct job *j)
{
    struct job *next = NULL;

    pthread_mutex_lock(&p->lock);
    for (struct job **at = &p->live; *at; at = &(*at)->next)
        if (*at == j) {
            *at = j->next;
            p->nlive--;
            break;
        }
    if (p->waiting && p->nlive < p->max) {
        next = p->waiting;
        p->waiting = next->next;
        if (!p->waiting)
            p->last = &p->waiting;
        next->next = p->live;
        p->live = next;
        p->nlive++;
    }
    pthread_mutex_unlock(&p->lock);
    if (next)
        start_job(next);
}

static void end_job(struct job *j, int err)
{
    struct pull *p = self(j->f);

    if (err) {
        atomic_fetch_add_explicit(&p->failed, 1, memory_order_relaxed);
        wg_debug("%s: a pull from %s: %s", p->xl->name, j->peer->xl->name, wg_error_name(err));
    }
    leave(p, j);
    wg_unwind(j->f, err);
}

static void ended(void *arg, int err)
{
    end_job(arg, err);
}

static void start_job(struct job *j)
{
    uint64_t now = wg_now_ns(), deadline = j->f->call->deadline_ns;

    /* The last third is for what is under way; then what was copied is the answer. */
    atomic_store(&j->begin_ns, now);
    j->stop_ns = deadline ? now + (deadline > now ? (deadline - now) / 3 * 2 : 0) : UINT64_MAX;
    if (deadline && now >= deadline)
        end_job(j, ETIMEDOUT);
    else if (wg_co_start(j->f->call, "ref_pull", run, j, ended))
        end_job(j, ENOMEM);
}

/* 0: it begins now; EINPROGRESS: it waits in line; EAGAIN: the brick stops. */
static int enter(struct pull *p, struct job *j)
{
    int err = 0;

    pthread_mutex_lock(&p->lock);
    if (p->draining) {
        err = EAGAIN;
    } else if (p->nlive < p->max) {
        j->next = p->live;
        p->live = j;
        p->nlive++;
    } else {
        *p->last = j;
        p->last = &j->next;
        err = EINPROGRESS;
    }
    pthread_mutex_unlock(&p->lock);
    return err;
}

static void ref_pull(struct wg_frame *f)
{
    const struct wg_ref_pull_in *in = wg_in(f, ref_pull);
    struct pull *p = self(f);
    struct job *j = f->local;
    int err;

    *j = (struct job){ .f = f, .peer = find_peer(p, in->source), .failed_at = UINT64_MAX,
                       .size = in->size < PULL_MAX ? in->size : PULL_MAX };
    if (!j->peer)
        return wg_unwind(f, ENOTSUP);
    if (in->offset > INT64_MAX - in->size || in->to_offset > INT64_MAX - in->size || in->size > INT64_MAX)
        return wg_unwind(f, EFBIG);
    if (in->size == 0)
        return wg_unwind(f, wg_new_out(f, ref_pull) ? 0 : ENOMEM);
    atomic_fetch_add_explicit(&p->pulls, 1, memory_order_relaxed);
    err = enter(p, j); /* one that waits may have ended when this returns */
    if (!err)
        start_job(j);
    else if (err == EINPROGRESS)
        atomic_fetch_add_explicit(&p->waited, 1, memory_order_relaxed);
    else
        wg_unwind(f, err);
}

/* When the brick stops; one that is only replaced finishes what it has. */
static void pull_drain(struct wg_xlator *xl)
{
    struct pull *p = xl->priv;
    struct job *waiting, *next;

    if (!xl->ending)
        return;
    pthread_mutex_lock(&p->lock);
    p->draining = true;
    waiting = p->waiting;
    p->waiting = NULL;
    p->last = &p->waiting;
    for (struct job *j = p->live; j; j = j->next)
        if (j->co)
            wg_co_cancel(j->co);
    pthread_mutex_unlock(&p->lock);
    for (struct job *j = waiting; j; j = next) {
        next = j->next;
        atomic_fetch_add_explicit(&p->failed, 1, memory_order_relaxed);
        wg_unwind(j->f, EAGAIN);
    }
}

/* ---- ref_peer ------------------------------------------------------------------------------- */

static void said_name(struct wg_frame *f)
{
    const struct wg_frame *c = wg_answer(f);
    const struct wg_ref_peer_in *in = wg_in(f, ref_peer);

    if (!c->err && !wg_gfid_eq(((const struct wg_ref_peer_out *)c->out)->brick, in->source))
        return wg_unwind(f, ENOTSUP); /* another brick has taken its address */
    wg_unwind(f, c->err);
}

static void ref_peer(struct wg_frame *f)
{
    const struct wg_ref_peer_in *in = wg_in(f, ref_peer);
    struct peer *peer;
    struct wg_ref_peer_in *ask;

    if (wg_gfid_is_zero(in->source))
        return wg_pass(f, wg_child(f));
    peer = find_peer(self(f), in->source);
    ask = wg_new_in(f, ref_peer);
    if (!peer || !ask)
        return wg_unwind(f, peer ? ENOMEM : ENOTSUP);
    wg_wind_to(f, peer->xl, ref_peer, ask, said_name);
}

/* ---- the class ------------------------------------------------------------------------------ */

/* The brick-id of a child: its own, or that of the one at the end of a line of single children. */
static int brick_of(const struct wg_xlator *xl, wg_gfid *ret)
{
    for (;; xl = xl->children[0]) {
        for (const struct wg_kv *kv = xl->options; kv; kv = kv->next)
            if (kv->text && *kv->text && strcmp(kv->option->name, "brick-id") == 0)
                return uuid_parse(kv->text, ret->b) ? EINVAL : 0;
        if (xl->nchildren != 1)
            return EINVAL;
    }
}

static int set_options(struct wg_xlator *xl)
{
    struct pull *p = xl->priv;

    pthread_mutex_lock(&p->lock);
    p->max = (unsigned)wg_opt_int(xl, "pulls");
    atomic_store(&p->window, (unsigned)wg_opt_int(xl, "pieces"));
    pthread_mutex_unlock(&p->lock);
    return 0;
}

static void pull_fini(struct wg_xlator *xl)
{
    struct pull *p = xl->priv;

    if (!p)
        return;
    pthread_mutex_destroy(&p->lock);
    free(p->peers);
    free(p);
    xl->priv = NULL;
}

static int pull_init(struct wg_xlator *xl)
{
    struct pull *p = calloc(1, sizeof *p);

    if (!p)
        return ENOMEM;
    xl->priv = p;
    p->xl = xl;
    p->last = &p->waiting;
    p->npeers = xl->nchildren - 1;
    pthread_mutex_init(&p->lock, NULL);
    p->peers = calloc(p->npeers + 1, sizeof *p->peers);
    if (!p->peers) {
        pull_fini(xl);
        return ENOMEM;
    }
    for (unsigned i = 0; i < p->npeers; i++) {
        p->peers[i].xl = xl->children[i + 1];
        if (brick_of(p->peers[i].xl, &p->peers[i].brick)) {
            wg_error("%s: subvolume %s needs a brick-id", xl->name, p->peers[i].xl->name);
            pull_fini(xl);
            return EINVAL;
        }
    }
    return set_options(xl);
}

static void dump_job(struct wg_dump *d, const struct job *j, uint64_t now)
{
    const struct wg_ref_pull_in *in = wg_in(j->f, ref_pull);
    uint64_t begin = atomic_load(&j->begin_ns);

    wg_dump_object(d, NULL);
    wg_dump_u64(d, "call", j->f->call->id);
    wg_dump_str(d, "source", j->peer->xl->name);
    wg_dump_u64(d, "offset", in->offset);
    wg_dump_u64(d, "to_offset", in->to_offset);
    wg_dump_u64(d, "size", j->size);
    wg_dump_u64(d, "begun", atomic_load(&j->next_at));
    wg_dump_u64(d, "bytes", atomic_load(&j->bytes));
    wg_dump_u64(d, "age_ms", begin && now > begin ? (now - begin) / 1000000 : 0);
    wg_dump_end(d);
}

static void pull_dump(struct wg_xlator *xl, struct wg_dump *d)
{
    struct pull *p = xl->priv;
    uint64_t now = wg_now_ns();

    wg_dump_u64(d, "pulls", atomic_load(&p->pulls));
    wg_dump_u64(d, "failed", atomic_load(&p->failed));
    wg_dump_u64(d, "had_to_wait", atomic_load(&p->waited));
    wg_dump_u64(d, "bytes", atomic_load(&p->bytes));
    wg_dump_u64(d, "bytes_of_holes", atomic_load(&p->holes));
    pthread_mutex_lock(&p->lock);
    wg_dump_array(d, "live");
    for (const struct job *j = p->live; j; j = j->next)
        dump_job(d, j, now);
    wg_dump_end(d);
    wg_dump_array(d, "waiting");
    for (const struct job *j = p->waiting; j; j = j->next)
        dump_job(d, j, now);
    wg_dump_end(d);
    pthread_mutex_unlock(&p->lock);
}

const struct wg_class wg_features_pull = {
    .type = "features/pull",
    .help = "Copies from other bricks straight into this one (ref_pull).",
    .options = options,
    .local_size = sizeof(struct job),
    .min_children = 1,
    .max_children = -1,
    .first_child_serves = true,
    .init = pull_init,
    .drain = pull_drain,
    .fini = pull_fini,
    .reload = set_options,
    .dump = pull_dump,
    .fops = {
        [WG_OP_ref_pull] = ref_pull,
        [WG_OP_ref_peer] = ref_peer,
    },
};
