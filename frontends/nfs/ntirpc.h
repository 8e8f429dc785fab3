/* SPDX-License-Identifier: Apache-2.0 */
/* For the files that see libntirpc's own types; its headers shadow <rpc/...> of others. */
#ifndef WG_NFS_NTIRPC_H
#define WG_NFS_NTIRPC_H

#include <rpc/rpc.h>

/* The library's callbacks for requests; only datagrams come this way. */
struct svc_req *wg_udp_alloc(SVCXPRT *xprt, XDR *xdrs);
void wg_udp_free(struct svc_req *req, enum xprt_stat stat);

#endif
