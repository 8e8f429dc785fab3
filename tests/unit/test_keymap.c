/* SPDX-License-Identifier: Apache-2.0 */
/* The key mapping: each rule by name, then random nasty keys and names both ways. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "keymap.h"

static char path[WG_KEY_PATH_MAX];
static uint32_t path_len;

static const char *path_of(const char *key)
{
    ck_assert_int_eq(wg_key_to_path(wg_str_of(key), false, path, &path_len), 0);
    ck_assert_uint_eq(strlen(path), path_len);
    return path;
}

static const char *twin_of(const char *key)
{
    ck_assert_int_eq(wg_key_to_path(wg_str_of(key), true, path, &path_len), 0);
    return path;
}

static const char *key_of(const char *p, bool is_dir)
{
    static char key[2 * WG_KEY_PATH_MAX];
    uint32_t len;
    int err = wg_path_to_key(wg_str_of(p), is_dir, key, sizeof key - 1, &len);

    if (err)
        return err == EINVAL ? "EINVAL" : "ENAMETOOLONG";
    key[len] = '\0';
    return key;
}

static const char *repeat(char c, unsigned n)
{
    static char text[8][WG_KEY_MAX + 2];
    static unsigned turn;
    char *t = text[turn++ % 8];

    memset(t, c, n);
    t[n] = '\0';
    return t;
}

static const char *cat(const char *a, const char *b)
{
    static char text[64 * 1024], *at = text; /* a test's few texts; never reused */
    size_t n = strlen(a), m = strlen(b) + 1;
    char *t = at;

    ck_assert(n + m <= (size_t)(text + sizeof text - at));
    at = (char *)mempcpy(mempcpy(t, a, n), b, m);
    return t;
}

#define same(a, b) ck_assert_str_eq((a), (b))

START_TEST(ordinary_keys_are_ordinary_paths)
{
    same(path_of("a"), "a");
    same(path_of("photos/2026/kyoto.jpg"), "photos/2026/kyoto.jpg");
    same(path_of("...") , "...");
    same(path_of(".a/@x/.@"), ".a/@x/.@=.@");
    same(path_of("tab\there/\x01\x7f\xff"), "tab\there/\x01\x7f\xff");
    same(key_of("photos/2026", true), "photos/2026/");
}
END_TEST

START_TEST(empty_and_dot_components_are_escaped)
{
    same(path_of("/"), ".@=/.@=");
    same(path_of("/a"), ".@=/a");
    same(path_of("a/"), "a/.@=");
    same(path_of("a//b"), "a/.@=/b");
    same(path_of("./../a"), ".@=./.@=../a");
    same(path_of("a/.."), "a/.@=..");
    same(key_of(".@=", true), "/");
    same(key_of("a/.@=", false), "a/");
    same(key_of("a/.@=", true), "a//");
}
END_TEST

START_TEST(a_component_that_looks_escaped_is_escaped)
{
    same(path_of(".@=x"), ".@=.@=x");
    same(path_of("a/.@fb/c"), "a/.@=.@fb/c");
    same(key_of(".@=.@=x", false), ".@=x");
}
END_TEST

START_TEST(a_file_beside_a_directory_takes_its_twin)
{
    same(twin_of("a"), ".@fa");
    same(twin_of("a/b"), "a/.@fb");
    same(twin_of("a/"), "a/.@f");
    same(twin_of(".@x"), ".@f.@x");
    same(key_of("a/.@fb", false), "a/b");
    same(key_of("a/.@fb", true), "EINVAL");
}
END_TEST

START_TEST(long_components_are_cut_into_chunks)
{
    const char *x252 = repeat('x', 252), *x255 = repeat('x', 255);
    const char *chunk = cat(".@+", x252);

    same(path_of(x255), x255);
    same(path_of(repeat('x', 256)), cat(chunk, "/xxxx"));
    same(path_of(repeat('x', 508)), cat(cat(chunk, "/"), cat(chunk, "/xxxx")));
    same(twin_of(x252), cat(".@f", x252));
    same(twin_of(x255), cat(chunk, "/.@fxxx"));
    same(path_of(cat(".@", repeat('x', 251))), cat(cat(".@+.@", repeat('x', 250)), "/x"));
    same(key_of(cat(chunk, "/xxxx"), true), cat(repeat('x', 256), "/"));
}
END_TEST

START_TEST(names_that_show_no_key_are_refused)
{
    const char *chunk = cat(".@+", repeat('x', 252));

    same(key_of(".@", false), "EINVAL");
    same(key_of(".@z", false), "EINVAL");
    same(key_of(".@=x", false), "EINVAL"); /* x stands for itself */
    same(key_of(".@+x", true), "EINVAL");  /* no full chunk */
    same(key_of(chunk, false), "EINVAL");  /* a chunk is a directory */
    same(key_of(chunk, true), "EINVAL");   /* and no key of its own */
    same(key_of(cat(chunk, "/xxx"), false), "EINVAL"); /* 255 bytes are one name */
    same(key_of(cat(chunk, "/.@="), false), "EINVAL");
    same(key_of(".@=", false), "EINVAL"); /* the empty key */
    same(key_of(".@f", false), "EINVAL");
    ck_assert(!wg_key_name_ok(WG_KEY_IN_DIR, WG_STR("."), true));
    ck_assert(!wg_key_name_ok(WG_KEY_IN_DIR, WG_STR(""), false));
    ck_assert(!wg_key_name_ok(WG_KEY_IN_DIR, wg_str_of(repeat('x', 256)), false));
    ck_assert(wg_key_name_ok(WG_KEY_IN_DIR, WG_STR(".@="), false));
}
END_TEST

START_TEST(keys_out_of_bounds_are_refused)
{
    uint32_t len;

    ck_assert_int_eq(wg_key_to_path(WG_STR(""), false, path, &len), EINVAL);
    ck_assert_int_eq(wg_key_to_path(WG_STR("a\0b"), false, path, &len), EINVAL);
    ck_assert_int_eq(wg_key_to_path(wg_str_of(repeat('x', 1025)), false, path, &len), ENAMETOOLONG);
    ck_assert_int_eq(wg_key_to_path(wg_str_of(repeat('/', 1024)), false, path, &len), 0);
    ck_assert_uint_lt(len, WG_KEY_PATH_MAX);
    ck_assert_int_eq(wg_path_to_key(WG_STR("abc"), false, path, 2, &len), ENAMETOOLONG);
}
END_TEST

START_TEST(directories_keep_their_names_meaning_when_renamed)
{
    struct wg_str dir = WG_STR("d"), chunk = wg_str_of(cat(".@+", repeat('x', 252)));
    struct wg_str dots = wg_str_of(cat(".@+.@", repeat('x', 250)));

    ck_assert(wg_key_dir_rename_ok(dir, dir));
    ck_assert(!wg_key_dir_rename_ok(dir, chunk));
    ck_assert(!wg_key_dir_rename_ok(dir, dots));
    ck_assert(wg_key_dir_rename_ok(chunk, dots));
    ck_assert(!wg_key_dir_rename_ok(dots, chunk));
    ck_assert(wg_key_dir_rename_ok(dots, dir));
}
END_TEST

/* --- random keys and names ------------------------------------------------------------- */

/* Check notes every assertion passed in a file; millions of them take too long. */
#define quick(c)                 \
    do {                         \
        if (!(c))                \
            ck_abort_msg(#c);    \
    } while (0)

static uint64_t seed = 88172645463325252u;

static uint32_t rnd(uint32_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 32) % n;
}

static unsigned rounds(void)
{
    const char *n = getenv("WG_KEYMAP_ROUNDS");
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return n ? (unsigned)atol(n) : 50000;
#else
    return n ? (unsigned)atol(n) : 1000000;
#endif
}

/* Bytes that meet the rules: few letters so that things collide, and lengths near the limits. */
static uint32_t nasty(char *buf, uint32_t max, bool slashes)
{
    static const char *const words[] = {
        "/", ".", "..", ".@", "@", "=", "+", "f", "a", "b",
        ".@=", ".@f", ".@+", "//", "\x01", "\xff", "!", "0",
    };
    uint32_t len = 0, target = 1 + (rnd(8) ? rnd(12) : rnd(max));

    while (len < target) {
        const char *w = words[rnd(sizeof words / sizeof *words)];
        uint32_t n = (uint32_t)strlen(w);

        if (rnd(16) == 0) { /* a run that ends near a limit */
            static const uint32_t runs[] = { 1, 246, 250, 251, 252, 253, 255, 256, 504, 508 };
            n = runs[rnd(10)] + rnd(3);
            n = n > max - len ? max - len : n;
            memset(buf + len, 'x', n);
            len += n;
            continue;
        }
        if ((!slashes && w[0] == '/') || n > max - len) {
            if (len == max)
                break;
            w = "a";
            n = 1;
        }
        memcpy(buf + len, w, n);
        len += n;
    }
    return len;
}

static void check_path_walkable(const char *p, uint32_t len)
{
    const char *end = p + len;

    while (p <= end) {
        const char *slash = memchr(p, '/', (size_t)(end - p));
        uint32_t n = (uint32_t)((slash ? slash : end) - p);

        quick(n >= 1 && n <= WG_NAME_MAX);
        quick(!(n == 1 && p[0] == '.') && !(n == 2 && p[0] == '.' && p[1] == '.'));
        p += n + 1;
    }
}

START_TEST(every_key_comes_back_from_its_path)
{
    char key[WG_KEY_MAX], back[WG_KEY_PATH_MAX];
    unsigned n = rounds();

    while (n-- > 0) {
        struct wg_str k = { key, nasty(key, WG_KEY_MAX, true) };
        uint32_t len;

        for (int twin = 0; twin < 2; twin++) {
            quick(!wg_key_to_path(k, twin, path, &path_len));
            check_path_walkable(path, path_len);
            quick(!wg_path_to_key((struct wg_str){ path, path_len }, false, back, sizeof back,
                                  &len));
            quick(wg_str_eq(k, (struct wg_str){ back, len }));
        }
    }
}
END_TEST

/* A path of random names either shows no key or is the path (or twin) of the key it shows. */
START_TEST(every_path_is_the_one_path_of_its_key)
{
    unsigned n = rounds(), shown = 0;

    while (n-- > 0) {
        char p[1024], key[1024];
        uint32_t len = 0, key_len;

        for (uint32_t depth = 1 + rnd(3); depth > 0; depth--) {
            if (len)
                p[len++] = '/';
            if (rnd(6) == 0) {
                memcpy(p + len, rnd(2) ? ".@+xx" : ".@+.@", 5);
                memset(p + len + 5, 'x', 250);
                len += 255;
            } else {
                len += nasty(p + len, WG_NAME_MAX, false);
            }
        }
        if (wg_path_to_key((struct wg_str){ p, len }, false, key, sizeof key, &key_len) ||
            key_len > WG_KEY_MAX)
            continue;
        shown++;
        quick(!wg_key_to_path((struct wg_str){ key, key_len }, false, path, &path_len));
        if (path_len == len && memcmp(path, p, len) == 0)
            continue;
        quick(!wg_key_to_path((struct wg_str){ key, key_len }, true, path, &path_len));
        quick(path_len == len && memcmp(path, p, len) == 0);
    }
    ck_assert_uint_gt(shown, 1000);
}
END_TEST

START_TEST(the_twin_of_a_name_shows_the_same_key)
{
    unsigned n = rounds();

    while (n-- > 0) {
        char p[WG_NAME_MAX], t[WG_KEY_TWIN_MAX], a[1024], b[1024];
        struct wg_str name = { p, nasty(p, WG_NAME_MAX, false) };
        uint32_t len, a_len, b_len;

        if (wg_key_twin(WG_KEY_IN_BUCKET, name, t, &len))
            continue;
        quick(!wg_path_to_key(name, false, a, sizeof a, &a_len));
        quick(!wg_path_to_key((struct wg_str){ t, len }, false, b, sizeof b, &b_len));
        quick(wg_str_eq((struct wg_str){ a, a_len }, (struct wg_str){ b, b_len }));
    }
}
END_TEST

static int cmp(const void *a, uint32_t a_len, const void *b, uint32_t b_len)
{
    int c = memcmp(a, b, a_len < b_len ? a_len : b_len);

    return c ? c : (a_len > b_len) - (a_len < b_len);
}

START_TEST(names_sort_as_their_full_keys)
{
    unsigned n = rounds();

    while (n-- > 0) {
        char p[2][WG_NAME_MAX], key[2][2 * WG_NAME_MAX], name[WG_NAME_MAX];
        uint8_t sort[2][WG_KEY_SORT_MAX];
        uint32_t len[2], sort_len[2], name_len;
        struct wg_key_name k[2], u;
        int order;

        for (int i = 0; i < 2; i++) {
            struct wg_str s = { p[i], nasty(p[i], WG_NAME_MAX, false) };
            bool dir = rnd(2);

            k[i] = wg_key_of_name(WG_KEY_IN_DIR, s, dir);
            sort_len[i] = wg_key_sort(WG_KEY_IN_DIR, s, dir, sort[i]);
            quick(!wg_key_unsort(sort[i], sort_len[i], name, &name_len, &u));
            quick(wg_str_eq(s, (struct wg_str){ name, name_len }));
            quick(u.kind == k[i].kind && u.slash == k[i].slash && wg_str_eq(u.piece, k[i].piece));
            memcpy(key[i], k[i].piece.s, k[i].piece.len);
            len[i] = k[i].piece.len;
            if (k[i].slash) /* whatever is inside comes after */
                key[i][len[i]++] = '/', len[i] += nasty(key[i] + len[i], 20, true);
        }
        if (k[0].kind == WG_KEY_NONE || k[1].kind == WG_KEY_NONE)
            continue;
        order = cmp(sort[0], sort_len[0], sort[1], sort_len[1]);
        if (k[0].slash && k[1].slash && wg_str_eq(k[0].piece, k[1].piece))
            quick(order == 0);
        else if (cmp(key[0], len[0], key[1], len[1]))
            quick((order < 0) == (cmp(key[0], len[0], key[1], len[1]) < 0));
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("keymap");
    TCase *rules = tcase_create("rules"), *random = tcase_create("random");
    SRunner *r = srunner_create(s);
    int failed;

    suite_add_tcase(s, rules);
    tcase_add_test(rules, ordinary_keys_are_ordinary_paths);
    tcase_add_test(rules, empty_and_dot_components_are_escaped);
    tcase_add_test(rules, a_component_that_looks_escaped_is_escaped);
    tcase_add_test(rules, a_file_beside_a_directory_takes_its_twin);
    tcase_add_test(rules, long_components_are_cut_into_chunks);
    tcase_add_test(rules, names_that_show_no_key_are_refused);
    tcase_add_test(rules, keys_out_of_bounds_are_refused);
    tcase_add_test(rules, directories_keep_their_names_meaning_when_renamed);
    suite_add_tcase(s, random);
    tcase_set_timeout(random, 120);
    tcase_add_test(random, every_key_comes_back_from_its_path);
    tcase_add_test(random, every_path_is_the_one_path_of_its_key);
    tcase_add_test(random, the_twin_of_a_name_shows_the_same_key);
    tcase_add_test(random, names_sort_as_their_full_keys);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
