/* SPDX-License-Identifier: Apache-2.0 */
#include "xlators/protocol/wire.h"

#include <endian.h>
#include <stdio.h>

static void put(struct wg_enc *e, const void *p, size_t len)
{
    if ((size_t)(e->end - e->at) < len) {
        e->overflow = true;
        e->at = e->end;
        return;
    }
    if (len)
        memcpy(e->at, p, len);
    e->at += len;
}

static void put8(struct wg_enc *e, uint8_t v)
{
    put(e, &v, sizeof v);
}

static void put16(struct wg_enc *e, uint16_t v)
{
    v = htole16(v);
    put(e, &v, sizeof v);
}

static void put32(struct wg_enc *e, uint32_t v)
{
    v = htole32(v);
    put(e, &v, sizeof v);
}

static void put64(struct wg_enc *e, uint64_t v)
{
    v = htole64(v);
    put(e, &v, sizeof v);
}

static void put_text(struct wg_enc *e, struct wg_str s)
{
    uint8_t len = s.len > WG_WIRE_TEXT_MAX ? WG_WIRE_TEXT_MAX : (uint8_t)s.len;

    put8(e, len);
    put(e, s.s, len);
}

/* Past the end a get gives zeros: fields that an older peer does not send. */
static void get(struct wg_dec *d, void *p, size_t len)
{
    if ((size_t)(d->end - d->at) < len) {
        memset(p, 0, len);
        d->at = d->end;
        return;
    }
    memcpy(p, d->at, len);
    d->at += len;
}

static uint8_t get8(struct wg_dec *d)
{
    uint8_t v;

    get(d, &v, sizeof v);
    return v;
}

static uint16_t get16(struct wg_dec *d)
{
    uint16_t v;

    get(d, &v, sizeof v);
    return le16toh(v);
}

static uint32_t get32(struct wg_dec *d)
{
    uint32_t v;

    get(d, &v, sizeof v);
    return le32toh(v);
}

static uint64_t get64(struct wg_dec *d)
{
    uint64_t v;

    get(d, &v, sizeof v);
    return le64toh(v);
}

static struct wg_str get_text(struct wg_dec *d)
{
    struct wg_str s = { .len = get8(d) };

    if ((size_t)(d->end - d->at) < s.len) {
        d->bad = true;
        return (struct wg_str){ 0 };
    }
    s.s = s.len ? (const char *)d->at : NULL;
    d->at += s.len;
    return s;
}

/*
 * A section is a length and its fields: readers skip the tail that they do not know. open
 * returns where the length goes; enter narrows d to the section and returns where it ends.
 */
static uint8_t *open_section(struct wg_enc *e)
{
    uint8_t *at = e->at;

    put32(e, 0);
    return at;
}

static void close_section(struct wg_enc *e, uint8_t *at)
{
    uint32_t len;

    if (e->overflow)
        return;
    len = htole32((uint32_t)(e->at - at - 4));
    memcpy(at, &len, sizeof len);
}

static const uint8_t *enter_section(struct wg_dec *d)
{
    const uint8_t *outer = d->end;
    uint32_t len;

    if (d->end - d->at < 4) {
        d->bad = true;
        d->at = d->end;
        return outer;
    }
    len = get32(d);
    if ((size_t)(d->end - d->at) < len) {
        d->bad = true;
        len = (uint32_t)(d->end - d->at);
    }
    d->end = d->at + len;
    return outer;
}

static int leave_section(struct wg_dec *d, const uint8_t *outer)
{
    d->at = d->end;
    d->end = outer;
    return d->bad ? EPROTO : 0;
}

void wg_put_hello(struct wg_enc *e, const struct wg_hello *h)
{
    uint8_t *s = open_section(e);

    put16(e, h->version);
    put(e, h->client, sizeof h->client);
    put_text(e, h->name);
    put(e, h->volume, sizeof h->volume);
    put(e, h->brick, sizeof h->brick);
    put64(e, h->epoch);
    put64(e, h->settle);
    put32(e, h->slots);
    put8(e, h->kind);
    close_section(e, s);
}

int wg_get_hello(struct wg_dec *d, struct wg_hello *ret)
{
    const uint8_t *outer = enter_section(d);

    ret->version = get16(d);
    get(d, ret->client, sizeof ret->client);
    ret->name = get_text(d);
    get(d, ret->volume, sizeof ret->volume);
    get(d, ret->brick, sizeof ret->brick);
    ret->epoch = get64(d);
    ret->settle = get64(d);
    ret->slots = get32(d);
    ret->kind = get8(d);
    return leave_section(d, outer);
}

void wg_put_welcome(struct wg_enc *e, const struct wg_welcome *w)
{
    uint8_t *s = open_section(e);

    put16(e, w->version);
    put(e, w->instance, sizeof w->instance);
    put(e, w->volume, sizeof w->volume);
    put(e, w->brick, sizeof w->brick);
    put32(e, w->lease_ms);
    put32(e, w->cache_ms);
    close_section(e, s);
}

int wg_get_welcome(struct wg_dec *d, struct wg_welcome *ret)
{
    const uint8_t *outer = enter_section(d);

    ret->version = get16(d);
    get(d, ret->instance, sizeof ret->instance);
    get(d, ret->volume, sizeof ret->volume);
    get(d, ret->brick, sizeof ret->brick);
    ret->lease_ms = get32(d);
    ret->cache_ms = get32(d);
    return leave_section(d, outer);
}

void wg_put_refuse(struct wg_enc *e, int err, const char *text)
{
    uint8_t *s = open_section(e);

    put16(e, wg_error_to_wire(err));
    put_text(e, wg_str_of(text));
    close_section(e, s);
}

int wg_get_refuse(struct wg_dec *d, struct wg_refuse *ret)
{
    const uint8_t *outer = enter_section(d);

    ret->err = wg_error_from_wire(get16(d));
    ret->text = get_text(d);
    return leave_section(d, outer);
}

void wg_put_request(struct wg_enc *e, const struct wg_request *r)
{
    uint8_t *s = open_section(e);
    uint32_t n = r->cred.ngroups > WG_NGROUPS_MAX ? WG_NGROUPS_MAX : r->cred.ngroups;

    put16(e, r->op);
    put16(e, r->flags);
    put8(e, r->frontend);
    put64(e, r->epoch);
    put64(e, r->expires_ns);
    put64(e, r->request_id[0]);
    put64(e, r->request_id[1]);
    put32(e, r->cred.uid);
    put32(e, r->cred.gid);
    put8(e, (uint8_t)n);
    for (uint32_t i = 0; i < n; i++)
        put32(e, r->cred.groups[i]);
    put_text(e, r->cred.principal);
    put_text(e, r->client);
    if (r->drop)
        put64(e, r->drop);
    close_section(e, s);
}

static int get_groups(struct wg_dec *d, struct wg_cred *cred)
{
    uint32_t *groups;

    cred->ngroups = get8(d);
    cred->groups = NULL;
    if (!cred->ngroups)
        return 0;
    if (cred->ngroups > WG_NGROUPS_MAX || (size_t)(d->end - d->at) < cred->ngroups * 4u)
        return EPROTO;
    groups = wg_alloc(d->arena, cred->ngroups * sizeof *groups);
    if (!groups)
        return ENOMEM;
    for (uint32_t i = 0; i < cred->ngroups; i++)
        groups[i] = get32(d);
    cred->groups = groups;
    return 0;
}

int wg_get_request(struct wg_dec *d, struct wg_request *ret)
{
    const uint8_t *outer = enter_section(d);
    int err;

    ret->op = get16(d);
    ret->flags = get16(d);
    ret->frontend = get8(d);
    ret->epoch = get64(d);
    ret->expires_ns = get64(d);
    ret->request_id[0] = get64(d);
    ret->request_id[1] = get64(d);
    ret->cred.uid = get32(d);
    ret->cred.gid = get32(d);
    err = get_groups(d, &ret->cred);
    if (err)
        return err;
    ret->cred.principal = get_text(d);
    ret->client = get_text(d);
    ret->drop = get64(d);
    return leave_section(d, outer);
}

static void put_things(struct wg_enc *e, const struct wg_things *t)
{
    const struct wg_use *u = t->first;

    put16(e, t->count);
    for (unsigned i = 0; i < t->count && u; i++, u = u->next) {
        put(e, u->gfid.b, sizeof u->gfid.b);
        put_text(e, u->name);
    }
}

/* Skips over the list, which is checked by that. */
static void get_things(struct wg_dec *d, struct wg_things *ret)
{
    *ret = (struct wg_things){ .count = get16(d), .at = d->at };
    for (unsigned i = 0; i < ret->count && !d->bad; i++) {
        if ((size_t)(d->end - d->at) < sizeof(wg_gfid) + 1)
            d->bad = true;
        else
            d->at += sizeof(wg_gfid);
        (void)get_text(d);
    }
    ret->end = d->at;
}

bool wg_next_thing(struct wg_things *t, wg_gfid *gfid, struct wg_str *name)
{
    struct wg_dec d = { .at = t->at, .end = t->end };

    if (t->count == 0)
        return false;
    get(&d, gfid->b, sizeof gfid->b);
    *name = get_text(&d);
    t->at = d.at;
    t->count--;
    return true;
}

void wg_put_reply(struct wg_enc *e, const struct wg_reply *r)
{
    uint8_t *s = open_section(e);

    put16(e, r->op);
    put16(e, r->flags);
    put16(e, wg_error_to_wire(r->err));
    if (r->uses.count || r->changed.count) {
        put_things(e, &r->uses);
        put_things(e, &r->changed);
    }
    close_section(e, s);
}

int wg_get_reply(struct wg_dec *d, struct wg_reply *ret)
{
    const uint8_t *outer = enter_section(d);
    uint16_t wire;

    ret->op = get16(d);
    ret->flags = get16(d);
    wire = get16(d);
    ret->err = wire ? wg_error_from_wire(wire) : 0;
    get_things(d, &ret->uses);
    get_things(d, &ret->changed);
    return leave_section(d, outer);
}

void wg_put_number(struct wg_enc *e, uint64_t v)
{
    uint8_t *s = open_section(e);

    put64(e, v);
    close_section(e, s);
}

int wg_get_number(struct wg_dec *d, uint64_t *ret)
{
    const uint8_t *outer = enter_section(d);

    *ret = get64(d);
    return leave_section(d, outer);
}

void wg_put_recall(struct wg_enc *e, const struct wg_things *t)
{
    uint8_t *s = open_section(e);

    put_things(e, t);
    close_section(e, s);
}

int wg_get_recall(struct wg_dec *d, struct wg_things *ret)
{
    const uint8_t *outer = enter_section(d);

    get_things(d, ret);
    return leave_section(d, outer);
}

static struct wg_str get_signature(struct wg_dec *d)
{
    struct wg_str s = { .len = get16(d) };

    if ((size_t)(d->end - d->at) < s.len) {
        d->bad = true;
        return (struct wg_str){ 0 };
    }
    s.s = (const char *)d->at;
    d->at += s.len;
    return s;
}

static void put_signature(struct wg_enc *e, const char *s)
{
    size_t len = strlen(s);

    put16(e, (uint16_t)len);
    put(e, s, len);
}

void wg_put_fops(struct wg_enc *e)
{
    uint8_t *s = open_section(e);

    for (unsigned op = 0; op < WG_OP_MAX; op++) {
        const struct wg_fop *fop = &wg_fops[op];

        if (!fop->kind)
            continue;
        put16(e, (uint16_t)op);
        put8(e, (uint8_t)fop->kind);
        put_signature(e, fop->in_sig);
        put_signature(e, fop->out_sig);
    }
    close_section(e, s);
}

/* Fields are only ever appended, so one of two releases' signatures begins with the other. */
static bool compatible(struct wg_str theirs, const char *ours)
{
    size_t len = strlen(ours);

    return memcmp(theirs.s, ours, theirs.len < len ? theirs.len : len) == 0;
}

static int check_fop(struct wg_dec *d, bool *known, char *text, size_t size)
{
    unsigned op = get16(d);
    char kind = (char)get8(d);
    struct wg_str in = get_signature(d), out = get_signature(d);
    const char *what;

    if (d->bad || op >= WG_OP_MAX || !wg_fops[op].kind)
        return 0;
    if (kind != wg_fops[op].kind)
        what = "kind";
    else if (!compatible(in, wg_fops[op].in_sig))
        what = "arguments";
    else if (!compatible(out, wg_fops[op].out_sig))
        what = "results";
    else {
        known[op] = true;
        return 0;
    }
    snprintf(text, size, "fop %s (%u) has other %s here than at the peer", wg_fops[op].name, op,
             what);
    return EPROTO;
}

int wg_get_fops(struct wg_dec *d, bool ret[WG_OP_MAX], char *text, size_t size)
{
    const uint8_t *outer = enter_section(d);

    memset(ret, 0, WG_OP_MAX * sizeof *ret);
    snprintf(text, size, "malformed fop table");
    while (d->at < d->end && !d->bad) {
        int err = check_fop(d, ret, text, size);

        if (err)
            return err;
    }
    return leave_section(d, outer);
}
