/* SPDX-License-Identifier: Apache-2.0 */
#include "xlators/protocol/server/earlier.h"

#define YOUNG_NS (120 * 1000000000ull) /* an NFS client has sent again by then */

static bool same(const uint64_t a[2], const uint64_t b[2])
{
    return a[0] == b[0] && a[1] == b[1];
}

/* Under parked_lock: does s itself only wait, with that request? */
static bool is_parked(const struct wg_server *v, const struct wg_session *s, const uint64_t id[2])
{
    for (const struct wg_parked *p = v->parked; p; p = p->next)
        if (p->session == s && same(p->id, id))
            return true;
    return false;
}

static enum wg_earlier look(struct wg_session *s, const uint64_t id[2], struct wg_found *ret)
{
    enum wg_earlier found = WG_EARLIER_NONE;

    for (uint32_t i = 0; i < s->cache.n && found != WG_EARLIER_DONE; i++) {
        struct wg_entry *e = &s->cache.entries[i];

        pthread_mutex_lock(&e->lock);
        if (same(e->request_id, id) && e->state == WG_ENTRY_RUNS && !is_parked(s->server, s, id)) {
            found = WG_EARLIER_RUNS;
        } else if (same(e->request_id, id) && wg_orphans_keeps(e)) {
            ret->len = e->len;
            memcpy(ret->reply, e->reply, e->len);
            found = WG_EARLIER_DONE;
        }
        pthread_mutex_unlock(&e->lock);
    }
    return found;
}

enum wg_earlier wg_earlier_find(struct wg_server_lane *l, unsigned op, const uint64_t id[2],
                                struct wg_parked *p, struct wg_found *ret)
{
    enum wg_earlier found = WG_EARLIER_NONE;
    struct wg_session *self = l->session;
    struct wg_server *v = l->server;

    if ((id[0] | id[1]) == 0 || !wg_orphans_keeps_op(op) || wg_now_coarse_ns() - self->born_ns > YOUNG_NS)
        return WG_EARLIER_NONE;
    pthread_mutex_lock(&v->parked_lock);
    atomic_fetch_add(&v->nparked, 1); /* before looking: who ends after that waits for our lock */
    pthread_mutex_lock(&v->lock);
    for (struct wg_session *s = v->sessions; s && found != WG_EARLIER_DONE; s = s->next) {
        enum wg_earlier here = s == self ? WG_EARLIER_NONE : look(s, id, ret);

        found = here != WG_EARLIER_NONE ? here : found;
    }
    pthread_mutex_unlock(&v->lock);
    if (found == WG_EARLIER_RUNS) {
        wg_session_began(l);
        *p = (struct wg_parked){ .next = v->parked, .session = self, .id = { id[0], id[1] } };
        v->parked = p;
    } else {
        atomic_fetch_sub(&v->nparked, 1);
    }
    pthread_mutex_unlock(&v->parked_lock);
    return found;
}

struct wg_parked *wg_earlier_ended(struct wg_server *v, const uint64_t id[2])
{
    struct wg_parked *list = NULL;

    if (atomic_load(&v->nparked) == 0)
        return NULL;
    pthread_mutex_lock(&v->parked_lock);
    for (struct wg_parked **at = &v->parked; *at;) {
        struct wg_parked *p = *at;

        if (!same(p->id, id)) {
            at = &p->next;
            continue;
        }
        *at = p->next;
        p->next = list;
        list = p;
        atomic_fetch_sub(&v->nparked, 1);
    }
    pthread_mutex_unlock(&v->parked_lock);
    return list;
}
