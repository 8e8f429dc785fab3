/* SPDX-License-Identifier: Apache-2.0 */
/* What comes in on a lane: its opening, replies, its end. All on the lane's reader. */
#include <stdio.h>

#define WG_LOG_PART "client"
#include "iobuf.h"
#include "log.h"
#include "xlators/protocol/client/client.h"

#define DRIFT 2000 /* two clocks part by less than one part in this many */

static void say_hello(struct wg_client_lane *l, struct wg_lane *lane, uint64_t conn)
{
    struct wg_client *c = l->client;
    struct wg_hello h = {
        .version = WG_WIRE_VERSION,
        .name = wg_str_of(c->xl->name),
        .epoch = atomic_load(&c->epoch),
        .settle = atomic_load(&c->settle),
        .slots = c->table.nslots,
        .kind = wg_opt_bool(c->xl, "puller") ? WG_SESSION_PULLER : WG_SESSION_CLIENT,
    };
    struct wg_iobuf *buf = wg_iobuf_get(WG_MSG_BODY_MAX);
    struct wg_enc e;

    if (!buf) {
        wg_lane_reset(lane, conn, ENOMEM, "no memory for the handshake");
        return;
    }
    l->settled = h.settle;
    memcpy(h.client, c->id, sizeof h.client);
    memcpy(h.volume, c->volume, sizeof h.volume);
    memcpy(h.brick, c->brick, sizeof h.brick);
    e = (struct wg_enc){ .at = buf->base, .end = (uint8_t *)buf->base + WG_MSG_BODY_MAX };
    wg_put_hello(&e, &h);
    wg_put_fops(&e);
    wg_lane_send(lane, &(struct wg_msg){ .type = WG_MSG_HELLO, .body = buf->base, .conn = conn,
                                         .body_len = (uint32_t)(e.at - (uint8_t *)buf->base) });
    wg_iobuf_unref(buf);
}

static void lane_up(struct wg_lane *lane, uint64_t conn)
{
    struct wg_client_lane *l = wg_lane_user(lane);

    /* Others read it once the lane is open. */
    if (!l->lane)
        l->lane = lane;
    say_hello(l, lane, conn);
}

/*
 * The brick's clock minus ours is at least what a message that carries its clock shows when it
 * arrives. The best bound is kept, less what the clocks may have drifted since.
 */
static void sample_clock(struct wg_client_lane *l, uint64_t theirs, bool first)
{
    uint64_t now = wg_now_ns(), before = atomic_load(&l->sampled_ns);
    int64_t offset = (int64_t)(theirs - now);
    int64_t old = atomic_load(&l->offset_ns) - (int64_t)((now - before) / DRIFT);

    if (!first && old > offset)
        offset = old;
    atomic_store(&l->offset_ns, offset);
    atomic_store(&l->sampled_ns, now);
}

/* Remembers which of the brick's instances this lane speaks to. */
static void note_instance(struct wg_client *c, struct wg_client_lane *l, const uint8_t instance[16])
{
    bool restarted = false;

    pthread_mutex_lock(&c->lock);
    if (memcmp(c->instance, instance, sizeof c->instance)) {
        restarted = c->instances > 0;
        c->instances++;
        memcpy(c->instance, instance, sizeof c->instance);
    }
    c->refused[0] = '\0';
    atomic_store(&l->instance, c->instances);
    pthread_mutex_unlock(&c->lock);
    if (!restarted)
        return;
    wg_notice("%s: the brick was restarted", c->xl->name);
    /* Before this lane takes requests: all that it carries says that nothing of before is remembered. */
    wg_client_reset(c);
}

static bool other_id(const uint8_t want[16], const uint8_t have[16])
{
    static const uint8_t any[16];

    return memcmp(want, any, 16) && memcmp(want, have, 16);
}

static void refuse(struct wg_client *c, struct wg_lane *lane, int err, const char *text)
{
    bool known;

    pthread_mutex_lock(&c->lock);
    known = !strcmp(c->refused, text);
    snprintf(c->refused, sizeof c->refused, "%s", text);
    pthread_mutex_unlock(&c->lock);
    if (!known)
        wg_error("%s: refused: %s", c->xl->name, text);
    wg_lane_reset(lane, 0, err, text);
}

static void welcome(struct wg_client_lane *l, const struct wg_msg_hdr *hdr, struct wg_dec *d)
{
    struct wg_client *c = l->client;
    struct wg_welcome w;
    bool known[WG_OP_MAX];
    char text[160];
    uint64_t fops = 0;

    if (wg_get_welcome(d, &w) || w.version != WG_WIRE_VERSION)
        return refuse(c, l->lane, EPROTO, "the brick speaks another protocol version");
    if (other_id(c->volume, w.volume))
        return refuse(c, l->lane, EACCES, "the brick is of another volume");
    if (other_id(c->brick, w.brick))
        return refuse(c, l->lane, EACCES, "it is another brick");
    if (wg_get_fops(d, known, text, sizeof text))
        return refuse(c, l->lane, EPROTO, text);
    for (unsigned op = 0; op < WG_OP_MAX; op++)
        fops |= (uint64_t)known[op] << op;
    atomic_store(&c->fops, fops);
    atomic_store(&c->lease_ns, w.lease_ms * 1000000ull);
    atomic_store(&c->cache_ns, w.cache_ms * 1000000ull);
    note_instance(c, l, w.instance);
    sample_clock(l, hdr->low, true);
    atomic_store(&l->full, false);
    atomic_store(&l->open, wg_lane_conn(l->lane));
    if (atomic_load(&c->settle) > l->settled) {
        /* Calls were given up during the handshake: the next one has the brick settle them. */
        atomic_store(&l->open, 0);
        return wg_lane_reset(l->lane, 0, ECANCELED, "calls were given up meanwhile");
    }
    atomic_store(&c->out, false);
    if (atomic_load(&c->acked) < atomic_load(&c->epoch))
        wg_client_send_epoch(c, l);
    if (w.cache_ms && atomic_load(&c->drop)) /* a restarted brick may wait for just that */
        wg_client_send_lease(c, l);
    wg_client_replay(c, 0);
}

static void refused(struct wg_client_lane *l, struct wg_dec *d)
{
    struct wg_refuse r;
    char text[WG_WIRE_TEXT_MAX + 1];

    if (wg_get_refuse(d, &r))
        return wg_lane_reset(l->lane, 0, EPROTO, "malformed refusal");
    snprintf(text, sizeof text, "%.*s", (int)r.text.len, r.text.s ? r.text.s : "");
    refuse(l->client, l->lane, r.err, text);
}

/* The results into the call's arena; the arena has the payload's reference in any case. */
static int take_results(struct wg_frame *f, struct wg_dec *d, struct wg_iobuf *payload,
                        uint32_t payload_len)
{
    struct wg_arena *arena = &f->call->arena;
    size_t len = (size_t)(d->end - d->at);
    const uint8_t *body;
    struct wg_dec mine;

    if (payload && wg_keep_iobuf(arena, payload))
        return ENOMEM;
    body = (const uint8_t *)wg_memdup(arena, d->at, len);
    if (!body)
        return ENOMEM;
    mine = (struct wg_dec){ .at = body, .end = body + len, .arena = arena, .payload = payload };
    if (payload) {
        mine.pat = payload->base;
        mine.pend = mine.pat + payload_len;
    }
    return wg_get_record(&mine, f->op, true, &f->out);
}

/* What it depends on, into the call's arena. On an error nobody remembers it. */
static void take_lease(struct wg_client *c, struct wg_frame *f, const struct wg_slot *s,
                       struct wg_things things)
{
    struct wg_use *use, *list = NULL;
    struct wg_str name;
    wg_gfid gfid;

    if (!f->want_lease || !things.count || !wg_client_may_keep(c, s->drop))
        return;
    while (wg_next_thing(&things, &gfid, &name)) {
        use = wg_alloc(&f->call->arena, sizeof *use + name.len);
        if (!use)
            return;
        *use = (struct wg_use){ gfid, { (char *)(use + 1), name.len }, list };
        if (name.len)
            memcpy(use + 1, name.s, name.len);
        list = use;
    }
    f->uses = list;
    f->lease = c->lease;
}

/* The brick did not execute it. true: it was sent again, or is being given up. */
static bool not_executed(struct wg_client *c, struct wg_slot *s, uint64_t id, unsigned flags)
{
    bool again = false, wrong = false;

    if (flags & WG_REPLY_EXPIRED) {
        atomic_fetch_add_explicit(&c->late, 1, memory_order_relaxed);
        wg_client_end(c, id, ETIMEDOUT);
        return true;
    }
    atomic_fetch_add_explicit(&c->stale, 1, memory_order_relaxed);
    pthread_mutex_lock(&s->lock);
    if (s->id == id) {
        again = !s->gaveup && s->epoch < atomic_load(&c->epoch);
        wrong = !s->gaveup && !again;
    }
    pthread_mutex_unlock(&s->lock);
    if (again)
        wg_client_send(c, id);
    else
        wg_client_end(c, id, ETIMEDOUT);
    return !wrong;
}

static void replied(struct wg_client_lane *l, const struct wg_msg_hdr *hdr, struct wg_dec *d,
                    struct wg_iobuf *payload)
{
    struct wg_client *c = l->client;
    struct wg_slot *s = wg_inflight_find(&c->table, hdr->id);
    struct wg_reply r;
    struct wg_frame *f;
    uint64_t lane;
    uint32_t cost;
    int err;

    if (!s || wg_get_reply(d, &r)) {
        wg_iobuf_unref(payload);
        return wg_lane_reset(l->lane, 0, EPROTO, "malformed reply");
    }
    if (r.flags & (WG_REPLY_STALE | WG_REPLY_EXPIRED)) {
        wg_iobuf_unref(payload);
        if (!not_executed(c, s, hdr->id, r.flags))
            wg_lane_reset(l->lane, 0, EPROTO, "the brick keeps another epoch");
        return;
    }
    wg_client_changed(c, &r);
    f = wg_inflight_claim(s, hdr->id, &lane, &cost);
    if (!f) {
        /* Late: answered on another lane before, or given up. */
        wg_iobuf_unref(payload);
        return;
    }
    /* Nobody uses the slot again before it is finished. */
    wg_client_leased(c, hdr->flags, s->drop, s->first_ns);
    if (hdr->flags & WG_LEASE_GRANTED)
        take_lease(c, f, s, r.uses);
    err = r.err;
    if (r.op != f->op) {
        err = EPROTO;
        wg_iobuf_unref(payload);
    } else if (r.flags & WG_REPLY_RESULT) {
        int bad = take_results(f, d, payload, hdr->payload_len);

        err = bad ? bad : err;
    } else {
        wg_iobuf_unref(payload);
    }
    if (err == EPROTO && err != r.err) {
        wg_client_unknown(c, f);
        wg_lane_reset(l->lane, 0, EPROTO, "malformed reply");
    }
    wg_client_finish(c, s, lane, cost);
    wg_unwind(f, err);
}

static void lane_message(struct wg_lane *lane, const struct wg_msg_hdr *hdr, const void *body,
                         struct wg_iobuf *payload)
{
    struct wg_client_lane *l = wg_lane_user(lane);
    struct wg_dec d = { .at = body, .end = (const uint8_t *)body + hdr->body_len };
    bool open = atomic_load(&l->open) != 0;
    uint64_t epoch;

    if (open && wg_now_coarse_ns() - atomic_load(&l->sampled_ns) > WG_CLIENT_CLOCK_NS)
        sample_clock(l, hdr->low, false);
    if (open && hdr->type == WG_MSG_REPLY)
        return replied(l, hdr, &d, payload);
    wg_iobuf_unref(payload);
    if (!open && hdr->type == WG_MSG_WELCOME)
        welcome(l, hdr, &d);
    else if (!open && hdr->type == WG_MSG_REFUSE)
        refused(l, &d);
    else if (open && hdr->type == WG_MSG_EPOCH_OK && !wg_get_number(&d, &epoch))
        wg_client_epoch_ok(l->client, epoch);
    else if (open && hdr->type == WG_MSG_LEASE_OK)
        wg_client_lease_ok(l->client, hdr->id, hdr->flags);
    else if (hdr->type == WG_MSG_RECALL && !wg_client_recalled(l, hdr->id, &d))
        return; /* which may have overtaken WELCOME */
    else if (!open && hdr->type >= WG_MSG_REPLY)
        wg_debug("%s: a reply on a lane that is closing", l->client->xl->name);
    else
        wg_lane_reset(lane, 0, EPROTO, "unexpected message");
}

static void lane_down(struct wg_lane *lane, const struct wg_down *why)
{
    struct wg_client_lane *l = wg_lane_user(lane);
    uint64_t conn = why->conn;

    atomic_compare_exchange_strong(&l->open, &conn, 0);
    if (!wg_client_open_lane(l->client)) /* nobody tells us of changes any more */
        wg_client_reset(l->client);
    wg_client_replay(l->client, why->conn);
}

static void lane_writable(struct wg_lane *lane)
{
    struct wg_client_lane *l = wg_lane_user(lane);

    atomic_store(&l->full, false);
    wg_client_replay(l->client, 0);
}

const struct wg_lane_ops wg_client_lane_ops = {
    .up = lane_up,
    .message = lane_message,
    .down = lane_down,
    .writable = lane_writable,
};
