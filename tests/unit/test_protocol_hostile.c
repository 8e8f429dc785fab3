/* SPDX-License-Identifier: Apache-2.0 */
/* protocol/client and protocol/server: who is refused, and peers that send anything. */
#include "protocol_store.h"

/* --- refusals --- */

START_TEST(a_client_of_another_volume_is_told_so)
{
    struct wg_graph *brick = start_brick("option volume-id 11111111-1111-1111-1111-111111111111\n", "");
    struct wg_graph *gw = start_gateway("option volume-id 22222222-1111-1111-1111-111111111111\n");
    struct wg_client *c = client_of(gw);

    ck_assert_int_eq(one_mkdir(gw, 1, 500), ETIMEDOUT);
    pthread_mutex_lock(&c->lock);
    ck_assert_str_eq(c->refused, "this brick is of another volume");
    pthread_mutex_unlock(&c->lock);
    end_graph(gw);
    gw = start_gateway("option volume-id 11111111-1111-1111-1111-111111111111\n");
    ck_assert_int_eq(one_mkdir(gw, 2, 0), 0);
    end_graph(gw);
    end_graph(brick);
}
END_TEST

START_TEST(a_client_that_asks_for_too_much_is_told_so)
{
    struct wg_graph *brick = start_brick("option outstanding 8\n", ""), *gw = start_gateway("");
    struct wg_client *c = client_of(gw);

    ck_assert_int_eq(one_mkdir(gw, 1, 500), ETIMEDOUT);
    pthread_mutex_lock(&c->lock);
    ck_assert_ptr_nonnull(strstr(c->refused, "outstanding"));
    pthread_mutex_unlock(&c->lock);
    end_graph(gw);
    end_graph(brick);
}
END_TEST

/* A peer that has a certificate and speaks the framing, but not our protocol. */
struct hostile {
    atomic_uint ups, downs, refused;
    unsigned seed;
    bool hello;
};

static void put_hello(struct wg_lane *lane, bool other_signature, uint32_t slots)
{
    uint8_t body[32768];
    struct wg_enc e = { .at = body, .end = body + sizeof body };
    struct wg_hello h = { .version = WG_WIRE_VERSION, .client = { 9 }, .name = WG_STR("hostile"), .slots = slots };

    wg_put_hello(&e, &h);
    wg_put_fops(&e);
    if (other_signature)
        memcpy(memmem(body, sizeof body, "u64 offset", 10), "u32", 3);
    wg_lane_send(lane, &(struct wg_msg){ .type = WG_MSG_HELLO, .body = body, .body_len = (uint32_t)(e.at - body) });
}

static void throw_garbage(struct wg_lane *lane, struct hostile *h)
{
    uint8_t body[512];
    uint32_t len = (unsigned)rand_r(&h->seed) % sizeof body;

    for (uint32_t i = 0; i < len; i++)
        body[i] = (uint8_t)(i % 4 == 0 || rand_r(&h->seed) % 3 ? rand_r(&h->seed) % 80 : 0);
    wg_lane_send(lane, &(struct wg_msg){
        .type = (uint8_t)(WG_MSG_FIRST_TYPE + (unsigned)rand_r(&h->seed) % 11), .body = body, .body_len = len,
        .id = (uint64_t)rand_r(&h->seed) << 16 | (unsigned)rand_r(&h->seed) % 10 });
}

/* A request that is right up to its record, which is random. */
static void throw_request(struct wg_lane *lane, struct hostile *h)
{
    uint8_t body[1024];
    struct wg_enc e = { .at = body, .end = body + sizeof body };
    struct wg_request r = { .op = (uint16_t)((unsigned)rand_r(&h->seed) % 42), .expires_ns = UINT64_MAX };
    uint32_t len, fields = (unsigned)rand_r(&h->seed) % 300;

    wg_put_request(&e, &r);
    memcpy(e.at, &fields, 4);
    e.at += 4;
    for (uint32_t i = 0; i < fields; i++)
        *e.at++ = (uint8_t)(rand_r(&h->seed) % (i % 5 ? 4 : 256));
    len = (uint32_t)(e.at - body);
    /* mkdir writes into the model by number, and getattr waits for the test: not those. */
    if (r.op != WG_OP_mkdir && r.op != WG_OP_getattr)
        wg_lane_send(lane, &(struct wg_msg){ .type = WG_MSG_REQUEST, .body = body, .body_len = len,
                                             .id = (uint64_t)rand_r(&h->seed) << 16 | 1 });
}

static void hostile_up(struct wg_lane *lane, uint64_t conn)
{
    struct hostile *h = wg_lane_user(lane);
    unsigned n = atomic_fetch_add(&h->ups, 1);

    (void)conn;
    if (n % 3) {
        put_hello(lane, false, 16);
        for (int i = 0; i < 20; i++)
            n % 3 == 1 ? throw_garbage(lane, h) : throw_request(lane, h);
    } else {
        throw_garbage(lane, h);
    }
}

static void hostile_message(struct wg_lane *lane, const struct wg_msg_hdr *hdr, const void *body,
                            struct wg_iobuf *payload)
{
    struct hostile *h = wg_lane_user(lane);
    struct wg_dec d = { .at = body, .end = (const uint8_t *)body + hdr->body_len };
    struct wg_refuse r;

    if (hdr->type == WG_MSG_REFUSE && !wg_get_refuse(&d, &r) &&
        wg_str_eq(r.text, WG_STR("fop read (6) has other arguments here than at the peer")))
        atomic_fetch_add(&h->refused, 1);
    wg_iobuf_unref(payload);
}

static void hostile_down(struct wg_lane *lane, const struct wg_down *why)
{
    struct hostile *h = wg_lane_user(lane);

    (void)why;
    atomic_fetch_add(&h->downs, 1);
}

static struct wg_lane *hostile_lane(struct hostile *h, const struct wg_lane_ops *ops, struct wg_tls *tls)
{
    struct wg_lane *lane;
    char addr[32];

    snprintf(addr, sizeof addr, "127.0.0.1:%u", port);
    ck_assert_int_eq(wg_lane_connect(addr, &(struct wg_lane_opts){ .ops = ops, .user = h, .name = "hostile", .tls = tls,
                                             .backoff_min_ms = 1, .backoff_max_ms = 5 }, &lane), 0);
    return lane;
}

START_TEST(garbage_at_every_stage_ends_only_its_own_lane)
{
    static const struct wg_lane_ops ops = { .up = hostile_up, .message = hostile_message, .down = hostile_down };
    struct wg_graph *brick = start_brick("", ""), *gw = start_gateway("");
    struct hostile h = { .seed = 3 };
    struct wg_lane *lane;
    unsigned n = 0;

    ck_assert_int_eq(one_mkdir(gw, n++, 0), 0);
    lane = hostile_lane(&h, &ops, client_of(gw)->tls);
    for (int i = 0; i < 500 && atomic_load(&h.ups) < 150; i++) {
        ck_assert_int_eq(one_mkdir(gw, n++, 0), 0);
        usleep(10000);
        /* What it sent was all well-formed by chance: next. */
        if (i % 10 == 9)
            wg_lane_reset(lane, 0, ECONNRESET, "next");
    }
    ck_assert_uint_ge(atomic_load(&h.ups), 20);
    wg_lane_close(lane);
    ck_assert_int_eq(one_mkdir(gw, n++, 0), 0);
    end_graph(gw);
    end_graph(brick);
}
END_TEST

static void other_up(struct wg_lane *lane, uint64_t conn)
{
    (void)conn;
    put_hello(lane, true, 16);
}

START_TEST(a_changed_signature_is_refused_by_name)
{
    static const struct wg_lane_ops ops = { .up = other_up, .message = hostile_message, .down = hostile_down };
    struct wg_graph *brick = start_brick("", ""), *gw = start_gateway("");
    struct hostile h = { .seed = 3 };
    struct wg_lane *lane;

    ck_assert_int_eq(one_mkdir(gw, 1, 0), 0);
    lane = hostile_lane(&h, &ops, client_of(gw)->tls);
    for (int i = 0; i < 500 && !atomic_load(&h.refused); i++)
        usleep(10000);
    ck_assert_uint_ge(atomic_load(&h.refused), 1);
    wg_lane_close(lane);
    end_graph(gw);
    end_graph(brick);
}
END_TEST

/* A brick that answers with garbage: the client's calls end, by another lane or their deadline. */
static void bad_brick_message(struct wg_lane *lane, const struct wg_msg_hdr *hdr, const void *body,
                              struct wg_iobuf *payload)
{
    static unsigned seed = 11;
    uint8_t reply[16384];
    struct wg_enc e = { .at = reply, .end = reply + sizeof reply };
    struct wg_msg m = { .type = WG_MSG_REPLY, .id = hdr->id, .body = reply };

    (void)body;
    wg_iobuf_unref(payload);
    if (hdr->type == WG_MSG_HELLO) {
        m.type = WG_MSG_WELCOME;
        m.low = wg_now_ns();
        wg_put_welcome(&e, &(struct wg_welcome){ .version = WG_WIRE_VERSION, .instance = { 1 }, .lease_ms = 100 });
        wg_put_fops(&e);
    } else if (rand_r(&seed) % 2) {
        wg_put_reply(&e, &(struct wg_reply){ .op = WG_OP_mkdir, .flags = (uint16_t)(rand_r(&seed) % 8) });
        for (int i = 0; i < 40; i++)
            *e.at++ = (uint8_t)(rand_r(&seed) % 4);
    } else {
        m.type = (uint8_t)(WG_MSG_FIRST_TYPE + (unsigned)rand_r(&seed) % 10);
        for (int i = 0; i < 40; i++)
            *e.at++ = (uint8_t)rand_r(&seed);
    }
    m.body_len = (uint32_t)(e.at - reply);
    wg_lane_send(lane, &m);
}

static void bad_brick_up(struct wg_lane *lane, uint64_t conn)
{
    (void)lane;
    (void)conn;
}

START_TEST(a_brick_that_answers_garbage_only_fails_calls)
{
    static const struct wg_lane_ops ops = { .up = bad_brick_up, .message = bad_brick_message, .down = hostile_down };
    struct wg_graph *brick = start_brick("", ""), *gw;
    struct wg_server *v = brick->top->priv;
    struct hostile h = { 0 };
    struct wg_listener *l;

    ck_assert_int_eq(wg_listen("127.0.0.1:0", &(struct wg_listener_opts){
        .lane = { .ops = &ops, .user = &h, .name = "bad", .tls = v->tls } }, &l), 0);
    port = wg_listener_port(l);
    gw = start_gateway("option stuck-after 500ms\n");
    for (unsigned i = 0; i < 8; i++)
        one_mkdir(gw, i, 300);
    end_graph(gw);
    wg_listener_close(l);
    end_graph(brick);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, a_client_of_another_volume_is_told_so);
    tcase_add_test(t, a_client_that_asks_for_too_much_is_told_so);
    tcase_add_test(t, garbage_at_every_stage_ends_only_its_own_lane);
    tcase_add_test(t, a_changed_signature_is_refused_by_name);
    tcase_add_test(t, a_brick_that_answers_garbage_only_fails_calls);
}

int main(int argc, char **argv)
{
    (void)argv;
    return protocol_main("protocol-hostile", (const struct wg_class *const[]){ &store_class, NULL }, reset_disk, add, argc > 1);
}
