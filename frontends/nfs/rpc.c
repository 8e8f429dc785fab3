/* SPDX-License-Identifier: Apache-2.0 */
/* The RPC service's sockets: listening, accepting, rpcbind, start and stop. */
#include <rpc/rpc.h>
#include <rpc/svc_rqst.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#define WG_LOG_PART "nfs"
#include "acceptor.h"
#include "call.h"
#include "conn.h"
#include "dump.h"
#include "log.h"
#include "ntirpc.h"

enum { LISTENERS_MAX = 32, REGISTERED_MAX = 64, SOCKET_BUFFER = 2 << 20 };

static struct {
    struct wg_rpc_config config;
    uint32_t channel;
    bool library;             /* svc_init was called */
    struct {
        SVCXPRT *xprt;        /* of UDP: the library's */
        int fd;
        bool udp;
        unsigned which;       /* of ports */
        struct sockaddr_storage local;
        socklen_t local_len;
    } listeners[LISTENERS_MAX];
    unsigned nlisteners;
    struct wg_acceptor *acceptor;
    uint16_t ports[2];
    struct {
        uint32_t prog, vers;
        char netid[8];
    } registered[REGISTERED_MAX];
    unsigned nregistered;
} R;

/* --- connections --- */

/* What a connection's users share: the socket, open while somebody holds a reference. */
struct xprt {
    atomic_uint refs;
    atomic_bool destroyed;
    int fd;
    struct wg_rpc_conn *conn;
};

void wg_xprt_ref(void *xprt)
{
    atomic_fetch_add_explicit(&((struct xprt *)xprt)->refs, 1, memory_order_relaxed);
}

void wg_xprt_unref(void *xprt)
{
    struct xprt *x = xprt;

    if (atomic_fetch_sub_explicit(&x->refs, 1, memory_order_acq_rel) != 1)
        return;
    /* The socket first: whoever waits until no connection is left may count descriptors. */
    close(x->fd);
    wg_conn_free(x->conn);
    free(x);
}

void wg_xprt_destroy(void *xprt)
{
    struct xprt *x = xprt;

    if (atomic_exchange(&x->destroyed, true))
        return;
    wg_conn_unlinked(x->conn);
    wg_xprt_unref(x);
}

void wg_peer_set(struct wg_rpc_peer *p, const struct sockaddr_storage *ss)
{
    const struct sockaddr_in *v4 = (const void *)ss;
    const struct sockaddr_in6 *v6 = (const void *)ss;

    memset(p, 0, sizeof *p);
    if (ss->ss_family == AF_INET) {
        p->addr.s6_addr[10] = p->addr.s6_addr[11] = 0xff;
        memcpy(&p->addr.s6_addr[12], &v4->sin_addr, 4);
        p->port = ntohs(v4->sin_port);
    } else {
        p->addr = v6->sin6_addr;
        p->port = ntohs(v6->sin6_port);
    }
    if (IN6_IS_ADDR_V4MAPPED(&p->addr))
        inet_ntop(AF_INET, &p->addr.s6_addr[12], p->text, sizeof p->text);
    else
        inet_ntop(AF_INET6, &p->addr, p->text, sizeof p->text);
}

static void set_option(int fd, int level, int name, int value)
{
    if (setsockopt(fd, level, name, &value, sizeof value) != 0)
        wg_debug("a socket option (%d, %d) was refused: %s", level, name, strerror(errno));
}

static void on_accept(void *arg, int fd, const struct sockaddr_storage *ss, socklen_t len)
{
    struct xprt *x = malloc(sizeof *x);

    (void)arg;
    (void)len;
    if (wg_conn_count() >= R.config.max_connections) {
        close(fd);
        free(x);
        return;
    }
    if (x)
        *x = (struct xprt){ .refs = 1, .fd = fd, .conn = wg_conn_new(x, fd, ss) };
    if (!x || !x->conn) {
        close(fd);
        free(x);
        return;
    }
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    /* A peer that vanished is noticed in two minutes, with replies under way or without. */
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 60);
    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 10);
    set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 6);
    set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 120000);
    wg_debug("%s port %u connected", x->conn->peer.text, x->conn->peer.port);
    wg_conn_take(x->conn);
}

/* --- the library --- */

static void library_says(const char *fmt, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    wg_debug("libntirpc: %s", text);
}

static int start_library(void)
{
    struct svc_init_params ip = {
        .alloc_cb = wg_udp_alloc,
        .free_cb = wg_udp_free,
        .flags = SVC_INIT_EPOLL | SVC_INIT_NOREG_XPRTS,
        .max_connections = LISTENERS_MAX,
        .max_events = 256,
        .ioq_thrd_min = 2,
        .ioq_thrd_max = 4, /* only datagrams are its own */
        .channels = 1,
    };
    tirpc_pkg_params pp;

    signal(SIGPIPE, SIG_IGN);
    if (!tirpc_control(TIRPC_GET_PARAMETERS, &pp))
        return EINVAL;
    pp.warnx_ = library_says;
    pp.debug_flags = TIRPC_DEBUG_FLAG_DEFAULT;
    if (!tirpc_control(TIRPC_PUT_PARAMETERS, &pp) || !svc_init(&ip) ||
        svc_rqst_new_evchan(&R.channel, NULL, SVC_RQST_FLAG_NONE) != 0) {
        wg_error("cannot start libntirpc");
        return ENOMEM;
    }
    R.library = true;
    return 0;
}

/* Every connection is a descriptor; without some to spare, accepting would spin. */
static int check_descriptors(const struct wg_rpc_config *config)
{
    struct rlimit l;

    if (getrlimit(RLIMIT_NOFILE, &l) != 0)
        return errno;
    if (l.rlim_cur < l.rlim_max) {
        l.rlim_cur = l.rlim_max;
        setrlimit(RLIMIT_NOFILE, &l);
        getrlimit(RLIMIT_NOFILE, &l);
    }
    if (l.rlim_cur < config->max_connections + 128u) {
        wg_error("max_connections %u needs more descriptors than the limit of %llu allows "
                 "(LimitNOFILE, ulimit -n)",
                 config->max_connections, (unsigned long long)l.rlim_cur);
        return EMFILE;
    }
    return 0;
}

/* --- listeners --- */

static int parse_address(const char *text, uint16_t port, struct sockaddr_storage *ss,
                         socklen_t *len)
{
    struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_PASSIVE, .ai_socktype = SOCK_STREAM };
    struct addrinfo *ai;

    if (getaddrinfo(text, NULL, &hints, &ai) != 0) {
        wg_error("listen \"%s\": not a numeric address", text);
        return EINVAL;
    }
    memcpy(ss, ai->ai_addr, ai->ai_addrlen);
    *len = ai->ai_addrlen;
    freeaddrinfo(ai);
    ((struct sockaddr_in *)ss)->sin_port = htons(port); /* sin6_port is at the same place */
    return 0;
}

static int open_socket(const char *address, uint16_t port, bool udp, int *ret_fd,
                       uint16_t *ret_port)
{
    struct sockaddr_storage ss;
    socklen_t len;
    int fd, err = parse_address(address, port, &ss, &len);

    if (err)
        return err;
    fd = socket(ss.ss_family, udp ? SOCK_DGRAM | SOCK_CLOEXEC : SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return errno;
    if (ss.ss_family == AF_INET6)
        set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
    if (!udp) {
        set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
        set_option(fd, SOL_SOCKET, SO_RCVBUF, SOCKET_BUFFER);
        set_option(fd, SOL_SOCKET, SO_SNDBUF, SOCKET_BUFFER);
    }
    if (bind(fd, (struct sockaddr *)&ss, len) != 0 || (!udp && listen(fd, 1024) != 0) ||
        getsockname(fd, (struct sockaddr *)&ss, &len) != 0) {
        err = errno;
        wg_error("cannot listen on port %u (%s) of %s: %s", port, udp ? "UDP" : "TCP", address,
                 err == EADDRINUSE ? "another program uses it" : strerror(err));
        close(fd);
        return err;
    }
    *ret_fd = fd;
    *ret_port = ntohs(((struct sockaddr_in *)&ss)->sin_port);
    return 0;
}

static int listen_on(const char *address, unsigned which, bool udp)
{
    SVCXPRT *x = NULL;
    int fd = -1, err = open_socket(address, R.ports[which], udp, &fd, &R.ports[which]);
    unsigned i = R.nlisteners;

    if (err)
        return err;
    if (udp)
        err = wg_udp_listen(fd, R.channel, (void **)&x);
    if (udp && (!x || err)) {
        wg_error("libntirpc cannot listen on port %u of %s", R.ports[which], address);
        if (!x)
            close(fd);
        return err ? err : ENOMEM;
    }
    R.listeners[i].xprt = x;
    R.listeners[i].fd = fd;
    R.listeners[i].udp = udp;
    R.listeners[i].which = which;
    R.listeners[i].local_len = sizeof R.listeners[i].local;
    R.nlisteners++;
    if (getsockname(fd, (struct sockaddr *)&R.listeners[i].local, &R.listeners[i].local_len))
        return errno;
    wg_info("listening on %s port %u (%s)", address, R.ports[which], udp ? "UDP" : "TCP");
    return 0;
}

static bool have_ipv6(void)
{
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static int listen_all(const struct wg_rpc_config *config)
{
    const char *any = have_ipv6() ? "::" : "0.0.0.0";
    const char *const *addresses = config->nlisten ? config->listen : &any;
    unsigned n = config->nlisten ? config->nlisten : 1;
    bool two = config->ports[1] && config->ports[1] != config->ports[0];

    R.ports[0] = config->ports[0];
    R.ports[1] = config->ports[1];
    if (n * 3 > LISTENERS_MAX) {
        wg_error("at most %d listen addresses", LISTENERS_MAX / 3);
        return EINVAL;
    }
    for (unsigned i = 0; i < n; i++) {
        int err = listen_on(addresses[i], 0, false);

        if (!err && two)
            err = listen_on(addresses[i], 1, false);
        if (!err && !two)
            R.ports[1] = R.ports[0];
        if (!err && config->udp)
            err = listen_on(addresses[i], 1, true);
        if (err)
            return err;
    }
    return 0;
}

static int start_accepting(void)
{
    struct wg_acceptor_opts o = { .name = "nfs-accept", .accepted = on_accept };

    for (unsigned i = 0; i < R.nlisteners; i++)
        if (!R.listeners[i].udp)
            o.fds[o.nfds++] = R.listeners[i].fd;
    return wg_acceptor_start(&o, &R.acceptor);
}

static void stop_listening(void)
{
    wg_acceptor_stop(R.acceptor);
    R.acceptor = NULL;
    for (unsigned i = 0; i < R.nlisteners; i++) {
        if (R.listeners[i].udp)
            SVC_DESTROY(R.listeners[i].xprt);
        else
            close(R.listeners[i].fd);
    }
    R.nlisteners = 0;
}

/* --- rpcbind --- */

static void register_one(uint32_t prog, uint32_t vers, const char *netid, struct netbuf *address)
{
    struct netconfig *nc = getnetconfigent((char *)netid);
    bool ok = nc && R.nregistered < REGISTERED_MAX && rpcb_set(prog, vers, nc, address);

    if (nc)
        freenetconfigent(nc);
    if (!ok) {
        wg_warning("rpcbind did not register program %u version %u (%s): it is not running, or "
                   "another server has it", prog, vers, netid);
        return;
    }
    R.registered[R.nregistered].prog = prog;
    R.registered[R.nregistered].vers = vers;
    snprintf(R.registered[R.nregistered++].netid, 8, "%s", netid);
}

void wg_rpc_register(uint32_t prog, uint32_t vers, unsigned which)
{
    bool same = R.ports[0] == R.ports[1];

    for (unsigned i = 0; i < R.nlisteners; i++) {
        const struct sockaddr_in6 *v6 = (const void *)&R.listeners[i].local;
        struct netbuf local = { R.listeners[i].local_len, R.listeners[i].local_len, &R.listeners[i].local };
        struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons(R.ports[which]) };
        struct netbuf any_nb = { sizeof any, sizeof any, &any };
        bool udp = R.listeners[i].udp, is_v6 = v6->sin6_family == AF_INET6;
        const char *netid = is_v6 ? (udp ? "udp6" : "tcp6") : (udp ? "udp" : "tcp");

        if (R.listeners[i].which != which && !(same && !udp))
            continue;
        if (udp && prog != R.config.udp_prog)
            continue;
        register_one(prog, vers, netid, &local);
        if (is_v6 && IN6_IS_ADDR_UNSPECIFIED(&v6->sin6_addr)) /* it takes IPv4 as well */
            register_one(prog, vers, udp ? "udp" : "tcp", &any_nb);
    }
}

/* Only what wg_rpc_register has set: rpcb_unset would remove anybody's entry. */
static void unregister_all(void)
{
    for (unsigned i = 0; i < R.nregistered; i++) {
        struct netconfig *nc = getnetconfigent(R.registered[i].netid);

        if (nc) {
            rpcb_unset(R.registered[i].prog, R.registered[i].vers, nc);
            freenetconfigent(nc);
        }
    }
    R.nregistered = 0;
}

/* --- start and stop --- */

int wg_rpc_start(const struct wg_rpc_config *config)
{
    int err = check_descriptors(config);

    R.config = *config;
    if (!err)
        err = start_library();
    if (!err)
        err = wg_conn_start(config);
    if (!err)
        err = listen_all(config);
    if (!err)
        err = start_accepting();
    if (err)
        wg_rpc_stop(0);
    return err;
}

void wg_rpc_ports(uint16_t ret[2])
{
    ret[0] = R.ports[0];
    ret[1] = R.ports[1];
}

void wg_rpc_limits(unsigned conn_requests, uint32_t conn_bytes)
{
    wg_conn_limits(conn_requests, conn_bytes);
}

static bool wait_zero(unsigned (*count)(void), unsigned ms)
{
    uint64_t end = wg_now_ns() + ms * 1000000ull;

    while (count() > 0 && wg_now_ns() < end)
        usleep(2000);
    return count() == 0;
}

int wg_rpc_stop(unsigned drain_ms)
{
    bool drained;

    stop_listening();
    wg_conn_limits(1, 1); /* nobody gets a second request in */
    drained = wait_zero(wg_conn_requests, drain_ms);
    unregister_all();
    /*
     * Connections without requests go now; the others when their last request ends. Before the
     * library does: its threads free them.
     */
    wg_conn_hang_up_all();
    if (!wait_zero(wg_conn_count, drained ? 5000 : 200))
        wg_warning("%u NFS requests were still under way at the stop", wg_conn_requests());
    if (R.library)
        svc_shutdown(0);
    if (wg_conn_count() > 0)
        return ETIMEDOUT;
    wg_conn_stop();
    return 0;
}

void wg_rpc_dump(struct wg_dump *d)
{
    wg_dump_array(d, "listeners");
    for (unsigned i = 0; i < R.nlisteners; i++)
        wg_dump_fmt(d, NULL, "port %u (%s)", R.ports[R.listeners[i].which],
                    R.listeners[i].udp ? "UDP" : "TCP");
    wg_dump_end(d);
    wg_conn_dump(d);
}
