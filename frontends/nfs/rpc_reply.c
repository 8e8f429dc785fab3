/* SPDX-License-Identifier: Apache-2.0 */
/* Replies (RFC 5531 section 9): the record mark and the header, then what the procedure adds. */
#define WG_LOG_PART "nfs"
#include "conn.h"
#include "log.h"

static void begin(struct wg_rpc *r, uint8_t *head, uint32_t size)
{
    r->head = head;
    r->out = (struct wg_xdr_out){ head + 4, head + size, false }; /* the mark comes last */
    wg_xdr_put_u32(&r->out, r->xid);
    wg_xdr_put_u32(&r->out, 1); /* REPLY */
}

void wg_rpc_accept(struct wg_rpc *r, enum wg_rpc_accept status)
{
    uint8_t *head = r->head_buf ? r->head_buf->base : r->reply;
    uint32_t size = r->head_buf ? r->head_buf->size : sizeof r->reply;

    r->accept = status;
    r->nseg = 0;
    r->payload = 0;
    begin(r, head, size);
    wg_xdr_put_u32(&r->out, 0); /* MSG_ACCEPTED */
    wg_xdr_put_u32(&r->out, RPC_AUTH_NONE);
    wg_xdr_put_u32(&r->out, 0);
    wg_xdr_put_u32(&r->out, status);
}

int wg_rpc_large(struct wg_rpc *r, uint32_t size)
{
    struct wg_iobuf *buf = wg_iobuf_get(RPC_HEAD + size);

    if (!buf)
        return ENOMEM;
    wg_iobuf_unref(r->head_buf);
    r->head_buf = buf;
    wg_rpc_charge(r, size);
    wg_rpc_accept(r, r->accept);
    return 0;
}

void wg_rpc_mismatch(struct wg_rpc *r, uint32_t low, uint32_t high)
{
    wg_rpc_accept(r, WG_RPC_BADVERS);
    wg_xdr_put_u32(&r->out, low);
    wg_xdr_put_u32(&r->out, high);
}

void wg_rpc_deny(struct wg_rpc *r, enum wg_rpc_auth why)
{
    r->denied = 1 + why;
    begin(r, r->reply, sizeof r->reply);
    wg_xdr_put_u32(&r->out, 1); /* MSG_DENIED */
    wg_xdr_put_u32(&r->out, 1); /* AUTH_ERROR */
    wg_xdr_put_u32(&r->out, why);
}

void wg_rpc_send(struct wg_rpc *r)
{
    uint32_t mark;

    if (r->out.bad) {
        wg_error("a reply to procedure %u of program %u did not fit", r->proc, r->prog);
        wg_rpc_accept(r, WG_RPC_FAILED);
    }
    r->head_len = (uint32_t)(r->out.at - r->head);
    if (!r->conn) {
        wg_udp_send(r);
        return;
    }
    mark = htobe32(0x80000000u | (r->head_len - 4 + r->payload + wg_xdr_pad(r->payload)));
    memcpy(r->head, &mark, sizeof mark);
    wg_conn_send(r);
}

void wg_rpc_drop(struct wg_rpc *r)
{
    if (!r->conn)
        wg_udp_drop(r);
    else
        wg_conn_done(r);
}
