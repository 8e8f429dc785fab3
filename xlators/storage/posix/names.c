/* SPDX-License-Identifier: Apache-2.0 */
/* Names in directories: what may be one, and locks over them. */
#include "posix.h"

#include <stdlib.h>
#include <zlib.h>

int wg_px_keydir(struct posix *px, struct px_inode *dir, unsigned *ret)
{
    struct px_rec rec;
    int err = wg_px_rec(px, dir, &rec);

    if (err == 0)
        *ret = (rec.flags & PX_REC_KEYDIR) >> PX_KEYDIR_SHIFT;
    return err;
}

uint8_t wg_px_keydir_flags(const struct px_inode *parent, const char *name)
{
    enum wg_key_dir in = wg_key_dir_of(wg_str_of(name));

    if (wg_gfid_eq(parent->gfid, WG_ROOT_GFID))
        in = WG_KEY_IN_BUCKET;
    return (uint8_t)(in << PX_KEYDIR_SHIFT);
}

static int check_made(struct posix *px, struct px_inode *dir, struct wg_str name, enum px_use use)
{
    unsigned in;
    int err;

    if (wg_str_eq(name, WG_STR(".")) || wg_str_eq(name, WG_STR("..")))
        return EEXIST;
    /* The root's names are buckets and no part of a key. */
    if (dir == px->root)
        return 0;
    err = wg_px_keydir(px, dir, &in);
    if (err)
        return err;
    return wg_key_name_ok((enum wg_key_dir)in, name, use == PX_MAKE_DIR) ? 0 : EINVAL;
}

int wg_px_name(struct posix *px, struct px_inode *dir, struct wg_str name, enum px_use use,
               char buf[WG_NAME_MAX + 1])
{
    if (name.len == 0)
        return EINVAL;
    if (name.len > WG_NAME_MAX)
        return ENAMETOOLONG;
    if (memchr(name.s, '/', name.len) || memchr(name.s, '\0', name.len))
        return EINVAL;
    if (dir == px->root && wg_str_eq(name, WG_STR(PX_PRIVATE)))
        return use == PX_USE ? ENOENT : EACCES;
    memcpy(buf, name.s, name.len);
    buf[name.len] = '\0';
    return use == PX_USE ? 0 : check_made(px, dir, name, use);
}

static uint16_t stripe_of(const struct px_at *at)
{
    uLong h = crc32(0, at->dir.b, sizeof at->dir.b);

    return (uint16_t)(crc32(h, (const Bytef *)at->name, (uInt)strlen(at->name)) % PX_STRIPES);
}

static int by_number(const void *a, const void *b)
{
    return (int)*(const uint16_t *)a - (int)*(const uint16_t *)b;
}

void wg_px_lock_names(struct posix *px, struct px_names *held, const struct px_at *at, unsigned n)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < n; i++)
        held->stripe[i] = stripe_of(&at[i]);
    if (n > 1)
        qsort(held->stripe, n, sizeof held->stripe[0], by_number);
    for (unsigned i = 0; i < n; i++)
        if (kept == 0 || held->stripe[kept - 1] != held->stripe[i])
            held->stripe[kept++] = held->stripe[i];
    held->n = kept;
    for (unsigned i = 0; i < kept; i++)
        pthread_mutex_lock(&px->stripe[held->stripe[i]]);
}

void wg_px_unlock_names(struct posix *px, struct px_names *held)
{
    for (unsigned i = held->n; i > 0; i--)
        pthread_mutex_unlock(&px->stripe[held->stripe[i - 1]]);
    held->n = 0;
}
