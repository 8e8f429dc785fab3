/* SPDX-License-Identifier: Apache-2.0 */
#include "keymap.h"

#include <assert.h>
#include <errno.h>

#define MARK ".@"
#define MARK_LEN 2
#define ESC_LEN 3 /* the mark and its letter */

/* The last byte of a sort form; its order is the order of names that show the same piece. */
enum { TAG_SELF = 1, TAG_TWIN, TAG_CHUNK, TAG_NONE };

static struct wg_str cut(struct wg_str s, uint32_t n)
{
    return (struct wg_str){ s.s + n, s.len - n };
}

static bool marked(struct wg_str s)
{
    return s.len >= MARK_LEN && memcmp(s.s, MARK, MARK_LEN) == 0;
}

/* Whether a component can't stand for itself, whatever its length. */
static bool needs_escape(struct wg_str c)
{
    return c.len == 0 || (c.len <= 2 && memcmp(c.s, "..", c.len) == 0) || marked(c);
}

static bool needs_chunk(struct wg_str c, bool twin)
{
    return c.len > (twin || needs_escape(c) ? WG_KEY_CHUNK : WG_NAME_MAX);
}

static char *put(char *at, const char *s, uint32_t len)
{
    if (len > 0)
        memcpy(at, s, len);
    return at + len;
}

/* A component, in one or more names; at most 3 bytes longer per name. Returns the end. */
static char *put_component(char *at, struct wg_str c, bool twin)
{
    while (needs_chunk(c, twin)) {
        at = put(at, MARK "+", ESC_LEN);
        at = put(at, c.s, WG_KEY_CHUNK);
        *at++ = '/';
        c = cut(c, WG_KEY_CHUNK);
    }
    if (twin)
        at = put(at, MARK "f", ESC_LEN);
    else if (needs_escape(c))
        at = put(at, MARK "=", ESC_LEN);
    return put(at, c.s, c.len);
}

int wg_key_to_path(struct wg_str key, bool twin, char *path, uint32_t *ret_len)
{
    char *at = path;

    if (key.len == 0 || key.len > WG_KEY_MAX)
        return key.len == 0 ? EINVAL : ENAMETOOLONG;
    if (memchr(key.s, 0, key.len))
        return EINVAL;
    for (;;) {
        const char *slash = memchr(key.s, '/', key.len);
        struct wg_str c = { key.s, slash ? (uint32_t)(slash - key.s) : key.len };

        at = put_component(at, c, twin && !slash);
        if (!slash)
            break;
        *at++ = '/';
        key = cut(key, c.len + 1);
        if (key.len == 0) /* the rest is the empty component; memchr must not see a NULL */
            key.s = "";
    }
    *at = '\0';
    *ret_len = (uint32_t)(at - path);
    return 0;
}

enum wg_key_dir wg_key_dir_of(struct wg_str name)
{
    if (name.len != WG_NAME_MAX || !marked(name) || name.s[MARK_LEN] != '+')
        return WG_KEY_IN_DIR;
    return marked(cut(name, ESC_LEN)) ? WG_KEY_IN_DOTCHUNK : WG_KEY_IN_CHUNK;
}

/*
 * In a chunk, whether a piece that ends the component makes it so long that it had to be cut:
 * shorter ones are names of the directory above.
 */
static bool long_enough(enum wg_key_dir in, uint32_t len, bool twin)
{
    switch (in) {
    case WG_KEY_IN_BUCKET:
    case WG_KEY_IN_DIR:
        return true;
    case WG_KEY_IN_CHUNK:
        return twin ? len > 0 : WG_KEY_CHUNK + len > WG_NAME_MAX;
    case WG_KEY_IN_DOTCHUNK:
        return len > 0;
    }
    return false;
}

static enum wg_key_kind escape_kind(char letter, struct wg_str piece, bool is_dir)
{
    switch (letter) {
    case '=':
        return needs_escape(piece) ? WG_KEY_ESCAPED : WG_KEY_NONE;
    case 'f':
        return is_dir ? WG_KEY_NONE : WG_KEY_TWIN;
    case '+':
        return is_dir && piece.len == WG_KEY_CHUNK ? WG_KEY_CHUNKED : WG_KEY_NONE;
    default:
        return WG_KEY_NONE;
    }
}

struct wg_key_name wg_key_of_name(enum wg_key_dir in, struct wg_str name, bool is_dir)
{
    struct wg_key_name none = { WG_KEY_NONE, false, name };
    struct wg_key_name n = { WG_KEY_PLAIN, is_dir, name };

    if (name.len == 0 || name.len > WG_NAME_MAX || memchr(name.s, 0, name.len) ||
        memchr(name.s, '/', name.len))
        return none;
    if (marked(name)) {
        if (name.len < ESC_LEN)
            return none;
        n.piece = cut(name, ESC_LEN);
        n.kind = escape_kind(name.s[MARK_LEN], n.piece, is_dir);
    } else if (needs_escape(name)) {
        return none; /* "." and "..": no names of anything */
    }
    if (n.kind == WG_KEY_NONE)
        return none;
    if (n.kind == WG_KEY_CHUNKED) {
        n.slash = false;
        return n;
    }
    if (!long_enough(in, n.piece.len, n.kind == WG_KEY_TWIN))
        return none;
    if (in == WG_KEY_IN_BUCKET && n.piece.len == 0 && !is_dir)
        return none;
    return n;
}

bool wg_key_name_ok(enum wg_key_dir in, struct wg_str name, bool is_dir)
{
    return wg_key_of_name(in, name, is_dir).kind != WG_KEY_NONE;
}

bool wg_key_dir_rename_ok(struct wg_str from, struct wg_str to)
{
    enum wg_key_dir f = wg_key_dir_of(from), t = wg_key_dir_of(to);

    /* Each allows the names that the next one in this order allows: chunk, dotchunk, directory. */
    if (t == WG_KEY_IN_CHUNK)
        return f == WG_KEY_IN_CHUNK;
    if (t == WG_KEY_IN_DOTCHUNK)
        return f == WG_KEY_IN_CHUNK || f == WG_KEY_IN_DOTCHUNK;
    return true;
}

int wg_key_twin(enum wg_key_dir in, struct wg_str name, char *buf, uint32_t *ret_len)
{
    struct wg_key_name n = wg_key_of_name(in, name, false);
    char *end;

    if (n.kind != WG_KEY_PLAIN && n.kind != WG_KEY_ESCAPED)
        return EINVAL;
    end = put_component(buf, n.piece, true);
    *end = '\0';
    *ret_len = (uint32_t)(end - buf);
    return 0;
}

int wg_path_to_key(struct wg_str path, bool is_dir, char *key, uint32_t size, uint32_t *ret_len)
{
    enum wg_key_dir in = WG_KEY_IN_BUCKET;
    uint32_t used = 0;

    for (;;) {
        const char *slash = path.len ? memchr(path.s, '/', path.len) : NULL;
        struct wg_str name = { path.s, slash ? (uint32_t)(slash - path.s) : path.len };
        struct wg_key_name n = wg_key_of_name(in, name, slash || is_dir);

        if (n.kind == WG_KEY_NONE || (n.kind == WG_KEY_CHUNKED && !slash))
            return EINVAL;
        if (n.piece.len + n.slash > size - used)
            return ENAMETOOLONG;
        put(key + used, n.piece.s, n.piece.len);
        used += n.piece.len;
        if (n.slash)
            key[used++] = '/';
        if (!slash)
            break;
        in = wg_key_dir_of(name);
        path = cut(path, name.len + 1);
    }
    *ret_len = used;
    return 0;
}

uint32_t wg_key_sort(enum wg_key_dir in, struct wg_str name, bool is_dir, uint8_t *buf)
{
    static const uint8_t tags[] = {
        [WG_KEY_NONE] = TAG_NONE, [WG_KEY_PLAIN] = TAG_SELF, [WG_KEY_ESCAPED] = TAG_SELF,
        [WG_KEY_TWIN] = TAG_TWIN, [WG_KEY_CHUNKED] = TAG_CHUNK,
    };
    struct wg_key_name n = wg_key_of_name(in, name, is_dir);
    uint8_t *at;

    assert(n.piece.len <= WG_NAME_MAX);
    at = (uint8_t *)put((char *)buf, n.piece.s, n.piece.len);

    if (n.slash)
        *at++ = '/';
    *at++ = 0; /* below every byte of a name, so that the tag decides only between equals */
    *at++ = tags[n.kind];
    return (uint32_t)(at - buf);
}

int wg_key_unsort(const uint8_t *sort, uint32_t len, char *name, uint32_t *ret_len,
                  struct wg_key_name *ret)
{
    struct wg_key_name n = { .piece = { (const char *)sort, len < 2 ? 0 : len - 2 } };
    const char *escape = "";
    char *end;

    if (len < 2 || sort[len - 2] != 0)
        return EINVAL;
    n.slash = n.piece.len > 0 && n.piece.s[n.piece.len - 1] == '/';
    n.piece.len -= n.slash;
    switch (sort[len - 1]) {
    case TAG_SELF:
        n.kind = needs_escape(n.piece) ? WG_KEY_ESCAPED : WG_KEY_PLAIN;
        escape = n.kind == WG_KEY_ESCAPED ? MARK "=" : "";
        break;
    case TAG_TWIN:
        n.kind = WG_KEY_TWIN;
        escape = MARK "f";
        break;
    case TAG_CHUNK:
        n.kind = WG_KEY_CHUNKED;
        escape = MARK "+";
        break;
    case TAG_NONE:
        n.kind = WG_KEY_NONE;
        break;
    default:
        return EINVAL;
    }
    if (strlen(escape) + n.piece.len > WG_NAME_MAX)
        return EINVAL;
    end = put(name, escape, (uint32_t)strlen(escape));
    end = put(end, n.piece.s, n.piece.len);
    *ret_len = (uint32_t)(end - name);
    *ret = n;
    return 0;
}
