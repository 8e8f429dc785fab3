/* SPDX-License-Identifier: Apache-2.0 */
/*
 * performance/io-threads: keeps the threads that bring fops (a brick's lane readers) from blocking.
 * What does not block runs right there, since a hand-over costs more than most fops; what waits for
 * a disk goes to a thread of its own, which also sends the answer. Inline fops have call->nowait
 * set, and are queued when the store answers EWOULDBLOCK (before any effect: a read that is not in
 * the page cache, a fop that syncs).
 *
 * Which is which: commit, put, copy_range, checksum, references and stable writes are always queued; any fop
 * is whose running average (by fop and size) has passed inline-limit; unstable writes are when
 * many bytes were written lately.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define WG_LOG_PART "io-threads"
#include "dump.h"
#include "log.h"
#include "xlator.h"

#define THREADS_MAX 256
#define IDLE_S 10           /* a thread without work ends after this */
#define LARGE 65536         /* payloads from here on are timed apart */
#define WINDOW_NS 5000000000ull
#define LOW_TURN 16         /* every so many, the lowest priority goes first */

enum priority { PRIO_NAMES, PRIO_DATA, PRIO_BULK, PRIO_COUNT };

struct local {
    struct wg_frame *next;  /* in the queue */
    uint64_t start_ns;
    bool large;             /* timed as such */
    bool blocked;           /* was tried inline, and would have blocked */
    bool tried;             /* ran inline */
};

struct worker {
    pthread_cond_t wake;
    bool woken;
    struct worker *next;    /* of the idle ones */
};

struct iot {
    struct wg_xlator *xl;
    unsigned threads_max;
    _Atomic uint32_t limit_ns;    /* running averages above it are queued */
    _Atomic uint64_t dirty_limit;
    pthread_mutex_t lock;   /* of the queue and the threads */
    pthread_cond_t gone;
    struct { struct wg_frame *first, *last; unsigned n; } queue[PRIO_COUNT];
    struct worker *idle;    /* last one idle first: its stack is warm */
    unsigned threads, nidle, turn, queued;
    bool stopping;
    _Atomic uint32_t average_ns[WG_OP_MAX][2];
    _Atomic uint64_t dirty, window_ns;
    atomic_uint_least64_t inlined, handed, blocked, late;
};

static const struct wg_option options[] = {
    { "threads", WG_OPT_INT, 1, THREADS_MAX, "16", "Threads at most; they come on demand.", true },
    { "inline-limit", WG_OPT_INT, 0, 1000000, "200", "Microseconds that a fop may take on average and "
      "still run on the thread that brought it; 0: all are queued.", true },
    { "dirty-limit", WG_OPT_SIZE, 0, 0, "256M", "Bytes of unstable writes in five seconds beyond which "
      "further ones are queued.", true },
    { 0 },
};

static struct local *local(struct wg_frame *f)
{
    return f->local;
}

/* --- which way --- */

static uint32_t payload_of(const struct wg_frame *f)
{
    switch (f->op) {
    case WG_OP_read:
        return ((const struct wg_read_in *)f->in)->size;
    case WG_OP_get:
        return ((const struct wg_get_in *)f->in)->size;
    case WG_OP_write:
        return ((const struct wg_write_in *)f->in)->data.len;
    }
    return 0;
}

/* Unstable writes of the last seconds, roughly: the kernel makes writers wait when it lags behind. */
static bool too_dirty(struct iot *t, uint32_t len)
{
    uint64_t now = wg_now_coarse_ns(), window = atomic_load(&t->window_ns);

    if (now - window > WINDOW_NS && atomic_compare_exchange_strong(&t->window_ns, &window, now))
        atomic_store(&t->dirty, 0);
    return atomic_fetch_add(&t->dirty, len) > t->dirty_limit;
}

static bool may_block(struct iot *t, const struct wg_frame *f)
{
    switch (f->op) {
    case WG_OP_commit:
    case WG_OP_put:
    case WG_OP_copy_range:
    case WG_OP_checksum:
    case WG_OP_ref_create:
    case WG_OP_ref_read:
    case WG_OP_ref_drop:
        return true;
    case WG_OP_write: {
        const struct wg_write_in *in = f->in;

        return in->stable != WG_UNSTABLE || too_dirty(t, in->data.len);
    }
    }
    return false;
}

static bool slow(struct iot *t, unsigned op, bool large)
{
    return atomic_load_explicit(&t->average_ns[op][large], memory_order_relaxed) >= t->limit_ns;
}

static enum priority priority_of(unsigned op)
{
    switch (op) {
    case WG_OP_copy_range:
    case WG_OP_checksum:
        return PRIO_BULK;
    case WG_OP_read:
    case WG_OP_write:
    case WG_OP_commit:
    case WG_OP_get:
    case WG_OP_put:
    case WG_OP_ref_read:
        return PRIO_DATA;
    }
    return PRIO_NAMES;
}

/* --- the fop itself --- */

static void enqueue(struct iot *t, struct wg_frame *f);

/* A moving average over some sixteen; a lost update among threads does no harm. */
static void measure(struct iot *t, const struct wg_frame *f, const struct local *l)
{
    uint64_t ns = wg_now_ns() - l->start_ns;
    _Atomic uint32_t *average = &t->average_ns[f->op][l->large];
    uint32_t old = atomic_load_explicit(average, memory_order_relaxed);

    if (ns > UINT32_MAX)
        ns = UINT32_MAX;
    atomic_store_explicit(average, (uint32_t)((old * 15ull + ns) / 16), memory_order_relaxed);
}

static void iot_done(struct wg_frame *f)
{
    struct iot *t = f->this->priv;
    struct local *l = local(f);

    if (f->err == EWOULDBLOCK && f->call->nowait) {
        f->call->nowait = false;
        f->err = 0;
        f->out = NULL;
        l->blocked = true;
        atomic_fetch_add_explicit(&t->blocked, 1, memory_order_relaxed);
        enqueue(t, f);
        return;
    }
    /*
     * A read that had to wait for its disk says nothing about those that need not; nor does one whose
     * answer the store kept back for a sync, which it shows by taking nowait off.
     */
    if (!l->blocked && (!l->tried || f->call->nowait))
        measure(t, f, l);
    wg_unwind(f, f->err);
}

static void run(struct wg_frame *f, bool nowait)
{
    f->call->nowait = local(f)->tried = nowait;
    local(f)->start_ns = wg_now_ns();
    wg_wind(f, wg_child(f), iot_done);
}

static void iot_fop(struct wg_frame *f)
{
    struct iot *t = f->this->priv;
    struct local *l = local(f);

    l->large = payload_of(f) >= LARGE;
    if (may_block(t, f) || slow(t, f->op, l->large)) {
        atomic_fetch_add_explicit(&t->handed, 1, memory_order_relaxed);
        enqueue(t, f);
        return;
    }
    atomic_fetch_add_explicit(&t->inlined, 1, memory_order_relaxed);
    run(f, true);
}

/* --- the threads --- */

/* Under the lock. */
static struct wg_frame *take(struct iot *t)
{
    bool reverse = t->turn++ % LOW_TURN == LOW_TURN - 1;

    for (int i = 0; i < PRIO_COUNT; i++) {
        int p = reverse ? PRIO_COUNT - 1 - i : i;
        struct wg_frame *f = t->queue[p].first;

        if (!f)
            continue;
        t->queue[p].first = local(f)->next;
        if (!t->queue[p].first)
            t->queue[p].last = NULL;
        t->queue[p].n--;
        t->queued--;
        return f;
    }
    return NULL;
}

/* Under the lock. false: idle for long, and not needed. */
static bool wait_for_work(struct iot *t, struct worker *w)
{
    struct timespec until;
    int err = 0;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += IDLE_S;
    w->woken = false;
    w->next = t->idle;
    t->idle = w;
    t->nidle++;
    while (!w->woken && err != ETIMEDOUT)
        err = pthread_cond_timedwait(&w->wake, &t->lock, &until);
    if (w->woken)
        return true;
    for (struct worker **link = &t->idle; *link; link = &(*link)->next)
        if (*link == w) {
            *link = w->next;
            break;
        }
    t->nidle--;
    return false;
}

static void execute(struct iot *t, struct wg_frame *f)
{
    /* The client has been told, or will be, that this one did not run: so it must not. */
    if (f->call->deadline_ns && wg_now_ns() > f->call->deadline_ns) {
        atomic_fetch_add_explicit(&t->late, 1, memory_order_relaxed);
        wg_unwind(f, ETIMEDOUT);
        return;
    }
    run(f, false);
}

static void *worker_main(void *arg)
{
    struct iot *t = arg;
    struct worker w = { 0 };
    pthread_condattr_t monotonic;

    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&w.wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_setname_np(pthread_self(), "wg-io");
    pthread_mutex_lock(&t->lock);
    for (;;) {
        struct wg_frame *f = take(t);

        if (f) {
            pthread_mutex_unlock(&t->lock);
            execute(t, f);
            pthread_mutex_lock(&t->lock);
        } else if (t->stopping || !wait_for_work(t, &w)) {
            break;
        }
    }
    t->threads--;
    pthread_cond_signal(&t->gone);
    pthread_mutex_unlock(&t->lock);
    pthread_cond_destroy(&w.wake);
    return NULL;
}

/* Under the lock. */
static bool add_thread(struct iot *t)
{
    pthread_attr_t attr;
    pthread_t thread;
    int err;

    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    err = pthread_create(&thread, &attr, worker_main, t);
    pthread_attr_destroy(&attr);
    t->threads += !err;
    return !err;
}

/* Under the lock: who is to be woken for a new frame, after the lock is dropped; NULL: nobody. */
static struct worker *pick_worker(struct iot *t)
{
    struct worker *w = t->idle;

    if (w) {
        t->idle = w->next;
        t->nidle--;
        w->woken = true;
    }
    return w;
}

static void enqueue(struct iot *t, struct wg_frame *f)
{
    enum priority p = priority_of(f->op);
    struct worker *w;
    bool here;

    local(f)->next = NULL;
    pthread_mutex_lock(&t->lock);
    w = pick_worker(t);
    here = !w && t->threads < t->threads_max && !add_thread(t) && t->threads == 0;
    if (!here) {
        if (t->queue[p].last)
            local(t->queue[p].last)->next = f;
        else
            t->queue[p].first = f;
        t->queue[p].last = f;
        t->queue[p].n++;
        t->queued++;
        /* Signalled under the lock: the worker may end, and its condition with it, once it is free. */
        if (w)
            pthread_cond_signal(&w->wake);
    }
    pthread_mutex_unlock(&t->lock);
    if (here) {
        wg_error("%s: no thread can be made; running on the caller's", t->xl->name);
        execute(t, f);
    }
}

/* --- the class --- */

static int iot_reload(struct wg_xlator *xl)
{
    struct iot *t = xl->priv;

    pthread_mutex_lock(&t->lock);
    t->threads_max = (unsigned)wg_opt_int(xl, "threads");
    t->limit_ns = (uint32_t)wg_opt_int(xl, "inline-limit") * 1000;
    t->dirty_limit = (uint64_t)wg_opt_int(xl, "dirty-limit");
    pthread_mutex_unlock(&t->lock);
    return 0;
}

static int iot_init(struct wg_xlator *xl)
{
    struct iot *t = calloc(1, sizeof *t);

    if (!t)
        return ENOMEM;
    xl->priv = t;
    t->xl = xl;
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->gone, NULL);
    return iot_reload(xl);
}

static int iot_start(struct wg_xlator *xl)
{
    struct iot *t = xl->priv;

    t->stopping = false;
    return 0;
}

static void iot_stop(struct wg_xlator *xl)
{
    struct iot *t = xl->priv;
    struct worker *w;

    pthread_mutex_lock(&t->lock);
    t->stopping = true;
    while ((w = pick_worker(t)))
        pthread_cond_signal(&w->wake);
    while (t->threads > 0)
        pthread_cond_wait(&t->gone, &t->lock);
    pthread_mutex_unlock(&t->lock);
}

static void iot_fini(struct wg_xlator *xl)
{
    struct iot *t = xl->priv;

    pthread_mutex_destroy(&t->lock);
    pthread_cond_destroy(&t->gone);
    free(t);
    xl->priv = NULL;
}

static void iot_dump(struct wg_xlator *xl, struct wg_dump *d)
{
    static const char *const names[PRIO_COUNT] = { "names", "data", "bulk" };
    struct iot *t = xl->priv;

    pthread_mutex_lock(&t->lock);
    wg_dump_u64(d, "threads", t->threads);
    wg_dump_u64(d, "threads_idle", t->nidle);
    wg_dump_object(d, "queued");
    for (int p = 0; p < PRIO_COUNT; p++)
        wg_dump_u64(d, names[p], t->queue[p].n);
    wg_dump_end(d);
    pthread_mutex_unlock(&t->lock);
    wg_dump_u64(d, "inline", atomic_load(&t->inlined));
    wg_dump_u64(d, "handed_over", atomic_load(&t->handed));
    wg_dump_u64(d, "would_have_blocked", atomic_load(&t->blocked));
    wg_dump_u64(d, "past_deadline", atomic_load(&t->late));
    wg_dump_object(d, "average_us");
    for (unsigned op = 0; op < WG_OP_MAX; op++) {
        if (t->average_ns[op][0])
            wg_dump_u64(d, wg_op_name(op), t->average_ns[op][0] / 1000);
        if (t->average_ns[op][1]) {
            char name[64];

            snprintf(name, sizeof name, "%s_large", wg_op_name(op));
            wg_dump_u64(d, name, t->average_ns[op][1] / 1000);
        }
    }
    wg_dump_end(d);
}

const struct wg_class wg_performance_io_threads = {
    .type = "performance/io-threads",
    .help = "Runs fops that may block on threads of their own.",
    .options = options,
    .local_size = sizeof(struct local),
    .min_children = 1,
    .max_children = 1,
    .init = iot_init,
    .start = iot_start,
    .stop = iot_stop,
    .fini = iot_fini,
    .reload = iot_reload,
    .dump = iot_dump,
    .any = iot_fop,
};
