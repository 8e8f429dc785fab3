/* SPDX-License-Identifier: Apache-2.0 */
#include "sums.h"

#include <errno.h>
#include <isa-l/crc.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <strings.h>

static const struct {
    const char *name;
    unsigned size;
} algs[WG_SUM_MAX] = {
    [WG_SUM_CRC32] = { "CRC32", 4 },         [WG_SUM_CRC32C] = { "CRC32C", 4 },
    [WG_SUM_CRC64NVME] = { "CRC64NVME", 8 }, [WG_SUM_SHA1] = { "SHA1", 20 },
    [WG_SUM_SHA256] = { "SHA256", 32 },      [WG_SUM_MD5] = { "MD5", 16 },
};

/* Fetched once: an implicit fetch at each EVP_DigestInit costs as much as hashing 4 KiB. */
static EVP_MD *digests[3];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void fetch(void)
{
    digests[0] = EVP_MD_fetch(NULL, "SHA1", NULL);
    digests[1] = EVP_MD_fetch(NULL, "SHA256", NULL);
    digests[2] = EVP_MD_fetch(NULL, "MD5", NULL);
}

const char *wg_sum_name(enum wg_sum alg)
{
    return (unsigned)alg < WG_SUM_MAX ? algs[alg].name : NULL;
}

unsigned wg_sum_size(enum wg_sum alg)
{
    return (unsigned)alg < WG_SUM_MAX ? algs[alg].size : 0;
}

enum wg_sum wg_sum_named(struct wg_str name)
{
    for (unsigned i = WG_SUM_CRC32; i < WG_SUM_MAX; i++)
        if (name.len == strlen(algs[i].name) && strncasecmp(name.s, algs[i].name, name.len) == 0)
            return (enum wg_sum)i;
    return WG_SUM_NONE;
}

int wg_sums_init(struct wg_sums *s, unsigned mask)
{
    pthread_once(&once, fetch);
    memset(s, 0, sizeof *s);
    s->mask = mask;
    for (unsigned i = 0; i < 3; i++) {
        if (!(mask & 1u << (WG_SUM_SHA1 + i)))
            continue;
        s->md[i] = EVP_MD_CTX_new();
        if (!s->md[i] || !digests[i] || !EVP_DigestInit_ex(s->md[i], digests[i], NULL)) {
            wg_sums_fini(s);
            return ENOMEM;
        }
    }
    return 0;
}

/* ISA-L counts in int. */
static uint32_t crc32c_update(uint32_t crc, const uint8_t *p, size_t len)
{
    crc = ~crc;
    while (len) {
        int n = len > 1 << 30 ? 1 << 30 : (int)len;

        crc = crc32_iscsi((unsigned char *)p, n, crc);
        p += n;
        len -= (size_t)n;
    }
    return ~crc;
}

void wg_sums_update(struct wg_sums *s, const void *data, size_t len)
{
    if (len == 0)
        return;
    if (s->mask & 1u << WG_SUM_CRC32)
        s->crc32 = crc32_gzip_refl(s->crc32, data, len);
    if (s->mask & 1u << WG_SUM_CRC32C)
        s->crc32c = crc32c_update(s->crc32c, data, len);
    if (s->mask & 1u << WG_SUM_CRC64NVME)
        s->crc64 = wg_crc64nvme(s->crc64, data, len);
    for (unsigned i = 0; i < 3; i++)
        if (s->md[i])
            EVP_DigestUpdate(s->md[i], data, len);
}

unsigned wg_sums_final(struct wg_sums *s, enum wg_sum alg, uint8_t *out)
{
    uint64_t crc = alg == WG_SUM_CRC32 ? s->crc32 : alg == WG_SUM_CRC32C ? s->crc32c : s->crc64;
    unsigned n = wg_sum_size(alg);

    if (!(alg >= WG_SUM_CRC32 && alg <= WG_SUM_CRC64NVME)) {
        if (n && s->md[alg - WG_SUM_SHA1])
            EVP_DigestFinal_ex(s->md[alg - WG_SUM_SHA1], out, NULL);
        return n;
    }
    for (unsigned i = n; i--; crc >>= 8)
        out[i] = (uint8_t)crc;
    return n;
}

void wg_sums_fini(struct wg_sums *s)
{
    for (unsigned i = 0; i < 3; i++)
        EVP_MD_CTX_free(s->md[i]);
    memset(s, 0, sizeof *s);
}
