/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The codec of every field type, once: put, get and show. The rows of fops.def turn them into
 * those of whole records. Integers are little-endian; types that may grow (iatt, sattr,
 * statfs) carry a length, so that an older peer skips what it does not know.
 */
#include <endian.h>
#include <stdarg.h>
#include <stdio.h>

#include "fop.h"
#include "iobuf.h"
#include "target.h"

/* --- raw values --- */

static bool room(struct wg_enc *e, size_t n)
{
    if ((size_t)(e->end - e->at) < n)
        e->overflow = true;
    return !e->overflow;
}

static void put_bytes(struct wg_enc *e, const void *p, size_t n)
{
    if (n > 0 && room(e, n)) {
        memcpy(e->at, p, n);
        e->at += n;
    }
}

/* Past the end a field is absent and reads as zero; what can't be read moves to the end. */
static bool have(struct wg_dec *d, size_t n)
{
    if ((size_t)(d->end - d->at) >= n)
        return true;
    d->at = d->end;
    return false;
}

static void get_bytes(struct wg_dec *d, void *p, size_t n)
{
    if (!have(d, n)) {
        memset(p, 0, n);
        return;
    }
    memcpy(p, d->at, n);
    d->at += n;
}

static void put_u8(struct wg_enc *e, uint8_t v)
{
    put_bytes(e, &v, 1);
}

static uint8_t get_u8(struct wg_dec *d)
{
    uint8_t v;

    get_bytes(d, &v, 1);
    return v;
}

static void show(struct wg_show *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void show(struct wg_show *s, const char *fmt, ...)
{
    size_t space = (size_t)(s->end - s->at);
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(s->at, space, fmt, ap);
    va_end(ap);
    if (n > 0)
        s->at += (size_t)n < space ? (size_t)n : space - 1;
}

/* --- field types --- */

static void put_bool(struct wg_enc *e, const bool *v)
{
    put_u8(e, *v);
}

static void get_bool(struct wg_dec *d, bool *v)
{
    *v = get_u8(d) != 0;
}

static void show_bool(struct wg_show *s, const bool *v)
{
    show(s, *v ? "yes" : "no");
}

static void put_u32(struct wg_enc *e, const uint32_t *v)
{
    uint32_t le = htole32(*v);

    put_bytes(e, &le, 4);
}

static void get_u32(struct wg_dec *d, uint32_t *v)
{
    get_bytes(d, v, 4);
    *v = le32toh(*v);
}

static void show_u32(struct wg_show *s, const uint32_t *v)
{
    show(s, "%u", *v);
}

static void put_u64(struct wg_enc *e, const uint64_t *v)
{
    uint64_t le = htole64(*v);

    put_bytes(e, &le, 8);
}

static void get_u64(struct wg_dec *d, uint64_t *v)
{
    get_bytes(d, v, 8);
    *v = le64toh(*v);
}

static void show_u64(struct wg_show *s, const uint64_t *v)
{
    show(s, "%llu", (unsigned long long)*v);
}

static void put_gfid(struct wg_enc *e, const wg_gfid *v)
{
    put_bytes(e, v->b, 16);
}

static void get_gfid(struct wg_dec *d, wg_gfid *v)
{
    get_bytes(d, v->b, 16);
}

static void show_gfid(struct wg_show *s, const wg_gfid *v)
{
    char text[WG_GFID_TEXT];

    show(s, "%s", wg_gfid_show(v, text));
}

static void put_ref(struct wg_enc *e, const struct wg_ref *v)
{
    uint8_t n = v->hint_len <= WG_HINT_MAX ? v->hint_len : 0;

    put_gfid(e, &v->gfid);
    put_u8(e, n);
    put_bytes(e, v->hint, n);
}

static void get_ref(struct wg_dec *d, struct wg_ref *v)
{
    memset(v, 0, sizeof *v);
    get_gfid(d, &v->gfid);
    v->hint_len = get_u8(d);
    if (v->hint_len > WG_HINT_MAX) {
        d->bad = true;
        v->hint_len = 0;
    }
    get_bytes(d, v->hint, v->hint_len);
}

static void show_ref(struct wg_show *s, const struct wg_ref *v)
{
    show_gfid(s, &v->gfid);
}

static void put_str(struct wg_enc *e, const struct wg_str *v)
{
    put_u32(e, &v->len);
    put_bytes(e, v->s, v->len);
}

static void get_str(struct wg_dec *d, struct wg_str *v)
{
    get_u32(d, &v->len);
    if (!have(d, v->len)) {
        d->bad = true;
        v->len = 0;
    }
    v->s = v->len ? (const char *)d->at : "";
    d->at += v->len;
}

static void show_str(struct wg_show *s, const struct wg_str *v)
{
    show(s, "\"");
    for (uint32_t i = 0; i < v->len && i < 64; i++) {
        unsigned char c = (unsigned char)v->s[i];

        show(s, c < 0x20 || c >= 0x7f || c == '"' || c == '\\' ? "\\x%02x" : "%c", c);
    }
    show(s, v->len > 64 ? "\"...(%u)" : "\"", v->len);
}

static void show_secret(struct wg_show *s, const struct wg_str *v)
{
    show(s, "<%u bytes>", v->len);
}
#define put_secret put_str
#define get_secret get_str

static void put_loc(struct wg_enc *e, const struct wg_loc *v)
{
    put_ref(e, &v->parent);
    put_str(e, &v->name);
}

static void get_loc(struct wg_dec *d, struct wg_loc *v)
{
    get_ref(d, &v->parent);
    get_str(d, &v->name);
}

static void show_loc(struct wg_show *s, const struct wg_loc *v)
{
    show_ref(s, &v->parent);
    show(s, "/");
    show_str(s, &v->name);
}

static void put_time(struct wg_enc *e, const struct wg_time *v)
{
    uint64_t sec = (uint64_t)v->sec;

    put_u64(e, &sec);
    put_u32(e, &v->nsec);
}

static void get_time(struct wg_dec *d, struct wg_time *v)
{
    uint64_t sec;

    get_u64(d, &sec);
    v->sec = (int64_t)sec;
    get_u32(d, &v->nsec);
    if (v->nsec > 999999999)
        v->nsec = 999999999;
}

static void show_time(struct wg_show *s, const struct wg_time *v)
{
    show(s, "%lld.%09u", (long long)v->sec, v->nsec);
}

/*
 * A value that may grow: a u8 length, then its fields. begin leaves room for the length and
 * end fills it in; get narrows the reader to the length and skips the tail it did not know.
 */
static uint8_t *grow_begin(struct wg_enc *e)
{
    put_u8(e, 0);
    return e->at;
}

static void grow_end(struct wg_enc *e, uint8_t *begin)
{
    if (!e->overflow)
        begin[-1] = (uint8_t)(e->at - begin);
}

static const uint8_t *narrow(struct wg_dec *d)
{
    const uint8_t *end = d->end;
    uint8_t n = get_u8(d);

    if (!have(d, n)) {
        d->bad = true;
        n = 0;
    }
    d->end = d->at + n;
    return end;
}

static void widen(struct wg_dec *d, const uint8_t *end)
{
    d->at = d->end;
    d->end = end;
}

static void put_iatt(struct wg_enc *e, const struct wg_iatt *v)
{
    uint8_t *begin = grow_begin(e);

    if (v->valid) {
        put_u8(e, v->type);
        put_gfid(e, &v->gfid);
        put_u32(e, &v->mode);
        put_u32(e, &v->nlink);
        put_u32(e, &v->uid);
        put_u32(e, &v->gid);
        put_u32(e, &v->rdev_major);
        put_u32(e, &v->rdev_minor);
        put_u64(e, &v->size);
        put_u64(e, &v->used);
        put_time(e, &v->atime);
        put_time(e, &v->mtime);
        put_time(e, &v->ctime);
    }
    grow_end(e, begin);
}

static void get_iatt(struct wg_dec *d, struct wg_iatt *v)
{
    const uint8_t *end = narrow(d);

    v->valid = d->at < d->end;
    v->type = get_u8(d);
    get_gfid(d, &v->gfid);
    get_u32(d, &v->mode);
    get_u32(d, &v->nlink);
    get_u32(d, &v->uid);
    get_u32(d, &v->gid);
    get_u32(d, &v->rdev_major);
    get_u32(d, &v->rdev_minor);
    get_u64(d, &v->size);
    get_u64(d, &v->used);
    get_time(d, &v->atime);
    get_time(d, &v->mtime);
    get_time(d, &v->ctime);
    if (v->type > WG_FIFO)
        d->bad = true;
    widen(d, end);
}

static void show_iatt(struct wg_show *s, const struct wg_iatt *v)
{
    static const char letters[] = "?-dbclsp";

    if (!v->valid) {
        show(s, "none");
        return;
    }
    show(s, "{%c%04o %u:%u size=%llu nlink=%u mtime=", letters[v->type & 7], v->mode, v->uid, v->gid,
         (unsigned long long)v->size, v->nlink);
    show_time(s, &v->mtime);
    show(s, "}");
}

static void put_sattr(struct wg_enc *e, const struct wg_sattr *v)
{
    uint8_t *begin = grow_begin(e);

    put_u32(e, &v->valid);
    put_u32(e, &v->mode);
    put_u32(e, &v->uid);
    put_u32(e, &v->gid);
    put_u64(e, &v->size);
    put_time(e, &v->atime);
    put_time(e, &v->mtime);
    put_time(e, &v->guard);
    grow_end(e, begin);
}

static void get_sattr(struct wg_dec *d, struct wg_sattr *v)
{
    const uint8_t *end = narrow(d);

    get_u32(d, &v->valid);
    get_u32(d, &v->mode);
    get_u32(d, &v->uid);
    get_u32(d, &v->gid);
    get_u64(d, &v->size);
    get_time(d, &v->atime);
    get_time(d, &v->mtime);
    get_time(d, &v->guard);
    widen(d, end);
}

static void show_sattr(struct wg_show *s, const struct wg_sattr *v)
{
    show(s, "{");
    if (v->valid & WG_SET_MODE)
        show(s, " mode=%04o", v->mode);
    if (v->valid & WG_SET_UID)
        show(s, " uid=%u", v->uid);
    if (v->valid & WG_SET_GID)
        show(s, " gid=%u", v->gid);
    if (v->valid & WG_SET_SIZE)
        show(s, " size=%llu", (unsigned long long)v->size);
    if (v->valid & (WG_SET_MTIME | WG_SET_MTIME_NOW))
        show(s, " mtime");
    if (v->valid & (WG_SET_ATIME | WG_SET_ATIME_NOW))
        show(s, " atime");
    if (v->valid & WG_SET_GUARD)
        show(s, " guard");
    show(s, " }");
}

static void put_wcc(struct wg_enc *e, const struct wg_wcc *v)
{
    put_bool(e, &v->pre_valid);
    if (v->pre_valid) {
        put_u64(e, &v->pre_size);
        put_time(e, &v->pre_mtime);
        put_time(e, &v->pre_ctime);
    }
    put_iatt(e, &v->post);
}

static void get_wcc(struct wg_dec *d, struct wg_wcc *v)
{
    memset(v, 0, sizeof *v);
    get_bool(d, &v->pre_valid);
    if (v->pre_valid) {
        get_u64(d, &v->pre_size);
        get_time(d, &v->pre_mtime);
        get_time(d, &v->pre_ctime);
    }
    get_iatt(d, &v->post);
}

static void show_wcc(struct wg_show *s, const struct wg_wcc *v)
{
    show_iatt(s, &v->post);
}

static void put_etag(struct wg_enc *e, const struct wg_etag *v)
{
    put_u8(e, (uint8_t)(v->valid | v->synthetic << 1));
    if (v->valid) {
        put_bytes(e, v->md5, 16);
        put_u32(e, &v->parts);
    }
}

static void get_etag(struct wg_dec *d, struct wg_etag *v)
{
    uint8_t flags = get_u8(d);

    memset(v, 0, sizeof *v);
    v->valid = flags & 1;
    v->synthetic = flags >> 1 & 1;
    if (v->valid) {
        get_bytes(d, v->md5, 16);
        get_u32(d, &v->parts);
    }
}

static void show_etag(struct wg_show *s, const struct wg_etag *v)
{
    char text[WG_ETAG_TEXT];

    show(s, "%s", v->valid ? wg_etag_show(v, text) : "none");
}

/* Takes n bytes of the payload beside the body. */
static const uint8_t *take(struct wg_dec *d, uint32_t n)
{
    const uint8_t *p = d->pat;

    if ((size_t)(d->pend - d->pat) < n) {
        d->bad = true;
        return NULL;
    }
    if (n > 0) /* without a payload the pointer is NULL */
        d->pat += n;
    return p;
}

static void put_seg(struct wg_enc *e, const struct wg_seg *seg)
{
    if (seg->len == 0)
        return;
    if (e->nseg == sizeof e->seg / sizeof *e->seg || UINT32_MAX - e->payload < seg->len) {
        e->overflow = true;
        return;
    }
    e->seg[e->nseg++] = *seg;
    e->payload += seg->len;
}

static void put_data(struct wg_enc *e, const struct wg_data *v)
{
    put_u32(e, &v->len);
    for (uint32_t i = 0; i < v->nseg; i++)
        put_seg(e, &v->seg[i]);
}

static void get_data(struct wg_dec *d, struct wg_data *v)
{
    struct wg_seg *seg;
    const uint8_t *p;

    memset(v, 0, sizeof *v);
    get_u32(d, &v->len);
    p = take(d, v->len);
    if (v->len == 0 || !p) {
        v->len = 0;
        return;
    }
    seg = WG_NEW(d->arena, struct wg_seg);
    if (!seg) {
        v->len = 0;
        d->bad = true;
        return;
    }
    *seg = (struct wg_seg){ d->payload, (void *)(uintptr_t)p, v->len };
    v->seg = seg;
    v->nseg = 1;
}

static void show_data(struct wg_show *s, const struct wg_data *v)
{
    show(s, "[%u bytes]", v->len);
}

static void put_list(struct wg_enc *e, const struct wg_list *v)
{
    struct wg_seg seg = { v->buf, (void *)(uintptr_t)v->base, v->len };

    put_u32(e, &v->len);
    put_u32(e, &v->count);
    put_seg(e, &seg);
}

static void get_list(struct wg_dec *d, struct wg_list *v)
{
    get_u32(d, &v->len);
    get_u32(d, &v->count);
    v->buf = d->payload;
    v->base = take(d, v->len);
    if (!v->base)
        *v = (struct wg_list){ .base = "" };
}

static void show_list(struct wg_show *s, const struct wg_list *v)
{
    show(s, "[%u entries, %u bytes]", v->count, v->len);
}

static void put_statfs(struct wg_enc *e, const struct wg_statfs *v)
{
    uint8_t *begin = grow_begin(e);

    put_u64(e, &v->total_bytes);
    put_u64(e, &v->free_bytes);
    put_u64(e, &v->avail_bytes);
    put_u64(e, &v->total_files);
    put_u64(e, &v->free_files);
    put_u64(e, &v->avail_files);
    put_u32(e, &v->block);
    put_u32(e, &v->name_max);
    put_bool(e, &v->readonly);
    grow_end(e, begin);
}

static void get_statfs(struct wg_dec *d, struct wg_statfs *v)
{
    const uint8_t *end = narrow(d);

    get_u64(d, &v->total_bytes);
    get_u64(d, &v->free_bytes);
    get_u64(d, &v->avail_bytes);
    get_u64(d, &v->total_files);
    get_u64(d, &v->free_files);
    get_u64(d, &v->avail_files);
    get_u32(d, &v->block);
    get_u32(d, &v->name_max);
    get_bool(d, &v->readonly);
    widen(d, end);
}

static void show_statfs(struct wg_show *s, const struct wg_statfs *v)
{
    show(s, "{%llu of %llu bytes free}", (unsigned long long)v->free_bytes,
         (unsigned long long)v->total_bytes);
}

/* --- records, from the table --- */

#define IN(type, field) put_##type(e, &r->field);
#define OUT(type, field) put_##type(e, &r->field);
#define FOP(no, name, kind, in, out)                                  \
    static void put_##name##_in(struct wg_enc *e, const void *rec)    \
    {                                                                 \
        const struct wg_##name##_in *r = rec;                         \
        in                                                            \
    }                                                                 \
    static void put_##name##_out(struct wg_enc *e, const void *rec)   \
    {                                                                 \
        const struct wg_##name##_out *r = rec;                        \
        out                                                           \
    }
#include "fops.def"
#undef FOP
#undef IN
#undef OUT

#define IN(type, field) get_##type(d, &r->field);
#define OUT(type, field) get_##type(d, &r->field);
#define FOP(no, name, kind, in, out)                                  \
    static void get_##name##_in(struct wg_dec *d, void *rec)          \
    {                                                                 \
        struct wg_##name##_in *r = rec;                               \
        in                                                            \
    }                                                                 \
    static void get_##name##_out(struct wg_dec *d, void *rec)         \
    {                                                                 \
        struct wg_##name##_out *r = rec;                              \
        out                                                           \
    }
#include "fops.def"
#undef FOP
#undef IN
#undef OUT

/* A str "meta" is a front end's own packing: users' metadata, not for reading here. */
static bool kept_back(const char *type, const char *field)
{
    return strcmp(type, "str") == 0 && strcmp(field, "meta") == 0;
}

static void show_length(struct wg_show *s, const void *v)
{
    show(s, "[%u bytes]", ((const struct wg_str *)v)->len);
}

#define IN(type, field)                        \
    show(s, " " #field "=");                   \
    if (kept_back(#type, #field))              \
        show_length(s, &r->field);             \
    else                                       \
        show_##type(s, &r->field);
#define OUT(type, field)                       \
    show(s, " " #field "=");                   \
    if (kept_back(#type, #field))              \
        show_length(s, &r->field);             \
    else                                       \
        show_##type(s, &r->field);
#define FOP(no, name, kind, in, out)                                  \
    static void show_##name##_in(struct wg_show *s, const void *rec)  \
    {                                                                 \
        const struct wg_##name##_in *r = rec;                         \
        in                                                            \
    }                                                                 \
    static void show_##name##_out(struct wg_show *s, const void *rec) \
    {                                                                 \
        const struct wg_##name##_out *r = rec;                        \
        out                                                           \
    }
#include "fops.def"
#undef FOP
#undef IN
#undef OUT

#define R 'R'
#define W 'W'
#define IN(type, field) #type " " #field ";"
#define OUT(type, field) #type " " #field ";"
#define FOP(no, nm, kd, in, out)                                                               \
    [no] = { .name = #nm, .kind = kd, .in_size = sizeof(struct wg_##nm##_in),                  \
             .out_size = sizeof(struct wg_##nm##_out), .in_sig = in, .out_sig = out,           \
             .put_in = put_##nm##_in, .get_in = get_##nm##_in, .show_in = show_##nm##_in,      \
             .put_out = put_##nm##_out, .get_out = get_##nm##_out, .show_out = show_##nm##_out },
const struct wg_fop wg_fops[WG_OP_MAX] = {
#include "fops.def"
};
#undef FOP
#undef IN
#undef OUT
#undef R
#undef W

void wg_put_record(struct wg_enc *e, unsigned op, bool out, const void *rec)
{
    uint32_t zero = 0;
    uint8_t *begin;

    put_u32(e, &zero);
    begin = e->at;
    (out ? wg_fops[op].put_out : wg_fops[op].put_in)(e, rec);
    if (!e->overflow) {
        uint32_t n = htole32((uint32_t)(e->at - begin));

        memcpy(begin - 4, &n, 4);
    }
}

int wg_get_record(struct wg_dec *d, unsigned op, bool out, void **ret)
{
    const uint8_t *end = d->end;
    uint32_t n;
    void *rec;

    if (op >= WG_OP_MAX || !wg_fops[op].kind)
        return ENOTSUP;
    if (d->end - d->at < 4)
        return EPROTO;
    get_u32(d, &n);
    if (!have(d, n))
        return EPROTO;
    rec = wg_alloc(d->arena, out ? wg_fops[op].out_size : wg_fops[op].in_size);
    if (!rec)
        return ENOMEM;
    d->end = d->at + n;
    (out ? wg_fops[op].get_out : wg_fops[op].get_in)(d, rec);
    widen(d, end);
    if (d->bad)
        return EPROTO;
    *ret = rec;
    return 0;
}

char *wg_show_record(unsigned op, bool out, const void *rec, char *buf, size_t size)
{
    struct wg_show s = { buf, buf + size };

    buf[0] = '\0';
    if (op < WG_OP_MAX && wg_fops[op].kind && rec)
        (out ? wg_fops[op].show_out : wg_fops[op].show_in)(&s, rec);
    return buf[0] == ' ' ? memmove(buf, buf + 1, strlen(buf)) : buf;
}
