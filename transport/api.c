/* SPDX-License-Identifier: Apache-2.0 */
/* What other layers call on a lane, from any thread; and the registry of all lanes. */
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define WG_LOG_PART "transport"
#include "dump.h"
#include "internal.h"
#include "log.h"

static struct {
    pthread_mutex_t lock;
    struct wg_lane *first;
    unsigned n;
} registry = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void registry_add(struct wg_lane *l)
{
    pthread_mutex_lock(&registry.lock);
    l->all_prev = NULL;
    l->all_next = registry.first;
    if (l->all_next)
        l->all_next->all_prev = l;
    registry.first = l;
    registry.n++;
    pthread_mutex_unlock(&registry.lock);
}

void registry_remove(struct wg_lane *l)
{
    bool last;

    pthread_mutex_lock(&registry.lock);
    if (l->all_prev)
        l->all_prev->all_next = l->all_next;
    else
        registry.first = l->all_next;
    if (l->all_next)
        l->all_next->all_prev = l->all_prev;
    last = --registry.n == 0;
    pthread_mutex_unlock(&registry.lock);
    if (last) {
        watch_quit();
        spares_quit();
    }
}

void registry_each(void (*each)(struct wg_lane *l, void *arg), void *arg)
{
    struct wg_lane **all;
    unsigned n = 0;

    pthread_mutex_lock(&registry.lock);
    all = calloc(registry.n + 1, sizeof(struct wg_lane *));
    for (struct wg_lane *l = registry.first; l && all; l = l->all_next)
        all[n++] = wg_lane_ref(l);
    pthread_mutex_unlock(&registry.lock);
    for (unsigned i = 0; i < n; i++) {
        each(all[i], arg);
        wg_lane_unref(all[i]);
    }
    free(all);
}

/* ---- making and freeing ---- */

static void default_to(uint32_t *v, uint32_t d)
{
    if (*v == 0)
        *v = d;
}

static void opts_defaults(struct wg_lane_opts *o)
{
    default_to(&o->connect_ms, 5000);
    default_to(&o->handshake_ms, 5000);
    default_to(&o->ping_ms, 5000);
    default_to(&o->ping_timeout_ms, 10000);
    default_to(&o->backoff_min_ms, 100);
    default_to(&o->backoff_max_ms, 5000);
    default_to(&o->body_max, WG_MSG_BODY_MAX);
    default_to(&o->payload_max, WG_MSG_PAYLOAD_MAX);
    if (o->queue_max == 0)
        o->queue_max = 64u << 20;
    if (o->backoff_max_ms < o->backoff_min_ms)
        o->backoff_max_ms = o->backoff_min_ms;
}

int lane_opts_check(const struct wg_lane_opts *o, bool server)
{
    if (!o->ops || !o->ops->up || !o->ops->message || !o->ops->down)
        return EINVAL;
    if ((o->tls == NULL) != o->plain || (server && o->peer_name))
        return EINVAL;
    if (o->body_max > (1u << 24) || o->payload_max > (1u << 24) || o->sndbuf > INT32_MAX || o->rcvbuf > INT32_MAX)
        return EINVAL;
    return 0;
}

static void lane_free(struct wg_lane *l)
{
    lane_forget_hosts(l);
    lane_drop_queue(l);
    lane_free_spares(l);
    wg_parser_fini(&l->parser);
    if (l->poller)
        poller_unref(l->poller);
    if (l->o.tls)
        wg_tls_unref(l->o.tls);
    if (l->fd >= 0)
        close(l->fd);
    pthread_mutex_destroy(&l->ssl_lock);
    pthread_mutex_destroy(&l->qlock);
    pthread_cond_destroy(&l->qcond);
    addr_free(&l->addr);
    free((char *)l->o.name);
    free((char *)l->o.peer_name);
    free(l->cipher);
    free(l->out);
    free(l->plain);
    free(l);
}

/* A holder of one of these locks is at most some microseconds from the end: spin a little first. */
static void lock_init(pthread_mutex_t *m)
{
    pthread_mutexattr_t a;

    pthread_mutexattr_init(&a);
    pthread_mutexattr_settype(&a, PTHREAD_MUTEX_ADAPTIVE_NP);
    pthread_mutex_init(m, &a);
    pthread_mutexattr_destroy(&a);
}

int lane_new(const struct wg_lane_opts *opts, struct wg_lane **ret)
{
    struct wg_lane *l = calloc(1, sizeof *l);

    if (!l)
        return ENOMEM;
    atomic_init(&l->refs, 1);
    l->fd = -1;
    l->o = *opts;
    opts_defaults(&l->o);
    l->user = opts->user;
    l->o.name = strdup(opts->name ? opts->name : "-");
    l->o.peer_name = opts->peer_name ? strdup(opts->peer_name) : NULL;
    if (l->o.tls)
        wg_tls_ref(l->o.tls);
    lock_init(&l->ssl_lock);
    lock_init(&l->qlock);
    pthread_cond_init(&l->qcond, NULL);
    outq_init(&l->small);
    outq_init(&l->large);
    outq_init(&l->held);
    outq_init(&l->batch.done);
    l->small_credit = SMALL_CREDIT;
    l->backoff_ns = l->o.backoff_min_ms * MS;
    /* Large ones are mapped by malloc and cost memory only as they are used. */
    l->cipher = l->o.tls ? malloc(CIPHER_CAP) : NULL;
    l->plain = l->o.tls ? malloc(RECORD) : NULL;
    l->out = malloc(OUT_CAP);
    if (!l->o.name || (opts->peer_name && !l->o.peer_name) || !l->out || (l->o.tls && (!l->cipher || !l->plain))) {
        lane_free(l);
        return ENOMEM;
    }
    registry_add(l);
    *ret = l;
    return 0;
}

struct wg_lane *wg_lane_ref(struct wg_lane *l)
{
    atomic_fetch_add_explicit(&l->refs, 1, memory_order_relaxed);
    return l;
}

void wg_lane_unref(struct wg_lane *l)
{
    if (atomic_fetch_sub_explicit(&l->refs, 1, memory_order_acq_rel) == 1)
        lane_free(l);
}

int wg_lane_connect(const char *addr, const struct wg_lane_opts *opts, struct wg_lane **ret)
{
    int err = lane_opts_check(opts, false);
    struct wg_lane *l;

    if (!err)
        err = lane_new(opts, &l);
    if (err)
        return err;
    threads_reap();
    err = addr_parse(addr, &l->addr);
    l->deadline_ns = wg_now_ns(); /* at once */
    lane_set_state(l, WG_LANE_IDLE);
    if (!err)
        err = poller_serve(l);
    if (err) {
        registry_remove(l);
        wg_lane_unref(l);
        return err;
    }
    *ret = l;
    return 0;
}

/* Called when the reader has ended, and when a handed-over callback has: the last of them tells. */
void lane_gone(struct wg_lane *l, bool reader)
{
    bool last;

    pthread_mutex_lock(&l->qlock);
    if (reader)
        l->ended = true;
    else
        l->away--;
    last = l->ended && l->away == 0;
    if (last)
        pthread_cond_broadcast(&l->qcond);
    pthread_mutex_unlock(&l->qlock);
    if (last && l->listener)
        listener_gone(l);
}

/* The reader's last touch of a lane. */
void lane_end(struct wg_lane *l)
{
    lane_set_state(l, WG_LANE_CLOSED);
    poller_remove(l);
    registry_remove(l);
    lane_gone(l, true);
    wg_lane_unref(l);
}

void lane_kick(struct wg_lane *l)
{
    if (!atomic_exchange(&l->kick, true))
        poller_wake(l->poller);
}

void wg_lane_close(struct wg_lane *l)
{
    atomic_store(&l->closing, true);
    lane_kick(l);
    if (!poller_on_thread(l) && tl_view.lane != l) {
        pthread_mutex_lock(&l->qlock);
        while (!l->ended || l->away > 0)
            pthread_cond_wait(&l->qcond, &l->qlock);
        pthread_mutex_unlock(&l->qlock);
        threads_reap();
    }
    wg_lane_unref(l);
}

/* ---- small ones ---- */

uint64_t wg_lane_queued(const struct wg_lane *l)
{
    return atomic_load_explicit(&l->queued, memory_order_relaxed);
}

uint64_t wg_lane_conn(const struct wg_lane *l)
{
    return atomic_load_explicit(&l->conn, memory_order_relaxed);
}

void wg_lane_reset(struct wg_lane *l, uint64_t conn, int err, const char *text)
{
    pthread_mutex_lock(&l->qlock);
    if (l->reset_err || !l->open || (conn && conn != atomic_load(&l->conn))) {
        pthread_mutex_unlock(&l->qlock);
        return;
    }
    l->reset_err = err ? err : ECONNRESET;
    snprintf(l->reset_text, sizeof l->reset_text, "%s", text ? text : "");
    pthread_mutex_unlock(&l->qlock);
    lane_kick(l);
}

void wg_lane_pause(struct wg_lane *l)
{
    atomic_fetch_add(&l->pauses, 1);
}

void wg_lane_resume(struct wg_lane *l)
{
    if (atomic_fetch_sub(&l->pauses, 1) == 1)
        lane_kick(l);
}

uint64_t wg_lane_busy_ns(const struct wg_lane *l)
{
    uint64_t since = atomic_load_explicit(&l->busy_since, memory_order_relaxed);
    uint64_t now = since ? wg_now_ns() : 0;

    return now > since ? now - since : 0;
}

void *wg_lane_user(const struct wg_lane *l)
{
    return l->user;
}

void wg_lane_set_user(struct wg_lane *l, void *user)
{
    l->user = user;
}

struct wg_listener *wg_lane_listener(const struct wg_lane *l)
{
    return l->listener;
}

/* ---- a peer that is no longer allowed ---- */

void lane_recheck(struct wg_lane *l, struct tls_state *now)
{
    char text[120] = "";
    STACK_OF(X509) *chain = NULL;
    X509 *cert;

    pthread_mutex_lock(&l->qlock);
    cert = l->peer_cert;
    if (cert)
        X509_up_ref(cert);
    if (cert && l->peer_chain)
        chain = X509_chain_up_ref(l->peer_chain);
    pthread_mutex_unlock(&l->qlock);
    if (cert && tls_recheck(now, cert, chain, l->listener != NULL, text, sizeof text)) {
        wg_warning("lane %s with %s (%s) is drained: %s", l->o.name, l->peer_addr, l->peer_name, text);
        atomic_store(&l->doomed, true);
        lane_kick(l);
    }
    X509_free(cert);
    sk_X509_pop_free(chain, X509_free);
}

/* ---- looking ---- */

void wg_lane_stats(struct wg_lane *l, struct wg_lane_stats *ret)
{
    *ret = (struct wg_lane_stats){
        .state = (enum wg_lane_state)atomic_load(&l->state),
        .conn = wg_lane_conn(l),
        .since_ns = atomic_load(&l->since_ns),
        .rx_bytes = atomic_load(&l->rx_bytes),
        .tx_bytes = atomic_load(&l->tx_bytes),
        .rx_msgs = atomic_load(&l->rx_msgs),
        .tx_msgs = atomic_load(&l->tx_msgs),
        .rx_calls = atomic_load(&l->rx_calls),
        .tx_calls = atomic_load(&l->tx_calls),
        .connects = atomic_load(&l->connects),
        .downs = atomic_load(&l->downs),
        .full = atomic_load(&l->full_count),
        .handoffs = atomic_load(&l->handoffs),
        .queued_bytes = wg_lane_queued(l),
    };
    pthread_mutex_lock(&l->qlock);
    ret->queued_msgs = l->queued_msgs;
    memcpy(ret->peer_addr, l->peer_addr, sizeof ret->peer_addr);
    memcpy(ret->peer_name, l->peer_name, sizeof ret->peer_name);
    memcpy(ret->tls, l->tls_text, sizeof ret->tls);
    memcpy(ret->last_error, l->last_error, sizeof ret->last_error);
    pthread_mutex_unlock(&l->qlock);
}

void wg_lane_dump(struct wg_lane *l, struct wg_dump *d)
{
    static const char *const names[] = { "idle", "connecting", "handshake", "up", "draining", "closed" };
    struct wg_lane_stats s;

    wg_lane_stats(l, &s);
    wg_dump_object(d, NULL);
    wg_dump_str(d, "name", l->o.name);
    wg_dump_str(d, "side", l->listener ? "server" : "client");
    wg_dump_str(d, "state", names[s.state]);
    wg_dump_u64(d, "state_ms", (wg_now_coarse_ns() - s.since_ns) / MS);
    wg_dump_u64(d, "conn", s.conn);
    wg_dump_str(d, "peer_addr", s.peer_addr);
    wg_dump_str(d, "peer_name", s.peer_name);
    wg_dump_str(d, "tls", s.tls);
    wg_dump_u64(d, "queued_bytes", s.queued_bytes);
    wg_dump_u64(d, "queued_msgs", s.queued_msgs);
    wg_dump_u64(d, "rx_bytes", s.rx_bytes);
    wg_dump_u64(d, "tx_bytes", s.tx_bytes);
    wg_dump_u64(d, "rx_msgs", s.rx_msgs);
    wg_dump_u64(d, "tx_msgs", s.tx_msgs);
    wg_dump_u64(d, "rx_calls", s.rx_calls);
    wg_dump_u64(d, "tx_calls", s.tx_calls);
    wg_dump_u64(d, "connects", s.connects);
    wg_dump_u64(d, "downs", s.downs);
    wg_dump_u64(d, "full", s.full);
    wg_dump_u64(d, "handoffs", s.handoffs);
    wg_dump_u64(d, "busy_us", wg_lane_busy_ns(l) / 1000);
    wg_dump_str(d, "last_error", s.last_error);
    wg_dump_end(d);
}

static void dump_one(struct wg_lane *l, void *arg)
{
    wg_lane_dump(l, arg);
}

static void dump_lanes(struct wg_dump *d)
{
    wg_dump_array(d, "lanes");
    registry_each(dump_one, d);
    wg_dump_end(d);
    listener_dump(d);
}

void wg_transport_register_dump(void)
{
    static struct wg_dump_section section = { .name = "transport", .fn = dump_lanes };

    wg_dump_register(&section);
}
