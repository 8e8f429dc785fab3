/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a fop costs between wind and unwind: protocol/client > TLS lanes on loopback >
 * protocol/server > a store that answers at once. Both ends are in this process.
 *
 *     protocol_bench [depth [lanes [bytes [seconds [io]]]]]
 *     protocol_bench depth lanes MODE [seconds [io]]
 *
 * bytes 0: lookups; else reads of that size. io: performance/io-threads below the server. MODE:
 *     lease   lookups whose answers may be remembered
 *     mkdir   a modifying fop, nobody remembers anything
 *     pair    a lookup by another gateway, then a mkdir of the same name
 *     recall  the same, and the other gateway may remember: each mkdir waits for a recall
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "graph.h"
#include "iobuf.h"
#include "lease.h"
#include "log.h"
#include "tests/unit/test_pki.h"
#include "work.h"
#include "xlators/protocol/server/server.h"

static struct wg_iobuf *content;

static void store_lookup(struct wg_frame *f)
{
    const struct wg_lookup_in *in = wg_in(f, lookup);
    struct wg_lookup_out *out = wg_new_out(f, lookup);

    wg_uses(f, &in->at.parent.gfid, in->at.name);
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

static void store_mkdir(struct wg_frame *f)
{
    const struct wg_mkdir_in *in = wg_in(f, mkdir);
    struct wg_mkdir_out *out = wg_new_out(f, mkdir);

    wg_changed(f, &in->at.parent.gfid, in->at.name);
    wg_changed(f, &in->at.parent.gfid, (struct wg_str){ 0 });
    out->attr.valid = true;
    wg_unwind(f, 0);
}

static const struct wg_class store = {
    .type = "bench/store",
    .help = "answers at once",
    .announces = true,
    .fops = { [WG_OP_lookup] = store_lookup, [WG_OP_read] = store_read, [WG_OP_mkdir] = store_mkdir },
};

static struct wg_graph *gateway, *other;
static uint32_t bytes;
static enum { READS, LEASE, MKDIR, PAIR, RECALL } mode;
static _Alignas(64) atomic_uint_least64_t mkdir_ns;
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

static struct wg_str name_of(struct wg_call *call)
{
    static atomic_uint next;
    char *name = wg_alloc(&call->arena, 16);

    return (struct wg_str){ name, (uint32_t)snprintf(name, 16, "n%u", atomic_fetch_add(&next, 1) % 4096) };
}

static void start_lookup(struct wg_graph *g, struct wg_str name, void (*then)(struct wg_call *call))
{
    struct wg_call *call = wg_call_new(g, WG_FROM_NFS, "BENCH");
    struct wg_lookup_in *in = WG_NEW(&call->arena, struct wg_lookup_in);

    call->cred.uid = 1000;
    call->want_lease = mode == LEASE || mode == RECALL;
    if (!name.s)
        name = mode == READS ? WG_STR("a-name.txt") : name_of(call);
    in->at = (struct wg_loc){ { WG_ROOT_GFID }, name };
    wg_start(call, g->top, WG_OP_lookup, in, then);
}

static void made(struct wg_call *call)
{
    atomic_fetch_add_explicit(&mkdir_ns, wg_now_ns() - call->begin_ns, memory_order_relaxed);
    finish(call);
}

static void start_mkdir(const struct wg_str *name)
{
    struct wg_call *call = wg_call_new(gateway, WG_FROM_NFS, "BENCH");
    struct wg_mkdir_in *in = WG_NEW(&call->arena, struct wg_mkdir_in);

    in->at = (struct wg_loc){ { WG_ROOT_GFID }, name ? *name : name_of(call) };
    if (name)
        in->at.name.s = wg_memdup(&call->arena, name->s, name->len);
    wg_start(call, gateway->top, WG_OP_mkdir, in, made);
}

static void looked_up(struct wg_call *call)
{
    start_mkdir(&((const struct wg_lookup_in *)call->root->in)->at.name);
    wg_call_unref(call);
}

static void start_read(void)
{
    struct wg_call *call = wg_call_new(gateway, WG_FROM_NFS, "BENCH");
    struct wg_read_in *in = WG_NEW(&call->arena, struct wg_read_in);

    call->cred.uid = 1000;
    in->at.gfid = WG_ROOT_GFID;
    in->size = bytes;
    wg_start(call, gateway->top, WG_OP_read, in, finish);
}

static void start_one(void)
{
    if (mode == MKDIR)
        start_mkdir(NULL);
    else if (mode == PAIR || mode == RECALL)
        start_lookup(other, (struct wg_str){ 0 }, looked_up);
    else if (bytes)
        start_read();
    else
        start_lookup(gateway, (struct wg_str){ 0 }, finish);
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
    uint64_t begin, n, ns, made_ns;
    double cpu;

    bytes = argc > 3 ? (uint32_t)atoi(argv[3]) : 0;
    for (unsigned i = LEASE; argc > 3 && i <= RECALL; i++)
        if (!strcmp(argv[3], (const char *[]){ "", "lease", "mkdir", "pair", "recall" }[i]))
            mode = i;
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
    other = make(text);
    usleep(300000);
    atomic_store(&outstanding, depth);
    for (unsigned i = 0; i < depth; i++)
        start_one();
    sleep(1);
    getrusage(RUSAGE_SELF, &before);
    begin = wg_now_ns();
    n = atomic_load(&done);
    made_ns = atomic_load(&mkdir_ns);
    sleep(run);
    n = atomic_load(&done) - n;
    made_ns = atomic_load(&mkdir_ns) - made_ns;
    ns = wg_now_ns() - begin;
    getrusage(RUSAGE_SELF, &after);
    cpu = seconds_of(after.ru_utime) + seconds_of(after.ru_stime) - seconds_of(before.ru_utime) -
          seconds_of(before.ru_stime);
    if (made_ns)
        printf("mkdir %.1f us; ", (double)made_ns / (double)n / 1e3);
    printf("depth %u lanes %u %s %u: %.0f fops/s, %.1f us each in flight, %.2f us CPU (%.2f user), %.2f switches a fop\n",
           depth, lanes, mode ? argv[3] : "bytes", bytes, (double)n * 1e9 / (double)ns, (double)ns * depth / (double)n / 1e3, cpu * 1e6 / (double)n,
           (seconds_of(after.ru_utime) - seconds_of(before.ru_utime)) * 1e6 / (double)n,
           (double)(after.ru_nvcsw + after.ru_nivcsw - before.ru_nvcsw - before.ru_nivcsw) / (double)n);
    atomic_store(&stop, true);
    while (atomic_load(&outstanding))
        usleep(1000);
    wg_graph_stop(gateway);
    wg_graph_free(gateway);
    wg_graph_stop(other);
    wg_graph_free(other);
    wg_graph_stop(brick);
    wg_graph_free(brick);
    wg_iobuf_unref(content);
    wg_work_stop();
    pki_end(&pki);
    return 0;
}
