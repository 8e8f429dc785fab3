/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arguments of NFSv3's procedures, from the wire. Lengths that the protocol bounds by a status
 * of its own (a name of 300 bytes: NFS3ERR_NAMETOOLONG, a handle of 9 bytes: NFS3ERR_BADHANDLE)
 * pass here; only what is no XDR of that type is malformed.
 */
#include "fop.h"
#include "nfs3.h"

static void get_fh(struct wg_xdr_in *x, struct nfs3_args *a, unsigned i)
{
    a->fh[i] = wg_xdr_get_bytes(x, NFS3_FHSIZE);
}

static void get_dirop(struct wg_xdr_in *x, struct nfs3_args *a, unsigned i)
{
    get_fh(x, a, i);
    a->name[i] = wg_xdr_get_bytes(x, WG_PATH_MAX);
}

static struct wg_time get_time(struct wg_xdr_in *x)
{
    uint32_t sec = wg_xdr_get_u32(x);
    uint32_t nsec = wg_xdr_get_u32(x);

    /* Servers take seconds as unsigned: times reach 2106, and none lies before 1970. */
    return (struct wg_time){ sec, nsec < 1000000000 ? nsec : 999999999 };
}

/* set_atime and set_mtime: 0 leaves it, 1 is the server's clock, 2 the client's. */
static void get_time_how(struct wg_xdr_in *x, struct wg_sattr *s, struct wg_time *t, uint32_t set,
                         uint32_t now)
{
    uint32_t how = wg_xdr_get_u32(x);

    if (how > 2)
        x->bad = true;
    if (how == 1)
        s->valid |= now;
    if (how == 2) {
        *t = get_time(x);
        s->valid |= set;
    }
}

static void get_sattr(struct wg_xdr_in *x, struct wg_sattr *s)
{
    if (wg_xdr_get_bool(x)) {
        s->mode = wg_xdr_get_u32(x) & 07777;
        s->valid |= WG_SET_MODE;
    }
    if (wg_xdr_get_bool(x)) {
        s->uid = wg_xdr_get_u32(x);
        s->valid |= WG_SET_UID;
    }
    if (wg_xdr_get_bool(x)) {
        s->gid = wg_xdr_get_u32(x);
        s->valid |= WG_SET_GID;
    }
    if (wg_xdr_get_bool(x)) {
        s->size = wg_xdr_get_u64(x);
        s->valid |= WG_SET_SIZE;
    }
    get_time_how(x, s, &s->atime, WG_SET_ATIME, WG_SET_ATIME_NOW);
    get_time_how(x, s, &s->mtime, WG_SET_MTIME, WG_SET_MTIME_NOW);
}

void nfs3_get_object(struct wg_xdr_in *x, struct nfs3_args *a)
{
    get_fh(x, a, 0);
}

void nfs3_get_dirop(struct wg_xdr_in *x, struct nfs3_args *a)
{
    get_dirop(x, a, 0);
}

void nfs3_get_setattr(struct wg_xdr_in *x, struct nfs3_args *a)
{
    get_fh(x, a, 0);
    get_sattr(x, &a->attrs);
    if (wg_xdr_get_bool(x)) {
        a->attrs.guard = get_time(x);
        a->attrs.valid |= WG_SET_GUARD;
    }
}

void nfs3_get_access(struct wg_xdr_in *x, struct nfs3_args *a)
{
    get_fh(x, a, 0);
    a->mask = wg_xdr_get_u32(x);
}

void nfs3_get_read(struct wg_xdr_in *x, struct nfs3_args *a)
{
    get_fh(x, a, 0);
    a->offset = wg_xdr_get_u64(x);
    a->count = wg_xdr_get_u32(x);
}

void nfs3_get_write(struct wg_xdr_in *x, struct nfs3_args *a)
{
    nfs3_get_read(x, a);
    a->stable = wg_xdr_get_u32(x);
    a->data = wg_xdr_get_bytes(x, UINT32_MAX);
    if (a->stable > WG_FILE_SYNC || a->count > a->data.len)
        x->bad = true;
}

void nfs3_get_create(struct wg_xdr_in *x, struct nfs3_args *a)
{
    get_dirop(x, a, 0);
    a->how = wg_xdr_get_u32(x);
    if (a->how == WG_EXCLUSIVE)
        a->verf = wg_xdr_get_u64(x);
    else if (a->how <= WG_GUARDED)
        get_sattr(x, &a->attrs);
    else
        x->bad = true;
}

void nfs3_get_mkdir(struct wg_xdr_in *x, struct nfs3_args *a)
{
    get_dirop(x, a, 0);
    get_sattr(x, &a->attrs);
}

void nfs3_get_symlink(struct wg_xdr_in *x, struct nfs3_args *a)
{
    nfs3_get_mkdir(x, a);
    a->target = wg_xdr_get_bytes(x, UINT32_MAX);
}

void nfs3_get_mknod(struct wg_xdr_in *x, struct nfs3_args *a)
{
    static const uint8_t types[] = { 0, 0, 0, WG_BLK, WG_CHR, 0, WG_SOCK, WG_FIFO };
    uint32_t type;

    get_dirop(x, a, 0);
    type = wg_xdr_get_u32(x);
    if (type == 0 || type >= sizeof types)
        x->bad = true;
    else
        a->type = types[type];
    if (a->type)
        get_sattr(x, &a->attrs);
    if (a->type == WG_BLK || a->type == WG_CHR) {
        a->major = wg_xdr_get_u32(x);
        a->minor = wg_xdr_get_u32(x);
    }
}

void nfs3_get_rename(struct wg_xdr_in *x, struct nfs3_args *a)
{
    get_dirop(x, a, 0);
    get_dirop(x, a, 1);
}

void nfs3_get_link(struct wg_xdr_in *x, struct nfs3_args *a)
{
    get_fh(x, a, 0);
    get_dirop(x, a, 1);
}

void nfs3_get_readdir(struct wg_xdr_in *x, struct nfs3_args *a)
{
    get_fh(x, a, 0);
    a->offset = wg_xdr_get_u64(x);
    a->verf = wg_xdr_get_u64(x);
    a->count = wg_xdr_get_u32(x);
    a->dircount = a->count;
}

void nfs3_get_readdirplus(struct wg_xdr_in *x, struct nfs3_args *a)
{
    nfs3_get_readdir(x, a);
    a->count = wg_xdr_get_u32(x);
}

void nfs3_get_commit(struct wg_xdr_in *x, struct nfs3_args *a)
{
    nfs3_get_read(x, a);
}

bool nfs3_get_args(unsigned proc, const uint8_t *args, uint32_t len, struct nfs3_args *ret)
{
    static nfs3_get_fn *const get[NFS3_NPROCS] = {
#define NFS3(no, NAME, fn, shape, class, replay, names) [no] = nfs3_get_##shape,
#include "nfs3.def"
#undef NFS3
    };
    struct wg_xdr_in x = { args, args + len, false };

    memset(ret, 0, sizeof *ret);
    get[proc](&x, ret);
    return !x.bad;
}

bool nfs_get_authsys(const uint8_t *body, uint32_t len, struct nfs_authsys *ret)
{
    struct wg_xdr_in x = { body, body + len, false };

    wg_xdr_get_u32(&x); /* stamp */
    ret->machine = wg_xdr_get_bytes(&x, 255);
    ret->uid = wg_xdr_get_u32(&x);
    ret->gid = wg_xdr_get_u32(&x);
    ret->ngroups = wg_xdr_get_u32(&x);
    if (ret->ngroups > 16)
        return false;
    for (uint32_t i = 0; i < ret->ngroups; i++)
        ret->groups[i] = wg_xdr_get_u32(&x);
    return !x.bad && ret->uid != UINT32_MAX && ret->gid != UINT32_MAX;
}
