/* SPDX-License-Identifier: Apache-2.0 */
/* What changed, who remembers it, and the waiting until they don't: lease.h. */
#include <stdlib.h>

#include "iobuf.h"
#include "xlators/protocol/server/server.h"

#define FLUSH_NS 1000000000u  /* a full table makes a holder forget everything this often at most */
#define STACK_BODY 1024

/* --- changes --- */

struct finding {
    struct wg_changes *c;
    const struct wg_lease_thing *thing;
};

static struct wg_recall *recall_of(struct wg_changes *c, struct wg_holder *h)
{
    struct wg_recall *r;

    for (r = c->recalls; r; r = r->more)
        if (r->holder == h)
            return r;
    r = WG_NEW(c->arena, struct wg_recall);
    if (!r) {
        c->lost = true;
        return NULL;
    }
    r->holder = h;
    r->changes = c;
    r->more = c->recalls;
    c->recalls = r;
    return r;
}

static bool is_listed(const struct wg_lease_thing *list, const struct wg_lease_thing *what)
{
    for (; list; list = (const struct wg_lease_thing *)list->use.next)
        if (list->hash == what->hash && wg_gfid_eq(list->use.gfid, what->use.gfid) &&
            wg_str_eq(list->use.name, what->use.name))
            return true;
    return false;
}

static bool list_thing(struct wg_arena *arena, struct wg_lease_thing **list, uint16_t *n,
                       const struct wg_lease_thing *what)
{
    struct wg_lease_thing *copy;

    if (is_listed(*list, what))
        return true;
    copy = *n < UINT16_MAX ? WG_NEW(arena, struct wg_lease_thing) : NULL;
    if (!copy)
        return false;
    *copy = *what;
    copy->use.next = *list ? &(*list)->use : NULL;
    *list = copy;
    (*n)++;
    return true;
}

static void found(void *arg, struct wg_holder *h)
{
    struct finding *f = arg;
    struct wg_recall *r;

    if (h == f->c->own || !(r = recall_of(f->c, h)))
        return;
    if (!r->all && !list_thing(f->c->arena, &r->things, &r->nthings, f->thing))
        r->all = true;
}

/* The own client gets a list with the answer, of a size that is kept for replays. */
static void note_own(struct wg_changes *c, const struct wg_lease_thing *thing)
{
    uint16_t before = c->nthings;

    if (c->too_many)
        return;
    if (!list_thing(c->arena, &c->things, &c->nthings, thing))
        c->too_many = true;
    if (c->nthings > before)
        c->bytes += (uint32_t)sizeof(wg_gfid) + 1 + thing->use.name.len;
    c->too_many |= c->bytes > WG_REPLY_CHANGED;
}

void wg_leases_changed(struct wg_changes *c, const wg_gfid *gfid, struct wg_str name)
{
    struct wg_leases *t = c->leases;
    struct wg_lease_thing thing = { .use.gfid = *gfid };

    c->changed = true;
    /* Who becomes a holder from here on reads what is new. */
    if (!atomic_load(&t->terms) && !c->list)
        return;
    if (name.len) {
        thing.use.name = (struct wg_str){ wg_memdup(c->arena, name.s, name.len), name.len };
        if (!thing.use.name.s) {
            c->lost = c->too_many = true;
            return;
        }
    }
    thing.hash = wg_hash_name(gfid, name);
    if (c->list)
        note_own(c, &thing);
    if (atomic_load(&t->terms) && wg_lease_table_made(t))
        wg_lease_find(t, thing.hash, found, &(struct finding){ c, &thing });
}

/* --- recalls --- */

/* Under the holder's lock. On an error it goes out when the client has a lane again. */
static void send_recall(struct wg_holder *h, const struct wg_recall *r)
{
    uint8_t small[STACK_BODY];
    struct wg_things things = { .count = r->all ? 0 : r->nthings,
                                .first = r->things ? &r->things->use : NULL };
    struct wg_enc e = { .at = small, .end = small + sizeof small };
    struct wg_iobuf *big = NULL;
    uint8_t *body = small;

    if (!h->session)
        return;
    wg_put_recall(&e, &things);
    if (e.overflow && (big = wg_iobuf_get(WG_MSG_BODY_MAX))) {
        body = big->base;
        e = (struct wg_enc){ .at = body, .end = body + WG_MSG_BODY_MAX };
        wg_put_recall(&e, &things);
    }
    if (e.overflow) { /* more than a message holds: everything */
        body = small;
        e = (struct wg_enc){ .at = body, .end = body + sizeof small };
        wg_put_recall(&e, &(struct wg_things){ 0 });
    }
    wg_session_send(h->session, &(struct wg_msg){ .type = WG_MSG_RECALL, .id = r->id, .body = body,
                                                  .body_len = (uint32_t)(e.at - body) });
    wg_iobuf_unref(big);
}

/* false: it has nothing to give back any more. */
static bool ask(struct wg_leases *t, struct wg_recall *r)
{
    struct wg_holder *h = r->holder;
    struct wg_recall *list = NULL;
    bool asked = false;

    pthread_mutex_lock(&h->lock);
    if (wg_holder_expire(t, h, wg_now_ns()))
        list = wg_holder_take_all(h);
    if (atomic_load(&h->until_ns) && !atomic_load(&t->closing)) {
        r->id = atomic_fetch_add(&h->seq, 1) + 1;
        r->since_ns = wg_now_ns();
        r->next = NULL;
        *h->last = r;
        h->last = &r->next;
        asked = true;
        atomic_fetch_add(&t->waiting, 1);
        send_recall(h, r);
    }
    pthread_mutex_unlock(&h->lock);
    wg_recalls_end(t, list);
    atomic_fetch_add_explicit(&t->recalled, asked, memory_order_relaxed);
    return asked;
}

static void step_done(struct wg_changes *c)
{
    if (atomic_fetch_sub(&c->waits, 1) == 1)
        c->done(c);
}

/* Off its holder's list. */
static void ended(struct wg_leases *t, struct wg_recall *r)
{
    atomic_fetch_sub(&t->waiting, 1);
    if (r->changes)
        step_done(r->changes);
    else
        free(r);
}

void wg_recalls_end(struct wg_leases *t, struct wg_recall *list)
{
    struct wg_recall *next;

    for (; list; list = next) {
        next = list->next;
        ended(t, list);
    }
}

/*
 * No memory to say who must forget: no lease is renewed any more, and when the last has run out the
 * change is answered. The ghost stands for all of them.
 */
static void let_all_run_out(struct wg_leases *t)
{
    uint64_t until;

    for (uint32_t i = 0; i < atomic_load(&t->nholders); i++)
        atomic_store(&t->holder[i]->doomed, true);
    until = wg_now_ns() + t->term_ns + 2 * WG_LEASE_COARSE_NS;
    pthread_mutex_lock(&t->ghost.lock);
    atomic_store(&t->doom_ns, until);
    if (!atomic_exchange(&t->ghost.until_ns, until))
        atomic_fetch_add(&t->terms, 1);
    pthread_mutex_unlock(&t->ghost.lock);
}

void wg_leases_recall(struct wg_changes *c)
{
    struct wg_leases *t = c->leases;
    bool waits = false;

    atomic_init(&c->waits, 1);
    if (c->lost)
        let_all_run_out(t);
    if (c->changed && atomic_load(&t->ghost.until_ns)) {
        c->ghost.holder = &t->ghost;
        c->ghost.changes = c;
        c->ghost.more = c->recalls;
        c->recalls = &c->ghost;
    }
    for (struct wg_recall *r = c->recalls, *more; r; r = more) {
        more = r->more;
        atomic_fetch_add(&c->waits, 1);
        if (ask(t, r))
            waits = true;
        else
            atomic_fetch_sub(&c->waits, 1);
    }
    if (waits)
        wg_leases_hurry(t);
    step_done(c);
}

/* Of a holder's lists, the request's memory is read before anybody may end it. */
void wg_holder_recalled(struct wg_leases *t, struct wg_holder *h, uint64_t id)
{
    struct wg_recall **link, *r;

    if (!h)
        return;
    pthread_mutex_lock(&h->lock);
    for (link = &h->first; *link && (*link)->id != id; link = &(*link)->next)
        ;
    r = *link;
    if (r) {
        *link = r->next;
        if (h->last == &r->next)
            h->last = link;
        if (!h->first)
            atomic_store(&h->frozen, false);
        if (r->all && atomic_load(&h->floor) < id)
            atomic_store(&h->floor, id);
    }
    pthread_mutex_unlock(&h->lock);
    if (!r)
        return;
    for (const struct wg_lease_thing *i = r->things; i && !r->all;
         i = (const struct wg_lease_thing *)i->use.next)
        wg_lease_remove(t, h, i->hash, id);
    ended(t, r);
}

void wg_holder_resend(struct wg_holder *h)
{
    if (!h)
        return;
    pthread_mutex_lock(&h->lock);
    for (struct wg_recall *r = h->first; r; r = r->next)
        send_recall(h, r);
    pthread_mutex_unlock(&h->lock);
}

/* --- without a request --- */

/* Everything of h, and nobody waits for it. */
static void recall_all(struct wg_leases *t, struct wg_holder *h)
{
    struct wg_recall *r = calloc(1, sizeof *r);

    if (!r)
        return;
    r->holder = h;
    r->all = true;
    if (!ask(t, r))
        free(r);
    else
        wg_leases_hurry(t);
}

/* The table is full of what clients have long forgotten, or too small: who has most of it begins anew. */
void wg_leases_flush(struct wg_leases *t, uint64_t now)
{
    struct wg_holder *most = NULL;

    if (!atomic_load(&t->crowded) || now - t->flushed_ns < FLUSH_NS)
        return;
    atomic_store(&t->crowded, false);
    t->flushed_ns = now;
    for (uint32_t i = 0; i < atomic_load(&t->nholders); i++)
        if (!most || atomic_load(&t->holder[i]->entries) > atomic_load(&most->entries))
            most = t->holder[i];
    if (!most)
        return;
    atomic_fetch_add_explicit(&t->flushes, 1, memory_order_relaxed);
    recall_all(t, most);
}

struct told {
    struct wg_holder *h[16];
    unsigned n;
    bool more;
};

static void tell(void *arg, struct wg_holder *h)
{
    struct told *list = arg;

    if (list->n < 16)
        list->h[list->n++] = h;
    else
        list->more = true;
}

static void tell_one(struct wg_leases *t, struct wg_holder *h, const struct wg_event *ev, uint64_t hash)
{
    struct wg_recall *r = calloc(1, sizeof *r + sizeof *r->things + ev->name.len);

    if (!r)
        return;
    r->holder = h;
    r->things = (struct wg_lease_thing *)(r + 1);
    r->nthings = 1;
    *r->things = (struct wg_lease_thing){ { ev->gfid, { (char *)(r->things + 1), ev->name.len }, NULL }, hash };
    if (ev->name.len)
        memcpy(r->things + 1, ev->name.s, ev->name.len);
    if (!ask(t, r))
        free(r);
    else
        wg_leases_hurry(t);
}

void wg_leases_tell(struct wg_leases *t, const struct wg_event *ev)
{
    struct told list = { .n = 0 };
    uint64_t hash;

    if (!atomic_load(&t->terms) || !wg_lease_table_made(t) || atomic_load(&t->closing))
        return;
    hash = wg_hash_name(&ev->gfid, ev->name);
    if (ev->kind == WG_EV_INVALIDATE)
        wg_lease_find(t, hash, tell, &list);
    for (unsigned i = 0; i < list.n; i++)
        tell_one(t, list.h[i], ev, hash);
    if (ev->kind == WG_EV_RESET || list.more)
        for (uint32_t i = 0; i < atomic_load(&t->nholders); i++)
            recall_all(t, t->holder[i]);
}
