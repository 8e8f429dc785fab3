/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records in. All reading threads wait on one epoll with EPOLLONESHOT, so an event wakes one
 * thread, which reads what is there, arms the connection again and answers the calls inline.
 */
#include <errno.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define WG_LOG_PART "nfs"
#include "call.h"
#include "conn.h"
#include "log.h"

enum {
    SCRATCH = 256 << 10,     /* a reading thread's buffer */
    SCRATCH_MIN = 32 << 10,  /* the least worth receiving into */
    STREAM_SIZE = 64 << 10,  /* records above it get a buffer of their own */
    ROUNDS = 4,              /* receives for one event */
};
#define LAST_FRAGMENT 0x80000000u

/* --- records --- */

enum got { DRAINED, MORE, DEAD };

struct batch {
    struct wg_rpc *first, **last;
};

/* RFC 5531 section 9: the header of a call. false: it is none. */
static bool parse_call(struct wg_rpc *r, const uint8_t *p, uint32_t len, uint32_t *ret_rpcvers)
{
    struct wg_xdr_in x = { p, p + len, false };

    r->xid = wg_xdr_get_u32(&x);
    if (wg_xdr_get_u32(&x) != 0)
        return false;
    *ret_rpcvers = wg_xdr_get_u32(&x);
    r->prog = wg_xdr_get_u32(&x);
    r->vers = wg_xdr_get_u32(&x);
    r->proc = wg_xdr_get_u32(&x);
    r->flavor = wg_xdr_get_u32(&x);
    r->cred = wg_xdr_get_bytes(&x, RPC_AUTH_MAX);
    wg_xdr_get_u32(&x);
    wg_xdr_get_bytes(&x, RPC_AUTH_MAX);
    r->args = x.at;
    r->args_len = (uint32_t)wg_xdr_left(&x);
    return !x.bad;
}

/* MSG_DENIED, RPC_MISMATCH: written whole, since no other reply looks like it. */
static void refuse_rpc_version(struct wg_rpc *r)
{
    r->head = r->reply;
    r->out = (struct wg_xdr_out){ r->reply + 4, r->reply + sizeof r->reply, false };
    wg_xdr_put_u32(&r->out, r->xid);
    wg_xdr_put_u32(&r->out, 1); /* REPLY */
    wg_xdr_put_u32(&r->out, 1); /* MSG_DENIED */
    wg_xdr_put_u32(&r->out, 0); /* RPC_MISMATCH */
    wg_xdr_put_u32(&r->out, 2);
    wg_xdr_put_u32(&r->out, 2);
    wg_rpc_send(r);
}

/* A complete record at p, in buf. Adds its request to the batch; false: the peer talks no RPC. */
static bool take_record(struct wg_rpc_conn *c, const uint8_t *p, uint32_t len, struct wg_iobuf *buf,
                        struct batch *b)
{
    struct wg_rpc *r = wg_request_new();
    uint32_t rpcvers;

    if (!r)
        return false;
    if (len <= sizeof r->text) {
        memcpy(r->text, p, len);
        p = r->text;
    } else {
        r->record = wg_iobuf_ref(buf);
        r->charged = len;
    }
    r->conn = c;
    r->peer = &c->peer;
    wg_xprt_ref(c->xprt);
    pthread_mutex_lock(&c->lock);
    c->requests++;
    c->calls++;
    c->bytes += r->charged;
    pthread_mutex_unlock(&c->lock);
    if (r->charged > 0)
        wg_conns.bytes += r->charged;
    if (!parse_call(r, p, len, &rpcvers)) {
        wg_info("%s port %u sent a record that is no RPC call", c->peer.text, c->peer.port);
        wg_rpc_drop(r);
        return false;
    }
    if (rpcvers != 2) {
        refuse_rpc_version(r);
        return true;
    }
    *b->last = r;
    b->last = &r->next;
    return true;
}

/* A fragment's mark: starts a record or goes on with one. false: over the limit, or empty. */
static bool take_mark(struct wg_rpc_conn *c)
{
    uint32_t mark, len;

    memcpy(&mark, c->mark, sizeof mark);
    mark = be32toh(mark);
    len = mark & ~LAST_FRAGMENT;
    c->nmark = 0;
    if (len == 0 || len > wg_conns.config.record_max - (c->rec ? c->rec_have : 0)) {
        wg_info("%s port %u announced a fragment of %u bytes", c->peer.text, c->peer.port, len);
        return false;
    }
    c->rec_last = mark & LAST_FRAGMENT;
    c->rec_need = len;
    if (!c->rec) {
        c->rec = wg_iobuf_get(c->rec_last ? len : wg_conns.config.record_max);
        c->rec_have = 0;
        c->streaming = len > STREAM_SIZE;
    }
    return c->rec != NULL;
}

static bool end_record(struct wg_rpc_conn *c, struct batch *b)
{
    struct wg_iobuf *buf = c->rec;
    bool ok = take_record(c, buf->base, c->rec_have, buf, b);

    c->rec = NULL;
    wg_iobuf_unref(buf);
    return ok;
}

/* Bytes that belong to an incomplete mark or record; returns how many were used, 0 on an error. */
static uint32_t feed(struct wg_rpc_conn *c, const uint8_t *p, uint32_t n, struct batch *b)
{
    uint32_t use;

    if (!c->rec || c->rec_need == 0) {
        use = n < 4 - c->nmark ? n : 4 - c->nmark;
        memcpy(c->mark + c->nmark, p, use);
        c->nmark += use;
        return c->nmark < 4 || take_mark(c) ? use : 0;
    }
    use = n < c->rec_need ? n : c->rec_need;
    memcpy((uint8_t *)c->rec->base + c->rec_have, p, use);
    c->rec_have += use;
    c->rec_need -= use;
    if (c->rec_need == 0 && c->rec_last && !end_record(c, b))
        return 0;
    return use;
}

/* n bytes of a stream, in the reader's buffer: whole records are used where they lie. */
static bool parse(struct wg_rpc_conn *c, struct wg_iobuf *buf, const uint8_t *p, uint32_t n,
                  struct batch *b)
{
    while (n > 0) {
        uint32_t mark, use;

        if (!c->rec && c->nmark == 0 && n > 4) {
            memcpy(&mark, p, sizeof mark);
            mark = be32toh(mark);
            use = mark & ~LAST_FRAGMENT;
            if ((mark & LAST_FRAGMENT) && use > 0 && use <= n - 4) {
                if (!take_record(c, p + 4, use, buf, b))
                    return false;
                p += 4 + use;
                n -= 4 + use;
                continue;
            }
        }
        use = feed(c, p, n, b);
        if (use == 0)
            return false;
        p += use;
        n -= use;
    }
    return true;
}

static void count_in(struct wg_rpc_conn *c, ssize_t n)
{
    atomic_store_explicit(&c->bytes_in, atomic_load_explicit(&c->bytes_in, memory_order_relaxed) + (uint64_t)n,
                          memory_order_relaxed);
}

static enum got nothing_received(struct wg_rpc_conn *c, ssize_t n)
{
    c->eof = n == 0;
    return n < 0 && (errno == EAGAIN || errno == EINTR) ? DRAINED : DEAD;
}

/* The rest of a large record, straight into its buffer. */
static enum got receive_large(struct wg_rpc_conn *c, struct batch *b)
{
    bool body = c->rec && c->rec_need > 0;
    uint8_t *to = body ? (uint8_t *)c->rec->base + c->rec_have : c->mark + c->nmark;
    uint32_t want = body ? c->rec_need : 4 - c->nmark;
    ssize_t n = recv(c->fd, to, want, MSG_DONTWAIT);

    if (n <= 0)
        return nothing_received(c, n);
    count_in(c, n);
    if (body) {
        c->rec_have += (uint32_t)n;
        c->rec_need -= (uint32_t)n;
        if (c->rec_need == 0 && c->rec_last && !end_record(c, b))
            return DEAD;
    } else {
        c->nmark += (unsigned)n;
        if (c->nmark == 4 && !take_mark(c))
            return DEAD;
    }
    return (uint32_t)n < want ? DRAINED : MORE;
}

/* Small records, many at once, into the reader's buffer. */
static enum got receive_small(struct wg_reader *t, struct wg_rpc_conn *c, struct batch *b)
{
    uint32_t room;
    uint8_t *at;
    ssize_t n;

    if (t->buf && atomic_load(&t->buf->refs) == 1)
        t->used = 0;
    if (t->buf && t->buf->size - t->used < SCRATCH_MIN) {
        wg_iobuf_unref(t->buf);
        t->buf = NULL;
    }
    if (!t->buf) {
        t->buf = wg_iobuf_get(SCRATCH);
        t->used = 0;
    }
    if (!t->buf)
        return DEAD;
    at = (uint8_t *)t->buf->base + t->used;
    room = t->buf->size - t->used < STREAM_SIZE ? t->buf->size - t->used : STREAM_SIZE;
    n = recv(c->fd, at, room, MSG_DONTWAIT);
    if (n <= 0)
        return nothing_received(c, n);
    count_in(c, n);
    if (!parse(c, t->buf, at, (uint32_t)n, b))
        return DEAD;
    if (atomic_load(&t->buf->refs) > 1)
        t->used = (t->used + (uint32_t)n + 63) & ~63u;
    return (uint32_t)n < room ? DRAINED : MORE;
}

/* --- one event --- */

/*
 * The peer is done. Whether it was in order, everything sent and acknowledged, shows when the last
 * request has ended, which may be a moment later: a reply can arrive before sendmsg returns here.
 */
static void close_conn(struct wg_rpc_conn *c, bool eof)
{
    int unsent = 1;

    if (eof && ioctl(c->fd, SIOCOUTQ, &unsent) == 0 && unsent == 0)
        c->in_order = true;
    if (!eof) {
        /* It went away amid its requests: their answers have nowhere to go. */
        pthread_mutex_lock(&c->lock);
        c->dead = true;
        pthread_mutex_unlock(&c->lock);
    }
    wg_iobuf_unref(c->rec);
    c->rec = NULL;
    atomic_store(&c->since_ns, 0);
    wg_xprt_destroy(c->xprt);
    wg_xprt_unref(c->xprt); /* the one of wg_conn_take; c may be gone */
}

/* Under c->lock. */
static void append_backlog(struct wg_rpc_conn *c, struct batch *b)
{
    struct wg_rpc **at = &c->backlog;

    while (*at)
        at = &(*at)->next; /* it is empty but for a moment */
    *at = b->first;
}

/*
 * Reads what is there, arms the connection for the next reader, and only then answers: a slow
 * call does not keep others of the same connection waiting. After arming, no reading field of c
 * is touched.
 */
static void readable(struct wg_reader *t, struct wg_rpc_conn *c)
{
    struct batch b = { NULL, &b.first };
    enum got got = MORE;
    bool partial;

    pthread_mutex_lock(&c->lock);
    c->paused = !wg_conn_may_read(c, 1);
    c->full = c->paused && !c->backlog;
    if (c->paused) {
        pthread_mutex_unlock(&c->lock);
        return;
    }
    pthread_mutex_unlock(&c->lock);
    wg_xprt_ref(c->xprt);
    for (int i = 0; i < ROUNDS && got == MORE && !b.first; i++)
        got = c->rec || c->streaming ? receive_large(c, &b) : receive_small(t, c, &b);
    partial = c->rec || c->nmark > 0;
    atomic_store_explicit(&c->since_ns, partial ? wg_now_coarse_ns() : 0, memory_order_relaxed);
    if (got == DEAD)
        close_conn(c, !b.first && c->eof);
    pthread_mutex_lock(&c->lock);
    append_backlog(c, &b);
    if (got != DEAD) {
        c->paused = c->full = c->requests >= wg_conns.conn_requests || c->bytes >= wg_conns.conn_bytes;
        if (!c->paused)
            wg_conn_arm(c, EPOLL_CTL_MOD);
    }
    pthread_mutex_unlock(&c->lock);
    wg_conn_go_on(c);
    wg_xprt_unref(c->xprt);
}

void *wg_conn_reader(void *arg)
{
    struct wg_reader *t = arg;
    struct epoll_event ev;

    pthread_setname_np(pthread_self(), "nfs-read");
    while (!atomic_load(&wg_conns.stop))
        if (epoll_wait(wg_conns.in_epoll, &ev, 1, -1) == 1 && ev.data.ptr)
            readable(t, ev.data.ptr);
    wg_iobuf_unref(t->buf);
    return NULL;
}
