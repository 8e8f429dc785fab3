/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bytes of a copy. On one brick the brick copies (copy_range); between bricks the destination's pulls
 * from the source's by a reference (docs/copy-by-reference.md). Only where the bricks can't reach
 * each other do they come through here.
 */
#ifndef WG_S3_COPYDATA_H
#define WG_S3_COPYDATA_H

#include "s3.h"

struct s3_copy_data {
    struct wg_xlator *from_top; /* where the source's fops go in; the target's is r->top */
    struct wg_ref from, to;     /* to: staged, never written */
    uint64_t from_offset, size; /* to offset 0 */
    /*
     * co. Whether the source is surely what it was when it was opened: then a copy that was interrupted goes
     * on where it was, else it begins again. NULL: nobody knows.
     */
    bool (*same)(struct wg_co *co, struct s3_req *r, const void *arg);
    const void *arg;
};

/*
 * co. 0 when all of it is in the target, which put makes durable. S3E(OperationAborted): the source changed each
 * time that it was tried; ESTALE: source or target are gone; ENOSPC, EDQUOT, ENOTCONN, ETIMEDOUT...
 */
int s3_copy_data(struct wg_co *co, struct s3_req *r, const struct s3_copy_data *c);

/* Starts a fop that nobody waits for, also when co is cancelled: what gives something back. */
#define s3_send_off(r, top, name, in) \
    s3_send_off_((r), (top), WG_OP_##name, (1 ? (in) : (const struct wg_##name##_in *)0), sizeof *(in))
void s3_send_off_(struct s3_req *r, struct wg_xlator *top, unsigned op, const void *in, size_t size);

#endif
