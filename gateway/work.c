/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Workers and timers. Each worker has a queue and a heap of timers under one lock; whoever
 * queues wakes it only when it sleeps, after the lock is released. The offload pool is one
 * queue with threads that come on demand and leave when idle.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "call.h"
#include "dump.h"
#include "work.h"

#define WORKERS_MAX 16
#define OFFLOAD_MAX 16
#define OFFLOAD_IDLE_S 10

struct queue {
    struct wg_work *first, **last;
};

struct worker {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct queue queue;
    bool sleeping, stop;
    struct wg_timer **heap; /* 1-based; heap[1] is the soonest */
    uint32_t ntimers, room;
    pthread_t thread;
    int number;
};

static struct worker workers[WORKERS_MAX];
static unsigned nworkers;
static atomic_uint turn;
static __thread int self = -1;

static struct {
    pthread_mutex_t lock;
    pthread_cond_t wake, gone;
    struct queue queue;
    unsigned threads, idle, queued;
    bool stop;
} offload = { .lock = PTHREAD_MUTEX_INITIALIZER, .gone = PTHREAD_COND_INITIALIZER };

static void cond_init(pthread_cond_t *c)
{
    pthread_condattr_t a;

    pthread_condattr_init(&a);
    pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
    pthread_cond_init(c, &a);
    pthread_condattr_destroy(&a);
}

static void push(struct queue *q, struct wg_work *w)
{
    w->next = NULL;
    if (!q->first)
        q->last = &q->first;
    *q->last = w;
    q->last = &w->next;
}

static struct wg_work *pop(struct queue *q)
{
    struct wg_work *w = q->first;

    if (w)
        q->first = w->next;
    return w;
}

/* --- timers: a binary heap; a timer knows its slot --- */

static void place(struct worker *w, uint32_t slot, struct wg_timer *t)
{
    w->heap[slot] = t;
    t->slot = slot;
}

static void sift_up(struct worker *w, uint32_t slot)
{
    struct wg_timer *t = w->heap[slot];

    for (; slot > 1 && w->heap[slot / 2]->at_ns > t->at_ns; slot /= 2)
        place(w, slot, w->heap[slot / 2]);
    place(w, slot, t);
}

static void sift_down(struct worker *w, uint32_t slot)
{
    struct wg_timer *t = w->heap[slot];

    for (uint32_t child; (child = slot * 2) <= w->ntimers; slot = child) {
        if (child < w->ntimers && w->heap[child + 1]->at_ns < w->heap[child]->at_ns)
            child++;
        if (w->heap[child]->at_ns >= t->at_ns)
            break;
        place(w, slot, w->heap[child]);
    }
    place(w, slot, t);
}

static void heap_remove(struct worker *w, struct wg_timer *t)
{
    uint32_t slot = t->slot;
    struct wg_timer *last = w->heap[w->ntimers--];

    t->slot = 0;
    if (last == t)
        return;
    place(w, slot, last);
    sift_up(w, slot);
    sift_down(w, last->slot);
}

static void heap_add(struct worker *w, struct wg_timer *t)
{
    if (w->ntimers + 1 >= w->room) {
        uint32_t room = w->room ? w->room * 2 : 256;
        struct wg_timer **heap = realloc(w->heap, room * sizeof *heap);

        if (!heap) {
            /* A timer that is lost would hang its owner; there is nothing sane to go on with. */
            perror("windgate: out of memory for timers");
            abort();
        }
        w->heap = heap;
        w->room = room;
    }
    w->heap[++w->ntimers] = t;
    t->slot = w->ntimers;
    sift_up(w, t->slot);
}

void wg_timer_arm(struct wg_timer *t, uint64_t at_ns, void (*fn)(struct wg_timer *))
{
    struct worker *w;
    bool wake;

    if (nworkers == 0)
        abort();
    wg_timer_cancel(t);
    t->worker = (uint16_t)(self >= 0 ? (unsigned)self : atomic_fetch_add(&turn, 1) % nworkers);
    w = &workers[t->worker];
    pthread_mutex_lock(&w->lock);
    t->at_ns = at_ns;
    t->fn = fn;
    heap_add(w, t);
    wake = w->sleeping && t->slot == 1;
    pthread_mutex_unlock(&w->lock);
    if (wake)
        pthread_cond_signal(&w->wake);
}

int wg_timer_cancel(struct wg_timer *t)
{
    struct worker *w = &workers[t->worker];
    bool armed;

    if (nworkers == 0)
        return false;
    pthread_mutex_lock(&w->lock);
    armed = t->slot != 0;
    if (armed)
        heap_remove(w, t);
    pthread_mutex_unlock(&w->lock);
    return armed;
}

/* --- workers --- */

/* Under the lock: waits until there is work, a timer is due, or the end. */
static void sleep_until_due(struct worker *w)
{
    w->sleeping = true;
    if (w->ntimers > 0) {
        struct timespec at = { (time_t)(w->heap[1]->at_ns / 1000000000u),
                               (long)(w->heap[1]->at_ns % 1000000000u) };

        pthread_cond_timedwait(&w->wake, &w->lock, &at);
    } else {
        pthread_cond_wait(&w->wake, &w->lock);
    }
    w->sleeping = false;
}

static bool timer_due(struct worker *w)
{
    return w->ntimers > 0 && w->heap[1]->at_ns <= wg_now_ns();
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;

    self = w->number;
    pthread_mutex_lock(&w->lock);
    for (;;) {
        if (timer_due(w)) {
            struct wg_timer *t = w->heap[1];

            heap_remove(w, t);
            pthread_mutex_unlock(&w->lock);
            t->fn(t);
            pthread_mutex_lock(&w->lock);
        }
        if (w->queue.first) {
            struct wg_work *work = pop(&w->queue);

            pthread_mutex_unlock(&w->lock);
            work->fn(work);
            pthread_mutex_lock(&w->lock);
        } else if (w->stop) {
            break;
        } else if (!timer_due(w)) {
            sleep_until_due(w);
        }
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

int wg_work_start(unsigned n)
{
    if (n == 0) {
        long cores = sysconf(_SC_NPROCESSORS_ONLN);

        n = cores < 2 ? 2 : cores > 4 ? 4 : (unsigned)cores;
    }
    if (n > WORKERS_MAX)
        n = WORKERS_MAX;
    cond_init(&offload.wake);
    offload.stop = false;
    for (unsigned i = 0; i < n; i++) {
        struct worker *w = &workers[i];
        char name[16];
        int err;

        pthread_mutex_init(&w->lock, NULL);
        cond_init(&w->wake);
        w->number = (int)i;
        w->stop = false;
        err = pthread_create(&w->thread, NULL, worker_main, w);
        if (err) {
            nworkers = i;
            wg_work_stop();
            return err;
        }
        snprintf(name, sizeof name, "wg-worker-%u", i);
        pthread_setname_np(w->thread, name);
    }
    nworkers = n;
    return 0;
}

void wg_work_stop(void)
{
    pthread_mutex_lock(&offload.lock);
    offload.stop = true;
    pthread_cond_broadcast(&offload.wake);
    while (offload.threads > 0)
        pthread_cond_wait(&offload.gone, &offload.lock);
    pthread_mutex_unlock(&offload.lock);
    for (unsigned i = 0; i < nworkers; i++) {
        struct worker *w = &workers[i];

        pthread_mutex_lock(&w->lock);
        w->stop = true;
        pthread_mutex_unlock(&w->lock);
        pthread_cond_signal(&w->wake);
        pthread_join(w->thread, NULL);
        free(w->heap);
        w->heap = NULL;
        w->ntimers = w->room = 0;
        pthread_mutex_destroy(&w->lock);
        pthread_cond_destroy(&w->wake);
    }
    nworkers = 0;
}

void wg_work_queue_on(unsigned worker, struct wg_work *work)
{
    struct worker *w = &workers[worker];
    bool wake;

    if (worker >= nworkers)
        abort();
    pthread_mutex_lock(&w->lock);
    push(&w->queue, work);
    wake = w->sleeping;
    /* Said here, so that the next one that queues does not wake it again. */
    w->sleeping = false;
    pthread_mutex_unlock(&w->lock);
    if (wake)
        pthread_cond_signal(&w->wake);
}

void wg_work_queue(struct wg_work *work)
{
    wg_work_queue_on(self >= 0 ? (unsigned)self : atomic_fetch_add(&turn, 1) % (nworkers ? nworkers : 1), work);
}

unsigned wg_work_count(void)
{
    return nworkers;
}

int wg_work_self(void)
{
    return self;
}

/* --- offload --- */

static void *offload_main(void *arg)
{
    (void)arg;
    pthread_mutex_lock(&offload.lock);
    for (;;) {
        struct wg_work *work = pop(&offload.queue);
        struct timespec until;

        if (work) {
            offload.queued--;
            pthread_mutex_unlock(&offload.lock);
            work->fn(work);
            pthread_mutex_lock(&offload.lock);
            continue;
        }
        if (offload.stop)
            break;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += OFFLOAD_IDLE_S;
        offload.idle++;
        int err = pthread_cond_timedwait(&offload.wake, &offload.lock, &until);
        offload.idle--;
        if (err == ETIMEDOUT && !offload.queue.first)
            break;
    }
    if (--offload.threads == 0)
        pthread_cond_signal(&offload.gone);
    pthread_mutex_unlock(&offload.lock);
    return NULL;
}

/* Under the lock. Without a thread at all the work would never run: then it runs right here. */
static bool add_thread(void)
{
    pthread_attr_t attr;
    pthread_t thread;
    int err;

    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    err = pthread_create(&thread, &attr, offload_main, NULL);
    pthread_attr_destroy(&attr);
    if (!err)
        offload.threads++;
    return !err;
}

void wg_offload_queue(struct wg_work *work)
{
    bool here = false;

    pthread_mutex_lock(&offload.lock);
    if (offload.queued + 1 > offload.idle && offload.threads < OFFLOAD_MAX && !add_thread())
        here = offload.threads == 0;
    if (!here) {
        push(&offload.queue, work);
        offload.queued++;
        pthread_cond_signal(&offload.wake);
    }
    pthread_mutex_unlock(&offload.lock);
    if (here)
        work->fn(work);
}

/* --- the dump --- */

static unsigned queue_length(const struct queue *q)
{
    unsigned n = 0;

    for (const struct wg_work *w = q->first; w && n < 100000; w = w->next)
        n++;
    return n;
}

static void dump_worker(struct worker *w, struct wg_dump *d)
{
    unsigned queued, timers;
    bool sleeping;

    pthread_mutex_lock(&w->lock);
    queued = queue_length(&w->queue);
    timers = w->ntimers;
    sleeping = w->sleeping;
    pthread_mutex_unlock(&w->lock);
    wg_dump_object(d, NULL);
    wg_dump_u64(d, "queued", queued);
    wg_dump_u64(d, "timers", timers);
    wg_dump_str(d, "state", sleeping ? "idle" : "busy");
    wg_dump_end(d);
}

static void dump(struct wg_dump *d)
{
    unsigned threads, idle, queued;

    wg_dump_array(d, "workers");
    for (unsigned i = 0; i < nworkers; i++)
        dump_worker(&workers[i], d);
    wg_dump_end(d);
    pthread_mutex_lock(&offload.lock);
    threads = offload.threads;
    idle = offload.idle;
    queued = offload.queued;
    pthread_mutex_unlock(&offload.lock);
    wg_dump_object(d, "offload");
    wg_dump_u64(d, "threads", threads);
    wg_dump_u64(d, "idle", idle);
    wg_dump_u64(d, "queued", queued);
    wg_dump_end(d);
}

static struct wg_dump_section section = { .name = "queues", .fn = dump };

__attribute__((constructor)) static void register_section(void)
{
    wg_dump_register(&section);
}
