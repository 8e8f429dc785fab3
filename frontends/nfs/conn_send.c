/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replies out. Whoever has one writes the socket, unless somebody writes it already; the writer
 * thread goes on with sockets that were full, and ends connections that stall.
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define WG_LOG_PART "nfs"
#include "call.h"
#include "conn.h"
#include "log.h"

enum {
    IOVS = 64,
    STALL_S = 60, /* a record that makes no progress for so long ends its connection */
};

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
    int op = c->in_writer ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

    wg_xprt_ref(c->xprt); /* the writer's, until it has run */
    c->blocked = true;
    if (epoll_ctl(wg_conns.out_epoll, op, c->fd, &ev) != 0) {
        wg_error("cannot wait to write to %s: %s", c->peer.text, strerror(errno));
        c->blocked = false;
        c->dead = true;
        wg_xprt_unref(c->xprt); /* not the last: the caller has one */
    }
    c->in_writer = true;
}

/* Under c->lock: lets the writer call wg_conn_go_on. */
void wg_conn_kick(struct wg_rpc_conn *c)
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
            atomic_store_explicit(&c->bytes_out, c->bytes_out + (uint64_t)n, memory_order_relaxed);
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
    wg_conn_go_on(c);
    wg_xprt_unref(c->xprt); /* block's */
}

/* A peer that stops in the middle of a record holds a buffer: it does not do so for ever. */
static void end_stalled(void)
{
    uint64_t now = wg_now_coarse_ns();

    pthread_mutex_lock(&wg_conns.conns_lock);
    for (struct wg_rpc_conn *c = wg_conns.conns; c; c = c->next) {
        uint64_t since = atomic_load_explicit(&c->since_ns, memory_order_relaxed);

        if (since && now > since + STALL_S * 1000000000ull) {
            wg_info("%s port %u stopped in the middle of a record", c->peer.text, c->peer.port);
            wg_conn_hang_up(c);
        }
    }
    pthread_mutex_unlock(&wg_conns.conns_lock);
}

void *wg_conn_writer(void *arg)
{
    uint64_t swept = wg_now_coarse_ns();
    struct epoll_event ev[16];

    (void)arg;
    pthread_setname_np(pthread_self(), "nfs-write");
    while (!atomic_load(&wg_conns.stop)) {
        int n = epoll_wait(wg_conns.out_epoll, ev, 16, 5000);

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
