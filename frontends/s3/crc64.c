/* SPDX-License-Identifier: Apache-2.0 */
/* The CRC of two pieces together from theirs: a product over GF(2). */
#include <zlib.h>

#include "checksum.h"

#define NVME_POLY 0x9A6C9329AC4BC9B5u
#define CASTAGNOLI_POLY 0x82F63B78u

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
