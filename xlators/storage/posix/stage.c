/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files under construction: unnamed (O_TMPFILE), so that nobody sees half of one and the kernel
 * drops it when the brick dies; known by gfid through the inode table, in which they are pinned,
 * so that write, copy_range and read find them like any other. Forgotten when published, dropped, or
 * untouched for an hour.
 */
#define WG_LOG_PART "posix"
#include "s3.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "log.h"

#define STAGED_MAX 16384 /* each holds a descriptor */
#define BUCKETS 256
#define EXPIRY_S 3600
#define SWEEP_NS 60000000000ull

struct staged {
    wg_gfid gfid;
    struct px_inode *ino;
    struct staged *next;
};

struct px_stage {
    pthread_mutex_t lock;
    struct staged *bucket[BUCKETS];
    unsigned count;
    uint64_t swept_ns;
    int staging_fd;
    struct px_inode *uploads; /* referenced for good: it has no parent with a gfid to be found by */
};

/* ---- the private directories --------------------------------------------------------------------- */

static int private_dir(struct posix *px, const char *name)
{
    if (mkdirat(px->private_fd, name, 0700) < 0 && errno != EEXIST)
        return -1;
    return openat(px->private_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
}

/* What a brick that died had linked there but not yet renamed over. */
static void clear_staging(int fd)
{
    struct px_row *rows = malloc(64 * sizeof *rows);
    unsigned n = 0;

    while (rows && wg_px_readdir_page(fd, false, (const uint8_t *)"", 0, rows, 64, &n) == 0 && n > 0) {
        unsigned gone = 0;

        for (unsigned i = 0; i < n; i++) {
            struct wg_key_name key;
            char name[WG_NAME_MAX + 1];
            uint32_t len;

            if (wg_key_unsort(rows[i].sort, rows[i].sort_len, name, &len, &key))
                continue;
            name[len] = '\0';
            gone += unlinkat(fd, name, 0) == 0;
        }
        if (gone == 0)
            break;
    }
    free(rows);
}

static int open_uploads(struct posix *px, struct px_inode **ret)
{
    struct px_rec rec = { .gfid = wg_gfid_new(), .generation = 1 };
    struct statx st;
    int fd, err, made = mkdirat(px->private_fd, "uploads", 0700);

    if (made < 0 && errno != EEXIST)
        return errno;
    fd = openat(px->private_fd, "uploads", O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno;
    err = wg_px_rec_init(px, fd, &rec, false);
    if (err == EEXIST)
        err = wg_px_rec_get(px, fd, &rec);
    if (err == 0)
        err = wg_px_stat(fd, &st);
    if (err) {
        close(fd);
        return err;
    }
    return wg_px_adopt(px, fd, &rec, &st, false, ret);
}

int wg_px_stage_start(struct posix *px)
{
    struct px_stage *stage = calloc(1, sizeof *stage);
    int err;

    if (!stage)
        return ENOMEM;
    pthread_mutex_init(&stage->lock, NULL);
    px->stage = stage;
    stage->staging_fd = private_dir(px, "staging");
    if (stage->staging_fd < 0)
        return errno;
    clear_staging(stage->staging_fd);
    err = open_uploads(px, &stage->uploads);
    if (err == 0)
        wg_px_index_uploads(px, stage->uploads->gfid);
    return err;
}

static void drop(struct posix *px, struct px_inode *ino)
{
    wg_px_unpin(px, ino);
    wg_px_forget(px, ino);
    wg_px_release(px, ino);
}

void wg_px_stage_stop(struct posix *px)
{
    struct px_stage *stage = px->stage;

    if (!stage)
        return;
    for (unsigned i = 0; i < BUCKETS; i++)
        while (stage->bucket[i]) {
            struct staged *e = stage->bucket[i];

            stage->bucket[i] = e->next;
            drop(px, e->ino);
            free(e);
        }
    if (stage->uploads)
        wg_px_release(px, stage->uploads);
    if (stage->staging_fd >= 0)
        close(stage->staging_fd);
    pthread_mutex_destroy(&stage->lock);
    free(stage);
    px->stage = NULL;
}

int wg_px_staging_fd(struct posix *px)
{
    return px->stage->staging_fd;
}

int wg_px_uploads(struct posix *px, wg_gfid bucket, struct px_inode **ret)
{
    static const struct wg_cred brick;
    struct px_inode *uploads = px->stage->uploads;
    wg_gfid gfid = wg_gfid_new();
    struct px_names held;
    char name[33];
    int err;

    for (unsigned i = 0; i < 16; i++)
        snprintf(name + 2 * i, 3, "%02x", bucket.b[i]);
    err = wg_px_child(px, &brick, uploads, name, ret, NULL);
    if (err != ENOENT)
        return err;
    wg_px_lock_names(px, &held, &(struct px_at){ uploads->gfid, name }, 1);
    err = wg_px_index_add(px, uploads->gfid, name, gfid, WG_DIR, NULL, 0);
    if (err == 0 && mkdirat(uploads->fd, name, 0700) < 0 && errno != EEXIST)
        err = errno;
    if (err == 0) /* a new one gets the gfid of its row */
        err = wg_px_child(px, &brick, uploads, name, ret, NULL);
    wg_px_unlock_names(px, &held);
    if (err == 0)
        err = wg_px_sync_dir(px, uploads->fd);
    return err;
}

/* ---- unnamed files ---------------------------------------------------------------------------------- */

static mode_t file_mode(struct px_s3 *s, struct px_inode *dir, const struct wg_sattr *attrs)
{
    char path[PX_FD_PATH];

    if (attrs->valid & WG_SET_MODE)
        return attrs->mode & 0777;
    if (s->space == WG_SPACE_UPLOADS)
        return 0600;
    return getxattr(wg_px_fd_path(path, dir->fd), "system.posix_acl_default", NULL, 0) > 0 ? 0666
                                                                                           : 0644;
}

static int tmpfile_adopt(struct px_s3 *s, int fd, wg_gfid gfid, struct px_inode **ret)
{
    struct px_rec rec = { .gfid = gfid, .generation = 1 };
    char path[PX_FD_PATH];
    struct statx st;
    int opath, err = 0;

    /* The uploads' directories are the brick's, what is in them is the user's. */
    if (s->space == WG_SPACE_UPLOADS && s->px->switches &&
        fchown(fd, s->owner.uid, s->owner.gid) < 0)
        err = errno;
    if (err == 0)
        err = wg_px_rec_init(s->px, fd, &rec, false);
    if (err == 0)
        err = wg_px_stat(fd, &st);
    if (err)
        return err;
    opath = open(wg_px_fd_path(path, fd), O_PATH | O_CLOEXEC);
    return opath < 0 ? errno : wg_px_adopt(s->px, opath, &rec, &st, true, ret);
}

int wg_px_tmpfile(struct px_s3 *s, struct px_inode *dir, wg_gfid gfid, const struct wg_sattr *attrs,
                  struct px_inode **ret, int *ret_fd)
{
    int fd, err = wg_px_as(s->px, &s->cred);

    if (err)
        return err;
    fd = openat(dir->fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, file_mode(s, dir, attrs));
    if (fd < 0) {
        struct statx st;

        err = errno; /* ext4 says EPERM in a directory that has been removed */
        return err == EPERM && wg_px_stat(dir->fd, &st) == 0 && st.stx_nlink == 0 ? ENOENT : err;
    }
    err = tmpfile_adopt(s, fd, gfid, ret);
    if (err) {
        close(fd);
        return err;
    }
    *ret_fd = fd;
    return 0;
}

/* ---- the table ---------------------------------------------------------------------------------------- */

static struct staged **find_locked(struct px_stage *stage, wg_gfid gfid)
{
    struct staged **at = &stage->bucket[gfid.b[0] % BUCKETS];

    while (*at && !wg_gfid_eq((*at)->gfid, gfid))
        at = &(*at)->next;
    return at;
}

int wg_px_staged(struct posix *px, wg_gfid gfid, struct px_inode **ret)
{
    struct px_stage *stage = px->stage;
    struct staged *e;

    pthread_mutex_lock(&stage->lock);
    e = *find_locked(stage, gfid);
    if (e) {
        wg_px_hold(e->ino);
        *ret = e->ino;
    }
    pthread_mutex_unlock(&stage->lock);
    return e ? 0 : ENOENT;
}

bool wg_px_stage_take(struct posix *px, wg_gfid gfid)
{
    struct px_stage *stage = px->stage;
    struct staged **at, *e;

    pthread_mutex_lock(&stage->lock);
    at = find_locked(stage, gfid);
    e = *at;
    if (e) {
        *at = e->next;
        stage->count--;
    }
    pthread_mutex_unlock(&stage->lock);
    if (!e)
        return false;
    wg_px_release(px, e->ino);
    free(e);
    return true;
}

/* 0, EEXIST or EMFILE; takes over a reference on 0. */
static int stage_put(struct px_stage *stage, struct px_inode *ino)
{
    struct staged **at, *e = malloc(sizeof *e);
    int err = 0;

    if (!e)
        return ENOMEM;
    *e = (struct staged){ ino->gfid, ino, NULL };
    pthread_mutex_lock(&stage->lock);
    at = find_locked(stage, ino->gfid);
    if (*at || stage->count == STAGED_MAX) {
        err = *at ? EEXIST : EMFILE;
    } else {
        *at = e;
        stage->count++;
    }
    pthread_mutex_unlock(&stage->lock);
    if (err)
        free(e);
    return err;
}

static bool expired(const struct staged *e, int64_t now)
{
    struct statx st;

    /* Writes and reads show in the file's own times; no other door needs to tell us. */
    return wg_px_stat(e->ino->fd, &st) == 0 && now - st.stx_ctime.tv_sec > EXPIRY_S &&
           now - st.stx_mtime.tv_sec > EXPIRY_S && now - st.stx_atime.tv_sec > EXPIRY_S;
}

/* Once a minute, by who stages next. */
static void sweep(struct posix *px)
{
    struct px_stage *stage = px->stage;
    struct staged *out = NULL;
    uint64_t now = wg_now_coarse_ns();
    struct timespec wall;

    clock_gettime(CLOCK_REALTIME_COARSE, &wall);
    pthread_mutex_lock(&stage->lock);
    if (now - stage->swept_ns >= SWEEP_NS) {
        stage->swept_ns = now;
        for (unsigned i = 0; i < BUCKETS; i++)
            for (struct staged **at = &stage->bucket[i]; *at;) {
                struct staged *e = *at;

                if (!expired(e, wall.tv_sec)) {
                    at = &e->next;
                    continue;
                }
                *at = e->next;
                e->next = out;
                out = e;
                stage->count--;
            }
    }
    pthread_mutex_unlock(&stage->lock);
    while (out) {
        struct staged *e = out;

        out = e->next;
        wg_info("a staged file that nobody touched for an hour is dropped");
        wg_notify(px->xl, &(struct wg_event){ .kind = WG_EV_INVALIDATE, .gfid = e->gfid });
        drop(px, e->ino);
        free(e);
    }
}

/* ---- fops ------------------------------------------------------------------------------------------------ */

static int stage_new(struct px_s3 *s, const struct wg_stage_in *in, struct wg_stage_out *out)
{
    static const struct wg_sattr none;
    struct px_inode *ino, *dir;
    int fd, err = wg_px_room(s->px, in->size);

    if (err)
        return err;
    /*
     * In the deepest directory that is there: those that put will make inherit from it, so group,
     * ACL and quota are the same, and an upload given up leaves no directories.
     */
    err = wg_px_s3_walk(s, s->ncomp);
    if (err && err != ENOENT)
        return err;
    dir = s->dir[s->ndir - 1];
    err = wg_px_tmpfile(s, dir, in->gfid, &none, &ino, &fd);
    if (err)
        return err;
    wg_px_keep_open(s->px, &s->owner, ino, O_RDWR, fd);
    if (s->space == WG_SPACE_OBJECTS) /* parts are read soon, by who joins them */
        wg_px_uncached_size(s->px, ino, in->size);
    wg_px_ref(ino, &out->ref);
    err = stage_put(s->px->stage, ino);
    if (err)
        drop(s->px, ino);
    return err;
}

void wg_posix_stage(struct wg_frame *f)
{
    const struct wg_stage_in *in = wg_in(f, stage);
    struct wg_stage_out *out = wg_new_out(f, stage);
    struct posix *px = wg_px(f);
    struct px_inode *ino;
    struct px_s3 s;
    int err;

    if (!out)
        return wg_unwind(f, ENOMEM);
    if (wg_gfid_is_zero(in->gfid))
        return wg_unwind(f, EINVAL);
    sweep(px);
    if (wg_px_staged(px, in->gfid, &ino) == 0) { /* a replay */
        wg_px_ref(ino, &out->ref);
        wg_px_release(px, ino);
        return wg_unwind(f, 0);
    }
    err = wg_px_s3_begin(&s, f, &in->bucket, in->space, in->key);
    if (err == 0)
        err = stage_new(&s, in, out);
    wg_px_s3_end(&s);
    wg_unwind(f, err);
}

void wg_posix_unstage(struct wg_frame *f)
{
    const struct wg_unstage_in *in = wg_in(f, unstage);
    struct wg_unstage_out *out = wg_new_out(f, unstage);
    struct posix *px = wg_px(f);
    struct px_inode *ino;

    if (!out)
        return wg_unwind(f, ENOMEM);
    if (wg_px_staged(px, in->gfid, &ino) == 0) {
        out->was_there = wg_px_stage_take(px, in->gfid);
        if (out->was_there) {
            wg_px_unpin(px, ino);
            wg_px_forget(px, ino);
            wg_px_ino_changed(f, &in->gfid);
        }
        wg_px_release(px, ino);
    }
    wg_unwind(f, 0);
}
