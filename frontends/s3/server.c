/* SPDX-License-Identifier: Apache-2.0 */
/* Start, reload and stop of the front end; its clock; its section of the dump. */
#include <libxml/parser.h>
#include <linux/tcp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "acceptor.h"
#include "conn.h"
#include "dump.h"
#include "log.h"

#define WG_LOG_PART "s3"
#define POOL (32u << 10)        /* libmicrohttpd's memory per connection: headers, receive buffer */
#define BACKLOG 1024
#define SEC 1000000000ull

static struct {
    pthread_mutex_t lock;
    struct wg_s3 *first;
} all = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* ---- Listening ---- */

/* "host:port", "[v6]:port", ":port" or "port". */
static int split_address(const char *text, char *host, size_t size, const char **ret_port)
{
    const char *colon = strrchr(text, ':');
    size_t len = colon ? (size_t)(colon - text) : 0;

    *ret_port = colon ? colon + 1 : text;
    if (len >= 2 && text[0] == '[' && text[len - 1] == ']') {
        text++;
        len -= 2;
    }
    if (len >= size)
        return EINVAL;
    memcpy(host, text, len);
    host[len] = '\0';
    return 0;
}

static int try_listen(const struct addrinfo *ai, int *ret)
{
    int on = 1, off = 0;
    int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (ai->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (bind(fd, ai->ai_addr, ai->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0) {
        int err = errno;
        close(fd);
        return err;
    }
    *ret = fd;
    return 0;
}

/* Without a host: both families on one socket where there is IPv6, else IPv4. */
static int listen_on(const char *text, int *ret)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE }, *list;
    char host[256];
    const char *port;
    int err = split_address(text, host, sizeof host, &port);

    if (err)
        return err;
    if (getaddrinfo(*host ? host : NULL, port, &hints, &list) != 0)
        return EINVAL;
    err = EADDRNOTAVAIL;
    for (int pass = 0; err && pass < 2; pass++)
        for (const struct addrinfo *ai = list; ai && err; ai = ai->ai_next)
            if ((ai->ai_family == AF_INET6) == (pass == 0))
                err = try_listen(ai, ret);
    freeaddrinfo(list);
    return err;
}

static uint16_t port_of(int fd)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof ss;
    char port[8];

    if (getsockname(fd, (struct sockaddr *)&ss, &len) < 0 ||
        getnameinfo((struct sockaddr *)&ss, len, NULL, 0, port, sizeof port, NI_NUMERICSERV) != 0)
        return 0;
    return (uint16_t)atoi(port);
}

static void library_log(void *cls, const char *fmt, va_list ap)
{
    char text[512];

    (void)cls;
    vsnprintf(text, sizeof text, fmt, ap);
    text[strcspn(text, "\n")] = '\0';
    wg_debug("libmicrohttpd: %s", text);
}

static size_t keep_escapes(void *cls, struct MHD_Connection *mhd, char *s)
{
    (void)cls, (void)mhd;
    return strlen(s);
}

static struct MHD_Daemon *start_daemon(struct s3_listener *l)
{
    struct wg_s3 *s3 = l->s3;
    /* The library's own accepting would turn without end when there are no descriptors. */
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG |
                     MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ITC |
                     (l->tls ? MHD_USE_TLS : 0);
    struct MHD_OptionItem ops[] = {
        { MHD_OPTION_EXTERNAL_LOGGER, (intptr_t)library_log, NULL },
        { MHD_OPTION_CONNECTION_MEMORY_LIMIT, POOL, NULL },
        { MHD_OPTION_CONNECTION_MEMORY_INCREMENT, POOL / 4, NULL },
        /* The limit is ours; the library's is split among its threads, who don't share evenly. */
        { MHD_OPTION_CONNECTION_LIMIT, (intptr_t)s3->max_connections * s3->threads, NULL },
        { MHD_OPTION_CONNECTION_TIMEOUT, s3->idle_s, NULL },
        { MHD_OPTION_STRICT_FOR_CLIENT, 1, NULL },
        { MHD_OPTION_URI_LOG_CALLBACK, (intptr_t)s3_conn_uri, l },
        { MHD_OPTION_UNESCAPE_CALLBACK, (intptr_t)keep_escapes, NULL },
        { MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)s3_conn_completed, l },
        { MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)s3_conn_notify, l },
        { s3->threads > 1 ? MHD_OPTION_THREAD_POOL_SIZE : MHD_OPTION_END, s3->threads, NULL },
        { MHD_OPTION_END, 0, NULL },
    };
    struct MHD_OptionItem tls[] = {
        { MHD_OPTION_HTTPS_CERT_CALLBACK, 0, s3_tls_callback() },
        { MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t)"NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2" },
        { MHD_OPTION_END, 0, NULL },
    };

    return MHD_start_daemon(flags, 0, NULL, NULL, s3_conn_handler, l, MHD_OPTION_ARRAY, ops,
                            l->tls ? MHD_OPTION_ARRAY : MHD_OPTION_END, tls, MHD_OPTION_END);
}

/* Above the limit clients wait in the backlog. */
static bool may_accept(void *arg)
{
    struct s3_listener *l = arg;

    return atomic_load(&l->taken) < l->s3->max_connections;
}

static void on_accept(void *arg, int fd, const struct sockaddr_storage *ss, socklen_t len)
{
    struct s3_listener *l = arg;

    atomic_fetch_add(&l->taken, 1);
    if (MHD_add_connection(l->daemon, fd, (const struct sockaddr *)ss, len) == MHD_YES)
        return;
    atomic_fetch_sub(&l->taken, 1); /* the library has closed fd */
    wg_debug("a connection was refused: %s", strerror(errno));
}

static int start_accepting(struct s3_listener *l)
{
    struct wg_acceptor_opts o = { .name = l->tls ? "s3-accept-tls" : "s3-accept", .fds = { l->fd }, .nfds = 1,
                                  .ready = may_accept, .accepted = on_accept, .arg = l };

    return wg_acceptor_start(&o, &l->acceptor);
}

static int start_listener(struct wg_s3 *s3, struct s3_listener *l, const char *address, bool tls)
{
    l->s3 = s3;
    l->tls = tls;
    l->fd = -1;
    pthread_mutex_init(&l->lock, NULL);
    if (!address)
        return 0;
    int err = listen_on(address, &l->fd);
    if (err) {
        wg_error("can't listen on %s for %s: %s", address, tls ? "https" : "http", strerror(err));
        return err;
    }
    l->port = port_of(l->fd);
    l->daemon = start_daemon(l);
    if (!l->daemon) {
        wg_error("can't start the %s listener on %s", tls ? "https" : "http", address);
        close(l->fd);
        l->fd = -1;
        return EIO;
    }
    err = start_accepting(l);
    if (err) {
        wg_error("can't start accepting on %s: %s", address, strerror(err));
        return err; /* the stop ends the daemon */
    }
    wg_notice("S3 over %s on port %u", tls ? "https" : "http", l->port);
    return 0;
}

/* ---- The clock: slow clients, changed users ---- */

/* Bytes that the client has sent or taken, as TCP knows: not what lies in buffers on our side. */
static uint64_t moved_bytes(int fd, bool in)
{
    struct tcp_info info = { 0 };
    socklen_t len = sizeof info;

    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
        return 0;
    return in ? info.tcpi_bytes_received : info.tcpi_bytes_acked;
}

/*
 * Fewer bytes than min_rate asks for, in the last idle_s seconds of which age is the end? What went fast before
 * does not count: 100 MB at once would buy a day at a byte a second. Under c->lock.
 */
static bool too_slow(const struct wg_s3 *s3, struct s3_conn *c, int fd, bool in, uint64_t age)
{
    uint64_t ns = age > c->rate_age_ns ? age - c->rate_age_ns : 0, bytes, moved;

    if (c->rate_known && ns < s3->idle_s * SEC)
        return false;
    bytes = moved_bytes(fd, in);
    moved = bytes - c->rate_bytes;
    c->rate_bytes = bytes;
    c->rate_age_ns = age;
    if (c->rate_known)
        return moved / (ns / SEC) < s3->min_rate;
    c->rate_known = true;
    return false;
}

/*
 * A client that closes just after a piece of its body: the library's edge-triggered wait can miss
 * the end that came with the data, and would hold its buffers until the idle timeout.
 */
static bool hung_up(struct s3_req *r, int fd)
{
    struct s3_conn *c = r->conn;
    struct pollfd p = { .fd = fd, .events = POLLRDHUP };
    uint64_t in = atomic_load(&c->wire_in);
    bool still = in == c->seen_in;

    c->seen_in = in;
    return still && poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

/*
 * The same before the headers are whole, or the request line: the client has closed, all that it sent was taken, and
 * no answer is due. (One that closes its side after a whole request is past that.)
 */
static bool gone_early(int fd, uint64_t age)
{
    char byte;

    return age > 2 * SEC && recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

static bool overdue(const struct wg_s3 *s3, struct s3_req *r, uint64_t now, int fd)
{
    struct s3_conn *c = r->conn;
    bool late = false;

    pthread_mutex_lock(&c->lock);
    uint64_t age = now > c->phase_ns + c->asleep_ns ? now - c->phase_ns - c->asleep_ns : 0;
    if (c->suspended)
        late = false; /* we hold it */
    else if (c->phase == S3_PHASE_NEW)
        late = age > s3->request_s * SEC || gone_early(fd, age);
    else if (c->phase == S3_PHASE_BODY)
        late = too_slow(s3, c, fd, true, age) || hung_up(r, fd);
    else if (c->phase == S3_PHASE_SENT)
        late = too_slow(s3, c, fd, false, age);
    pthread_mutex_unlock(&c->lock);
    return late;
}

/* The library only knows of idle connections; one that sends a byte now and then is ours to end. */
static void check_sock(const struct wg_s3 *s3, struct s3_sock *s, uint64_t now)
{
    bool cut;

    pthread_mutex_lock(&s->lock);
    if (s->req)
        cut = overdue(s3, s->req, now, s->fd);
    else
        cut = now > s->since_ns && (now - s->since_ns > 2 * s3->idle_s * SEC || gone_early(s->fd, now - s->since_ns));
    pthread_mutex_unlock(&s->lock);
    if (cut) {
        wg_debug("client=%s is too slow; cut", s->client);
        shutdown(s->fd, SHUT_RDWR); /* on the list, so not yet closed */
    }
}

static void check_listener(struct s3_listener *l, uint64_t now)
{
    pthread_mutex_lock(&l->lock);
    for (struct s3_sock *s = l->socks; s; s = s->next)
        check_sock(l->s3, s, now);
    pthread_mutex_unlock(&l->lock);
}

static void *tick(void *arg)
{
    struct wg_s3 *s3 = arg;
    struct timespec at;

    pthread_mutex_lock(&s3->tick_lock);
    while (s3->ticking) {
        clock_gettime(CLOCK_REALTIME, &at);
        at.tv_sec++;
        pthread_cond_timedwait(&s3->tick_wake, &s3->tick_lock, &at);
        if (!s3->ticking)
            break;
        pthread_mutex_unlock(&s3->tick_lock);
        wg_users_reload(s3->users);
        check_listener(&s3->http, wg_now_coarse_ns());
        check_listener(&s3->https, wg_now_coarse_ns());
        pthread_mutex_lock(&s3->tick_lock);
    }
    pthread_mutex_unlock(&s3->tick_lock);
    return NULL;
}

static int start_tick(struct wg_s3 *s3)
{
    s3->ticking = true;
    int err = pthread_create(&s3->tick, NULL, tick, s3);
    if (err)
        s3->ticking = false;
    else
        pthread_setname_np(s3->tick, "wg-s3-clock");
    return err;
}

static void stop_tick(struct wg_s3 *s3)
{
    pthread_mutex_lock(&s3->tick_lock);
    bool was = s3->ticking;
    s3->ticking = false;
    pthread_cond_signal(&s3->tick_wake);
    pthread_mutex_unlock(&s3->tick_lock);
    if (was)
        pthread_join(s3->tick, NULL);
}

/* ---- The dump ---- */

/* A connection that has a request: whose call it is, and how far its body and answer are. */
static void dump_sock(struct wg_dump *d, struct s3_sock *s)
{
    pthread_mutex_lock(&s->lock);
    if (s->req) {
        wg_dump_object(d, NULL);
        wg_dump_str(d, "client", s->client);
        wg_dump_u64(d, "call", s->req->call->id);
        wg_dump_str(d, "id", s->req->id);
        wg_dump_u64(d, "ms", (wg_now_coarse_ns() - s->since_ns) / 1000000);
        wg_dump_u64(d, "bytes_in", atomic_load(&s->req->conn->wire_in));
        wg_dump_u64(d, "bytes_out", atomic_load(&s->req->conn->sent));
        wg_dump_end(d);
    }
    pthread_mutex_unlock(&s->lock);
}

static void dump_listener(struct wg_dump *d, const char *name, struct s3_listener *l)
{
    if (!l->daemon)
        return;
    wg_dump_object(d, name);
    wg_dump_u64(d, "port", l->port);
    pthread_mutex_lock(&l->lock);
    wg_dump_u64(d, "connections", l->nsocks);
    wg_dump_array(d, "requests");
    for (struct s3_sock *s = l->socks; s; s = s->next)
        dump_sock(d, s);
    wg_dump_end(d);
    pthread_mutex_unlock(&l->lock);
    wg_dump_end(d);
}

static void dump_all(struct wg_dump *d)
{
    pthread_mutex_lock(&all.lock);
    for (struct wg_s3 *s3 = all.first; s3; s3 = s3->next) {
        dump_listener(d, "http", &s3->http);
        dump_listener(d, "https", &s3->https);
        wg_dump_u64(d, "requests-now", atomic_load(&s3->requests));
        wg_dump_u64(d, "requests", atomic_load(&s3->count.requests));
        wg_dump_u64(d, "errors", atomic_load(&s3->count.errors));
        wg_dump_u64(d, "cut", atomic_load(&s3->count.aborted));
        wg_dump_u64(d, "bytes-in", atomic_load(&s3->count.bytes_in));
        wg_dump_u64(d, "bytes-out", atomic_load(&s3->count.bytes_out));
        wg_dump_u64(d, "bytes-copied-by-brick", atomic_load(&s3->count.copied));
        wg_dump_u64(d, "bytes-copied-between-bricks", atomic_load(&s3->count.pulled));
        wg_dump_u64(d, "bytes-copied-through-gateway", atomic_load(&s3->count.carried));
        wg_dump_u64(d, "body-memory", atomic_load(&s3->body_used));
        wg_dump_u64(d, "users", wg_users_count(s3->users));
    }
    pthread_mutex_unlock(&all.lock);
}

static void register_dump(void)
{
    static struct wg_dump_section section = { .name = "s3", .fn = dump_all };

    wg_dump_register(&section);
}

static void enlist(struct wg_s3 *s3)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, register_dump);
    pthread_mutex_lock(&all.lock);
    s3->next = all.first;
    all.first = s3;
    pthread_mutex_unlock(&all.lock);
}

static void delist(struct wg_s3 *s3)
{
    pthread_mutex_lock(&all.lock);
    struct wg_s3 **at = &all.first;
    while (*at && *at != s3)
        at = &(*at)->next;
    if (*at)
        *at = s3->next;
    pthread_mutex_unlock(&all.lock);
}

/* ---- Start, reload, stop ---- */

static int copy_domains(struct wg_s3 *s3, const struct wg_s3_config *config)
{
    s3->domains = calloc(config->ndomains + 1, sizeof *s3->domains);
    if (!s3->domains)
        return ENOMEM;
    for (unsigned i = 0; i < config->ndomains; i++) {
        char *name = strdup(config->domains[i]);
        if (!name)
            return ENOMEM;
        s3->domains[s3->ndomains++] = wg_str_of(name);
    }
    return 0;
}

static int copy_volumes(struct wg_s3 *s3, const struct wg_s3_config *config)
{
    if (config->nmore >= WG_S3_VOLUMES_MAX) {
        wg_error("S3 serves at most %u volumes", WG_S3_VOLUMES_MAX);
        return EINVAL;
    }
    s3->nvolumes = 1 + config->nmore;
    for (unsigned i = 0; i < s3->nvolumes; i++) {
        const char *name = i ? config->more[i - 1].name : config->volume_name;

        s3->volume[i] = i ? config->more[i - 1].volume : config->volume;
        s3->volume_name[i] = strdup(name ? name : "");
        if (!s3->volume_name[i])
            return ENOMEM;
    }
    return 0;
}

static unsigned or_default(unsigned v, unsigned def)
{
    return v ? v : def;
}

static int copy_config(struct wg_s3 *s3, const struct wg_s3_config *config)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    int err = copy_volumes(s3, config);

    s3->root.gfid = WG_ROOT_GFID;
    s3->threads = or_default(config->threads, cores < 2 ? 1 : cores > 4 ? 4 : (unsigned)cores);
    s3->max_connections = or_default(config->max_connections, 10000);
    s3->idle_s = or_default(config->idle_timeout_s, 60);
    s3->request_s = or_default(config->request_timeout_s, 30);
    s3->min_rate = or_default(config->min_rate, 1024);
    s3->body_memory = config->body_memory ? config->body_memory : 256ull << 20;
    s3->region = strdup(config->region ? config->region : "us-east-1");
    for (unsigned i = 0; i < S3_BUCKET_CACHE; i++) {
        pthread_mutex_init(&s3->buckets[i].lock, NULL);
        wg_co_mutex_init(&s3->buckets[i].making);
    }
    pthread_mutex_init(&s3->tick_lock, NULL);
    pthread_mutex_init(&s3->route_lock, NULL);
    pthread_cond_init(&s3->tick_wake, NULL);
    if (!err)
        err = s3->region ? copy_domains(s3, config) : ENOMEM;
    return err;
}

/* Beyond the limit of descriptors accept fails over and over; better to let clients wait. */
static void fit_descriptors(struct wg_s3 *s3)
{
    struct rlimit lim;

    if (getrlimit(RLIMIT_NOFILE, &lim) < 0)
        return;
    if (lim.rlim_cur < lim.rlim_max) {
        lim.rlim_cur = lim.rlim_max;
        setrlimit(RLIMIT_NOFILE, &lim);
    }
    if (getrlimit(RLIMIT_NOFILE, &lim) == 0 && lim.rlim_cur != RLIM_INFINITY &&
        s3->max_connections > lim.rlim_cur / 3) {
        s3->max_connections = lim.rlim_cur / 3 > 16 ? (unsigned)(lim.rlim_cur / 3) : 16;
        wg_warning("only %llu descriptors: at most %u S3 connections per listener",
                   (unsigned long long)lim.rlim_cur, s3->max_connections);
    }
    if (s3->max_connections < s3->threads)
        s3->max_connections = s3->threads;
}

static int start_all(struct wg_s3 *s3, const struct wg_s3_config *config)
{
    int err = copy_config(s3, config);

    if (!err)
        err = wg_users_open(config->users_file, &s3->users);
    if (!err && config->https)
        err = s3_tls_open(config->cert_file, config->key_file, &s3->certs);
    if (err)
        return err;
    s3_tls_use(s3->certs);
    fit_descriptors(s3);
    err = start_listener(s3, &s3->http, config->http, false);
    if (!err)
        err = start_listener(s3, &s3->https, config->https, true);
    return err ? err : start_tick(s3);
}

int wg_s3_start(const struct wg_s3_config *config, struct wg_s3 **ret)
{
    struct wg_s3 *s3 = calloc(1, sizeof *s3);

    if (!s3)
        return ENOMEM;
    if ((!config->http && !config->https) || !config->users_file ||
        (config->https && (!config->cert_file || !config->key_file))) {
        wg_error("S3 needs an address, a user file, and for https a certificate and a key");
        free(s3);
        return EINVAL;
    }
    s3->http.fd = s3->https.fd = -1;
    xmlInitParser(); /* done by the first two errors at once, on two threads, it would be done twice */
    enlist(s3);
    int err = start_all(s3, config);
    if (err)
        wg_s3_stop(s3, 0);
    else
        *ret = s3;
    return err;
}

void wg_s3_reload(struct wg_s3 *s3)
{
    wg_users_reload(s3->users);
    if (s3->certs)
        s3_tls_reload(s3->certs);
}

uint16_t wg_s3_port(const struct wg_s3 *s3, bool https)
{
    return https ? s3->https.port : s3->http.port;
}

static uint64_t connections(struct s3_listener *l)
{
    uint64_t n = 0;

    if (!l->daemon)
        return 0;
    pthread_mutex_lock(&l->lock);
    n = l->nsocks;
    pthread_mutex_unlock(&l->lock);
    return n;
}

void wg_s3_counts(struct wg_s3 *s3, struct wg_s3_counts *ret)
{
    *ret = (struct wg_s3_counts){
        .connections = connections(&s3->http) + connections(&s3->https),
        .requests = atomic_load(&s3->count.requests),
        .errors = atomic_load(&s3->count.errors),
        .bytes_in = atomic_load(&s3->count.bytes_in),
        .bytes_out = atomic_load(&s3->count.bytes_out),
    };
}

struct wg_users *wg_s3_users(struct wg_s3 *s3)
{
    return s3->users;
}

/* Refuses new connections from now on. */
static void quiesce(struct s3_listener *l)
{
    if (!l->daemon)
        return;
    wg_acceptor_stop(l->acceptor);
    l->acceptor = NULL;
    if (l->fd >= 0)
        close(l->fd);
    l->fd = -1;
}

static void stop_listener(struct s3_listener *l)
{
    if (!l->daemon)
        return;
    MHD_stop_daemon(l->daemon);
    l->daemon = NULL;
}

/* A suspended connection at MHD_stop_daemon aborts the process; and nobody may sleep anew. */
static void abort_listener(struct s3_listener *l)
{
    pthread_mutex_lock(&l->lock);
    for (struct s3_sock *s = l->socks; s; s = s->next) {
        pthread_mutex_lock(&s->lock);
        if (s->req)
            s3_conn_abort(s->req);
        pthread_mutex_unlock(&s->lock);
    }
    pthread_mutex_unlock(&l->lock);
}

/* Requests hold s3; true when all are gone. */
static bool wait_requests(struct wg_s3 *s3, unsigned ms)
{
    for (; atomic_load(&s3->requests) && ms > 0; ms = ms > 10 ? ms - 10 : 0)
        usleep(10000);
    return atomic_load(&s3->requests) == 0;
}

static void free_all(struct wg_s3 *s3)
{
    s3_tls_close(s3->certs);
    wg_users_close(s3->users);
    for (unsigned i = 0; i < s3->ndomains; i++)
        free((char *)(uintptr_t)s3->domains[i].s);
    free(s3->domains);
    for (unsigned i = 0; i < s3->nvolumes; i++)
        free(s3->volume_name[i]);
    pthread_mutex_destroy(&s3->route_lock);
    free(s3->region);
    free(s3);
}

void wg_s3_stop(struct wg_s3 *s3, unsigned drain_ms)
{
    atomic_store(&s3->stopping, true);
    quiesce(&s3->http);
    quiesce(&s3->https);
    wait_requests(s3, drain_ms);
    stop_tick(s3);
    atomic_store(&s3->aborting, true);
    abort_listener(&s3->http);
    abort_listener(&s3->https);
    delist(s3); /* a dump looks at the daemons */
    stop_listener(&s3->http);
    stop_listener(&s3->https);
    if (wait_requests(s3, 30000))
        free_all(s3);
    else
        wg_error("%u S3 requests did not end; their memory is left to the process's end",
                 atomic_load(&s3->requests));
}
