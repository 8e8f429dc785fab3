/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "call.h"
#include "xlators/debug/names.h"

#define SETS 1024
#define WAYS 4
#define LOCKS 64
#define NAME 255  /* longer S3 keys keep their end, which is what people tell files by */
#define LEVELS 32 /* of directories, in a path */

struct entry {
    wg_gfid gfid, parent;
    uint8_t len;
    char name[NAME];
};

struct wg_names {
    pthread_mutex_t lock[LOCKS]; /* leaves; of the sets s with s % LOCKS */
    struct {
        uint8_t turn;
        struct entry way[WAYS];
    } set[SETS];
};

struct wg_names *wg_names_new(void)
{
    struct wg_names *n = calloc(1, sizeof *n);

    for (int i = 0; n && i < LOCKS; i++)
        pthread_mutex_init(&n->lock[i], NULL);
    return n;
}

void wg_names_free(struct wg_names *n)
{
    for (int i = 0; n && i < LOCKS; i++)
        pthread_mutex_destroy(&n->lock[i]);
    free(n);
}

static unsigned set_of(const wg_gfid *g)
{
    uint64_t x;

    memcpy(&x, g->b + 8, sizeof x);
    return (unsigned)((x * 0x9e3779b97f4a7c15u) >> 54) % SETS;
}

static void store(struct wg_names *n, const wg_gfid *g, const wg_gfid *parent, struct wg_str name)
{
    unsigned s = set_of(g);
    struct entry *e = NULL;

    if (wg_gfid_is_zero(*g) || wg_gfid_eq(*g, WG_ROOT_GFID) || name.len == 0)
        return;
    if (name.len > NAME)
        name = (struct wg_str){ name.s + name.len - NAME, NAME };
    pthread_mutex_lock(&n->lock[s % LOCKS]);
    for (int i = 0; i < WAYS && !e; i++)
        if (wg_gfid_eq(n->set[s].way[i].gfid, *g))
            e = &n->set[s].way[i];
    if (!e)
        e = &n->set[s].way[n->set[s].turn++ % WAYS];
    e->gfid = *g;
    e->parent = *parent;
    e->len = (uint8_t)name.len;
    memcpy(e->name, name.s, name.len);
    pthread_mutex_unlock(&n->lock[s % LOCKS]);
}

static bool find(struct wg_names *n, const wg_gfid *g, struct entry *ret)
{
    unsigned s = set_of(g);
    bool found = false;

    pthread_mutex_lock(&n->lock[s % LOCKS]);
    for (int i = 0; i < WAYS && !found; i++)
        if (wg_gfid_eq(n->set[s].way[i].gfid, *g)) {
            *ret = n->set[s].way[i];
            found = true;
        }
    pthread_mutex_unlock(&n->lock[s % LOCKS]);
    return found;
}

/* --- learning --- */

static bool is_dots(struct wg_str s)
{
    return (s.len == 1 && s.s[0] == '.') || (s.len == 2 && s.s[0] == '.' && s.s[1] == '.');
}

bool wg_names_teaches(unsigned op)
{
    switch (op) {
    case WG_OP_lookup:
    case WG_OP_create:
    case WG_OP_mkdir:
    case WG_OP_symlink:
    case WG_OP_mknod:
    case WG_OP_link:
    case WG_OP_rename:
    case WG_OP_get:
    case WG_OP_stage:
    case WG_OP_put:
        return true;
    }
    return false;
}

static void learn_loc(struct wg_names *n, const struct wg_loc *at, const struct wg_ref *ref)
{
    if (!is_dots(at->name))
        store(n, &ref->gfid, &at->parent.gfid, at->name);
}

#define CASE_LOC(fop)                                                                     \
    case WG_OP_##fop:                                                                     \
        learn_loc(n, &((const struct wg_##fop##_in *)f->in)->at,                          \
                  &((const struct wg_##fop##_out *)f->out)->ref);                         \
        break
#define CASE_KEY(fop)                                                                     \
    case WG_OP_##fop:                                                                     \
        store(n, &((const struct wg_##fop##_out *)f->out)->ref.gfid,                      \
              &((const struct wg_##fop##_in *)f->in)->bucket.gfid,                        \
              ((const struct wg_##fop##_in *)f->in)->key);                                \
        break

void wg_names_learn(struct wg_names *n, const struct wg_frame *f)
{
    if (!f->out)
        return;
    switch (f->op) {
    CASE_LOC(lookup);
    CASE_LOC(create);
    CASE_LOC(mkdir);
    CASE_LOC(symlink);
    CASE_LOC(mknod);
    CASE_KEY(get);
    CASE_KEY(stage);
    CASE_KEY(put);
    case WG_OP_link: {
        const struct wg_link_in *in = f->in;

        store(n, &in->at.gfid, &in->to.parent.gfid, in->to.name);
        break;
    }
    case WG_OP_rename: {
        const struct wg_rename_in *in = f->in;

        store(n, &in->moved, &in->to.parent.gfid, in->to.name);
        break;
    }
    }
}

/* --- paths --- */

/* Writes at the end of the room, growing towards its beginning. */
static char *before(char *at, const char *begin, const char *s, size_t len)
{
    size_t room = (size_t)(at - begin);

    if (len > room) {
        s += len - room;
        len = room;
    }
    memcpy(at - len, s, len);
    return at - len;
}

/* The path of directory g, ending at at; the first byte written. */
static char *way_up(struct wg_names *n, wg_gfid g, char *at, const char *begin)
{
    char text[WG_GFID_TEXT];
    struct entry e;

    for (int i = 0; i < LEVELS; i++) {
        if (wg_gfid_eq(g, WG_ROOT_GFID))
            return at;
        if (!n || !find(n, &g, &e))
            break;
        at = before(at, begin, e.name, e.len);
        at = before(at, begin, "/", 1);
        g = e.parent;
    }
    return before(at, begin, wg_gfid_show(&g, text), WG_GFID_TEXT - 1);
}

char *wg_names_path(struct wg_names *n, unsigned op, const void *in, char *buf, size_t size)
{
    struct wg_target t;
    char room[1400], *at = room + sizeof room;

    wg_target_of(op, in, &t);
    if (t.name.len > 0) {
        at = before(at, room, t.name.s, t.name.len);
        at = before(at, room, "/", 1);
    }
    if (t.gfid)
        at = way_up(n, *t.gfid, at, room);
    if (at == room + sizeof room)
        at = before(at, room, "/", 1);
    snprintf(buf, size, "%.*s", (int)(room + sizeof room - at), at);
    return buf;
}
