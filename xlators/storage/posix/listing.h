/* SPDX-License-Identifier: Apache-2.0 */
/* A list under way: what its walk (list.c) and its rows (listrow.c) share. One thread. */
#ifndef WG_PX_LISTING_H
#define WG_PX_LISTING_H

#include "s3.h"

#define SOURCES 6         /* a component of 1,024 bytes has four chunks */
#define GONE_MAX 32       /* rows found without a name that a page puts right */
#define KEY_ROOM (WG_KEY_MAX + WG_NAME_MAX + 2)

struct source {
    struct px_inode *dir;
    enum wg_key_dir in;
    bool index, more;
    uint32_t prefix_len; /* of the key up to its names */
    struct px_row *rows;
    unsigned n, at, batch;
    uint32_t next_len;
    uint8_t next[WG_KEY_SORT_MAX + 1];
    char prefix[];
};

struct level {
    struct source *src[SOURCES];
    unsigned nsrc;
    bool self; /* the directory itself may be the next key */
};

struct gone {
    wg_gfid dir, gfid;
    char name[WG_NAME_MAX + 1];
};

struct listing {
    struct px_s3 s;
    struct wg_frame *f;
    const struct wg_list_in *in;
    struct wg_list_out *out;
    struct wg_appender rows;
    struct level *level;
    unsigned depth, depth_max;
    char bound[KEY_ROOM];
    uint32_t bound_len;
    char last[KEY_ROOM]; /* the last key met, so that a twin does not show it again */
    uint32_t last_len;
    char next[KEY_ROOM]; /* the last row given */
    uint32_t next_len;
    bool done;
    struct gone *gone;
    unsigned ngone;
};

/* ---- list.c ---- */

/* The part of key that it shares with others up to the delimiter; 0: none. */
uint32_t wg_px_list_common(const struct listing *l, const char *key, uint32_t len);
/* Goes on above all keys that begin with p. */
void wg_px_list_skip(struct listing *l, const char *p, uint32_t len);

/* ---- listrow.c: 0 or ENOMEM ---- */

int wg_px_list_file(struct listing *l, struct source *src, const struct px_row *row, const char *name,
                    bool twin, const char *key, uint32_t len);
/* The directory of the level as an object: one made by S3, or an empty one of NFS. */
int wg_px_list_self(struct listing *l, const struct level *v);
/* Rows whose name is gone are taken out after the page, under the name's lock. */
void wg_px_list_note_gone(struct listing *l, const struct source *src, const struct px_row *row,
                          const char *name);
void wg_px_list_drop_gone(struct listing *l);

static inline int cmp(const char *a, uint32_t a_len, const char *b, uint32_t b_len)
{
    uint32_t n = a_len < b_len ? a_len : b_len;
    int c = n ? memcmp(a, b, n) : 0;

    return c ? c : (a_len > b_len) - (a_len < b_len);
}

static inline bool begins(const char *a, uint32_t a_len, const char *b, uint32_t b_len)
{
    return a_len >= b_len && (b_len == 0 || memcmp(a, b, b_len) == 0);
}

#endif
