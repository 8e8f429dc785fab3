/* SPDX-License-Identifier: Apache-2.0 */
/*
 * XML bodies by libxml2. libxml2 wants stack: coroutines call these through wg_co_on_worker.
 */
#ifndef WG_S3_XML_H
#define WG_S3_XML_H

#include "arena.h"
#include "checksum.h"
#include "codes.h"
#include "types.h"

#define WG_S3_XMLNS "http://s3.amazonaws.com/doc/2006-03-01/"

/* ---- Writing. A writer that runs out of memory goes on doing nothing, and says so at its end. ---- */

struct wg_s3_xml;

/* A document with this root, in S3's namespace (or in none). NULL when memory is out, which all others accept. */
struct wg_s3_xml *wg_s3_xml_new(const char *root);
struct wg_s3_xml *wg_s3_xml_new_plain(const char *root);
void wg_s3_xml_open(struct wg_s3_xml *x, const char *name);
void wg_s3_xml_close(struct wg_s3_xml *x);
/* An attribute of the element just opened. */
void wg_s3_xml_attr(struct wg_s3_xml *x, const char *name, const char *value);
/*
 * <name>value</name>. What XML can't hold goes as AWS sends it: control characters as references
 * (which XML 1.0 parsers refuse: that is what encoding-type=url is for), broken UTF-8 as U+FFFD.
 */
void wg_s3_xml_str(struct wg_s3_xml *x, const char *name, struct wg_str value);
void wg_s3_xml_text(struct wg_s3_xml *x, const char *name, const char *value);
/* Text of the element just opened. */
void wg_s3_xml_content(struct wg_s3_xml *x, struct wg_str value);
void wg_s3_xml_u64(struct wg_s3_xml *x, const char *name, uint64_t value);
void wg_s3_xml_bool(struct wg_s3_xml *x, const char *name, bool value);
void wg_s3_xml_time(struct wg_s3_xml *x, const char *name, int64_t sec);
void wg_s3_xml_etag(struct wg_s3_xml *x, const char *name, const struct wg_etag *etag);
/* A key, prefix, marker or delimiter; with url as encoding-type=url wants it. */
void wg_s3_xml_key(struct wg_s3_xml *x, const char *name, struct wg_str key, bool url);
/* Ends the document and frees x. 0 and *ret_text (wg_s3_xml_free), or ENOMEM. */
int wg_s3_xml_end(struct wg_s3_xml *x, char **ret_text, size_t *ret_len);
void wg_s3_xml_free(void *text);

/* The body of an error. message NULL: the code's own; extra: XML to add, already escaped. As wg_s3_xml_end. */
int wg_s3_xml_error(enum wg_s3_code code, const char *message, struct wg_str resource, const char *request_id,
                    const char *host_id, struct wg_str extra, char **ret_text, size_t *ret_len);

/* ---- Reading: no DTD, no entities but XML's five, UTF-8, bounded depth; with S3's namespace or none ---- */

/* Each element as it ends, leaves with their text (valid during the call). path: "Delete/Object/Key". */
typedef enum wg_s3_code wg_s3_xml_each(void *arg, const char *path, struct wg_str text);
/* MalformedXML when it is not well-formed, or its root is another; or what each returned. */
enum wg_s3_code wg_s3_xml_read(struct wg_str body, const char *root, wg_s3_xml_each *each, void *arg);

/* All results are memory of arena. */

struct wg_s3_delete_item {
    struct wg_str key, version_id, etag, size, last_modified; /* len 0: not given */
};
struct wg_s3_delete {
    bool quiet;
    unsigned n; /* 1 to 1000 */
    struct wg_s3_delete_item *item;
};
enum wg_s3_code wg_s3_xml_read_delete(struct wg_str body, struct wg_arena *arena, struct wg_s3_delete *ret);

struct wg_s3_part_item {
    uint32_t number; /* 1 to 10000; as given, not sorted */
    struct wg_str etag;
    enum wg_s3_sum alg; /* NONE: no checksum given */
    struct wg_str sum;
};
struct wg_s3_complete {
    unsigned n;
    struct wg_s3_part_item *part;
};
/* MalformedXML for no parts or more than 10,000; InvalidArgument for a part number out of range. */
enum wg_s3_code wg_s3_xml_read_complete(struct wg_str body, struct wg_arena *arena, struct wg_s3_complete *ret);

/* CreateBucketConfiguration; an empty body is none. */
enum wg_s3_code wg_s3_xml_read_location(struct wg_str body, struct wg_arena *arena, struct wg_str *ret);

struct wg_s3_tag_item {
    struct wg_str name, value;
};
struct wg_s3_tagging {
    unsigned n;
    struct wg_s3_tag_item *tag;
};
/* MalformedXML; InvalidTag; BadRequest for more than 10. */
enum wg_s3_code wg_s3_xml_read_tagging(struct wg_str body, struct wg_arena *arena, struct wg_s3_tagging *ret);

/* AccessControlPolicy: WG_S3_OK when all it grants is FULL_CONTROL to owner; NotImplemented otherwise. */
enum wg_s3_code wg_s3_xml_read_acl(struct wg_str body, struct wg_str owner);

#endif
