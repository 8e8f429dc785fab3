/* SPDX-License-Identifier: Apache-2.0 */
/* Handles, exports and their rules, the name cache and the replay cache, without a server. */
#include <arpa/inet.h>
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "frontends/nfs/conn.h"
#include "frontends/nfs/drc.h"
#include "frontends/nfs/exports.h"
#include "frontends/nfs/names.h"

static char said[1024];

static void say(void *arg, const char *text)
{
    (void)arg;
    strncat(said, text, sizeof said - strlen(said) - 1);
}

static struct nfs_exports *table_of(const char *const paths[], unsigned n, const struct wg_nfs_rule *rule)
{
    struct wg_nfs_volume v = { .name = "v", .id = "12345678abcdefgh", .key = "a key of 16 byte" };
    struct wg_nfs_export e[8] = { 0 };
    struct wg_nfs_config c = { .volumes = &v, .nvolumes = 1, .exports = e, .nexports = n };

    for (unsigned i = 0; i < n; i++)
        e[i] = (struct wg_nfs_export){ .path = paths[i], .dir = "/", .rules = rule, .nrules = rule ? 1 : 0 };
    said[0] = '\0';
    return nfs_exports_new(&c, say, NULL);
}

static struct in6_addr address(const char *text)
{
    struct in6_addr a = { 0 };

    if (inet_pton(AF_INET, text, &a.s6_addr[12]) == 1)
        a.s6_addr[10] = a.s6_addr[11] = 0xff;
    else
        ck_assert_int_eq(inet_pton(AF_INET6, text, &a), 1);
    return a;
}

START_TEST(a_handle_comes_back_and_any_changed_bit_is_seen)
{
    struct nfs_exports *t = table_of((const char *const[]){ "/a", "/b" }, 2, NULL);
    struct wg_ref ref = { .gfid = wg_gfid_new(), .hint_len = 12, .hint = "hint-of-12-b" }, back;
    struct nfs_export *e;
    uint8_t fh[NFS3_FHSIZE];
    uint32_t len = nfs_handle_seal(&t->exports[1], &ref, fh);

    ck_assert_uint_eq(len, NFS_FH_FIXED + 12);
    ck_assert_int_eq(nfs_handle_open(t, (struct wg_str){ (char *)fh, len }, &e, &back), 0);
    ck_assert_ptr_eq(e, &t->exports[1]);
    ck_assert_mem_eq(&ref, &back, sizeof ref);
    for (uint32_t bit = 0; bit < len * 8; bit++) {
        int err;

        fh[bit / 8] ^= (uint8_t)(1 << bit % 8);
        err = nfs_handle_open(t, (struct wg_str){ (char *)fh, len }, &e, &back);
        ck_assert(err == EBADHANDLE || err == ESTALE);
        fh[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    for (uint32_t cut = 0; cut < len; cut++)
        ck_assert_int_ne(nfs_handle_open(t, (struct wg_str){ (char *)fh, cut }, &e, &back), 0);
    nfs_exports_unref(t);
}
END_TEST

START_TEST(a_hint_too_long_for_a_handle_is_left_out)
{
    struct nfs_exports *t = table_of((const char *const[]){ "/a" }, 1, NULL);
    struct wg_ref ref = { .gfid = wg_gfid_new(), .hint_len = WG_HINT_MAX }, back;
    struct nfs_export *e;
    uint8_t fh[NFS3_FHSIZE];
    uint32_t len = nfs_handle_seal(&t->exports[0], &ref, fh);

    ck_assert_uint_eq(len, NFS_FH_FIXED);
    ck_assert_int_eq(nfs_handle_open(t, (struct wg_str){ (char *)fh, len }, &e, &back), 0);
    ck_assert_uint_eq(back.hint_len, 0);
    ck_assert(wg_gfid_eq(back.gfid, ref.gfid));
    ref.hint_len = NFS_FH_HINT;
    ck_assert_uint_eq(nfs_handle_seal(&t->exports[0], &ref, fh), NFS3_FHSIZE);
    nfs_exports_unref(t);
}
END_TEST

START_TEST(networks_hold_their_addresses)
{
    static const struct { const char *net, *in, *out; } cases[] = {
        { "*", "192.0.2.1", NULL },
        { "192.0.2.7", "192.0.2.7", "192.0.2.6" },
        { "10.0.0.0/8", "10.255.1.2", "11.0.0.1" },
        { "192.168.128.0/17", "192.168.255.1", "192.168.127.255" },
        { "0.0.0.0/0", "8.8.8.8", "2001:db8::1" },
        { "2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::1" },
        { "fe80::1", "fe80::1", "fe80::2" },
    };

    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct wg_nfs_rule rule = { .clients = cases[i].net };
        struct nfs_exports *t = table_of((const char *const[]){ "/a" }, 1, &rule);
        struct in6_addr in = address(cases[i].in);

        ck_assert_msg(t && nfs_rule_for(&t->exports[0], &in), "%s in %s", cases[i].in, cases[i].net);
        if (cases[i].out) {
            struct in6_addr out = address(cases[i].out);

            ck_assert_msg(!nfs_rule_for(&t->exports[0], &out), "%s in %s", cases[i].out, cases[i].net);
        }
        nfs_exports_unref(t);
    }
}
END_TEST

START_TEST(mistakes_in_rules_and_exports_are_named)
{
    static const char *const bad[] = { "", "10.0.0.0/33", "10.0.0/8", "host", "::/129", "10.0.0.0/", "1.2.3.4/-1",
                                       "1.2.3.4/ 8", "/8" };

    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct wg_nfs_rule rule = { .clients = bad[i] };

        ck_assert_msg(!table_of((const char *const[]){ "/a" }, 1, &rule), "\"%s\"", bad[i]);
        ck_assert_ptr_nonnull(strstr(said, "export \"/a\""));
    }
    ck_assert_ptr_null(table_of((const char *const[]){ "relative" }, 1, NULL));
    ck_assert_ptr_nonnull(strstr(said, "begins with '/'"));
    ck_assert_ptr_null(table_of((const char *const[]){ "/a", "//a/" }, 2, NULL));
    ck_assert_ptr_nonnull(strstr(said, "are the same"));
}
END_TEST

START_TEST(paths_find_their_export)
{
    struct nfs_exports *t = table_of((const char *const[]){ "/", "/a", "/a/b" }, 3, NULL);
    static const struct { const char *path, *export, *rest; } cases[] = {
        { "/", "/", "/" }, { "/x/y", "/", "/x/y" }, { "/a", "/a", "" }, { "/ab", "/", "/ab" },
        { "/a/c", "/a", "/c" }, { "/a/b/c/d", "/a/b", "/c/d" },
    };
    char normal[64];

    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *rest;
        struct nfs_export *e = nfs_export_of_path(t, cases[i].path, &rest);

        ck_assert_ptr_nonnull(e);
        ck_assert_str_eq(e->path, cases[i].export);
        ck_assert_str_eq(rest, cases[i].rest);
    }
    nfs_normal_path("//a///b/", normal);
    ck_assert_str_eq(normal, "/a/b");
    nfs_normal_path("", normal);
    ck_assert_str_eq(normal, "/");
    nfs_exports_unref(t);
    t = table_of((const char *const[]){ "/a" }, 1, NULL);
    ck_assert_ptr_null(nfs_export_of_path(t, "/b", &(const char *){ NULL }));
    nfs_exports_unref(t);
}
END_TEST

START_TEST(a_name_is_remembered_until_forgotten)
{
    wg_gfid dir = wg_gfid_new(), g = wg_gfid_new(), got;

    ck_assert(!nfs_names_get(dir, WG_STR("n"), &got));
    nfs_names_put(dir, WG_STR("n"), g);
    ck_assert(nfs_names_get(dir, WG_STR("n"), &got));
    ck_assert(wg_gfid_eq(got, g));
    ck_assert(!nfs_names_get(dir, WG_STR("m"), &got));
    nfs_names_forget(dir, WG_STR("n"));
    ck_assert(!nfs_names_get(dir, WG_STR("n"), &got));
}
END_TEST

/* --- the replay cache --- */

static struct wg_rpc_peer peer(const char *text, uint64_t serial)
{
    return (struct wg_rpc_peer){ .addr = address(text), .serial = serial };
}

START_TEST(a_retransmission_gets_the_first_answer)
{
    struct wg_rpc_peer p = peer("192.0.2.1", 1), other = peer("192.0.2.2", 2);
    static struct wg_rpc a, b, c;
    struct drc_ticket t, t2;
    static const uint8_t id[16] = "one";

    a.peer = b.peer = &p;
    c.peer = &other;
    ck_assert_int_eq(drc_begin(&t, &a, id), DRC_NEW);
    ck_assert_int_eq(drc_begin(&t2, &c, id), DRC_NEW); /* another client is another request */
    ck_assert_ptr_null(drc_end(&t, (const uint8_t *)"results!", 8));
    ck_assert_ptr_null(drc_end(&t2, NULL, 0));
    ck_assert_int_eq(drc_begin(&t, &b, id), DRC_REPLAY);
    ck_assert_mem_eq(b.out.at - 8, "results!", 8);
    drc_free();
}
END_TEST

START_TEST(a_retransmission_waits_for_the_execution)
{
    struct wg_rpc_peer p = peer("192.0.2.1", 1);
    static struct wg_rpc r[8];
    struct drc_ticket t, none;
    static const uint8_t id[16] = "two";
    unsigned waiting = 0;

    for (int i = 0; i < 8; i++)
        r[i].peer = &p;
    ck_assert_int_eq(drc_begin(&t, &r[0], id), DRC_NEW);
    for (int i = 1; i < 5; i++)
        ck_assert_int_eq(drc_begin(&none, &r[i], id), DRC_WAITS);
    ck_assert_int_eq(drc_begin(&none, &r[5], id), DRC_REPLAY); /* too many: nothing to send */
    ck_assert_ptr_null(r[5].head);
    for (struct wg_rpc *w = drc_end(&t, (const uint8_t *)"ok", 2); w; w = w->next)
        waiting++;
    ck_assert_uint_eq(waiting, 4);
    drc_free();
}
END_TEST

START_TEST(an_answer_to_come_back_later_is_not_kept)
{
    struct wg_rpc_peer p = peer("192.0.2.1", 1);
    static struct wg_rpc r;
    struct drc_ticket t;
    static const uint8_t id[16] = "three";

    r.peer = &p;
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(drc_begin(&t, &r, id), DRC_NEW);
        drc_end(&t, NULL, 0);
    }
    drc_free();
}
END_TEST

START_TEST(a_connection_closed_in_order_is_forgotten)
{
    struct wg_rpc_peer p1 = peer("192.0.2.1", 1), p2 = peer("192.0.2.1", 2);
    static struct wg_rpc r;
    struct drc_ticket t;
    static const uint8_t id[16] = "four", id2[16] = "five";

    r.peer = &p1;
    drc_begin(&t, &r, id);
    drc_end(&t, (const uint8_t *)"x", 1);
    r.peer = &p2;
    drc_begin(&t, &r, id2);
    drc_end(&t, (const uint8_t *)"y", 1);
    drc_forget(&p1);
    ck_assert_int_eq(drc_begin(&t, &r, id2), DRC_REPLAY);
    ck_assert_int_eq(drc_begin(&t, &r, id), DRC_NEW);
    drc_end(&t, NULL, 0);
    drc_free();
}
END_TEST

/* Its descriptor may be that of the connection that took its place: whoever sends again there gave up the first. */
START_TEST(a_connection_that_ends_is_not_in_use)
{
    struct sockaddr_storage ss = { .ss_family = AF_INET };
    socklen_t len = sizeof ss;
    int l = socket(AF_INET, SOCK_STREAM, 0), client[2], fd[2];
    struct wg_rpc_conn *c;

    ck_assert_int_eq(listen(l, 2), 0); /* on any port, of any address */
    ck_assert_int_eq(getsockname(l, (struct sockaddr *)&ss, &len), 0);
    for (int i = 0; i < 2; i++) {
        client[i] = socket(AF_INET, SOCK_STREAM, 0);
        ck_assert_int_eq(connect(client[i], (struct sockaddr *)&ss, len), 0);
        fd[i] = accept(l, NULL, NULL);
        ck_assert_int_ge(fd[i], 0);
    }
    c = wg_conn_new(NULL, fd[0], &ss);
    ck_assert_ptr_nonnull(c);
    ck_assert(wg_rpc_in_use(c->peer.serial));
    ck_assert(!wg_rpc_in_use(c->peer.serial + 1));
    wg_conn_unlinked(c);
    ck_assert_int_eq(dup2(fd[1], fd[0]), fd[0]);
    ck_assert(!wg_rpc_in_use(c->peer.serial));
    wg_conn_free(c);
    for (int i = 0; i < 2; i++) {
        close(fd[i]);
        close(client[i]);
    }
    close(l);
}
END_TEST

START_TEST(the_cache_is_bounded)
{
    static struct wg_rpc r;
    struct drc_ticket t;
    uint8_t id[16] = "";

    drc_size(16);
    for (uint32_t i = 0; i < 20000; i++) {
        struct wg_rpc_peer p = { .serial = 1 };

        memcpy(p.addr.s6_addr + 8, &(uint32_t){ i / 100 }, 4);
        p.addr.s6_addr[15] = (uint8_t)(i / 100);
        memcpy(id, &i, 4);
        r.peer = &p;
        ck_assert_int_eq(drc_begin(&t, &r, id), DRC_NEW);
        drc_end(&t, (const uint8_t *)"x", 1);
        ck_assert_int_eq(drc_begin(&t, &r, id), DRC_REPLAY);
    }
    drc_size(1024);
    drc_free();
}
END_TEST

START_TEST(the_key_file_is_made_once)
{
    char dir[] = "/tmp/nfs-key-XXXXXX", path[64];
    uint8_t a[16], b[16];
    struct stat st;

    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/key", dir);
    ck_assert_int_eq(wg_nfs_key_file(path, a), 0);
    ck_assert_int_eq(wg_nfs_key_file(path, b), 0);
    ck_assert_mem_eq(a, b, 16);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_uint_eq(st.st_mode & 07777, 0600);
    ck_assert_int_eq(truncate(path, 3), 0);
    ck_assert_int_eq(wg_nfs_key_file(path, b), EINVAL);
    unlink(path);
    rmdir(dir);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("nfs parts");
    TCase *t = tcase_create("all");
    SRunner *r = srunner_create(s);
    int failed;

    suite_add_tcase(s, t);
    tcase_add_test(t, a_handle_comes_back_and_any_changed_bit_is_seen);
    tcase_add_test(t, a_hint_too_long_for_a_handle_is_left_out);
    tcase_add_test(t, networks_hold_their_addresses);
    tcase_add_test(t, mistakes_in_rules_and_exports_are_named);
    tcase_add_test(t, paths_find_their_export);
    tcase_add_test(t, a_name_is_remembered_until_forgotten);
    tcase_add_test(t, a_retransmission_gets_the_first_answer);
    tcase_add_test(t, a_retransmission_waits_for_the_execution);
    tcase_add_test(t, an_answer_to_come_back_later_is_not_kept);
    tcase_add_test(t, a_connection_closed_in_order_is_forgotten);
    tcase_add_test(t, a_connection_that_ends_is_not_in_use);
    tcase_add_test(t, the_cache_is_bounded);
    tcase_add_test(t, the_key_file_is_made_once);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
