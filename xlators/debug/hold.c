/* SPDX-License-Identifier: Apache-2.0 */
#include "xlators/debug/hold.h"

void wg_hold_init(struct wg_hold *h, bool offload)
{
    *h = (struct wg_hold){ .offload = offload };
    pthread_mutex_init(&h->lock, NULL);
}

void wg_hold_fini(struct wg_hold *h)
{
    pthread_mutex_destroy(&h->lock);
}

/* Under the lock. */
static void take_out(struct wg_hold *h, struct wg_held *w)
{
    if (w->prev)
        w->prev->next = w->next;
    else
        h->first = w->next;
    if (w->next)
        w->next->prev = w->prev;
    h->n--;
}

static void offloaded(struct wg_work *work)
{
    struct wg_held *w = (struct wg_held *)((char *)work - offsetof(struct wg_held, work));

    w->go(w->frame);
}

static void go_on(struct wg_held *w)
{
    if (w->hold->offload) {
        w->work.fn = offloaded;
        wg_offload_queue(&w->work);
    } else {
        w->go(w->frame);
    }
}

static void on_time(struct wg_timer *t)
{
    struct wg_held *w = (struct wg_held *)t;

    pthread_mutex_lock(&w->hold->lock);
    take_out(w->hold, w);
    pthread_mutex_unlock(&w->hold->lock);
    go_on(w);
}

void wg_hold_frame(struct wg_hold *h, struct wg_held *w, struct wg_frame *f, uint64_t ns, unsigned releases,
                   wg_handler *go)
{
    *w = (struct wg_held){ .hold = h, .frame = f, .go = go };
    pthread_mutex_lock(&h->lock);
    w->until_ns = wg_now_ns() + (!h->closed && atomic_load(&h->releases) == releases ? ns : 0);
    w->next = h->first;
    if (w->next)
        w->next->prev = w;
    h->first = w;
    h->n++;
    wg_timer_arm(&w->timer, w->until_ns, on_time); /* it may be due: then it waits for the lock */
    pthread_mutex_unlock(&h->lock);
}

void wg_hold_release(struct wg_hold *h)
{
    struct wg_held *go = NULL, *next;

    pthread_mutex_lock(&h->lock);
    atomic_fetch_add(&h->releases, 1);
    for (struct wg_held *w = h->first; w; w = next) {
        next = w->next;
        /* false: its timer runs, and goes on with it by itself. */
        if (!wg_timer_cancel(&w->timer))
            continue;
        take_out(h, w);
        w->next = go;
        go = w;
    }
    pthread_mutex_unlock(&h->lock);
    for (; go; go = next) {
        next = go->next; /* the frame, and this with it, may be gone after the next line */
        go_on(go);
    }
}

void wg_hold_close(struct wg_hold *h)
{
    pthread_mutex_lock(&h->lock);
    h->closed = true;
    pthread_mutex_unlock(&h->lock);
    wg_hold_release(h);
}

unsigned wg_hold_count(struct wg_hold *h)
{
    unsigned n;

    pthread_mutex_lock(&h->lock);
    n = h->n;
    pthread_mutex_unlock(&h->lock);
    return n;
}
