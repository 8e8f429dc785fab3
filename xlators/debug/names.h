/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paths for debug translators. Fops are addressed by gfid; what this table has seen of names (in
 * lookups, creates, renames, S3 keys) turns them into paths again, as far as it remembers: it is
 * bounded, and an inode whose name it never saw keeps its gfid.
 */
#ifndef WG_DEBUG_NAMES_H
#define WG_DEBUG_NAMES_H

#include "target.h"

struct wg_frame;
struct wg_names;

/* NULL when memory is out (about 1.3 MB). */
struct wg_names *wg_names_new(void);
void wg_names_free(struct wg_names *n);
/* Whether the answer of op names an inode. */
bool wg_names_teaches(unsigned op);
/* Remembers what f's answer says; in a completion of f with f->err 0. Any thread. */
void wg_names_learn(struct wg_names *n, const struct wg_frame *f);
/* "/dir/file", or "<gfid>/file" when the way up is not known; n may be NULL. Returns buf. */
char *wg_names_path(struct wg_names *n, unsigned op, const void *in, char *buf, size_t size);

#endif
