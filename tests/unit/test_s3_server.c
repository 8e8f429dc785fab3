/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The S3 front end over a real store, spoken to byte by byte: what well-behaved clients never
 * send. Requests are presigned the old way (V2), which a test can do in four lines.
 */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "frontends/s3/server.h"
#include "frontends/s3/users.h"
#include "graph.h"
#include "work.h"

/* ---- An xlator that holds every fop while it is shut ---- */

static pthread_mutex_t gate_lock = PTHREAD_MUTEX_INITIALIZER;
static bool gate_shut;
static struct wg_frame *held[64];
static unsigned nheld;

static void gate_any(struct wg_frame *f)
{
    pthread_mutex_lock(&gate_lock);
    if (gate_shut && nheld < 64) {
        held[nheld++] = f;
        pthread_mutex_unlock(&gate_lock);
        return;
    }
    pthread_mutex_unlock(&gate_lock);
    wg_pass(f, wg_child(f));
}

static void shut_gate(void)
{
    pthread_mutex_lock(&gate_lock);
    gate_shut = true;
    pthread_mutex_unlock(&gate_lock);
}

static unsigned gate_holds(void)
{
    pthread_mutex_lock(&gate_lock);
    unsigned n = nheld;
    pthread_mutex_unlock(&gate_lock);
    return n;
}

static void open_gate(void)
{
    pthread_mutex_lock(&gate_lock);
    gate_shut = false;
    while (nheld > 0) {
        struct wg_frame *f = held[--nheld];
        pthread_mutex_unlock(&gate_lock);
        wg_pass(f, wg_child(f));
        pthread_mutex_lock(&gate_lock);
    }
    pthread_mutex_unlock(&gate_lock);
}

static const struct wg_option no_options[] = { { .name = NULL } };
static const struct wg_class gate = {
    .type = "test/gate", .help = "Holds fops.", .options = no_options, .min_children = 1,
    .max_children = 1, .any = gate_any,
};

/* ---- The server ---- */

static char dir[64];
static struct wg_graph *graph;
static struct wg_s3 *s3;
static struct wg_s3_config config;

static void complain(void *arg, const char *text)
{
    (void)arg;
    fprintf(stderr, "%s\n", text);
}

static void run(const char *fmt, const char *a)
{
    char cmd[300];

    snprintf(cmd, sizeof cmd, fmt, a);
    ck_assert_int_eq(system(cmd), 0);
}

static void add_user(const char *path)
{
    struct wg_user_new n = { .name = "demo", .uid = getuid(), .gid = getgid(), .access_key = "AKDEMO",
                             .secret = "secretsecret" };
    char key[WG_ACCESS_KEY_MAX + 1], secret[WG_SECRET_MAX + 1], err[200];
    struct wg_users *u;

    ck_assert_int_eq(wg_users_open(path, &u), 0);
    ck_assert_int_eq(wg_users_add(u, &n, key, secret, err, sizeof err), 0);
    wg_users_close(u);
}

static void start_server(void)
{
    static char users[100];
    char text[500];

    signal(SIGPIPE, SIG_IGN);
    snprintf(dir, sizeof dir, "/tmp/wg-s3-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    run("mkdir %s/data", dir);
    snprintf(text, sizeof text,
             "volume store\n type storage/posix\n option directory %s/data\n option init yes\nend-volume\n"
             "volume io\n type performance/io-threads\n subvolumes store\nend-volume\n"
             "volume gate\n type test/gate\n subvolumes io\nend-volume\n", dir);
    ck_assert_int_eq(wg_work_start(2), 0);
    wg_class_add(&gate);
    graph = wg_graph_parse("test", text, strlen(text), complain, NULL);
    ck_assert_ptr_nonnull(graph);
    ck_assert_int_eq(wg_graph_init(graph), 0);
    ck_assert_int_eq(wg_graph_start(graph), 0);
    run("mkdir %s/data/bkt", dir);
    snprintf(users, sizeof users, "%s/users.json", dir);
    add_user(users);
    config.volume = graph->volume;
    config.http = "127.0.0.1:0";
    config.users_file = users;
    ck_assert_int_eq(wg_s3_start(&config, &s3), 0);
}

static void stop_server(void)
{
    open_gate();
    if (s3)
        wg_s3_stop(s3, 1000);
    ck_assert_uint_eq(wg_calls_live(), 0);
    wg_graph_stop(graph);
    wg_work_stop();
    wg_graph_free(graph);
    run("rm -rf %s", dir);
}

static void pause_ms(unsigned ms)
{
    usleep(ms * 1000);
}

/* ---- The client ---- */

static char answer[1 << 22];
static size_t answered;

static int dial(void)
{
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(wg_s3_port(s3, false)),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct timeval tv = { .tv_sec = 8 };
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    ck_assert_int_ge(fd, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&in, sizeof in), 0);
    return fd;
}

/* path with a V2 signature, good for five minutes. */
static const char *sign(const char *method, const char *path)
{
    static char url[800];
    char text[600], b64[64], *to;
    unsigned char mac[32];
    unsigned n;
    long until = (long)time(NULL) + 300;

    snprintf(text, sizeof text, "%s\n\n\n%ld\n%s", method, until, path);
    HMAC(EVP_sha1(), "secretsecret", 12, (unsigned char *)text, strlen(text), mac, &n);
    EVP_EncodeBlock((unsigned char *)b64, mac, (int)n);
    to = url + sprintf(url, "%s?AWSAccessKeyId=AKDEMO&Expires=%ld&Signature=", path, until);
    for (const char *c = b64; *c; c++)
        to += sprintf(to, *c == '+' ? "%%2B" : *c == '/' ? "%%2F" : *c == '=' ? "%%3D" : "%c", *c);
    return url;
}

static void push(int fd, const void *data, size_t len)
{
    const char *at = data;

    while (len > 0) {
        ssize_t n = send(fd, at, len, MSG_NOSIGNAL);
        if (n <= 0)
            return; /* the server has closed: its answer says why */
        at += n;
        len -= (size_t)n;
    }
}

static void request(int fd, const char *method, const char *target, const char *headers)
{
    char head[2000];

    snprintf(head, sizeof head, "%s %s HTTP/1.1\r\nHost: test\r\n%s\r\n", method, target, headers);
    push(fd, head, strlen(head));
}

/* Reads to the end of the connection. */
static void collect(int fd)
{
    answered = 0;
    for (;;) {
        ssize_t n = recv(fd, answer + answered, sizeof answer - 1 - answered, 0);
        if (n <= 0)
            break;
        answered += (size_t)n;
    }
    answer[answered] = '\0';
    close(fd);
}

static int status(void)
{
    int code = 0;

    sscanf(answer, "HTTP/1.1 %d", &code);
    return code;
}

static int ask(const char *method, const char *path, const char *headers, const char *body)
{
    int fd = dial();
    char all[1000];

    snprintf(all, sizeof all, "%sConnection: close\r\n", headers);
    request(fd, method, sign(method, path), all);
    push(fd, body, strlen(body));
    collect(fd);
    return status();
}

static const char *body(void)
{
    const char *end = strstr(answer, "\r\n\r\n");

    return end ? end + 4 : "";
}

static bool code_is(const char *code)
{
    char want[100];

    snprintf(want, sizeof want, "<Code>%s</Code>", code);
    return strstr(answer, want) != NULL;
}

static void wait_calls(unsigned n)
{
    for (int i = 0; i < 100 && wg_calls_live() > n; i++)
        pause_ms(50);
    ck_assert_uint_le(wg_calls_live(), n);
}

/* ---- Tests ---- */

START_TEST(an_object_is_put_got_and_deleted)
{
    ck_assert_int_eq(ask("PUT", "/bkt/a/b", "Content-Length: 5\r\n", "hello"), 200);
    ck_assert_ptr_nonnull(strstr(answer, "ETag: \"5d41402abc4b2a76b9719d911017c592\""));
    ck_assert_int_eq(ask("GET", "/bkt/a/b", "", ""), 200);
    ck_assert_str_eq(body(), "hello");
    ck_assert_int_eq(ask("HEAD", "/bkt/a/b", "", ""), 200);
    ck_assert_ptr_nonnull(strstr(answer, "Content-Length: 5"));
    ck_assert_str_eq(body(), "");
    ck_assert_int_eq(ask("GET", "/bkt/a/b", "Range: bytes=1-2\r\n", ""), 206);
    ck_assert_str_eq(body(), "el");
    ck_assert_int_eq(ask("DELETE", "/bkt/a/b", "", ""), 204);
    ck_assert_int_eq(ask("GET", "/bkt/a/b", "", ""), 404);
    ck_assert(code_is("NoSuchKey"));
}
END_TEST

static char *random_bytes(size_t len)
{
    char *p = malloc(len);
    unsigned x = 12345;

    ck_assert_ptr_nonnull(p);
    for (size_t i = 0; i < len; i++)
        p[i] = (char)((x = x * 1103515245 + 12345) >> 16);
    return p;
}

START_TEST(a_long_object_comes_back_as_it_was)
{
    size_t len = (3u << 20) + 17;
    char *data = random_bytes(len), head[100];
    int fd = dial();

    snprintf(head, sizeof head, "Content-Length: %zu\r\nConnection: close\r\n", len);
    request(fd, "PUT", sign("PUT", "/bkt/long"), head);
    push(fd, data, len);
    collect(fd);
    ck_assert_int_eq(status(), 200);
    ck_assert_int_eq(ask("GET", "/bkt/long", "", ""), 200);
    ck_assert_uint_eq(answered - (size_t)(body() - answer), len);
    ck_assert_int_eq(memcmp(body(), data, len), 0);
    free(data);
}
END_TEST

START_TEST(framing_that_proxies_could_read_otherwise_is_refused)
{
    static const struct {
        const char *headers;
        int status;
    } bad[] = {
        { "Content-Length: 5\r\nContent-Length: 6\r\n", 400 },
        { "Content-Length: 5\r\nContent-Length: 5\r\n", 400 },
        { "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", 400 },
        { "Transfer-Encoding: gzip\r\n", 501 },
        { "Transfer-Encoding: chunked \r\n", 400 },
        { "Transfer-Encoding: chunked\t\r\n", 400 },
        { "Content-Length: 5\r\nHost: other\r\n", 400 },
        { "Content-Length: 5\r\nX-A: a\x01" "b\r\n", 400 },
        { "Content-Length: 6000000000\r\n", 400 },
    };

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int fd = dial();
        request(fd, "PUT", sign("PUT", "/bkt/bad"), bad[i].headers);
        push(fd, "hello", 5);
        collect(fd); /* to the end: the server closes */
        ck_assert_msg(status() == bad[i].status, "case %zu: %.60s", i, answer);
    }
    ck_assert_int_eq(ask("HEAD", "/bkt/bad", "", ""), 404);
}
END_TEST

START_TEST(a_nul_in_a_line_is_refused)
{
    static const struct {
        const char *line;
        size_t len;
        int status;
    } cases[] = {
#define LINE(text, status) { text, sizeof text - 1, status }
        LINE("X-A: plain\r\nX-B: \r\nX-C: c  \r\n", 200),
        LINE("X-E:\r\n", 200),
        LINE("X-A: line feed\nX-B: b\r\n", 400), /* nor is it seen which of the two it was */
        LINE("X-A: line feed\n", 400),
        LINE("X-A: carriage return\rX-B: b\r\n", 400),
        LINE("X-A: a\0\r\n", 400),
        LINE("X-A: a\0\0\r\n", 400),
        LINE("X-A: \0\r\n", 400),
        LINE("X-E:\0\r\n", 400),
        LINE("X-A: a\0b\r\n", 400),
        LINE("X-A: a\0b\r\nX-B: b\r\n", 400),
        LINE("X-A: a\0\0b\r\nX-B: b\r\n", 400),
        LINE("X-A: a\0\r\nX-B: b\r\n", 400),
        LINE("X-A: \0\r\nX-B: b\r\n", 400),
        LINE("X-A: folded\r\n line\r\nX-B: b\r\n", 400),
#undef LINE
    };
    char head[1000];

    ck_assert_int_eq(ask("PUT", "/bkt/nul", "Content-Length: 2\r\n", "hi"), 200);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int fd = dial(), n;
        n = snprintf(head, sizeof head, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n",
                     sign("GET", "/bkt/nul"));
        push(fd, head, (size_t)n);
        push(fd, cases[i].line, cases[i].len);
        push(fd, "\r\n", 2);
        collect(fd);
        ck_assert_msg(status() == cases[i].status, "case %zu: %.60s", i, answer);
    }
    int fd = dial();
    int n = snprintf(head, sizeof head, "GET %s", sign("GET", "/bkt/nul"));
    memcpy(head + n, "\0x HTTP/1.1\r\nHost: x\r\n\r\n", 25);
    push(fd, head, (size_t)n + 25);
    collect(fd);
    ck_assert_int_eq(status(), 400);
    ck_assert_int_eq(ask("PUT", "/bkt/nul", "X-A: a\r\nX-E:\r\nContent-Length: 2\r\n", "\1\2"), 200);
    fd = dial(); /* a body that begins with what the library writes at ends of lines */
    request(fd, "PUT", sign("PUT", "/bkt/nul"), "Connection: close\r\nContent-Length: 3\r\n");
    push(fd, "\0\0b", 3);
    collect(fd);
    ck_assert_int_eq(status(), 200);
}
END_TEST

START_TEST(a_bad_signature_is_told_before_the_body_is_sent)
{
    int fd = dial();

    request(fd, "PUT", "/bkt/x?AWSAccessKeyId=AKDEMO&Expires=9999999999&Signature=AAAA",
            "Content-Length: 5000000\r\nExpect: 100-continue\r\n");
    collect(fd);
    ck_assert_int_eq(status(), 403);
    ck_assert(code_is("SignatureDoesNotMatch"));
    fd = dial();
    request(fd, "GET", "/bkt/x", "Connection: close\r\n");
    collect(fd);
    ck_assert(code_is("AccessDenied"));
}
END_TEST

START_TEST(a_wrong_digest_leaves_no_object)
{
    size_t len = 3u << 20;
    char *data = random_bytes(len), head[200];

    ck_assert_int_eq(ask("PUT", "/bkt/d", "Content-Length: 5\r\nContent-MD5: AAAAAAAAAAAAAAAAAAAAAA==\r\n", "hello"), 403);
    for (int big = 0; big < 2; big++) {
        int fd = dial();
        size_t n = big ? len : 5;
        snprintf(head, sizeof head, "Content-Length: %zu\r\nx-amz-checksum-crc32: AAAAAA==\r\nConnection: close\r\n", n);
        char url[900], text[700], b64[64];
        unsigned char mac[32];
        unsigned maclen;
        /* x-amz- headers are part of what V2 signs */
        snprintf(text, sizeof text, "PUT\n\n\n9999999999\nx-amz-checksum-crc32:AAAAAA==\n/bkt/d");
        HMAC(EVP_sha1(), "secretsecret", 12, (unsigned char *)text, strlen(text), mac, &maclen);
        EVP_EncodeBlock((unsigned char *)b64, mac, (int)maclen);
        char *to = url + sprintf(url, "/bkt/d?AWSAccessKeyId=AKDEMO&Expires=9999999999&Signature=");
        for (const char *c = b64; *c; c++)
            to += sprintf(to, "%%%02X", (unsigned char)*c);
        request(fd, "PUT", url, head);
        push(fd, data, n);
        collect(fd);
        ck_assert_msg(status() == 400 && code_is("BadDigest"), "%s", answer);
    }
    ck_assert_int_eq(ask("HEAD", "/bkt/d", "", ""), 404);
    free(data);
}
END_TEST

START_TEST(a_client_gone_in_the_middle_leaves_nothing)
{
    char *data = random_bytes(3u << 20);

    for (int i = 0; i < 8; i++) {
        int fd = dial();
        request(fd, "PUT", sign("PUT", "/bkt/gone"), "Content-Length: 4000000\r\n");
        push(fd, data, (size_t)i * 400000 + 1);
        close(fd);
    }
    free(data);
    wait_calls(0);
    ck_assert_int_eq(ask("HEAD", "/bkt/gone", "", ""), 404);
}
END_TEST

START_TEST(a_client_gone_while_reading_frees_everything)
{
    size_t len = 3u << 20;
    char *data = random_bytes(len), head[100];
    int fd = dial();

    snprintf(head, sizeof head, "Content-Length: %zu\r\nConnection: close\r\n", len);
    request(fd, "PUT", sign("PUT", "/bkt/long"), head);
    push(fd, data, len);
    collect(fd);
    free(data);
    for (int i = 0; i < 8; i++) {
        char some[1000];
        fd = dial();
        request(fd, "GET", sign("GET", "/bkt/long"), "");
        if (i % 2)
            ck_assert_int_gt(recv(fd, some, sizeof some, 0), 0);
        close(fd);
    }
    wait_calls(0);
}
END_TEST

START_TEST(pipelined_requests_are_answered_in_order)
{
    int fd = dial();

    ck_assert_int_eq(ask("PUT", "/bkt/p1", "Content-Length: 3\r\n", "one"), 200);
    ck_assert_int_eq(ask("PUT", "/bkt/p2", "Content-Length: 3\r\n", "two"), 200);
    request(fd, "GET", sign("GET", "/bkt/p1"), "");
    request(fd, "GET", sign("GET", "/bkt/p2"), "");
    request(fd, "GET", sign("GET", "/bkt/none"), "");
    request(fd, "GET", sign("GET", "/bkt/p1"), "Connection: close\r\n");
    collect(fd);
    const char *one = strstr(answer, "one"), *two = strstr(answer, "two");
    const char *none = strstr(answer, "NoSuchKey");
    ck_assert(one && two && none && one < two && two < none && strstr(none, "one"));
}
END_TEST

static void *stop_thread(void *arg)
{
    (void)arg;
    wg_s3_stop(s3, 100);
    return NULL;
}

START_TEST(stop_ends_requests_that_wait_for_the_store)
{
    pthread_t t;
    int fd[3], slow = dial();

    ck_assert_int_eq(ask("PUT", "/bkt/a", "Content-Length: 5\r\n", "hello"), 200);
    request(slow, "PUT", sign("PUT", "/bkt/slow"), "Content-Length: 4000000\r\n");
    push(slow, "begin", 5);
    shut_gate();
    for (int i = 0; i < 3; i++) {
        fd[i] = dial();
        request(fd[i], i < 2 ? "GET" : "PUT", sign(i < 2 ? "GET" : "PUT", "/bkt/a"),
                i < 2 ? "" : "Content-Length: 2\r\n");
        push(fd[i], "hi", i < 2 ? 0 : 2);
    }
    for (int i = 0; i < 100 && gate_holds() < 3; i++)
        pause_ms(20);
    ck_assert_uint_eq(gate_holds(), 3);
    ck_assert_int_eq(pthread_create(&t, NULL, stop_thread, NULL), 0);
    pause_ms(500);
    open_gate(); /* stop waits for what the store still holds */
    pthread_join(t, NULL);
    s3 = NULL;
    for (int i = 0; i < 3; i++) {
        collect(fd[i]);
        ck_assert_uint_eq(answered, 0);
    }
    close(slow);
}
END_TEST

START_TEST(a_client_that_left_while_the_store_was_slow_is_forgotten)
{
    int fd = dial();

    ck_assert_int_eq(ask("PUT", "/bkt/a", "Content-Length: 5\r\n", "hello"), 200);
    shut_gate();
    request(fd, "GET", sign("GET", "/bkt/a"), "");
    for (int i = 0; i < 100 && gate_holds() < 1; i++)
        pause_ms(20);
    close(fd);
    pause_ms(50);
    open_gate();
    wait_calls(0);
}
END_TEST

START_TEST(more_body_than_memory_waits_at_the_sender)
{
    size_t len = 32u << 20;
    char *data = random_bytes(len), head[100];
    int fd = dial(), flags;
    size_t sent = 0;

    snprintf(head, sizeof head, "Content-Length: %zu\r\nConnection: close\r\n", len);
    request(fd, "PUT", sign("PUT", "/bkt/held"), head);
    shut_gate();
    flags = fcntl(fd, F_GETFL);
    fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    for (int quiet = 0; quiet < 20 && sent < len;) {
        ssize_t n = send(fd, data + sent, len - sent, MSG_NOSIGNAL);
        quiet = n > 0 ? 0 : quiet + 1;
        sent += n > 0 ? (size_t)n : 0;
        if (n <= 0)
            pause_ms(20);
    }
    ck_assert_uint_lt(sent, len); /* buffers and the kernel's, not all of it */
    open_gate();
    fcntl(fd, F_SETFL, flags);
    push(fd, data + sent, len - sent);
    collect(fd);
    ck_assert_int_eq(status(), 200);
    free(data);
}
END_TEST

START_TEST(a_request_that_does_not_end_is_cut)
{
    int fd = dial();
    char c;

    push(fd, "GET /bkt/a HTTP/1.1\r\nHost: x\r\n", 30);
    for (int i = 0; i < 6; i++) { /* a byte a second keeps the library content, not us */
        pause_ms(1000);
        if (send(fd, "X", 1, MSG_NOSIGNAL) < 0)
            break;
    }
    ck_assert_int_le(recv(fd, &c, 1, MSG_DONTWAIT), 0);
    ck_assert(errno != EAGAIN);
    close(fd);
}
END_TEST

/* 64 MiB, more than sockets hold. */
static void put_large(void)
{
    static char zeros[1 << 20];
    int fd = dial();

    request(fd, "PUT", sign("PUT", "/bkt/large"), "Content-Length: 67108864\r\nConnection: close\r\n");
    for (int i = 0; i < 64; i++)
        push(fd, zeros, sizeof zeros);
    collect(fd);
    ck_assert_int_eq(status(), 200);
}

/* Whether the server has closed fd; what came meanwhile is thrown away, step bytes a time. */
static bool is_cut(int fd, size_t step)
{
    ssize_t n = recv(fd, answer, step, MSG_DONTWAIT);

    return n == 0 || (n < 0 && errno != EAGAIN);
}

START_TEST(a_reader_that_reads_nothing_is_cut_and_costs_little)
{
    int fd[20];

    put_large();
    for (int i = 0; i < 20; i++) {
        fd[i] = dial();
        request(fd[i], "GET", sign("GET", "/bkt/large"), "");
    }
    for (int i = 0; i < 100 && wg_calls_live() < 20; i++)
        pause_ms(20);
    /* Another is served meanwhile. */
    ck_assert_int_eq(ask("PUT", "/bkt/a", "Content-Length: 5\r\n", "hello"), 200);
    wait_calls(0);
    for (int i = 0; i < 20; i++)
        close(fd[i]);
}
END_TEST

START_TEST(a_reader_of_a_byte_a_second_is_cut)
{
    int fd = dial();

    put_large();
    request(fd, "GET", sign("GET", "/bkt/large"), "");
    pause_ms(300);
    for (int i = 0; i < 30 && wg_calls_live(); i++) {
        is_cut(fd, 1);
        pause_ms(500);
    }
    ck_assert_uint_eq(wg_calls_live(), 0);
    close(fd);
}
END_TEST

START_TEST(a_body_of_a_byte_a_second_is_cut_however_fast_it_began)
{
    char *data = random_bytes(3u << 20);
    int fd = dial();
    bool cut = false;

    request(fd, "PUT", sign("PUT", "/bkt/slow"), "Content-Length: 4000000\r\n");
    push(fd, data, 3u << 20);
    for (int i = 0; i < 20 && !cut; i++) {
        pause_ms(500);
        send(fd, "x", 1, MSG_NOSIGNAL);
        cut = is_cut(fd, 100);
    }
    ck_assert(cut);
    close(fd);
    wait_calls(0);
    ck_assert_int_eq(ask("HEAD", "/bkt/slow", "", ""), 404);
    free(data);
}
END_TEST

START_TEST(too_many_connections_wait_and_are_served_later)
{
    int fd[100];

    for (int i = 0; i < 100; i++)
        fd[i] = dial();
    for (int i = 0; i < 100; i++)
        close(fd[i]);
    ck_assert_int_eq(ask("PUT", "/bkt/a", "Content-Length: 5\r\n", "hello"), 200);
}
END_TEST

static void start_impatient(void)
{
    config.request_timeout_s = 2;
    config.idle_timeout_s = 2;
    start_server();
}

static void start_small(void)
{
    config.max_connections = 20;
    start_server();
}

static void start_frugal(void)
{
    config.body_memory = 1;
    start_server();
}

static void add_case(Suite *s, const char *name, void (*setup)(void), const TTest *const *tests)
{
    TCase *t = tcase_create(name);

    tcase_add_checked_fixture(t, setup, stop_server);
    tcase_set_timeout(t, 60);
    for (; *tests; tests++)
        tcase_add_test(t, *tests);
    suite_add_tcase(s, t);
}

int main(void)
{
    static const TTest *normal[16], *impatient[5], *small[2], *frugal[3];
    const TTest *all[] = { an_object_is_put_got_and_deleted, a_long_object_comes_back_as_it_was,
                           framing_that_proxies_could_read_otherwise_is_refused,
                           a_nul_in_a_line_is_refused, a_bad_signature_is_told_before_the_body_is_sent, a_wrong_digest_leaves_no_object,
                           a_client_gone_in_the_middle_leaves_nothing,
                           a_client_gone_while_reading_frees_everything,
                           pipelined_requests_are_answered_in_order,
                           stop_ends_requests_that_wait_for_the_store,
                           a_client_that_left_while_the_store_was_slow_is_forgotten };
    Suite *s = suite_create("s3-server");

    memcpy(normal, all, sizeof all);
    impatient[0] = a_request_that_does_not_end_is_cut;
    impatient[1] = a_reader_that_reads_nothing_is_cut_and_costs_little;
    impatient[2] = a_reader_of_a_byte_a_second_is_cut;
    impatient[3] = a_body_of_a_byte_a_second_is_cut_however_fast_it_began;
    small[0] = too_many_connections_wait_and_are_served_later;
    frugal[0] = a_long_object_comes_back_as_it_was;
    frugal[1] = more_body_than_memory_waits_at_the_sender;
    add_case(s, "normal", start_server, normal);
    add_case(s, "impatient", start_impatient, impatient);
    add_case(s, "small", start_small, small);
    add_case(s, "frugal", start_frugal, frugal);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
