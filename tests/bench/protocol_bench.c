/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a fop costs between wind and unwind: protocol/client > TLS lanes on loopback >
 * protocol/server > a store that answers at once. Both ends are in this process.
 *
 *     protocol_bench [depth [lanes [bytes [seconds [io]]]]]
 *
 * bytes 0: lookups; else reads of that size. io: performance/io-threads below the server.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "graph.h"
#include "iobuf.h"
#include "log.h"
#include "tests/unit/test_pki.h"
#include "work.h"
#include "xlators/protocol/server/server.h"

static struct wg_iobuf *content;

static void store_lookup(struct wg_frame *f)
{
    struct wg_lookup_out *out = wg_new_out(f, lookup);

    out->attr.valid = out->parent.valid = true;
    wg_unwind(f, 0);
}

static void store_read(struct wg_frame *f)
{
    struct wg_read_out *out = wg_new_out(f, read);
    struct wg_seg *seg = WG_NEW(&f->call->arena, struct wg_seg);

    *seg = (struct wg_seg){ content, content->base, wg_in(f, read)->size };
    out->data = (struct wg_data){ seg, 1, seg->len };
    out->attr.valid = true;
    wg_unwind(f, 0);
}

static const struct wg_class store = {
    .type = "bench/store",
    .help = "answers at once",
    .fops = { [WG_OP_lookup] = store_lookup, [WG_OP_read] = store_read },
};

static struct wg_graph *gateway;
static uint32_t bytes;
static atomic_bool stop;
static atomic_uint outstanding;
static _Alignas(64) atomic_uint_least64_t done;

static void start_one(void);

static void finish(struct wg_call *call)
{
    if (call->root->err)
        fprintf(stderr, "%s\n", wg_error_name(call->root->err)), exit(1);
    wg_call_unref(call);
    atomic_fetch_add_explicit(&done, 1, memory_order_relaxed);
    if (atomic_load_explicit(&stop, memory_order_relaxed))
        atomic_fetch_sub(&outstanding, 1);
    else
        start_one();
}

static void start_one(void)
{
    struct wg_call *call = wg_call_new(gateway, WG_FROM_NFS, "BENCH");

    call->cred.uid = 1000;
    if (bytes) {
        struct wg_read_in *in = WG_NEW(&call->arena, struct wg_read_in);

        in->at.gfid = WG_ROOT_GFID;
        in->size = bytes;
        wg_start(call, gateway->top, WG_OP_read, in, finish);
    } else {
        struct wg_lookup_in *in = WG_NEW(&call->arena, struct wg_lookup_in);

        in->at = (struct wg_loc){ { WG_ROOT_GFID }, WG_STR("a-name.txt") };
        wg_start(call, gateway->top, WG_OP_lookup, in, finish);
    }
}

static void complain(void *arg, const char *text)
{
    (void)arg;
    fprintf(stderr, "%s\n", text);
    exit(1);
}

static struct wg_graph *make(const char *text)
{
    struct wg_graph *g = wg_graph_parse("bench", text, strlen(text), complain, NULL);

    if (!g || wg_graph_init(g) || wg_graph_start(g))
        exit(1);
    return g;
}

static double seconds_of(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

int main(int argc, char **argv)
{
    unsigned depth = argc > 1 ? (unsigned)atoi(argv[1]) : 1, lanes = argc > 2 ? (unsigned)atoi(argv[2]) : 2;
    unsigned run = argc > 4 ? (unsigned)atoi(argv[4]) : 5;
    struct rusage before, after;
    struct wg_graph *brick;
    struct pki pki;
    char text[4096], tls[512];
    uint64_t begin, n, ns;
    double cpu;

    bytes = argc > 3 ? (uint32_t)atoi(argv[3]) : 0;
    signal(SIGPIPE, SIG_IGN);
    wg_log_set("error");
    wg_work_start(2);
    content = wg_iobuf_get(1 << 20);
    memset(content->base, 1, content->size);
    wg_class_add(&store);
    pki_start(&pki);
    pki_issue(&pki, "node");
    snprintf(tls, sizeof tls, "option tls-cert %s/node.crt\noption tls-key %s/node.key\noption tls-ca %s/ca.crt\n"
             "option tls-allow node\n", pki.dir, pki.dir, pki.dir);
    snprintf(text, sizeof text, "volume store\ntype bench/store\nend-volume\n%svolume server\ntype protocol/server\n"
             "option listen 127.0.0.1:0\n%ssubvolumes %s\nend-volume\n",
             argc > 5 ? "volume io\ntype performance/io-threads\nsubvolumes store\nend-volume\n" : "", tls,
             argc > 5 ? "io" : "store");
    brick = make(text);
    snprintf(text, sizeof text, "volume client\ntype protocol/client\noption remote 127.0.0.1:%u\noption lanes %u\n%s"
             "end-volume\n", wg_server_port(brick->top), lanes, tls);
    gateway = make(text);
    usleep(300000);
    atomic_store(&outstanding, depth);
    for (unsigned i = 0; i < depth; i++)
        start_one();
    sleep(1);
    getrusage(RUSAGE_SELF, &before);
    begin = wg_now_ns();
    n = atomic_load(&done);
    sleep(run);
    n = atomic_load(&done) - n;
    ns = wg_now_ns() - begin;
    getrusage(RUSAGE_SELF, &after);
    cpu = seconds_of(after.ru_utime) + seconds_of(after.ru_stime) - seconds_of(before.ru_utime) -
          seconds_of(before.ru_stime);
    printf("depth %u lanes %u bytes %u: %.0f fops/s, %.1f us each in flight, %.2f us CPU (%.2f user), %.2f switches a fop\n",
           depth, lanes, bytes, (double)n * 1e9 / (double)ns, (double)ns * depth / (double)n / 1e3, cpu * 1e6 / (double)n,
           (seconds_of(after.ru_utime) - seconds_of(before.ru_utime)) * 1e6 / (double)n,
           (double)(after.ru_nvcsw + after.ru_nivcsw - before.ru_nvcsw - before.ru_nivcsw) / (double)n);
    atomic_store(&stop, true);
    while (atomic_load(&outstanding))
        usleep(1000);
    wg_graph_stop(gateway);
    wg_graph_free(gateway);
    wg_graph_stop(brick);
    wg_graph_free(brick);
    wg_iobuf_unref(content);
    wg_work_stop();
    pki_end(&pki);
    return 0;
}
