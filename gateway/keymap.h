/* SPDX-License-Identifier: Apache-2.0 */
/*
 * S3 keys and paths. Any key of 1 to WG_KEY_MAX bytes without NUL has exactly one path below its
 * bucket's directory (and one more, the twin, for a file beside a directory of its name), and a
 * name in a directory shows at most one piece of a key. Part of the on-disk format;
 * docs/key-mapping.md has the rules and examples. Pure functions: no state, any thread.
 */
#ifndef WG_KEYMAP_H
#define WG_KEYMAP_H

#include "types.h"

/*
 * The escapes. A component is a key's text between slashes.
 *   .@=C   C itself, where C is empty, ".", ".." or begins with ".@"
 *   .@fC   the twin: the file C beside a directory C
 *   .@+C   a directory that holds the first WG_KEY_CHUNK bytes of components too long for a name
 */
#define WG_KEY_CHUNK (WG_NAME_MAX - 3)

/* Room for the path of any key and for a twin, NUL included: "/" gives ".@=/.@=". */
#define WG_KEY_PATH_MAX (4 * WG_KEY_MAX + 8)
#define WG_KEY_TWIN_MAX (WG_NAME_MAX + 8)
/* Room for wg_key_sort: a name, its '/', the end mark and the tag. */
#define WG_KEY_SORT_MAX (WG_NAME_MAX + 3)

/*
 * What a directory is to the names inside it; two bits that a store may keep with the directory.
 * In a chunk, names continue a component.
 */
enum wg_key_dir {
    WG_KEY_IN_DIR,
    WG_KEY_IN_BUCKET,   /* the bucket's own directory: no name may show the empty key */
    WG_KEY_IN_CHUNK,    /* .@+C */
    WG_KEY_IN_DOTCHUNK, /* .@+C where C begins with ".@" */
};

/* Of a directory by its own name, for directories below a bucket's. */
enum wg_key_dir wg_key_dir_of(struct wg_str name);

enum wg_key_kind {
    WG_KEY_NONE,    /* shows no key: not a canonical escape here, or no component at all */
    WG_KEY_PLAIN,
    WG_KEY_ESCAPED,
    WG_KEY_TWIN,
    WG_KEY_CHUNKED, /* a directory whose names go on with piece */
};

/*
 * What a name adds to the key of its directory: piece, a part of name itself, then '/' when
 * slash (a directory that is no chunk).
 */
struct wg_key_name {
    enum wg_key_kind kind;
    bool slash;
    struct wg_str piece;
};

struct wg_key_name wg_key_of_name(enum wg_key_dir in, struct wg_str name, bool is_dir);

/* True for a name that NFS may create in such a directory: every other one would show no key. */
bool wg_key_name_ok(enum wg_key_dir in, struct wg_str name, bool is_dir);

/*
 * True when NFS may rename a non-empty directory from one name to the other (each allowed by
 * wg_key_name_ok where it is), since a chunk gives the names inside another meaning.
 */
bool wg_key_dir_rename_ok(struct wg_str from, struct wg_str to);

/*
 * Writes the path of key, relative to the bucket's directory, without a leading '/', with NUL,
 * into path (WG_KEY_PATH_MAX bytes); *ret_len is its length without the NUL. A path may be longer
 * than PATH_MAX: walk it by component. Each component is 1 to WG_NAME_MAX bytes and never "."
 * or "..". A key that ends with '/' gives the path of its content, a file in the directory.
 * twin: the path that the key's file has beside a directory of the same name.
 * 0, EINVAL for an empty key or one with a NUL, ENAMETOOLONG for more than WG_KEY_MAX bytes.
 */
int wg_key_to_path(struct wg_str key, bool twin, char *path, uint32_t *ret_len);

/*
 * The reverse: the key that the file (is_dir false) or directory at path shows, a directory's with
 * its '/', into key (of size bytes, not terminated). EINVAL when a component shows none,
 * ENAMETOOLONG when it does not fit.
 */
int wg_path_to_key(struct wg_str path, bool is_dir, char *key, uint32_t size, uint32_t *ret_len);

/*
 * The twin of a file's name (PLAIN or ESCAPED where it is): a path relative to the same
 * directory, with NUL, in buf (WG_KEY_TWIN_MAX bytes). One component, or chunk and rest for
 * names over WG_KEY_CHUNK bytes. EINVAL for a name that shows no key or is a twin.
 */
int wg_key_twin(enum wg_key_dir in, struct wg_str name, char *buf, uint32_t *ret_len);

/*
 * The sort form of a name: memcmp of two of them (shorter first when one begins the other) is the
 * byte order of the full keys, so a directory sorts as its name plus '/'; equal pieces are
 * ordered plain, twin, chunk. Into buf (WG_KEY_SORT_MAX bytes); returns the length.
 */
uint32_t wg_key_sort(enum wg_key_dir in, struct wg_str name, bool is_dir, uint8_t *buf);

/*
 * The name of a sort form, into name (WG_NAME_MAX bytes), and what it shows (ret's piece points
 * into sort). EINVAL for bytes that are no sort form.
 */
int wg_key_unsort(const uint8_t *sort, uint32_t len, char *name, uint32_t *ret_len,
                  struct wg_key_name *ret);

#endif
