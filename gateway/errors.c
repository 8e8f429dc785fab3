/* SPDX-License-Identifier: Apache-2.0 */
#include <stddef.h>
#include <string.h>

#include "errors.h"

static const struct wg_error table[] = {
#define ERR(e, wire_no, nfs_no, nlm_no, http_no, code) \
    { .err = e, .wire = wire_no, .nfs = nfs_no, .nlm = nlm_no, .http = http_no, .name = #e, .s3_code = #code },
#include "errors.def"
#undef ERR
};
#define ROWS (sizeof table / sizeof *table)

const struct wg_error *wg_error_row(int err)
{
    if (err == 0)
        return NULL;
    for (size_t i = 0; i < ROWS; i++)
        if (table[i].err == err)
            return &table[i];
    return wg_error_row(EIO);
}

uint16_t wg_error_to_wire(int err)
{
    return err ? wg_error_row(err)->wire : 0;
}

int wg_error_from_wire(uint16_t wire)
{
    if (wire == 0)
        return 0;
    for (size_t i = 0; i < ROWS; i++)
        if (table[i].wire == wire)
            return table[i].err;
    return EIO;
}

const char *wg_error_name(int err)
{
    const char *name;

    if (err == 0)
        return "OK";
    for (size_t i = 0; i < ROWS; i++)
        if (table[i].err == err)
            return table[i].name;
    name = strerrorname_np(err); /* of a system call: what a fop never answers */
    return name ? name : "EIO";
}
