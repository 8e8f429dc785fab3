/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the transport's tests: certificates in a scratch directory, an echo server, a client that counts. */
#ifndef WG_TRANSPORT_KIT_H
#define WG_TRANSPORT_KIT_H

#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "call.h"
#include "certs.h"
#include "log.h"
#include "transport.h"

#define TYPE_ECHO 20
#define TYPE_REPLY 21
#define UNUSED __attribute__((unused))

static char kit_dir[64];

/* ca with nodes "server", "client", "other", "late" (expired), and a second ca with "stranger". */
static UNUSED void kit_certs(void)
{
    static const struct wg_certs_opts expired = { .days = -1 };
    char err[256], other[96];

    if (kit_dir[0])
        return;
    snprintf(kit_dir, sizeof kit_dir, "/tmp/wg-transport-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(kit_dir));
    snprintf(other, sizeof other, "%s/other", kit_dir);
    ck_assert_int_eq(wg_certs_make_ca(kit_dir, NULL, NULL, err, sizeof err), 0);
    ck_assert_int_eq(wg_certs_make_ca(other, "Another CA", NULL, err, sizeof err), 0);
    ck_assert_int_eq(wg_certs_make_node(kit_dir, "server", (const char *[]){ "localhost", "127.0.0.1" }, 2, NULL, err, sizeof err), 0);
    ck_assert_int_eq(wg_certs_make_node(kit_dir, "client", NULL, 0, NULL, err, sizeof err), 0);
    ck_assert_int_eq(wg_certs_make_node(kit_dir, "other", NULL, 0, NULL, err, sizeof err), 0);
    ck_assert_int_eq(wg_certs_make_node(kit_dir, "late", NULL, 0, &expired, err, sizeof err), 0);
    ck_assert_int_eq(wg_certs_make_node(other, "stranger", NULL, 0, NULL, err, sizeof err), 0);
}

static UNUSED void kit_clean(void)
{
    char cmd[128];

    snprintf(cmd, sizeof cmd, "rm -rf '%s'", kit_dir);
    if (kit_dir[0] && system(cmd))
        perror(cmd);
    kit_dir[0] = '\0';
}

static UNUSED char *kit_path(const char *name)
{
    static _Thread_local char buf[8][160];
    static _Thread_local unsigned i;
    char *p = buf[i++ % 8];

    snprintf(p, sizeof buf[0], "%s/%s", kit_dir, name);
    return p;
}

/* An identity of the kit's CA; NULL allow: anyone. */
static UNUSED struct wg_tls *kit_tls(const char *who, const char *allow, const char *crl)
{
    char cert[64], key[64], err[256] = "";
    struct wg_tls_config c = { .nallow = 1, .drain_ms = 300 };
    struct wg_tls *t = NULL;

    snprintf(cert, sizeof cert, "%s.pem", who);
    snprintf(key, sizeof key, "%s.key", who);
    c.cert = kit_path(cert);
    c.key = kit_path(key);
    c.ca = kit_path("ca.pem");
    c.crl = crl ? kit_path(crl) : NULL;
    c.allow = (const char *const[]){ allow ? allow : "*" };
    ck_assert_msg(wg_tls_new(&c, &t, err, sizeof err) == 0, "%s", err);
    return t;
}

/* What a side has seen; user of its lanes. */
struct kit {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    unsigned up, down, failed, writable;
    uint64_t messages, bytes, bad;
    int last_err;
    char last_text[160];
    /* the client's last message */
    struct wg_msg_hdr hdr;
    unsigned char *body;
    struct wg_iobuf *payload;
    void (*on_message)(struct kit *k, struct wg_lane *l, const struct wg_msg_hdr *h, const void *body, struct wg_iobuf *p);
    unsigned delay_us;
};

#define KIT { .lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER }

static UNUSED void kit_up(struct wg_lane *l, uint64_t conn)
{
    struct kit *k = wg_lane_user(l);

    ck_assert(conn != 0 && wg_lane_conn(l) == conn);
    pthread_mutex_lock(&k->lock);
    k->up++;
    pthread_cond_broadcast(&k->cond);
    pthread_mutex_unlock(&k->lock);
}

static UNUSED void kit_down(struct wg_lane *l, const struct wg_down *why)
{
    struct kit *k = wg_lane_user(l);

    pthread_mutex_lock(&k->lock);
    k->down++;
    ck_assert_uint_le(k->down, k->up);
    k->last_err = why->err;
    snprintf(k->last_text, sizeof k->last_text, "%s", why->text);
    pthread_cond_broadcast(&k->cond);
    pthread_mutex_unlock(&k->lock);
}

static UNUSED void kit_failed(struct wg_lane *l, const struct wg_down *why)
{
    struct kit *k = wg_lane_user(l);

    pthread_mutex_lock(&k->lock);
    k->failed++;
    k->last_err = why->err;
    snprintf(k->last_text, sizeof k->last_text, "%s", why->text);
    pthread_cond_broadcast(&k->cond);
    pthread_mutex_unlock(&k->lock);
}

static UNUSED void kit_writable(struct wg_lane *l)
{
    struct kit *k = wg_lane_user(l);

    pthread_mutex_lock(&k->lock);
    k->writable++;
    pthread_cond_broadcast(&k->cond);
    pthread_mutex_unlock(&k->lock);
}

/* Sends back what came, with the same id. */
static UNUSED void kit_echo(struct wg_lane *l, const struct wg_msg_hdr *h, const void *body, struct wg_iobuf *p)
{
    struct kit *k = wg_lane_user(l);
    struct wg_seg seg = { p, p ? p->base : NULL, h->payload_len };
    struct wg_msg m = {
        .type = TYPE_REPLY, .flags = h->flags, .id = h->id, .low = h->low, .body = body, .body_len = h->body_len,
        .payload = { &seg, p ? 1 : 0, h->payload_len }, .must = true,
    };

    atomic_fetch_add((_Atomic uint64_t *)&k->messages, 1);
    (void)wg_lane_send(l, &m);
    wg_iobuf_unref(p);
}

/* Counts, and keeps the last. */
static UNUSED void kit_take(struct wg_lane *l, const struct wg_msg_hdr *h, const void *body, struct wg_iobuf *p)
{
    struct kit *k = wg_lane_user(l);

    if (k->on_message) {
        k->on_message(k, l, h, body, p);
        return;
    }
    pthread_mutex_lock(&k->lock);
    k->messages++;
    k->bytes += h->payload_len;
    free(k->body);
    k->body = malloc(h->body_len + 1);
    memcpy(k->body, body, h->body_len);
    wg_iobuf_unref(k->payload);
    k->payload = p;
    k->hdr = *h;
    pthread_cond_broadcast(&k->cond);
    pthread_mutex_unlock(&k->lock);
}

static UNUSED void kit_drop(struct kit *k)
{
    free(k->body);
    wg_iobuf_unref(k->payload);
    k->body = NULL;
    k->payload = NULL;
}

static const struct wg_lane_ops UNUSED kit_echo_ops = { kit_up, kit_echo, kit_down, kit_writable, NULL };
static const struct wg_lane_ops UNUSED kit_client_ops = { kit_up, kit_take, kit_down, kit_writable, kit_failed };

/* Waits for cond under the kit's lock, 20 seconds at most. */
#define KIT_WAIT(k, condition)                                                         \
    do {                                                                               \
        struct timespec ts_;                                                           \
        clock_gettime(CLOCK_REALTIME, &ts_);                                           \
        ts_.tv_sec += 20;                                                              \
        pthread_mutex_lock(&(k)->lock);                                                \
        while (!(condition))                                                           \
            if (pthread_cond_timedwait(&(k)->cond, &(k)->lock, &ts_) == ETIMEDOUT)     \
                break;                                                                 \
        bool ok_ = (condition);                                                        \
        pthread_mutex_unlock(&(k)->lock);                                              \
        ck_assert_msg(ok_, "waited too long for %s", #condition);                      \
    } while (0)

enum kit_mode { MODE_TLS, MODE_TLS_SHARED, MODE_PLAIN, MODE_UNIX, KIT_MODES };

/* A server and a client over one of the modes. */
struct kit_pair {
    struct kit server, client;
    struct wg_tls *stls, *ctls;
    struct wg_poller *poller;
    struct wg_listener *listener;
    struct wg_lane *lane;
    struct wg_listener_opts so;
    struct wg_lane_opts co;
};

static UNUSED void kit_open_server(struct kit_pair *p, enum kit_mode mode)
{
    const char *addr = "127.0.0.1:0";

    signal(SIGPIPE, SIG_DFL); /* the transport must never raise it */
    p->server = (struct kit)KIT;
    p->client = (struct kit)KIT;
    if (mode == MODE_TLS || mode == MODE_TLS_SHARED) {
        kit_certs();
        p->stls = kit_tls("server", "client", NULL);
        p->ctls = kit_tls("client", "server", NULL);
    }
    if (mode == MODE_TLS_SHARED)
        ck_assert_int_eq(wg_poller_new("test", &p->poller), 0);
    if (mode == MODE_UNIX) {
        kit_certs();
    }
    if (!p->so.lane.ops)
        p->so.lane.ops = &kit_echo_ops;
    if (!p->co.ops)
        p->co.ops = &kit_client_ops;
    p->so.lane.tls = p->stls;
    p->co.tls = p->ctls;
    p->so.lane.plain = p->co.plain = !p->stls;
    p->so.lane.poller = p->co.poller = p->poller;
    p->so.lane.user = &p->server;
    p->co.user = &p->client;
    p->so.lane.name = "s";
    p->co.name = "c";
    if (mode == MODE_UNIX) {
        char unix_addr[200];

        snprintf(unix_addr, sizeof unix_addr, "unix:%s", kit_path("sock"));
        ck_assert_int_eq(wg_listen(unix_addr, &p->so, &p->listener), 0);
    } else {
        ck_assert_int_eq(wg_listen(addr, &p->so, &p->listener), 0);
        ck_assert_uint_ne(wg_listener_port(p->listener), 0);
    }
}

static UNUSED void kit_open(struct kit_pair *p, enum kit_mode mode)
{
    kit_open_server(p, mode);
    ck_assert_int_eq(wg_lane_connect(wg_listener_addr(p->listener), &p->co, &p->lane), 0);
    KIT_WAIT(&p->client, p->client.up == 1);
}

static UNUSED void kit_close(struct kit_pair *p)
{
    if (p->lane)
        wg_lane_close(p->lane);
    if (p->listener)
        wg_listener_close(p->listener);
    ck_assert_uint_eq(p->client.up, p->client.down);
    ck_assert_uint_eq(p->server.up, p->server.down);
    if (p->poller)
        wg_poller_free(p->poller);
    if (p->stls)
        wg_tls_unref(p->stls);
    if (p->ctls)
        wg_tls_unref(p->ctls);
    kit_drop(&p->client);
}

/* Bytes that tell where they are. */
static UNUSED void kit_pattern(unsigned char *b, size_t n, uint64_t seed)
{
    for (size_t i = 0; i < n; i++)
        b[i] = (unsigned char)(seed * 31 + i * 7 + (i >> 8) * 13 + (i >> 16));
}

static UNUSED bool kit_is_pattern(const unsigned char *b, size_t n, uint64_t seed)
{
    for (size_t i = 0; i < n; i++)
        if (b[i] != (unsigned char)(seed * 31 + i * 7 + (i >> 8) * 13 + (i >> 16)))
            return false;
    return true;
}

/* A message with a body and a payload of the pattern. */
static UNUSED int kit_send(struct wg_lane *l, uint64_t id, uint32_t body, uint32_t payload)
{
    unsigned char *b = malloc(body + 1);
    struct wg_iobuf *p = payload ? wg_iobuf_get(payload) : NULL;
    struct wg_seg seg[2] = { { p, p ? p->base : NULL, payload / 3 },
                             { p, p ? (char *)p->base + payload / 3 : NULL, payload - payload / 3 } };
    struct wg_msg m = { .type = TYPE_ECHO, .flags = id & 0xff, .id = id, .low = ~id, .body = b, .body_len = body,
                        .payload = { seg, p ? 2 : 0, payload } };
    int err;

    kit_pattern(b, body, id);
    if (p)
        kit_pattern(p->base, payload, id + 1);
    err = wg_lane_send(l, &m);
    free(b);
    wg_iobuf_unref(p);
    return err;
}

/* The tests of one file. */
static UNUSED int kit_main(Suite *s)
{
    SRunner *r = srunner_create(s);
    int failed;

    (void)wg_log_set(getenv("WG_TEST_LOG") ? getenv("WG_TEST_LOG") : "error");
    srunner_set_fork_status(r, getenv("CK_FORK") ? CK_FORK_GETENV : CK_NOFORK);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    kit_clean();
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
