/* SPDX-License-Identifier: Apache-2.0 */
/* What a fop is about, whatever the fop: found among its arguments by their types (fops.def). */
#ifndef WG_TARGET_H
#define WG_TARGET_H

#include "fop.h"

struct wg_target {
    const struct wg_gfid *gfid;  /* the inode, the directory that holds the name, or the bucket */
    struct wg_str name;          /* the name in that directory (is_key: the S3 key); empty: none */
    struct wg_str to;            /* a second name: of rename and link */
    const struct wg_gfid *to_gfid; /* and its directory */
    bool is_key;
};

/* Points into in, the arguments of op. gfid may stay NULL. Any thread. */
void wg_target_of(unsigned op, const void *in, struct wg_target *ret);
/* "<gfid>/name", with control bytes escaped; always terminated. Returns buf. */
char *wg_target_show(const struct wg_target *t, char *buf, size_t size);
/* The usual text of a gfid, 36 characters and a NUL, into buf. Returns buf. */
#define WG_GFID_TEXT 37
char *wg_gfid_show(const struct wg_gfid *g, char *buf);

#endif
