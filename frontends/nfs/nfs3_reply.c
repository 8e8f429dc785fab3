/* SPDX-License-Identifier: Apache-2.0 */
/* The parts that NFSv3's replies share: status, attributes, weak cache consistency. */
#include "nfs3.h"

uint32_t nfs3_status_of(int err)
{
    return err ? wg_error_row(err)->nfs : NFS3_OK;
}

uint64_t nfs3_fileid(wg_gfid g, bool fold32)
{
    uint64_t hi, lo, id;

    memcpy(&hi, g.b, 8);
    memcpy(&lo, g.b + 8, 8);
    id = be64toh(hi) ^ be64toh(lo);
    if (fold32)
        id = (id >> 32) ^ (id & UINT32_MAX);
    return id ? id : 1;
}

static void put_time(struct wg_xdr_out *x, struct wg_time t)
{
    uint64_t sec = t.sec < 0 ? 0 : t.sec > UINT32_MAX ? UINT32_MAX : (uint64_t)t.sec;

    wg_xdr_put_u32(x, (uint32_t)sec);
    wg_xdr_put_u32(x, t.nsec);
}

void nfs3_put_attr(struct wg_xdr_out *x, const struct wg_iatt *a, const struct nfs3_ids *ids)
{
    static const uint8_t types[] = {
        [WG_REG] = 1, [WG_DIR] = 2, [WG_BLK] = 3, [WG_CHR] = 4,
        [WG_LNK] = 5, [WG_SOCK] = 6, [WG_FIFO] = 7,
    };

    wg_xdr_put_u32(x, a->type > WG_NONE && a->type <= WG_FIFO ? types[a->type] : 1);
    wg_xdr_put_u32(x, a->mode & 07777);
    wg_xdr_put_u32(x, a->nlink);
    wg_xdr_put_u32(x, a->uid);
    wg_xdr_put_u32(x, a->gid);
    wg_xdr_put_u64(x, a->size);
    wg_xdr_put_u64(x, a->used);
    wg_xdr_put_u32(x, a->rdev_major);
    wg_xdr_put_u32(x, a->rdev_minor);
    wg_xdr_put_u64(x, ids->fsid);
    wg_xdr_put_u64(x, nfs3_fileid(a->gfid, ids->fileid32));
    put_time(x, a->atime);
    put_time(x, a->mtime);
    put_time(x, a->ctime);
}

void nfs3_put_post_attr(struct wg_xdr_out *x, const struct wg_iatt *a, const struct nfs3_ids *ids)
{
    bool there = a && a->valid;

    wg_xdr_put_u32(x, there);
    if (there)
        nfs3_put_attr(x, a, ids);
}

void nfs3_put_wcc(struct wg_xdr_out *x, const struct wg_wcc *w, const struct nfs3_ids *ids)
{
    bool pre = w && w->pre_valid;

    wg_xdr_put_u32(x, pre);
    if (pre) {
        wg_xdr_put_u64(x, w->pre_size);
        put_time(x, w->pre_mtime);
        put_time(x, w->pre_ctime);
    }
    nfs3_put_post_attr(x, w ? &w->post : NULL, ids);
}
