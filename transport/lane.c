/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a lane: connect, handshake, up, down, again. All on the reader's thread. */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/un.h>
#include <unistd.h>

#define WG_LOG_PART "transport"
#include "internal.h"
#include "log.h"

static atomic_uint_least64_t last_conn;

void lane_set_state(struct wg_lane *l, enum wg_lane_state s)
{
    atomic_store(&l->state, s);
    atomic_store(&l->since_ns, wg_now_coarse_ns());
}

static enum wg_lane_state state(const struct wg_lane *l)
{
    return (enum wg_lane_state)atomic_load_explicit(&l->state, memory_order_relaxed);
}

bool lane_paused(struct wg_lane *l)
{
    if (atomic_load_explicit(&l->pauses, memory_order_relaxed) > 0 || state(l) == WG_LANE_DRAINING)
        return true;
    if (l->o.pause_bytes == 0 || wg_lane_queued(l) <= l->o.pause_bytes)
        return false;
    /* Told before looking again, so that whoever empties the queue meanwhile sees it. */
    atomic_store(&l->pausing, true);
    if (atomic_load(&l->queued) > l->o.pause_bytes / 2)
        return true;
    atomic_store(&l->pausing, false);
    return false;
}

/* ---- connecting ---- */

/*
 * On loopback the kernel's own tuning keeps megabytes in flight: nothing is gained, small messages wait
 * behind them (4 ms instead of 0.6 on one lane), and the cache is flushed. A network may need them.
 */
#define LOOPBACK_BUF (128u << 10)

static void set_buf(struct wg_lane *l, int which, const char *name, uint32_t size)
{
    int n = (int)size;

    if (n == 0 && (strncmp(l->peer_addr, "127.", 4) == 0 || strncmp(l->peer_addr, "[::1]", 5) == 0 ||
                   strncmp(l->peer_addr, "[::ffff:127.", 12) == 0))
        n = LOOPBACK_BUF;
    if (n && setsockopt(l->fd, SOL_SOCKET, which, &n, sizeof n))
        wg_debug("%s %d: %s", name, n, strerror(errno));
}

static void set_sockopts(struct wg_lane *l)
{
    int one = 1;

    if (!l->addr.path)
        (void)setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* no TCP: no matter */
    set_buf(l, SO_SNDBUF, "SO_SNDBUF", l->o.sndbuf);
    set_buf(l, SO_RCVBUF, "SO_RCVBUF", l->o.rcvbuf);
}

/* A jitter of a quarter keeps many lanes from coming back at the same moment. */
static uint64_t jittered(uint64_t ns)
{
    uint32_t r = 0;

    if (RAND_bytes((unsigned char *)&r, sizeof r) != 1)
        r = (uint32_t)wg_now_ns();
    return ns - ns / 8 + ns / 4 * (r >> 16) / 65536;
}

void lane_forget_hosts(struct wg_lane *l)
{
    if (l->ai)
        freeaddrinfo(l->ai);
    l->ai = l->ai_next = NULL;
}

static void try_later(struct wg_lane *l)
{
    lane_forget_hosts(l);
    lane_set_state(l, WG_LANE_IDLE);
    poller_deadline(l, wg_now_ns() + jittered(l->backoff_ns));
    l->backoff_ns *= 2;
    if (l->backoff_ns > l->o.backoff_max_ms * MS)
        l->backoff_ns = l->o.backoff_max_ms * MS;
}

/* Says why, once for each reason in a row. */
static void log_down(struct wg_lane *l, bool was_up, int err, const char *text)
{
    const char *to = l->addr.text ? l->addr.text : l->peer_addr;

    pthread_mutex_lock(&l->qlock);
    snprintf(l->last_error, sizeof l->last_error, "%s", text);
    pthread_mutex_unlock(&l->qlock);
    if (err == ECANCELED || (l->listener && err == ECONNRESET && was_up)) {
        wg_info("lane %s with %s (%s) ended: %s", l->o.name, to, l->peer_name, text);
    } else if (strcmp(l->logged, text) != 0) {
        snprintf(l->logged, sizeof l->logged, "%s", text);
        wg_warning("lane %s with %s (%s) %s: %s", l->o.name, to, l->peer_name,
                   was_up ? "lost" : "failed", text);
    }
}

static void connect_failed(struct wg_lane *l, int err, const char *text)
{
    struct wg_down why = { .err = err, .text = text };

    log_down(l, false, err, text);
    if (l->o.ops->failed) {
        tl_view.lane = l;
        l->o.ops->failed(l, &why);
        tl_view.lane = NULL;
    }
}

static void close_fd(struct wg_lane *l)
{
    if (l->fd >= 0)
        close(l->fd);
    l->fd = -1;
}

/* 0: connecting or connected; else an errno, and no descriptor is left. */
static int connect_start(struct wg_lane *l, int family, const struct sockaddr *sa, socklen_t len)
{
    struct sockaddr_storage ss = { 0 };
    int err;

    l->fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (l->fd < 0)
        return errno;
    memcpy(&ss, sa, len);
    pthread_mutex_lock(&l->qlock);
    sockaddr_show(&ss, len, l->peer_addr, sizeof l->peer_addr);
    pthread_mutex_unlock(&l->qlock);
    set_sockopts(l);
    err = poller_watch(l, l->fd);
    if (!err && connect(l->fd, sa, len) && errno != EINPROGRESS)
        err = errno;
    if (err) {
        close_fd(l);
        return err;
    }
    lane_set_state(l, WG_LANE_CONNECTING);
    poller_deadline(l, wg_now_ns() + l->o.connect_ms * MS);
    return 0;
}

static int connect_unix(struct wg_lane *l)
{
    struct sockaddr_un un = { .sun_family = AF_UNIX };

    memcpy(un.sun_path, l->addr.path, strlen(l->addr.path)); /* length was checked by addr_parse */
    return connect_start(l, AF_UNIX, (struct sockaddr *)&un, sizeof un);
}

/* Tries the remaining addresses of the host; the last one's error counts. */
static void connect_next(struct wg_lane *l, int err)
{
    while (l->ai_next) {
        struct addrinfo *a = l->ai_next;

        l->ai_next = a->ai_next;
        err = connect_start(l, a->ai_family, a->ai_addr, a->ai_addrlen);
        if (!err)
            return;
    }
    connect_failed(l, err, strerror(err));
    try_later(l);
}

void lane_connect_begin(struct wg_lane *l)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV };
    int err;

    if (l->addr.path) {
        err = connect_unix(l);
        if (err)
            connect_next(l, err);
        return;
    }
    err = getaddrinfo(l->addr.host, l->addr.port, &hints, &l->ai);
    if (err) {
        l->ai = NULL;
        connect_failed(l, EHOSTUNREACH, gai_strerror(err));
        try_later(l);
        return;
    }
    l->ai_next = l->ai;
    connect_next(l, EHOSTUNREACH);
}

static void connect_done(struct wg_lane *l)
{
    int err = 0;
    socklen_t len = sizeof err;

    if (getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &err, &len))
        err = errno;
    if (err) {
        close_fd(l);
        connect_next(l, err);
        return;
    }
    lane_begin(l);
}

/* ---- up ---- */

static void set_open(struct wg_lane *l, bool open)
{
    pthread_mutex_lock(&l->qlock);
    l->open = open;
    l->reset_err = 0;
    pthread_mutex_unlock(&l->qlock);
}

void lane_begin(struct wg_lane *l)
{
    int err;

    lane_forget_hosts(l);
    if (l->listener)
        set_sockopts(l);
    l->eof = l->hup = l->undrained = l->joined = l->ping_out = false;
    l->readable = true; /* an edge may have come before anyone looked */
    l->cipher_at = l->cipher_len = 0;
    l->out_at = l->out_len = l->plain_len = 0;
    l->shaken = l->o.tls == NULL;
    lane_set_state(l, WG_LANE_HANDSHAKE);
    poller_deadline(l, wg_now_ns() + l->o.handshake_ms * MS);
    wg_parser_fini(&l->parser);
    err = wg_parser_init(&l->parser, l->o.body_max, l->o.payload_max);
    if (!err && l->o.tls)
        err = tls_attach(l, l->listener != NULL);
    set_open(l, true);
    if (err) {
        lane_down(l, err, "no memory for the connection");
        return;
    }
    poller_ready(l);
}

/* Both sides have checked each other. */
static void go_up(struct wg_lane *l)
{
    uint64_t conn = atomic_fetch_add(&last_conn, 1) + 1, now = wg_now_ns();

    l->joined = true;
    l->up_ns = now;
    l->logged[0] = '\0';
    lane_set_state(l, WG_LANE_UP);
    poller_deadline(l, l->o.ping_ms == WG_OFF ? 0 : now + l->o.ping_ms * MS);
    atomic_fetch_add(&l->connects, 1);
    wg_info("lane %s with %s (%s) is up%s%s", l->o.name, l->peer_addr, l->peer_name,
            l->tls_text[0] ? ", " : "", l->tls_text);
    pthread_mutex_lock(&l->qlock);
    l->opening = true;
    atomic_store(&l->conn, conn);
    pthread_mutex_unlock(&l->qlock);
    tl_view.lane = l;
    l->o.ops->up(l, conn);
    tl_view.lane = NULL;
    lane_opened(l);
    /* A reload between handshake and now looked at lanes that were up: look here. */
    if (l->o.tls) {
        struct tls_state *s = tls_current(l->o.tls);

        if (s != l->tls_state)
            lane_recheck(l, s);
        tls_state_unref(s);
    }
}

void lane_welcome(struct wg_lane *l)
{
    go_up(l);
}

static void handshake_done(struct wg_lane *l)
{
    l->shaken = true;
    if (l->ssl)
        tls_peer_kept(l);
    if (!l->listener)
        return; /* up when the server's welcome comes, which says that it accepts our certificate */
    if (lane_send_own(l, WG_FRAME_WELCOME, 0))
        lane_down(l, ENOMEM, "out of memory");
    else
        go_up(l);
}

/* true: goes on to read. */
static bool handshake(struct wg_lane *l)
{
    char text[160];
    int r, why, err = 0;

    if (l->cipher_at == l->cipher_len && l->readable)
        (void)lane_recv_cipher(l); /* its end shows as eof */
    pthread_mutex_lock(&l->ssl_lock);
    r = SSL_do_handshake(l->ssl);
    why = SSL_get_error(l->ssl, r);
    if (r != 1 && why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE)
        err = tls_error(l->ssl, text, sizeof text);
    l->bio_wrote = false;
    pthread_mutex_unlock(&l->ssl_lock);
    pthread_mutex_lock(&l->qlock);
    l->extra = true;
    pthread_mutex_unlock(&l->qlock);
    lane_pump(l);
    if (err) {
        lane_down(l, err, text);
        return false;
    }
    if (r == 1) {
        handshake_done(l);
        return l->fd >= 0;
    }
    if (l->eof)
        lane_down(l, ECONNRESET, "closed by the peer during the handshake");
    return false;
}

/* ---- down ---- */

/* Waits until no writer is left; from here on none begins. */
static void stop_writers(struct wg_lane *l, int *err, char *text, size_t size)
{
    pthread_mutex_lock(&l->qlock);
    l->open = false;
    atomic_store(&l->conn, 0);
    while (l->writing)
        pthread_cond_wait(&l->qcond, &l->qlock);
    if (l->reset_err) {
        *err = l->reset_err;
        snprintf(text, size, "%s", l->reset_text[0] ? l->reset_text : strerror(l->reset_err));
    }
    l->reset_err = 0;
    l->reset_text[0] = '\0';
    pthread_mutex_unlock(&l->qlock);
}

/* A last try to tell the peer: an alert, or the close notice. What it does not take at once is lost. */
static void say_goodbye(struct wg_lane *l, int err)
{
    pthread_mutex_lock(&l->ssl_lock);
    if (l->shaken && err != EPROTO && !l->eof)
        (void)SSL_shutdown(l->ssl);
    if (l->out_len > l->out_at && !l->eof)
        (void)!send(l->fd, l->out + l->out_at, l->out_len - l->out_at, MSG_NOSIGNAL | MSG_DONTWAIT);
    pthread_mutex_unlock(&l->ssl_lock);
}

static void tear_down(struct wg_lane *l, int err)
{
    if (l->ssl) {
        say_goodbye(l, err);
        pthread_mutex_lock(&l->ssl_lock);
        SSL_free(l->ssl);
        l->ssl = NULL;
        pthread_mutex_unlock(&l->ssl_lock);
    }
    close_fd(l);
    l->ev = 0;
    l->readable = l->undrained = l->eof = false;
    atomic_store(&l->corked, 0);
    atomic_store(&l->pausing, false);
    lane_drop_queue(l);
    wg_parser_fini(&l->parser);
    if (l->tls_state)
        tls_state_unref(l->tls_state);
    l->tls_state = NULL;
}

void lane_down(struct wg_lane *l, int err, const char *text)
{
    bool was_up = l->joined;
    char why_text[160];
    struct wg_down why = { .conn = atomic_load(&l->conn), .err = err, .text = why_text };

    snprintf(why_text, sizeof why_text, "%s", text);
    stop_writers(l, &why.err, why_text, sizeof why_text);
    tear_down(l, why.err);
    l->joined = false;
    /* A connection that lasted was a good one: the next attempt comes soon. */
    if (was_up && wg_now_ns() - l->up_ns > 1000 * MS)
        l->backoff_ns = l->o.backoff_min_ms * MS;
    if (was_up) {
        log_down(l, true, why.err, why_text);
        atomic_fetch_add(&l->downs, 1);
        tl_view.lane = l;
        l->o.ops->down(l, &why);
        tl_view.lane = NULL;
    } else if (why.err != ECANCELED) {
        connect_failed(l, why.err, why_text);
    }
    tls_peer_forget(l);
    if (l->listener || atomic_load(&l->closing))
        l->finish = true;
    else
        try_later(l);
}

/* ---- what others ask for, and time ---- */

static void attend_doomed(struct wg_lane *l, uint64_t now)
{
    if (!l->joined)
        return;
    if (!l->listener) {
        lane_down(l, EACCES, "the peer's certificate is no longer accepted");
        return;
    }
    lane_set_state(l, WG_LANE_DRAINING);
    poller_deadline(l, now + tls_drain_ms(l->o.tls) * MS);
}

static void attend_ping(struct wg_lane *l, uint64_t now)
{
    uint64_t idle_at = atomic_load(&l->last_rx_ns) + l->o.ping_ms * MS;
    uint64_t dead_at = l->ping_ns + l->o.ping_timeout_ms * MS;

    if (lane_paused(l) || (!l->ping_out && now < idle_at)) {
        /* Whoever does not listen can't tell whether the peer lives. */
        l->ping_out = false;
        poller_deadline(l, now < idle_at ? idle_at : now + l->o.ping_ms * MS);
    } else if (!l->ping_out) {
        l->ping_out = true;
        l->ping_ns = now;
        poller_deadline(l, now + l->o.ping_timeout_ms * MS);
        if (lane_send_own(l, WG_FRAME_PING, now))
            lane_down(l, ENOMEM, "out of memory");
    } else if (now >= dead_at) {
        lane_down(l, ETIMEDOUT, "no answer to a ping");
    } else {
        poller_deadline(l, dead_at);
    }
}

static void attend_deadline(struct wg_lane *l, uint64_t now)
{
    poller_deadline(l, 0);
    switch (state(l)) {
    case WG_LANE_IDLE:
        lane_connect_begin(l);
        break;
    case WG_LANE_CONNECTING:
        close_fd(l);
        connect_next(l, ETIMEDOUT);
        break;
    case WG_LANE_HANDSHAKE:
        lane_down(l, ETIMEDOUT, "the handshake took too long");
        break;
    case WG_LANE_UP:
        attend_ping(l, now);
        break;
    case WG_LANE_DRAINING:
        lane_down(l, EACCES, "the peer's certificate is no longer accepted");
        break;
    case WG_LANE_CLOSED:
        break;
    }
}

static void attend_closing(struct wg_lane *l)
{
    if (l->finish)
        return;
    if (state(l) == WG_LANE_HANDSHAKE || state(l) == WG_LANE_UP || state(l) == WG_LANE_DRAINING)
        lane_down(l, ECANCELED, "closed here");
    close_fd(l);
    l->finish = true;
}

void lane_attend(struct wg_lane *l, uint64_t now)
{
    bool reset;

    if (atomic_exchange(&l->kick, false)) {
        if (atomic_load(&l->closing)) {
            attend_closing(l);
            return;
        }
        pthread_mutex_lock(&l->qlock);
        reset = l->reset_err && l->open;
        pthread_mutex_unlock(&l->qlock);
        if (reset)
            lane_down(l, ECONNRESET, "reset");
        else if (atomic_exchange(&l->doomed, false))
            attend_doomed(l, now);
        if (l->finish)
            return;
        lane_pump(l);
        poller_ready(l);
    }
    if (l->deadline_ns && now >= l->deadline_ns)
        attend_deadline(l, now);
}

bool lane_service(struct wg_lane *l)
{
    unsigned ev = l->ev;
    int r;

    l->ev = 0;
    if (l->fd < 0 || l->finish)
        return false;
    if (state(l) == WG_LANE_CONNECTING) {
        if (ev & (EPOLLOUT | EPOLLERR | EPOLLHUP))
            connect_done(l);
        return false;
    }
    if (ev & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        l->readable = true;
    if (ev & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        l->hup = true;
    if (ev & EPOLLOUT)
        lane_writable(l);
    if ((ev & (EPOLLHUP | EPOLLERR)) && lane_paused(l)) {
        lane_down(l, ECONNRESET, "connection closed by the peer");
        return false;
    }
    if (!l->shaken && !handshake(l))
        return l->fd >= 0 && l->readable;
    if (l->ssl == NULL && l->listener && !l->joined) {
        handshake_done(l);
        if (l->fd < 0)
            return false;
    }
    r = lane_read(l);
    if (r == READ_LOST || r == READ_DOWN || lane_paused(l))
        return false;
    return r == READ_OK || l->readable || l->undrained;
}
