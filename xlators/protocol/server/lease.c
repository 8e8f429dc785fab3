/* SPDX-License-Identifier: Apache-2.0 */
/* Terms, and the timer: lease.h says how it all works together. */
#include <stdlib.h>
#include <unistd.h>

#define WG_LOG_PART "server"
#include "log.h"
#include "xlators/protocol/server/server.h"

#define TICK_NS 10000000u     /* while somebody waits */

static void tick(struct wg_timer *timer);

static void holder_init(struct wg_holder *h, unsigned number)
{
    h->number = (uint16_t)number;
    h->last = &h->first;
    pthread_mutex_init(&h->lock, NULL);
}

int wg_leases_init(struct wg_leases *t, const char *name, uint64_t term_ns, uint32_t entries,
                   uint32_t holders_max)
{
    memset(t, 0, sizeof *t);
    t->name = name;
    t->term_ns = term_ns;
    t->want = entries;
    t->holders_max = holders_max < UINT16_MAX ? holders_max : UINT16_MAX;
    t->fd = -1;
    t->holder = calloc(t->holders_max, sizeof(struct wg_holder *));
    if (!t->holder)
        return ENOMEM;
    for (unsigned i = 0; i < WG_LEASE_SHARDS; i++)
        pthread_mutex_init(&t->shard[i].lock, NULL);
    pthread_mutex_init(&t->lock, NULL);
    pthread_mutex_init(&t->tick_lock, NULL);
    holder_init(&t->ghost, UINT16_MAX);
    return 0;
}

void wg_leases_fini(struct wg_leases *t)
{
    if (!t->holder)
        return;
    for (uint32_t i = 0; i < atomic_load(&t->nholders); i++) {
        pthread_mutex_destroy(&t->holder[i]->lock);
        free(t->holder[i]);
    }
    for (unsigned i = 0; i < WG_LEASE_SHARDS; i++)
        pthread_mutex_destroy(&t->shard[i].lock);
    pthread_mutex_destroy(&t->lock);
    pthread_mutex_destroy(&t->tick_lock);
    pthread_mutex_destroy(&t->ghost.lock);
    wg_lease_file_close(t);
    wg_lease_table_free(t);
    free(t->holder);
    t->holder = NULL;
}

/* --- the timer --- */

/* It runs at that time, or before. */
void wg_leases_arm(struct wg_leases *t, uint64_t at)
{
    pthread_mutex_lock(&t->tick_lock);
    if (t->running)
        t->poked = true;
    else if (!t->quiet && (!t->armed_ns || (at < t->armed_ns && wg_timer_cancel(&t->tick)))) {
        t->armed_ns = at;
        wg_timer_arm(&t->tick, at, tick);
    }
    pthread_mutex_unlock(&t->tick_lock);
}

void wg_leases_hurry(struct wg_leases *t)
{
    wg_leases_arm(t, wg_now_ns() + TICK_NS);
}

void wg_leases_crowded(struct wg_leases *t)
{
    if (!atomic_exchange(&t->crowded, true))
        wg_leases_hurry(t);
}

/* Takes h's recalls off, to be ended without its lock. */
struct wg_recall *wg_holder_take_all(struct wg_holder *h)
{
    struct wg_recall *list = h->first;

    h->first = NULL;
    h->last = &h->first;
    atomic_store(&h->frozen, false);
    return list;
}

/* Under h's lock: its lease ends now, unless it was renewed meanwhile. */
bool wg_holder_expire(struct wg_leases *t, struct wg_holder *h, uint64_t now)
{
    uint64_t until = atomic_load(&h->until_ns);

    if (until == 0 || until > now || !atomic_compare_exchange_strong(&h->until_ns, &until, 0))
        return false;
    atomic_store(&h->floor, atomic_fetch_add(&h->seq, 1) + 1);
    atomic_fetch_sub(&t->terms, 1);
    return true;
}

/* A look at one holder; true while it has recalls out. */
static bool look(struct wg_leases *t, struct wg_holder *h, uint64_t now)
{
    struct wg_recall *list = NULL;
    bool waits, lost = false;

    pthread_mutex_lock(&h->lock);
    if (h->first) {
        lost = wg_holder_expire(t, h, now);
        if (lost || !atomic_load(&h->until_ns))
            list = wg_holder_take_all(h);
        else if (now - h->first->since_ns > t->term_ns / 4)
            atomic_store(&h->frozen, true);
    }
    waits = h->first != NULL;
    pthread_mutex_unlock(&h->lock);
    if (lost && h != &t->ghost) {
        atomic_fetch_add_explicit(&t->expired, 1, memory_order_relaxed);
        wg_warning("%s: a client did not say that it has forgotten; its lease has run out", t->name);
    }
    wg_recalls_end(t, list);
    return waits;
}

/* The clients of leases that ran out unnoticed are no ghosts of a next instance. */
static void note_lapsed(struct wg_leases *t, uint64_t now)
{
    bool any = false;

    for (uint32_t i = 0; i < atomic_load(&t->nholders); i++) {
        struct wg_holder *h = t->holder[i];
        uint64_t until = atomic_load(&h->until_ns);

        if (until == 0 || until > now)
            continue;
        pthread_mutex_lock(&h->lock);
        any |= wg_holder_expire(t, h, now);
        pthread_mutex_unlock(&h->lock);
    }
    if (!any)
        return;
    pthread_mutex_lock(&t->lock);
    wg_lease_file_rewrite(t);
    pthread_mutex_unlock(&t->lock);
}

static void end_ghosts(struct wg_leases *t)
{
    pthread_mutex_lock(&t->lock);
    t->nghosts = 0;
    wg_lease_file_rewrite(t);
    pthread_mutex_unlock(&t->lock);
}


/* When there is something to do again; UINT64_MAX: never, as it looks now. */
static uint64_t look_at_all(struct wg_leases *t, uint64_t now)
{
    uint64_t next = UINT64_MAX, ghosts = atomic_load(&t->ghost.until_ns);
    bool waits = look(t, &t->ghost, now);

    for (uint32_t i = 0; i < atomic_load(&t->nholders); i++) {
        uint64_t until;

        waits |= look(t, t->holder[i], now);
        until = atomic_load(&t->holder[i]->until_ns);
        if (until && until + TICK_NS < next)
            next = until + TICK_NS;
    }
    if (ghosts && ghosts <= now) {
        pthread_mutex_lock(&t->ghost.lock);
        (void)wg_holder_expire(t, &t->ghost, now);
        pthread_mutex_unlock(&t->ghost.lock);
        end_ghosts(t);
    } else if (ghosts && ghosts < next) {
        next = ghosts;
    }
    note_lapsed(t, now);
    wg_leases_flush(t, now);
    return waits || atomic_load(&t->waiting) || atomic_load(&t->crowded) ? now + TICK_NS : next;
}

static void tick(struct wg_timer *timer)
{
    struct wg_leases *t = (struct wg_leases *)((char *)timer - offsetof(struct wg_leases, tick));
    uint64_t now = wg_now_ns(), next;

    pthread_mutex_lock(&t->tick_lock);
    t->armed_ns = 0;
    t->running = true;
    t->poked = false;
    pthread_mutex_unlock(&t->tick_lock);
    next = look_at_all(t, now);
    pthread_mutex_lock(&t->tick_lock);
    t->running = false;
    if (t->poked)
        next = now + TICK_NS;
    if (next != UINT64_MAX && !t->quiet) {
        t->armed_ns = next;
        wg_timer_arm(&t->tick, next, tick);
    }
    pthread_mutex_unlock(&t->tick_lock);
}

void wg_leases_quiet(struct wg_leases *t)
{
    bool busy;

    do {
        pthread_mutex_lock(&t->tick_lock);
        t->quiet = true;
        if (t->armed_ns && wg_timer_cancel(&t->tick))
            t->armed_ns = 0;
        busy = t->running || t->armed_ns;
        pthread_mutex_unlock(&t->tick_lock);
        if (busy)
            usleep(1000);
    } while (busy);
}

void wg_leases_open(struct wg_leases *t, const char *path)
{
    atomic_store(&t->closing, false);
    t->quiet = false;
    wg_lease_file_open(t, path);
    if (t->nghosts)
        wg_leases_arm(t, atomic_load(&t->ghost.until_ns));
}

void wg_leases_close(struct wg_leases *t)
{
    atomic_store(&t->closing, true);
    for (uint32_t i = 0; i <= atomic_load(&t->nholders); i++) {
        struct wg_holder *h = i < atomic_load(&t->nholders) ? t->holder[i] : &t->ghost;
        struct wg_recall *list;

        pthread_mutex_lock(&h->lock);
        list = wg_holder_take_all(h);
        pthread_mutex_unlock(&h->lock);
        wg_recalls_end(t, list);
    }
}

/* --- holders --- */

static struct wg_holder *new_holder(struct wg_leases *t)
{
    struct wg_holder *h = t->free;
    uint32_t n = atomic_load(&t->nholders);

    if (h) {
        t->free = h->next_free;
        return h;
    }
    if (n == t->holders_max || (!t->size && wg_lease_table_make(t)))
        return NULL;
    h = calloc(1, sizeof *h);
    if (!h)
        return NULL;
    holder_init(h, n);
    t->holder[n] = h;
    atomic_store(&t->nholders, n + 1);
    return h;
}

/* The session's holder, made now, by one of its lanes. */
static struct wg_holder *become_holder(struct wg_leases *t, struct wg_session *s,
                                       _Atomic(struct wg_holder *) *slot, const uint8_t client[16])
{
    struct wg_holder *h;

    pthread_mutex_lock(&t->lock);
    h = atomic_load(slot);
    if (!h && (h = new_holder(t)) && !wg_lease_file_add(t, client)) {
        h->next_free = t->free;
        t->free = h;
        h = NULL;
    } else if (h && !atomic_load(slot)) {
        pthread_mutex_lock(&h->lock);
        h->session = s;
        memcpy(h->client, client, sizeof h->client);
        atomic_store(&h->drop, 0);
        pthread_mutex_unlock(&h->lock);
        atomic_store(slot, h);
    }
    pthread_mutex_unlock(&t->lock);
    return h;
}

/* The client has dropped everything, so it owes nothing; what it holds from now on is of this term. */
static void begin_term(struct wg_leases *t, struct wg_holder *h, uint64_t drop, uint64_t until)
{
    struct wg_recall *list = NULL;
    bool last = false;

    pthread_mutex_lock(&h->lock);
    if (drop > atomic_load(&h->drop)) {
        list = wg_holder_take_all(h);
        atomic_store(&h->floor, atomic_fetch_add(&h->seq, 1) + 1);
        atomic_store(&h->drop, drop);
        atomic_store(&h->doomed, false);
        if (!atomic_exchange(&h->until_ns, until))
            atomic_fetch_add(&t->terms, 1);
    }
    pthread_mutex_unlock(&h->lock);
    wg_recalls_end(t, list);
    pthread_mutex_lock(&t->lock);
    if (t->nghosts)
        last = wg_lease_file_seen(t, h->client);
    pthread_mutex_unlock(&t->lock);
    if (!last || wg_now_ns() < atomic_load(&t->doom_ns))
        return;
    pthread_mutex_lock(&t->ghost.lock);
    (void)wg_holder_expire(t, &t->ghost, UINT64_MAX);
    list = wg_holder_take_all(&t->ghost);
    pthread_mutex_unlock(&t->ghost.lock);
    wg_recalls_end(t, list);
    end_ghosts(t);
}

unsigned wg_holder_touch(struct wg_leases *t, struct wg_session *s, _Atomic(struct wg_holder *) *slot,
                         const uint8_t client[16], uint64_t drop)
{
    uint64_t until = wg_now_coarse_ns() + t->term_ns + WG_LEASE_COARSE_NS, old, now_drop;
    struct wg_holder *h = atomic_load_explicit(slot, memory_order_acquire);

    if (!t->term_ns)
        return 0;
    if (!h)
        h = become_holder(t, s, slot, client);
    if (!h)
        return 0;
    now_drop = atomic_load(&h->drop);
    if (drop > now_drop) {
        begin_term(t, h, drop, until);
        wg_leases_arm(t, until);
        return WG_LEASE_RENEWED;
    }
    if (drop < now_drop || atomic_load(&h->frozen) || atomic_load(&h->doomed))
        return 0;
    old = atomic_load(&h->until_ns);
    while (old && old < until && !atomic_compare_exchange_weak(&h->until_ns, &old, until))
        ;
    return old ? WG_LEASE_RENEWED : WG_LEASE_LOST;
}

bool wg_holder_forgettable(struct wg_holder *h, uint64_t now)
{
    bool yes;

    if (!h)
        return true;
    pthread_mutex_lock(&h->lock);
    yes = !h->first && (atomic_load(&h->until_ns) <= now);
    pthread_mutex_unlock(&h->lock);
    return yes;
}

void wg_holder_leave(struct wg_leases *t, struct wg_holder *h)
{
    if (!h)
        return;
    pthread_mutex_lock(&h->lock);
    h->session = NULL;
    (void)wg_holder_expire(t, h, UINT64_MAX);
    pthread_mutex_unlock(&h->lock);
    pthread_mutex_lock(&t->lock);
    if (!atomic_load(&t->closing)) /* else those that may still believe in it stay in the file */
        wg_lease_file_rewrite(t);
    h->next_free = t->free;
    t->free = h;
    pthread_mutex_unlock(&t->lock);
}
