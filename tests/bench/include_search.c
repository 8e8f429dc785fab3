/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an interpreter does that looks for its files along a search path: each name is asked for in one
 * directory after the other until it is found, by LOOKUP calls over NFSv3, one at a time. Most answers are
 * NFS3ERR_NOENT. Prints one JSON line of how long those took.
 */
#include "nfscall.h"

#include <getopt.h>

static unsigned ndirs = 20, nfiles = 100, pages = 50;
static const char *label = "none";

static struct rpc_context *rpc;
static struct fh *dirs;
static struct lat failed; /* in tens of nanoseconds: a us is too coarse for bench.h's log */
static uint64_t found;

static unsigned home_of(unsigned file)
{
	return ndirs - 1 - file % 3;	/* the project's own code is at the end of the path */
}

static void prepare(void)
{
	struct fh root, top;
	char name[32];

	mount_root(&root);
	rpc = dial(nfsport, NFS_PROGRAM, NFS_V3);
	need_dir(rpc, &root, "include-search", &top);
	dirs = calloc(ndirs, sizeof *dirs);
	for (unsigned i = 0; i < ndirs; i++) {
		snprintf(name, sizeof name, "lib%02u", i);
		need_dir(rpc, &top, name, &dirs[i]);
	}
	for (unsigned i = 0; i < nfiles; i++) {
		struct wait w = { .proc = W_CREATE };
		CREATE3args a = { { fh3(&dirs[home_of(i)]), name }, { .mode = UNCHECKED } };

		snprintf(name, sizeof name, "Module%04u.php", i);
		a.how.createhow3_u.obj_attributes.mode = (set_mode3){ 1, { 0644 } };
		if (finish(rpc, &w, rpc_nfs3_create_async(rpc, waited, &a, &w)))
			die("create", name);
	}
}

static void search(unsigned file)
{
	char name[32];
	struct fh fh;

	snprintf(name, sizeof name, "Module%04u.php", file);
	for (unsigned i = 0; i < ndirs; i++) {
		uint64_t t0 = now_ns();
		int st = lookup_of(rpc, &dirs[i], name, &fh, NULL);

		if (st == 0) {
			found++;
			return;
		}
		if (st != NFS3ERR_NOENT)
			die("lookup", name);
		lat_add(&failed, (now_ns() - t0) * 100);
	}
	die("not found", name);
}

static double ms(size_t i)
{
	return failed.us[i] / 1e5;
}

int main(int argc, char **argv)
{
	double sum = 0;
	int c;

	while ((c = getopt(argc, argv, "u:d:n:r:l:")) != -1)
		switch (c) {
		case 'u': url = optarg; break;
		case 'd': ndirs = atoi(optarg); break;
		case 'n': nfiles = atoi(optarg); break;
		case 'r': pages = atoi(optarg); break;
		case 'l': label = optarg; break;
		default: die("usage", "include_search -u URL [-d directories] [-n files] [-r pages] [-l label]");
		}
	parse_url();
	if (ndirs < 4 || !nfiles || !pages)
		die("usage", "at least 4 directories, one file, one page");
	prepare();
	for (unsigned p = 0; p < pages; p++)
		for (unsigned i = 0; i < nfiles; i++)
			search(i);
	for (size_t i = 0; i < failed.n; i++)
		sum += ms(i);
	qsort(failed.us, failed.n, sizeof *failed.us, lat_cmp);
	printf("{\"case\":\"%s\",\"min_ms\":%.4f,\"avg_ms\":%.4f,\"max_ms\":%.4f,\"p99_ms\":%.4f,"
	       "\"p50_ms\":%.4f,\"failed\":%zu,\"found\":%llu}\n",
	       label, ms(0), sum / failed.n, ms(failed.n - 1), ms((size_t)(failed.n * 0.99)), ms(failed.n / 2),
	       failed.n, (unsigned long long)found);
	return 0;
}
