/* SPDX-License-Identifier: Apache-2.0 */
/*
 * READDIR and READDIRPLUS. Cookies 1 and 2 are "." and ".."; all others are the store's. A page
 * fits the client's limits exactly: its size is counted before anything is written.
 */
#include "list.h"
#include "request.h"

enum {
    COOKIE_DOT = 1,
    COOKIE_DOTDOT = 2,
    FIXED = 4 + NFS3_ATTR_SIZE + 8 + 4 + 4, /* post_op_attr, cookieverf, end of list, eof */
    ENTRY = 4 + 8 + 4 + 8,   /* follows, fileid, length of the name, cookie */
    FETCH_MIN = 1024,        /* room for any one entry in the store's packing */
};

/* Cookies stay valid for ever, so the verifier never changes; it only tells that it was ours. */
static uint64_t cookieverf(const struct nfs_req *r)
{
    return r->export ? ~r->export->volume->ids.fsid : 0;
}

struct page {
    struct nfs_req *r;
    bool plus;
    uint32_t dir_left, left; /* of dircount and maxcount */
    unsigned n;
    bool full;
};

struct entry {
    wg_gfid gfid;
    struct wg_str name;
    uint64_t cookie;
    const struct wg_iatt *attr;
    const struct wg_ref *ref;
};

/* --- asking the store --- */

/* How many packed bytes to ask for, so that a page is filled and little is thrown away. */
static uint32_t fetch_size(const struct nfs3_args *a, bool plus)
{
    uint64_t size = a->count < NFS3_DIR_MAX ? a->count : NFS3_DIR_MAX;

    if (plus && a->dircount < size / 5)
        size = a->dircount * 5ull; /* an entry with attributes is some five times one without */
    return size < FETCH_MIN ? FETCH_MIN : (uint32_t)size;
}

static void read_entries(struct nfs_req *r, bool plus)
{
    uint64_t cookie = r->args.offset <= COOKIE_DOTDOT ? 0 : r->args.offset;
    uint32_t size = fetch_size(&r->args, plus);

    wg_rpc_charge(&r->rpc, size);
    nfs_fop(r, readdir, .at = r->ref[0], .cookie = cookie, .size = size, .plus = plus);
}

static void got_parent(struct wg_call *call)
{
    struct nfs_req *r = call->owner;
    const struct wg_lookup_out *out = call->root->out;

    if (call->root->err || !out)
        return nfs_fail(r, call->root->err);
    r->parent = out->attr;
    r->parent_ref = out->ref;
    read_entries(r, r->rpc.proc == NFS3_READDIRPLUS);
}

/* The first page names "..", so its fileid is looked up first; above an export there is nothing. */
static void first_page(struct nfs_req *r)
{
    bool root;
    int err = nfs_export_is_root(r->export, r->ref[0].gfid, &root);

    if (err) {
        nfs_find_root(r->table, r->export);
        return nfs_fail(r, err);
    }
    nfs_fop_to(r, got_parent, lookup,
               .at = { r->ref[0], root ? WG_STR(".") : WG_STR("..") });
}

static void start(struct nfs_req *r, bool plus)
{
    if (r->args.offset != 0 && r->args.verf != 0 && r->args.verf != cookieverf(r))
        return nfs_fail(r, EBADCOOKIE);
    if (r->args.count < FIXED)
        return nfs_fail(r, ETOOSMALL);
    if (r->args.offset < COOKIE_DOTDOT)
        return first_page(r);
    read_entries(r, plus);
}

void nfs3_readdir_start(struct nfs_req *r)
{
    start(r, false);
}

void nfs3_readdirplus_start(struct nfs_req *r)
{
    start(r, true);
}

/* --- filling a page --- */

static uint32_t size_of_handle(const struct wg_ref *ref)
{
    uint32_t len = NFS_FH_FIXED + (ref->hint_len <= NFS_FH_HINT ? ref->hint_len : 0);

    return 4 + len + wg_xdr_pad(len);
}

static uint32_t size_of_plus(const struct entry *e)
{
    return 4 + (e->attr->valid ? NFS3_ATTR_SIZE : 0) + 4 +
           (wg_gfid_is_zero(e->ref->gfid) ? 0 : size_of_handle(e->ref));
}

static void put_entry(struct page *p, const struct entry *e)
{
    uint32_t dir = ENTRY + e->name.len + wg_xdr_pad(e->name.len);
    uint32_t all = dir + (p->plus ? size_of_plus(e) : 0);
    struct wg_xdr_out *x = &p->r->rpc.out;

    if (dir > p->dir_left || all > p->left) {
        p->full = true;
        return;
    }
    p->dir_left -= dir;
    p->left -= all;
    p->n++;
    wg_xdr_put_u32(x, true);
    wg_xdr_put_u64(x, nfs3_fileid(e->gfid, p->r->export->volume->ids.fileid32));
    wg_xdr_put_bytes(x, e->name.s, e->name.len);
    wg_xdr_put_u64(x, e->cookie);
    if (p->plus) {
        nfs_put_attr(p->r, e->attr);
        nfs_put_post_fh(p->r, e->ref);
    }
}

static void put_dots(struct page *p, const struct wg_readdir_out *out)
{
    struct nfs_req *r = p->r;

    if (r->args.offset < COOKIE_DOT)
        put_entry(p, &(struct entry){ r->ref[0].gfid, WG_STR("."), COOKIE_DOT, &out->attr,
                                      &r->ref[0] });
    if (r->args.offset < COOKIE_DOTDOT && !p->full)
        put_entry(p, &(struct entry){ r->parent_ref.gfid, WG_STR(".."), COOKIE_DOTDOT, &r->parent,
                                      &r->parent_ref });
}

/* true: the last entry of the directory is in the page. */
static bool put_entries(struct page *p, const struct wg_readdir_out *out)
{
    struct wg_cursor c = wg_cursor(&out->entries);
    struct wg_dirent d;

    put_dots(p, out);
    while (!p->full && wg_next_dirent(&c, &d)) {
        if (d.cookie <= COOKIE_DOTDOT)
            continue; /* a store may give "." and ".." too; it does not know the export's root */
        put_entry(p, &(struct entry){ d.ref.gfid, d.name, d.cookie, &d.attr, &d.ref });
        if (p->plus && !p->full)
            nfs_names_put(p->r->ref[0].gfid, d.name, d.ref.gfid);
    }
    return !p->full && out->eof;
}

static void reply(struct nfs_req *r, const struct wg_readdir_out *out, bool plus)
{
    struct nfs3_args *a = &r->args;
    uint32_t max = a->count < NFS3_DIR_MAX ? a->count : NFS3_DIR_MAX;
    struct page p = { .r = r, .plus = plus, .dir_left = a->dircount, .left = max - FIXED };
    struct wg_xdr_out *x = &r->rpc.out;
    bool eof;

    if (!r->err)
        nfs_reply_large(r, max + 8);
    nfs_put_attr(r, &out->attr);
    if (r->err)
        return;
    wg_xdr_put_u64(x, cookieverf(r));
    eof = put_entries(&p, out);
    if (p.n == 0 && !eof) {
        nfs_reply_again(r, p.full ? ETOOSMALL : EAGAIN);
        nfs_put_attr(r, &out->attr);
        return;
    }
    wg_xdr_put_u32(x, false);
    wg_xdr_put_u32(x, eof);
}

void nfs3_readdir_reply(struct nfs_req *r, const void *out)
{
    reply(r, out, false);
}

void nfs3_readdirplus_reply(struct nfs_req *r, const void *out)
{
    reply(r, out, true);
}
