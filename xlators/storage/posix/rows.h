/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of the index's tables, as LMDB keeps them. In the byte order of the machine: derived data. */
#ifndef WG_PX_ROWS_H
#define WG_PX_ROWS_H

#include "index.h"

struct gfid_value {
    uint8_t type, hint_len, name_len, unused;
    wg_gfid parent;
    uint8_t bytes[WG_HINT_MAX + WG_NAME_MAX];
};
#define GFID_VALUE_FIXED offsetof(struct gfid_value, bytes)

struct name_value {
    wg_gfid gfid;
    uint8_t type;
};

struct dir_value {
    int64_t sec;
    uint32_t nsec;
};

struct name_key {
    uint8_t b[8 + WG_KEY_SORT_MAX];
    uint32_t len;
};

/* Sort forms are those of an ordinary directory: what a chunk's names mean is judged by list. */
static inline void name_key(wg_gfid dir, struct wg_str name, bool is_dir, struct name_key *k)
{
    wg_px_dir_key(dir, k->b);
    k->len = 8 + wg_key_sort(WG_KEY_IN_DIR, name, is_dir, k->b + 8);
}

/* LMDB's own errors say that its file is damaged or that we misuse it: either way, begin again. */
static inline int from_mdb(int rc)
{
    return rc == MDB_NOTFOUND ? ENOENT : rc < 0 ? EIO : rc;
}

#endif
