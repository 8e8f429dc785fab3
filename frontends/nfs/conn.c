/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A TCP connection: records in, replies out. All reading threads wait on one epoll with
 * EPOLLONESHOT, so an event wakes one thread, which reads what is there, arms the connection
 * again and answers the calls inline. Replies are written by whoever has one, with the writer
 * thread as the fallback for full sockets.
 */
#include <errno.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define WG_LOG_PART "nfs"
#include "call.h"
#include "conn.h"
#include "dump.h"
#include "log.h"
#include "pool.h"

enum {
    SCRATCH = 256 << 10,     /* a reading thread's buffer */
    SCRATCH_MIN = 32 << 10,  /* the least worth receiving into */
    STREAM_SIZE = 64 << 10,  /* records above it get a buffer of their own */
    ROUNDS = 4,              /* receives for one event */
    IOVS = 64,
    STALL_S = 60,            /* a record that makes no progress for so long ends its connection */
};
#define LAST_FRAGMENT 0x80000000u

struct reader {
    pthread_t thread;
    struct wg_iobuf *buf;
    uint32_t used;           /* bytes of buf that requests still point into */
};

static struct {
    struct wg_rpc_config config;
    atomic_uint conn_requests;
    atomic_uint conn_bytes;
    int in_epoll, out_epoll, wake;
    atomic_bool stop;
    struct reader *readers;
    unsigned nreaders;
    pthread_t writer;
    bool writer_runs;
    pthread_mutex_t conns_lock;
    struct wg_rpc_conn *conns;
    unsigned nconns;
    uint64_t serial;
    atomic_uint udp_requests;
    atomic_uint_least64_t bytes;
} S = { .conns_lock = PTHREAD_MUTEX_INITIALIZER, .in_epoll = -1, .out_epoll = -1, .wake = -1 };

/* --- requests --- */

static void *request_make(struct wg_pool *p)
{
    return malloc(p->size);
}

static void request_destroy(struct wg_pool *p, void *obj)
{
    (void)p;
    free(obj);
}

static struct wg_pool requests = {
    .id = 24, .batch = 16, .keep = 512, .make = request_make, .destroy = request_destroy,
};

static void kick(struct wg_rpc_conn *c);

static void arm(struct wg_rpc_conn *c, int op)
{
    struct epoll_event ev = { .events = EPOLLIN | EPOLLONESHOT, .data.ptr = c };

    if (epoll_ctl(S.in_epoll, op, c->fd, &ev) != 0)
        wg_error("cannot wait for %s: %s", c->peer.text, strerror(errno));
}

/* Under c->lock: is there room for one request more? A connection may always have one. */
static bool may_call(const struct wg_rpc_conn *c)
{
    return c->active == 0 || (c->active < S.conn_requests && c->bytes < S.conn_bytes &&
                              S.bytes < S.config.total_bytes);
}

/* Under c->lock: may it be read (1), or read again after a pause (2: half the limit)? */
static bool may_read(const struct wg_rpc_conn *c, unsigned part)
{
    return !c->backlog && (c->active == 0 || (c->active < S.conn_requests / part &&
                                              c->bytes < S.conn_bytes / part &&
                                              S.bytes < S.config.total_bytes));
}

/* The connection whose backlog this thread works on: what ends inline must not nest. */
static __thread struct wg_rpc_conn *working;

/*
 * Starts what waits in the backlog as far as there is room, and ends the pause when there is
 * enough. The caller holds a reference of c.
 */
static void go_on(struct wg_rpc_conn *c)
{
    struct wg_rpc_conn *outer = working;
    struct wg_rpc *r;

    pthread_mutex_lock(&c->lock);
    if (outer && outer != c && (c->backlog || c->paused))
        kick(c); /* from another connection's call: the writer does it, on a flat stack */
    working = c;
    while (!outer && (r = c->backlog) && may_call(c)) {
        c->backlog = r->next;
        c->active++;
        pthread_mutex_unlock(&c->lock);
        r->next = NULL;
        wg_request_call(r);
        pthread_mutex_lock(&c->lock);
    }
    working = outer;
    if (c->paused && may_read(c, 2)) {
        c->paused = false;
        arm(c, EPOLL_CTL_MOD);
    }
    pthread_mutex_unlock(&c->lock);
}

void wg_conn_done(struct wg_rpc *r)
{
    struct wg_rpc_conn *c = r->conn;

    uint32_t charged = r->charged;
    bool called = r->called, more;

    if (called)
        S.config.release(r);
    wg_iobuf_unref(r->head_buf);
    wg_iobuf_unref(r->record);
    wg_pool_put(&requests, r);
    if (!c) {
        atomic_fetch_sub(&S.udp_requests, called);
        return;
    }
    if (charged > 0)
        S.bytes -= charged;
    pthread_mutex_lock(&c->lock);
    c->requests--;
    c->active -= called;
    c->bytes -= charged;
    more = c->backlog || c->paused;
    pthread_mutex_unlock(&c->lock);
    if (more)
        go_on(c);
    wg_xprt_unref(c->xprt);
}

void wg_rpc_charge(struct wg_rpc *r, uint32_t bytes)
{
    if (!r->conn)
        return;
    r->charged += bytes;
    pthread_mutex_lock(&r->conn->lock);
    r->conn->bytes += bytes;
    pthread_mutex_unlock(&r->conn->lock);
    S.bytes += bytes;
}

/* Only the fields before reply are set. */
struct wg_rpc *wg_request_new(void)
{
    struct wg_rpc *r = wg_pool_get(&requests);

    if (!r)
        return NULL;
    memset(r, 0, offsetof(struct wg_rpc, reply));
    return r;
}

void wg_request_call(struct wg_rpc *r)
{
    if (!r->conn)
        atomic_fetch_add(&S.udp_requests, 1);
    r->called = true;
    S.config.call(r);
}

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
        S.bytes += r->charged;
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
    if (len == 0 || len > S.config.record_max - (c->rec ? c->rec_have : 0)) {
        wg_info("%s port %u announced a fragment of %u bytes", c->peer.text, c->peer.port, len);
        return false;
    }
    c->rec_last = mark & LAST_FRAGMENT;
    c->rec_need = len;
    if (!c->rec) {
        c->rec = wg_iobuf_get(c->rec_last ? len : S.config.record_max);
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

static enum got received(ssize_t n)
{
    if (n > 0)
        return MORE;
    return n < 0 && (errno == EAGAIN || errno == EINTR) ? DRAINED : DEAD;
}

/* The rest of a large record, straight into its buffer. */
static enum got receive_large(struct wg_rpc_conn *c, struct batch *b)
{
    bool body = c->rec && c->rec_need > 0;
    uint8_t *to = body ? (uint8_t *)c->rec->base + c->rec_have : c->mark + c->nmark;
    uint32_t want = body ? c->rec_need : 4 - c->nmark;
    ssize_t n = recv(c->fd, to, want, MSG_DONTWAIT);

    if (received(n) != MORE)
        return received(n);
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
static enum got receive_small(struct reader *t, struct wg_rpc_conn *c, struct batch *b)
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
    if (received(n) != MORE)
        return received(n);
    if (!parse(c, t->buf, at, (uint32_t)n, b))
        return DEAD;
    if (atomic_load(&t->buf->refs) > 1)
        t->used = (t->used + (uint32_t)n + 63) & ~63u;
    return (uint32_t)n < room ? DRAINED : MORE;
}

/* --- one event --- */

/* Everything that was sent has been acknowledged, and the peer said that it is done. */
static bool closed_in_order(struct wg_rpc_conn *c)
{
    int unsent = 1;
    bool idle;

    pthread_mutex_lock(&c->lock);
    idle = c->requests == 0;
    pthread_mutex_unlock(&c->lock);
    return idle && ioctl(c->fd, SIOCOUTQ, &unsent) == 0 && unsent == 0;
}

static void close_conn(struct wg_rpc_conn *c, bool in_order)
{
    if (in_order && S.config.closed)
        S.config.closed(&c->peer);
    c->closed = true;
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
static void readable(struct reader *t, struct wg_rpc_conn *c)
{
    struct batch b = { NULL, &b.first };
    enum got got = MORE;
    bool partial;

    pthread_mutex_lock(&c->lock);
    c->paused = !may_read(c, 1);
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
        close_conn(c, !b.first && closed_in_order(c));
    pthread_mutex_lock(&c->lock);
    append_backlog(c, &b);
    if (got != DEAD) {
        c->paused = c->requests >= S.conn_requests || c->bytes >= S.conn_bytes;
        if (!c->paused)
            arm(c, EPOLL_CTL_MOD);
    }
    pthread_mutex_unlock(&c->lock);
    go_on(c);
    wg_xprt_unref(c->xprt);
}

static void *reader_main(void *arg)
{
    struct reader *t = arg;
    struct epoll_event ev;

    pthread_setname_np(pthread_self(), "nfs-read");
    while (!atomic_load(&S.stop))
        if (epoll_wait(S.in_epoll, &ev, 1, -1) == 1 && ev.data.ptr)
            readable(t, ev.data.ptr);
    wg_iobuf_unref(t->buf);
    return NULL;
}

/* --- replies --- */

/* Appends what is left of r after skip bytes to iov; returns the number of entries used. */
static unsigned gather(const struct wg_rpc *r, size_t skip, struct iovec *iov, unsigned room)
{
    static const uint8_t zeros[4];
    unsigned n = 0;

    for (unsigned i = 0; i < r->nseg + 2 && n < room; i++) {
        struct iovec v;

        if (i == 0)
            v = (struct iovec){ r->head, r->head_len };
        else if (i <= r->nseg)
            v = (struct iovec){ r->seg[i - 1].base, r->seg[i - 1].len };
        else
            v = (struct iovec){ (void *)zeros, wg_xdr_pad(r->payload) };
        if (v.iov_len <= skip) {
            skip -= v.iov_len;
            continue;
        }
        iov[n++] = (struct iovec){ (uint8_t *)v.iov_base + skip, v.iov_len - skip };
        skip = 0;
    }
    return n;
}

static size_t reply_size(const struct wg_rpc *r)
{
    return (size_t)r->head_len + r->payload + wg_xdr_pad(r->payload);
}

/* Under c->lock: takes off the replies that n more bytes complete. */
static void take_sent(struct wg_rpc_conn *c, size_t n, struct wg_rpc ***done)
{
    c->sent += n;
    while (c->first && (c->dead || c->sent >= reply_size(c->first))) {
        struct wg_rpc *r = c->first;

        c->sent -= c->dead ? c->sent : reply_size(r);
        c->first = r->next;
        if (!c->first)
            c->last = &c->first;
        r->next = NULL;
        **done = r;
        *done = &r->next;
    }
}

/* Under c->lock: the socket is full; the writer goes on when there is room. */
static void block(struct wg_rpc_conn *c)
{
    struct epoll_event ev = { .events = EPOLLOUT | EPOLLONESHOT, .data.ptr = c };

    wg_xprt_ref(c->xprt); /* the writer's, until it has run */
    c->blocked = true;
    if (epoll_ctl(S.out_epoll, c->in_writer ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, c->fd, &ev) != 0) {
        wg_error("cannot wait to write to %s: %s", c->peer.text, strerror(errno));
        c->blocked = false;
        c->dead = true;
        wg_xprt_unref(c->xprt); /* not the last: the caller has one */
    }
    c->in_writer = true;
}

/* Under c->lock: lets the writer call go_on. */
static void kick(struct wg_rpc_conn *c)
{
    if (!c->blocked)
        block(c);
}

/*
 * Writes the queue, as its one sender, until it is empty or the socket full. Called with c->lock
 * and c->sending set; the caller holds a reference of c.
 */
static void flush(struct wg_rpc_conn *c)
{
    struct wg_rpc *done = NULL, **end = &done;

    while (c->first && !c->dead) {
        struct iovec iov[IOVS];
        struct msghdr m = { .msg_iov = iov };
        size_t skip = c->sent;
        ssize_t n;

        for (const struct wg_rpc *r = c->first; r && m.msg_iovlen < IOVS; r = r->next, skip = 0)
            m.msg_iovlen += gather(r, skip, iov + m.msg_iovlen, IOVS - (unsigned)m.msg_iovlen);
        pthread_mutex_unlock(&c->lock);
        n = sendmsg(c->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
        pthread_mutex_lock(&c->lock);
        if (n >= 0) {
            take_sent(c, (size_t)n, &end);
        } else if (errno == EAGAIN) {
            block(c);
            break;
        } else if (errno != EINTR) {
            c->dead = true;
            shutdown(c->fd, SHUT_RDWR); /* the reader sees it and closes */
        }
    }
    if (c->dead)
        take_sent(c, 0, &end);
    c->sending = false;
    pthread_mutex_unlock(&c->lock);
    for (struct wg_rpc *next; done; done = next) {
        next = done->next;
        wg_conn_done(done);
    }
}

void wg_conn_send(struct wg_rpc *r)
{
    struct wg_rpc_conn *c = r->conn;

    pthread_mutex_lock(&c->lock);
    r->next = NULL;
    *c->last = r;
    c->last = &r->next;
    if (c->sending || (c->blocked && !c->dead)) {
        pthread_mutex_unlock(&c->lock);
        return;
    }
    c->sending = true;
    wg_xprt_ref(c->xprt); /* the flush may give back the last request */
    flush(c);
    wg_xprt_unref(c->xprt);
}

static void writable(struct wg_rpc_conn *c)
{
    pthread_mutex_lock(&c->lock);
    c->blocked = false;
    if (c->sending) {
        pthread_mutex_unlock(&c->lock);
    } else {
        c->sending = true;
        flush(c);
    }
    go_on(c);
    wg_xprt_unref(c->xprt); /* block's */
}

/* A peer that stops in the middle of a record holds a buffer: it does not do so for ever. */
static void end_stalled(void)
{
    uint64_t now = wg_now_coarse_ns();

    pthread_mutex_lock(&S.conns_lock);
    for (struct wg_rpc_conn *c = S.conns; c; c = c->next) {
        uint64_t since = atomic_load_explicit(&c->since_ns, memory_order_relaxed);

        if (since && now > since + STALL_S * 1000000000ull) {
            wg_info("%s port %u stopped in the middle of a record", c->peer.text, c->peer.port);
            shutdown(c->fd, SHUT_RDWR);
        }
    }
    pthread_mutex_unlock(&S.conns_lock);
}

static void *writer_main(void *arg)
{
    uint64_t swept = wg_now_coarse_ns();
    struct epoll_event ev[16];

    (void)arg;
    pthread_setname_np(pthread_self(), "nfs-write");
    while (!atomic_load(&S.stop)) {
        int n = epoll_wait(S.out_epoll, ev, 16, 5000);

        for (int i = 0; i < n; i++)
            if (ev[i].data.ptr)
                writable(ev[i].data.ptr);
        if (wg_now_coarse_ns() - swept > 5000000000ull) {
            end_stalled();
            swept = wg_now_coarse_ns();
        }
    }
    return NULL;
}

/* --- connections --- */

struct wg_rpc_conn *wg_conn_new(void *xprt, int fd, const struct sockaddr_storage *ss)
{
    struct wg_rpc_conn *c = calloc(1, sizeof *c);

    if (!c)
        return NULL;
    c->xprt = xprt;
    c->fd = fd;
    c->last = &c->first;
    pthread_mutex_init(&c->lock, NULL);
    wg_peer_set(&c->peer, ss);
    pthread_mutex_lock(&S.conns_lock);
    c->peer.serial = ++S.serial;
    c->next = S.conns;
    if (c->next)
        c->next->prev = c;
    S.conns = c;
    S.nconns++;
    pthread_mutex_unlock(&S.conns_lock);
    return c;
}

void wg_conn_free(struct wg_rpc_conn *c)
{
    pthread_mutex_lock(&S.conns_lock);
    if (c->prev)
        c->prev->next = c->next;
    else
        S.conns = c->next;
    if (c->next)
        c->next->prev = c->prev;
    S.nconns--;
    pthread_mutex_unlock(&S.conns_lock);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

void wg_conn_take(struct wg_rpc_conn *c)
{
    if (c->taken)
        return;
    c->taken = true;
    wg_xprt_ref(c->xprt); /* the readers', until close_conn */
    arm(c, EPOLL_CTL_ADD);
}

void wg_conn_unlinked(struct wg_rpc_conn *c)
{
    shutdown(c->fd, SHUT_RDWR); /* wakes reader and writer, which let go */
}

void wg_conn_limits(unsigned nrequests, uint32_t bytes)
{
    atomic_store(&S.conn_requests, nrequests);
    atomic_store(&S.conn_bytes, bytes);
}

unsigned wg_conn_requests(void)
{
    unsigned n = atomic_load(&S.udp_requests);

    pthread_mutex_lock(&S.conns_lock);
    for (struct wg_rpc_conn *c = S.conns; c; c = c->next) {
        pthread_mutex_lock(&c->lock);
        n += c->requests;
        pthread_mutex_unlock(&c->lock);
    }
    pthread_mutex_unlock(&S.conns_lock);
    return n;
}

unsigned wg_conn_count(void)
{
    unsigned n;

    pthread_mutex_lock(&S.conns_lock);
    n = S.nconns;
    pthread_mutex_unlock(&S.conns_lock);
    return n;
}

int wg_conn_start(const struct wg_rpc_config *config)
{
    struct epoll_event wake = { .events = EPOLLIN, .data.ptr = NULL };

    S.config = *config;
    requests.size = config->request_size;
    wg_conn_limits(config->conn_requests, config->conn_bytes);
    S.in_epoll = epoll_create1(EPOLL_CLOEXEC);
    S.out_epoll = epoll_create1(EPOLL_CLOEXEC);
    S.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    S.readers = calloc(config->threads, sizeof *S.readers);
    if (S.in_epoll < 0 || S.out_epoll < 0 || S.wake < 0 || !S.readers ||
        epoll_ctl(S.in_epoll, EPOLL_CTL_ADD, S.wake, &wake) != 0 ||
        epoll_ctl(S.out_epoll, EPOLL_CTL_ADD, S.wake, &wake) != 0) {
        int err = errno;

        wg_error("cannot wait for NFS connections: %s", strerror(err));
        return err;
    }
    for (; S.nreaders < config->threads; S.nreaders++) {
        struct reader *t = &S.readers[S.nreaders];
        int err = pthread_create(&t->thread, NULL, reader_main, t);

        if (err) {
            wg_error("cannot start a thread for NFS: %s", strerror(err));
            return err;
        }
    }
    if (pthread_create(&S.writer, NULL, writer_main, NULL) != 0) {
        wg_error("cannot start the writer thread for NFS");
        return EAGAIN;
    }
    S.writer_runs = true;
    return 0;
}

void wg_conn_stop(void)
{
    uint64_t one = 1;

    atomic_store(&S.stop, true);
    if (S.wake >= 0 && write(S.wake, &one, sizeof one) != sizeof one)
        wg_error("cannot wake the NFS threads: %s", strerror(errno));
    for (unsigned i = 0; i < S.nreaders; i++)
        pthread_join(S.readers[i].thread, NULL);
    if (S.writer_runs)
        pthread_join(S.writer, NULL);
    free(S.readers);
    S.readers = NULL;
    S.nreaders = 0;
    S.writer_runs = false;
    for (int *fd = (int[]){ S.in_epoll, S.out_epoll, S.wake, -1 }; *fd >= 0; fd++)
        close(*fd);
    S.in_epoll = S.out_epoll = S.wake = -1;
}

void wg_conn_dump(struct wg_dump *d)
{
    wg_dump_u64(d, "requests", wg_conn_requests());
    wg_dump_u64(d, "bytes", S.bytes);
    wg_dump_u64(d, "threads", S.nreaders);
    wg_dump_array(d, "connections");
    pthread_mutex_lock(&S.conns_lock);
    for (struct wg_rpc_conn *c = S.conns; c; c = c->next) {
        pthread_mutex_lock(&c->lock);
        wg_dump_object(d, NULL);
        wg_dump_fmt(d, "peer", "%s port %u", c->peer.text, c->peer.port);
        wg_dump_u64(d, "calls", c->calls);
        wg_dump_u64(d, "requests", c->requests);
        wg_dump_u64(d, "bytes", c->bytes);
        wg_dump_bool(d, "paused", c->paused);
        wg_dump_bool(d, "blocked", c->blocked);
        wg_dump_bool(d, "replies_queued", c->first != NULL);
        wg_dump_end(d);
        pthread_mutex_unlock(&c->lock);
    }
    pthread_mutex_unlock(&S.conns_lock);
    wg_dump_end(d);
}
