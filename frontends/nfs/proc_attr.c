/* SPDX-License-Identifier: Apache-2.0 */
/* Procedures on one object: attributes, access, symbolic links, the file system. */
#include "request.h"

enum { FSF3_LINK = 1, FSF3_SYMLINK = 2, FSF3_HOMOGENEOUS = 8, FSF3_CANSETTIME = 16 };

void nfs3_getattr_start(struct nfs_req *r)
{
    nfs_fop(r, getattr, .at = r->ref[0]);
}

void nfs3_getattr_reply(struct nfs_req *r, const void *result)
{
    const struct wg_getattr_out *out = result;

    if (!r->err)
        nfs3_put_attr(&r->rpc.out, &out->attr, &r->export->volume->ids);
}

void nfs3_setattr_start(struct nfs_req *r)
{
    const struct wg_sattr *s = &r->args.attrs;

    if ((s->valid & WG_SET_SIZE) && s->size > INT64_MAX)
        return nfs_fail(r, EFBIG);
    nfs_fop(r, setattr, .at = r->ref[0], .attrs = *s);
}

void nfs3_setattr_reply(struct nfs_req *r, const void *result)
{
    const struct wg_setattr_out *out = result;

    nfs_put_wcc(r, &out->wcc);
}

void nfs3_access_start(struct nfs_req *r)
{
    nfs_fop(r, access, .at = r->ref[0], .mask = r->args.mask);
}

void nfs3_access_reply(struct nfs_req *r, const void *result)
{
    const struct wg_access_out *out = result;
    uint32_t granted = out->granted & r->args.mask;

    nfs_put_attr(r, &out->attr);
    if (r->err)
        return;
    if (r->rule->read_only)
        granted &= ~(uint32_t)(ACCESS3_MODIFY | ACCESS3_EXTEND | ACCESS3_DELETE);
    wg_xdr_put_u32(&r->rpc.out, granted);
}

void nfs3_readlink_start(struct nfs_req *r)
{
    nfs_fop(r, readlink, .at = r->ref[0]);
}

void nfs3_readlink_reply(struct nfs_req *r, const void *result)
{
    const struct wg_readlink_out *out = result;

    if (!r->err && out->target.len > RPC_REPLY / 2)
        nfs_reply_large(r, out->target.len + 128);
    nfs_put_attr(r, &out->attr);
    if (!r->err)
        wg_xdr_put_bytes(&r->rpc.out, out->target.s, out->target.len);
}

void nfs3_fsstat_start(struct nfs_req *r)
{
    nfs_fop(r, statfs, .at = r->ref[0]);
}

void nfs3_fsstat_reply(struct nfs_req *r, const void *result)
{
    const struct wg_statfs_out *out = result;
    struct wg_xdr_out *x = &r->rpc.out;

    nfs_put_attr(r, &out->attr);
    if (r->err)
        return;
    wg_xdr_put_u64(x, out->fs.total_bytes);
    wg_xdr_put_u64(x, out->fs.free_bytes);
    wg_xdr_put_u64(x, out->fs.avail_bytes);
    wg_xdr_put_u64(x, out->fs.total_files);
    wg_xdr_put_u64(x, out->fs.free_files);
    wg_xdr_put_u64(x, out->fs.avail_files);
    wg_xdr_put_u32(x, 0); /* invarsec: it may change at any time */
}

void nfs3_fsinfo_start(struct nfs_req *r)
{
    nfs_fop(r, getattr, .at = r->ref[0]);
}

void nfs3_fsinfo_reply(struct nfs_req *r, const void *result)
{
    const struct wg_getattr_out *out = result;
    struct wg_xdr_out *x = &r->rpc.out;

    nfs_put_attr(r, &out->attr);
    if (r->err)
        return;
    wg_xdr_put_u32(x, NFS3_IO_MAX); /* rtmax, rtpref, rtmult */
    wg_xdr_put_u32(x, NFS3_IO_MAX);
    wg_xdr_put_u32(x, 4096);
    wg_xdr_put_u32(x, NFS3_IO_MAX); /* wtmax, wtpref, wtmult */
    wg_xdr_put_u32(x, NFS3_IO_MAX);
    wg_xdr_put_u32(x, 4096);
    wg_xdr_put_u32(x, 64 << 10);    /* dtpref */
    wg_xdr_put_u64(x, INT64_MAX);   /* maxfilesize */
    wg_xdr_put_u32(x, 0);           /* time_delta: one nanosecond */
    wg_xdr_put_u32(x, 1);
    wg_xdr_put_u32(x, FSF3_LINK | FSF3_SYMLINK | FSF3_HOMOGENEOUS | FSF3_CANSETTIME);
}

void nfs3_pathconf_start(struct nfs_req *r)
{
    nfs_fop(r, getattr, .at = r->ref[0]);
}

void nfs3_pathconf_reply(struct nfs_req *r, const void *result)
{
    const struct wg_getattr_out *out = result;
    struct wg_xdr_out *x = &r->rpc.out;

    nfs_put_attr(r, &out->attr);
    if (r->err)
        return;
    wg_xdr_put_u32(x, 32000);       /* linkmax */
    wg_xdr_put_u32(x, WG_NAME_MAX);
    wg_xdr_put_u32(x, true);        /* no_trunc: longer names are an error */
    wg_xdr_put_u32(x, true);        /* chown_restricted */
    wg_xdr_put_u32(x, false);       /* case_insensitive */
    wg_xdr_put_u32(x, true);        /* case_preserving */
}
