/* SPDX-License-Identifier: Apache-2.0 */
/* Errors of fops: errno values, and some of our own where errno has no word. Table: errors.def. */
#ifndef WG_ERRORS_H
#define WG_ERRORS_H

#include <errno.h>
#include <stdint.h>

/* Above every errno of Linux. */
enum {
    EBADHANDLE = 1001, /* not a file handle of ours */
    ENOTSYNC,          /* the guard of a setattr did not hold */
    EBADCOOKIE,        /* a readdir cookie that was never given */
    ETOOSMALL,         /* the buffer can't hold one entry */
    EBADTYPE,          /* a type that can't be made */
    ECONDITION,        /* an If-Match or If-None-Match did not hold */
    ENOTEXPECTED,      /* the name holds another gfid than the caller expects */
    EREFLOST = 1050,   /* a reference that is unknown here, has expired or was dropped */
    ECHANGED,          /* what a reference names has changed since */
};

struct wg_error {
    int err;
    uint16_t wire;
    uint16_t nlm;
    uint32_t nfs;
    uint16_t http;
    const char *name;    /* "ENOENT" */
    const char *s3_code; /* "NoSuchKey" */
};

/* The row of err; an err without one gives EIO's row. err 0 gives NULL. Any thread. */
const struct wg_error *wg_error_row(int err);
uint16_t wg_error_to_wire(int err);   /* 0 for 0 */
int wg_error_from_wire(uint16_t wire); /* EIO for an unknown number */
/* "ENOENT", any errno's name; "OK" for 0. */
const char *wg_error_name(int err);

#endif
