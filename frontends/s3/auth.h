/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who signed a request: SigV4 and SigV2, in the Authorization header or the query (AWS
 * "Authenticating Requests"). No memory is allocated; hashes stream over the request's own bytes.
 */
#ifndef WG_S3_AUTH_H
#define WG_S3_AUTH_H

#include "codes.h"
#include "types.h"
#include "uri.h"

struct s3_pair;

#define WG_S3_SKEW (15 * 60) /* seconds a signer's clock may be off */
#define WG_S3_EXPIRES_MAX 604800

/* What x-amz-content-sha256 says of the body. */
enum wg_s3_payload {
    S3_PAYLOAD_UNSIGNED,        /* plain, not signed (also SigV2 and presigned) */
    S3_PAYLOAD_SHA256,          /* plain, must have payload_sha256 */
    S3_PAYLOAD_CHUNKED_TRAILER, /* aws-chunked, no signatures, trailer */
    S3_PAYLOAD_SIGNED,          /* aws-chunked, each chunk signed */
    S3_PAYLOAD_SIGNED_TRAILER,  /* the same with a signed trailer */
};

static inline bool wg_s3_payload_is_chunked(enum wg_s3_payload p)
{
    return p >= S3_PAYLOAD_CHUNKED_TRAILER;
}

/* What authentication leaves; strings point into the request. Zeroed by whoever frees it: it holds a key. */
struct wg_s3_auth {
    struct wg_str access_key;
    enum wg_s3_payload payload;
    uint8_t payload_sha256[32];
    bool v4, presigned;
    /* SigV4 only: what chunk signatures are made of. */
    uint8_t key[32];       /* the signing key */
    char signature[64];    /* of the request, lower-case hex: the seed */
    char date[17];         /* "20261121T003642Z" */
    char scope[96];        /* "20261121/us-east-1/s3/aws4_request" */
    const char *message;   /* static text that says more about an error, or NULL */
};

struct wg_s3_auth_in {
    struct wg_str method;           /* as sent */
    const struct wg_s3_uri *uri;
    const struct s3_pair *headers;  /* names lower case, values trimmed, in the order sent */
    unsigned nheaders;
    int64_t now;                    /* seconds, wall clock */
    /* The secret of an access key: 0 (it lives as long as the call of wg_s3_authenticate), or an errno, ENOENT: unknown. */
    int (*secret)(void *arg, struct wg_str access_key, struct wg_str *ret);
    void *arg;
};

/*
 * Authenticates a request by its headers and target; the body is checked later against ret.
 * WG_S3_OK, or AccessDenied (anonymous, expired), InvalidAccessKeyId, SignatureDoesNotMatch,
 * AuthorizationHeaderMalformed, AuthorizationQueryParametersError, MissingSecurityHeader,
 * RequestTimeTooSkewed, InvalidRequest, InvalidArgument, NotImplemented (SigV4A, temporary credentials),
 * ServiceUnavailable when the secret can't be had. Any thread.
 */
enum wg_s3_code wg_s3_authenticate(const struct wg_s3_auth_in *in, struct wg_s3_auth *ret);

/* Signs a chunk or trailer: hex HMAC of "AWS4-HMAC-SHA256-<kind>\n" date scope previous [empty hash] hash. */
bool wg_s3_sign_chunk(const struct wg_s3_auth *a, const char *kind, const char previous[64],
                      const uint8_t hash[32], char ret[64]);

#endif
