/* SPDX-License-Identifier: Apache-2.0 */
#include "codes.h"

#include <string.h>

#include "errors.h"

static const struct wg_s3_code_row rows[WG_S3_CODE_MAX] = {
    [WG_S3_OK] = { "OK", 200, "OK" },
#define CODE(name, status, message) [WG_S3_##name] = { #name, status, message },
#include "codes.def"
#undef CODE
};

const struct wg_s3_code_row *wg_s3_code_row(enum wg_s3_code code)
{
    return &rows[(unsigned)code < WG_S3_CODE_MAX ? code : WG_S3_InternalError];
}

enum wg_s3_code wg_s3_code_named(const char *name)
{
    for (unsigned i = WG_S3_OK + 1; i < WG_S3_CODE_MAX; i++)
        if (strcmp(rows[i].name, name) == 0)
            return (enum wg_s3_code)i;
    return WG_S3_InternalError;
}

enum wg_s3_code wg_s3_code_of_errno(int err)
{
    const struct wg_error *row = wg_error_row(err);

    return row ? wg_s3_code_named(row->s3_code) : WG_S3_OK;
}
