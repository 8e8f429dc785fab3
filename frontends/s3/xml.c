/* SPDX-License-Identifier: Apache-2.0 */
#include "xml.h"

#include <errno.h>
#include <inttypes.h>
#include <libxml/chvalid.h>
#include <libxml/xmlwriter.h>
#include <stdio.h>
#include <stdlib.h>

#include "date.h"
#include "uri.h"

struct wg_s3_xml {
    xmlBufferPtr buffer;
    xmlTextWriterPtr writer;
    bool bad;
};

static void check(struct wg_s3_xml *x, int written)
{
    if (written < 0)
        x->bad = true;
}

static void drop(struct wg_s3_xml *x)
{
    if (!x)
        return;
    if (x->writer)
        xmlFreeTextWriter(x->writer); /* flushes into the buffer, so before it */
    if (x->buffer)
        xmlBufferFree(x->buffer);
    free(x);
}

static struct wg_s3_xml *begin(const char *root, const char *ns)
{
    struct wg_s3_xml *x = calloc(1, sizeof *x);

    if (!x)
        return NULL;
    x->buffer = xmlBufferCreate();
    x->writer = x->buffer ? xmlNewTextWriterMemory(x->buffer, 0) : NULL;
    if (!x->writer) {
        drop(x);
        return NULL;
    }
    check(x, xmlTextWriterStartDocument(x->writer, NULL, "UTF-8", NULL));
    check(x, xmlTextWriterStartElement(x->writer, BAD_CAST root));
    if (ns)
        check(x, xmlTextWriterWriteAttribute(x->writer, BAD_CAST "xmlns", BAD_CAST ns));
    return x;
}

struct wg_s3_xml *wg_s3_xml_new(const char *root)
{
    return begin(root, WG_S3_XMLNS);
}

struct wg_s3_xml *wg_s3_xml_new_plain(const char *root)
{
    return begin(root, NULL);
}

void wg_s3_xml_open(struct wg_s3_xml *x, const char *name)
{
    if (x && !x->bad)
        check(x, xmlTextWriterStartElement(x->writer, BAD_CAST name));
}

void wg_s3_xml_close(struct wg_s3_xml *x)
{
    if (x && !x->bad)
        check(x, xmlTextWriterEndElement(x->writer));
}

void wg_s3_xml_attr(struct wg_s3_xml *x, const char *name, const char *value)
{
    if (x && !x->bad)
        check(x, xmlTextWriterWriteAttribute(x->writer, BAD_CAST name, BAD_CAST value));
}

/* Text gathered up to what XML or a C string can't hold. */
struct run {
    struct wg_s3_xml *x;
    uint32_t n;
    char buf[1024];
};

static void flush(struct run *r)
{
    if (r->n == 0)
        return;
    r->buf[r->n] = '\0';
    check(r->x, xmlTextWriterWriteString(r->x->writer, BAD_CAST r->buf));
    r->n = 0;
}

static void gather(struct run *r, const char *s, uint32_t n)
{
    if (r->n + n >= sizeof r->buf)
        flush(r);
    memcpy(r->buf + r->n, s, n);
    r->n += n;
}

/* One character at s: 0 when it is no UTF-8; *ret_bytes are its bytes. */
static int character(const uint8_t *s, uint32_t left, uint32_t *ret_bytes)
{
    int n = left > 4 ? 4 : (int)left;
    int c;

    if (*s < 0x80) {
        *ret_bytes = 1;
        return *s;
    }
    c = xmlGetUTF8Char(s, &n);
    if (c < 0x80 || n < 2 || (n == 3 && c < 0x800) || (n == 4 && c < 0x10000))
        return -1;
    *ret_bytes = (uint32_t)n;
    return c;
}

static void put_text(struct wg_s3_xml *x, struct wg_str s)
{
    struct run r; /* not cleared: a list writes thousands */

    r.x = x;
    r.n = 0;
    for (uint32_t i = 0, n; i < s.len && !x->bad; i += n) {
        int c = character((const uint8_t *)s.s + i, s.len - i, &n);

        if (c < 0) {
            gather(&r, "\xef\xbf\xbd", 3);
            n = 1;
        } else if (xmlIsCharQ(c) && c != '\t' && c != '\n' && c != '\r') {
            gather(&r, s.s + i, n);
        } else {
            flush(&r);
            check(x, xmlTextWriterWriteFormatRaw(x->writer, "&#x%x;", (unsigned)c));
        }
    }
    flush(&r);
}

void wg_s3_xml_str(struct wg_s3_xml *x, const char *name, struct wg_str value)
{
    if (!x || x->bad)
        return;
    check(x, xmlTextWriterStartElement(x->writer, BAD_CAST name));
    put_text(x, value);
    check(x, xmlTextWriterEndElement(x->writer));
}

void wg_s3_xml_content(struct wg_s3_xml *x, struct wg_str value)
{
    if (x && !x->bad)
        put_text(x, value);
}

void wg_s3_xml_text(struct wg_s3_xml *x, const char *name, const char *value)
{
    wg_s3_xml_str(x, name, wg_str_of(value));
}

void wg_s3_xml_u64(struct wg_s3_xml *x, const char *name, uint64_t value)
{
    char buf[24];

    snprintf(buf, sizeof buf, "%" PRIu64, value);
    wg_s3_xml_text(x, name, buf);
}

void wg_s3_xml_bool(struct wg_s3_xml *x, const char *name, bool value)
{
    wg_s3_xml_text(x, name, value ? "true" : "false");
}

void wg_s3_xml_time(struct wg_s3_xml *x, const char *name, int64_t sec)
{
    char buf[WG_S3_DATE_TEXT];

    wg_s3_xml_text(x, name, wg_s3_date_iso(sec, buf));
}

void wg_s3_xml_etag(struct wg_s3_xml *x, const char *name, const struct wg_etag *etag)
{
    char text[WG_ETAG_TEXT], quoted[WG_ETAG_TEXT + 2];

    snprintf(quoted, sizeof quoted, "\"%s\"", wg_etag_show(etag, text));
    wg_s3_xml_text(x, name, quoted);
}

void wg_s3_xml_key(struct wg_s3_xml *x, const char *name, struct wg_str key, bool url)
{
    char buf[3 * 1024];

    if (!url) {
        wg_s3_xml_str(x, name, key);
        return;
    }
    if (!x || x->bad)
        return;
    check(x, xmlTextWriterStartElement(x->writer, BAD_CAST name));
    while (key.len) {
        uint32_t n = key.len < 1024 ? key.len : 1024;

        put_text(x, (struct wg_str){ buf, (uint32_t)wg_s3_encode((struct wg_str){ key.s, n }, true, buf) });
        key = (struct wg_str){ key.s + n, key.len - n };
    }
    check(x, xmlTextWriterEndElement(x->writer));
}

int wg_s3_xml_end(struct wg_s3_xml *x, char **ret_text, size_t *ret_len)
{
    bool ok;

    if (!x)
        return ENOMEM;
    check(x, xmlTextWriterEndDocument(x->writer));
    ok = !x->bad;
    xmlFreeTextWriter(x->writer);
    x->writer = NULL;
    if (ok) {
        *ret_len = (size_t)xmlBufferLength(x->buffer);
        *ret_text = (char *)xmlBufferDetach(x->buffer);
        ok = *ret_text != NULL;
    }
    drop(x);
    return ok ? 0 : ENOMEM;
}

void wg_s3_xml_free(void *text)
{
    xmlFree(text);
}

int wg_s3_xml_error(enum wg_s3_code code, const char *message, struct wg_str resource, const char *request_id,
                    const char *host_id, struct wg_str extra, char **ret_text, size_t *ret_len)
{
    const struct wg_s3_code_row *row = wg_s3_code_row(code);
    struct wg_s3_xml *x = wg_s3_xml_new_plain("Error");

    wg_s3_xml_text(x, "Code", row->name);
    wg_s3_xml_text(x, "Message", message ? message : row->message);
    if (x && !x->bad && extra.len)
        check(x, xmlTextWriterWriteRawLen(x->writer, BAD_CAST extra.s, (int)extra.len));
    wg_s3_xml_str(x, "Resource", resource);
    wg_s3_xml_text(x, "RequestId", request_id);
    wg_s3_xml_text(x, "HostId", host_id);
    return wg_s3_xml_end(x, ret_text, ret_len);
}
