/* SPDX-License-Identifier: Apache-2.0 */
/* Answers: what handlers set, and what libmicrohttpd is given. */
#include <libxml/xmlwriter.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "conn.h"
#include "date.h"

#define SERVER "Windgate"

const struct wg_s3_code_row *wg_s3_error_row(int err)
{
    return wg_s3_code_row(err >= S3_CODE_BASE ? (enum wg_s3_code)(err - S3_CODE_BASE)
                                              : wg_s3_code_of_errno(err));
}

/* ---- Headers ---- */

static void add_header(struct s3_req *r, const char *name, const char *value)
{
    struct s3_answer *a = r->answer;
    if (a->live)
        return; /* the head of the answer is on its way already */
    struct s3_out_header *h = value ? WG_NEW(&r->call->arena, struct s3_out_header) : NULL;

    if (!h) {
        a->oom = true;
        return;
    }
    h->name = name;
    h->value = value;
    *a->last = h;
    a->last = &h->next;
}

void wg_s3_set(struct s3_req *r, const char *name, const char *fmt, ...)
{
    char text[1024];
    va_list ap;

    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= sizeof text)
        r->answer->oom = true;
    else
        add_header(r, name, wg_memdup(&r->call->arena, text, (size_t)n));
}

void wg_s3_set_str(struct s3_req *r, const char *name, struct wg_str value)
{
    /* The library takes neither an empty value nor a tab; a blank says the same to every client. */
    char *text = value.len ? wg_memdup(&r->call->arena, value.s, value.len)
                           : wg_memdup(&r->call->arena, " ", 1);

    for (char *c = text; c && *c; c++)
        if ((unsigned char)*c < ' ' || *c == 127)
            *c = ' ';
    add_header(r, name, text);
}

void wg_s3_set_etag(struct s3_req *r, const struct wg_etag *etag)
{
    char text[WG_ETAG_TEXT];

    wg_s3_set(r, "ETag", "\"%s\"", wg_etag_show(etag, text));
}

void wg_s3_set_time(struct s3_req *r, const char *name, struct wg_time t)
{
    char text[WG_S3_DATE_TEXT];

    wg_s3_set(r, name, "%s", wg_s3_date_http(t.sec, text));
}

/* ---- What handlers answer ---- */

/* The kind and status, unless the answer has begun (then only its text still counts). */
static void answer_as(struct s3_req *r, unsigned status, enum s3_answer_kind kind)
{
    if (r->answer->live)
        return;
    r->answer->status = status;
    r->answer->kind = kind;
}

int wg_s3_reply(struct s3_req *r, unsigned status)
{
    answer_as(r, status, S3_ANSWER_NONE);
    return 0;
}

int wg_s3_reply_length(struct s3_req *r, unsigned status, uint64_t length)
{
    answer_as(r, status, S3_ANSWER_LENGTH);
    r->answer->length = length;
    return 0;
}

int wg_s3_reply_text(struct s3_req *r, unsigned status, const char *type, struct wg_str text)
{
    struct s3_answer *a = r->answer;

    answer_as(r, status, S3_ANSWER_TEXT);
    if (!a->live)
        a->type = type;
    a->text = text;
    return 0;
}

struct owned {
    void (*free_fn)(void *);
    void *text;
};

static void free_owned(void *arg)
{
    struct owned *o = arg;

    o->free_fn(o->text);
}

int wg_s3_reply_owned(struct s3_req *r, unsigned status, const char *type, char *text, size_t len,
                      void (*free_fn)(void *))
{
    struct owned *o = WG_NEW(&r->call->arena, struct owned);

    if (!o) {
        free_fn(text);
        return ENOMEM;
    }
    *o = (struct owned){ free_fn, text };
    int err = wg_on_release(&r->call->arena, free_owned, o);
    return err ? err : wg_s3_reply_text(r, status, type, (struct wg_str){ text, (uint32_t)len });
}

static void drop_call(void *call)
{
    wg_call_unref(call);
}

int wg_s3_reply_data(struct s3_req *r, unsigned status, const struct wg_data *data,
                     struct wg_call *keep)
{
    struct s3_answer *a = r->answer;

    if (keep && keep != r->call) {
        wg_call_ref(keep);
        int err = wg_on_release(&r->call->arena, drop_call, keep);
        if (err)
            return err;
    }
    answer_as(r, status, S3_ANSWER_DATA);
    a->data = *data;
    return 0;
}

int wg_s3_fail(struct s3_req *r, int code, const char *fmt, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n < 0)
        return code;
    if ((size_t)n >= sizeof text)
        n = sizeof text - 1;
    wg_strdup(&r->call->arena, (struct wg_str){ text, (uint32_t)n }, &r->error_message);
    return code;
}

int wg_s3_fail_with(struct s3_req *r, int code, const char *name, struct wg_str value)
{
    struct s3_error_field *f = WG_NEW(&r->call->arena, struct s3_error_field);

    if (f && wg_strdup(&r->call->arena, value, &f->value) == 0) {
        f->name = name;
        f->next = r->error_fields;
        r->error_fields = f;
    }
    return code;
}

/* ---- The error's XML ---- */

/* XML 1.0 has no way to say most control characters, and libxml2 wants UTF-8. */
static void write_field(xmlTextWriterPtr w, const char *name, struct wg_str value)
{
    char *text = malloc((size_t)value.len + 1);
    uint32_t n = 0;

    if (!text)
        return;
    for (uint32_t i = 0; i < value.len; i++)
        text[n++] = (unsigned char)value.s[i] >= ' ' ? value.s[i] : '?';
    text[n] = '\0';
    if (!xmlCheckUTF8((xmlChar *)text))
        for (uint32_t i = 0; i < n; i++)
            if ((unsigned char)text[i] >= 128)
                text[i] = '?';
    xmlTextWriterWriteElement(w, (const xmlChar *)name, (const xmlChar *)text);
    free(text);
}

static const struct s3_error_field *find_field(const struct s3_req *r, const char *name)
{
    const struct s3_error_field *f = r->error_fields;

    while (f && strcmp(f->name, name) != 0)
        f = f->next;
    return f;
}

static void write_error(xmlTextWriterPtr w, const struct s3_req *r, int err)
{
    const struct wg_s3_code_row *row = wg_s3_error_row(err);
    struct wg_str bucket = r->uri.bucket, key = r->uri.key;

    xmlTextWriterStartElement(w, (const xmlChar *)"Error");
    write_field(w, "Code", wg_str_of(row->name));
    write_field(w, "Message", r->error_message.len ? r->error_message : wg_str_of(row->message));
    for (const struct s3_error_field *f = r->error_fields; f; f = f->next)
        write_field(w, f->name, f->value);
    if (strcmp(row->name, "NoSuchKey") == 0 && !find_field(r, "Key"))
        write_field(w, "Key", key);
    if ((strcmp(row->name, "NoSuchBucket") == 0 || strncmp(row->name, "Bucket", 6) == 0) &&
        !find_field(r, "BucketName"))
        write_field(w, "BucketName", bucket);
    write_field(w, "Resource", r->uri.raw_path);
    write_field(w, "RequestId", wg_str_of(r->id));
    write_field(w, "HostId", wg_str_of(SERVER));
    xmlTextWriterEndElement(w);
}

/* The <Error> document in the arena; len 0 when memory is out. */
struct wg_str s3_error_text(struct s3_req *r, int err, bool declaration)
{
    struct wg_str text = { 0 };
    xmlBufferPtr buf = xmlBufferCreate();
    xmlTextWriterPtr w = buf ? xmlNewTextWriterMemory(buf, 0) : NULL;

    if (w) {
        if (declaration)
            xmlTextWriterStartDocument(w, NULL, "UTF-8", NULL);
        write_error(w, r, err);
        if (xmlTextWriterEndDocument(w) >= 0)
            wg_strdup(&r->call->arena,
                      (struct wg_str){ (const char *)xmlBufferContent(buf), (uint32_t)xmlBufferLength(buf) },
                      &text);
        xmlFreeTextWriter(w);
    }
    xmlBufferFree(buf);
    return text;
}

static void answer_error(struct s3_req *r)
{
    struct s3_answer *a = r->answer;
    const struct wg_s3_code_row *row = wg_s3_error_row(r->error);

    if (row->status == 304) { /* no error to its reader: ETag and dates set before stay */
        if (a->kind != S3_ANSWER_LENGTH)
            a->kind = S3_ANSWER_NONE;
        a->status = 304;
        return;
    }
    a->headers = NULL;
    a->last = &a->headers;
    a->oom = false;
    if (row->status == 503)
        wg_s3_set(r, "Retry-After", "1");
    const struct s3_error_field *size = row->status == 416 ? find_field(r, "ActualObjectSize") : NULL;
    if (size)
        wg_s3_set(r, "Content-Range", "bytes */%.*s", (int)size->value.len, size->value.s);
    wg_s3_reply_text(r, row->status, "application/xml", s3_error_text(r, r->error, true));
}

/* ---- The library's response ---- */

static void release_call(void *call)
{
    wg_call_unref(call);
}

/* Sent from where it is; the request stays until it has been sent. */
static struct MHD_Response *text_response(struct s3_req *r, struct wg_str text)
{
    struct MHD_Response *resp;

    wg_call_ref(r->call);
#if MHD_VERSION >= 0x00097302
    resp = MHD_create_response_from_buffer_with_free_callback_cls(
        text.len, (void *)(uintptr_t)(text.len ? text.s : ""), release_call, r->call);
#else
    resp = MHD_create_response_from_buffer(text.len, (void *)(uintptr_t)(text.len ? text.s : ""),
                                           MHD_RESPMEM_MUST_COPY);
    wg_call_unref(r->call);
    return resp;
#endif
    if (!resp)
        wg_call_unref(r->call);
    return resp;
}

static struct MHD_Response *data_response(struct s3_req *r, const struct wg_data *data)
{
    if (data->nseg <= 1)
        return text_response(r, data->nseg ? (struct wg_str){ data->seg->base, data->len }
                                           : (struct wg_str){ 0 });
    struct MHD_IoVec *iov = wg_alloc(&r->call->arena, data->nseg * sizeof *iov);
    if (!iov)
        return NULL;
    for (uint32_t i = 0; i < data->nseg; i++)
        iov[i] = (struct MHD_IoVec){ data->seg[i].base, data->seg[i].len };
    wg_call_ref(r->call);
    struct MHD_Response *resp = MHD_create_response_from_iovec(iov, data->nseg, release_call, r->call);
    if (!resp)
        wg_call_unref(r->call);
    return resp;
}

static ssize_t never_read(void *cls, uint64_t pos, char *buf, size_t max)
{
    (void)cls, (void)pos, (void)buf, (void)max;
    return MHD_CONTENT_READER_END_WITH_ERROR;
}

static struct MHD_Response *body_response(struct s3_req *r)
{
    struct s3_answer *a = r->answer;

    switch (a->kind) {
    case S3_ANSWER_NONE:
        return text_response(r, (struct wg_str){ 0 });
    case S3_ANSWER_TEXT:
        atomic_store(&r->conn->sent, a->text.len);
        return text_response(r, a->text);
    case S3_ANSWER_DATA:
        atomic_store(&r->conn->sent, a->data.len);
        return data_response(r, &a->data);
    case S3_ANSWER_STREAM:
        return s3_stream_response(r);
    case S3_ANSWER_LENGTH:
        return MHD_create_response_from_callback(a->length, 4096, never_read, NULL, NULL);
    case S3_ANSWER_LIVE:
        return s3_live_response(r);
    }
    return NULL;
}

struct MHD_Response *s3_make_response(struct s3_req *r, unsigned *ret_status)
{
    struct s3_answer *a = r->answer;

    if (!r->error && a->oom)
        r->error = ENOMEM;
    if (r->error)
        answer_error(r);
    struct MHD_Response *resp = body_response(r);
    if (!resp)
        return NULL;
    if (a->type)
        MHD_add_response_header(resp, "Content-Type", a->type);
    for (const struct s3_out_header *h = a->headers; h; h = h->next)
        if (MHD_add_response_header(resp, h->name, h->value) != MHD_YES) {
            MHD_destroy_response(resp); /* a value no header can hold: better nothing than half */
            return NULL;
        }
    MHD_add_response_header(resp, "x-amz-request-id", r->id);
    MHD_add_response_header(resp, "x-amz-id-2", r->id);
    MHD_add_response_header(resp, "Server", SERVER);
    if (r->conn->close)
        MHD_add_response_header(resp, "Connection", "close");
    *ret_status = a->status;
    return resp;
}
