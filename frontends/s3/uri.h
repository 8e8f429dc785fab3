/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The request target: bucket, key and parameters, decoded once; and S3's percent-encoding.
 * Nothing is normalised: "//", "." and ".." are parts of a key (AWS "Naming objects").
 */
#ifndef WG_S3_URI_H
#define WG_S3_URI_H

#include "codes.h"
#include "types.h"

#define WG_S3_PARAMS_MAX 64

struct wg_s3_param {
    struct wg_str name, value; /* decoded; "?acl" and "?acl=" are alike */
};

struct wg_s3_uri {
    struct wg_str bucket;    /* decoded; len 0: the service itself */
    struct wg_str key;       /* decoded, any bytes; len 0: the bucket itself */
    struct wg_str raw_path;  /* as sent, from its first '/' to before '?': what is signed */
    struct wg_str raw_query; /* as sent, after '?'; len 0 when absent */
    bool vhost;              /* the bucket came from the host */
    uint32_t nparams;
    struct wg_s3_param param[WG_S3_PARAMS_MAX]; /* in the order sent */
};

/*
 * Parses target ("/bkt/key?query" or absolute form) with the Host header (may be empty); domains:
 * those under which buckets are host names ("s3.example"). space: target.len bytes that receive
 * what was decoded; ret's strings point into it, into target and into host. WG_S3_OK,
 * InvalidURI (bad escapes, no path, too many parameters) or KeyTooLongError. Any thread.
 */
enum wg_s3_code wg_s3_uri_parse(struct wg_str target, struct wg_str host, const struct wg_str *domains,
                                uint32_t ndomains, char *space, struct wg_s3_uri *ret);

/* The first parameter of that name (exact case), or NULL. */
const struct wg_str *wg_s3_param(const struct wg_s3_uri *uri, const char *name);

/* Its number: def when absent or empty; InvalidArgument when it is no decimal or above max. */
enum wg_s3_code wg_s3_param_u64(const struct wg_s3_uri *uri, const char *name, uint64_t def,
                                uint64_t max, uint64_t *ret);

/* True for A-Z a-z 0-9 - _ . ~ */
bool wg_s3_unreserved(uint8_t c);

/*
 * Percent-encodes from into to (up to 3 * from.len bytes), '/' kept when keep_slash; the length.
 * With keep_slash this is encoding-type=url of lists: a space is %20, which every client decodes.
 */
size_t wg_s3_encode(struct wg_str from, bool keep_slash, char *to);

/* Percent-decodes from into to (up to from.len bytes; may be from.s itself); false if malformed. */
bool wg_s3_decode(struct wg_str from, char *to, uint32_t *ret_len);

/* DNS rules of bucket names (AWS "Bucket naming rules"): 3 to 63 of a-z 0-9 . - and so on. */
bool wg_s3_bucket_name_ok(struct wg_str name);

#endif
