/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the S3 fops (get, put, del, list, stage, setmeta) share: from a key to its place in the
 * tree. An operation holds references on every directory of the path while it runs, all memory is
 * the call's arena.
 *
 * A key that ends with '/' names a directory object. Without content it is the directory itself
 * (PX_REC_MARKER, or an empty directory that no PUT made); with content it is the file `.@=` in
 * it, which goes first where both are.
 */
#ifndef WG_PX_S3_H
#define WG_PX_S3_H

#include "index.h"
#include "keymap.h"
#include "posix.h"

#define PX_S3_TRIES 64 /* of a put whose directories vanish under it */

struct px_s3 {
    struct posix *px;
    struct wg_frame *f;
    struct wg_arena *arena;
    struct wg_cred cred;    /* who operates: the caller; the brick in the uploads' space */
    struct wg_cred owner;   /* whose the files are: the caller */
    uint32_t space;
    bool marker;            /* the key ends with '/' */
    struct px_inode *base;  /* the bucket's directory, or its uploads' */
    unsigned ncomp;         /* components; the last is the file's name */
    char **name;
    struct px_inode **dir;  /* dir[i] holds name[i]; ndir are open, dir[0] is base */
    unsigned ndir;
    bool *made;             /* dir[i]'s entry in dir[i-1] may not be on disk yet */
    /* The twin's place, once asked for. Its directory is NULL when that isn't there. */
    struct px_inode *twin_dir;
    char *twin_name;
    struct px_inode *durable[2]; /* wg_px_s3_durable: referenced */
};

/* The object under a key, as found. */
struct px_obj {
    struct px_inode *ino;  /* referenced */
    struct px_inode *dir;  /* where it is: not referenced beyond the px_s3's own */
    const char *name;
    struct statx st;
    bool twin;
};

/* Maps the key and opens the base. EINVAL, ENAMETOOLONG, ESTALE, ENOTDIR. End it in any case. */
int wg_px_s3_begin(struct px_s3 *s, struct wg_frame *f, const struct wg_ref *bucket,
                   uint32_t space, struct wg_str key);
void wg_px_s3_end(struct px_s3 *s);
/* The base alone, for list. */
int wg_px_s3_base(struct px_s3 *s, struct wg_frame *f, const struct wg_ref *bucket, uint32_t space);

/*
 * Opens the directories of the path, the first n of them (at most ncomp). ENOENT when one is not
 * there; ELOOP when name[ndir-1] is a symlink, which is not followed.
 */
int wg_px_s3_walk(struct px_s3 *s, unsigned n);
/*
 * The same, making those that are not there (marked PX_REC_MADE); a file that has the name of one
 * takes its twin name. gfid: of the last one, if it is made; zero: a new one.
 */
int wg_px_s3_make(struct px_s3 *s, unsigned n, wg_gfid gfid);
/* Waits a little before one more try, the longer the more there have been. */
void wg_px_s3_pause(unsigned tries);
/* Forgets the directories (but the base), to walk again. */
void wg_px_s3_rewind(struct px_s3 *s);
/*
 * Puts every directory entry of the path that was made and may not be on disk yet there. (Not the
 * file's: the fop ends with wg_px_s3_unwind.) May leave the thread as the brick.
 */
int wg_px_s3_sync_path(struct px_s3 *s);
/* The fop's last change was in dir: its answer waits until that is on disk. A second one may be said. */
void wg_px_s3_durable(struct px_s3 *s, struct px_inode *dir);
/* Ends s, and unwinds: with err, or when what was said is on disk. */
void wg_px_s3_unwind(struct px_s3 *s, struct wg_frame *f, int err);

/* Finds the twin's place; make: with its chunk directory. Not under name locks. */
int wg_px_s3_twin(struct px_s3 *s, bool make);
/* Locks the names under which the key's file may be. */
void wg_px_s3_lock(struct px_s3 *s, struct px_names *held);
/* The same for a directory object, and the name of the directory itself. */
void wg_px_s3_lock_dir(struct px_s3 *s, struct px_names *held);
/*
 * The object under the key: plain name, then twin. ENOENT; EISDIR for a directory without an
 * object beside it. A symlink is answered as it is; other special files are ENOENT.
 */
int wg_px_s3_look(struct px_s3 *s, struct px_obj *ret);
/* The directory object of a walked marker key: dir[ncomp-1]. ENOENT when it is none. */
int wg_px_s3_look_dir(struct px_s3 *s, struct px_rec *rec, struct statx *st);

/* Whether a directory is an object itself: marked, or empty. 0 or ENOENT. */
int wg_px_s3_is_object(struct px_s3 *s, struct px_inode *dir, const struct px_rec *rec,
                       const struct statx *st);
/* The ETag of a directory object. */
void wg_px_s3_dir_etag(struct posix *px, const struct px_rec *rec, const struct statx *st,
                       struct wg_etag *ret);
/* Whether a directory holds no name at all. As the thread's identity. */
int wg_px_dir_empty(int fd, bool *ret);

struct px_cond {
    uint32_t flags; /* WG_IF_* */
    const struct wg_etag *match;
    uint64_t size;
    struct wg_time mtime;
};
/* There is an object with this ETag and st: 0 or ECONDITION. */
int wg_px_s3_check(const struct px_cond *c, const struct wg_etag *etag, const struct statx *st);
/* There is none: 0, or ENOENT, for conditions that ask for one. */
int wg_px_s3_check_none(const struct px_cond *c);

/* Around a change of a directory: wg_px_index_before and _after with their statx. */
void wg_px_s3_before(struct posix *px, struct px_inode *dir);
void wg_px_s3_after(struct posix *px, struct px_inode *dir);

/*
 * Removes directories that PUTs made and that have become empty, from dir[last] upwards. Any
 * that is not quite empty, or not made by a PUT, ends it.
 */
void wg_px_s3_prune(struct px_s3 *s, unsigned last);
/* An inode lost a name: tables, index and caches forget what must be. last: it was the last one. */
void wg_px_s3_gone(struct px_s3 *s, struct px_inode *dir, const char *name, struct px_inode *ino,
                   const struct statx *st, bool last);

/* ---- stage.c ------------------------------------------------------------------------------------- */

int wg_px_stage_start(struct posix *px);
void wg_px_stage_stop(struct posix *px);
/* The uploads' directory of a bucket, made when absent; referenced. Leaves the thread as the brick. */
int wg_px_uploads(struct posix *px, wg_gfid bucket, struct px_inode **ret);
/* Where replacements are linked before they are renamed over: .windgate/staging. */
int wg_px_staging_fd(struct posix *px);

/*
 * A new unnamed file in dir, as s->cred, owned by s->owner, of mode attrs' or the usual; in the
 * table, pinned, with a record that holds gfid. data_fd: O_RDWR, the caller closes it or gives it on.
 */
int wg_px_tmpfile(struct px_s3 *s, struct px_inode *dir, wg_gfid gfid, const struct wg_sattr *attrs,
                  struct px_inode **ret, int *ret_fd);
/* The staged file, referenced; ENOENT. It stays in the table. */
int wg_px_staged(struct posix *px, wg_gfid gfid, struct px_inode **ret);
/* Takes it out of the table, which drops the table's reference. false: it was not there. */
bool wg_px_stage_take(struct posix *px, wg_gfid gfid);

#endif
