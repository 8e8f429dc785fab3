/* SPDX-License-Identifier: Apache-2.0 */
/*
 * S3 error codes, from codes.def. Parsers and handlers of this folder answer an enum
 * wg_s3_code, WG_S3_OK when all is well, or a struct wg_s3_fail where they can say more.
 */
#ifndef WG_S3_CODES_H
#define WG_S3_CODES_H

#include <stdint.h>

enum wg_s3_code {
    WG_S3_OK = 0,
#define CODE(name, status, message) WG_S3_##name,
#include "codes.def"
#undef CODE
    WG_S3_CODE_MAX
};

struct wg_s3_code_row {
    const char *name;    /* "NoSuchKey" */
    uint16_t status;     /* of HTTP */
    const char *message; /* for people */
};

/* The row of code; InternalError's for a code that is none. Any thread. */
const struct wg_s3_code_row *wg_s3_code_row(enum wg_s3_code code);
/* What errors.def says of a fop's errno; WG_S3_OK for 0. */
enum wg_s3_code wg_s3_code_of_errno(int err);
/* The code whose name an s3_code column holds; WG_S3_InternalError when there is none. */
enum wg_s3_code wg_s3_code_named(const char *name);

#endif
