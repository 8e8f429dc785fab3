/* SPDX-License-Identifier: Apache-2.0 */
/*
 * aws-chunked: the framing inside the HTTP body (AWS "Signature calculations ... chunked
 * upload"), with chunk signatures or without, with a trailer or without. Incremental: input
 * may be split anywhere, and data comes out as slices of the input itself.
 */
#ifndef WG_S3_CHUNKED_H
#define WG_S3_CHUNKED_H

#include "auth.h"

struct evp_md_ctx_st;

#define WG_S3_CHUNK_LINE 256    /* bytes of a chunk's header line or a trailer's, at most */
#define WG_S3_TRAILERS_MAX 1024 /* bytes of all trailers */

struct wg_s3_chunked {
    const struct wg_s3_auth *auth;
    enum wg_s3_payload mode;
    int state;
    uint64_t left;     /* of the chunk under way */
    uint64_t decoded;  /* given out so far */
    uint64_t want;     /* x-amz-decoded-content-length; UINT64_MAX: not known */
    bool last;         /* the chunk under way is the one of size 0 */
    bool verified;     /* the trailer's signature was right */
    bool gap;          /* a blank line came between trailer and signature */
    struct evp_md_ctx_st *md; /* hash of the chunk under way */
    char previous[64]; /* signature before this one */
    char expect[64];   /* the chunk's, as sent */
    uint32_t nline;
    char line[WG_S3_CHUNK_LINE];
    uint32_t ntrailers; /* bytes: "name:value\n" each, names in lower case */
    char trailers[WG_S3_TRAILERS_MAX];
};

/* 0 or ENOMEM. auth outlives c and has a chunked payload mode. wg_s3_chunked_fini ends it, always. */
int wg_s3_chunked_init(struct wg_s3_chunked *c, const struct wg_s3_auth *auth, uint64_t want);
void wg_s3_chunked_fini(struct wg_s3_chunked *c);

/*
 * Takes bytes from in: *ret_used of them, of which *ret (maybe empty) are the data, in place. Call
 * again with the rest until all is used. What came out counts only when
 * wg_s3_chunked_end says so. WG_S3_OK; IncompleteBody (sizes or framing),
 * SignatureDoesNotMatch, MalformedTrailerError; after an error c is dead.
 */
enum wg_s3_code wg_s3_chunked_feed(struct wg_s3_chunked *c, const void *in, size_t len, size_t *ret_used,
                                   struct wg_str *ret);
/* The body has ended: WG_S3_OK when the last chunk and its trailer were there and all sizes agree; IncompleteBody. */
enum wg_s3_code wg_s3_chunked_end(struct wg_s3_chunked *c);
/* The trailers, after the end, one by one: *at 0 at first. False after the last. */
bool wg_s3_chunked_trailer(const struct wg_s3_chunked *c, uint32_t *at, struct wg_str *ret_name,
                           struct wg_str *ret_value);

#endif
