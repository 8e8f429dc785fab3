/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket's commands on graphs that run. */
#ifndef WG_GRAPH_CONTROL_H
#define WG_GRAPH_CONTROL_H

struct cJSON;

/*
 * "graph", by its "action": show [volume]; set volume, name, option, value; insert volume, type, [name], [above],
 * [below], [options {}]; remove volume, name; load volume, file, text. Without volume, the only one.
 * The control socket's thread.
 */
int wg_graph_control(const struct cJSON *request, struct cJSON *answer, void *arg);

#endif
