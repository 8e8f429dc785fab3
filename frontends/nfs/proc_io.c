/* SPDX-License-Identifier: Apache-2.0 */
/* READ, WRITE, COMMIT: payloads stay in the buffers that they came in. */
#include "request.h"

void nfs3_read_start(struct nfs_req *r)
{
    uint64_t offset = r->args.offset;
    uint32_t size = r->args.count < NFS3_IO_MAX ? r->args.count : NFS3_IO_MAX;

    /* Beyond every file: the answer is an end of file, not an error of the store. */
    if (offset > INT64_MAX - NFS3_IO_MAX)
        offset = INT64_MAX - NFS3_IO_MAX;
    wg_rpc_charge(&r->rpc, size);
    nfs_fop(r, read, .at = r->ref[0], .offset = offset, .size = size);
}

void nfs3_read_reply(struct nfs_req *r, const void *result)
{
    const struct wg_read_out *out = result;
    struct wg_xdr_out *x = &r->rpc.out;

    nfs_put_attr(r, &out->attr);
    if (r->err)
        return;
    wg_xdr_put_u32(x, out->data.len);
    wg_xdr_put_u32(x, out->eof);
    wg_xdr_put_u32(x, out->data.len);
    r->rpc.seg = out->data.seg; /* the request holds the call until it is sent */
    r->rpc.nseg = out->data.nseg;
    r->rpc.payload = out->data.len;
}

/* The data as a segment of a counted buffer, which the call keeps for as long as it needs. */
static int payload(struct nfs_req *r, uint32_t len, struct wg_data *ret)
{
    struct wg_seg *seg = WG_NEW(&r->call->arena, struct wg_seg);
    struct wg_iobuf *buf = r->rpc.record;
    const char *at = r->args.data.s;

    *ret = (struct wg_data){ seg, 1, len };
    if (len == 0) {
        ret->nseg = 0;
        return 0;
    }
    if (!seg)
        return ENOMEM;
    if (buf) {
        wg_iobuf_ref(buf);
    } else {
        /* A record so small was copied into the request, which the call may outlive. */
        buf = wg_iobuf_get(len);
        if (!buf)
            return ENOMEM;
        memcpy(buf->base, at, len);
        at = buf->base;
    }
    *seg = (struct wg_seg){ buf, (void *)at, len };
    return wg_keep_iobuf(&r->call->arena, buf);
}

void nfs3_write_start(struct nfs_req *r)
{
    const struct nfs3_args *a = &r->args;
    uint32_t len = a->count < NFS3_IO_MAX ? a->count : NFS3_IO_MAX;
    struct wg_data data;

    if (a->offset > INT64_MAX || a->offset + len > INT64_MAX)
        return nfs_fail(r, EFBIG);
    if (payload(r, len, &data) != 0)
        return nfs_fail(r, ENOMEM);
    nfs_fop(r, write, .at = r->ref[0], .offset = a->offset, .stable = a->stable, .data = data);
}

void nfs3_write_reply(struct nfs_req *r, const void *result)
{
    const struct wg_write_out *out = result;
    struct wg_xdr_out *x = &r->rpc.out;

    nfs_put_wcc(r, &out->wcc);
    if (r->err)
        return;
    wg_xdr_put_u32(x, out->count);
    wg_xdr_put_u32(x, out->committed);
    wg_xdr_put_u64(x, out->verf);
}

void nfs3_commit_start(struct nfs_req *r)
{
    if (r->args.offset > INT64_MAX)
        return nfs_fail(r, EINVAL);
    nfs_fop(r, commit, .at = r->ref[0], .offset = r->args.offset, .count = r->args.count);
}

void nfs3_commit_reply(struct nfs_req *r, const void *result)
{
    const struct wg_commit_out *out = result;

    nfs_put_wcc(r, &out->wcc);
    if (!r->err)
        wg_xdr_put_u64(&r->rpc.out, out->verf);
}
