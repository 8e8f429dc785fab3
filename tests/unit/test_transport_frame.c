/* SPDX-License-Identifier: Apache-2.0 */
/* Frames at any split; lengths and kinds that are refused; a connection cut at every byte. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "frame.h"
#include "transport_kit.h"

static void header(uint8_t *b, uint8_t type, uint16_t flags, uint64_t id, uint32_t body, uint32_t payload)
{
    struct wg_msg_hdr h = { type, flags, id, 5, body, payload };

    wg_frame_encode(b, &h);
}

START_TEST(header_limits)
{
    struct wg_msg_hdr h;
    uint8_t b[WG_MSG_HEADER];

    header(b, 16, 0xff, 1ull << 63, 100, 200);
    ck_assert_int_eq(wg_frame_decode(b, 100, 200, &h), 0);
    ck_assert(h.type == 16 && h.flags == 0xff && h.id == 1ull << 63 && h.low == 5 && h.body_len == 100 && h.payload_len == 200);
    ck_assert_int_eq(wg_frame_decode(b, 99, 200, &h), EMSGSIZE);
    ck_assert_int_eq(wg_frame_decode(b, 100, 199, &h), EMSGSIZE);
    header(b, 16, 0, 0, UINT32_MAX, UINT32_MAX);
    ck_assert_int_eq(wg_frame_decode(b, 1 << 24, 1 << 24, &h), EMSGSIZE);
    header(b, 16, 0x100, 0, 0, 0);
    ck_assert_int_eq(wg_frame_decode(b, 100, 200, &h), EPROTO);
    header(b, 16, WG_FRAME_PIECES, 0, 0, 0);
    ck_assert_int_eq(wg_frame_decode(b, 100, 200, &h), EPROTO);
    for (uint8_t type = 0; type < 16; type++) {
        header(b, type, 0, 0, 0, type == WG_FRAME_PIECE);
        ck_assert_int_eq(wg_frame_decode(b, 100, 200, &h), type >= 1 && type <= 4 ? 0 : EPROTO);
        header(b, type, 0, 0, 1, 0);
        ck_assert_int_eq(wg_frame_decode(b, 100, 200, &h), EPROTO);
    }
    header(b, 16, 0, 0, 0, 0);
    b[4]++;
    ck_assert_int_eq(wg_frame_decode(b, 100, 200, &h), EPROTONOSUPPORT);
    b[4]--;
    b[0]++;
    ck_assert_int_eq(wg_frame_decode(b, 100, 200, &h), EPROTO);
}
END_TEST

/* Feeds bytes in steps of at most step; returns frames seen, or a negative errno. */
static int feed(const uint8_t *p, size_t n, size_t step, struct wg_parsed *last)
{
    struct wg_parser ps;
    int frames = 0, r = 0;

    ck_assert_int_eq(wg_parser_init(&ps, 65536, 2 << 20), 0);
    while (r >= 0) {
        uint8_t *dst;
        uint32_t room;

        while ((r = wg_parser_next(&ps, last)) == 1) {
            frames++;
            if (last->hdr.type >= 16)
                ck_assert(kit_is_pattern(last->body, last->hdr.body_len, last->hdr.id));
            if (last->payload)
                ck_assert(kit_is_pattern(last->payload->base, last->hdr.payload_len, last->hdr.id + 1));
            wg_iobuf_unref(last->payload);
        }
        if (r < 0 || n == 0)
            break;
        wg_parser_room(&ps, &dst, &room);
        ck_assert_uint_gt(room, 0);
        if (room > step)
            room = (uint32_t)step;
        if (room > n)
            room = (uint32_t)n;
        memcpy(dst, p, room);
        wg_parser_put(&ps, room);
        p += room;
        n -= room;
    }
    wg_parser_fini(&ps);
    return r < 0 ? r : frames;
}

static size_t message(uint8_t *b, uint64_t id, uint32_t body, uint32_t payload)
{
    header(b, 20, 0, id, body, payload);
    kit_pattern(b + 32, body, id);
    kit_pattern(b + 32 + body, payload, id + 1);
    return 32u + body + payload;
}

/* A message in pieces with whole ones between them. */
static size_t in_pieces(uint8_t *b, uint64_t id, uint32_t total)
{
    static uint8_t all[2 << 20];
    size_t n = 32 + 50;
    uint32_t at = 0, k = 1000;

    kit_pattern(all, total, id + 1);
    header(b, 20, WG_FRAME_PIECES, id, 50, total);
    kit_pattern(b + 32, 50, id);
    while (at < total) {
        uint32_t len = total - at < k ? total - at : k;

        n += message(b + n, id + 1000, 7, at % 5000);
        header(b + n, WG_FRAME_PIECE, 0, id, 0, len);
        memcpy(b + n + 32, all + at, len);
        n += 32 + len;
        at += len;
        k = k * 3 < WG_FRAME_PIECE_MAX ? k * 3 : WG_FRAME_PIECE_MAX;
    }
    return n;
}

START_TEST(any_split_gives_the_same_messages)
{
    static const size_t steps[] = { 1, 2, 3, 31, 32, 33, 100, 4096, 16384, 1 << 20, 8 << 20 };
    uint8_t *b = malloc(8 << 20);
    size_t n = 0;
    struct wg_parsed last;

    n += message(b, 1, 0, 0);
    n += message(b + n, 2, 10, 0);
    n += message(b + n, 3, 0, 5000);
    n += message(b + n, 4, 65536, 10);
    n += message(b + n, 5, WG_STAGE / 2, 70000);
    n += message(b + n, 6, WG_STAGE / 2 + 1, 1);
    header(b + n, WG_FRAME_PING, 0, 1, 0, 0);
    n += 32;
    n += in_pieces(b + n, 7, 1500000);
    n += message(b + n, 8, 300, 300);
    int want = feed(b, n, 8 << 20, &last);
    ck_assert_int_gt(want, 10);
    for (unsigned i = 0; i < sizeof steps / sizeof *steps; i++) {
        ck_assert_int_eq(feed(b, n, steps[i], &last), want);
        ck_assert_uint_eq(last.hdr.id, 8);
    }
    free(b);
}
END_TEST

START_TEST(pieces_that_do_not_fit_are_refused)
{
    uint8_t b[4096] = { 0 };
    struct wg_parsed last;

    header(b, WG_FRAME_PIECE, 0, 1, 0, 10); /* nothing is open */
    ck_assert_int_eq(feed(b, 200, 200, &last), -EPROTO);
    header(b, 20, WG_FRAME_PIECES, 1, 0, 100);
    header(b + 32, WG_FRAME_PIECE, 0, 2, 0, 10); /* another id */
    ck_assert_int_eq(feed(b, 200, 200, &last), -EPROTO);
    header(b + 32, WG_FRAME_PIECE, 0, 1, 0, 101); /* too long */
    ck_assert_int_eq(feed(b, 200, 200, &last), -EPROTO);
    header(b + 32, 20, WG_FRAME_PIECES, 2, 0, 100); /* one is open */
    ck_assert_int_eq(feed(b, 200, 200, &last), -EPROTO);
    header(b + 32, WG_FRAME_PIECE, 0, 1, 0, 60);
    header(b + 32 + 32 + 60, WG_FRAME_PIECE, 0, 1, 0, 60);
    ck_assert_int_eq(feed(b, 600, 600, &last), -EPROTO);
}
END_TEST

/* Bytes from a stranger on a plain lane. */
static void throw_at(const uint8_t *b, size_t n, bool shut)
{
    struct kit_pair p = { .so.lane.handshake_ms = 100 };
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    char c[64];

    kit_open_server(&p, MODE_PLAIN);
    a.sin_port = htons(wg_listener_port(p.listener));
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    ck_assert_int_eq(send(fd, b, n, MSG_NOSIGNAL), (ssize_t)n);
    if (shut)
        shutdown(fd, SHUT_WR);
    while (recv(fd, c, sizeof c, 0) > 0)
        ;
    close(fd);
    KIT_WAIT(&p.server, p.server.down == 1);
    ck_assert_int_eq(p.server.last_err, shut ? ECONNRESET : n > 40 && b[31] == 0xff ? EMSGSIZE : EPROTO);
    kit_close(&p);
}

START_TEST(strangers_are_shown_the_door)
{
    uint8_t b[128] = "GET / HTTP/1.1\r\nHost: example.com\r\nUser-Agent: curl\r\n\r\n";

    throw_at(b, 60, false);
    header(b, 20, 0, 1, UINT32_MAX, UINT32_MAX);
    throw_at(b, 64, false);
    header(b, 20, 0, 1, 100, 1 << 20);
    throw_at(b, 64, true);
    header(b, WG_FRAME_WELCOME, 0, 1, 0, 0); /* a client has nothing to welcome */
    throw_at(b, 32, false);
}
END_TEST

START_TEST(a_silent_peer_is_dropped_in_the_handshake)
{
    struct kit_pair p = { .so.lane.handshake_ms = 100 };
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    char c;

    kit_open_server(&p, MODE_TLS);
    a.sin_port = htons(wg_listener_port(p.listener));
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    ck_assert_int_le(recv(fd, &c, 1, 0), 0);
    close(fd);
    ck_assert_uint_eq(p.server.up, 0);
    kit_close(&p);
}
END_TEST

/* A proxy that cuts both ways after limit bytes from the client, or from the server. */
struct cut {
    int lfd;
    uint16_t to;
    size_t limit[2];
    bool reached;
};

static void *proxy(void *arg)
{
    struct cut *c = arg;
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(c->to), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd[2] = { accept(c->lfd, NULL, NULL), socket(AF_INET, SOCK_STREAM, 0) };
    size_t done[2] = { 0 };
    char buf[65536];
    bool ends = connect(fd[1], (struct sockaddr *)&a, sizeof a) != 0;

    while (!ends) {
        fd_set set;

        FD_ZERO(&set);
        FD_SET(fd[0], &set);
        FD_SET(fd[1], &set);
        if (select((fd[0] > fd[1] ? fd[0] : fd[1]) + 1, &set, NULL, NULL, NULL) < 0)
            break;
        for (int i = 0; i < 2 && !ends; i++) {
            size_t left = c->limit[i] - done[i];
            ssize_t n;

            if (!FD_ISSET(fd[i], &set))
                continue;
            n = recv(fd[i], buf, left < sizeof buf ? left : sizeof buf, 0);
            ends = n <= 0 || send(fd[!i], buf, (size_t)n, MSG_NOSIGNAL) != n;
            if (n > 0)
                done[i] += (size_t)n;
            if (done[i] == c->limit[i])
                ends = c->reached = true;
        }
    }
    close(fd[0]);
    close(fd[1]);
    return NULL;
}

/* false: the conversation was over before the limit. */
static bool cut_once(struct kit_pair *p, struct cut *c, int side, size_t limit, uint16_t port)
{
    struct kit client = KIT;
    struct wg_lane_opts o = p->co;
    struct wg_lane *l;
    pthread_t t;
    char addr[40];

    *c = (struct cut){ c->lfd, c->to, { SIZE_MAX, SIZE_MAX }, false };
    c->limit[side] = limit;
    snprintf(addr, sizeof addr, "127.0.0.1:%u", port);
    pthread_create(&t, NULL, proxy, c);
    o.user = &client;
    o.backoff_min_ms = 60000;
    o.backoff_max_ms = 60000;
    ck_assert_int_eq(wg_lane_connect(addr, &o, &l), 0);
    KIT_WAIT(&client, client.up + client.failed > 0);
    if (client.up) {
        (void)kit_send(l, 1, 20, 3000);
        (void)kit_send(l, 2, 20, 300);
        KIT_WAIT(&client, client.messages == 2 || client.down == 1);
    }
    wg_lane_close(l);
    pthread_join(t, NULL);
    ck_assert_uint_eq(client.up, client.down);
    kit_drop(&client);
    return c->reached;
}

START_TEST(cut_at_every_byte)
{
    struct kit_pair p = { 0 };
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof a;
    struct cut c = { .lfd = socket(AF_INET, SOCK_STREAM, 0) };
    /* Every byte of the headers and some of the rest: runs are short on purpose. */
    const size_t step = getenv("WG_TEST_LONG") ? 1 : 13;

    kit_open_server(&p, MODE_TLS);
    c.to = wg_listener_port(p.listener);
    ck_assert_int_eq(bind(c.lfd, (struct sockaddr *)&a, sizeof a), 0);
    ck_assert_int_eq(listen(c.lfd, 8), 0);
    ck_assert_int_eq(getsockname(c.lfd, (struct sockaddr *)&a, &len), 0);
    for (int side = 0; side < 2; side++)
        for (size_t at = 1; cut_once(&p, &c, side, at, ntohs(a.sin_port)); at += at < 100 ? 1 + step / 4 : step)
            ;
    close(c.lfd);
    kit_close(&p);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("transport frames");
    TCase *t = tcase_create("frames");

    tcase_set_timeout(t, 300);
    tcase_add_test(t, header_limits);
    tcase_add_test(t, any_split_gives_the_same_messages);
    tcase_add_test(t, pieces_that_do_not_fit_are_refused);
    tcase_add_test(t, strangers_are_shown_the_door);
    tcase_add_test(t, a_silent_peer_is_dropped_in_the_handshake);
    tcase_add_test(t, cut_at_every_byte);
    suite_add_tcase(s, t);
    return kit_main(s);
}
