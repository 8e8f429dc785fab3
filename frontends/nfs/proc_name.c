/* SPDX-License-Identifier: Apache-2.0 */
/* Procedures on names: looking up, making, linking, renaming, removing. */
#include "request.h"

/* --- LOOKUP --- */

void nfs3_lookup_start(struct nfs_req *r)
{
    struct wg_loc at = nfs_loc(r, 0);

    if (wg_str_eq(at.name, WG_STR(".."))) {
        bool root;
        int err = nfs_export_is_root(r->export, at.parent.gfid, &root);

        if (err) {
            nfs_find_root(r->table, r->export);
            return nfs_fail(r, err);
        }
        if (root)
            at.name = WG_STR("."); /* an export has no outside */
    }
    nfs_fop(r, lookup, .at = at);
}

void nfs3_lookup_reply(struct nfs_req *r, const void *result)
{
    const struct wg_lookup_out *out = result;

    if (!r->err) {
        nfs_names_put(r->ref[0].gfid, r->args.name[0], out->ref.gfid);
        nfs_put_fh(r, &out->ref);
        nfs_put_attr(r, &out->attr);
    }
    nfs_put_attr(r, &out->parent);
}

/* --- CREATE, MKDIR, SYMLINK, MKNOD: diropres3 --- */

static void made(struct nfs_req *r, const struct wg_ref *ref, const struct wg_iatt *attr,
                 const struct wg_wcc *parent)
{
    if (!r->err) {
        nfs_names_put(r->ref[0].gfid, r->args.name[0], ref->gfid);
        nfs_put_post_fh(r, ref);
        nfs_put_attr(r, attr);
    }
    nfs_put_wcc(r, parent);
}

void nfs3_create_start(struct nfs_req *r)
{
    const struct wg_sattr *s = &r->args.attrs;

    if ((s->valid & WG_SET_SIZE) && s->size > INT64_MAX)
        return nfs_fail(r, EFBIG);
    nfs_fop(r, create, .at = nfs_loc(r, 0), .gfid = nfs_new_gfid(r), .how = r->args.how,
            .attrs = *s, .verf = r->args.verf);
}

void nfs3_create_reply(struct nfs_req *r, const void *result)
{
    const struct wg_create_out *out = result;

    made(r, &out->ref, &out->attr, &out->parent);
}

void nfs3_mkdir_start(struct nfs_req *r)
{
    nfs_fop(r, mkdir, .at = nfs_loc(r, 0), .gfid = nfs_new_gfid(r), .attrs = r->args.attrs);
}

void nfs3_mkdir_reply(struct nfs_req *r, const void *result)
{
    const struct wg_mkdir_out *out = result;

    made(r, &out->ref, &out->attr, &out->parent);
}

void nfs3_symlink_start(struct nfs_req *r)
{
    struct wg_str target = r->args.target;

    if (target.len == 0 || memchr(target.s, '\0', target.len))
        return nfs_fail(r, EINVAL);
    if (target.len >= WG_PATH_MAX)
        return nfs_fail(r, ENAMETOOLONG);
    nfs_fop(r, symlink, .at = nfs_loc(r, 0), .gfid = nfs_new_gfid(r), .target = target,
            .attrs = r->args.attrs);
}

void nfs3_symlink_reply(struct nfs_req *r, const void *result)
{
    const struct wg_symlink_out *out = result;

    made(r, &out->ref, &out->attr, &out->parent);
}

void nfs3_mknod_start(struct nfs_req *r)
{
    const struct nfs3_args *a = &r->args;

    if (a->type == WG_NONE)
        return nfs_fail(r, EBADTYPE);
    nfs_fop(r, mknod, .at = nfs_loc(r, 0), .gfid = nfs_new_gfid(r), .type = a->type,
            .major = a->major, .minor = a->minor, .attrs = a->attrs);
}

void nfs3_mknod_reply(struct nfs_req *r, const void *result)
{
    const struct wg_mknod_out *out = result;

    made(r, &out->ref, &out->attr, &out->parent);
}

/* --- LINK --- */

void nfs3_link_start(struct nfs_req *r)
{
    nfs_fop(r, link, .at = r->ref[0], .to = nfs_loc(r, 1));
}

void nfs3_link_reply(struct nfs_req *r, const void *result)
{
    const struct wg_link_out *out = result;

    if (!r->err)
        nfs_names_put(r->ref[1].gfid, r->args.name[1], r->ref[0].gfid);
    nfs_put_attr(r, &out->attr);
    nfs_put_wcc(r, &out->parent);
}

/* --- REMOVE, RMDIR, RENAME: the dispatcher has found out what is expected under each name --- */

static void forget(struct nfs_req *r, unsigned i)
{
    if (!r->err)
        nfs_names_forget(r->ref[i].gfid, r->args.name[i]);
}

void nfs3_remove_start(struct nfs_req *r)
{
    nfs_fop(r, unlink, .at = nfs_loc(r, 0), .expect = r->expect[0]);
}

void nfs3_remove_reply(struct nfs_req *r, const void *result)
{
    const struct wg_unlink_out *out = result;

    forget(r, 0);
    nfs_put_wcc(r, &out->parent);
}

void nfs3_rmdir_start(struct nfs_req *r)
{
    nfs_fop(r, rmdir, .at = nfs_loc(r, 0), .expect = r->expect[0]);
}

void nfs3_rmdir_reply(struct nfs_req *r, const void *result)
{
    const struct wg_rmdir_out *out = result;

    forget(r, 0);
    nfs_put_wcc(r, &out->parent);
}

void nfs3_rename_start(struct nfs_req *r)
{
    nfs_fop(r, rename, .from = nfs_loc(r, 0), .to = nfs_loc(r, 1), .moved = r->expect[0],
            .victim = r->expect[1]);
}

void nfs3_rename_reply(struct nfs_req *r, const void *result)
{
    const struct wg_rename_out *out = result;

    forget(r, 0);
    forget(r, 1);
    nfs_put_wcc(r, &out->from_parent);
    nfs_put_wcc(r, &out->to_parent);
}
