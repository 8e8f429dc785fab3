/* SPDX-License-Identifier: Apache-2.0 */
/* From a request's message to a call, and from its end to the reply. */
#include <stdlib.h>

#define WG_LOG_PART "server"
#include "graph.h"
#include "iobuf.h"
#include "log.h"
#include "xlators/protocol/server/earlier.h"

#define STACK_BODY 2048
#define EXPIRY_MAX_NS (3600 * 1000000000ull) /* nobody's request is remembered for longer */

/* One request; of its call's arena. */
struct request {
    struct wg_server_lane *lane; /* referenced; of a modifying one the cache has it */
    struct wg_session *session;
    struct wg_call *call;
    uint64_t id;
    uint16_t op;
    bool modifies;
    bool asks;                   /* for a promise that the answer may be remembered */
    bool noted;                  /* some of what it depends on is in the table */
    uint8_t lease;               /* WG_LEASE_RENEWED, WG_LEASE_LOST: what its arrival did */
    struct wg_watch watch;
    pthread_mutex_t lock;        /* of the next two: the parts of a request change things side by side */
    bool recalls;                /* what changes from now on comes too late for the answer */
    struct wg_changes changes;   /* of a modifying one */
    struct wg_parked parked;
};

static void malformed(struct wg_server_lane *l, const char *what)
{
    atomic_fetch_add_explicit(&l->server->malformed, 1, memory_order_relaxed);
    wg_lane_reset(l->lane, 0, EPROTO, what);
}

static void send_body(struct wg_server_lane *l, uint64_t id, unsigned flags, const void *body,
                      uint32_t len, struct wg_data payload)
{
    struct wg_msg m = { .type = WG_MSG_REPLY, .flags = (uint16_t)flags, .id = id, .body = body,
                        .body_len = len, .payload = payload };

    /* On an error the lane is gone, and the client asks again on another. */
    wg_server_send(l, &m);
}

static uint32_t encode(struct wg_enc *e, uint8_t *body, size_t size, const struct wg_reply *from,
                       const void *out)
{
    struct wg_reply r = *from;

    r.flags |= out ? WG_REPLY_RESULT : 0;
    e->at = body;
    e->end = body + size;
    e->overflow = false;
    e->nseg = e->payload = 0;
    wg_put_reply(e, &r);
    if (out)
        wg_put_record(e, r.op, true, out);
    return (uint32_t)(e->at - body);
}

/* An answer without results. */
static void send_error(struct wg_server_lane *l, uint64_t id, unsigned op, unsigned flags, int err)
{
    uint8_t body[64];
    struct wg_enc e;
    struct wg_reply r = { .op = (uint16_t)op, .flags = (uint16_t)flags, .err = err };
    uint32_t len = encode(&e, body, sizeof body, &r, NULL);

    send_body(l, id, 0, body, len, (struct wg_data){ 0 });
}

/* --- the answer --- */

/* The answer may be remembered: r says what it depends on. Everything of that is in the table. */
static bool grant(struct request *q, const struct wg_frame *root, struct wg_reply *r)
{
    unsigned n = 0;

    if (!q->asks || !q->noted || !root->lease)
        return false;
    for (const struct wg_use *u = root->uses; u && n <= WG_LEASE_USES_MAX; u = u->next)
        n++;
    if (n == 0 || n > WG_LEASE_USES_MAX)
        return false;
    r->uses = (struct wg_things){ .count = (uint16_t)n, .first = root->uses };
    atomic_fetch_add_explicit(&q->session->server->leases.granted, 1, memory_order_relaxed);
    return true;
}

static void reply_to_read(struct request *q, struct wg_call *call)
{
    uint8_t small[STACK_BODY], *body = small;
    struct wg_reply r = { .op = q->op, .err = call->root->err };
    unsigned flags = q->lease | (grant(q, call->root, &r) ? WG_LEASE_GRANTED : 0u);
    struct wg_iobuf *big = NULL;
    struct wg_enc e;
    uint32_t len = encode(&e, small, sizeof small, &r, call->root->out);

    if (e.overflow && (big = wg_iobuf_get(WG_MSG_BODY_MAX))) {
        body = big->base;
        len = encode(&e, body, WG_MSG_BODY_MAX, &r, call->root->out);
    }
    if (e.overflow || e.payload > WG_MSG_PAYLOAD_MAX) {
        wg_error("%s: results of %s don't fit into a message", q->lane->server->xl->name,
                 wg_op_name(q->op));
        send_error(q->lane, q->id, q->op, 0, EOVERFLOW);
    } else {
        send_body(q->lane, q->id, flags, body, len, (struct wg_data){ e.seg, e.nseg, e.payload });
    }
    wg_iobuf_unref(big);
    wg_server_lane_unref(q->lane);
}

static void over(struct request *q)
{
    struct wg_session *s = q->session;

    wg_call_unref(q->call);
    wg_session_resume(s);
    atomic_fetch_sub(&s->running, 1);
}

static void answer_parked(struct request *q, const void *body, uint32_t len);

/* Executed for a gateway that is gone: the entry ends with the answer that it had. */
static void answer_again(struct request *q, const struct wg_found *found)
{
    struct wg_session *s = q->session;
    struct wg_server_lane *l = wg_replycache_end(&s->cache, q->id, found->reply, found->len);

    atomic_fetch_add_explicit(&s->server->replays, 1, memory_order_relaxed);
    answer_parked(q, found->reply, found->len); /* who came while the entry ran */
    send_body(l, q->id, q->lease, found->reply, found->len, (struct wg_data){ 0 });
    wg_session_ended(s);
    wg_server_lane_unref(l);
}

/* Those that came again while it ran have the same answer. */
static void answer_parked(struct request *q, const void *body, uint32_t len)
{
    struct wg_parked *p = wg_earlier_ended(q->session->server, q->call->request_id), *next;
    struct wg_found found;

    for (; p; p = next) {
        struct request *other = (struct request *)((char *)p - offsetof(struct request, parked));

        next = p->next;
        found.len = len;
        memcpy(found.reply, body, len);
        answer_again(other, &found);
        over(other);
    }
}

static void reply_to_write(struct request *q, struct wg_call *call)
{
    const struct wg_changes *c = &q->changes;
    struct wg_reply r = { .op = q->op, .err = call->root->err };
    uint8_t body[WG_REPLY_KEPT];
    struct wg_server_lane *l;
    struct wg_enc e;
    uint32_t len;

    if (c->list && c->too_many)
        r.flags |= WG_REPLY_CHANGED_ALL;
    else if (c->things)
        r.changed = (struct wg_things){ .count = c->nthings, .first = &c->things->use };
    len = encode(&e, body, sizeof body, &r, call->root->out);

    if (e.overflow || e.payload) {
        /* No modifying fop has such results; a unit test watches over that. */
        wg_error("%s: results of %s don't fit", q->session->server->xl->name, wg_op_name(q->op));
        r = (struct wg_reply){ .op = q->op, .err = EOVERFLOW, .flags = WG_REPLY_CHANGED_ALL };
        len = encode(&e, body, sizeof body, &r, NULL);
    }
    l = wg_replycache_end(&q->session->cache, q->id, body, len);
    if (atomic_load(&q->session->away))
        wg_orphans_take(&q->session->server->orphans, &q->session->cache, wg_now_coarse_ns());
    answer_parked(q, body, len);
    send_body(l, q->id, q->lease, body, len, (struct wg_data){ 0 });
    wg_session_ended(q->session);
    wg_server_lane_unref(l);
}

/* Nobody remembers what it changed any more. */
static void forgotten(struct wg_changes *c)
{
    struct request *q = (struct request *)((char *)c - offsetof(struct request, changes));

    reply_to_write(q, q->call);
    over(q);
}

static void finish(struct wg_call *call)
{
    struct request *q = call->owner;

    if (q->modifies) {
        pthread_mutex_lock(&q->lock);
        q->recalls = true;
        pthread_mutex_unlock(&q->lock);
        return wg_leases_recall(&q->changes);
    }
    reply_to_read(q, call);
    over(q);
}

/* --- what it uses and changes --- */

#define REQUEST_OF(w) ((struct request *)((char *)(w) - offsetof(struct request, watch)))

static void note_use(struct wg_watch *w, struct wg_frame *f, const wg_gfid *gfid, struct wg_str name)
{
    struct request *q = REQUEST_OF(w);
    struct wg_leases *t = &q->session->server->leases;

    (void)f;
    if (!q->asks)
        return;
    q->noted = true;
    if (wg_lease_add(t, atomic_load(&q->session->holder), gfid, name))
        return;
    q->asks = false;
    atomic_fetch_add_explicit(&t->overflowed, 1, memory_order_relaxed);
    wg_leases_crowded(t);
}

static void note_change(struct wg_watch *w, struct wg_frame *f, const wg_gfid *gfid, struct wg_str name)
{
    struct request *q = REQUEST_OF(w);
    bool waited_for = false;

    (void)f;
    if (q->modifies) {
        pthread_mutex_lock(&q->lock);
        waited_for = !q->recalls;
        if (waited_for)
            wg_leases_changed(&q->changes, gfid, name);
        pthread_mutex_unlock(&q->lock);
    }
    if (!waited_for) /* in passing */
        wg_leases_tell(&q->session->server->leases,
                       &(struct wg_event){ WG_EV_INVALIDATE, *gfid, name });
}

static void watch(struct request *q, struct wg_call *call, const struct wg_request *r)
{
    struct wg_session *s = q->session;

    q->watch = (struct wg_watch){ note_use, note_change };
    pthread_mutex_init(&q->lock, NULL); /* goes with the call's memory, which its parts keep */
    if (r->drop)
        q->lease = (uint8_t)wg_holder_touch(&s->server->leases, s, &s->holder, s->client, r->drop);
    q->asks = !q->modifies && (r->flags & WG_REQ_LEASE) && (q->lease & WG_LEASE_RENEWED);
    if (q->modifies)
        q->changes = (struct wg_changes){ .leases = &s->server->leases, .arena = &call->arena,
                                          .own = atomic_load(&s->holder), .list = r->drop != 0,
                                          .done = forgotten };
    call->want_lease = q->asks;
    call->watch = q->modifies || q->asks ? &q->watch : NULL;
}

/* --- the request --- */

/* A new call with the message's body and payload in its arena. NULL when memory is out. */
static struct wg_call *take_message(struct wg_server_lane *l, const struct wg_msg_hdr *hdr,
                                    const void *body, struct wg_iobuf *payload, struct wg_dec *d)
{
    struct wg_call *call = wg_volume_call(l->server->xl->volume, WG_FROM_BRICK, NULL);
    const uint8_t *copy;

    if (!call) {
        wg_iobuf_unref(payload);
        return NULL;
    }
    if (payload && wg_keep_iobuf(&call->arena, payload)) {
        wg_call_unref(call);
        return NULL;
    }
    copy = (const uint8_t *)wg_memdup(&call->arena, body, hdr->body_len);
    call->owner = WG_NEW(&call->arena, struct request);
    if (!copy || !call->owner) {
        wg_call_unref(call);
        return NULL;
    }
    *d = (struct wg_dec){ .at = copy, .end = copy + hdr->body_len, .arena = &call->arena,
                          .payload = payload };
    if (payload) {
        d->pat = payload->base;
        d->pend = d->pat + hdr->payload_len;
    }
    return call;
}

static void fill_call(struct wg_call *call, const struct wg_request *r)
{
    call->what = wg_op_name(r->op);
    call->cred = r->cred;
    call->client = r->client;
    call->request_id[0] = r->request_id[0];
    call->request_id[1] = r->request_id[1];
    call->replay = r->flags & WG_REQ_REPLAY;
    call->deadline_ns = r->expires_ns;
}

static void start(struct wg_server_lane *l, struct wg_call *call, const void *in)
{
    struct request *q = call->owner;

    wg_session_began(l);
    /* The call holds all that it needs: others may read on if a layer below keeps this thread. */
    wg_lane_yield(l->lane);
    wg_start(call, call->graph->entry, q->op, in, finish);
}

/* The verdicts but WG_RUN; l's reference is taken back unless the cache keeps it. */
static void not_run(struct wg_server_lane *l, struct request *q, enum wg_verdict v,
                    struct wg_found *found)
{
    struct wg_server *server = l->server;

    switch (v) {
    case WG_WAIT:
        atomic_fetch_add_explicit(&server->replays, 1, memory_order_relaxed);
        wg_server_lane_unref(found->lane);
        return;
    case WG_ANSWERED:
        atomic_fetch_add_explicit(&server->replays, 1, memory_order_relaxed);
        send_body(l, q->id, q->lease, found->reply, found->len, (struct wg_data){ 0 });
        break;
    case WG_IS_STALE:
        atomic_fetch_add_explicit(&server->stale, 1, memory_order_relaxed);
        send_error(l, q->id, q->op, WG_REPLY_STALE, EAGAIN);
        break;
    case WG_IS_LATE:
        atomic_fetch_add_explicit(&server->late, 1, memory_order_relaxed);
        send_error(l, q->id, q->op, WG_REPLY_EXPIRED, ETIMEDOUT);
        break;
    case WG_BROKEN:
        malformed(l, "a slot was used twice");
        break;
    case WG_IS_OLD:
    case WG_RUN:
        break;
    }
    wg_server_lane_unref(l);
}

enum admitted { ENDED, RUNS, WAITS };

/* With WAITS, q is whose it waits for. */
static enum admitted admit(struct wg_server_lane *l, struct request *q, const struct wg_request *r)
{
    struct wg_found found;
    enum wg_verdict v;
    enum wg_earlier earlier;

    atomic_fetch_add(&l->refs, 1);
    if (!q->modifies) {
        q->lane = l;
        return RUNS;
    }
    v = wg_replycache_begin(&q->session->cache, r, q->id, wg_now_ns(), l, &found);
    if (v != WG_RUN) {
        not_run(l, q, v, &found);
        return ENDED;
    }
    if (wg_orphans_find(&l->server->orphans, r->request_id, wg_now_coarse_ns(), &found)) {
        answer_again(q, &found);
        return ENDED;
    }
    earlier = wg_earlier_find(l, q->op, r->request_id, &q->parked, &found);
    if (earlier == WG_EARLIER_DONE)
        answer_again(q, &found);
    return earlier == WG_EARLIER_DONE ? ENDED : earlier == WG_EARLIER_RUNS ? WAITS : RUNS;
}

/* An error would be a lie if an earlier copy of the request runs: let the client ask again. */
static bool no_memory(struct wg_server_lane *l)
{
    wg_lane_reset(l->lane, 0, ENOMEM, "no memory for a request");
    return false;
}

/*
 * Another brick reads references, and asks who it is here. Gateways do all the rest: what is copied between
 * bricks has no reason to come to them this way.
 */
static bool may(const struct wg_session *s, unsigned op, const void *in)
{
    if (op == WG_OP_ref_peer)
        return !s->puller || wg_gfid_is_zero(((const struct wg_ref_peer_in *)in)->source);
    return s->puller == (op == WG_OP_ref_read);
}

/* Ends in a started call (true), or in an answer, or in the lane's end. */
static bool begin(struct wg_server_lane *l, const struct wg_msg_hdr *hdr, struct wg_call *call,
                  struct wg_dec *d)
{
    struct request *q = call->owner;
    struct wg_request r;
    void *in = NULL;
    int err = wg_get_request(d, &r);

    if (err == ENOMEM)
        return no_memory(l);
    if (err || wg_id_slot(hdr->id) >= l->session->slots) {
        malformed(l, "malformed request");
        return false;
    }
    *q = (struct request){ .session = l->session, .call = call, .id = hdr->id, .op = r.op };
    if (r.op >= WG_OP_MAX || !wg_fops[r.op].kind) {
        send_error(l, hdr->id, r.op, 0, ENOTSUP);
        return false;
    }
    q->modifies = wg_fops[r.op].kind == 'W';
    err = wg_get_record(d, r.op, false, &in);
    if (err == EPROTO) {
        malformed(l, "malformed arguments");
        return false;
    }
    if (err == ENOMEM)
        return no_memory(l);
    err = wg_check_in(r.op, in);
    if (!err && !may(l->session, r.op, in)) {
        atomic_fetch_add_explicit(&l->server->forbidden, 1, memory_order_relaxed);
        err = EACCES;
    }
    if (err) {
        send_error(l, hdr->id, r.op, 0, err);
        return false;
    }
    if (r.expires_ns > wg_now_coarse_ns() + EXPIRY_MAX_NS)
        r.expires_ns = wg_now_coarse_ns() + EXPIRY_MAX_NS;
    fill_call(call, &r);
    call->peer = l->session->peer; /* the session outlives its calls */
    watch(q, call, &r);
    switch (admit(l, q, &r)) {
    case ENDED:
        return false;
    case RUNS:
        start(l, call, in);
        return true;
    default:
        return true;
    }
}

void wg_server_request(struct wg_server_lane *l, const struct wg_msg_hdr *hdr, const void *body,
                       struct wg_iobuf *payload)
{
    struct wg_dec d;
    struct wg_call *call = take_message(l, hdr, body, payload, &d);

    if (!call)
        no_memory(l);
    else if (!begin(l, hdr, call, &d))
        wg_call_unref(call);
}
