/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Twins: two inodes with one gfid, since somebody copied a file inside the brick with its xattrs. The one that was
 * born later gets a gfid of its own, and `windgate status` shows where they are.
 */
#define WG_LOG_PART "index"
#include "index.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "dump.h"
#include "log.h"

#define SHOWN 32 /* the latest */

struct px_twins {
    pthread_mutex_t lock; /* a leaf */
    uint64_t count;
    char *text[SHOWN];
};

int wg_px_twins_start(struct px_index *ix)
{
    ix->twins = calloc(1, sizeof *ix->twins);
    if (!ix->twins)
        return ENOMEM;
    pthread_mutex_init(&ix->twins->lock, NULL);
    return 0;
}

void wg_px_twins_stop(struct px_index *ix)
{
    if (!ix->twins)
        return;
    for (unsigned i = 0; i < SHOWN; i++)
        free(ix->twins->text[i]);
    pthread_mutex_destroy(&ix->twins->lock);
    free(ix->twins);
    ix->twins = NULL;
}

/* Of dir's name (NULL: of dir), from the brick's root, or as the kernel shows it. */
static void path_of(struct posix *px, int fd, const char *name, char *to, size_t size)
{
    char path[PX_FD_PATH], root[PATH_MAX], at[PATH_MAX];
    ssize_t n = readlink(wg_px_fd_path(path, fd), at, sizeof at - 1);
    ssize_t skip = readlink(wg_px_fd_path(path, px->root_fd), root, sizeof root);

    at[n > 0 ? n : 0] = '\0';
    if (skip <= 1 || skip > n || strncmp(at, root, (size_t)skip) != 0 || (at[skip] && at[skip] != '/'))
        skip = 0;
    if (name)
        snprintf(to, size, "%s/%s", at + skip, name);
    else
        snprintf(to, size, "%s", at + skip);
}

void wg_px_twins_note(struct posix *px, int first, const char *first_name, int copy, const char *copy_name,
                      bool mended)
{
    struct px_twins *t = px->index->twins;
    char *a = malloc(2 * PATH_MAX), *b = malloc(2 * PATH_MAX), *text = NULL;

    if (a && b) {
        path_of(px, first, first_name, a, 2 * PATH_MAX);
        path_of(px, copy, copy_name, b, 2 * PATH_MAX);
        if (asprintf(&text, mended ? "%s is a copy of %s with its xattrs; it has got an id of its own"
                                   : "%s is a copy of %s with its xattrs; both have one id", b, a) < 0)
            text = NULL;
    }
    free(a);
    free(b);
    if (text)
        wg_warning("%s", text);
    pthread_mutex_lock(&t->lock);
    free(t->text[t->count % SHOWN]);
    t->text[t->count++ % SHOWN] = text;
    pthread_mutex_unlock(&t->lock);
}

void wg_px_twins_dump(struct px_index *ix, struct wg_dump *d)
{
    struct px_twins *t = ix->twins;

    pthread_mutex_lock(&t->lock);
    if (t->count > 0) {
        wg_dump_u64(d, "twins", t->count);
        wg_dump_array(d, "twin_files");
        for (unsigned i = 0; i < SHOWN; i++)
            if (t->text[i])
                wg_dump_str(d, NULL, t->text[i]);
        wg_dump_end(d);
    }
    pthread_mutex_unlock(&t->lock);
}

/* ---- one pair ------------------------------------------------------------------------------------ */

struct place {
    struct px_inode *dir;
    const char *name;
    struct statx st;
};

/* Does the place hold an inode whose record says gfid? */
static bool holds(struct posix *px, struct place *p, wg_gfid gfid)
{
    struct px_rec rec;

    return wg_px_stat_at(p->dir->fd, p->name, &p->st) == 0 &&
           (S_ISREG(p->st.stx_mode) || S_ISDIR(p->st.stx_mode)) &&
           wg_px_rec_get_at(px, p->dir->fd, p->name, &rec) == 0 && wg_gfid_eq(rec.gfid, gfid);
}

static bool are_twins(struct posix *px, struct place *a, struct place *b, wg_gfid gfid)
{
    return holds(px, a, gfid) && holds(px, b, gfid) && a->st.stx_ino != b->st.stx_ino;
}

static bool born_later(const struct statx *a, const struct statx *b)
{
    if (a->stx_btime.tv_sec != b->stx_btime.tv_sec)
        return a->stx_btime.tv_sec > b->stx_btime.tv_sec;
    return a->stx_btime.tv_nsec > b->stx_btime.tv_nsec;
}

/* Both names are locked. */
static int part(struct posix *px, struct place *first, struct place *copy, wg_gfid gfid, bool copy_indexed,
                wg_gfid *ret)
{
    struct px_inode *ino = wg_px_peek(px, gfid);
    int err;

    wg_px_ident_drop(px, &copy->st);
    if (ino && ino->ino == copy->st.stx_ino)
        wg_px_forget(px, ino);
    if (ino)
        wg_px_release(px, ino);
    if (copy_indexed) /* the row's handle is the copy's */
        (void)wg_px_index_remove(px, copy->dir->gfid, copy->name, gfid, true);
    err = wg_px_renew(px, copy->dir, copy->name, ret);
    if (copy_indexed)
        (void)wg_px_index_add(px, first->dir->gfid, first->name, gfid, wg_px_type(first->st.stx_mode), NULL, 0);
    return err;
}

static int settle(struct px_index *ix, struct place *met, struct place *known, wg_gfid gfid)
{
    const struct px_at at[] = { { met->dir->gfid, met->name }, { known->dir->gfid, known->name } };
    struct place *first = known, *copy = met;
    struct posix *px = ix->px;
    struct px_names held;
    wg_gfid new;
    int err = 0;
    bool twins;

    wg_px_lock_names(px, &held, at, 2);
    twins = are_twins(px, met, known, gfid);
    if (twins && born_later(&known->st, &met->st)) {
        first = met;
        copy = known;
    }
    if (twins)
        err = px->readonly ? EROFS : part(px, first, copy, gfid, copy == known, &new);
    wg_px_unlock_names(px, &held);
    if (twins)
        wg_px_twins_note(px, first->dir->fd, first->name, copy->dir->fd, copy->name, err == 0);
    if (twins && err == 0 && S_ISDIR(copy->st.stx_mode)) {
        wg_px_index_want_scan(ix, gfid);
        wg_px_index_want_scan(ix, new);
    }
    return err == EROFS ? 0 : err;
}

int wg_px_twins_look(struct px_index *ix, struct px_inode *dir, const char *name, wg_gfid gfid)
{
    struct place met = { .dir = dir, .name = name };
    struct px_where *w = malloc(sizeof *w);
    int err = w ? 0 : ENOMEM;

    for (unsigned nth = 0; !err && wg_px_index_find_nth(ix->px, gfid, nth, w) == 0; nth++) {
        struct wg_ref ref = { .gfid = w->parent };
        struct place known = { .name = w->name };

        if (wg_gfid_eq(w->parent, dir->gfid) && strcmp(w->name, name) == 0)
            continue;
        if (wg_px_find_indexed(ix->px, &ref, &known.dir) != 0)
            continue;
        if (known.dir->type == WG_DIR && are_twins(ix->px, &met, &known, gfid)) {
            err = settle(ix, &met, &known, gfid);
            wg_px_release(ix->px, known.dir);
            break;
        }
        wg_px_release(ix->px, known.dir);
    }
    free(w);
    return err;
}
