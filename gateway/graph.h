/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A graph of xlators, from a volfile:
 *
 *     volume store
 *         type storage/posix
 *         option directory /srv/brick
 *     end-volume
 *
 * Blocks may refer (subvolumes a b) to volumes above them; the last one is the top.
 * Words may be quoted with "..." (\" and \\ inside); # starts a comment.
 */
#ifndef WG_GRAPH_H
#define WG_GRAPH_H

#include <pthread.h>

#include "xlator.h"

/* Calls that began and ended; the sums differ by those under way (call.c). */
struct wg_graph_count {
    uint64_t in;                /* guarded by the shard's lock */
    _Atomic uint64_t out;
} __attribute__((aligned(64))); /* a cache line: a thread writes its own */

/*
 * What front ends send calls to, for as long as the process serves it; its graph is replaced
 * while it runs (volume.h). wg_volume_call enters the one that is there at that moment.
 */
struct wg_volume {
    char *name;
    _Atomic(struct wg_graph *) graph;
    struct wg_graph *old;       /* replaced ones with calls under way, newest first (volume.c, as is the rest) */
    unsigned nold;
    uint64_t changes;
    bool reaping, stopping;     /* the thread that ends old graphs is there; it shall not wait any more */
    bool changing;              /* it shall not end one now */
    pthread_t reaper;
    bool joinable;
    pthread_mutex_t change;     /* one change at a time */
    struct wg_volume *next;     /* of the process */
};

struct wg_graph {
    struct wg_xlator **xlators; /* in order of declaration, so children first; a graph may share them with others */
    int nxlators;
    struct wg_xlator *top;
    struct wg_xlator *entry;    /* where calls enter: the top, or what stands below it when that is a door */
    struct wg_volume *volume;   /* set by wg_graph_init, unless it was before */
    struct wg_volume alone;     /* of a graph that nobody replaces: a test's */
    char *text;                 /* the volfile it was made from */
    char *file;
    struct wg_graph *next;      /* the volume's next old graph */
    bool held;                  /* an old one that is still looked at */
    struct wg_graph_count count[WG_CALL_SHARDS];
};

/* for each translator of g, children first; one loop a line. */
#define wg_graph_each(g, xl) wg_graph_each_((g), (xl), __LINE__)
#define wg_graph_each_(g, xl, line) wg_graph_each__((g), (xl), line)
#define wg_graph_each__(g, xl, line) \
    for (int at_##line = 0; at_##line < (g)->nxlators && ((xl) = (g)->xlators[at_##line], true); at_##line++)

/*
 * Reads and checks a volfile: syntax, classes, option names, types and bounds, subvolumes, one
 * top. Every error is one line "file:line: what" through err(arg, text); an unknown option or
 * type names the nearest known one. Returns NULL after an error. Nothing is started.
 */
struct wg_graph *wg_graph_parse(const char *file, const char *text, size_t len,
                                void (*err)(void *arg, const char *text), void *arg);
/* An empty one, for the parser. */
struct wg_graph *wg_graph_new(void);
/* init of each class that was not yet, children first. On an error those initialised here are ended again. */
int wg_graph_init(struct wg_graph *g);
int wg_graph_start(struct wg_graph *g);
/*
 * Makes the layers above each translator of graphs hear its events: those of all graphs that it is in, which are
 * alive together. wg_graph_start does so for a graph that is alone. 0 or ENOMEM.
 */
int wg_graph_listen(struct wg_graph *const *graphs, unsigned n);
/* drain, once, of one that runs; and once more when it ends after it was only replaced. */
void wg_xlator_drain(struct wg_xlator *xl, bool ending);
/* The same of those that no other graph has, and that were not drained yet: the graph ends. */
void wg_graph_drain(struct wg_graph *g);
/* drain, then stop of the door on top, if there is one: no new call comes then. */
void wg_graph_stop_door(struct wg_graph *g);
/* drain, stop from the top down, then fini, of those that no other graph has. The caller has drained the calls. */
void wg_graph_stop(struct wg_graph *g);
void wg_graph_free(struct wg_graph *g);
/* No call is under way in it. True stays true once no new one can enter (it is not its volume's graph). */
bool wg_graph_idle(struct wg_graph *g);
/* One that is in no graph (any more), and not initialised. */
void wg_xlator_free(struct wg_xlator *xl);
struct wg_xlator *wg_graph_find(struct wg_graph *g, const char *name);

#endif
