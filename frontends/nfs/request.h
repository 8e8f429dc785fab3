/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One NFS request, from its arguments to its reply. A procedure is two small functions:
 *
 *     void getattr_start(struct nfs_req *r)                   arguments to fop
 *     void getattr_reply(struct nfs_req *r, const void *out)  result of the fop to reply
 *
 * Decoding, export and rules, credentials, replays, errors and sending are dispatch.c's.
 */
#ifndef WG_NFS_REQUEST_H
#define WG_NFS_REQUEST_H

#include "call.h"
#include "drc.h"
#include "exports.h"
#include "names.h"
#include "xlator.h"

struct nfs_req;

struct nfs3_row {
    const char *name;
    void (*start)(struct nfs_req *r);
    /*
     * Writes what follows the status to r->rpc.out. r->err is the result; out is the fop's, or
     * zeros where the fop failed without one, so that attributes are absent (valid is false).
     */
    void (*reply)(struct nfs_req *r, const void *out);
    bool modifies, replay;
    uint8_t names;
};

struct nfs_req {
    struct wg_rpc rpc;        /* must be first */
    struct nfs_exports *table;
    struct nfs_export *export;
    const struct nfs_rule *rule;
    const struct nfs3_row *row;
    struct wg_call *call;
    struct nfs3_args args;    /* strings point into the call's arena once it exists */
    struct wg_ref ref[2];     /* of args.fh */
    int err;
    uint8_t id[16];           /* of the request, for modifying procedures */
    struct drc_ticket ticket;
    wg_gfid expect[2];        /* what shall be under args.name; zero: anything */
    bool expect_known[2];
    uint8_t attempt;
    struct wg_iatt parent;    /* READDIR: of ".." */
    struct wg_ref parent_ref;
};

#define NFS_REQ(r) ((struct nfs_req *)(r))

/*
 * Ends a start function: winds fop with these arguments, in the call's arena. The reply function
 * gets its result, or done, when given, runs on the completing thread instead.
 */
#define nfs_fop(r, fop, ...) nfs_fop_to(r, NULL, fop, __VA_ARGS__)
#define nfs_fop_to(r, done, fop, ...)                                            \
    do {                                                                         \
        struct wg_##fop##_in *in_ = WG_NEW(&(r)->call->arena, struct wg_##fop##_in); \
        if (in_)                                                                 \
            *in_ = (struct wg_##fop##_in){ __VA_ARGS__ };                        \
        nfs_wind(r, WG_OP_##fop, in_, done);                                     \
    } while (0)
void nfs_wind(struct nfs_req *r, unsigned op, const void *in, void (*done)(struct wg_call *));

/* Ends a request with an error, without a fop's result. */
void nfs_fail(struct nfs_req *r, int err);
/* Ends it with the result of the call's last fop. */
void nfs_finish(struct nfs_req *r);

static inline struct wg_loc nfs_loc(const struct nfs_req *r, unsigned i)
{
    return (struct wg_loc){ r->ref[i], r->args.name[i] };
}

/* The gfid for what the request makes: from its id, so that a retransmission names the same. */
wg_gfid nfs_new_gfid(const struct nfs_req *r);

/* Parts of replies. A request with a bad handle has no export, and no attributes either. */
static inline void nfs_put_attr(struct nfs_req *r, const struct wg_iatt *a)
{
    nfs3_put_post_attr(&r->rpc.out, a, r->export ? &r->export->volume->ids : NULL);
}

static inline void nfs_put_wcc(struct nfs_req *r, const struct wg_wcc *w)
{
    nfs3_put_wcc(&r->rpc.out, w, r->export ? &r->export->volume->ids : NULL);
}

void nfs_put_fh(struct nfs_req *r, const struct wg_ref *ref);
/* post_op_fh3: none when the gfid is zero. */
void nfs_put_post_fh(struct nfs_req *r, const struct wg_ref *ref);

/* Begins the reply anew with err, in a reply function that finds it can't succeed. */
void nfs_reply_again(struct nfs_req *r, int err);
/* Makes room for size bytes of results, status included; what was written is written again. */
void nfs_reply_large(struct nfs_req *r, uint32_t size);

/* In dispatch.c: entry points for the RPC service. */
void nfs_call(struct wg_rpc *r);
void nfs_release(struct wg_rpc *r);
/* A caller's identity for an export; 0, EACCES: refused (retry with another flavor). */
int nfs_set_cred(struct nfs_req *r);

/* In mount.c. */
void mount_call(struct nfs_req *r);
void mount_free(void);
void mount_dump(struct wg_dump *d);

/* In walk.c: finds the directory of every export that is not its volume's root. */
void nfs_find_roots(struct nfs_exports *t);
/* The same for one export whose root a request needs (it has answered JUKEBOX). */
void nfs_find_root(struct nfs_exports *t, struct nfs_export *e);

struct nfs_walk;
/*
 * Walks e's directory and then path below it, as root. done runs once, on any thread: err, or
 * 0 and ref and attr in w. owner is the caller's.
 */
void nfs_walk(struct nfs_exports *t, struct nfs_export *e, const char *path,
              void (*done)(struct nfs_walk *w, int err), void *owner);
struct nfs_walk {
    struct wg_call *call;
    struct nfs_exports *table;
    struct nfs_export *export;
    char *path, *at;       /* the whole path and what is still to walk */
    char *below;           /* where the export's own directory ends */
    struct wg_ref ref;
    struct wg_iatt attr;
    void (*done)(struct nfs_walk *w, int err);
    void *owner;
};

/* One procedure each: proc_attr.c, proc_io.c, proc_name.c, proc_dir.c. */
#define NFS3(no, NAME, fn, args, class, replay, names) \
    void nfs3_##fn##_start(struct nfs_req *r);         \
    void nfs3_##fn##_reply(struct nfs_req *r, const void *out);
#include "nfs3.def"
#undef NFS3

#endif
