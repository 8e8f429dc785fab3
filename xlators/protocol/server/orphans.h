/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers whose client went away. A gateway that is killed takes its own memory of requests with
 * it; the NFS client sends them again to the one that is started in its place, which gives them
 * the same request ids. So when a client has lost its last lane, the answers that its slots still hold (those
 * that may not have arrived are among them) are kept here by request id, for some minutes,
 * and a request with that id is answered and not executed: the second REMOVE would find nothing.
 *
 * Only namespace fops and setattr that succeeded: the others do no harm when executed again.
 */
#ifndef WG_SERVER_ORPHANS_H
#define WG_SERVER_ORPHANS_H

#include "xlators/protocol/server/replycache.h"

#define WG_ORPHANS_SETS 512
#define WG_ORPHANS_WAYS 8
#define WG_ORPHANS_KEEP_NS (300 * 1000000000ull)

struct wg_orphan {
    uint64_t id[2];
    uint64_t since_ns;
    uint16_t len;
    uint8_t reply[WG_REPLY_KEPT];
};

struct wg_orphans {
    pthread_mutex_t lock; /* a leaf */
    _Atomic unsigned n;   /* 0: find need not look */
    struct wg_orphan *set[WG_ORPHANS_SETS]; /* WG_ORPHANS_WAYS each, made when needed */
};

void wg_orphans_init(struct wg_orphans *o);
void wg_orphans_fini(struct wg_orphans *o);
/* Takes what the entries of c that are done hold. Twice is no harm. */
void wg_orphans_take(struct wg_orphans *o, struct wg_replycache *c, uint64_t now_ns);
/* Whether the answers of such a fop are kept; the answer of that entry, whose lock is held. */
bool wg_orphans_keeps_op(unsigned op);
bool wg_orphans_keeps(const struct wg_entry *e);
/* The answer that the request of that id had, into ret->reply and ret->len. */
bool wg_orphans_find(struct wg_orphans *o, const uint64_t id[2], uint64_t now_ns,
                     struct wg_found *ret);

#endif
