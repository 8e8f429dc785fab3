/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the compiler makes of fops.def: the enum, struct wg_<fop>_in and struct wg_<fop>_out,
 * and one table row per fop with its codec and printing.
 */
#ifndef WG_FOP_H
#define WG_FOP_H

#include "arena.h"
#include "errors.h"
#include "types.h"

/* The C type of each field type. */
typedef bool wg_t_bool;
typedef uint32_t wg_t_u32;
typedef uint64_t wg_t_u64;
typedef wg_gfid wg_t_gfid;
typedef struct wg_ref wg_t_ref;
typedef struct wg_loc wg_t_loc;
typedef struct wg_str wg_t_str;
typedef struct wg_str wg_t_secret; /* a str that traces and dumps do not show */
typedef struct wg_time wg_t_time;
typedef struct wg_iatt wg_t_iatt;
typedef struct wg_sattr wg_t_sattr;
typedef struct wg_wcc wg_t_wcc;
typedef struct wg_etag wg_t_etag;
typedef struct wg_data wg_t_data;
typedef struct wg_list wg_t_list;
typedef struct wg_statfs wg_t_statfs;

enum wg_op {
#define FOP(no, name, kind, in, out) WG_OP_##name = no,
#include "fops.def"
#undef FOP
    WG_OP_MAX = 48
};

#define IN(type, field) wg_t_##type field;
#define OUT(type, field) wg_t_##type field;
#define FOP(no, name, kind, in, out) \
    struct wg_##name##_in {          \
        in                           \
    };                               \
    struct wg_##name##_out {         \
        out                          \
    };
#include "fops.def"
#undef FOP
#undef IN
#undef OUT

enum wg_stable { WG_UNSTABLE = 0, WG_DATA_SYNC = 1, WG_FILE_SYNC = 2 };
enum wg_create_how { WG_UNCHECKED = 0, WG_GUARDED = 1, WG_EXCLUSIVE = 2 };
enum { WG_RENAME_NOREPLACE = 1, WG_RENAME_EXCHANGE = 2 };
enum wg_space { WG_SPACE_OBJECTS = 0, WG_SPACE_UPLOADS = 1 };
enum { /* cond of put, del, setmeta; ECONDITION when one fails */
    WG_IF_NONE_MATCH_ANY = 1, /* nothing under key */
    WG_IF_MATCH = 2,          /* an object with ETag if_match; ENOENT when there is none */
    WG_IF_MATCH_ANY = 4,      /* any object */
    WG_IF_SIZE = 8,           /* del: of if_size bytes */
    WG_IF_MTIME = 16,         /* del: with if_mtime (whole seconds) */
    WG_IF_RANDOM_DIR = 32,    /* reserved */
};
enum { WG_LIST_META = 1 }; /* rows carry meta */
#define WG_LOCK_TTL_MIN 100  /* ms; shorter ones are made this long */
#define WG_META_MAX 16384

/* Bounded writer of a record's body; past the end it only sets overflow. */
struct wg_enc {
    uint8_t *at, *end;
    bool overflow;
    /* Payload (data and list fields) is not copied: its segments are gathered here. */
    struct wg_seg seg[64];
    uint32_t nseg;
    uint32_t payload;
};

/* Bounded reader; past the end every get gives zero (fields an older peer did not send). */
struct wg_dec {
    const uint8_t *at, *end;
    bool bad; /* malformed: a length beyond the record, say */
    struct wg_arena *arena;
    /* The payload that came beside the body, one buffer; fields take slices of it in order. */
    struct wg_iobuf *payload;
    const uint8_t *pat, *pend;
};

/* Printing into a bounded text. */
struct wg_show {
    char *at, *end;
};

struct wg_fop {
    const char *name;
    char kind; /* 'R', 'W', or 0 for a number not in use */
    uint16_t in_size, out_size;
    const char *in_sig, *out_sig; /* "loc at;gfid gfid;": compared at the handshake */
    void (*put_in)(struct wg_enc *e, const void *in);
    void (*get_in)(struct wg_dec *d, void *in);
    void (*show_in)(struct wg_show *s, const void *in);
    void (*put_out)(struct wg_enc *e, const void *out);
    void (*get_out)(struct wg_dec *d, void *out);
    void (*show_out)(struct wg_show *s, const void *out);
};

/* Indexed by enum wg_op; rows of unused numbers have kind 0. */
extern const struct wg_fop wg_fops[WG_OP_MAX];

static inline const char *wg_op_name(unsigned op)
{
    return op < WG_OP_MAX && wg_fops[op].kind ? wg_fops[op].name : "?";
}

/*
 * A record's body is a u32 length of the fields that follow, then the fields, little-endian.
 * put: overflow set when it does not fit or has more than 64 segments. get: 0, EPROTO when
 * malformed, ENOMEM; *ret is of in_size/out_size in d->arena. str and list fields point into the
 * body or payload, which the caller keeps as long as the arena.
 */
void wg_put_record(struct wg_enc *e, unsigned op, bool out, const void *rec);
int wg_get_record(struct wg_dec *d, unsigned op, bool out, void **ret);
/* "at=<gfid>/name mode=0644"; always terminated. Returns buf. */
char *wg_show_record(unsigned op, bool out, const void *rec, char *buf, size_t size);

#endif
