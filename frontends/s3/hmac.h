/* SPDX-License-Identifier: Apache-2.0 */
/* Keyed hashes of the signature versions, on contexts that each thread keeps. */
#ifndef WG_S3_HMAC_H
#define WG_S3_HMAC_H

#include "types.h"

struct wg_s3_hmac;
struct evp_md_ctx_st;

/* The calling thread's contexts; NULL when memory is out. Freed when the thread ends. */
struct wg_s3_hmac *wg_s3_hmac(void);
/* Its SHA-256 context, to be begun with wg_s3_sha256_begin; one use at a time. */
bool wg_s3_sha256_begin(struct wg_s3_hmac *h, struct evp_md_ctx_st **ret);

/* HMAC-SHA256 (ret: 32 bytes) and HMAC-SHA1 (20) of n pieces in order. */
bool wg_s3_hmac_sha256(struct wg_s3_hmac *h, struct wg_str key, const struct wg_str *piece, unsigned n,
                       uint8_t *ret);
bool wg_s3_hmac_sha1(struct wg_s3_hmac *h, struct wg_str key, const struct wg_str *piece, unsigned n,
                     uint8_t *ret);

/*
 * The SigV4 signing key of (access key, secret, day, region), 32 bytes; from the thread's cache
 * when it was asked for before, so that a request costs one HMAC and not five.
 */
bool wg_s3_signing_key(struct wg_s3_hmac *h, struct wg_str access_key, struct wg_str secret,
                       struct wg_str day, struct wg_str region, uint8_t *ret);

/* Lower-case hex of n bytes; no NUL. */
void wg_s3_hex(const uint8_t *from, unsigned n, char *to);
/* n bytes of hex of either case; false when it is anything else. */
bool wg_s3_unhex(struct wg_str from, uint8_t *to, unsigned n);

#endif
