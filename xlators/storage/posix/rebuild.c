/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scanning directories into the index: the whole brick after the index was lost, one directory
 * when others have changed it; and pages of names from a directory that has not been scanned yet.
 */
#define WG_LOG_PART "index"
#include "index.h"

#include <dirent.h>
#include <stdlib.h>
#include <unistd.h>

#include "dump.h"
#include "log.h"

#define NS 1000000000ull
#define BATCH 64                 /* names between two rests of a rebuild */
#define REST_MAX_NS (NS / 2)
#define RETRY_NS (2 * NS)        /* until a directory that failed is tried again */

static bool skipped(bool is_root, const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
           (is_root && strcmp(name, PX_PRIVATE) == 0);
}

static DIR *open_dir(int fd)
{
    int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = copy < 0 ? NULL : fdopendir(copy);
    int err = errno;

    if (!d && copy >= 0)
        close(copy);
    errno = err;
    return d;
}

/* ---- pages without the index --------------------------------------------------------------------- */

static int cmp_sort(const uint8_t *a, uint32_t a_len, const uint8_t *b, uint32_t b_len)
{
    int c = memcmp(a, b, a_len < b_len ? a_len : b_len);

    return c ? c : (a_len > b_len) - (a_len < b_len);
}

/* Keeps the max lowest rows, in order. */
static void keep_lowest(struct px_row *rows, unsigned max, unsigned *n, const struct px_row *row)
{
    unsigned at = *n;

    if (*n == max) {
        if (cmp_sort(row->sort, row->sort_len, rows[max - 1].sort, rows[max - 1].sort_len) >= 0)
            return;
        at = --*n;
    }
    while (at > 0 && cmp_sort(row->sort, row->sort_len, rows[at - 1].sort, rows[at - 1].sort_len) < 0)
        at--;
    memmove(&rows[at + 1], &rows[at], (*n - at) * sizeof *rows);
    rows[at] = *row;
    ++*n;
}

static uint8_t entry_type(int dirfd, const struct dirent *e)
{
    struct statx st;

    switch (e->d_type) {
    case DT_REG:
        return WG_REG;
    case DT_DIR:
        return WG_DIR;
    case DT_LNK:
        return WG_LNK;
    case DT_UNKNOWN:
        return wg_px_stat_at(dirfd, e->d_name, &st) ? WG_NONE : wg_px_type(st.stx_mode);
    default:
        return WG_FIFO; /* some special file */
    }
}

int wg_px_readdir_page(int dirfd, bool is_root, const uint8_t *from, uint32_t from_len,
                       struct px_row *rows, unsigned max, unsigned *ret_n)
{
    DIR *d = open_dir(dirfd);
    struct dirent *e;
    int err;

    *ret_n = 0;
    if (!d)
        return errno;
    for (;;) {
        struct px_row row = { 0 };
        struct wg_str name;

        errno = 0;
        e = readdir(d);
        if (!e)
            break;
        name = wg_str_of(e->d_name);
        if (skipped(is_root, e->d_name) || name.len > WG_NAME_MAX)
            continue;
        row.type = entry_type(dirfd, e);
        row.sort_len = (uint16_t)wg_key_sort(WG_KEY_IN_DIR, name, row.type == WG_DIR, row.sort);
        if (cmp_sort(row.sort, row.sort_len, from, from_len) >= 0)
            keep_lowest(rows, max, ret_n, &row);
    }
    err = errno;
    closedir(d);
    return err;
}

/* ---- scanning ---------------------------------------------------------------------------------------- */

/* Gfids whose rows may still wait in the journal: those of the batch under way. */
struct lately {
    wg_gfid gfid[BATCH];
    unsigned n;
};

static bool was_lately(const struct lately *l, wg_gfid gfid)
{
    for (unsigned i = 0; i < l->n; i++)
        if (wg_gfid_eq(l->gfid[i], gfid))
            return true;
    return false;
}

/* The gfid of a name, under its lock, so that a rename can't be between looking and adding. */
static int scan_locked(struct px_index *ix, struct px_inode *dir, const char *name, struct lately *l, bool sure,
                       struct px_row *ret)
{
    static const struct wg_cred brick;
    struct posix *px = ix->px;
    struct px_inode *child;
    struct px_rec rec;
    struct statx st;
    int err = wg_px_stat_at(dir->fd, name, &st);
    bool elsewhere;

    if (err)
        return err;
    if (st.stx_dev_major != px->dev_major || st.stx_dev_minor != px->dev_minor)
        return EXDEV;
    ret->type = wg_px_type(st.stx_mode);
    err = wg_px_rec_get_at(px, dir->fd, name, &rec);
    if (!err) {
        ret->gfid = rec.gfid;
    } else { /* gives it one */
        err = wg_px_child(px, &brick, dir, name, &child, NULL);
        if (err)
            return err;
        ret->gfid = child->gfid;
        wg_px_release(px, child);
    }
    if (wg_px_index_has(ix, dir->gfid, name, ret->gfid, ret->type, &elsewhere))
        return 0;
    if (!sure && (elsewhere || was_lately(l, ret->gfid)))
        return EEXIST;
    if (l->n < BATCH)
        l->gfid[l->n++] = ret->gfid;
    return wg_px_index_add(px, dir->gfid, name, ret->gfid, ret->type, NULL, 0);
}

/* Another name with its gfid is there already: a link, or a copy with its xattrs. */
static int scan_name(struct px_index *ix, struct px_inode *dir, const char *name, struct lately *l,
                     struct px_row *ret)
{
    struct px_at at = { dir->gfid, name };
    struct px_names held;
    int err = EEXIST;

    for (unsigned i = 0; err == EEXIST && i < 2; i++) {
        wg_px_lock_names(ix->px, &held, &at, 1);
        err = scan_locked(ix, dir, name, l, i > 0, ret);
        wg_px_unlock_names(ix->px, &held);
        if (err == EEXIST) {
            int e = wg_px_twins_look(ix, dir, name, ret->gfid);

            if (e)
                return e;
        }
    }
    return err;
}

/*
 * A rebuild gives way to calls: after a batch of names it rests as long as the share says. False when it is to
 * end. *began: when the batch began, and then the next one.
 */
static bool rest(struct px_index *ix, uint64_t *began)
{
    uint64_t now = wg_now_ns(), ns = now - *began, share = atomic_load(&ix->share), until;
    struct timespec at;
    bool go;

    ns = share < 100 && wg_calls_live() > 0 ? ns * (100 - share) / share : 0;
    until = now + (ns < REST_MAX_NS ? ns : REST_MAX_NS);
    at = (struct timespec){ (time_t)(until / NS), (long)(until % NS) };
    pthread_mutex_lock(&ix->mutex);
    while (!ix->stop && ns > 0 && wg_now_ns() < until)
        pthread_cond_timedwait(&ix->work, &ix->mutex, &at);
    go = !ix->stop;
    pthread_mutex_unlock(&ix->mutex);
    *began = wg_now_ns();
    return go;
}

/* What a scan may pass by: it went, it is not ours, or nobody may go there. */
static bool passable(int err)
{
    return err == ENOENT || err == ESTALE || err == EXDEV || err == EACCES || err == EROFS || err == ENOTDIR;
}

static int scan_names(struct px_index *ix, struct px_inode *dir, DIR *d, bool deep)
{
    uint64_t began = wg_now_ns();
    struct lately lately = { .n = 0 };
    struct dirent *e;
    unsigned n = 0;
    int err = 0, failed = 0;

    while ((errno = 0, e = readdir(d)) != NULL) {
        struct px_row row;

        if (skipped(dir == ix->px->root, e->d_name) || strlen(e->d_name) > WG_NAME_MAX)
            continue;
        if (++n % BATCH == 0) {
            if (deep && !rest(ix, &began))
                return ECANCELED;
            (void)wg_px_index_flush(ix->px); /* a full disk: lists then read the directory */
            lately.n = 0;
        }
        row.type = WG_NONE;
        err = scan_name(ix, dir, e->d_name, &lately, &row);
        if (err && !passable(err))
            failed = err; /* the others first */
        if (err)
            continue;
        if (deep)
            atomic_fetch_add_explicit(&ix->rebuilt_names, 1, memory_order_relaxed);
        if (deep && row.type == WG_DIR)
            wg_px_index_want_scan(ix, row.gfid);
    }
    err = errno;
    if (!err && deep && !rest(ix, &began))
        err = ECANCELED;
    return err ? err : failed;
}

/* deep: directories found are scanned as well. */
static int scan(struct px_index *ix, struct px_inode *dir, bool deep)
{
    struct posix *px = ix->px;
    struct statx st;
    uint64_t resets = atomic_load(&ix->resets);
    uint32_t lost;
    DIR *d;
    int err;

    (void)wg_px_as_brick(px);
    err = wg_px_stat(dir->fd, &st);
    if (err)
        return err;
    lost = wg_px_seen_scanning(ix, dir->gfid, (struct wg_time){ st.stx_mtime.tv_sec, st.stx_mtime.tv_nsec });
    err = wg_px_stat(dir->fd, &st); /* again: a change between the two would be seen by nobody */
    if (!err)
        err = wg_px_index_flush(px);
    d = err ? NULL : open_dir(dir->fd);
    if (!d)
        return err ? err : errno;
    err = scan_names(ix, dir, d, deep);
    closedir(d);
    if (!err && resets == atomic_load(&ix->resets)) {
        struct px_jrow r = { .op = PX_J_SEEN, .dir = dir->gfid };

        r.mtime = (struct wg_time){ st.stx_mtime.tv_sec, st.stx_mtime.tv_nsec };
        err = wg_px_index_log(ix, &r, NULL);
        wg_px_seen_scanned(ix, dir->gfid, r.mtime, lost);
        atomic_fetch_add(&ix->scanned, 1);
    }
    return err;
}

int wg_px_index_scan(struct px_index *ix, struct px_inode *dir)
{
    return scan(ix, dir, false);
}

/* ---- the builder's thread ------------------------------------------------------------------------------ */

/* In px_index.mutex. Beyond what there is room for, everything is scanned again. */
static void try_again(struct px_index *ix, wg_gfid dir)
{
    if (ix->nfailed < PX_FAILED)
        ix->failed[ix->nfailed++] = dir;
    else
        ix->failed[0] = WG_ROOT_GFID;
    ix->retry_ns = wg_now_ns() + RETRY_NS;
}

static void want_scan_locked(struct px_index *ix, wg_gfid dir)
{
    for (uint32_t i = 0; i < ix->ntodo && i < 16; i++) /* asked for just now? */
        if (wg_gfid_eq(ix->todo[ix->ntodo - 1 - i], dir))
            return;
    if (ix->ntodo == ix->todo_max) {
        uint32_t max = ix->todo_max ? ix->todo_max * 2 : 64;
        wg_gfid *todo = realloc(ix->todo, max * sizeof *todo);

        if (todo) {
            ix->todo = todo;
            ix->todo_max = max;
        }
    }
    if (ix->ntodo < ix->todo_max)
        ix->todo[ix->ntodo++] = dir;
    else
        try_again(ix, dir); /* no memory */
    pthread_cond_signal(&ix->work);
}

void wg_px_index_want_scan(struct px_index *ix, wg_gfid dir)
{
    pthread_mutex_lock(&ix->mutex);
    want_scan_locked(ix, dir);
    pthread_mutex_unlock(&ix->mutex);
}

void wg_px_builder_whole(struct px_index *ix)
{
    pthread_mutex_lock(&ix->mutex);
    atomic_store(&ix->rebuilding, true);
    ix->began_ns = wg_now_ns();
    ix->retry_ns = 0;
    atomic_store(&ix->rebuilt_dirs, 0);
    atomic_store(&ix->rebuilt_names, 0);
    want_scan_locked(ix, WG_ROOT_GFID);
    if (!wg_gfid_is_zero(ix->uploads)) /* beside the root's tree */
        want_scan_locked(ix, ix->uploads);
    pthread_mutex_unlock(&ix->mutex);
}

void wg_px_index_uploads(struct posix *px, wg_gfid dir)
{
    struct px_index *ix = px->index;

    pthread_mutex_lock(&ix->mutex);
    ix->uploads = dir;
    if (atomic_load(&ix->rebuilding))
        want_scan_locked(ix, dir);
    pthread_mutex_unlock(&ix->mutex);
}

void wg_px_index_rebuild(struct posix *px)
{
    struct px_index *ix = px->index;
    struct px_jrow r = { .op = PX_J_ALL };

    atomic_store(&ix->complete, false);
    (void)wg_px_index_log(ix, &r, NULL);
    wg_px_builder_whole(ix);
}

bool wg_px_index_rebuilding(struct posix *px)
{
    return atomic_load(&px->index->rebuilding);
}

void wg_px_index_share(struct posix *px, unsigned percent)
{
    atomic_store(&px->index->share, percent);
}

enum step { STEP_END, STEP_SCAN, STEP_FINISH };

/* What the builder is to do; waits until there is something. */
static enum step next_step(struct px_index *ix, wg_gfid *ret)
{
    enum step step = STEP_END;

    pthread_mutex_lock(&ix->mutex);
    while (!ix->stop && ix->ntodo == 0) {
        bool rebuilding = atomic_load(&ix->rebuilding) && ix->retry_ns != UINT64_MAX &&
                          !wg_gfid_is_zero(ix->uploads); /* the store is not up yet */
        struct timespec at = { (time_t)(ix->retry_ns / NS), (long)(ix->retry_ns % NS) };

        if (!rebuilding && ix->nfailed == 0)
            pthread_cond_wait(&ix->work, &ix->mutex);
        else if (wg_now_ns() < ix->retry_ns)
            pthread_cond_timedwait(&ix->work, &ix->mutex, &at);
        else if (ix->nfailed > 0)
            for (unsigned n = ix->nfailed; n > 0; n--) /* each: one may fail for ever */
                want_scan_locked(ix, ix->failed[--ix->nfailed]);
        else
            break;
    }
    if (!ix->stop && ix->ntodo > 0) {
        *ret = ix->todo[--ix->ntodo];
        step = STEP_SCAN;
    } else if (!ix->stop) {
        step = STEP_FINISH;
    }
    pthread_mutex_unlock(&ix->mutex);
    return step;
}

/* Every directory has been scanned. */
static void finish_rebuild(struct px_index *ix)
{
    struct px_jrow r = { .op = PX_J_ALL, .value = 1 };
    uint64_t resets = atomic_load(&ix->resets);
    int err = wg_px_index_log(ix, &r, NULL);

    pthread_mutex_lock(&ix->mutex);
    if (err) { /* a full disk, say: later */
        ix->retry_ns = wg_now_ns() + RETRY_NS;
    } else if (ix->ntodo == 0 && ix->nfailed == 0 && resets == atomic_load(&ix->resets)) {
        atomic_store(&ix->complete, true);
        atomic_store(&ix->rebuilding, false);
        wg_info("the index is complete: %llu names in %llu directories",
                (unsigned long long)atomic_load(&ix->rebuilt_names),
                (unsigned long long)atomic_load(&ix->rebuilt_dirs));
    }
    pthread_mutex_unlock(&ix->mutex);
}

static void scan_one(struct px_index *ix, wg_gfid gfid)
{
    bool deep = atomic_load(&ix->rebuilding);
    struct wg_ref ref = { .gfid = gfid };
    struct px_inode *dir;
    int err = wg_px_find_indexed(ix->px, &ref, &dir);

    if (err == 0) {
        err = dir->type == WG_DIR ? scan(ix, dir, deep) : 0;
        wg_px_release(ix->px, dir);
    }
    if (err == 0 && deep)
        atomic_fetch_add(&ix->rebuilt_dirs, 1);
    if (err == 0 || err == ECANCELED || passable(err))
        return;
    wg_warning("a directory could not be scanned: %s", wg_error_name(err));
    if (deep) {
        pthread_mutex_lock(&ix->mutex);
        try_again(ix, gfid);
        pthread_mutex_unlock(&ix->mutex);
    }
}

static void *builder(void *arg)
{
    struct px_index *ix = arg;
    enum step step;
    wg_gfid gfid;

    while ((step = next_step(ix, &gfid)) != STEP_END) {
        if (step == STEP_SCAN)
            scan_one(ix, gfid);
        else
            finish_rebuild(ix);
    }
    return NULL;
}

int wg_px_builder_start(struct px_index *ix)
{
    int err = pthread_create(&ix->builder, NULL, builder, ix);

    ix->have_builder = err == 0;
    return err;
}

void wg_px_builder_stop(struct px_index *ix)
{
    pthread_mutex_lock(&ix->mutex);
    ix->stop = true;
    pthread_cond_broadcast(&ix->work);
    pthread_cond_broadcast(&ix->wake);
    pthread_mutex_unlock(&ix->mutex);
    pthread_join(ix->builder, NULL);
    ix->have_builder = false;
}

void wg_px_builder_dump(struct px_index *ix, struct wg_dump *d)
{
    uint64_t began;
    uint32_t todo, failed;

    if (!atomic_load(&ix->rebuilding))
        return;
    pthread_mutex_lock(&ix->mutex);
    began = ix->began_ns;
    todo = ix->ntodo;
    failed = ix->nfailed;
    pthread_mutex_unlock(&ix->mutex);
    wg_dump_object(d, "rebuild");
    wg_dump_u64(d, "directories_done", atomic_load(&ix->rebuilt_dirs));
    wg_dump_u64(d, "directories_waiting", todo);
    wg_dump_u64(d, "directories_failed", failed);
    wg_dump_u64(d, "names_done", atomic_load(&ix->rebuilt_names));
    wg_dump_u64(d, "seconds", (wg_now_ns() - began) / NS);
    wg_dump_end(d);
}

void wg_px_index_notes(struct posix *px, struct wg_dump *d)
{
    wg_px_builder_dump(px->index, d);
    wg_px_twins_dump(px->index, d);
}
