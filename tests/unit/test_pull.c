/* SPDX-License-Identifier: Apache-2.0 */
/* ref_pull: what is copied, and who may do what. */
#include "pull_kit.h"

/* ---- what is copied ------------------------------------------------------------------------ */

START_TEST(a_pull_copies_the_bytes)
{
    struct wg_ref a = file_of(&source, gateway, "a", "head -c 7654321 /dev/urandom > a");
    struct wg_ref z = file_of(&target, to, "z", "true > z");
    char *dump;

    OK(refer(a, 0, UINT64_MAX, "two"));
    OK(pull(z, 0, 0, 7654321, true));
    ck_assert_uint_eq(GOT(ref_pull)->copied, 7654321);
    OK(same_files("a", "z"));
    dump = wg_dump_process(to, true);
    ck_assert_ptr_nonnull(strstr(dump, "7654321"));
    free(dump);
    OK(DO(gateway, ref_drop, .ref = token));
    ck_assert(GOT(ref_drop)->was_there);
    ERR(pull(z, 0, 0, 10, true), EREFLOST);
}
END_TEST

START_TEST(parts_land_where_they_are_told)
{
    struct wg_ref a = file_of(&source, gateway, "a", "head -c 3000000 /dev/urandom > a");
    struct wg_ref z = file_of(&target, to, "z", "head -c 3000000 /dev/zero > z");

    OK(refer(a, 1000, 2000000, "two"));
    ERR(pull(z, 0, 0, 10, true), EINVAL); /* below the range */
    ck_assert_uint_eq(GOT(ref_pull)->copied, 0);
    OK(pull(z, 1000, 1000, 1500000, true));
    OK(pull(z, 1501000, 1501000, 499000 + 1000, true));
    OK(refer(a, 0, 1000, "two"));
    OK(pull(z, 0, 0, 1000, true));
    OK(refer(a, 2001000, UINT64_MAX, "two"));
    OK(pull(z, 2001000, 2001000, 999000, true));
    OK(same_files("a", "z"));
    ERR(pull(z, 2999999, 0, 2, true), EINVAL); /* beyond */
}
END_TEST

START_TEST(holes_stay_holes_or_become_zeros)
{
    struct wg_ref a = file_of(&source, gateway, "a", "truncate -s 5G a && printf x | dd of=a conv=notrunc bs=1 seek=4G "
                              "&& printf y | dd of=a conv=notrunc bs=1");
    struct wg_ref z = file_of(&target, to, "z", "true > z"), y;
    uint64_t size = 5ull << 30, done = 0;
    struct stat st;
    char path[600];

    OK(refer(a, 0, UINT64_MAX, "two"));
    while (done < size) {
        OK(pull(z, done, done, size - done, true));
        ck_assert_uint_gt(GOT(ref_pull)->copied, 0);
        done += GOT(ref_pull)->copied;
    }
    snprintf(path, sizeof path, "%s/z", target.dir);
    OK(stat(path, &st));
    ck_assert_int_eq(st.st_size, (off_t)size);
    ck_assert_int_lt(st.st_blocks, 2 * 8192); /* two pieces, and no more */
    y = file_of(&target, to, "y", "tr '\\0' q < /dev/zero | head -c 3000000 > y");
    OK(pull(y, 1u << 20, 0, 3000000, false));
    snprintf(path, sizeof path, "head -c 3000000 /dev/zero | cmp - %s/y", target.dir);
    OK(system(path));
}
END_TEST

/* ---- who may ------------------------------------------------------------------------------ */

START_TEST(a_gateway_does_not_read_references)
{
    struct wg_ref a = file_of(&source, gateway, "a", "echo text > a");

    OK(refer(a, 0, 10, "gateway"));
    ERR(DO(gateway, ref_read, .ref = token, .size = 5), EACCES);
}
END_TEST

START_TEST(a_puller_does_nothing_else)
{
    struct wg_ref a = file_of(&source, gateway, "a", "echo text > a");
    struct wg_graph *brick = client("two", "option puller yes\n");

    ERR(DO(brick, getattr, .at = a), EACCES);
    ERR(DO(brick, read, .at = a, .size = 4), EACCES);
    ERR(DO(brick, lookup, .at = { brick_root(), WG_STR("a") }), EACCES);
    ERR(DO(brick, ref_create, .at = a, .size = 4, .puller = WG_STR("two")), EACCES);
    ERR(DO(brick, ref_pull, .ref = token, .to = a), EACCES);
    ERR(DO(brick, ref_drop, .ref = token), EACCES);
    ERR(DO(brick, setattr, .at = a), EACCES);
    ERR(DO(brick, write, .at = a), EACCES);
    ERR(DO(brick, ref_peer, .source = source_id()), EACCES); /* no asking on */
    OK(DO(brick, ref_peer, .source = { { 0 } }));
    ck_assert(wg_str_eq(GOT(ref_peer)->name, WG_STR("two")));
    OK(refer(a, 0, 10, "two"));
    OK(DO(brick, ref_read, .ref = token, .size = 5));
    OK(refer(a, 0, 10, "someone"));
    ERR(DO(brick, ref_read, .ref = token, .size = 5), EACCES);
    forget_last();
    end(&brick);
}
END_TEST

/* A session that is refused: its calls get no answer. */
static void is_refused(const char *own, const char *more)
{
    struct wg_graph *g = client(own, more);

    ERR(run(g, WG_OP_ref_peer, &(struct wg_ref_peer_in){ { { 0 } } }, 700), ETIMEDOUT);
    forget_last();
    end(&g);
}

START_TEST(names_decide_who_is_what)
{
    is_refused("gateway", "option puller yes\n"); /* not in pull-allow */
    is_refused("two", "");                        /* only in pull-allow */
}
END_TEST

START_TEST(a_reference_of_another_puller_is_no_use)
{
    struct wg_ref a = file_of(&source, gateway, "a", "echo text > a");
    struct wg_ref z = file_of(&target, to, "z", "true > z");

    OK(refer(a, 0, 10, "three"));
    ERR(pull(z, 0, 0, 5, true), EACCES);
    OK(refer(a, 0, 10, "two"));
    bytes[31] ^= 1;
    ERR(pull(z, 0, 0, 5, true), EREFLOST);
    token.len = 5;
    ERR(pull(z, 0, 0, 5, true), EREFLOST);
    token.len = 32;
    bytes[31] ^= 1;
    OK(pull(z, 0, 0, 5, true));
}
END_TEST

START_TEST(a_brick_connects_to_its_peers_only)
{
    struct wg_ref z = file_of(&target, to, "z", "true > z");
    wg_gfid other = wg_gfid_new();

    ERR(DO(to, ref_pull, .ref = token, .source = other, .to = z, .size = 1), ENOTSUP);
    ERR(DO(to, ref_peer, .source = other), ENOTSUP);
    OK(DO(to, ref_peer, .source = source_id()));
    ck_assert(wg_str_eq(GOT(ref_peer)->name, WG_STR("two")));
    OK(DO(to, ref_peer, .source = { { 0 } }));
    ck_assert(!wg_gfid_eq(GOT(ref_peer)->brick, source_id()));
    ERR(DO(to, ref_pull, .ref = token, .source = source_id(), .to = z, .size = 1, .offset = UINT64_MAX), EFBIG);
    ERR(DO(to, ref_pull, .ref = token, .source = source_id(), .to = z, .size = 1, .to_offset = INT64_MAX), EFBIG);
    OK(DO(to, ref_pull, .ref = token, .source = source_id(), .to = z));
}
END_TEST

#define X TEST_ROW
PULL_TESTS("pull",
    X(a_pull_copies_the_bytes) X(parts_land_where_they_are_told) X(holes_stay_holes_or_become_zeros)
    X(a_gateway_does_not_read_references) X(a_puller_does_nothing_else) X(names_decide_who_is_what)
    X(a_reference_of_another_puller_is_no_use) X(a_brick_connects_to_its_peers_only))
