/* SPDX-License-Identifier: Apache-2.0 */
/* storage/posix: the class, its options, starting and ending. */
#include "s3.h"

#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define WG_LOG_PART "posix"
#include "dump.h"
#include "log.h"

static const struct wg_option options[] = {
    { "directory", WG_OPT_PATH, 0, 0, NULL, "the directory that holds the brick", false },
    { "init", WG_OPT_BOOL, 0, 0, "no", "make a brick of the directory if it is none yet", false },
    { "volume-id", WG_OPT_STR, 0, 0, "",
      "UUID of the volume; a new one when empty and a brick is made", false },
    { "brick-id", WG_OPT_STR, 0, 0, "",
      "UUID of the brick; a new one when empty and a brick is made", false },
    { "inode-cache", WG_OPT_INT, 64, 1 << 22, "32768",
      "inodes kept open; at most half of the descriptors that the process may have", true },
    { "unstable-files", WG_OPT_INT, 1, 1 << 20, "1024",
      "files with unsynced writes kept open for their commit; beyond, the brick syncs by itself", true },
    { "reserve", WG_OPT_SIZE, 0, 1LL << 50, "64M",
      "space that writers must leave free; at most 2% of the file system counts", true },
    { "replaced-keep", WG_OPT_TIME, 0, 7LL * 86400 * 1000, "5m",
      "how long a replaced or deleted object stays readable for those who have it open", true },
    { "replaced-max", WG_OPT_SIZE, 0, 1LL << 50, "16G",
      "bytes of replaced objects kept; beyond, the oldest go first", true },
    { "reindex", WG_OPT_BOOL, 0, 0, "no", "read the whole brick into its index again", false },
    { "rebuild-share", WG_OPT_INT, 1, 100, "50",
      "per cent of its time that a rebuild of the index works while there are calls; it rests for the others", true },
    { "references", WG_OPT_INT, 1, 1 << 20, "1024",
      "references that other bricks copy by, at a time; a quarter of them for one client's user", true },
    { "reference-lifetime", WG_OPT_TIME, 100, 24LL * 3600 * 1000, "60s",
      "a reference that nobody reads for this long is forgotten", true },
    { "sync-names", WG_OPT_BOOL, 0, 0, "no",
      "put each directory change of NFS on disk before the answer", true },
    { "uncached-size", WG_OPT_SIZE, 0, 1LL << 50, "32M",
      "objects of at least this size are not kept in the page cache when written, and not when first read; 0: all are",
      true },
    { NULL },
};

static uint32_t at_most(int64_t v, uint64_t bound)
{
    return (uint32_t)((uint64_t)v < bound ? (uint64_t)v : bound);
}

/* What the options say, within what the process and the disk have. */
static int set_bounds(struct wg_xlator *xl)
{
    struct posix *px = xl->priv;
    struct rlimit fds = { .rlim_cur = 1024 };

    (void)getrlimit(RLIMIT_NOFILE, &fds);
    px->inodes_max = at_most(wg_opt_int(xl, "inode-cache"), fds.rlim_cur / 2);
    px->slots_max = (uint32_t)(fds.rlim_cur / 4 < 1u << 20 ? fds.rlim_cur / 4 : 1u << 20);
    px->unstable_max = at_most(wg_opt_int(xl, "unstable-files"), px->slots_max / 2);
    px->reserve = (uint64_t)wg_opt_int(xl, "reserve");
    if (px->reserve > px->total_bytes / 50)
        px->reserve = px->total_bytes / 50;
    px->replaced_keep_ms = wg_opt_int(xl, "replaced-keep");
    px->replaced_max = (uint64_t)wg_opt_int(xl, "replaced-max");
    atomic_store(&px->references_max, (unsigned)wg_opt_int(xl, "references"));
    atomic_store(&px->reference_life_ms, wg_opt_int(xl, "reference-lifetime"));
    px->sync_names = wg_opt_bool(xl, "sync-names");
    px->rebuild_share = (unsigned)wg_opt_int(xl, "rebuild-share");
    if (px->index)
        wg_px_index_share(px, px->rebuild_share);
    atomic_store(&px->uncached_size, (uint64_t)wg_opt_int(xl, "uncached-size"));
    return 0;
}

static void posix_fini(struct wg_xlator *xl)
{
    struct posix *px = xl->priv;

    if (!px)
        return;
    (void)wg_px_as_brick(px);
    wg_px_commits_stop(px);
    wg_px_references_stop(px);
    wg_px_done_stop(px);
    wg_px_streams_stop(px);
    wg_px_stage_stop(px);
    wg_px_retain_stop(px);
    wg_px_index_close(px);
    if (px->root)
        wg_px_release(px, px->root);
    wg_px_table_stop(px);
    wg_px_idents_stop(px);
    wg_px_format_close(px);
    for (unsigned i = 0; i < PX_STRIPES; i++)
        pthread_mutex_destroy(&px->stripe[i]);
    pthread_mutex_destroy(&px->lend_lock);
    free(px);
    xl->priv = NULL;
}

static void posix_stop(struct wg_xlator *xl)
{
    wg_px_retain_quiet(xl->priv);
}

static struct posix *posix_new(struct wg_xlator *xl)
{
    struct posix *px = aligned_alloc(64, (sizeof *px + 63) / 64 * 64);

    if (!px)
        return NULL;
    memset(px, 0, sizeof *px);
    px->xl = xl;
    px->root_fd = px->private_fd = px->replaced_fd = px->format_fd = -1;
    px->cut_shift = 15;
    for (unsigned i = 0; i < PX_STRIPES; i++)
        pthread_mutex_init(&px->stripe[i], NULL);
    pthread_mutex_init(&px->lend_lock, NULL);
    return px;
}

/*
 * Fops run in init's wake at once, so everything is ready here: the root first, then what needs it.
 * Modes are the clients' to choose, so the process has no umask.
 */
static int posix_init(struct wg_xlator *xl)
{
    struct posix *px = posix_new(xl);
    int err;

    if (!px)
        return ENOMEM;
    xl->priv = px;
    umask(0);
    set_bounds(xl);
    err = wg_px_table_start(px);
    if (err == 0)
        err = wg_px_idents_start(px);
    if (err == 0)
        err = wg_px_streams_start(px);
    if (err == 0)
        err = wg_px_format_open(px);
    if (err == 0) {
        set_bounds(xl); /* the size of the disk is known now */
        err = wg_px_index_open(px);
    }
    if (err == 0 && wg_opt_bool(xl, "reindex"))
        wg_px_index_rebuild(px);
    if (err == 0)
        err = wg_px_stage_start(px);
    if (err == 0)
        err = wg_px_retain_start(px);
    if (err == 0)
        err = wg_px_commits_start(px);
    if (err == 0)
        err = wg_px_references_start(px);
    if (err == 0)
        err = wg_px_done_start(px);
    if (err)
        posix_fini(xl);
    return err;
}

static void dump_table(const struct posix *px, struct wg_dump *d)
{
    wg_dump_object(d, "inodes");
    wg_dump_u64(d, "open", atomic_load(&px->inodes));
    wg_dump_u64(d, "max", px->inodes_max);
    wg_dump_u64(d, "hits", atomic_load(&px->hits));
    wg_dump_u64(d, "misses", atomic_load(&px->misses));
    wg_dump_u64(d, "evicted", atomic_load(&px->evicted));
    wg_dump_u64(d, "data_fds", atomic_load(&px->slots_open));
    wg_dump_u64(d, "data_fds_max", px->slots_max);
    wg_dump_u64(d, "unstable", atomic_load(&px->unstable_fds));
    wg_dump_u64(d, "unstable_max", px->unstable_max);
    wg_dump_u64(d, "synced_beyond_max", atomic_load(&px->self_synced));
    wg_dump_u64(d, "made_dirty", atomic_load(&px->dirtied));
    wg_dump_end(d);
}

static void posix_dump(struct wg_xlator *xl, struct wg_dump *d)
{
    struct posix *px = xl->priv;

    wg_dump_str(d, "directory", wg_opt_str(xl, "directory"));
    wg_dump_str(d, "mode", px->handles ? "root" : "unprivileged");
    wg_dump_bool(d, "readonly", px->readonly);
    wg_dump_fmt(d, "write_verifier", "%016llx", (unsigned long long)atomic_load(&px->verf));
    wg_dump_u64(d, "sync_failures", atomic_load(&px->sync_failed));
    wg_dump_u64(d, "reserve_bytes", px->reserve);
    dump_table(px, d);
    wg_px_commits_dump(px, d);
    wg_px_retain_dump(px, d);
    wg_px_references_dump(px, d);
    wg_px_index_dump(px, d);
}

static void posix_notes(struct wg_xlator *xl, struct wg_dump *d)
{
    wg_px_index_notes(xl->priv, d);
}

const struct wg_class wg_storage_posix = {
    .type = "storage/posix",
    .help = "Keeps a brick in a local directory: files are files.",
    .options = options,
    .init = posix_init,
    .stop = posix_stop,
    .fini = posix_fini,
    .reload = set_bounds,
    .lasting = true,
    .dump = posix_dump,
    .notes = posix_notes,
    .announces = true,
    .fops = {
        [WG_OP_lookup] = wg_posix_lookup,
        [WG_OP_getattr] = wg_posix_getattr,
        [WG_OP_setattr] = wg_posix_setattr,
        [WG_OP_access] = wg_posix_access,
        [WG_OP_readlink] = wg_posix_readlink,
        [WG_OP_read] = wg_posix_read,
        [WG_OP_write] = wg_posix_write,
        [WG_OP_commit] = wg_posix_commit,
        [WG_OP_create] = wg_posix_create,
        [WG_OP_mkdir] = wg_posix_mkdir,
        [WG_OP_symlink] = wg_posix_symlink,
        [WG_OP_mknod] = wg_posix_mknod,
        [WG_OP_link] = wg_posix_link,
        [WG_OP_unlink] = wg_posix_unlink,
        [WG_OP_rmdir] = wg_posix_rmdir,
        [WG_OP_rename] = wg_posix_rename,
        [WG_OP_readdir] = wg_posix_readdir,
        [WG_OP_statfs] = wg_posix_statfs,
        [WG_OP_getxattr] = wg_posix_getxattr,
        [WG_OP_setxattr] = wg_posix_setxattr,
        [WG_OP_removexattr] = wg_posix_removexattr,
        [WG_OP_copy_range] = wg_posix_copy_range,
        [WG_OP_checksum] = wg_posix_checksum,
        [WG_OP_ref_create] = wg_posix_ref_create,
        [WG_OP_ref_read] = wg_posix_ref_read,
        [WG_OP_ref_drop] = wg_posix_ref_drop,
        [WG_OP_ref_peer] = wg_posix_ref_peer,
        [WG_OP_get] = wg_posix_get,
        [WG_OP_stage] = wg_posix_stage,
        [WG_OP_unstage] = wg_posix_unstage,
        [WG_OP_put] = wg_posix_put,
        [WG_OP_del] = wg_posix_del,
        [WG_OP_list] = wg_posix_list,
        [WG_OP_setmeta] = wg_posix_setmeta,
    },
};
