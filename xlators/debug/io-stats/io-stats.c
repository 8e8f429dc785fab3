/* SPDX-License-Identifier: Apache-2.0 */
/*
 * debug/io-stats: what windgate profile does not know, the payload: bytes read and written, sizes of
 * requests, the files and the clients with the most of it. The lists are kept by the space-saving
 * method (Metwally and others, 2005): bounded; whoever has more than 1/PLACES of all is in them; an
 * entry that took another's place may have lost so much before it came, shown as "may_have_more".
 *
 * Counted in shards, each under a lock that is almost never contended; added up by the dump.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "dump.h"
#include "xlator.h"
#include "xlators/debug/names.h"

#define SHARDS 8
#define PLACES 64
#define LABEL 200
#define SIZES 22 /* powers of two, to 2 MiB */

enum way { READ, WRITTEN, WAYS };

struct hot {
    uint64_t hash;
    uint64_t bytes[WAYS], fops[WAYS], over; /* over: inherited bytes, of both ways */
    char label[LABEL];
};

struct list {
    unsigned n;
    struct hot hot[PLACES];
};

struct shard {
    pthread_mutex_t lock; /* a leaf */
    uint64_t bytes[WAYS], fops[WAYS], failed[WAYS];
    uint64_t sizes[WAYS][SIZES];
    struct list files, clients;
};

struct io_stats {
    atomic_bool enabled;
    struct wg_names *names;
    uint64_t since_ns;
    struct shard shard[SHARDS];
};

static const struct wg_option options[] = {
    { "enabled", WG_OPT_BOOL, 0, 0, "on", "Off: everything passes at the price of one look, and the counts "
      "stay. Switched on again, they begin anew.", true },
    { "top", WG_OPT_INT, 1, PLACES, "10", "Files, and clients, that a dump shows.", true },
    { 0 },
};

/* --- counting --- */

static unsigned my_shard(void)
{
    static atomic_uint next;
    static __thread unsigned mine;

    if (mine == 0)
        mine = atomic_fetch_add(&next, 1) + 1;
    return mine % SHARDS;
}

static uint64_t hash_of(const char *s)
{
    uint64_t h = 14695981039346656037u; /* FNV-1a */

    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 1099511628211u;
    return h;
}

static uint64_t total(const struct hot *h)
{
    return h->bytes[READ] + h->bytes[WRITTEN] + h->over;
}

/* The place of label, which the smallest makes when all are taken. */
static struct hot *place_of(struct list *l, const char *label)
{
    uint64_t hash = hash_of(label);
    struct hot *least = &l->hot[0];

    for (unsigned i = 0; i < l->n; i++) {
        if (l->hot[i].hash == hash && strcmp(l->hot[i].label, label) == 0)
            return &l->hot[i];
        if (total(&l->hot[i]) < total(least))
            least = &l->hot[i];
    }
    if (l->n < PLACES) {
        least = &l->hot[l->n++];
        *least = (struct hot){ .hash = hash };
    } else {
        *least = (struct hot){ .hash = hash, .over = total(least) };
    }
    snprintf(least->label, sizeof least->label, "%s", label);
    return least;
}

static void count_hot(struct list *l, const char *label, enum way way, uint64_t bytes)
{
    struct hot *h = place_of(l, label);

    h->bytes[way] += bytes;
    h->fops[way]++;
}

static unsigned size_class(uint64_t bytes)
{
    unsigned c = bytes > 1 ? 64 - (unsigned)__builtin_clzll(bytes - 1) : 0; /* up to 2^c */

    return c < SIZES ? c : SIZES - 1;
}

static void count(struct io_stats *p, const struct wg_frame *f, enum way way, uint64_t bytes)
{
    struct shard *s = &p->shard[my_shard()];
    char path[WG_PATH_MAX / 4], client[LABEL];
    const char *label = path;

    wg_names_path(p->names, f->op, f->in, path, sizeof path);
    if (strlen(path) >= LABEL)
        label = path + strlen(path) - LABEL + 1; /* the end says more than the beginning */
    snprintf(client, sizeof client, "%.*s", (int)f->call->client.len, f->call->client.len ? f->call->client.s : "");
    pthread_mutex_lock(&s->lock);
    s->fops[way]++;
    if (f->err) {
        s->failed[way]++;
    } else {
        s->bytes[way] += bytes;
        s->sizes[way][size_class(bytes)]++;
        count_hot(&s->files, label, way, bytes);
        count_hot(&s->clients, client, way, bytes);
    }
    pthread_mutex_unlock(&s->lock);
}

/* --- fops --- */

static uint64_t bytes_of(const struct wg_frame *f, enum way *way)
{
    *way = WRITTEN;
    switch (f->op) {
    case WG_OP_read:
        *way = READ;
        return f->out ? ((const struct wg_read_out *)f->out)->data.len : 0;
    case WG_OP_get:
        *way = READ;
        return f->out ? ((const struct wg_get_out *)f->out)->data.len : 0;
    case WG_OP_write:
        return f->out ? ((const struct wg_write_out *)f->out)->count : 0;
    case WG_OP_put:
        return ((const struct wg_put_in *)f->in)->data.len;
    }
    return 0;
}

static bool has_payload(unsigned op)
{
    return op == WG_OP_read || op == WG_OP_get || op == WG_OP_write || op == WG_OP_put;
}

static void counted(struct wg_frame *f)
{
    struct io_stats *p = f->this->priv;
    enum way way;
    uint64_t bytes;

    if (!f->err && wg_names_teaches(f->op))
        wg_names_learn(p->names, f);
    if (has_payload(f->op) && !(f->err == EWOULDBLOCK && f->call->nowait)) {
        bytes = bytes_of(f, &way);
        count(p, f, way, bytes);
    }
    wg_unwind(f, f->err);
}

static void stats_any(struct wg_frame *f)
{
    struct io_stats *p = f->this->priv;

    if (atomic_load_explicit(&p->enabled, memory_order_acquire) && (has_payload(f->op) || wg_names_teaches(f->op)))
        wg_wind(f, wg_child(f), counted);
    else
        wg_pass(f, wg_child(f));
}

/* --- the class --- */

static void begin_anew(struct io_stats *p)
{
    for (int i = 0; i < SHARDS; i++) {
        struct shard *s = &p->shard[i];

        pthread_mutex_lock(&s->lock);
        memset((char *)s + sizeof s->lock, 0, sizeof *s - sizeof s->lock);
        pthread_mutex_unlock(&s->lock);
    }
    __atomic_store_n(&p->since_ns, wg_now_ns(), __ATOMIC_RELAXED);
}

static int stats_reload(struct wg_xlator *xl)
{
    struct io_stats *p = xl->priv;
    bool on = wg_opt_bool(xl, "enabled");

    if (on && !p->names) {
        p->names = wg_names_new();
        if (!p->names)
            return ENOMEM;
    }
    if (on && !atomic_load(&p->enabled))
        begin_anew(p);
    atomic_store_explicit(&p->enabled, on, memory_order_release);
    return 0;
}

static void stats_fini(struct wg_xlator *xl)
{
    struct io_stats *p = xl->priv;

    for (int i = 0; i < SHARDS; i++)
        pthread_mutex_destroy(&p->shard[i].lock);
    wg_names_free(p->names);
    free(p);
    xl->priv = NULL;
}

static int stats_init(struct wg_xlator *xl)
{
    struct io_stats *p = calloc(1, sizeof *p);
    int err;

    if (!p)
        return ENOMEM;
    xl->priv = p;
    for (int i = 0; i < SHARDS; i++)
        pthread_mutex_init(&p->shard[i].lock, NULL);
    err = stats_reload(xl);
    if (err)
        stats_fini(xl);
    return err;
}

/* --- the dump --- */

struct sum {
    struct shard all;              /* without its lists */
    unsigned nfiles, nclients;
    struct hot files[SHARDS * PLACES], clients[SHARDS * PLACES];
};

static void add_list(struct hot *to, unsigned *n, const struct list *l)
{
    for (unsigned i = 0; i < l->n; i++) {
        unsigned at = 0;

        while (at < *n && strcmp(to[at].label, l->hot[i].label) != 0)
            at++;
        if (at == *n) {
            to[(*n)++] = l->hot[i];
            continue;
        }
        for (int w = 0; w < WAYS; w++) {
            to[at].bytes[w] += l->hot[i].bytes[w];
            to[at].fops[w] += l->hot[i].fops[w];
        }
        to[at].over += l->hot[i].over;
    }
}

static int by_bytes(const void *a, const void *b)
{
    uint64_t x = total(a), y = total(b);

    return x < y ? 1 : x > y ? -1 : 0;
}

static void add_up(struct io_stats *p, struct sum *sum)
{
    for (int i = 0; i < SHARDS; i++) {
        struct shard *s = &p->shard[i];

        pthread_mutex_lock(&s->lock);
        for (int w = 0; w < WAYS; w++) {
            sum->all.bytes[w] += s->bytes[w];
            sum->all.fops[w] += s->fops[w];
            sum->all.failed[w] += s->failed[w];
            for (int c = 0; c < SIZES; c++)
                sum->all.sizes[w][c] += s->sizes[w][c];
        }
        add_list(sum->files, &sum->nfiles, &s->files);
        add_list(sum->clients, &sum->nclients, &s->clients);
        pthread_mutex_unlock(&s->lock);
    }
    qsort(sum->files, sum->nfiles, sizeof *sum->files, by_bytes);
    qsort(sum->clients, sum->nclients, sizeof *sum->clients, by_bytes);
}

static const char *const way_names[] = { "read", "written" };

static void dump_way(const struct shard *s, enum way w, struct wg_dump *d)
{
    wg_dump_object(d, way_names[w]);
    wg_dump_u64(d, "fops", s->fops[w]);
    wg_dump_u64(d, "failed", s->failed[w]);
    wg_dump_u64(d, "bytes", s->bytes[w]);
    wg_dump_object(d, "sizes_up_to");
    for (int c = 0; c < SIZES; c++) {
        char name[24];

        snprintf(name, sizeof name, c == SIZES - 1 ? "more" : "%llu", 1ull << c);
        if (s->sizes[w][c])
            wg_dump_u64(d, name, s->sizes[w][c]);
    }
    wg_dump_end(d);
    wg_dump_end(d);
}

static void dump_list(const char *name, const char *key, const struct hot *h, unsigned n, struct wg_dump *d)
{
    wg_dump_array(d, name);
    for (unsigned i = 0; i < n; i++) {
        wg_dump_object(d, NULL);
        wg_dump_str(d, key, h[i].label);
        wg_dump_u64(d, "read_bytes", h[i].bytes[READ]);
        wg_dump_u64(d, "written_bytes", h[i].bytes[WRITTEN]);
        wg_dump_u64(d, "reads", h[i].fops[READ]);
        wg_dump_u64(d, "writes", h[i].fops[WRITTEN]);
        if (h[i].over)
            wg_dump_u64(d, "may_have_more", h[i].over);
        wg_dump_end(d);
    }
    wg_dump_end(d);
}

static void stats_dump(struct wg_xlator *xl, struct wg_dump *d)
{
    struct io_stats *p = xl->priv;
    struct sum *sum = calloc(1, sizeof *sum);
    unsigned top = (unsigned)wg_opt_int(xl, "top");

    wg_dump_bool(d, "enabled", atomic_load(&p->enabled));
    wg_dump_u64(d, "seconds", (wg_now_ns() - __atomic_load_n(&p->since_ns, __ATOMIC_RELAXED)) / 1000000000);
    if (!sum)
        return;
    add_up(p, sum);
    dump_way(&sum->all, READ, d);
    dump_way(&sum->all, WRITTEN, d);
    dump_list("files", "path", sum->files, sum->nfiles < top ? sum->nfiles : top, d);
    dump_list("clients", "client", sum->clients, sum->nclients < top ? sum->nclients : top, d);
    free(sum);
}

const struct wg_class wg_debug_io_stats = {
    .type = "debug/io-stats",
    .help = "Counts payload: bytes, sizes of requests, the busiest files and clients.",
    .options = options,
    .min_children = 1,
    .max_children = 1,
    .init = stats_init,
    .fini = stats_fini,
    .reload = stats_reload,
    .dump = stats_dump,
    .any = stats_any,
};
