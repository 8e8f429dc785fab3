/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CRC64NVME. ISA-L 2.30 (Debian 12) has three CRC64 polynomials and not this one, and neither
 * zlib nor OpenSSL has any. Where the processor multiplies without carries (PCLMULQDQ), 64 bytes are folded
 * at a time: S3 wants this checksum of every upload that brings no other, so it must cost nothing
 * beside MD5. Elsewhere sixteen tables take sixteen bytes a step, some 2 GB/s.
 */
#include <endian.h>
#include <pthread.h>
#if defined __x86_64__
#include <immintrin.h>
#endif

#include "sums.h"

#define POLY 0x9A6C9329AC4BC9B5u

static uint64_t tables[16][256];
static uint64_t fold_512[2], fold_128[2]; /* for the low and the high half of a register */
static bool multiplies;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* x^n modulo the polynomial, reflected: x^0 is the top bit. */
static uint64_t power(unsigned n)
{
    uint64_t v = 1ull << 63;

    while (n--)
        v = v & 1 ? (v >> 1) ^ POLY : v >> 1;
    return v;
}

static void make_tables(void)
{
    for (unsigned i = 0; i < 256; i++) {
        uint64_t c = i;

        for (int bit = 0; bit < 8; bit++)
            c = c & 1 ? (c >> 1) ^ POLY : c >> 1;
        tables[0][i] = c;
    }
    for (unsigned t = 1; t < 16; t++)
        for (unsigned i = 0; i < 256; i++)
            tables[t][i] = (tables[t - 1][i] >> 8) ^ tables[0][tables[t - 1][i] & 255];
    /*
     * A register's low half holds the higher powers. The product of two reflected numbers comes out
     * one power too high, hence the 1 less.
     */
    fold_512[0] = power(512 + 64 - 1);
    fold_512[1] = power(512 - 1);
    fold_128[0] = power(128 + 64 - 1);
    fold_128[1] = power(128 - 1);
#if defined __x86_64__
    multiplies = __builtin_cpu_supports("pclmul");
#endif
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

/* crc and the result are the register itself, not inverted. */
static uint64_t by_tables(uint64_t crc, const uint8_t *p, size_t len)
{
    for (; len >= 16; p += 16, len -= 16)
        crc = eight(crc ^ load64(p), tables + 8) ^ eight(load64(p + 8), tables);
    for (; len; p++, len--)
        crc = (crc >> 8) ^ tables[0][(crc ^ *p) & 255];
    return crc;
}

#if defined __x86_64__
typedef const __m128i *vector;

/* v moved on by the bits that k stands for, and the next 16 bytes. */
__attribute__((target("pclmul,sse2"))) static inline __m128i fold(__m128i v, __m128i k, __m128i next)
{
    return _mm_xor_si128(next, _mm_xor_si128(_mm_clmulepi64_si128(v, k, 0x00), _mm_clmulepi64_si128(v, k, 0x11)));
}

/* len is at least 64, and a multiple of 16. What is left in one register is reduced by the tables. */
__attribute__((target("pclmul,sse2"))) static uint64_t by_folding(uint64_t crc, const uint8_t *p, size_t len)
{
    __m128i k512 = _mm_loadu_si128((vector)fold_512), k128 = _mm_loadu_si128((vector)fold_128);
    __m128i v[4];
    uint8_t rest[16];

    for (unsigned i = 0; i < 4; i++)
        v[i] = _mm_loadu_si128((vector)(p + 16 * i));
    v[0] = _mm_xor_si128(v[0], _mm_cvtsi64_si128((long long)crc));
    for (p += 64, len -= 64; len >= 64; p += 64, len -= 64)
        for (unsigned i = 0; i < 4; i++)
            v[i] = fold(v[i], k512, _mm_loadu_si128((vector)(p + 16 * i)));
    for (unsigned i = 1; i < 4; i++)
        v[0] = fold(v[0], k128, v[i]);
    for (; len >= 16; p += 16, len -= 16)
        v[0] = fold(v[0], k128, _mm_loadu_si128((vector)p));
    _mm_storeu_si128((__m128i *)rest, v[0]);
    return by_tables(0, rest, sizeof rest);
}
#else
static uint64_t by_folding(uint64_t crc, const uint8_t *p, size_t len)
{
    return by_tables(crc, p, len);
}
#endif

uint64_t wg_crc64nvme_plain(uint64_t crc, const void *data, size_t len)
{
    pthread_once(&once, make_tables);
    return ~by_tables(~crc, data, len);
}

uint64_t wg_crc64nvme(uint64_t crc, const void *data, size_t len)
{
    const uint8_t *p = data;
    size_t whole = len & ~(size_t)15;

    pthread_once(&once, make_tables);
    crc = ~crc;
    if (multiplies && whole >= 64) {
        crc = by_folding(crc, p, whole);
        p += whole;
        len -= whole;
    }
    return ~by_tables(crc, p, len);
}
