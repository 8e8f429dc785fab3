/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The brick transport alone: lanes x message size, a thread per lane or one polling thread for all.
 * The server is a forked child, so that both sides' CPU time is known. One JSON line a run, like
 * tls_limit's, which is the limit to compare with.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/perf_event.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "call.h"
#include "certs.h"
#include "log.h"
#include "transport.h"

#define LANES_MAX 64
#define BODY 96 /* about a fop's */
#define MIX_STREAMS 4
#define SMALL 4096u

enum { T_WRITE = 32, T_READ, T_ECHO, T_REPLY };

static struct {
    const char *op, *threads, *via;
    unsigned lanes, depth;
    uint32_t size;
    uint64_t total; /* bytes of streams */
    double secs;    /* of the others */
    uint32_t kernel; /* SO_SNDBUF and SO_RCVBUF; 0: the kernel's own tuning */
} opt = { "write", "lane", "tls", 1, 4, 1 << 20, 2ull << 30, 3, 0 };

struct blane {
    struct wg_lane *lane;
    atomic_uint_least64_t pending; /* bytes asked for on it */
};

static struct blane lanes[LANES_MAX];
static struct wg_tls *tls;
static struct wg_poller *poller;
static struct wg_iobuf *payload;
static char dir[] = "/tmp/wg-bench-XXXXXX", path[128];

static atomic_uint up;
static atomic_uint_least64_t sent, got, goal;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;

__attribute__((noreturn)) static void die(const char *what, int err)
{
    fprintf(stderr, "transport-bench: %s: %s\n", what, strerror(err));
    exit(1);
}

/* ---- counters ---- */

static double cpu_of(const struct rusage *r)
{
    return (double)r->ru_utime.tv_sec + (double)r->ru_utime.tv_usec / 1e6 + (double)r->ru_stime.tv_sec +
           (double)r->ru_stime.tv_usec / 1e6;
}

/* Counts futex calls of this process and its threads to come; -1 where the kernel does not let us. */
static int futex_counter(void)
{
    struct perf_event_attr a = { .type = PERF_TYPE_TRACEPOINT, .size = sizeof a, .inherit = 1 };
    FILE *f = fopen("/sys/kernel/tracing/events/syscalls/sys_enter_futex/id", "re");
    unsigned long long id = 0;

    if (!f)
        f = fopen("/sys/kernel/debug/tracing/events/syscalls/sys_enter_futex/id", "re");
    if (!f)
        return -1;
    if (fscanf(f, "%llu", &id) != 1)
        id = 0;
    fclose(f);
    a.config = id;
    return id ? (int)syscall(SYS_perf_event_open, &a, 0, -1, -1, PERF_FLAG_FD_CLOEXEC) : -1;
}

static int64_t counted(int fd)
{
    int64_t n = -1;

    if (fd < 0 || read(fd, &n, sizeof n) != (ssize_t)sizeof n)
        return -1;
    return n;
}

/* ---- server ---- */

static void nothing_up(struct wg_lane *l, uint64_t conn)
{
    (void)l, (void)conn;
}

static void nothing_down(struct wg_lane *l, const struct wg_down *why)
{
    (void)l, (void)why;
}

static void serve_message(struct wg_lane *l, const struct wg_msg_hdr *h, const void *body, struct wg_iobuf *p)
{
    struct wg_seg seg = { payload, payload->base, 0 };
    struct wg_msg m = { .type = T_REPLY, .id = h->id, .body = body, .body_len = BODY, .must = true };

    if (h->type == T_READ)
        seg.len = (uint32_t)h->low;
    else if (h->type == T_ECHO)
        seg = (struct wg_seg){ p, p->base, h->payload_len };
    if (seg.len)
        m.payload = (struct wg_data){ &seg, 1, seg.len };
    (void)wg_lane_send(l, &m);
    wg_iobuf_unref(p);
}

static const struct wg_lane_ops server_ops = { nothing_up, serve_message, nothing_down, NULL, NULL };

static struct wg_tls *identity(const char *who)
{
    char cert[160], key[160], ca[160];
    struct wg_tls_config c = { .cert = cert, .key = key, .ca = ca, .allow = (const char *const[]){ "*" }, .nallow = 1 };
    struct wg_tls *t;
    int err;

    if (strcmp(opt.via, "tls") != 0)
        return NULL;
    snprintf(cert, sizeof cert, "%s/%s.pem", dir, who);
    snprintf(key, sizeof key, "%s/%s.key", dir, who);
    snprintf(ca, sizeof ca, "%s/ca.pem", dir);
    err = wg_tls_new(&c, &t, NULL, 0);
    if (err)
        die("TLS", err);
    return t;
}

static void common_opts(struct wg_lane_opts *o, const char *who)
{
    int err = 0;

    o->tls = tls = identity(who);
    o->plain = tls == NULL;
    if (strcmp(opt.threads, "shared") == 0)
        err = wg_poller_new("shared", &poller);
    if (err)
        die("poller", err);
    o->poller = poller;
    o->sndbuf = o->rcvbuf = opt.kernel;
    payload = wg_iobuf_get(opt.size > SMALL ? opt.size : SMALL);
    if (!payload)
        die("memory", ENOMEM);
    memset(payload->base, 'x', payload->size);
}

/* The child: says its address on out, serves until in is closed, says its futex calls. */
static void serve(int in, int out)
{
    struct wg_listener_opts o = { .lane = { .ops = &server_ops, .name = "bench" } };
    struct wg_listener *l;
    char addr[160] = "127.0.0.1:0", end;
    int64_t n;
    int fd = futex_counter(), err;

    common_opts(&o.lane, "server");
    if (strcmp(opt.via, "unix") == 0)
        snprintf(addr, sizeof addr, "unix:%s", path);
    err = wg_listen(addr, &o, &l);
    if (err)
        die("listen", err);
    snprintf(addr, sizeof addr, "%s", wg_listener_addr(l));
    if (write(out, addr, sizeof addr) != (ssize_t)sizeof addr || read(in, &end, 1) != 0)
        die("pipe", EPIPE);
    wg_listener_close(l);
    n = counted(fd);
    if (write(out, &n, sizeof n) != (ssize_t)sizeof n)
        die("pipe", EPIPE);
    exit(0);
}

/* ---- client ---- */

static uint64_t *lat; /* ns of each small call */
static unsigned nlat;
static atomic_uint_least64_t mix_streams_got;
static bool mixing;

static void request(struct blane *b, int type, uint32_t size, uint64_t id)
{
    static const char body[BODY];
    struct wg_seg seg = { payload, payload->base, size };
    struct wg_msg m = { .type = (uint8_t)type, .id = id, .low = size, .body = body, .body_len = BODY };
    int err;

    if (type != T_READ)
        m.payload = (struct wg_data){ &seg, 1, size };
    atomic_fetch_add(&b->pending, size);
    err = wg_lane_send(b->lane, &m);
    if (err)
        die("send", err);
}

static int request_type(void)
{
    return strcmp(opt.op, "read") == 0 ? T_READ : strcmp(opt.op, "echo") == 0 ? T_ECHO : T_WRITE;
}

static void next_request(struct blane *b)
{
    if (atomic_fetch_add(&sent, 1) < atomic_load(&goal))
        request(b, request_type(), opt.size, 1);
}

/* As protocol/client chooses: with several lanes the first is for small calls, and large ones take the others. */
static struct blane *choose(bool small)
{
    struct blane *best = &lanes[!small && opt.lanes > 1];

    for (unsigned i = opt.lanes > 1; !small && i < opt.lanes; i++)
        if (atomic_load(&lanes[i].pending) < atomic_load(&best->pending))
            best = &lanes[i];
    return best;
}

static void small_done(void)
{
    pthread_mutex_lock(&lock);
    got++;
    pthread_cond_signal(&cond);
    pthread_mutex_unlock(&lock);
}

static void client_message(struct wg_lane *l, const struct wg_msg_hdr *h, const void *body, struct wg_iobuf *p)
{
    struct blane *b = wg_lane_user(l);

    (void)body;
    wg_iobuf_unref(p);
    if (mixing) {
        atomic_fetch_sub(&b->pending, h->payload_len);
        if (h->id == 2) {
            small_done();
        } else {
            atomic_fetch_add(&mix_streams_got, 1);
            if (!atomic_load(&goal))
                request(choose(false), T_READ, 1 << 20, 1);
        }
        return;
    }
    if (atomic_fetch_add(&got, 1) + 1 == atomic_load(&goal)) {
        pthread_mutex_lock(&lock);
        pthread_cond_signal(&cond);
        pthread_mutex_unlock(&lock);
        return;
    }
    next_request(b);
}

static void client_up(struct wg_lane *l, uint64_t conn)
{
    (void)l, (void)conn;
    pthread_mutex_lock(&lock);
    atomic_fetch_add(&up, 1);
    pthread_cond_signal(&cond);
    pthread_mutex_unlock(&lock);
}

static const struct wg_lane_ops client_ops = { client_up, client_message, nothing_down, NULL, NULL };

static int cmp_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* 4 KiB reads one at a time, alone or beside streams of 1 MiB reads, on a lane of their own if there are several. */
static void run_small(bool beside)
{
    uint64_t end = wg_now_ns() + (uint64_t)(opt.secs * 1e9);

    nlat = 0;
    mixing = true;
    for (unsigned i = 0; beside && i < MIX_STREAMS; i++)
        request(choose(false), T_READ, 1 << 20, 1);
    while (wg_now_ns() < end && nlat < 1000000) {
        uint64_t t0 = wg_now_ns(), n = got;

        request(choose(true), T_READ, SMALL, 2);
        pthread_mutex_lock(&lock);
        while (got == n)
            pthread_cond_wait(&cond, &lock);
        pthread_mutex_unlock(&lock);
        lat[nlat++] = wg_now_ns() - t0;
        if (beside)
            usleep(200);
    }
    qsort(lat, nlat, sizeof *lat, cmp_u64);
    atomic_store(&goal, 1); /* streams end */
}

static void run_stream(void)
{
    atomic_store(&goal, opt.total / opt.size);
    for (unsigned i = 0; i < opt.lanes; i++)
        for (unsigned d = 0; d < opt.depth; d++)
            next_request(&lanes[i]);
    pthread_mutex_lock(&lock);
    while (atomic_load(&got) < atomic_load(&goal))
        pthread_cond_wait(&cond, &lock);
    pthread_mutex_unlock(&lock);
}

static void connect_lanes(const char *addr)
{
    struct wg_lane_opts o = { .ops = &client_ops, .name = "bench", .queue_max = 1ull << 30 };
    int err;

    common_opts(&o, "client");
    for (unsigned i = 0; i < opt.lanes; i++) {
        o.user = &lanes[i];
        err = wg_lane_connect(addr, &o, &lanes[i].lane);
        if (err)
            die("connect", err);
    }
    pthread_mutex_lock(&lock);
    while (atomic_load(&up) < opt.lanes)
        pthread_cond_wait(&cond, &lock);
    pthread_mutex_unlock(&lock);
}

static void print_line(double secs, double cli, double srv, int64_t futex, const struct rusage *a,
                       const struct rusage *b)
{
    double ops = mixing ? (double)nlat + (double)mix_streams_got : (double)goal;
    double gb = mixing ? (double)nlat * SMALL / 1e9 + (double)mix_streams_got * (1 << 20) / 1e9 : ops * opt.size / 1e9;
    long cs = a->ru_nvcsw + a->ru_nivcsw + b->ru_nvcsw + b->ru_nivcsw;

    printf("{\"target\":\"transport\",\"op\":\"%s-%s\",\"threads\":\"%s\",\"conns\":%u,\"qd\":%u,\"bs\":%u,"
           "\"MB_s\":%.0f,\"ops_s\":%.0f,\"cli_s_GB\":%.4f,\"srv_s_GB\":%.4f,\"cli_us_op\":%.2f,\"srv_us_op\":%.2f,"
           "\"cs_op\":%.2f",
           opt.via, opt.op, opt.threads, opt.lanes, opt.depth, mixing ? SMALL : opt.size, gb * 1000 / secs, ops / secs,
           cli / gb, srv / gb, cli * 1e6 / ops, srv * 1e6 / ops, (double)cs / ops);
    if (futex >= 0)
        printf(",\"futex_op\":%.3f", (double)futex / ops);
    if (mixing && nlat)
        printf(",\"p50_us\":%.1f,\"p99_us\":%.1f", (double)lat[nlat / 2] / 1e3, (double)lat[nlat * 99ull / 100] / 1e3);
    printf("}\n");
}

static void run(int in, int out, pid_t pid)
{
    char addr[160];
    struct rusage r0, r1, rs;
    int64_t theirs = -1, ours;
    uint64_t t0;
    double secs;
    int fd, status;

    if (read(in, addr, sizeof addr) != (ssize_t)sizeof addr)
        die("the server", EPIPE);
    fd = futex_counter();
    connect_lanes(addr);
    getrusage(RUSAGE_SELF, &r0);
    t0 = wg_now_ns();
    if (strcmp(opt.op, "small") == 0)
        run_small(false);
    else if (strcmp(opt.op, "mix") == 0)
        run_small(true);
    else
        run_stream();
    secs = (double)(wg_now_ns() - t0) / 1e9;
    getrusage(RUSAGE_SELF, &r1);
    for (unsigned i = 0; i < opt.lanes; i++)
        wg_lane_close(lanes[i].lane);
    ours = counted(fd);
    close(out);
    if (read(in, &theirs, sizeof theirs) != (ssize_t)sizeof theirs || wait4(pid, &status, 0, &rs) != pid || status)
        die("the server", EPIPE);
    r1.ru_nvcsw -= r0.ru_nvcsw;
    r1.ru_nivcsw -= r0.ru_nivcsw;
    print_line(secs, cpu_of(&r1) - cpu_of(&r0), cpu_of(&rs), ours < 0 || theirs < 0 ? -1 : ours + theirs, &r1, &rs);
}

static void make_certs(void)
{
    char err[256] = "";

    if (!mkdtemp(dir))
        die(dir, errno);
    snprintf(path, sizeof path, "%s/sock", dir);
    if (wg_certs_make_ca(dir, NULL, NULL, err, sizeof err) ||
        wg_certs_make_node(dir, "server", NULL, 0, NULL, err, sizeof err) ||
        wg_certs_make_node(dir, "client", NULL, 0, NULL, err, sizeof err)) {
        fprintf(stderr, "transport-bench: %s\n", err);
        exit(1);
    }
}

static void clean(void)
{
    char cmd[64];

    snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
    if (system(cmd))
        perror(cmd);
}

static void usage(void)
{
    fputs("usage: transport-bench [-o write|read|echo|small|mix] [-t lane|shared] [-m tls|plain|unix]\n"
          "                       [-c lanes] [-q depth per lane] [-b bytes] [-g GiB] [-s seconds] [-k socket buffer]\n", stderr);
    exit(2);
}

int main(int argc, char **argv)
{
    int to[2], from[2], c;
    pid_t pid;

    while ((c = getopt(argc, argv, "o:t:m:c:q:b:g:s:k:")) != -1)
        switch (c) {
        case 'o': opt.op = optarg; break;
        case 't': opt.threads = optarg; break;
        case 'm': opt.via = optarg; break;
        case 'c': opt.lanes = (unsigned)atoi(optarg); break;
        case 'q': opt.depth = (unsigned)atoi(optarg); break;
        case 'b': opt.size = (uint32_t)strtoul(optarg, NULL, 0); break;
        case 'g': opt.total = (uint64_t)(atof(optarg) * (1 << 30)); break;
        case 's': opt.secs = atof(optarg); break;
        case 'k': opt.kernel = (uint32_t)strtoul(optarg, NULL, 0); break;
        default: usage();
        }
    if (opt.lanes < 1 || opt.lanes > LANES_MAX || opt.size < 1 || opt.size > WG_IO_MAX || opt.depth < 1)
        usage();
    wg_log_set(getenv("WG_TEST_LOG") ? getenv("WG_TEST_LOG") : "error");
    lat = calloc(1000000, sizeof *lat);
    make_certs();
    if (!lat || pipe2(to, O_CLOEXEC) || pipe2(from, O_CLOEXEC))
        die("pipe", errno);
    fflush(stdout);
    pid = fork();
    if (pid < 0)
        die("fork", errno);
    if (pid == 0) {
        close(to[1]);
        serve(to[0], from[1]);
    }
    close(to[0]);
    close(from[1]);
    run(from[0], to[1], pid);
    clean();
    return 0;
}
