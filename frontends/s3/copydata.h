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
};

/*
 * co. 0 when all of it is in the target, which put makes durable; *ret (may be NULL) is the ETag that the
 * source had all the while, none when that is not known. S3E(OperationAborted): the source changed each
 * time that it was tried; ESTALE: source or target are gone; ENOSPC, EDQUOT, ENOTCONN, ETIMEDOUT...
 */
int s3_copy_data(struct wg_co *co, struct s3_req *r, const struct s3_copy_data *c, struct wg_etag *ret);

/* Both are true ETags, of the same content. */
static inline bool s3_same_content(const struct wg_etag *a, const struct wg_etag *b)
{
    return a->valid && b->valid && !a->synthetic && !b->synthetic && a->parts == b->parts &&
           memcmp(a->md5, b->md5, sizeof a->md5) == 0;
}

/* Starts a fop that nobody waits for, also when co is cancelled: what gives something back. */
#define s3_send_off(r, top, name, in) \
    s3_send_off_((r), (top), WG_OP_##name, (1 ? (in) : (const struct wg_##name##_in *)0), sizeof *(in))
void s3_send_off_(struct s3_req *r, struct wg_xlator *top, unsigned op, const void *in, size_t size);

#endif
