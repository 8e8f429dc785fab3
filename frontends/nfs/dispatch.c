/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all procedures of NFSv3 share, once: decode, open handles, check the export's rule, map
 * credentials, recognise retransmissions, find out what is under names, wind, encode, send.
 */
#include <stdlib.h>

#define WG_LOG_PART "nfs"
#include "graph.h"
#include "log.h"
#include "request.h"

static const struct nfs3_row rows[NFS3_NPROCS] = {
    [NFS3_NULL] = { "NULL", NULL, NULL, false, false, 0 },
#define NFS3(no, NAME, fn, args, class, replay, names)                        \
    [no] = { #NAME, nfs3_##fn##_start, nfs3_##fn##_reply, #class[0] == 'W', replay, names },
#include "nfs3.def"
#undef NFS3
};

/* The result of a fop that failed without any: every field zero, attributes not valid. */
static const union {
#define IN(type, field)
#define OUT(type, field)
#define FOP(no, name, kind, in, out) struct wg_##name##_out name;
#include "fops.def"
#undef FOP
#undef OUT
#undef IN
} nothing;

/* --- ending --- */

void nfs_release(struct wg_rpc *rpc)
{
    struct nfs_req *r = NFS_REQ(rpc);

    if (r->call)
        wg_call_unref(r->call);
    nfs_exports_unref(r->table);
}

/* Gives the waiting retransmissions the same results. */
static void answer_waiters(struct wg_rpc *waiters, const uint8_t *results, uint32_t len)
{
    for (struct wg_rpc *w = waiters, *next; w; w = next) {
        next = w->next;
        if (len == 0) {
            wg_rpc_drop(w);
            continue;
        }
        wg_rpc_accept(w, WG_RPC_OK);
        memcpy(w->out.at, results, len);
        w->out.at += len;
        wg_rpc_send(w);
    }
}

void nfs_reply_again(struct nfs_req *r, int err)
{
    r->err = err;
    wg_rpc_accept(&r->rpc, WG_RPC_OK);
    wg_xdr_put_u32(&r->rpc.out, nfs3_status_of(err));
}

void nfs_reply_large(struct nfs_req *r, uint32_t size)
{
    nfs_reply_again(r, wg_rpc_large(&r->rpc, size));
}

static void send_reply(struct nfs_req *r, const void *out)
{
    struct wg_rpc *waiters = NULL;
    uint8_t results[RPC_REPLY];
    uint32_t len = 0;

    nfs_reply_again(r, r->err);
    r->row->reply(r, out);
    if (r->ticket.client) {
        const uint8_t *from = r->rpc.head + RPC_HEAD;

        /* A client that is told to come back later does so with a new xid. */
        if (nfs3_status_of(r->err) != NFS3ERR_JUKEBOX && !r->rpc.out.bad)
            len = (uint32_t)(r->rpc.out.at - from);
        memcpy(results, from, len);
        waiters = drc_end(&r->ticket, len ? results : NULL, len);
    }
    wg_rpc_send(&r->rpc);
    answer_waiters(waiters, results, len);
}

void nfs_fail(struct nfs_req *r, int err)
{
    r->err = err;
    send_reply(r, &nothing);
}

static void start_row(struct nfs_req *r);

void nfs_finish(struct nfs_req *r)
{
    const struct wg_frame *root = r->call->root;

    r->err = root->err;
    if (r->err == ENOTEXPECTED && r->row->names && r->attempt++ == 0) {
        /* Another client changed what is there: look again, once. */
        memset(r->expect_known, 0, sizeof r->expect_known);
        return start_row(r);
    }
    send_reply(r, root->out ? root->out : &nothing);
}

static void finished(struct wg_call *call)
{
    nfs_finish(call->owner);
}

void nfs_wind(struct nfs_req *r, unsigned op, const void *in, void (*done)(struct wg_call *))
{
    if (!in)
        return nfs_fail(r, ENOMEM);
    if (wg_fops[op].kind == 'W') {
        /* A second attempt is another request to the store's reply cache. */
        memcpy(r->call->request_id, r->id, sizeof r->id);
        r->call->request_id[1] ^= r->attempt;
    }
    wg_start(r->call, r->call->graph->entry, op, in, done ? done : finished);
}

/* --- what is under the names --- */

static void looked(struct wg_call *call)
{
    struct nfs_req *r = call->owner;
    unsigned i = !r->expect_known[0] ? 0 : 1;
    int err = call->root->err;

    r->expect_known[i] = true;
    memset(&r->expect[i], 0, sizeof r->expect[i]);
    if (!err)
        r->expect[i] = wg_result(call, lookup)->ref.gfid;
    else if (err != ENOENT)
        return nfs_fail(r, err);
    /*
     * With nothing there the fop goes down all the same: it may be a retransmission of one that
     * was executed before this gateway started, which the store recognises.
     */
    start_row(r);
}

/* Finds out what is under each name; false: a lookup is under way. */
static bool know_names(struct nfs_req *r)
{
    for (unsigned i = 0; i < r->row->names; i++) {
        if (r->expect_known[i])
            continue;
        if (r->attempt == 0 && nfs_names_get(r->ref[i].gfid, r->args.name[i], &r->expect[i])) {
            r->expect_known[i] = true;
            continue;
        }
        nfs_fop_to(r, looked, lookup, .at = nfs_loc(r, i));
        return false;
    }
    return true;
}

static void start_row(struct nfs_req *r)
{
    if (know_names(r))
        r->row->start(r);
}

/* --- checks before the start --- */

/* Names that no directory can hold, and those that are always there. */
static int check_name(const struct nfs_req *r, struct wg_str name)
{
    bool dots = name.len <= 2 && memcmp(name.s, "..", name.len) == 0;

    if (name.len == 0 || memchr(name.s, '/', name.len) || memchr(name.s, '\0', name.len))
        return EINVAL;
    if (name.len > WG_NAME_MAX)
        return ENAMETOOLONG;
    if (dots && r->row->modifies)
        return r->row->names ? EINVAL : EEXIST;
    return 0;
}

static int open_handles(struct nfs_req *r)
{
    struct nfs_export *second = NULL;
    int err = nfs_handle_open(r->table, r->args.fh[0], &r->export, &r->ref[0]);

    if (!err && r->args.fh[1].s)
        err = nfs_handle_open(r->table, r->args.fh[1], &second, &r->ref[1]);
    if (!err && second && second != r->export)
        err = EXDEV;
    return err;
}

static int check_rule(struct nfs_req *r)
{
    const struct nfs_rule *rule = nfs_rule_for(r->export, &r->rpc.peer->addr);

    r->rule = rule;
    if (!rule)
        return EACCES;
    if (rule->privileged_port && r->rpc.peer->port >= 1024)
        return EPERM;
    if (rule->read_only && r->row->modifies)
        return EROFS;
    return 0;
}

static int check(struct nfs_req *r)
{
    int err = open_handles(r);

    if (!err)
        err = check_rule(r);
    for (unsigned i = 0; !err && i < 2; i++)
        if (r->args.name[i].s)
            err = check_name(r, r->args.name[i]);
    return err;
}

/* --- credentials --- */

static void squash(const struct nfs_rule *rule, struct wg_cred *c, uint32_t *groups)
{
    if (rule->squash == WG_SQUASH_ALL) {
        c->uid = rule->anon_uid;
        c->gid = rule->anon_gid;
        c->ngroups = 0;
        return;
    }
    if (rule->squash == WG_SQUASH_NONE)
        return;
    if (c->uid == 0)
        c->uid = rule->anon_uid;
    if (c->gid == 0)
        c->gid = rule->anon_gid;
    for (uint32_t i = 0; i < c->ngroups; i++)
        if (groups[i] == 0)
            groups[i] = rule->anon_gid;
}

int nfs_set_cred(struct nfs_req *r)
{
    struct wg_arena *arena = &r->call->arena;
    struct wg_cred *c = &r->call->cred;
    struct nfs_authsys sys;
    uint32_t *groups = NULL;

    if (r->rpc.flavor == RPC_AUTH_NONE) {
        *c = (struct wg_cred){ .uid = r->rule->anon_uid, .gid = r->rule->anon_gid };
        return r->rule->allow_none ? 0 : EACCES;
    }
    if (!nfs_get_authsys((const uint8_t *)r->rpc.cred.s, r->rpc.cred.len, &sys))
        return EACCES;
    c->uid = sys.uid;
    c->gid = sys.gid;
    if (sys.ngroups > 0) {
        groups = wg_alloc(arena, sys.ngroups * sizeof *groups);
        if (!groups)
            return ENOMEM;
        memcpy(groups, sys.groups, sys.ngroups * sizeof *groups);
        c->groups = groups;
        c->ngroups = sys.ngroups;
    }
    if (wg_strdup(arena, sys.machine, &c->principal) != 0)
        return ENOMEM;
    squash(r->rule, c, groups);
    return 0;
}

/* Refused before anything is decoded: flavors that are not served, malformed credentials. */
static bool check_flavor(struct wg_rpc *r)
{
    struct nfs_authsys sys;

    if (r->flavor > RPC_AUTH_SYS)
        wg_rpc_deny(r, WG_RPC_TOOWEAK);
    else if (r->flavor == RPC_AUTH_SYS &&
             !nfs_get_authsys((const uint8_t *)r->cred.s, r->cred.len, &sys))
        wg_rpc_deny(r, WG_RPC_BADCRED);
    else
        return true;
    wg_rpc_send(r);
    return false;
}

/* --- the request's name --- */

/*
 * Names the request across retransmissions and restarts. Of WRITE's data the first bytes do:
 * with client, xid, file and offset they tell any two requests apart that are both alive.
 */
static bool set_id(struct nfs_req *r)
{
    uint32_t head[2] = { r->rpc.xid, r->rpc.proc };
    uint32_t len = r->rpc.args_len < 1024 ? r->rpc.args_len : 1024;
    struct wg_str parts[] = {
        { (const char *)&r->rpc.peer->addr, sizeof r->rpc.peer->addr },
        { (const char *)head, sizeof head },
        { (const char *)r->rpc.args, r->rpc.proc == NFS3_WRITE ? len : r->rpc.args_len },
    };

    return nfs_mac(r->export->volume->key, parts, 3, r->id);
}

/* For a program that counts its requests as another one of the same machine does. */
static bool set_own_id(struct nfs_req *r)
{
    uint8_t id[sizeof r->id];
    struct wg_str parts[] = {
        WG_STR("port"),
        { (const char *)&r->rpc.peer->port, sizeof r->rpc.peer->port },
        { (const char *)id, sizeof id },
    };

    memcpy(id, r->id, sizeof id);
    return nfs_mac(r->export->volume->key, parts, 3, r->id);
}

/* DRC_NEW, or the request is taken care of. */
static enum drc_verdict recognise(struct nfs_req *r)
{
    enum drc_verdict v = drc_begin(&r->ticket, &r->rpc, r->id);

    if (v == DRC_OTHERS && set_own_id(r))
        v = drc_begin(&r->ticket, &r->rpc, r->id);
    if (v == DRC_OTHERS)
        v = DRC_NEW; /* and not remembered */
    return v;
}

wg_gfid nfs_new_gfid(const struct nfs_req *r)
{
    struct wg_str parts[] = { WG_STR("gfid"), { (const char *)r->id, sizeof r->id } };
    wg_gfid g;

    if (!nfs_mac(r->export->volume->key, parts, 2, g.b))
        return wg_gfid_new();
    g.b[6] = (uint8_t)((g.b[6] & 0x0f) | 0x80); /* RFC 9562 version 8: a name of our own making */
    g.b[8] = (uint8_t)((g.b[8] & 0x3f) | 0x80);
    return g;
}

/* --- starting --- */

/* The call may outlive the request, so what the fops see is copied to its arena. */
static int keep_arguments(struct nfs_req *r)
{
    struct wg_arena *a = &r->call->arena;
    struct wg_str *strings[] = { &r->args.name[0], &r->args.name[1], &r->args.target };

    for (unsigned i = 0; i < 3; i++)
        if (strings[i]->s && wg_strdup(a, *strings[i], strings[i]) != 0)
            return ENOMEM;
    return 0;
}

static int make_call(struct nfs_req *r)
{
    if (!r->export->volume->volume)
        return ENOTCONN;
    r->call = wg_volume_call(r->export->volume->volume, WG_FROM_NFS, r->row->name);
    if (!r->call)
        return ENOMEM;
    r->call->owner = r;
    r->call->deadline_ns = r->call->begin_ns + r->table->timeout_ms * 1000000ull;
    if (wg_strdup(&r->call->arena, wg_str_of(r->rpc.peer->text), &r->call->client) != 0 ||
        wg_strdup(&r->call->arena, wg_str_of(r->export->path), &r->call->share) != 0 || keep_arguments(r) != 0)
        return ENOMEM;
    r->call->object = r->args.name[0];
    return 0;
}

static void start(struct nfs_req *r)
{
    int err = check(r);

    if (err)
        return nfs_fail(r, err);
    err = make_call(r);
    if (!err)
        err = nfs_set_cred(r);
    if (err == EACCES) {
        wg_rpc_deny(&r->rpc, WG_RPC_TOOWEAK);
        return wg_rpc_send(&r->rpc);
    }
    if (!err && r->row->modifies && !set_id(r))
        err = ENOMEM;
    if (err)
        return nfs_fail(r, err);
    if (r->row->replay) {
        switch (recognise(r)) {
        case DRC_WAITS:
            return;
        case DRC_REPLAY:
            return r->rpc.head ? wg_rpc_send(&r->rpc) : wg_rpc_drop(&r->rpc);
        case DRC_NEW:
        case DRC_OTHERS:
            break;
        }
    }
    start_row(r);
}

static void nfs3_call(struct nfs_req *r)
{
    struct wg_rpc *rpc = &r->rpc;

    if (rpc->vers != NFS_V3) {
        wg_rpc_mismatch(rpc, NFS_V3, NFS_V3);
    } else if (rpc->proc >= NFS3_NPROCS) {
        wg_rpc_accept(rpc, WG_RPC_NOPROC);
    } else if (rpc->proc == NFS3_NULL) {
        wg_rpc_accept(rpc, WG_RPC_OK);
    } else if (!check_flavor(rpc)) {
        return;
    } else if (!nfs3_get_args(rpc->proc, rpc->args, rpc->args_len, &r->args)) {
        wg_rpc_accept(rpc, WG_RPC_GARBAGE);
    } else {
        r->row = &rows[rpc->proc];
        return start(r);
    }
    wg_rpc_send(rpc);
}

void nfs_call(struct wg_rpc *rpc)
{
    struct nfs_req *r = NFS_REQ(rpc);

    memset((char *)r + sizeof *rpc, 0, sizeof *r - sizeof *rpc);
    r->table = nfs_exports_get();
    if (!r->table) {
        wg_rpc_drop(rpc); /* stopping */
    } else if (rpc->prog == NFS_PROGRAM) {
        nfs3_call(r);
    } else if (rpc->prog == MOUNT_PROGRAM) {
        mount_call(r);
    } else {
        wg_rpc_accept(rpc, WG_RPC_NOPROG);
        wg_rpc_send(rpc);
    }
}

void nfs_put_fh(struct nfs_req *r, const struct wg_ref *ref)
{
    uint8_t fh[NFS3_FHSIZE];
    uint32_t len = nfs_handle_seal(r->export, ref, fh);

    wg_xdr_put_bytes(&r->rpc.out, fh, len);
}

void nfs_put_post_fh(struct nfs_req *r, const struct wg_ref *ref)
{
    bool there = !wg_gfid_is_zero(ref->gfid);

    wg_xdr_put_u32(&r->rpc.out, there);
    if (there)
        nfs_put_fh(r, ref);
}
