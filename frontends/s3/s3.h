/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One S3 request, as its handler sees it. A handler is a coroutine, one per row of s3ops.def:
 *
 *     static int delete_object(struct wg_co *co, struct s3_req *r)
 *     {
 *         struct wg_ref bucket;
 *         int err = wg_s3_open_bucket(co, r, r->uri.bucket, &bucket);
 *
 *         if (err)
 *             return err;
 *         ...
 *         return wg_s3_reply(r, 204);
 *     }
 *
 * Errors are ints: 0; an errno or one of errors.h (answered by its row of errors.def); or an
 * S3E(code), a row of codes.def. A handler that returns one is answered with that error,
 * whatever it had set up before; one that returns 0 has called exactly one wg_s3_reply*.
 *
 * Memory: everything here lives in r->call's arena, which goes when both the connection and the
 * coroutine are done with it. Threads: the fields above the line are written before the handler
 * starts and are read-only then; the functions marked co are for the handler's coroutine only.
 */
#ifndef WG_S3_H
#define WG_S3_H

#include <time.h>

#include "call.h"
#include "co.h"
#include "checksum.h"
#include "codes.h"
#include "iobuf.h"
#include "uri.h"
#include "users.h"

#define S3_BODY_BUF (1u << 20)         /* a streamed body comes in buffers of this size */
#define S3_PUT_MAX (5ull << 30)        /* one PUT or part, bytes (AWS limit) */
#define S3_OBJECT_MAX (5ull << 40)     /* an object, bytes (AWS limit) */
#define S3_HEADERS_MAX 256             /* request headers */

/*
 * Errors of handlers: errno and errors.h below, the codes of codes.def above:
 * `return S3E(NoSuchUpload);`, `return s3_err(wg_s3_param_u64(...))`.
 */
#define S3_CODE_BASE 4000
#define S3E(name) (S3_CODE_BASE + (int)WG_S3_##name)

static inline int s3_err(enum wg_s3_code code)
{
    return code == WG_S3_OK ? 0 : S3_CODE_BASE + (int)code;
}

/* The row of an error of a handler: any of the three kinds. Never NULL. */
const struct wg_s3_code_row *wg_s3_error_row(int err);

enum s3_method { S3_GET, S3_HEAD, S3_PUT, S3_POST, S3_DELETE, S3_OPTIONS, S3_METHOD_OTHER };
enum s3_level { S3_SERVICE, S3_BUCKET, S3_OBJECT };

enum s3_body_kind {
    S3_BODY_NONE,   /* none expected; one that comes is read, checked and thrown away (1 MiB at most) */
    S3_BODY_SMALL,  /* read whole before the handler starts: r->body_text (op->body_max at most) */
    S3_BODY_STREAM, /* taken by the handler with wg_s3_body_whole or wg_s3_body_store */
};

struct s3_req;
typedef int s3_handler(struct wg_co *co, struct s3_req *r);
/* Runs on the connection's thread; ends with wg_s3_done(r, err), now or later, on any thread. */
typedef void s3_starter(struct s3_req *r);
/* Headers are in, the body is not: refuse before it is sent. Connection's thread, must not block. */
typedef int s3_checker(struct s3_req *r);

/* A row of s3ops.def. */
struct s3_op {
    const char *name; /* as AWS names it: "PutObject" */
    enum s3_method method;
    enum s3_level level;
    const char *query;  /* "uploadId&partNumber" or "list-type=2": all must be there; NULL: any */
    const char *header; /* must be there; NULL: any */
    enum s3_body_kind body;
    uint32_t body_max; /* of S3_BODY_SMALL, bytes */
    s3_checker *check; /* may be NULL */
    s3_handler *run;   /* a coroutine, or */
    s3_starter *start; /* a plain call */
};

/* The row for a parsed request: the first that matches; NULL when the method has none there. */
const struct s3_op *wg_s3_route(const struct s3_req *r);

/* The handlers and checkers of s3ops.def. */
#define NONE(name)
#define RUN(name) s3_handler name;
#define START(name) s3_starter name;
#define CHECK(name) s3_checker name;
#define S3OP(method, level, query, header, op, body, max, check, how) check how
#include "s3ops.def"
#undef S3OP
#undef CHECK
#undef START
#undef RUN
#undef NONE

struct s3_pair {
    struct wg_str name;  /* lower case */
    struct wg_str value; /* outer blanks trimmed; NUL follows it */
};

/* The rest is private to the front end (conn.h). */
struct wg_s3_auth; /* auth.h: how the payload is signed */
struct s3_conn;
struct s3_error_field;
struct s3_body;
struct s3_answer;
struct wg_s3;

struct s3_req {
    struct wg_call *call; /* arena, credentials, client address, deadline */
    struct wg_s3 *s3;
    struct wg_xlator *top; /* where fops go in: of the bucket's volume, once that was opened */
    struct wg_call **entered; /* calls that keep the graphs of other volumes (buckets.c); NULL: none */
    const struct s3_op *op;

    enum s3_method method;
    const char *method_text;  /* as sent */
    struct wg_str target;     /* the request target as sent */
    struct wg_s3_uri uri;     /* bucket, key, parameters */
    struct wg_str host;       /* the Host header, port included */
    bool tls;
    bool http10;
    struct s3_pair *headers;  /* in the order sent, duplicates kept */
    unsigned nheaders;
    const struct wg_user *user; /* who signed it; NULL: nobody yet */
    struct wg_s3_auth *auth;    /* what authentication left for the body (auth.h) */
    time_t now;               /* wall clock at the request's start */
    char id[17];              /* x-amz-request-id, 16 hex digits */

    uint64_t length;          /* decoded bytes of the body; S3_UNKNOWN: not announced */
    struct wg_str body_text;  /* the whole body of S3_BODY_SMALL */

    /* ---- below: server.c and body.c ---- */
    struct s3_body *body;
    struct s3_answer *answer;
    struct s3_conn *conn;
    void *start_state;        /* of a START operation */
    int error;                /* result of the handler */
    struct wg_str error_message; /* replaces the row's text; len 0: the row's */
    struct s3_error_field *error_fields; /* of wg_s3_fail_with */
};

#define S3_UNKNOWN UINT64_MAX

/* ---- Reading the request ---- */

/* The first header of that (lower-case) name; NULL when absent. */
const struct wg_str *wg_s3_header(const struct s3_req *r, const char *name);
/* All values of a header joined with ", " (arena); NULL when absent or memory is out. */
const struct wg_str *wg_s3_header_joined(struct s3_req *r, const char *name);

/* What was found out about a body, when its last byte is in and all of it held. */
struct s3_digests {
    uint64_t length;
    uint8_t md5[16];
    /*
     * The checksum that the client gave or asked for (checksum.h). Neither: S3_SUM_NONE for a part;
     * for an object AWS's default, CRC64NVME.
     */
    enum wg_s3_sum sum_alg;
    uint8_t sum[S3_SUM_BYTES];
    uint8_t crc64[8]; /* of a part, whatever the client gave: its upload may want it */
};

/*
 * A streamed body (S3_BODY_STREAM) reaches its handler in one of two ways:
 *
 *     if (wg_s3_body_is_whole(r))
 *         err = wg_s3_body_whole(co, r, &data, &digests);   all of it, at most S3_BODY_BUF bytes
 *     else
 *         err = wg_s3_body_store(co, r, &staged, &digests); written to an inode from offset 0
 *
 * Everything that the client promised has been verified when they answer 0: length, signatures,
 * Content-MD5, checksum. Else S3E(IncompleteBody), S3E(BadDigest), S3E(XAmzContentSHA256Mismatch), the
 * decoder's or a write's error, ECANCELED when the client is gone; nothing may be published then.
 */
bool wg_s3_body_is_whole(const struct s3_req *r);
/* co. data lives as long as the request. */
int wg_s3_body_whole(struct wg_co *co, struct s3_req *r, struct wg_data *ret,
                     const struct s3_digests **ret_digests);
/* co. Several writes are under way at once (WG_UNSTABLE); none when it returns. */
int wg_s3_body_store(struct wg_co *co, struct s3_req *r, const struct wg_ref *to,
                     const struct s3_digests **ret_digests);

/* ---- Buckets and fops ---- */

/*
 * co. The bucket's directory: 0; S3E(NoSuchBucket), S3E(InvalidBucketName), or an errno. Answers
 * from a cache that is at most a second old; wg_s3_forget_bucket empties it when a bucket was made,
 * removed or found gone (ESTALE).
 */
int wg_s3_open_bucket(struct wg_co *co, struct s3_req *r, struct wg_str bucket, struct wg_ref *ret);
void wg_s3_forget_bucket(struct s3_req *r, struct wg_str bucket);
/* The directory whose children are the buckets. */
const struct wg_ref *wg_s3_root(const struct s3_req *r);
/* The region this server answers as ("us-east-1"). */
const char *wg_s3_region(const struct s3_req *r);

/* ---- Answering ---- */

/* Adds a response header; later ones of the same name are added beside. Values are copied. */
void wg_s3_set(struct s3_req *r, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void wg_s3_set_str(struct s3_req *r, const char *name, struct wg_str value);
void wg_s3_set_etag(struct s3_req *r, const struct wg_etag *etag);      /* ETag: "..." */
void wg_s3_set_time(struct s3_req *r, const char *name, struct wg_time t); /* RFC 1123 */

/* No body (Content-Length: 0, or none for 204 and 304). Return 0, as all wg_s3_reply*. */
int wg_s3_reply(struct s3_req *r, unsigned status);
/* Text of the arena (or static), of the given content type. */
int wg_s3_reply_text(struct s3_req *r, unsigned status, const char *type, struct wg_str text);
/* The same, freed with free_fn(text) when sent; for what XML writers made. */
int wg_s3_reply_owned(struct s3_req *r, unsigned status, const char *type, char *text, size_t len,
                   void (*free_fn)(void *));
/* No body, but the length it would have: for HEAD, and for 304 to a GET. */
int wg_s3_reply_length(struct s3_req *r, unsigned status, uint64_t length);
/* Buffers; data's references are taken over from its call by keeping keep (may be NULL) alive. */
int wg_s3_reply_data(struct s3_req *r, unsigned status, const struct wg_data *data, struct wg_call *keep);

/*
 * Returns code, for `return wg_s3_fail(r, S3E(InvalidArgument), "part %u is out of range", n)`: the
 * text replaces the row's in the error's Message.
 */
int wg_s3_fail(struct s3_req *r, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Adds <name>value</name> to the error's XML (value is escaped). Returns code. */
int wg_s3_fail_with(struct s3_req *r, int code, const char *name, struct wg_str value);

/*
 * For flows that last longer than a client waits (complete-multipart, copy): sends "200" and the
 * XML declaration now, and a blank every few seconds until the handler ends; then its reply's
 * body, or <Error> (note 9 of s3-clients: a 200 that holds an Error). Call it only when the flow
 * has passed its checks. After it the status of wg_s3_reply_* no longer counts, headers neither.
 */
int wg_s3_keep_alive(struct wg_co *co, struct s3_req *r);

/* Ends a started (not coroutine) operation: 0 after a wg_s3_reply*, or an error. Any thread, once. */
void wg_s3_done(struct s3_req *r, int err);

#endif
