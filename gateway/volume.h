/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Graphs that change while calls run. A volume has one graph that new calls enter; when it is
 * replaced, each call ends in the graph that it began in, and a graph without calls is ended by a
 * thread of its own.
 *
 * What a translator of the new graph shares with one of the old, of the same name, type, options and
 * children, *is* that one: connections and stores are not opened twice, and inserting a layer touches
 * nothing below it. One whose changed options are all declared `reload` is the same too, and
 * reloaded in place. Any other is a new instance, beside the old one until that has no calls, and may
 * take over what the old one remembers (wg_class.handover). A door (protocol/server) stays
 * whatever is put below it: calls enter there.
 *
 * Locks, outermost first: a volume's `change`; the lock of all graphs (volume.c); the shards of calls.
 * Dumps take the second, which no change holds while it calls a class, except reload.
 */
#ifndef WG_VOLUME_H
#define WG_VOLUME_H

#include "graph.h"

/* Old graphs of a volume that still have calls; one more is refused. */
#define WG_VOLUME_OLD_MAX 64

/*
 * A volume with its first graph, initialised and started; g is taken over, freed on errors. 0 or an
 * errno after log lines. Main thread.
 */
int wg_volume_start(const char *name, struct wg_graph *g, struct wg_volume **ret);

/*
 * The same with a graph that make derives from the one of now (NULL: the volume is closed), which no other
 * change replaces meanwhile. make gives NULL when it can't; then EINVAL.
 */
int wg_volume_edit(struct wg_volume *v, struct wg_graph *(*make)(const struct wg_graph *now, void *arg), void *arg,
                   char *why, size_t size);

/* Calls don't enter it any more; its graph is ended when the last has ended. It may be started again. */
void wg_volume_close(struct wg_volume *v);

/*
 * Ends its graphs. The caller has seen to it that no call comes from front ends and that those under way have
 * ended; a door's are ended here. wait_ms is for calls in old graphs: when they don't end, memory is left.
 */
void wg_volume_stop(struct wg_volume *v, int64_t wait_ms);

/*
 * Replaces the graph. g is parsed only, and taken over, whatever happens. 0 when the new one is in use;
 * else an errno, the old one is in use as it was, and why says in one line what is wrong. Blocks: for
 * init and start of what is new, not for calls. Any thread but a worker's; one change at a time.
 */
int wg_volume_change(struct wg_volume *v, struct wg_graph *g, char *why, size_t size);

/*
 * Calls reload of every translator of the current graph, and makes the graph again when one answers ESTALE. The number
 * of those that failed (logged).
 */
int wg_volume_reload(struct wg_volume *v);

/* The process ends: what waits inside a translator, in old graphs too, goes on, so that its caller can end. */
void wg_volumes_drain(void);

/* Stops all that there are, the last started first. */
void wg_volumes_stop(int64_t wait_ms);

/* By name; NULL. The volumes of a process come and go on its main thread only. */
struct wg_volume *wg_volume_find(const char *name);

/* Each translator of each volume once, those of the current graph first; draining: only in old graphs. */
void wg_volumes_each(void (*each)(struct wg_volume *v, struct wg_xlator *xl, bool draining, void *arg), void *arg);

/* Looks at a volume's current graph, which stays there meanwhile. No change is made in look. */
void wg_volume_look(struct wg_volume *v, void (*look)(const struct wg_graph *g, void *arg), void *arg);

/* Old graphs that wait for calls, and changes made since the start. */
void wg_volume_counts(struct wg_volume *v, unsigned *ret_old, uint64_t *ret_changes);

#endif
