/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replaced inodes: those that lost their last name by a publish or an S3 DELETE keep one in the
 * private directory for some time, so that who reads them by handle reads them to the end. A queue
 * in order of time, bounded in bytes; a thread removes what is due.
 */
#include "posix.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define WG_LOG_PART "posix"
#include "dump.h"
#include "log.h"

struct kept {
    struct kept *next;
    wg_gfid gfid;
    uint64_t bytes;
    int64_t due_ms; /* CLOCK_REALTIME: it is compared with ctimes after a restart */
};

struct px_retained {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct kept *first, **last;
    uint64_t bytes, count;
    pthread_t thread;
    bool running, stop;
};

static void hex_of(wg_gfid gfid, char name[33])
{
    for (unsigned i = 0; i < 16; i++)
        snprintf(name + 2 * i, 3, "%02x", gfid.b[i]);
}

static int gfid_of(const char *hex, wg_gfid *ret)
{
    unsigned v;

    if (strlen(hex) != 32)
        return EINVAL;
    for (unsigned i = 0; i < 16; i++) {
        if (sscanf(hex + 2 * i, "%2x", &v) != 1)
            return EINVAL;
        ret->b[i] = (uint8_t)v;
    }
    return 0;
}

static int64_t now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

/* Under the lock. */
static struct kept *take_first(struct px_retained *rt)
{
    struct kept *k = rt->first;

    rt->first = k->next;
    if (!rt->first)
        rt->last = &rt->first;
    rt->bytes -= k->bytes;
    rt->count--;
    return k;
}

/* The name goes, and with it the inode, unless it has got another one. Frees k. */
static void drop(struct posix *px, struct kept *k)
{
    struct px_inode *ino = wg_px_peek(px, k->gfid);
    struct statx st;
    char name[33];

    hex_of(k->gfid, name);
    if (unlinkat(px->replaced_fd, name, 0) != 0 && errno != ENOENT)
        wg_warning("removing replaced inode %s: %s", name, strerror(errno));
    if (ino) {
        if (wg_px_stat(ino->fd, &st) == 0 && st.stx_nlink == 0) {
            wg_px_ident_drop(px, &st);
            wg_px_forget(px, ino);
        }
        wg_px_release(px, ino);
    }
    wg_notify(px->xl, &(struct wg_event){ .kind = WG_EV_INVALIDATE, .gfid = k->gfid });
    free(k);
}

bool wg_px_retain_drop_all(struct posix *px)
{
    struct px_retained *rt = px->retained;
    struct kept *k;
    bool any = false;

    if (!rt || wg_px_as_brick(px) != 0)
        return false;
    for (;;) {
        pthread_mutex_lock(&rt->lock);
        k = rt->first ? take_first(rt) : NULL;
        pthread_mutex_unlock(&rt->lock);
        if (!k)
            return any;
        drop(px, k);
        any = true;
    }
}

static void *janitor(void *arg)
{
    struct posix *px = arg;
    struct px_retained *rt = px->retained;
    struct timespec at;
    struct kept *k;

    pthread_setname_np(pthread_self(), "wg-replaced");
    (void)wg_px_as_brick(px);
    pthread_mutex_lock(&rt->lock);
    while (!rt->stop) {
        if (rt->first && (rt->first->due_ms <= now_ms() || rt->bytes > px->replaced_max)) {
            k = take_first(rt);
            pthread_mutex_unlock(&rt->lock);
            drop(px, k);
            pthread_mutex_lock(&rt->lock);
        } else if (rt->first) {
            at = (struct timespec){ rt->first->due_ms / 1000,
                                    rt->first->due_ms % 1000 * 1000000 };
            pthread_cond_timedwait(&rt->changed, &rt->lock, &at);
        } else {
            pthread_cond_wait(&rt->changed, &rt->lock);
        }
    }
    pthread_mutex_unlock(&rt->lock);
    return NULL;
}

static int enqueue(struct px_retained *rt, wg_gfid gfid, uint64_t bytes, int64_t due)
{
    struct kept *k = calloc(1, sizeof *k);

    if (!k)
        return ENOMEM;
    *k = (struct kept){ .gfid = gfid, .bytes = bytes, .due_ms = due };
    pthread_mutex_lock(&rt->lock);
    *rt->last = k;
    rt->last = &k->next;
    rt->bytes += bytes;
    rt->count++;
    pthread_cond_signal(&rt->changed);
    pthread_mutex_unlock(&rt->lock);
    return 0;
}

int wg_px_retain(struct posix *px, struct px_inode *ino)
{
    char path[PX_FD_PATH], name[33];
    struct statx st;
    int err = wg_px_as_brick(px);

    if (err)
        return err;
    if (px->replaced_keep_ms == 0 || ino->type != WG_REG || wg_px_stat(ino->fd, &st) != 0 ||
        st.stx_nlink != 1)
        return 0;
    if (st.stx_blocks * 512 > px->replaced_max)
        return 0;
    hex_of(ino->gfid, name);
    if (linkat(AT_FDCWD, wg_px_fd_path(path, ino->fd), px->replaced_fd, name,
               AT_SYMLINK_FOLLOW) != 0) {
        /* The publish matters more than its readers: on a full disk they get ESTALE. */
        wg_warning("keeping replaced inode %s: %s", name, strerror(errno));
        return 0;
    }
    err = enqueue(px->retained, ino->gfid, st.stx_blocks * 512, now_ms() + px->replaced_keep_ms);
    if (err)
        unlinkat(px->replaced_fd, name, 0);
    return err;
}

void wg_px_retain_undo(struct posix *px, struct px_inode *ino)
{
    struct px_retained *rt = px->retained;
    struct kept **at, *k = NULL;

    if (wg_px_as_brick(px) != 0)
        return;
    pthread_mutex_lock(&rt->lock);
    for (at = &rt->first; *at && !wg_gfid_eq((*at)->gfid, ino->gfid); at = &(*at)->next)
        ;
    if (*at) {
        k = *at;
        *at = k->next;
        if (rt->last == &k->next)
            rt->last = at;
        rt->bytes -= k->bytes;
        rt->count--;
    }
    pthread_mutex_unlock(&rt->lock);
    if (k)
        drop(px, k);
}

/* After a restart: what is there goes when it would have gone. */
static int sweep(struct posix *px)
{
    int fd = openat(px->replaced_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *e;
    struct statx st;
    wg_gfid gfid;
    int err = 0;

    if (!d) {
        err = errno;
        if (fd >= 0)
            close(fd);
        return err;
    }
    while (err == 0 && (e = readdir(d)) != NULL) {
        if (gfid_of(e->d_name, &gfid) != 0 || wg_px_stat_at(px->replaced_fd, e->d_name, &st) != 0)
            continue;
        err = enqueue(px->retained, gfid, st.stx_blocks * 512,
                      st.stx_ctime.tv_sec * 1000 + px->replaced_keep_ms);
    }
    closedir(d);
    return err;
}

int wg_px_retain_start(struct posix *px)
{
    struct px_retained *rt = calloc(1, sizeof *rt);
    int err;

    if (!rt)
        return ENOMEM;
    rt->last = &rt->first;
    pthread_mutex_init(&rt->lock, NULL);
    pthread_cond_init(&rt->changed, NULL);
    px->retained = rt;
    err = sweep(px);
    if (err == 0)
        err = pthread_create(&rt->thread, NULL, janitor, px);
    rt->running = err == 0;
    return err;
}

void wg_px_retain_quiet(struct posix *px)
{
    struct px_retained *rt = px->retained;

    if (!rt || !rt->running)
        return;
    pthread_mutex_lock(&rt->lock);
    rt->stop = true;
    pthread_cond_signal(&rt->changed);
    pthread_mutex_unlock(&rt->lock);
    pthread_join(rt->thread, NULL);
    rt->running = false;
}

void wg_px_retain_stop(struct posix *px)
{
    struct px_retained *rt = px->retained;

    if (!rt)
        return;
    wg_px_retain_quiet(px);
    while (rt->first)
        free(take_first(rt));
    pthread_cond_destroy(&rt->changed);
    pthread_mutex_destroy(&rt->lock);
    free(rt);
    px->retained = NULL;
}

void wg_px_retain_dump(struct posix *px, struct wg_dump *d)
{
    struct px_retained *rt = px->retained;
    uint64_t bytes, count;

    pthread_mutex_lock(&rt->lock);
    bytes = rt->bytes;
    count = rt->count;
    pthread_mutex_unlock(&rt->lock);
    wg_dump_object(d, "replaced");
    wg_dump_u64(d, "inodes", count);
    wg_dump_u64(d, "bytes", bytes);
    wg_dump_end(d);
}
