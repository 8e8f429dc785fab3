/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inodes in use: gfid to O_PATH fd and data fds. Sharded; a hit takes one shard's lock for
 * some instructions, a release takes none. Eviction is by second chance; what is referenced,
 * pinned or has unsynced writes stays.
 */
#include "posix.h"

#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#define WG_LOG_PART "posix"
#include "log.h"

/* gfids are random bytes (or MD5): any of them will do as a hash. */
static struct px_shard *shard_of(struct posix *px, wg_gfid gfid)
{
    return &px->shard[gfid.b[15] % PX_SHARDS];
}

static struct px_inode **chain_of(struct px_shard *sh, wg_gfid gfid)
{
    uint32_t h;

    memcpy(&h, gfid.b, sizeof h);
    return &sh->chains[h & sh->mask];
}

static struct px_inode *find_locked(struct px_shard *sh, wg_gfid gfid)
{
    struct px_inode *ino = *chain_of(sh, gfid);

    while (ino && !wg_gfid_eq(ino->gfid, gfid))
        ino = ino->chain;
    if (ino) {
        wg_px_hold(ino);
        atomic_store_explicit(&ino->used, true, memory_order_relaxed);
    }
    return ino;
}

struct px_inode *wg_px_peek(struct posix *px, wg_gfid gfid)
{
    struct px_shard *sh = shard_of(px, gfid);
    struct px_inode *ino;

    if (wg_gfid_eq(gfid, WG_ROOT_GFID) && px->root) {
        wg_px_hold(px->root);
        return px->root;
    }
    pthread_mutex_lock(&sh->lock);
    ino = find_locked(sh, gfid);
    pthread_mutex_unlock(&sh->lock);
    return ino;
}

static void close_slot(struct posix *px, struct px_inode *ino, struct px_slot *s)
{
    close(s->fd);
    s->fd = -1;
    atomic_fetch_sub(&px->slots_open, 1);
    if (s->unstable) {
        s->unstable = false;
        atomic_fetch_sub(&ino->unstable, 1);
        atomic_fetch_sub(&px->unstable_fds, 1);
    }
}

/* Nobody can reach ino any more. */
static void destroy(struct posix *px, struct px_inode *ino)
{
    for (unsigned i = 0; i < PX_SLOTS; i++)
        if (ino->slot[i].fd >= 0)
            close_slot(px, ino, &ino->slot[i]);
    close(ino->fd);
    pthread_rwlock_destroy(&ino->content);
    pthread_mutex_destroy(&ino->mutex);
    atomic_fetch_sub(&px->inodes, 1);
    free(ino);
}

/* Takes ino out of its shard's chain and ring. */
static void unlink_locked(struct px_shard *sh, struct px_inode *ino)
{
    struct px_inode **at = chain_of(sh, ino->gfid);

    while (*at != ino)
        at = &(*at)->chain;
    *at = ino->chain;
    if (sh->hand == ino)
        sh->hand = ino->next == ino ? NULL : ino->next;
    ino->next->prev = ino->prev;
    ino->prev->next = ino->next;
    sh->count--;
}

static void link_locked(struct px_shard *sh, struct px_inode *ino)
{
    struct px_inode **at = chain_of(sh, ino->gfid);

    ino->chain = *at;
    *at = ino;
    if (!sh->hand) {
        ino->next = ino->prev = sh->hand = ino;
    } else { /* behind the hand: the last to be looked at */
        ino->next = sh->hand;
        ino->prev = sh->hand->prev;
        ino->prev->next = ino->next->prev = ino;
    }
    sh->count++;
}

/* Takes idle inodes out until the shard is within its share; the list to destroy. */
static struct px_inode *evict_locked(struct posix *px, struct px_shard *sh)
{
    struct px_inode *ino, *out = NULL;

    for (uint32_t steps = 2 * sh->count; sh->count > sh->max && steps > 0; steps--) {
        ino = sh->hand;
        sh->hand = ino->next;
        if (atomic_load(&ino->refs) != 0 || atomic_load(&ino->pinned) || atomic_load(&ino->unstable))
            continue;
        if (atomic_exchange(&ino->used, false))
            continue;
        unlink_locked(sh, ino);
        ino->chain = out;
        out = ino;
        atomic_fetch_add_explicit(&px->evicted, 1, memory_order_relaxed);
    }
    return out;
}

static struct px_inode *inode_new(struct posix *px, int fd, const struct px_rec *rec,
                                  const struct statx *st)
{
    struct px_inode *ino = calloc(1, sizeof *ino);
    pthread_rwlockattr_t attr;

    if (!ino)
        return NULL;
    /* Writers of one file come in streams; a publish must not wait for the last of them. */
    pthread_rwlockattr_init(&attr);
    pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&ino->content, &attr);
    pthread_rwlockattr_destroy(&attr);
    pthread_mutex_init(&ino->mutex, NULL);
    ino->px = px;
    ino->fd = fd;
    ino->gfid = rec->gfid;
    ino->ino = st->stx_ino;
    ino->type = wg_px_type(st->stx_mode);
    ino->hint_len = wg_px_hint(px, fd, ino->hint);
    ino->rec = *rec;
    ino->rec_known = true;
    ino->dirty = !(rec->flags & PX_REC_CLEAN);
    ino->used = true;
    ino->refs = 1;
    for (unsigned i = 0; i < PX_SLOTS; i++)
        ino->slot[i].fd = -1;
    atomic_fetch_add(&px->inodes, 1);
    return ino;
}

static int adopt(struct posix *px, int fd, const struct px_rec *rec, const struct statx *st,
                 bool pinned, bool observed, struct px_inode **ret)
{
    struct px_shard *sh = shard_of(px, rec->gfid);
    struct px_inode *ino = inode_new(px, fd, rec, st), *had, *out = NULL;

    if (!ino) {
        close(fd);
        return ENOMEM;
    }
    ino->pinned = pinned;
    ino->observed = observed;
    pthread_mutex_lock(&sh->lock);
    had = find_locked(sh, rec->gfid);
    if (!had) {
        link_locked(sh, ino);
        out = evict_locked(px, sh);
    }
    pthread_mutex_unlock(&sh->lock);
    while (out) {
        struct px_inode *next = out->chain;

        destroy(px, out);
        out = next;
    }
    if (!had) {
        *ret = ino;
        return 0;
    }
    /* Somebody was quicker: the same inode, or (a copy made behind our back) another. */
    if (had->ino != ino->ino) {
        wg_px_release(px, had);
        destroy(px, ino);
        return ESTALE;
    }
    destroy(px, ino);
    *ret = had;
    return 0;
}

int wg_px_adopt(struct posix *px, int fd, const struct px_rec *rec, const struct statx *st,
                bool pinned, struct px_inode **ret)
{
    /* A synthetic ETag may have gone out before the last eviction, or from a list (R6). */
    bool observed = !pinned && S_ISREG(st->stx_mode) && !(rec->flags & PX_REC_CLEAN) &&
                    wg_px_young(st);

    return adopt(px, fd, rec, st, pinned, observed, ret);
}

int wg_px_adopt_new(struct posix *px, int fd, const struct px_rec *rec, const struct statx *st,
                    struct px_inode **ret)
{
    return adopt(px, fd, rec, st, false, false, ret);
}

void wg_px_release(struct posix *px, struct px_inode *ino)
{
    if (atomic_fetch_sub(&ino->refs, 1) == (PX_DEAD | 1))
        destroy(px, ino);
}

void wg_px_forget(struct posix *px, struct px_inode *ino)
{
    struct px_shard *sh = shard_of(px, ino->gfid);

    pthread_mutex_lock(&sh->lock);
    if (!(atomic_fetch_or(&ino->refs, PX_DEAD) & PX_DEAD))
        unlink_locked(sh, ino);
    pthread_mutex_unlock(&sh->lock);
}

void wg_px_unpin(struct posix *px, struct px_inode *ino)
{
    (void)px;
    atomic_store(&ino->pinned, false);
}

void wg_px_rec_changed(struct posix *px, struct px_inode *ino, const struct px_rec *rec)
{
    (void)px;
    pthread_mutex_lock(&ino->mutex);
    ino->rec = *rec;
    ino->rec_known = true;
    atomic_store(&ino->dirty, !(rec->flags & PX_REC_CLEAN));
    pthread_mutex_unlock(&ino->mutex);
}

int wg_px_rec(struct posix *px, struct px_inode *ino, struct px_rec *ret)
{
    int err = 0;

    pthread_mutex_lock(&ino->mutex);
    if (!ino->rec_known) {
        err = wg_px_rec_get(px, ino->fd, &ino->rec);
        ino->rec_known = err == 0;
    }
    *ret = ino->rec;
    pthread_mutex_unlock(&ino->mutex);
    return err;
}

/* A shard's first idle inode that has unsynced writes (or, with slots, idle data fds); referenced. */
static struct px_inode *idle_inode(struct px_shard *sh, bool unstable)
{
    struct px_inode *ino, *found = NULL;

    pthread_mutex_lock(&sh->lock);
    for (uint32_t n = sh->count; n > 0 && !found; n--) {
        ino = sh->hand;
        sh->hand = ino->next;
        if (atomic_load(&ino->refs) != 0)
            continue;
        if (unstable ? atomic_load(&ino->unstable) > 0 : ino->opens > 0)
            found = ino;
    }
    if (found)
        wg_px_hold(found);
    pthread_mutex_unlock(&sh->lock);
    return found;
}

void wg_px_table_relieve(struct posix *px)
{
    static atomic_uint turn;
    struct px_inode *ino;
    unsigned s;

    /* One sweep over the shards at most, so that a caller's wait is bounded. */
    for (unsigned i = 0; i < PX_SHARDS; i++) {
        bool unstable = atomic_load(&px->unstable_fds) > px->unstable_max;

        if (!unstable && atomic_load(&px->slots_open) <= px->slots_max)
            return;
        s = atomic_fetch_add(&turn, 1) % PX_SHARDS;
        ino = idle_inode(&px->shard[s], unstable);
        if (!ino)
            continue;
        if (unstable) {
            (void)wg_px_sync_inode(px, ino, true);
            atomic_fetch_add_explicit(&px->self_synced, 1, memory_order_relaxed);
        }
        wg_px_close_all(px, ino);
        wg_px_release(px, ino);
    }
}

int wg_px_table_start(struct posix *px)
{
    uint32_t share = px->inodes_max / PX_SHARDS + 1, size = 16;

    while (size < share)
        size *= 2;
    for (unsigned i = 0; i < PX_SHARDS; i++) {
        struct px_shard *sh = &px->shard[i];

        pthread_mutex_init(&sh->lock, NULL);
        sh->mask = size - 1;
        sh->max = share;
        sh->chains = calloc(size, sizeof *sh->chains);
        if (!sh->chains)
            return ENOMEM;
    }
    return 0;
}

void wg_px_table_stop(struct posix *px)
{
    for (unsigned i = 0; i < PX_SHARDS; i++) {
        struct px_shard *sh = &px->shard[i];

        while (sh->hand) {
            struct px_inode *ino = sh->hand;

            if (atomic_load(&ino->refs) != 0)
                wg_warning("inode %" PRIu64 " is still referenced %u times", ino->ino,
                           atomic_load(&ino->refs));
            unlink_locked(sh, ino);
            destroy(px, ino);
        }
        free(sh->chains);
        sh->chains = NULL;
        if (px->inodes_max > 0)
            pthread_mutex_destroy(&sh->lock);
    }
}
