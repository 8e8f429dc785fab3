/* SPDX-License-Identifier: Apache-2.0 */
#include "s3client.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <zlib.h>

#include "sums.h"

struct config cfg = {
	.region = "us-east-1", .bucket = "bench", .prefix = "o/", .label = "", .ops = "put,get,head,delete",
	.size = 4096, .part_size = 8 << 20, .range_size = 4096, .count = 1000, .page = 1000, .threads = 1,
};

/* ------------------------------------------------------------------ body */

unsigned char *body;
struct blob whole;
struct blob *parts;
int nparts;

void die(const char *msg)
{
	fprintf(stderr, "s3bench: %s\n", msg);
	exit(2);
}

static void hex(const unsigned char *in, size_t n, char *out)
{
	static const char d[] = "0123456789abcdef";
	for (size_t i = 0; i < n; i++) {
		out[2 * i] = d[in[i] >> 4];
		out[2 * i + 1] = d[in[i] & 15];
	}
	out[2 * n] = 0;
}

void sha256_hex(const void *p, size_t n, char out[65])
{
	unsigned char md[32];
	SHA256(p, n, md);
	hex(md, 32, out);
}

static const char *trailer_name(void)
{
	return cfg.payload == PAY_CRC64 ? "x-amz-checksum-crc64nvme" : "x-amz-checksum-crc32";
}

/* The end of an aws-chunked body; its length. */
static int trailer(const unsigned char *p, size_t n, char *out)
{
	int len = cfg.payload == PAY_CRC64 ? 8 : 4;
	uint64_t crc = len == 8 ? wg_crc64nvme(0, p, n) : crc32_z(0, p, n);
	unsigned char be[8], b64[16];

	for (int i = len; i--; crc >>= 8)
		be[i] = (unsigned char)crc;
	EVP_EncodeBlock(b64, be, len);
	return sprintf(out, "0\r\n%s:%s\r\n\r\n", trailer_name(), b64);
}

/* Bodies are prepared once, so that the client's cost per request is signing and sending. */
static void make_blob(struct blob *b, unsigned char *p, size_t n)
{
	b->decoded = n;
	if (cfg.payload < PAY_TRAILER) {
		b->data = p;
		b->len = n;
		if (cfg.payload == PAY_SHA256)
			sha256_hex(p, n, b->sha);
		else
			strcpy(b->sha, "UNSIGNED-PAYLOAD");
		return;
	}
	/* aws-chunked with a trailer, 1 MiB chunks: what SDKs send over TLS. */
	strcpy(b->sha, "STREAMING-UNSIGNED-PAYLOAD-TRAILER");
	size_t chunk = 1 << 20, cap = n + (n / chunk + 2) * 24 + 96;
	unsigned char *o = b->data = malloc(cap);
	if (!o)
		die("out of memory");
	for (size_t i = 0; i < n; i += chunk) {
		size_t k = n - i < chunk ? n - i : chunk;
		o += sprintf((char *)o, "%zx\r\n", k);
		memcpy(o, p + i, k);
		o += k;
		*o++ = '\r';
		*o++ = '\n';
	}
	o += trailer(p, n, (char *)o);
	b->len = (size_t)(o - b->data);
}

void make_bodies(void)
{
	body = malloc(cfg.size ? cfg.size : 1);
	if (!body)
		die("out of memory");
	uint64_t x = 88172645463325252ull;
	for (size_t i = 0; i < cfg.size; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		body[i] = (unsigned char)x;
	}
	make_blob(&whole, body, cfg.size);
	nparts = (int)((cfg.size + cfg.part_size - 1) / cfg.part_size);
	nparts = nparts ? nparts : 1;
	parts = calloc((size_t)nparts, sizeof *parts);
	for (int i = 0; i < nparts; i++) {
		size_t off = (size_t)i * cfg.part_size, n = cfg.size - off;
		make_blob(&parts[i], body + off, n < cfg.part_size ? n : cfg.part_size);
	}
}

/* ------------------------------------------------------------------ one connection */

static size_t on_read(char *p, size_t s, size_t n, void *arg)
{
	struct worker *w = arg;
	size_t k = w->up->len - w->sent;
	k = k < s * n ? k : s * n;
	memcpy(p, w->up->data + w->sent, k);
	w->sent += k;
	return k;
}

static int on_seek(void *arg, curl_off_t off, int origin)
{
	struct worker *w = arg;
	if (origin != SEEK_SET)
		return CURL_SEEKFUNC_CANTSEEK;
	w->sent = (size_t)off;
	return CURL_SEEKFUNC_OK;
}

static size_t on_write(char *p, size_t s, size_t n, void *arg)
{
	struct worker *w = arg;
	size_t k = s * n;
	if (cfg.verify && (w->op == OP_GET || w->op == OP_RANGE)) {
		size_t at = w->expect_off + w->got;
		if (at + k > cfg.size || memcmp(body + at, p, k))
			w->differs = true;
	}
	w->got += k;
	if (w->keep || w->in_len + k < 2048) {
		if (w->in_len + k + 1 > w->in_cap) {
			w->in_cap = (w->in_len + k + 1) * 2;
			w->in = realloc(w->in, w->in_cap);
			if (!w->in)
				die("out of memory");
		}
		memcpy(w->in + w->in_len, p, k);
		w->in_len += k;
		w->in[w->in_len] = 0;
	}
	return k;
}

static size_t on_header(char *p, size_t s, size_t n, void *arg)
{
	struct worker *w = arg;
	size_t k = s * n;
	if (k > 6 && !strncasecmp(p, "etag:", 5)) {
		size_t i = 5, j = 0;
		while (i < k && p[i] == ' ')
			i++;
		for (; i < k && p[i] != '\r' && p[i] != '\n' && j < sizeof w->etag - 1; i++)
			w->etag[j++] = p[i];
		w->etag[j] = 0;
	}
	return k;
}

static void hmac(const void *key, size_t klen, const char *msg, unsigned char out[32])
{
	unsigned n = 32;
	HMAC(EVP_sha256(), key, (int)klen, (const unsigned char *)msg, strlen(msg), out, &n);
}

void uri_encode(const char *in, bool keep_slash, char *out, size_t cap)
{
	size_t o = 0;
	for (; *in && o + 4 < cap; in++) {
		unsigned char c = (unsigned char)*in;
		if ((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
		    strchr("-_.~", c) || (c == '/' && keep_slash))
			out[o++] = (char)c;
		else
			o += (size_t)sprintf(out + o, "%%%02X", c);
	}
	out[o] = 0;
}

/* The signing key changes once a day. */
static void signing_key(struct worker *w, const char *date)
{
	char k0[256];
	unsigned char k1[32], k2[32];

	if (!strncmp(w->day, date, 8))
		return;
	memcpy(w->day, date, 8);
	w->day[8] = 0;
	snprintf(k0, sizeof k0, "AWS4%s", cfg.secret);
	hmac(k0, strlen(k0), w->day, k1);
	hmac(k1, 32, cfg.region, k2);
	hmac(k2, 32, "s3", k1);
	hmac(k1, 32, "aws4_request", w->key);
}

struct signing {
	const struct blob *up;
	const char *date, *source;      /* source: value of x-amz-copy-source or NULL */
	bool trailer;
	char list[1024], names[256];
};

static void add_line(struct signing *s, const char *name, const char *value)
{
	size_t n = strlen(s->list), m = strlen(s->names);

	snprintf(s->list + n, sizeof s->list - n, "%s:%s\n", name, value);
	snprintf(s->names + m, sizeof s->names - m, "%s%s", m ? ";" : "", name);
}

/* In alphabetical order, as SigV4 wants them. */
static void signed_headers(struct signing *s)
{
	char size[32];

	if (s->trailer)
		add_line(s, "content-encoding", "aws-chunked");
	add_line(s, "host", cfg.host);
	add_line(s, "x-amz-content-sha256", s->up->sha);
	if (s->source)
		add_line(s, "x-amz-copy-source", s->source);
	add_line(s, "x-amz-date", s->date);
	if (s->trailer) {
		snprintf(size, sizeof size, "%zu", s->up->decoded);
		add_line(s, "x-amz-decoded-content-length", size);
		add_line(s, "x-amz-trailer", trailer_name());
	}
}

static struct curl_slist *add_header(struct curl_slist *hl, const char *name, const char *value)
{
	char hdr[2048];

	snprintf(hdr, sizeof hdr, "%s: %s", name, value);
	return curl_slist_append(hl, hdr);
}

static struct curl_slist *authorization(struct worker *w, struct curl_slist *hl, const struct signing *s,
					const char *method, const char *path, const char *query)
{
	char canon[6144], sts[512], scope[128], h[65], value[1024];
	unsigned char sig[32];

	snprintf(canon, sizeof canon, "%s\n%s\n%s\n%s\n%s\n%s", method, path, query, s->list, s->names, s->up->sha);
	snprintf(scope, sizeof scope, "%s/%s/s3/aws4_request", w->day, cfg.region);
	sha256_hex(canon, strlen(canon), h);
	snprintf(sts, sizeof sts, "AWS4-HMAC-SHA256\n%s\n%s\n%s", s->date, scope, h);
	hmac(w->key, 32, sts, sig);
	hex(sig, 32, h);
	snprintf(value, sizeof value, "AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s", cfg.access, scope,
		 s->names, h);
	return add_header(hl, "Authorization", value);
}

static struct curl_slist *sign(struct worker *w, const char *method, const char *path, const char *query,
			       const struct blob *up, const char *source)
{
	struct signing s = { .up = up, .source = source, .trailer = !strncmp(up->sha, "STREAMING", 9) };
	time_t t = time(NULL);
	struct curl_slist *hl;
	char date[17], size[32];
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(date, sizeof date, "%Y%m%dT%H%M%SZ", &tm);
	s.date = date;
	signing_key(w, date);
	signed_headers(&s);
	hl = authorization(w, NULL, &s, method, path, query);
	hl = add_header(hl, "x-amz-date", date);
	hl = add_header(hl, "x-amz-content-sha256", up->sha);
	if (!s.trailer)
		return hl;
	hl = add_header(hl, "Content-Encoding", "aws-chunked");
	hl = add_header(hl, "x-amz-trailer", trailer_name());
	snprintf(size, sizeof size, "%zu", up->decoded);
	return add_header(hl, "x-amz-decoded-content-length", size);
}

static void set_method(CURL *curl, const char *method, const struct blob *upload)
{
	bool head = !strcmp(method, "HEAD"), get = !strcmp(method, "GET");

	curl_easy_setopt(curl, CURLOPT_NOBODY, 0L);
	curl_easy_setopt(curl, CURLOPT_UPLOAD, 0L);
	curl_easy_setopt(curl, CURLOPT_HTTPGET, 1L);
	if (head) {
		curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
	} else if (upload) {
		curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
		curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)upload->len);
	} else if (!get) {
		curl_easy_setopt(curl, CURLOPT_POST, 1L);
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, "");
		curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, 0L);
	}
	curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, head || get ? NULL : method);
}

/* The first few failures are told. */
static void complain(const struct worker *w, const char *method, const char *path, const char *query, CURLcode rc,
		     long status)
{
	static atomic_int told;

	if (atomic_fetch_add(&told, 1) < 5)
		fprintf(stderr, "s3bench: %s %s?%s: %s%ld %.300s\n", method, path, query,
			rc ? curl_easy_strerror(rc) : "", status, w->in_len ? w->in : "");
}

long request(struct worker *w, const char *method, const char *path, const char *query,
		    const struct blob *upload, const char *extra)
{
	static const struct blob empty = { .sha = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" };
	static const char source[] = "x-amz-copy-source: ";
	bool copies = extra && !strncmp(extra, source, sizeof source - 1);
	struct curl_slist *hl = NULL;
	char url[4096];
	long status = 0;

	w->up = upload ? upload : &empty;
	w->sent = w->got = w->in_len = 0;
	w->etag[0] = 0;
	w->differs = false;
	snprintf(url, sizeof url, "%s%s%s%s", cfg.endpoint, path, *query ? "?" : "", query);
	if (!cfg.nosign)
		hl = sign(w, method, path, query, w->up, copies ? extra + sizeof source - 1 : NULL);
	if (extra)
		hl = curl_slist_append(hl, extra);
	hl = curl_slist_append(hl, upload && cfg.expect ? "Expect: 100-continue" : "Expect:");
	hl = curl_slist_append(hl, "Content-Type:");    /* not libcurl's form type */
	curl_easy_setopt(w->curl, CURLOPT_URL, url);
	curl_easy_setopt(w->curl, CURLOPT_HTTPHEADER, hl);
	set_method(w->curl, method, upload);
	CURLcode rc = curl_easy_perform(w->curl);
	if (rc == CURLE_OK)
		curl_easy_getinfo(w->curl, CURLINFO_RESPONSE_CODE, &status);
	curl_slist_free_all(hl);
	if (status / 100 != 2)
		complain(w, method, path, query, rc, status);
	return status;
}

void start_worker(struct worker *w, int i)
{
	w->index = i;
	w->seed = (unsigned)i + 1;
	w->curl = curl_easy_init();
	curl_easy_setopt(w->curl, CURLOPT_READFUNCTION, on_read);
	curl_easy_setopt(w->curl, CURLOPT_READDATA, w);
	curl_easy_setopt(w->curl, CURLOPT_SEEKFUNCTION, on_seek);
	curl_easy_setopt(w->curl, CURLOPT_SEEKDATA, w);
	curl_easy_setopt(w->curl, CURLOPT_WRITEFUNCTION, on_write);
	curl_easy_setopt(w->curl, CURLOPT_WRITEDATA, w);
	curl_easy_setopt(w->curl, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(w->curl, CURLOPT_HEADERDATA, w);
	curl_easy_setopt(w->curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(w->curl, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(w->curl, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(w->curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(w->curl, CURLOPT_BUFFERSIZE, 512L << 10);
	curl_easy_setopt(w->curl, CURLOPT_UPLOAD_BUFFERSIZE, 1L << 20);
	curl_easy_setopt(w->curl, CURLOPT_TIMEOUT, 300L);
	if (cfg.insecure) {
		curl_easy_setopt(w->curl, CURLOPT_SSL_VERIFYPEER, 0L);
		curl_easy_setopt(w->curl, CURLOPT_SSL_VERIFYHOST, 0L);
	}
}
