/* SPDX-License-Identifier: Apache-2.0 */
/* Listeners: an accept thread each; every accepted socket becomes a lane at once. */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define WG_LOG_PART "transport"
#include "acceptor.h"
#include "dump.h"
#include "internal.h"
#include "log.h"

struct wg_listener {
    int fd, wake;
    struct addr addr;
    char bound[160];
    uint16_t port;
    struct wg_listener_opts o;
    char *name;
    pthread_t thread;
    bool stopped;
    pthread_mutex_t lock;    /* lanes; taken before a poller's lock */
    pthread_cond_t empty;
    struct wg_lane *lanes;
    atomic_uint nlanes;
    atomic_uint_least64_t accepted, refused;
    struct wg_accept_shortage shortage;
    struct wg_listener *next; /* all */
};

static pthread_mutex_t all_lock = PTHREAD_MUTEX_INITIALIZER;
static struct wg_listener *all;

/* ---- accepting ---- */

static void lane_link(struct wg_listener *ls, struct wg_lane *l)
{
    l->l_prev = NULL;
    l->l_next = ls->lanes;
    if (ls->lanes)
        ls->lanes->l_prev = l;
    ls->lanes = l;
    atomic_fetch_add(&ls->nlanes, 1);
}

static void lane_unlink(struct wg_listener *ls, struct wg_lane *l)
{
    if (l->l_prev)
        l->l_prev->l_next = l->l_next;
    else
        ls->lanes = l->l_next;
    if (l->l_next)
        l->l_next->l_prev = l->l_prev;
    atomic_fetch_sub(&ls->nlanes, 1);
}

void listener_gone(struct wg_lane *l)
{
    struct wg_listener *ls = l->listener;

    pthread_mutex_lock(&ls->lock);
    lane_unlink(ls, l);
    if (!ls->lanes)
        pthread_cond_broadcast(&ls->empty);
    pthread_mutex_unlock(&ls->lock);
}

static int adopt(struct wg_listener *ls, int fd, const struct sockaddr_storage *ss, socklen_t len)
{
    struct wg_lane *l;
    int err = lane_new(&ls->o.lane, &l);

    if (err)
        return err;
    l->fd = fd;
    l->listener = ls;
    sockaddr_show(ss, len, l->peer_addr, sizeof l->peer_addr);
    pthread_mutex_lock(&ls->lock);
    lane_link(ls, l);
    err = poller_serve(l);
    if (err)
        lane_unlink(ls, l);
    pthread_mutex_unlock(&ls->lock);
    if (err) {
        registry_remove(l);
        l->fd = -1; /* the caller closes it */
    }
    wg_lane_unref(l);
    return err;
}

/* true: wait a little before accepting again. */
static bool accept_one(struct wg_listener *ls)
{
    struct sockaddr_storage ss = { 0 };
    socklen_t len = sizeof ss;
    char from[128];
    int fd = accept4(ls->fd, (struct sockaddr *)&ss, &len, SOCK_NONBLOCK | SOCK_CLOEXEC), err;

    if (fd < 0 && errno == EAGAIN)
        return false;
    if (wg_accept_short(&ls->shortage, ls->bound, fd < 0 ? errno : 0))
        return true;
    if (fd < 0)
        return false;
    sockaddr_show(&ss, len, from, sizeof from);
    err = atomic_load(&ls->nlanes) >= ls->o.max_lanes ? EUSERS : adopt(ls, fd, &ss, len);
    if (err) {
        close(fd);
        /* Powers of two: a flood makes few lines. */
        uint64_t n = atomic_fetch_add(&ls->refused, 1) + 1;
        if ((n & (n - 1)) == 0)
            wg_warning("listener %s refused %s: %s (%llu refused so far)", ls->bound, from,
                       err == EUSERS ? "too many connections" : strerror(err), (unsigned long long)n);
    } else {
        atomic_fetch_add(&ls->accepted, 1);
    }
    threads_reap();
    return false;
}

static void *accept_main(void *arg)
{
    struct wg_listener *ls = arg;
    struct pollfd p[2] = { { .fd = ls->wake, .events = POLLIN }, { .fd = ls->fd, .events = POLLIN } };
    bool pause = false;

    for (;;) {
        if (poll(p, pause ? 1 : 2, pause ? 100 : -1) < 0 && errno != EINTR)
            usleep(100000);
        if (p[0].revents & POLLIN)
            return NULL;
        pause = accept_one(ls); /* non-blocking: nothing there is no error */
    }
}

/* ---- sockets ---- */

static int bind_unix(struct wg_listener *ls)
{
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    int err = 0, probe;

    memcpy(un.sun_path, ls->addr.path, strlen(ls->addr.path));
    ls->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (ls->fd < 0)
        return errno;
    if (bind(ls->fd, (struct sockaddr *)&un, sizeof un) == 0)
        return chmod(ls->addr.path, ls->o.socket_mode) ? errno : 0;
    if (errno != EADDRINUSE)
        return errno;
    /* Left over by a process that is gone, or in use? */
    probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (probe < 0)
        return errno;
    if (connect(probe, (struct sockaddr *)&un, sizeof un) == 0 || errno != ECONNREFUSED)
        err = EADDRINUSE;
    close(probe);
    if (err)
        return err;
    if (unlink(ls->addr.path) || bind(ls->fd, (struct sockaddr *)&un, sizeof un) ||
        chmod(ls->addr.path, ls->o.socket_mode))
        return errno;
    return 0;
}

static int bind_one(struct wg_listener *ls, const struct addrinfo *a)
{
    int one = 1, zero = 0, err;
    int rcvbuf = (int)ls->o.lane.rcvbuf;

    ls->fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (ls->fd < 0)
        return errno;
    if (setsockopt(ls->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) ||
        (a->ai_family == AF_INET6 && !*ls->addr.host &&
         setsockopt(ls->fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero)) ||
        (rcvbuf && setsockopt(ls->fd, SOL_SOCKET, SO_RCVBUF, &rcvbuf, sizeof rcvbuf)) ||
        bind(ls->fd, a->ai_addr, a->ai_addrlen)) {
        err = errno;
        close(ls->fd);
        ls->fd = -1;
        return err;
    }
    return 0;
}

/* Every address is one IPv6 socket that takes IPv4 as well, or IPv4 where there is no IPv6. */
static int bind_inet(struct wg_listener *ls)
{
    bool any = !*ls->addr.host || strcmp(ls->addr.host, "*") == 0;
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV }, *ai;
    int err = EADDRNOTAVAIL;

    if (any)
        ls->addr.host[0] = '\0';
    if (getaddrinfo(any ? NULL : ls->addr.host, ls->addr.port, &hints, &ai))
        return EADDRNOTAVAIL;
    for (int pass = 0; pass < 2 && err && err != EADDRINUSE && err != EACCES; pass++)
        for (struct addrinfo *a = ai; a && err && err != EADDRINUSE; a = a->ai_next)
            if (!any || (a->ai_family == AF_INET6) == (pass == 0))
                err = bind_one(ls, a);
    freeaddrinfo(ai);
    return err;
}

/* What others should connect to, and the port. */
static void note_bound(struct wg_listener *ls)
{
    struct sockaddr_storage ss = { 0 };
    socklen_t len = sizeof ss;

    if (ls->addr.path || getsockname(ls->fd, (struct sockaddr *)&ss, &len)) {
        snprintf(ls->bound, sizeof ls->bound, "%s", ls->addr.text);
        return;
    }
    sockaddr_show(&ss, len, ls->bound, sizeof ls->bound);
    ls->port = ntohs(ss.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&ss)->sin6_port
                                              : ((struct sockaddr_in *)&ss)->sin_port);
    if (!*ls->addr.host)
        snprintf(ls->bound, sizeof ls->bound, "localhost:%u", ls->port);
}

/* ---- API ---- */

static void listener_free(struct wg_listener *ls)
{
    if (ls->fd >= 0)
        close(ls->fd);
    if (ls->wake >= 0)
        close(ls->wake);
    if (ls->o.lane.tls)
        wg_tls_unref(ls->o.lane.tls);
    addr_free(&ls->addr);
    free(ls->name);
    pthread_mutex_destroy(&ls->lock);
    pthread_cond_destroy(&ls->empty);
    free(ls);
}

static int listener_open(struct wg_listener *ls, const char *addr)
{
    int err = addr_parse(addr, &ls->addr);

    if (err)
        return err;
    ls->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (ls->wake < 0)
        return errno;
    err = ls->addr.path ? bind_unix(ls) : bind_inet(ls);
    if (err)
        return err;
    if (listen(ls->fd, (int)(ls->o.backlog ? ls->o.backlog : 512)))
        return errno;
    note_bound(ls);
    return thread_start(&ls->thread, accept_main, ls, "wg-accept");
}

int wg_listen(const char *addr, const struct wg_listener_opts *opts, struct wg_listener **ret)
{
    int err = lane_opts_check(&opts->lane, true);
    struct wg_listener *ls = err ? NULL : calloc(1, sizeof *ls);

    if (!ls)
        return err ? err : ENOMEM;
    ls->fd = ls->wake = -1;
    ls->o = *opts;
    ls->name = strdup(opts->lane.name ? opts->lane.name : addr);
    ls->o.lane.name = ls->name;
    ls->o.max_lanes = opts->max_lanes ? opts->max_lanes : 1024;
    ls->o.socket_mode = opts->socket_mode ? opts->socket_mode : 0600;
    if (ls->o.lane.pause_bytes == 0)
        ls->o.lane.pause_bytes = 8u << 20;
    if (ls->o.lane.tls)
        wg_tls_ref(ls->o.lane.tls);
    pthread_mutex_init(&ls->lock, NULL);
    pthread_cond_init(&ls->empty, NULL);
    err = ls->name ? listener_open(ls, addr) : ENOMEM;
    if (err) {
        listener_free(ls);
        return err;
    }
    pthread_mutex_lock(&all_lock);
    ls->next = all;
    all = ls;
    pthread_mutex_unlock(&all_lock);
    *ret = ls;
    return 0;
}

uint16_t wg_listener_port(const struct wg_listener *ls)
{
    return ls->port;
}

const char *wg_listener_addr(const struct wg_listener *ls)
{
    return ls->bound;
}

void *wg_listener_user(const struct wg_listener *ls)
{
    return ls->o.lane.user;
}

unsigned wg_listener_lanes(const struct wg_listener *ls)
{
    return atomic_load(&ls->nlanes);
}

void wg_listener_each(struct wg_listener *ls, void (*each)(struct wg_lane *lane, void *arg), void *arg)
{
    struct wg_lane **v;
    unsigned n = 0;

    pthread_mutex_lock(&ls->lock);
    v = calloc(atomic_load(&ls->nlanes) + 1, sizeof(struct wg_lane *));
    for (struct wg_lane *l = ls->lanes; l && v; l = l->l_next)
        v[n++] = wg_lane_ref(l);
    pthread_mutex_unlock(&ls->lock);
    for (unsigned i = 0; i < n; i++) {
        each(v[i], arg);
        wg_lane_unref(v[i]);
    }
    free(v);
}

void wg_listener_stop(struct wg_listener *ls)
{
    uint64_t one = 1;

    if (ls->stopped)
        return;
    ls->stopped = true;
    (void)!write(ls->wake, &one, sizeof one);
    pthread_join(ls->thread, NULL);
    close(ls->fd);
    ls->fd = -1;
    if (ls->addr.path)
        unlink(ls->addr.path);
}

void wg_listener_close(struct wg_listener *ls)
{
    struct wg_listener **at;

    wg_listener_stop(ls);
    pthread_mutex_lock(&ls->lock);
    for (struct wg_lane *l = ls->lanes; l; l = l->l_next) {
        atomic_store(&l->closing, true);
        lane_kick(l);
    }
    while (ls->lanes)
        pthread_cond_wait(&ls->empty, &ls->lock);
    pthread_mutex_unlock(&ls->lock);
    threads_reap();
    pthread_mutex_lock(&all_lock);
    for (at = &all; *at != ls;)
        at = &(*at)->next;
    *at = ls->next;
    pthread_mutex_unlock(&all_lock);
    listener_free(ls);
}

void listener_dump(struct wg_dump *d)
{
    wg_dump_array(d, "listeners");
    pthread_mutex_lock(&all_lock);
    for (struct wg_listener *ls = all; ls; ls = ls->next) {
        wg_dump_object(d, NULL);
        wg_dump_str(d, "name", ls->name);
        wg_dump_str(d, "addr", ls->bound);
        wg_dump_u64(d, "lanes", wg_listener_lanes(ls));
        wg_dump_u64(d, "max_lanes", ls->o.max_lanes);
        wg_dump_u64(d, "accepted", atomic_load(&ls->accepted));
        wg_dump_u64(d, "refused", atomic_load(&ls->refused));
        wg_dump_end(d);
    }
    pthread_mutex_unlock(&all_lock);
    wg_dump_end(d);
}
