/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Receiving, all on the reader's thread: a large recv without a lock, decryption in slices under
 * ssl_lock, delivery without a lock. Payloads are decrypted straight into their iobufs.
 */
#include <errno.h>

#define WG_LOG_PART "transport"
#include "internal.h"
#include "log.h"

int lane_recv(struct wg_lane *l, void *to, size_t size, size_t *ret)
{
    ssize_t n;

    do {
        atomic_fetch_add_explicit(&l->rx_calls, 1, memory_order_relaxed);
        n = recv(l->fd, to, size, MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        l->readable = false;
        return READ_AGAIN;
    }
    if (n <= 0) {
        l->eof = true;
        l->rx_err = n < 0 ? errno : ECONNRESET;
        l->readable = false;
        return READ_DOWN;
    }
    /* Less than asked for: the socket is empty, and the next byte makes a new edge. A peer that has
       closed already made its edge: read on to the end. */
    if ((size_t)n < size && !l->hup)
        l->readable = false;
    atomic_fetch_add_explicit(&l->rx_bytes, (uint64_t)n, memory_order_relaxed);
    atomic_store_explicit(&l->last_rx_ns, wg_now_coarse_ns(), memory_order_relaxed);
    l->ping_out = false;
    *ret = (size_t)n;
    return READ_OK;
}

int lane_recv_cipher(struct wg_lane *l)
{
    int r;

    if (!l->readable)
        return READ_AGAIN;
    l->cipher_at = l->cipher_len = 0;
    r = lane_recv(l, l->cipher, CIPHER_CAP, &l->cipher_len);
    l->undrained = l->undrained || r == READ_OK;
    return r;
}

#define PLAIN_ROUNDS 16

/* Decrypts up to a slice. READ_OK: something was put; READ_AGAIN: all is drained; READ_DOWN: taken down. */
static int slice(struct wg_lane *l)
{
    size_t total = 0, n = 0;
    bool direct, wrote;
    int ok, why = SSL_ERROR_NONE, err = 0;
    char text[160];

    pthread_mutex_lock(&l->ssl_lock);
    do {
        uint8_t *dst;
        uint32_t room;

        direct = wg_parser_room(&l->parser, &dst, &room);
        ok = SSL_read_ex(l->ssl, dst, room, &n);
        if (ok != 1)
            break;
        wg_parser_put(&l->parser, (uint32_t)n);
        total += n;
    } while (direct && l->parser.frame_left > 0 && total < SLICE);
    if (ok != 1)
        why = SSL_get_error(l->ssl, 0);
    if (why == SSL_ERROR_SSL || why == SSL_ERROR_SYSCALL)
        err = tls_error(l->ssl, text, sizeof text);
    wrote = l->bio_wrote;
    l->bio_wrote = false;
    pthread_mutex_unlock(&l->ssl_lock);
    if (wrote) {
        pthread_mutex_lock(&l->qlock);
        l->extra = true;
        pthread_mutex_unlock(&l->qlock);
    }
    lane_pump(l);
    if (err) {
        lane_down(l, err, text);
        return READ_DOWN;
    }
    if (why == SSL_ERROR_WANT_WRITE) {
        lane_down(l, EPROTO, "the peer asks for more key updates than it reads");
        return READ_DOWN;
    }
    if (why == SSL_ERROR_ZERO_RETURN) {
        lane_down(l, ECONNRESET, "closed by the peer");
        return READ_DOWN;
    }
    if (why != SSL_ERROR_NONE)
        l->undrained = false;
    return total ? READ_OK : READ_AGAIN;
}

/* Without TLS: straight from the socket to where it belongs. */
static int slice_plain(struct wg_lane *l)
{
    uint8_t *dst;
    uint32_t room;
    size_t n;
    int r;

    if (!l->readable)
        return READ_AGAIN;
    /* Between pieces only little is read ahead, so that the next piece goes where it belongs. */
    if (!wg_parser_room(&l->parser, &dst, &room) && l->parser.open.active && room > COPY_MAX / 2)
        room = COPY_MAX / 2;
    r = lane_recv(l, dst, room, &n);
    if (r == READ_OK)
        wg_parser_put(&l->parser, (uint32_t)n);
    return r == READ_DOWN ? READ_AGAIN : r;
}

static int own_message(struct wg_lane *l, const struct wg_msg_hdr *h)
{
    switch (h->type) {
    case WG_FRAME_PING:
        /* When something is queued, that is the sign of life. */
        if (wg_lane_queued(l) == 0 && l->joined && lane_send_own(l, WG_FRAME_PONG, h->id))
            return ENOMEM;
        return 0;
    case WG_FRAME_PONG:
        return 0; /* last_rx_ns was set by receiving it */
    case WG_FRAME_WELCOME:
        if (l->listener || l->joined)
            return EPROTO;
        lane_welcome(l);
        return 0;
    }
    return EPROTO;
}

/* Answers gathered for longer than CORK_NS go out. */
static void cork_time(struct wg_lane *l, uint64_t now)
{
    if (atomic_load_explicit(&l->corked, memory_order_relaxed) == 0) {
        l->cork_ns = 0;
    } else if (l->cork_ns == 0) {
        l->cork_ns = now;
    } else if (now - l->cork_ns > CORK_NS) {
        l->cork_ns = 0;
        lane_uncork(l);
    }
}

/* false: the role was lost; l is not to be touched. */
static bool deliver(struct wg_lane *l, struct wg_parsed *m)
{
    uint64_t now = wg_now_ns();

    cork_time(l, now);
    atomic_fetch_add_explicit(&l->rx_msgs, 1, memory_order_relaxed);
    if (m->hdr.payload_len > SMALL_MAX)
        slice_bulk(l);
    poller_enter(l, now);
    l->o.ops->message(l, &m->hdr, m->body, m->payload);
    return poller_leave(l);
}

static void parse_failed(struct wg_lane *l, int err)
{
    const char *text = err == EPROTONOSUPPORT ? "another version of the protocol"
                       : err == EMSGSIZE      ? "a message longer than allowed"
                       : err == ENOMEM        ? "out of memory"
                                              : "not a message of ours";

    lane_down(l, err, text);
}

/* Delivers what is complete. READ_OK: all of it; READ_AGAIN: stopped, paused or asked for. */
static int deliver_all(struct wg_lane *l)
{
    struct wg_parsed m;
    int r;

    for (;;) {
        if (atomic_load_explicit(&l->kick, memory_order_relaxed) || lane_paused(l))
            return READ_AGAIN;
        r = wg_parser_next(&l->parser, &m);
        if (r == 0)
            return READ_OK;
        if (r == 1 && m.hdr.type >= WG_MSG_FIRST_TYPE && l->joined) {
            if (!deliver(l, &m))
                return READ_LOST;
            continue;
        }
        if (r == 1) {
            wg_iobuf_unref(m.payload);
            r = -own_message(l, &m.hdr);
        }
        if (r < 0) {
            parse_failed(l, -r);
            return READ_DOWN;
        }
        if (l->fd < 0) /* up() may have closed it */
            return READ_DOWN;
    }
}

int lane_read(struct wg_lane *l)
{
    int r = READ_OK;

    slice_choose(l);
    if (lane_paused(l) || (l->ssl && !l->undrained && !l->eof && lane_recv_cipher(l) == READ_AGAIN))
        return READ_AGAIN;
    /* With TLS until the ciphertext received is used up; plain, until others should have a turn. */
    for (int round = 0; r == READ_OK && (l->ssl || round < PLAIN_ROUNDS); round++) {
        r = deliver_all(l);
        if (r == READ_OK)
            r = l->ssl ? slice(l) : slice_plain(l);
    }
    if (r == READ_LOST || r == READ_DOWN)
        return r;
    l->cork_ns = 0;
    if (atomic_load_explicit(&l->corked, memory_order_relaxed))
        lane_uncork(l);
    if (l->eof && !l->undrained && r == READ_AGAIN && !lane_paused(l) &&
        !atomic_load_explicit(&l->kick, memory_order_relaxed)) {
        lane_down(l, l->rx_err, l->rx_err == ECONNRESET ? "connection closed by the peer" : strerror(l->rx_err));
        return READ_DOWN;
    }
    return r;
}
