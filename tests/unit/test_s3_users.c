/* SPDX-License-Identifier: Apache-2.0 */
/* The user database: who a key belongs to, on disk and in a running process. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "frontends/s3/users.h"

static char dir[64], path[128];
static char access_key[WG_ACCESS_KEY_MAX + 1], secret[WG_SECRET_MAX + 1], err[200];

static void setup(void)
{
    snprintf(dir, sizeof dir, "/tmp/wg-users-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/users.json", dir);
}

static void teardown(void)
{
    char cmd[200];

    snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
    ck_assert_int_eq(system(cmd), 0);
}

static struct wg_users *open_db(void)
{
    struct wg_users *u = NULL;

    ck_assert_int_eq(wg_users_open(path, &u), 0);
    return u;
}

static void add(struct wg_users *u, const char *name, const char *key)
{
    static const uint32_t groups[] = { 7, 8 };
    struct wg_user_new n = { .name = name, .uid = 1000, .gid = 100, .ngroups = 2, .groups = groups,
                             .access_key = key };

    ck_assert_msg(wg_users_add(u, &n, access_key, secret, err, sizeof err) == 0, "%s", err);
}

static int find(struct wg_users *u, const char *key, char *ret_secret)
{
    struct wg_arena a;
    const struct wg_user *user;

    wg_arena_init(&a, NULL, 0);
    int e = wg_users_find(u, wg_str_of(key), &a, &user);
    if (!e) {
        ck_assert_uint_eq(user->uid, 1000);
        ck_assert_uint_eq(user->ngroups, 2);
        ck_assert_uint_eq(user->groups[1], 8);
        if (ret_secret)
            snprintf(ret_secret, WG_SECRET_MAX + 1, "%.*s", (int)user->secret.len, user->secret.s);
    }
    wg_arena_fini(&a);
    return e;
}

START_TEST(a_user_is_found_after_reopening)
{
    char got[WG_SECRET_MAX + 1];
    struct wg_users *u = open_db();

    add(u, "ann", NULL);
    ck_assert_uint_eq(strlen(access_key), 20);
    ck_assert_uint_eq(strlen(secret), 40);
    wg_users_close(u);
    u = open_db();
    ck_assert_int_eq(find(u, access_key, got), 0);
    ck_assert_str_eq(got, secret);
    ck_assert_int_eq(find(u, "nobody", NULL), ENOENT);
    ck_assert_uint_eq(wg_users_count(u), 1);
    wg_users_close(u);
}
END_TEST

START_TEST(the_file_is_private_and_holds_no_secret)
{
    struct wg_users *u = open_db();
    struct stat st;
    char text[4096] = "";

    add(u, "ann", NULL);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_uint_eq(st.st_mode & 0777, 0600);
    FILE *f = fopen(path, "r");
    ck_assert_uint_gt(fread(text, 1, sizeof text - 1, f), 0);
    fclose(f);
    ck_assert_ptr_nonnull(strstr(text, access_key));
    ck_assert_ptr_null(strstr(text, secret));
    wg_users_close(u);
    ck_assert_int_eq(chmod(path, 0644), 0);
    ck_assert_int_eq(wg_users_open(path, &u), EPERM);
}
END_TEST

START_TEST(names_and_keys_are_unique_and_well_formed)
{
    struct wg_users *u = open_db();
    struct wg_user_new n = { .name = "ann", .uid = 1, .gid = 1 };

    add(u, "ann", "KEYONE");
    ck_assert_int_eq(wg_users_add(u, &n, access_key, secret, err, sizeof err), EEXIST);
    n.name = "bob";
    n.access_key = "KEYONE";
    ck_assert_int_eq(wg_users_add(u, &n, access_key, secret, err, sizeof err), EEXIST);
    n.access_key = "a/b";
    ck_assert_int_eq(wg_users_add(u, &n, access_key, secret, err, sizeof err), EINVAL);
    n.access_key = NULL;
    n.name = "a b";
    ck_assert_int_eq(wg_users_add(u, &n, access_key, secret, err, sizeof err), EINVAL);
    n.name = "bob";
    n.secret = "short";
    ck_assert_int_eq(wg_users_add(u, &n, access_key, secret, err, sizeof err), EINVAL);
    ck_assert_int_eq(wg_users_remove(u, "carol", err, sizeof err), ENOENT);
    ck_assert_uint_eq(wg_users_count(u), 1);
    wg_users_close(u);
}
END_TEST

START_TEST(keys_rotate)
{
    struct wg_users *u = open_db();
    char old[WG_ACCESS_KEY_MAX + 1];

    add(u, "ann", NULL);
    snprintf(old, sizeof old, "%s", access_key);
    ck_assert_int_eq(wg_users_add_key(u, "ann", NULL, NULL, access_key, secret, err, sizeof err), 0);
    ck_assert_int_eq(find(u, old, NULL), 0);
    ck_assert_int_eq(find(u, access_key, NULL), 0);
    ck_assert_int_eq(wg_users_remove_key(u, "ann", old, err, sizeof err), 0);
    ck_assert_int_eq(find(u, old, NULL), ENOENT);
    ck_assert_int_eq(find(u, access_key, NULL), 0);
    wg_users_close(u);
}
END_TEST

START_TEST(another_process_change_is_seen_and_a_broken_file_is_not_taken)
{
    struct wg_users *u = open_db(), *other = open_db();

    add(other, "ann", "ANNKEY");
    ck_assert_int_eq(find(u, "ANNKEY", NULL), ENOENT);
    ck_assert_int_eq(wg_users_reload(u), 0);
    ck_assert_int_eq(find(u, "ANNKEY", NULL), 0);
    int fd = open(path, O_WRONLY | O_TRUNC);
    ck_assert_int_eq(write(fd, "{\"users\":7", 10), 10);
    close(fd);
    ck_assert_int_ne(wg_users_reload(u), 0);
    ck_assert_int_eq(find(u, "ANNKEY", NULL), 0);
    wg_users_close(u);
    wg_users_close(other);
}
END_TEST

static atomic_bool stop;

static void *reader(void *arg)
{
    while (!atomic_load(&stop))
        ck_assert_int_eq(find(arg, "ANNKEY", NULL), 0);
    return NULL;
}

START_TEST(lookups_go_on_while_users_change)
{
    struct wg_users *u = open_db();
    pthread_t t[3];

    atomic_store(&stop, false);
    add(u, "ann", "ANNKEY");
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(pthread_create(&t[i], NULL, reader, u), 0);
    for (int i = 0; i < 30; i++) {
        add(u, "bob", "BOBKEY");
        ck_assert_int_eq(wg_users_remove(u, "bob", err, sizeof err), 0);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < 3; i++)
        pthread_join(t[i], NULL);
    wg_users_close(u);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("s3-users");
    TCase *t = tcase_create("users");
    SRunner *r = srunner_create(s);

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_user_is_found_after_reopening);
    tcase_add_test(t, the_file_is_private_and_holds_no_secret);
    tcase_add_test(t, names_and_keys_are_unique_and_well_formed);
    tcase_add_test(t, keys_rotate);
    tcase_add_test(t, another_process_change_is_seen_and_a_broken_file_is_not_taken);
    tcase_add_test(t, lookups_go_on_while_users_change);
    tcase_set_timeout(t, 30);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
