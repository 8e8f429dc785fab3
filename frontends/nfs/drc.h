/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The duplicate request cache: a client that got no answer (a lost connection) sends a request
 * again, with the same xid. Executing it again would do harm (a second REMOVE finds nothing; an
 * old WRITE lands on newer data), so a retransmission waits for the first execution, or gets its
 * reply again. Per client (address) a ring of replies; rings of clients not seen for long are
 * given up when there are too many. Any thread; a lock per client.
 */
#ifndef WG_NFS_DRC_H
#define WG_NFS_DRC_H

#include "rpc.h"

struct drc_entry;
struct drc_client;

/* What a request keeps of the cache. */
struct drc_ticket {
    struct drc_client *client; /* NULL: not in the cache */
    struct drc_entry *entry;
};

enum drc_verdict {
    DRC_NEW,    /* execute it, then drc_end */
    DRC_REPLAY, /* the reply is in *reply already (results only): send it */
    DRC_WAITS,  /* it will be given to drc_end's caller; it is not touched here any more */
    DRC_OTHERS, /* somebody else's request has this id: the caller makes another one */
};

/* Sets how many replies are kept for a client; for clients seen from then on. */
void drc_size(unsigned entries);

/*
 * id: 16 bytes that name the request (client's address, xid, procedure, arguments). Who sends again over another
 * connection has given up the first; while that is in use, the two are programs that count alike (DRC_OTHERS).
 */
enum drc_verdict drc_begin(struct drc_ticket *t, struct wg_rpc *r, const uint8_t id[16]);
/*
 * The request has been executed: len bytes of results for those that ask again; NULL: nobody
 * shall get them (the client will ask anew, JUKEBOX say). Returns the requests that waited,
 * linked by next; the caller answers them with the same results, or drops them.
 */
struct wg_rpc *drc_end(struct drc_ticket *t, const uint8_t *results, uint32_t len);
/* The connection's client has all its replies: forget those that went there. */
void drc_forget(const struct wg_rpc_peer *peer);
void drc_dump(struct wg_dump *d);
/* At the stop, when no request is under way. */
void drc_free(void);

#endif
