/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request that came through another gateway before: its NFS client sent it again, to the gateway that is started
 * after one was killed, and the brick has not noticed yet that the first is gone (orphans.h takes over then), or still
 * executes what it sent. Looked for while a client is new.
 */
#ifndef WG_SERVER_EARLIER_H
#define WG_SERVER_EARLIER_H

#include "xlators/protocol/server/server.h"

enum wg_earlier {
    WG_EARLIER_NONE,
    WG_EARLIER_DONE, /* *ret has its answer */
    WG_EARLIER_RUNS, /* the parked one is handed out by wg_earlier_ended, perhaps before this returns */
};

/*
 * A modifying request of that id on l, whose own entry runs. With WG_EARLIER_RUNS it counts as one that began
 * (wg_session_began), and p belongs to the list; otherwise p is not used.
 */
enum wg_earlier wg_earlier_find(struct wg_server_lane *l, unsigned op, const uint64_t id[2],
                                struct wg_parked *p, struct wg_found *ret);
/* The request of that id has its answer, and its entry is done: those that wait for it, to be answered alike. */
struct wg_parked *wg_earlier_ended(struct wg_server *v, const uint64_t id[2]);

#endif
