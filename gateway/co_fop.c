/* SPDX-License-Identifier: Apache-2.0 */
/* wg_co_<fop>: a fop that looks blocking, in a child call with an arena of its own. */
#include "co_internal.h"

static void unref_call(void *call)
{
    wg_call_unref(call);
}

static void fop_finish(struct wg_call *call)
{
    struct wg_co *co = call->owner;

    atomic_store(&co->fop_done, true);
    wg_co_unpark(co);
}

/* On the worker's stack. */
static void wind_fop(struct wg_co *co)
{
    wg_start(co->call, co->xl, co->op, co->in, fop_finish);
}

struct wg_call *wg_co_child_call(struct wg_call *root)
{
    struct wg_call *call = wg_call_new(root->graph, root->frontend, root->what);

    if (!call)
        return NULL;
    call->cred = root->cred;
    call->client = root->client;
    call->deadline_ns = root->deadline_ns;
    call->parent = root;
    call->share = root->share;
    call->watch = root->watch;
    /* Credentials and arguments point into the root's arena: it stays as long as this call. */
    wg_call_ref(root);
    if (wg_on_release(&call->arena, unref_call, root)) {
        wg_call_unref(call);
        return NULL;
    }
    return call;
}

static void drop_last(struct wg_co *co)
{
    if (co->call)
        wg_call_unref(co->call);
    co->call = NULL;
}

/* Once. */
static void run_on_cancel(struct wg_co *co)
{
    void (*fn)(struct wg_co *co) = co->on_cancel;

    co->on_cancel = NULL;
    fn(co);
}

static int run_fop(struct wg_co *co, struct wg_xlator *xl, unsigned op, const void *in, const void **ret)
{
    uint64_t fence;
    void *copy;

    *ret = NULL;
    if (wg_co_cancelled(co))
        return wg_co_cancelled(co);
    drop_last(co);
    co->call = wg_co_child_call(co->root);
    if (!co->call)
        return ENOMEM;
    co->call->owner = co;
    fence = wg_co_fence(co);
    if (fence && (!co->call->deadline_ns || fence < co->call->deadline_ns))
        co->call->deadline_ns = fence;
    /* A straggler of a fan-out may read the arguments after this coroutine has gone on. */
    copy = wg_alloc(&co->call->arena, wg_fops[op].in_size);
    if (!copy)
        return ENOMEM;
    memcpy(copy, in, wg_fops[op].in_size);
    co->op = op;
    co->xl = xl;
    co->in = copy;
    atomic_store(&co->fop_done, false);
    co->outside = wind_fop;
    __atomic_store_n(&co->waits_call, co->call->id, __ATOMIC_RELAXED);
    do {
        wg_co_park(co, wg_op_name(op));
        if (co->on_cancel && wg_co_cancelled(co))
            run_on_cancel(co);
    } while (!atomic_load(&co->fop_done));
    __atomic_store_n(&co->waits_call, 0, __ATOMIC_RELAXED);
    *ret = co->call->root->out;
    return co->call->root->err;
}

void wg_co_keep(struct wg_co *co)
{
    if (!co->call)
        return;
    co->call->owner = co->kept;
    co->kept = co->call;
    co->call = NULL;
}

void wg_co_drop_calls(struct wg_co *co)
{
    drop_last(co);
    while (co->kept) {
        struct wg_call *call = co->kept;

        co->kept = call->owner;
        wg_call_unref(call);
    }
}

#define FOP(no, name, kind, in, out)                                                                \
    int wg_co_##name(struct wg_co *co, struct wg_xlator *xl, const struct wg_##name##_in *args,     \
                     const struct wg_##name##_out **ret)                                            \
    {                                                                                               \
        return run_fop(co, xl, WG_OP_##name, args, (const void **)ret);                             \
    }
#include "fops.def"
#undef FOP
