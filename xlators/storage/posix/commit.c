/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers that wait for a disk, without a thread each: what a fop changed is synced by a committer,
 * which takes all that wait, syncs each inode once, and sends their answers. While it syncs, the next
 * ones gather. So many PUTs and names share a sync of their directory and a commit of the file system's
 * journal, and the thread that made the change goes on. Two committers: one syncs while the other answers.
 */
#include "posix.h"

#include <stdlib.h>

#include "dump.h"

#define COMMITTERS 2
#define SYNCED_MAX 128 /* inodes of one turn that are told apart; beyond, one may be synced twice */

struct waiting {
    struct waiting *next;
    struct wg_frame *f;
    struct px_inode *ino[2]; /* referenced; the second may be NULL */
};

struct px_commits {
    struct posix *px;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct waiting *first, **last;
    unsigned idle; /* committers that wait for work */
    bool stop;
    pthread_t thread[COMMITTERS];
    unsigned threads;
    atomic_uint_fast64_t answers, syncs, turns;
};

/* What one turn has synced. */
struct turn {
    unsigned n;
    struct {
        const struct px_inode *ino;
        int err;
    } done[SYNCED_MAX];
};

static int sync_one(struct posix *px, struct px_inode *ino)
{
    atomic_fetch_add_explicit(&px->commits->syncs, 1, memory_order_relaxed);
    if (ino->type == WG_DIR)
        return wg_px_sync_dir(px, ino->fd);
    /* What is neither can't be opened without effects; its attributes go with the journal. */
    return ino->type == WG_REG ? wg_px_sync_inode(px, ino, false) : 0;
}

static int sync_once(struct posix *px, struct turn *t, struct px_inode *ino)
{
    int err;

    for (unsigned i = 0; i < t->n; i++)
        if (t->done[i].ino == ino)
            return t->done[i].err;
    err = sync_one(px, ino);
    if (t->n < SYNCED_MAX) {
        t->done[t->n].ino = ino;
        t->done[t->n++].err = err;
    }
    return err;
}

/* All inodes of the turn first, then the answers: a frame is gone once it is unwound. */
static void take_turn(struct posix *px, struct waiting *list)
{
    struct turn t = { .n = 0 };

    for (struct waiting *w = list; w; w = w->next)
        for (unsigned i = 0; i < 2 && w->ino[i]; i++) {
            int err = sync_once(px, &t, w->ino[i]);

            w->f->err = w->f->err ? w->f->err : err;
        }
    for (struct waiting *w = list, *next; w; w = next) {
        struct wg_frame *f = w->f;

        next = w->next;
        for (unsigned i = 0; i < 2 && w->ino[i]; i++)
            wg_px_release(px, w->ino[i]);
        wg_unwind(f, f->err);
    }
}

static void *committer(void *arg)
{
    struct px_commits *c = arg;

    pthread_mutex_lock(&c->lock);
    for (;;) {
        struct waiting *list;

        while (!c->first && !c->stop) {
            c->idle++;
            pthread_cond_wait(&c->wake, &c->lock);
            c->idle--;
        }
        list = c->first;
        c->first = NULL;
        c->last = &c->first;
        if (!list)
            break;
        pthread_mutex_unlock(&c->lock);
        atomic_fetch_add_explicit(&c->turns, 1, memory_order_relaxed);
        take_turn(c->px, list);
        pthread_mutex_lock(&c->lock);
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

static void unwind_here(struct posix *px, struct wg_frame *f, struct px_inode *a, struct px_inode *b)
{
    int err = sync_one(px, a), e = b ? sync_one(px, b) : 0;

    wg_unwind(f, err ? err : e);
}

void wg_px_unwind_durable(struct wg_frame *f, int err, struct px_inode *a, struct px_inode *b)
{
    struct px_commits *c = wg_px(f)->commits;
    struct waiting *w;
    bool wake;

    if (err || !a)
        return wg_unwind(f, err);
    w = WG_NEW(&f->call->arena, struct waiting);
    if (!w)
        return unwind_here(c->px, f, a, b);
    *w = (struct waiting){ .f = f, .ino = { a, b == a ? NULL : b } };
    for (unsigned i = 0; i < 2 && w->ino[i]; i++)
        wg_px_hold(w->ino[i]);
    f->err = 0;
    f->call->nowait = false; /* its time says nothing about the thread that ran it */
    atomic_fetch_add_explicit(&c->answers, 1, memory_order_relaxed);
    pthread_mutex_lock(&c->lock);
    *c->last = w;
    c->last = &w->next;
    wake = c->idle > 0;
    if (wake)
        pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&c->lock);
}

int wg_px_commits_start(struct posix *px)
{
    struct px_commits *c = calloc(1, sizeof *c);
    int err = 0;

    if (!c)
        return ENOMEM;
    px->commits = c;
    c->px = px;
    c->last = &c->first;
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->wake, NULL);
    while (err == 0 && c->threads < COMMITTERS) {
        err = pthread_create(&c->thread[c->threads], NULL, committer, c);
        c->threads += err == 0;
    }
    return c->threads > 0 ? 0 : err;
}

void wg_px_commits_stop(struct posix *px)
{
    struct px_commits *c = px->commits;

    if (!c)
        return;
    pthread_mutex_lock(&c->lock);
    c->stop = true;
    pthread_cond_broadcast(&c->wake);
    pthread_mutex_unlock(&c->lock);
    for (unsigned i = 0; i < c->threads; i++)
        pthread_join(c->thread[i], NULL);
    pthread_cond_destroy(&c->wake);
    pthread_mutex_destroy(&c->lock);
    free(c);
    px->commits = NULL;
}

void wg_px_commits_dump(struct posix *px, struct wg_dump *d)
{
    const struct px_commits *c = px->commits;

    wg_dump_object(d, "commits");
    wg_dump_u64(d, "answers", atomic_load(&c->answers));
    wg_dump_u64(d, "syncs", atomic_load(&c->syncs));
    wg_dump_u64(d, "turns", atomic_load(&c->turns));
    wg_dump_end(d);
}
