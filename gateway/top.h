/* SPDX-License-Identifier: Apache-2.0 */
/* The slowest requests of this moment, and who holds each: made from a dump's tree. */
#ifndef WG_TOP_H
#define WG_TOP_H

struct cJSON;
struct wg_graph;

/*
 * Adds to answer "live" (requests under way) and "requests": the oldest max of them, each with id, age,
 * door, operation, client, user, what it is about, and "held_by": the deepest frame that has not
 * ended (its translator, fop, how long), with the brick's state when that is a connection to
 * one; else what its coroutine waits for, or the client. Calls that are parts of one request (S3's) count as
 * that request. 0, or ENOMEM.
 */
int wg_top(struct wg_graph *graph, unsigned max, struct cJSON *answer);

#endif
