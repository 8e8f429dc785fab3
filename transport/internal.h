/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of the transport. Who owns what (README.md, rules 1 to 6):
 *   reader     touched only by the thread that holds the poller's role
 *   qlock      short sections, never across a system call
 *   ssl_lock   the SSL object; across encryption and decryption, never across a system call
 *   role       of the writer: whoever set lane->writing owns the batch until it clears it
 * Lock order: registry > ssl_lock > qlock. Callbacks run with none of them.
 */
#ifndef WG_TRANSPORT_INTERNAL_H
#define WG_TRANSPORT_INTERNAL_H

#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "call.h"
#include "frame.h"
#include "transport.h"

#define CIPHER_CAP (256u << 10)  /* one recv */
#define SLICE (128u << 10)       /* decrypted under one hold of ssl_lock */
#define RECORD 16384u            /* plaintext of a TLS record */
#define BATCH_BYTES (256u << 10) /* plaintext of one send */
#define BATCH_RECORDS 18         /* 16 full ones, and two small ones for headers */
#define OUT_CAP ((BATCH_RECORDS + 2) * (RECORD + 256u))
#define COPY_MAX 8192u           /* a piece up to this is gathered with others into one record */
#define SMALL_MAX (32u << 10)    /* messages up to this overtake larger ones */
#define SMALL_CREDIT (256u << 10) /* bytes of small messages between two pieces of large ones */
#define CORK_BYTES (64u << 10)
#define CORK_NS 100000u
#define OUT_INLINE 384           /* header and body kept in the node */
#define OUT_SEGS 4
#define OUT_FREE_MAX 256         /* nodes a lane keeps */
#define MS 1000000ull

/* A message that is being sent. */
struct out {
    struct out *next;
    uint8_t *head;             /* what of header, body or piece header goes out now */
    uint32_t head_at, head_len;
    struct wg_seg *seg;
    uint32_t nseg, seg_at, seg_off;
    uint32_t payload_left;     /* of the message */
    uint32_t piece_left;       /* of the present piece; without pieces: of the message */
    uint64_t wire;             /* counted in queued_bytes */
    bool pieces;
    bool own;                  /* the transport's own message */
    uint64_t id;
    void *head_alloc;          /* when header and body are larger than inl */
    struct wg_seg *seg_alloc;
    uint8_t piece_hdr[WG_MSG_HEADER];
    struct wg_seg segs[OUT_SEGS];
    uint8_t inl[OUT_INLINE];
};

struct outq {
    struct out *head, **tail;
};

static inline void outq_init(struct outq *q)
{
    q->head = NULL;
    q->tail = &q->head;
}

static inline void outq_push(struct outq *q, struct out *o)
{
    o->next = NULL;
    *q->tail = o;
    q->tail = &o->next;
}

static inline struct out *outq_pop(struct outq *q)
{
    struct out *o = q->head;

    if (o && !(q->head = o->next))
        q->tail = &q->head;
    return o;
}

#define BATCH_IOV 32

/* What one send call carries: the writer's. */
struct batch {
    struct iovec iov[BATCH_IOV];
    unsigned n, at;
    struct outq done;  /* messages that end in it; freed when it is written */
    uint32_t msgs;
    uint64_t bytes;    /* their share of queued_bytes */
};

struct addr {
    char *text;
    char *host, *port; /* NULL for a Unix socket */
    char *path;
};

/* State shared by all connections begun under it; immutable, replaced whole by a reload. */
struct tls_state {
    atomic_uint refs;
    SSL_CTX *ctx;
    char **allow;
    unsigned nallow;
    int64_t expires;
};

/* Memory of a callback's body after wg_lane_handoff; freed when the callback returns. */
struct handed {
    struct handed *next;
    uint64_t role;
    struct wg_stage *stage;
    uint8_t *body;
};

struct poller_link {
    struct wg_lane *prev, *next;
};

struct wg_lane {
    atomic_uint refs;
    struct wg_lane_opts o;     /* defaults filled in; strings and tls owned */
    void *user;
    struct wg_listener *listener;
    struct wg_poller *poller;
    struct addr addr;          /* client */

    /* reader */
    int fd;
    int rx_err;
    unsigned ev;               /* epoll events not yet treated */
    bool readable, on_ready, eof, hup;
    bool finish;               /* the reader is to end it (lane_end) */
    bool joined;               /* the server's welcome has come or was sent */
    bool ping_out;
    uint64_t deadline_ns, backoff_ns, up_ns, ping_ns;
    uint8_t *cipher;           /* CIPHER_CAP, mapped lazily */
    size_t cipher_at, cipher_len;
    struct wg_parser parser;
    struct wg_lane *ready_next;
    struct poller_link link;
    struct tls_state *tls_state;
    char refused[256];         /* the name that was not on the list */
    char logged[160];          /* the last reason logged: each is said once */
    bool undrained;            /* SSL may give more without another recv */
    bool shaken;               /* the TLS handshake is over (or there is none) */
    struct addrinfo *ai, *ai_next;
    uint64_t cork_ns;          /* since when the reader gathers */

    /* ssl_lock */
    pthread_mutex_t ssl_lock;
    SSL *ssl;
    uint8_t *out;              /* OUT_CAP: ciphertext, or gathered small pieces when plain */
    size_t out_len;
    bool bio_wrote;            /* SSL wrote by itself (handshake, alert, key update) */
    uint8_t *plain;            /* RECORD: gathers small pieces */
    size_t plain_len;

    /* role of the writer (out_at also grows only there) */
    size_t out_at;
    struct batch batch;
    struct out *cur, *big;     /* being emitted; a large one waiting between pieces */
    uint32_t small_credit;

    /* qlock */
    pthread_mutex_t qlock;
    pthread_cond_t qcond;      /* writing cleared, ended, away dropped */
    struct outq small, large;
    struct outq held;          /* sent by other threads while up() runs */
    bool opening;              /* it runs */
    struct out *spare;
    unsigned nspare;
    bool open;                 /* bytes may be written */
    bool urgent;               /* something waits that is not gathered for later */
    bool extra;                /* SSL wrote bytes of its own */
    bool writing, blocked, out_event;
    bool full;                 /* an EAGAIN was answered: writable() is due */
    bool ended;
    unsigned away;             /* callbacks that run without the reader's role */
    struct handed *handed;     /* what their bodies are in */
    uint64_t queued_msgs;
    int reset_err;             /* asked for by wg_lane_reset */
    char reset_text[120];
    X509 *peer_cert;
    STACK_OF(X509) *peer_chain;
    char peer_name[256], peer_addr[128], tls_text[64], last_error[160];

    atomic_uint_least64_t queued;   /* written under qlock */
    atomic_uint_least64_t corked;   /* bytes gathered by the reader */
    atomic_uint_least64_t conn;     /* 0 while down */
    atomic_int state;
    atomic_bool closing, kick, doomed;
    atomic_int pauses;
    atomic_bool pausing;            /* the reader has stopped because of queued */
    atomic_uint_least64_t busy_since, busy_role;
    atomic_uint_least64_t bulk_ns;  /* when the last large message passed, either way */
    atomic_uint_least64_t yields;   /* the number of the callback that called wg_lane_yield */
    atomic_uint_least64_t handoffs;
    atomic_bool watched;            /* in the watcher's list (watch.c), which the next four belong to */
    unsigned watch_idle;
    uint64_t watch_msgs;
    struct wg_lane *watch_next, *idle_next;
    atomic_uint_least64_t last_rx_ns, since_ns;
    atomic_uint_least64_t rx_bytes, tx_bytes, rx_msgs, tx_msgs, rx_calls, tx_calls, connects, downs, full_count;

    struct wg_lane *all_prev, *all_next; /* registry */
    struct wg_lane *l_prev, *l_next;     /* the listener's, under its lock */
};

/* The thread's own view: which lane's callback it runs, with which role. */
struct tl_view {
    struct wg_lane *lane;
    struct wg_poller *poller;
    uint64_t role;
    bool lost; /* another thread has taken the role: go back without touching lane or poller */
};
extern _Thread_local struct tl_view tl_view;

/* api.c */
int lane_new(const struct wg_lane_opts *opts, struct wg_lane **ret);
int lane_opts_check(const struct wg_lane_opts *o, bool server);
void lane_recheck(struct wg_lane *l, struct tls_state *now);
void registry_each(void (*each)(struct wg_lane *l, void *arg), void *arg); /* with references, without lock */
void lane_kick(struct wg_lane *l); /* any thread */
void registry_remove(struct wg_lane *l);
void lane_gone(struct wg_lane *l, bool reader);

/* lane.c: life of a lane. All on the reader's thread. */
void lane_connect_begin(struct wg_lane *l);
void lane_begin(struct wg_lane *l); /* l->fd is connected */
void lane_attend(struct wg_lane *l, uint64_t now);  /* kicks and deadlines */
bool lane_service(struct wg_lane *l);               /* events; true: call again. May lose the role */
void lane_down(struct wg_lane *l, int err, const char *text);
void lane_end(struct wg_lane *l);                   /* after finish was set: the reader's last touch */
bool lane_paused(struct wg_lane *l);
void lane_forget_hosts(struct wg_lane *l);
void lane_welcome(struct wg_lane *l);               /* the client got the server's welcome */
void lane_set_state(struct wg_lane *l, enum wg_lane_state s);

/* recv.c */
enum { READ_OK, READ_AGAIN, READ_DOWN, READ_LOST };
int lane_read(struct wg_lane *l);
int lane_recv(struct wg_lane *l, void *to, size_t size, size_t *ret); /* READ_OK, READ_AGAIN, READ_DOWN (not taken down) */
int lane_recv_cipher(struct wg_lane *l);

/* send.c */
int lane_send_own(struct wg_lane *l, uint8_t type, uint64_t id);
void lane_pump(struct wg_lane *l);
void lane_opened(struct wg_lane *l);   /* up() has returned */
void lane_uncork(struct wg_lane *l);
void lane_writable(struct wg_lane *l); /* POLLOUT, reader */
void lane_drop_queue(struct wg_lane *l); /* no writer, qlock not held */
void lane_free_spares(struct wg_lane *l);

/* poller.c */
int poller_serve(struct wg_lane *l); /* any thread: l->poller, or one of its own, takes a reference of l */
void poller_unref(struct wg_poller *p);
int poller_watch(struct wg_lane *l, int fd); /* edge-triggered, in and out */
void poller_remove(struct wg_lane *l);       /* reader: the lane has ended */
void poller_deadline(struct wg_lane *l, uint64_t at_ns); /* reader; 0: none */
void poller_ready(struct wg_lane *l);        /* reader: serve it again */
void poller_enter(struct wg_lane *l, uint64_t now); /* before a message callback */
bool poller_leave(struct wg_lane *l);        /* after it; false: the role was taken meanwhile */
bool poller_corks(struct wg_lane *l);        /* this thread gathers for l */
bool poller_on_thread(struct wg_lane *l);
bool poller_busy(struct wg_lane *l);         /* any thread: a message callback runs that has the role */
int lane_handoff(struct wg_lane *l, uint64_t role); /* wg_lane_handoff, if that is the running callback's number */
void poller_wake(struct wg_poller *p);
int thread_start(pthread_t *ret, void *(*fn)(void *), void *arg, const char *name);
void thread_done(void);    /* a thread's own last act: others join it in threads_reap */
void threads_reap(void);
void spares_quit(void);    /* idle threads kept for wg_lane_handoff end */

/* slice.c */
void slice_choose(struct wg_lane *l); /* reader: before it serves l */
void slice_bulk(struct wg_lane *l);   /* any thread: a large message passes */

/* watch.c */
void watch_quit(void);     /* its thread ends; registry's lock not held */

/* listener.c */
void listener_gone(struct wg_lane *l);
void listener_dump(struct wg_dump *d);

/* tls.c */
struct tls_state *tls_current(struct wg_tls *t);
void tls_state_unref(struct tls_state *s);
int tls_attach(struct wg_lane *l, bool server);   /* ssl_lock not held */
void tls_peer_kept(struct wg_lane *l);            /* after the handshake */
int tls_recheck(struct tls_state *s, X509 *cert, STACK_OF(X509) *chain, bool server, char *text, size_t size);
uint32_t tls_drain_ms(const struct wg_tls *t);
/* The thread's OpenSSL error queue as errno and text; it is emptied. */
int tls_error(SSL *ssl, char *text, size_t size);
void tls_peer_forget(struct wg_lane *l);

/* addr.c */
int addr_parse(const char *text, struct addr *ret);
void addr_free(struct addr *a);
void sockaddr_show(const struct sockaddr_storage *ss, socklen_t len, char *buf, size_t size);

#endif
