/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arguments from outside, checked by field type, so that no translator below meets a name with
 * a slash in it or a size that it would have to bound.
 */
#include "xlators/protocol/server/server.h"

static int check_loc(const struct wg_loc *loc)
{
    if (loc->name.len == 0)
        return EINVAL;
    if (loc->name.len > WG_NAME_MAX)
        return ENAMETOOLONG;
    if (memchr(loc->name.s, '/', loc->name.len) || memchr(loc->name.s, 0, loc->name.len))
        return EINVAL;
    return 0;
}

static int check_sattr(const struct wg_sattr *a)
{
    return a->size > INT64_MAX ? EFBIG : 0;
}

static int check_data(const struct wg_data *d)
{
    return d->len > WG_IO_MAX ? EINVAL : 0;
}

#define CHECK_NONE(v) 0
#define check_bool CHECK_NONE
#define check_u32 CHECK_NONE
#define check_u64 CHECK_NONE
#define check_gfid CHECK_NONE
#define check_ref CHECK_NONE
#define check_str CHECK_NONE
#define check_secret CHECK_NONE
#define check_time CHECK_NONE
#define check_etag CHECK_NONE
#define check_list CHECK_NONE

#define IN(type, field)       \
    if (!err)                 \
        err = check_##type(&r->field);
#define FOP(no, name, kind, in, out)              \
    static int check_##name##_in(const void *rec) \
    {                                             \
        const struct wg_##name##_in *r = rec;     \
        int err = 0;                              \
                                                  \
        (void)r;                                  \
        in                                        \
        return err;                               \
    }
#include "fops.def"
#undef FOP
#undef IN

static int (*const checks[WG_OP_MAX])(const void *rec) = {
#define FOP(no, name, kind, in, out) [no] = check_##name##_in,
#include "fops.def"
#undef FOP
};

/* Sizes that bound an answer: a reader gets less than it asked for, which every caller expects. */
static int check_sizes(unsigned op, const void *in)
{
    switch (op) {
    case WG_OP_read:
        return ((const struct wg_read_in *)in)->size > WG_IO_MAX ? EINVAL : 0;
    case WG_OP_ref_read:
        return ((const struct wg_ref_read_in *)in)->size > WG_IO_MAX ? EINVAL : 0;
    case WG_OP_get:
        return ((const struct wg_get_in *)in)->size > WG_IO_MAX ? EINVAL : 0;
    case WG_OP_readdir:
        return ((const struct wg_readdir_in *)in)->size > WG_IO_MAX ? EINVAL : 0;
    case WG_OP_list:
        return ((const struct wg_list_in *)in)->size > WG_IO_MAX ? EINVAL : 0;
    }
    return 0;
}

int wg_check_in(unsigned op, const void *in)
{
    int err = checks[op](in);

    return err ? err : check_sizes(op, in);
}
