/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sending. wg_lane_send puts a message in the lane's queue; then whoever can be the writer is
 * (lane_pump): it holds ssl_lock to encrypt a batch, lets go of it, and writes the batch with one
 * system call. Nobody waits: a sender that finds ssl_lock or the role taken leaves, and the holder
 * looks at the queue after letting go (rule 5). After EAGAIN only the reader goes on, at POLLOUT.
 */
#include <errno.h>
#include <stdlib.h>

#include "internal.h"

#define PUMP_ROUNDS 16 /* batches that a thread which is not the reader writes before the reader must */

static void out_release(struct out *o)
{
    for (uint32_t i = 0; i < o->nseg; i++)
        wg_iobuf_unref(o->seg[i].buf);
    free(o->head_alloc);
    free(o->seg_alloc);
    o->head_alloc = NULL;
    o->seg_alloc = NULL;
    o->nseg = 0;
}

/* Under qlock. */
static struct out *out_take(struct wg_lane *l)
{
    struct out *o = l->spare;

    if (o) {
        l->spare = o->next;
        l->nspare--;
    }
    return o;
}

/* Under qlock: o was released. Returns what should be freed outside. */
static struct out *out_give(struct wg_lane *l, struct out *o)
{
    if (l->nspare >= OUT_FREE_MAX)
        return o;
    o->next = l->spare;
    l->spare = o;
    l->nspare++;
    return NULL;
}

void lane_free_spares(struct wg_lane *l)
{
    struct out *o;

    while ((o = l->spare)) {
        l->spare = o->next;
        free(o);
    }
    l->nspare = 0;
}

/* ---- accepting a message ---- */

static int msg_check(const struct wg_lane *l, const struct wg_msg *m)
{
    uint64_t sum = 0;

    if (m->type < WG_MSG_FIRST_TYPE || (m->flags & ~WG_MSG_FLAGS))
        return EINVAL;
    if (m->body_len > l->o.body_max || m->payload.len > l->o.payload_max)
        return EMSGSIZE;
    for (uint32_t i = 0; i < m->payload.nseg; i++)
        sum += m->payload.seg[i].len;
    return sum == m->payload.len ? 0 : EINVAL;
}

/* Segments of nobody's memory become one iobuf, since they might not outlive the queue. */
static int seg_own(struct wg_seg *s)
{
    struct wg_iobuf *b;

    if (s->buf) {
        wg_iobuf_ref(s->buf);
        return 0;
    }
    if (s->len == 0)
        return 0;
    b = wg_iobuf_get(s->len);
    if (!b)
        return ENOMEM;
    memcpy(b->base, s->base, s->len);
    s->buf = b;
    s->base = b->base;
    return 0;
}

static int out_fill(struct out *o, const struct wg_msg_hdr *h, const struct wg_msg *m)
{
    uint32_t head = WG_MSG_HEADER + h->body_len;
    uint32_t pieces = h->payload_len > WG_FRAME_PIECE_MAX ? (h->payload_len - 1) / WG_FRAME_PIECE_MAX + 1 : 0;

    o->nseg = 0;
    o->head_alloc = head > sizeof o->inl ? malloc(head) : NULL;
    o->seg_alloc = m->payload.nseg > OUT_SEGS ? malloc(m->payload.nseg * sizeof *o->seg) : NULL;
    if ((head > sizeof o->inl && !o->head_alloc) || (m->payload.nseg > OUT_SEGS && !o->seg_alloc))
        return ENOMEM;
    o->head = o->head_alloc ? o->head_alloc : o->inl;
    o->seg = o->seg_alloc ? o->seg_alloc : o->segs;
    wg_frame_encode(o->head, h);
    if (h->body_len)
        memcpy(o->head + WG_MSG_HEADER, m->body, h->body_len);
    o->head_at = 0;
    o->head_len = head;
    for (uint32_t i = 0; i < m->payload.nseg; i++) {
        o->seg[i] = m->payload.seg[i];
        if (seg_own(&o->seg[i]))
            return ENOMEM;
        o->nseg++;
    }
    o->seg_at = o->seg_off = 0;
    o->payload_left = h->payload_len;
    o->pieces = pieces > 0;
    o->piece_left = o->pieces ? 0 : h->payload_len;
    o->wire = head + (uint64_t)h->payload_len + (uint64_t)pieces * WG_MSG_HEADER;
    o->own = h->type < WG_MSG_FIRST_TYPE;
    o->id = h->id;
    return 0;
}

/* Under qlock. */
static bool sendable(const struct wg_lane *l, uint64_t conn)
{
    uint64_t now = atomic_load_explicit(&l->conn, memory_order_relaxed);

    return l->open && now != 0 && (conn == 0 || conn == now);
}

static void enqueue(struct wg_lane *l, struct out *o, bool gather)
{
    /* While up() runs, what others send waits, so that the messages sent from there are the first. */
    if (l->opening && tl_view.lane != l && !o->own)
        outq_push(&l->held, o);
    else
        outq_push(o->wire <= SMALL_MAX ? &l->small : &l->large, o);
    atomic_store_explicit(&l->queued, atomic_load_explicit(&l->queued, memory_order_relaxed) + o->wire,
                          memory_order_relaxed);
    l->queued_msgs++;
    if (!gather)
        l->urgent = true;
}

void lane_opened(struct wg_lane *l)
{
    struct out *o;

    pthread_mutex_lock(&l->qlock);
    l->opening = false;
    while ((o = outq_pop(&l->held)))
        outq_push(o->wire <= SMALL_MAX ? &l->small : &l->large, o);
    l->urgent = l->queued_msgs > 0;
    pthread_mutex_unlock(&l->qlock);
    lane_pump(l);
}

/* Under qlock: the queue has room for one more message of about this size, or none at all. */
static bool queue_admits(struct wg_lane *l, uint64_t size)
{
    uint64_t queued = atomic_load_explicit(&l->queued, memory_order_relaxed);

    if (queued == 0 || queued + size <= l->o.queue_max)
        return true;
    l->full = true;
    atomic_fetch_add_explicit(&l->full_count, 1, memory_order_relaxed);
    return false;
}

/* The reader gathers the answers of one burst; true when it is time to write. */
static bool cork_full(struct wg_lane *l, uint64_t wire)
{
    uint64_t n = atomic_fetch_add_explicit(&l->corked, wire, memory_order_relaxed) + wire;

    return n >= CORK_BYTES;
}

int wg_lane_send(struct wg_lane *l, const struct wg_msg *m)
{
    struct wg_msg_hdr h = {
        .type = m->type, .flags = m->flags, .id = m->id, .low = m->low,
        .body_len = m->body_len, .payload_len = m->payload.len,
    };
    bool gather = poller_corks(l);
    struct out *o;
    uint64_t wire;
    int err = msg_check(l, m);

    if (err)
        return err;
    if (h.payload_len > WG_FRAME_PIECE_MAX)
        h.flags |= WG_FRAME_PIECES;
    pthread_mutex_lock(&l->qlock);
    if (!sendable(l, m->conn))
        err = ENOTCONN;
    else if (!m->must && !queue_admits(l, WG_MSG_HEADER + (uint64_t)h.body_len + h.payload_len))
        err = EAGAIN;
    o = err ? NULL : out_take(l);
    pthread_mutex_unlock(&l->qlock);
    if (err)
        return err;
    if (!o && !(o = malloc(sizeof *o)))
        return ENOMEM;
    err = out_fill(o, &h, m);
    if (!err && o->wire > SMALL_MAX)
        slice_bulk(l);
    pthread_mutex_lock(&l->qlock);
    if (!err && !sendable(l, m->conn))
        err = ENOTCONN;
    /* Once queued it is the lane's: another thread may have sent and freed it. */
    wire = o->wire;
    if (!err)
        enqueue(l, o, gather);
    pthread_mutex_unlock(&l->qlock);
    if (err) {
        out_release(o);
        free(o);
        return err;
    }
    if (!gather)
        lane_pump(l);
    else if (cork_full(l, wire) || !poller_corks(l)) /* the role may just have been taken */
        lane_uncork(l);
    return 0;
}

/* Reader, from open on: ping, pong, welcome. */
int lane_send_own(struct wg_lane *l, uint8_t type, uint64_t id)
{
    struct wg_msg_hdr h = { .type = type, .id = id };
    struct wg_msg m = { .type = type };
    struct out *o = malloc(sizeof *o);

    if (!o)
        return ENOMEM;
    (void)out_fill(o, &h, &m); /* has nothing to allocate */
    pthread_mutex_lock(&l->qlock);
    enqueue(l, o, false);
    pthread_mutex_unlock(&l->qlock);
    lane_pump(l);
    return 0;
}

void lane_uncork(struct wg_lane *l)
{
    atomic_store_explicit(&l->corked, 0, memory_order_relaxed);
    pthread_mutex_lock(&l->qlock);
    l->urgent = l->urgent || l->queued_msgs > 0;
    pthread_mutex_unlock(&l->qlock);
    lane_pump(l);
}

void wg_lane_flush(struct wg_lane *l)
{
    lane_uncork(l);
}

/* ---- what comes next on the wire: the writer's ---- */

static struct out *pick(struct wg_lane *l)
{
    struct out *o;

    pthread_mutex_lock(&l->qlock);
    /* Small ones first, but large ones keep moving. */
    if (l->small.head && (l->small_credit > 0 || (!l->big && !l->large.head))) {
        o = outq_pop(&l->small);
        l->small_credit -= o->wire < l->small_credit ? (uint32_t)o->wire : l->small_credit;
    } else {
        l->small_credit = SMALL_CREDIT;
        o = l->big ? l->big : outq_pop(&l->large);
        l->big = NULL;
    }
    pthread_mutex_unlock(&l->qlock);
    return o;
}

static void piece_start(struct out *o)
{
    struct wg_msg_hdr h = { .type = WG_FRAME_PIECE, .id = o->id };

    h.payload_len = o->payload_left < WG_FRAME_PIECE_MAX ? o->payload_left : WG_FRAME_PIECE_MAX;
    wg_frame_encode(o->piece_hdr, &h);
    o->head = o->piece_hdr;
    o->head_at = 0;
    o->head_len = WG_MSG_HEADER;
    o->piece_left = h.payload_len;
}

/* The next bytes, or false when the queue is empty. *ret_ends: the message ends with them. */
static bool next_bytes(struct wg_lane *l, const uint8_t **ret, uint32_t *ret_len)
{
    for (;;) {
        struct out *o = l->cur;

        if (!o && !(o = l->cur = pick(l)))
            return false;
        if (o->head_at < o->head_len) {
            *ret = o->head + o->head_at;
            *ret_len = o->head_len - o->head_at;
            return true;
        }
        if (o->payload_left == 0) {
            outq_push(&l->batch.done, o);
            l->batch.msgs++;
            l->batch.bytes += o->wire;
            l->cur = NULL;
        } else if (o->piece_left == 0) {
            /* Between pieces others may go first; back from there, this one goes on. */
            piece_start(o);
            l->big = o;
            l->cur = NULL;
        } else if (o->seg[o->seg_at].len == o->seg_off) {
            o->seg_at++;
            o->seg_off = 0;
        } else {
            uint32_t n = o->seg[o->seg_at].len - o->seg_off;

            *ret = (uint8_t *)o->seg[o->seg_at].base + o->seg_off;
            *ret_len = n < o->piece_left ? n : o->piece_left;
            return true;
        }
    }
}

static void advance(struct out *o, uint32_t n)
{
    if (o->head_at < o->head_len) {
        o->head_at += n;
        return;
    }
    o->seg_off += n;
    o->piece_left -= n;
    o->payload_left -= n;
}

/* ---- batches ---- */

/* Under ssl_lock. The out buffer has room for every record of a batch, so it can't be refused. */
static int record(struct wg_lane *l, const uint8_t *p, size_t n)
{
    size_t done;

    return SSL_write_ex(l->ssl, p, n, &done) == 1 && done == n ? 0 : EPROTO;
}

static int plain_flush(struct wg_lane *l)
{
    size_t n = l->plain_len;

    l->plain_len = 0;
    return n ? record(l, l->plain, n) : 0;
}

/* Small pieces are gathered, since a record costs more than a copy of them; large ones are encrypted in place. */
static int fill_tls(struct wg_lane *l)
{
    uint32_t records = 0, bytes = 0, n;
    const uint8_t *p;
    int err = 0;

    while (!err && records < BATCH_RECORDS - 1 && bytes < BATCH_BYTES && next_bytes(l, &p, &n)) {
        if (n <= COPY_MAX) {
            if (n > RECORD - l->plain_len)
                n = (uint32_t)(RECORD - l->plain_len);
            memcpy(l->plain + l->plain_len, p, n);
            l->plain_len += n;
            if (l->plain_len == RECORD) {
                err = plain_flush(l);
                records++;
            }
        } else {
            records += 1 + (l->plain_len > 0);
            err = plain_flush(l);
            n = n < RECORD ? n : RECORD;
            if (!err)
                err = record(l, p, n);
        }
        advance(l->cur, n);
        bytes += n;
    }
    if (!err)
        err = plain_flush(l);
    l->bio_wrote = false;
    l->batch.iov[0] = (struct iovec){ l->out + l->out_at, l->out_len - l->out_at };
    l->batch.n = l->out_len > l->out_at;
    return err;
}

/* Without TLS the batch points at the payload itself. */
static void fill_plain(struct wg_lane *l)
{
    struct batch *b = &l->batch;
    uint32_t bytes = 0, n;
    const uint8_t *p;

    while (b->n < BATCH_IOV && bytes < 4 * BATCH_BYTES && l->out_len + COPY_MAX <= OUT_CAP &&
           next_bytes(l, &p, &n)) {
        struct iovec *last = b->n ? &b->iov[b->n - 1] : NULL;

        if (n <= COPY_MAX) {
            memcpy(l->out + l->out_len, p, n);
            p = l->out + l->out_len;
            l->out_len += n;
        }
        if (last && (uint8_t *)last->iov_base + last->iov_len == p)
            last->iov_len += n;
        else
            b->iov[b->n++] = (struct iovec){ (void *)p, n };
        advance(l->cur, n);
        bytes += n;
    }
}

static int fill(struct wg_lane *l)
{
    struct batch *b = &l->batch;
    int err = 0;

    b->n = b->at = 0;
    /* What SSL wrote by itself since the last batch, a key update say, moves to the front. */
    if (l->out_at < l->out_len)
        memmove(l->out, l->out + l->out_at, l->out_len - l->out_at);
    l->out_len -= l->out_at;
    l->out_at = 0;
    if (l->ssl)
        err = fill_tls(l);
    else
        fill_plain(l);
    /* A message may have ended with the batch's last byte: count it here. */
    if (l->cur && l->cur->head_at == l->cur->head_len && l->cur->payload_left == 0) {
        outq_push(&b->done, l->cur);
        b->msgs++;
        b->bytes += l->cur->wire;
        l->cur = NULL;
    }
    return err;
}

static void batch_advance(struct wg_lane *l, size_t n)
{
    struct batch *b = &l->batch;

    if (l->ssl)
        l->out_at += n;
    while (b->at < b->n) {
        struct iovec *v = &b->iov[b->at];

        if (n < v->iov_len) {
            v->iov_base = (uint8_t *)v->iov_base + n;
            v->iov_len -= n;
            return;
        }
        n -= v->iov_len;
        b->at++;
    }
    if (!l->ssl)
        l->out_at = l->out_len;
}

/* Writes the batch: 0 all of it, EAGAIN, or the connection's error. No lock held. */
static int batch_write(struct wg_lane *l)
{
    struct batch *b = &l->batch;

    while (b->at < b->n) {
        struct msghdr mh = { .msg_iov = b->iov + b->at, .msg_iovlen = b->n - b->at };
        size_t want = 0;
        ssize_t n;

        for (unsigned i = b->at; i < b->n; i++)
            want += b->iov[i].iov_len;
        atomic_fetch_add_explicit(&l->tx_calls, 1, memory_order_relaxed);
        n = sendmsg(l->fd, &mh, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EWOULDBLOCK ? EAGAIN : errno;
        atomic_fetch_add_explicit(&l->tx_bytes, (uint64_t)n, memory_order_relaxed);
        batch_advance(l, (size_t)n);
    }
    return 0;
}

/* ---- the writer's role ---- */

static bool batch_waits(const struct wg_lane *l)
{
    return l->batch.at < l->batch.n;
}

/* Under qlock: a writer is wanted, and there is none. */
static bool wanted(const struct wg_lane *l)
{
    return l->open && !l->writing && !l->blocked && (l->urgent || l->extra || batch_waits(l));
}

/* Under qlock. Below half after EAGAIN: tell; below half of the pause: let the reader go on. */
static bool relieved(struct wg_lane *l)
{
    uint64_t queued = atomic_load_explicit(&l->queued, memory_order_relaxed);
    bool tell = l->full && queued <= l->o.queue_max / 2;

    if (tell)
        l->full = false;
    if (queued <= l->o.pause_bytes / 2 && atomic_exchange(&l->pausing, false))
        lane_kick(l);
    return tell;
}

/* The whole batch is out: its messages are no longer the lane's. */
static struct out *batch_release(struct wg_lane *l)
{
    struct out *list = l->batch.done.head;

    for (struct out *o = list; o; o = o->next)
        out_release(o);
    outq_init(&l->batch.done);
    return list;
}

/* Ends the role with what batch_write said. Returns true when there is more to do. */
static bool role_end(struct wg_lane *l, int err)
{
    struct out *list = err ? NULL : batch_release(l), *drop = NULL, *o, *next;
    bool tell = false, more;

    pthread_mutex_lock(&l->qlock);
    if (err == 0) {
        atomic_store_explicit(&l->queued,
                              atomic_load_explicit(&l->queued, memory_order_relaxed) - l->batch.bytes,
                              memory_order_relaxed);
        l->queued_msgs -= l->batch.msgs;
        atomic_fetch_add_explicit(&l->tx_msgs, l->batch.msgs, memory_order_relaxed);
        l->batch.bytes = l->batch.msgs = 0;
        tell = relieved(l);
    } else if (err == EAGAIN) {
        l->blocked = !l->out_event; /* POLLOUT came meanwhile: try again */
    } else {
        l->open = false;
        if (!l->reset_err)
            l->reset_err = err;
    }
    for (o = list; o; o = next) {
        next = o->next;
        if ((o = out_give(l, o))) {
            o->next = drop;
            drop = o;
        }
    }
    if (err == 0)
        l->urgent = l->urgent && (l->small.head || l->large.head || l->big || l->cur);
    l->writing = false;
    more = wanted(l);
    if (!l->open)
        pthread_cond_broadcast(&l->qcond);
    pthread_mutex_unlock(&l->qlock);
    for (o = drop; o; o = next) {
        next = o->next;
        free(o);
    }
    if (tell && l->o.ops->writable)
        l->o.ops->writable(l);
    return more;
}

/* Under qlock. */
static void role_begin(struct wg_lane *l)
{
    l->writing = true;
    l->out_event = false;
}

/*
 * Encrypts and writes as long as there is something. Whoever lets go of ssl_lock comes here after
 * it, so that a message put in the queue while it was held is not forgotten (rule 5).
 */
void lane_pump(struct wg_lane *l)
{
    for (unsigned round = 0;; round++) {
        bool go, tired, leftover;
        int err = 0;

        pthread_mutex_lock(&l->qlock);
        go = wanted(l);
        tired = go && round >= PUMP_ROUNDS && !poller_on_thread(l);
        leftover = go && !tired && batch_waits(l);
        if (leftover)
            role_begin(l);
        pthread_mutex_unlock(&l->qlock);
        if (tired)
            lane_kick(l);
        if (!go || tired)
            return;
        if (!leftover) {
            if (pthread_mutex_trylock(&l->ssl_lock))
                return;
            pthread_mutex_lock(&l->qlock);
            go = wanted(l) && !batch_waits(l);
            if (go) {
                role_begin(l);
                l->extra = false;
            }
            pthread_mutex_unlock(&l->qlock);
            if (go)
                err = fill(l);
            pthread_mutex_unlock(&l->ssl_lock);
            if (!go)
                continue;
        }
        if (!err)
            err = batch_write(l);
        if (err && err != EAGAIN)
            shutdown(l->fd, SHUT_RDWR); /* the reader sees the end and takes the lane down */
        if (!role_end(l, err))
            return;
    }
}

void lane_writable(struct wg_lane *l)
{
    bool go;

    pthread_mutex_lock(&l->qlock);
    l->out_event = true;
    go = l->blocked;
    l->blocked = false;
    pthread_mutex_unlock(&l->qlock);
    if (go)
        lane_pump(l);
}

void lane_drop_queue(struct wg_lane *l)
{
    struct outq all;
    struct out *o;

    outq_init(&all);
    pthread_mutex_lock(&l->qlock);
    while ((o = outq_pop(&l->small)) || (o = outq_pop(&l->large)) || (o = outq_pop(&l->held)) || (o = outq_pop(&l->batch.done)))
        outq_push(&all, o);
    if (l->cur)
        outq_push(&all, l->cur);
    if (l->big)
        outq_push(&all, l->big);
    l->cur = l->big = NULL;
    l->batch.n = l->batch.at = l->batch.msgs = 0;
    l->batch.bytes = 0;
    l->queued_msgs = 0;
    l->urgent = l->extra = l->blocked = l->full = l->opening = false;
    atomic_store(&l->queued, 0);
    pthread_mutex_unlock(&l->qlock);
    while ((o = outq_pop(&all))) {
        out_release(o);
        free(o);
    }
}
