/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The NFS front end without sockets: these functions stand in for the RPC service, so a call
 * goes through decoding, dispatcher, procedures and encoding, over a store that holds nothing.
 *
 * In the input, eight bytes 0xfe stand for a valid handle of the export's root.
 */
#ifndef WG_FUZZ_NFS_HARNESS_H
#define WG_FUZZ_NFS_HARNESS_H

#include "frontends/nfs/request.h"
#include "tests/nfs/teststore.h"

static struct wg_rpc_peer fz_peer = { .serial = 1, .text = "192.0.2.1", .port = 700 };
static uint8_t fz_fh[NFS3_FHSIZE];
static uint32_t fz_fh_len;
static unsigned fz_answers;
static void (*fz_sent)(struct wg_rpc *r); /* sees each reply */

static inline void fz_begin(struct wg_rpc *r, uint8_t *at, uint32_t size)
{
    r->head = at;
    r->out = (struct wg_xdr_out){ at + RPC_HEAD, at + size, false };
}

void wg_rpc_accept(struct wg_rpc *r, enum wg_rpc_accept status)
{
    r->accept = status;
    r->nseg = 0;
    fz_begin(r, r->head_buf ? r->head_buf->base : r->reply, r->head_buf ? r->head_buf->size : sizeof r->reply);
}

int wg_rpc_large(struct wg_rpc *r, uint32_t size)
{
    wg_iobuf_unref(r->head_buf);
    r->head_buf = wg_iobuf_get(RPC_HEAD + size);
    wg_rpc_accept(r, r->accept);
    return r->head_buf ? 0 : ENOMEM;
}

void wg_rpc_mismatch(struct wg_rpc *r, uint32_t low, uint32_t high)
{
    (void)low;
    (void)high;
    wg_rpc_accept(r, WG_RPC_BADVERS);
}

void wg_rpc_deny(struct wg_rpc *r, enum wg_rpc_auth why)
{
    (void)why;
    fz_begin(r, r->reply, sizeof r->reply);
}

void wg_rpc_charge(struct wg_rpc *r, uint32_t bytes)
{
    r->charged += bytes;
}

bool wg_rpc_in_use(uint64_t serial)
{
    (void)serial;
    return false;
}

void wg_rpc_drop(struct wg_rpc *r)
{
    nfs_release(r);
    wg_iobuf_unref(r->head_buf);
    wg_iobuf_unref(r->record);
    free(r);
    fz_answers++;
}

void wg_rpc_send(struct wg_rpc *r)
{
    if (r->out.bad)
        abort(); /* a reply must fit */
    if (fz_sent)
        fz_sent(r);
    wg_rpc_drop(r);
}

/* volfile NULL: over teststore.h. */
static inline void fz_start_with(const char *volfile)
{
    struct wg_nfs_config c = { 0 };
    struct wg_nfs_volume v;
    struct nfs_exports *t;

    fz_peer.addr.s6_addr[10] = fz_peer.addr.s6_addr[11] = 0xff;
    fz_peer.addr.s6_addr[12] = 192;
    ts_exports(&c, &v, volfile ? ts_graph_of(volfile) : ts_store());
    t = nfs_exports_new(&c, ts_error, NULL);
    if (!t)
        abort();
    fz_fh_len = nfs_handle_seal(&t->exports[0], &(struct wg_ref){ .gfid = WG_ROOT_GFID }, fz_fh);
    nfs_exports_set(t);
    nfs_find_root(t, &t->exports[0]);
}

static inline void fz_start(void)
{
    fz_start_with(NULL);
}

/* The input with handles put in; returns its length. */
static inline uint32_t fz_expand(const uint8_t *data, size_t size, uint8_t *to, uint32_t room)
{
    static const uint8_t token[8] = { 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe };
    struct wg_xdr_out x = { to, to + room, false };

    while (size > 0 && wg_xdr_room(&x) > NFS3_FHSIZE + 8) {
        if (size >= sizeof token && memcmp(data, token, sizeof token) == 0) {
            wg_xdr_put_bytes(&x, fz_fh, fz_fh_len);
            data += sizeof token;
            size -= sizeof token;
        } else {
            *x.at++ = *data++;
            size--;
        }
    }
    return (uint32_t)(x.at - to);
}

/* One call; it must be answered (or dropped) exactly once, at once. */
static inline void fz_call(uint32_t prog, uint32_t vers, uint32_t proc, const uint8_t *data, size_t size)
{
    static const uint8_t cred[] = { 0, 0, 0, 0, 0, 0, 0, 1, 'h', 0, 0, 0, 0, 0, 3, 0xe8, 0, 0, 0, 9, 0, 0, 0, 0 };
    struct nfs_req *r = malloc(sizeof *r);
    unsigned before = fz_answers;

    memset(&r->rpc, 0, offsetof(struct wg_rpc, reply));
    r->rpc.record = wg_iobuf_get(64 << 10);
    r->rpc.peer = &fz_peer;
    r->rpc.xid = fz_answers;
    r->rpc.prog = prog;
    r->rpc.vers = vers;
    r->rpc.proc = proc;
    r->rpc.flavor = RPC_AUTH_SYS;
    r->rpc.cred = (struct wg_str){ (const char *)cred, sizeof cred };
    r->rpc.args = r->rpc.record->base;
    r->rpc.args_len = fz_expand(data, size, r->rpc.record->base, r->rpc.record->size);
    nfs_call(&r->rpc);
    if (fz_answers != before + 1)
        abort();
}

#endif
