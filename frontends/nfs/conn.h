/* SPDX-License-Identifier: Apache-2.0 */
/* What rpc.c (sockets) and conn*.c (connections, records, replies) share. */
#ifndef WG_NFS_CONN_H
#define WG_NFS_CONN_H

#include <pthread.h>
#include <stdatomic.h>

#include "nfs.h"
#include "rpc.h"
#include "errors.h"

/*
 * One TCP connection. Reading belongs to the thread that got its event (epoll is one-shot), so
 * the reading fields need no lock; lock guards the rest, and no other lock is taken under it.
 */
struct wg_rpc_conn {
    void *xprt;              /* rpc.c's; each user holds a reference */
    int fd;                  /* open as long as xprt */
    struct wg_rpc_peer peer;

    /* reading */
    bool taken;              /* it is read */
    bool streaming;          /* large records come: a mark is read alone */
    bool eof;                /* the peer has closed its side */
    bool in_order;           /* it had acknowledged all that was sent until then */
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
    bool paused;             /* not armed: over a limit, or the backlog is being worked on */
    bool full;               /* paused over a limit: goes on at half of it */
    bool sending;            /* some thread writes the socket */
    bool blocked;            /* it is full: the writer waits for EPOLLOUT */
    bool dead;               /* a write failed, or it was unlinked: replies are dropped */
    bool unlinked;           /* it is at its end */
    bool in_writer;          /* registered in the writer's epoll */
    struct wg_rpc *first, **last; /* replies to send */
    size_t sent;             /* bytes of the first that are gone */
    uint64_t calls;

    /* Of the socket: one thread reads and one writes at a time, any looks. */
    _Atomic uint64_t bytes_in, bytes_out;

    struct wg_rpc_conn *next, *prev; /* all of them, under conns_lock */
};

/* A reading thread. */
struct wg_reader {
    pthread_t thread;
    struct wg_iobuf *buf;
    uint32_t used;           /* bytes of buf that requests still point into */
};

/* All of them, and the threads. Set by wg_conn_start, but for what is atomic or says its lock. */
struct wg_conns {
    struct wg_rpc_config config;
    atomic_uint conn_requests;
    atomic_uint conn_bytes;
    int in_epoll, out_epoll, wake;
    atomic_bool stop;
    struct wg_reader *readers;
    unsigned nreaders;
    pthread_t writer;
    bool writer_runs;
    pthread_mutex_t conns_lock;
    struct wg_rpc_conn *conns;
    unsigned nconns;
    uint64_t serial;
    struct wg_nfs_counts ended; /* of connections that are gone */
    atomic_uint udp_requests;
    atomic_uint_least64_t bytes;
};
extern struct wg_conns wg_conns;

/* In conn.c, for conn_read.c and conn_send.c. */
void wg_conn_arm(struct wg_rpc_conn *c, int op); /* epoll_ctl's; an event for one reading thread */
/* Under c->lock: may it be read (part 1), or read again after a pause (2: half the limit)? */
bool wg_conn_may_read(const struct wg_rpc_conn *c, unsigned part);
/*
 * Starts what waits in the backlog as far as there is room, and ends the pause when there is
 * enough. The caller holds a reference of c and no lock.
 */
void wg_conn_go_on(struct wg_rpc_conn *c);

void *wg_conn_reader(void *reader); /* conn_read.c: the main functions of the threads */
void *wg_conn_writer(void *unused); /* conn_send.c */
/* Under c->lock: lets the writer call wg_conn_go_on. */
void wg_conn_kick(struct wg_rpc_conn *c);

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
/* Begins to read it. */
void wg_conn_take(struct wg_rpc_conn *c);
/* It is at its end: nothing more is read or sent. */
void wg_conn_unlinked(struct wg_rpc_conn *c);
void wg_conn_hang_up(struct wg_rpc_conn *c);
/* Ends every connection; each goes when its last request has ended. */
void wg_conn_hang_up_all(void);
void wg_conn_dump(struct wg_dump *d);
void wg_conn_counts(struct wg_nfs_counts *ret);

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

/* In rpc.c: references and the end of a connection. */
void wg_xprt_ref(void *xprt);
void wg_xprt_unref(void *xprt);
void wg_xprt_destroy(void *xprt);

void wg_peer_set(struct wg_rpc_peer *p, const struct sockaddr_storage *ss);

#endif
