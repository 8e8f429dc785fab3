/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stack engine: wind, unwind, fan-out. Tracing, counters and timing are here, once, so
 * that no layer repeats them.
 */
#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#define WG_LOG_PART "call"
#include "graph.h"
#include "lease.h"
#include "log.h"
#include "pool.h"
#include "slow.h"
#include "stats.h"
#include "xlator.h"

#define CALL_BYTES 4096 /* the call and its arena's first memory, one pooled piece */
#define DEPTH_MAX 48    /* nested steps on one stack before the next goes to a worker */

/* A fan-out under way. It outlives the parent's next step: stragglers only touch this. */
struct wg_fan {
    atomic_uint waiting; /* children not yet returned */
    atomic_uint good;    /* children that answered 0 */
    atomic_bool resumed; /* the completion has run, or runs */
    unsigned need;
    unsigned n;
    struct wg_frame *children[];
};

static struct {
    pthread_mutex_t lock;
    struct wg_call *first;
} shards[WG_CALL_SHARDS] = { [0 ... WG_CALL_SHARDS - 1] = { .lock = PTHREAD_MUTEX_INITIALIZER } };

static atomic_uint live;
static __thread unsigned depth;

uint64_t wg_now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t wg_now_coarse_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t frame_clock(void)
{
    return wg_timing_on() ? wg_now_ns() : wg_now_coarse_ns();
}

/* --- calls --- */

static void *call_make(struct wg_pool *p)
{
    return aligned_alloc(64, p->size);
}

static void call_destroy(struct wg_pool *p, void *obj)
{
    (void)p;
    free(obj);
}

static struct wg_pool calls = {
    .name = "calls", .id = 2, .batch = 32, .keep = 2048, .size = CALL_BYTES, .make = call_make, .destroy = call_destroy,
};

static uint64_t new_id(void)
{
    static atomic_uint_least64_t next = 1;
    static __thread uint64_t at, end;

    if (at == end) {
        at = atomic_fetch_add(&next, 256);
        end = at + 256;
    }
    return at++;
}

/*
 * A graph is counted in under the shard's lock, together with the reading of which graph it is. Who
 * replaces it takes each of these locks afterwards (wg_graph_idle): so a call is either counted in the
 * old graph by then, or sees the new one.
 */
static int register_call(struct wg_call *call, struct wg_volume *volume)
{
    call->shard = wg_thread_number() % WG_CALL_SHARDS;
    pthread_mutex_lock(&shards[call->shard].lock);
    if (volume) {
        call->graph = atomic_load_explicit(&volume->graph, memory_order_acquire);
        if (!call->graph) { /* closed */
            pthread_mutex_unlock(&shards[call->shard].lock);
            return ENOTCONN;
        }
    }
    if (call->graph)
        call->graph->count[call->shard].in++;
    call->dump_prev = NULL;
    call->dump_next = shards[call->shard].first;
    if (call->dump_next)
        call->dump_next->dump_prev = call;
    shards[call->shard].first = call;
    pthread_mutex_unlock(&shards[call->shard].lock);
    atomic_fetch_add_explicit(&live, 1, memory_order_relaxed);
    return 0;
}

static void unregister_call(struct wg_call *call)
{
    pthread_mutex_lock(&shards[call->shard].lock);
    if (call->dump_prev)
        call->dump_prev->dump_next = call->dump_next;
    else
        shards[call->shard].first = call->dump_next;
    if (call->dump_next)
        call->dump_next->dump_prev = call->dump_prev;
    pthread_mutex_unlock(&shards[call->shard].lock);
    atomic_fetch_sub_explicit(&live, 1, memory_order_relaxed);
}

static struct wg_call *new_call(struct wg_graph *graph, struct wg_volume *volume, enum wg_frontend from,
                                const char *what)
{
    size_t head = (sizeof(struct wg_call) + 15) & ~(size_t)15;
    struct wg_call *call = wg_pool_get(&calls);

    if (!call)
        return NULL;
    memset(call, 0, sizeof *call);
    wg_arena_init(&call->arena, (char *)call + head, CALL_BYTES - head);
    call->id = new_id();
    call->graph = graph;
    call->frontend = from;
    call->what = what;
    call->begin_ns = wg_now_ns();
    atomic_init(&call->refs, 1);
    if (register_call(call, volume) == 0)
        return call;
    wg_pool_put(&calls, call);
    return NULL;
}

struct wg_call *wg_call_new(struct wg_graph *graph, enum wg_frontend from, const char *what)
{
    return new_call(graph, NULL, from, what);
}

struct wg_call *wg_volume_call(struct wg_volume *volume, enum wg_frontend from, const char *what)
{
    return new_call(NULL, volume, from, what);
}

void wg_call_ref(struct wg_call *call)
{
    atomic_fetch_add_explicit(&call->refs, 1, memory_order_relaxed);
}

void wg_call_told(struct wg_call *call)
{
    atomic_store_explicit(&call->told, true, memory_order_release);
}

void wg_call_unref(struct wg_call *call)
{
    struct wg_graph *graph = call->graph;

    if (atomic_fetch_sub_explicit(&call->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (wg_timing_on() && !call->parent)
        wg_profile_request(call);
    if (atomic_load_explicit(&call->logged, memory_order_relaxed))
        wg_slow_ended(call);
    unregister_call(call);
    wg_arena_fini(&call->arena);
    if (graph) /* after the arena, whose release functions may need the translators */
        atomic_fetch_add_explicit(&graph->count[wg_thread_number() % WG_CALL_SHARDS].out, 1, memory_order_release);
    wg_pool_put(&calls, call);
}

void wg_calls_each(void (*each)(struct wg_call *call, void *arg), void *arg)
{
    for (int i = 0; i < WG_CALL_SHARDS; i++) {
        pthread_mutex_lock(&shards[i].lock);
        for (struct wg_call *call = shards[i].first; call; call = call->dump_next)
            each(call, arg);
        pthread_mutex_unlock(&shards[i].lock);
    }
}

/*
 * Ends are summed before beginnings: a call that ends meanwhile is seen as under way, never the other
 * way round, so equal sums mean that there was a moment without any.
 */
bool wg_graph_idle(struct wg_graph *g)
{
    uint64_t in = 0, out = 0;

    for (int i = 0; i < WG_CALL_SHARDS; i++)
        out += atomic_load_explicit(&g->count[i].out, memory_order_acquire);
    for (int i = 0; i < WG_CALL_SHARDS; i++) {
        pthread_mutex_lock(&shards[i].lock);
        in += g->count[i].in;
        pthread_mutex_unlock(&shards[i].lock);
    }
    return in == out;
}

unsigned wg_calls_live(void)
{
    return atomic_load_explicit(&live, memory_order_relaxed);
}

/* --- frames --- */

static struct wg_frame *frame_new(struct wg_call *call, struct wg_frame *parent, unsigned op,
                                  const void *in, const char *from, const char *to)
{
    struct wg_frame *f;

    /* One hold for the memory and the call's list: an atomic step fewer for each layer. */
    wg_arena_lock(&call->arena);
    f = wg_alloc_locked(&call->arena, sizeof *f);
    if (f) {
        f->call = call;
        f->parent = parent;
        f->op = (uint16_t)op;
        f->in = in;
        f->wind_from = from;
        f->unwind_to = to;
        f->want_lease = parent ? parent->want_lease && parent->op == op : call->want_lease;
        /* Pushed when whole, so that a dump never sees half a frame. Frames leave with the call. */
        f->next = atomic_load_explicit(&call->frames, memory_order_relaxed);
        atomic_store_explicit(&call->frames, f, memory_order_release);
    }
    wg_arena_unlock(&call->arena);
    return f;
}

/* Runs step(f) here, or on a worker when this stack is deep already. */
static void run(struct wg_frame *f, void (*step)(struct wg_frame *), void (*queued)(struct wg_work *))
{
    if (depth >= DEPTH_MAX && wg_work_count() > 0) {
        f->work.fn = queued;
        wg_work_queue(&f->work);
        return;
    }
    depth++;
    step(f);
    depth--;
}

#define FRAME_OF(w) ((struct wg_frame *)((char *)(w) - offsetof(struct wg_frame, work)))

static void step_handle(struct wg_frame *f)
{
    f->this->route[f->op].fn(f);
}

static void queued_handle(struct wg_work *w)
{
    step_handle(FRAME_OF(w));
}

/* Enters the xlator that treats f's fop, xl or one below it. */
static void enter(struct wg_frame *f, struct wg_xlator *xl)
{
    struct wg_xlator *to = xl->route[f->op].xl;

    if (!to) {
        __atomic_store_n(&f->this, xl, __ATOMIC_RELAXED);
        wg_unwind_(f, ENOTSUP, "core");
        return;
    }
    __atomic_store_n(&f->this, to, __ATOMIC_RELAXED); /* a dump may look at any time */
    __atomic_store_n(&f->begin_ns, frame_clock(), __ATOMIC_RELAXED);
    if (f->want_lease && to->class->announces)
        f->lease = &wg_lease_always;
    if (to->class->local_size > 0) {
        f->local = wg_alloc(&f->call->arena, to->class->local_size);
        if (!f->local) {
            wg_unwind_(f, ENOMEM, "core");
            return;
        }
    }
    run(f, step_handle, queued_handle);
}

void wg_start_(struct wg_call *call, struct wg_xlator *top, unsigned op, const void *in,
               void (*finish)(struct wg_call *), const char *from, const char *to)
{
    struct wg_frame *f = frame_new(call, NULL, op, in, from, to);

    /* The call itself has room for the first frame, unless fops before it used it up. */
    if (!f) {
        static struct wg_frame none = { .err = ENOMEM };

        call->root = &none;
        finish(call);
        return;
    }
    call->root = f;
    call->finish = finish;
    wg_call_told(call);
    wg_call_ref(call);
    enter(f, top);
}

void wg_wind_(struct wg_frame *f, struct wg_xlator *xl, unsigned op, const void *in,
              wg_handler *done, const char *from, const char *to)
{
    struct wg_frame *c = frame_new(f->call, f, op, in, from, to);

    f->nchildren = 1;
    f->only = c;
    f->children = &f->only;
    if (!c) {
        static struct wg_frame none = { .err = ENOMEM };

        f->only = &none;
        f->err = ENOMEM;
        f->out = NULL;
        done(f);
        return;
    }
    c->done = done;
    enter(c, xl);
}

void wg_wind_many_(struct wg_frame *f, struct wg_xlator *const *xls, unsigned n, unsigned need,
                   wg_handler *done, const char *from, const char *to)
{
    struct wg_call *call = f->call;
    struct wg_fan *fan = wg_alloc(&call->arena, sizeof *fan + n * sizeof *fan->children);
    unsigned made;

    for (made = 0; fan && made < n; made++) {
        struct wg_frame *c = frame_new(call, f, f->op, f->in, from, to);

        if (!c)
            break;
        c->index = (uint16_t)made;
        c->done = done;
        __atomic_store_n(&c->fan, fan, __ATOMIC_RELEASE); /* a dump that sees it sees index */
        fan->children[made] = c;
    }
    if (n == 0 || made < n) {
        /* Nothing was sent: the whole fan-out fails. */
        f->nchildren = 0;
        f->err = n == 0 ? ENOTCONN : ENOMEM;
        f->out = NULL;
        done(f);
        return;
    }
    fan->n = n;
    fan->need = need;
    atomic_init(&fan->waiting, n);
    /* A child keeps the call until it has returned; f itself may be done with long before. */
    atomic_fetch_add_explicit(&call->refs, n, memory_order_relaxed);
    for (unsigned i = 0; i < n; i++)
        enter(fan->children[i], xls[i]);
}

void wg_pass_(struct wg_frame *f, struct wg_xlator *xl, const char *from)
{
    /* The layer that passed it on is who wound it, for a reader of a dump. */
    __atomic_store_n(&f->wind_from, from, __ATOMIC_RELAXED);
    enter(f, xl);
}

/* --- the way back --- */

static void step_done(struct wg_frame *c)
{
    c->done(c->parent);
}

static void queued_done(struct wg_work *w)
{
    step_done(FRAME_OF(w));
}

/* Gives the parent the answer: by default its own result, when the fop was the same. */
static void take_answer(struct wg_frame *parent, const struct wg_frame *c)
{
    parent->err = c->err;
    if (parent->op == c->op) {
        parent->out = c->out;
        parent->lease = c->fan ? NULL : c->lease; /* of several answers none speaks for all */
        parent->uses = c->uses;
    }
}

static void fan_return(struct wg_frame *c)
{
    struct wg_fan *fan = c->fan;
    struct wg_call *call = c->call;
    struct wg_frame *parent = c->parent;
    unsigned good = atomic_fetch_add(&fan->good, c->err == 0) + (c->err == 0);
    unsigned left = atomic_fetch_sub(&fan->waiting, 1) - 1;

    if ((left == 0 || (fan->need > 0 && good >= fan->need)) && !atomic_exchange(&fan->resumed, true)) {
        const struct wg_frame *pick = c;

        /* The result is the first good answer's, or the first child's error. */
        for (unsigned i = fan->n; i-- > 0;)
            if (atomic_load_explicit(&fan->children[i]->complete, memory_order_acquire) &&
                (pick->err || !fan->children[i]->err))
                pick = fan->children[i];
        parent->nchildren = (uint16_t)fan->n;
        parent->children = fan->children;
        take_answer(parent, pick);
        run(c, step_done, queued_done);
    }
    wg_call_unref(call);
}

void wg_unwind_(struct wg_frame *f, int err, const char *from)
{
    struct wg_call *call = f->call;

    /* err and out are written before complete is set: fan_return reads them after it. */
    f->err = err;
    f->unwind_from = from;
    if (atomic_exchange_explicit(&f->complete, true, memory_order_acq_rel)) {
        wg_error("%s unwound %s twice; the second result is dropped", from, wg_op_name(f->op));
        assert(!"a frame was unwound twice");
        return;
    }
    wg_stats_count(f);
    if (!f->parent) {
        call->finish(call);
        wg_call_unref(call);
    } else if (f->fan) {
        fan_return(f);
    } else {
        take_answer(f->parent, f);
        run(f, step_done, queued_done);
    }
}

/* --- typed access --- */

const void *wg_in_checked(const struct wg_frame *f, unsigned op)
{
    assert(f->op == op);
    (void)op;
    return f->in;
}

void *wg_out_checked(const struct wg_frame *f, unsigned op)
{
    assert(f->op == op || f->op == 0);
    (void)op;
    return f->out;
}

void *wg_new_out_checked(struct wg_frame *f, unsigned op)
{
    assert(f->op == op);
    f->out = wg_alloc(&f->call->arena, wg_fops[op].out_size);
    return f->out;
}
