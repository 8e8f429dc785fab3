/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The packed bytes kept with an object (fops' meta, opaque to the brick): a version byte, then
 * fields, each a tag (1 byte), a length (2, little-endian) and its bytes. Unknown tags are
 * skipped, so that releases can be mixed. The packed form is the memory form: a writer
 * appends, a cursor reads, both bounded. No bytes at all is an object without any.
 */
#ifndef WG_S3_META_H
#define WG_S3_META_H

#include "checksum.h"
#include "codes.h"
#include "fop.h"

struct s3_pair;

/* Numbers are on disk: never reused, only appended. */
enum wg_s3_tag {
    S3_META_CONTENT_TYPE = 1,
    S3_META_CONTENT_ENCODING = 2, /* without aws-chunked */
    S3_META_CONTENT_DISPOSITION = 3,
    S3_META_CONTENT_LANGUAGE = 4,
    S3_META_CACHE_CONTROL = 5,
    S3_META_EXPIRES = 6,
    S3_META_USER = 7,      /* name length (1 byte), name without "x-amz-meta-", value; repeated */
    S3_META_TAG = 8,       /* name length (2 bytes), name, value; repeated */
    S3_META_SUM = 9,       /* enum wg_s3_sum, enum wg_s3_sum_type, number of parts (4), value */
    S3_META_PARTS = 10,    /* sizes of a multipart object's parts: runs of count (4), size (8); of as many as fit */
    S3_META_REDIRECT = 11, /* x-amz-website-redirect-location */
    S3_META_UPLOAD = 12,   /* the upload that made it: a repeated Complete knows that it was done */
    S3_META_PART_SUMS = 13, /* enum wg_s3_sum, a value for each part; of all parts or not there */
    /* Of uploads under way (space WG_SPACE_UPLOADS). */
    S3_META_KEY = 32,
    S3_META_SUM_WANTED = 34, /* enum wg_s3_sum, enum wg_s3_sum_type */
    S3_META_CRC64 = 35,      /* of a part whose S3_META_SUM is another or none */
};

enum wg_s3_sum_type { S3_SUM_FULL_OBJECT = 1, S3_SUM_COMPOSITE = 2 };

#define WG_S3_USER_META_MAX 2048 /* bytes of names and values (AWS limit) */
#define WG_S3_TAGS_MAX 10        /* of an object (AWS limit) */

struct wg_s3_meta {
    uint32_t len;
    bool overflow; /* something did not fit */
    uint8_t buf[WG_META_MAX];
};

void wg_s3_meta_start(struct wg_s3_meta *m);
void wg_s3_meta_put(struct wg_s3_meta *m, enum wg_s3_tag tag, struct wg_str value);
/* A repeated field of name and value (S3_META_USER, S3_META_TAG). */
void wg_s3_meta_put_pair(struct wg_s3_meta *m, enum wg_s3_tag tag, struct wg_str name, struct wg_str value);
void wg_s3_meta_put_sum(struct wg_s3_meta *m, enum wg_s3_sum alg, enum wg_s3_sum_type type, uint32_t parts,
                        const uint8_t *value);
/* Copies the fields of packed whose tag is (not) tag; unknown ones too. */
void wg_s3_meta_copy_without(struct wg_s3_meta *m, struct wg_str packed, enum wg_s3_tag tag);
void wg_s3_meta_copy_only(struct wg_s3_meta *m, struct wg_str packed, enum wg_s3_tag tag);
/* What was packed; len 0 when nothing was put. */
struct wg_str wg_s3_meta_end(const struct wg_s3_meta *m);

/* One header of a request into the fields it belongs to; headers that are not kept are passed over. */
void wg_s3_meta_put_header(struct wg_s3_meta *m, const struct s3_pair *h);
/*
 * All of a request's headers. WG_S3_OK, MetadataTooLarge (over 2 KiB of user metadata, or more than fits),
 * or InvalidArgument / InvalidTag (x-amz-tagging).
 */
enum wg_s3_code wg_s3_meta_put_headers(struct wg_s3_meta *m, const struct s3_pair *headers, unsigned n);
/* "a=b&c=d" of x-amz-tagging. */
enum wg_s3_code wg_s3_meta_put_tagging(struct wg_s3_meta *m, struct wg_str text);
/* AWS's rules of one tag: key of 1 to 128 characters, value of 256 at most, some signs. */
bool wg_s3_tag_ok(struct wg_str name, struct wg_str value);

struct wg_s3_meta_cursor {
    const uint8_t *at, *end;
};

/* Begins; a packed form of another version reads as empty. */
struct wg_s3_meta_cursor wg_s3_meta_cursor(struct wg_str packed);
/* The next field; false at the end and where it is malformed. Values point into packed. */
bool wg_s3_meta_next(struct wg_s3_meta_cursor *c, unsigned *ret_tag, struct wg_str *ret_value);
/* The first field of that tag; false, and an empty value, when there is none. */
bool wg_s3_meta_get(struct wg_str packed, enum wg_s3_tag tag, struct wg_str *ret);
/* The next pair of that tag. */
bool wg_s3_meta_next_pair(struct wg_s3_meta_cursor *c, enum wg_s3_tag tag, struct wg_str *ret_name,
                          struct wg_str *ret_value);
unsigned wg_s3_meta_count(struct wg_str packed, enum wg_s3_tag tag);

/* The response header that a tag is shown as ("Content-Type"); NULL for others. */
const char *wg_s3_meta_header(unsigned tag);

struct wg_s3_meta_sum {
    enum wg_s3_sum alg;
    enum wg_s3_sum_type type;
    uint32_t parts; /* of a composite one */
    const uint8_t *value;
};
/* False when there is none, or none that this release knows. */
bool wg_s3_meta_get_sum(struct wg_str packed, struct wg_s3_meta_sum *ret);
/* Its text: base64, with "-N" when composite; buf of WG_S3_SUM_SHOWN bytes. */
#define WG_S3_SUM_SHOWN 64
char *wg_s3_meta_show_sum(const struct wg_s3_meta_sum *s, char *buf);

/*
 * What is kept of parts must leave the whole within WG_S3_META_SURE bytes, which every file system
 * takes (ext4 has a block of 4 KiB for xattrs). Sizes are kept as runs; those that do not fit are left
 * out (see wg_s3_meta_part). Checksums are kept of all n parts, or not.
 */
#define WG_S3_META_SURE 3800
void wg_s3_meta_put_part_sums(struct wg_s3_meta *m, enum wg_s3_sum alg, const uint8_t (*sum)[S3_SUM_BYTES], uint32_t n);
void wg_s3_meta_put_parts(struct wg_s3_meta *m, const uint64_t *size, uint32_t n);
/* The checksum of part number (1 on) of n; NULL when it is not known. Points into packed. */
const uint8_t *wg_s3_meta_part_sum(struct wg_str packed, uint32_t number, uint32_t n, enum wg_s3_sum *ret_alg);
/* Offset and size of part number (1 on); false when it is not known. */
bool wg_s3_meta_part(struct wg_str packed, uint32_t number, uint64_t *ret_offset, uint64_t *ret_size);

#endif
