/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an interpreter does that looks for its files along a search path: each name is asked for in one
 * directory after the other until it is found, by LOOKUP calls over NFSv3, one at a time. Most answers are
 * NFS3ERR_NOENT. Several servers take turns, so that what else the machine does falls on all of them
 * alike. Prints one JSON line a server of how long the failed lookups took.
 */
#include "nfscall.h"

#include <getopt.h>

#define TARGETS_MAX 8

static unsigned ndirs = 20, nfiles = 100, pages = 50, turn = 1;
static int verbose;

static struct target {
	const char *label;
	struct rpc_context *rpc;
	struct fh *dirs;
	struct lat failed;	/* in tens of nanoseconds: a us is too coarse for bench.h's log */
	struct lat null;	/* of calls that do nothing: what client and connection cost */
	size_t cold;		/* how many of failed were of the first page */
	uint64_t found;
} targets[TARGETS_MAX];

static unsigned home_of(unsigned file)
{
	return ndirs - 1 - file % 3;	/* the project's own code is at the end of the path */
}

static void prepare(struct target *t)
{
	struct fh root, top;
	char name[32];

	mount_root(&root);
	t->rpc = dial(nfsport, NFS_PROGRAM, NFS_V3);
	need_dir(t->rpc, &root, "include-search", &top);
	t->dirs = calloc(ndirs, sizeof *t->dirs);
	for (unsigned i = 0; i < ndirs; i++) {
		snprintf(name, sizeof name, "lib%02u", i);
		need_dir(t->rpc, &top, name, &t->dirs[i]);
	}
	for (unsigned i = 0; i < nfiles; i++) {
		struct wait w = { .proc = W_CREATE };
		CREATE3args a = { { fh3(&t->dirs[home_of(i)]), name }, { .mode = UNCHECKED } };

		snprintf(name, sizeof name, "Module%04u.php", i);
		a.how.createhow3_u.obj_attributes.mode = (set_mode3){ 1, { 0644 } };
		if (finish(t->rpc, &w, rpc_nfs3_create_async(t->rpc, waited, &a, &w)))
			die("create", name);
	}
}

static void search(struct target *t, unsigned file)
{
	char name[32];
	struct fh fh;

	snprintf(name, sizeof name, "Module%04u.php", file);
	for (unsigned i = 0; i < ndirs; i++) {
		uint64_t t0 = now_ns();
		int st = lookup_of(t->rpc, &t->dirs[i], name, &fh, NULL);

		if (st == 0) {
			t->found++;
			return;
		}
		if (st != NFS3ERR_NOENT)
			die("lookup", name);
		lat_add(&t->failed, (now_ns() - t0) * 100);
	}
	die("not found", name);
}

static double average_ms(const struct lat *l, size_t from, size_t to)
{
	double sum = 0;

	for (size_t i = from; i < to; i++)
		sum += l->us[i] / 1e5;
	return to > from ? sum / (to - from) : 0;
}

static void page(struct target *t)
{
	size_t before = t->failed.n;

	for (unsigned i = 0; i < nfiles; i++) {
		struct wait w = { .proc = W_CONNECT };
		uint64_t t0 = now_ns();

		if (finish(t->rpc, &w, rpc_nfs3_null_async(t->rpc, waited, &w)))
			die("null", t->label);
		lat_add(&t->null, (now_ns() - t0) * 100);
		search(t, i);
	}
	if (verbose)
		fprintf(stderr, "%s: %.4f ms\n", t->label, average_ms(&t->failed, before, t->failed.n));
}

/* The log is sorted here. */
static double at_ms(struct lat *l, double part)
{
	qsort(l->us, l->n, sizeof *l->us, lat_cmp);
	return l->us[(size_t)((l->n - 1) * part)] / 1e5;
}

static void print_line(struct target *t)
{
	struct lat *l = &t->failed;
	double avg = average_ms(l, 0, l->n), cold = average_ms(l, 0, t->cold), warm = average_ms(l, t->cold, l->n);

	printf("{\"case\":\"%s\",\"min_ms\":%.4f,\"avg_ms\":%.4f,\"max_ms\":%.4f,\"p99_ms\":%.4f,\"p50_ms\":%.4f,"
	       "\"first_page_avg_ms\":%.4f,\"later_avg_ms\":%.4f,\"null_p50_ms\":%.4f,\"failed\":%zu,\"found\":%llu}\n",
	       t->label, at_ms(l, 0), avg, at_ms(l, 1), at_ms(l, 0.99), at_ms(l, 0.5), cold, warm, at_ms(&t->null, 0.5),
	       l->n, (unsigned long long)t->found);
}

int main(int argc, char **argv)
{
	int c, n = 0;

	while ((c = getopt(argc, argv, "d:n:r:t:v")) != -1)
		switch (c) {
		case 'd': ndirs = atoi(optarg); break;
		case 'n': nfiles = atoi(optarg); break;
		case 'r': pages = atoi(optarg); break;
		case 't': turn = atoi(optarg); break;	/* pages in one go */
		case 'v': verbose = 1; break;	/* each page's average */
		default: die("usage", "include_search [-v] [-d directories] [-n files] [-r pages] [-t pages] LABEL=URL...");
		}
	if (ndirs < 4 || !nfiles || !pages || !turn || optind == argc || argc - optind > TARGETS_MAX)
		die("usage", "at least 4 directories, one file, one page, one to eight LABEL=URL");
	for (; optind < argc; optind++, n++) {
		char *equals = strchr(argv[optind], '=');

		if (!equals)
			die("usage", "LABEL=URL");
		*equals = '\0';
		targets[n].label = argv[optind];
		url = equals + 1;
		parse_url();
		prepare(&targets[n]);
	}
	for (unsigned p = 0; p < pages; p += turn)
		for (int i = 0; i < n; i++)
			for (unsigned k = p; k < pages && k < p + turn; k++) {
				page(&targets[i]);
				if (k == 0)
					targets[i].cold = targets[i].failed.n;
			}
	for (int i = 0; i < n; i++)
		print_line(&targets[i]);
	return 0;
}
