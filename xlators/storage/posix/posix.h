/* SPDX-License-Identifier: Apache-2.0 */
/*
 * storage/posix, a brick's store: what its files share. Why and how: ../README.md; the bytes on
 * disk: docs/on-disk-format.md. "R<n>" cites a rule of the README.
 *
 * Lock order (R1). Take them only downwards; never two of one row except as the row says:
 *   1. names      wg_px_lock_names: stripes over (directory gfid, name), all of an operation at once
 *   2. inode      px_inode.content: shared by write, exclusive by setattr, publish, re-stamp;
 *                 two inodes in order of address
 *   3. index      inside index.c
 *   4. leaves     px_inode.mutex, table shards, streams, retained: no system call that can block
 *                 on another thread, no other lock inside
 */
#ifndef WG_POSIX_H
#define WG_POSIX_H

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "call.h"
#include "iobuf.h"
#include "keymap.h"
#include "lease.h"
#include "list.h"
#include "xlator.h"

#define PX_PRIVATE ".windgate" /* the reserved directory at the brick's root */
#define PX_SHARDS 64
#define PX_STRIPES 1024
#define PX_SLOTS 4   /* data fds kept open per inode */

struct posix;
struct px_index; /* index.c */
struct px_stage; /* stage.c: files under construction */
struct px_done; /* done.c */
struct px_commits; /* commit.c: answers that wait for a sync */

/* ---- identity (identity.c) --------------------------------------------------------------- */

/*
 * The calling thread takes the identity of cred: fsuid, fsgid and groups by raw system calls,
 * only where they differ from the thread's present ones. It stays until the next switch (R2), so
 * every function that needs one says which, and sets it. EPERM when the kernel refuses.
 * Unprivileged bricks have one identity; there it does nothing.
 */
int wg_px_as(struct posix *px, const struct wg_cred *cred);
/* The brick's own identity, with all capabilities: handles, records, the private directory. */
int wg_px_as_brick(struct posix *px);
/* The brick's identity for a moment, then again what begin answered. */
uint32_t wg_px_brick_begin(struct posix *px);
void wg_px_brick_end(struct posix *px, uint32_t uid);
/* A number for cred, equal for equal identities of this process; 0 when there are too many. */
uint32_t wg_px_who(const struct wg_cred *cred);

/* ---- the record (record.c) --------------------------------------------------------------- */

enum {
    PX_REC_CLEAN = 1,    /* etag, size, mtime are of this content, if size and mtime match */
    PX_REC_EXCL = 2,     /* not clean; md5 begins with the createverf3 of an exclusive create */
    PX_REC_META = 4,     /* a second xattr holds meta */
    PX_REC_MADE = 8,     /* a directory that a PUT made; vanishes with its last key */
    PX_REC_MARKER = 16,  /* a directory that is an object: the key with "/" at its end */
    PX_REC_UNSYNCED = 128, /* a directory whose name may not be on disk: a PUT below it sees to that */
    PX_REC_KEYDIR = 96,  /* of directories: enum wg_key_dir, what it is to the names in it */
};
#define PX_KEYDIR_SHIFT 5

/* One xattr of 64 bytes per inode: trusted.wg, or user.wg on unprivileged bricks. */
struct px_rec {
    wg_gfid gfid;
    uint32_t generation; /* of the content: grows at each clean to dirty */
    uint8_t flags;
    uint16_t parts;      /* of the ETag */
    uint8_t md5[16];
    uint64_t size;
    struct wg_time mtime;
};

/*
 * As the brick or any caller (reading and writing trusted.* survives a switch of fsuid; user.wg
 * exists only where there is one identity). fd may be O_PATH. ENODATA: no record; EIO: damaged.
 * ENOTSUP on inodes that can't hold one (unprivileged symlinks, ...): use wg_px_rec_derive.
 */
int wg_px_rec_get(struct posix *px, int fd, struct px_rec *ret);
int wg_px_rec_set(struct posix *px, int fd, const struct px_rec *rec);
/* The first one of an inode (EEXIST), unless replace. */
int wg_px_rec_init(struct posix *px, int fd, const struct px_rec *rec, bool replace);
/* The same by name, not following it. */
int wg_px_rec_get_at(struct posix *px, int dirfd, const char *name, struct px_rec *ret);
int wg_px_rec_set_at(struct posix *px, int dirfd, const char *name, const struct px_rec *rec);
/* The gfid of an inode that can't hold a record: hash(volume, inode number, birth time). */
wg_gfid wg_px_rec_derive(const struct posix *px, const struct statx *st);

/* The second xattr. buf holds WG_META_MAX bytes; *ret_len 0 when there is none. len 0 removes it. */
int wg_px_meta_get(struct posix *px, int fd, void *buf, uint32_t size, uint32_t *ret_len);
int wg_px_meta_set(struct posix *px, int fd, const void *meta, uint32_t len);

/* Changed so lately that a change under way may still leave the same mtime. */
bool wg_px_young(const struct statx *st);
/* Does the record's ETag hold for what statx says? */
bool wg_px_rec_holds(const struct px_rec *rec, const struct statx *st);
/* rec becomes clean with this ETag for what st says (after the last write, before publish). */
void wg_px_rec_stamp(struct px_rec *rec, const struct wg_etag *etag, const struct statx *st);

struct px_inode;

/*
 * The ETag of an inode: the record's while it holds, else synthetic. rec and st are what the
 * caller read. ino may be NULL (lists); then it is looked for in the table by gfid when st is
 * young, so that a write under way can't leave this ETag behind on other content (R6).
 */
void wg_px_etag(struct posix *px, struct px_inode *ino, const struct px_rec *rec,
                const struct statx *st, struct wg_etag *ret);
/*
 * Before the first change of a regular file's content: makes its record dirty, once; cheap when
 * it is. The caller holds ino->content, shared or exclusive. wg_px_changed ends the change.
 */
int wg_px_change(struct posix *px, struct px_inode *ino);
void wg_px_changed(struct posix *px, struct px_inode *ino);

/* ---- inodes (table.c, resolve.c) --------------------------------------------------------- */

/* A data fd, for one identity, access mode and the permission bits it was opened under. */
struct px_slot {
    int fd; /* -1: free */
    uint32_t users;
    uint32_t who;   /* wg_px_who */
    uint8_t access; /* O_RDONLY, O_WRONLY or O_RDWR */
    bool unstable;  /* unsynced writes went through it: stays open until commit */
    bool stale;     /* permissions changed: close at the last user */
    uint32_t mode, uid, gid;
    uint64_t used;  /* of the inode's opens: the lowest is given up first */
};

#define PX_DEAD 0x80000000u /* in refs: out of the table; the last release frees it */

/* An inode in use or lately used. Fields without a note are constant while it is referenced. */
struct px_inode {
    wg_gfid gfid;
    struct posix *px;
    uint64_t ino; /* the kernel's number */
    uint8_t type; /* enum wg_type */
    uint8_t hint_len;
    uint8_t hint[WG_HINT_MAX]; /* handle type, handle bytes */
    int fd;                    /* O_PATH */
    atomic_uint refs;
    atomic_bool used;     /* since the table's hand last passed */
    atomic_bool pinned;   /* has no name yet: never evicted, nlink 0 is no reason for ESTALE */
    atomic_bool dirty;    /* the record is known to be dirty: nothing to do before a change */
    atomic_bool observed; /* a synthetic ETag went out (R6) */
    atomic_uint writers;
    atomic_uint changes;  /* of its content, counted before each begins; references compare it */
    atomic_uint unstable; /* slots with unsynced writes */
    atomic_bool large;    /* uncached.c: at least px->uncached_size, when last seen */
    atomic_uint_fast64_t pass; /* uncached.c: where the first pass of readers is */
    atomic_uint begun, ended; /* changes of it or of its names: struct px_alone */
    pthread_rwlock_t content; /* R1, row 2 */
    pthread_mutex_t mutex;    /* slots, rec */
    bool rec_known;
    struct px_rec rec; /* under mutex, while rec_known */
    uint64_t opens;
    struct px_slot slot[PX_SLOTS];
    struct px_inode *chain, *next, *prev; /* the shard's: hash chain, ring */
};

/*
 * The inode of a ref: from the table, or opened by its handle (or by the index's handle, or
 * parent and name; or among the retained), its record checked. Leaves the thread as the brick when it
 * had to open it. *ret is referenced; wg_px_release it. ESTALE: there is no such inode; EAGAIN: only the
 * index could tell, and it is being rebuilt.
 */
int wg_px_find(struct posix *px, const struct wg_ref *ref, struct px_inode **ret);
/* The same for who rebuilds it: ESTALE when the index knows it not, or not where it is. */
int wg_px_find_indexed(struct posix *px, const struct wg_ref *ref, struct px_inode **ret);
static inline void wg_px_hold(struct px_inode *ino)
{
    atomic_fetch_add(&ino->refs, 1);
}
/*
 * The inode of a name gets a new gfid: it is a copy of another, xattrs and all. Its name is locked, and the table
 * and ident know it not.
 */
int wg_px_renew(struct posix *px, struct px_inode *dir, const char *name, wg_gfid *ret);
/* For status: copy (a name in the directory, or with NULL what fd is itself) had the gfid of first. Any thread. */
void wg_px_twins_note(struct posix *px, int first, const char *first_name, int copy, const char *copy_name,
                      bool mended);
/* Only when it is in the table already; NULL otherwise. */
struct px_inode *wg_px_peek(struct posix *px, wg_gfid gfid);
void wg_px_release(struct posix *px, struct px_inode *ino);
/* wg_px_find, and ENOTDIR when it is no directory. */
int wg_px_find_dir(struct posix *px, const struct wg_ref *ref, struct px_inode **ret);

int wg_px_idents_start(struct posix *px);
void wg_px_idents_stop(struct posix *px);
/* st may be NULL, when the birth time is checked later. */
bool wg_px_ident_get(struct posix *px, uint64_t ino, const struct statx *st, struct wg_ref *ret);
void wg_px_ident_learn(struct posix *px, const struct statx *st, const struct wg_ref *ref);
/*
 * Who a name is: ref (gfid and hint) and attributes, without opening it: two system calls cold, one
 * warm. For the rest as wg_px_child.
 */
int wg_px_ident(struct posix *px, const struct wg_cred *cred, struct px_inode *dir,
                const char *name, struct wg_ref *ret, struct statx *st);
/* An inode was made (its record is set) or lost its last name. The name's lock is held. */
void wg_px_ident_put(struct posix *px, const struct statx *st, const struct wg_ref *ref);
void wg_px_ident_drop(struct posix *px, const struct statx *st);
/*
 * What a name holds. The thread's identity is the caller's (wg_px_as) and is again at return. name is
 * NUL-terminated and checked (wg_px_name). Gives a record to an inode that has none. st may be
 * NULL. Never follows a symlink. ENOENT; EXDEV at a mount point.
 */
int wg_px_child(struct posix *px, const struct wg_cred *cred, struct px_inode *dir,
                const char *name, struct px_inode **ret, struct statx *st);
/*
 * Puts an inode that the caller has made, with its record set, into the table. fd: O_PATH or any, taken
 * over (also on error). pinned: it has no name yet; it stays until wg_px_unpin.
 */
int wg_px_adopt(struct posix *px, int fd, const struct px_rec *rec, const struct statx *st,
                bool pinned, struct px_inode **ret);
/* The same for an inode that has just got its name: nobody has seen its content. */
int wg_px_adopt_new(struct posix *px, int fd, const struct px_rec *rec, const struct statx *st,
                    struct px_inode **ret);
void wg_px_unpin(struct posix *px, struct px_inode *ino);
/* The inode lost its last name: forget it, so that its number may be used again. */
void wg_px_forget(struct posix *px, struct px_inode *ino);
/* Forgets what the table knows of the record (after wg_px_rec_set on a referenced inode). */
void wg_px_rec_changed(struct posix *px, struct px_inode *ino, const struct px_rec *rec);
/* The record: the table's copy, or read. */
int wg_px_rec(struct posix *px, struct px_inode *ino, struct px_rec *ret);

/* A data fd of a regular file. Close it with wg_px_close. */
struct px_open {
    int fd;
    struct px_slot *slot; /* NULL: not cached, closed at once */
};
/*
 * As cred, with NFS's own rules after EACCES (the owner may; execute permits reading). access is
 * O_RDONLY or O_RDWR (O_WRONLY). EISDIR, EINVAL for what is no regular file.
 */
int wg_px_open(struct posix *px, const struct wg_cred *cred, struct px_inode *ino, int access,
               struct px_open *ret);
void wg_px_close(struct posix *px, struct px_inode *ino, struct px_open *o);
/*
 * false: the permissions in st are not those that a cached fd was opened under; it is given up, and
 * the caller closes o and opens again.
 */
bool wg_px_open_fresh(struct px_inode *ino, struct px_open *o, const struct statx *st);
/* setattr changed who may open ino. */
void wg_px_close_all(struct posix *px, struct px_inode *ino);
/* Gives a data fd that the caller opened to the inode's slots (taken over, or closed). */
void wg_px_keep_open(struct posix *px, const struct wg_cred *cred, struct px_inode *ino,
                     int access, int fd);

/* statx of an inode; ESTALE when it has lost its last name. */
int wg_px_stat_inode(struct posix *px, struct px_inode *ino, struct statx *ret);
/* statx of an fd (mask: basic and birth); of a name, not following it. */
int wg_px_stat(int fd, struct statx *ret);
int wg_px_stat_at(int dirfd, const char *name, struct statx *ret);
void wg_px_iatt(const struct statx *st, wg_gfid gfid, struct wg_iatt *ret);
void wg_px_wcc_pre(const struct statx *st, struct wg_wcc *ret);

/*
 * A client that finds in a wcc's "before" the attributes it has cached takes all of its cache for valid
 * at "after" (RFC 1813 2.6). So "before" is given only when nobody else changed the inode in between (R9).
 * Every change is counted, also those without a wcc: begin before the attributes before, end
 * (or wcc_end, which also fills post) after the change.
 */
struct px_alone {
    unsigned ticket;
    bool alone;
};
static inline void wg_px_alone_begin(struct px_inode *ino, struct px_alone *a)
{
    a->ticket = atomic_fetch_add(&ino->begun, 1);
    a->alone = atomic_load(&ino->ended) == a->ticket;
}
static inline bool wg_px_alone_end(struct px_inode *ino, const struct px_alone *a)
{
    bool alone = a->alone && atomic_load(&ino->begun) == a->ticket + 1;

    atomic_fetch_add(&ino->ended, 1);
    return alone;
}
void wg_px_wcc_end(struct px_inode *ino, const struct px_alone *a, struct wg_wcc *wcc);
/* attr of an inode, by a fresh statx; valid false when that fails. */
void wg_px_attr(struct px_inode *ino, struct wg_iatt *ret);
void wg_px_ref(const struct px_inode *ino, struct wg_ref *ret);
uint8_t wg_px_type(uint16_t st_mode);
/* The kernel handle of fd as a hint; len 0 where there are none. As any identity. */
uint8_t wg_px_hint(struct posix *px, int fd, uint8_t hint[WG_HINT_MAX]);
uint8_t wg_px_hint_at(struct posix *px, int dirfd, const char *name, uint8_t hint[WG_HINT_MAX]);
/*
 * Unprivileged bricks only: between the two, the owner's permission bits of fd's inode allow
 * reading and writing (a file of mode 0444 can't get its xattr changed otherwise). One at a time.
 * false: nothing was lent.
 */
struct px_loan {
    int fd;
    uint32_t mode;
};
bool wg_px_lend(struct posix *px, int fd, struct px_loan *loan);
void wg_px_lend_end(struct posix *px, const struct px_loan *loan);

/*
 * Sets what sattr asks of mode, owner and times (not size), as cred. Holds ino->content exclusively, or
 * ino has no name yet. Re-stamps a clean record when mtime changes.
 */
int wg_px_set_attrs(struct posix *px, const struct wg_cred *cred, struct px_inode *ino,
                    const struct wg_sattr *attrs);
/* Truncates or extends, as cred. Holds ino->content exclusively. */
int wg_px_set_size(struct posix *px, const struct wg_cred *cred, struct px_inode *ino,
                   uint64_t size);

/*
 * Before the content of a file of that mode changes: who writes is cred's user, since the kernel takes the set-user-id
 * and set-group-id bits away from a file that others than root change. An fd kept open has not made the thread so.
 */
int wg_px_as_writer(struct posix *px, const struct wg_cred *cred, uint32_t mode);

/* ---- reading (io.c) ---------------------------------------------------------------------- */

/*
 * Fills buf from offset, until size or the end. EWOULDBLOCK when nowait and it may take time. May leave
 * the thread as the brick.
 */
int wg_px_read_full(struct posix *px, struct px_inode *ino, int fd, void *buf, uint32_t size, uint64_t offset,
                    bool nowait, uint32_t *ret);

/* ---- large files beside the page cache (uncached.c) ---------------------------------------- */

/* Its size, or what it will be, is known now. */
void wg_px_uncached_size(struct posix *px, struct px_inode *ino, uint64_t size);
/* Whether this read is of a large file's first pass. Counts it. */
bool wg_px_uncached_read(struct px_inode *ino, uint64_t offset, uint32_t size);
/* As preadv2 of one iovec, pwritev2; uncached is a wish. */
ssize_t wg_px_preadv(struct posix *px, int fd, const struct iovec *iov, uint64_t offset, bool nowait, bool uncached);
ssize_t wg_px_pwritev(struct posix *px, int fd, const struct iovec *iov, unsigned n, uint64_t offset, bool uncached);

/* ---- names (names.c) --------------------------------------------------------------------- */

enum px_use { PX_USE, PX_MAKE_FILE, PX_MAKE_DIR };

/*
 * Checks one component and copies it, NUL-terminated, to buf (WG_NAME_MAX + 1). EINVAL: empty, '/', NUL;
 * ENAMETOOLONG; the private directory: ENOENT, or EACCES when making. Making: also EEXIST for "."
 * and "..", and EINVAL for a name that would show no key (wg_key_name_ok).
 */
int wg_px_name(struct posix *px, struct px_inode *dir, struct wg_str name, enum px_use use,
               char buf[WG_NAME_MAX + 1]);
/* enum wg_key_dir of a directory; of the directory `name` to be made in it, as record flags. */
int wg_px_keydir(struct posix *px, struct px_inode *dir, unsigned *ret);
uint8_t wg_px_keydir_flags(const struct px_inode *parent, const char *name);

struct px_at {
    wg_gfid dir;
    const char *name;
};
struct px_names {
    unsigned n;
    uint16_t stripe[8];
};
/* All names of an operation at once (at most 8), in stripe order (R1). */
void wg_px_lock_names(struct posix *px, struct px_names *held, const struct px_at *at, unsigned n);
void wg_px_unlock_names(struct posix *px, struct px_names *held);

/* "/proc/self/fd/N" (or with "/name" after it) in buf, for calls that take only paths. */
#define PX_FD_PATH 32
const char *wg_px_fd_path(char buf[PX_FD_PATH], int fd);

/* ---- durability, space, replaced inodes (sync.c, retain.c) ------------------------------- */

/*
 * Around a change of a directory by an NFS-type fop, its names locked: attributes for the answer,
 * and the index is told. ESTALE when the directory is gone.
 */
int wg_px_dir_begin(struct posix *px, struct px_inode *dir, struct px_alone *a, struct wg_wcc *wcc);
void wg_px_dir_end(struct posix *px, struct px_inode *dir, const struct px_alone *a,
                   struct wg_wcc *wcc);
/*
 * Unwinds f with err; without an error only when inodes a and b (NULL: none) are on disk, as they are
 * at this call (commit.c). Takes its own references. The frame is not to be touched afterwards; it is unwound
 * on another thread.
 */
void wg_px_unwind_durable(struct wg_frame *f, int err, struct px_inode *a, struct px_inode *b);
/* The same for a change through NFS: it waits only when the option says so. */
static inline void wg_px_unwind_changed(struct wg_frame *f, int err, struct px_inode *a, struct px_inode *b);
/* fsync of a directory (any fd of it), as the brick (which the thread is afterwards). */
int wg_px_sync_dir(struct posix *px, int dirfd);
/* Unsynced writes went through o: its fd stays open until commit. */
void wg_px_unstable(struct posix *px, struct px_inode *ino, struct px_open *o);
/* What is unsynced of ino goes to disk, whoever wrote it. As any identity. */
int wg_px_sync_inode(struct posix *px, struct px_inode *ino, bool datasync);
/* fsync (datasync: fdatasync) of a data fd; a failure changes the brick's verifier. */
int wg_px_sync_fd(struct posix *px, int fd, bool datasync);
/* ENOSPC when less than the reserve (and bytes) is free: before anything that takes space. */
int wg_px_room(struct posix *px, uint64_t bytes);
/*
 * Before ino loses its last name by a publish or an S3 DELETE (names locked, content exclusive):
 * gives it a name among the replaced, so that it stays readable by handle for replaced-keep.
 * Does nothing when it has other names or the option is 0. wg_px_retain_undo when the removal failed.
 * Leaves the thread as the brick.
 */
int wg_px_retain(struct posix *px, struct px_inode *ino);
void wg_px_retain_undo(struct posix *px, struct px_inode *ino);
/* All replaced inodes go at once, to make room; false when there were none. */
bool wg_px_retain_drop_all(struct posix *px);

/* ---- requests sent again (done.c) --------------------------------------------------------- */

/*
 * Which of a client's requests (call->request_id; zero: none) have changed names and are not answered, over a
 * restart. begin makes f's change an id; then, with the names of the request locked: find before anything
 * else, mark before the change, end after it. What is noted goes with f's call.
 */
enum px_earlier {
    PX_NEVER,
    PX_BEGUN, /* by a process that was killed: it may have had its effect */
    PX_DONE,
};
/* Of f's change of that name: a layer above may make several for one request. {0, 0}: it has no id. */
void wg_px_done_begin(struct wg_frame *f, const struct px_inode *dir, const char *name, uint64_t ret[2]);
void wg_px_done_id(const struct wg_frame *f, const struct px_inode *dir, const char *name, uint64_t ret[2]); /* only that */
enum px_earlier wg_px_done_find(struct posix *px, const uint64_t id[2]);
void wg_px_done_mark(struct posix *px, const uint64_t id[2]);
void wg_px_done_end(struct posix *px, const uint64_t id[2], bool done);
int wg_px_done_start(struct posix *px);
void wg_px_done_stop(struct posix *px);

/* ---- the index (index.c) ----------------------------------------------------------------- */

/*
 * The index is a superset of the truth at every instant, kill -9 included: a name is added before
 * it is made in the file system, and removed after it is removed there (R5). Who reads a row
 * checks it with statx, and drops what isn't there. Each call below returns when the change is in the
 * journal (journal.h), which a killed process leaves behind; the caller holds the name's lock. The row of a name that has no record yet is
 * also the intent which says what gfid that inode was to get.
 * hint_len 0: not known (yet); the row then finds its inode by parent and name.
 */
int wg_px_index_open(struct posix *px);
void wg_px_index_close(struct posix *px);
int wg_px_index_add(struct posix *px, wg_gfid dir, const char *name, wg_gfid gfid, uint8_t type,
                    const uint8_t *hint, uint8_t hint_len);
/*
 * Removes the name's row if it is gfid's (a rename may have given it to another one), and with
 * last, when gfid has no other name now, its own row.
 */
int wg_px_index_remove(struct posix *px, wg_gfid dir, const char *name, wg_gfid gfid, bool last);
/* After a rename whose target row was added before it: removes the old name, moves gfid's parent and name. */
int wg_px_index_moved(struct posix *px, wg_gfid from_dir, const char *from, wg_gfid to_dir,
                      const char *to, wg_gfid gfid, uint8_t type);
/*
 * Where gfid was last: hint (length 0: none), and a parent and name. ENOENT.
 */
struct px_where {
    wg_gfid parent;
    uint8_t type, hint_len;
    uint8_t hint[WG_HINT_MAX];
    char name[WG_NAME_MAX + 1];
};
int wg_px_index_find(struct posix *px, wg_gfid gfid, struct px_where *ret);
/* The same, and with nth above 0 gfid's other names, which are kept where there are no handles. ENOENT: no more. */
int wg_px_index_find_nth(struct posix *px, wg_gfid gfid, unsigned nth, struct px_where *ret);
/* The gfid of a name's row. *ret_type: the type it must have (WG_NONE: any), and has. ENOENT. */
int wg_px_index_row(struct posix *px, wg_gfid dir, const char *name, wg_gfid *ret, uint8_t *ret_type);
/*
 * Around our own changes of a directory, so that others' are told apart by its mtime: before with
 * what statx said before the change, after with what it says then (NULL: not known). born: a directory
 * just made.
 */
void wg_px_index_before(struct posix *px, wg_gfid dir, const struct statx *pre);
void wg_px_index_after(struct posix *px, wg_gfid dir, const struct statx *post);
void wg_px_index_born(struct posix *px, wg_gfid dir, const struct statx *st);
void wg_px_index_dump(struct posix *px, struct wg_dump *d);
/* A rebuild under way, for `windgate status`; nothing otherwise. */
void wg_px_index_notes(struct posix *px, struct wg_dump *d);
/* The directory of uploads, which a rebuild scans besides the root. */
void wg_px_index_uploads(struct posix *px, wg_gfid dir);
/* Is a rebuild under way? Asked before a search, whose failing then says nothing. */
bool wg_px_index_rebuilding(struct posix *px);
/* Per cent of its time that a rebuild works while there are calls. */
void wg_px_index_share(struct posix *px, unsigned percent);

/* ---- the brick --------------------------------------------------------------------------- */

struct px_shard {
    pthread_mutex_t lock;
    struct px_inode **chains;
    uint32_t mask, count, max;
    struct px_inode *hand; /* a ring, for eviction by second chance */
    struct px_inode *spare;
} __attribute__((aligned(64)));

struct posix {
    struct wg_xlator *xl;
    int root_fd;     /* O_RDONLY | O_DIRECTORY */
    int private_fd;  /* .windgate */
    int replaced_fd; /* .windgate/replaced */
    int format_fd;   /* holds the lock that keeps a second brick off this root */
    struct px_inode *root; /* referenced for good */
    uint64_t dev_major, dev_minor;
    uint32_t fs_magic; /* statfs f_type */
    uint8_t cut_shift; /* of readdir's buckets; a test widens them */
    bool handles;      /* the format's mode: root (handles, trusted.wg) or unprivileged (user.wg) */
    bool switches;     /* this process can take callers' identities */
    const char *rec_name, *meta_name;
    uint8_t volume_id[16], brick_id[16];
    atomic_uint_fast64_t verf;
    uint64_t reserve;  /* bytes */
    int64_t replaced_keep_ms;
    uint64_t replaced_max;
    bool sync_names;   /* option */
    unsigned rebuild_share; /* option */
    atomic_uint_fast64_t uncached_size; /* option; 0: none */
    bool readonly;     /* a feature that this release may only read is on the disk */
    uint64_t total_bytes;
    struct px_index *index;
    struct px_stage *stage;
    struct px_commits *commits;
    struct px_retained *retained;
    struct px_references *references;
    struct px_done *done; /* NULL: nothing is remembered */
    _Atomic int64_t reference_life_ms;
    atomic_uint references_max;
    struct px_streams *streams;
    struct px_shard shard[PX_SHARDS];
    struct px_idents *idents;
    atomic_uint inodes, unstable_fds, slots_open;
    uint32_t inodes_max, unstable_max, slots_max;
    pthread_mutex_t stripe[PX_STRIPES];
    pthread_mutex_t lend_lock;
    atomic_uint_fast64_t hits, misses, evicted, dirtied, sync_failed,
        self_synced;
    atomic_uint_fast64_t room_at_ns;
    atomic_uint_fast64_t room_bytes;
};

int wg_px_table_start(struct posix *px);
void wg_px_table_stop(struct posix *px);
int wg_px_format_open(struct posix *px);
void wg_px_format_close(struct posix *px);
int wg_px_retain_start(struct posix *px);
/* Ends its thread: nothing is removed, and nobody is told so, any more. */
void wg_px_retain_quiet(struct posix *px);
void wg_px_retain_stop(struct posix *px);
void wg_px_retain_dump(struct posix *px, struct wg_dump *d);
int wg_px_references_start(struct posix *px);
void wg_px_references_stop(struct posix *px);
void wg_px_references_dump(struct posix *px, struct wg_dump *d);
int wg_px_streams_start(struct posix *px);
void wg_px_streams_stop(struct posix *px);
/* Syncs idle inodes with unstable writes until the bound holds again. */
void wg_px_table_relieve(struct posix *px);

int wg_px_commits_start(struct posix *px);
void wg_px_commits_stop(struct posix *px);
void wg_px_commits_dump(struct posix *px, struct wg_dump *d);

static inline struct posix *wg_px(const struct wg_frame *f)
{
    return f->this->priv;
}

static inline void wg_px_unwind_changed(struct wg_frame *f, int err, struct px_inode *a, struct px_inode *b)
{
    wg_px_unwind_durable(f, err, wg_px(f)->sync_names ? a : NULL, b);
}

/* For caches (lease.h): f changed the inode; a name in dir, and with it dir's own attributes. */
static inline void wg_px_ino_changed(struct wg_frame *f, const wg_gfid *gfid)
{
    wg_changed(f, gfid, (struct wg_str){ 0 });
}

static inline void wg_px_name_changed(struct wg_frame *f, const wg_gfid *dir, const char *name)
{
    wg_changed(f, dir, wg_str_of(name));
    wg_changed(f, dir, (struct wg_str){ 0 });
}

/* The same of a directory that was removed: no name of it can be looked up any more. */
static inline void wg_px_dir_gone(struct wg_frame *f, const wg_gfid *gfid)
{
    wg_px_ino_changed(f, gfid);
    wg_changed(f, gfid, WG_ANY_NAME);
}

/* f's answer depends on the inode: said before it is looked at. */
static inline void wg_px_ino_uses(struct wg_frame *f, const wg_gfid *gfid)
{
    wg_uses(f, gfid, ((struct wg_str){ 0 }));
}

/* f's answer depends on more than can be told: nobody is to remember it. */
static inline void wg_px_no_promise(struct wg_frame *f)
{
    f->lease = NULL;
}

/* The handlers, one per fop. */
wg_handler wg_posix_lookup, wg_posix_getattr, wg_posix_setattr, wg_posix_access, wg_posix_readlink,
    wg_posix_read, wg_posix_write, wg_posix_commit, wg_posix_create, wg_posix_mkdir,
    wg_posix_symlink, wg_posix_mknod, wg_posix_link, wg_posix_unlink, wg_posix_rmdir,
    wg_posix_rename, wg_posix_readdir, wg_posix_statfs, wg_posix_getxattr, wg_posix_setxattr,
    wg_posix_removexattr, wg_posix_copy_range, wg_posix_checksum,
    wg_posix_ref_create, wg_posix_ref_read, wg_posix_ref_drop, wg_posix_ref_peer;
/* The S3 forms (s3_*.c). */
wg_handler wg_posix_get, wg_posix_stage, wg_posix_unstage, wg_posix_put, wg_posix_del,
    wg_posix_list, wg_posix_setmeta;

#endif
