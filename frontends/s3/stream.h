/* SPDX-License-Identifier: Apache-2.0 */
/* An object as an answer. */
#ifndef WG_S3_STREAM_H
#define WG_S3_STREAM_H

#include "s3.h"

/*
 * Answers length bytes of the inode ref from offset; first holds the first of them (may be none) and
 * lives as long as the request. The rest is read ahead of the client. When the file has shrunk or a
 * read fails, the connection is cut: the client sees a short body. 0 or ENOMEM.
 */
int wg_s3_reply_object(struct s3_req *r, unsigned status, const struct wg_ref *ref, uint64_t offset,
                       uint64_t length, const struct wg_data *first);

#endif
