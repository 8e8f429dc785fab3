/* SPDX-License-Identifier: Apache-2.0 */
/* protocol/client > TLS lanes > protocol/server > a store that counts what it executes. */
#ifndef WG_PROTOCOL_STORE_H
#define WG_PROTOCOL_STORE_H

#include "dump.h"
#include "iobuf.h"
#include "protocol_kit.h"

#define OPS_MAX 20000

/* --- the store: its globals stand for the disk, and outlive a restart of the brick --- */

static struct {
    atomic_uint effects[OPS_MAX]; /* of the mkdir of that number */
    atomic_uint doubles;          /* executed again without being told that it may be a replay */
    atomic_uint running, most;
    pthread_mutex_t lock;
    pthread_cond_t opened;
    bool closed;                  /* mkdirs wait */
    struct wg_cred cred;
    uint32_t group1;
    char client[64];
} disk = { .lock = PTHREAD_MUTEX_INITIALIZER, .opened = PTHREAD_COND_INITIALIZER };

static inline void gate(bool closed)
{
    pthread_mutex_lock(&disk.lock);
    disk.closed = closed;
    pthread_cond_broadcast(&disk.opened);
    pthread_mutex_unlock(&disk.lock);
}

static inline wg_gfid gfid_of(unsigned n)
{
    wg_gfid g = { { 1 } };

    memcpy(g.b + 4, &n, sizeof n);
    return g;
}

static inline unsigned number_of(wg_gfid g)
{
    unsigned n;

    memcpy(&n, g.b + 4, sizeof n);
    return n;
}

static inline void execute_mkdir(struct wg_frame *f)
{
    const struct wg_mkdir_in *in = wg_in(f, mkdir);
    unsigned n = number_of(in->gfid), running = atomic_fetch_add(&disk.running, 1) + 1;
    unsigned most = atomic_load(&disk.most);
    struct wg_mkdir_out *out = wg_new_out(f, mkdir);

    while (running > most && !atomic_compare_exchange_weak(&disk.most, &most, running))
        ;
    pthread_mutex_lock(&disk.lock);
    while (disk.closed)
        pthread_cond_wait(&disk.opened, &disk.lock);
    pthread_mutex_unlock(&disk.lock);
    /* The name holds that gfid already: success for a replay, or something ran twice. */
    if (!atomic_load(&disk.effects[n]))
        atomic_fetch_add(&disk.effects[n], 1);
    else if (!f->call->replay)
        atomic_fetch_add(&disk.doubles, 1);
    atomic_fetch_sub(&disk.running, 1);
    out->ref.gfid = in->gfid;
    out->attr.valid = true;
    out->attr.size = n;
    wg_unwind(f, 0);
}

static pthread_mutex_t later_lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned nlater;

static inline void *answer_later(void *arg)
{
    usleep((unsigned)(wg_now_ns() % 2000));
    execute_mkdir(arg);
    pthread_mutex_lock(&later_lock);
    nlater--;
    pthread_mutex_unlock(&later_lock);
    return NULL;
}

/* Some answer at once on the reader, some later on another thread (all when the gate may close). */
static inline void store_mkdir(struct wg_frame *f)
{
    pthread_attr_t attr;
    pthread_t th;

    if (number_of(wg_in(f, mkdir)->gfid) % 4)
        return execute_mkdir(f);
    pthread_mutex_lock(&later_lock);
    nlater++;
    pthread_mutex_unlock(&later_lock);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    if (pthread_create(&th, &attr, answer_later, f))
        abort();
    pthread_attr_destroy(&attr);
}

static inline void store_lookup(struct wg_frame *f)
{
    const struct wg_lookup_in *in = wg_in(f, lookup);

    disk.cred = f->call->cred;
    disk.group1 = disk.cred.ngroups > 1 ? disk.cred.groups[1] : 0;
    snprintf(disk.client, sizeof disk.client, "%.*s", (int)f->call->client.len, f->call->client.s);
    if (wg_str_eq(in->at.name, WG_STR("absent"))) {
        struct wg_lookup_out *out = wg_new_out(f, lookup);

        out->parent.valid = true;
        out->parent.mode = 0755;
        return wg_unwind(f, ENOENT);
    }
    wg_unwind(f, EACCES);
}

static inline void store_read(struct wg_frame *f)
{
    const struct wg_read_in *in = wg_in(f, read);
    struct wg_read_out *out = wg_new_out(f, read);
    struct wg_iobuf *buf = wg_iobuf_get(in->size);
    struct wg_seg *seg = wg_alloc(&f->call->arena, 2 * sizeof *seg);

    if (f->call->nowait && in->offset % 2)
        return wg_iobuf_unref(buf), wg_unwind(f, EWOULDBLOCK);
    wg_keep_iobuf(&f->call->arena, buf);
    memset(buf->base, (int)in->offset, in->size);
    seg[0] = (struct wg_seg){ buf, buf->base, in->size / 2 };
    seg[1] = (struct wg_seg){ buf, (char *)buf->base + in->size / 2, in->size - in->size / 2 };
    out->data = (struct wg_data){ seg, 2, in->size };
    out->eof = true;
    wg_unwind(f, 0);
}

static inline void store_write(struct wg_frame *f)
{
    const struct wg_write_in *in = wg_in(f, write);
    struct wg_write_out *out = wg_new_out(f, write);

    for (uint32_t i = 0; i < in->data.nseg; i++)
        for (uint32_t k = 0; k < in->data.seg[i].len; k++)
            if (((const uint8_t *)in->data.seg[i].base)[k] != (uint8_t)in->offset)
                return wg_unwind(f, EIO);
    out->count = in->data.len;
    out->verf = 7;
    wg_unwind(f, 0);
}

static pthread_mutex_t stuck_lock = PTHREAD_MUTEX_INITIALIZER;
static struct wg_frame *stuck;

static inline void store_getattr(struct wg_frame *f)
{
    pthread_mutex_lock(&stuck_lock);
    stuck = f;
    pthread_mutex_unlock(&stuck_lock);
}

static const struct wg_class store_class = {
    .type = "test/store",
    .help = "counts what it executes",
    .fops = {
        [WG_OP_mkdir] = store_mkdir, [WG_OP_lookup] = store_lookup, [WG_OP_read] = store_read,
        [WG_OP_write] = store_write, [WG_OP_getattr] = store_getattr,
    },
};

/* --- graphs --- */

static inline struct wg_graph *start_brick(const char *more, const char *between)
{
    char text[2048];
    struct wg_graph *g;

    snprintf(text, sizeof text,
             "volume store\ntype test/store\nend-volume\n%s"
             "volume server\ntype protocol/server\noption listen 127.0.0.1:%u\n%s%s\nsubvolumes %s\nend-volume\n",
             between, port, tls("brick", "gateway"), more, *between ? "io" : "store");
    g = graph_of(text);
    port = wg_server_port(g->top);
    return g;
}

static inline struct wg_graph *start_gateway(const char *more)
{
    char text[2048];

    snprintf(text, sizeof text, "volume client\ntype protocol/client\noption remote 127.0.0.1:%u\n%s%s\nend-volume\n",
             port, tls("gateway", "brick"), more);
    return graph_of(text);
}

static inline struct wg_client *client_of(struct wg_graph *g)
{
    return g->top->priv;
}

/* --- calls --- */

static inline void op_end(struct op *o)
{
    ck_assert_uint_eq(o->times, 1);
    wg_call_unref(o->call);
}

static inline void start_mkdir(struct op *o, struct wg_graph *g, unsigned n, unsigned timeout_ms)
{
    struct wg_mkdir_in *in;

    op_init(o, g, timeout_ms);
    in = wg_alloc(&o->call->arena, sizeof *in);
    in->at = (struct wg_loc){ { WG_ROOT_GFID }, WG_STR("name") };
    in->gfid = gfid_of(n);
    wg_start(o->call, g->top, WG_OP_mkdir, in, op_finish);
}

static inline int one_mkdir(struct wg_graph *g, unsigned n, unsigned timeout_ms)
{
    struct op o;
    int err;

    start_mkdir(&o, g, n, timeout_ms);
    ck_assert(op_wait(&o, 20000));
    err = o.err;
    op_end(&o);
    return err;
}

static inline void reset_disk(void)
{
    for (unsigned i = 0; i < OPS_MAX; i++)
        atomic_store(&disk.effects[i], 0);
    atomic_store(&disk.doubles, 0);
    atomic_store(&disk.most, 0);
    atomic_store(&disk.running, 0);
    gate(false);
    port = 0;
}

static inline void wait_later(void)
{
    for (int i = 0; i < 5000; i++) {
        unsigned n;

        pthread_mutex_lock(&later_lock);
        n = nlater;
        pthread_mutex_unlock(&later_lock);
        if (!n)
            return;
        usleep(1000);
    }
    ck_abort_msg("the store still runs calls");
}

#endif
