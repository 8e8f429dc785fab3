/* SPDX-License-Identifier: Apache-2.0 */
/* Until the index is there: nobody to tell. Goes when it comes. */
#include "posix.h"

#define WEAK __attribute__((weak))

WEAK void wg_px_index_before(struct posix *px, wg_gfid dir, const struct statx *pre)
{
    (void)px, (void)dir, (void)pre;
}

WEAK void wg_px_index_after(struct posix *px, wg_gfid dir, const struct statx *post)
{
    (void)px, (void)dir, (void)post;
}

WEAK void wg_px_index_born(struct posix *px, wg_gfid dir, const struct statx *st)
{
    (void)px, (void)dir, (void)st;
}
