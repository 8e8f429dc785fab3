/* SPDX-License-Identifier: Apache-2.0 */
/* The small CA: what it writes, what it refuses, that nothing is overwritten unasked. */
#include <sys/stat.h>
#include <time.h>

#include "transport_kit.h"

static char err[300];

static void same_file(const char *path, bool same, ino_t before)
{
    struct stat st;

    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_ino == before, same);
}

START_TEST(keys_are_private_and_certificates_say_who)
{
    struct wg_cert_info i;
    struct stat st;

    kit_certs();
    ck_assert_int_eq(stat(kit_path("server.key"), &st), 0);
    ck_assert_uint_eq(st.st_mode & 0777, 0600);
    ck_assert_int_eq(stat(kit_path("ca.key"), &st), 0);
    ck_assert_uint_eq(st.st_mode & 0777, 0600);
    ck_assert_int_eq(wg_certs_info(kit_path("server.pem"), &i, err, sizeof err), 0);
    ck_assert_str_eq(i.subject, "server");
    ck_assert_str_eq(i.issuer, "Windgate CA");
    ck_assert_str_eq(i.names, "DNS:server, DNS:localhost, IP Address:127.0.0.1");
    ck_assert_uint_eq(strlen(i.sha256), 95);
    ck_assert_uint_ge(strlen(i.serial), 30);
    ck_assert(!i.is_ca && i.not_before < time(NULL) && i.not_after > time(NULL) + 820 * 86400);
    ck_assert_int_eq(wg_certs_info(kit_path("ca.pem"), &i, err, sizeof err), 0);
    ck_assert(i.is_ca);
}
END_TEST

START_TEST(nothing_is_overwritten_unasked)
{
    static const struct wg_certs_opts over = { .overwrite = true };
    struct stat cert, key;

    kit_certs();
    ck_assert_int_eq(stat(kit_path("other.pem"), &cert), 0);
    ck_assert_int_eq(stat(kit_path("other.key"), &key), 0);
    ck_assert_int_eq(wg_certs_make_node(kit_dir, "other", NULL, 0, NULL, err, sizeof err), EEXIST);
    ck_assert_int_eq(wg_certs_make_ca(kit_dir, NULL, NULL, err, sizeof err), EEXIST);
    same_file(kit_path("other.pem"), true, cert.st_ino);
    same_file(kit_path("other.key"), true, key.st_ino);
    /* Half a pair is not finished behind somebody's back. */
    ck_assert_int_eq(unlink(kit_path("other.pem")), 0);
    ck_assert_int_eq(wg_certs_make_node(kit_dir, "other", NULL, 0, NULL, err, sizeof err), EEXIST);
    ck_assert_int_ne(access(kit_path("other.pem"), F_OK), 0);
    same_file(kit_path("other.key"), true, key.st_ino);
    ck_assert_int_eq(wg_certs_make_node(kit_dir, "other", NULL, 0, &over, err, sizeof err), 0);
    same_file(kit_path("other.key"), false, key.st_ino);
}
END_TEST

START_TEST(bad_names_are_refused)
{
    static const char *const nodes[] = { "", "ca", "../x", ".x", "-x", "a b", "a/b" };
    static const char *const sans[] = { "", "DNS:", "a b", "a,DNS:evil", "IP:host", "IP:", "x:y" };

    kit_certs();
    for (unsigned i = 0; i < sizeof nodes / sizeof *nodes; i++)
        ck_assert_int_eq(wg_certs_make_node(kit_dir, nodes[i], NULL, 0, NULL, err, sizeof err), EINVAL);
    for (unsigned i = 0; i < sizeof sans / sizeof *sans; i++)
        ck_assert_int_eq(wg_certs_make_node(kit_dir, "fresh", &sans[i], 1, NULL, err, sizeof err), EINVAL);
    ck_assert_int_ne(access(kit_path("fresh.key"), F_OK), 0);
    ck_assert_int_eq(wg_certs_make_node(kit_dir, "v6", (const char *[]){ "::1", "IP:10.0.0.1", "*.example.com" }, 3, NULL,
                                        err, sizeof err), 0);
}
END_TEST

START_TEST(only_its_own_are_revoked)
{
    struct wg_cert_info i;

    kit_certs();
    ck_assert_int_eq(wg_certs_revoke(kit_dir, kit_path("other/stranger.pem"), 0, err, sizeof err), EINVAL);
    ck_assert_int_eq(wg_certs_revoke(kit_dir, kit_path("absent.pem"), 0, err, sizeof err), ENOENT);
    ck_assert_int_ne(access(kit_path("ca.crl"), F_OK), 0);
    ck_assert_int_eq(wg_certs_revoke(kit_dir, kit_path("client.pem"), 0, err, sizeof err), 0);
    ck_assert_int_eq(wg_certs_revoke(kit_dir, kit_path("client.pem"), 0, err, sizeof err), 0);
    ck_assert_int_eq(wg_certs_info(kit_path("ca.crl"), &i, err, sizeof err), EINVAL);
    ck_assert_ptr_nonnull(strstr(err, "no certificate"));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("certs");
    TCase *t = tcase_create("certs");

    tcase_add_test(t, keys_are_private_and_certificates_say_who);
    tcase_add_test(t, nothing_is_overwritten_unasked);
    tcase_add_test(t, bad_names_are_refused);
    tcase_add_test(t, only_its_own_are_revoked);
    suite_add_tcase(s, t);
    return kit_main(s);
}
