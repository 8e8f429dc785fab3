/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The index beyond what posix.h declares: pages of names for list, completeness of directories,
 * and what index.c and rebuild.c share.
 *
 * Tables (LMDB):
 *   gfids  gfid -> type, hint length, name length, parent's gfid, hint, name
 *   names  directory number, sort form of the name (keymap.h) -> gfid, type
 *   links  gfid, parent's gfid, name -> type: without handles, names of gfid beside that in gfids
 *   dirs   directory number -> mtime of the directory up to which its rows are complete
 * The directory number is 8 bytes made of the gfid's 16.
 */
#ifndef WG_PX_INDEX_H
#define WG_PX_INDEX_H

#include <lmdb.h>

#include "journal.h"
#include "keymap.h"

struct px_row {
    wg_gfid gfid; /* zero: not known */
    uint8_t type;
    uint16_t sort_len;
    uint8_t sort[WG_KEY_SORT_MAX];
};

/*
 * The next rows of a directory, at most max, whose sort form is not below from. Names added before
 * the call are there; names removed may be. *ret_n < max at the end.
 */
int wg_px_index_page(struct posix *px, wg_gfid dir, const uint8_t *from, uint32_t from_len,
                     struct px_row *rows, unsigned max, unsigned *ret_n);
/* The same from the directory itself: costs the directory. gfids are zero. As the caller's identity. */
int wg_px_readdir_page(int dirfd, bool is_root, const uint8_t *from, uint32_t from_len,
                       struct px_row *rows, unsigned max, unsigned *ret_n);

/*
 * Whether wg_px_index_page may be used for dir, whose mtime now is st's. Where somebody else has
 * changed the directory, a small one is scanned first, and a big one in the background. Leaves the
 * thread as the brick when it scanned.
 */
bool wg_px_index_complete(struct posix *px, struct px_inode *dir, const struct statx *st);

/* Forgets completeness and goes through the whole brick again, in the background. */
void wg_px_index_rebuild(struct posix *px);
/* Applies what is queued; tests and dumps. */
int wg_px_index_flush(struct posix *px);

/* ---- shared by index.c and rebuild.c --------------------------------------------------------- */

#define PX_SEEN 8192
#define PX_FAILED 64

/* What we know of a directory's mtime; direct-mapped, so it may be forgotten. */
struct px_seen {
    uint64_t dir;
    struct wg_time start, mtime; /* all changes from start to mtime were our own */
    uint32_t inflight;
    uint32_t lost; /* how often we lost track, whichever directory's the slot was */
    bool born, broken;
};

struct px_twins; /* twins.c */

struct px_index {
    struct posix *px;
    int dirfd; /* .windgate/index */
    int data_fd;
    uint64_t allocated; /* bytes of the data file that have blocks */
    MDB_env *env;
    MDB_dbi gfids, names, dirs, links;
    pthread_rwlock_t map;    /* transactions shared; resizing and replacing the environment alone */
    pthread_mutex_t writer;  /* the one that applies; before map */
    struct px_journal *journal;
    pthread_mutex_t mutex;   /* what follows; a leaf */
    pthread_cond_t wake;     /* the applier's */
    pthread_cond_t work;     /* the builder's */
    pthread_t applier, builder;
    bool stop, have_applier, have_builder;
    wg_gfid *todo;           /* directories to scan */
    uint32_t ntodo, todo_max;
    wg_gfid uploads;         /* a second tree to scan; zero: not known yet */
    wg_gfid failed[PX_FAILED]; /* to scan again, at retry_ns */
    uint32_t nfailed;
    uint64_t retry_ns, began_ns;
    struct px_twins *twins;
    bool replaced;           /* the writer's: rows that claim completeness are void */
    atomic_bool complete;    /* every directory has been scanned or made since */
    atomic_bool rebuilding;  /* set before anything is lost, cleared when every name is there */
    atomic_uint share;       /* per cent of its time that a rebuild works while there are calls */
    atomic_uint_fast64_t applied, batches, scanned, dropped, resets,
        rebuilt_dirs, rebuilt_names;
    pthread_mutex_t seen_lock[64];
    struct px_seen seen[PX_SEEN];
};

uint64_t wg_px_dir_number(wg_gfid dir);
/*
 * where.c, in a transaction: gfid is at the row's place now; it is there no more (as long as it has other
 * names); it is nowhere; read it, or the nth other name (from 1; ENOENT). LMDB's errors, but get: errno.
 */
int wg_px_where_put(struct px_index *ix, MDB_txn *txn, const struct px_jrow *r);
int wg_px_where_del(struct px_index *ix, MDB_txn *txn, const struct px_jrow *r);
int wg_px_where_forget(struct px_index *ix, MDB_txn *txn, const struct px_jrow *r);
int wg_px_where_get(struct px_index *ix, MDB_txn *txn, const wg_gfid *gfid, unsigned nth, struct px_where *ret);
void wg_px_dir_key(wg_gfid dir, uint8_t b[8]);
/* The mtime up to which a directory's rows are complete; number 0: the mark of the whole brick. */
int wg_px_index_get_dir(struct px_index *ix, const uint8_t number[8], struct wg_time *ret);
/* What is known of directories is kept over a clean restart. */
void wg_px_seen_save(struct px_index *ix);
/* dir, whose mtime is now, is about to be scanned. Returns what wg_px_seen_scanned wants. */
uint32_t wg_px_seen_scanning(struct px_index *ix, wg_gfid dir, struct wg_time now);
/* dir has been scanned: its rows were complete when its mtime was at, which was read after the scan was told. */
void wg_px_seen_scanned(struct px_index *ix, wg_gfid dir, struct wg_time at, uint32_t lost);
/* Is this very row there already, of what has been applied? *ret_elsewhere: gfid has a row, of another name. */
bool wg_px_index_has(struct px_index *ix, wg_gfid dir, const char *name, wg_gfid gfid, uint8_t type,
                     bool *ret_elsewhere);
int wg_px_index_log(struct px_index *ix, struct px_jrow *row, const char *name);
/* Scans one directory: adds rows for all names, then notes it as complete. As the brick at return. */
int wg_px_index_scan(struct px_index *ix, struct px_inode *dir);
void wg_px_index_want_scan(struct px_index *ix, wg_gfid dir);
int wg_px_twins_start(struct px_index *ix);
void wg_px_twins_stop(struct px_index *ix);
void wg_px_twins_dump(struct px_index *ix, struct wg_dump *d);
/*
 * name, which holds gfid and is not in the index: does another inode have the same gfid? Then the later one gets
 * another. No name is locked. As the brick at return.
 */
int wg_px_twins_look(struct px_index *ix, struct px_inode *dir, const char *name, wg_gfid gfid);
/* Queues the scan of the whole brick; the caller has noted that nothing is complete. */
void wg_px_builder_whole(struct px_index *ix);
/* Its progress, while there is one. */
void wg_px_builder_dump(struct px_index *ix, struct wg_dump *d);
int wg_px_builder_start(struct px_index *ix);
void wg_px_builder_stop(struct px_index *ix);

#endif
