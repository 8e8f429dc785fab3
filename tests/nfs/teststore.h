/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A store that holds no files, for tests of the NFS front end: every name is a file of 4 MiB, but
 * "absent"; a directory has a thousand entries. It answers at once or ts_delay_ms late, and counts.
 */
#ifndef WG_TEST_NFS_STORE_H
#define WG_TEST_NFS_STORE_H

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "frontends/nfs/nfs.h"
#include "frontends/nfs/nfs3.h"
#include "graph.h"
#include "iobuf.h"
#include "list.h"
#include "log.h"

static atomic_uint ts_delay_ms, ts_creates, ts_writes, ts_reads, ts_payloads;
static uint8_t ts_bytes[1 << 20];

struct ts_late {
    struct wg_frame *f;
    int err;
    uint64_t at_ns;
    struct ts_late *next;
};
static struct ts_late *ts_first, **ts_last = &ts_first;
static pthread_mutex_t ts_lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_bool ts_stop;

static inline void *ts_late_main(void *arg)
{
    while (!ts_stop) {
        struct ts_late *l = NULL;

        pthread_mutex_lock(&ts_lock);
        if (ts_first && ts_first->at_ns <= wg_now_ns()) {
            l = ts_first;
            ts_first = l->next;
            if (!ts_first)
                ts_last = &ts_first;
        }
        pthread_mutex_unlock(&ts_lock);
        if (l)
            wg_unwind(l->f, l->err);
        else
            usleep(1000);
        free(l);
    }
    return arg;
}

static inline void ts_unwind(struct wg_frame *f, int err)
{
    struct ts_late *l;

    if (ts_delay_ms == 0)
        return wg_unwind(f, err);
    l = malloc(sizeof *l);
    *l = (struct ts_late){ f, err, wg_now_ns() + ts_delay_ms * 1000000ull, NULL };
    pthread_mutex_lock(&ts_lock);
    *ts_last = l;
    ts_last = &l->next;
    pthread_mutex_unlock(&ts_lock);
}

static inline struct wg_iatt ts_attr(wg_gfid g)
{
    bool root = wg_gfid_eq(g, WG_ROOT_GFID);

    return (struct wg_iatt){ .valid = true, .type = root ? WG_DIR : WG_REG, .gfid = g, .mode = 0755,
                             .nlink = 1, .size = 4 << 20 };
}

static inline void ts_lookup(struct wg_frame *f)
{
    const struct wg_lookup_in *in = wg_in(f, lookup);
    struct wg_lookup_out *out = wg_new_out(f, lookup);
    wg_gfid g = in->at.parent.gfid;

    if (wg_str_eq(in->at.name, WG_STR("absent")))
        return ts_unwind(f, ENOENT);
    if (!wg_str_eq(in->at.name, WG_STR(".")) && !wg_str_eq(in->at.name, WG_STR(".."))) {
        memset(&g, 0, sizeof g);
        memcpy(g.b, in->at.name.s, in->at.name.len < 14 ? in->at.name.len : 14);
    }
    out->ref.gfid = g;
    out->attr = ts_attr(g);
    out->parent = ts_attr(in->at.parent.gfid);
    ts_unwind(f, 0);
}

static inline void ts_getattr(struct wg_frame *f)
{
    wg_new_out(f, getattr)->attr = ts_attr(wg_in(f, getattr)->at.gfid);
    ts_unwind(f, 0);
}

static inline void ts_released(struct wg_iobuf *buf)
{
    atomic_fetch_sub(&ts_payloads, 1);
    free(buf);
}

static inline void ts_read(struct wg_frame *f)
{
    struct wg_read_out *out = wg_new_out(f, read);
    struct wg_seg *seg = WG_NEW(&f->call->arena, struct wg_seg);
    struct wg_iobuf *buf = malloc(sizeof *buf);

    wg_iobuf_wrap(buf, ts_bytes, sizeof ts_bytes, ts_released, NULL);
    atomic_fetch_add(&ts_payloads, 1);
    wg_keep_iobuf(&f->call->arena, buf);
    *seg = (struct wg_seg){ buf, ts_bytes, wg_in(f, read)->size };
    out->data = (struct wg_data){ seg, 1, seg->len };
    out->attr = ts_attr(wg_in(f, read)->at.gfid);
    atomic_fetch_add(&ts_reads, 1);
    ts_unwind(f, 0);
}

static inline void ts_write(struct wg_frame *f)
{
    const struct wg_write_in *in = wg_in(f, write);
    struct wg_write_out *out = wg_new_out(f, write);

    for (uint32_t i = 0; i < in->data.nseg; i++)
        if (in->data.seg[i].len && *(const char *)in->data.seg[i].base == '!')
            return ts_unwind(f, EIO);
    out->count = in->data.len;
    atomic_fetch_add(&ts_writes, 1);
    ts_unwind(f, 0);
}

static inline void ts_create(struct wg_frame *f)
{
    struct wg_create_out *out = wg_new_out(f, create);

    out->ref.gfid = wg_in(f, create)->gfid;
    out->attr = ts_attr(out->ref.gfid);
    atomic_fetch_add(&ts_creates, 1);
    ts_unwind(f, 0);
}

static inline void ts_readdir(struct wg_frame *f)
{
    const struct wg_readdir_in *in = wg_in(f, readdir);
    struct wg_readdir_out *out = wg_new_out(f, readdir);
    struct wg_appender a;
    uint64_t i;

    if (wg_append_start(&a, in->size) != 0)
        return ts_unwind(f, ENOMEM);
    for (i = in->cookie < 10 ? 10 : in->cookie; i < 1010; i++) {
        char name[32];
        struct wg_dirent d = { .cookie = i + 1 };

        d.name = (struct wg_str){ name, (uint32_t)sprintf(name, "entry-%llu", (unsigned long long)i) };
        d.ref.gfid.b[15] = 7;
        memcpy(d.ref.gfid.b, name, 8);
        if (in->plus)
            d.attr = ts_attr(d.ref.gfid);
        if (!wg_append_dirent(&a, &d))
            break;
    }
    out->eof = i == 1010;
    out->entries = wg_append_end(&a);
    wg_keep_iobuf(&f->call->arena, out->entries.buf);
    out->attr = ts_attr(in->at.gfid);
    ts_unwind(f, 0);
}

static const struct wg_class ts_class = {
    .type = "test/nfs-store",
    .help = "Holds nothing.",
    .fops = { [WG_OP_lookup] = ts_lookup, [WG_OP_getattr] = ts_getattr, [WG_OP_read] = ts_read,
              [WG_OP_write] = ts_write, [WG_OP_create] = ts_create, [WG_OP_readdir] = ts_readdir },
};

static inline void ts_error(void *arg, const char *text)
{
    (void)arg;
    fprintf(stderr, "%s\n", text);
}

static inline struct wg_graph *ts_graph_of(const char *volfile)
{
    struct wg_graph *g = wg_graph_parse("test", volfile, strlen(volfile), ts_error, NULL);

    return g && wg_graph_init(g) == 0 && wg_graph_start(g) == 0 ? g : NULL;
}

static inline struct wg_graph *ts_store(void)
{
    wg_log_set("error");
    wg_class_add(&ts_class);
    return ts_graph_of("volume top\n type test/nfs-store\nend-volume\n");
}

/* What it is exported as, to whom. */
static inline void ts_exports(struct wg_nfs_config *c, struct wg_nfs_volume *v, struct wg_graph *g)
{
    static const struct wg_nfs_rule all = { .clients = "*", .squash = WG_SQUASH_NONE };
    static const struct wg_nfs_rule few = { .clients = "192.0.2.0/24" };
    static const struct wg_nfs_rule ro = { .clients = "127.0.0.0/8", .read_only = true };
    static const struct wg_nfs_export exports[] = {
        { .path = "/test", .dir = "/", .rules = &all, .nrules = 1 },
        { .path = "/closed", .dir = "/", .rules = &few, .nrules = 1 },
        { .path = "/ro", .dir = "/", .rules = &ro, .nrules = 1 },
    };

    *v = (struct wg_nfs_volume){ .name = "test", .id = "volume-id-16byte", .key = "0123456789abcde", .volume = g->volume };
    c->volumes = v;
    c->nvolumes = 1;
    c->exports = exports;
    c->nexports = 3;
}

#endif
