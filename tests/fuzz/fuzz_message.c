/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libFuzzer: any bytes as the messages between gateway and brick. What decodes must encode, and
 * decode to the same again; what is listed in it must be readable to its end.
 *
 * Input: u8 kind (0 request, 1 reply, 2 hello, 3 welcome, 4 refuse, 5 number), u16 body length, body, payload.
 */
#include <stdio.h>
#include <stdlib.h>

#include "iobuf.h"
#include "list.h"
#include "xlators/protocol/server/server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void walk(const struct wg_list *l)
{
    struct wg_cursor c = wg_cursor(l);
    struct wg_dirent dirent;
    struct wg_objent objent;
    struct wg_xattr xattr;

    while (wg_next_dirent(&c, &dirent))
        ;
    c = wg_cursor(l);
    while (wg_next_objent(&c, &objent))
        ;
    c = wg_cursor(l);
    while (wg_next_xattr(&c, &xattr))
        ;
}

static void walk_lists(unsigned op, const void *out)
{
    if (op == WG_OP_readdir)
        walk(&((const struct wg_readdir_out *)out)->entries);
    else if (op == WG_OP_getxattr)
        walk(&((const struct wg_getxattr_out *)out)->xattrs);
    else if (op == WG_OP_list)
        walk(&((const struct wg_list_out *)out)->entries);
}

static uint32_t encode(unsigned op, bool out, const void *rec, uint8_t *body, size_t size)
{
    struct wg_enc e = { .at = body, .end = body + size };

    wg_put_record(&e, op, out, rec);
    return e.overflow ? 0 : (uint32_t)(e.at - body);
}

/* d stands at a record of op. */
static void record(struct wg_dec *d, unsigned op, bool out)
{
    static uint8_t first[1 << 17], second[1 << 17];
    const uint8_t *payload = d->pat, *payload_end = d->pend;
    char text[512];
    uint32_t len;
    struct wg_dec again;
    void *rec = NULL;

    if (op >= WG_OP_MAX || !wg_fops[op].kind || wg_get_record(d, op, out, &rec))
        return;
    wg_show_record(op, out, rec, text, sizeof text);
    if (out)
        walk_lists(op, rec);
    else
        (void)wg_check_in(op, rec);
    len = encode(op, out, rec, first, sizeof first);
    if (!len)
        return;
    again = (struct wg_dec){ .at = first, .end = first + len, .arena = d->arena, .payload = d->payload,
                             .pat = payload, .pend = payload_end };
    if (wg_get_record(&again, op, out, &rec) || encode(op, out, rec, second, sizeof second) != len ||
        memcmp(first, second, len))
        abort();
}

/* What was read from d's section, written and read again, must be written the same. */
struct message {
    struct wg_request request;
    struct wg_welcome welcome;
    struct wg_refuse refuse;
    struct wg_hello hello;
    struct wg_reply reply;
    uint64_t number;
};

/* What was read of a list stands in the body; to write it, it is a chain. Each name is readable to its end. */
static void chain(struct wg_things *t, struct wg_arena *arena)
{
    struct wg_things left = *t;
    const struct wg_use **next = &t->first;
    struct wg_str name;
    wg_gfid gfid;

    while (wg_next_thing(&left, &gfid, &name)) {
        struct wg_use *u = wg_alloc(arena, sizeof *u);

        if (!u)
            abort();
        *u = (struct wg_use){ .gfid = gfid, .name = name };
        *next = u;
        next = &u->next;
    }
}

static int get_reply(struct wg_dec *d, struct wg_reply *reply)
{
    int err = wg_get_reply(d, reply);

    if (!err) {
        chain(&reply->uses, d->arena);
        chain(&reply->changed, d->arena);
    }
    return err;
}

static int get(unsigned kind, struct wg_dec *d, struct message *m)
{
    switch (kind) {
    case 0:  return wg_get_request(d, &m->request);
    case 1:  return get_reply(d, &m->reply);
    case 2:  return wg_get_hello(d, &m->hello);
    case 3:  return wg_get_welcome(d, &m->welcome);
    case 4:  return wg_get_refuse(d, &m->refuse);
    default: return wg_get_number(d, &m->number);
    }
}

static uint32_t put(unsigned kind, const struct message *m, uint8_t *to, size_t size)
{
    struct wg_enc e = { .at = to, .end = to + size };
    char text[300];

    switch (kind) {
    case 0:  wg_put_request(&e, &m->request); break;
    case 1:  wg_put_reply(&e, &m->reply); break;
    case 2:  wg_put_hello(&e, &m->hello); break;
    case 3:  wg_put_welcome(&e, &m->welcome); break;
    case 4:
        snprintf(text, sizeof text, "%.*s", (int)m->refuse.text.len, m->refuse.text.s ? m->refuse.text.s : "");
        wg_put_refuse(&e, m->refuse.err, text);
        break;
    default: wg_put_number(&e, m->number); break;
    }
    return e.overflow ? 0 : (uint32_t)(e.at - to);
}

static void round_trip(unsigned kind, const struct message *m, struct wg_arena *arena)
{
    static uint8_t first[4096], second[4096];
    uint32_t len = put(kind, m, first, sizeof first);
    struct wg_dec d = { .at = first, .end = first + len, .arena = arena };
    struct message again = { 0 };

    if (len == 0)
        return; /* more than fits: a list of changes, say */
    if (get(kind, &d, &again) || d.at != d.end || put(kind, &again, second, sizeof second) != len ||
        memcmp(first, second, len))
        abort();
    if (len > 20 && put(kind, m, first, len / 2))
        abort(); /* there is no room for it */
}

/* The own table of fops is one that we agree with. */
static void own_fops(void)
{
    static uint8_t bytes[1 << 16];
    struct wg_enc e = { .at = bytes, .end = bytes + sizeof bytes };
    struct wg_dec d = { .at = bytes };
    bool known[WG_OP_MAX];
    char text[160];

    wg_put_fops(&e);
    d.end = e.at;
    if (e.overflow || wg_get_fops(&d, known, text, sizeof text))
        abort();
    for (unsigned op = 0; op < WG_OP_MAX; op++)
        if (known[op] != (wg_fops[op].kind != 0))
            abort();
}

static void message(unsigned kind, struct wg_dec *d)
{
    static bool once;
    bool known[WG_OP_MAX];
    struct message m = { 0 };
    char text[160];

    if (!once)
        own_fops();
    once = true;
    if (get(kind, d, &m))
        return;
    round_trip(kind, &m, d->arena);
    if (kind == 0)
        record(d, m.request.op, false);
    else if (kind == 1)
        record(d, m.reply.op, true);
    else if (kind == 2 || kind == 3)
        wg_get_fops(d, known, text, sizeof text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint32_t body_len, payload_len;
    struct wg_iobuf payload;
    struct wg_arena arena;
    uint8_t *body, *bytes;
    struct wg_dec d;

    if (size < 3)
        return 0;
    body_len = data[1] | (uint32_t)data[2] << 8;
    if (body_len > size - 3)
        body_len = (uint32_t)(size - 3);
    payload_len = (uint32_t)(size - 3 - body_len);
    /* Copies of their exact sizes, so that a step beyond is seen. */
    body = malloc(body_len ? body_len : 1);
    bytes = malloc(payload_len ? payload_len : 1);
    if (!body || !bytes)
        abort();
    memcpy(body, data + 3, body_len);
    memcpy(bytes, data + 3 + body_len, payload_len);
    wg_iobuf_wrap(&payload, bytes, payload_len, NULL, NULL);
    wg_arena_init(&arena, NULL, 0);
    d = (struct wg_dec){ .at = body, .end = body + body_len, .arena = &arena, .payload = &payload,
                         .pat = bytes, .pend = bytes + payload_len };
    message(data[0] % 6, &d);
    wg_arena_fini(&arena);
    free(body);
    free(bytes);
    return 0;
}
