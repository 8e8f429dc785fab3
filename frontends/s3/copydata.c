/* SPDX-License-Identifier: Apache-2.0 */
#include "copydata.h"

#include <stdio.h>

#include "conn.h"
#include "log.h"

#define WG_LOG_PART "s3"
#define STEP (64ull << 20)     /* one fop: short enough for its deadline */
#define PIECE (1u << 20)       /* one read, where bytes come through here */
#define WINDOW 4               /* such reads under way */
#define TRIES 5                /* beginnings without a byte of progress */
#define ROUTE_NS 10000000000ull
#define NO_ROUTE_NS 60000000000ull

/* ---- what nobody waits for ---- */

static void sent_off(struct wg_call *call)
{
    wg_call_unref(call);
}

void s3_send_off_(struct s3_req *r, struct wg_xlator *top, unsigned op, const void *in, size_t size)
{
    struct wg_call *call = s3_child_call(r);
    void *copy = call ? wg_memdup(&call->arena, in, size) : NULL;

    /* What in points at is of the request's arena, which the call holds. */
    if (copy)
        wg_start(call, top, op, copy, sent_off);
    else if (call)
        wg_call_unref(call);
}

/* ---- on one brick ---- */

static int copy_on_brick(struct wg_co *co, struct s3_req *r, const struct s3_copy_data *c)
{
    uint64_t done = 0;

    while (done < c->size) {
        uint64_t left = c->size - done;
        struct wg_copy_range_in in = { .from = c->from, .from_offset = c->from_offset + done, .to = c->to,
                                       .to_offset = done, .size = left < STEP ? left : STEP };
        const struct wg_copy_range_out *out;
        int err = wg_co_copy_range(co, r->top, &in, &out);

        if (err)
            return err;
        if (out->copied == 0 || out->copied > in.size)
            return S3E(OperationAborted); /* the source was cut short meanwhile */
        done += out->copied;
        atomic_fetch_add_explicit(&r->s3->count.copied, out->copied, memory_order_relaxed);
    }
    return 0;
}

/* ---- through here ---- */

struct carry {
    struct s3_req *r;
    const struct s3_copy_data *c;
    uint64_t at;
};

static int carry_piece(struct wg_co *co, void *arg)
{
    struct carry *p = arg;
    const struct s3_copy_data *c = p->c;
    uint64_t left = c->size - p->at, at = p->at;
    uint32_t want = left < PIECE ? (uint32_t)left : PIECE;

    while (want > 0) {
        struct wg_read_in in = { .at = c->from, .offset = c->from_offset + at, .size = want };
        struct wg_write_in to = { .at = c->to, .offset = at, .stable = WG_UNSTABLE };
        const struct wg_write_out *written;
        const struct wg_read_out *out;
        int err = wg_co_read(co, c->from_top, &in, &out);

        if (err)
            return err;
        if (out->data.len == 0 || out->data.len > want)
            return S3E(OperationAborted);
        to.data = out->data;
        wg_co_keep(co);
        err = wg_co_write(co, p->r->top, &to, &written);
        if (!err && written->count != to.data.len)
            err = ENOSPC;
        if (err)
            return err;
        at += to.data.len;
        want -= to.data.len;
        atomic_fetch_add_explicit(&p->r->s3->count.carried, to.data.len, memory_order_relaxed);
    }
    return 0;
}

static int carry(struct wg_co *co, struct s3_req *r, const struct s3_copy_data *c)
{
    struct carry *ring = wg_alloc(&r->call->arena, (WINDOW + 1) * sizeof *ring);
    uint64_t step = 0;
    int err = 0;

    if (!ring)
        return ENOMEM;
    /* In groups of some size, since a ring's place is free when its group has ended. */
    while (!err && step < c->size) {
        struct wg_co_group *g = wg_co_group(co, WINDOW);

        if (!g)
            return ENOMEM;
        for (unsigned i = 0; i < WINDOW && step < c->size && !err; i++, step += PIECE) {
            ring[i] = (struct carry){ r, c, step };
            err = wg_co_spawn(g, "copy", carry_piece, &ring[i]);
        }
        int first = wg_co_collect(g);
        err = first ? first : err;
    }
    return err;
}

/* ---- from brick to brick ---- */

/* Which brick the source is on, and how it knows the target's. Kept for some seconds. */
static int ask_route(struct wg_co *co, struct s3_req *r, struct wg_xlator *from_top, struct s3_route *ret)
{
    struct wg_ref_peer_in in = { .source = { { 0 } } };
    const struct wg_ref_peer_out *out;
    int err = wg_co_ref_peer(co, from_top, &in, &out);

    if (err)
        return err;
    in.source = ret->brick = out->brick;
    err = wg_co_ref_peer(co, r->top, &in, &out);
    if (err)
        return err;
    if (out->name.len >= sizeof ret->name)
        return ENOTSUP;
    snprintf(ret->name, sizeof ret->name, "%.*s", (int)out->name.len, out->name.s ? out->name.s : "");
    return 0;
}

static struct s3_route *route_slot(struct wg_s3 *s3, const struct wg_xlator *from, const struct wg_xlator *to)
{
    uintptr_t h = ((uintptr_t)from >> 5) * 31 + ((uintptr_t)to >> 5);

    return &s3->routes[h % S3_ROUTES];
}

static int find_route(struct wg_co *co, struct s3_req *r, struct wg_xlator *from_top, struct s3_route *ret)
{
    struct s3_route *slot = route_slot(r->s3, from_top, r->top);
    uint64_t now = wg_now_coarse_ns();

    pthread_mutex_lock(&r->s3->route_lock);
    *ret = *slot;
    pthread_mutex_unlock(&r->s3->route_lock);
    if (ret->from == from_top && ret->to == r->top && now < ret->until_ns)
        return ret->err;
    *ret = (struct s3_route){ .from = from_top, .to = r->top };
    ret->err = ask_route(co, r, from_top, ret);
    if (ret->err == ECANCELED || ret->err == ENOMEM)
        return ret->err;
    ret->until_ns = now + (ret->err == ENOTSUP ? NO_ROUTE_NS : ROUTE_NS);
    if (ret->err)
        wg_notice("copies from %s to %s come through this gateway: the bricks can't copy from each other (%s)",
                  from_top->name, r->top->name, wg_error_name(ret->err));
    pthread_mutex_lock(&r->s3->route_lock);
    *slot = *ret;
    pthread_mutex_unlock(&r->s3->route_lock);
    return ret->err;
}

struct pulling {
    struct s3_req *r;
    const struct s3_copy_data *c;
    struct s3_route route;
    struct wg_str ref;         /* of the arena; len 0: none */
    uint64_t done;             /* of c->size */
    uint64_t touched;          /* the target may hold something below */
    struct wg_etag etag;       /* of what is below done */
};

/*
 * For what is still to be copied. ECHANGED: what was copied before is perhaps not of this content. An ETag is
 * never wrong, so where it is the same as before, so is the content.
 */
static int make_reference(struct wg_co *co, struct pulling *p)
{
    const struct s3_copy_data *c = p->c;
    struct wg_ref_create_in in = { .at = c->from, .offset = c->from_offset + p->done, .size = c->size - p->done,
                                   .puller = wg_str_of(p->route.name) };
    const struct wg_ref_create_out *out;
    int err = wg_co_ref_create(co, c->from_top, &in, &out);

    p->ref.len = 0;
    if (err)
        return err;
    err = wg_strdup(&p->r->call->arena, out->ref, &p->ref);
    if (err)
        return err;
    if (out->size != in.size)
        return S3E(OperationAborted); /* it became shorter */
    if (p->done > 0 && !s3_same_content(&p->etag, &out->etag))
        return ECHANGED;
    p->etag = out->etag;
    return 0;
}

static void drop_reference(struct pulling *p)
{
    struct wg_ref_drop_in in = { .ref = p->ref };

    if (p->ref.len)
        s3_send_off(p->r, p->c->from_top, ref_drop, &in);
    p->ref.len = 0;
}

/* With one reference, as far as it goes. */
static int pull_with(struct wg_co *co, struct pulling *p)
{
    const struct s3_copy_data *c = p->c;

    while (p->done < c->size) {
        uint64_t left = c->size - p->done;
        struct wg_ref_pull_in in = { .ref = p->ref, .source = p->route.brick, .offset = c->from_offset + p->done,
                                     .to = c->to, .to_offset = p->done, .size = left < STEP ? left : STEP,
                                     .fresh = p->done >= p->touched };
        const struct wg_ref_pull_out *out;
        int err;

        if (p->touched < p->done + in.size)
            p->touched = p->done + in.size;
        err = wg_co_ref_pull(co, p->r->top, &in, &out);
        if (out && out->copied <= in.size) {
            p->done += out->copied;
            atomic_fetch_add_explicit(&p->r->s3->count.pulled, out->copied, memory_order_relaxed);
        }
        if (err)
            return err == EACCES ? ENOTSUP : err; /* the bricks disagree about names: we can still copy */
        if (out->copied == 0)
            return ETIMEDOUT;
    }
    return 0;
}

/* Worth another reference? */
static bool may_pass(int err)
{
    switch (err) {
    case EREFLOST:  /* the source's brick was restarted, or we were too slow */
    case ECHANGED:
    case EBUSY:
    case EAGAIN:
    case ENOTCONN:
    case ETIMEDOUT:
        return true;
    }
    return false;
}

/* EREFLOST, ECHANGED in the end: five beginnings led nowhere. */
static int pull(struct wg_co *co, struct pulling *p)
{
    unsigned tries = 0;
    int err;

    for (;;) {
        uint64_t before = p->done;

        err = make_reference(co, p);
        if (err == ECHANGED) {
            p->done = 0;
            drop_reference(p);
            err = make_reference(co, p);
        }
        if (!err)
            err = pull_with(co, p);
        drop_reference(p);
        if (!err || !may_pass(err) || wg_co_cancelled(co))
            return err;
        if (err == ECHANGED)
            p->done = 0;
        tries = p->done > before ? 0 : tries + 1;
        wg_debug("a pull of %s failed after %llu bytes: %s", p->r->id, (unsigned long long)p->done,
                 wg_error_name(err));
        if (tries >= TRIES)
            return err;
        wg_co_sleep(co, 50000000ull << tries);
    }
}

static int copy_between(struct wg_co *co, struct s3_req *r, const struct s3_copy_data *c, struct wg_etag *ret)
{
    struct pulling *p = WG_NEW(&r->call->arena, struct pulling); /* fops point into it */
    int err;

    if (!p)
        return ENOMEM;
    p->r = r;
    p->c = c;
    err = find_route(co, r, c->from_top, &p->route);
    if (err == ECANCELED || err == ENOMEM)
        return err;
    err = err ? ENOTSUP : pull(co, p);
    if (!err)
        *ret = p->etag;
    if (err == ENOTSUP)
        return carry(co, r, c);
    if (err == ECHANGED)
        return wg_s3_fail(r, S3E(OperationAborted), "The copy source kept changing while it was copied.");
    return err;
}

int s3_copy_data(struct wg_co *co, struct s3_req *r, const struct s3_copy_data *c, struct wg_etag *ret)
{
    struct wg_etag etag = { .valid = false };
    int err = EXDEV;

    if (c->size == 0)
        err = 0;
    else if (c->from_top == r->top)
        err = copy_on_brick(co, r, c);
    if (err == EXDEV)
        err = copy_between(co, r, c, &etag);
    if (ret)
        *ret = etag;
    return err;
}
