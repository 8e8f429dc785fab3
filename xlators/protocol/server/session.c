/* SPDX-License-Identifier: Apache-2.0 */
/* Clients and their lanes: the handshake, epochs, the end of a lane. On the lanes' readers. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define WG_LOG_PART "server"
#include "iobuf.h"
#include "log.h"
#include "xlators/protocol/options.h"
#include "xlators/protocol/server/server.h"

int wg_server_send(struct wg_server_lane *l, struct wg_msg *m)
{
    /* The coarse clock is never ahead, and clients want a lower bound. */
    m->low = wg_now_coarse_ns();
    m->must = true;
    return wg_lane_send(l->lane, m);
}

int wg_session_send(struct wg_session *s, struct wg_msg *m)
{
    int err = ENOTCONN;

    pthread_mutex_lock(&s->lock);
    for (struct wg_server_lane *l = s->lanes; l && err; l = l->next)
        if (atomic_load(&l->welcomed))
            err = wg_server_send(l, m);
    pthread_mutex_unlock(&s->lock);
    return err;
}

/* --- lives --- */

static void session_free(struct wg_session *s)
{
    wg_holder_leave(&s->server->leases, atomic_load(&s->holder));
    wg_replycache_fini(&s->cache);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

void wg_server_lane_unref(struct wg_server_lane *l)
{
    if (!l || atomic_fetch_sub(&l->refs, 1) != 1)
        return;
    wg_lane_unref(l->lane);
    free(l);
}

static struct wg_session *session_new(struct wg_server *v, const struct wg_hello *h, const char *peer)
{
    struct wg_session *s = calloc(1, sizeof *s);

    if (!s)
        return NULL;
    if (wg_replycache_init(&s->cache, h->slots)) {
        free(s);
        return NULL;
    }
    s->server = v;
    memcpy(s->client, h->client, sizeof s->client);
    snprintf(s->name, sizeof s->name, "%.*s", (int)h->name.len, h->name.s ? h->name.s : "");
    snprintf(s->peer, sizeof s->peer, "%s", peer);
    s->slots = h->slots;
    s->born_ns = wg_now_coarse_ns();
    s->puller = h->kind == WG_SESSION_PULLER;
    pthread_mutex_init(&s->lock, NULL);
    return s;
}

/*
 * A client that is away may come back and send again what it sent before; when every one of its
 * requests has expired there is nothing left to recognise.
 */
static bool forgettable(struct wg_session *s, uint64_t now)
{
    bool away;

    pthread_mutex_lock(&s->lock);
    away = s->nlanes == 0;
    pthread_mutex_unlock(&s->lock);
    return away && atomic_load(&s->running) == 0 && now > atomic_load(&s->cache.last_expiry) &&
           wg_holder_forgettable(atomic_load(&s->holder), now);
}

/* Under the server's lock. */
static void sweep(struct wg_server *v, uint64_t now)
{
    struct wg_session **link = &v->sessions, *s;

    while ((s = *link)) {
        if (forgettable(s, now)) {
            *link = s->next;
            v->nsessions--;
            session_free(s);
        } else {
            link = &s->next;
        }
    }
}

void wg_server_forget_all(struct wg_server *v)
{
    bool left;

    do {
        pthread_mutex_lock(&v->lock);
        sweep(v, UINT64_MAX);
        left = v->sessions != NULL;
        pthread_mutex_unlock(&v->lock);
        if (left)
            usleep(1000);
    } while (left);
}

/* --- the handshake --- */

static void refuse(struct wg_server_lane *l, int err, const char *text)
{
    uint8_t body[WG_WIRE_TEXT_MAX + 16];
    struct wg_enc e = { .at = body, .end = body + sizeof body };
    struct wg_lane_stats st;

    wg_lane_stats(l->lane, &st);
    wg_warning("%s: client \"%s\" at %s refused: %s", l->server->xl->name, st.peer_name, st.peer_addr,
               text);
    atomic_fetch_add_explicit(&l->server->refused, 1, memory_order_relaxed);
    wg_put_refuse(&e, err, text);
    wg_server_send(l, &(struct wg_msg){ .type = WG_MSG_REFUSE, .body = body,
                                        .body_len = (uint32_t)(e.at - body) });
    wg_lane_flush(l->lane);
    /* The client closes when it has read why; a ping timeout does it for those that don't. */
}

static void broken(struct wg_server_lane *l, const char *text)
{
    atomic_fetch_add_explicit(&l->server->malformed, 1, memory_order_relaxed);
    wg_lane_reset(l->lane, 0, EPROTO, text);
}

static bool other_id(const uint8_t want[16], const uint8_t have[16])
{
    static const uint8_t any[16];

    return memcmp(want, any, 16) && memcmp(have, any, 16) && memcmp(want, have, 16);
}

/* NULL and a reason, or the client's session, which counts the lane from now on. */
static struct wg_session *join(struct wg_server *v, const struct wg_hello *h, const char *peer,
                               const char **why)
{
    struct wg_session *s;

    pthread_mutex_lock(&v->lock);
    for (s = v->sessions; s; s = s->next)
        if (!memcmp(s->client, h->client, sizeof s->client))
            break;
    if (!s) {
        sweep(v, wg_now_ns());
        *why = "too many clients";
        if (v->nsessions < v->sessions_max) {
            s = session_new(v, h, peer);
            *why = "out of memory";
        }
        if (s) {
            s->next = v->sessions;
            v->sessions = s;
            v->nsessions++;
        }
    } else if (strcmp(s->peer, peer) || s->slots != h->slots ||
               s->puller != (h->kind == WG_SESSION_PULLER)) {
        *why = "this client id is another's";
        s = NULL;
    }
    if (s) {
        pthread_mutex_lock(&s->lock);
        s->nlanes++;
        atomic_store(&s->away, false);
        pthread_mutex_unlock(&s->lock);
    }
    pthread_mutex_unlock(&v->lock);
    return s;
}

static void say_welcome(struct wg_server_lane *l)
{
    struct wg_server *v = l->server;
    struct wg_welcome w = { .version = WG_WIRE_VERSION, .lease_ms = v->lease_ms,
                            .cache_ms = (uint32_t)(v->leases.term_ns / 1000000) };
    struct wg_iobuf *buf = wg_iobuf_get(WG_MSG_BODY_MAX);
    struct wg_enc e;

    if (!buf)
        return wg_lane_reset(l->lane, 0, ENOMEM, "no memory for the handshake");
    memcpy(w.instance, v->instance, sizeof w.instance);
    memcpy(w.volume, v->volume, sizeof w.volume);
    memcpy(w.brick, v->brick, sizeof w.brick);
    e = (struct wg_enc){ .at = buf->base, .end = (uint8_t *)buf->base + WG_MSG_BODY_MAX };
    wg_put_welcome(&e, &w);
    wg_put_fops(&e);
    wg_server_send(l, &(struct wg_msg){ .type = WG_MSG_WELCOME, .body = buf->base,
                                        .body_len = (uint32_t)(e.at - (uint8_t *)buf->base) });
    wg_iobuf_unref(buf);
}

static void say_epoch_ok(struct wg_server_lane *l, uint64_t epoch)
{
    uint8_t body[32];
    struct wg_enc e = { .at = body, .end = body + sizeof body };

    wg_put_number(&e, epoch);
    wg_server_send(l, &(struct wg_msg){ .type = WG_MSG_EPOCH_OK, .body = body,
                                        .body_len = (uint32_t)(e.at - body) });
}

/* Answers l now or when no call of an epoch below runs any more. */
static void answer_after(struct wg_server_lane *l, uint64_t epoch, bool welcome)
{
    struct wg_session *s = l->session;

    wg_replycache_raise(&s->cache, epoch);
    pthread_mutex_lock(&s->lock);
    if (!l->wait_epoch)
        atomic_fetch_add(&s->waits, 1);
    if (l->wait_epoch < epoch + 1)
        l->wait_epoch = epoch + 1;
    l->wait_welcome |= welcome;
    pthread_mutex_unlock(&s->lock);
    wg_session_ended(s);
}

static void answer(struct wg_server_lane *l, uint64_t epoch, bool welcome)
{
    if (welcome) {
        atomic_store(&l->welcomed, true);
        say_welcome(l);
    } else {
        say_epoch_ok(l, epoch);
    }
}

void wg_session_ended(struct wg_session *s)
{
    struct wg_server_lane *l;
    struct wg_holder *h = NULL;

    if (atomic_load(&s->waits) == 0)
        return;
    pthread_mutex_lock(&s->lock);
    for (l = s->lanes; l; l = l->next) {
        uint64_t epoch = l->wait_epoch - 1;

        if (!l->wait_epoch || wg_replycache_running(&s->cache, epoch))
            continue;
        l->wait_epoch = 0;
        atomic_fetch_sub(&s->waits, 1);
        answer(l, epoch, l->wait_welcome);
        if (l->wait_welcome)
            h = atomic_load(&s->holder);
        l->wait_welcome = false;
    }
    pthread_mutex_unlock(&s->lock);
    /* What was sent on a lane that broke is said again on the new one. */
    wg_holder_resend(h);
}

/* --- bounds --- */

void wg_session_began(struct wg_server_lane *l)
{
    struct wg_session *s = l->session;

    if (atomic_fetch_add(&s->running, 1) + 1 <= 2 * s->slots)
        return;
    pthread_mutex_lock(&s->lock);
    if (!l->paused) {
        l->paused = true;
        atomic_fetch_add(&s->paused, 1);
        wg_lane_pause(l->lane);
    }
    pthread_mutex_unlock(&s->lock);
    wg_session_resume(s);
}

void wg_session_resume(struct wg_session *s)
{
    /* The one that ends counts itself; the last of many that end at once sees the room. */
    if (atomic_load(&s->paused) == 0 || atomic_load(&s->running) > s->slots + 1)
        return;
    pthread_mutex_lock(&s->lock);
    for (struct wg_server_lane *l = s->lanes; l; l = l->next) {
        if (!l->paused)
            continue;
        l->paused = false;
        atomic_fetch_sub(&s->paused, 1);
        wg_lane_resume(l->lane);
    }
    pthread_mutex_unlock(&s->lock);
}

static void enlist(struct wg_server_lane *l, struct wg_session *s)
{
    l->session = s;
    pthread_mutex_lock(&s->lock);
    l->next = s->lanes;
    s->lanes = l;
    pthread_mutex_unlock(&s->lock);
}

static bool listed(struct wg_server_lane *l, const char *option, const char *file)
{
    unsigned n;
    char **words = wg_protocol_words(wg_opt_str(l->server->xl, option), &n);
    bool is = words && wg_lane_peer_listed(l->lane, (const char *const *)words, n, file);

    free(words);
    return is;
}

/* What the certificate's names allow, beyond the connection. NULL, or why not. */
static const char *not_allowed(struct wg_server_lane *l, const struct wg_hello *h)
{
    const char *file = wg_opt_str(l->server->xl, "tls-allow-file");

    if (h->kind > WG_SESSION_PULLER)
        return "this kind of client is not known here";
    if (!l->server->tls || !*wg_opt_str(l->server->xl, "pull-allow"))
        return NULL;
    if (h->kind == WG_SESSION_PULLER)
        return listed(l, "pull-allow", NULL) ? NULL : "its name is not in pull-allow";
    return listed(l, "tls-allow", *file ? file : NULL) ? NULL : "its name may only pull (option pull-allow)";
}

static void hello(struct wg_server_lane *l, struct wg_dec *d)
{
    struct wg_server *v = l->server;
    struct wg_lane_stats st;
    struct wg_session *s;
    bool known[WG_OP_MAX];
    const char *why = NULL;
    char text[160];
    struct wg_hello h;

    if (l->session || wg_get_hello(d, &h))
        return broken(l, "malformed hello");
    if (h.version != WG_WIRE_VERSION)
        return refuse(l, EPROTO, "the client speaks another protocol version");
    if (other_id(h.volume, v->volume))
        return refuse(l, EACCES, "this brick is of another volume");
    if (other_id(h.brick, v->brick))
        return refuse(l, EACCES, "this is another brick");
    why = not_allowed(l, &h);
    if (why)
        return refuse(l, EACCES, why);
    if (h.slots == 0 || h.slots > v->slots_max) {
        snprintf(text, sizeof text, "option outstanding is %u, but this brick allows %u", h.slots,
                 v->slots_max);
        return refuse(l, EINVAL, text);
    }
    if (wg_get_fops(d, known, text, sizeof text))
        return refuse(l, EPROTO, text);
    wg_lane_stats(l->lane, &st);
    s = join(v, &h, st.peer_name, &why);
    if (!s)
        return refuse(l, EBUSY, why);
    enlist(l, s);
    wg_replycache_raise(&s->cache, h.epoch);
    wg_info("%s: client %s (\"%s\" at %s) has a lane", v->xl->name, s->name, st.peer_name, st.peer_addr);
    answer_after(l, h.settle, true);
}

/* A client that is idle keeps its lease. */
static void lease(struct wg_server_lane *l, uint64_t id, uint64_t drop)
{
    struct wg_session *s = l->session;
    uint8_t body[32];
    struct wg_enc e = { .at = body, .end = body + sizeof body };
    unsigned flags = drop ? wg_holder_touch(&l->server->leases, s, &s->holder, s->client, drop) : 0;

    wg_put_number(&e, drop);
    wg_server_send(l, &(struct wg_msg){ .type = WG_MSG_LEASE_OK, .flags = (uint16_t)flags, .id = id,
                                        .body = body, .body_len = (uint32_t)(e.at - body) });
}

/* --- lanes --- */

static void lane_up(struct wg_lane *lane, uint64_t conn)
{
    struct wg_server *v = wg_lane_user(lane);
    struct wg_server_lane *l = calloc(1, sizeof *l);

    if (!l) {
        wg_lane_set_user(lane, NULL);
        wg_lane_reset(lane, conn, ENOMEM, "no memory for a client");
        return;
    }
    l->server = v;
    l->lane = wg_lane_ref(lane);
    atomic_init(&l->refs, 1);
    wg_lane_set_user(lane, l);
}

static void lane_message(struct wg_lane *lane, const struct wg_msg_hdr *hdr, const void *body,
                         struct wg_iobuf *payload)
{
    struct wg_server_lane *l = wg_lane_user(lane);
    struct wg_dec d = { .at = body, .end = (const uint8_t *)body + hdr->body_len };
    uint64_t number;

    if (l && atomic_load(&l->welcomed) && hdr->type == WG_MSG_REQUEST)
        return wg_server_request(l, hdr, body, payload);
    wg_iobuf_unref(payload);
    if (!l)
        return;
    if (hdr->type == WG_MSG_HELLO)
        hello(l, &d);
    else if (atomic_load(&l->welcomed) && hdr->type == WG_MSG_RECALLED)
        wg_holder_recalled(&l->server->leases, atomic_load(&l->session->holder), hdr->id);
    else if (atomic_load(&l->welcomed) && hdr->type == WG_MSG_LEASE && !wg_get_number(&d, &number))
        lease(l, hdr->id, number);
    else if (atomic_load(&l->welcomed) && hdr->type == WG_MSG_EPOCH && !wg_get_number(&d, &number))
        answer_after(l, number, false);
    else
        broken(l, "unexpected message");
}

static void leave(struct wg_server_lane *l)
{
    struct wg_session *s = l->session;
    struct wg_holder *h = atomic_load(&s->holder);
    bool away;

    pthread_mutex_lock(&s->lock);
    for (struct wg_server_lane **link = &s->lanes; *link; link = &(*link)->next)
        if (*link == l) {
            *link = l->next;
            break;
        }
    away = --s->nlanes == 0;
    if (away)
        atomic_store(&s->away, true);
    if (l->wait_epoch)
        atomic_fetch_sub(&s->waits, 1);
    if (l->paused)
        atomic_fetch_sub(&s->paused, 1);
    l->paused = true; /* nobody pauses or counts it any more */
    /*
     * What ends from now on sees that the client is away; what ended before is taken here, under
     * the lock, since after it the session may be forgotten.
     */
    if (away)
        wg_orphans_take(&s->server->orphans, &s->cache, wg_now_coarse_ns());
    pthread_mutex_unlock(&s->lock);
    /* Recalls that were on their way on it; s may be forgotten by now, but a holder stays. */
    wg_holder_resend(h);
}

static void lane_down(struct wg_lane *lane, const struct wg_down *why)
{
    struct wg_server_lane *l = wg_lane_user(lane);

    (void)why;
    if (!l)
        return;
    if (l->session)
        leave(l);
    wg_server_lane_unref(l);
}

const struct wg_lane_ops wg_server_lane_ops = {
    .up = lane_up,
    .message = lane_message,
    .down = lane_down,
};
