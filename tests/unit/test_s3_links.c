/* SPDX-License-Identifier: Apache-2.0 */
/* Where a symbolic link inside a key leads. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "arena.h"
#include "frontends/s3/object.h"

static struct wg_arena arena;

/* "link" in key, at its first occurrence, is a link to target. */
static const char *spliced(const char *key, const char *target)
{
    static char text[WG_KEY_MAX + 1];
    struct wg_str k = wg_str_of(key);
    const char *at = strstr(key, "link");
    int err = s3_splice_link(&arena, &k, (uint32_t)(at - key) + 4, wg_str_of(target));

    if (err)
        return err == ENOENT ? "ENOENT" : "?";
    snprintf(text, sizeof text, "%.*s", (int)k.len, k.s);
    return text;
}

#define LEADS(key, target, to) ck_assert_str_eq(spliced(key, target), to)

START_TEST(targets_are_ways_and_keys_are_names)
{
    LEADS("link", "file", "file");
    LEADS("link/x", "dir", "dir/x");
    LEADS("a/b/link/x", "../c", "a/c/x");
    LEADS("a/b/link/x", "..", "a/x");
    LEADS("a/b/link/x", "../..", "x");
    LEADS("a/link/x", "./b//c/.", "a/b/c/x");
    LEADS("link/", "dir", "dir/");
    LEADS("link//x", "dir", "dir//x");
    LEADS("link/../x", "dir", "dir/../x");
    LEADS("../link/x", "y", "../y/x");
    LEADS("a//link", "b", "a//b");
    LEADS("a//link", "../b", "a/b");
    LEADS("a//link", "../../b", "b");
    LEADS("/link", "b", "/b");
    LEADS("/link", "../b", "b");
    LEADS("//link", "../b", "/b");
    LEADS("link/x", ".", "x");
}
END_TEST

START_TEST(nothing_leads_out_of_the_bucket)
{
    LEADS("link", "..", "ENOENT");
    LEADS("link/x", "../b", "ENOENT");
    LEADS("a/link/x", "../../b", "ENOENT");
    LEADS("a/link/x", "../../a/b", "ENOENT");
    LEADS("a//link", "../../../b", "ENOENT");
    LEADS("/link", "../../b", "ENOENT");
    LEADS("link/x", "/b", "ENOENT");
    LEADS("link/x", "", "ENOENT");
    LEADS("link", ".", "ENOENT");
    LEADS("link/x", ".@=", "ENOENT");
    LEADS("link/x", "a/.@+b/c", "ENOENT");
}
END_TEST

START_TEST(no_key_is_longer_than_keys_are)
{
    char target[WG_KEY_MAX + 2];

    memset(target, 't', sizeof target);
    target[WG_KEY_MAX] = '\0';
    ck_assert_uint_eq(strlen(spliced("link", target)), WG_KEY_MAX);
    LEADS("link/x", target, "ENOENT");
    LEADS("a/link", target, "ENOENT");
    target[WG_KEY_MAX] = 't';
    target[WG_KEY_MAX + 1] = '\0';
    LEADS("link", target, "ENOENT");
    target[WG_KEY_MAX - 2] = '\0';
    ck_assert_uint_eq(strlen(spliced("link/x", target)), WG_KEY_MAX);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("s3 links");
    TCase *t = tcase_create("links");
    SRunner *r = srunner_create(s);
    int failed;

    wg_arena_init(&arena, NULL, 0);
    tcase_add_test(t, targets_are_ways_and_keys_are_names);
    tcase_add_test(t, nothing_leads_out_of_the_bucket);
    tcase_add_test(t, no_key_is_longer_than_keys_are);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    wg_arena_fini(&arena);
    return failed != 0;
}
