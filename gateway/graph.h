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

struct wg_graph {
    struct wg_xlator *first; /* in order of declaration */
    struct wg_xlator *top;
    char *text;              /* the volfile it was made from */
    char *file;
    bool started;
    int nxlators;
    struct wg_graph *next; /* the process's next graph, of another volume; dumps walk them. The program's */
};

/*
 * Reads and checks a volfile: syntax, classes, option names, types and bounds, subvolumes, one
 * top. Every error is one line "file:line: what" through err(arg, text); an unknown option or
 * type names the nearest known one. Returns NULL after an error. Nothing is started.
 */
struct wg_graph *wg_graph_parse(const char *file, const char *text, size_t len,
                                void (*err)(void *arg, const char *text), void *arg);
/* init of each class, children first. On an error those initialised are ended again. */
int wg_graph_init(struct wg_graph *g);
int wg_graph_start(struct wg_graph *g);
/* stop from the top down, then fini and free. The caller has drained the calls. */
void wg_graph_stop(struct wg_graph *g);
void wg_graph_free(struct wg_graph *g);
struct wg_xlator *wg_graph_find(struct wg_graph *g, const char *name);

#endif
