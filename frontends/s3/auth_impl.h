/* SPDX-License-Identifier: Apache-2.0 */
/* Between auth.c and sigv4.c. */
#ifndef WG_S3_AUTH_IMPL_H
#define WG_S3_AUTH_IMPL_H

#include "auth.h"
#include "hmac.h"
#include "s3.h"

const struct wg_str *wg_s3_auth_header(const struct wg_s3_auth_in *in, const char *name);
/* Sets the message; returns code. */
enum wg_s3_code wg_s3_auth_fail(struct wg_s3_auth *a, enum wg_s3_code code, const char *message);
enum wg_s3_code wg_s3_auth_secret(const struct wg_s3_auth_in *in, struct wg_str access_key,
                                  struct wg_str *ret);
/* The time of x-amz-date, or else of Date. */
bool wg_s3_auth_date(const struct wg_s3_auth_in *in, int64_t *ret);
bool wg_s3_auth_skewed(const struct wg_s3_auth_in *in, int64_t t);

/* fields: what follows "AWS4-HMAC-SHA256 ". */
enum wg_s3_code wg_s3_sigv4_header(const struct wg_s3_auth_in *in, struct wg_s3_auth *ret,
                                   struct wg_str fields);
enum wg_s3_code wg_s3_sigv4_query(const struct wg_s3_auth_in *in, struct wg_s3_auth *ret);

#endif
