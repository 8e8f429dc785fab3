/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls and frames. A call is the root of one client request; a frame is one activation of one
 * xlator in it. A layer has two verbs, wind and unwind, and one shape of function:
 *
 *     static void nlc_lookup(struct wg_frame *f)
 *     {
 *         const struct wg_lookup_in *in = wg_in(f, lookup);
 *
 *         if (known_absent(f->this, in->at))
 *             return wg_unwind(f, ENOENT);
 *         wg_wind(f, wg_child(f), nlc_looked_up);
 *     }
 *
 * Rules (README.md, "Rules for translators", has the reasons):
 *  1. Every handler ends in exactly one of wg_wind*, wg_pass, wg_unwind*, or stores f to do so
 *     later, from any thread. After it, f is not touched.
 *  2. A completion runs on any thread, possibly before wg_wind returns, and ends the same way.
 *  3. Arguments are read-only below the layer that set them.
 *  4. f->local is zeroed memory of the class's local_size; it goes with the call.
 */
#ifndef WG_CALL_H
#define WG_CALL_H

#include <stdatomic.h>

#include "fop.h"
#include "work.h"

struct wg_call;
struct wg_frame;
struct wg_xlator;
struct wg_graph;
struct wg_volume;
struct wg_lease;
struct wg_use;
struct wg_watch;

typedef void wg_handler(struct wg_frame *f);

struct wg_frame {
    struct wg_call *call;
    struct wg_frame *parent; /* the frame that wound this one; NULL: the call's first */
    struct wg_xlator *this;
    const void *in;          /* struct wg_<op>_in */
    void *out;               /* struct wg_<op>_out of the reply; NULL before, or on error */
    void *local;
    wg_handler *done;        /* runs on the parent when this one unwinds */
    int err;                 /* the result: 0 or an errno, valid in a completion */
    uint16_t op;
    uint16_t index;          /* which child of a fan-out */
    uint16_t nchildren;      /* of the last wind */
    atomic_bool complete;    /* unwound; set once, by one exchange */
    bool want_lease;         /* a cache above would remember the answer (lease.h); its children inherit it */
    const struct wg_lease *lease; /* of the answer: how long it may be remembered; NULL: not */
    const struct wg_use *uses;    /* of the answer: what it depends on */
    struct wg_fan *fan;      /* the fan-out this frame is a child of; NULL: a plain wind */
    struct wg_frame **children; /* the last wind's children, in order of index */
    struct wg_frame *only;   /* children of a plain wind */
    struct wg_work work;     /* the core's: a step that ran too deep is queued here */
    uint64_t begin_ns;       /* CLOCK_MONOTONIC when entered (4 ms steps unless timing is on) */
    const char *wind_from, *unwind_from, *unwind_to; /* function names, for dumps */
    struct wg_frame *next;   /* the call's list of frames, newest first */
};

enum wg_frontend { WG_FROM_INTERNAL, WG_FROM_NFS, WG_FROM_S3, WG_FROM_BRICK, WG_FROM_ADMIN };

struct wg_call {
    struct wg_arena arena;
    uint64_t id;                 /* unique in this process */
    uint64_t request_id[2];      /* names the request across replays; 0: take a new one */
    struct wg_cred cred;
    struct wg_str client;        /* printable address */
    const char *peer;            /* the name in the certificate it came with; NULL: it began in this process */
    enum wg_frontend frontend;
    const char *what;            /* the protocol's operation, "READ", "PutObject"; static text */
    struct wg_str share;         /* the export or bucket, for figures and dumps; in the arena */
    struct wg_str object;        /* path or key in it, where the protocol names one */
    struct wg_call *parent;      /* the request that this is a part of (it outlives this); NULL: none */
    bool failed;                 /* the request's answer is an error, for figures; root->err counts by itself */
    atomic_bool told;            /* all of the above is written: dumps may read it (wg_call_told) */
    atomic_bool logged;          /* as being slow (slow.h) */
    uint64_t deadline_ns;        /* CLOCK_MONOTONIC; 0: none */
    bool replay;                 /* the request may have been executed before (sent again) */
    bool want_lease;             /* of the first frame: a cache in another process would remember it */
    struct wg_watch *watch;      /* is told what the call uses and changes; NULL: nobody asks */
    bool nowait;                 /* answer EWOULDBLOCK instead of blocking (io-threads asks) */
    uint64_t begin_ns;
    struct wg_graph *graph;      /* the call ends in the graph it began in */
    void (*finish)(struct wg_call *call); /* the front end's: answers the client */
    void *owner;                 /* the front end's request */
    atomic_uint refs;            /* one for the front end, one per outstanding frame */
    _Atomic(struct wg_frame *) frames;
    struct wg_frame *root;
    struct wg_call *dump_prev, *dump_next; /* the registry of live calls, by shard */
    uint16_t shard;
};

#define WG_CALL_SHARDS 64

/*
 * A call, with a reference for the caller; calls, first arena blocks and all, are pooled per
 * thread. It is of the volume's graph of this moment and keeps that as it is until it ends; its
 * fops are started at call->graph->entry. NULL when memory is out.
 */
struct wg_call *wg_volume_call(struct wg_volume *volume, enum wg_frontend from, const char *what);
/*
 * The same in a graph that cannot go away: another call is under way in it, say, whose child this
 * one is. NULL: in none (what a translator starts by itself, below itself: it waits for such calls
 * in its stop).
 */
struct wg_call *wg_call_new(struct wg_graph *graph, enum wg_frontend from, const char *what);
void wg_call_ref(struct wg_call *call);
/*
 * Says that credentials, client, what, share and object are filled in: from now on dumps show them.
 * The first wg_start implies it; for a request that starts no fop by itself.
 */
void wg_call_told(struct wg_call *call);
/* Drops a reference; at zero the arena ends and the call is freed. Any thread. */
void wg_call_unref(struct wg_call *call);

/*
 * Starts op with arguments in (of the call's arena, or outliving it) at xlator top (of the call's graph). finish(call)
 * runs once, on any thread, maybe before this returns; the result is call->root->err and
 * wg_result(call, op). One fop at a time per call.
 */
#define wg_start(call, top, op, in, finish) \
    wg_start_((call), (top), (op), (in), (finish), __func__, #finish)
void wg_start_(struct wg_call *call, struct wg_xlator *top, unsigned op, const void *in,
               void (*finish)(struct wg_call *), const char *from, const char *to);

/* Typed access; they assert that f carries that fop. */
#define wg_in(f, name) ((const struct wg_##name##_in *)wg_in_checked((f), WG_OP_##name))
#define wg_out(f, name) ((struct wg_##name##_out *)wg_out_checked((f), WG_OP_##name))
/* In finish: the results of the call's fop, or NULL when it failed without any. */
#define wg_result(call, name) ((struct wg_##name##_out *)wg_out_checked((call)->root, WG_OP_##name))
/* A zeroed result in the call's arena, set as f's reply; NULL (answer ENOMEM) when memory is out. */
#define wg_new_out(f, name) ((struct wg_##name##_out *)wg_new_out_checked((f), WG_OP_##name))
/* Zeroed arguments in the call's arena, to wind something else with. */
#define wg_new_in(f, name) ((struct wg_##name##_in *)wg_alloc(&(f)->call->arena, sizeof(struct wg_##name##_in)))

const void *wg_in_checked(const struct wg_frame *f, unsigned op);
void *wg_out_checked(const struct wg_frame *f, unsigned op);
void *wg_new_out_checked(struct wg_frame *f, unsigned op);

/*
 * Winds f's own fop and arguments to xl; done(f) runs with f->err and f->out set to the answer
 * (so wg_unwind(f, f->err) passes it on).
 */
#define wg_wind(f, xl, done) wg_wind_((f), (xl), (f)->op, (f)->in, (done), __func__, #done)
/* The same with another fop or arguments. The answer is in wg_answer(f): err and out of its own op. */
#define wg_wind_to(f, xl, name, args, done) \
    wg_wind_((f), (xl), WG_OP_##name, (1 ? (args) : (const struct wg_##name##_in *)0), (done), __func__, #done)
/* Hands f itself to xl: for a layer that has nothing to add. Costs no frame. */
#define wg_pass(f, xl) wg_pass_((f), (xl), __func__)
/* Ends f with err; its results are f->out, set before by wg_new_out or by the child's answer. */
#define wg_unwind(f, err) wg_unwind_((f), (err), __func__)

/*
 * Fan-out of f's fop to n children; done(f) runs once, when need of them have answered with 0
 * or all have answered. Answers: wg_nth(f, i), complete or not. A straggler finds its call there.
 */
#define wg_wind_many(f, xls, n, need, done) \
    wg_wind_many_((f), (xls), (n), (need), (done), __func__, #done)

void wg_wind_(struct wg_frame *f, struct wg_xlator *xl, unsigned op, const void *in,
              wg_handler *done, const char *from, const char *to);
void wg_wind_many_(struct wg_frame *f, struct wg_xlator *const *xls, unsigned n, unsigned need,
                   wg_handler *done, const char *from, const char *to);
void wg_pass_(struct wg_frame *f, struct wg_xlator *xl, const char *from);
void wg_unwind_(struct wg_frame *f, int err, const char *from);

/* In a completion: the child's frame of the last wind (its op, err, out). */
static inline const struct wg_frame *wg_answer(const struct wg_frame *f)
{
    return f->children[0];
}

static inline const struct wg_frame *wg_nth(const struct wg_frame *f, unsigned i)
{
    return f->children[i];
}

/* The profile (stats.h): time every frame exactly, a clock read at wind and unwind; off by default. */
void wg_timing(bool on);

/* What each (xlator, fop) did; kept in shards, summed by wg_stats_sum. ns: while the profile was on. */
struct wg_fop_stats {
    uint64_t calls, errors, ns;
};
struct wg_fop_stats wg_stats_sum(const struct wg_xlator *xl, unsigned op);

/* Every live call, for dumps: each(call, arg) under the shard's lock, which no call holds for long. */
void wg_calls_each(void (*each)(struct wg_call *call, void *arg), void *arg);
unsigned wg_calls_live(void);

uint64_t wg_now_ns(void);        /* CLOCK_MONOTONIC */
uint64_t wg_now_coarse_ns(void); /* CLOCK_MONOTONIC_COARSE: 4 ms steps, five times cheaper */

#endif
