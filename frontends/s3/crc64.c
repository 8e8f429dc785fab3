/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CRC64NVME. ISA-L 2.30 (Debian 12) has three CRC64 polynomials and not this one, and neither
 * zlib nor OpenSSL has any, so here are the tables: sixteen, so that each step takes sixteen
 * bytes (some 2 GB/s, above what MD5 lets through beside it). And the GF(2) product that joins two CRCs.
 */
#include <endian.h>
#include <pthread.h>
#include <zlib.h>

#include "checksum.h"

#define NVME_POLY 0x9A6C9329AC4BC9B5u
#define CASTAGNOLI_POLY 0x82F63B78u

static uint64_t tables[16][256];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void make_tables(void)
{
    for (unsigned i = 0; i < 256; i++) {
        uint64_t c = i;

        for (int bit = 0; bit < 8; bit++)
            c = c & 1 ? (c >> 1) ^ NVME_POLY : c >> 1;
        tables[0][i] = c;
    }
    for (unsigned t = 1; t < 16; t++)
        for (unsigned i = 0; i < 256; i++)
            tables[t][i] = (tables[t - 1][i] >> 8) ^ tables[0][tables[t - 1][i] & 255];
}

static uint64_t load64(const uint8_t *p)
{
    uint64_t v;

    memcpy(&v, p, 8);
    return le64toh(v);
}

static uint64_t eight(uint64_t v, const uint64_t (*t)[256])
{
    return t[7][v & 255] ^ t[6][v >> 8 & 255] ^ t[5][v >> 16 & 255] ^ t[4][v >> 24 & 255] ^
           t[3][v >> 32 & 255] ^ t[2][v >> 40 & 255] ^ t[1][v >> 48 & 255] ^ t[0][v >> 56];
}

uint64_t wg_s3_crc64nvme(uint64_t crc, const void *data, size_t len)
{
    const uint8_t *p = data;

    pthread_once(&once, make_tables);
    crc = ~crc;
    for (; len >= 16; p += 16, len -= 16)
        crc = eight(crc ^ load64(p), tables + 8) ^ eight(load64(p + 8), tables);
    for (; len; p++, len--)
        crc = (crc >> 8) ^ tables[0][(crc ^ *p) & 255];
    return ~crc;
}

/* a * b modulo the reflected polynomial of width bits; x^0 is the top bit. */
static uint64_t multiply(uint64_t a, uint64_t b, uint64_t poly, unsigned width)
{
    uint64_t product = 0;

    for (uint64_t m = 1ull << (width - 1); m && a; m >>= 1) {
        if (a & m) {
            product ^= b;
            a ^= m;
        }
        b = b & 1 ? (b >> 1) ^ poly : b >> 1;
    }
    return product;
}

/* crc moved on by len bytes of zeros: times x^(8 len). */
static uint64_t shift(uint64_t crc, uint64_t len, uint64_t poly, unsigned width)
{
    uint64_t power = 1ull << (width - 1 - 8); /* x^8 */

    for (; len; len >>= 1) {
        if (len & 1)
            crc = multiply(power, crc, poly, width);
        power = multiply(power, power, poly, width);
    }
    return crc;
}

static uint64_t load_be(const uint8_t *p, unsigned n)
{
    uint64_t v = 0;

    while (n--)
        v = v << 8 | *p++;
    return v;
}

void wg_s3_crc_combine(enum wg_s3_sum alg, uint8_t *sum, const uint8_t *sum_b, uint64_t len_b)
{
    unsigned n = wg_s3_sum_size(alg);
    uint64_t a = load_be(sum, n), b = load_be(sum_b, n);

    if (alg == S3_SUM_CRC32)
        a = crc32_combine64(a, b, (z_off64_t)len_b);
    else if (alg == S3_SUM_CRC32C)
        a = shift(a, len_b, CASTAGNOLI_POLY, 32) ^ b;
    else
        a = shift(a, len_b, NVME_POLY, 64) ^ b;
    for (; n--; a >>= 8)
        sum[n] = (uint8_t)a;
}
