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

#include "log.h"

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

/* The gfid of a name, under its lock, so that a rename can't be between looking and adding. */
static int scan_locked(struct px_index *ix, struct px_inode *dir, const char *name, struct px_row *ret)
{
    static const struct wg_cred brick;
    struct posix *px = ix->px;
    struct px_inode *child;
    struct px_rec rec;
    struct statx st;
    int err = wg_px_stat_at(dir->fd, name, &st);

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
    if (wg_px_index_has(ix, dir->gfid, name, ret->gfid, ret->type))
        return 0;
    return wg_px_index_add(px, dir->gfid, name, ret->gfid, ret->type, NULL, 0);
}

static int scan_name(struct px_index *ix, struct px_inode *dir, const char *name, struct px_row *ret)
{
    struct px_at at = { dir->gfid, name };
    struct px_names held;
    int err;

    wg_px_lock_names(ix->px, &held, &at, 1);
    err = scan_locked(ix, dir, name, ret);
    wg_px_unlock_names(ix->px, &held);
    return err;
}

static bool stopping(struct px_index *ix)
{
    bool stop;

    pthread_mutex_lock(&ix->mutex);
    stop = ix->stop;
    pthread_mutex_unlock(&ix->mutex);
    return stop;
}

/* deep: directories found are scanned as well. */
static int scan(struct px_index *ix, struct px_inode *dir, bool deep)
{
    struct posix *px = ix->px;
    struct statx st;
    struct dirent *e;
    uint64_t resets = atomic_load(&ix->resets);
    unsigned n = 0;
    DIR *d;
    int err;

    (void)wg_px_as_brick(px);
    err = wg_px_stat(dir->fd, &st);
    if (err)
        return err;
    err = wg_px_index_flush(px);
    d = err ? NULL : open_dir(dir->fd);
    if (!d)
        return err ? err : errno;
    while (!err && (errno = 0, e = readdir(d)) != NULL) {
        struct px_row row;

        if (skipped(dir == px->root, e->d_name) || strlen(e->d_name) > WG_NAME_MAX)
            continue;
        if (++n % 256 == 0 && stopping(ix))
            err = ECANCELED;
        if (err || scan_name(ix, dir, e->d_name, &row) != 0)
            continue; /* it went, or can't be read: lists say so when they meet it */
        if (deep && row.type == WG_DIR)
            wg_px_index_want_scan(ix, row.gfid);
    }
    if (!err)
        err = errno;
    closedir(d);
    if (!err && resets == atomic_load(&ix->resets)) {
        struct px_jrow r = { .op = PX_J_SEEN, .dir = dir->gfid };

        r.mtime = (struct wg_time){ st.stx_mtime.tv_sec, st.stx_mtime.tv_nsec };
        err = wg_px_index_log(ix, &r, NULL);
        wg_px_seen_scanned(ix, dir->gfid, r.mtime);
        atomic_fetch_add(&ix->scanned, 1);
    }
    return err;
}

int wg_px_index_scan(struct px_index *ix, struct px_inode *dir)
{
    return scan(ix, dir, false);
}

/* ---- the builder's thread ------------------------------------------------------------------------------ */

void wg_px_index_want_scan(struct px_index *ix, wg_gfid dir)
{
    pthread_mutex_lock(&ix->mutex);
    for (uint32_t i = 0; i < ix->ntodo && i < 16; i++) /* asked for just now? */
        if (wg_gfid_eq(ix->todo[ix->ntodo - 1 - i], dir)) {
            pthread_mutex_unlock(&ix->mutex);
            return;
        }
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
        ix->whole = false; /* no memory: this scan will not be complete */
    pthread_cond_broadcast(&ix->wake);
    pthread_mutex_unlock(&ix->mutex);
}

void wg_px_builder_whole(struct px_index *ix)
{
    atomic_store(&ix->rebuilding, true);
    pthread_mutex_lock(&ix->mutex);
    ix->whole = true;
    pthread_mutex_unlock(&ix->mutex);
    wg_px_index_want_scan(ix, WG_ROOT_GFID);
}

void wg_px_index_rebuild(struct posix *px)
{
    struct px_index *ix = px->index;
    struct px_jrow r = { .op = PX_J_ALL };

    atomic_store(&ix->complete, false);
    (void)wg_px_index_log(ix, &r, NULL);
    wg_px_builder_whole(ix);
}

/* Waits for a directory to scan; false at the end. */
static bool next_todo(struct px_index *ix, wg_gfid *ret)
{
    bool found;

    pthread_mutex_lock(&ix->mutex);
    while (!ix->stop && ix->ntodo == 0)
        pthread_cond_wait(&ix->wake, &ix->mutex);
    found = !ix->stop;
    if (found)
        *ret = ix->todo[--ix->ntodo];
    pthread_mutex_unlock(&ix->mutex);
    return found;
}

static void finish_rebuild(struct px_index *ix)
{
    struct px_jrow r = { .op = PX_J_ALL, .value = 1 };
    bool done;

    pthread_mutex_lock(&ix->mutex);
    done = ix->ntodo == 0;
    if (done && ix->whole && wg_px_journal_append(ix->journal, &r, "", &(uint32_t){ 0 })) {
        ix->whole = false;
        atomic_store(&ix->complete, true);
    }
    if (done)
        atomic_store(&ix->rebuilding, false);
    pthread_mutex_unlock(&ix->mutex);
}

static void *builder(void *arg)
{
    struct px_index *ix = arg;
    struct px_inode *dir;
    wg_gfid gfid;

    while (next_todo(ix, &gfid)) {
        struct wg_ref ref = { .gfid = gfid };

        if (wg_px_find_dir(ix->px, &ref, &dir) == 0) {
            int err = scan(ix, dir, atomic_load(&ix->rebuilding));

            if (err)
                wg_warning("a directory could not be scanned: %s", wg_error_name(err));
            wg_px_release(ix->px, dir);
        }
        if (atomic_load(&ix->rebuilding))
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
    pthread_cond_broadcast(&ix->wake);
    pthread_mutex_unlock(&ix->mutex);
    pthread_join(ix->builder, NULL);
    ix->have_builder = false;
}
