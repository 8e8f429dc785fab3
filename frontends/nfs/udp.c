/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MOUNT over UDP, for old clients: the library's own path for datagrams, from receiving to
 * sending, around the same struct wg_rpc. Datagrams are small (README.md rule R8).
 */
#include <rpc/rpc.h>
#include <rpc/svc_auth.h>
#include <rpc/svc_rqst.h>

#include <stdlib.h>

#define WG_LOG_PART "nfs"
#include "conn.h"
#include "log.h"
#include "ntirpc.h"

enum { DATAGRAM = 9000 };

/* The library's request and who sent it; the reply is encoded while both live. */
struct datagram {
    struct svc_req req;
    struct wg_rpc_peer peer;
};

struct svc_req *wg_udp_alloc(SVCXPRT *xprt, XDR *xdrs)
{
    struct datagram *d = calloc(1, sizeof *d);

    if (!d)
        abort(); /* the library has no way to hear of it */
    SVC_REF(xprt, SVC_REF_FLAG_NONE);
    d->req.rq_xprt = xprt;
    d->req.rq_xdrs = xdrs;
    d->req.rq_refcnt = 1;
    return &d->req;
}

void wg_udp_free(struct svc_req *req, enum xprt_stat stat)
{
    SVCXPRT *xprt = req->rq_xprt;

    (void)stat;
    free(req);
    SVC_RELEASE(xprt, SVC_RELEASE_FLAG_NONE);
}

/* What the library does after process_cb, when it was told XPRT_SUSPEND. */
static void epilogue(struct svc_req *req)
{
    if (req->rq_auth)
        SVCAUTH_RELEASE(req);
    XDR_DESTROY(req->rq_xdrs);
    wg_udp_free(req, XPRT_IDLE);
}

static bool put_results(XDR *xdrs, void *arg)
{
    struct wg_rpc *r = arg;

    return XDR_PUTBYTES(xdrs, (char *)r->head + RPC_HEAD, r->head_len - RPC_HEAD);
}

void wg_udp_send(struct wg_rpc *r)
{
    struct svc_req *req = r->svc;

    if (r->denied) {
        svcerr_auth(req, (enum auth_stat)(r->denied - 1));
    } else if (r->accept == WG_RPC_OK) {
        req->rq_msg.RPCM_ack.ar_results.proc = (xdrproc_t)put_results;
        req->rq_msg.RPCM_ack.ar_results.where = r;
        svc_sendreply(req);
    } else if (r->accept == WG_RPC_NOPROG) {
        svcerr_noprog(req);
    } else if (r->accept == WG_RPC_BADVERS) {
        svcerr_progvers(req, 1, 3);
    } else if (r->accept == WG_RPC_NOPROC) {
        svcerr_noproc(req);
    } else if (r->accept == WG_RPC_GARBAGE) {
        svcerr_decode(req);
    } else {
        svcerr_systemerr(req);
    }
    wg_udp_drop(r);
}

void wg_udp_drop(struct wg_rpc *r)
{
    struct svc_req *req = r->svc;

    wg_conn_done(r);
    epilogue(req);
}

static enum xprt_stat process(struct svc_req *req)
{
    struct datagram *d = (struct datagram *)req;
    bool no_dispatch = false;
    enum auth_stat auth = svc_auth_authenticate(req, &no_dispatch);
    XDR *x = req->rq_xdrs;
    struct wg_rpc *r;

    if (auth != AUTH_OK)
        return svcerr_auth(req, auth);
    r = no_dispatch ? NULL : wg_request_new();
    if (!r)
        return XPRT_IDLE;
    r->svc = req;
    wg_peer_set(&d->peer, svc_getrpccaller(req->rq_xprt));
    r->peer = &d->peer;
    r->xid = req->rq_msg.rm_xid;
    r->prog = req->rq_msg.cb_prog;
    r->vers = req->rq_msg.cb_vers;
    r->proc = req->rq_msg.cb_proc;
    r->flavor = (uint32_t)req->rq_msg.cb_cred.oa_flavor;
    r->cred = (struct wg_str){ req->rq_msg.cb_cred.oa_body, req->rq_msg.cb_cred.oa_length };
    r->args_len = (uint32_t)xdr_tail_inline(x);
    if (r->args_len > sizeof r->text)
        r->args_len = sizeof r->text;
    memcpy(r->text, x->x_data, r->args_len); /* the reply is encoded over it */
    r->args = r->text;
    wg_request_call(r);
    return XPRT_SUSPEND;
}

static enum xprt_stat on_datagram(SVCXPRT *xprt)
{
    xprt->xp_dispatch.process_cb = process;
    return SVC_RECV(xprt);
}

int wg_udp_listen(int fd, uint32_t channel, void **ret_xprt)
{
    SVCXPRT *l = svc_dg_ncreatef(fd, DATAGRAM, DATAGRAM,
                                 SVC_CREATE_FLAG_CLOSE | SVC_CREATE_FLAG_LISTEN);

    if (!l)
        return ENOMEM;
    l->xp_dispatch.rendezvous_cb = on_datagram;
    *ret_xprt = l;
    return svc_rqst_evchan_reg(channel, l, SVC_RQST_FLAG_XPRT_UREG);
}
