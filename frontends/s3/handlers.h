/* SPDX-License-Identifier: Apache-2.0 */
/* What the handlers of buckets, lists and multipart uploads share. */
#ifndef WG_S3_HANDLERS_H
#define WG_S3_HANDLERS_H

#include "list.h"
#include "meta.h"
#include "s3.h"
#include "xml.h"

/* Ends x and answers 200 with it. */
int wg_s3_reply_xml(struct s3_req *r, struct wg_s3_xml *x);

/* <name><ID/><DisplayName/></name> of the user with this uid: the caller's name, or "uid-N" for others. */
void wg_s3_xml_owner(struct wg_s3_xml *x, const char *name, const struct s3_req *r, uint32_t uid);
/* The ID that wg_s3_xml_owner gives; text is of S3_OWNER_TEXT bytes. */
#define S3_OWNER_TEXT 96
struct wg_str wg_s3_owner_id(const struct s3_req *r, uint32_t uid, char *text);

/* NotImplemented for an ACL that grants anything to others; r's headers. */
int wg_s3_check_canned_acl(struct s3_req *r);

/*
 * co. Whether the caller may do what the bits of ACCESS3 (RFC 1813 3.3.4) say with a bucket:
 * 0, or EACCES. For what lives beside the bucket's tree: uploads.
 */
enum { S3_MAY_READ = 1, S3_MAY_WRITE = 4 | 8 };
int wg_s3_may(struct wg_co *co, struct s3_req *r, const struct wg_ref *bucket, uint32_t mask);

/* ?encoding-type: *ret_url; InvalidArgument for any but "url". */
int wg_s3_encoding_type(struct s3_req *r, bool *ret_url);
/* A page size: 1000 when absent, at most 1000; InvalidArgument. */
int wg_s3_page_size(struct s3_req *r, const char *name, uint32_t *ret);
/* A parameter's value, empty when absent. */
struct wg_str wg_s3_param_or_empty(const struct s3_req *r, const char *name);

/* The least string above all that begin with prefix into to (prefix.len bytes); len 0: there is none. */
struct wg_str wg_s3_after_prefix(struct wg_str prefix, char *to);
/* Order of bytes: <0, 0, >0. */
int wg_s3_compare(struct wg_str a, struct wg_str b);
static inline bool wg_s3_has_prefix(struct wg_str s, struct wg_str prefix)
{
    return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.s, prefix.s, prefix.len) == 0);
}

/*
 * The part of key up to and with the first delimiter after prefix; len 0: none (or no delimiter).
 */
struct wg_str wg_s3_common_prefix(struct wg_str key, struct wg_str prefix, struct wg_str delimiter);

/*
 * co. Digests of an inode's bytes, those of mask (1u << enum wg_s3_sum) into ret[alg]: by the brick where it
 * can, else read here.
 */
int wg_s3_sum_inode(struct wg_co *co, struct s3_req *r, const struct wg_ref *at, uint64_t size,
                    unsigned mask, uint8_t (*ret)[S3_SUM_BYTES]);

/* co. Copies size bytes by copy_range, in steps that a deadline allows. 0; EIO when the source ends early. */
int wg_s3_copy_bytes(struct wg_co *co, struct s3_req *r, const struct wg_ref *from, uint64_t from_offset,
                     const struct wg_ref *to, uint64_t to_offset, uint64_t size);

#endif
