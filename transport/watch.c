/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A reader that has been in one callback for too long loses its role to another thread (rule 6). Who sees
 * it is one thread for all lanes, which looks every other millisecond as long as any lane has work, and
 * sleeps otherwise: what a message pays for it is the store of a number.
 */
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define WG_LOG_PART "transport"
#include "internal.h"
#include "log.h"

#define TICK_US 2000 /* a look each millisecond took 1 to 2% of the CPU of streams */
#define IDLE_TICKS 2 /* a lane without messages for so long is no longer looked at */
#define AWAY_MAX 8   /* callbacks of a lane at a time that lost the role; the next one keeps it */

static struct {
    pthread_mutex_t lock; /* a leaf; not held while a role is taken */
    pthread_cond_t wake;  /* of the watcher: a lane came, or the end */
    pthread_cond_t ended;
    struct wg_lane *first; /* by watch_next, with a reference each */
    bool running, quit;
} watch = { .lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER, .ended = PTHREAD_COND_INITIALIZER };

static void look(struct wg_lane *l, uint64_t now)
{
    uint64_t role = atomic_load(&l->busy_role), since = atomic_load(&l->busy_since);
    uint64_t msgs = atomic_load_explicit(&l->rx_msgs, memory_order_relaxed);
    unsigned away;

    l->watch_idle = msgs == l->watch_msgs && role == 0 ? l->watch_idle + 1 : 0;
    l->watch_msgs = msgs;
    if (role == 0 || role != atomic_load(&l->yields) || now - since < l->o.busy_us * 1000ull || now < since)
        return;
    pthread_mutex_lock(&l->qlock);
    away = l->away;
    pthread_mutex_unlock(&l->qlock);
    /* A callback that began meanwhile has another number, and is missed. */
    if (away < AWAY_MAX && lane_handoff(l, role) == 0)
        atomic_fetch_add_explicit(&l->handoffs, 1, memory_order_relaxed);
}

/*
 * Splits off those that have become idle; they are the caller's, by idle_next, since watch_next
 * belongs to whoever adds them again.
 */
static struct wg_lane *forget_idle(struct wg_lane *looked)
{
    struct wg_lane *idle = NULL, *next;

    pthread_mutex_lock(&watch.lock);
    for (struct wg_lane *l = looked; l; l = next) {
        bool drop = false;

        next = l->watch_next;
        if (l->watch_idle >= IDLE_TICKS || watch.quit) {
            /* Told before looking again: a callback either sees that, or is seen here. */
            atomic_store(&l->watched, false);
            drop = !poller_busy(l) || watch.quit;
            if (!drop)
                atomic_store(&l->watched, true);
        }
        if (drop) {
            l->idle_next = idle;
            idle = l;
        } else {
            l->watch_next = watch.first;
            watch.first = l;
        }
    }
    pthread_mutex_unlock(&watch.lock);
    return idle;
}

static void let_go(struct wg_lane *idle)
{
    struct wg_lane *l;

    while ((l = idle)) {
        idle = l->idle_next;
        wg_lane_unref(l);
    }
}

/* Waits until there are lanes, and takes them all. NULL: the end. */
static struct wg_lane *take(void)
{
    struct wg_lane *l;

    pthread_mutex_lock(&watch.lock);
    while (!watch.first && !watch.quit)
        pthread_cond_wait(&watch.wake, &watch.lock);
    l = watch.first;
    watch.first = NULL;
    if (!l) {
        watch.running = false;
        thread_done();
        pthread_cond_broadcast(&watch.ended);
    }
    pthread_mutex_unlock(&watch.lock);
    return l;
}

static void *watch_main(void *arg)
{
    struct wg_lane *looked;

    (void)arg;
    while ((looked = take())) {
        uint64_t now;

        usleep(TICK_US);
        now = wg_now_ns();
        for (struct wg_lane *l = looked; l; l = l->watch_next)
            look(l, now);
        let_go(forget_idle(looked));
    }
    return NULL;
}

static void watch_add(struct wg_lane *l)
{
    bool first;

    pthread_mutex_lock(&watch.lock);
    if (watch.quit) { /* wanted again: who waits for its end is not to */
        watch.quit = false;
        pthread_cond_broadcast(&watch.ended);
    }
    if (!watch.running)
        watch.running = thread_start(NULL, watch_main, NULL, "wg-watch") == 0; /* else the next message tries */
    if (watch.running && !atomic_load(&l->watched)) {
        first = !watch.first;
        atomic_store(&l->watched, true);
        l->watch_idle = 0;
        l->watch_next = watch.first;
        watch.first = wg_lane_ref(l);
        if (first)
            pthread_cond_signal(&watch.wake);
    }
    pthread_mutex_unlock(&watch.lock);
}

void wg_lane_yield(struct wg_lane *l)
{
    if (l->o.busy_us == 0 || !poller_corks(l))
        return;
    /* Released: what the callback did so far is seen by who reads on. */
    atomic_store_explicit(&l->yields, tl_view.role, memory_order_release);
    if (!atomic_load(&l->watched))
        watch_add(l);
}

void watch_quit(void)
{
    pthread_mutex_lock(&watch.lock);
    watch.quit = watch.running;
    pthread_cond_signal(&watch.wake);
    while (watch.running && watch.quit)
        pthread_cond_wait(&watch.ended, &watch.lock);
    pthread_mutex_unlock(&watch.lock);
}
