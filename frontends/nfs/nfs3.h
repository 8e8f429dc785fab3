/* SPDX-License-Identifier: Apache-2.0 */
/* NFSv3 on the wire (RFC 1813): constants, decoded arguments, and the parts that replies share. */
#ifndef WG_NFS3_H
#define WG_NFS3_H

#include "errors.h"
#include "types.h"
#include "xdr.h"

enum { NFS_PROGRAM = 100003, NFS_V3 = 3, MOUNT_PROGRAM = 100005, MOUNT_V1 = 1, MOUNT_V3 = 3 };

enum {
    NFS3_FHSIZE = 64,
    NFS3_IO_MAX = 1 << 20,       /* rtmax, wtmax */
    NFS3_DIR_MAX = 1 << 20,      /* most bytes of one READDIR or READDIRPLUS reply */
    NFS3_ATTR_SIZE = 84,         /* fattr3 */
    NFS3_WCC_SIZE = 4 + 24 + 4 + NFS3_ATTR_SIZE,
};

enum nfs3_status {
    NFS3_OK = 0,
    NFS3ERR_PERM = 1,
    NFS3ERR_ACCES = 13,
    NFS3ERR_ROFS = 30,
    NFS3ERR_BADHANDLE = 10001,
    NFS3ERR_JUKEBOX = 10008,
};

enum { /* ACCESS3 bits */
    ACCESS3_READ = 1,
    ACCESS3_LOOKUP = 2,
    ACCESS3_MODIFY = 4,
    ACCESS3_EXTEND = 8,
    ACCESS3_DELETE = 16,
    ACCESS3_EXECUTE = 32,
};

enum nfs3_proc {
    NFS3_NULL = 0,
#define NFS3(no, NAME, fn, args, class, replay, names) NFS3_##NAME = no,
#include "nfs3.def"
#undef NFS3
    NFS3_NPROCS = 22
};

/*
 * The arguments of one call; each procedure fills the fields it has. Strings, handles and data
 * point into the record.
 */
struct nfs3_args {
    struct wg_str fh[2];     /* the object or directory; of RENAME and LINK also the target's */
    struct wg_str name[2];
    struct wg_sattr attrs;   /* SETATTR: with guard */
    struct wg_str target;    /* of SYMLINK */
    struct wg_str data;      /* of WRITE */
    uint64_t offset;         /* READ, WRITE, COMMIT; the cookie of READDIR and READDIRPLUS */
    uint64_t verf;           /* cookieverf, createverf */
    uint32_t count;          /* READ, WRITE, COMMIT; count or maxcount of READDIR[PLUS] */
    uint32_t dircount;
    uint32_t stable, how, mask;
    uint32_t type;           /* enum wg_type, for MKNOD; 0: a type that is none */
    uint32_t major, minor;
};

/* Each decodes one shape of arguments; malformed ones set x->bad. Any thread, no allocation. */
typedef void nfs3_get_fn(struct wg_xdr_in *x, struct nfs3_args *a);
nfs3_get_fn nfs3_get_object, nfs3_get_setattr, nfs3_get_dirop, nfs3_get_access, nfs3_get_read,
    nfs3_get_write, nfs3_get_create, nfs3_get_mkdir, nfs3_get_symlink, nfs3_get_mknod,
    nfs3_get_rename, nfs3_get_link, nfs3_get_readdir, nfs3_get_readdirplus, nfs3_get_commit;

/* Decodes the arguments of proc (1 to 21); false when they are malformed (GARBAGE_ARGS). */
bool nfs3_get_args(unsigned proc, const uint8_t *args, uint32_t len, struct nfs3_args *ret);

/* What identifies the file system in attributes. */
struct nfs3_ids {
    uint64_t fsid;
    bool fileid32;
};

/* 64 bits of a gfid, or 32; never zero. */
uint64_t nfs3_fileid(wg_gfid g, bool fold32);

/* The status on the wire of an errno of errors.def; NFS3_OK for 0. */
uint32_t nfs3_status_of(int err);

void nfs3_put_attr(struct wg_xdr_out *x, const struct wg_iatt *a, const struct nfs3_ids *ids);
/* post_op_attr: attributes, or a zero when a is NULL or not valid. */
void nfs3_put_post_attr(struct wg_xdr_out *x, const struct wg_iatt *a, const struct nfs3_ids *ids);
/* wcc_data; w may be NULL. */
void nfs3_put_wcc(struct wg_xdr_out *x, const struct wg_wcc *w, const struct nfs3_ids *ids);

/* An AUTH_SYS credential (RFC 5531 appendix A). groups holds at most 16. */
struct nfs_authsys {
    struct wg_str machine;
    uint32_t uid, gid;
    uint32_t ngroups;
    uint32_t groups[16];
};

/* false: malformed, or uid or gid is -1. */
bool nfs_get_authsys(const uint8_t *body, uint32_t len, struct nfs_authsys *ret);

#endif
