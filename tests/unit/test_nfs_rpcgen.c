/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Our codec of NFSv3 and MOUNT against rpcgen's, which was made from tests/nfs/nfs3_model.x: random
 * arguments in its encoding must decode to the same with ours, cut anywhere they must be refused,
 * and what the server answers, with whatever the store gave, must decode with its code, to the last
 * byte, to what the store gave.
 */
#ifdef WG_HAVE_RPCGEN
#include <check.h>

#include "nfs3_model.h"
/* libtirpc's header has names of its own for these. */
#undef RPC_HEAD
#include "tests/fuzz/nfs_harness.h"

enum { ROUNDS = 300, ARGS_MAX = 8192 };

/* ---- Random values ---- */

static uint64_t state = 88172645463325252ull;

static uint64_t rnd(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static uint32_t below(uint32_t n)
{
    return (uint32_t)(rnd() >> 11) % n;
}

static struct wg_time random_time(void)
{
    return (struct wg_time){ (uint32_t)rnd(), below(1000000000) };
}

static void fill_time(x_time *t)
{
    t->sec = (u_int)rnd();
    t->nsec = below(1000000000);
}

static void fill_u32(x_set_u32 *s)
{
    s->set = (bool_t)below(2);
    s->x_set_u32_u.v = (u_int)rnd();
}

static void fill_set_time(x_set_time *s)
{
    s->how = (x_time_how)below(3);
    fill_time(&s->x_set_time_u.v);
}

static void fill_sattr(x_sattr *s)
{
    fill_u32(&s->mode);
    fill_u32(&s->uid);
    fill_u32(&s->gid);
    s->size.set = (bool_t)below(2);
    s->size.x_set_u64_u.v = rnd() >> 1;
    fill_set_time(&s->atime);
    fill_set_time(&s->mtime);
}

static void fill_fh(x_fh *fh)
{
    fh->x_fh_val = (char *)fz_fh;
    fh->x_fh_len = fz_fh_len;
}

/* A name that a directory can hold; another at each call. */
static char *fill_name(void)
{
    static char names[4][256];
    static unsigned next;
    char *name = names[next++ % 4];
    unsigned len = 1 + below(255);

    for (unsigned i = 0; i < len; i++)
        name[i] = (char)('a' + below(26));
    name[len] = '\0';
    return name;
}

static void fill_dirop(x_dirop *d)
{
    fill_fh(&d->dir);
    d->name = fill_name();
}

/* ---- Comparing ---- */

static bool same_name(const char *theirs, struct wg_str ours)
{
    return strlen(theirs) == ours.len && memcmp(theirs, ours.s, ours.len) == 0;
}

static bool same_fh(const x_fh *theirs, struct wg_str ours)
{
    return theirs->x_fh_len == ours.len && memcmp(theirs->x_fh_val, ours.s, ours.len) == 0;
}

static bool same_time(const x_time *t, struct wg_time ours)
{
    return t->sec == ours.sec && t->nsec == ours.nsec;
}

static bool same_set_time(const x_set_time *t, const struct wg_sattr *s, struct wg_time ours, uint32_t set, uint32_t now)
{
    if (t->how == X_CLIENTS)
        return (s->valid & (set | now)) == set && same_time(&t->x_set_time_u.v, ours);
    return (s->valid & (set | now)) == (t->how == X_SERVERS ? now : 0);
}

static bool same_u32(const x_set_u32 *t, const struct wg_sattr *s, uint32_t bit, uint32_t mask, uint32_t ours)
{
    return !!(s->valid & bit) == !!t->set && (!t->set || (t->x_set_u32_u.v & mask) == ours);
}

static void check_sattr(const x_sattr *t, const struct wg_sattr *s)
{
    ck_assert(same_u32(&t->mode, s, WG_SET_MODE, 07777, s->mode));
    ck_assert(same_u32(&t->uid, s, WG_SET_UID, UINT32_MAX, s->uid));
    ck_assert(same_u32(&t->gid, s, WG_SET_GID, UINT32_MAX, s->gid));
    ck_assert(!!(s->valid & WG_SET_SIZE) == !!t->size.set && (!t->size.set || t->size.x_set_u64_u.v == s->size));
    ck_assert(same_set_time(&t->atime, s, s->atime, WG_SET_ATIME, WG_SET_ATIME_NOW));
    ck_assert(same_set_time(&t->mtime, s, s->mtime, WG_SET_MTIME, WG_SET_MTIME_NOW));
}

static void check_dirop(const x_dirop *t, const struct nfs3_args *a, unsigned i)
{
    ck_assert(same_fh(&t->dir, a->fh[i]));
    ck_assert(same_name(t->name, a->name[i]));
}

static const struct nfs3_ids *ids(void)
{
    static struct nfs3_ids id;
    struct nfs_exports *t = nfs_exports_get();

    id = t->exports[0].volume->ids;
    nfs_exports_unref(t);
    return &id;
}

static void check_attr(const x_attr *t, const struct wg_iatt *a)
{
    static const x_ftype types[] = { [WG_REG] = X_REG, [WG_DIR] = X_DIR, [WG_BLK] = X_BLK, [WG_CHR] = X_CHR,
                                     [WG_LNK] = X_LNK, [WG_SOCK] = X_SOCK, [WG_FIFO] = X_FIFO };

    ck_assert(t->type == types[a->type] && t->mode == a->mode && t->nlink == a->nlink && t->uid == a->uid &&
              t->gid == a->gid && t->size == a->size && t->used == a->used && t->rdev.major == a->rdev_major &&
              t->rdev.minor == a->rdev_minor);
    ck_assert(t->fsid == ids()->fsid && t->fileid == nfs3_fileid(a->gfid, false));
    ck_assert(same_time(&t->atime, a->atime) && same_time(&t->mtime, a->mtime) && same_time(&t->ctime, a->ctime));
}

static void check_post(const x_post_attr *t, const struct wg_iatt *a)
{
    ck_assert(!!t->there == a->valid);
    if (a->valid)
        check_attr(&t->x_post_attr_u.v, a);
}

static void check_wcc(const x_wcc *t, const struct wg_wcc *w)
{
    const x_pre *pre = &t->before.x_pre_attr_u.v;

    ck_assert(!!t->before.there == w->pre_valid);
    if (w->pre_valid)
        ck_assert(pre->size == w->pre_size && same_time(&pre->mtime, w->pre_mtime) && same_time(&pre->ctime, w->pre_ctime));
    check_post(&t->after, &w->post);
}

static void check_handle(const x_fh *t, const struct wg_ref *ref)
{
    struct nfs_exports *table = nfs_exports_get();
    uint8_t fh[NFS3_FHSIZE];
    uint32_t len = nfs_handle_seal(&table->exports[0], ref, fh);

    ck_assert(same_fh(t, (struct wg_str){ (char *)fh, len }));
    nfs_exports_unref(table);
}

static void check_verf(const char *t, uint64_t verf)
{
    uint64_t be = htobe64(verf);

    ck_assert_int_eq(memcmp(t, &be, 8), 0);
}

/* ---- A store that answers anything ---- */

static union {
#define IN(type, field)
#define OUT(type, field)
#define FOP(no, name, kind, in, out) struct wg_##name##_out name;
#include "fops.def"
#undef FOP
#undef OUT
#undef IN
} given; /* the last result, but of the lookups that the dispatcher makes for itself */
static int given_err;
static unsigned wanted_op;
static struct wg_dirent given_entry[64];
static char given_names[64][64], given_text[1024];
static unsigned given_entries;

static void random_iatt(struct wg_iatt *a)
{
    *a = (struct wg_iatt){ .valid = below(4) > 0, .type = (uint8_t)(1 + below(7)), .mode = below(010000),
                           .nlink = (uint32_t)rnd(), .uid = (uint32_t)rnd(), .gid = (uint32_t)rnd(),
                           .rdev_major = (uint32_t)rnd(), .rdev_minor = (uint32_t)rnd(), .size = rnd(), .used = rnd(),
                           .atime = random_time(), .mtime = random_time(), .ctime = random_time() };
    for (unsigned i = 0; i < 16; i++)
        a->gfid.b[i] = (uint8_t)rnd();
}

static void random_wcc(struct wg_wcc *w)
{
    *w = (struct wg_wcc){ below(4) > 0, rnd(), random_time(), random_time(), { 0 } };
    random_iatt(&w->post);
}

static void random_ref(struct wg_ref *ref)
{
    memset(ref, 0, sizeof *ref);
    for (unsigned i = 0; i < 16; i++)
        ref->gfid.b[i] = (uint8_t)rnd();
}

static struct wg_list random_entries(const struct wg_readdir_in *in, struct wg_frame *f)
{
    struct wg_appender a;

    ck_assert_int_eq(wg_append_start(&a, in->size), 0);
    for (given_entries = 0; given_entries < 64; given_entries++) {
        struct wg_dirent *d = &given_entry[given_entries];
        char *name = given_names[given_entries];

        *d = (struct wg_dirent){ .cookie = in->cookie + 10 + given_entries };
        d->name = (struct wg_str){ name, (uint32_t)snprintf(name, 64, "%.*s-%u", (int)below(20),
                                                            "abcdefghijklmnopqrst", given_entries) };
        random_ref(&d->ref);
        if (in->plus)
            random_iatt(&d->attr);
        if (!wg_append_dirent(&a, d))
            break;
    }
    struct wg_list list = wg_append_end(&a);
    wg_keep_iobuf(&f->call->arena, list.buf);
    return list;
}

static struct wg_data random_data(struct wg_frame *f, uint32_t len)
{
    struct wg_seg *seg = wg_alloc(&f->call->arena, 2 * sizeof *seg);
    uint32_t first = len ? below(len + 1) : 0;

    for (uint32_t i = 0; i < len; i++)
        given_text[i] = (char)rnd();
    seg[0] = (struct wg_seg){ NULL, given_text, first };
    seg[1] = (struct wg_seg){ NULL, given_text + first, len - first };
    return (struct wg_data){ seg, 2, len };
}

static void random_result(struct wg_frame *f)
{
    uint32_t n;

    memset(&given, 0, sizeof given);
    switch (f->op) {
    case WG_OP_lookup:
        random_ref(&given.lookup.ref);
        random_iatt(&given.lookup.attr);
        random_iatt(&given.lookup.parent);
        break;
    case WG_OP_getattr:
        random_iatt(&given.getattr.attr);
        given.getattr.attr.valid = true;
        break;
    case WG_OP_setattr:  random_wcc(&given.setattr.wcc); break;
    case WG_OP_access:
        given.access.granted = (uint32_t)rnd();
        random_iatt(&given.access.attr);
        break;
    case WG_OP_readlink:
        n = below(1000);
        for (uint32_t i = 0; i < n; i++)
            given_text[i] = (char)(1 + below(255));
        given.readlink.target = (struct wg_str){ given_text, n };
        random_iatt(&given.readlink.attr);
        break;
    case WG_OP_read:
        n = wg_in(f, read)->size;
        given.read.data = random_data(f, below(1 + (n < 1000 ? n : 1000)));
        given.read.eof = below(2);
        random_iatt(&given.read.attr);
        break;
    case WG_OP_write:
        given.write.count = (uint32_t)rnd();
        given.write.committed = below(3);
        given.write.verf = rnd();
        random_wcc(&given.write.wcc);
        break;
    case WG_OP_commit:
        given.commit.verf = rnd();
        random_wcc(&given.commit.wcc);
        break;
    case WG_OP_create: case WG_OP_mkdir: case WG_OP_symlink: case WG_OP_mknod: /* the same results */
        random_ref(&given.create.ref);
        random_iatt(&given.create.attr);
        random_wcc(&given.create.parent);
        break;
    case WG_OP_link:
        random_iatt(&given.link.attr);
        random_wcc(&given.link.parent);
        break;
    case WG_OP_unlink: case WG_OP_rmdir:
        random_wcc(&given.unlink.parent);
        break;
    case WG_OP_rename:
        random_wcc(&given.rename.from_parent);
        random_wcc(&given.rename.to_parent);
        break;
    case WG_OP_readdir:
        given.readdir.entries = random_entries(wg_in(f, readdir), f);
        given.readdir.eof = below(2);
        random_iatt(&given.readdir.attr);
        break;
    case WG_OP_statfs:
        given.statfs.fs = (struct wg_statfs){ rnd(), rnd(), rnd(), rnd(), rnd(), rnd(), 4096, 255, false };
        random_iatt(&given.statfs.attr);
        break;
    default:
        ck_abort_msg("fop %s", wg_op_name(f->op));
    }
}

static void any_fop(struct wg_frame *f)
{
    static const int errors[] = { ENOENT, EACCES, EPERM, EIO, ENOSPC, EROFS, ENOTDIR, EEXIST, ENOTEMPTY, EDQUOT, EFBIG };
    void *out = wg_alloc(&f->call->arena, wg_fops[f->op].out_size);

    if (f->op == WG_OP_lookup && wanted_op != WG_OP_lookup) { /* "..", or what is under a name */
        memset(out, 0, wg_fops[f->op].out_size);
        ((struct wg_lookup_out *)out)->ref.gfid = WG_ROOT_GFID;
        ((struct wg_lookup_out *)out)->attr = (struct wg_iatt){ .valid = true, .type = WG_DIR, .gfid = WG_ROOT_GFID };
        f->out = out;
        return wg_unwind(f, 0);
    }
    ck_assert_uint_eq(f->op, wanted_op);
    random_result(f);
    given_err = below(3) ? 0 : errors[below(sizeof errors / sizeof *errors)];
    memcpy(out, &given, wg_fops[f->op].out_size);
    f->out = out;
    wg_unwind(f, given_err);
}

static const struct wg_option no_options[] = { { .name = NULL } };
static const struct wg_class anything = { .type = "test/anything", .help = "Answers anything.", .options = no_options, .any = any_fop };

/* ---- Procedures: fill theirs, compare with ours; compare the reply ---- */

#define ARGS(name) static void fill_##name(void *to)
#define SAME(name) static void same_##name(const void *t, const struct nfs3_args *a)
#define CHECK(name) static void check_##name(const void *t)
#define THEIRS(type) const x_##type *x = t

ARGS(object) { fill_fh(&((x_object_args *)to)->object); }
SAME(object) { THEIRS(object_args); ck_assert(same_fh(&x->object, a->fh[0])); }

ARGS(setattr)
{
    x_setattr_args *x = to;

    fill_fh(&x->object);
    fill_sattr(&x->attrs);
    x->guard.check = (bool_t)below(2);
    fill_time(&x->guard.x_guard_u.ctime);
}
SAME(setattr)
{
    THEIRS(setattr_args);

    ck_assert(same_fh(&x->object, a->fh[0]));
    check_sattr(&x->attrs, &a->attrs);
    ck_assert(!!(a->attrs.valid & WG_SET_GUARD) == !!x->guard.check);
    ck_assert(!x->guard.check || same_time(&x->guard.x_guard_u.ctime, a->attrs.guard));
}

ARGS(named) { fill_dirop(to); }
SAME(named) { check_dirop(t, a, 0); }

ARGS(access)
{
    x_access_args *x = to;

    fill_fh(&x->object);
    x->mask = (u_int)rnd();
}
SAME(access) { THEIRS(access_args); ck_assert(same_fh(&x->object, a->fh[0]) && x->mask == a->mask); }

ARGS(range)
{
    x_range_args *x = to;

    fill_fh(&x->object);
    x->offset = rnd() >> 2;
    x->count = (u_int)rnd();
}
SAME(range)
{
    THEIRS(range_args);

    ck_assert(same_fh(&x->object, a->fh[0]) && x->offset == a->offset && x->count == a->count);
}

ARGS(write)
{
    static char data[1000];
    x_write_args *x = to;

    fill_fh(&x->object);
    x->offset = rnd() >> 2;
    x->data.data_len = below(sizeof data);
    x->data.data_val = data;
    for (u_int i = 0; i < x->data.data_len; i++)
        data[i] = (char)rnd();
    x->count = x->data.data_len ? below(x->data.data_len + 1) : 0;
    x->stable = (x_stable)below(3);
}
SAME(write)
{
    THEIRS(write_args);

    ck_assert(same_fh(&x->object, a->fh[0]) && x->offset == a->offset && x->count == a->count && x->stable == a->stable);
    ck_assert(x->data.data_len == a->data.len && memcmp(x->data.data_val, a->data.s, a->data.len) == 0);
}

ARGS(create)
{
    x_create_args *x = to;
    uint64_t verf = rnd();

    fill_dirop(&x->where);
    x->how.mode = (x_create_mode)below(3);
    if (x->how.mode == X_EXCLUSIVE)
        memcpy(x->how.x_create_how_u.verf, &verf, 8);
    else
        fill_sattr(&x->how.x_create_how_u.attrs);
}
SAME(create)
{
    THEIRS(create_args);

    check_dirop(&x->where, a, 0);
    ck_assert_uint_eq(x->how.mode, a->how);
    if (x->how.mode == X_EXCLUSIVE)
        check_verf(x->how.x_create_how_u.verf, a->verf);
    else
        check_sattr(&x->how.x_create_how_u.attrs, &a->attrs);
}

ARGS(mkdir)
{
    x_mkdir_args *x = to;

    fill_dirop(&x->where);
    fill_sattr(&x->attrs);
}
SAME(mkdir)
{
    THEIRS(mkdir_args);

    check_dirop(&x->where, a, 0);
    check_sattr(&x->attrs, &a->attrs);
}

ARGS(symlink)
{
    x_symlink_args *x = to;

    fill_dirop(&x->where);
    fill_sattr(&x->attrs);
    x->target = fill_name();
}
SAME(symlink)
{
    THEIRS(symlink_args);

    check_dirop(&x->where, a, 0);
    check_sattr(&x->attrs, &a->attrs);
    ck_assert(same_name(x->target, a->target));
}

ARGS(mknod)
{
    x_mknod_args *x = to;

    fill_dirop(&x->where);
    x->what.type = (x_ftype)(1 + below(7));
    if (x->what.type == X_CHR || x->what.type == X_BLK) {
        fill_sattr(&x->what.x_node_u.device.attrs);
        x->what.x_node_u.device.spec = (x_dev){ (u_int)rnd(), (u_int)rnd() };
    } else {
        fill_sattr(&x->what.x_node_u.pipe);
    }
}
SAME(mknod)
{
    static const uint32_t types[] = { [X_CHR] = WG_CHR, [X_BLK] = WG_BLK, [X_SOCK] = WG_SOCK, [X_FIFO] = WG_FIFO };
    THEIRS(mknod_args);
    bool device = x->what.type == X_CHR || x->what.type == X_BLK;

    check_dirop(&x->where, a, 0);
    ck_assert_uint_eq(a->type, types[x->what.type]);
    if (a->type == 0)
        return;
    check_sattr(device ? &x->what.x_node_u.device.attrs : &x->what.x_node_u.pipe, &a->attrs);
    if (device)
        ck_assert(x->what.x_node_u.device.spec.major == a->major && x->what.x_node_u.device.spec.minor == a->minor);
}

ARGS(rename)
{
    fill_dirop(&((x_rename_args *)to)->from);
    fill_dirop(&((x_rename_args *)to)->to);
}
SAME(rename)
{
    THEIRS(rename_args);

    check_dirop(&x->from, a, 0);
    check_dirop(&x->to, a, 1);
}

ARGS(link)
{
    fill_fh(&((x_link_args *)to)->object);
    fill_dirop(&((x_link_args *)to)->to);
}
SAME(link)
{
    THEIRS(link_args);

    ck_assert(same_fh(&x->object, a->fh[0]));
    check_dirop(&x->to, a, 1);
}

ARGS(readdir)
{
    x_readdir_args *x = to;

    fill_fh(&x->dir);
    x->cookie = below(2) ? 0 : below(1000);
    memset(x->verf, 0, 8);
    x->count = 300 + below(8000);
}
SAME(readdir)
{
    THEIRS(readdir_args);

    ck_assert(same_fh(&x->dir, a->fh[0]) && x->cookie == a->offset && x->count == a->count);
    check_verf(x->verf, a->verf);
}

ARGS(readdirplus)
{
    x_readdirplus_args *x = to;

    fill_fh(&x->dir);
    x->cookie = below(2) ? 0 : below(1000);
    memset(x->verf, 0, 8);
    x->dircount = 300 + below(4000);
    x->maxcount = 1000 + below(8000);
}
SAME(readdirplus)
{
    THEIRS(readdirplus_args);

    ck_assert(same_fh(&x->dir, a->fh[0]) && x->cookie == a->offset && x->dircount == a->dircount && x->maxcount == a->count);
    check_verf(x->verf, a->verf);
}

#define STATUS ck_assert_uint_eq(x->status, nfs3_status_of(given_err))

CHECK(getattr) { THEIRS(getattr_res); STATUS; if (!x->status) check_attr(&x->x_getattr_res_u.ok, &given.getattr.attr); }
CHECK(setattr) { THEIRS(wcc_res); STATUS; check_wcc(&x->wcc, &given.setattr.wcc); }

CHECK(lookup)
{
    THEIRS(lookup_res);

    STATUS;
    if (x->status)
        return check_post(&x->x_lookup_res_u.dir, &given.lookup.parent);
    check_handle(&x->x_lookup_res_u.ok.object, &given.lookup.ref);
    check_post(&x->x_lookup_res_u.ok.attr, &given.lookup.attr);
    check_post(&x->x_lookup_res_u.ok.dir, &given.lookup.parent);
}

static uint32_t asked_mask;

CHECK(access)
{
    THEIRS(access_res);

    STATUS;
    check_post(x->status ? &x->x_access_res_u.attr : &x->x_access_res_u.ok.attr, &given.access.attr);
    if (!x->status)
        ck_assert_uint_eq(x->x_access_res_u.ok.granted, given.access.granted & asked_mask);
}

CHECK(readlink)
{
    THEIRS(readlink_res);

    STATUS;
    check_post(x->status ? &x->x_readlink_res_u.attr : &x->x_readlink_res_u.ok.attr, &given.readlink.attr);
    ck_assert(x->status || same_name(x->x_readlink_res_u.ok.target, given.readlink.target));
}

CHECK(read)
{
    THEIRS(read_res);
    const x_read_ok *ok = &x->x_read_res_u.ok;

    STATUS;
    check_post(x->status ? &x->x_read_res_u.attr : &ok->attr, &given.read.attr);
    if (!x->status)
        ck_assert(ok->count == given.read.data.len && ok->data.data_len == ok->count && !!ok->eof == given.read.eof &&
                  memcmp(ok->data.data_val, given_text, ok->count) == 0);
}

CHECK(write)
{
    THEIRS(write_res);
    const x_write_ok *ok = &x->x_write_res_u.ok;

    STATUS;
    check_wcc(x->status ? &x->x_write_res_u.wcc : &ok->wcc, &given.write.wcc);
    if (!x->status) {
        ck_assert(ok->count == given.write.count && (uint32_t)ok->committed == given.write.committed);
        check_verf(ok->verf, given.write.verf);
    }
}

CHECK(made)
{
    THEIRS(made_res);
    const x_made_ok *ok = &x->x_made_res_u.ok;

    STATUS;
    check_wcc(x->status ? &x->x_made_res_u.wcc : &ok->wcc, &given.create.parent);
    if (!x->status) {
        ck_assert(ok->object.there);
        check_handle(&ok->object.x_post_fh_u.v, &given.create.ref);
        check_post(&ok->attr, &given.create.attr);
    }
}

CHECK(removed) { THEIRS(wcc_res); STATUS; check_wcc(&x->wcc, &given.unlink.parent); }

CHECK(rename)
{
    THEIRS(rename_res);

    STATUS;
    check_wcc(&x->from, &given.rename.from_parent);
    check_wcc(&x->to, &given.rename.to_parent);
}

CHECK(link)
{
    THEIRS(link_res);

    STATUS;
    check_post(&x->attr, &given.link.attr);
    check_wcc(&x->wcc, &given.link.parent);
}

/* A page may hold fewer entries than the store gave, then it is not the end. */
static void check_end(unsigned n, bool eof)
{
    ck_assert_uint_le(n, given_entries);
    ck_assert(!!eof == (n == given_entries && given.readdir.eof));
}

static uint32_t directory_status(void)
{
    return nfs3_status_of(given_err);
}

CHECK(readdir)
{
    THEIRS(readdir_res);
    unsigned n = 0;

    if (x->status == 10005 && !given_err) /* TOOSMALL: not even one entry fits */
        return;
    ck_assert_uint_eq(x->status, directory_status());
    check_post(x->status ? &x->x_readdir_res_u.attr : &x->x_readdir_res_u.ok.attr, &given.readdir.attr);
    if (x->status)
        return;
    for (const x_entry *e = x->x_readdir_res_u.ok.entries; e; e = e->next) {
        if (strcmp(e->name, ".") == 0 || strcmp(e->name, "..") == 0)
            continue;
        ck_assert_uint_lt(n, given_entries);
        ck_assert(same_name(e->name, given_entry[n].name) && e->cookie == given_entry[n].cookie &&
                  e->fileid == nfs3_fileid(given_entry[n].ref.gfid, false));
        n++;
    }
    check_end(n, x->x_readdir_res_u.ok.eof);
}

CHECK(readdirplus)
{
    THEIRS(readdirplus_res);
    unsigned n = 0;

    if (x->status == 10005 && !given_err)
        return;
    ck_assert_uint_eq(x->status, directory_status());
    check_post(x->status ? &x->x_readdirplus_res_u.attr : &x->x_readdirplus_res_u.ok.attr, &given.readdir.attr);
    if (x->status)
        return;
    for (const x_entryplus *e = x->x_readdirplus_res_u.ok.entries; e; e = e->next) {
        if (strcmp(e->name, ".") == 0 || strcmp(e->name, "..") == 0)
            continue;
        ck_assert_uint_lt(n, given_entries);
        ck_assert(same_name(e->name, given_entry[n].name) && e->cookie == given_entry[n].cookie &&
                  e->fileid == nfs3_fileid(given_entry[n].ref.gfid, false));
        check_post(&e->attr, &given_entry[n].attr);
        ck_assert(e->object.there);
        check_handle(&e->object.x_post_fh_u.v, &given_entry[n].ref);
        n++;
    }
    check_end(n, x->x_readdirplus_res_u.ok.eof);
}

CHECK(fsstat)
{
    THEIRS(fsstat_res);
    const x_fsstat_ok *ok = &x->x_fsstat_res_u.ok;
    const struct wg_statfs *s = &given.statfs.fs;

    STATUS;
    check_post(x->status ? &x->x_fsstat_res_u.attr : &ok->attr, &given.statfs.attr);
    if (!x->status)
        ck_assert(ok->total_bytes == s->total_bytes && ok->free_bytes == s->free_bytes && ok->avail_bytes == s->avail_bytes &&
                  ok->total_files == s->total_files && ok->free_files == s->free_files && ok->avail_files == s->avail_files);
}

CHECK(fsinfo)
{
    THEIRS(fsinfo_res);
    const x_fsinfo_ok *ok = &x->x_fsinfo_res_u.ok;

    STATUS;
    check_post(x->status ? &x->x_fsinfo_res_u.attr : &ok->attr, &given.getattr.attr);
    if (!x->status)
        ck_assert(ok->rtmax == NFS3_IO_MAX && ok->rtpref <= ok->rtmax && ok->rtmult == 4096 && ok->wtmax == NFS3_IO_MAX &&
                  ok->wtpref <= ok->wtmax && ok->wtmult == 4096 && ok->maxfilesize == INT64_MAX &&
                  ok->time_delta.nsec == 1 && ok->properties == 0x1b);
}

CHECK(pathconf)
{
    THEIRS(pathconf_res);
    const x_pathconf_ok *ok = &x->x_pathconf_res_u.ok;

    STATUS;
    check_post(x->status ? &x->x_pathconf_res_u.attr : &ok->attr, &given.getattr.attr);
    if (!x->status)
        ck_assert(ok->linkmax && ok->name_max == 255 && ok->no_trunc && ok->chown_restricted && !ok->case_insensitive &&
                  ok->case_preserving);
}

CHECK(commit)
{
    THEIRS(commit_res);

    STATUS;
    check_wcc(x->status ? &x->x_commit_res_u.wcc : &x->x_commit_res_u.ok.wcc, &given.commit.wcc);
    if (!x->status)
        check_verf(x->x_commit_res_u.ok.verf, given.commit.verf);
}

static const struct procedure {
    unsigned op;
    xdrproc_t args, res;
    void (*fill)(void *to);
    void (*same)(const void *t, const struct nfs3_args *a);
    void (*check)(const void *t);
} procedures[NFS3_NPROCS] = {
#define P(NAME, fop, argtype, fn, restype, checkfn) \
    [NFS3_##NAME] = { WG_OP_##fop, (xdrproc_t)xdr_x_##argtype, (xdrproc_t)xdr_x_##restype##_res, fill_##fn, same_##fn, check_##checkfn }
    P(GETATTR, getattr, object_args, object, getattr, getattr), P(SETATTR, setattr, setattr_args, setattr, wcc, setattr),
    P(LOOKUP, lookup, dirop, named, lookup, lookup), P(ACCESS, access, access_args, access, access, access),
    P(READLINK, readlink, object_args, object, readlink, readlink), P(READ, read, range_args, range, read, read),
    P(WRITE, write, write_args, write, write, write), P(CREATE, create, create_args, create, made, made),
    P(MKDIR, mkdir, mkdir_args, mkdir, made, made), P(SYMLINK, symlink, symlink_args, symlink, made, made),
    P(MKNOD, mknod, mknod_args, mknod, made, made), P(REMOVE, unlink, dirop, named, wcc, removed),
    P(RMDIR, rmdir, dirop, named, wcc, removed), P(RENAME, rename, rename_args, rename, rename, rename),
    P(LINK, link, link_args, link, link, link), P(READDIR, readdir, readdir_args, readdir, readdir, readdir),
    P(READDIRPLUS, readdir, readdirplus_args, readdirplus, readdirplus, readdirplus),
    P(FSSTAT, statfs, object_args, object, fsstat, fsstat), P(FSINFO, getattr, object_args, object, fsinfo, fsinfo),
    P(PATHCONF, getattr, object_args, object, pathconf, pathconf), P(COMMIT, commit, range_args, range, commit, commit),
};

/* ---- Both ways ---- */

static union {
    x_setattr_args a;
    x_write_args b;
    x_create_args c;
    x_symlink_args d;
    x_mknod_args e;
    x_rename_args f;
    x_readdirplus_args g;
    x_link_args h;
} theirs;
static uint8_t encoded[ARGS_MAX], reply[1 << 17];
static uint32_t reply_len;

/* The results, with the payload where it belongs. */
static void take_reply(struct wg_rpc *r)
{
    uint8_t *from = r->head + RPC_HEAD;

    reply_len = (uint32_t)(r->out.at - from);
    ck_assert_uint_le(reply_len, sizeof reply);
    memcpy(reply, from, reply_len);
    for (uint32_t i = 0; i < r->nseg; i++) {
        ck_assert_uint_le(reply_len + r->seg[i].len + 4, sizeof reply);
        memcpy(reply + reply_len, r->seg[i].base, r->seg[i].len);
        reply_len += r->seg[i].len;
    }
    for (uint32_t i = 0; i < wg_xdr_pad(r->payload); i++)
        reply[reply_len++] = 0;
}

static uint32_t encode(xdrproc_t proc, void *from)
{
    XDR x;

    xdrmem_create(&x, (char *)encoded, sizeof encoded, XDR_ENCODE);
    ck_assert(proc(&x, from));
    return xdr_getpos(&x);
}

static void decode_reply(xdrproc_t proc, void (*check)(const void *))
{
    static union {
        x_readdirplus_res a;
        x_made_res b;
        x_fsinfo_res c;
        x_write_res d;
        x_lookup_res e;
        x_rename_res f;
        x_mnt_res g;
        x_mounts h;
        x_exports i;
    } res;
    XDR x;

    memset(&res, 0, sizeof res);
    xdrmem_create(&x, (char *)reply, reply_len, XDR_DECODE);
    ck_assert(proc(&x, &res));
    ck_assert_uint_eq(xdr_getpos(&x), reply_len);
    check(&res);
    xdr_free(proc, (char *)&res);
}

START_TEST(arguments_decode_to_the_same)
{
    const struct procedure *p = &procedures[_i];
    struct nfs3_args ours;

    for (int round = 0; round < ROUNDS; round++) {
        uint32_t len;

        memset(&theirs, 0, sizeof theirs);
        p->fill(&theirs);
        len = encode(p->args, &theirs);
        ck_assert(nfs3_get_args((unsigned)_i, encoded, len, &ours));
        p->same(&theirs, &ours);
        for (uint32_t cut = 0; cut < len; cut += 1 + cut / 64) {
            uint8_t *exact = malloc(cut + 1);

            memcpy(exact, encoded, cut);
            ck_assert_msg(!nfs3_get_args((unsigned)_i, exact, cut, &ours), "%d: cut at %u of %u", _i, cut, len);
            free(exact);
        }
    }
}
END_TEST

START_TEST(replies_decode_to_what_the_store_gave)
{
    const struct procedure *p = &procedures[_i];

    wanted_op = p->op;
    fz_sent = take_reply;
    for (int round = 0; round < ROUNDS; round++) {
        uint32_t len;

        memset(&theirs, 0, sizeof theirs);
        p->fill(&theirs);
        if (_i == NFS3_MKNOD && (theirs.e.what.type < X_BLK || theirs.e.what.type == X_LNK))
            theirs.e.what.type = X_FIFO; /* others never reach the store */
        if (_i == NFS3_ACCESS)
            asked_mask = ((x_access_args *)&theirs)->mask;
        len = encode(p->args, &theirs);
        reply_len = 0;
        fz_call(NFS_PROGRAM, NFS_V3, (uint32_t)_i, encoded, len);
        ck_assert_uint_gt(reply_len, 0);
        decode_reply(p->res, p->check);
    }
}
END_TEST

START_TEST(null_answers_nothing)
{
    fz_sent = take_reply;
    reply_len = 77;
    fz_call(NFS_PROGRAM, NFS_V3, 0, encoded, 0);
    ck_assert_uint_eq(reply_len, 0);
    fz_call(MOUNT_PROGRAM, MOUNT_V3, 0, encoded, 0);
    ck_assert_uint_eq(reply_len, 0);
}
END_TEST

/* ---- MOUNT ---- */

enum { MNT = 1, DUMP, UMNT, UMNTALL, EXPORT };
static const char *asked_path;
static unsigned mounted;

static void check_mnt(const void *t)
{
    THEIRS(mnt_res);
    const struct wg_ref root = { .gfid = WG_ROOT_GFID };

    ck_assert_uint_eq(x->status, strcmp(asked_path, "/test") == 0 ? 0 : strcmp(asked_path, "/ro") == 0 ? 13 : 2);
    if (x->status)
        return;
    check_handle(&x->x_mnt_res_u.ok.handle, &root);
    ck_assert_uint_eq(x->x_mnt_res_u.ok.flavors.flavors_len, 1);
    ck_assert_uint_eq(x->x_mnt_res_u.ok.flavors.flavors_val[0], 1);
}

static void check_mounts(const void *t)
{
    const x_mounts *list = t;
    unsigned n = 0;

    for (const x_mount *m = *list; m; m = m->next, n++)
        ck_assert(strcmp(m->host, fz_peer.text) == 0 && strcmp(m->dir, "/test") == 0);
    ck_assert_uint_eq(n, mounted);
}

static void check_exports(const void *t)
{
    const x_exports *list = t;
    const x_export *e = *list;

    ck_assert(strcmp(e->dir, "/test") == 0 && strcmp(e->groups->name, "*") == 0 && !e->groups->next);
    e = e->next;
    ck_assert(strcmp(e->dir, "/closed") == 0 && strcmp(e->groups->name, "192.0.2.0/24") == 0);
    e = e->next;
    ck_assert(strcmp(e->dir, "/ro") == 0 && strcmp(e->groups->name, "127.0.0.0/8") == 0 && !e->next);
}

static void mount_call_of(uint32_t proc, const char *path)
{
    char *copy = (char *)(uintptr_t)path;

    asked_path = path;
    reply_len = 0;
    fz_call(MOUNT_PROGRAM, MOUNT_V3, proc, encoded, path ? encode((xdrproc_t)xdr_x_path, &copy) : 0);
}

START_TEST(mount_answers_as_the_model_says)
{
    static const char *const paths[] = { "/test", "/none", "/ro", "/test-", "" };

    fz_sent = take_reply;
    wanted_op = WG_OP_getattr;
    for (unsigned i = 0; i < 5; i++) {
        mount_call_of(MNT, paths[i]);
        if (i == 0)
            given.getattr.attr.valid = true;
        decode_reply((xdrproc_t)xdr_x_mnt_res, check_mnt);
    }
    mounted = 1;
    mount_call_of(DUMP, NULL);
    decode_reply((xdrproc_t)xdr_x_mounts, check_mounts);
    mount_call_of(UMNT, "/test");
    ck_assert_uint_eq(reply_len, 0);
    mounted = 0;
    mount_call_of(DUMP, NULL);
    decode_reply((xdrproc_t)xdr_x_mounts, check_mounts);
    mount_call_of(UMNTALL, NULL);
    ck_assert_uint_eq(reply_len, 0);
    mount_call_of(EXPORT, NULL);
    decode_reply((xdrproc_t)xdr_x_exports, check_exports);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("nfs against rpcgen");
    TCase *t = tcase_create("codec");
    SRunner *r;
    int failed;

    wg_class_add(&anything);
    fz_start_with("volume top\n type test/anything\nend-volume\n");
    suite_add_tcase(s, t);
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, arguments_decode_to_the_same, 1, NFS3_NPROCS);
    tcase_add_loop_test(t, replies_decode_to_what_the_store_gave, 1, NFS3_NPROCS);
    tcase_add_test(t, null_answers_nothing);
    tcase_add_test(t, mount_answers_as_the_model_says);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}

#else
#include <stdio.h>

int main(void)
{
    puts("skip: rpcgen or libtirpc is not installed");
    return 77;
}
#endif
