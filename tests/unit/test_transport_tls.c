/* SPDX-License-Identifier: Apache-2.0 */
/* Who is let in: wrong CA, expired, not on the list, revoked, no certificate; reload while connected. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include "transport_kit.h"

/* One server and one client identity: what the client hears. */
static void meet(struct wg_tls *stls, struct wg_tls *ctls, const char *peer_name, struct kit *server, struct kit *client)
{
    struct wg_listener_opts so = { .lane = { .ops = &kit_echo_ops, .tls = stls, .user = server, .name = "s" } };
    struct wg_lane_opts co = { .ops = &kit_client_ops, .tls = ctls, .user = client, .name = "c", .peer_name = peer_name,
                               .backoff_min_ms = 20 };
    struct wg_listener *ls;
    struct wg_lane *l;

    *server = (struct kit)KIT;
    *client = (struct kit)KIT;
    ck_assert_int_eq(wg_listen("127.0.0.1:0", &so, &ls), 0);
    ck_assert_int_eq(wg_lane_connect(wg_listener_addr(ls), &co, &l), 0);
    KIT_WAIT(client, client->up > 0 || client->failed > 0);
    wg_lane_close(l);
    wg_listener_close(ls);
    wg_tls_unref(stls);
    wg_tls_unref(ctls);
}

static void expect(struct wg_tls *stls, struct wg_tls *ctls, const char *peer_name, const char *text)
{
    struct kit server, client;

    meet(stls, ctls, peer_name, &server, &client);
    if (!text) {
        ck_assert_uint_eq(client.up, 1);
        return;
    }
    ck_assert_uint_eq(client.up, 0);
    ck_assert_uint_eq(server.up, 0);
    ck_assert_int_eq(client.last_err, EACCES);
    ck_assert_msg(strstr(client.last_text, text) != NULL, "\"%s\" has no \"%s\"", client.last_text, text);
}

START_TEST(names_decide)
{
    kit_certs();
    expect(kit_tls("server", "client", NULL), kit_tls("client", "server", NULL), NULL, NULL);
    expect(kit_tls("server", "client", NULL), kit_tls("client", "server", NULL), "localhost", NULL);
    expect(kit_tls("server", "*", NULL), kit_tls("other", "*", NULL), NULL, NULL);
    expect(kit_tls("server", "client", NULL), kit_tls("other", "server", NULL), NULL, "refuses our certificate");
    expect(kit_tls("server", "client", NULL), kit_tls("client", "brick7", NULL), NULL, "allow list: server");
    expect(kit_tls("server", "client", NULL), kit_tls("client", "server", NULL), "brick7", "allow list");
    expect(kit_tls("server", "*.server", NULL), kit_tls("client", "*", NULL), NULL, "refuses our certificate");
}
END_TEST

START_TEST(other_authorities_and_old_certificates_are_refused)
{
    struct wg_tls_config c = { .allow = (const char *const[]){ "*" }, .nallow = 1 };
    struct wg_tls *stranger;

    kit_certs();
    c.cert = kit_path("other/stranger.pem");
    c.key = kit_path("other/stranger.key");
    c.ca = kit_path("ca.pem");
    ck_assert_int_eq(wg_tls_new(&c, &stranger, NULL, 0), 0);
    wg_tls_ref(stranger);
    expect(kit_tls("server", "*", NULL), stranger, NULL, "refuses our certificate");
    expect(stranger, kit_tls("client", "*", NULL), NULL, "refused: ");
    expect(kit_tls("server", "*", NULL), kit_tls("late", "*", NULL), NULL, "expired");
    expect(kit_tls("late", "*", NULL), kit_tls("client", "*", NULL), NULL, "expired");
}
END_TEST

START_TEST(a_client_without_a_certificate_is_refused)
{
    struct kit_pair p = { 0 };
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    SSL *ssl;
    char c;

    kit_open_server(&p, MODE_TLS);
    a.sin_port = htons(wg_listener_port(p.listener));
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    ssl = SSL_new(ctx);
    SSL_set_fd(ssl, fd);
    (void)SSL_connect(ssl); /* a TLS 1.3 client is done before the server has looked */
    ck_assert_int_le(SSL_read(ssl, &c, 1), 0);
    ck_assert_uint_eq(p.server.up, 0);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    close(fd);
    kit_close(&p);
}
END_TEST

START_TEST(tls_1_2_is_refused)
{
    struct kit_pair p = { 0 };
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    SSL *ssl;

    kit_open_server(&p, MODE_TLS);
    SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
    ck_assert_int_eq(SSL_CTX_use_certificate_chain_file(ctx, kit_path("client.pem")), 1);
    ck_assert_int_eq(SSL_CTX_use_PrivateKey_file(ctx, kit_path("client.key"), SSL_FILETYPE_PEM), 1);
    a.sin_port = htons(wg_listener_port(p.listener));
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    ssl = SSL_new(ctx);
    SSL_set_fd(ssl, fd);
    ck_assert_int_ne(SSL_connect(ssl), 1);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    close(fd);
    kit_close(&p);
}
END_TEST

/* Revoked: an own CA, since a CRL stays. */
static void with_crl(char *dir)
{
    char err[200], victim[200];

    ck_assert_int_eq(wg_certs_make_ca(dir, NULL, NULL, err, sizeof err), 0);
    for (unsigned i = 0; i < 3; i++)
        ck_assert_int_eq(wg_certs_make_node(dir, ((const char *[]){ "server", "client", "victim" })[i], NULL, 0, NULL, err, sizeof err), 0);
    snprintf(victim, sizeof victim, "%s/victim.pem", dir);
    ck_assert_msg(wg_certs_revoke(dir, victim, 0, err, sizeof err) == 0, "%s", err);
}

static struct wg_tls *tls_in(const char *dir, const char *who, const char *allow_file)
{
    static const char *const anyone[] = { "*" };
    char cert[200], key[200], ca[200], crl[200], err[300];
    struct wg_tls_config c = { cert, key, ca, crl, NULL, 0, allow_file, 200 };
    struct wg_tls *t = NULL;

    snprintf(cert, sizeof cert, "%s/%s.pem", dir, who);
    snprintf(key, sizeof key, "%s/%s.key", dir, who);
    snprintf(ca, sizeof ca, "%s/ca.pem", dir);
    snprintf(crl, sizeof crl, "%s/ca.crl", dir);
    if (!allow_file) {
        c.allow = anyone;
        c.nallow = 1;
    }
    ck_assert_msg(wg_tls_new(&c, &t, err, sizeof err) == 0, "%s", err);
    return t;
}

START_TEST(revoked_certificates_are_refused_and_cut)
{
    char *dir, client_pem[200], err[300];
    struct kit server = KIT, client = KIT;
    struct wg_tls *stls, *ctls;
    struct wg_listener_opts so = { .lane = { .ops = &kit_echo_ops, .user = &server, .name = "s" } };
    struct wg_lane_opts co = { .ops = &kit_client_ops, .user = &client, .name = "c" };
    struct wg_listener *ls;
    struct wg_lane *l;

    kit_certs();
    dir = strdup(kit_path("crl"));
    with_crl(dir);
    expect(tls_in(dir, "server", NULL), tls_in(dir, "victim", NULL), NULL, "revoked");
    expect(tls_in(dir, "victim", NULL), tls_in(dir, "client", NULL), NULL, "revoked");

    /* One that is revoked while connected. */
    stls = tls_in(dir, "server", NULL);
    ctls = tls_in(dir, "client", NULL);
    so.lane.tls = stls;
    co.tls = ctls;
    ck_assert_int_eq(wg_listen("127.0.0.1:0", &so, &ls), 0);
    ck_assert_int_eq(wg_lane_connect(wg_listener_addr(ls), &co, &l), 0);
    KIT_WAIT(&client, client.up == 1);
    ck_assert_int_eq(wg_tls_reload(stls, err, sizeof err), 0);
    usleep(300000);
    ck_assert_uint_eq(client.down, 0);
    snprintf(client_pem, sizeof client_pem, "%s/client.pem", dir);
    ck_assert_int_eq(wg_certs_revoke(dir, client_pem, 0, err, sizeof err), 0);
    ck_assert_int_eq(wg_tls_reload(stls, err, sizeof err), 0);
    KIT_WAIT(&server, server.down == 1);
    ck_assert_int_eq(server.last_err, EACCES);
    KIT_WAIT(&client, client.down == 1 && client.failed > 0);
    wg_lane_close(l);
    wg_listener_close(ls);
    wg_tls_unref(stls);
    wg_tls_unref(ctls);
    free(dir);
}
END_TEST

static void put_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
}

START_TEST(the_allow_file_is_read_again)
{
    struct kit server = KIT, client = KIT;
    struct wg_listener_opts so = { .lane = { .ops = &kit_echo_ops, .user = &server, .name = "s" } };
    struct wg_lane_opts co = { .ops = &kit_client_ops, .user = &client, .name = "c", .backoff_min_ms = 20, .backoff_max_ms = 50 };
    struct wg_listener *ls;
    struct wg_lane *l;
    char err[300], *list, *dir;

    kit_certs();
    dir = strdup(kit_path("allow"));
    list = strdup(kit_path("names"));
    with_crl(dir);
    put_file(list, "# who may\n  other \nclient # this one\n");
    so.lane.tls = tls_in(dir, "server", list);
    co.tls = tls_in(dir, "client", NULL);
    ck_assert_int_eq(wg_listen("127.0.0.1:0", &so, &ls), 0);
    ck_assert_int_eq(wg_lane_connect(wg_listener_addr(ls), &co, &l), 0);
    KIT_WAIT(&client, client.up == 1);
    put_file(list, "# nobody\n");
    ck_assert_int_eq(wg_tls_reload(so.lane.tls, err, sizeof err), EINVAL);
    ck_assert_uint_eq(client.down, 0);
    put_file(list, "other\n");
    ck_assert_int_eq(wg_tls_reload(so.lane.tls, err, sizeof err), 0);
    KIT_WAIT(&client, client.down == 1);
    KIT_WAIT(&client, client.failed >= 2);
    put_file(list, "other\nCLIENT\n");
    ck_assert_int_eq(wg_tls_reload(so.lane.tls, err, sizeof err), 0);
    KIT_WAIT(&client, client.up == 2);
    /* The other way round: our own list. */
    ck_assert_int_eq(wg_tls_set_allow(co.tls, (const char *const[]){ "brick9" }, 1, err, sizeof err), 0);
    KIT_WAIT(&client, client.down == 2);
    ck_assert_int_eq(client.last_err, EACCES);
    ck_assert_int_eq(wg_tls_set_allow(co.tls, (const char *const[]){ "server" }, 1, err, sizeof err), 0);
    KIT_WAIT(&client, client.up == 3);
    wg_lane_close(l);
    wg_listener_close(ls);
    wg_tls_unref(so.lane.tls);
    wg_tls_unref(co.tls);
    free(dir);
    free(list);
}
END_TEST

START_TEST(reload_does_not_disturb_traffic)
{
    struct kit_pair p = { 0 };
    char err[200];

    kit_open(&p, (enum kit_mode)_i);
    for (unsigned i = 1; i <= 40; i++) {
        ck_assert_int_eq(kit_send(p.lane, i, 10, 300000), 0);
        ck_assert_int_eq(wg_tls_reload(i % 2 ? p.stls : p.ctls, err, sizeof err), 0);
    }
    KIT_WAIT(&p.client, p.client.messages == 40);
    ck_assert_uint_eq(p.client.up, 1);
    kit_close(&p);
}
END_TEST

START_TEST(bad_files_are_named)
{
    struct wg_tls_config c = { .allow = (const char *const[]){ "*" }, .nallow = 1 };
    struct wg_tls *t;
    char err[300];

    kit_certs();
    put_file(kit_path("junk"), "junk\n");
    c.cert = strdup(kit_path("server.pem"));
    c.key = strdup(kit_path("server.key"));
    c.ca = strdup(kit_path("ca.pem"));
    for (unsigned i = 0; i < 5; i++) {
        struct wg_tls_config d = c;
        int want = i == 0 ? ENOENT : EINVAL;

        if (i == 0)
            d.cert = kit_path("absent.pem");
        else if (i == 1)
            d.key = kit_path("client.key");
        else if (i == 2)
            d.ca = kit_path("junk");
        else if (i == 3)
            d.crl = kit_path("junk");
        else
            d.nallow = 0;
        err[0] = '\0';
        ck_assert_int_eq(wg_tls_new(&d, &t, err, sizeof err), want);
        ck_assert_msg(strstr(err, i == 0 ? "absent.pem" : i == 1 ? "client.key" : i == 4 ? "allowed" : "junk") != NULL, "%s", err);
    }
    ck_assert_int_eq(wg_tls_new(&c, &t, err, sizeof err), 0);
    ck_assert_int_gt(wg_tls_expires(t), time(NULL) + 800 * 86400);
    wg_tls_unref(t);
    free((char *)c.cert);
    free((char *)c.key);
    free((char *)c.ca);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("transport TLS");
    TCase *t = tcase_create("identity");

    tcase_set_timeout(t, 120);
    tcase_add_test(t, names_decide);
    tcase_add_test(t, other_authorities_and_old_certificates_are_refused);
    tcase_add_test(t, a_client_without_a_certificate_is_refused);
    tcase_add_test(t, tls_1_2_is_refused);
    tcase_add_test(t, revoked_certificates_are_refused_and_cut);
    tcase_add_test(t, the_allow_file_is_read_again);
    tcase_add_loop_test(t, reload_does_not_disturb_traffic, 0, MODE_PLAIN);
    tcase_add_test(t, bad_files_are_named);
    suite_add_tcase(s, t);
    return kit_main(s);
}
