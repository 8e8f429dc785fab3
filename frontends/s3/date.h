/* SPDX-License-Identifier: Apache-2.0 */
/* The dates of S3: HTTP's (RFC 9110 5.6.7), ISO 8601 in bodies, and SigV4's basic form. */
#ifndef WG_S3_DATE_H
#define WG_S3_DATE_H

#include "types.h"

#define WG_S3_DATE_TEXT 32 /* room for any of them, NUL included */

/* All return buf (WG_S3_DATE_TEXT bytes). Seconds outside year 0 to 9999 show as the epoch. */
char *wg_s3_date_http(int64_t sec, char *buf);  /* "Sat, 21 Nov 2026 09:10:00 GMT" */
char *wg_s3_date_iso(int64_t sec, char *buf);   /* "2026-11-21T09:10:00.000Z": AWS gives no parts of a second */
char *wg_s3_date_basic(int64_t sec, char *buf); /* "20261121T091000Z" */

/* Any of the three forms of HTTP, or ISO 8601 in UTC with or without a fraction; false if it is none. */
bool wg_s3_date_parse(struct wg_str text, int64_t *ret_sec);
/* Exactly "20261121T091000Z". */
bool wg_s3_date_parse_basic(struct wg_str text, int64_t *ret_sec);

#endif
