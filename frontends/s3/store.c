/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The handler's side of a streamed body. MD5 is what bounds an upload (1.4 s a GB), so it runs on
 * the offload pool while the connection's thread receives the next buffer and the writes of the last
 * ones are under way.
 */
#include <openssl/crypto.h>

#include "conn.h"

#define INLINE_HASH (64u << 10) /* up to this a hand-over costs more than it saves */

/* An MD5 step under way on the offload pool. Its memory is the coroutine's, which waits for it. */
struct hashing {
    struct wg_work work;
    struct s3_req *r;
    struct wg_co *co;
    const void *data;
    size_t len;
    bool done; /* under conn->lock */
};

static void hash(struct wg_work *w)
{
    struct hashing *h = (struct hashing *)((char *)w - offsetof(struct hashing, work));
    struct s3_req *r = h->r; /* held by the coroutine until done is seen, and by the lock until we leave */

    wg_sums_update(&r->body->md5, h->data, h->len);
    pthread_mutex_lock(&r->conn->lock);
    h->done = true;
    wg_co_wake(h->co);
    pthread_mutex_unlock(&r->conn->lock);
}

static int hash_here(void *arg)
{
    struct hashing *h = arg;

    wg_sums_update(&h->r->body->md5, h->data, h->len);
    return 0;
}

static void begin_md5(struct wg_co *co, struct s3_req *r, const void *data, size_t len, struct hashing *h)
{
    *h = (struct hashing){ .work.fn = hash, .r = r, .co = co, .data = data, .len = len };
    if (len > INLINE_HASH) {
        wg_offload_queue(&h->work);
        return;
    }
    wg_co_on_worker(co, hash_here, h);
    h->done = true;
}

/* Waits even when cancelled: the thread reads our buffer. */
static void wait_md5(struct hashing *h)
{
    pthread_mutex_t *lock = &h->r->conn->lock;

    wg_co_shield(h->co, true);
    pthread_mutex_lock(lock);
    while (!h->done) {
        pthread_mutex_unlock(lock);
        wg_co_wait(h->co, 0);
        pthread_mutex_lock(lock);
    }
    pthread_mutex_unlock(lock);
    wg_co_shield(h->co, false);
}

/* After the last slice: the MD5, against Content-MD5. */
static int end_md5(struct s3_req *r, const struct s3_digests **ret)
{
    struct s3_body *b = r->body;
    uint8_t md5[S3_SUM_BYTES];

    wg_s3_sums_final(&b->md5, S3_SUM_MD5, md5);
    memcpy(b->digests.md5, md5, sizeof b->digests.md5);
    if (b->request.has_md5 && CRYPTO_memcmp(md5, b->request.md5, sizeof b->request.md5) != 0)
        return S3E(BadDigest);
    *ret = &b->digests;
    return 0;
}

/* The next buffer, which becomes the caller's; *ret NULL at the end. */
static int next_slice(struct wg_co *co, struct s3_req *r, struct s3_slice *ret)
{
    struct s3_body *b = r->body;
    struct s3_conn *c = r->conn;
    int err = 0;

    *ret = (struct s3_slice){ 0 };
    pthread_mutex_lock(&c->lock);
    while (!b->count && !b->end && !err) {
        b->waiter = co;
        pthread_mutex_unlock(&c->lock);
        err = wg_co_wait(co, 0);
        pthread_mutex_lock(&c->lock);
        b->waiter = NULL;
    }
    if (!err && b->err)
        err = b->err;
    if (!err && b->write_err)
        err = b->write_err;
    if (!err && b->count) {
        *ret = b->queue[b->head];
        b->head = (b->head + 1) % (S3_QUEUE + 1);
        b->count--;
        s3_conn_wake_locked(r);
    }
    pthread_mutex_unlock(&c->lock);
    return err;
}

bool wg_s3_body_is_whole(const struct s3_req *r)
{
    const struct s3_body *b = r->body;

    pthread_mutex_lock(&r->conn->lock);
    bool whole = b->end && b->got <= S3_BODY_BUF && b->count <= 1;
    pthread_mutex_unlock(&r->conn->lock);
    return whole;
}

int wg_s3_body_whole(struct wg_co *co, struct s3_req *r, struct wg_data *ret,
                     const struct s3_digests **ret_digests)
{
    struct s3_body *b = r->body;
    struct wg_seg *seg = WG_NEW(&r->call->arena, struct wg_seg);

    *ret = (struct wg_data){ 0 };
    if (!seg || wg_sums_init(&b->md5, 1u << S3_SUM_MD5) != 0)
        return ENOMEM;
    if (b->err)
        return b->err;
    if (b->count) { /* stays in the queue: the request's end drops it */
        const struct s3_slice *s = &b->queue[b->head];

        *seg = (struct wg_seg){ s->buf, s->buf->base, s->len };
        *ret = (struct wg_data){ seg, 1, s->len };
        struct hashing h;
        begin_md5(co, r, s->buf->base, s->len, &h);
        wait_md5(&h);
    }
    return end_md5(r, ret_digests);
}

/* ---- Writing ---- */

struct store_write {
    struct s3_req *r;
    struct wg_co *co;
    struct wg_call *call;
    struct wg_xlator *top;
    struct s3_slice slice;
    struct wg_seg seg;
    struct wg_write_in in;
};

static void drop_root(void *root)
{
    wg_call_unref(root);
}

struct wg_call *s3_child_call(struct s3_req *r)
{
    struct wg_call *call = wg_call_new(r->call->graph, WG_FROM_S3, r->call->what);

    if (!call)
        return NULL;
    call->cred = r->call->cred;
    call->client = r->call->client;
    call->share = r->call->share;
    call->parent = r->call;
    wg_call_ref(r->call);
    if (wg_on_release(&call->arena, drop_root, r->call) != 0) {
        wg_call_unref(call);
        return NULL;
    }
    return call;
}

/* Any thread. The coroutine waits for b->writes to be 0 before it ends, so w->co is there. */
static void written(struct wg_call *call)
{
    struct store_write *w = call->owner;
    struct s3_req *r = w->r;
    struct s3_body *b = r->body;
    int err = call->root->err;

    if (!err && wg_result(call, write)->count != w->slice.len)
        err = EIO;
    s3_body_release(r, w->slice.buf);
    pthread_mutex_lock(&r->conn->lock);
    b->writes--;
    if (err && !b->write_err)
        b->write_err = err;
    wg_co_wake(w->co);
    pthread_mutex_unlock(&r->conn->lock);
    wg_call_unref(call); /* may be the request's last reference */
}

static int start_write(void *arg)
{
    struct store_write *w = arg;

    wg_start(w->call, w->top, WG_OP_write, &w->in, written);
    return 0;
}

static int write_slice(struct wg_co *co, struct s3_req *r, const struct wg_ref *to, uint64_t offset,
                       struct s3_slice slice)
{
    struct wg_call *call = s3_child_call(r);
    struct store_write *w = call ? WG_NEW(&call->arena, struct store_write) : NULL;

    if (!w) {
        if (call)
            wg_call_unref(call);
        return ENOMEM;
    }
    *w = (struct store_write){ .r = r, .co = co, .call = call, .top = r->top, .slice = slice };
    w->seg = (struct wg_seg){ slice.buf, slice.buf->base, slice.len };
    w->in = (struct wg_write_in){ .at = *to, .offset = offset, .stable = WG_UNSTABLE,
                                  .data = { &w->seg, 1, slice.len } };
    call->owner = w;
    pthread_mutex_lock(&r->conn->lock);
    r->body->writes++;
    pthread_mutex_unlock(&r->conn->lock);
    wg_co_on_worker(co, start_write, w);
    return 0;
}

static int wait_writes(struct wg_co *co, struct s3_req *r)
{
    struct s3_body *b = r->body;

    wg_co_shield(co, true); /* cancelled or not, the writes use our buffers: see them out */
    pthread_mutex_lock(&r->conn->lock);
    while (b->writes) {
        pthread_mutex_unlock(&r->conn->lock);
        wg_co_wait(co, 0);
        pthread_mutex_lock(&r->conn->lock);
    }
    int err = b->write_err;
    pthread_mutex_unlock(&r->conn->lock);
    wg_co_shield(co, false);
    return err;
}

static int store_slices(struct wg_co *co, struct s3_req *r, const struct wg_ref *to)
{
    struct s3_slice s;
    uint64_t offset = 0;
    int err;

    while ((err = next_slice(co, r, &s)) == 0 && s.buf) {
        struct wg_iobuf *buf = wg_iobuf_ref(s.buf); /* the write may end before the hash does */
        struct hashing h;

        begin_md5(co, r, buf->base, s.len, &h);
        err = write_slice(co, r, to, offset, s);
        if (err)
            s3_body_release(r, s.buf);
        wait_md5(&h);
        wg_iobuf_unref(buf);
        if (err)
            break;
        offset += s.len;
    }
    return err;
}

int wg_s3_body_store(struct wg_co *co, struct s3_req *r, const struct wg_ref *to,
                     const struct s3_digests **ret_digests)
{
    if (wg_sums_init(&r->body->md5, 1u << S3_SUM_MD5) != 0)
        return ENOMEM;
    int err = store_slices(co, r, to);
    int write_err = wait_writes(co, r);
    if (!err)
        err = write_err;
    return err ? err : end_md5(r, ret_digests);
}
