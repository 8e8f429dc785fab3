/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nl-cache and md-cache over a real store. The first tests show what each remembers; the last walks at random through
 * every fop that changes something and asks each question twice, of the caches and of the store itself.
 */
#include "brick.h"

#include "lease.h"
#include "options.h"
#include "xlator.h"

static struct brick b;
static struct wg_xlator *store, *top;

static const char layers[] = " option init yes\nend-volume\n"
                             "volume absent\n type performance/nl-cache\n subvolumes brick\nend-volume\n"
                             "volume attrs\n type performance/md-cache\n subvolumes absent\n";

static void setup(void)
{
    brick_mkdir(&b);
    OK(brick_try(&b, layers));
    store = wg_graph_find(b.graph, "brick");
    top = b.graph->top;
}

static void teardown(void)
{
    brick_end(&b);
}

static uint64_t asked(unsigned op)
{
    return wg_stats_sum(store, op).calls;
}

/* --- what is remembered --- */

START_TEST(an_absent_name_is_asked_for_once)
{
    struct wg_ref root = brick_root();
    uint64_t before = asked(WG_OP_lookup);

    for (int i = 0; i < 5; i++)
        ERR(FOP_(&b, lookup, .at = at(root, "none")), ENOENT);
    ck_assert_uint_eq(asked(WG_OP_lookup) - before, 1);
}
END_TEST

START_TEST(a_made_name_is_there_at_once)
{
    struct wg_ref root = brick_root(), dir = mkdir_(&b, root, "d", 0755), file;

    ERR(FOP_(&b, lookup, .at = at(dir, "create")), ENOENT);
    file = mkfile(&b, dir, "create", 0644);
    lookup(&b, dir, "create");
    ERR(FOP_(&b, lookup, .at = at(dir, "mkdir")), ENOENT);
    mkdir_(&b, dir, "mkdir", 0755);
    lookup(&b, dir, "mkdir");
    ERR(FOP_(&b, lookup, .at = at(dir, "link")), ENOENT);
    OK(FOP_(&b, link, .at = file, .to = at(dir, "link")));
    lookup(&b, dir, "link");
    ERR(FOP_(&b, lookup, .at = at(dir, "symlink")), ENOENT);
    OK(FOP_(&b, symlink, .at = at(dir, "symlink"), .gfid = wg_gfid_new(), .target = WG_STR("create")));
    lookup(&b, dir, "symlink");
    ERR(FOP_(&b, lookup, .at = at(dir, "fifo")), ENOENT);
    OK(FOP_(&b, mknod, .at = at(dir, "fifo"), .gfid = wg_gfid_new(), .type = WG_FIFO));
    lookup(&b, dir, "fifo");
    ERR(FOP_(&b, lookup, .at = at(root, "renamed")), ENOENT);
    OK(FOP_(&b, rename, .from = at(dir, "create"), .to = at(root, "renamed")));
    lookup(&b, root, "renamed");
    ERR(FOP_(&b, lookup, .at = at(dir, "create")), ENOENT);
    ERR(FOP_(&b, lookup, .at = at(dir, "object")), ENOENT);
    OK(FOP_(&b, put, .bucket = dir, .key = WG_STR("object"), .gfid = wg_gfid_new(), .etag = { .valid = true }));
    lookup(&b, dir, "object");
}
END_TEST

START_TEST(attributes_are_asked_for_once)
{
    struct wg_ref file = mkfile(&b, brick_root(), "f", 0644);
    uint64_t before;

    OK(FOP_(&b, getattr, .at = file));
    before = asked(WG_OP_getattr) + asked(WG_OP_lookup);
    lookup(&b, brick_root(), "f");
    for (int i = 0; i < 5; i++) {
        OK(FOP_(&b, getattr, .at = file));
        lookup(&b, brick_root(), "f");
    }
    ck_assert_uint_eq(asked(WG_OP_getattr) + asked(WG_OP_lookup) - before, 1);
    OK(put_text(&b, file, 0, "text", WG_UNSTABLE));
    OK(FOP_(&b, getattr, .at = file));
    ck_assert_uint_eq(OUT_(&b, getattr)->attr.size, 4);
}
END_TEST

START_TEST(a_head_of_an_object_is_asked_for_once)
{
    struct wg_ref bucket = mkdir_(&b, brick_root(), "bucket", 0755);
    uint64_t before = asked(WG_OP_get);

    OK(FOP_(&b, put, .bucket = bucket, .key = WG_STR("a/b/c"), .gfid = wg_gfid_new(),
            .etag = { .valid = true, .md5 = { 1, 2 } }, .meta = WG_STR("meta")));
    for (int i = 0; i < 5; i++) {
        OK(FOP_(&b, get, .bucket = bucket, .key = WG_STR("a/b/c")));
        ck_assert(wg_str_eq(OUT_(&b, get)->meta, WG_STR("meta")));
    }
    ck_assert_uint_eq(asked(WG_OP_get) - before, 1);
    /* A directory on its way is renamed: nothing of the object itself has changed. */
    OK(FOP_(&b, rename, .from = at(bucket, "a"), .to = at(bucket, "z")));
    ERR(FOP_(&b, get, .bucket = bucket, .key = WG_STR("a/b/c")), ENOENT);
    OK(FOP_(&b, get, .bucket = bucket, .key = WG_STR("z/b/c")));
}
END_TEST

START_TEST(who_may_not_search_learns_nothing)
{
    NEEDS_ROOT("who_may_not_search_learns_nothing");
    struct wg_ref dir = mkdir_(&b, brick_root(), "private", 0700);

    mkfile(&b, dir, "f", 0644);
    lookup(&b, dir, "f");
    ERR(FOP_(&b, lookup, .at = at(dir, "none")), ENOENT);
    be(&b, 1000, 1000);
    ERR(FOP_(&b, lookup, .at = at(dir, "f")), EACCES);
    ERR(FOP_(&b, lookup, .at = at(dir, "none")), EACCES);
    be(&b, 0, 0);
    OK(FOP_(&b, setattr, .at = dir, .attrs = mode_of(0755)));
    be(&b, 1000, 1000);
    lookup(&b, dir, "f");
    ERR(FOP_(&b, lookup, .at = at(dir, "none")), ENOENT);
    be(&b, 0, 0);
    OK(FOP_(&b, setattr, .at = dir, .attrs = mode_of(0700)));
    be(&b, 1000, 1000);
    ERR(FOP_(&b, lookup, .at = at(dir, "f")), EACCES);
    ERR(FOP_(&b, lookup, .at = at(dir, "none")), EACCES);
}
END_TEST

START_TEST(memory_is_bounded)
{
    char name[32];

    brick_stop(&b);
    OK(brick_try(&b, "end-volume\nvolume absent\n type performance/nl-cache\n option cache-size 64K\n"
                     " subvolumes brick\n"));
    store = wg_graph_find(b.graph, "brick");
    for (int i = 0; i < 5000; i++) {
        snprintf(name, sizeof name, "absent-%d", i);
        ERR(FOP_(&b, lookup, .at = at(brick_root(), name)), ENOENT);
    }
    uint64_t before = asked(WG_OP_lookup);
    ERR(FOP_(&b, lookup, .at = at(brick_root(), "absent-4999")), ENOENT); /* the newest are kept */
    ck_assert_uint_eq(asked(WG_OP_lookup), before);
    ERR(FOP_(&b, lookup, .at = at(brick_root(), "absent-0")), ENOENT);
    ck_assert_uint_eq(asked(WG_OP_lookup), before + 1);
}
END_TEST

START_TEST(xattrs_are_remembered_when_chosen)
{
    struct wg_ref file;
    uint64_t before;

    brick_stop(&b);
    OK(brick_try(&b, "end-volume\nvolume attrs\n type performance/md-cache\n option xattrs user.a,user.b*\n"
                     " subvolumes brick\n"));
    store = wg_graph_find(b.graph, "brick");
    file = mkfile(&b, brick_root(), "f", 0644);
    OK(FOP_(&b, setxattr, .at = file, .name = WG_STR("user.a"), .value = WG_STR("1")));
    OK(FOP_(&b, setxattr, .at = file, .name = WG_STR("user.bb"), .value = WG_STR("2")));
    OK(FOP_(&b, setxattr, .at = file, .name = WG_STR("user.c"), .value = WG_STR("3")));
    before = asked(WG_OP_getxattr);
    for (int i = 0; i < 3; i++) {
        OK(FOP_(&b, getxattr, .at = file, .name = WG_STR("user.a")));
        OK(FOP_(&b, getxattr, .at = file, .name = WG_STR("user.bb")));
    }
    ck_assert_uint_eq(asked(WG_OP_getxattr) - before, 2);
    for (int i = 0; i < 3; i++)
        OK(FOP_(&b, getxattr, .at = file, .name = WG_STR("user.c")));
    ck_assert_uint_eq(asked(WG_OP_getxattr) - before, 5);
    OK(FOP_(&b, setxattr, .at = file, .name = WG_STR("user.a"), .value = WG_STR("other")));
    OK(FOP_(&b, getxattr, .at = file, .name = WG_STR("user.a")));
    struct wg_cursor c = wg_cursor(&OUT_(&b, getxattr)->xattrs);
    struct wg_xattr x;
    ck_assert(wg_next_xattr(&c, &x) && wg_str_eq(x.value, WG_STR("other")));
}
END_TEST

/* --- the same answers as the store's, whatever happens --- */

#define DIRS 4
#define NAMES 6
#define KNOWN 64

static struct wg_ref dirs[DIRS], known[KNOWN];
static unsigned nknown;
static uint64_t state = 1;

static unsigned pick(unsigned n)
{
    state = state * 6364136223846793005u + 1442695040888963407u; /* Knuth's MMIX; any would do */
    return (unsigned)(state >> 33) % n;
}

static void know(struct wg_ref ref)
{
    known[nknown < KNOWN ? nknown++ : pick(KNOWN)] = ref;
}

static struct wg_loc any_loc(void)
{
    static const char *const names[NAMES] = { "a", "b", "c", "d", "e", "f" };

    return at(dirs[pick(DIRS)], names[pick(NAMES)]);
}

static struct wg_ref any_inode(void)
{
    return nknown ? known[pick(nknown)] : dirs[0];
}

static struct wg_str any_key(void)
{
    static const char *const keys[] = { "a", "b", "a/b", "a/b/c", "d1/x", "d1/y", "d1", "a/", "e//f" };

    return wg_str_of(keys[pick(9)]);
}

static const struct wg_etag etag = { .valid = true, .md5 = { 7 } };

static int put_one(struct wg_str key, struct wg_str text)
{
    struct wg_seg seg = { NULL, (void *)(uintptr_t)text.s, text.len };
    int err = FOP_(&b, put, .bucket = dirs[0], .key = key, .gfid = wg_gfid_new(), .etag = etag, .meta = text,
                   .data = { &seg, 1, seg.len });

    if (!err)
        know(OUT_(&b, put)->ref);
    return err;
}

static int put_staged(void)
{
    struct wg_str key = any_key();
    int err = FOP_(&b, stage, .bucket = dirs[0], .key = key, .gfid = wg_gfid_new(), .size = 10);
    struct wg_ref from;

    if (err)
        return err;
    from = OUT_(&b, stage)->ref;
    err = put_text(&b, from, 0, "0123456789", WG_UNSTABLE);
    if (!err)
        err = FOP_(&b, put, .bucket = dirs[0], .key = key, .gfid = from.gfid, .from = from, .etag = etag);
    if (!err)
        know(from);
    return err;
}

static int make_something(void)
{
    wg_gfid gfid = wg_gfid_new();
    int err;

    switch (pick(4)) {
    case 0:
        err = FOP_(&b, create, .at = any_loc(), .gfid = gfid, .how = pick(2), .attrs = mode_of(0600 + pick(64)));
        if (!err)
            know(OUT_(&b, create)->ref);
        return err;
    case 1:
        err = FOP_(&b, mkdir, .at = any_loc(), .gfid = gfid, .attrs = mode_of(0755));
        if (!err)
            know(OUT_(&b, mkdir)->ref);
        return err;
    case 2:
        err = FOP_(&b, symlink, .at = any_loc(), .gfid = gfid, .target = WG_STR("a"));
        if (!err)
            know(OUT_(&b, symlink)->ref);
        return err;
    default:
        return FOP_(&b, link, .at = any_inode(), .to = any_loc());
    }
}

static int change_something(void)
{
    switch (pick(14)) {
    case 0: case 1: case 2:
        return make_something();
    case 3: case 4:
        return FOP_(&b, unlink, .at = any_loc());
    case 5:
        return FOP_(&b, rmdir, .at = any_loc());
    case 6: case 7:
        return FOP_(&b, rename, .from = any_loc(), .to = any_loc(), .flags = pick(8) ? 0 : WG_RENAME_EXCHANGE);
    case 8:
        return FOP_(&b, setattr, .at = any_inode(), .attrs = mode_of(0600 + pick(128)));
    case 9:
        return FOP_(&b, setattr, .at = any_inode(), .attrs = { .valid = WG_SET_SIZE | WG_SET_MTIME_NOW, .size = pick(9000) });
    case 10:
        return put_text(&b, any_inode(), pick(5000), "some text", pick(3));
    case 11:
        return pick(2) ? FOP_(&b, setxattr, .at = any_inode(), .name = WG_STR("user.x"), .value = pick(2) ? WG_STR("1") : WG_STR("22"))
                       : FOP_(&b, removexattr, .at = any_inode(), .name = WG_STR("user.x"));
    case 12:
        return pick(2) ? put_one(any_key(), pick(2) ? WG_STR("one") : WG_STR("other")) : put_staged();
    default:
        return pick(2) ? FOP_(&b, del, .bucket = dirs[0], .key = any_key())
                       : FOP_(&b, setmeta, .bucket = dirs[0], .key = any_key(), .meta = pick(2) ? WG_STR("m") : WG_STR("n"));
    }
}

struct answer {
    int err;
    size_t len;
    uint8_t bytes[32768];
    char text[1000];
};

/* The fields that caches may leave out or let lag, set alike. */
static void normalise(unsigned op, void *out)
{
    static const struct wg_iatt none;

    switch (op) {
    case WG_OP_lookup:
        ((struct wg_lookup_out *)out)->parent = none;
        ((struct wg_lookup_out *)out)->attr.atime = none.atime;
        break;
    case WG_OP_getattr:
        ((struct wg_getattr_out *)out)->attr.atime = none.atime;
        break;
    case WG_OP_access:
        ((struct wg_access_out *)out)->attr.atime = none.atime;
        break;
    case WG_OP_readlink:
        ((struct wg_readlink_out *)out)->attr.atime = none.atime;
        break;
    case WG_OP_get:
        ((struct wg_get_out *)out)->attr.atime = none.atime;
        break;
    default:
        break;
    }
}

static void put_answer(struct answer *ret, int err, unsigned op, void *out)
{
    struct wg_enc e = { .at = ret->bytes, .end = ret->bytes + sizeof ret->bytes };

    ret->err = err;
    ret->len = 0;
    if (err)
        return;
    normalise(op, out);
    wg_show_record(op, true, out, ret->text, sizeof ret->text);
    wg_put_record(&e, op, true, out);
    ck_assert(!e.overflow);
    for (uint32_t i = 0; i < e.nseg; i++) { /* a list's rows */
        memcpy(e.at, e.seg[i].base, e.seg[i].len);
        e.at += e.seg[i].len;
    }
    ret->len = (size_t)(e.at - ret->bytes);
}

static void ask_both(unsigned op, const void *in)
{
    static struct answer cached, real;
    char text[600];

    for (int i = 0; i < 2; i++) {
        int err;

        b.graph->top = i ? store : top;
        err = brick_run(&b, op, in);
        put_answer(i ? &real : &cached, err, op, b.call->root->out);
    }
    b.graph->top = top;
    wg_show_record(op, false, in, text, sizeof text);
    ck_assert_msg(cached.err == real.err, "%s %s: the caches say %s, the store %s", wg_op_name(op), text,
                  wg_error_name(cached.err), wg_error_name(real.err));
    ck_assert_msg(cached.len == real.len && memcmp(cached.bytes, real.bytes, real.len) == 0,
                  "%s %s: the answers differ: the caches say %s, the store %s", wg_op_name(op), text, cached.text, real.text);
}

static void ask_something(void)
{
    switch (pick(6)) {
    case 0:
        return ask_both(WG_OP_lookup, &(struct wg_lookup_in){ any_loc() });
    case 1:
        return ask_both(WG_OP_getattr, &(struct wg_getattr_in){ any_inode() });
    case 2:
        return ask_both(WG_OP_access, &(struct wg_access_in){ any_inode(), 0x3f });
    case 3:
        return ask_both(WG_OP_readlink, &(struct wg_readlink_in){ any_inode() });
    case 4:
        return ask_both(WG_OP_getxattr, &(struct wg_getxattr_in){ any_inode(), WG_STR("user.x") });
    default:
        return ask_both(WG_OP_get, &(struct wg_get_in){ .bucket = dirs[0], .key = any_key() });
    }
}

START_TEST(caches_say_what_the_store_says)
{
    const char *seed = getenv("WG_SEED");

    state = seed ? strtoull(seed, NULL, 0) : wg_now_ns();
    printf("WG_SEED=%llu\n", (unsigned long long)state);
    fflush(stdout);
    dirs[0] = mkdir_(&b, brick_root(), "bucket", 0777);
    for (int i = 1; i < DIRS; i++)
        dirs[i] = mkdir_(&b, dirs[i - 1], i == 1 ? "d1" : "a", 0777);
    for (int i = 0; i < DIRS; i++)
        know(dirs[i]);
    for (int i = 0; i < 6000; i++) {
        if (geteuid() == 0)
            be(&b, pick(4) ? 0 : 1000, 0);
        if (pick(3) == 0)
            change_something();
        else
            ask_something();
    }
}
END_TEST

TESTS("caches", tcase_add_checked_fixture(t, setup, teardown);
      TEST_ROW(an_absent_name_is_asked_for_once)
      TEST_ROW(a_made_name_is_there_at_once)
      TEST_ROW(attributes_are_asked_for_once)
      TEST_ROW(a_head_of_an_object_is_asked_for_once)
      TEST_ROW(who_may_not_search_learns_nothing)
      TEST_ROW(memory_is_bounded)
      TEST_ROW(xattrs_are_remembered_when_chosen)
      TEST_ROW(caches_say_what_the_store_says))
