/* SPDX-License-Identifier: Apache-2.0 */
/* s3bench's client: settings, bodies, and one connection that sends signed requests. */
#ifndef S3CLIENT_H
#define S3CLIENT_H

#include <curl/curl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum payload { PAY_UNSIGNED, PAY_SHA256, PAY_TRAILER, PAY_CRC64 };
enum op { OP_PUT, OP_GET, OP_RANGE, OP_HEAD, OP_DELETE, OP_MPU, OP_MPU1, OP_LIST, OP_COPY, OP_MKBUCKET, OP_BAD };

extern struct config {
	const char *endpoint, *access, *secret, *region, *bucket, *prefix, *label, *ops;
	char host[256];
	size_t size, part_size, range_size;
	long count, dirs, page;
	double seconds;
	int threads;
	bool nosign, verify, shuffle, expect, insecure;
	enum payload payload;
	int pids[64], npids;
} cfg;

struct blob { unsigned char *data; size_t len; size_t decoded; char sha[65]; };

extern unsigned char *body;             /* cfg.size bytes, the same for every object */
extern struct blob whole;               /* what a PUT sends */
extern struct blob *parts;              /* what UploadPart sends */
extern int nparts;

/* One thread's connection, and what it has measured. */
struct worker {
	pthread_t tid;
	int index;
	CURL *curl;
	enum op op;
	const struct blob *up;
	size_t sent;
	char *in;                       /* kept answer (lists, errors) */
	size_t in_len, in_cap, got;
	bool keep, differs;
	size_t expect_off;
	char etag[160], day[9];
	unsigned char key[32];
	float *lat;
	long nlat, caplat, errors;
	uint64_t bytes, keys;
	unsigned seed;
};

void die(const char *msg) __attribute__((noreturn));
void sha256_hex(const void *p, size_t n, char out[65]);
void uri_encode(const char *in, bool keep_slash, char *out, size_t cap);
/* By cfg, once. */
void make_bodies(void);
void start_worker(struct worker *w, int i);
/*
 * One signed request; its status, 0 when there is none. `query` is already canonical: sorted and encoded.
 * extra: a header or NULL; of those only x-amz-copy-source is signed. upload: a body or NULL.
 */
long request(struct worker *w, const char *method, const char *path, const char *query, const struct blob *upload,
	     const char *extra);

#endif
