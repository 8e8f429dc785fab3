/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TCP connections: what they have under way, their limits, their beginning and end. conn_read.c
 * takes records in, conn_send.c sends replies out.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define WG_LOG_PART "nfs"
#include "conn.h"
#include "dump.h"
#include "log.h"
#include "pool.h"

#define QUIET_MS 5000 /* who gave up a connection has waited for longer */

struct wg_conns wg_conns = {
    .conns_lock = PTHREAD_MUTEX_INITIALIZER, .in_epoll = -1, .out_epoll = -1, .wake = -1,
};

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
    .name = "nfs requests", .id = 24, .batch = 16, .keep = 512, .make = request_make, .destroy = request_destroy,
};

void wg_conn_arm(struct wg_rpc_conn *c, int op)
{
    struct epoll_event ev = { .events = EPOLLIN | EPOLLONESHOT, .data.ptr = c };

    if (epoll_ctl(wg_conns.in_epoll, op, c->fd, &ev) != 0)
        wg_error("cannot wait for %s: %s", c->peer.text, strerror(errno));
}

/* Under c->lock: is less under way than this part of the limits? One request always may be. */
static bool below_limits(const struct wg_rpc_conn *c, unsigned part)
{
    return c->active == 0 ||
           (c->active < wg_conns.conn_requests / part && c->bytes < wg_conns.conn_bytes / part &&
            wg_conns.bytes < wg_conns.config.total_bytes);
}

bool wg_conn_may_read(const struct wg_rpc_conn *c, unsigned part)
{
    return !c->backlog && below_limits(c, part);
}

/* The connection whose backlog this thread works on: what ends inline must not nest. */
static __thread struct wg_rpc_conn *working;

/*
 * Under c->lock, which is dropped meanwhile: what waits in the backlog of a connection that is gone
 * was never begun; its client sends it again, if it cares, on another one.
 */
static void drop_backlog(struct wg_rpc_conn *c)
{
    struct wg_rpc *r = c->backlog, *next;

    c->backlog = NULL;
    pthread_mutex_unlock(&c->lock);
    for (; r; r = next) {
        next = r->next;
        wg_conn_done(r);
    }
    pthread_mutex_lock(&c->lock);
}

/*
 * Starts what waits in the backlog as far as there is room, and ends the pause when there is
 * enough. The caller holds a reference of c.
 */
void wg_conn_go_on(struct wg_rpc_conn *c)
{
    struct wg_rpc_conn *outer = working;
    struct wg_rpc *r;

    pthread_mutex_lock(&c->lock);
    if (c->dead && c->backlog)
        drop_backlog(c);
    if (outer && outer != c && (c->backlog || c->paused))
        wg_conn_kick(c); /* from another connection's call: the writer does it, on a flat stack */
    working = c;
    while (!outer && (r = c->backlog) && below_limits(c, 1)) {
        c->backlog = r->next;
        c->active++;
        pthread_mutex_unlock(&c->lock);
        r->next = NULL;
        wg_request_call(r);
        pthread_mutex_lock(&c->lock);
    }
    working = outer;
    if (c->paused && wg_conn_may_read(c, c->full ? 2 : 1)) {
        c->paused = false;
        wg_conn_arm(c, EPOLL_CTL_MOD);
    }
    pthread_mutex_unlock(&c->lock);
}

void wg_conn_done(struct wg_rpc *r)
{
    struct wg_rpc_conn *c = r->conn;

    uint32_t charged = r->charged;
    bool called = r->called, more;

    if (called)
        wg_conns.config.release(r);
    wg_iobuf_unref(r->head_buf);
    wg_iobuf_unref(r->record);
    wg_pool_put(&requests, r);
    if (!c) {
        atomic_fetch_sub(&wg_conns.udp_requests, called);
        return;
    }
    if (charged > 0)
        wg_conns.bytes -= charged;
    pthread_mutex_lock(&c->lock);
    c->requests--;
    c->active -= called;
    c->bytes -= charged;
    more = c->backlog || c->paused;
    pthread_mutex_unlock(&c->lock);
    if (more)
        wg_conn_go_on(c);
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
    wg_conns.bytes += bytes;
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
        atomic_fetch_add(&wg_conns.udp_requests, 1);
    r->called = true;
    wg_conns.config.call(r);
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
    pthread_mutex_lock(&wg_conns.conns_lock);
    c->peer.serial = ++wg_conns.serial;
    c->next = wg_conns.conns;
    if (c->next)
        c->next->prev = c;
    wg_conns.conns = c;
    wg_conns.nconns++;
    pthread_mutex_unlock(&wg_conns.conns_lock);
    return c;
}

/* Under conns_lock. */
static void add_counts(struct wg_nfs_counts *to, struct wg_rpc_conn *c)
{
    pthread_mutex_lock(&c->lock);
    to->requests += c->calls;
    pthread_mutex_unlock(&c->lock);
    to->bytes_in += atomic_load_explicit(&c->bytes_in, memory_order_relaxed);
    to->bytes_out += atomic_load_explicit(&c->bytes_out, memory_order_relaxed);
}

void wg_conn_counts(struct wg_nfs_counts *ret)
{
    pthread_mutex_lock(&wg_conns.conns_lock);
    *ret = wg_conns.ended;
    for (struct wg_rpc_conn *c = wg_conns.conns; c; c = c->next)
        add_counts(ret, c);
    ret->connections = wg_conns.nconns;
    pthread_mutex_unlock(&wg_conns.conns_lock);
}

/* TCP knows of an end before its event is read here. Once c is unlinked its descriptor may be a newer connection's. */
static bool in_use(struct wg_rpc_conn *c)
{
    struct tcp_info info = { 0 };
    socklen_t len = sizeof info;
    bool known;

    pthread_mutex_lock(&c->lock);
    known = !c->unlinked && getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0;
    pthread_mutex_unlock(&c->lock);
    return known && info.tcpi_state == TCP_ESTABLISHED && info.tcpi_last_data_recv < QUIET_MS;
}

bool wg_rpc_in_use(uint64_t serial)
{
    bool found = false;

    pthread_mutex_lock(&wg_conns.conns_lock);
    for (struct wg_rpc_conn *c = wg_conns.conns; c && !found; c = c->next)
        found = c->peer.serial == serial && in_use(c);
    pthread_mutex_unlock(&wg_conns.conns_lock);
    return found;
}

void wg_conn_free(struct wg_rpc_conn *c)
{
    /* A reply after the end of the stream would have failed, and made it dead. */
    if (c->in_order && !c->dead && wg_conns.config.closed)
        wg_conns.config.closed(&c->peer);
    pthread_mutex_lock(&wg_conns.conns_lock);
    if (c->prev)
        c->prev->next = c->next;
    else
        wg_conns.conns = c->next;
    if (c->next)
        c->next->prev = c->prev;
    wg_conns.nconns--;
    add_counts(&wg_conns.ended, c);
    pthread_mutex_unlock(&wg_conns.conns_lock);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

void wg_conn_take(struct wg_rpc_conn *c)
{
    if (c->taken)
        return;
    c->taken = true;
    wg_xprt_ref(c->xprt); /* the readers', until close_conn */
    wg_conn_arm(c, EPOLL_CTL_ADD);
}

/* Wakes reader and writer, which let go. c's fd is open until it is unlinked. */
void wg_conn_hang_up(struct wg_rpc_conn *c)
{
    pthread_mutex_lock(&c->lock);
    if (!c->unlinked)
        shutdown(c->fd, SHUT_RDWR);
    pthread_mutex_unlock(&c->lock);
}

void wg_conn_unlinked(struct wg_rpc_conn *c)
{
    wg_conn_hang_up(c);
    pthread_mutex_lock(&c->lock);
    c->unlinked = true;
    pthread_mutex_unlock(&c->lock);
}

void wg_conn_hang_up_all(void)
{
    pthread_mutex_lock(&wg_conns.conns_lock);
    for (struct wg_rpc_conn *c = wg_conns.conns; c; c = c->next)
        wg_conn_hang_up(c);
    pthread_mutex_unlock(&wg_conns.conns_lock);
}

void wg_conn_limits(unsigned nrequests, uint32_t bytes)
{
    atomic_store(&wg_conns.conn_requests, nrequests);
    atomic_store(&wg_conns.conn_bytes, bytes);
}

unsigned wg_conn_requests(void)
{
    unsigned n = atomic_load(&wg_conns.udp_requests);

    pthread_mutex_lock(&wg_conns.conns_lock);
    for (struct wg_rpc_conn *c = wg_conns.conns; c; c = c->next) {
        pthread_mutex_lock(&c->lock);
        n += c->requests;
        pthread_mutex_unlock(&c->lock);
    }
    pthread_mutex_unlock(&wg_conns.conns_lock);
    return n;
}

unsigned wg_conn_count(void)
{
    unsigned n;

    pthread_mutex_lock(&wg_conns.conns_lock);
    n = wg_conns.nconns;
    pthread_mutex_unlock(&wg_conns.conns_lock);
    return n;
}

int wg_conn_start(const struct wg_rpc_config *config)
{
    struct epoll_event wake = { .events = EPOLLIN, .data.ptr = NULL };

    wg_conns.config = *config;
    requests.size = config->request_size;
    wg_conn_limits(config->conn_requests, config->conn_bytes);
    wg_conns.in_epoll = epoll_create1(EPOLL_CLOEXEC);
    wg_conns.out_epoll = epoll_create1(EPOLL_CLOEXEC);
    wg_conns.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    wg_conns.readers = calloc(config->threads, sizeof *wg_conns.readers);
    if (wg_conns.in_epoll < 0 || wg_conns.out_epoll < 0 || wg_conns.wake < 0 || !wg_conns.readers ||
        epoll_ctl(wg_conns.in_epoll, EPOLL_CTL_ADD, wg_conns.wake, &wake) != 0 ||
        epoll_ctl(wg_conns.out_epoll, EPOLL_CTL_ADD, wg_conns.wake, &wake) != 0) {
        int err = errno;

        wg_error("cannot wait for NFS connections: %s", strerror(err));
        return err;
    }
    for (; wg_conns.nreaders < config->threads; wg_conns.nreaders++) {
        struct wg_reader *t = &wg_conns.readers[wg_conns.nreaders];
        int err = pthread_create(&t->thread, NULL, wg_conn_reader, t);

        if (err) {
            wg_error("cannot start a thread for NFS: %s", strerror(err));
            return err;
        }
    }
    if (pthread_create(&wg_conns.writer, NULL, wg_conn_writer, NULL) != 0) {
        wg_error("cannot start the writer thread for NFS");
        return EAGAIN;
    }
    wg_conns.writer_runs = true;
    return 0;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void wg_conn_stop(void)
{
    uint64_t one = 1;

    atomic_store(&wg_conns.stop, true);
    if (wg_conns.wake >= 0 && write(wg_conns.wake, &one, sizeof one) != sizeof one)
        wg_error("cannot wake the NFS threads: %s", strerror(errno));
    for (unsigned i = 0; i < wg_conns.nreaders; i++)
        pthread_join(wg_conns.readers[i].thread, NULL);
    if (wg_conns.writer_runs)
        pthread_join(wg_conns.writer, NULL);
    free(wg_conns.readers);
    wg_conns.readers = NULL;
    wg_conns.nreaders = 0;
    wg_conns.writer_runs = false;
    close_fd(&wg_conns.in_epoll);
    close_fd(&wg_conns.out_epoll);
    close_fd(&wg_conns.wake);
}

void wg_conn_dump(struct wg_dump *d)
{
    struct wg_nfs_counts sum;

    wg_conn_counts(&sum);
    wg_dump_u64(d, "requests-now", wg_conn_requests());
    wg_dump_u64(d, "requests", sum.requests);
    wg_dump_u64(d, "bytes-in", sum.bytes_in);
    wg_dump_u64(d, "bytes-out", sum.bytes_out);
    wg_dump_u64(d, "bytes-held", wg_conns.bytes);
    wg_dump_u64(d, "threads", wg_conns.nreaders);
    wg_dump_array(d, "connections");
    pthread_mutex_lock(&wg_conns.conns_lock);
    for (struct wg_rpc_conn *c = wg_conns.conns; c; c = c->next) {
        pthread_mutex_lock(&c->lock);
        wg_dump_object(d, NULL);
        wg_dump_fmt(d, "peer", "%s port %u", c->peer.text, c->peer.port);
        wg_dump_u64(d, "requests-now", c->requests);
        wg_dump_u64(d, "requests", c->calls);
        wg_dump_u64(d, "bytes-in", atomic_load(&c->bytes_in));
        wg_dump_u64(d, "bytes-out", atomic_load(&c->bytes_out));
        wg_dump_u64(d, "bytes-held", c->bytes);
        wg_dump_bool(d, "paused", c->paused);
        wg_dump_bool(d, "blocked", c->blocked);
        wg_dump_bool(d, "replies_queued", c->first != NULL);
        wg_dump_end(d);
        pthread_mutex_unlock(&c->lock);
    }
    pthread_mutex_unlock(&wg_conns.conns_lock);
    wg_dump_end(d);
}
