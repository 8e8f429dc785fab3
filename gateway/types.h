/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The values that fops carry. Each type here that appears in fops.def has put, get and show
 * functions in codec.c, once. All are plain data: pointers inside (str, bytes, data, entries)
 * refer to memory of the call's arena or to iobufs on its release list, and live as long as
 * the call does.
 */
#ifndef WG_TYPES_H
#define WG_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define WG_NAME_MAX 255   /* one path component, bytes */
#define WG_KEY_MAX 1024   /* an S3 key, bytes (AWS limit) */
#define WG_PATH_MAX 4096  /* a symlink target, bytes */
#define WG_IO_MAX (1u << 20) /* payload of one fop, bytes */
#define WG_NGROUPS_MAX 64 /* supplementary groups carried with a call */
#define WG_HINT_MAX 31    /* bytes of a brick's hint inside a ref */

/* The 128-bit inode id. All zero means "none" or "any", as each field says. */
typedef struct wg_gfid {
    uint8_t b[16];
} wg_gfid;

/* The root directory of every volume has this gfid: fifteen zero bytes and a one. */
extern const wg_gfid WG_ROOT_GFID;

static inline bool wg_gfid_eq(wg_gfid a, wg_gfid b)
{
    return memcmp(a.b, b.b, sizeof a.b) == 0;
}

static inline bool wg_gfid_is_zero(wg_gfid g)
{
    static const wg_gfid zero;

    return wg_gfid_eq(g, zero);
}

/* A new random gfid (RFC 4122 version 4); never zero, never the root's. Any thread. */
wg_gfid wg_gfid_new(void);

/*
 * An inode: its gfid and the brick's hint, which is opaque above the brick (a kernel file
 * handle, say) and only ever a short cut: the brick checks it against the gfid and falls back
 * to its index. Unused hint bytes are zero.
 */
struct wg_ref {
    wg_gfid gfid;
    uint8_t hint_len;
    uint8_t hint[WG_HINT_MAX];
};

/* Bytes that may hold anything, NUL included; not terminated. NULL only with len 0. */
struct wg_str {
    const char *s;
    uint32_t len;
};

#define WG_STR(literal) ((struct wg_str){ (literal), sizeof(literal) - 1 })

static inline struct wg_str wg_str_of(const char *c)
{
    return (struct wg_str){ c, (uint32_t)strlen(c) };
}

static inline bool wg_str_eq(struct wg_str a, struct wg_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.s, b.s, a.len) == 0);
}

/* A name in a directory: one component, 1 to WG_NAME_MAX bytes, no '/' and no NUL. */
struct wg_loc {
    struct wg_ref parent;
    struct wg_str name;
};

struct wg_time {
    int64_t sec;
    uint32_t nsec;
};

enum wg_type { WG_NONE, WG_REG, WG_DIR, WG_BLK, WG_CHR, WG_LNK, WG_SOCK, WG_FIFO };

/* Attributes of an inode. valid is false when the brick could not give them. */
struct wg_iatt {
    bool valid;
    uint8_t type; /* enum wg_type */
    wg_gfid gfid;
    uint32_t mode; /* permission bits, 07777 */
    uint32_t nlink;
    uint32_t uid, gid;
    uint32_t rdev_major, rdev_minor;
    uint64_t size;
    uint64_t used; /* bytes of disk */
    struct wg_time atime, mtime, ctime;
};

/* Attributes to set: each only when its bit is in valid. */
enum {
    WG_SET_MODE = 1,
    WG_SET_UID = 2,
    WG_SET_GID = 4,
    WG_SET_SIZE = 8,
    WG_SET_ATIME = 16,     /* to atime */
    WG_SET_MTIME = 32,     /* to mtime */
    WG_SET_ATIME_NOW = 64, /* to the brick's clock */
    WG_SET_MTIME_NOW = 128,
    WG_SET_GUARD = 256, /* fail with EAGAIN_GUARD unless the inode's ctime equals guard (RFC 1813 3.3.2) */
};

struct wg_sattr {
    uint32_t valid;
    uint32_t mode;
    uint32_t uid, gid;
    uint64_t size;
    struct wg_time atime, mtime, guard;
};

/* Weak cache consistency (RFC 1813 2.6): attributes before and after a modifying fop. */
struct wg_wcc {
    bool pre_valid;
    uint64_t pre_size;
    struct wg_time pre_mtime, pre_ctime;
    struct wg_iatt post;
};

/*
 * An S3 ETag. parts 0: the MD5 of the content; parts N: MD5 of N parts' MD5s, shown as
 * "<hex>-N"; synthetic: from gfid, generation, size and mtime, shown as "<hex>-0".
 */
struct wg_etag {
    uint8_t md5[16];
    uint32_t parts;
    bool synthetic;
    bool valid; /* false: none given */
};

#define WG_ETAG_TEXT 48 /* room for wg_etag_show, NUL included */
/* Writes the unquoted text of an ETag into buf (WG_ETAG_TEXT bytes); returns buf. */
char *wg_etag_show(const struct wg_etag *e, char *buf);
/* Reads an ETag's text, with or without quotes; returns 0, or EINVAL if it is no ETag of ours. */
int wg_etag_parse(struct wg_str text, struct wg_etag *ret);

/* Payload: segments of iobufs. len is the sum. Read-only for all but the one who fills it. */
struct wg_iobuf;
struct wg_seg {
    struct wg_iobuf *buf; /* the owner of the memory; NULL: memory that outlives the call */
    void *base;
    uint32_t len;
};

struct wg_data {
    const struct wg_seg *seg;
    uint32_t nseg;
    uint32_t len;
};

/* Packed lists; see list.h for the appender and the cursor. */
struct wg_list {
    struct wg_iobuf *buf;
    const void *base;
    uint32_t len;
    uint32_t count;
};

struct wg_statfs {
    uint64_t total_bytes, free_bytes, avail_bytes;
    uint64_t total_files, free_files, avail_files;
    uint32_t block, name_max;
    bool readonly;
};

/* Who asks. groups points into the call's arena or memory that outlives it. */
struct wg_cred {
    uint32_t uid, gid;
    uint32_t ngroups;
    const uint32_t *groups;
    struct wg_str principal; /* S3 access key id or NFS machine name; for logs and dumps */
};

#endif
