/* SPDX-License-Identifier: Apache-2.0 */
/*
 * storage/posix: directories are read whole, page by page, whatever comes and goes meanwhile.
 * WG_TEST_NAMES (a million, say) makes the largest directory larger.
 */
#include "brick.h"

#define SEEN_MAX 2000000u

static uint8_t *seen; /* how often each name was met */
static uint64_t *cookies;

static unsigned names_wanted(unsigned otherwise)
{
    const char *env = getenv("WG_TEST_NAMES");

    return env ? (unsigned)strtoul(env, NULL, 10) : otherwise;
}

/* n files n0, n1, ... without the store's help: they get their gfids when they are met. */
static struct wg_ref fill(struct brick *b, unsigned n, bool links)
{
    struct wg_ref d = mkdir_(b, brick_root(), "d", 0777);
    int fd = open(brick_path(b, "d"), O_RDONLY | O_DIRECTORY);
    char name[32], first[32] = "";
    unsigned made = 0;

    for (unsigned i = 0; i < n; i++) {
        snprintf(name, sizeof name, "n%u", i);
        if (links && made++ % 60000 != 0) { /* hard links cost no inode */
            OK(linkat(fd, first, fd, name, 0));
        } else {
            close(openat(fd, name, O_CREAT | O_WRONLY, 0644));
            strcpy(first, name);
        }
    }
    close(fd);
    free(seen);
    free(cookies);
    seen = calloc(1, n);
    cookies = calloc(n + 2, sizeof *cookies);
    return d;
}

/* One page; returns the cookie to go on with, 0 at the end. */
static uint64_t page(struct brick *b, struct wg_ref d, uint64_t cookie, uint32_t size, bool plus,
                     unsigned *ret_n)
{
    struct wg_cursor c;
    struct wg_dirent e;
    unsigned n = 0;

    OK(FOP_(b, readdir, .at = d, .cookie = cookie, .size = size, .plus = plus));
    c = wg_cursor(&OUT_(b, readdir)->entries);
    while (wg_next_dirent(&c, &e)) {
        ck_assert_uint_lt(e.cookie, 1ull << 55);
        ck_assert_uint_gt(e.cookie, 0);
        ck_assert(plus ? e.attr.valid && wg_gfid_eq(e.attr.gfid, e.ref.gfid) : true);
        ck_assert(!wg_gfid_is_zero(e.ref.gfid));
        cookie = e.cookie;
        if (e.name.s[0] == 'n') {
            unsigned i = 0;

            for (uint32_t k = 1; k < e.name.len; k++) /* it ends with no NUL */
                i = i * 10 + (unsigned)(e.name.s[k] - '0');
            seen[i]++;
            cookies[i] = e.cookie;
        } else {
            ck_assert_uint_le(e.cookie, 2);
        }
        n++;
    }
    if (ret_n)
        *ret_n = n;
    return OUT_(b, readdir)->eof ? 0 : cookie;
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static void check_all(unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        ck_assert_msg(seen[i] == 1, "n%u was met %u times", i, seen[i]);
    qsort(cookies, n, sizeof *cookies, by_value);
    for (unsigned i = 1; i < n; i++)
        ck_assert_uint_lt(cookies[i - 1], cookies[i]);
}

static void read_all(unsigned n, uint32_t size, bool plus, bool fresh, uint8_t widen)
{
    struct brick b;
    struct wg_ref d;
    uint64_t cookie = 0;

    brick_start(&b);
    d = fill(&b, n, n > 1000);
    brick_px(&b)->cut_shift = (uint8_t)(brick_px(&b)->cut_shift + widen);
    do {
        if (fresh) { /* nothing of the last page is remembered */
            wg_px_streams_stop(brick_px(&b));
            wg_px_streams_start(brick_px(&b));
        }
        cookie = page(&b, d, cookie, size, plus, NULL);
    } while (cookie);
    check_all(n);
    brick_end(&b);
}

START_TEST(a_hundred_thousand_names_are_met_once)
{
    read_all(names_wanted(100000), 65536, false, false, 0);
}
END_TEST

START_TEST(also_when_each_page_starts_anew)
{
    read_all(20000, 4096, true, true, 0);
}
END_TEST

/* Wide buckets put many names under one cut cookie: what a million names do now and then. */
START_TEST(also_when_names_share_buckets)
{
    read_all(20000, 1000, false, true, 34);
    read_all(20000, 1000, true, false, 34);
}
END_TEST

static void read_under_change(uint8_t widen)
{
    const unsigned n = 10000;
    struct brick b;
    struct wg_ref d;
    uint64_t cookie = 0;
    unsigned removed = 0;
    char name[32];

    brick_start(&b);
    d = fill(&b, n, true);
    brick_px(&b)->cut_shift = (uint8_t)(brick_px(&b)->cut_shift + widen);
    srand(7);
    for (unsigned round = 0;; round++) {
        cookie = page(&b, d, cookie, 2000, round % 2, NULL);
        if (!cookie)
            break;
        if (round % 3 == 0) {
            wg_px_streams_stop(brick_px(&b));
            wg_px_streams_start(brick_px(&b));
        }
        /* Remove some that were met, the last of the page among them, and add strangers. */
        for (unsigned i = 0; i < n; i++)
            if (seen[i] == 1 && (cookies[i] == cookie || rand() % 50 == 0)) {
                snprintf(name, sizeof name, "n%u", i);
                OK(FOP_(&b, unlink, .at = at(d, name)));
                seen[i] = 101;
                removed++;
            }
        snprintf(name, sizeof name, "n%u", n); /* there for a moment only */
        mkfile(&b, d, "extra", 0644);
        OK(FOP_(&b, unlink, .at = at(d, "extra")));
    }
    ck_assert_uint_gt(removed, 100);
    for (unsigned i = 0; i < n; i++)
        ck_assert_msg(seen[i] == 1 || seen[i] == 101, "n%u was met %u times", i, seen[i]);
    brick_end(&b);
}

START_TEST(removing_and_adding_neither_hides_nor_repeats)
{
    read_under_change(0);
}
END_TEST

START_TEST(nor_in_shared_buckets)
{
    read_under_change(33);
}
END_TEST

START_TEST(a_directory_is_emptied_while_it_is_read)
{
    const unsigned n = 3000;
    struct brick b;
    struct wg_ref d;
    uint64_t cookie = 0;
    char name[32];

    brick_start(&b);
    d = fill(&b, n, true);
    do {
        cookie = page(&b, d, cookie, 3000, false, NULL);
        for (unsigned i = 0; i < n; i++)
            if (seen[i] == 1) {
                snprintf(name, sizeof name, "n%u", i);
                OK(FOP_(&b, unlink, .at = at(d, name)));
                seen[i] = 2;
            }
    } while (cookie);
    OK(FOP_(&b, rmdir, .at = at(brick_root(), "d"))); /* nothing was missed */
    brick_end(&b);
}
END_TEST

START_TEST(small_pages_and_bad_cookies)
{
    struct brick b;
    struct wg_ref d;
    unsigned n;
    uint64_t cookie;

    brick_start(&b);
    d = fill(&b, 3, false);
    ERR(FOP_(&b, readdir, .at = d, .size = 10), ETOOSMALL);
    ERR(FOP_(&b, readdir, .at = d, .size = 4096, .cookie = 1ull << 55), EBADCOOKIE);
    ERR(FOP_(&b, readdir, .at = lookup(&b, d, "n1"), .size = 4096), ENOTDIR);
    cookie = page(&b, d, 0, 4096, true, &n);
    ck_assert_uint_eq(cookie, 0);
    ck_assert_uint_eq(n, 5);
    memset(seen, 0, 3);
    ck_assert_uint_eq(page(&b, d, 1, 4096, false, &n), 0); /* after "." */
    ck_assert_uint_eq(n, 4);
    ck_assert_uint_eq(page(&b, d, 2, 4096, false, &n), 0);
    ck_assert_uint_eq(n, 3);
    brick_restart(&b); /* cookies outlive the brick */
    cookie = cookies[0];
    memset(seen, 0, 3);
    page(&b, d, 2, 4096, false, NULL);
    ck_assert_uint_eq(cookies[0], cookie);
    OK(FOP_(&b, readdir, .at = d, .size = UINT32_MAX, .cookie = (1ull << 55) - 1));
    brick_end(&b);
}
END_TEST

TESTS("posix readdir",
      TEST_ROW(a_hundred_thousand_names_are_met_once)
      TEST_ROW(also_when_each_page_starts_anew)
      TEST_ROW(also_when_names_share_buckets)
      TEST_ROW(removing_and_adding_neither_hides_nor_repeats)
      TEST_ROW(nor_in_shared_buckets)
      TEST_ROW(a_directory_is_emptied_while_it_is_read)
      TEST_ROW(small_pages_and_bad_cookies))
