/* SPDX-License-Identifier: Apache-2.0 */
#include "lease.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "xlator.h"

const struct wg_lease wg_lease_always = { UINT64_MAX };

/* Who listens is changed by the program when graphs change; events only read it. */
static pthread_rwlock_t listeners_lock = PTHREAD_RWLOCK_INITIALIZER;

static uint64_t seed;

__attribute__((constructor)) static void take_seed(void)
{
    if (getrandom(&seed, sizeof seed, 0) != sizeof seed)
        seed = (uint64_t)(uintptr_t)&seed; /* the address space is random too */
}

uint64_t wg_hash_name(const wg_gfid *gfid, struct wg_str name)
{
    return XXH3_64bits_withSeed(name.s, name.len, XXH3_64bits_withSeed(gfid->b, sizeof gfid->b, seed));
}

void wg_uses_(struct wg_frame *f, const wg_gfid *gfid, struct wg_str name)
{
    struct wg_watch *w = f->call->watch;
    struct wg_use *use = wg_alloc(&f->call->arena, sizeof *use + name.len);

    if (w)
        w->uses(w, f, gfid, name);
    if (!use) {
        f->want_lease = false; /* an answer whose grounds are not known in full is not remembered */
        f->lease = NULL;
        return;
    }
    use->gfid = *gfid;
    use->name = (struct wg_str){ (char *)(use + 1), name.len };
    if (name.len)
        memcpy(use + 1, name.s, name.len);
    use->next = f->uses;
    f->uses = use;
}

static void notify(struct wg_xlator *xl, const struct wg_event *ev, bool doors)
{
    if (atomic_load_explicit(&xl->nlisteners, memory_order_acquire) == 0)
        return;
    pthread_rwlock_rdlock(&listeners_lock);
    for (unsigned i = 0; i < xl->nlisteners; i++)
        if (doors || !xl->listeners[i]->class->door)
            xl->listeners[i]->class->event(xl->listeners[i], ev);
    pthread_rwlock_unlock(&listeners_lock);
}

void wg_changed(struct wg_frame *f, const wg_gfid *gfid, struct wg_str name)
{
    struct wg_watch *w = f->call->watch;

    /* Who watches is a door; it tells its clients. Caches below it, in this process, are told here. */
    if (w)
        w->changed(w, f, gfid, name);
    if (!w || atomic_load_explicit(&f->this->ncaches, memory_order_relaxed))
        notify(f->this, &(struct wg_event){ WG_EV_INVALIDATE, *gfid, name }, !w);
}

void wg_notify(struct wg_xlator *xl, const struct wg_event *ev)
{
    notify(xl, ev, true);
}

void wg_listeners_set(struct wg_xlator *xl, struct wg_xlator **list, unsigned n)
{
    struct wg_xlator **old;
    unsigned caches = 0;

    for (unsigned i = 0; i < n; i++)
        caches += !list[i]->class->door;
    pthread_rwlock_wrlock(&listeners_lock);
    old = xl->listeners;
    xl->listeners = list;
    atomic_store_explicit(&xl->nlisteners, n, memory_order_release);
    atomic_store(&xl->ncaches, caches);
    pthread_rwlock_unlock(&listeners_lock);
    free(old);
}

int wg_inval_uses(const struct wg_frame *f, wg_inval_slot *ret, int max)
{
    int n = 0;

    for (const struct wg_use *u = f->uses; u; u = u->next) {
        if (n + 1 + (u->name.len > 0) > max)
            return -1;
        ret[n++] = wg_inval_slot_of(&u->gfid, u->name);
        if (u->name.len > 0)
            ret[n++] = wg_inval_slot_of(&u->gfid, WG_ANY_NAME);
    }
    return n;
}

/*
 * The number is taken before the slot has it: an entry whose `seen` already counts this change was wound
 * after the change had been made below, so it shows the new state and may live.
 */
static void raise_to(_Atomic uint64_t *at, uint64_t seq)
{
    uint64_t old = atomic_load_explicit(at, memory_order_relaxed);

    while (old < seq && !atomic_compare_exchange_weak_explicit(at, &old, seq, memory_order_release,
                                                               memory_order_relaxed))
        ;
}

void wg_inval_event(struct wg_inval *iv, const struct wg_event *ev)
{
    uint64_t seq = atomic_fetch_add_explicit(&iv->now, 1, memory_order_acq_rel) + 1;

    if (ev->kind == WG_EV_RESET)
        raise_to(&iv->reset, seq);
    else
        raise_to(&iv->slot[wg_inval_slot_of(&ev->gfid, ev->name)], seq);
}
