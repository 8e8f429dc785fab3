/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What server.c, conn.c, request.c, body.c, reply.c and stream.c share; handlers need only s3.h.
 *
 * A request has two sides. The connection's side runs in libmicrohttpd's callbacks, all on one
 * thread; the handler's side is a coroutine or a fop's completion, on any thread. They meet in
 * struct s3_conn, under its lock.
 *
 * Rules (README.md has the reasons):
 *  1. c->mhd is used only under c->lock and only while it is not NULL; NOTIFY_COMPLETED clears it.
 *  2. A connection is suspended only by s3_conn_sleep and resumed only by s3_conn_wake, so each
 *     suspension has exactly one resumption.
 *  3. Each side holds a reference of r->call; the request ends with the last.
 *  4. Lock order: listener, sock, c->lock, libmicrohttpd's own. wg_call_unref, wg_start and
 *     whatever else may call back are never called with one of them held.
 */
#ifndef WG_S3_CONN_H
#define WG_S3_CONN_H

#include <microhttpd.h>
#include <pthread.h>

#include "auth.h"
#include "checksum.h"
#include "chunked.h"
#include "s3.h"
#include "server.h"
#include "xlator.h"

#define S3_QUEUE 6              /* full buffers between connection and handler, at most */
#define S3_REFUSE_READ (1u << 20) /* a refused body up to this is read, so that the client reads the error */
#define S3_DRAIN_MAX (64u << 20) /* the rest of a body whose handler failed: read up to this, then cut */
#define S3_READ_WINDOW 4        /* read fops under way for one GET, at most */

enum s3_phase {
    S3_PHASE_NEW,   /* request line seen */
    S3_PHASE_BODY,  /* headers taken, body (if any) coming */
    S3_PHASE_RUN,   /* all received; the operation runs or has run */
    S3_PHASE_SENT,  /* response queued */
};

struct s3_conn {
    pthread_mutex_t lock;
    struct MHD_Connection *mhd;
    struct s3_sock *sock;
    const char *target;     /* in the library's buffer: where the request line's begins */
    enum s3_phase phase;
    bool suspended;
    bool started;  /* the operation */
    bool ready;    /* it has ended, the answer is set */
    bool waiting;  /* the last callback found no room, or no answer yet */
    bool gone;     /* NOTIFY_COMPLETED was called */
    bool abort;    /* the server stops: end it at the next callback */
    bool close;    /* answer with Connection: close */
    bool refused;  /* r->error is set: the body, if any, is thrown away */
    bool expects;  /* Expect: 100-continue */
    unsigned status; /* sent */
    atomic_uint_fast64_t wire_in, sent; /* bytes of bodies */
    uint64_t seen_in;       /* wire_in at the last tick of the clock */
    uint64_t phase_ns;      /* when this phase began */
    uint64_t asleep_ns;     /* how long of it we held the connection, not the client */
    uint64_t slept_at_ns;
    bool rate_known;        /* what follows is of this phase */
    uint64_t rate_age_ns, rate_bytes; /* where the clock last measured how fast the client is */
};

/* A TCP connection, from accept to close; on its listener's list. */
struct s3_sock {
    struct s3_sock *prev, *next;
    struct s3_listener *listener;
    int fd;
    pthread_mutex_t lock;
    struct s3_req *req;     /* under way, with a reference; NULL: none */
    uint64_t since_ns;      /* req began, or the last one ended */
    char client[64];        /* printable address and port */
};

struct s3_listener {
    struct wg_s3 *s3;
    bool tls;
    int fd;
    uint16_t port;
    struct MHD_Daemon *daemon;
    struct wg_acceptor *acceptor;
    atomic_uint taken;    /* connections that the library has or is given */
    pthread_mutex_t lock; /* of socks */
    struct s3_sock *socks;
    unsigned nsocks;
};

#define S3_BUCKET_CACHE 64

struct s3_bucket_slot {
    pthread_mutex_t lock;
    char name[64];
    struct wg_ref ref;
    unsigned volume;
    uint64_t until_ns; /* 0: empty */
    struct wg_co_mutex making;
};

#define S3_TIGHT (64u << 10) /* a read of an answer while memory is tight */

struct s3_counters {
    atomic_uint_fast64_t requests, errors, bytes_in, bytes_out, aborted;
    /* Bytes of copies: by a brick, from brick to brick, and those that came through here. */
    atomic_uint_fast64_t copied, pulled, carried;
};

#define S3_ROUTES 16

/* How the brick behind `to` copies from the one behind `from` (copydata.c). */
struct s3_route {
    const struct wg_xlator *from, *to; /* compared only */
    uint64_t until_ns;
    int err;
    wg_gfid brick;   /* the source's id */
    char name[256];  /* what it calls the target's brick */
};

struct wg_s3 {
    struct s3_listener http, https;
    struct wg_users *users;
    struct s3_tls *certs;
    struct wg_volume *volume[WG_S3_VOLUMES_MAX];
    char *volume_name[WG_S3_VOLUMES_MAX];
    unsigned nvolumes;
    struct wg_ref root;
    char *region;
    struct wg_str *domains;
    unsigned ndomains;
    unsigned threads, max_connections, idle_s, request_s, min_rate;
    uint64_t body_memory;
    atomic_uint_fast64_t body_used; /* bytes of body buffers now held */
    atomic_bool stopping;  /* answers say Connection: close */
    atomic_bool aborting;  /* nobody sleeps any more */
    atomic_uint requests; /* under way */
    struct s3_bucket_slot buckets[S3_BUCKET_CACHE];
    pthread_mutex_t route_lock; /* a leaf; of routes */
    struct s3_route routes[S3_ROUTES];
    struct s3_counters count;
    pthread_t tick;
    bool ticking;
    pthread_mutex_t tick_lock;
    pthread_cond_t tick_wake;
    struct wg_s3 *next; /* for dumps */
};

/* More is held for bodies than body_memory: many clients who don't read, or send slowly. */
static inline bool s3_memory_tight(const struct wg_s3 *s3)
{
    return atomic_load_explicit(&s3->body_used, memory_order_relaxed) > s3->body_memory;
}

struct s3_slice {
    struct wg_iobuf *buf;
    uint32_t len;
};

struct s3_body {
    uint64_t want;        /* decoded bytes announced; S3_UNKNOWN */
    uint64_t got;         /* decoded bytes so far */
    uint64_t max;         /* refuse beyond */
    struct wg_s3_chunked *chunked; /* NULL: plain */
    struct wg_sums sums;        /* SHA-256 of the payload and the checksum, on the connection's side */
    struct wg_sums md5;         /* on the handler's side */
    struct wg_s3_sum_req request;
    struct wg_iobuf *fill;
    uint32_t filled;
    atomic_uint out;      /* buffers of this request alive, the one being filled included */
    /* Under conn->lock from here. */
    struct s3_slice queue[S3_QUEUE + 1]; /* one more for the end */
    unsigned head, count;
    bool end;             /* the last byte is in, and err says whether it held */
    int err;
    unsigned writes;      /* under way, of wg_s3_body_store */
    int write_err;
    struct wg_co *waiter; /* the coroutine that waits for a buffer or a write */
    struct s3_digests digests;
};

enum s3_answer_kind {
    S3_ANSWER_NONE, S3_ANSWER_TEXT, S3_ANSWER_DATA,
    S3_ANSWER_STREAM, /* a large GET */
    S3_ANSWER_LENGTH, /* a HEAD */
    S3_ANSWER_LIVE,   /* begun before its handler has ended */
};

struct s3_error_field {
    struct s3_error_field *next;
    const char *name;
    struct wg_str value;
};

struct s3_out_header {
    struct s3_out_header *next;
    const char *name, *value;
};

struct s3_answer {
    unsigned status;
    enum s3_answer_kind kind;
    struct s3_out_header *headers, **last;
    bool oom;             /* a header was lost: answer SlowDown instead */
    const char *type;
    struct wg_str text;
    struct wg_data data;
    uint64_t length;      /* of STREAM, LENGTH (a HEAD) */
    struct s3_stream *stream;
    struct s3_live *live; /* wg_s3_keep_alive */
};

/* ---- request.c: connection's thread ---- */
/* A request object for a request line; NULL when memory is out. */
struct s3_req *s3_req_new(struct s3_listener *l, struct MHD_Connection *mhd, const char *target);
/* Headers are in: checks them, authenticates, routes, prepares the body. 0 or the error to answer. */
int s3_req_begin(struct s3_req *r, const char *method, const char *version);

/* ---- body.c: connection's thread ---- */
int s3_body_prepare(struct s3_req *r);
/*
 * Takes all of data, or nothing and returns false when there is no room. What is wrong with it
 * goes to the handler, or to r->error when that has not started.
 */
bool s3_body_take(struct s3_req *r, const char *data, size_t len);
/* The body has ended: verifies. Sets the error that the handler, or the client, gets. */
void s3_body_end(struct s3_req *r);
/* The client is gone, or the server stops: the handler's waits end with err. */
void s3_body_abort(struct s3_req *r, int err);
/* True when a full buffer is queued: then the operation starts. */
bool s3_body_pending(struct s3_req *r);

void s3_body_release(struct s3_req *r, struct wg_iobuf *buf); /* any thread */

/* ---- store.c ---- */
/* A call for a fop beside the handler: the request's credentials, and a reference of it. */
struct wg_call *s3_child_call(struct s3_req *r);

/* ---- conn.c ---- */
void s3_conn_wake(struct s3_req *r);  /* any thread */
void s3_conn_wake_locked(struct s3_req *r); /* c->lock held */
/* From a callback of the connection, c->lock held; false: it is being aborted, answer MHD_NO. */
bool s3_conn_sleep_locked(struct s3_req *r);
/* Ends it at its next callback, and makes that come. c->lock not held. */
void s3_conn_abort(struct s3_req *r);
enum MHD_Result s3_conn_handler(void *cls, struct MHD_Connection *mhd, const char *url,
                                const char *method, const char *version, const char *data,
                                size_t *size, void **req_cls);
void *s3_conn_uri(void *cls, const char *target, struct MHD_Connection *mhd);
void s3_conn_completed(void *cls, struct MHD_Connection *mhd, void **req_cls,
                       enum MHD_RequestTerminationCode code);
void s3_conn_notify(void *cls, struct MHD_Connection *mhd, void **sock,
                    enum MHD_ConnectionNotificationCode code);

/* ---- reply.c ---- */
/* The response of r->error or r->answer. NULL when memory is out. */
struct MHD_Response *s3_make_response(struct s3_req *r, unsigned *ret_status);
/* The <Error> document, in the arena. len 0 when memory is out. Any thread. */
struct wg_str s3_error_text(struct s3_req *r, int err, bool declaration);

/* ---- stream.c ---- */
struct MHD_Response *s3_stream_response(struct s3_req *r);
/* Live answers (wg_s3_keep_alive). */
struct MHD_Response *s3_live_response(struct s3_req *r);
/* The handler has ended and its connection was told so already: true when the answer was live. */
bool s3_live_finish(struct s3_req *r, int err);

/* ---- tls.c: certificates for GnuTLS, exchanged while running ---- */
struct s3_tls;
int s3_tls_open(const char *cert_file, const char *key_file, struct s3_tls **ret);
int s3_tls_reload(struct s3_tls *t); /* 0, or an errno after a log line; the old pair stays */
void s3_tls_close(struct s3_tls *t); /* after the daemon has ended */
void *s3_tls_callback(void); /* for MHD_OPTION_HTTPS_CERT_CALLBACK */
void s3_tls_use(struct s3_tls *t);

#endif
