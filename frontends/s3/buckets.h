/* SPDX-License-Identifier: Apache-2.0 */
/* The cache of bucket directories, for flows that are not coroutines. */
#ifndef WG_S3_BUCKETS_H
#define WG_S3_BUCKETS_H

#include "s3.h"

/* True and *ret when the bucket was looked up within the last second. Any thread. */
bool s3_bucket_cached(struct s3_req *r, struct wg_str name, struct wg_ref *ret);
/* Takes the answer of a lookup of name in the root: what wg_s3_open_bucket answers. Any thread. */
int s3_bucket_answer(struct s3_req *r, struct wg_str name, int err, const struct wg_lookup_out *out,
                     struct wg_ref *ret);

#endif
