/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Exports, their rules and volumes: one immutable table, replaced as a whole by a reload. A
 * request holds a reference of the table that it began with.
 */
#ifndef WG_NFS_EXPORTS_H
#define WG_NFS_EXPORTS_H

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>

#include "mac.h"
#include "nfs.h"
#include "nfs3.h"

struct nfs_rule {
    char *clients;           /* as written */
    struct in6_addr net;     /* IPv4 in mapped form */
    unsigned bits;           /* of the prefix; 0: everybody */
    bool read_only, privileged_port, allow_none;
    enum wg_nfs_squash squash;
    uint32_t anon_uid, anon_gid;
};

struct nfs_volume {
    char *name;
    uint8_t id[8];           /* in handles */
    uint8_t key[NFS_KEY];
    struct nfs3_ids ids;
    struct wg_volume *volume;
};

struct nfs_export {
    char *path, *dir;        /* normal: "/" or "/a/b" */
    uint32_t id;             /* in handles: a hash of path */
    struct nfs_volume *volume;
    struct nfs_rule *rules;
    unsigned nrules;
    atomic_bool root_known;  /* set once, after root */
    wg_gfid root;            /* of dir */
};

struct nfs_exports {
    atomic_uint refs;
    struct nfs_volume *volumes;
    unsigned nvolumes;
    struct nfs_export *exports;
    unsigned nexports;
    uint32_t timeout_ms;
};

/* NULL after one line through err for each mistake. The caller has a reference. */
struct nfs_exports *nfs_exports_new(const struct wg_nfs_config *config,
                                    void (*err)(void *arg, const char *text), void *arg);
void nfs_exports_unref(struct nfs_exports *t);

/* Makes t (its reference passes on; NULL at the stop) the current table. */
void nfs_exports_set(struct nfs_exports *t);
/* The current table with a reference for the caller; NULL when there is none. */
struct nfs_exports *nfs_exports_get(void);

/* The rule for a client, NULL when the export is not for it. */
const struct nfs_rule *nfs_rule_for(const struct nfs_export *e, const struct in6_addr *addr);
/* The export with the longest path that path is, or lies in; *ret_rest is what follows. */
struct nfs_export *nfs_export_of_path(const struct nfs_exports *t, const char *path,
                                      const char **ret_rest);
void nfs_export_set_root(struct nfs_export *e, wg_gfid root);
/* Is it the directory that clients mount? EAGAIN while that is not known. */
int nfs_export_is_root(const struct nfs_export *e, wg_gfid g, bool *ret);

/* "/a//b/" to "/a/b"; into out (as long as path + 2). */
void nfs_normal_path(const char *path, char *out);

/* --- file handles --- */

enum { NFS_FH_FIXED = 1 + 8 + 4 + 16 + 8, NFS_FH_HINT = NFS3_FHSIZE - NFS_FH_FIXED };

/*
 * version 1, volume id 8, export id 4, gfid 16, hint (the rest), check 8. The check is a MAC over
 * all before it. A hint that does not fit is left out.
 */
uint32_t nfs_handle_seal(const struct nfs_export *e, const struct wg_ref *ref,
                         uint8_t ret[NFS3_FHSIZE]);
/* 0; EBADHANDLE: not one of ours; ESTALE: of a volume or export that is not here (any more). */
int nfs_handle_open(const struct nfs_exports *t, struct wg_str fh, struct nfs_export **ret_export,
                    struct wg_ref *ret_ref);

#endif
