/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether the index knows all names of a directory. It does when every change of the directory's
 * mtime since it did was our own; who makes a change tells us the mtimes around it. When others
 * have changed a directory, it is scanned.
 */
#include "index.h"

static struct wg_time mtime_of(const struct statx *st)
{
    return (struct wg_time){ st->stx_mtime.tv_sec, st->stx_mtime.tv_nsec };
}

static int cmp_time(struct wg_time a, struct wg_time b)
{
    return a.sec != b.sec ? (a.sec > b.sec) - (a.sec < b.sec) : (a.nsec > b.nsec) - (a.nsec < b.nsec);
}

static struct px_seen *lock_seen(struct px_index *ix, uint64_t dir, pthread_mutex_t **lock)
{
    uint64_t slot = (dir * 0x9e3779b97f4a7c15ull) >> 32;

    *lock = &ix->seen_lock[slot % 64];
    pthread_mutex_lock(*lock);
    return &ix->seen[slot % PX_SEEN];
}

/* The slot becomes the directory's: whoever scans it meanwhile has not seen all of its changes. */
static void watch_from(struct px_seen *s, uint64_t number, struct wg_time t, bool born)
{
    *s = (struct px_seen){ .dir = number, .start = t, .mtime = t, .lost = s->lost + 1, .born = born };
}

static void lose(struct px_seen *s)
{
    s->broken = true;
    s->lost++;
}

void wg_px_index_before(struct posix *px, wg_gfid dir, const struct statx *pre)
{
    uint64_t number = wg_px_dir_number(dir);
    struct wg_time t = mtime_of(pre);
    pthread_mutex_t *lock;
    struct px_seen *s = lock_seen(px->index, number, &lock);

    if (s->dir != number && s->inflight == 0)
        watch_from(s, number, t, false);
    if (s->dir == number) {
        if (s->inflight == 0 && cmp_time(s->mtime, t) != 0)
            lose(s);
        s->inflight++;
    }
    pthread_mutex_unlock(lock);
}

void wg_px_index_after(struct posix *px, wg_gfid dir, const struct statx *post)
{
    uint64_t number = wg_px_dir_number(dir);
    pthread_mutex_t *lock;
    struct px_seen *s = lock_seen(px->index, number, &lock);

    if (s->dir == number && s->inflight > 0) {
        s->inflight--;
        if (!post)
            lose(s);
        else if (cmp_time(mtime_of(post), s->mtime) > 0)
            s->mtime = mtime_of(post);
    }
    pthread_mutex_unlock(lock);
}

void wg_px_index_born(struct posix *px, wg_gfid dir, const struct statx *st)
{
    uint64_t number = wg_px_dir_number(dir);
    struct wg_time t = mtime_of(st);
    pthread_mutex_t *lock;
    struct px_seen *s = lock_seen(px->index, number, &lock);

    if (s->inflight == 0)
        watch_from(s, number, t, true);
    pthread_mutex_unlock(lock);
}

/* Are all changes since the rows were complete (at, if has) our own? changed: some were. */
static bool own_changes(struct px_index *ix, uint64_t number, bool has, struct wg_time at,
                        struct wg_time now, bool *changed)
{
    pthread_mutex_t *lock;
    struct px_seen *s = lock_seen(ix, number, &lock);
    bool own = s->dir == number && !s->broken &&
               (s->born || (has && cmp_time(s->start, at) == 0)) &&
               (s->inflight > 0 || cmp_time(s->mtime, now) == 0);

    *changed = own && s->inflight == 0 && (!has || cmp_time(at, now) != 0);
    if (*changed) { /* noted as seen by the caller */
        s->start = now;
        s->born = false;
    }
    pthread_mutex_unlock(lock);
    return own;
}

/* Small enough to be scanned by the one who asks: some 1,000 names on file systems we know. */
static bool small(const struct statx *st)
{
    return st->stx_size <= 64 * 1024;
}

bool wg_px_index_complete(struct posix *px, struct px_inode *dir, const struct statx *st)
{
    struct px_index *ix = px->index;
    struct wg_time at = { 0 }, now = mtime_of(st);
    uint8_t number[8];
    bool has, changed;

    wg_px_dir_key(dir->gfid, number);
    has = wg_px_index_get_dir(ix, number, &at) == 0;
    if (has && cmp_time(at, now) == 0)
        return true;
    if ((has || atomic_load(&ix->complete)) &&
        own_changes(ix, wg_px_dir_number(dir->gfid), has, at, now, &changed)) {
        struct px_jrow r = { .op = PX_J_SEEN, .dir = dir->gfid, .mtime = now };

        if (changed)
            (void)wg_px_index_log(ix, &r, NULL);
        return true;
    }
    if (small(st))
        return wg_px_index_scan(ix, dir) == 0;
    wg_px_index_want_scan(ix, dir->gfid);
    return has; /* then all but others' latest names are there */
}

/* What we know of directories is kept over a clean restart. */
void wg_px_seen_save(struct px_index *ix)
{
    for (unsigned i = 0; i < PX_SEEN; i++) {
        struct px_seen *s = &ix->seen[i];
        struct px_jrow r = { .op = PX_J_SEEN, .mtime = s->mtime };
        uint64_t n = htole64(s->dir);

        if (!s->dir || s->broken || s->inflight || (!s->born && !cmp_time(s->start, s->mtime)))
            continue;
        /* Any gfid with this number will do. */
        memcpy(r.dir.b, &n, 8);
        if (!s->born) {
            uint8_t number[8];
            struct wg_time at;

            wg_px_dir_key(r.dir, number);
            if (wg_px_index_get_dir(ix, number, &at) || cmp_time(at, s->start))
                continue;
        }
        if (wg_px_index_log(ix, &r, NULL))
            return;
    }
}

uint32_t wg_px_seen_scanning(struct px_index *ix, wg_gfid dir, struct wg_time now)
{
    uint64_t number = wg_px_dir_number(dir);
    pthread_mutex_t *lock;
    struct px_seen *s = lock_seen(ix, number, &lock);
    uint32_t lost;

    if (s->dir != number && s->inflight == 0)
        watch_from(s, number, now, false);
    if (s->dir == number && s->inflight == 0 && cmp_time(s->mtime, now) < 0) {
        s->mtime = now; /* others did: the scan will find it */
        s->broken = true;
    }
    lost = s->lost;
    pthread_mutex_unlock(lock);
    return lost;
}

void wg_px_seen_scanned(struct px_index *ix, wg_gfid dir, struct wg_time at, uint32_t lost)
{
    uint64_t number = wg_px_dir_number(dir);
    pthread_mutex_t *lock;
    struct px_seen *s = lock_seen(ix, number, &lock);

    if (s->dir != number && s->inflight == 0) {
        watch_from(s, number, at, false);
        lost = s->lost;
    }
    if (s->dir == number) {
        s->start = at;
        s->born = false;
        s->broken = s->lost != lost; /* others changed it during the scan: what came behind it is missing */
        if (cmp_time(s->mtime, at) < 0)
            s->mtime = at;
    }
    pthread_mutex_unlock(lock);
}
