/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ONC RPC (RFC 5531) service over TCP, and over UDP for small programs. It knows records, calls
 * and replies, and nothing of NFS. README.md has the reasons and the rules (R1 to R9).
 *
 * TCP connections are accepted, read, limited and written by rpc.c and conn*.c; libntirpc receives datagrams
 * and talks to rpcbind.
 */
#ifndef WG_NFS_RPC_H
#define WG_NFS_RPC_H

#include <netinet/in.h>

#include "iobuf.h"
#include "types.h"
#include "xdr.h"

struct wg_rpc_conn;
struct wg_dump;

enum {
    RPC_TEXT = 1024,        /* records up to this size are copied into the request */
    RPC_REPLY = 640,        /* room for a reply without wg_rpc_large */
    RPC_HEAD = 28,          /* record mark and header of an accepted reply */
    RPC_AUTH_MAX = 400,     /* bytes of a credential (RFC 5531 8.2) */
    RPC_AUTH_NONE = 0,
    RPC_AUTH_SYS = 1,
};

enum wg_rpc_accept { WG_RPC_OK, WG_RPC_NOPROG, WG_RPC_BADVERS, WG_RPC_NOPROC,
                     WG_RPC_GARBAGE, WG_RPC_FAILED };
enum wg_rpc_auth { WG_RPC_BADCRED = 1, WG_RPC_TOOWEAK = 5 };

/* Who called. IPv4 addresses are in their mapped form (::ffff:a.b.c.d). */
struct wg_rpc_peer {
    struct in6_addr addr;
    uint16_t port;
    uint64_t serial;        /* of the connection, unique in the process; 0: UDP */
    char text[INET6_ADDRSTRLEN]; /* the address, IPv4 in its own form */
};

/* One call. The upper layer's request begins with it. */
struct wg_rpc {
    struct wg_rpc_conn *conn; /* NULL: UDP */
    void *svc;                /* the library's request, of UDP */
    const struct wg_rpc_peer *peer; /* as long as the request */
    uint32_t xid, prog, vers, proc;
    uint32_t flavor;
    struct wg_str cred;
    const uint8_t *args;      /* in text or in record */
    uint32_t args_len;
    struct wg_iobuf *record;  /* holds the record; NULL: it is in text */

    /* The reply: a flat head, then nseg segments of payload with their padding. */
    struct wg_xdr_out out;    /* results are written here after wg_rpc_accept */
    uint8_t *head;
    uint32_t head_len;
    uint32_t payload;
    struct wg_iobuf *head_buf;
    const struct wg_seg *seg;
    uint32_t nseg;
    uint32_t accept;          /* enum wg_rpc_accept */
    uint32_t denied;          /* 1 + enum wg_rpc_auth, or 0 */

    bool called;              /* the upper layer has seen it */
    uint32_t charged;         /* bytes it holds of its connection's limit */
    struct wg_rpc *next;
    uint8_t reply[RPC_REPLY];
    uint8_t text[RPC_TEXT];
};

struct wg_rpc_config {
    const char *const *listen;
    unsigned nlisten;
    uint16_t ports[2];        /* 0: picked; ports[1] may equal ports[0], or be 0 for none */
    bool udp;                 /* on ports[1], or ports[0] */
    uint32_t udp_prog;        /* the program that is served there */
    unsigned threads, max_connections;
    unsigned conn_requests;
    uint32_t conn_bytes;
    uint32_t record_max;      /* bytes of a record */
    uint64_t total_bytes;     /* payload held by all connections together */
    size_t request_size;      /* at least sizeof (struct wg_rpc) */
    /*
     * A call. It runs on a reading thread, and ends, on any thread, in exactly one wg_rpc_send or
     * wg_rpc_drop. Bytes of *r after the struct wg_rpc are not initialised.
     */
    void (*call)(struct wg_rpc *r);
    /* The reply is sent or given up: let go of what it pointed to. */
    void (*release)(struct wg_rpc *r);
    /* The client closed a connection after it had received every reply. May be NULL. */
    void (*closed)(const struct wg_rpc_peer *peer);
};

/* Binds, listens, serves. 0 or an errno after a log line. Once per process. */
int wg_rpc_start(const struct wg_rpc_config *config);
/* The ports in use (host order). */
void wg_rpc_ports(uint16_t ret[2]);
/* Changes limits of connections (those of config that are per connection, and total_bytes). */
void wg_rpc_limits(unsigned conn_requests, uint32_t conn_bytes);
/* Stops listening; requests end or drain_ms pass; closes all. 0, or ETIMEDOUT: some remain. */
int wg_rpc_stop(unsigned drain_ms);
void wg_rpc_dump(struct wg_dump *d);

/* Registers (prog, vers) at port[which] with rpcbind, unless somebody else has. Logs. */
void wg_rpc_register(uint32_t prog, uint32_t vers, unsigned which);

/* Begins the reply: WG_RPC_OK (results follow in r->out), or another accept status. */
void wg_rpc_accept(struct wg_rpc *r, enum wg_rpc_accept status);
/* Moves the reply's flat part to a buffer with room for size bytes of results; 0 or ENOMEM. */
int wg_rpc_large(struct wg_rpc *r, uint32_t size);
/* PROG_MISMATCH with the versions served. */
void wg_rpc_mismatch(struct wg_rpc *r, uint32_t low, uint32_t high);
/* MSG_DENIED, AUTH_ERROR. */
void wg_rpc_deny(struct wg_rpc *r, enum wg_rpc_auth why);
/* Counts bytes that the reply will hold against the connection. */
void wg_rpc_charge(struct wg_rpc *r, uint32_t bytes);
/* Sends the reply and gives the request back. Any thread; never blocks. */
void wg_rpc_send(struct wg_rpc *r);
/* Gives the request back without a reply (the client asks again). */
void wg_rpc_drop(struct wg_rpc *r);
/*
 * Whether there is a connection of that serial that both sides hold open and whose client was heard of in the last
 * seconds. Any thread; takes conns_lock; walks all connections.
 */
bool wg_rpc_in_use(uint64_t serial);

#endif
