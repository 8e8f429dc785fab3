/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Multipart uploads. An upload lives beside its bucket's tree, in space WG_SPACE_UPLOADS: a record, whose
 * meta holds the key and what the object is to get, and a file "<uploadid>/part.00001" for each
 * part, with ETag and checksum. No other state: any gateway serves any part. The record's owner is
 * the upload's.
 *
 * Every request of an upload says key and id, so the record is found by both, and its name sorts as
 * uploads are listed: "k/", the key, 1 1, the id. For that a byte 1 of the key is written as 1 2, "." as
 * ".!" and "/" as ".~": whatever is compared, the order is that of the keys, and a record is (if it is not
 * long) a file in one directory. Of a key that gets too long this way the first S3_UPLOAD_SORTED
 * bytes stand there. Ids begin with the time of their making, so they sort by it.
 */
#ifndef WG_S3_MPU_H
#define WG_S3_MPU_H

#include "handlers.h"

#define S3_PARTS_MAX 10000
#define S3_PART_MIN (5ull << 20) /* of all parts but the last (AWS limit) */
#define S3_UPLOAD_ID 32          /* hex digits */
#define S3_UPLOAD_KEY 48         /* room for the key of a part, NUL included */
#define S3_UPLOAD_SORTED (WG_KEY_MAX - 4 - S3_UPLOAD_ID) /* bytes of a record's name that say the key */

struct s3_upload {
    struct wg_ref bucket;
    char id[S3_UPLOAD_ID + 1];
    struct wg_str meta; /* the record's; arena */
    uint32_t uid;
    bool old; /* its record has the name that an older release gave it */
    int64_t started;
    enum wg_s3_sum alg; /* NONE: none asked for */
    enum wg_s3_sum_type type;
};

/*
 * co. The upload that the request names by uploadId: 0, S3E(NoSuchUpload) (also when its key is
 * another), S3E(NoSuchBucket), EACCES for somebody else's.
 */
int s3_open_upload(struct wg_co *co, struct s3_req *r, struct s3_upload *ret);
/*
 * co. The same for who ends the upload, on any gateway one at a time: by a lease that lasts as long as the
 * request's flow. Also S3E(OperationAborted): another one is at it for long.
 */
int s3_claim_upload(struct wg_co *co, struct s3_req *r, struct s3_upload *ret);
/* co. Whether it still exists: after a part was stored, since an abort may have been faster. */
int s3_upload_exists(struct wg_co *co, struct s3_req *r, const struct s3_upload *u);
/* The record's key in the space of uploads; to is of WG_KEY_MAX bytes. */
struct wg_str s3_upload_record(struct wg_str key, const char *id, char *to);
/* What the names of all records begin with whose keys begin with prefix. The same room. */
struct wg_str s3_upload_sorted(struct wg_str prefix, char *to);
/* The id in a record's name, and what comes before it. False: it is none. */
bool s3_upload_split(struct wg_str record, struct wg_str *ret_sorted, char *ret_id);
/* The record of an upload that an older release began; to is of S3_UPLOAD_KEY bytes. */
struct wg_str s3_upload_old_record(const char *id, char *to);
struct s3_old_upload {
    char id[S3_UPLOAD_ID + 1];
    struct wg_str meta; /* until the next fop */
    uint32_t uid;
    int64_t started;
};
/*
 * co. Calls each for the uploads of the bucket that an older release began, in order of their ids, until it answers
 * an error. Not for one id in 200, which looks like one of today's: such an upload is found by who knows its id.
 */
int s3_each_old_upload(struct wg_co *co, struct s3_req *r, const struct wg_ref *bucket,
                       int (*each)(void *arg, const struct s3_old_upload *u), void *arg);
/* A part's key; to is of S3_UPLOAD_KEY bytes. */
struct wg_str s3_upload_part(const char *id, uint32_t number, char *to);
/* What a record's meta says of checksums. */
void s3_upload_sums(struct wg_str meta, enum wg_s3_sum *ret_alg, enum wg_s3_sum_type *ret_type);
const char *s3_sum_type_name(enum wg_s3_sum_type type);

struct s3_part {
    uint32_t number;
    uint64_t size;
    struct wg_ref ref;
    struct wg_etag etag;
    struct wg_time mtime;
    enum wg_s3_sum alg;
    uint8_t sum[S3_SUM_BYTES];
    bool has_crc64;
    uint8_t crc64[8];
};

struct s3_parts {
    unsigned n, room;
    struct s3_part *part; /* in order of number; arena */
    bool truncated;
};

/* co. At most max parts with numbers above after. */
int s3_list_parts(struct wg_co *co, struct s3_req *r, const struct s3_upload *u, uint32_t after, uint32_t max,
                  struct s3_parts *ret);
/* co. Removes parts and record; a part that comes meanwhile sees that, and removes itself. */
int s3_drop_upload(struct wg_co *co, struct s3_req *r, const struct wg_ref *bucket, struct wg_str record,
                   const char *id);
/* The same of the request's own upload. */
int s3_end_upload(struct wg_co *co, struct s3_req *r, const struct s3_upload *u);
/* co. All uploads of a bucket that is about to be removed. */
int s3_drop_uploads(struct wg_co *co, struct s3_req *r, const struct wg_ref *bucket);

#endif
