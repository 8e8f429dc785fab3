/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "target.h"

/* One for each field type; those that name nothing do nothing. The first of a kind counts. */

static void see_ref(struct wg_target *t, const char *field, const struct wg_ref *v)
{
    (void)field;
    if (!t->gfid)
        t->gfid = &v->gfid;
}

static void see_loc(struct wg_target *t, const char *field, const struct wg_loc *v)
{
    (void)field;
    if (t->name.len == 0 && !t->is_key) {
        t->gfid = &v->parent.gfid; /* of link: the name says more than the inode */
        t->name = v->name;
    } else if (t->to.len == 0) {
        t->to_gfid = &v->parent.gfid;
        t->to = v->name;
    }
}

static void see_str(struct wg_target *t, const char *field, const struct wg_str *v)
{
    if (strcmp(field, "key") == 0 || strcmp(field, "prefix") == 0) {
        t->name = *v;
        t->is_key = true;
    }
}

static void see_gfid(struct wg_target *t, const char *field, const wg_gfid *v)
{
    /* unstage has nothing else; elsewhere it is the id of what is made, or a condition. */
    if (!t->gfid && strcmp(field, "gfid") == 0)
        t->gfid = v;
}

#define IGNORED(type)                                                                            \
    static inline void see_##type(struct wg_target *t, const char *field, const wg_t_##type *v)  \
    {                                                                                            \
        (void)t, (void)field, (void)v;                                                           \
    }
IGNORED(bool)
IGNORED(u32)
IGNORED(u64)
IGNORED(secret)
IGNORED(time)
IGNORED(iatt)
IGNORED(sattr)
IGNORED(wcc)
IGNORED(etag)
IGNORED(data)
IGNORED(list)
IGNORED(statfs)

#define IN(type, field) see_##type(t, #field, &r->field);
#define OUT(type, field)
#define FOP(no, name, kind, in, out)                                   \
    static void target_##name(struct wg_target *t, const void *rec)    \
    {                                                                  \
        const struct wg_##name##_in *r = rec;                          \
        in                                                             \
    }
#include "fops.def"
#undef FOP
#undef IN
#undef OUT

static void (*const targets[WG_OP_MAX])(struct wg_target *t, const void *rec) = {
#define FOP(no, name, kind, in, out) [no] = target_##name,
#include "fops.def"
#undef FOP
};

void wg_target_of(unsigned op, const void *in, struct wg_target *ret)
{
    *ret = (struct wg_target){ 0 };
    if (in && op < WG_OP_MAX && targets[op])
        targets[op](ret, in);
}

char *wg_gfid_show(const struct wg_gfid *g, char *buf)
{
    static const char digits[] = "0123456789abcdef";
    char *to = buf;

    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *to++ = '-';
        *to++ = digits[g->b[i] >> 4];
        *to++ = digits[g->b[i] & 15];
    }
    *to = '\0';
    return buf;
}

/* Appends len bytes of a name; what is not printable becomes \xNN. */
static size_t add_name(char *buf, size_t at, size_t size, struct wg_str name)
{
    for (uint32_t i = 0; i < name.len && at + 5 < size; i++) {
        unsigned char c = (unsigned char)name.s[i];

        at += (size_t)snprintf(buf + at, size - at, c < 0x20 || c >= 0x7f ? "\\x%02x" : "%c", c);
    }
    return at;
}

static size_t add_one(char *buf, size_t at, size_t size, const struct wg_gfid *g, struct wg_str name)
{
    char text[WG_GFID_TEXT];

    if (g && at + WG_GFID_TEXT < size)
        at += (size_t)snprintf(buf + at, size - at, "%s",
                               wg_gfid_eq(*g, WG_ROOT_GFID) ? "" : wg_gfid_show(g, text));
    if (name.len > 0 && at + 1 < size) {
        buf[at++] = '/';
        at = add_name(buf, at, size, name);
    } else if (g && wg_gfid_eq(*g, WG_ROOT_GFID) && at + 1 < size) {
        buf[at++] = '/';
    }
    buf[at] = '\0';
    return at;
}

char *wg_target_show(const struct wg_target *t, char *buf, size_t size)
{
    size_t at;

    buf[0] = '\0';
    at = add_one(buf, 0, size, t->gfid, t->name);
    if (t->to.len > 0 && at + 4 < size) {
        memcpy(buf + at, " -> ", 5);
        at += 4;
        add_one(buf, at, size, t->to_gfid, t->to);
    }
    return buf;
}
