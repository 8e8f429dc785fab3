/* SPDX-License-Identifier: Apache-2.0 */
/* The S3 fops of a real store: put, get, del, stage, setmeta; conditions, twins, directories. */
#include "brick.h"

#include <dirent.h>
#include <pthread.h>
#include <sys/xattr.h>

static struct brick b;
static struct wg_ref bucket;

static void setup(void)
{
    brick_start(&b);
    bucket = mkdir_(&b, brick_root(), "bucket", 0755);
}

static void teardown(void)
{
    brick_end(&b);
}

static struct wg_etag etag_of(const char *text)
{
    struct wg_etag e = { .valid = true };

    memset(e.md5, 0, 16);
    strncpy((char *)e.md5, text, 16);
    return e;
}

static int put_as(struct brick *k, const char *key, const char *text, uint32_t cond,
                  struct wg_etag match)
{
    struct wg_seg seg = { NULL, (void *)(uintptr_t)text, (uint32_t)strlen(text) };

    return FOP_(k, put, .bucket = bucket, .key = wg_str_of(key), .gfid = wg_gfid_new(),
                .etag = etag_of(text), .cond = cond, .if_match = match,
                .data = { &seg, seg.len > 0, seg.len });
}

static int put(const char *key, const char *text)
{
    return put_as(&b, key, text, 0, (struct wg_etag){ 0 });
}

static int get(const char *key)
{
    return FOP_(&b, get, .bucket = bucket, .key = wg_str_of(key), .size = 4096);
}

/* The content under key, or the name of the error. */
static const char *content(const char *key)
{
    static char text[4097];
    int err = get(key);
    const struct wg_data *d;

    if (err)
        return wg_error_name(err);
    d = &OUT_(&b, get)->data;
    memcpy(text, d->nseg ? d->seg[0].base : "", d->nseg ? d->seg[0].len : 0);
    text[d->nseg ? d->seg[0].len : 0] = '\0';
    return text;
}

static int del(const char *key)
{
    return FOP_(&b, del, .bucket = bucket, .key = wg_str_of(key));
}

/* All keys, as "a b/ c". */
static const char *keys(void)
{
    static char text[65536];
    struct wg_objent e;
    struct wg_cursor c;
    size_t n = 0;

    OK(FOP_(&b, list, .bucket = bucket, .max = 1000));
    c = wg_cursor(&OUT_(&b, list)->entries);
    while (wg_next_objent(&c, &e))
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%.*s", n ? " " : "", (int)e.key.len, e.key.s);
    text[n] = '\0';
    return text;
}

static bool there(const char *path)
{
    struct stat st;
    char full[1200];

    snprintf(full, sizeof full, "%s/bucket/%s", b.dir, path);
    return lstat(full, &st) == 0;
}

#define SAME(a, b) ck_assert_str_eq((a), (b))

START_TEST(an_object_is_a_plain_file)
{
    OK(put("photos/2026/kyoto.jpg", "torii"));
    ck_assert(OUT_(&b, put)->etag.valid);
    SAME(content("photos/2026/kyoto.jpg"), "torii");
    ck_assert_uint_eq(OUT_(&b, get)->attr.size, 5);
    ck_assert(!OUT_(&b, get)->etag.synthetic);
    ck_assert(there("photos/2026/kyoto.jpg"));
    SAME(keys(), "photos/2026/kyoto.jpg");
    SAME(content("photos"), "EISDIR");
    SAME(content("photos/2026/none"), "ENOENT");
    SAME(content("photos/2026/kyoto.jpg/x"), "ENOENT");
}
END_TEST

START_TEST(an_object_belongs_to_its_user)
{
    struct stat st;
    char full[1200];

    bucket = mkdir_(&b, brick_root(), "shared", 0777);
    be(&b, 1234, 2345);
    OK(put("d/f", "x"));
    snprintf(full, sizeof full, "%s/shared/d/f", b.dir);
    OK(stat(full, &st));
    ck_assert_uint_eq(st.st_uid, 1234);
    ck_assert_uint_eq(st.st_gid, 2345);
    ck_assert_uint_eq(st.st_mode & 07777, 0644);
    be(&b, 99, 99);
    ERR(put("d/g", "x"), EACCES);
    ERR(put("d/f", "x"), EACCES);
    ERR(del("d/f"), EACCES);
    SAME(content("d/f"), "x");
    be(&b, 1234, 2345);
    OK(FOP_(&b, setattr, .at = OUT_(&b, get)->ref, .attrs = mode_of(0600)));
    be(&b, 99, 99);
    SAME(content("d/f"), "EACCES");
}
END_TEST

START_TEST(directories_that_a_put_made_go_with_their_last_key)
{
    OK(put("a/b/c/1", "x"));
    OK(put("a/b/2", "x"));
    OK(del("a/b/c/1"));
    ck_assert(OUT_(&b, del)->existed);
    ck_assert(!there("a/b/c") && there("a/b"));
    OK(del("a/b/2"));
    ck_assert(!there("a"));
    OK(del("a/b/2"));
    ck_assert(!OUT_(&b, del)->existed);
}
END_TEST

START_TEST(directories_of_nfs_stay_and_show_when_empty)
{
    struct wg_ref d = mkdir_(&b, bucket, "d", 0755);

    SAME(keys(), "d/");
    SAME(content("d/"), "");
    ck_assert_uint_eq(OUT_(&b, get)->attr.size, 0);
    mkfile(&b, d, "f", 0644);
    SAME(keys(), "d/f");
    SAME(content("d/"), "ENOENT");
    OK(del("d/f"));
    ck_assert(there("d"));
    SAME(keys(), "d/");
    OK(del("d/"));
    ck_assert(!there("d"));
    SAME(keys(), "");
}
END_TEST

START_TEST(a_marker_is_the_directory_itself)
{
    OK(put("d/", ""));
    ck_assert(there("d") && !there("d/.@="));
    SAME(keys(), "d/");
    OK(put("d/f", "x"));
    SAME(keys(), "d/ d/f");
    OK(del("d/f"));
    SAME(keys(), "d/");
    ck_assert(there("d"));
    OK(put("d/f", "x"));
    OK(del("d/"));
    SAME(keys(), "d/f");
    OK(del("d/f"));
    ck_assert(!there("d"));
}
END_TEST

START_TEST(a_directory_object_may_have_content)
{
    OK(put("d/", "text"));
    ck_assert(there("d/.@="));
    SAME(content("d/"), "text");
    SAME(keys(), "d/");
    OK(put("d/", ""));
    SAME(content("d/"), "");
    ck_assert(!there("d/.@="));
    OK(put("d/", "again"));
    SAME(content("d/"), "again");
    SAME(keys(), "d/");
    OK(del("d/"));
    ck_assert(OUT_(&b, del)->existed);
    SAME(keys(), "");
    ck_assert(!there("d"));
}
END_TEST

START_TEST(a_file_and_a_directory_have_the_same_name)
{
    struct wg_ref before;

    OK(put("a", "file"));
    before = OUT_(&b, put)->ref;
    OK(put("a/b", "below"));
    ck_assert(there(".@fa") && there("a/b"));
    SAME(content("a"), "file");
    ck_assert(wg_gfid_eq(OUT_(&b, get)->ref.gfid, before.gfid));
    SAME(content("a/b"), "below");
    SAME(keys(), "a a/b");
    OK(put("a", "new")); /* the directory is there: the twin is replaced */
    SAME(content("a"), "new");
    ck_assert(there(".@fa"));
    OK(del("a/b"));
    ck_assert(!there("a"));
    SAME(content("a"), "new");
    OK(put("a", "newer")); /* rewritten: it has its own name again */
    ck_assert(!there(".@fa") && there("a"));
    SAME(keys(), "a");
    OK(del("a"));
    SAME(keys(), "");
}
END_TEST

START_TEST(a_long_name_has_a_twin_in_a_chunk)
{
    char name[260], below[270];

    memset(name, 'n', 254);
    name[254] = '\0';
    snprintf(below, sizeof below, "%s/x", name);
    OK(put(name, "1"));
    OK(put(below, "2"));
    SAME(content(name), "1");
    SAME(content(below), "2");
    OK(put(name, "3"));
    SAME(content(name), "3");
    ck_assert_int_eq(strlen(keys()), 254 + 1 + 256);
    OK(del(name));
    OK(del(below));
    SAME(keys(), "");
    OK(put(below, "2"));
    OK(put(name, "1"));
    SAME(content(name), "1");
    OK(del(below));
    OK(del(name));
    SAME(keys(), "");
}
END_TEST

START_TEST(any_key_is_kept)
{
    static const char *const all[] = {
        "/", "//", "///x", "/lead", "a//b", "./x", "../x", "a/./b", "a/..", ".", "..", ".@", ".@=",
        ".@fa", ".@+x", "sp ace", "new\nline", "\xff\xfe", "tab\t/", "a/", "a",
    };
    char big[1025];

    for (unsigned i = 0; i < sizeof all / sizeof *all; i++)
        OK(put(all[i], all[i]));
    for (unsigned i = 0; i < sizeof all / sizeof *all; i++)
        SAME(content(all[i]), all[i]);
    memset(big, 'k', 1024);
    big[1024] = '\0';
    OK(put(big, "big"));
    SAME(content(big), "big");
    memset(big, '/', 1024);
    OK(put(big, "deep"));
    SAME(content(big), "deep");
    OK(FOP_(&b, list, .bucket = bucket, .max = 1000));
    ck_assert_uint_eq(OUT_(&b, list)->entries.count, sizeof all / sizeof *all + 2);
    OK(del(big));
    for (unsigned i = 0; i < sizeof all / sizeof *all; i++)
        OK(del(all[i]));
    ERR(put("", "x"), EINVAL);
    ERR(FOP_(&b, get, .bucket = bucket, .key = WG_STR("a\0b")), EINVAL);
}
END_TEST

START_TEST(conditions_hold)
{
    struct wg_etag none = { 0 }, first, other = etag_of("other");

    ERR(put_as(&b, "k", "v", WG_IF_MATCH, other), ENOENT);
    ERR(put_as(&b, "d/k", "v", WG_IF_MATCH, other), ENOENT);
    ck_assert(!there("d"));
    OK(put_as(&b, "k", "v1", WG_IF_NONE_MATCH_ANY, none));
    first = OUT_(&b, put)->etag;
    ERR(put_as(&b, "k", "v2", WG_IF_NONE_MATCH_ANY, none), ECONDITION);
    ERR(put_as(&b, "k", "v2", WG_IF_MATCH, other), ECONDITION);
    OK(put_as(&b, "k", "v2", WG_IF_MATCH, first));
    ERR(put_as(&b, "k", "v3", WG_IF_MATCH, first), ECONDITION);
    OK(put_as(&b, "k", "v3", WG_IF_MATCH_ANY, none));
    SAME(content("k"), "v3");
    ERR(FOP_(&b, del, .bucket = bucket, .key = WG_STR("k"), .cond = WG_IF_MATCH, .if_match = first),
        ECONDITION);
    ERR(FOP_(&b, del, .bucket = bucket, .key = WG_STR("k"), .cond = WG_IF_SIZE, .if_size = 9), ECONDITION);
    OK(FOP_(&b, del, .bucket = bucket, .key = WG_STR("k"), .cond = WG_IF_SIZE, .if_size = 2));
}
END_TEST

START_TEST(an_nfs_write_changes_the_etag)
{
    struct wg_etag before;
    struct wg_ref ref;

    OK(put("k", "aaaa"));
    before = OUT_(&b, put)->etag;
    ref = OUT_(&b, put)->ref;
    OK(put_text(&b, ref, 0, "bbbb", WG_UNSTABLE));
    SAME(content("k"), "bbbb");
    ck_assert(OUT_(&b, get)->etag.synthetic);
    ERR(put_as(&b, "k", "c", WG_IF_MATCH, before), ECONDITION);
}
END_TEST

START_TEST(a_replayed_put_succeeds)
{
    struct wg_seg seg = { NULL, "x", 1 };
    struct wg_put_in in = { .bucket = bucket, .key = WG_STR("d/k"), .gfid = wg_gfid_new(),
                            .etag = etag_of("x"), .cond = WG_IF_NONE_MATCH_ANY, .data = { &seg, 1, 1 } };

    OK(brick_run(&b, WG_OP_put, &in));
    OK(brick_run(&b, WG_OP_put, &in));
    ck_assert(wg_gfid_eq(OUT_(&b, put)->ref.gfid, in.gfid));
    SAME(keys(), "d/k");
}
END_TEST

START_TEST(a_staged_file_is_written_and_published)
{
    wg_gfid gfid = wg_gfid_new();
    struct wg_ref ref;

    OK(FOP_(&b, stage, .bucket = bucket, .key = WG_STR("x/y"), .gfid = gfid));
    ref = OUT_(&b, stage)->ref;
    ck_assert(!there("x"));
    OK(put_text(&b, ref, 0, "hello ", WG_UNSTABLE));
    OK(put_text(&b, ref, 6, "world", WG_UNSTABLE));
    SAME(get_text(&b, ref), "hello world");
    SAME(keys(), "");
    OK(FOP_(&b, put, .bucket = bucket, .key = WG_STR("x/y"), .from = ref, .etag = etag_of("e"),
            .meta = WG_STR("type=text")));
    OK(FOP_(&b, put, .bucket = bucket, .key = WG_STR("x/y"), .from = ref, .etag = etag_of("e"))); /* again */
    SAME(content("x/y"), "hello world");
    ck_assert(!OUT_(&b, get)->etag.synthetic);
    ck_assert(wg_str_eq(OUT_(&b, get)->meta, WG_STR("type=text")));
    OK(FOP_(&b, unstage, .gfid = gfid));
    ck_assert(!OUT_(&b, unstage)->was_there);
    gfid = wg_gfid_new();
    OK(FOP_(&b, stage, .bucket = bucket, .key = WG_STR("z"), .gfid = gfid));
    ref = OUT_(&b, stage)->ref;
    OK(FOP_(&b, unstage, .gfid = gfid));
    ck_assert(OUT_(&b, unstage)->was_there);
    ERR(put_text(&b, ref, 0, "x", WG_UNSTABLE), ESTALE);
    ERR(FOP_(&b, put, .bucket = bucket, .key = WG_STR("z"), .from = ref), ESTALE);
}
END_TEST

START_TEST(uploads_are_out_of_sight)
{
    struct wg_seg seg = { NULL, "part", 4 };
    struct wg_objent e;
    struct wg_cursor c;

    bucket = mkdir_(&b, brick_root(), "open", 0777);
    be(&b, 1000, 1000);
    OK(FOP_(&b, put, .bucket = bucket, .space = WG_SPACE_UPLOADS, .key = WG_STR("up1/00001"),
            .gfid = wg_gfid_new(), .etag = etag_of("p"), .data = { &seg, 1, 4 }));
    SAME(get_text(&b, OUT_(&b, put)->ref), "part"); /* it is the user's */
    SAME(keys(), "");
    OK(FOP_(&b, list, .bucket = bucket, .space = WG_SPACE_UPLOADS, .max = 10));
    c = wg_cursor(&OUT_(&b, list)->entries);
    ck_assert(wg_next_objent(&c, &e) && wg_str_eq(e.key, WG_STR("up1/00001")));
    OK(FOP_(&b, del, .bucket = bucket, .space = WG_SPACE_UPLOADS, .key = WG_STR("up1/00001")));
    OK(FOP_(&b, list, .bucket = bucket, .space = WG_SPACE_UPLOADS, .max = 10));
    ck_assert_uint_eq(OUT_(&b, list)->entries.count, 0);
}
END_TEST

START_TEST(a_reader_of_a_replaced_object_reads_on)
{
    struct wg_ref old;

    OK(put("k", "old"));
    old = OUT_(&b, put)->ref;
    OK(put("k", "new"));
    SAME(get_text(&b, old), "old");
    SAME(content("k"), "new");
    OK(get("k"));
    old = OUT_(&b, get)->ref;
    OK(del("k"));
    SAME(get_text(&b, old), "new");
}
END_TEST

START_TEST(meta_is_changed_in_place)
{
    struct wg_etag e;
    struct wg_ref ref;

    OK(put("k", "x"));
    e = OUT_(&b, put)->etag;
    ref = OUT_(&b, put)->ref;
    OK(FOP_(&b, setmeta, .bucket = bucket, .key = WG_STR("k"), .meta = WG_STR("m"), .cond = WG_IF_MATCH,
            .if_match = e));
    OK(get("k"));
    ck_assert(wg_str_eq(OUT_(&b, get)->meta, WG_STR("m")));
    ck_assert(wg_gfid_eq(OUT_(&b, get)->ref.gfid, ref.gfid) && !OUT_(&b, get)->etag.synthetic);
    OK(FOP_(&b, setmeta, .bucket = bucket, .key = WG_STR("k"), .meta = { 0 }));
    OK(get("k"));
    ck_assert_uint_eq(OUT_(&b, get)->meta.len, 0);
    OK(put("d/", ""));
    OK(FOP_(&b, setmeta, .bucket = bucket, .key = WG_STR("d/"), .meta = WG_STR("dm")));
    OK(get("d/"));
    ck_assert(wg_str_eq(OUT_(&b, get)->meta, WG_STR("dm")));
    ERR(FOP_(&b, setmeta, .bucket = bucket, .key = WG_STR("none"), .meta = WG_STR("m")), ENOENT);
}
END_TEST

START_TEST(symlinks_are_answered_not_followed)
{
    OK(put("dir/f", "x"));
    OK(FOP_(&b, symlink, .at = at(bucket, "in"), .gfid = wg_gfid_new(), .target = WG_STR("dir/f")));
    OK(FOP_(&b, symlink, .at = at(bucket, "out"), .gfid = wg_gfid_new(), .target = WG_STR("../..")));
    OK(FOP_(&b, symlink, .at = at(bucket, "ldir"), .gfid = wg_gfid_new(), .target = WG_STR("dir")));
    OK(FOP_(&b, mknod, .at = at(bucket, "fifo"), .gfid = wg_gfid_new(), .type = WG_FIFO));
    SAME(keys(), "dir/f in");
    OK(get("in"));
    ck_assert_uint_eq(OUT_(&b, get)->attr.type, WG_LNK);
    ck_assert(wg_str_eq(OUT_(&b, get)->link_target, WG_STR("dir/f")));
    OK(get("ldir/f"));
    ck_assert(wg_str_eq(OUT_(&b, get)->link_target, WG_STR("../dir/f")));
    SAME(content("fifo"), "ENOENT");
    ERR(put("ldir/new", "x"), ELOOP);
    ERR(del("ldir/f"), ELOOP);
    ERR(FOP_(&b, stage, .bucket = bucket, .key = WG_STR("ldir/f"), .gfid = wg_gfid_new()), ELOOP);
    OK(put("in", "plain")); /* replaces the link */
    SAME(content("in"), "plain");
    SAME(content("dir/f"), "x");
}
END_TEST

/* --- races ---------------------------------------------------------------------------------------- */

#define RACERS 8

struct racer {
    pthread_t thread;
    struct brick k;
    int (*fn)(struct brick *k, unsigned me);
    unsigned me, won, failed;
};

static void *race(void *arg)
{
    struct racer *r = arg;
    unsigned n = getenv("WG_RACE_ROUNDS") ? (unsigned)atoi(getenv("WG_RACE_ROUNDS")) : 60;

    while (n-- > 0) {
        int err = r->fn(&r->k, r->me);

        r->won += err == 0;
        if (err != 0 && err != ECONDITION && err != ENOENT && r->failed++ == 0)
            fprintf(stderr, "racer %u: %s\n", r->me, strerror(err));
    }
    return NULL;
}

static unsigned race_all(int (*fn)(struct brick *, unsigned))
{
    struct racer r[RACERS];
    unsigned won = 0;

    for (unsigned i = 0; i < RACERS; i++) {
        r[i] = (struct racer){ .k = b, .fn = fn, .me = i };
        r[i].k.call = NULL;
        ck_assert_int_eq(pthread_create(&r[i].thread, NULL, race, &r[i]), 0);
    }
    for (unsigned i = 0; i < RACERS; i++) {
        pthread_join(r[i].thread, NULL);
        if (r[i].k.call)
            wg_call_unref(r[i].k.call);
        won += r[i].won;
        ck_assert_uint_eq(r[i].failed, 0);
    }
    return won;
}

static int put_if_none(struct brick *k, unsigned me)
{
    (void)me;
    return put_as(k, "one/key", "x", WG_IF_NONE_MATCH_ANY, (struct wg_etag){ 0 });
}

/* Nor is it EBUSY: clients would try again for ever. */
START_TEST(special_files_are_not_replaced)
{
    OK(FOP_(&b, mknod, .at = at(bucket, "fifo"), .gfid = wg_gfid_new(), .type = WG_FIFO));
    ERR(put("fifo", "x"), EPERM);
    SAME(content("fifo"), "ENOENT");
    ck_assert(there("fifo"));
    OK(FOP_(&b, unlink, .at = at(bucket, "fifo")));
    OK(put("fifo", "x"));
}
END_TEST

START_TEST(of_racing_first_puts_one_wins)
{
    ck_assert_uint_eq(race_all(put_if_none), 1);
}
END_TEST

/* Adds one to a number by compare and swap; no increment may be lost. */
static int increment(struct brick *k, unsigned me)
{
    char text[32];
    struct wg_etag e;

    (void)me;
    if (FOP_(k, get, .bucket = bucket, .key = WG_STR("n"), .size = 31))
        return EIO;
    e = OUT_(k, get)->etag;
    memcpy(text, OUT_(k, get)->data.seg[0].base, OUT_(k, get)->data.len);
    text[OUT_(k, get)->data.len] = '\0';
    snprintf(text, sizeof text, "%d", atoi(text) + 1);
    return put_as(k, "n", text, WG_IF_MATCH, e);
}

START_TEST(if_match_holds_among_racers)
{
    unsigned won;

    OK(put("n", "0"));
    won = race_all(increment);
    ck_assert_int_eq(atoi(content("n")), (int)won);
    ck_assert_uint_gt(won, 0);
}
END_TEST

static int put_and_del(struct brick *k, unsigned me)
{
    char key[32];
    int err;

    snprintf(key, sizeof key, "p/q/r%u", me);
    err = put_as(k, key, "x", 0, (struct wg_etag){ 0 });
    if (err)
        return err == ENOENT ? EDOM : err;
    err = FOP_(k, get, .bucket = bucket, .key = wg_str_of(key));
    if (err)
        return err == ENOENT ? ERANGE : err;
    err = FOP_(k, del, .bucket = bucket, .key = wg_str_of(key));
    return err == ENOENT ? ESRCH : err;
}

START_TEST(pruning_never_fails_a_put)
{
    race_all(put_and_del);
    SAME(keys(), "");
    ck_assert(!there("p"));
}
END_TEST

static int twins(struct brick *k, unsigned me)
{
    static const char *const name[] = { "t", "t/x", "t/", "t/x/y" };
    const char *key = name[me % 4];
    int err = put_as(k, key, "content", 0, (struct wg_etag){ 0 });

    if (err == 0 && me >= 4)
        err = FOP_(k, del, .bucket = bucket, .key = wg_str_of(key));
    return err == ENOENT ? EIO : err;
}

START_TEST(files_and_directories_of_one_name_race)
{
    race_all(twins);
    for (unsigned i = 0; i < 4; i++) {
        static const char *const name[] = { "t", "t/x", "t/", "t/x/y" };

        OK(put(name[i], name[i]));
        SAME(content(name[i]), name[i]);
    }
    SAME(keys(), "t t/ t/x t/x/y");
    for (unsigned i = 0; i < 4; i++) {
        static const char *const name[] = { "t", "t/x", "t/", "t/x/y" };

        OK(del(name[i]));
        ck_assert_int_ne(get(name[i]), 0);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("posix_s3");
    TCase *one = tcase_create("one"), *races = tcase_create("races");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_add_checked_fixture(one, setup, teardown);
    tcase_set_timeout(one, 60);
    tcase_add_test(one, an_object_is_a_plain_file);
    if (geteuid() == 0)
        tcase_add_test(one, an_object_belongs_to_its_user);
    tcase_add_test(one, directories_that_a_put_made_go_with_their_last_key);
    tcase_add_test(one, directories_of_nfs_stay_and_show_when_empty);
    tcase_add_test(one, a_marker_is_the_directory_itself);
    tcase_add_test(one, a_directory_object_may_have_content);
    tcase_add_test(one, a_file_and_a_directory_have_the_same_name);
    tcase_add_test(one, a_long_name_has_a_twin_in_a_chunk);
    tcase_add_test(one, any_key_is_kept);
    tcase_add_test(one, conditions_hold);
    tcase_add_test(one, an_nfs_write_changes_the_etag);
    tcase_add_test(one, a_replayed_put_succeeds);
    tcase_add_test(one, a_staged_file_is_written_and_published);
    tcase_add_test(one, uploads_are_out_of_sight);
    tcase_add_test(one, a_reader_of_a_replaced_object_reads_on);
    tcase_add_test(one, meta_is_changed_in_place);
    tcase_add_test(one, symlinks_are_answered_not_followed);
    tcase_add_test(one, special_files_are_not_replaced);
    suite_add_tcase(s, one);
    tcase_add_checked_fixture(races, setup, teardown);
    tcase_set_timeout(races, 120);
    tcase_add_test(races, of_racing_first_puts_one_wins);
    tcase_add_test(races, if_match_holds_among_racers);
    tcase_add_test(races, pruning_never_fails_a_put);
    tcase_add_test(races, files_and_directories_of_one_name_race);
    suite_add_tcase(s, races);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
