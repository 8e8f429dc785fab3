/* SPDX-License-Identifier: Apache-2.0 */
/* What GET, HEAD, PUT, DELETE and copy of objects share. */
#ifndef WG_S3_OBJECT_H
#define WG_S3_OBJECT_H

#include "s3.h"

#define S3_LINKS_MAX 8

/* ?versionId: there are only null versions. 0, or S3E(NoSuchVersion). */
int s3_check_version(const struct s3_req *r);

/* If-Match and If-None-Match of a writing request, as a put's cond. 0 or an error. */
int s3_write_cond(struct s3_req *r, uint32_t *ret_cond, struct wg_etag *ret_etag);

/*
 * Headers of an object: ETag, Last-Modified, its metadata, its checksum when asked for and whole.
 * overrides: response-content-type and its like count (they do on a GET).
 */
void s3_set_object_headers(struct s3_req *r, const struct wg_get_out *obj, bool whole, bool overrides);

/*
 * co. get of key in bucket (offset and size as of the fop), following symbolic links inside the
 * bucket. The key it ended at is in *ret_key (arena), the answer is kept to the coroutine's end. ENOENT for
 * what is no object: a directory, a device, a link that leads out or in circles.
 */
int s3_get_following(struct wg_co *co, struct s3_req *r, const struct wg_get_in *in,
                     const struct wg_get_out **ret, struct wg_str *ret_key);
/* The same in the volume whose fops go in at top. */
int s3_get_following_at(struct wg_co *co, struct s3_req *r, struct wg_xlator *top, const struct wg_get_in *in,
                        const struct wg_get_out **ret, struct wg_str *ret_key);
/* Whether an answer of get means that a link is in the way. */
bool s3_is_link(int err, const struct wg_get_out *out, struct wg_str key);
/*
 * key with the link at key[0..end) replaced by its target. ENOENT when that is absolute, leads above
 * the bucket, or is too long.
 */
int s3_splice_link(struct wg_arena *arena, struct wg_str *key, uint32_t end, struct wg_str target);
/*
 * co. put, stage and del of a key whose directories may be symbolic links: in->key becomes the key that
 * they lead to. EACCES (put, stage) or ENOENT (del) for links that lead out of the bucket or in circles.
 */
int s3_put_following(struct wg_co *co, struct s3_req *r, struct wg_put_in *in, const struct wg_put_out **ret);
int s3_stage_following(struct wg_co *co, struct s3_req *r, struct wg_stage_in *in, const struct wg_stage_out **ret);
int s3_del_following(struct wg_co *co, struct s3_req *r, struct wg_del_in *in, const struct wg_del_out **ret);

/* co. A new staged inode for the request's key, and its bucket's directory. */
int s3_stage(struct wg_co *co, struct s3_req *r, uint64_t size, struct wg_ref *ret_bucket, struct wg_ref *ret);
/* co. After the publish, or instead of it: with an error the staged inode is dropped. The error to answer. */
int s3_end_stage(struct wg_co *co, struct s3_req *r, const struct wg_ref *staged, int err);

/* x-amz-copy-source, decoded into the arena. 0 or an error. */
int s3_copy_source(struct s3_req *r, struct wg_str *ret_bucket, struct wg_str *ret_key);
/*
 * co. The object that a copy begins with: found, links followed, x-amz-copy-source-if-* held. *ret
 * lives to the coroutine's end. *ret_top: where its volume's fops go in.
 */
int s3_open_source(struct wg_co *co, struct s3_req *r, struct wg_str bucket, struct wg_str key,
                   const struct wg_get_out **ret, struct wg_xlator **ret_top, struct wg_ref *ret_bucket,
                   struct wg_str *ret_key);

/* The checksum of what was uploaded: x-amz-checksum-<alg> and its type. */
void s3_echo_sum(struct s3_req *r, const struct s3_digests *d);

#endif
