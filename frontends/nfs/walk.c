/* SPDX-License-Identifier: Apache-2.0 */
/* From a path to a directory's reference, by lookups, one after the other. */
#include <stdlib.h>

#define WG_LOG_PART "nfs"
#include "graph.h"
#include "log.h"
#include "request.h"

static void next_step(struct nfs_walk *w);

static void end(struct nfs_walk *w, int err)
{
    struct wg_call *call = w->call;
    struct nfs_exports *table = w->table;

    w->done(w, err);
    if (call)
        wg_call_unref(call); /* w is in its arena */
    nfs_exports_unref(table);
}

static void stepped(struct wg_call *call)
{
    struct nfs_walk *w = call->owner;
    const struct wg_lookup_out *out = call->root->out;

    if (call->root->err || !out)
        return end(w, call->root->err ? call->root->err : EIO);
    w->ref = out->ref;
    w->attr = out->attr;
    next_step(w);
}

static void lookup(struct nfs_walk *w, struct wg_str name)
{
    struct wg_lookup_in *in = WG_NEW(&w->call->arena, struct wg_lookup_in);

    if (!in)
        return end(w, ENOMEM);
    in->at = (struct wg_loc){ w->ref, name };
    wg_start(w->call, w->call->graph->entry, WG_OP_lookup, in, stepped);
}

static void next_step(struct nfs_walk *w)
{
    struct wg_str name;

    if (w->at == w->below)
        nfs_export_set_root(w->export, w->ref.gfid);
    while (*w->at == '/')
        w->at++;
    name = (struct wg_str){ w->at, (uint32_t)strcspn(w->at, "/") };
    w->at += name.len;
    if (name.len == 0)
        return end(w, w->attr.type == WG_DIR ? 0 : ENOTDIR);
    if (name.len > WG_NAME_MAX)
        return end(w, ENAMETOOLONG);
    if (wg_str_eq(name, WG_STR("..")))
        return end(w, EACCES);
    lookup(w, name);
}

void nfs_walk(struct nfs_exports *t, struct nfs_export *e, const char *path,
              void (*done)(struct nfs_walk *w, int err), void *owner)
{
    struct nfs_walk none = { .export = e, .done = done, .owner = owner };
    struct nfs_volume *v = e->volume;
    struct wg_call *call = v->volume ? wg_volume_call(v->volume, WG_FROM_NFS, "MNT") : NULL;
    struct nfs_walk *w = call ? WG_NEW(&call->arena, struct nfs_walk) : NULL;
    const char *dir = strcmp(e->dir, "/") == 0 ? "" : e->dir;

    if (w)
        w->path = wg_printf(&call->arena, "%s%s", dir, path);
    if (!w || !w->path) {
        if (call)
            wg_call_unref(call);
        return done(&none, call ? ENOMEM : ENOTCONN);
    }
    atomic_fetch_add(&t->refs, 1);
    w->table = t;
    w->call = call;
    w->export = e;
    w->at = w->path;
    w->below = w->path + strlen(dir);
    w->done = done;
    w->owner = owner;
    w->ref.gfid = WG_ROOT_GFID;
    call->owner = w;
    call->object = wg_str_of(w->path);
    wg_strdup(&call->arena, wg_str_of(e->path), &call->share); /* for dumps; without it they say less */
    call->deadline_ns = call->begin_ns + t->timeout_ms * 1000000ull;
    /* "." first: it gives the root's hint, so that its handle is the same on every way to it. */
    lookup(w, WG_STR("."));
}

static void found(struct nfs_walk *w, int err)
{
    if (err)
        wg_warning("export %s: directory %s: %s", w->export->path, w->export->dir,
                   wg_error_name(err));
}

void nfs_find_root(struct nfs_exports *t, struct nfs_export *e)
{
    nfs_walk(t, e, "", found, NULL);
}

void nfs_find_roots(struct nfs_exports *t)
{
    for (unsigned i = 0; i < t->nexports; i++)
        if (!atomic_load(&t->exports[i].root_known))
            nfs_find_root(t, &t->exports[i]);
}
