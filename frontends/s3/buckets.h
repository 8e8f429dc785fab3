/* SPDX-License-Identifier: Apache-2.0 */
/* The cache of bucket directories, for flows that are not coroutines. */
#ifndef WG_S3_BUCKETS_H
#define WG_S3_BUCKETS_H

#include "s3.h"

/* The number of volumes, and where fops of one of them go in (NULL: no memory). One thread of a request at a time. */
unsigned s3_volumes(const struct s3_req *r);
struct wg_xlator *s3_volume_top(struct s3_req *r, unsigned volume);
const char *s3_volume_name(const struct s3_req *r, unsigned volume);

/* co. Held while a bucket of that name (or of another: there are a number of them) is made: names are all volumes'. */
struct wg_co_mutex *s3_bucket_mutex(struct s3_req *r, struct wg_str name);

/* True and *ret, *ret_top when the bucket was looked up within the last second. Any thread. */
bool s3_bucket_cached(struct s3_req *r, struct wg_str name, struct wg_ref *ret, struct wg_xlator **ret_top);
/*
 * Takes the answer of a lookup of name in a volume's root: 0 and *ret, S3E(NoSuchBucket) when it is not
 * in this volume, or an error. Any thread.
 */
int s3_bucket_answer(struct s3_req *r, struct wg_str name, unsigned volume, int err,
                     const struct wg_lookup_out *out, struct wg_ref *ret);
/* co. wg_s3_open_bucket for any bucket: r->top stays, *ret_top is where its fops go. */
int s3_find_bucket(struct wg_co *co, struct s3_req *r, struct wg_str bucket, struct wg_ref *ret,
                   struct wg_xlator **ret_top);

#endif
