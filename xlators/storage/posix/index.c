/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The index: where a gfid is, and the names of each directory in the order of S3 keys. Derived from
 * the file system, and a superset of it at every instant (README R5).
 *
 * A change is a row in the journal (journal.h); whoever reads, and a thread that wakes now and
 * then, applies all waiting rows in one transaction first. So creates share transactions without waiting
 * for each other, and no caller hands over to another thread.
 */
#define WG_LOG_PART "index"
#include "rows.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "dump.h"
#include "log.h"

#ifdef __SANITIZE_THREAD__
/* LMDB's readers and writer are ordered by transaction numbers in its map, which TSan can't see. */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "called_from_lib:liblmdb.so\n";
}
#endif

#define MAP_START (256ull << 20)
#define BATCH 512               /* rows of a transaction, and that wake the applier at once */
#define SLACK (8ull << 20)      /* blocks ready beyond the last page in use: more than BATCH rows take */
#define DELAY_NS (20 * 1000000) /* how long rows wait for company */

static uint64_t le64(const uint8_t *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof v);
    return le64toh(v);
}

uint64_t wg_px_dir_number(wg_gfid dir)
{
    return le64(dir.b) ^ le64(dir.b + 8);
}

/* ---- the environment ------------------------------------------------------------------------- */

static int open_tables(struct px_index *ix)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(ix->env, NULL, 0, &txn);

    if (rc)
        return rc;
    rc = mdb_dbi_open(txn, "gfids", MDB_CREATE, &ix->gfids);
    if (!rc)
        rc = mdb_dbi_open(txn, "names", MDB_CREATE, &ix->names);
    if (!rc)
        rc = mdb_dbi_open(txn, "dirs", MDB_CREATE, &ix->dirs);
    if (!rc)
        rc = mdb_dbi_open(txn, "links", MDB_CREATE, &ix->links);
    if (rc) {
        mdb_txn_abort(txn);
        return rc;
    }
    return mdb_txn_commit(txn);
}

static void env_close(struct px_index *ix)
{
    if (ix->env)
        mdb_env_close(ix->env);
    ix->env = NULL;
    if (ix->data_fd >= 0)
        close(ix->data_fd);
    ix->data_fd = -1;
}

/*
 * The map is written in place (WRITEMAP), so that a store into a hole on a full disk would be a
 * SIGBUS: blocks are allocated before they are needed. ENOSPC leaves the rows in the journal.
 */
static int reserve_blocks(struct px_index *ix)
{
    MDB_envinfo info;
    uint64_t need;
    int err;

    mdb_env_info(ix->env, &info);
    need = (info.me_last_pgno + 1) * 4096 + SLACK;
    if (need > info.me_mapsize)
        need = info.me_mapsize;
    if (need <= ix->allocated)
        return 0;
    need = need + SLACK > info.me_mapsize ? info.me_mapsize : need + SLACK;
    err = posix_fallocate(ix->data_fd, (off_t)ix->allocated, (off_t)(need - ix->allocated));
    if (!err)
        ix->allocated = need;
    return err;
}

static int env_open(struct px_index *ix)
{
    char path[PX_FD_PATH];
    struct stat st;
    int rc = mdb_env_create(&ix->env);

    if (rc)
        return rc;
    ix->data_fd = openat(ix->dirfd, "data.mdb", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (ix->data_fd < 0 || fstat(ix->data_fd, &st) < 0)
        return errno;
    ix->allocated = 0;
    mdb_env_set_maxdbs(ix->env, 4);
    mdb_env_set_maxreaders(ix->env, 1024);
    mdb_env_set_mapsize(ix->env, (uint64_t)st.st_size > MAP_START ? (size_t)st.st_size : MAP_START);
    rc = mdb_env_open(ix->env, wg_px_fd_path(path, ix->dirfd),
                      MDB_NOSYNC | MDB_WRITEMAP | MDB_NOTLS | MDB_NORDAHEAD, 0600);
    if (!rc)
        rc = reserve_blocks(ix);
    return rc ? rc : open_tables(ix);
}

static int set_aside(struct px_index *ix)
{
    env_close(ix);
    (void)unlinkat(ix->dirfd, "aside.mdb", 0);
    if (renameat(ix->dirfd, "data.mdb", ix->dirfd, "aside.mdb") < 0 && errno != ENOENT)
        return errno;
    (void)unlinkat(ix->dirfd, "lock.mdb", 0);
    /* It is kept for no one: what it says can be read from the directories. */
    (void)unlinkat(ix->dirfd, "aside.mdb", 0);
    return 0;
}

/* A damaged index: an empty one takes its place, and is filled while lists read directories. */
static int replace_env(struct px_index *ix)
{
    uint32_t uid = wg_px_brick_begin(ix->px); /* files are opened by name; who asks may be anybody */
    int rc;

    wg_warning("the index is damaged, it is set aside and rebuilt");
    /* Said before anything is lost: who misses a row then knows why. */
    pthread_mutex_lock(&ix->mutex);
    atomic_store(&ix->rebuilding, true);
    atomic_fetch_add(&ix->resets, 1);
    atomic_store(&ix->complete, false);
    ix->retry_ns = UINT64_MAX;
    pthread_mutex_unlock(&ix->mutex);
    pthread_rwlock_wrlock(&ix->map);
    ix->replaced = true;
    rc = set_aside(ix);
    if (!rc)
        rc = env_open(ix);
    pthread_rwlock_unlock(&ix->map);
    wg_px_brick_end(ix->px, uid);
    wg_px_builder_whole(ix);
    return rc;
}

static int grow_map(struct px_index *ix)
{
    MDB_envinfo info;
    int rc;

    pthread_rwlock_wrlock(&ix->map);
    mdb_env_info(ix->env, &info);
    rc = mdb_env_set_mapsize(ix->env, info.me_mapsize * 2);
    pthread_rwlock_unlock(&ix->map);
    return rc;
}

/* ---- applying -------------------------------------------------------------------------------- */

void wg_px_dir_key(wg_gfid dir, uint8_t b[8])
{
    uint64_t n = htobe64(wg_px_dir_number(dir));

    memcpy(b, &n, 8);
}

static int put_name(struct px_index *ix, MDB_txn *txn, const struct px_jrow *r)
{
    struct name_value v = { r->gfid, r->type };
    struct name_key k;
    MDB_val key, val = { sizeof v, &v };

    name_key(r->dir, (struct wg_str){ r->name, r->name_len }, r->type == WG_DIR, &k);
    key = (MDB_val){ k.len, k.b };
    return mdb_put(txn, ix->names, &key, &val, 0);
}

/* The caller may not know whether it was a directory: the gfid tells. */
static int del_name(struct px_index *ix, MDB_txn *txn, const struct px_jrow *r)
{
    for (int is_dir = 0; is_dir < 2; is_dir++) {
        struct name_key k;
        MDB_val key, val;
        int rc;

        name_key(r->dir, (struct wg_str){ r->name, r->name_len }, is_dir, &k);
        key = (MDB_val){ k.len, k.b };
        rc = mdb_get(txn, ix->names, &key, &val);
        if (!rc && val.mv_size >= 16 && memcmp(val.mv_data, r->gfid.b, 16) == 0)
            rc = mdb_del(txn, ix->names, &key, NULL);
        if (rc && rc != MDB_NOTFOUND)
            return rc;
    }
    return 0;
}

static int forget(struct px_index *ix, MDB_txn *txn, const struct px_jrow *r)
{
    MDB_val key;
    uint8_t number[8];
    int rc = wg_px_where_forget(ix, txn, r);

    if (rc)
        return rc;
    wg_px_dir_key(r->gfid, number);
    key = (MDB_val){ 8, number };
    rc = mdb_del(txn, ix->dirs, &key, NULL);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* Every directory's number is above 0 in practice; key 0 holds the mark of completeness. */
static int put_dir(struct px_index *ix, MDB_txn *txn, const struct px_jrow *r)
{
    struct dir_value v = { r->mtime.sec, r->mtime.nsec };
    uint8_t number[8] = { 0 };
    MDB_val key = { 8, number }, val = { sizeof v, &v };

    if (r->op == PX_J_SEEN)
        wg_px_dir_key(r->dir, number);
    if (r->op == PX_J_SEEN || r->value)
        return mdb_put(txn, ix->dirs, &key, &val, 0);
    return mdb_drop(txn, ix->dirs, 0);
}

static int apply_row(struct px_index *ix, MDB_txn *txn, const struct px_jrow *r)
{
    int rc;

    switch (r->op) {
    case PX_J_ADD:
        rc = put_name(ix, txn, r);
        return rc ? rc : wg_px_where_put(ix, txn, r);
    case PX_J_REMOVE:
        rc = del_name(ix, txn, r);
        return rc ? rc : wg_px_where_del(ix, txn, r);
    case PX_J_FORGET:
        return forget(ix, txn, r);
    case PX_J_WHERE:
        return wg_px_where_put(ix, txn, r);
    case PX_J_SEEN:
    case PX_J_ALL:
        return ix->replaced ? 0 : put_dir(ix, txn, r);
    default:
        return MDB_CORRUPTED;
    }
}

/* One transaction of at most BATCH rows; *at moves past them. */
static int apply_batch(struct px_index *ix, const uint8_t **at, const uint8_t *end, uint32_t *ret_n)
{
    MDB_txn *txn;
    int rc;

    *ret_n = 0;
    pthread_rwlock_rdlock(&ix->map);
    rc = ix->env ? reserve_blocks(ix) : EIO;
    if (!rc)
        rc = mdb_txn_begin(ix->env, NULL, 0, &txn);
    if (rc) {
        pthread_rwlock_unlock(&ix->map);
        return rc;
    }
    while (*at < end && *ret_n < BATCH && !rc) {
        const struct px_jrow *r = (const struct px_jrow *)*at;

        rc = apply_row(ix, txn, r);
        *at += r->size;
        ++*ret_n;
    }
    if (rc)
        mdb_txn_abort(txn);
    else
        rc = mdb_txn_commit(txn);
    pthread_rwlock_unlock(&ix->map);
    return rc;
}

/* The same, with a larger map or a new environment where that is what it takes. */
static int apply_some(struct px_index *ix, const uint8_t **at, const uint8_t *end, uint32_t *ret_n)
{
    const uint8_t *begin = *at;
    int rc = EIO;

    for (int tries = 0; tries < 8; tries++) {
        *at = begin;
        rc = apply_batch(ix, at, end, ret_n);
        if (rc >= 0)
            return rc;
        rc = rc == MDB_MAP_FULL ? grow_map(ix) : replace_env(ix);
        if (rc)
            return rc < 0 ? EIO : rc;
    }
    return EIO;
}

/* Applies what is there now. */
static int apply_locked(struct px_index *ix)
{
    const uint8_t *at, *end;
    uint32_t n;

    ix->replaced = false;
    wg_px_journal_rows(ix->journal, &at, &end);
    while (at < end) {
        int err = apply_some(ix, &at, end, &n);

        if (err)
            return err;
        wg_px_journal_applied(ix->journal, at, n);
        atomic_fetch_add_explicit(&ix->applied, n, memory_order_relaxed);
        atomic_fetch_add_explicit(&ix->batches, 1, memory_order_relaxed);
    }
    return 0;
}

int wg_px_index_flush(struct posix *px)
{
    struct px_index *ix = px->index;
    int err = 0;

    if (wg_px_journal_pending(ix->journal) == 0)
        return 0;
    pthread_mutex_lock(&ix->writer);
    err = apply_locked(ix);
    pthread_mutex_unlock(&ix->writer);
    return err;
}

static void *applier(void *arg)
{
    struct px_index *ix = arg;

    pthread_mutex_lock(&ix->mutex);
    while (!ix->stop) {
        struct timespec at;

        if (wg_px_journal_pending(ix->journal) == 0) {
            pthread_cond_wait(&ix->wake, &ix->mutex);
            continue;
        }
        clock_gettime(CLOCK_MONOTONIC, &at);
        at.tv_nsec += DELAY_NS;
        if (at.tv_nsec >= 1000000000) {
            at.tv_sec++;
            at.tv_nsec -= 1000000000;
        }
        if (wg_px_journal_pending(ix->journal) < BATCH)
            pthread_cond_timedwait(&ix->wake, &ix->mutex, &at);
        pthread_mutex_unlock(&ix->mutex);
        if (wg_px_index_flush(ix->px) != 0) /* a full disk, say: the rows wait */
            nanosleep(&(struct timespec){ 0, 10 * DELAY_NS }, NULL);
        pthread_mutex_lock(&ix->mutex);
    }
    pthread_mutex_unlock(&ix->mutex);
    return NULL;
}

/* Appends a row, applying first when there is no room. ENOSPC when that can't be done. */
int wg_px_index_log(struct px_index *ix, struct px_jrow *row, const char *name)
{
    uint32_t pending;

    row->name_len = name ? (uint8_t)strlen(name) : 0;
    while (!wg_px_journal_append(ix->journal, row, name ? name : "", &pending)) {
        int err = wg_px_index_flush(ix->px);

        if (err)
            return err == EIO ? EIO : ENOSPC;
    }
    if (pending == 1 || pending == BATCH) {
        pthread_mutex_lock(&ix->mutex);
        pthread_cond_signal(&ix->wake);
        pthread_mutex_unlock(&ix->mutex);
    }
    return 0;
}

/* ---- changes ----------------------------------------------------------------------------------- */

int wg_px_index_add(struct posix *px, wg_gfid dir, const char *name, wg_gfid gfid, uint8_t type,
                    const uint8_t *hint, uint8_t hint_len)
{
    struct px_jrow r = { .op = PX_J_ADD, .type = type, .dir = dir, .gfid = gfid,
                         .hint_len = hint_len };

    if (hint_len > 0)
        memcpy(r.hint, hint, hint_len);
    return wg_px_index_log(px->index, &r, name);
}

int wg_px_index_remove(struct posix *px, wg_gfid dir, const char *name, wg_gfid gfid, bool last)
{
    struct px_jrow r = { .op = PX_J_REMOVE, .dir = dir, .gfid = gfid };
    int err = wg_px_index_log(px->index, &r, name);

    if (last && !err) {
        r.op = PX_J_FORGET;
        err = wg_px_index_log(px->index, &r, NULL);
    }
    return err;
}

int wg_px_index_moved(struct posix *px, wg_gfid from_dir, const char *from, wg_gfid to_dir,
                      const char *to, wg_gfid gfid, uint8_t type)
{
    struct px_jrow r = { .op = PX_J_WHERE, .type = type, .dir = to_dir, .gfid = gfid };
    int err = wg_px_index_log(px->index, &r, to);

    if (!err && (!wg_gfid_eq(from_dir, to_dir) || strcmp(from, to) != 0)) {
        r = (struct px_jrow){ .op = PX_J_REMOVE, .dir = from_dir, .gfid = gfid };
        err = wg_px_index_log(px->index, &r, from);
    }
    /* Moved from where the rebuild has not been to where it has: it would never be scanned. */
    if (type == WG_DIR && atomic_load(&px->index->rebuilding))
        wg_px_index_want_scan(px->index, gfid);
    return err;
}

/* ---- start and end ----------------------------------------------------------------------------------- */

static int open_dir(struct posix *px)
{
    if (mkdirat(px->private_fd, "index", 0700) < 0 && errno != EEXIST)
        return -1;
    return openat(px->private_fd, "index", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
}

static int open_index(struct px_index *ix)
{
    static const uint8_t zero[8];
    enum px_jstate state;
    struct wg_time t;
    int err;

    ix->dirfd = open_dir(ix->px);
    if (ix->dirfd < 0)
        return errno;
    err = wg_px_journal_open(ix->dirfd, &ix->journal, &state);
    if (err)
        return err;
    if (state == PX_J_LOST)
        wg_warning("the machine stopped without a clean end, the index is rebuilt");
    if (state == PX_J_NEW || state == PX_J_LOST)
        err = set_aside(ix);
    if (!err)
        err = env_open(ix);
    if (err < 0 || err == EINVAL) { /* not an LMDB file, or a damaged one */
        wg_warning("the index can't be opened (%s), it is rebuilt", mdb_strerror(err));
        wg_px_journal_reset(ix->journal);
        err = set_aside(ix);
        if (!err)
            err = env_open(ix);
    }
    if (err)
        return err < 0 ? EIO : err;
    atomic_store(&ix->complete, wg_px_index_get_dir(ix, zero, &t) == 0);
    return 0;
}

static void free_index(struct px_index *ix, bool clean)
{
    env_close(ix);
    if (ix->journal)
        wg_px_journal_close(ix->journal, clean);
    if (ix->dirfd >= 0)
        close(ix->dirfd);
    pthread_cond_destroy(&ix->wake);
    pthread_cond_destroy(&ix->work);
    pthread_mutex_destroy(&ix->mutex);
    pthread_mutex_destroy(&ix->writer);
    pthread_rwlock_destroy(&ix->map);
    for (unsigned i = 0; i < 64; i++)
        pthread_mutex_destroy(&ix->seen_lock[i]);
    wg_px_twins_stop(ix);
    free(ix->todo);
    free(ix);
}

static struct px_index *new_index(struct posix *px)
{
    struct px_index *ix = calloc(1, sizeof *ix);
    pthread_condattr_t attr;

    if (!ix)
        return NULL;
    ix->px = px;
    ix->dirfd = ix->data_fd = -1;
    pthread_rwlock_init(&ix->map, NULL);
    pthread_mutex_init(&ix->writer, NULL);
    pthread_mutex_init(&ix->mutex, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&ix->wake, &attr);
    pthread_cond_init(&ix->work, &attr);
    pthread_condattr_destroy(&attr);
    for (unsigned i = 0; i < 64; i++)
        pthread_mutex_init(&ix->seen_lock[i], NULL);
    return ix;
}

int wg_px_index_open(struct posix *px)
{
    struct px_index *ix = new_index(px);
    int err;

    if (!ix)
        return ENOMEM;
    px->index = ix;
    err = wg_px_twins_start(ix);
    if (!err)
        err = open_index(ix);
    if (!err)
        err = pthread_create(&ix->applier, NULL, applier, ix);
    ix->have_applier = err == 0;
    if (!err)
        err = wg_px_builder_start(ix);
    if (err) {
        wg_error("the index: %s", err < 0 ? mdb_strerror(err) : strerror(err));
        wg_px_index_close(px);
        return err;
    }
    wg_px_index_share(px, px->rebuild_share);
    if (!atomic_load(&ix->complete))
        wg_px_builder_whole(ix);
    return 0;
}

void wg_px_index_close(struct posix *px)
{
    struct px_index *ix = px->index;
    bool clean = false;

    if (!ix)
        return;
    if (ix->have_builder)
        wg_px_builder_stop(ix);
    pthread_mutex_lock(&ix->mutex);
    ix->stop = true;
    pthread_cond_broadcast(&ix->wake);
    pthread_mutex_unlock(&ix->mutex);
    if (ix->have_applier) {
        pthread_join(ix->applier, NULL);
        wg_px_seen_save(ix);
        clean = wg_px_index_flush(px) == 0 && mdb_env_sync(ix->env, 1) == 0;
    }
    free_index(ix, clean);
    px->index = NULL;
}

void wg_px_index_dump(struct posix *px, struct wg_dump *d)
{
    struct px_index *ix = px->index;

    wg_dump_object(d, "index");
    wg_dump_bool(d, "complete", atomic_load(&ix->complete));
    wg_dump_bool(d, "rebuilding", atomic_load(&ix->rebuilding));
    wg_px_builder_dump(ix, d);
    wg_px_twins_dump(ix, d);
    wg_dump_u64(d, "rows_waiting", wg_px_journal_pending(ix->journal));
    wg_dump_u64(d, "rows_applied", atomic_load(&ix->applied));
    wg_dump_u64(d, "batches", atomic_load(&ix->batches));
    wg_dump_u64(d, "directories_scanned", atomic_load(&ix->scanned));
    wg_dump_u64(d, "rows_dropped", atomic_load(&ix->dropped));
    wg_dump_u64(d, "times_replaced", atomic_load(&ix->resets));
    wg_dump_end(d);
}
