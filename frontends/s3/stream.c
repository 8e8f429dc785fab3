/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers that are longer than what is in memory: an object in read fops that run ahead of the
 * client, and an answer begun before its handler has ended.
 */
#include <stdio.h>

#include "conn.h"
#include "stream.h"

#define BLOCK (256u << 10) /* what the library asks for at a time; it has a buffer of that size */
/* Above the limit of body memory (many clients who don't read) each answer makes do with less. */
#define BLOCK_TIGHT (32u << 10)

/* ---- An object ---- */

struct slot {
    struct s3_stream *stream;
    struct wg_call *call; /* NULL: free */
    struct wg_read_in in;
    uint32_t used;        /* of the answer's bytes, already sent */
    uint32_t charged;     /* of the body memory */
    bool done;
};

struct s3_stream {
    struct s3_req *r;
    struct wg_ref ref;
    uint64_t offset, length; /* of the object, what to send */
    struct wg_data first;    /* came with the get fop */
    uint64_t asked;          /* from offset: up to here fops were started */
    struct slot slot[S3_READ_WINDOW];
    unsigned head, count;    /* the connection's thread only */
    bool closed;             /* under conn->lock: nobody will read any more */
};

int wg_s3_reply_object(struct s3_req *r, unsigned status, const struct wg_ref *ref, uint64_t offset,
                       uint64_t length, const struct wg_data *first)
{
    struct s3_stream *s = WG_NEW(&r->call->arena, struct s3_stream);

    if (!s)
        return ENOMEM;
    *s = (struct s3_stream){ .r = r, .ref = *ref, .offset = offset, .length = length, .first = *first,
                             .asked = first->len };
    r->answer->status = status;
    r->answer->kind = S3_ANSWER_STREAM;
    r->answer->length = length;
    r->answer->stream = s;
    return 0;
}

static void end_slot(struct slot *slot)
{
    struct wg_call *call = slot->call;

    slot->call = NULL;
    atomic_fetch_sub_explicit(&slot->stream->r->s3->body_used, slot->charged, memory_order_relaxed);
    wg_call_unref(call);
}

/* Any thread. call holds a reference of the request, so the stream is there. */
static void read_done(struct wg_call *call)
{
    struct slot *slot = call->owner;
    struct s3_stream *s = slot->stream;

    pthread_mutex_lock(&s->r->conn->lock);
    bool closed = s->closed;
    slot->done = true;
    if (!closed)
        s3_conn_wake_locked(s->r);
    pthread_mutex_unlock(&s->r->conn->lock);
    if (closed)
        end_slot(slot);
}

static bool start_read(struct s3_stream *s, struct slot *slot, uint64_t offset, uint32_t size)
{
    slot->call = s3_child_call(s->r);
    if (!slot->call)
        return false;
    slot->charged = size;
    atomic_fetch_add_explicit(&s->r->s3->body_used, size, memory_order_relaxed);
    slot->call->owner = slot;
    slot->stream = s;
    slot->used = 0;
    slot->done = false;
    slot->in = (struct wg_read_in){ .at = s->ref, .offset = offset, .size = size };
    wg_start(slot->call, s->r->top, WG_OP_read, &slot->in, read_done);
    return true;
}

static bool fill_window(struct s3_stream *s)
{
    while (s->asked < s->length && s->count < (s3_memory_tight(s->r->s3) ? 1 : S3_READ_WINDOW)) {
        uint64_t left = s->length - s->asked;
        uint32_t most = s3_memory_tight(s->r->s3) ? S3_TIGHT : WG_IO_MAX;
        uint32_t size = left < most ? (uint32_t)left : most;
        struct slot *slot = &s->slot[(s->head + s->count) % S3_READ_WINDOW];

        if (!start_read(s, slot, s->offset + s->asked, size))
            return s->count > 0;
        s->count++;
        s->asked += size;
    }
    return true;
}

/* Copies n bytes from offset of data. */
static void copy_out(const struct wg_data *data, uint32_t offset, char *to, size_t n)
{
    for (uint32_t i = 0; i < data->nseg && n > 0; i++) {
        const struct wg_seg *seg = &data->seg[i];
        size_t part;

        if (offset >= seg->len) {
            offset -= seg->len;
            continue;
        }
        part = seg->len - offset < n ? seg->len - offset : n;
        memcpy(to, (const char *)seg->base + offset, part);
        to += part;
        n -= part;
        offset = 0;
    }
}

/* The slot's answer is used up: the next read, or the rest of this one when it was short. */
static bool advance(struct s3_stream *s, struct slot *slot)
{
    uint64_t offset = slot->in.offset + slot->used;
    uint32_t left = slot->in.size - slot->used;

    end_slot(slot);
    if (left)
        return start_read(s, slot, offset, left);
    s->head = (s->head + 1) % S3_READ_WINDOW;
    s->count--;
    return fill_window(s);
}

/* Bytes from the slot at the head: > 0; 0 when it has not come (then we sleep); -1. */
static ssize_t from_slot(struct s3_stream *s, char *buf, size_t max, bool may_sleep)
{
    struct slot *slot = &s->slot[s->head];
    struct s3_conn *c = s->r->conn;

    if (!s->count && (!fill_window(s) || !s->count))
        return -1;
    pthread_mutex_lock(&c->lock);
    bool abort = c->abort, done = slot->done;
    if (!done && may_sleep && !abort)
        abort = !s3_conn_sleep_locked(s->r);
    pthread_mutex_unlock(&c->lock);
    if (abort)
        return -1;
    if (!done)
        return 0;
    if (slot->call->root->err || !wg_result(slot->call, read))
        return -1;
    const struct wg_data *data = &wg_result(slot->call, read)->data;
    if (data->len <= slot->used || data->len > slot->in.size)
        return -1; /* the file has shrunk: a cut connection, not wrong bytes */
    size_t n = data->len - slot->used;
    if (n > max)
        n = max;
    copy_out(data, slot->used, buf, n);
    slot->used += (uint32_t)n;
    if (slot->used == data->len && !advance(s, slot))
        return -1;
    return (ssize_t)n;
}

static ssize_t read_object(void *cls, uint64_t pos, char *buf, size_t max)
{
    struct s3_stream *s = cls;
    size_t given = 0;

    if (pos < s->first.len) {
        given = s->first.len - (size_t)pos < max ? s->first.len - (size_t)pos : max;
        copy_out(&s->first, (uint32_t)pos, buf, given);
    }
    while (given < max && pos + given < s->length) {
        ssize_t n = from_slot(s, buf + given, max - given, /* may_sleep */ given == 0);

        if (n < 0 && given == 0)
            return MHD_CONTENT_READER_END_WITH_ERROR;
        if (n <= 0)
            break;
        given += (size_t)n;
    }
    atomic_fetch_add_explicit(&s->r->conn->sent, given, memory_order_relaxed);
    return (ssize_t)given;
}

static void end_stream(void *cls)
{
    struct s3_stream *s = cls;
    struct wg_call *call = s->r->call;
    struct slot *ended[S3_READ_WINDOW];
    unsigned n = 0;

    pthread_mutex_lock(&s->r->conn->lock);
    s->closed = true;
    for (unsigned i = 0; i < s->count; i++) {
        struct slot *slot = &s->slot[(s->head + i) % S3_READ_WINDOW];
        if (slot->call && slot->done)
            ended[n++] = slot;
    }
    pthread_mutex_unlock(&s->r->conn->lock);
    while (n > 0)
        end_slot(ended[--n]);
    wg_call_unref(call);
}

struct MHD_Response *s3_stream_response(struct s3_req *r)
{
    struct s3_stream *s = r->answer->stream;

    if (!fill_window(s))
        return NULL;
    wg_call_ref(r->call);
    struct MHD_Response *resp = MHD_create_response_from_callback(s->length, s3_memory_tight(s->r->s3) ? BLOCK_TIGHT : BLOCK, read_object, s,
                                                                   end_stream);
    if (!resp)
        end_stream(s);
    return resp;
}

/* ---- An answer begun early ---- */

#define BLANK_EVERY_NS 5000000000ull
#define DECLARATION "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"

/* All under conn->lock. */
struct s3_live {
    struct s3_req *r;
    struct wg_timer timer; /* holds a reference of the request while it may run */
    unsigned blanks;       /* to be sent */
    struct wg_str text;
    size_t sent;           /* of text */
    bool began, finished;
};

static void blank_due(struct wg_timer *t)
{
    struct s3_live *l = (struct s3_live *)((char *)t - offsetof(struct s3_live, timer));
    struct s3_conn *c = l->r->conn;

    pthread_mutex_lock(&c->lock);
    bool over = l->finished || c->gone;
    if (!over) {
        l->blanks++;
        s3_conn_wake_locked(l->r);
        wg_timer_arm(&l->timer, wg_now_ns() + BLANK_EVERY_NS, blank_due);
    } else {
        l->finished = true;
    }
    pthread_mutex_unlock(&c->lock);
    if (over)
        wg_call_unref(l->r->call);
}

int wg_s3_keep_alive(struct wg_co *co, struct s3_req *r)
{
    struct s3_live *l = WG_NEW(&r->call->arena, struct s3_live);

    (void)co;
    if (!l)
        return ENOMEM;
    l->r = r;
    wg_call_ref(r->call);
    r->answer->kind = S3_ANSWER_LIVE;
    r->answer->status = 200;
    r->answer->type = "application/xml";
    r->answer->live = l;
    pthread_mutex_lock(&r->conn->lock);
    wg_timer_arm(&l->timer, wg_now_ns() + BLANK_EVERY_NS, blank_due);
    r->conn->ready = true;
    s3_conn_wake_locked(r);
    pthread_mutex_unlock(&r->conn->lock);
    return 0;
}

static struct wg_str without_declaration(struct wg_str text)
{
    if (text.len > 5 && memcmp(text.s, "<?xml", 5) == 0) {
        const char *end = memmem(text.s, text.len, "?>", 2);
        if (end)
            return (struct wg_str){ end + 2, (uint32_t)(text.s + text.len - end - 2) };
    }
    return text;
}

bool s3_live_finish(struct s3_req *r, int err)
{
    struct s3_live *l = r->answer->live;

    if (!l)
        return false;
    struct wg_str text = err ? s3_error_text(r, err, false) : without_declaration(r->answer->text);
    pthread_mutex_lock(&r->conn->lock);
    bool ours = !l->finished;
    l->text = text;
    l->finished = true;
    s3_conn_wake_locked(r);
    pthread_mutex_unlock(&r->conn->lock);
    /* Armed: it will not run. Else it runs right now, sees finished, and drops its reference. */
    if (ours && wg_timer_cancel(&l->timer))
        wg_call_unref(r->call);
    return true;
}

static ssize_t read_live(void *cls, uint64_t pos, char *buf, size_t max)
{
    struct s3_live *l = cls;
    struct s3_conn *c = l->r->conn;
    ssize_t n = 0;

    (void)pos;
    pthread_mutex_lock(&c->lock);
    if (!l->began && max >= sizeof DECLARATION) {
        l->began = true;
        n = sizeof DECLARATION - 1;
        memcpy(buf, DECLARATION, (size_t)n);
    } else if (l->finished) {
        n = (ssize_t)(l->text.len - l->sent < max ? l->text.len - l->sent : max);
        memcpy(buf, l->text.s + l->sent, (size_t)n);
        l->sent += (size_t)n;
        if (n == 0) /* no text at all: memory was out; a cut body is an error to every client */
            n = l->text.len ? MHD_CONTENT_READER_END_OF_STREAM : MHD_CONTENT_READER_END_WITH_ERROR;
    } else if (l->blanks) {
        l->blanks--;
        *buf = ' ';
        n = 1;
    } else if (!s3_conn_sleep_locked(l->r)) {
        n = MHD_CONTENT_READER_END_WITH_ERROR;
    }
    pthread_mutex_unlock(&c->lock);
    return n;
}

static void end_live(void *cls)
{
    wg_call_unref(((struct s3_live *)cls)->r->call);
}

struct MHD_Response *s3_live_response(struct s3_req *r)
{
    struct MHD_Response *resp;

    wg_call_ref(r->call);
    resp = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 4096, read_live, r->answer->live, end_live);
    if (!resp)
        wg_call_unref(r->call);
    return resp;
}
