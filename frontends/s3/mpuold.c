/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Uploads that an older release began: their record is "<uploadid>/upload" beside the parts, and the id is
 * random, so they don't sort as they are listed. They are found, shown, and end as others do; none is made.
 */
#include <endian.h>
#include <stdio.h>
#include <time.h>

#include "hmac.h"
#include "mpu.h"

#define PAGE 64
#define FIRST_ID "18" /* ids begin with nanoseconds since 1970: none of ours is below */
#define DAY_NS 86400000000000u

struct wg_str s3_upload_old_record(const char *id, char *to)
{
    snprintf(to, S3_UPLOAD_KEY, "%.32s/upload", id);
    return wg_str_of(to);
}

/* What no id of ours is above. */
static void last_id(char to[S3_UPLOAD_ID])
{
    struct timespec now;
    uint64_t ns;

    clock_gettime(CLOCK_REALTIME, &now);
    ns = htobe64((uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec + DAY_NS);
    wg_s3_hex((const uint8_t *)&ns, sizeof ns, to);
}

static int show_one(struct wg_co *co, struct s3_req *r, const struct wg_ref *bucket, struct s3_old_upload *u,
                    int (*each)(void *arg, const struct s3_old_upload *u), void *arg)
{
    char record[S3_UPLOAD_KEY];
    struct wg_get_in in = { .bucket = *bucket, .space = WG_SPACE_UPLOADS,
                            .key = s3_upload_old_record(u->id, record) };
    const struct wg_get_out *out;
    int err = wg_co_get(co, r->top, &in, &out);

    if (err == ENOENT || err == ENOTDIR || err == EISDIR)
        return 0; /* parts that lost their record, or an upload of ours with an odd clock */
    if (err)
        return err;
    u->uid = out->attr.uid;
    u->started = out->attr.mtime.sec;
    u->meta = out->meta;
    return each(arg, u);
}

/* Ids above marker and below end. */
static int each_between(struct wg_co *co, struct s3_req *r, const struct wg_ref *bucket, const char *begin,
                        const char *end, int (*each)(void *arg, const struct s3_old_upload *u), void *arg)
{
    char marker[S3_UPLOAD_KEY];
    bool more = true;

    snprintf(marker, sizeof marker, "%s", begin);
    while (more) {
        struct wg_list_in in = { .bucket = *bucket, .space = WG_SPACE_UPLOADS, .delimiter = WG_STR("/"),
                                 .marker = wg_str_of(marker), .max = PAGE, .size = 64 << 10 };
        struct s3_old_upload found[PAGE];
        const struct wg_list_out *out;
        struct wg_objent e;
        unsigned n = 0;
        int err = wg_co_list(co, r->top, &in, &out);

        if (err)
            return err == ESTALE ? S3E(NoSuchBucket) : err;
        more = out->truncated && out->entries.count > 0;
        for (struct wg_cursor c = wg_cursor(&out->entries); n < PAGE && wg_next_objent(&c, &e);) {
            if (wg_s3_compare(e.key, wg_str_of(end)) >= 0) {
                more = false;
                break;
            }
            if (e.key.len >= sizeof marker)
                continue;
            memcpy(marker, e.key.s, e.key.len);
            marker[e.key.len] = '\0';
            if (e.prefix && e.key.len == S3_UPLOAD_ID + 1)
                snprintf(found[n++].id, sizeof found[0].id, "%.32s", marker);
        }
        for (unsigned i = 0; i < n && !err; i++)
            err = show_one(co, r, bucket, &found[i], each, arg);
        if (err)
            return err;
    }
    return 0;
}

int s3_each_old_upload(struct wg_co *co, struct s3_req *r, const struct wg_ref *bucket,
                       int (*each)(void *arg, const struct s3_old_upload *u), void *arg)
{
    char behind[S3_UPLOAD_ID] = "";
    int err = each_between(co, r, bucket, "", FIRST_ID, each, arg);

    last_id(behind);
    return err ? err : each_between(co, r, bucket, behind, "k", each, arg);
}
