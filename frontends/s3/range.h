/* SPDX-License-Identifier: Apache-2.0 */
/* Range and conditional headers (RFC 9110 13 and 14), in the order S3 applies them. */
#ifndef WG_S3_RANGE_H
#define WG_S3_RANGE_H

#include "codes.h"
#include "types.h"

/* A range before the object's size is known. */
struct wg_s3_range {
    bool given;           /* false: the whole object, status 200 */
    bool suffix;          /* the last `last` bytes */
    bool open;            /* from first to the end */
    uint64_t first, last; /* inclusive */
};

/*
 * Reads a Range header. What S3 does not act on (several ranges, another unit, bad syntax,
 * last before first) gives ret->given false, as RFC 9110 14.2 wants.
 */
void wg_s3_range_parse(struct wg_str header, struct wg_s3_range *ret);

/* Against an object of size bytes: the part to send, or InvalidRange (416). Not given: all of it. */
enum wg_s3_code wg_s3_range_resolve(const struct wg_s3_range *r, uint64_t size, uint64_t *ret_first,
                                    uint64_t *ret_len);

/* x-amz-copy-source-range: only "bytes=first-last"; else InvalidArgument. */
enum wg_s3_code wg_s3_copy_range_parse(struct wg_str header, struct wg_s3_range *ret);

/* Conditional headers as received; len 0: absent. */
struct wg_s3_conds {
    struct wg_str if_match, if_none_match, if_modified_since, if_unmodified_since;
};

/*
 * Judges c against an object with this ETag and mtime (whole seconds). WG_S3_OK, PreconditionFailed, or
 * NotModified (which a copy answers as PreconditionFailed). Dates that are none are ignored.
 */
enum wg_s3_code wg_s3_conds_check(const struct wg_s3_conds *c, const struct wg_etag *etag, int64_t mtime);

/*
 * Whether a Range counts beside this If-Range (len 0: absent): its one ETag or date is the object's. Weak
 * tags and other text never are (RFC 9110 13.1.5).
 */
bool wg_s3_if_range(struct wg_str if_range, const struct wg_etag *etag, int64_t mtime);

/*
 * The cond and if_match of a put, setmeta or del from If-Match and If-None-Match (len 0:
 * absent). NotImplemented for If-None-Match of an ETag, as AWS answers. An If-Match that
 * is no ETag of ours gives one that matches nothing.
 */
enum wg_s3_code wg_s3_write_cond(struct wg_str if_match, struct wg_str if_none_match, uint32_t *ret_cond,
                                 struct wg_etag *ret_etag);

/* s without the blanks around it. */
struct wg_str wg_s3_trim(struct wg_str s);
/* s without one pair of quotes (or of &quot; that a client put there). */
struct wg_str wg_s3_unquote(struct wg_str s);

#endif
