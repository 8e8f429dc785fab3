/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MOUNT (RFC 1813 appendix I): version 3, and versions 1 and 2 as far as old showmount needs
 * them. Their MNT is refused: its handles have 32 bytes, ours are longer.
 */
#include <stdlib.h>

#define WG_LOG_PART "nfs"
#include "dump.h"
#include "log.h"
#include "request.h"

enum { MOUNTS_MAX = 1024, PATH_MAX_MNT = 1024, LIST_MAX = 256 << 10, LIST_MAX_UDP = 8000 };
enum { MNT_NULL, MNT_MNT, MNT_DUMP, MNT_UMNT, MNT_UMNTALL, MNT_EXPORT };

/* Who has mounted what: for people only (showmount -a), lost at a restart, bounded. */
static struct mount {
    struct mount *next;
    char client[INET6_ADDRSTRLEN];
    char path[];
} *mounts;
static unsigned nmounts;
static pthread_mutex_t mounts_lock = PTHREAD_MUTEX_INITIALIZER;

static void forget(const char *client, const char *path)
{
    pthread_mutex_lock(&mounts_lock);
    for (struct mount **at = &mounts; *at;) {
        struct mount *m = *at;

        if (strcmp(m->client, client) != 0 || (path && strcmp(m->path, path) != 0)) {
            at = &m->next;
            continue;
        }
        *at = m->next;
        nmounts--;
        free(m);
    }
    pthread_mutex_unlock(&mounts_lock);
}

static void remember(const char *client, const char *path)
{
    struct mount *m = malloc(sizeof *m + strlen(path) + 1);

    if (!m)
        return;
    strcpy(m->path, path);
    memcpy(m->client, client, sizeof m->client);
    forget(client, path);
    pthread_mutex_lock(&mounts_lock);
    if (nmounts < MOUNTS_MAX) {
        m->next = mounts;
        mounts = m;
        nmounts++;
        m = NULL;
    }
    pthread_mutex_unlock(&mounts_lock);
    free(m);
}

void mount_free(void)
{
    while (mounts) {
        struct mount *m = mounts;

        mounts = m->next;
        free(m);
    }
    nmounts = 0;
}

void mount_dump(struct wg_dump *d)
{
    wg_dump_array(d, "mounts");
    pthread_mutex_lock(&mounts_lock);
    for (const struct mount *m = mounts; m; m = m->next)
        wg_dump_fmt(d, NULL, "%s:%s", m->client, m->path);
    pthread_mutex_unlock(&mounts_lock);
    wg_dump_end(d);
}

/* --- MNT --- */

/* mountstat3: the statuses that MOUNT shares with NFS; others are a server fault. */
static uint32_t mount_status(int err)
{
    switch (err) {
    case 0: return 0;
    case EPERM: return 1;
    case ENOENT: return 2;
    case EACCES: return 13;
    case ENOTDIR: return 20;
    case EINVAL: return 22;
    case ENAMETOOLONG: return 63;
    case EIO: return 5;
    default: return 10006; /* MNT3ERR_SERVERFAULT */
    }
}

static void put_result(struct nfs_req *r, int err, const struct wg_ref *ref)
{
    struct wg_xdr_out *x = &r->rpc.out;

    wg_rpc_accept(&r->rpc, WG_RPC_OK);
    wg_xdr_put_u32(x, mount_status(err));
    if (err)
        return;
    nfs_put_fh(r, ref);
    wg_xdr_put_u32(x, r->rule->allow_none ? 2 : 1);
    wg_xdr_put_u32(x, RPC_AUTH_SYS);
    if (r->rule->allow_none)
        wg_xdr_put_u32(x, RPC_AUTH_NONE);
}

/* The path of a request, NUL-terminated and normal; false: garbage. */
static bool get_path(struct nfs_req *r, char ret[PATH_MAX_MNT + 2])
{
    struct wg_xdr_in x = { r->rpc.args, r->rpc.args + r->rpc.args_len, false };
    struct wg_str s = wg_xdr_get_bytes(&x, PATH_MAX_MNT);
    char text[PATH_MAX_MNT + 1];

    if (x.bad || memchr(s.s, '\0', s.len))
        return false;
    memcpy(text, s.s, s.len);
    text[s.len] = '\0';
    nfs_normal_path(text, ret);
    return true;
}

static void walked(struct nfs_walk *w, int err)
{
    struct nfs_req *r = w->owner;
    char path[PATH_MAX_MNT + 2];

    get_path(r, path);
    put_result(r, err, &w->ref);
    if (!err) {
        wg_info("%s mounts %s", r->rpc.peer->text, path);
        remember(r->rpc.peer->text, path);
    } else {
        wg_notice("%s may not mount %s: %s", r->rpc.peer->text, path, wg_error_name(err));
    }
    wg_rpc_send(&r->rpc);
}

static int may_mount(struct nfs_req *r)
{
    if (!r->export)
        return ENOENT;
    r->rule = nfs_rule_for(r->export, &r->rpc.peer->addr);
    if (!r->rule || (r->rule->privileged_port && r->rpc.peer->port >= 1024))
        return EACCES;
    return r->rpc.vers == MOUNT_V3 ? 0 : EACCES;
}

static void do_mnt(struct nfs_req *r)
{
    char path[PATH_MAX_MNT + 2];
    const char *rest = "";
    int err;

    if (!get_path(r, path)) {
        wg_rpc_accept(&r->rpc, WG_RPC_GARBAGE);
        return wg_rpc_send(&r->rpc);
    }
    r->export = nfs_export_of_path(r->table, path, &rest);
    err = may_mount(r);
    if (err) {
        wg_notice("%s may not mount %s: %s", r->rpc.peer->text, path, wg_error_name(err));
        put_result(r, err, NULL);
        return wg_rpc_send(&r->rpc);
    }
    nfs_walk(r->table, r->export, rest, walked, r);
}

/* --- the lists --- */

static void do_dump(struct nfs_req *r)
{
    struct wg_xdr_out *x = &r->rpc.out;

    pthread_mutex_lock(&mounts_lock);
    for (const struct mount *m = mounts; m; m = m->next) {
        uint32_t len = (uint32_t)strlen(m->path);

        if (wg_xdr_room(x) < len + INET6_ADDRSTRLEN + 32u)
            break;
        wg_xdr_put_u32(x, true);
        wg_xdr_put_bytes(x, m->client, (uint32_t)strlen(m->client));
        wg_xdr_put_bytes(x, m->path, len);
    }
    pthread_mutex_unlock(&mounts_lock);
    wg_xdr_put_u32(x, false);
}

/* An export in the list, and the list's end. */
static size_t export_size(const struct nfs_export *e)
{
    size_t size = 4 + 8 + strlen(e->path) + 4 + 4;

    for (unsigned k = 0; k < e->nrules; k++)
        size += 4 + 8 + strlen(e->rules[k].clients);
    return size;
}

static void do_export(struct nfs_req *r)
{
    struct wg_xdr_out *x = &r->rpc.out;

    for (unsigned i = 0; i < r->table->nexports; i++) {
        const struct nfs_export *e = &r->table->exports[i];

        if (wg_xdr_room(x) < export_size(e))
            break;
        wg_xdr_put_u32(x, true);
        wg_xdr_put_bytes(x, e->path, (uint32_t)strlen(e->path));
        for (unsigned k = 0; k < e->nrules; k++) {
            wg_xdr_put_u32(x, true);
            wg_xdr_put_bytes(x, e->rules[k].clients, (uint32_t)strlen(e->rules[k].clients));
        }
        wg_xdr_put_u32(x, false);
    }
    wg_xdr_put_u32(x, false);
}

static void do_list(struct nfs_req *r, void (*list)(struct nfs_req *r))
{
    /* A list ends where its reply is full. */
    if (wg_rpc_large(&r->rpc, r->rpc.conn ? LIST_MAX : LIST_MAX_UDP) != 0)
        return wg_rpc_accept(&r->rpc, WG_RPC_FAILED);
    wg_rpc_accept(&r->rpc, WG_RPC_OK);
    list(r);
}

static void do_umnt(struct nfs_req *r)
{
    char path[PATH_MAX_MNT + 2];

    if (!get_path(r, path))
        return wg_rpc_accept(&r->rpc, WG_RPC_GARBAGE);
    forget(r->rpc.peer->text, path);
    wg_rpc_accept(&r->rpc, WG_RPC_OK);
}

void mount_call(struct nfs_req *r)
{
    if (r->rpc.vers < MOUNT_V1 || r->rpc.vers > MOUNT_V3) {
        wg_rpc_mismatch(&r->rpc, MOUNT_V1, MOUNT_V3);
        return wg_rpc_send(&r->rpc);
    }
    switch (r->rpc.proc) {
    case MNT_NULL:
        wg_rpc_accept(&r->rpc, WG_RPC_OK);
        break;
    case MNT_MNT:
        return do_mnt(r);
    case MNT_DUMP:
        do_list(r, do_dump);
        break;
    case MNT_UMNT:
        do_umnt(r);
        break;
    case MNT_UMNTALL:
        forget(r->rpc.peer->text, NULL);
        wg_rpc_accept(&r->rpc, WG_RPC_OK);
        break;
    case MNT_EXPORT:
        do_list(r, do_export);
        break;
    default:
        wg_rpc_accept(&r->rpc, WG_RPC_NOPROC);
    }
    wg_rpc_send(&r->rpc);
}
