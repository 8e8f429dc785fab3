/* SPDX-License-Identifier: Apache-2.0 */
#include "hmac.h"

#include <isa-l/crc.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <pthread.h>
#include <stdlib.h>

#define CACHE 64        /* signing keys a thread remembers; a power of two */
#define CACHED_MAX 128  /* bytes of an access key, and of a secret; longer ones are computed each time */

struct cached {
    uint8_t access_len, secret_len, region_len;
    char access[CACHED_MAX], secret[CACHED_MAX], region[32], day[8];
    uint8_t key[32];
};

struct wg_s3_hmac {
    EVP_MAC_CTX *sha256, *sha1;
    EVP_MD_CTX *md;
    struct cached cache[CACHE];
};

static pthread_key_t thread_key;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static EVP_MAC *mac;
static EVP_MD *md_sha256;

static void free_hmac(void *arg)
{
    struct wg_s3_hmac *h = arg;

    EVP_MAC_CTX_free(h->sha256);
    EVP_MAC_CTX_free(h->sha1);
    EVP_MD_CTX_free(h->md);
    OPENSSL_cleanse(h, sizeof *h);
    free(h);
}

static void start(void)
{
    mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    md_sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    if (pthread_key_create(&thread_key, free_hmac) != 0)
        abort();
}

static EVP_MAC_CTX *mac_of(const char *digest)
{
    OSSL_PARAM params[2] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)digest, 0),
        OSSL_PARAM_construct_end(),
    };
    EVP_MAC_CTX *ctx = EVP_MAC_CTX_new(mac);

    if (ctx && !EVP_MAC_CTX_set_params(ctx, params)) {
        EVP_MAC_CTX_free(ctx);
        return NULL;
    }
    return ctx;
}

struct wg_s3_hmac *wg_s3_hmac(void)
{
    struct wg_s3_hmac *h;

    pthread_once(&once, start);
    h = pthread_getspecific(thread_key);
    if (h)
        return h;
    h = calloc(1, sizeof *h);
    if (!h)
        return NULL;
    if (mac && md_sha256) {
        h->sha256 = mac_of("SHA256");
        h->sha1 = mac_of("SHA1");
        h->md = EVP_MD_CTX_new();
    }
    if (!h->sha256 || !h->sha1 || !h->md || pthread_setspecific(thread_key, h) != 0) {
        free_hmac(h);
        return NULL;
    }
    return h;
}

bool wg_s3_sha256_begin(struct wg_s3_hmac *h, struct evp_md_ctx_st **ret)
{
    *ret = h->md;
    return EVP_DigestInit_ex(h->md, md_sha256, NULL) == 1;
}

static bool hmac(EVP_MAC_CTX *ctx, struct wg_str key, const struct wg_str *piece, unsigned n, uint8_t *ret,
                 size_t size)
{
    /* OpenSSL takes a NULL key for "the one before". */
    if (!EVP_MAC_init(ctx, (const unsigned char *)(key.len ? key.s : ""), key.len, NULL))
        return false;
    for (unsigned i = 0; i < n; i++)
        if (!EVP_MAC_update(ctx, (const unsigned char *)piece[i].s, piece[i].len))
            return false;
    return EVP_MAC_final(ctx, ret, &size, size) == 1;
}

bool wg_s3_hmac_sha256(struct wg_s3_hmac *h, struct wg_str key, const struct wg_str *piece, unsigned n,
                       uint8_t *ret)
{
    return hmac(h->sha256, key, piece, n, ret, 32);
}

bool wg_s3_hmac_sha1(struct wg_s3_hmac *h, struct wg_str key, const struct wg_str *piece, unsigned n,
                     uint8_t *ret)
{
    return hmac(h->sha1, key, piece, n, ret, 20);
}

static bool derive(struct wg_s3_hmac *h, struct wg_str secret, struct wg_str day, struct wg_str region,
                   uint8_t *ret)
{
    char first[4 + 4 * CACHED_MAX];
    struct wg_str s3 = WG_STR("s3"), end = WG_STR("aws4_request"), key = { (char *)ret, 32 };
    bool ok;

    if (secret.len > sizeof first - 4)
        return false;
    memcpy(first, "AWS4", 4);
    memcpy(first + 4, secret.s, secret.len);
    ok = wg_s3_hmac_sha256(h, (struct wg_str){ first, 4 + secret.len }, &day, 1, ret) &&
         wg_s3_hmac_sha256(h, key, &region, 1, ret) && wg_s3_hmac_sha256(h, key, &s3, 1, ret) &&
         wg_s3_hmac_sha256(h, key, &end, 1, ret);
    OPENSSL_cleanse(first, sizeof first);
    return ok;
}

static bool holds(const struct cached *c, struct wg_str access_key, struct wg_str secret, struct wg_str day,
                  struct wg_str region)
{
    return c->access_len == access_key.len && c->secret_len == secret.len && c->region_len == region.len &&
           memcmp(c->access, access_key.s, access_key.len) == 0 && memcmp(c->day, day.s, 8) == 0 &&
           memcmp(c->region, region.s, region.len) == 0 &&
           CRYPTO_memcmp(c->secret, secret.s, secret.len) == 0;
}

bool wg_s3_signing_key(struct wg_s3_hmac *h, struct wg_str access_key, struct wg_str secret,
                       struct wg_str day, struct wg_str region, uint8_t *ret)
{
    struct cached *c;

    if (access_key.len == 0 || access_key.len > CACHED_MAX || secret.len > CACHED_MAX || region.len > 32 ||
        day.len != 8)
        return derive(h, secret, day, region, ret);
    c = &h->cache[crc32_iscsi((unsigned char *)access_key.s, (int)access_key.len, 0) % CACHE];
    if (!holds(c, access_key, secret, day, region)) {
        c->access_len = 0;
        if (!derive(h, secret, day, region, c->key))
            return false;
        memcpy(c->access, access_key.s, access_key.len);
        memcpy(c->secret, secret.s, secret.len);
        memcpy(c->region, region.s, region.len);
        memcpy(c->day, day.s, 8);
        c->secret_len = (uint8_t)secret.len;
        c->region_len = (uint8_t)region.len;
        c->access_len = (uint8_t)access_key.len;
    }
    memcpy(ret, c->key, 32);
    return true;
}

void wg_s3_hex(const uint8_t *from, unsigned n, char *to)
{
    static const char digits[] = "0123456789abcdef";

    for (unsigned i = 0; i < n; i++) {
        to[2 * i] = digits[from[i] >> 4];
        to[2 * i + 1] = digits[from[i] & 15];
    }
}

bool wg_s3_unhex(struct wg_str from, uint8_t *to, unsigned n)
{
    if (from.len != 2 * n)
        return false;
    for (unsigned i = 0; i < 2 * n; i++) {
        char c = from.s[i];
        int v = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;

        if (v < 0)
            return false;
        to[i / 2] = (uint8_t)(i & 1 ? to[i / 2] | v : v << 4);
    }
    return true;
}
