/* SPDX-License-Identifier: Apache-2.0 */
/*
 * debug/sink: answers reads and writes by itself, to measure the stack above it without a store.
 * WHAT IS WRITTEN IS LOST, and what is read is zeros. It is off until told otherwise, and says in
 * log and dump that it is on.
 *
 * reads: read, and the content of get (its attributes are the store's). writes: write, commit,
 * copy_range, and the S3 way of making objects as a whole (stage, unstage, put): since a staged file
 * without its data must never be published, nothing of it reaches the store.
 */
#include <stdlib.h>
#include <time.h>

#define WG_LOG_PART "sink"
#include "dump.h"
#include "iobuf.h"
#include "log.h"
#include "xlator.h"

struct sink {
    atomic_bool reads, writes;
    struct wg_iobuf *zeros; /* of WG_IO_MAX bytes; shared by all answers */
    atomic_uint_least64_t fops, read_bytes, lost_bytes;
};

static const struct wg_option options[] = {
    { "enabled", WG_OPT_BOOL, 0, 0, "off", "On: DATA THAT IS WRITTEN IS LOST, and reads give zeros. For "
      "measuring only.", true },
    { "reads", WG_OPT_BOOL, 0, 0, "on", "Answer reads with zeros.", true },
    { "writes", WG_OPT_BOOL, 0, 0, "on", "Answer writes and puts with success, and LOSE THE DATA.", true },
    { 0 },
};

static int sink_reload(struct wg_xlator *xl)
{
    struct sink *p = xl->priv;
    bool on = wg_opt_bool(xl, "enabled");

    atomic_store(&p->reads, on && wg_opt_bool(xl, "reads"));
    atomic_store(&p->writes, on && wg_opt_bool(xl, "writes"));
    if (atomic_load(&p->writes))
        wg_warning("%s: debug/sink is on: WHAT IS WRITTEN IS LOST", xl->name);
    else if (atomic_load(&p->reads))
        wg_warning("%s: debug/sink is on: what is read is zeros", xl->name);
    return 0;
}

/* Zeros, as the data of an answer; they outlive the call that shows them. */
static int zeros(struct wg_frame *f, uint32_t size, struct wg_data *ret)
{
    struct sink *p = f->this->priv;
    struct wg_seg *seg = WG_NEW(&f->call->arena, struct wg_seg);

    if (!seg || wg_keep_iobuf(&f->call->arena, wg_iobuf_ref(p->zeros)))
        return ENOMEM;
    *seg = (struct wg_seg){ p->zeros, p->zeros->base, size < WG_IO_MAX ? size : WG_IO_MAX };
    *ret = (struct wg_data){ seg, seg->len > 0, seg->len };
    atomic_fetch_add_explicit(&p->read_bytes, seg->len, memory_order_relaxed);
    return 0;
}

static bool swallows(struct wg_frame *f, atomic_bool *which)
{
    struct sink *p = f->this->priv;

    if (!atomic_load_explicit(which, memory_order_relaxed)) {
        wg_pass(f, wg_child(f));
        return false;
    }
    atomic_fetch_add_explicit(&p->fops, 1, memory_order_relaxed);
    return true;
}

static void lose(struct wg_frame *f, uint64_t bytes)
{
    struct sink *p = f->this->priv;

    atomic_fetch_add_explicit(&p->lost_bytes, bytes, memory_order_relaxed);
}

/* --- reads --- */

static void sink_read(struct wg_frame *f)
{
    struct sink *p = f->this->priv;
    struct wg_read_out *out;

    if (!swallows(f, &p->reads))
        return;
    out = wg_new_out(f, read);
    wg_unwind(f, out ? zeros(f, wg_in(f, read)->size, &out->data) : ENOMEM);
}

static void got(struct wg_frame *f)
{
    const struct wg_get_in *in = wg_in(f, get);
    const struct wg_frame *answer = wg_answer(f);
    struct wg_get_out *out;
    uint64_t left;

    f->out = answer->out;
    if (answer->err || !answer->out)
        return wg_unwind(f, answer->err);
    out = answer->out;
    left = out->attr.size > in->offset ? out->attr.size - in->offset : 0;
    wg_unwind(f, zeros(f, left < in->size ? (uint32_t)left : in->size, &out->data));
}

static void sink_get(struct wg_frame *f)
{
    struct sink *p = f->this->priv;
    struct wg_get_in *in;

    if (!swallows(f, &p->reads))
        return;
    in = wg_new_in(f, get);
    if (!in)
        return wg_unwind(f, ENOMEM);
    *in = *wg_in(f, get);
    in->size = 0;
    wg_wind_to(f, wg_child(f), get, in, got);
}

/* --- writes --- */

static void sink_write(struct wg_frame *f)
{
    struct sink *p = f->this->priv;
    struct wg_write_out *out;

    if (!swallows(f, &p->writes))
        return;
    out = wg_new_out(f, write);
    if (!out)
        return wg_unwind(f, ENOMEM);
    out->count = wg_in(f, write)->data.len;
    out->committed = WG_FILE_SYNC;
    lose(f, out->count);
    wg_unwind(f, 0);
}

static void sink_commit(struct wg_frame *f)
{
    struct sink *p = f->this->priv;

    if (swallows(f, &p->writes))
        wg_unwind(f, wg_new_out(f, commit) ? 0 : ENOMEM);
}

static void sink_copy_range(struct wg_frame *f)
{
    struct sink *p = f->this->priv;
    struct wg_copy_range_out *out;

    if (!swallows(f, &p->writes))
        return;
    out = wg_new_out(f, copy_range);
    if (!out)
        return wg_unwind(f, ENOMEM);
    out->copied = wg_in(f, copy_range)->size;
    lose(f, out->copied);
    wg_unwind(f, 0);
}

static void sink_stage(struct wg_frame *f)
{
    struct sink *p = f->this->priv;
    struct wg_stage_out *out;

    if (!swallows(f, &p->writes))
        return;
    out = wg_new_out(f, stage);
    if (!out)
        return wg_unwind(f, ENOMEM);
    out->ref.gfid = wg_in(f, stage)->gfid;
    wg_unwind(f, 0);
}

static void sink_unstage(struct wg_frame *f)
{
    struct sink *p = f->this->priv;
    struct wg_unstage_out *out;

    if (!swallows(f, &p->writes))
        return;
    out = wg_new_out(f, unstage);
    if (!out)
        return wg_unwind(f, ENOMEM);
    out->was_there = true;
    wg_unwind(f, 0);
}

static void sink_put(struct wg_frame *f)
{
    const struct wg_put_in *in = wg_in(f, put);
    struct sink *p = f->this->priv;
    struct wg_put_out *out;

    if (!swallows(f, &p->writes))
        return;
    out = wg_new_out(f, put);
    if (!out)
        return wg_unwind(f, ENOMEM);
    out->ref.gfid = in->gfid;
    out->etag = in->etag;
    out->attr = (struct wg_iatt){ .valid = true, .type = WG_REG, .gfid = in->gfid, .mode = 0644, .nlink = 1,
                                  .uid = f->call->cred.uid, .gid = f->call->cred.gid,
                                  .size = in->data.len, .mtime = { time(NULL), 0 } };
    out->attr.atime = out->attr.ctime = out->attr.mtime;
    lose(f, in->data.len);
    wg_unwind(f, 0);
}

/* --- the class --- */

static void sink_fini(struct wg_xlator *xl)
{
    struct sink *p = xl->priv;

    wg_iobuf_unref(p->zeros);
    free(p);
    xl->priv = NULL;
}

static int sink_init(struct wg_xlator *xl)
{
    struct sink *p = calloc(1, sizeof *p);

    if (!p)
        return ENOMEM;
    xl->priv = p;
    p->zeros = wg_iobuf_get(WG_IO_MAX);
    if (!p->zeros) {
        sink_fini(xl);
        return ENOMEM;
    }
    memset(p->zeros->base, 0, WG_IO_MAX);
    return sink_reload(xl);
}

static void sink_dump(struct wg_xlator *xl, struct wg_dump *d)
{
    struct sink *p = xl->priv;

    if (atomic_load(&p->writes))
        wg_dump_str(d, "warning", "what is written is lost");
    wg_dump_bool(d, "reads", atomic_load(&p->reads));
    wg_dump_bool(d, "writes", atomic_load(&p->writes));
    wg_dump_u64(d, "swallowed_fops", atomic_load(&p->fops));
    wg_dump_u64(d, "made_up_bytes", atomic_load(&p->read_bytes));
    wg_dump_u64(d, "lost_bytes", atomic_load(&p->lost_bytes));
}

const struct wg_class wg_debug_sink = {
    .type = "debug/sink",
    .help = "LOSES WHAT IS WRITTEN: answers reads and writes by itself, to measure the stack above it.",
    .options = options,
    .min_children = 1,
    .max_children = 1,
    .init = sink_init,
    .fini = sink_fini,
    .reload = sink_reload,
    .dump = sink_dump,
    .fops = {
        [WG_OP_read] = sink_read,
        [WG_OP_get] = sink_get,
        [WG_OP_write] = sink_write,
        [WG_OP_commit] = sink_commit,
        [WG_OP_copy_range] = sink_copy_range,
        [WG_OP_stage] = sink_stage,
        [WG_OP_unstage] = sink_unstage,
        [WG_OP_put] = sink_put,
    },
};
