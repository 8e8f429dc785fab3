/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deadlines. A modifying fop that was sent is answered only when the brick has said that it can't
 * run any more: its epoch is raised there, and the call waits for the answer to that. If no lane
 * is open, the brick's clock does it: no modifying fop begins there after its expiry, and none
 * runs for longer than the lease; what the next lane's handshake then settles is only what a
 * brick was doing that stood still for all of that time. A brick that answers, but does not
 * confirm for long, is treated like one out of reach: its lanes are closed and made anew.
 */
#include <stdlib.h>

#define WG_LOG_PART "client"
#include "log.h"
#include "xlators/protocol/client/client.h"

#define CLOCK_IDLE_NS (20 * WG_CLIENT_CLOCK_NS) /* without replies the clock is asked for this often */

struct scan {
    struct wg_client *c;
    uint64_t now;
    bool reachable;
    bool stuck;
    uint64_t epoch; /* what those that are given up now wait for */
    uint64_t ends[WG_WIRE_SLOTS_MAX]; /* can be answered now */
    uint64_t dead[WG_WIRE_SLOTS_MAX]; /* given up, and the brick is out of reach, or stuck */
    unsigned n, ndead, gaveup;
};

/* Under the slot's lock. */
static void look(struct wg_slot *s, void *arg)
{
    struct scan *scan = arg;

    if (s->deadline_ns > scan->now)
        return;
    if (wg_fops[s->frame->op].kind == 'R' || !s->sent_ns) {
        scan->ends[scan->n++] = s->id;
    } else if (!s->gaveup) {
        s->gaveup = scan->epoch;
        scan->gaveup++;
    } else if (scan->now > s->deadline_ns + scan->c->stuck_ns) {
        scan->stuck = true;
        scan->dead[scan->ndead++] = s->id;
    } else if (!scan->reachable && scan->now > s->deadline_ns + atomic_load(&scan->c->lease_ns)) {
        scan->dead[scan->ndead++] = s->id;
    }
}

static void end_waiting(struct wg_client *c, uint64_t now)
{
    struct wg_frame *f = wg_inflight_drop_waiting(&c->table, now, false), *next;

    for (; f; f = next) {
        next = ((struct wg_waiter *)f->local)->next;
        atomic_fetch_add_explicit(&c->timeouts, 1, memory_order_relaxed);
        wg_unwind(f, ETIMEDOUT);
    }
}

static void end_late(struct wg_client *c, uint64_t id)
{
    atomic_fetch_add_explicit(&c->timeouts, 1, memory_order_relaxed);
    wg_client_end(c, id, ETIMEDOUT);
}

static void close_all(struct wg_client *c)
{
    wg_error("%s: the brick does not finish calls that were given up; connecting anew", c->xl->name);
    for (unsigned i = 0; i < c->nlanes; i++) {
        atomic_store(&c->lanes[i].open, 0);
        wg_lane_reset(c->lanes[i].held, 0, ETIMEDOUT, "calls are stuck at the brick");
    }
}

/*
 * The epoch that is waited for is above the present one; it comes into force after the slots are
 * marked, so that no acknowledgement of it can come before.
 */
static void end_expired(struct wg_client *c, struct scan *scan)
{
    struct wg_client_lane *l = wg_client_open_lane(c);

    scan->c = c;
    scan->n = scan->ndead = scan->gaveup = 0;
    scan->reachable = l != NULL;
    scan->stuck = false;
    scan->epoch = atomic_load(&c->epoch) + 1;
    wg_inflight_each(&c->table, look, scan);
    if (scan->gaveup) {
        atomic_store(&c->epoch, scan->epoch);
        wg_warning("%s: gave up %u calls at their deadline", c->xl->name, scan->gaveup);
        if (l)
            wg_client_send_epoch(c, l);
    }
    for (unsigned i = 0; i < scan->n; i++)
        end_late(c, scan->ends[i]);
    if (!scan->ndead)
        return;
    /*
     * A lane that opens from here on has either promised this in its handshake, or sees it and
     * closes again; and one that opened before is seen here.
     */
    atomic_store(&c->settle, atomic_load(&c->epoch));
    if (scan->stuck)
        close_all(c);
    for (unsigned i = 0; i < scan->ndead && !wg_client_open_lane(c); i++)
        end_late(c, scan->dead[i]);
}

/* The breaker: without a lane for long, calls fail at once until one is back. */
static void watch_lanes(struct wg_client *c, uint64_t now)
{
    bool down = !wg_client_open_lane(c);

    if (!down || !c->down_since_ns)
        c->down_since_ns = down ? now : 0;
    if (down && c->out_ns && now - c->down_since_ns > c->out_ns && !atomic_exchange(&c->out, true))
        wg_error("%s: the brick can't be reached; out of service", c->xl->name);
    if (down)
        return;
    if (atomic_exchange(&c->out, false))
        wg_notice("%s: in service again", c->xl->name);
    for (unsigned i = 0; i < c->nlanes; i++) {
        struct wg_client_lane *l = &c->lanes[i];

        if (atomic_load(&l->open) && now - atomic_load(&l->sampled_ns) > CLOCK_IDLE_NS &&
            now > atomic_load(&l->sampled_ns))
            wg_client_send_epoch(c, l);
    }
}

void wg_client_tick(struct wg_timer *t)
{
    struct wg_client *c = (struct wg_client *)((char *)t - offsetof(struct wg_client, tick));
    uint64_t now = wg_now_ns();
    struct scan *scan;

    pthread_mutex_lock(&c->tick_lock);
    if (c->stopping) {
        pthread_mutex_unlock(&c->tick_lock);
        return;
    }
    scan = malloc(sizeof *scan);
    if (scan) {
        scan->now = now;
        end_expired(c, scan);
        end_waiting(c, now);
        free(scan);
    }
    watch_lanes(c, now);
    wg_client_lease_tick(c, now);
    wg_timer_arm(&c->tick, now + WG_CLIENT_TICK_NS, wg_client_tick);
    pthread_mutex_unlock(&c->tick_lock);
}

void wg_client_send_epoch(struct wg_client *c, struct wg_client_lane *l)
{
    uint8_t body[32];
    struct wg_enc e = { .at = body, .end = body + sizeof body };

    wg_put_number(&e, atomic_load(&c->epoch));
    wg_lane_send(l->lane, &(struct wg_msg){ .type = WG_MSG_EPOCH, .body = body, .must = true,
                                            .body_len = (uint32_t)(e.at - body) });
}

struct acked {
    uint64_t epoch;
    uint64_t ends[WG_WIRE_SLOTS_MAX];
    unsigned n;
};

static void look_acked(struct wg_slot *s, void *arg)
{
    struct acked *a = arg;

    if (s->gaveup && s->gaveup <= a->epoch)
        a->ends[a->n++] = s->id;
}

void wg_client_epoch_ok(struct wg_client *c, uint64_t epoch)
{
    uint64_t old = atomic_load(&c->acked);
    struct acked *a;

    if (epoch <= old || epoch > atomic_load(&c->epoch))
        return;
    a = malloc(sizeof *a);
    if (!a) {
        wg_error("%s: no memory to end calls; they wait for the next epoch", c->xl->name);
        return;
    }
    while (old < epoch && !atomic_compare_exchange_weak(&c->acked, &old, epoch))
        ;
    a->epoch = epoch;
    a->n = 0;
    wg_inflight_each(&c->table, look_acked, a);
    for (unsigned i = 0; i < a->n; i++)
        end_late(c, a->ends[i]);
    free(a);
}
