/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the NFS clients: URL, mounting, and single calls over libnfs' raw RPC interface. */
#ifndef NFSCALL_H
#define NFSCALL_H

#include "bench.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <nfsc/libnfs.h>
#include <nfsc/libnfs-raw.h>
#include <nfsc/libnfs-raw-mount.h>
#include <nfsc/libnfs-raw-nfs.h>

#define FHMAX 64

struct fh {
	unsigned len;
	char b[FHMAX];
};

static const char *url;
static char host[128], export[1024];
static int nfsport = 2049, mntport;

static nfs_fh3 fh3(struct fh *f)
{
	return (nfs_fh3){ { f->len, f->b } };
}

static void fh_set(struct fh *f, const nfs_fh3 *n)
{
	if (n->data.data_len > FHMAX)
		die("file handle", "too long");
	f->len = n->data.data_len;
	memcpy(f->b, n->data.data_val, f->len);
}

/* ---- synchronous calls ---- */

struct wait {
	int done, status;
	struct fh *fh;
	uint64_t size;
	int proc;
};

enum { W_CONNECT, W_MOUNT, W_LOOKUP, W_CREATE, W_MKDIR };

static void waited(struct rpc_context *rpc, int status, void *data, void *priv)
{
	struct wait *w = priv;

	(void)rpc;
	w->done = 1;
	w->status = status ? -1 : 0;
	if (status || w->proc == W_CONNECT)
		return;
	w->status = *(int *)data;	/* every reply starts with its status */
	if (w->status)
		return;
	if (w->proc == W_MOUNT) {
		mountres3 *r = data;

		w->fh->len = r->mountres3_u.mountinfo.fhandle.fhandle3_len;
		if (w->fh->len > FHMAX)
			die("mount", "file handle too long");
		memcpy(w->fh->b, r->mountres3_u.mountinfo.fhandle.fhandle3_val, w->fh->len);
	} else if (w->proc == W_LOOKUP) {
		LOOKUP3resok *r = &((LOOKUP3res *)data)->LOOKUP3res_u.resok;

		fh_set(w->fh, &r->object);
		if (r->obj_attributes.attributes_follow)
			w->size = r->obj_attributes.post_op_attr_u.attributes.size;
	}
}

static int finish(struct rpc_context *rpc, struct wait *w, int queued)
{
	struct pollfd p;

	if (queued < 0)
		die("call", rpc_get_error(rpc));
	while (!w->done) {
		p = (struct pollfd){ rpc_get_fd(rpc), rpc_which_events(rpc), 0 };
		if (poll(&p, 1, 1000) < 0 || rpc_service(rpc, p.revents) < 0)
			die("call", rpc_get_error(rpc));
	}
	return w->status;
}

static int lookup_of(struct rpc_context *rpc, struct fh *dir, const char *name, struct fh *out, uint64_t *sz)
{
	struct wait w = { .fh = out, .proc = W_LOOKUP };
	LOOKUP3args a = { { fh3(dir), (char *)name } };
	int st = finish(rpc, &w, rpc_nfs3_lookup_async(rpc, waited, &a, &w));

	if (sz)
		*sz = w.size;
	return st;
}

static void need_dir(struct rpc_context *rpc, struct fh *in, const char *name, struct fh *out)
{
	struct wait w = { .proc = W_MKDIR };
	MKDIR3args a = { { fh3(in), (char *)name }, { .mode = { 1, { 0755 } } } };

	if (!lookup_of(rpc, in, name, out, NULL))
		return;
	finish(rpc, &w, rpc_nfs3_mkdir_async(rpc, waited, &a, &w));
	if (lookup_of(rpc, in, name, out, NULL))
		die("mkdir", name);
}

static struct rpc_context *dial(int port, int prog, int vers)
{
	struct rpc_context *rpc = rpc_init_context();
	struct wait w = { .proc = W_CONNECT };
	int one = 1;

	if (finish(rpc, &w, rpc_connect_port_async(rpc, host, port, prog, vers, waited, &w)))
		die("connect", rpc_get_error(rpc));
	setsockopt(rpc_get_fd(rpc), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	return rpc;
}

static void mount_root(struct fh *root)
{
	struct rpc_context *rpc = dial(mntport ? mntport : nfsport, MOUNT_PROGRAM, MOUNT_V3);
	struct wait w = { .fh = root, .proc = W_MOUNT };

	if (finish(rpc, &w, rpc_mount3_mnt_async(rpc, waited, export, &w)))
		die("mount", export);
	rpc_destroy_context(rpc);
}

static int query(const char *key, int def)
{
	const char *q = strchr(url, '?'), *p = q ? strstr(q, key) : NULL;

	return p ? atoi(p + strlen(key)) : def;
}

static void parse_url(void)
{
	if (!url || sscanf(url, "nfs://%127[^:/]%1023[^?]", host, export) != 2)
		die("url", "want nfs://host/export?nfsport=N&mountport=N");
	nfsport = query("nfsport=", 2049);
	mntport = query("mountport=", nfsport);
}

#endif
