/* SPDX-License-Identifier: Apache-2.0 */
/* From a frame to a lane: choice of the lane, encoding, sending, sending again. */
#include <stdlib.h>

#define WG_LOG_PART "client"
#include "iobuf.h"
#include "log.h"
#include "xlators/protocol/client/client.h"

#define STACK_BODY 2048 /* most bodies; larger ones are encoded in a pooled buffer */
#define BASE_COST 4096  /* of a call, in bytes of payload */
#define BULK (128u << 10) /* calls above it stay off the first lane, while there is another */
#define FILL (128 << 10)  /* what small calls put on a lane before they take the next */

/* What one message is built in. */
struct draft {
    struct wg_enc enc;
    struct wg_iobuf *big; /* of a body that did not fit */
    struct wg_msg msg;
    uint8_t body[STACK_BODY];
};

struct wg_client_lane *wg_client_open_lane(struct wg_client *c)
{
    for (unsigned i = 0; i < c->nlanes; i++)
        if (atomic_load(&c->lanes[i].open))
            return &c->lanes[i];
    return NULL;
}

static struct wg_client_lane *least_loaded(struct wg_client *c, unsigned first)
{
    struct wg_client_lane *best = NULL;
    int64_t least = INT64_MAX;

    for (unsigned i = first; i < c->nlanes; i++) {
        struct wg_client_lane *l = &c->lanes[i];
        int64_t cost = atomic_load_explicit(&l->cost, memory_order_relaxed);

        if (cost < least && atomic_load(&l->open) && !atomic_load(&l->full)) {
            least = cost;
            best = l;
        }
    }
    return best;
}

/* The lowest lane with room for one more small call. */
static struct wg_client_lane *not_filled(struct wg_client *c)
{
    for (unsigned i = 0; i < c->nlanes; i++) {
        struct wg_client_lane *l = &c->lanes[i];

        if (atomic_load_explicit(&l->cost, memory_order_relaxed) < FILL && atomic_load(&l->open) &&
            !atomic_load(&l->full))
            return l;
    }
    return NULL;
}

/*
 * Large payloads go where the least is in flight, counted in bytes both ways, and leave the first lane to small
 * calls, which would wait for a whole one else, whichever lane they took. Small calls fill a lane before they take
 * the next: together they share system calls and wake-ups at both ends, which cost more than what they ask for
 * (tests/bench: a quarter less CPU for 16 lookups at a time than by load alone).
 */
static struct wg_client_lane *pick(struct wg_client *c, uint32_t cost)
{
    struct wg_client_lane *l = cost > BULK ? least_loaded(c, 1) : not_filled(c);

    return l ? l : least_loaded(c, 0);
}

/* Bytes that f will move, there and back. */
static uint32_t cost_of(const struct wg_frame *f)
{
    switch (f->op) {
    case WG_OP_read:
        return BASE_COST + ((const struct wg_read_in *)f->in)->size;
    case WG_OP_write:
        return BASE_COST + ((const struct wg_write_in *)f->in)->data.len;
    case WG_OP_get:
        return BASE_COST + ((const struct wg_get_in *)f->in)->size;
    case WG_OP_put:
        return BASE_COST + ((const struct wg_put_in *)f->in)->data.len;
    case WG_OP_ref_read:
        return BASE_COST + ((const struct wg_ref_read_in *)f->in)->size;
    case WG_OP_readdir:
        return BASE_COST + ((const struct wg_readdir_in *)f->in)->size;
    case WG_OP_list:
        return BASE_COST + ((const struct wg_list_in *)f->in)->size;
    }
    return BASE_COST;
}

/* Under the slot's lock. */
static void move_cost(struct wg_client *c, struct wg_slot *s, struct wg_client_lane *to)
{
    if (s->lane_index) {
        struct wg_client_lane *from = &c->lanes[s->lane_index - 1];

        atomic_fetch_sub_explicit(&from->cost, s->cost, memory_order_relaxed);
        atomic_fetch_sub_explicit(&from->inflight, 1, memory_order_relaxed);
    }
    s->lane_index = to ? (uint8_t)(to->index + 1) : 0;
    if (to) {
        s->cost = cost_of(s->frame);
        atomic_fetch_add_explicit(&to->cost, s->cost, memory_order_relaxed);
        atomic_fetch_add_explicit(&to->inflight, 1, memory_order_relaxed);
    }
}

/* Under the slot's lock, which keeps the frame and its arguments alive. */
static void write_body(struct draft *d, const struct wg_slot *s, const struct wg_request *r,
                       uint8_t *at, size_t size)
{
    d->enc.at = at;
    d->enc.end = at + size;
    d->enc.overflow = false;
    d->enc.nseg = d->enc.payload = 0;
    wg_put_request(&d->enc, r);
    wg_put_record(&d->enc, s->frame->op, false, s->frame->in);
    d->msg.body = at;
    d->msg.body_len = (uint32_t)(d->enc.at - at);
}

/*
 * Builds s's message; under its lock. The payload's buffers get references, since the frame may
 * end (by its deadline) before the lane has taken them.
 */
static int draft(struct draft *d, struct wg_slot *s, struct wg_client_lane *l)
{
    const struct wg_call *call = s->frame->call;
    struct wg_request r = {
        .op = s->frame->op,
        .flags = (uint16_t)((s->replay || call->replay ? WG_REQ_REPLAY : 0) |
                            (s->drop && s->frame->want_lease ? WG_REQ_LEASE : 0)),
        .drop = s->drop,
        .frontend = (uint8_t)call->frontend,
        .epoch = s->epoch,
        .expires_ns = s->deadline_ns + (uint64_t)atomic_load(&l->offset_ns),
        .request_id = { call->request_id[0], call->request_id[1] },
        .cred = call->cred,
        .client = call->client,
    };

    d->big = NULL;
    write_body(d, s, &r, d->body, sizeof d->body);
    if (d->enc.overflow) {
        d->big = wg_iobuf_get(WG_MSG_BODY_MAX);
        if (!d->big)
            return ENOMEM;
        write_body(d, s, &r, d->big->base, WG_MSG_BODY_MAX);
    }
    if (d->enc.overflow || d->enc.payload > WG_MSG_PAYLOAD_MAX) {
        wg_iobuf_unref(d->big);
        return EMSGSIZE;
    }
    for (uint32_t i = 0; i < d->enc.nseg; i++)
        if (d->enc.seg[i].buf)
            wg_iobuf_ref(d->enc.seg[i].buf);
    d->msg.type = WG_MSG_REQUEST;
    d->msg.flags = 0;
    d->msg.must = false;
    d->msg.id = s->id;
    d->msg.low = 0;
    d->msg.conn = s->lane;
    d->msg.payload = (struct wg_data){ d->enc.seg, d->enc.nseg, d->enc.payload };
    return 0;
}

static void drop_draft(struct draft *d)
{
    for (uint32_t i = 0; i < d->enc.nseg; i++)
        wg_iobuf_unref(d->enc.seg[i].buf);
    wg_iobuf_unref(d->big);
}

static bool unknown_there(struct wg_client *c, unsigned op)
{
    return !(atomic_load_explicit(&c->fops, memory_order_relaxed) >> op & 1);
}

enum step { STEP_DONE, STEP_AGAIN };

/* Under the slot's lock: s goes out on l. Ends with the lock dropped. */
static int start_on(struct wg_client *c, struct draft *d, struct wg_slot *s,
                    struct wg_client_lane *l, uint64_t conn)
{
    uint64_t instance = atomic_load(&l->instance);
    int err;

    if (s->instance && s->instance != instance)
        s->replay = true;
    if (s->sent_ns)
        atomic_fetch_add_explicit(&c->replayed, 1, memory_order_relaxed);
    s->instance = instance;
    s->lane = conn;
    s->sent_ns = wg_now_coarse_ns();
    if (!s->first_ns)
        s->first_ns = s->sent_ns;
    s->drop = atomic_load(&c->cache_ns) ? atomic_load(&c->drop) : 0;
    s->epoch = atomic_load(&c->epoch);
    move_cost(c, s, l);
    err = unknown_there(c, s->frame->op) ? ENOTSUP : draft(d, s, l);
    pthread_mutex_unlock(&s->lock);
    return err;
}

/* The lane did not take s: park it again, unless it has ended or gone elsewhere meanwhile. */
static void park(struct wg_client *c, struct wg_slot *s, uint64_t id, uint64_t conn)
{
    pthread_mutex_lock(&s->lock);
    if (s->id == id && s->lane == conn) {
        s->lane = 0;
        move_cost(c, s, NULL);
    }
    pthread_mutex_unlock(&s->lock);
}

static enum step not_taken(struct wg_client *c, struct wg_slot *s, uint64_t id,
                           struct wg_client_lane *l, uint64_t conn, int err)
{
    uint64_t expected = conn;

    switch (err) {
    case ENOTCONN:
        atomic_compare_exchange_strong(&l->open, &expected, 0);
        park(c, s, id, conn);
        return STEP_AGAIN;
    case EAGAIN:
        atomic_store(&l->full, true);
        /* writable() may have come between the two. */
        if (wg_lane_queued(l->lane) < WG_CLIENT_QUEUE_MAX / 2)
            atomic_store(&l->full, false);
        park(c, s, id, conn);
        return STEP_AGAIN;
    default:
        wg_client_end(c, id, err == EMSGSIZE ? EINVAL : err);
        return STEP_DONE;
    }
}

static enum step try_send(struct wg_client *c, struct wg_slot *s, uint64_t id, struct draft *d)
{
    struct wg_client_lane *l;
    uint64_t conn;
    uint32_t cost;
    int err;

    pthread_mutex_lock(&s->lock);
    if (s->id != id || s->gaveup) {
        pthread_mutex_unlock(&s->lock);
        return STEP_DONE;
    }
    cost = cost_of(s->frame);
    l = pick(c, cost);
    conn = l ? atomic_load(&l->open) : 0;
    if (!conn) {
        s->lane = 0;
        move_cost(c, s, NULL);
        pthread_mutex_unlock(&s->lock);
        if (atomic_load(&c->table.closed))
            wg_client_end(c, id, ECANCELED);
        /* A lane that opened before this call was parked has not seen it: look again. */
        return pick(c, cost) ? STEP_AGAIN : STEP_DONE;
    }
    err = start_on(c, d, s, l, conn);
    if (!err) {
        err = wg_lane_send(l->lane, &d->msg);
        drop_draft(d);
    }
    return err ? not_taken(c, s, id, l, conn, err) : STEP_DONE;
}

void wg_client_send(struct wg_client *c, uint64_t id)
{
    struct wg_slot *s = wg_inflight_find(&c->table, id);
    struct draft d;

    while (try_send(c, s, id, &d) == STEP_AGAIN)
        ;
}

struct gather {
    uint64_t conn;
    uint64_t ids[WG_WIRE_SLOTS_MAX];
    unsigned n;
};

static void gather(struct wg_slot *s, void *arg)
{
    struct gather *g = arg;

    if (s->lane == g->conn && !s->gaveup)
        g->ids[g->n++] = s->id;
}

static int by_age(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a >> 16, y = *(const uint64_t *)b >> 16;

    return x < y ? -1 : x > y;
}

void wg_client_replay(struct wg_client *c, uint64_t conn)
{
    struct gather *g = malloc(sizeof *g);

    if (!g) {
        /* Their deadlines will end them. */
        wg_error("%s: no memory to send calls again", c->xl->name);
        return;
    }
    g->conn = conn;
    g->n = 0;
    wg_inflight_each(&c->table, gather, g);
    qsort(g->ids, g->n, sizeof *g->ids, by_age);
    for (unsigned i = 0; i < g->n; i++)
        wg_client_send(c, g->ids[i]);
    free(g);
}

void wg_client_finish(struct wg_client *c, struct wg_slot *s, uint64_t lane, uint32_t cost)
{
    uint64_t next;

    if (lane) {
        struct wg_client_lane *l = &c->lanes[lane - 1];

        atomic_fetch_sub_explicit(&l->cost, cost, memory_order_relaxed);
        atomic_fetch_sub_explicit(&l->inflight, 1, memory_order_relaxed);
    }
    next = wg_inflight_release(&c->table, s);
    if (next)
        wg_client_send(c, next);
}

void wg_client_end(struct wg_client *c, uint64_t id, int err)
{
    struct wg_slot *s = wg_inflight_find(&c->table, id);
    uint64_t lane;
    uint32_t cost;
    struct wg_frame *f = wg_inflight_claim(s, id, &lane, &cost);

    if (!f)
        return;
    if (s->first_ns)
        wg_client_unknown(c, f);
    wg_client_finish(c, s, lane, cost);
    wg_unwind(f, err);
}
