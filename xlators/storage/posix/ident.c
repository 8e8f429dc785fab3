/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who a name is, without opening it: (inode number, birth time) to gfid and hint. A fixed array
 * that forgets by overwriting; right because a gfid never leaves its inode, and because an entry
 * goes when its inode loses its last name.
 */
#include "posix.h"

#include <stdlib.h>
#include <time.h>

#define IDENTS (1u << 17) /* 11 MiB, touched as it is used */
#define LOCKS 256
#define SETTLED_NS 100000000

struct ident {
    uint64_t ino;
    struct wg_time btime;
    struct wg_ref ref;
};

struct px_idents {
    pthread_mutex_t lock[LOCKS];
    struct ident at[IDENTS];
};

int wg_px_idents_start(struct posix *px)
{
    px->idents = calloc(1, sizeof *px->idents);
    if (!px->idents)
        return ENOMEM;
    for (unsigned i = 0; i < LOCKS; i++)
        pthread_mutex_init(&px->idents->lock[i], NULL);
    return 0;
}

void wg_px_idents_stop(struct posix *px)
{
    if (!px->idents)
        return;
    for (unsigned i = 0; i < LOCKS; i++)
        pthread_mutex_destroy(&px->idents->lock[i]);
    free(px->idents);
    px->idents = NULL;
}

/* Inode numbers run on; a multiple by an odd constant only spreads groups of the disk. */
static uint32_t place(uint64_t ino)
{
    return (uint32_t)((ino ^ ino >> 16) % IDENTS);
}

static pthread_mutex_t *lock_of(struct posix *px, uint32_t i)
{
    return &px->idents->lock[i % LOCKS];
}

bool wg_px_ident_get(struct posix *px, uint64_t ino, const struct statx *st, struct wg_ref *ret)
{
    uint32_t i = place(ino);
    const struct ident *id = &px->idents->at[i];
    bool hit;

    pthread_mutex_lock(lock_of(px, i));
    hit = id->ino == ino && !wg_gfid_is_zero(id->ref.gfid);
    if (hit && st)
        hit = id->btime.sec == st->stx_btime.tv_sec && id->btime.nsec == st->stx_btime.tv_nsec;
    if (hit)
        *ret = id->ref;
    pthread_mutex_unlock(lock_of(px, i));
    return hit;
}

void wg_px_ident_put(struct posix *px, const struct statx *st, const struct wg_ref *ref)
{
    uint32_t i = place(st->stx_ino);
    struct ident *id = &px->idents->at[i];

    /* Without a birth time a reused number could not be told from the old one. */
    if (!(st->stx_mask & STATX_BTIME))
        return;
    pthread_mutex_lock(lock_of(px, i));
    id->ino = st->stx_ino;
    id->btime = (struct wg_time){ st->stx_btime.tv_sec, st->stx_btime.tv_nsec };
    id->ref = *ref;
    pthread_mutex_unlock(lock_of(px, i));
}

/*
 * Who only looked a name up may be late: the inode removed, its number and even its tick of
 * birth used again. Of an inode that was born a while ago that can't be.
 */
void wg_px_ident_learn(struct posix *px, const struct statx *st, const struct wg_ref *ref)
{
    struct timespec now;
    int64_t age;

    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    if (now.tv_sec - st->stx_btime.tv_sec > 2) {
        wg_px_ident_put(px, st, ref);
        return;
    }
    age = (now.tv_sec - st->stx_btime.tv_sec) * 1000000000LL + now.tv_nsec - st->stx_btime.tv_nsec;
    if (age > SETTLED_NS)
        wg_px_ident_put(px, st, ref);
}

void wg_px_ident_drop(struct posix *px, const struct statx *st)
{
    uint32_t i = place(st->stx_ino);
    struct ident *id = &px->idents->at[i];

    pthread_mutex_lock(lock_of(px, i));
    if (id->ino == st->stx_ino)
        memset(id, 0, sizeof *id);
    pthread_mutex_unlock(lock_of(px, i));
}
