/* SPDX-License-Identifier: Apache-2.0 */
#include <openssl/crypto.h>

#include "exports.h"

enum { FH_VERSION = 1, AT_VOLUME = 1, AT_EXPORT = 9, AT_GFID = 13, AT_HINT = 29, FH_CHECK = 8 };

static bool check_of(const struct nfs_volume *v, const uint8_t *fh, uint32_t len,
                     uint8_t ret[NFS_MAC])
{
    struct wg_str part = { (const char *)fh, len - FH_CHECK };

    return nfs_mac(v->key, &part, 1, ret);
}

uint32_t nfs_handle_seal(const struct nfs_export *e, const struct wg_ref *ref,
                         uint8_t ret[NFS3_FHSIZE])
{
    uint32_t hint = ref->hint_len <= NFS_FH_HINT ? ref->hint_len : 0;
    uint32_t len = NFS_FH_FIXED + hint;
    uint32_t id = htobe32(e->id);
    uint8_t mac[NFS_MAC];

    ret[0] = FH_VERSION;
    memcpy(ret + AT_VOLUME, e->volume->id, 8);
    memcpy(ret + AT_EXPORT, &id, 4);
    memcpy(ret + AT_GFID, ref->gfid.b, 16);
    memcpy(ret + AT_HINT, ref->hint, hint);
    if (!check_of(e->volume, ret, len, mac))
        return 0;
    memcpy(ret + len - FH_CHECK, mac, FH_CHECK);
    return len;
}

static struct nfs_export *export_by_id(const struct nfs_exports *t, uint32_t id,
                                       const uint8_t volume[8])
{
    for (unsigned i = 0; i < t->nexports; i++)
        if (t->exports[i].id == id && memcmp(t->exports[i].volume->id, volume, 8) == 0)
            return &t->exports[i];
    return NULL;
}

int nfs_handle_open(const struct nfs_exports *t, struct wg_str fh, struct nfs_export **ret_export,
                    struct wg_ref *ret_ref)
{
    const uint8_t *p = (const uint8_t *)fh.s;
    struct nfs_export *e;
    uint8_t mac[NFS_MAC];
    uint32_t id;

    if (fh.len < NFS_FH_FIXED || fh.len > NFS3_FHSIZE || p[0] != FH_VERSION)
        return EBADHANDLE;
    memcpy(&id, p + AT_EXPORT, 4);
    e = export_by_id(t, be32toh(id), p + AT_VOLUME);
    if (!e)
        return ESTALE;
    if (!check_of(e->volume, p, fh.len, mac))
        return ENOMEM;
    if (CRYPTO_memcmp(mac, p + fh.len - FH_CHECK, FH_CHECK) != 0)
        return EBADHANDLE;
    memset(ret_ref, 0, sizeof *ret_ref);
    memcpy(ret_ref->gfid.b, p + AT_GFID, 16);
    ret_ref->hint_len = (uint8_t)(fh.len - NFS_FH_FIXED);
    memcpy(ret_ref->hint, p + AT_HINT, ret_ref->hint_len);
    *ret_export = e;
    return 0;
}
