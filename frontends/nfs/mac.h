/* SPDX-License-Identifier: Apache-2.0 */
/* SipHash-2-4 by OpenSSL: signs handles, names requests and new inodes. */
#ifndef WG_NFS_MAC_H
#define WG_NFS_MAC_H

#include "types.h"

enum { NFS_KEY = 16, NFS_MAC = 16 };

/*
 * The 128-bit MAC of the parts, one after the other. false when OpenSSL fails (memory). Any
 * thread; each has a context of its own, so nothing is allocated after its first call.
 */
bool nfs_mac(const uint8_t key[NFS_KEY], const struct wg_str *parts, unsigned n,
             uint8_t ret[NFS_MAC]);

#endif
