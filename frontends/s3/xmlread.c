/* SPDX-License-Identifier: Apache-2.0 */
#include <libxml/parser.h>
#include <libxml/xmlreader.h>
#include <pthread.h>

#include "meta.h"
#include "range.h"
#include "xml.h"

#define DEPTH_MAX 8
#define PATH_MAX_BYTES 256
#define TEXT_MAX 8192 /* of one leaf; keys have 1024 at most */
#define MARKUP_MAX 16384 /* a tag with the text after it; a key in character references fits */
#define ATTRIBUTES_MAX 16 /* of one element; clients send a namespace, or none */

/* ---- The walk ---- */

struct walk {
    const char *root;
    wg_s3_xml_each *each;
    void *arg;
    unsigned depth;
    uint32_t at[DEPTH_MAX]; /* length of the path above each level */
    uint32_t npath, ntext;
    char path[PATH_MAX_BYTES];
    char text[TEXT_MAX];
};

static enum wg_s3_code element(struct walk *w, const char *name)
{
    size_t n = strlen(name);

    if (w->depth == DEPTH_MAX || w->npath + n + 2 > sizeof w->path)
        return WG_S3_MalformedXML;
    if (w->depth == 0 && strcmp(name, w->root) != 0)
        return WG_S3_MalformedXML;
    w->at[w->depth++] = w->npath;
    if (w->depth > 1)
        w->path[w->npath++] = '/';
    memcpy(w->path + w->npath, name, n + 1);
    w->npath += (uint32_t)n;
    w->ntext = 0;
    return WG_S3_OK;
}

static enum wg_s3_code end_element(struct walk *w)
{
    enum wg_s3_code code = w->each(w->arg, w->path, (struct wg_str){ w->text, w->ntext });

    w->npath = w->at[--w->depth];
    w->path[w->npath] = '\0';
    w->ntext = 0;
    return code;
}

static enum wg_s3_code text(struct walk *w, const char *value)
{
    size_t n = value ? strlen(value) : 0;

    if (n > sizeof w->text - w->ntext)
        return WG_S3_MalformedXML;
    memcpy(w->text + w->ntext, value ? value : "", n);
    w->ntext += (uint32_t)n;
    return WG_S3_OK;
}

static enum wg_s3_code node(struct walk *w, xmlTextReaderPtr r)
{
    enum wg_s3_code code;

    switch (xmlTextReaderNodeType(r)) {
    case XML_READER_TYPE_ELEMENT:
        if (xmlTextReaderAttributeCount(r) > ATTRIBUTES_MAX)
            return WG_S3_MalformedXML;
        code = element(w, (const char *)xmlTextReaderConstLocalName(r));
        return code == WG_S3_OK && xmlTextReaderIsEmptyElement(r) ? end_element(w) : code;
    case XML_READER_TYPE_END_ELEMENT:
        return end_element(w);
    case XML_READER_TYPE_TEXT:
    case XML_READER_TYPE_CDATA:
    case XML_READER_TYPE_SIGNIFICANT_WHITESPACE:
    case XML_READER_TYPE_WHITESPACE:
        return text(w, (const char *)xmlTextReaderConstValue(r));
    case XML_READER_TYPE_DOCUMENT_TYPE:
    case XML_READER_TYPE_ENTITY_REFERENCE:
        return WG_S3_MalformedXML;
    default: /* comments, processing instructions */
        return WG_S3_OK;
    }
}

/* Whether it begins a DTD somewhere: then libxml2 does not get to see it. No S3 client sends one. */
static bool has_dtd(struct wg_str s)
{
    for (const char *at = s.s, *end = s.s + s.len; (at = memmem(at, (size_t)(end - at), "<!", 2)); at += 2)
        if (end - at > 2 && at[2] != '-' && at[2] != '[')
            return true;
    return false;
}

/*
 * Whether some tag is so long that libxml2 must not see it: it compares each attribute with all
 * before it, so that one tag of megabytes keeps a worker busy for minutes. No attribute's value holds a "<",
 * so from one to the next there is a tag at most.
 */
static bool has_long_tag(struct wg_str s)
{
    const char *at = s.s, *end = s.s + s.len;

    while (at < end) {
        const char *next = memchr(at + 1, '<', (size_t)(end - at - 1));

        next = next ? next : end;
        if (next - at > MARKUP_MAX)
            return true;
        at = next;
    }
    return false;
}

static void ignore_error(void *arg, xmlErrorPtr error)
{
    (void)arg;
    (void)error;
}

enum wg_s3_code wg_s3_xml_read(struct wg_str body, const char *root, wg_s3_xml_each *each, void *arg)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct walk w = { .root = root, .each = each, .arg = arg };
    enum wg_s3_code code = WG_S3_OK;
    xmlTextReaderPtr r;
    int more = 0;

    pthread_once(&once, xmlInitParser);
    if (body.len == 0 || body.len > INT32_MAX || has_dtd(body) || has_long_tag(body))
        return WG_S3_MalformedXML;
    /* The encoding is given, so that a declared one can't hide what has_dtd looks for. */
    r = xmlReaderForMemory(body.s, (int)body.len, NULL, "UTF-8",
                           XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
    if (!r)
        return WG_S3_InternalError;
    xmlTextReaderSetStructuredErrorHandler(r, ignore_error, NULL);
    while (code == WG_S3_OK && (more = xmlTextReaderRead(r)) == 1)
        code = node(&w, r);
    if (code == WG_S3_OK && (more != 0 || w.depth != 0))
        code = WG_S3_MalformedXML;
    xmlFreeTextReader(r);
    return code;
}

/* ---- What the parts of the bodies share ---- */

static enum wg_s3_code keep(struct wg_arena *a, struct wg_str from, struct wg_str *ret)
{
    char *copy = wg_memdup(a, from.s, from.len);

    if (!copy)
        return WG_S3_SlowDown;
    *ret = (struct wg_str){ copy, from.len };
    return WG_S3_OK;
}

static struct wg_str trim(struct wg_str s)
{
    while (s.len && strchr(" \t\r\n", s.s[0]))
        s = (struct wg_str){ s.s + 1, s.len - 1 };
    while (s.len && strchr(" \t\r\n", s.s[s.len - 1]))
        s.len--;
    return s;
}

/* An array in the arena that doubles; NULL when memory is out. */
static void *grown(struct wg_arena *a, void *old, unsigned n, unsigned *room, size_t size)
{
    unsigned more = *room ? *room * 2 : 16;
    void *p;

    if (n < *room)
        return old;
    p = wg_alloc(a, more * size);
    if (!p)
        return NULL;
    if (n)
        memcpy(p, old, n * size);
    *room = more;
    return p;
}

/* ---- Delete ---- */

struct reading_delete {
    struct wg_arena *arena;
    struct wg_s3_delete *ret;
    unsigned room;
    struct wg_s3_delete_item now;
    bool has_key;
};

static enum wg_s3_code end_object(struct reading_delete *d)
{
    struct wg_s3_delete *ret = d->ret;

    if (!d->has_key || d->now.key.len == 0 || ret->n == 1000)
        return WG_S3_MalformedXML;
    ret->item = grown(d->arena, ret->item, ret->n, &d->room, sizeof *ret->item);
    if (!ret->item)
        return WG_S3_SlowDown;
    ret->item[ret->n++] = d->now;
    memset(&d->now, 0, sizeof d->now);
    d->has_key = false;
    return WG_S3_OK;
}

static enum wg_s3_code each_delete(void *arg, const char *path, struct wg_str value)
{
    struct reading_delete *d = arg;
    struct {
        const char *path;
        struct wg_str *to;
    } known[] = {
        { "Delete/Object/Key", &d->now.key },
        { "Delete/Object/VersionId", &d->now.version_id },
        { "Delete/Object/ETag", &d->now.etag },
        { "Delete/Object/Size", &d->now.size },
        { "Delete/Object/LastModifiedTime", &d->now.last_modified },
    };

    if (strcmp(path, "Delete/Object") == 0)
        return end_object(d);
    if (strcmp(path, "Delete/Quiet") == 0)
        d->ret->quiet = wg_str_eq(trim(value), WG_STR("true"));
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(path, known[i].path) != 0)
            continue;
        d->has_key |= i == 0;
        return keep(d->arena, i ? trim(value) : value, known[i].to);
    }
    return WG_S3_OK;
}

enum wg_s3_code wg_s3_xml_read_delete(struct wg_str body, struct wg_arena *arena, struct wg_s3_delete *ret)
{
    struct reading_delete d = { .arena = arena, .ret = ret };
    enum wg_s3_code code;

    memset(ret, 0, sizeof *ret);
    code = wg_s3_xml_read(body, "Delete", each_delete, &d);
    return code == WG_S3_OK && ret->n == 0 ? WG_S3_MalformedXML : code;
}

/* ---- CompleteMultipartUpload ---- */

struct reading_complete {
    struct wg_arena *arena;
    struct wg_s3_complete *ret;
    unsigned room;
    struct wg_s3_part_item now;
};

static bool part_number(struct wg_str s, uint32_t *ret)
{
    uint32_t n = 0;

    if (s.len == 0 || s.len > 9)
        return false;
    for (uint32_t i = 0; i < s.len; i++) {
        if (s.s[i] < '0' || s.s[i] > '9')
            return false;
        n = n * 10 + (uint32_t)(s.s[i] - '0');
    }
    *ret = n;
    return true;
}

static enum wg_s3_code end_part(struct reading_complete *c)
{
    struct wg_s3_complete *ret = c->ret;

    if (c->now.number == 0 || c->now.etag.len == 0 || ret->n == 10000)
        return WG_S3_MalformedXML;
    ret->part = grown(c->arena, ret->part, ret->n, &c->room, sizeof *ret->part);
    if (!ret->part)
        return WG_S3_SlowDown;
    ret->part[ret->n++] = c->now;
    memset(&c->now, 0, sizeof c->now);
    return WG_S3_OK;
}

static enum wg_s3_code each_complete(void *arg, const char *path, struct wg_str value)
{
    static const char part[] = "CompleteMultipartUpload/Part";
    struct reading_complete *c = arg;
    const char *leaf = path + sizeof part;

    if (strncmp(path, part, sizeof part - 1) != 0)
        return WG_S3_OK;
    if (path[sizeof part - 1] == '\0')
        return end_part(c);
    value = trim(value);
    if (strcmp(leaf, "PartNumber") == 0) {
        if (!part_number(value, &c->now.number))
            return WG_S3_MalformedXML;
        return c->now.number >= 1 && c->now.number <= 10000 ? WG_S3_OK : WG_S3_InvalidArgument;
    }
    if (strcmp(leaf, "ETag") == 0)
        return keep(c->arena, wg_s3_unquote(value), &c->now.etag);
    for (unsigned alg = S3_SUM_CRC32; alg < S3_SUM_MD5; alg++) {
        if (strcmp(leaf, wg_s3_sum_element((enum wg_s3_sum)alg)) != 0)
            continue;
        if (c->now.alg != S3_SUM_NONE)
            return WG_S3_InvalidRequest;
        c->now.alg = (enum wg_s3_sum)alg;
        return keep(c->arena, value, &c->now.sum);
    }
    return strncmp(leaf, "Checksum", 8) == 0 ? WG_S3_InvalidRequest : WG_S3_OK;
}

enum wg_s3_code wg_s3_xml_read_complete(struct wg_str body, struct wg_arena *arena, struct wg_s3_complete *ret)
{
    struct reading_complete c = { .arena = arena, .ret = ret };
    enum wg_s3_code code;

    memset(ret, 0, sizeof *ret);
    code = wg_s3_xml_read(body, "CompleteMultipartUpload", each_complete, &c);
    return code == WG_S3_OK && ret->n == 0 ? WG_S3_MalformedXML : code;
}

/* ---- CreateBucketConfiguration ---- */

struct reading_location {
    struct wg_arena *arena;
    struct wg_str *ret;
};

static enum wg_s3_code each_location(void *arg, const char *path, struct wg_str value)
{
    struct reading_location *l = arg;

    if (strcmp(path, "CreateBucketConfiguration/LocationConstraint") == 0)
        return keep(l->arena, trim(value), l->ret);
    return WG_S3_OK;
}

enum wg_s3_code wg_s3_xml_read_location(struct wg_str body, struct wg_arena *arena, struct wg_str *ret)
{
    struct reading_location l = { arena, ret };

    *ret = (struct wg_str){ "", 0 };
    return body.len ? wg_s3_xml_read(body, "CreateBucketConfiguration", each_location, &l) : WG_S3_OK;
}

/* ---- Tagging ---- */

struct reading_tagging {
    struct wg_arena *arena;
    struct wg_s3_tagging *ret;
    struct wg_s3_tag_item now;
    bool has_name, has_value;
};

static enum wg_s3_code end_tag(struct reading_tagging *t)
{
    struct wg_s3_tagging *ret = t->ret;

    if (!t->has_name || !t->has_value)
        return WG_S3_MalformedXML;
    if (!wg_s3_tag_ok(t->now.name, t->now.value))
        return WG_S3_InvalidTag;
    for (unsigned i = 0; i < ret->n; i++)
        if (wg_str_eq(ret->tag[i].name, t->now.name))
            return WG_S3_InvalidTag;
    if (ret->n == WG_S3_TAGS_MAX)
        return WG_S3_BadRequest;
    ret->tag[ret->n++] = t->now;
    memset(&t->now, 0, sizeof t->now);
    t->has_name = t->has_value = false;
    return WG_S3_OK;
}

static enum wg_s3_code each_tagging(void *arg, const char *path, struct wg_str value)
{
    struct reading_tagging *t = arg;

    if (strcmp(path, "Tagging/TagSet/Tag") == 0)
        return end_tag(t);
    if (strcmp(path, "Tagging/TagSet/Tag/Key") == 0) {
        t->has_name = true;
        return keep(t->arena, value, &t->now.name);
    }
    if (strcmp(path, "Tagging/TagSet/Tag/Value") == 0) {
        t->has_value = true;
        return keep(t->arena, value, &t->now.value);
    }
    return WG_S3_OK;
}

enum wg_s3_code wg_s3_xml_read_tagging(struct wg_str body, struct wg_arena *arena, struct wg_s3_tagging *ret)
{
    struct reading_tagging t = { .arena = arena, .ret = ret };

    ret->n = 0;
    ret->tag = wg_alloc(arena, WG_S3_TAGS_MAX * sizeof *ret->tag);
    return ret->tag ? wg_s3_xml_read(body, "Tagging", each_tagging, &t) : WG_S3_SlowDown;
}

/* ---- AccessControlPolicy ---- */

struct reading_acl {
    struct wg_str owner;
    bool to_owner, full;
    bool other; /* something else was granted */
};

static enum wg_s3_code each_acl(void *arg, const char *path, struct wg_str value)
{
    struct reading_acl *a = arg;

    value = trim(value);
    if (strcmp(path, "AccessControlPolicy/AccessControlList/Grant/Grantee/ID") == 0)
        a->to_owner = wg_str_eq(value, a->owner);
    else if (strcmp(path, "AccessControlPolicy/AccessControlList/Grant/Permission") == 0)
        a->full = wg_str_eq(value, WG_STR("FULL_CONTROL"));
    else if (strcmp(path, "AccessControlPolicy/AccessControlList/Grant") == 0) {
        a->other |= !a->to_owner || !a->full;
        a->to_owner = a->full = false;
    }
    return WG_S3_OK;
}

enum wg_s3_code wg_s3_xml_read_acl(struct wg_str body, struct wg_str owner)
{
    struct reading_acl a = { .owner = owner };
    enum wg_s3_code code = wg_s3_xml_read(body, "AccessControlPolicy", each_acl, &a);

    if (code == WG_S3_MalformedXML)
        return WG_S3_MalformedACLError;
    return code == WG_S3_OK && a.other ? WG_S3_NotImplemented : code;
}
