/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A poller is an epoll set and the thread that serves it: one lane's, or many lanes' in the mode of
 * one polling thread. Which thread that is can change in the middle of a callback (wg_lane_handoff):
 * the role is a number that its holder owns, and whoever takes it over counts it up (rule 6).
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define WG_LOG_PART "transport"
#include "internal.h"
#include "log.h"

#define EVENTS 64
#define SPARES_MAX 8

_Thread_local struct tl_view tl_view;

struct wg_poller {
    atomic_uint refs;
    int ep, wake;
    atomic_uint_least64_t role; /* the holder's number * 2, + 1 while it runs a message callback */
    bool own;                   /* of one lane: ends with it */
    char name[16];

    /* role */
    struct wg_lane *lanes;
    unsigned nlanes;
    struct wg_lane *ready, **ready_tail;
    uint64_t next_ns; /* earliest deadline; UINT64_MAX: none */
    bool woken, over;

    pthread_mutex_t lock;
    pthread_cond_t cond;
    struct wg_lane *incoming; /* by link.next */
    bool stop, ended;
};

/* ---- threads ---- */

static struct {
    pthread_mutex_t lock;
    pthread_t *v;
    unsigned n, cap;
} finished = { .lock = PTHREAD_MUTEX_INITIALIZER };

int thread_start(pthread_t *ret, void *(*fn)(void *), void *arg, const char *name)
{
    sigset_t all, old;
    pthread_t t;
    int err;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    err = pthread_create(&t, NULL, fn, arg);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (err)
        return EAGAIN;
    (void)pthread_setname_np(t, name); /* only for people */
    if (ret)
        *ret = t;
    return 0;
}

void thread_done(void)
{
    pthread_mutex_lock(&finished.lock);
    if (finished.n == finished.cap) {
        unsigned cap = finished.cap ? finished.cap * 2 : 16;
        pthread_t *v = realloc(finished.v, cap * sizeof *v);

        if (!v) {
            pthread_mutex_unlock(&finished.lock);
            pthread_detach(pthread_self());
            return;
        }
        finished.v = v;
        finished.cap = cap;
    }
    finished.v[finished.n++] = pthread_self();
    pthread_mutex_unlock(&finished.lock);
}

/* Joined, so that none is still in its exit handlers when the process ends. */
void threads_reap(void)
{
    for (;;) {
        pthread_t t;

        pthread_mutex_lock(&finished.lock);
        if (finished.n == 0) {
            free(finished.v);
            finished.v = NULL;
            finished.cap = 0;
            pthread_mutex_unlock(&finished.lock);
            return;
        }
        t = finished.v[--finished.n];
        pthread_mutex_unlock(&finished.lock);
        pthread_join(t, NULL);
    }
}

/* ---- the role ---- */

static uint64_t role_of(const struct wg_poller *p)
{
    return atomic_load(&p->role) >> 1;
}

bool poller_on_thread(struct wg_lane *l)
{
    return tl_view.poller == l->poller && !tl_view.lost;
}

void poller_enter(struct wg_lane *l, uint64_t now)
{
    tl_view.lane = l;
    tl_view.role++; /* each callback has a number of its own, so that a late handoff misses */
    atomic_store_explicit(&l->busy_since, now, memory_order_relaxed);
    atomic_store_explicit(&l->busy_role, tl_view.role, memory_order_relaxed);
    atomic_store(&l->poller->role, tl_view.role << 1 | 1);
}

/* A callback that lost the role is over: frees what its body was in, tells a closer that waits. */
static void leave_lost(struct wg_lane *l)
{
    struct handed **at, *h;

    tl_view.lost = true;
    pthread_mutex_lock(&l->qlock);
    for (at = &l->handed; (*at)->role != tl_view.role;)
        at = &(*at)->next;
    h = *at;
    *at = h->next;
    pthread_mutex_unlock(&l->qlock);
    free(h->stage);
    free(h->body);
    free(h);
    lane_gone(l, false);
    wg_lane_unref(l); /* the one that the handoff took */
}

bool poller_leave(struct wg_lane *l)
{
    uint64_t mine = tl_view.role << 1 | 1;

    tl_view.lane = NULL;
    if (atomic_compare_exchange_strong(&l->poller->role, &mine, tl_view.role << 1)) {
        atomic_store_explicit(&l->busy_role, 0, memory_order_relaxed);
        atomic_store_explicit(&l->busy_since, 0, memory_order_relaxed);
        return true;
    }
    leave_lost(l);
    return false;
}

bool poller_corks(struct wg_lane *l)
{
    return tl_view.lane == l && atomic_load(&l->poller->role) == (tl_view.role << 1 | 1);
}

/* ---- its lanes: under the role ---- */

void poller_ready(struct wg_lane *l)
{
    struct wg_poller *p = l->poller;

    if (l->on_ready)
        return;
    l->on_ready = true;
    l->ready_next = NULL;
    *p->ready_tail = l;
    p->ready_tail = &l->ready_next;
}

static struct wg_lane *ready_pop(struct wg_poller *p)
{
    struct wg_lane *l = p->ready;

    if (!l)
        return NULL;
    p->ready = l->ready_next;
    if (!p->ready)
        p->ready_tail = &p->ready;
    l->on_ready = false;
    return l;
}

static void ready_drop(struct wg_poller *p, struct wg_lane *l)
{
    struct wg_lane **at = &p->ready;

    if (!l->on_ready)
        return;
    while (*at != l)
        at = &(*at)->ready_next;
    *at = l->ready_next;
    if (!*at)
        p->ready_tail = at;
    l->on_ready = false;
}

int poller_watch(struct wg_lane *l, int fd)
{
    struct epoll_event e = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = l };

    return epoll_ctl(l->poller->ep, EPOLL_CTL_ADD, fd, &e) ? errno : 0;
}

void poller_deadline(struct wg_lane *l, uint64_t at_ns)
{
    l->deadline_ns = at_ns;
    if (at_ns && at_ns < l->poller->next_ns)
        l->poller->next_ns = at_ns;
}

static void lane_in(struct wg_poller *p, struct wg_lane *l)
{
    l->link.prev = NULL;
    l->link.next = p->lanes;
    if (p->lanes)
        p->lanes->link.prev = l;
    p->lanes = l;
    p->nlanes++;
    poller_deadline(l, l->deadline_ns);
    if (l->fd >= 0) { /* accepted */
        if (poller_watch(l, l->fd))
            l->finish = true;
        else
            lane_begin(l);
    }
}

void poller_remove(struct wg_lane *l)
{
    struct wg_poller *p = l->poller;

    ready_drop(p, l);
    if (l->link.prev)
        l->link.prev->link.next = l->link.next;
    else
        p->lanes = l->link.next;
    if (l->link.next)
        l->link.next->link.prev = l->link.prev;
    p->nlanes--;
    if (p->own) {
        p->over = true;
        thread_done();
    }
}

void poller_wake(struct wg_poller *p)
{
    uint64_t one = 1;

    (void)!write(p->wake, &one, sizeof one); /* full means that it is awake */
}

/* ---- the loop ---- */

static void take_incoming(struct wg_poller *p)
{
    struct wg_lane *l, *next;

    pthread_mutex_lock(&p->lock);
    l = p->incoming;
    p->incoming = NULL;
    p->over = p->stop && !l && p->nlanes == 0;
    pthread_mutex_unlock(&p->lock);
    for (; l; l = next) {
        next = l->link.next;
        lane_in(p, l);
    }
}

/* Kicks and deadlines of all lanes; ends those that are finished. */
static void attend_all(struct wg_poller *p, uint64_t now)
{
    struct wg_lane *l, *next;

    p->next_ns = UINT64_MAX;
    for (l = p->lanes; l; l = next) {
        next = l->link.next;
        if (!l->finish)
            lane_attend(l, now);
        if (l->finish)
            lane_end(l);
        else
            poller_deadline(l, l->deadline_ns);
    }
}

static void collect_events(struct wg_poller *p)
{
    struct epoll_event e[EVENTS];
    int timeout = -1, n;
    uint64_t drain;

    if (p->ready) {
        timeout = 0;
    } else if (p->next_ns != UINT64_MAX) {
        uint64_t now = wg_now_ns();

        timeout = now >= p->next_ns ? 0 : (int)((p->next_ns - now) / MS + 1);
    }
    n = epoll_wait(p->ep, e, EVENTS, timeout);
    for (int i = 0; i < n; i++) {
        struct wg_lane *l = e[i].data.ptr;

        if (!l) {
            p->woken = true;
            (void)!read(p->wake, &drain, sizeof drain);
            continue;
        }
        l->ev |= e[i].events;
        poller_ready(l);
    }
}

/* Returns when the last lane has gone, or when another thread has the role. */
static void poller_run(struct wg_poller *p)
{
    for (;;) {
        uint64_t now;
        unsigned n = 0;
        struct wg_lane *l;

        now = wg_now_ns();
        if (p->woken || now >= p->next_ns) {
            p->woken = false;
            take_incoming(p);
            attend_all(p, now);
        }
        if (p->over)
            return;
        collect_events(p);
        for (l = p->ready; l; l = l->ready_next)
            n++;
        while (n-- > 0 && (l = ready_pop(p))) {
            bool more = lane_service(l);

            if (tl_view.lost)
                return;
            if (l->finish) {
                bool own = p->own;

                lane_end(l);
                if (own)
                    return;
            } else if (more) {
                poller_ready(l);
            }
        }
    }
}

/* ---- threads that serve, and those that wait to take over ---- */

struct spare {
    pthread_cond_t cond;
    struct wg_poller *p; /* its task: with a reference */
    uint64_t role;
    struct spare *next;
};

static struct {
    pthread_mutex_t lock;
    struct spare *idle;
    unsigned n;
    bool keep;
    pthread_cond_t empty;
} spares = { .lock = PTHREAD_MUTEX_INITIALIZER, .empty = PTHREAD_COND_INITIALIZER };

void poller_unref(struct wg_poller *p)
{
    if (atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1)
        return;
    close(p->ep);
    close(p->wake);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->cond);
    free(p);
}

/* Serves p under role until it is over or lost. Returns true when the thread is free for other tasks. */
static bool serve(struct wg_poller *p, uint64_t role)
{
    bool lost;

    tl_view = (struct tl_view){ .poller = p, .role = role };
    poller_run(p);
    lost = tl_view.lost;
    tl_view = (struct tl_view){ 0 };
    if (!lost && !p->own) {
        thread_done();
        pthread_mutex_lock(&p->lock);
        p->ended = true;
        pthread_cond_broadcast(&p->cond);
        pthread_mutex_unlock(&p->lock);
    }
    poller_unref(p);
    return lost;
}

/* Waits for a task as a spare; false: the thread ends, since enough others wait or nobody needs any. */
static bool spare_wait(struct wg_poller **ret_p, uint64_t *ret_role)
{
    struct spare s = { .p = NULL }, **at;

    pthread_mutex_lock(&spares.lock);
    if (!spares.keep || spares.n >= SPARES_MAX) {
        thread_done();
        pthread_mutex_unlock(&spares.lock);
        return false;
    }
    pthread_cond_init(&s.cond, NULL);
    s.next = spares.idle;
    spares.idle = &s;
    spares.n++;
    while (!s.p && spares.keep)
        pthread_cond_wait(&s.cond, &spares.lock);
    if (!s.p) { /* told to quit: it is still in the list */
        for (at = &spares.idle; *at != &s;)
            at = &(*at)->next;
        *at = s.next;
        thread_done();
        if (--spares.n == 0)
            pthread_cond_broadcast(&spares.empty);
    }
    pthread_mutex_unlock(&spares.lock);
    pthread_cond_destroy(&s.cond);
    *ret_p = s.p;
    *ret_role = s.role;
    return s.p != NULL;
}

static void *poller_main(void *arg)
{
    struct wg_poller *p = arg;
    uint64_t role = role_of(p);

    while (serve(p, role))
        if (!spare_wait(&p, &role))
            break;
    return NULL;
}

void spares_quit(void)
{
    pthread_mutex_lock(&spares.lock);
    spares.keep = false;
    for (struct spare *s = spares.idle; s; s = s->next)
        pthread_cond_signal(&s->cond);
    while (spares.n > 0 && !spares.keep)
        pthread_cond_wait(&spares.empty, &spares.lock);
    pthread_mutex_unlock(&spares.lock);
}

static int poller_alloc(const char *name, struct wg_poller **ret)
{
    struct wg_poller *p = calloc(1, sizeof *p);
    struct epoll_event e = { .events = EPOLLIN };
    int err = 0;

    if (!p)
        return ENOMEM;
    atomic_init(&p->refs, 1);
    atomic_init(&p->role, 2); /* number 1, idle; 0 stands for none */
    snprintf(p->name, sizeof p->name, "%s", name);
    p->ready_tail = &p->ready;
    p->next_ns = 0;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->cond, NULL);
    p->ep = epoll_create1(EPOLL_CLOEXEC);
    p->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (p->ep < 0 || p->wake < 0 || epoll_ctl(p->ep, EPOLL_CTL_ADD, p->wake, &e))
        err = errno;
    if (err) {
        if (p->ep >= 0)
            close(p->ep);
        if (p->wake >= 0)
            close(p->wake);
        p->ep = p->wake = -1;
        poller_unref(p);
        return err;
    }
    *ret = p;
    return 0;
}

int wg_poller_new(const char *name, struct wg_poller **ret)
{
    struct wg_poller *p;
    int err = poller_alloc(name ? name : "wg-poller", &p);

    if (err)
        return err;
    atomic_fetch_add(&p->refs, 1); /* the thread's */
    err = thread_start(NULL, poller_main, p, p->name);
    if (err) {
        poller_unref(p);
        poller_unref(p);
        return err;
    }
    *ret = p;
    return 0;
}

void wg_poller_free(struct wg_poller *p)
{
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    poller_wake(p);
    while (!p->ended)
        pthread_cond_wait(&p->cond, &p->lock);
    pthread_mutex_unlock(&p->lock);
    threads_reap();
    poller_unref(p);
}

static int serve_own(struct wg_lane *l)
{
    struct wg_poller *p;
    int err = poller_alloc(l->listener ? "wg-lane-s" : "wg-lane", &p);

    if (err)
        return err;
    p->own = true;
    p->woken = true;
    p->incoming = l;
    l->link.next = NULL;
    l->poller = p; /* its reference is the lane's */
    atomic_fetch_add(&p->refs, 1);
    wg_lane_ref(l);
    err = thread_start(NULL, poller_main, p, p->name);
    if (err) {
        poller_unref(p);
        wg_lane_unref(l);
    }
    return err;
}

int poller_serve(struct wg_lane *l)
{
    struct wg_poller *p = l->o.poller;

    pthread_mutex_lock(&spares.lock);
    if (!spares.keep) { /* wanted again: who waits for their end is not to */
        spares.keep = true;
        pthread_cond_broadcast(&spares.empty);
    }
    pthread_mutex_unlock(&spares.lock);
    if (!p)
        return serve_own(l);
    atomic_fetch_add(&p->refs, 1);
    l->poller = p;
    wg_lane_ref(l);
    pthread_mutex_lock(&p->lock);
    l->link.next = p->incoming;
    p->incoming = l;
    pthread_mutex_unlock(&p->lock);
    poller_wake(p);
    return 0;
}

/* ---- handing over ---- */

/* Gives the task to an idle thread or a new one. */
static int spare_give(struct wg_poller *p, uint64_t role)
{
    struct spare *s;

    pthread_mutex_lock(&spares.lock);
    s = spares.idle;
    if (s) {
        spares.idle = s->next;
        spares.n--;
        s->p = p;
        s->role = role;
        pthread_cond_signal(&s->cond);
    }
    pthread_mutex_unlock(&spares.lock);
    /* A new thread reads its role from p. */
    return s ? 0 : thread_start(NULL, poller_main, p, p->name);
}

bool poller_busy(struct wg_lane *l)
{
    return atomic_load(&l->poller->role) & 1;
}

int wg_lane_handoff(struct wg_lane *l)
{
    return lane_handoff(l, atomic_load(&l->busy_role));
}

int lane_handoff(struct wg_lane *l, uint64_t role)
{
    struct wg_poller *p = l->poller;
    uint64_t busy = role << 1 | 1;
    struct handed *h = malloc(sizeof *h);
    struct wg_stage *fresh = malloc(sizeof *fresh);

    if (!h || !fresh) {
        free(h);
        free(fresh);
        return EAGAIN;
    }
    /* The callback may be returning: who has lost the role finds, after this lock, what its body is in. */
    pthread_mutex_lock(&l->qlock);
    if (role == 0 || !atomic_compare_exchange_strong(&p->role, &busy, (role + 1) << 1)) {
        pthread_mutex_unlock(&l->qlock);
        free(h);
        free(fresh);
        return EALREADY;
    }
    /* From here the role is this thread's, until the new one begins. */
    h->role = role;
    wg_parser_split(&l->parser, fresh, &h->stage, &h->body);
    wg_lane_ref(l);
    h->next = l->handed;
    l->handed = h;
    l->away++;
    pthread_mutex_unlock(&l->qlock);
    atomic_store(&l->busy_role, 0);
    atomic_store(&l->busy_since, 0);
    poller_ready(l);
    p->woken = true;
    lane_uncork(l);
    atomic_fetch_add(&p->refs, 1);
    /* The role can't be given back, since the callback may have returned: wait for a thread. */
    for (unsigned i = 0; spare_give(p, role + 1); i++) {
        if (i == 0)
            wg_error("no thread to take over reading of lane %s: waiting for one", l->o.name);
        usleep(10000);
    }
    return 0;
}
