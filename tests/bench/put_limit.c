/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of a PUT cost a core of this machine, each alone: digests and checksums as the gateway
 * takes them, and 64 MiB files written and synced as the brick does. One JSON line each; put_limit.py adds
 * what TCP and the transport cost, and says what they allow together. */
#include "bench.h"

#include <fcntl.h>
#include <sys/uio.h>

#include "sums.h"

#define PIECE (1u << 20)	/* what the gateway hashes and the brick writes at once */
#define OBJECT (64u << 20)

#ifndef RWF_DONTCACHE
#define RWF_DONTCACHE 0x00000080
#endif

static unsigned objects = 8;

static double thread_cpu(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* CPU by the thread's clock: others may use the machine, which the rate shows and the cost does not. */
static void tell(const char *what, double cpu, uint64_t t0)
{
	double gb = objects * (double)OBJECT / 1e9;

	printf("{\"stage\":\"%s\",\"s_GB\":%.4f,\"MB_s\":%.0f}\n", what, cpu / gb,
	       gb * 1e3 / ((now_ns() - t0) / 1e9));
	fflush(stdout);
}

static void sum(enum wg_sum alg, const char *buf)
{
	uint8_t out[WG_SUM_BYTES];
	uint64_t t0 = now_ns();
	double cpu = thread_cpu();

	for (unsigned n = 0; n < objects; n++) {
		struct wg_sums s;

		if (wg_sums_init(&s, 1u << alg))
			die("checksum", NULL);
		for (unsigned i = 0; i < OBJECT / PIECE; i++)
			wg_sums_update(&s, buf + (i % 4) * PIECE, PIECE);
		wg_sums_final(&s, alg, out);
		wg_sums_fini(&s);
	}
	tell(wg_sum_name(alg), thread_cpu() - cpu, t0);
}

/* Unnamed files, kept to the end: fresh memory and fresh blocks, as for new objects. What can't be says nothing. */
static void files(const char *what, const char *dir, const char *buf, int flags, int how)
{
	int fd[objects];
	uint64_t t0 = now_ns();
	double cpu = thread_cpu();

	for (unsigned n = 0; n < objects; n++) {
		fd[n] = open(dir, O_TMPFILE | O_RDWR | flags, 0600);
		if (fd[n] < 0 && flags)
			return;	/* a file system that can't */
		if (fd[n] < 0)
			die(dir, "cannot make a file");
		for (unsigned i = 0; i < OBJECT / PIECE; i++) {
			struct iovec iov = { (void *)(buf + (i % 4) * PIECE), PIECE };

			if (pwritev2(fd[n], &iov, 1, (off_t)i * PIECE, how) == PIECE)
				continue;
			if (how)
				return;
			die(dir, "cannot write");
		}
		if (fsync(fd[n]))
			die(dir, "cannot sync");
	}
	tell(what, thread_cpu() - cpu, t0);
	for (unsigned n = 0; n < objects; n++)
		close(fd[n]);
}

int main(int argc, char **argv)
{
	const char *dir = NULL;
	int c;

	while ((c = getopt(argc, argv, "d:n:")) != -1)
		switch (c) {
		case 'd': dir = optarg; break;
		case 'n': objects = atoi(optarg); break;
		default: die("usage", "put_limit [-d directory for files] [-n objects of 64 MiB]");
		}
	if (objects < 1 || objects > 256)
		die("put_limit", "1 to 256 objects");
	pattern_init();
	char *buf = pattern_buf(4 * PIECE);	/* more than the inner caches hold */

	for (enum wg_sum alg = WG_SUM_CRC32; alg < WG_SUM_MAX; alg++)
		sum(alg, buf);
	if (dir) {
		files("file, cached", dir, buf, 0, 0);
		files("file, uncached", dir, buf, 0, RWF_DONTCACHE);
		files("file, direct", dir, buf, O_DIRECT, 0);
	}
	free(buf);
	return 0;
}
