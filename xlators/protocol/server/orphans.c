/* SPDX-License-Identifier: Apache-2.0 */
#include "xlators/protocol/server/orphans.h"

#include <stdlib.h>

void wg_orphans_init(struct wg_orphans *o)
{
    memset(o, 0, sizeof *o);
    pthread_mutex_init(&o->lock, NULL);
}

void wg_orphans_fini(struct wg_orphans *o)
{
    for (unsigned i = 0; i < WG_ORPHANS_SETS; i++)
        free(o->set[i]);
    pthread_mutex_destroy(&o->lock);
}

/* Whether executing this again could give another answer than the one it had. */
bool wg_orphans_keeps(const struct wg_entry *e)
{
    struct wg_dec d = { .at = e->reply, .end = e->reply + e->len };
    struct wg_reply r;

    if (e->state != WG_ENTRY_DONE || (e->request_id[0] | e->request_id[1]) == 0 ||
        wg_get_reply(&d, &r) || r.err)
        return false;
    return wg_orphans_keeps_op(r.op);
}

bool wg_orphans_keeps_op(unsigned op)
{
    switch (op) {
    case WG_OP_setattr:
    case WG_OP_create:
    case WG_OP_mkdir:
    case WG_OP_symlink:
    case WG_OP_mknod:
    case WG_OP_link:
    case WG_OP_unlink:
    case WG_OP_rmdir:
    case WG_OP_rename:
        return true;
    default:
        return false;
    }
}

static bool same(const struct wg_orphan *w, const uint64_t id[2])
{
    return w->id[0] == id[0] && w->id[1] == id[1];
}

/* The place for id in its set: its own, or the oldest. Ids are MACs, so any bits spread them. */
static struct wg_orphan *place(struct wg_orphans *o, const uint64_t id[2])
{
    struct wg_orphan **set = &o->set[id[0] % WG_ORPHANS_SETS], *oldest;

    if (!*set)
        *set = calloc(WG_ORPHANS_WAYS, sizeof **set);
    if (!*set)
        return NULL; /* out of memory: as if it had been forgotten */
    oldest = *set;
    for (unsigned i = 0; i < WG_ORPHANS_WAYS; i++) {
        if (same(&(*set)[i], id))
            return &(*set)[i];
        if ((*set)[i].since_ns < oldest->since_ns)
            oldest = &(*set)[i];
    }
    return oldest;
}

void wg_orphans_take(struct wg_orphans *o, struct wg_replycache *c, uint64_t now_ns)
{
    for (uint32_t i = 0; i < c->n; i++) {
        struct wg_entry *e = &c->entries[i];
        struct wg_orphan *w;

        pthread_mutex_lock(&e->lock);
        if (wg_orphans_keeps(e)) {
            pthread_mutex_lock(&o->lock);
            w = place(o, e->request_id);
            if (w) {
                memcpy(w->id, e->request_id, sizeof w->id);
                w->since_ns = now_ns;
                w->len = e->len;
                memcpy(w->reply, e->reply, e->len);
                atomic_fetch_add(&o->n, 1);
            }
            pthread_mutex_unlock(&o->lock);
        }
        pthread_mutex_unlock(&e->lock);
    }
}

bool wg_orphans_find(struct wg_orphans *o, const uint64_t id[2], uint64_t now_ns,
                     struct wg_found *ret)
{
    struct wg_orphan *set;
    bool found = false;

    if (atomic_load_explicit(&o->n, memory_order_relaxed) == 0 || (id[0] | id[1]) == 0)
        return false;
    pthread_mutex_lock(&o->lock);
    set = o->set[id[0] % WG_ORPHANS_SETS];
    for (unsigned i = 0; set && i < WG_ORPHANS_WAYS && !found; i++) {
        found = same(&set[i], id) && now_ns - set[i].since_ns < WG_ORPHANS_KEEP_NS;
        if (found) {
            ret->len = set[i].len;
            memcpy(ret->reply, set[i].reply, set[i].len);
        }
    }
    pthread_mutex_unlock(&o->lock);
    return found;
}
