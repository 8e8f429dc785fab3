/* SPDX-License-Identifier: Apache-2.0 */
/* References to byte ranges of a real store: who may read what, for how long, and what a change does. */
#include "brick.h"

#include "dump.h"

static struct brick b;
static struct wg_ref file;
static char token_bytes[32];
static struct wg_str token = { token_bytes, sizeof token_bytes };

static void begin(const char *options)
{
    brick_mkdir(&b);
    OK(brick_try(&b, options));
    file = mkfile(&b, brick_root(), "file", 0600);
    OK(put_text(&b, file, 0, "0123456789", WG_UNSTABLE));
}

static void setup(void)
{
    begin(" option init yes\n");
}

static void teardown(void)
{
    brick_end(&b);
}

/* Makes one for the brick called "other"; its bytes go into token. */
static int create(struct wg_ref of, uint64_t offset, uint64_t size)
{
    int err = FOP_(&b, ref_create, .at = of, .offset = offset, .size = size, .puller = WG_STR("other"));

    if (err == 0) {
        ck_assert_uint_eq(OUT_(&b, ref_create)->ref.len, token.len);
        memcpy(token_bytes, OUT_(&b, ref_create)->ref.s, token.len);
    }
    return err;
}

static int pull(uint64_t offset, uint32_t size)
{
    int err;

    b.peer = "other";
    err = FOP_(&b, ref_read, .ref = token, .offset = offset, .size = size);
    b.peer = NULL;
    return err;
}

static const char *pulled(uint64_t offset, uint32_t size)
{
    static char text[100];
    const struct wg_data *d;
    int err = pull(offset, size);

    if (err)
        return wg_error_name(err);
    d = &OUT_(&b, ref_read)->data;
    ck_assert_uint_lt(d->len, sizeof text);
    memcpy(text, d->seg[0].base, d->len);
    text[d->len] = '\0';
    return text;
}

#define SAME(x, y) ck_assert_str_eq((x), (y))

static bool snapshots(void)
{
    OK(create(file, 0, 10));
    return OUT_(&b, ref_create)->snapshot;
}

START_TEST(the_bytes_of_the_range_are_read)
{
    OK(create(file, 2, 5));
    ck_assert_uint_eq(OUT_(&b, ref_create)->size, 5);
    ck_assert_uint_eq(OUT_(&b, ref_create)->attr.size, 10);
    SAME(pulled(2, 5), "23456");
    SAME(pulled(4, 100), "456");
    SAME(pulled(1, 1), "EINVAL");
    SAME(pulled(7, 1), "EINVAL");
    SAME(pulled(UINT64_MAX, 1), "EINVAL");
    SAME(pulled(2, 0), "EINVAL");
}
END_TEST

START_TEST(a_range_ends_with_the_file)
{
    OK(create(file, 8, UINT64_MAX));
    ck_assert_uint_eq(OUT_(&b, ref_create)->size, 2);
    SAME(pulled(8, 100), "89");
    OK(create(file, 10, 5));
    ck_assert_uint_eq(OUT_(&b, ref_create)->size, 0);
    SAME(pulled(10, 1), "EINVAL");
    ERR(create(file, UINT64_MAX, 5), EINVAL);
}
END_TEST

START_TEST(what_is_no_file_has_none)
{
    ERR(create(brick_root(), 0, 1), EISDIR);
    ERR(create((struct wg_ref){ .gfid = wg_gfid_new() }, 0, 1), ESTALE);
}
END_TEST

START_TEST(who_makes_one_must_be_allowed_to_read)
{
    NEEDS_ROOT("who_makes_one_must_be_allowed_to_read");
    be(&b, 1234, 1234);
    ERR(create(file, 0, 10), EACCES);
}
END_TEST

START_TEST(only_its_puller_reads_it)
{
    OK(create(file, 0, 10));
    b.peer = "another";
    ERR(FOP_(&b, ref_read, .ref = token, .size = 10), EACCES);
    b.peer = "";
    ERR(FOP_(&b, ref_read, .ref = token, .size = 10), EACCES);
    b.peer = "othe";
    ERR(FOP_(&b, ref_read, .ref = token, .size = 10), EACCES);
    SAME(pulled(0, 10), "0123456789");
}
END_TEST

START_TEST(tokens_are_not_guessed)
{
    char first[32];

    OK(create(file, 0, 10));
    memcpy(first, token_bytes, 32);
    OK(create(file, 0, 10));
    ck_assert(memcmp(first, token_bytes, 16) && memcmp(first + 16, token_bytes + 16, 16));
    for (unsigned i = 0; i < 32; i++) {
        token_bytes[i] ^= 1;
        ERR(pull(0, 10), EREFLOST);
        token_bytes[i] ^= 1;
    }
    for (token.len = 0; token.len < 32; token.len++)
        ERR(pull(0, 10), EREFLOST);
    OK(pull(0, 10));
}
END_TEST

START_TEST(a_dropped_one_is_lost)
{
    OK(create(file, 0, 10));
    OK(FOP_(&b, ref_drop, .ref = token));
    ck_assert(OUT_(&b, ref_drop)->was_there);
    ERR(pull(0, 10), EREFLOST);
    OK(FOP_(&b, ref_drop, .ref = token));
    ck_assert(!OUT_(&b, ref_drop)->was_there);
}
END_TEST

START_TEST(an_unused_one_expires)
{
    brick_end(&b);
    begin(" option init yes\n option reference-lifetime 200ms\n");
    OK(create(file, 0, 10));
    usleep(400000);
    ERR(pull(0, 10), EREFLOST);
}
END_TEST

START_TEST(a_restart_forgets_them)
{
    OK(create(file, 0, 10));
    brick_restart(&b);
    ERR(pull(0, 10), EREFLOST);
}
END_TEST

static void expect_after_change(const char *what, bool snapshot, uint32_t size)
{
    const char *got = pulled(0, size);

    ck_assert_msg(!strcmp(got, snapshot ? "0123456789" : "ECHANGED"), "after %s: %s", what, got);
}

START_TEST(a_change_never_shows)
{
    bool snapshot = snapshots();
    struct timespec times[2] = { { 1, 0 }, { 1, 0 } };
    char path[1024];
    int fd;

    OK(put_text(&b, file, 3, "3", WG_UNSTABLE)); /* the same bytes, even */
    expect_after_change("a write", snapshot, 10);
    OK(create(file, 0, 10));
    OK(FOP_(&b, setattr, .at = file, .attrs = { .valid = WG_SET_SIZE, .size = 5 }));
    expect_after_change("a truncation", snapshot, 10);
    OK(put_text(&b, file, 0, "0123456789", WG_UNSTABLE));
    OK(create(file, 0, 10));
    snprintf(path, sizeof path, "%s", brick_path(&b, "file"));
    fd = open(path, O_WRONLY | O_APPEND);
    ck_assert_int_eq(write(fd, "x", 1), 1);
    close(fd);
    expect_after_change("a change behind the brick's back", snapshot, 10);
    OK(create(file, 0, 10));
    OK(utimensat(AT_FDCWD, path, times, 0));
    expect_after_change("another mtime", snapshot, 10);
}
END_TEST

START_TEST(a_change_of_another_file_or_of_the_name_does_not_matter)
{
    struct wg_ref other = mkfile(&b, brick_root(), "other", 0600);

    OK(create(file, 0, 10));
    OK(put_text(&b, other, 0, "x", WG_UNSTABLE));
    SAME(pulled(0, 10), "0123456789");
    OK(FOP_(&b, rename, .from = at(brick_root(), "file"), .to = at(brick_root(), "else")));
    OK(FOP_(&b, setattr, .at = file, .attrs = mode_of(0000)));
    SAME(pulled(0, 10), "0123456789");
    OK(FOP_(&b, unlink, .at = at(brick_root(), "else")));
    SAME(pulled(0, 10), "0123456789");
}
END_TEST

START_TEST(they_are_bounded_for_each_user)
{
    brick_end(&b);
    begin(" option init yes\n option references 8\n");
    OK(FOP_(&b, setattr, .at = file, .attrs = mode_of(0644)));
    OK(create(file, 0, 10));
    OK(create(file, 0, 10));
    ERR(create(file, 0, 10), EBUSY);
    OK(FOP_(&b, ref_drop, .ref = token));
    OK(create(file, 0, 10));
    ERR(create(file, 0, 10), EBUSY);
    for (uint32_t who = 1; who <= 3; who++) {
        if (geteuid() == 0)
            be(&b, who, who);
        else
            b.peer = who == 1 ? "a" : who == 2 ? "b" : "c";
        OK(create(file, 0, 10));
        OK(create(file, 0, 10));
        ERR(create(file, 0, 10), EBUSY);
    }
    b.peer = "d";
    ERR(create(file, 0, 10), EBUSY);
}
END_TEST

START_TEST(holes_are_told_and_sizes_pass_4_gib)
{
    const uint64_t far = 5ull << 30;

    OK(put_text(&b, file, far, "end", WG_UNSTABLE));
    OK(create(file, 0, UINT64_MAX));
    ck_assert_uint_eq(OUT_(&b, ref_create)->size, far + 3);
    OK(pull(1 << 20, 1 << 20));
    if (OUT_(&b, ref_read)->data.len == 0) /* else a file system that doesn't say */
        ck_assert_uint_gt(OUT_(&b, ref_read)->hole, 4ull << 30);
    SAME(pulled(far, 100), "end");
    OK(create(file, far + 1, 1));
    SAME(pulled(far + 1, 100), "n");
}
END_TEST

START_TEST(reads_are_not_done_where_waiting_is_forbidden)
{
    OK(create(file, 0, 10));
    b.nowait = true;
    ERR(pull(0, 10), EWOULDBLOCK);
    ERR(create(file, 0, 10), EWOULDBLOCK);
    ERR(FOP_(&b, ref_drop, .ref = token), EWOULDBLOCK);
    OK(FOP_(&b, ref_peer, .source = { { 0 } }));
}
END_TEST

START_TEST(a_brick_says_who_it_is_and_who_asks)
{
    b.peer = "gateway";
    OK(FOP_(&b, ref_peer, .source = { { 0 } }));
    ck_assert_mem_eq(OUT_(&b, ref_peer)->brick.b, brick_px(&b)->brick_id, 16);
    ck_assert(wg_str_eq(OUT_(&b, ref_peer)->name, WG_STR("gateway")));
    ERR(FOP_(&b, ref_peer, .source = wg_gfid_new()), ENOTSUP);
    ERR(FOP_(&b, ref_pull, .ref = token, .to = file), ENOTSUP);
}
END_TEST

START_TEST(a_dump_lists_them_without_the_secret)
{
    char secret[33], id[9], *text;

    OK(create(file, 2, 5));
    OK(pull(2, 5));
    for (unsigned i = 0; i < 16; i++)
        snprintf(secret + 2 * i, 3, "%02x", (uint8_t)token_bytes[16 + i]);
    for (unsigned i = 0; i < 4; i++)
        snprintf(id + 2 * i, 3, "%02x", (uint8_t)token_bytes[i]);
    text = wg_dump_process(b.graph, true);
    ck_assert_ptr_nonnull(strstr(text, id));
    ck_assert_ptr_null(strstr(text, secret));
    ck_assert_ptr_null(strstr(text, secret + 24));
    free(text);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("posix references");
    TCase *t = tcase_create("posix references");
    SRunner *r;
    int failed;

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 120);
#define X TEST_ROW
    X(the_bytes_of_the_range_are_read) X(a_range_ends_with_the_file) X(what_is_no_file_has_none)
    X(who_makes_one_must_be_allowed_to_read) X(only_its_puller_reads_it) X(tokens_are_not_guessed)
    X(a_dropped_one_is_lost) X(an_unused_one_expires) X(a_restart_forgets_them)
    X(a_change_never_shows) X(a_change_of_another_file_or_of_the_name_does_not_matter)
    X(they_are_bounded_for_each_user) X(holes_are_told_and_sizes_pass_4_gib)
    X(reads_are_not_done_where_waiting_is_forbidden) X(a_brick_says_who_it_is_and_who_asks)
    X(a_dump_lists_them_without_the_secret)
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
