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
    struct wg_graph_count count[WG_CALL_SHARDS];
};

#define wg_graph_each(g, xl) \
    for (int i_ = 0; i_ < (g)->nxlators && ((xl) = (g)->xlators[i_], true); i_++)

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
/* stop from the top down, then fini, of those that no other graph has. The caller has drained the calls. */
void wg_graph_stop(struct wg_graph *g);
void wg_graph_free(struct wg_graph *g);
/* No call is under way in it. True stays true once no new one can enter (it is not its volume's graph). */
bool wg_graph_idle(struct wg_graph *g);
struct wg_xlator *wg_graph_find(struct wg_graph *g, const char *name);

#endif
