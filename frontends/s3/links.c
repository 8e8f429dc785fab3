/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Symbolic links, resolved here by fops: a brick never follows one. A target counts only inside
 * the bucket: relative, and not above the bucket's directory at any step. What reads follows links
 * everywhere in a key; what writes follows those that stand for directories, and treats a link
 * under the key's own name as that name (a PUT replaces it, a DELETE removes it).
 *
 * The brick is asked again after each link, so a link made meanwhile is only one more; eight end it.
 */
#include "object.h"

bool s3_is_link(int err, const struct wg_get_out *out, struct wg_str key)
{
    if (!err)
        return out->attr.type == WG_LNK;
    return (err == ENOTDIR || err == ELOOP) && memchr(key.s, '/', key.len);
}

/* A key in the making. Components of a key may be empty or "..": those are names, not ways. */
struct path {
    char *s; /* WG_KEY_MAX bytes */
    uint32_t len;
    uint32_t depth; /* components */
};

static int append(struct path *p, struct wg_str text)
{
    uint32_t slash = p->depth > 0;

    if (text.len > WG_KEY_MAX - slash || p->len > WG_KEY_MAX - slash - text.len)
        return ENOENT;
    if (slash)
        p->s[p->len++] = '/';
    if (text.len)
        memcpy(p->s + p->len, text.s, text.len);
    p->len += text.len;
    p->depth++;
    for (uint32_t i = 0; i < text.len; i++)
        p->depth += text.s[i] == '/';
    return 0;
}

/* The last component goes. ENOENT: that would be above the bucket. */
static int go_up(struct path *p)
{
    if (p->depth == 0)
        return ENOENT;
    while (p->len > 0 && p->s[p->len - 1] != '/')
        p->len--;
    if (--p->depth > 0)
        p->len--;
    return 0;
}

/* One component of a link's target, as a file system takes it. */
static int walk(struct path *p, struct wg_str c)
{
    if (c.len == 0 || wg_str_eq(c, WG_STR(".")))
        return 0;
    if (wg_str_eq(c, WG_STR("..")))
        return go_up(p);
    /* A name that begins with an escape says a key that is not its text; nobody links to those. */
    return c.len >= 2 && memcmp(c.s, ".@", 2) == 0 ? ENOENT : append(p, c);
}

static int walk_target(struct path *p, struct wg_str text)
{
    int err = text.len == 0 || text.s[0] == '/' ? ENOENT : 0;

    while (!err && text.len) {
        const char *slash = memchr(text.s, '/', text.len);
        uint32_t n = slash ? (uint32_t)(slash - text.s) : text.len;

        err = walk(p, (struct wg_str){ text.s, n });
        n += slash != NULL;
        text.s += n;
        text.len -= n;
    }
    return err;
}

int s3_splice_link(struct wg_arena *arena, struct wg_str *key, uint32_t end, struct wg_str target)
{
    struct path p = { .s = wg_alloc(arena, WG_KEY_MAX) };
    uint32_t dir = end;
    int err = 0;

    if (!p.s)
        return ENOMEM;
    while (dir > 0 && key->s[dir - 1] != '/')
        dir--;
    if (dir > 0) /* what is before the link, and after it, is key as it stands */
        err = append(&p, (struct wg_str){ key->s, dir - 1 });
    if (!err)
        err = walk_target(&p, target);
    if (!err && end < key->len)
        err = append(&p, (struct wg_str){ key->s + end + 1, key->len - end - 1 });
    *key = (struct wg_str){ p.s, p.len };
    return err ? err : p.len ? 0 : ENOENT;
}

/* Finds the first link among the components of key that end before limit, and replaces it. ENOENT: none. */
static int follow_one(struct wg_co *co, struct s3_req *r, struct wg_xlator *top, const struct wg_ref *bucket,
                      uint32_t space, uint32_t limit, struct wg_str *key)
{
    for (uint32_t end = 1; end <= limit; end++) {
        const struct wg_get_out *out;

        if (end < key->len && key->s[end] != '/')
            continue;
        struct wg_get_in part = { .bucket = *bucket, .space = space, .key = { key->s, end } };
        int err = wg_co_get(co, top, &part, &out);
        if (err && err != EISDIR && err != ENOENT)
            return err == ENOTDIR || err == ELOOP ? ENOENT : err;
        if (!err && out->attr.type == WG_LNK)
            return s3_splice_link(&r->call->arena, key, end, out->link_target);
    }
    return ENOENT;
}

int s3_get_following_at(struct wg_co *co, struct s3_req *r, struct wg_xlator *top, const struct wg_get_in *in,
                        const struct wg_get_out **ret, struct wg_str *ret_key)
{
    struct wg_get_in at = *in;
    int err = 0;

    for (int links = 0; links <= S3_LINKS_MAX; links++) {
        err = wg_co_get(co, top, &at, ret);
        if (!s3_is_link(err, *ret, at.key)) {
            if (!err && (*ret)->attr.type != WG_REG && (*ret)->attr.type != WG_DIR)
                return ENOENT;
            *ret_key = at.key;
            wg_co_keep(co);
            return err == EISDIR ? ENOENT : err;
        }
        err = follow_one(co, r, top, &in->bucket, in->space, at.key.len, &at.key);
        if (err)
            return err;
    }
    return ENOENT;
}

int s3_get_following(struct wg_co *co, struct s3_req *r, const struct wg_get_in *in,
                     const struct wg_get_out **ret, struct wg_str *ret_key)
{
    return s3_get_following_at(co, r, r->top, in, ret, ret_key);
}

/* ---- For what writes ---- */

/* ELOOP: key is another one to try. ENOENT: the link leads nowhere that we go. */
static int next_key(struct wg_co *co, struct s3_req *r, const struct wg_ref *bucket, struct wg_str *key)
{
    const char *last = memrchr(key->s, '/', key->len);
    int err = last ? follow_one(co, r, r->top, bucket, WG_SPACE_OBJECTS, (uint32_t)(last - key->s), key) : ENOENT;

    return err ? err : ELOOP;
}

int s3_put_following(struct wg_co *co, struct s3_req *r, struct wg_put_in *in, const struct wg_put_out **ret)
{
    int err = ELOOP;

    for (int links = 0; err == ELOOP && links <= S3_LINKS_MAX; links++) {
        err = wg_co_put(co, r->top, in, ret);
        if (err != ELOOP)
            return err;
        err = next_key(co, r, &in->bucket, &in->key);
    }
    return err == ELOOP || err == ENOENT ? EACCES : err;
}

int s3_stage_following(struct wg_co *co, struct s3_req *r, struct wg_stage_in *in, const struct wg_stage_out **ret)
{
    int err = ELOOP;

    for (int links = 0; err == ELOOP && links <= S3_LINKS_MAX; links++) {
        err = wg_co_stage(co, r->top, in, ret);
        if (err != ELOOP)
            return err;
        err = next_key(co, r, &in->bucket, &in->key);
    }
    return err == ELOOP || err == ENOENT ? EACCES : err;
}

int s3_del_following(struct wg_co *co, struct s3_req *r, struct wg_del_in *in, const struct wg_del_out **ret)
{
    int err = ELOOP;

    for (int links = 0; err == ELOOP && links <= S3_LINKS_MAX; links++) {
        err = wg_co_del(co, r->top, in, ret);
        if (err != ELOOP)
            return err;
        err = next_key(co, r, &in->bucket, &in->key);
    }
    return err == ELOOP ? ENOENT : err;
}
