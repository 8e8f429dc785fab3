/* SPDX-License-Identifier: Apache-2.0 */
/*
 * References to byte ranges of this brick's files, for bricks that copy from it: ref_create,
 * ref_read, ref_drop (docs/copy-by-reference.md).
 *
 * A reference is a capability: whoever made it had permission to read, and it keeps a descriptor
 * that was opened so. Where the file system shares blocks, that is an unnamed clone, which nothing
 * changes any more; elsewhere it is the file's own, and each read looks afterwards whether the
 * content is still that of the beginning. All of them live in memory: a brick that stops forgets them,
 * and the kernel drops the clones.
 *
 * The first half of the token finds a reference, the second is compared in constant time. A lock of
 * the table is a leaf; descriptors are closed outside of it.
 */
#define WG_LOG_PART "posix"
#include "s3.h"

#include <linux/fs.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "dump.h"
#include "log.h"

#define TOKEN 32
#define PEER_MAX 255
#define LIFE_NS (24 * 3600 * 1000000000ull) /* no reference is older, however busy */
#define BUCKETS 256

struct reference {
    struct reference *next;   /* of the bucket; of a list of those that go */
    uint8_t token[TOKEN];
    unsigned users;           /* one for the table. Under the lock */
    struct px_inode *ino;     /* referenced */
    int fd;
    bool snapshot;
    uint64_t begin, end;      /* of the inode */
    unsigned changes;         /* the inode's at the beginning */
    uint64_t size;            /* the inode's, and its mtime: for changes that we did not make */
    struct wg_time mtime;
    char puller[PEER_MAX + 1], maker[PEER_MAX + 1];
    uint32_t maker_uid;
    uint64_t born_ns, used_ns;
    atomic_uint_least64_t bytes;
};

struct px_references {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct reference *bucket[BUCKETS];
    unsigned count;
    pthread_t thread;
    bool running, stop;
    atomic_bool no_clone;     /* this file system has said so */
    atomic_uint_least64_t made, expired, refused, changed_under, bytes;
};

/* ---- the table ---------------------------------------------------------------------------- */

static struct reference **bucket_of(struct px_references *t, const uint8_t *token)
{
    return &t->bucket[token[0]];
}

static void end(struct posix *px, struct reference *r)
{
    if (r->fd >= 0)
        close(r->fd);
    if (r->ino)
        wg_px_release(px, r->ino);
    OPENSSL_cleanse(r->token, sizeof r->token);
    free(r);
}

static void leave(struct posix *px, struct reference *r)
{
    pthread_mutex_lock(&px->references->lock);
    bool last = --r->users == 0;
    pthread_mutex_unlock(&px->references->lock);
    if (last)
        end(px, r);
}

static bool is_over(const struct posix *px, const struct reference *r, uint64_t now)
{
    uint64_t life = (uint64_t)atomic_load(&px->reference_life_ms) * 1000000;

    if (now < r->used_ns) /* used since the caller looked at the clock */
        return false;
    return now - r->born_ns > LIFE_NS || (r->users == 1 && now - r->used_ns > life);
}

/* Under the lock. Takes what has expired (all: everything) out; a list that the caller leaves. */
static struct reference *take_over(struct posix *px, uint64_t now, bool all)
{
    struct px_references *t = px->references;
    struct reference *out = NULL, *r;

    for (unsigned i = 0; i < BUCKETS; i++)
        for (struct reference **at = &t->bucket[i]; (r = *at);) {
            if (!all && !is_over(px, r, now)) {
                at = &r->next;
                continue;
            }
            *at = r->next;
            r->next = out;
            out = r;
            t->count--;
        }
    return out;
}

static void leave_all(struct posix *px, struct reference *list)
{
    while (list) {
        struct reference *r = list;

        list = r->next;
        leave(px, r);
    }
}

static unsigned of_maker(struct px_references *t, const struct reference *like)
{
    unsigned n = 0;

    for (unsigned i = 0; i < BUCKETS; i++)
        for (const struct reference *r = t->bucket[i]; r; r = r->next)
            n += r->maker_uid == like->maker_uid && strcmp(r->maker, like->maker) == 0;
    return n;
}

/* EBUSY: too many, in all or of this maker (a quarter, so that one user can't use up what is for all). */
static int enter(struct posix *px, struct reference *r)
{
    struct px_references *t = px->references;
    struct reference *old, **at = bucket_of(t, r->token);
    unsigned max = atomic_load(&px->references_max);
    int err = 0;

    pthread_mutex_lock(&t->lock);
    old = take_over(px, wg_now_ns(), false);
    atomic_fetch_add_explicit(&t->expired, old != NULL, memory_order_relaxed);
    if (t->count >= max || of_maker(t, r) >= (max + 3) / 4) {
        err = EBUSY;
    } else {
        r->next = *at;
        *at = r;
        t->count++;
        pthread_cond_signal(&t->changed);
    }
    pthread_mutex_unlock(&t->lock);
    leave_all(px, old);
    return err;
}

/* The reference, used until leave. EREFLOST: none; EACCES: another's. */
static int find(struct posix *px, struct wg_str token, const char *peer, struct reference **ret)
{
    struct px_references *t = px->references;
    const uint8_t *want = (const uint8_t *)token.s;
    struct reference *r;
    uint64_t now = wg_now_ns();
    int err = EREFLOST;

    if (token.len != TOKEN)
        return EREFLOST;
    pthread_mutex_lock(&t->lock);
    for (r = *bucket_of(t, want); r; r = r->next)
        if (memcmp(r->token, want, TOKEN / 2) == 0)
            break;
    if (r && CRYPTO_memcmp(r->token, want, TOKEN) == 0 && !is_over(px, r, now)) {
        err = peer && strcmp(r->puller, peer) != 0 ? EACCES : 0;
        if (!err) {
            r->users++;
            r->used_ns = now;
        }
    }
    pthread_mutex_unlock(&t->lock);
    if (err)
        atomic_fetch_add_explicit(&t->refused, 1, memory_order_relaxed);
    *ret = r;
    return err;
}

/* Removes what nobody uses any more; sleeps while there is nothing. */
static void *janitor(void *arg)
{
    struct posix *px = arg;
    struct px_references *t = px->references;
    struct reference *old;
    struct timespec at;

    pthread_setname_np(pthread_self(), "wg-references");
    pthread_mutex_lock(&t->lock);
    while (!t->stop) {
        old = take_over(px, wg_now_ns(), false);
        if (old) {
            pthread_mutex_unlock(&t->lock);
            for (struct reference *r = old; r; r = r->next)
                atomic_fetch_add_explicit(&t->expired, 1, memory_order_relaxed);
            leave_all(px, old);
            pthread_mutex_lock(&t->lock);
        } else if (t->count) {
            clock_gettime(CLOCK_REALTIME, &at);
            at.tv_sec++;
            pthread_cond_timedwait(&t->changed, &t->lock, &at);
        } else {
            pthread_cond_wait(&t->changed, &t->lock);
        }
    }
    pthread_mutex_unlock(&t->lock);
    return NULL;
}

int wg_px_references_start(struct posix *px)
{
    struct px_references *t = calloc(1, sizeof *t);
    int err;

    if (!t)
        return ENOMEM;
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->changed, NULL);
    px->references = t;
    err = pthread_create(&t->thread, NULL, janitor, px);
    t->running = err == 0;
    return err;
}

void wg_px_references_stop(struct posix *px)
{
    struct px_references *t = px->references;

    if (!t)
        return;
    pthread_mutex_lock(&t->lock);
    t->stop = true;
    pthread_cond_signal(&t->changed);
    pthread_mutex_unlock(&t->lock);
    if (t->running)
        pthread_join(t->thread, NULL);
    leave_all(px, take_over(px, 0, true));
    pthread_cond_destroy(&t->changed);
    pthread_mutex_destroy(&t->lock);
    free(t);
    px->references = NULL;
}

static void dump_one(struct wg_dump *d, const struct reference *r, uint64_t now)
{
    wg_dump_object(d, NULL);
    /* The half that finds it, not the half that opens it. */
    wg_dump_fmt(d, "id", "%02x%02x%02x%02x", r->token[0], r->token[1], r->token[2], r->token[3]);
    wg_dump_str(d, "puller", r->puller);
    wg_dump_str(d, "made_by", r->maker);
    wg_dump_bool(d, "snapshot", r->snapshot);
    wg_dump_u64(d, "offset", r->begin);
    wg_dump_u64(d, "size", r->end - r->begin);
    wg_dump_u64(d, "bytes_read", atomic_load(&r->bytes));
    wg_dump_u64(d, "reads_under_way", r->users - 1);
    wg_dump_u64(d, "age_ms", (now - r->born_ns) / 1000000);
    wg_dump_u64(d, "unused_ms", now > r->used_ns ? (now - r->used_ns) / 1000000 : 0);
    wg_dump_end(d);
}

void wg_px_references_dump(struct posix *px, struct wg_dump *d)
{
    struct px_references *t = px->references;
    uint64_t now = wg_now_ns();

    wg_dump_object(d, "references");
    wg_dump_u64(d, "max", atomic_load(&px->references_max));
    wg_dump_u64(d, "made", atomic_load(&t->made));
    wg_dump_u64(d, "expired", atomic_load(&t->expired));
    wg_dump_u64(d, "refused", atomic_load(&t->refused));
    wg_dump_u64(d, "source_changed", atomic_load(&t->changed_under));
    wg_dump_u64(d, "bytes_read", atomic_load(&t->bytes));
    wg_dump_array(d, "live");
    pthread_mutex_lock(&t->lock);
    for (unsigned i = 0; i < BUCKETS; i++)
        for (const struct reference *r = t->bucket[i]; r; r = r->next)
            dump_one(d, r, now);
    pthread_mutex_unlock(&t->lock);
    wg_dump_end(d);
    wg_dump_end(d);
}

/* ---- ref_create --------------------------------------------------------------------------- */

/* A descriptor of the reference's own, opened with the caller's permissions as they are now. */
static int open_source(struct wg_frame *f, struct reference *r, struct statx *st)
{
    struct posix *px = wg_px(f);
    struct px_open o;

    for (int tries = 0; tries < 2; tries++) {
        int err = wg_px_open(px, &f->call->cred, r->ino, O_RDONLY, &o);
        bool fresh;

        if (err)
            return err;
        err = wg_px_stat_inode(px, r->ino, st);
        fresh = err || wg_px_open_fresh(r->ino, &o, st);
        if (!err && fresh && (r->fd = fcntl(o.fd, F_DUPFD_CLOEXEC, 3)) < 0)
            err = errno;
        wg_px_close(px, r->ino, &o);
        if (err || fresh)
            return err;
    }
    return EAGAIN;
}

/*
 * Clones the range into an unnamed file, at the same offsets. false: this file system doesn't, or not now
 * (a full disk, say): the reference then watches the file itself.
 */
static bool clone_range(struct posix *px, struct reference *r, uint64_t size, int to)
{
    uint64_t block = 65536; /* a multiple of any file system's block */
    struct file_clone_range range = { .src_fd = r->fd, .src_offset = r->begin / block * block };

    range.dest_offset = range.src_offset;
    if (r->end < size && r->end / block * block + block < size)
        range.src_length = r->end / block * block + block - range.src_offset; /* else to the end: 0 */
    if (ioctl(to, FICLONERANGE, &range) == 0)
        return true;
    if (errno == EOPNOTSUPP || errno == ENOTTY)
        atomic_store(&px->references->no_clone, true);
    return false;
}

/* Fixes what the reference names. No write of ours is under way meanwhile. */
static int fix(struct posix *px, struct reference *r, uint64_t offset, uint64_t size, struct statx *st,
               struct wg_etag *etag)
{
    struct px_rec rec;
    int snap = -1, err;

    if (size > 0 && !atomic_load(&px->references->no_clone) && wg_px_as_brick(px) == 0)
        snap = openat(wg_px_staging_fd(px), ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    pthread_rwlock_wrlock(&r->ino->content);
    err = wg_px_stat(r->fd, st);
    if (err == 0) {
        r->size = st->stx_size;
        r->mtime = (struct wg_time){ st->stx_mtime.tv_sec, st->stx_mtime.tv_nsec };
        r->changes = atomic_load(&r->ino->changes);
        r->begin = offset < r->size ? offset : r->size;
        r->end = r->begin + (size < r->size - r->begin ? size : r->size - r->begin);
        r->snapshot = snap >= 0 && r->begin < r->end && clone_range(px, r, r->size, snap);
        if (wg_px_rec(px, r->ino, &rec) == 0 && wg_px_rec_holds(&rec, st)) {
            *etag = (struct wg_etag){ .parts = rec.parts, .valid = true };
            memcpy(etag->md5, rec.md5, sizeof etag->md5);
        }
    }
    pthread_rwlock_unlock(&r->ino->content);
    if (err == 0 && r->snapshot) {
        close(r->fd);
        r->fd = snap;
    } else if (snap >= 0) {
        close(snap);
    }
    return err;
}

static int make(struct wg_frame *f, struct reference *r, struct statx *st, struct wg_etag *etag)
{
    const struct wg_ref_create_in *in = wg_in(f, ref_create);
    struct posix *px = wg_px(f);
    int err;

    if (in->puller.len)
        memcpy(r->puller, in->puller.s, in->puller.len);
    snprintf(r->maker, sizeof r->maker, "%s", f->call->peer ? f->call->peer : "");
    r->maker_uid = f->call->cred.uid;
    r->fd = -1;
    r->users = 1;
    if (RAND_bytes(r->token, sizeof r->token) != 1)
        return EIO;
    err = wg_px_find(px, &in->at, &r->ino);
    if (err == 0)
        err = open_source(f, r, st);
    if (err == 0)
        err = fix(px, r, in->offset, in->size, st, etag);
    r->born_ns = r->used_ns = wg_now_ns();
    return err;
}

/* Before it is in the table, where it may end at any time. */
static int answer(struct wg_frame *f, const struct reference *r, const struct statx *st,
                  struct wg_ref_create_out *out)
{
    uint8_t *token = wg_alloc(&f->call->arena, TOKEN);

    if (!token)
        return ENOMEM;
    memcpy(token, r->token, TOKEN);
    out->ref = (struct wg_str){ (char *)token, TOKEN };
    out->size = r->end - r->begin;
    out->snapshot = r->snapshot;
    out->lifetime_ms = (uint32_t)atomic_load(&wg_px(f)->reference_life_ms);
    wg_px_iatt(st, r->ino->gfid, &out->attr);
    return 0;
}

void wg_posix_ref_create(struct wg_frame *f)
{
    const struct wg_ref_create_in *in = wg_in(f, ref_create);
    struct wg_ref_create_out *out = wg_new_out(f, ref_create);
    struct posix *px = wg_px(f);
    struct reference *r;
    struct statx st;
    int err;

    if (!out)
        return wg_unwind(f, ENOMEM);
    if (in->puller.len > PEER_MAX || in->offset > INT64_MAX ||
        (in->puller.len && memchr(in->puller.s, '\0', in->puller.len)))
        return wg_unwind(f, EINVAL);
    if (f->call->nowait)
        return wg_unwind(f, EWOULDBLOCK);
    r = calloc(1, sizeof *r);
    if (!r)
        return wg_unwind(f, ENOMEM);
    err = make(f, r, &st, &out->etag);
    if (err == 0)
        err = answer(f, r, &st, out);
    if (err == 0)
        err = enter(px, r);
    if (err)
        end(px, r);
    else
        atomic_fetch_add_explicit(&px->references->made, 1, memory_order_relaxed);
    wg_unwind(f, err);
}

/* ---- ref_read ----------------------------------------------------------------------------- */

/* After the bytes were read: a change that they could show has been counted before it began. */
static int still_the_same(struct reference *r)
{
    struct statx st;
    int err;

    if (r->snapshot)
        return 0;
    if (atomic_load(&r->ino->changes) != r->changes)
        return ECHANGED;
    err = wg_px_stat(r->fd, &st);
    if (err)
        return err;
    return st.stx_size == r->size && st.stx_mtime.tv_sec == r->mtime.sec &&
           st.stx_mtime.tv_nsec == r->mtime.nsec ? 0 : ECHANGED;
}

/* How many bytes from offset on are a hole. */
static uint64_t hole_at(int fd, uint64_t offset, uint64_t upto)
{
    off_t data = lseek(fd, (off_t)offset, SEEK_DATA);

    if (data < 0)
        return errno == ENXIO ? upto - offset : 0;
    return ((uint64_t)data < upto ? (uint64_t)data : upto) - offset;
}

static int read_bytes(struct wg_frame *f, struct reference *r, uint64_t offset, uint32_t size,
                      struct wg_ref_read_out *out)
{
    struct wg_iobuf *buf = wg_iobuf_get(size);
    struct wg_seg *seg = WG_NEW(&f->call->arena, struct wg_seg);
    uint32_t done = 0;

    if (!buf || wg_keep_iobuf(&f->call->arena, buf) || !seg)
        return ENOMEM;
    while (done < size) {
        ssize_t n = pread(r->fd, (char *)buf->base + done, size - done, (off_t)(offset + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno;
        if (n == 0)
            return ECHANGED; /* cut short since */
        done += (uint32_t)n;
    }
    *seg = (struct wg_seg){ buf, buf->base, size };
    out->data = (struct wg_data){ seg, 1, size };
    return 0;
}

static int read_range(struct wg_frame *f, struct reference *r, struct wg_ref_read_out *out)
{
    const struct wg_ref_read_in *in = wg_in(f, ref_read);
    struct px_references *t = wg_px(f)->references;
    uint32_t size = in->size < WG_IO_MAX ? in->size : WG_IO_MAX;
    uint64_t hole;
    int err = 0;

    if (in->offset < r->begin || in->offset >= r->end || size == 0)
        return EINVAL;
    if (size > r->end - in->offset)
        size = (uint32_t)(r->end - in->offset);
    hole = hole_at(r->fd, in->offset, r->end);
    if (hole >= size)
        out->hole = hole;
    else
        err = read_bytes(f, r, in->offset, size, out);
    if (err == 0)
        err = still_the_same(r);
    if (err == ECHANGED) {
        out->data = (struct wg_data){ 0 };
        atomic_fetch_add_explicit(&t->changed_under, 1, memory_order_relaxed);
    } else if (err == 0) {
        atomic_fetch_add_explicit(&r->bytes, out->data.len, memory_order_relaxed);
        atomic_fetch_add_explicit(&t->bytes, out->data.len, memory_order_relaxed);
    }
    return err;
}

void wg_posix_ref_read(struct wg_frame *f)
{
    struct wg_ref_read_out *out = wg_new_out(f, ref_read);
    struct posix *px = wg_px(f);
    struct reference *r;
    int err;

    if (!out)
        return wg_unwind(f, ENOMEM);
    if (f->call->nowait)
        return wg_unwind(f, EWOULDBLOCK);
    err = find(px, wg_in(f, ref_read)->ref, f->call->peer, &r);
    if (err)
        return wg_unwind(f, err);
    err = read_range(f, r, out);
    leave(px, r);
    wg_unwind(f, err);
}

/* ---- ref_drop, ref_peer ------------------------------------------------------------------- */

void wg_posix_ref_drop(struct wg_frame *f)
{
    const struct wg_ref_drop_in *in = wg_in(f, ref_drop);
    struct wg_ref_drop_out *out = wg_new_out(f, ref_drop);
    struct posix *px = wg_px(f);
    struct px_references *t = px->references;
    struct reference *r, **at;

    if (!out)
        return wg_unwind(f, ENOMEM);
    if (f->call->nowait)
        return wg_unwind(f, EWOULDBLOCK); /* the end of a clone may take the disk some time */
    if (find(px, in->ref, NULL, &r))
        return wg_unwind(f, 0);
    pthread_mutex_lock(&t->lock);
    for (at = bucket_of(t, r->token); *at && *at != r; at = &(*at)->next)
        ;
    out->was_there = *at == r;
    if (*at == r) {
        *at = r->next;
        t->count--;
    }
    pthread_mutex_unlock(&t->lock);
    if (out->was_there)
        leave(px, r); /* the table's */
    leave(px, r);
    wg_unwind(f, 0);
}

void wg_posix_ref_peer(struct wg_frame *f)
{
    const struct wg_ref_peer_in *in = wg_in(f, ref_peer);
    struct wg_ref_peer_out *out = wg_new_out(f, ref_peer);

    if (!out)
        return wg_unwind(f, ENOMEM);
    if (!wg_gfid_is_zero(in->source))
        return wg_unwind(f, ENOTSUP); /* features/pull, above, knows of others */
    memcpy(out->brick.b, wg_px(f)->brick_id, sizeof out->brick.b);
    if (f->call->peer)
        out->name = wg_str_of(f->call->peer);
    wg_unwind(f, 0);
}
