/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which requests have taken a name away, or given one, and are not answered yet: a small file, mapped shared. What was
 * stored survives a killed process, and costs no system call. An NFS client that sends a REMOVE again to who was started
 * anew is not told that there is nothing. A row goes when its call does, which is after the answer, so those found at a start
 * are of requests that were under way at the end; a program that counts its requests from one again meets none of its old ones.
 */
#define WG_LOG_PART "posix"
#include "posix.h"
#include "journal.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#include "log.h"

#define MAGIC 0x656e6f6467770003ull /* and the form of what follows */
#define SETS 512
#define WAYS 8
#define LOCKS 64
#define KEPT_S 600 /* an NFS client sends again within minutes; then its xid may name another request */

struct row {
    uint64_t id[2];
    int64_t at_s; /* of the clock on the wall: it outlives the machine's start */
    uint64_t done;
};

struct table {
    uint64_t magic;
    char boot_id[PX_BOOT_ID];
    struct row row[SETS][WAYS];
};

struct px_done {
    int fd;
    int64_t began_s; /* on the wall */
    struct table *t;
    pthread_mutex_t lock[LOCKS]; /* leaves */
};

void wg_px_done_id(const struct wg_frame *f, const struct px_inode *dir, const char *name, uint64_t ret[2])
{
    uLong h = crc32(0, dir->gfid.b, sizeof dir->gfid.b);

    ret[0] = f->call->request_id[0];
    ret[1] = f->call->request_id[1];
    if (ret[0] | ret[1])
        ret[1] ^= (uint64_t)crc32(h, (const Bytef *)name, (uInt)strlen(name)) << 8 ^ f->op;
}

struct waiting {
    struct posix *px;
    uint64_t id[2];
};

static void answered(void *arg)
{
    struct waiting *w = arg;

    wg_px_done_end(w->px, w->id, false);
}

void wg_px_done_begin(struct wg_frame *f, const struct px_inode *dir, const char *name, uint64_t id[2])
{
    struct waiting *w;

    wg_px_done_id(f, dir, name, id);
    if (!wg_px(f)->done || (id[0] | id[1]) == 0)
        return;
    w = WG_NEW(&f->call->arena, struct waiting);
    if (!w)
        return; /* then its row is overwritten one day */
    *w = (struct waiting){ wg_px(f), { id[0], id[1] } };
    (void)wg_on_release(&f->call->arena, answered, w);
}

static int64_t wall_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    return now.tv_sec;
}

static int map(struct posix *px, struct px_done *d)
{
    char boot_id[PX_BOOT_ID];
    int err;

    d->fd = openat(px->private_fd, "done", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (d->fd < 0)
        return errno;
    /* Blocks must be there: a store into a hole of a full disk is a SIGBUS. */
    err = posix_fallocate(d->fd, 0, sizeof *d->t);
    if (err)
        return err;
    d->t = mmap(NULL, sizeof *d->t, PROT_READ | PROT_WRITE, MAP_SHARED, d->fd, 0);
    if (d->t == MAP_FAILED) {
        d->t = NULL;
        return errno;
    }
    /* After a power cut a note may be there whose change is not. */
    wg_px_boot_id(boot_id);
    if (d->t->magic != MAGIC || !boot_id[0] || memcmp(d->t->boot_id, boot_id, sizeof boot_id) != 0)
        memset(d->t, 0, sizeof *d->t);
    d->t->magic = MAGIC;
    memcpy(d->t->boot_id, boot_id, sizeof boot_id);
    return 0;
}

int wg_px_done_start(struct posix *px)
{
    int err;

    if (px->readonly)
        return 0;
    px->done = calloc(1, sizeof *px->done);
    if (!px->done)
        return ENOMEM;
    px->done->fd = -1;
    px->done->began_s = wall_s();
    for (unsigned i = 0; i < LOCKS; i++)
        pthread_mutex_init(&px->done->lock[i], NULL);
    err = map(px, px->done);
    if (err) {
        wg_warning("requests are not remembered over a restart: " PX_PRIVATE "/done: %s", wg_error_name(err));
        wg_px_done_stop(px);
    }
    return 0;
}

void wg_px_done_stop(struct posix *px)
{
    struct px_done *d = px->done;

    if (!d)
        return;
    if (d->t)
        munmap(d->t, sizeof *d->t);
    if (d->fd >= 0)
        close(d->fd);
    for (unsigned i = 0; i < LOCKS; i++)
        pthread_mutex_destroy(&d->lock[i]);
    free(d);
    px->done = NULL;
}

static bool same(const struct row *r, const uint64_t id[2])
{
    return r->id[0] == id[0] && r->id[1] == id[1];
}

/* The set of an id, locked; NULL: it is not remembered. Ids are MACs, so any bits spread them. */
static struct row *lock_set(struct posix *px, const uint64_t id[2])
{
    uint64_t set = id[0] % SETS;

    if (!px->done || (id[0] | id[1]) == 0)
        return NULL;
    pthread_mutex_lock(&px->done->lock[set % LOCKS]);
    return px->done->t->row[set];
}

static void unlock_set(struct posix *px, const uint64_t id[2])
{
    pthread_mutex_unlock(&px->done->lock[id[0] % SETS % LOCKS]);
}

void wg_px_done_mark(struct posix *px, const uint64_t id[2])
{
    struct row *set = lock_set(px, id), *to = set;

    if (!set)
        return;
    for (unsigned i = 0; i < WAYS; i++) {
        if (same(&set[i], id)) {
            to = &set[i];
            break;
        }
        if (set[i].at_s < to->at_s)
            to = &set[i];
    }
    /* A process killed between these stores has made a row of no request, or an old one. */
    to->at_s = 0;
    to->done = 0;
    to->id[0] = id[0];
    to->id[1] = id[1];
    atomic_signal_fence(memory_order_seq_cst);
    to->at_s = wall_s();
    unlock_set(px, id);
}

void wg_px_done_end(struct posix *px, const uint64_t id[2], bool done)
{
    struct row *set = lock_set(px, id);

    for (unsigned i = 0; set && i < WAYS; i++)
        if (same(&set[i], id) && done)
            set[i].done = 1;
        else if (same(&set[i], id))
            set[i] = (struct row){ .at_s = 0 };
    if (set)
        unlock_set(px, id);
}

/* Only of processes before this one: within one the doors and the server know answers by themselves, and forget sooner. */
enum px_earlier wg_px_done_find(struct posix *px, const uint64_t id[2])
{
    struct row *set = lock_set(px, id);
    int64_t since = wall_s() - KEPT_S;
    enum px_earlier found = PX_NEVER;

    for (unsigned i = 0; set && i < WAYS && found == PX_NEVER; i++)
        if (same(&set[i], id) && set[i].at_s > since && set[i].at_s <= px->done->began_s)
            found = set[i].done ? PX_DONE : PX_BEGUN;
    if (set)
        unlock_set(px, id);
    return found;
}
