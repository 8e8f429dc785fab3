/* SPDX-License-Identifier: Apache-2.0 */
#include "frame.h"

#include <errno.h>
#include <stdlib.h>

static void put16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static void put32(uint8_t *p, uint32_t v)
{
    put16(p, (uint16_t)v);
    put16(p + 2, (uint16_t)(v >> 16));
}

static void put64(uint8_t *p, uint64_t v)
{
    put32(p, (uint32_t)v);
    put32(p + 4, (uint32_t)(v >> 32));
}

static uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t get32(const uint8_t *p)
{
    return get16(p) | (uint32_t)get16(p + 2) << 16;
}

static uint64_t get64(const uint8_t *p)
{
    return get32(p) | (uint64_t)get32(p + 4) << 32;
}

void wg_frame_encode(uint8_t *buf, const struct wg_msg_hdr *h)
{
    put32(buf, WG_FRAME_MAGIC);
    buf[4] = WG_MSG_VERSION;
    buf[5] = h->type;
    put16(buf + 6, h->flags);
    put64(buf + 8, h->id);
    put64(buf + 16, h->low);
    put32(buf + 24, h->body_len);
    put32(buf + 28, h->payload_len);
}

int wg_frame_decode(const uint8_t *buf, uint32_t body_max, uint32_t payload_max, struct wg_msg_hdr *ret)
{
    struct wg_msg_hdr h = {
        .type = buf[5],
        .flags = get16(buf + 6),
        .id = get64(buf + 8),
        .low = get64(buf + 16),
        .body_len = get32(buf + 24),
        .payload_len = get32(buf + 28),
    };

    if (get32(buf) != WG_FRAME_MAGIC)
        return EPROTO;
    if (buf[4] != WG_MSG_VERSION)
        return EPROTONOSUPPORT;
    if (h.body_len > body_max || h.payload_len > payload_max)
        return EMSGSIZE;
    *ret = h;
    if (h.type >= WG_MSG_FIRST_TYPE) {
        if (h.flags & ~(WG_MSG_FLAGS | WG_FRAME_PIECES))
            return EPROTO;
        return (h.flags & WG_FRAME_PIECES) && h.payload_len == 0 ? EPROTO : 0;
    }
    if (h.flags != 0 || h.body_len != 0)
        return EPROTO;
    if (h.type == WG_FRAME_PIECE)
        return h.payload_len == 0 || h.payload_len > WG_FRAME_PIECE_MAX ? EPROTO : 0;
    if (h.payload_len != 0 || h.type < WG_FRAME_PIECE || h.type > WG_FRAME_WELCOME)
        return EPROTO;
    return 0;
}

int wg_parser_init(struct wg_parser *p, uint32_t body_max, uint32_t payload_max)
{
    *p = (struct wg_parser){ .body_max = body_max, .payload_max = payload_max };
    p->stage = malloc(sizeof *p->stage);
    if (!p->stage)
        return ENOMEM;
    p->stage->at = p->stage->len = 0;
    return 0;
}

void wg_parser_fini(struct wg_parser *p)
{
    free(p->stage);
    free(p->body);
    free(p->open.body);
    wg_iobuf_unref(p->payload);
    wg_iobuf_unref(p->open.payload);
    *p = (struct wg_parser){ 0 };
}

static uint32_t staged(const struct wg_parser *p)
{
    return p->stage->len - p->stage->at;
}

/* A body is read apart when it might not fit in the stage with a record behind it. */
static bool body_is_apart(const struct wg_msg_hdr *h)
{
    return h->body_len > WG_STAGE / 2;
}

static int body_reserve(uint8_t **body, uint32_t *cap, uint32_t need)
{
    uint8_t *n;

    if (need <= *cap)
        return 0;
    n = realloc(*body, need);
    if (!n)
        return ENOMEM;
    *body = n;
    *cap = need;
    return 0;
}

bool wg_parser_room(struct wg_parser *p, uint8_t **ret_dst, uint32_t *ret_size)
{
    struct wg_stage *s = p->stage;

    if (p->state == P_PAYLOAD) {
        struct wg_iobuf *to = p->hdr.type == WG_FRAME_PIECE ? p->open.payload : p->payload;

        *ret_dst = (uint8_t *)to->base + p->payload_at;
        *ret_size = p->frame_left;
        return true;
    }
    if (p->state == P_BODY && p->body_apart) {
        *ret_dst = p->body + p->body_got;
        *ret_size = p->hdr.body_len - p->body_got;
        return false;
    }
    if (s->at == s->len)
        s->at = s->len = 0;
    else if (WG_STAGE - s->len < WG_STAGE / 2) {
        memmove(s->bytes, s->bytes + s->at, s->len - s->at);
        s->len -= s->at;
        s->at = 0;
    }
    *ret_dst = s->bytes + s->len;
    *ret_size = WG_STAGE - s->len;
    return false;
}

void wg_parser_put(struct wg_parser *p, uint32_t size)
{
    if (p->state == P_PAYLOAD) {
        p->payload_at += size;
        p->frame_left -= size;
    } else if (p->state == P_BODY && p->body_apart) {
        p->body_got += size;
    } else {
        p->stage->len += size;
    }
}

/* A piece continues the open message and stays within its announced length. */
static int piece_begin(struct wg_parser *p)
{
    if (!p->open.active || p->hdr.id != p->open.hdr.id ||
        p->hdr.payload_len > p->open.hdr.payload_len - p->open.got)
        return EPROTO;
    p->payload_at = p->open.got;
    p->frame_left = p->hdr.payload_len;
    p->state = P_PAYLOAD;
    return 0;
}

static int header_next(struct wg_parser *p)
{
    int err = wg_frame_decode(p->stage->bytes + p->stage->at, p->body_max, p->payload_max, &p->hdr);

    if (err)
        return err;
    p->stage->at += WG_MSG_HEADER;
    if (p->hdr.type == WG_FRAME_PIECE)
        return piece_begin(p);
    if ((p->hdr.flags & WG_FRAME_PIECES) && p->open.active)
        return EPROTO;
    p->body_got = 0;
    p->body_apart = body_is_apart(&p->hdr);
    if (p->body_apart && body_reserve(&p->body, &p->body_cap, p->hdr.body_len))
        return ENOMEM;
    p->state = P_BODY;
    return 0;
}

/* True when the whole body is there. */
static bool body_ready(struct wg_parser *p)
{
    uint32_t n;

    if (!p->body_apart)
        return staged(p) >= p->hdr.body_len;
    n = p->hdr.body_len - p->body_got;
    if (n > staged(p))
        n = staged(p);
    memcpy(p->body + p->body_got, p->stage->bytes + p->stage->at, n);
    p->body_got += n;
    p->stage->at += n;
    return p->body_got == p->hdr.body_len;
}

/* The body is copied, since small messages pass before this one ends. */
static int open_begin(struct wg_parser *p, const uint8_t *body)
{
    int err = body_reserve(&p->open.body, &p->open.body_cap, p->hdr.body_len);

    if (err)
        return err;
    if (p->hdr.body_len)
        memcpy(p->open.body, body, p->hdr.body_len);
    p->open.payload = wg_iobuf_get(p->hdr.payload_len);
    if (!p->open.payload)
        return ENOMEM;
    p->open.hdr = p->hdr;
    p->open.hdr.flags &= WG_MSG_FLAGS;
    p->open.got = 0;
    p->open.active = true;
    p->state = P_HEADER;
    return 0;
}

static const uint8_t *frame_body(const struct wg_parser *p)
{
    return p->body_apart ? p->body : p->stage->bytes + p->body_at;
}

static int body_next(struct wg_parser *p, struct wg_parsed *ret)
{
    p->body_at = p->stage->at;
    if (!p->body_apart)
        p->stage->at += p->hdr.body_len;
    if (p->hdr.flags & WG_FRAME_PIECES)
        return -open_begin(p, frame_body(p));
    if (p->hdr.payload_len == 0) {
        *ret = (struct wg_parsed){ .hdr = p->hdr, .body = frame_body(p) };
        p->state = P_HEADER;
        return 1;
    }
    p->payload = wg_iobuf_get(p->hdr.payload_len);
    if (!p->payload)
        return -ENOMEM;
    p->payload_at = 0;
    p->frame_left = p->hdr.payload_len;
    p->state = P_PAYLOAD;
    return 0;
}

/* Moves what the stage has of the payload. */
static void payload_unstage(struct wg_parser *p)
{
    struct wg_iobuf *to = p->hdr.type == WG_FRAME_PIECE ? p->open.payload : p->payload;
    uint32_t n = staged(p) < p->frame_left ? staged(p) : p->frame_left;

    memcpy((uint8_t *)to->base + p->payload_at, p->stage->bytes + p->stage->at, n);
    p->stage->at += n;
    p->payload_at += n;
    p->frame_left -= n;
}

static bool payload_next(struct wg_parser *p, struct wg_parsed *ret)
{
    p->state = P_HEADER;
    if (p->hdr.type != WG_FRAME_PIECE) {
        *ret = (struct wg_parsed){ p->hdr, frame_body(p), p->payload };
        p->payload = NULL;
        return true;
    }
    p->open.got = p->payload_at;
    if (p->open.got < p->open.hdr.payload_len)
        return false;
    *ret = (struct wg_parsed){ p->open.hdr, p->open.body, p->open.payload };
    p->open.payload = NULL;
    p->open.active = false;
    return true;
}

int wg_parser_next(struct wg_parser *p, struct wg_parsed *ret)
{
    for (;;) {
        int r;

        switch (p->state) {
        case P_HEADER:
            if (staged(p) < WG_MSG_HEADER)
                return 0;
            r = header_next(p);
            if (r)
                return -r;
            break;
        case P_BODY:
            if (!body_ready(p))
                return 0;
            r = body_next(p, ret);
            if (r)
                return r;
            break;
        case P_PAYLOAD:
            payload_unstage(p);
            if (p->frame_left)
                return 0;
            if (payload_next(p, ret))
                return 1;
            break;
        }
    }
}

void wg_parser_split(struct wg_parser *p, struct wg_stage *fresh, struct wg_stage **ret_stage,
                     uint8_t **ret_body)
{
    fresh->at = 0;
    fresh->len = staged(p);
    memcpy(fresh->bytes, p->stage->bytes + p->stage->at, fresh->len);
    *ret_stage = p->stage;
    p->stage = fresh;
    /* Between two frames (the only time of a callback) at most one of these holds the last body. */
    if (p->hdr.type == WG_FRAME_PIECE) {
        *ret_body = p->open.body;
        p->open.body = NULL;
        p->open.body_cap = 0;
    } else {
        *ret_body = p->body;
        p->body = NULL;
        p->body_cap = 0;
    }
}
