/* SPDX-License-Identifier: Apache-2.0 */
/*
 * readdir. A cookie has 55 bits; a kernel's position may have 63 (ext4: a hash of the name). The
 * kernel tells with each entry the position after it, which is the next one's own. Two forms:
 *
 *   exact  positions below 2^54 - 3: the position after the entry, plus 3
 *   cut    bit 54, the upper 48 bits of the position after the entry (a bucket), 6 bits of order
 *
 * Resuming at a cut cookie seeks to the start of its bucket. Nearly always the entry itself lies
 * before that, order is 0, and whatever follows has not been sent. When the entry's own
 * position is in the same bucket too, those of the bucket are sent in the order of a checksum of their names,
 * order says how far, and the resumed reader skips them. So a cookie's meaning does not depend on
 * other names that come or go (R8). 0 starts; 1 is ".", 2 is "..".
 */
#include "posix.h"

#include <dirent.h>
#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>

#define WG_LOG_PART "posix"
#include "log.h"

#define COOKIE_END (1ull << 55)
#define CUT (1ull << 54)
#define CUT_POSITION_BITS 48
#define ORDER_BITS 6
#define ORDER_MAX ((1u << ORDER_BITS) - 1)
#define EXACT_FIRST 3
#define EXACT_END (CUT - EXACT_FIRST)
#define COOKIE_DOT 1
#define COOKIE_DOTDOT 2
#define EXT4_MAGIC 0xEF53

#define CHUNK 32768u
#define STREAMS 128
#define STREAM_NS 5000000000u

/* An open directory, as far as some reader got: it goes on without a seek when it comes back. */
struct stream {
    int fd;
    wg_gfid gfid;
    uint32_t who, mode, uid, gid; /* whose, and the directory's permissions when it was opened */
    uint64_t cookie;              /* the last one sent */
    uint64_t idle_ns;             /* since when */
    uint64_t pos;                 /* own position of the entry at `at` */
    uint32_t at, len;
    bool end;                     /* the kernel has no more */
    _Alignas(8) char chunk[CHUNK];
};

struct px_streams {
    pthread_mutex_t lock;
    struct stream *idle[STREAMS];
};

struct entry {
    char name[WG_NAME_MAX + 1];
    uint64_t ino, own, after;
    uint32_t sum;
};

struct reading {
    struct posix *px;
    struct wg_frame *f;
    struct px_inode *dir;
    struct stream *s;
    struct wg_appender list;
    bool plus, full, resumable;
    uint64_t cookie; /* the last one sent, or the one asked for */
    uint32_t sent;
};

/* ---- streams ----------------------------------------------------------------------------- */

int wg_px_streams_start(struct posix *px)
{
    px->streams = calloc(1, sizeof *px->streams);
    if (!px->streams)
        return ENOMEM;
    pthread_mutex_init(&px->streams->lock, NULL);
    return 0;
}

static void stream_free(struct stream *s)
{
    if (!s)
        return;
    close(s->fd);
    free(s);
}

void wg_px_streams_stop(struct posix *px)
{
    if (!px->streams)
        return;
    for (unsigned i = 0; i < STREAMS; i++)
        stream_free(px->streams->idle[i]);
    pthread_mutex_destroy(&px->streams->lock);
    free(px->streams);
    px->streams = NULL;
}

static bool stream_fits(const struct stream *s, wg_gfid gfid, uint32_t who, uint64_t cookie,
                        const struct statx *st)
{
    return s->cookie == cookie && s->who == who && wg_gfid_eq(s->gfid, gfid) &&
           s->mode == st->stx_mode && s->uid == st->stx_uid && s->gid == st->stx_gid;
}

/* Takes the stream that stopped at cookie; too old ones go. */
static struct stream *stream_take(struct posix *px, wg_gfid gfid, uint32_t who, uint64_t cookie,
                                  const struct statx *st)
{
    struct px_streams *ss = px->streams;
    struct stream *found = NULL, *old = NULL;
    uint64_t now = wg_now_coarse_ns();

    pthread_mutex_lock(&ss->lock);
    for (unsigned i = 0; i < STREAMS; i++) {
        struct stream *s = ss->idle[i];

        if (!s)
            continue;
        if (now - s->idle_ns > STREAM_NS && !old) {
            old = s;
            ss->idle[i] = NULL;
        } else if (!found && stream_fits(s, gfid, who, cookie, st)) {
            found = s;
            ss->idle[i] = NULL;
        }
    }
    pthread_mutex_unlock(&ss->lock);
    stream_free(old);
    return found;
}

static void stream_put(struct posix *px, struct stream *s)
{
    struct px_streams *ss = px->streams;
    struct stream **place = NULL;

    s->idle_ns = wg_now_coarse_ns();
    pthread_mutex_lock(&ss->lock);
    for (unsigned i = 0; i < STREAMS; i++) {
        struct stream **at = &ss->idle[i];

        if (!place || !*at || (*place && (*at)->idle_ns < (*place)->idle_ns))
            place = at;
        if (!*place)
            break;
    }
    {
        struct stream *out = *place;

        *place = s;
        s = out;
    }
    pthread_mutex_unlock(&ss->lock);
    stream_free(s);
}

/* As the caller: who may not read the directory is told so by the kernel. */
static int stream_open(struct reading *r, uint32_t who, const struct statx *st)
{
    struct px_loan loan;
    struct stream *s;
    int fd = openat(r->dir->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0 && errno == EACCES && wg_px_lend(r->px, r->dir->fd, &loan)) {
        fd = openat(r->dir->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        wg_px_lend_end(r->px, &loan);
    }
    if (fd < 0)
        return errno;
    s = malloc(sizeof *s);
    if (!s) {
        close(fd);
        return ENOMEM;
    }
    memset(s, 0, offsetof(struct stream, chunk));
    s->fd = fd;
    s->gfid = r->dir->gfid;
    s->who = who;
    s->mode = st->stx_mode;
    s->uid = st->stx_uid;
    s->gid = st->stx_gid;
    r->s = s;
    return 0;
}

/* ---- the kernel's entries ---------------------------------------------------------------- */

static int seek_to(struct stream *s, uint64_t pos)
{
    if (lseek(s->fd, (off_t)pos, SEEK_SET) < 0)
        return errno == EINVAL ? EBADCOOKIE : errno;
    s->pos = pos;
    s->at = s->len = 0;
    s->end = false;
    return 0;
}

/* The next entry, not consumed; NULL at the end (or after an error). "." and ".." are passed over. */
static const struct dirent64 *peek(struct reading *r, int *err)
{
    struct stream *s = r->s;

    for (;;) {
        const struct dirent64 *e;
        ssize_t n;

        if (s->at == s->len) {
            if (s->end)
                return NULL;
            n = getdents64(s->fd, s->chunk, CHUNK);
            if (n <= 0) {
                s->end = true;
                *err = n < 0 ? errno : 0;
                return NULL;
            }
            s->at = 0;
            s->len = (uint32_t)n;
        }
        e = (const void *)(s->chunk + s->at);
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..") &&
            (r->dir != r->px->root || strcmp(e->d_name, PX_PRIVATE)))
            return e;
        s->pos = (uint64_t)e->d_off;
        s->at += e->d_reclen;
    }
}

static void consume(struct stream *s, const struct dirent64 *e)
{
    s->pos = (uint64_t)e->d_off;
    s->at += e->d_reclen;
}

static void copy_entry(const struct stream *s, const struct dirent64 *e, struct entry *ret)
{
    size_t n = strnlen(e->d_name, WG_NAME_MAX);

    memcpy(ret->name, e->d_name, n);
    ret->name[n] = '\0';
    ret->ino = e->d_ino;
    ret->own = s->pos;
    ret->after = (uint64_t)e->d_off;
    ret->sum = (uint32_t)crc32(0, (const Bytef *)ret->name, (uInt)n);
}

static bool cuts(const struct posix *px, uint64_t pos)
{
    return px->fs_magic == EXT4_MAGIC || pos >= EXACT_END;
}

static uint64_t bucket_of(const struct posix *px, uint64_t pos)
{
    return pos >> px->cut_shift;
}

static uint64_t cookie_after(const struct posix *px, uint64_t after, uint32_t order)
{
    if (!cuts(px, after))
        return after + EXACT_FIRST;
    return CUT | bucket_of(px, after) << ORDER_BITS | order;
}

/* ---- one entry --------------------------------------------------------------------------- */

/*
 * Who an entry is and, with plus, its attributes. The inode number that getdents gave and the one
 * that statx gives afterwards bracket the reading of the record: equal, they are one inode's.
 * false: the name is gone.
 */
static bool describe(struct reading *r, const struct entry *e, struct wg_dirent *d)
{
    struct posix *px = r->px;
    struct px_rec rec;
    struct statx st;
    bool known = wg_px_ident_get(px, e->ino, NULL, &d->ref);
    int err;

    if (known && !r->plus)
        return true;
    err = known ? 0 : wg_px_rec_get_at(px, r->dir->fd, e->name, &rec);
    if (!known && err == 0) {
        d->ref.gfid = rec.gfid;
        d->ref.hint_len = r->plus ? wg_px_hint_at(px, r->dir->fd, e->name, d->ref.hint) : 0;
        if (!r->plus)
            return true;
    }
    if (err == 0) {
        err = wg_px_stat_at(r->dir->fd, e->name, &st);
        if (err == 0 && (known ? !wg_px_ident_get(px, st.stx_ino, &st, &d->ref) : st.stx_ino != e->ino))
            err = ESTALE;
        if (err == 0 && !known)
            wg_px_ident_learn(px, &st, &d->ref);
    }
    /* No record yet, or replaced just now: the long way. */
    if (err != 0 && err != ENOENT && (err != EACCES || !px->handles)) {
        d->ref = (struct wg_ref){ 0 };
        err = wg_px_ident(px, &r->f->call->cred, r->dir, e->name, &d->ref, &st);
    }
    if (err == 0 && r->plus)
        wg_px_iatt(&st, d->ref.gfid, &d->attr);
    if (err != 0)
        d->ref = (struct wg_ref){ 0 };
    return err != ENOENT;
}

/* Appends e unless it is gone; sets full when it does not fit. */
static void send_entry(struct reading *r, const struct entry *e, uint64_t cookie)
{
    struct wg_dirent d = { .cookie = cookie, .name = wg_str_of(e->name) };

    if (!describe(r, e, &d))
        return;
    if (!wg_append_dirent(&r->list, &d)) {
        r->full = true;
        return;
    }
    r->cookie = cookie;
    r->sent++;
}

/* ---- entries that share a bucket --------------------------------------------------------- */

static int by_sum(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;

    if ((x->sum % ORDER_MAX) != (y->sum % ORDER_MAX))
        return x->sum % ORDER_MAX < y->sum % ORDER_MAX ? -1 : 1;
    return strcmp(x->name, y->name);
}

static uint32_t order_of(const struct entry *e)
{
    return 1 + e->sum % ORDER_MAX;
}

/*
 * Sends the n entries of one bucket after the one of order `past`; the last leads out of the bucket.
 * Entries of equal checksum get orders that follow each other; since those move when one of them
 * is removed, a page does not end between them.
 */
static void send_bucket(struct reading *r, struct entry *e, uint32_t n, uint64_t bucket, uint32_t past)
{
    uint64_t after = e[n - 1].after;
    struct reading mark = *r;
    uint32_t order = 0;

    qsort(e, n, sizeof *e, by_sum);
    for (uint32_t i = 0; i < n && !r->full; i++) {
        if (i == 0 || order_of(&e[i]) != order_of(&e[i - 1]))
            mark = *r;
        order = order_of(&e[i]) > order ? order_of(&e[i]) : order < ORDER_MAX ? order + 1 : order;
        if (order <= past)
            continue;
        if (i + 1 == n && bucket_of(r->px, after) != bucket) /* the end's position is in its bucket */
            send_entry(r, &e[i], cookie_after(r->px, after, 0));
        else
            send_entry(r, &e[i], CUT | bucket << ORDER_BITS | order);
    }
    if (!r->full)
        return;
    if (mark.sent > 0) { /* back to before those of equal checksum */
        r->list = mark.list;
        r->cookie = mark.cookie;
        r->sent = mark.sent;
    }
    r->resumable = false; /* the stream is past what was not sent */
}

/* Collects what has its own position in bucket, beginning with the next entry. */
static int take_bucket(struct reading *r, uint64_t bucket, struct entry **ret, uint32_t *ret_n)
{
    uint32_t n = 0, room = 0;
    struct entry *e = NULL;
    int err = 0;

    for (;;) {
        const struct dirent64 *next = peek(r, &err);

        if (!next || bucket_of(r->px, r->s->pos) != bucket)
            break;
        if (n == room) {
            struct entry *more;

            room = room ? room * 2 : 8;
            more = realloc(e, room * sizeof *e);
            if (!more) {
                free(e);
                return ENOMEM;
            }
            e = more;
        }
        copy_entry(r->s, next, &e[n++]);
        consume(r->s, next);
    }
    *ret = e;
    *ret_n = n;
    return err;
}

static int do_bucket(struct reading *r, uint64_t bucket, uint32_t past)
{
    struct entry *e = NULL;
    uint32_t n = 0;
    int err = take_bucket(r, bucket, &e, &n);

    if (err == 0 && n > 0)
        send_bucket(r, e, n, bucket, past);
    free(e);
    return err;
}

/*
 * The stream was sought to the start of bucket: is the own position of its next entry in it? It is when
 * a seek to the bucket's end does not meet the same entry.
 */
static int next_is_in(struct reading *r, uint64_t bucket, bool *ret)
{
    const struct dirent64 *e;
    struct entry first;
    int err = 0;

    *ret = false;
    e = peek(r, &err);
    if (!e)
        return err;
    copy_entry(r->s, e, &first);
    if (bucket_of(r->px, first.after) == bucket) {
        *ret = true;
        return 0;
    }
    err = seek_to(r->s, (bucket + 1) << r->px->cut_shift);
    if (err)
        return err;
    e = peek(r, &err);
    *ret = !e || strcmp(e->d_name, first.name) != 0;
    return err ? err : seek_to(r->s, bucket << r->px->cut_shift);
}

/* ---- readdir ----------------------------------------------------------------------------- */

static int send_rest(struct reading *r)
{
    int err = 0;

    while (!r->full) {
        const struct dirent64 *e = peek(r, &err);
        struct stream *s = r->s;
        struct entry one;
        uint64_t after;

        if (!e)
            break;
        after = (uint64_t)e->d_off;
        if (cuts(r->px, after) && bucket_of(r->px, s->pos) == bucket_of(r->px, after)) {
            err = do_bucket(r, bucket_of(r->px, after), 0);
            if (err)
                break;
            continue;
        }
        copy_entry(s, e, &one);
        send_entry(r, &one, cookie_after(r->px, after, 0));
        if (!r->full)
            consume(s, e);
    }
    return err;
}

/* Puts a newly opened stream behind cookie. */
static int resume(struct reading *r, uint64_t cookie)
{
    struct posix *px = r->px;
    uint32_t order = cookie & ORDER_MAX;
    uint64_t bucket;
    bool in;
    int err;

    if (cookie <= COOKIE_DOTDOT)
        return 0;
    if (!(cookie & CUT))
        return seek_to(r->s, cookie - EXACT_FIRST);
    bucket = (cookie & ~CUT) >> ORDER_BITS;
    err = seek_to(r->s, bucket << px->cut_shift);
    if (err || order == 0)
        return err;
    err = next_is_in(r, bucket, &in);
    return err || !in ? err : do_bucket(r, bucket, order);
}

static void send_dots(struct reading *r, uint64_t cookie)
{
    static const struct { const char *name; uint64_t cookie; } dots[] = {
        { ".", COOKIE_DOT }, { "..", COOKIE_DOTDOT },
    };

    for (unsigned i = 0; i < 2 && !r->full; i++) {
        struct wg_dirent d = { .cookie = dots[i].cookie, .name = wg_str_of(dots[i].name) };
        const char *name = r->dir == r->px->root ? "." : dots[i].name;
        struct statx st;

        if (cookie >= dots[i].cookie)
            continue;
        if (wg_px_ident(r->px, &r->f->call->cred, r->dir, name, &d.ref, &st) == 0 && r->plus)
            wg_px_iatt(&st, d.ref.gfid, &d.attr);
        if (!wg_append_dirent(&r->list, &d)) {
            r->full = true;
            break;
        }
        r->cookie = d.cookie;
        r->sent++;
    }
}

static int read_entries(struct reading *r, uint64_t cookie, const struct statx *st)
{
    uint32_t who = r->px->switches ? wg_px_who(&r->f->call->cred) : 1;
    int err = wg_px_as(r->px, &r->f->call->cred);

    if (err)
        return err;
    r->cookie = cookie;
    r->resumable = who != 0;
    if (cookie > COOKIE_DOTDOT)
        r->s = stream_take(r->px, r->dir->gfid, who, cookie, st);
    if (!r->s) {
        err = stream_open(r, who, st);
        if (err == 0)
            send_dots(r, cookie);
        if (err == 0 && !r->full)
            err = resume(r, cookie);
    }
    return err ? err : send_rest(r);
}

/* Hands the entries to the call; keeps the stream for the next page. */
static int finish(struct reading *r, struct wg_readdir_out *out, int err)
{
    if (err == 0 && r->full && r->sent == 0)
        err = ETOOSMALL;
    if (r->s && err == 0 && r->full && r->resumable && r->cookie > COOKIE_DOTDOT) {
        r->s->cookie = r->cookie;
        stream_put(r->px, r->s);
    } else {
        stream_free(r->s);
    }
    if (err) {
        wg_append_abort(&r->list);
        return err;
    }
    out->eof = !r->full;
    out->entries = wg_append_end(&r->list);
    return out->entries.buf ? wg_keep_iobuf(&r->f->call->arena, out->entries.buf) : 0;
}

void wg_posix_readdir(struct wg_frame *f)
{
    const struct wg_readdir_in *in = wg_in(f, readdir);
    struct wg_readdir_out *out = wg_new_out(f, readdir);
    struct reading r = { .px = wg_px(f), .f = f, .plus = in->plus };
    struct statx st;
    int err;

    wg_px_no_promise(f);
    if (!out)
        return wg_unwind(f, ENOMEM);
    if (in->cookie >= COOKIE_END)
        return wg_unwind(f, EBADCOOKIE);
    err = wg_px_find_dir(r.px, &in->at, &r.dir);
    if (err)
        return wg_unwind(f, err);
    err = wg_px_stat_inode(r.px, r.dir, &st);
    if (err == 0) {
        wg_px_iatt(&st, r.dir->gfid, &out->attr);
        err = wg_append_start(&r.list, in->size < WG_IO_MAX ? in->size : WG_IO_MAX);
    }
    if (err == 0) {
        err = read_entries(&r, in->cookie, &st);
        err = finish(&r, out, err);
    }
    wg_px_release(r.px, r.dir);
    wg_unwind(f, err);
}
