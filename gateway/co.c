/* SPDX-License-Identifier: Apache-2.0 */
/* Coroutines: start, park and resume, waiting, time, offload. */
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "co_internal.h"
#include "dump.h"

#define LISTS 16

static struct {
    pthread_mutex_t lock;
    struct wg_co *first;
} lists[LISTS] = {
    [0 ... LISTS - 1] = { .lock = PTHREAD_MUTEX_INITIALIZER },
};
static atomic_uint live;
static struct {
    pthread_mutex_t lock;
    struct wg_co *first;
} pool = { .lock = PTHREAD_MUTEX_INITIALIZER };
static __thread struct wg_co *starting;

static void enlist(struct wg_co *co)
{
    pthread_mutex_lock(&lists[co->worker % LISTS].lock);
    co->next = lists[co->worker % LISTS].first;
    if (co->next)
        co->next->prev = co;
    lists[co->worker % LISTS].first = co;
    pthread_mutex_unlock(&lists[co->worker % LISTS].lock);
    atomic_fetch_add(&live, 1);
}

static void delist(struct wg_co *co)
{
    pthread_mutex_lock(&lists[co->worker % LISTS].lock);
    if (co->prev)
        co->prev->next = co->next;
    else
        lists[co->worker % LISTS].first = co->next;
    if (co->next)
        co->next->prev = co->prev;
    pthread_mutex_unlock(&lists[co->worker % LISTS].lock);
}

/* The first function on a fresh stack. Never returns: the last leave is not resumed. */
static void entry(void)
{
    struct wg_co *co = starting;

    wg_stack_arrived(co->stack);
    co->err = co->fn(co, co->arg);
    co->finished = true;
    wg_stack_leave(co->stack, true);
    abort();
}

static struct wg_co *take(void)
{
    struct wg_co *co;

    pthread_mutex_lock(&pool.lock);
    co = pool.first;
    if (co)
        pool.first = co->pooled;
    pthread_mutex_unlock(&pool.lock);
    if (!co)
        return calloc(1, sizeof *co);
    memset(&co->stack, 0, sizeof *co - offsetof(struct wg_co, stack));
    return co;
}

static void give_back(struct wg_co *co)
{
    pthread_mutex_lock(&pool.lock);
    co->pooled = pool.first;
    pool.first = co;
    pthread_mutex_unlock(&pool.lock);
}

static void finish(struct wg_co *co)
{
    struct wg_call *root = co->root;

    wg_timer_cancel(&co->deadline); /* of this worker: it does not run now */
    wg_co_drop_leases(co);
    wg_co_drop_calls(co);
    wg_stack_put(co->stack);
    delist(co);
    if (co->done)
        co->done(co->arg, co->err);
    if (co->group)
        wg_co_group_left(co->group, co);
    give_back(co);
    wg_call_unref(root);
    atomic_fetch_sub(&live, 1);
}

/* On the worker: runs co until it parks or ends. */
static void resume(struct wg_work *w)
{
    struct wg_co *co = (struct wg_co *)((char *)w - offsetof(struct wg_co, work));

    for (;;) {
        void (*outside)(struct wg_co *);
        int running = CO_RUNNING;

        starting = co;
        wg_stack_enter(co->stack);
        if (co->finished) {
            finish(co);
            return;
        }
        outside = co->outside;
        co->outside = NULL;
        if (outside)
            outside(co);
        /* Until here a wake only noted itself; from here on it queues co. */
        if (atomic_compare_exchange_strong(&co->park, &running, CO_PARKED))
            return;
        atomic_store(&co->park, CO_RUNNING);
    }
}

void wg_co_park(struct wg_co *co, const char *waits_for)
{
    __atomic_store_n(&co->waits_for, waits_for, __ATOMIC_RELAXED);
    wg_stack_leave(co->stack, false);
    __atomic_store_n(&co->waits_for, NULL, __ATOMIC_RELAXED);
}

void wg_co_unpark(struct wg_co *co)
{
    int seen = atomic_load(&co->park);

    for (;;) {
        if (seen == CO_WOKEN)
            return;
        if (atomic_compare_exchange_weak(&co->park, &seen, seen == CO_PARKED ? CO_RUNNING : CO_WOKEN))
            break;
    }
    if (seen == CO_PARKED)
        wg_work_queue_on(co->worker, &co->work);
}

int wg_co_launch(struct wg_call *root, const char *name, wg_co_fn *fn, void *arg,
                 void (*done)(void *, int), unsigned worker, struct wg_co_group *group)
{
    struct wg_co *co = take();

    if (!co)
        return ENOMEM;
    co->stack = wg_stack_get();
    if (!co->stack) {
        give_back(co);
        return ENOMEM;
    }
    wg_stack_prepare(co->stack, entry);
    wg_call_ref(root);
    co->root = root;
    co->name = name;
    co->fn = fn;
    co->arg = arg;
    co->done = done;
    co->worker = worker;
    atomic_store(&co->park, CO_RUNNING);
    co->group = group;
    co->begin_ns = wg_now_coarse_ns();
    if (group) {
        co->sibling = group->members;
        group->members = co;
        group->running++;
    }
    enlist(co);
    co->work.fn = resume;
    wg_work_queue_on(worker, &co->work);
    return 0;
}

int wg_co_start(struct wg_call *root, const char *name, wg_co_fn *fn, void *arg,
                void (*done)(void *arg, int err))
{
    static atomic_uint turn;
    int self = wg_work_self();
    unsigned worker = self >= 0 ? (unsigned)self : atomic_fetch_add(&turn, 1) % wg_work_count();

    return wg_co_launch(root, name, fn, arg, done, worker, NULL);
}

struct wg_call *wg_co_call(struct wg_co *co)
{
    return co->root;
}

/* --- waiting --- */

int wg_co_cancelled(const struct wg_co *co)
{
    return co->shielded ? 0 : atomic_load_explicit(&co->cancelled, memory_order_relaxed);
}

void wg_co_cancel_with(struct wg_co *co, int err)
{
    int none = 0;

    atomic_compare_exchange_strong(&co->cancelled, &none, err);
    wg_co_unpark(co);
}

void wg_co_cancel(struct wg_co *co)
{
    wg_co_cancel_with(co, ECANCELED);
}

void wg_co_shield(struct wg_co *co, bool on)
{
    co->shielded = on;
}

static void deadline_passes(struct wg_timer *t)
{
    wg_co_cancel_with((struct wg_co *)((char *)t - offsetof(struct wg_co, deadline)), ETIMEDOUT);
}

void wg_co_deadline(struct wg_co *co, uint64_t deadline_ns)
{
    if (deadline_ns)
        wg_timer_arm(&co->deadline, deadline_ns, deadline_passes);
    else
        wg_timer_cancel(&co->deadline);
}

void wg_co_wake(struct wg_co *co)
{
    atomic_store(&co->token, true);
    wg_co_unpark(co);
}

static void timer_fires(struct wg_timer *t)
{
    struct wg_co *co = (struct wg_co *)((char *)t - offsetof(struct wg_co, timer));

    atomic_store(&co->timer_fired, true);
    wg_co_unpark(co);
}

int wg_co_wait(struct wg_co *co, uint64_t deadline_ns)
{
    bool timed = deadline_ns != 0;
    int err = 0;

    atomic_store(&co->timer_fired, false);
    if (timed)
        wg_timer_arm(&co->timer, deadline_ns, timer_fires);
    while (!atomic_exchange(&co->token, false)) {
        err = wg_co_cancelled(co);
        if (!err && timed && atomic_load(&co->timer_fired))
            err = ETIMEDOUT;
        if (err)
            break;
        wg_co_park(co, timed ? "wake or time" : "wake");
    }
    /* The timer is of this worker, so when it is not armed it has run, not: is running. */
    if (timed)
        wg_timer_cancel(&co->timer);
    return err;
}

int wg_co_sleep(struct wg_co *co, uint64_t ns)
{
    atomic_store(&co->timer_fired, false);
    wg_timer_arm(&co->timer, wg_now_ns() + ns, timer_fires);
    while (!atomic_load(&co->timer_fired) && !wg_co_cancelled(co))
        wg_co_park(co, "time");
    wg_timer_cancel(&co->timer);
    return wg_co_cancelled(co);
}

static void requeue(struct wg_work *w)
{
    struct wg_co *co = (struct wg_co *)((char *)w - offsetof(struct wg_co, run_work));

    atomic_store(&co->run_done, true);
    wg_co_unpark(co);
}

static void queue_again(struct wg_co *co)
{
    co->run_work.fn = requeue;
    wg_work_queue_on(co->worker, &co->run_work);
}

void wg_co_yield(struct wg_co *co)
{
    atomic_store(&co->run_done, false);
    co->outside = queue_again;
    do
        wg_co_park(co, "its turn");
    while (!atomic_load(&co->run_done));
}

/* --- other stacks --- */

static void offloaded(struct wg_work *w)
{
    struct wg_co *co = (struct wg_co *)((char *)w - offsetof(struct wg_co, run_work));

    co->run_err = co->run(co->run_arg);
    atomic_store(&co->run_done, true);
    wg_co_unpark(co);
}

static void queue_offload(struct wg_co *co)
{
    co->run_work.fn = offloaded;
    wg_offload_queue(&co->run_work);
}

int wg_co_offload(struct wg_co *co, int (*fn)(void *arg), void *arg)
{
    co->run = fn;
    co->run_arg = arg;
    atomic_store(&co->run_done, false);
    co->outside = queue_offload;
    do
        wg_co_park(co, "offload");
    while (!atomic_load(&co->run_done));
    return co->run_err;
}

static void run_here(struct wg_co *co)
{
    co->run_err = co->run(co->run_arg);
    wg_co_unpark(co);
}

int wg_co_on_worker(struct wg_co *co, int (*fn)(void *arg), void *arg)
{
    co->run = fn;
    co->run_arg = arg;
    co->outside = run_here;
    /* A stray wake may come first; then outside has run already all the same. */
    wg_co_park(co, "worker");
    return co->run_err;
}

/* --- the process --- */

unsigned wg_co_live(void)
{
    return atomic_load(&live);
}

void wg_co_cancel_all(void)
{
    for (int i = 0; i < LISTS; i++) {
        pthread_mutex_lock(&lists[i].lock);
        for (struct wg_co *co = lists[i].first; co; co = co->next)
            wg_co_cancel(co);
        pthread_mutex_unlock(&lists[i].lock);
    }
}

int wg_co_drain(uint64_t deadline_ns)
{
    while (wg_co_live() > 0 || wg_co_leases_live() > 0) {
        if (wg_now_ns() >= deadline_ns)
            return ETIMEDOUT;
        usleep(2000);
    }
    return 0;
}

static void dump(struct wg_dump *d)
{
    size_t stacks, unused;
    uint64_t now = wg_now_ns();
    int shown = 0;

    wg_stack_counts(&stacks, &unused);
    wg_dump_u64(d, "live", wg_co_live());
    wg_dump_u64(d, "stacks", stacks);
    wg_dump_u64(d, "stacks_free", unused);
    wg_dump_array(d, "list");
    for (int i = 0; i < LISTS; i++) {
        pthread_mutex_lock(&lists[i].lock);
        for (struct wg_co *co = lists[i].first; co && shown < 10000; co = co->next, shown++) {
            const char *waits = __atomic_load_n(&co->waits_for, __ATOMIC_RELAXED);
            uint64_t fop = __atomic_load_n(&co->waits_call, __ATOMIC_RELAXED);

            wg_dump_object(d, NULL);
            wg_dump_str(d, "name", co->name);
            wg_dump_u64(d, "call", co->root->id);
            wg_dump_str(d, "state", atomic_load(&co->park) == CO_PARKED ? "waiting" : "running");
            wg_dump_str(d, "waits_for", waits);
            if (fop)
                wg_dump_u64(d, "waits_for_call", fop);
            if (atomic_load(&co->cancelled))
                wg_dump_str(d, "cancelled", wg_error_name(atomic_load(&co->cancelled)));
            wg_dump_u64(d, "worker", co->worker);
            wg_dump_u64(d, "age_us", (now - co->begin_ns) / 1000);
            wg_dump_end(d);
        }
        pthread_mutex_unlock(&lists[i].lock);
    }
    wg_dump_end(d);
}

static struct wg_dump_section section = { .name = "coroutines", .fn = dump };

__attribute__((constructor)) static void register_section(void)
{
    wg_dump_register(&section);
}
