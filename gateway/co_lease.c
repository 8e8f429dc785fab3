/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leases: a flow's lock at the brick, renewed in the background.
 *
 * All of a lease's state belongs to its flow's worker: the timer runs there, answers (which come on any
 * thread) are queued there. It outlives its flow while a renewal or the drop is under way; the reference
 * count is for that, and for arguments that a fan-out's straggler may still read.
 */
#include <pthread.h>
#include <stdlib.h>

#define WG_LOG_PART "co"
#include "co_internal.h"
#include "dump.h"
#include "log.h"

#define RETRY_NS 50000000u /* after an answer that said nothing about the lock */
#define SHOWN 1000         /* in a dump */

struct wg_co_lease {
    atomic_uint refs;
    struct wg_co *co;         /* NULL: dropped */
    struct wg_co_lease *next; /* of co's */
    unsigned worker;
    struct wg_call *root;
    struct wg_xlator *xl;
    struct wg_ref at;
    uint32_t len;
    char name[WG_NAME_MAX];
    wg_gfid owner;            /* random: of this taking alone */
    uint32_t ttl_ms;
    bool fence, refused;
    uint64_t sent_ns;         /* the request under way */
    struct wg_call *call;     /* the same; NULL: none */
    struct wg_timer timer;    /* the next renewal, or the end */
    struct wg_work work, leave;
    uint64_t begin_ns;
    /* Also read by dumps. */
    _Atomic uint64_t until_ns, renewals;
    atomic_bool lost, dropped;
    struct wg_co_lease *list_prev, *list_next;
};

/* For dumps. */
static struct {
    pthread_mutex_t lock;
    struct wg_co_lease *first;
    unsigned n;
} list = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void unref(void *arg)
{
    struct wg_co_lease *l = arg;

    if (atomic_fetch_sub(&l->refs, 1) == 1)
        free(l);
}

/* What must have ended before the graph stops. */
static void count(void)
{
    pthread_mutex_lock(&list.lock);
    list.n++;
    pthread_mutex_unlock(&list.lock);
}

static void uncount(void)
{
    pthread_mutex_lock(&list.lock);
    list.n--;
    pthread_mutex_unlock(&list.lock);
}

static struct wg_co_lease *new_lease(struct wg_co *co, struct wg_xlator *xl, const struct wg_co_lease_args *args)
{
    struct wg_co_lease *l = calloc(1, sizeof *l);

    if (!l)
        return NULL;
    atomic_init(&l->refs, 1);
    l->co = co;
    l->worker = co->worker;
    l->root = co->root;
    wg_call_ref(l->root);
    l->xl = xl;
    l->at = args->at;
    l->len = args->name.len;
    memcpy(l->name, args->name.s, args->name.len);
    l->owner = wg_gfid_new();
    l->ttl_ms = args->ttl_ms;
    l->fence = args->fence;
    l->begin_ns = wg_now_ns();
    pthread_mutex_lock(&list.lock);
    l->list_next = list.first;
    if (list.first)
        list.first->list_prev = l;
    list.first = l;
    pthread_mutex_unlock(&list.lock);
    count();
    return l;
}

/* The end: nothing of it is under way. */
static void end(struct wg_co_lease *l)
{
    struct wg_call *root = l->root;

    pthread_mutex_lock(&list.lock);
    if (l->list_prev)
        l->list_prev->list_next = l->list_next;
    else
        list.first = l->list_next;
    if (l->list_next)
        l->list_next->list_prev = l->list_prev;
    pthread_mutex_unlock(&list.lock);
    unref(l);
    wg_call_unref(root);
    uncount();
}

unsigned wg_co_leases_live(void)
{
    pthread_mutex_lock(&list.lock);
    unsigned n = list.n;
    pthread_mutex_unlock(&list.lock);
    return n;
}

static struct wg_str name_of(const struct wg_co_lease *l)
{
    return (struct wg_str){ l->name, l->len };
}

static uint64_t ttl_ns(const struct wg_co_lease *l)
{
    return l->ttl_ms * 1000000ull;
}

/* --- requests in the background: renewals and the drop --- */

static void answered(struct wg_work *w);

/* Any thread. */
static void finish(struct wg_call *call)
{
    struct wg_co_lease *l = call->owner;

    l->work.fn = answered;
    wg_work_queue_on(l->worker, &l->work);
}

/* A call with the lease's name in its own arena. NULL when memory is out. */
static struct wg_call *new_call(struct wg_co_lease *l, struct wg_str *ret_name)
{
    struct wg_call *call = wg_co_child_call(l->root);

    if (!call)
        return NULL;
    call->owner = l;
    if (wg_strdup(&call->arena, name_of(l), ret_name)) {
        wg_call_unref(call);
        return NULL;
    }
    return call;
}

static void tick(struct wg_timer *t);

static void tick_at(struct wg_co_lease *l, uint64_t at)
{
    uint64_t until = atomic_load(&l->until_ns);

    wg_timer_arm(&l->timer, at < until ? at : until, tick);
}

static void renew(struct wg_co_lease *l)
{
    struct wg_str name;
    struct wg_call *call = new_call(l, &name);
    struct wg_lock_renew_in *in = call ? WG_NEW(&call->arena, struct wg_lock_renew_in) : NULL;

    if (!in) {
        if (call)
            wg_call_unref(call);
        tick_at(l, wg_now_ns() + RETRY_NS);
        return;
    }
    *in = (struct wg_lock_renew_in){ .at = l->at, .name = name, .owner = l->owner, .ttl_ms = l->ttl_ms };
    l->sent_ns = wg_now_ns();
    call->deadline_ns = atomic_load(&l->until_ns); /* an answer after that comes too late */
    l->call = call;
    tick_at(l, UINT64_MAX);
    wg_start(call, l->xl, WG_OP_lock_renew, in, finish);
}

/* Without memory, or when it does not arrive, the brick ends the lock by its time to live. */
static void send_drop(struct wg_co_lease *l)
{
    struct wg_str name;
    struct wg_call *call = l->refused ? NULL : new_call(l, &name);
    struct wg_lock_drop_in *in = call ? WG_NEW(&call->arena, struct wg_lock_drop_in) : NULL;

    if (!in) {
        if (call)
            wg_call_unref(call);
        end(l);
        return;
    }
    *in = (struct wg_lock_drop_in){ .at = l->at, .name = name, .owner = l->owner };
    call->deadline_ns = wg_now_ns() + ttl_ns(l);
    l->call = call;
    l->refused = true; /* not twice */
    wg_start(call, l->xl, WG_OP_lock_drop, in, finish);
}

static void lose(struct wg_co_lease *l, const char *why)
{
    wg_timer_cancel(&l->timer);
    atomic_store(&l->lost, true);
    wg_warning("%s lost its lease %.*s: %s", l->co->name, (int)l->len, l->name, why);
    wg_co_cancel_with(l->co, ENOLCK);
}

static void granted(struct wg_co_lease *l, uint64_t sent_ns, uint32_t ttl_ms)
{
    if (ttl_ms && ttl_ms < l->ttl_ms)
        l->ttl_ms = ttl_ms;
    atomic_store(&l->until_ns, sent_ns + ttl_ns(l));
}

static void renewed(struct wg_co_lease *l, int err, uint32_t ttl_ms)
{
    if (atomic_load(&l->lost))
        return;
    if (!err) {
        atomic_fetch_add(&l->renewals, 1);
        granted(l, l->sent_ns, ttl_ms);
        tick_at(l, l->sent_ns + ttl_ns(l) / 3);
    } else if (err == ENOLCK) {
        l->refused = true;
        lose(l, "somebody else may have it");
    } else {
        tick_at(l, wg_now_ns() + RETRY_NS);
    }
}

/* On the worker. */
static void answered(struct wg_work *w)
{
    struct wg_co_lease *l = (struct wg_co_lease *)((char *)w - offsetof(struct wg_co_lease, work));
    struct wg_call *call = l->call;
    int err = call->root->err;
    uint32_t ttl_ms = !err && call->root->op == WG_OP_lock_renew ? wg_result(call, lock_renew)->ttl_ms : 0;

    l->call = NULL;
    wg_call_unref(call);
    if (l->co)
        renewed(l, err, ttl_ms);
    else if (l->refused)
        end(l);
    else
        send_drop(l);
}

static void tick(struct wg_timer *t)
{
    struct wg_co_lease *l = (struct wg_co_lease *)((char *)t - offsetof(struct wg_co_lease, timer));

    if (wg_now_ns() >= atomic_load(&l->until_ns))
        lose(l, "it could not be renewed in time");
    else if (!l->call)
        renew(l);
}

static void drop_work(struct wg_work *w)
{
    send_drop((struct wg_co_lease *)((char *)w - offsetof(struct wg_co_lease, work)));
}

/* Winding needs the worker's own stack. */
static void drop_soon(struct wg_co_lease *l)
{
    wg_timer_cancel(&l->timer); /* of this worker: it does not run now */
    l->co = NULL;
    atomic_store(&l->dropped, true);
    if (l->call)
        return; /* when that is answered */
    l->work.fn = drop_work;
    wg_work_queue_on(l->worker, &l->work);
}

/* --- leaving the line: the flow was cancelled while it stood there --- */

static void left(struct wg_call *call)
{
    wg_call_unref(call);
    uncount();
}

/* The answer to the take comes by this, and ends the flow's wait. */
static void leave(struct wg_work *w)
{
    struct wg_co_lease *l = (struct wg_co_lease *)((char *)w - offsetof(struct wg_co_lease, leave));
    struct wg_str name;
    struct wg_call *call = new_call(l, &name);
    struct wg_lock_drop_in *in = call ? WG_NEW(&call->arena, struct wg_lock_drop_in) : NULL;
    struct wg_call *root = l->root;
    struct wg_xlator *xl = l->xl;

    if (in) {
        *in = (struct wg_lock_drop_in){ .at = l->at, .name = name, .owner = l->owner };
        call->deadline_ns = wg_now_ns() + ttl_ns(l);
    }
    unref(l);
    wg_call_unref(root); /* call has a reference of its own */
    if (in)
        wg_start(call, xl, WG_OP_lock_drop, in, left);
    else if (call)
        left(call);
    else
        uncount();
}

static void leave_soon(struct wg_co *co)
{
    struct wg_co_lease *l = co->on_cancel_arg;

    atomic_fetch_add(&l->refs, 1);
    wg_call_ref(l->root);
    count();
    l->leave.fn = leave;
    wg_work_queue_on(l->worker, &l->leave);
}

/* --- the flow's side --- */

/* A straggler of a fan-out may read the name later than the lease lives. Without memory it lives on. */
static void keep_name(struct wg_co *co, struct wg_co_lease *l)
{
    if (!co->call)
        return;
    atomic_fetch_add(&l->refs, 2);
    if (wg_on_release(&co->call->arena, unref, l) == 0)
        unref(l);
}

/* One request each. *ret_sent: what its time to live counts from. */
static int ask(struct wg_co *co, struct wg_co_lease *l, uint64_t wait_ns, uint64_t *ret_sent)
{
    struct wg_lock_take_in in = { .at = l->at, .name = name_of(l), .owner = l->owner, .ttl_ms = l->ttl_ms,
                                  .wait_ms = (uint32_t)(wait_ns / 1000000) };
    const struct wg_lock_take_out *out;
    int err;

    *ret_sent = wg_now_ns();
    co->on_cancel_arg = l;
    co->on_cancel = leave_soon;
    err = wg_co_lock_take(co, l->xl, &in, &out);
    co->on_cancel = NULL;
    keep_name(co, l);
    if (err == ECANCELED && wg_co_cancelled(co))
        err = wg_co_cancelled(co); /* the brick only says that we left */
    if (!err)
        granted(l, *ret_sent, out->ttl_ms);
    return err;
}

static int ask_again(struct wg_co *co, struct wg_co_lease *l)
{
    struct wg_lock_renew_in in = { .at = l->at, .name = name_of(l), .owner = l->owner, .ttl_ms = l->ttl_ms };
    const struct wg_lock_renew_out *out;
    uint64_t sent = wg_now_ns();
    int err = wg_co_lock_renew(co, l->xl, &in, &out);

    keep_name(co, l);
    if (!err)
        granted(l, sent, out->ttl_ms);
    return err;
}

static int take(struct wg_co *co, struct wg_co_lease *l, uint32_t wait_ms)
{
    uint64_t give_up = wg_now_ns() + wait_ms * 1000000ull;

    for (;;) {
        uint64_t now = wg_now_ns(), sent;
        int err = ask(co, l, give_up > now ? give_up - now : 0, &sent);

        /* It counts from the sending: after a long wait in line little is left of it. */
        if (!err && wg_now_ns() - sent > ttl_ns(l) / 3)
            err = ask_again(co, l);
        if (err != EAGAIN && (err != ENOLCK || wg_co_cancelled(co)))
            return err;
        if (wg_now_ns() >= give_up)
            return err == EAGAIN ? EBUSY : err;
        err = wg_co_sleep(co, RETRY_NS);
        if (err)
            return err;
    }
}

/* Whether the brick may hold it for us all the same, or keep us in line. */
static bool is_unknown(int err)
{
    return err != EBUSY && err != ENOTSUP && err != EINVAL && err != ENAMETOOLONG;
}

int wg_co_lease_take(struct wg_co *co, struct wg_xlator *xl, const struct wg_co_lease_args *args,
                     struct wg_co_lease **ret)
{
    struct wg_co_lease *l;
    int err = wg_co_cancelled(co);

    *ret = NULL;
    if (err)
        return err;
    if (args->name.len == 0 || args->name.len > WG_NAME_MAX)
        return EINVAL;
    l = new_lease(co, xl, args);
    if (!l)
        return ENOMEM;
    err = take(co, l, args->wait_ms);
    if (err) {
        l->refused = !is_unknown(err);
        drop_soon(l);
        return err;
    }
    l->next = co->leases;
    co->leases = l;
    tick_at(l, atomic_load(&l->until_ns) - ttl_ns(l) * 2 / 3);
    *ret = l;
    return 0;
}

void wg_co_lease_drop(struct wg_co_lease *l)
{
    struct wg_co_lease **at;

    if (!l)
        return;
    for (at = &l->co->leases; *at != l; at = &(*at)->next)
        ;
    *at = l->next;
    drop_soon(l);
}

void wg_co_drop_leases(struct wg_co *co)
{
    while (co->leases)
        wg_co_lease_drop(co->leases);
}

int wg_co_lease_lost(const struct wg_co_lease *l)
{
    return atomic_load(&l->lost) ? ENOLCK : 0;
}

/* A member's owner waits for it, on the same worker. */
uint64_t wg_co_fence(const struct wg_co *co)
{
    uint64_t fence = 0;

    for (; co; co = co->group ? co->group->owner : NULL)
        for (const struct wg_co_lease *l = co->leases; l; l = l->next) {
            uint64_t until = atomic_load_explicit(&l->until_ns, memory_order_relaxed);

            if (l->fence && (!fence || until < fence))
                fence = until;
        }
    return fence;
}

/* --- dumps --- */

static void dump(struct wg_dump *d)
{
    uint64_t now = wg_now_ns();
    unsigned shown = 0;

    pthread_mutex_lock(&list.lock);
    wg_dump_u64(d, "live", list.n);
    wg_dump_array(d, "list");
    for (struct wg_co_lease *l = list.first; l && shown < SHOWN; l = l->list_next, shown++) {
        uint64_t until = atomic_load(&l->until_ns);
        const char *state = atomic_load(&l->lost) ? "lost" : atomic_load(&l->dropped) ? "ending" :
                            until ? "held" : "waiting";

        wg_dump_object(d, NULL);
        wg_dump_strn(d, "name", l->name, l->len);
        wg_dump_u64(d, "call", l->root->id);
        wg_dump_str(d, "state", state);
        wg_dump_u64(d, "age_us", (now - l->begin_ns) / 1000);
        wg_dump_u64(d, "left_us", until > now ? (until - now) / 1000 : 0);
        wg_dump_u64(d, "renewals", atomic_load(&l->renewals));
        wg_dump_end(d);
    }
    wg_dump_end(d);
    pthread_mutex_unlock(&list.lock);
}

static struct wg_dump_section section = { .name = "leases", .fn = dump };

__attribute__((constructor)) static void register_section(void)
{
    wg_dump_register(&section);
}
