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
    WG_MSG_RECALL,       /* brick: give back what you cache; reserved */
    WG_MSG_RECALLED,     /* client: reserved */
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
};

struct wg_refuse {
    int err;
    struct wg_str text;
};

enum { WG_REQ_REPLAY = 1 }; /* an earlier instance of the brick may have executed it */

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
};

enum {
    WG_REPLY_RESULT = 1,  /* a record follows (errors can have results) */
    WG_REPLY_STALE = 2,   /* not executed: of an old epoch */
    WG_REPLY_EXPIRED = 4, /* not executed: came too late */
};

struct wg_reply {
    uint16_t op;
    uint16_t flags;
    int err;
};

/* Each writes a message's body, or its prefix, at e; e->overflow when it does not fit. */
void wg_put_hello(struct wg_enc *e, const struct wg_hello *h);
void wg_put_welcome(struct wg_enc *e, const struct wg_welcome *w);
void wg_put_refuse(struct wg_enc *e, int err, const char *text);
void wg_put_request(struct wg_enc *e, const struct wg_request *r);
void wg_put_reply(struct wg_enc *e, const struct wg_reply *r);
void wg_put_number(struct wg_enc *e, uint64_t v); /* EPOCH, EPOCH_OK */

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

/* The own fop table, after hello and welcome. */
void wg_put_fops(struct wg_enc *e);
/*
 * Compares the peer's fop table with the own one: ret[op] is true where the peer knows op.
 * EPROTO with a sentence in text when a fop both know differs in more than added fields.
 */
int wg_get_fops(struct wg_dec *d, bool ret[WG_OP_MAX], char *text, size_t size);

#endif
