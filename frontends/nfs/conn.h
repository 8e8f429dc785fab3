/* SPDX-License-Identifier: Apache-2.0 */
/* What rpc.c (the library's side) and conn.c (a connection's records and replies) share. */
#ifndef WG_NFS_CONN_H
#define WG_NFS_CONN_H

#include <pthread.h>
#include <stdatomic.h>

#include "rpc.h"
#include "errors.h"

/*
 * One TCP connection. Reading belongs to the thread that got its event (epoll is one-shot), so
 * the reading fields need no lock; lock guards the rest, and no other lock is taken under it.
 */
struct wg_rpc_conn {
    void *xprt;              /* the library's SVCXPRT; each user of the connection holds a reference */
    int fd;                  /* open as long as xprt */
    struct wg_rpc_peer peer;

    /* reading */
    bool taken;              /* by conn.c from the library */
    bool streaming;          /* large records come: read the mark alone, the body into its own buffer */
    bool closed;
    uint8_t mark[4];         /* an incomplete record mark */
    unsigned nmark;
    struct wg_iobuf *rec;    /* a record of which more is to come */
    uint32_t rec_have, rec_need; /* bytes there; bytes missing of the current fragment */
    bool rec_last;           /* it is the last fragment */
    _Atomic uint64_t since_ns; /* the last progress of an incomplete record; 0: there is none */

    pthread_mutex_t lock;
    unsigned requests;       /* read and not yet given back */
    unsigned active;         /* of them, those that the upper layer has seen */
    uint64_t bytes;
    struct wg_rpc *backlog;  /* the others: there was no room for them */
    bool paused;             /* over a limit: not armed */
    bool sending;            /* some thread writes the socket */
    bool blocked;            /* it is full: the writer waits for EPOLLOUT */
    bool dead;               /* a write failed, or it was unlinked: replies are dropped */
    bool in_writer;          /* registered in the writer's epoll */
    struct wg_rpc *first, **last; /* replies to send */
    size_t sent;             /* bytes of the first that are gone */
    uint64_t calls;

    struct wg_rpc_conn *next, *prev; /* all of them, under conns_lock */
};

/* Starts reading and writing threads. 0 or an errno after a log line. */
int wg_conn_start(const struct wg_rpc_config *config);
/* Ends them; no connection exists any more. */
void wg_conn_stop(void);
void wg_conn_limits(unsigned requests, uint32_t bytes);
/* Requests under way on all connections. */
unsigned wg_conn_requests(void);
unsigned wg_conn_count(void);

/* A connection for an accepted socket; NULL when memory is out. Freed by wg_conn_free. */
struct wg_rpc_conn *wg_conn_new(void *xprt, int fd, const struct sockaddr_storage *ss);
void wg_conn_free(struct wg_rpc_conn *c);
/* The first byte came: takes the connection over from the library. */
void wg_conn_take(struct wg_rpc_conn *c);
/* The library unlinks it: nothing more is read or sent. */
void wg_conn_unlinked(struct wg_rpc_conn *c);
void wg_conn_dump(struct wg_dump *d);

/* A request of which only the fields before reply are set (to zero); NULL when memory is out. */
struct wg_rpc *wg_request_new(void);
/* Hands a request to the upper layer. */
void wg_request_call(struct wg_rpc *r);

void wg_conn_send(struct wg_rpc *r);
/* The request is over: counts it off its connection and frees it. */
void wg_conn_done(struct wg_rpc *r);

/* In udp.c: the same for a request that came in a datagram. */
void wg_udp_send(struct wg_rpc *r);
void wg_udp_drop(struct wg_rpc *r);
int wg_udp_listen(int fd, uint32_t channel, void **ret_xprt);

/* In rpc.c: references and the end of the library's object. */
void wg_xprt_ref(void *xprt);
void wg_xprt_unref(void *xprt);
void wg_xprt_destroy(void *xprt);

void wg_peer_set(struct wg_rpc_peer *p, const struct sockaddr_storage *ss);

#endif
