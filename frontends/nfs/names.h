/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What REMOVE, RMDIR and RENAME expect under a name: (directory, name) to gfid, remembered for a
 * few seconds. Lossy and without locks; a wrong answer costs one more lookup, because the store
 * compares (ENOTEXPECTED).
 */
#ifndef WG_NFS_NAMES_H
#define WG_NFS_NAMES_H

#include "types.h"

void nfs_names_put(wg_gfid dir, struct wg_str name, wg_gfid g);
bool nfs_names_get(wg_gfid dir, struct wg_str name, wg_gfid *ret);
void nfs_names_forget(wg_gfid dir, struct wg_str name);

#endif
