/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What protocol/client and protocol/server say to each other (docs/wire.md): the message types,
 * and codecs of everything but the fops' own records, which fops.def makes.
 *
 * A request id is a slot and a sequence number: the low 16 bits are one of the client's slots,
 * the rest only ever grows. A slot has one request at a time, so that a request in a slot says
 * that the client has the answer of the one before it there, and the brick's reply cache is one
 * reply a slot.
 */
#ifndef WG_PROTOCOL_WIRE_H
#define WG_PROTOCOL_WIRE_H

#include "call.h"
#include "fop.h"
#include "lease.h"

#define WG_WIRE_VERSION 1
#define WG_WIRE_SLOTS_MAX 4096
#define WG_WIRE_TEXT_MAX 255        /* names, principals, addresses: longer ones are cut */

/*
 * The transport's own types (pings) are below WG_MSG_FIRST_TYPE. In every message from the brick
 * the header's `low` is the brick's monotonic clock, ns, when it was sent.
 */
enum wg_msg_type {
    WG_MSG_HELLO = 16,   /* client: who I am, what I speak */
    WG_MSG_WELCOME,      /* brick: the lane is open */
    WG_MSG_REFUSE,       /* either: why not; the lane closes */
    WG_MSG_REQUEST,
    WG_MSG_REPLY,
    WG_MSG_EPOCH,        /* client: what is older is given up */
    WG_MSG_EPOCH_OK,     /* brick: nothing older runs or will run */
    WG_MSG_RECALL,       /* brick: this changed, what you remember of it is void */
    WG_MSG_RECALLED,     /* client: forgotten */
    WG_MSG_LEASE,        /* client: I am still here, and remember answers */
    WG_MSG_LEASE_OK,     /* brick: its answer, WG_LEASE_* in the header's flags */
};

/*
 * In the header's flags of REPLY and LEASE_OK, not in the body: a reply that is kept and sent again
 * must not say them again.
 */
enum {
    WG_LEASE_RENEWED = 1, /* the client's lease runs from when it first sent this */
    WG_LEASE_LOST = 2,    /* it ran out: nothing is granted until the client has dropped everything */
    WG_LEASE_GRANTED = 4, /* this answer may be remembered while the lease runs */
};

static inline unsigned wg_id_slot(uint64_t id)
{
    return id & 0xffff;
}

enum wg_session_kind {
    WG_SESSION_CLIENT,    /* every fop but ref_read */
    WG_SESSION_PULLER,    /* another brick: ref_read and ref_peer, nothing else */
};

/* What a lane starts with. The fop table of the sender follows the fields. */
struct wg_hello {
    uint16_t version;
    uint8_t client[16];   /* random, of one client xlator in one process */
    struct wg_str name;   /* of it, for logs */
    uint8_t volume[16];   /* zero: any */
    uint8_t brick[16];
    uint64_t epoch;
    uint64_t settle;      /* finish what is of epochs below before the answer */
    uint32_t slots;       /* that it will use, 1 to WG_WIRE_SLOTS_MAX */
    uint8_t kind;         /* enum wg_session_kind */
};

struct wg_welcome {
    uint16_t version;
    uint8_t instance[16]; /* random, of one server xlator in one process */
    uint8_t volume[16];
    uint8_t brick[16];
    uint32_t lease_ms;    /* how long after a deadline an unreachable brick may still run a fop */
    uint32_t cache_ms;    /* for how long a client may believe its caches unheard; 0: never */
};

struct wg_refuse {
    int err;
    struct wg_str text;
};

enum {
    WG_REQ_REPLAY = 1, /* an earlier instance of the brick may have executed it */
    WG_REQ_LEASE = 2,  /* a reading fop whose answer the client would remember */
};

/* The prefix of a request's body; the record follows. */
struct wg_request {
    uint16_t op;
    uint16_t flags;
    uint8_t frontend;
    uint64_t epoch;
    uint64_t expires_ns;  /* by the brick's clock: a modifying fop does not begin after it */
    uint64_t request_id[2];
    struct wg_cred cred;
    struct wg_str client; /* the address behind the gateway, for logs */
    uint64_t drop;        /* how often the client has dropped what it remembered, from 1; 0: it has no caches */
};

enum {
    WG_REPLY_RESULT = 1,  /* a record follows (errors can have results) */
    WG_REPLY_STALE = 2,   /* not executed: of an old epoch */
    WG_REPLY_EXPIRED = 4, /* not executed: came too late */
    WG_REPLY_CHANGED_ALL = 8, /* it changed more things than are listed */
};

/* Things that can change (gateway/lease.h), packed: u16 count, then gfid and text of each. */
struct wg_things {
    uint16_t count;
    const uint8_t *at, *end;      /* read: in the body */
    const struct wg_use *first;   /* to write: the list */
};

struct wg_reply {
    uint16_t op;
    uint16_t flags;
    int err;
    struct wg_things uses;    /* with WG_LEASE_GRANTED: what the answer depends on */
    struct wg_things changed; /* what a modifying fop changed; nothing for clients without caches */
};

/* Each writes a message's body, or its prefix, at e; e->overflow when it does not fit. */
void wg_put_hello(struct wg_enc *e, const struct wg_hello *h);
void wg_put_welcome(struct wg_enc *e, const struct wg_welcome *w);
void wg_put_refuse(struct wg_enc *e, int err, const char *text);
void wg_put_request(struct wg_enc *e, const struct wg_request *r);
void wg_put_reply(struct wg_enc *e, const struct wg_reply *r);
void wg_put_number(struct wg_enc *e, uint64_t v); /* EPOCH, EPOCH_OK, LEASE */
/* RECALL; count 0: everything. */
void wg_put_recall(struct wg_enc *e, const struct wg_things *t);

/*
 * The counterparts: 0, or EPROTO. Texts point into the body. wg_get_request takes groups from
 * d->arena (ENOMEM); it and wg_get_reply leave d at the record.
 */
int wg_get_hello(struct wg_dec *d, struct wg_hello *ret);
int wg_get_welcome(struct wg_dec *d, struct wg_welcome *ret);
int wg_get_refuse(struct wg_dec *d, struct wg_refuse *ret);
int wg_get_request(struct wg_dec *d, struct wg_request *ret);
int wg_get_reply(struct wg_dec *d, struct wg_reply *ret);
int wg_get_number(struct wg_dec *d, uint64_t *ret);
int wg_get_recall(struct wg_dec *d, struct wg_things *ret);
/* The next of the things that were read, which takes it off; false at the end. name points into the body. */
bool wg_next_thing(struct wg_things *t, wg_gfid *gfid, struct wg_str *name);

/* The own fop table, after hello and welcome. */
void wg_put_fops(struct wg_enc *e);
/*
 * Compares the peer's fop table with the own one: ret[op] is true where the peer knows op.
 * EPROTO with a sentence in text when a fop both know differs in more than added fields.
 */
int wg_get_fops(struct wg_dec *d, bool ret[WG_OP_MAX], char *text, size_t size);

#endif
