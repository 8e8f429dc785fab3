/* SPDX-License-Identifier: Apache-2.0 */
/* Until index.c is there: a brick without an index. Goes when it comes. */
#include "posix.h"

#define WEAK __attribute__((weak))

WEAK int wg_px_index_open(struct posix *px)
{
    (void)px;
    return 0;
}

WEAK void wg_px_index_close(struct posix *px)
{
    (void)px;
}

WEAK int wg_px_index_add(struct posix *px, wg_gfid dir, const char *name, wg_gfid gfid, uint8_t type,
                         const uint8_t *hint, uint8_t hint_len)
{
    (void)px, (void)dir, (void)name, (void)gfid, (void)type, (void)hint, (void)hint_len;
    return 0;
}

WEAK int wg_px_index_remove(struct posix *px, wg_gfid dir, const char *name, wg_gfid gfid, bool last)
{
    (void)px, (void)dir, (void)name, (void)gfid, (void)last;
    return 0;
}

WEAK int wg_px_index_moved(struct posix *px, wg_gfid from_dir, const char *from, wg_gfid to_dir,
                           const char *to, wg_gfid gfid, uint8_t type)
{
    (void)px, (void)from_dir, (void)from, (void)to_dir, (void)to, (void)gfid, (void)type;
    return 0;
}

WEAK int wg_px_index_find(struct posix *px, wg_gfid gfid, struct px_where *ret)
{
    (void)px, (void)gfid, (void)ret;
    return ENOENT;
}

WEAK int wg_px_index_row(struct posix *px, wg_gfid dir, const char *name, wg_gfid *ret,
                         uint8_t *ret_type)
{
    (void)px, (void)dir, (void)name, (void)ret, (void)ret_type;
    return ENOENT;
}

WEAK void wg_px_index_dump(struct posix *px, struct wg_dump *d)
{
    (void)px, (void)d;
}
