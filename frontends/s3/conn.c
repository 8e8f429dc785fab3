/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libmicrohttpd's callbacks: the protocol between it and a request. Its handler is called once
 * with the headers (where queueing would close the connection), then with each piece of the body
 * (consume it or suspend, nothing else), then once more, where we suspend until the operation
 * has ended and queue its answer.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>

#include "conn.h"
#include "log.h"

#define WG_LOG_PART "s3"

/* ---- Sleep and wake ---- */

bool s3_conn_sleep_locked(struct s3_req *r)
{
    struct s3_conn *c = r->conn;

    if (c->abort || atomic_load(&r->s3->aborting))
        return false;
    c->suspended = true;
    c->slept_at_ns = wg_now_coarse_ns();
    MHD_suspend_connection(c->mhd);
    return true;
}

void s3_conn_wake_locked(struct s3_req *r)
{
    struct s3_conn *c = r->conn;

    if (!c->suspended)
        return;
    c->suspended = false;
    c->asleep_ns += wg_now_coarse_ns() - c->slept_at_ns;
    MHD_resume_connection(c->mhd); /* suspended, so it has not been completed: mhd is there */
}

void s3_conn_wake(struct s3_req *r)
{
    pthread_mutex_lock(&r->conn->lock);
    s3_conn_wake_locked(r);
    pthread_mutex_unlock(&r->conn->lock);
}

void s3_conn_abort(struct s3_req *r)
{
    s3_body_abort(r, ECANCELED);
    pthread_mutex_lock(&r->conn->lock);
    r->conn->abort = true;
    s3_conn_wake_locked(r);
    pthread_mutex_unlock(&r->conn->lock);
}

static void enter_phase(struct s3_conn *c, enum s3_phase phase)
{
    pthread_mutex_lock(&c->lock);
    c->phase = phase;
    c->phase_ns = wg_now_coarse_ns();
    c->asleep_ns = 0;
    c->rate_known = false;
    pthread_mutex_unlock(&c->lock);
}

/* ---- The operation ---- */

void wg_s3_done(struct s3_req *r, int err)
{
    struct s3_conn *c = r->conn;

    if (s3_live_finish(r, err))
        return;
    pthread_mutex_lock(&c->lock);
    r->error = err;
    c->ready = true;
    s3_conn_wake_locked(r);
    pthread_mutex_unlock(&c->lock);
}

static int run_handler(struct wg_co *co, void *arg)
{
    struct s3_req *r = arg;

    return r->op->run(co, r);
}

static void handler_ended(void *arg, int err)
{
    wg_s3_done(arg, err);
}

static void start(struct s3_req *r)
{
    pthread_mutex_lock(&r->conn->lock);
    r->conn->started = true;
    pthread_mutex_unlock(&r->conn->lock);
    if (r->op->start)
        return r->op->start(r);
    int err = wg_co_start(r->call, r->op->name, run_handler, r, handler_ended);
    if (err)
        wg_s3_done(r, err);
}

static enum MHD_Result send_answer(struct s3_req *r)
{
    struct s3_conn *c = r->conn;
    unsigned status = 0;
    struct MHD_Response *response = s3_make_response(r, &status);

    if (!response)
        return MHD_NO;
    enter_phase(c, S3_PHASE_SENT);
    c->status = status;
    enum MHD_Result ret = MHD_queue_response(c->mhd, status, response);
    MHD_destroy_response(response);
    return ret;
}

/* ---- The handler's three kinds of call ---- */

static bool expects_continue(const struct s3_req *r)
{
    const struct wg_str *e = wg_s3_header(r, "expect");

    return e && e->len == 12 && strncasecmp(e->s, "100-continue", 12) == 0;
}

/* Whether reading the body of a refused request, so that its client reads the answer, is too much. */
static bool long_body(const struct s3_req *r)
{
    const struct wg_str *length = wg_s3_header(r, "content-length");

    return length && (length->len > 7 || strtoul(length->s, NULL, 10) > S3_REFUSE_READ);
}

static enum MHD_Result on_headers(struct s3_req *r, const char *method, const char *version)
{
    struct s3_conn *c = r->conn;
    int err = s3_req_begin(r, method, version);

    if (atomic_load_explicit(&r->s3->stopping, memory_order_relaxed))
        c->close = true;
    if (err) {
        r->error = err;
        c->refused = true;
        if (c->close || expects_continue(r) || long_body(r))
            return send_answer(r); /* queued here, the connection closes and no 100 is sent */
    }
    enter_phase(c, S3_PHASE_BODY);
    return MHD_YES;
}

static enum MHD_Result on_data(struct s3_req *r, const char *data, size_t *size)
{
    struct s3_conn *c = r->conn;

    pthread_mutex_lock(&c->lock);
    bool discard = c->refused || c->ready, abort = c->abort;
    pthread_mutex_unlock(&c->lock);
    if (abort || (discard && atomic_load(&c->wire_in) > S3_DRAIN_MAX && !r->body) ||
        (discard && r->body && atomic_load(&c->wire_in) > r->body->got + S3_DRAIN_MAX))
        return MHD_NO;
    if (!discard && !s3_body_take(r, data, *size)) {
        pthread_mutex_lock(&c->lock);
        bool asleep = !c->abort && !atomic_load(&r->s3->aborting);
        pthread_mutex_unlock(&c->lock);
        return asleep ? MHD_YES : MHD_NO; /* the same bytes come again after the wake */
    }
    atomic_fetch_add_explicit(&c->wire_in, *size, memory_order_relaxed);
    *size = 0;
    if (!c->started && !c->refused && s3_body_pending(r))
        start(r);
    return MHD_YES;
}

static enum MHD_Result on_end(struct s3_req *r)
{
    struct s3_conn *c = r->conn;

    if (!c->started && !c->refused)
        start(r);
    pthread_mutex_lock(&c->lock);
    bool ready = c->ready || c->refused, asleep = !ready && s3_conn_sleep_locked(r);
    pthread_mutex_unlock(&c->lock);
    if (!ready)
        return asleep ? MHD_YES : MHD_NO;
    return send_answer(r);
}

enum MHD_Result s3_conn_handler(void *cls, struct MHD_Connection *mhd, const char *url,
                                const char *method, const char *version, const char *data,
                                size_t *size, void **req_cls)
{
    struct s3_req *r = *req_cls;

    (void)cls, (void)mhd, (void)url;
    if (!r)
        return MHD_NO;
    switch (r->conn->phase) {
    case S3_PHASE_NEW:
        return on_headers(r, method, version);
    case S3_PHASE_BODY:
        if (*size)
            return on_data(r, data, size);
        enter_phase(r->conn, S3_PHASE_RUN);
        if (r->body && !r->conn->refused)
            s3_body_end(r);
        return on_end(r);
    case S3_PHASE_RUN:
        return on_end(r);
    case S3_PHASE_SENT:
        break;
    }
    return MHD_NO;
}

/* ---- Begin and end of connections and requests ---- */

static struct s3_sock *sock_of(struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *i =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

    return i ? i->socket_context : NULL;
}

static struct s3_req *exchange_request(struct s3_sock *sock, struct s3_req *r)
{
    pthread_mutex_lock(&sock->lock);
    struct s3_req *old = sock->req;
    sock->req = r;
    sock->since_ns = wg_now_coarse_ns();
    pthread_mutex_unlock(&sock->lock);
    return old;
}

void *s3_conn_uri(void *cls, const char *target, struct MHD_Connection *mhd)
{
    struct s3_sock *sock = sock_of(mhd);
    struct s3_req *r = sock ? s3_req_new(cls, mhd, target) : NULL;

    if (!r)
        return NULL;
    wg_strdup(&r->call->arena, wg_str_of(sock->client), &r->call->client);
    r->conn->phase_ns = wg_now_coarse_ns();
    struct s3_req *old = exchange_request(sock, r);
    if (old) /* its headers were malformed: the library answered by itself and never told us */
        wg_call_unref(old->call);
    return r;
}

static void log_access(struct s3_req *r, enum MHD_RequestTerminationCode code)
{
    struct s3_counters *n = &r->s3->count;
    struct s3_conn *c = r->conn;
    uint64_t in = atomic_load(&c->wire_in), out = atomic_load(&c->sent);

    atomic_fetch_add_explicit(&n->requests, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&n->bytes_in, in, memory_order_relaxed);
    atomic_fetch_add_explicit(&n->bytes_out, out, memory_order_relaxed);
    r->call->failed = !c->status || c->status >= 400;
    if (c->status >= 400)
        atomic_fetch_add_explicit(&n->errors, 1, memory_order_relaxed);
    if (code != MHD_REQUEST_TERMINATED_COMPLETED_OK || !c->status)
        atomic_fetch_add_explicit(&n->aborted, 1, memory_order_relaxed);
    if (!wg_log_on(WG_LOG_PART, WG_INFO))
        return;
    /* The query of a presigned URL holds a signature, so only the path is logged. */
    struct wg_str path = r->uri.raw_path;
    int err = c->status ? r->error : 0; /* without an answer the handler may still be at it */
    wg_info("client=%.*s user=%.*s id=%s op=%s %s %.*s status=%u%s in=%llu out=%llu ms=%.1f%s%s",
            (int)r->call->client.len, r->call->client.s, r->user ? (int)r->user->name.len : 1,
            r->user ? r->user->name.s : "-", r->id, r->op ? r->op->name : "-",
            r->method_text ? r->method_text : "-", (int)path.len, path.s ? path.s : "", c->status,
            code == MHD_REQUEST_TERMINATED_COMPLETED_OK ? "" : " cut", (unsigned long long)in,
            (unsigned long long)out, (double)(wg_now_ns() - r->call->begin_ns) / 1e6, err ? " error=" : "",
            !err ? "" : err < S3_CODE_BASE ? wg_error_name(err) : wg_s3_error_row(err)->name);
}

void s3_conn_completed(void *cls, struct MHD_Connection *mhd, void **req_cls,
                       enum MHD_RequestTerminationCode code)
{
    struct s3_req *r = *req_cls;
    struct s3_sock *sock = sock_of(mhd);

    (void)cls;
    if (!r)
        return;
    *req_cls = NULL;
    if (sock)
        exchange_request(sock, NULL);
    s3_body_abort(r, ECANCELED);
    pthread_mutex_lock(&r->conn->lock);
    r->conn->mhd = NULL;
    r->conn->gone = true;
    pthread_mutex_unlock(&r->conn->lock);
    log_access(r, code);
    wg_call_unref(r->call);
}

static void name_client(struct MHD_Connection *mhd, char *text, size_t size)
{
    const union MHD_ConnectionInfo *i =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *sa = i ? i->client_addr : NULL;
    char ip[INET6_ADDRSTRLEN] = "?";
    unsigned port = 0;

    if (sa && sa->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)sa;
        inet_ntop(AF_INET, &in->sin_addr, ip, sizeof ip);
        port = ntohs(in->sin_port);
    } else if (sa && sa->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const void *)sa;
        inet_ntop(AF_INET6, &in6->sin6_addr, ip, sizeof ip);
        port = ntohs(in6->sin6_port);
    }
    const char *v4 = strncmp(ip, "::ffff:", 7) == 0 ? ip + 7 : ip;
    snprintf(text, size, strchr(v4, ':') ? "[%s]:%u" : "%s:%u", v4, port);
}

static struct s3_sock *new_sock(struct s3_listener *l, struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *i =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct s3_sock *s = calloc(1, sizeof *s);

    if (!s)
        return NULL;
    s->listener = l;
    s->fd = i ? i->connect_fd : -1;
    s->since_ns = wg_now_coarse_ns();
    pthread_mutex_init(&s->lock, NULL);
    name_client(mhd, s->client, sizeof s->client);
    pthread_mutex_lock(&l->lock);
    s->next = l->socks;
    if (s->next)
        s->next->prev = s;
    l->socks = s;
    l->nsocks++;
    pthread_mutex_unlock(&l->lock);
    return s;
}

static void end_sock(struct s3_listener *l, struct s3_sock *s)
{
    pthread_mutex_lock(&l->lock);
    if (s->prev)
        s->prev->next = s->next;
    else
        l->socks = s->next;
    if (s->next)
        s->next->prev = s->prev;
    l->nsocks--;
    pthread_mutex_unlock(&l->lock);
    if (s->req)
        wg_call_unref(s->req->call);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

void s3_conn_notify(void *cls, struct MHD_Connection *mhd, void **sock,
                    enum MHD_ConnectionNotificationCode code)
{
    struct s3_listener *l = cls;

    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        *sock = new_sock(l, mhd); /* NULL: its requests are refused */
        return;
    }
    if (*sock)
        end_sock(l, *sock);
    atomic_fetch_sub(&l->taken, 1);
}
