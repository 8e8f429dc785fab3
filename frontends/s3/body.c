/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The connection's side of a request body: what the client announced, decoding, the checksums
 * that are cheap or needed anyway, and full buffers for the handler (store.c takes them).
 */
#include <openssl/crypto.h>
#include <stdlib.h>

#include "conn.h"

#define XML_START (64u << 10)  /* first buffer of a small body whose length is not known */
#define NONE_MAX (1u << 20)

static const uint8_t empty_sha256[32] = {
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
    0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
};

/* ---- Buffers ---- */

static struct wg_iobuf *new_buffer(struct s3_req *r, uint32_t size)
{
    struct wg_iobuf *buf = wg_iobuf_get(size);

    if (!buf)
        return NULL;
    atomic_fetch_add_explicit(&r->s3->body_used, buf->size, memory_order_relaxed);
    atomic_fetch_add(&r->body->out, 1);
    return buf;
}

static void drop_buffer(struct s3_req *r, struct wg_iobuf *buf)
{
    if (!buf)
        return;
    atomic_fetch_sub_explicit(&r->s3->body_used, buf->size, memory_order_relaxed);
    wg_iobuf_unref(buf);
}

void s3_body_release(struct s3_req *r, struct wg_iobuf *buf)
{
    drop_buffer(r, buf);
    pthread_mutex_lock(&r->conn->lock);
    atomic_fetch_sub(&r->body->out, 1);
    s3_conn_wake_locked(r);
    pthread_mutex_unlock(&r->conn->lock);
}

/* How many buffers one request may hold now: fewer when all together hold much. */
static unsigned allowed(const struct s3_req *r)
{
    return atomic_load_explicit(&r->s3->body_used, memory_order_relaxed) > r->s3->body_memory
               ? 2 : S3_QUEUE + 2;
}

static void end_body(void *arg)
{
    struct s3_req *r = arg;
    struct s3_body *b = r->body;

    drop_buffer(r, b->fill);
    for (; b->count; b->count--, b->head = (b->head + 1) % (S3_QUEUE + 1))
        drop_buffer(r, b->queue[b->head].buf);
    wg_sums_fini(&b->sums);
    wg_sums_fini(&b->md5);
    if (b->chunked)
        wg_s3_chunked_fini(b->chunked);
}

/* ---- What was announced ---- */

static bool parse_u64(const struct wg_str *s, uint64_t *ret)
{
    uint64_t n = 0;

    if (s->len == 0 || s->len > 19)
        return false;
    for (uint32_t i = 0; i < s->len; i++) {
        if (s->s[i] < '0' || s->s[i] > '9')
            return false;
        n = n * 10 + (uint64_t)(s->s[i] - '0');
    }
    *ret = n;
    return true;
}

static int announced_length(struct s3_req *r)
{
    const struct wg_str *length = wg_s3_header(r, "content-length");
    const struct wg_str *decoded = wg_s3_header(r, "x-amz-decoded-content-length");
    bool te = wg_s3_header(r, "transfer-encoding") != NULL;

    if (wg_s3_payload_is_chunked(r->auth->payload)) {
        if (!decoded)
            return S3E(MissingContentLength);
        return parse_u64(decoded, &r->length) ? 0 : S3E(InvalidArgument);
    }
    if (length)
        return parse_u64(length, &r->length) ? 0 : S3E(InvalidArgument);
    if (te)
        return 0; /* S3_UNKNOWN */
    if (r->op->body == S3_BODY_STREAM)
        return S3E(MissingContentLength);
    r->length = 0;
    return 0;
}

static int announced_sums(struct s3_req *r, unsigned *mask)
{
    struct s3_body *b = r->body;
    const char *message = NULL;

    if (r->auth->payload == S3_PAYLOAD_SHA256 &&
        (r->length != 0 || CRYPTO_memcmp(r->auth->payload_sha256, empty_sha256, 32) != 0))
        *mask |= 1u << S3_SUM_SHA256;
    /* On a CompleteMultipartUpload these headers speak of the object, not of the XML. */
    if (r->op->body == S3_BODY_NONE || r->op->run == wg_s3_complete_upload)
        return 0;
    enum wg_s3_code code = wg_s3_sum_request(r->headers, r->nheaders, &b->request, &message);
    if (code != WG_S3_OK)
        return message ? wg_s3_fail(r, s3_err(code), "%s", message) : s3_err(code);
    if (b->request.alg)
        *mask |= 1u << b->request.alg;
    if (b->request.has_md5 && r->op->body == S3_BODY_SMALL)
        *mask |= 1u << S3_SUM_MD5;
    if (r->op->run == wg_s3_upload_part || (r->op->body == S3_BODY_STREAM && !b->request.alg))
        *mask |= 1u << S3_SUM_CRC64NVME;
    return 0;
}

static int announced_size(struct s3_req *r)
{
    struct s3_body *b = r->body;
    bool stream = r->op->body == S3_BODY_STREAM;

    b->max = stream ? S3_PUT_MAX : r->op->body == S3_BODY_SMALL ? r->op->body_max : NONE_MAX;
    if (r->length != S3_UNKNOWN && r->length > b->max)
        return stream ? S3E(EntityTooLarge) : S3E(MaxMessageLengthExceeded);
    return 0;
}

int s3_body_prepare(struct s3_req *r)
{
    unsigned mask = 0;
    struct s3_body *b = WG_NEW(&r->call->arena, struct s3_body);

    if (!b)
        return ENOMEM;
    r->body = b;
    int err = wg_on_release(&r->call->arena, end_body, r);
    if (!err)
        err = announced_length(r);
    if (!err)
        err = announced_size(r);
    if (!err)
        err = announced_sums(r, &mask);
    if (!err && mask)
        err = wg_sums_init(&b->sums, mask);
    b->want = r->length;
    if (err || !wg_s3_payload_is_chunked(r->auth->payload))
        return err;
    struct wg_s3_chunked *dec = WG_NEW(&r->call->arena, struct wg_s3_chunked);
    if (!dec || wg_s3_chunked_init(dec, r->auth, b->want) != 0)
        return ENOMEM;
    b->chunked = dec;
    return 0;
}

/* ---- What comes ---- */

/* Room for one more byte in b->fill; false when memory is out. A small body is kept in one buffer. */
static bool make_room(struct s3_req *r)
{
    struct s3_body *b = r->body;
    uint64_t left = b->want == S3_UNKNOWN ? S3_UNKNOWN : b->want - b->got;
    uint32_t size = left < S3_BODY_BUF ? (uint32_t)left : S3_BODY_BUF;

    if (b->fill && b->filled < b->fill->size)
        return true;
    if (r->op->body != S3_BODY_STREAM) {
        size = b->fill ? b->fill->size * 2 : left < XML_START ? (uint32_t)left : XML_START;
        if (size > b->max)
            size = (uint32_t)b->max;
    }
    struct wg_iobuf *buf = new_buffer(r, size ? size : 1);
    if (!buf)
        return false;
    if (b->fill) { /* only small bodies grow; a stream's full buffer was queued */
        memcpy(buf->base, b->fill->base, b->filled);
        drop_buffer(r, b->fill);
        atomic_fetch_sub(&b->out, 1);
    } else {
        b->filled = 0;
    }
    b->fill = buf;
    return true;
}

/* c->lock held. */
static void queue_fill(struct s3_body *b)
{
    b->queue[(b->head + b->count++) % (S3_QUEUE + 1)] = (struct s3_slice){ b->fill, b->filled };
    b->fill = NULL;
    b->filled = 0;
    if (b->waiter)
        wg_co_wake(b->waiter);
}

static uint32_t fill_size(const struct s3_body *b)
{
    /* The pool rounds up; whole-or-stream is decided by what a buffer is for, not by its slack. */
    return b->fill->size < S3_BODY_BUF ? b->fill->size : S3_BODY_BUF;
}

static int take_data(struct s3_req *r, const char *data, size_t len)
{
    struct s3_body *b = r->body;

    if (len > b->max - b->got || (b->want != S3_UNKNOWN && len > b->want - b->got))
        return r->op->body == S3_BODY_STREAM ? S3E(EntityTooLarge) : S3E(MaxMessageLengthExceeded);
    if (b->sums.mask)
        wg_sums_update(&b->sums, data, len);
    while (len > 0) {
        if (!make_room(r))
            return ENOMEM;
        uint32_t room = (r->op->body == S3_BODY_STREAM ? fill_size(b) : b->fill->size) - b->filled;
        uint32_t n = len < room ? (uint32_t)len : room;

        memcpy((char *)b->fill->base + b->filled, data, n);
        b->filled += n;
        b->got += n;
        data += n;
        len -= n;
        if (r->op->body == S3_BODY_STREAM && n == room && b->got != b->want) {
            pthread_mutex_lock(&r->conn->lock);
            queue_fill(b);
            pthread_mutex_unlock(&r->conn->lock);
        }
    }
    return 0;
}

static int decode(struct s3_req *r, const char *data, size_t len)
{
    while (len > 0) {
        size_t used = 0;
        struct wg_str out = { 0 };
        enum wg_s3_code code = wg_s3_chunked_feed(r->body->chunked, data, len, &used, &out);

        if (code != WG_S3_OK)
            return s3_err(code);
        int err = out.len ? take_data(r, out.s, out.len) : 0;
        if (err)
            return err;
        data += used;
        len -= used;
    }
    return 0;
}

static void fail_body(struct s3_req *r, int err)
{
    struct s3_conn *c = r->conn;

    pthread_mutex_lock(&c->lock);
    r->body->end = true;
    r->body->err = err;
    if (r->body->waiter)
        wg_co_wake(r->body->waiter);
    if (!c->started) {
        r->error = err;
        c->refused = true;
    }
    pthread_mutex_unlock(&c->lock);
}

/* Whether len bytes fit without waiting: at worst they finish one buffer and begin another. */
static bool has_room(struct s3_req *r, size_t len)
{
    struct s3_body *b = r->body;

    if (r->op->body != S3_BODY_STREAM || (b->fill && b->filled + len < fill_size(b)))
        return true;
    pthread_mutex_lock(&r->conn->lock);
    bool room = b->count < S3_QUEUE && atomic_load(&b->out) < allowed(r);
    if (!room)
        s3_conn_sleep_locked(r);
    pthread_mutex_unlock(&r->conn->lock);
    return room;
}

/* Its end is known: all is in, or it has failed, or whoever stops the server said so. */
static bool has_ended(struct s3_req *r)
{
    pthread_mutex_lock(&r->conn->lock);
    bool end = r->body->end;
    pthread_mutex_unlock(&r->conn->lock);
    return end;
}

bool s3_body_take(struct s3_req *r, const char *data, size_t len)
{
    if (has_ended(r))
        return true; /* failed already; the rest is only read off the wire */
    if (!has_room(r, len))
        return false;
    int err = r->body->chunked ? decode(r, data, len) : take_data(r, data, len);
    if (err)
        fail_body(r, err);
    return true;
}

bool s3_body_pending(struct s3_req *r)
{
    pthread_mutex_lock(&r->conn->lock);
    bool pending = r->body->count > 0;
    pthread_mutex_unlock(&r->conn->lock);
    return pending;
}

/* ---- The end ---- */

static int check_trailers(struct s3_req *r)
{
    struct s3_body *b = r->body;
    struct wg_str name, value;
    uint32_t at = 0;
    enum wg_s3_code code = wg_s3_chunked_end(b->chunked);

    while (code == WG_S3_OK && wg_s3_chunked_trailer(b->chunked, &at, &name, &value))
        code = wg_s3_sum_trailer(&b->request, name, value);
    return s3_err(code);
}

static int verify(struct s3_req *r)
{
    struct s3_body *b = r->body;
    uint8_t sum[S3_SUM_MAX][S3_SUM_BYTES] = { { 0 } };
    int err = b->chunked ? check_trailers(r) : 0;

    if (err)
        return err;
    if (b->want != S3_UNKNOWN && b->got != b->want)
        return S3E(IncompleteBody);
    for (unsigned alg = 1; alg < S3_SUM_MAX; alg++)
        if (b->sums.mask & (1u << alg))
            wg_s3_sums_final(&b->sums, alg, sum[alg]);
    if (r->auth->payload == S3_PAYLOAD_SHA256 && (b->sums.mask & (1u << S3_SUM_SHA256)) &&
        CRYPTO_memcmp(sum[S3_SUM_SHA256], r->auth->payload_sha256, 32) != 0)
        return S3E(XAmzContentSHA256Mismatch);
    /* A stream's Content-MD5 is compared where the MD5 is taken, on the handler's side. */
    struct wg_s3_sum_req here = b->request;
    here.has_md5 = b->request.has_md5 && r->op->body == S3_BODY_SMALL;
    b->digests.length = b->got;
    b->digests.sum_alg = b->request.alg;
    if (!b->request.alg && r->op->run == wg_s3_put_object)
        b->digests.sum_alg = S3_SUM_CRC64NVME;
    memcpy(b->digests.sum, sum[b->digests.sum_alg], S3_SUM_BYTES);
    memcpy(b->digests.crc64, sum[S3_SUM_CRC64NVME], sizeof b->digests.crc64);
    return s3_err(wg_s3_sum_verify(&here, sum[b->request.alg], sum[S3_SUM_MD5]));
}

void s3_body_end(struct s3_req *r)
{
    struct s3_body *b = r->body;
    if (has_ended(r))
        return;
    int err = verify(r);
    if (err)
        return fail_body(r, err);
    if (r->op->body != S3_BODY_STREAM && b->fill)
        r->body_text = (struct wg_str){ b->fill->base, b->filled };
    pthread_mutex_lock(&r->conn->lock);
    if (r->op->body == S3_BODY_STREAM && b->fill)
        queue_fill(b);
    b->end = true;
    if (b->waiter)
        wg_co_wake(b->waiter);
    pthread_mutex_unlock(&r->conn->lock);
}

void s3_body_abort(struct s3_req *r, int err)
{
    pthread_mutex_lock(&r->conn->lock);
    /* While the headers are being read r->body is the connection's own, and nobody waits. */
    struct s3_body *b = r->conn->phase == S3_PHASE_NEW ? NULL : r->body;
    if (b && !b->end) {
        b->end = true;
        b->err = err;
    }
    if (b && b->waiter)
        wg_co_wake(b->waiter);
    pthread_mutex_unlock(&r->conn->lock);
}
