/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The frames of a lane, apart from any socket: header codec, and a parser that is told where
 * received bytes went and says where the next ones should go, so that a payload is read straight
 * into its iobuf. One thread at a time.
 */
#ifndef WG_FRAME_H
#define WG_FRAME_H

#include "transport.h"

#define WG_FRAME_MAGIC 0x31544757u /* "WGT1" */
#define WG_FRAME_PIECES 0x8000     /* flag: the payload follows in frames of type PIECE */
#define WG_FRAME_PIECE_MAX (256u << 10)

/* The transport's own types. */
enum {
    WG_FRAME_PIECE = 1,   /* payload_len bytes of the open message with this id */
    WG_FRAME_PING = 2,
    WG_FRAME_PONG = 3,
    WG_FRAME_WELCOME = 4, /* the server's first: it has accepted the client's certificate */
};

/* buf: WG_MSG_HEADER bytes. */
void wg_frame_encode(uint8_t *buf, const struct wg_msg_hdr *h);
/*
 * Reads and checks a header against the limits. 0; EPROTO: no frame of ours; EPROTONOSUPPORT: another
 * version; EMSGSIZE: longer than allowed.
 */
int wg_frame_decode(const uint8_t *buf, uint32_t body_max, uint32_t payload_max, struct wg_msg_hdr *ret);

#define WG_STAGE (48u << 10) /* bytes of small data read ahead */

struct wg_stage {
    uint32_t at, len;
    uint8_t bytes[WG_STAGE];
};

struct wg_parser {
    uint32_t body_max, payload_max;
    struct wg_stage *stage;
    enum { P_HEADER, P_BODY, P_PAYLOAD } state;
    struct wg_msg_hdr hdr;     /* of the frame being read */
    uint8_t *body;             /* a body too large for the stage is read here */
    uint32_t body_cap, body_got;
    bool body_apart;
    uint32_t body_at;          /* else: where in the stage it begins; nothing moves there until it is delivered */
    struct wg_iobuf *payload;
    uint32_t payload_at;       /* where in the iobuf the next byte goes */
    uint32_t frame_left;       /* payload bytes of this frame still to come */
    struct {                   /* the message whose payload comes in pieces */
        bool active;
        struct wg_msg_hdr hdr;
        uint8_t *body;
        uint32_t body_cap;
        struct wg_iobuf *payload;
        uint32_t got;
    } open;
};

/* A complete frame. body points into the parser until the next call. payload: the caller's reference. */
struct wg_parsed {
    struct wg_msg_hdr hdr;
    const uint8_t *body;
    struct wg_iobuf *payload;
};

/* 0 or ENOMEM. */
int wg_parser_init(struct wg_parser *p, uint32_t body_max, uint32_t payload_max);
void wg_parser_fini(struct wg_parser *p);
/* Where the next bytes go: *ret_size is never 0 after wg_parser_next answered 0. True: straight into a payload. */
bool wg_parser_room(struct wg_parser *p, uint8_t **ret_dst, uint32_t *ret_size);
/* size bytes were put there. */
void wg_parser_put(struct wg_parser *p, uint32_t size);
/* 1: *ret is a frame; 0: more bytes are needed; else a negative errno, and the parser is of no more use. */
int wg_parser_next(struct wg_parser *p, struct wg_parsed *ret);
/*
 * Lets go of the memory that the last frame's body is in, as *ret_stage and *ret_body (free both), and goes on in
 * fresh, which becomes the parser's.
 */
void wg_parser_split(struct wg_parser *p, struct wg_stage *fresh, struct wg_stage **ret_stage,
                     uint8_t **ret_body);

#endif
