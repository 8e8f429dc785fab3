/* SPDX-License-Identifier: Apache-2.0 */
/* Large objects beside the page cache: the bytes are the same, and who reads again gets them cached. */
#include <sys/syscall.h>

#include "brick.h"

#define PIECE (1u << 20)
#define PIECES 40u
#define TAIL 12345u /* the last write ends off any block */
#define SIZE (PIECES * (uint64_t)PIECE + TAIL)

static struct brick b;
static struct wg_ref bucket;

static uint8_t *piece(unsigned n)
{
    static uint32_t buf[PIECE / 4];

    for (uint32_t i = 0; i < PIECE / 4; i++)
        buf[i] = (n << 24 | i) * 2654435761u;
    return (uint8_t *)buf;
}

static struct wg_ref put_large(void)
{
    wg_gfid gfid = wg_gfid_new();
    struct wg_ref ref;

    OK(FOP_(&b, stage, .bucket = bucket, .key = WG_STR("k"), .gfid = gfid, .size = SIZE));
    ref = OUT_(&b, stage)->ref;
    for (unsigned i = 0; i <= PIECES; i++) {
        struct wg_seg seg = { NULL, piece(i), i < PIECES ? PIECE : TAIL };

        OK(FOP_(&b, write, .at = ref, .offset = i * (uint64_t)PIECE, .data = { &seg, 1, seg.len }));
    }
    OK(FOP_(&b, put, .bucket = bucket, .key = WG_STR("k"), .from = ref));
    return OUT_(&b, put)->ref;
}

static void check_piece(struct wg_ref ref, unsigned n, uint32_t skip)
{
    uint32_t len = n < PIECES ? PIECE - skip : TAIL;
    const struct wg_data *d;

    OK(FOP_(&b, read, .at = ref, .offset = n * (uint64_t)PIECE + skip, .size = PIECE - skip));
    d = &OUT_(&b, read)->data;
    ck_assert_uint_eq(d->len, len);
    ck_assert_int_eq(memcmp(d->seg[0].base, piece(n) + skip, len), 0);
    ck_assert_int_eq(OUT_(&b, read)->eof, n == PIECES);
}

/* Pages of the object that the kernel caches, in all; -1 where it can't say. */
static int64_t cached(void)
{
    uint64_t range[2] = { 0, 0 }, stat[5] = { 0 };
    int fd = open(brick_path(&b, "bucket/k"), O_RDWR);
    long r = syscall(451 /* cachestat */, fd, range, stat, 0);

    ck_assert_int_ge(fd, 0);
    close(fd);
    return r == 0 ? (int64_t)stat[0] : -1;
}

static void setup(void)
{
    brick_start(&b);
    bucket = mkdir_(&b, brick_root(), "bucket", 0755);
}

static void teardown(void)
{
    brick_end(&b);
}

START_TEST(what_is_written_is_read_in_any_pass)
{
    struct wg_ref ref = put_large();

    for (unsigned pass = 0; pass < 3; pass++)
        for (unsigned i = 0; i <= PIECES; i++)
            check_piece(ref, i, 0);
}
END_TEST

START_TEST(reads_off_any_block_get_their_bytes)
{
    struct wg_ref ref = put_large();

    for (unsigned i = 0; i < PIECES; i++)
        check_piece(ref, i, 1 + i);
}
END_TEST

START_TEST(the_second_pass_is_cached)
{
    struct wg_ref ref = put_large();

    for (unsigned pass = 0; pass < 2; pass++)
        for (unsigned i = 0; i <= PIECES; i++)
            check_piece(ref, i, 0);
    if (cached() >= 0)
        ck_assert_int_ge(cached(), (int64_t)(SIZE / 4096));
}
END_TEST

START_TEST(a_write_is_seen_beside_the_cache_and_in_it)
{
    static char text[] = "changed";
    struct wg_seg seg = { NULL, text, 7 };
    struct wg_ref ref = put_large();

    for (unsigned i = 0; i < 3; i++)
        check_piece(ref, i, 0);
    OK(FOP_(&b, write, .at = ref, .offset = 3 * PIECE, .data = { &seg, 1, 7 })); /* dirty in the cache */
    OK(FOP_(&b, read, .at = ref, .offset = 3 * PIECE, .size = PIECE));
    ck_assert_int_eq(memcmp(OUT_(&b, read)->data.seg[0].base, text, 7), 0);
    ck_assert_int_eq(memcmp((char *)OUT_(&b, read)->data.seg[0].base + 7, piece(3) + 7, PIECE - 7), 0);
}
END_TEST

START_TEST(a_stream_out_of_order_is_one_pass_and_coming_back_ends_it)
{
    struct px_inode *ino = calloc(1, sizeof *ino);

    ck_assert(!wg_px_uncached_read(ino, 0, PIECE)); /* not known to be large */
    wg_px_uncached_size(brick_px(&b), ino, SIZE);
    ck_assert(!wg_px_uncached_read(ino, 0, 4096)); /* too small to gain */
    for (uint64_t at = 0; at < 64; at += 4)
        for (unsigned k = 4; k--;)
            ck_assert(wg_px_uncached_read(ino, (at + k) * PIECE, PIECE));
    ck_assert(!wg_px_uncached_read(ino, 0, PIECE));
    ck_assert(!wg_px_uncached_read(ino, 100 * PIECE, PIECE)); /* it is wanted more than once */
    free(ino);
}
END_TEST

START_TEST(with_zero_nothing_is_large)
{
    struct px_inode *ino = calloc(1, sizeof *ino);

    brick_end(&b);
    brick_mkdir(&b);
    OK(brick_try(&b, " option init yes\n option uncached-size 0\n"));
    wg_px_uncached_size(brick_px(&b), ino, UINT64_MAX);
    ck_assert(!wg_px_uncached_read(ino, 0, PIECE));
    free(ino);
}
END_TEST

TESTS("posix uncached", tcase_add_checked_fixture(t, setup, teardown); TEST_ROW(what_is_written_is_read_in_any_pass) TEST_ROW(reads_off_any_block_get_their_bytes)
      TEST_ROW(the_second_pass_is_cached) TEST_ROW(a_write_is_seen_beside_the_cache_and_in_it)
      TEST_ROW(a_stream_out_of_order_is_one_pass_and_coming_back_ends_it) TEST_ROW(with_zero_nothing_is_large))
