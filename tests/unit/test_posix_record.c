/* SPDX-License-Identifier: Apache-2.0 */
/* storage/posix: an ETag is never wrong. The record's states, and ETags of dirty files. */
#include <openssl/evp.h>
#include <sys/xattr.h>

#include "brick.h"

static struct px_rec record(struct brick *b, const char *name)
{
    int fd = open(brick_path(b, name), O_PATH);
    struct px_rec rec;

    OK(wg_px_rec_get(brick_px(b), fd, &rec));
    close(fd);
    return rec;
}

/* Makes f clean, as a publish does. */
static struct wg_etag publish(struct brick *b, struct wg_ref f)
{
    struct wg_etag etag = { .valid = true, .md5 = { 1, 2, 3 }, .parts = 5 };
    struct px_inode *ino;
    struct px_rec rec;
    struct statx st;

    OK(wg_px_find(brick_px(b), &f, &ino));
    OK(wg_px_stat(ino->fd, &st));
    OK(wg_px_rec(brick_px(b), ino, &rec));
    wg_px_rec_stamp(&rec, &etag, &st);
    OK(wg_px_rec_set(brick_px(b), ino->fd, &rec));
    wg_px_rec_changed(brick_px(b), ino, &rec);
    wg_px_release(brick_px(b), ino);
    return etag;
}

static struct wg_etag etag_of(struct brick *b, struct wg_ref f)
{
    struct px_inode *ino;
    struct wg_etag etag;
    struct px_rec rec;
    struct statx st;

    OK(wg_px_find(brick_px(b), &f, &ino));
    OK(wg_px_stat(ino->fd, &st));
    OK(wg_px_rec(brick_px(b), ino, &rec));
    wg_px_etag(brick_px(b), ino, &rec, &st, &etag);
    wg_px_release(brick_px(b), ino);
    return etag;
}

static bool same(struct wg_etag a, struct wg_etag b)
{
    return !memcmp(a.md5, b.md5, 16) && a.parts == b.parts && a.synthetic == b.synthetic;
}

static struct wg_ref published(struct brick *b, const char *name)
{
    struct wg_ref f = mkfile(b, brick_root(), name, 0644);

    OK(put_text(b, f, 0, "content", WG_FILE_SYNC));
    publish(b, f);
    return f;
}

START_TEST(a_write_makes_a_clean_file_dirty_before_it_once)
{
    struct brick b;
    struct wg_etag before, after;
    struct wg_ref f;
    uint32_t generation;

    brick_start(&b);
    f = published(&b, "f");
    before = etag_of(&b, f);
    ck_assert(!before.synthetic && before.parts == 5);
    generation = record(&b, "f").generation;
    OK(put_text(&b, f, 0, "CONTENT", WG_UNSTABLE));
    ck_assert(!(record(&b, "f").flags & PX_REC_CLEAN));
    ck_assert_uint_eq(record(&b, "f").generation, generation + 1);
    after = etag_of(&b, f);
    ck_assert(after.synthetic);
    OK(put_text(&b, f, 0, "more", WG_UNSTABLE)); /* after a synthetic ETag went out: one more */
    OK(put_text(&b, f, 0, "more", WG_UNSTABLE));
    OK(put_text(&b, f, 0, "more", WG_UNSTABLE));
    ck_assert_uint_eq(record(&b, "f").generation, generation + 2);
    ck_assert(!same(etag_of(&b, f), after));
    brick_end(&b);
}
END_TEST

START_TEST(the_dirty_mark_is_made_after_a_restart_too)
{
    struct brick b;
    struct wg_ref f;

    brick_start(&b);
    f = published(&b, "f");
    brick_restart(&b);
    ck_assert(!etag_of(&b, f).synthetic);
    OK(put_text(&b, f, 3, "x", WG_UNSTABLE));
    ck_assert(etag_of(&b, f).synthetic);
    brick_end(&b);
}
END_TEST

START_TEST(truncating_and_copying_into_make_dirty)
{
    struct brick b;
    struct wg_ref f, g;

    brick_start(&b);
    f = published(&b, "f");
    g = published(&b, "g");
    OK(FOP_(&b, setattr, .at = f, .attrs = { .valid = WG_SET_SIZE, .size = 7 }));
    ck_assert(etag_of(&b, f).synthetic);
    OK(FOP_(&b, copy_range, .from = f, .to = g, .size = 3));
    ck_assert(etag_of(&b, g).synthetic);
    g = published(&b, "h");
    OK(FOP_(&b, create, .at = at(brick_root(), "h"), .how = WG_UNCHECKED, .attrs = { .valid = WG_SET_SIZE }));
    ck_assert(etag_of(&b, g).synthetic);
    brick_end(&b);
}
END_TEST

START_TEST(renaming_linking_and_setting_attributes_do_not)
{
    struct wg_sattr a = { .valid = WG_SET_MODE | WG_SET_MTIME | WG_SET_ATIME, .mode = 0600,
                          .mtime = { 1234567, 89 } };
    struct brick b;
    struct wg_etag etag;
    struct wg_ref f;

    brick_start(&b);
    f = published(&b, "f");
    etag = etag_of(&b, f);
    OK(FOP_(&b, rename, .from = at(brick_root(), "f"), .to = at(brick_root(), "g")));
    OK(FOP_(&b, link, .at = f, .to = at(brick_root(), "h")));
    OK(FOP_(&b, setattr, .at = f, .attrs = a));
    ck_assert(same(etag_of(&b, f), etag));
    OK(FOP_(&b, setattr, .at = f, .attrs = { .valid = WG_SET_MTIME_NOW }));
    ck_assert(same(etag_of(&b, f), etag));
    OK(FOP_(&b, write, .at = f, .offset = 0));
    ck_assert(same(etag_of(&b, f), etag));
    brick_restart(&b);
    ck_assert(same(etag_of(&b, f), etag));
    brick_end(&b);
}
END_TEST

START_TEST(an_edit_behind_our_back_is_seen)
{
    struct brick b;
    struct wg_ref f;
    int fd;

    brick_start(&b);
    f = published(&b, "f");
    usleep(20000);
    fd = open(brick_path(&b, "f"), O_WRONLY);
    ck_assert_int_eq(pwrite(fd, "CONTENT", 7, 0), 7);
    close(fd);
    ck_assert(etag_of(&b, f).synthetic);
    brick_end(&b);
}
END_TEST

/* Writers and a reader of ETags: two observations with a change between never agree. */
static struct brick *shared;
static struct wg_ref target;
static atomic_bool stop;
static atomic_uint changes;

static void *writer(void *arg)
{
    struct posix *px = arg;
    struct px_inode *ino;

    while (!atomic_load(&stop)) {
        if (wg_px_find(px, &target, &ino) != 0)
            abort();
        if (wg_px_change(px, ino) != 0)
            abort();
        atomic_fetch_add(&changes, 1); /* what stands for the write: it takes no clock tick */
        wg_px_changed(px, ino);
        wg_px_release(px, ino);
    }
    return NULL;
}

START_TEST(no_etag_is_given_twice_for_different_content)
{
    struct brick b;
    struct wg_etag last = { 0 };
    pthread_t t[2];
    unsigned before, seen = 0;

    brick_start(&b);
    shared = &b;
    target = mkfile(&b, brick_root(), "f", 0644);
    for (int i = 0; i < 2; i++)
        OK(pthread_create(&t[i], NULL, writer, brick_px(&b)));
    for (int i = 0; i < 2000; i++) {
        struct wg_etag now;

        before = atomic_load(&changes);
        now = etag_of(&b, target);
        /* A change that began after the last ETag and ended before this one must show. */
        if (i > 0 && before > seen + 4)
            ck_assert(!same(now, last));
        last = now;
        seen = atomic_load(&changes);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
    brick_end(&b);
}
END_TEST

START_TEST(a_copy_made_behind_our_back_gets_a_gfid_of_its_own)
{
    struct brick b;
    struct wg_ref f, g;
    char cmd[1024];

    NEEDS_ROOT("a_copy_made_behind_our_back_gets_a_gfid_of_its_own");
    brick_start(&b);
    f = published(&b, "f");
    snprintf(cmd, sizeof cmd, "cp -a --preserve=xattr %s/f %s/g", b.dir, b.dir);
    OK(system(cmd));
    usleep(10000);
    g = lookup(&b, brick_root(), "g");
    ck_assert(!wg_gfid_eq(f.gfid, g.gfid));
    ck_assert(wg_gfid_eq(lookup(&b, brick_root(), "f").gfid, f.gfid));
    OK(put_text(&b, g, 0, "other", WG_UNSTABLE));
    ck_assert_str_eq(get_text(&b, f), "content");
    brick_end(&b);
}
END_TEST

START_TEST(a_damaged_record_is_an_error_and_no_crash)
{
    struct brick b;
    struct wg_ref f;

    brick_start(&b);
    f = mkfile(&b, brick_root(), "f", 0644);
    brick_stop(&b);
    OK(brick_try(&b, ""));
    OK(setxattr(brick_path(&b, "f"), brick_px(&b)->rec_name, "short", 5, 0));
    ERR(FOP_(&b, lookup, .at = at(brick_root(), "f")), EIO);
    ck_assert_int_ne(FOP_(&b, getattr, .at = f), 0);
    OK(FOP_(&b, readdir, .at = brick_root(), .size = 4096, .plus = true));
    OK(FOP_(&b, unlink, .at = at(brick_root(), "f")) == EIO ? 0 : 1);
    brick_end(&b);
}
END_TEST

START_TEST(a_retained_inode_is_read_by_its_handle_until_it_is_due)
{
    struct brick b;
    struct wg_ref f, bare;
    struct px_inode *ino;

    brick_mkdir(&b);
    OK(brick_try(&b, " option init yes\n option replaced-keep 1s\n"));
    f = published(&b, "f");
    OK(wg_px_find(brick_px(&b), &f, &ino));
    OK(wg_px_retain(brick_px(&b), ino));
    wg_px_release(brick_px(&b), ino);
    OK(unlink(brick_path(&b, "f")));
    ck_assert_str_eq(get_text(&b, f), "content");
    brick_stop(&b);
    OK(brick_try(&b, " option replaced-keep 1s\n"));
    bare = (struct wg_ref){ .gfid = f.gfid }; /* with no hint at all, as without handles */
    ck_assert_str_eq(get_text(&b, bare), "content");
    for (int i = 0; i < 400 && FOP_(&b, getattr, .at = f) == 0; i++)
        usleep(10000);
    ERR(FOP_(&b, getattr, .at = f), ESTALE);
    brick_end(&b);
}
END_TEST

TESTS("posix record",
      TEST_ROW(a_write_makes_a_clean_file_dirty_before_it_once)
      TEST_ROW(the_dirty_mark_is_made_after_a_restart_too)
      TEST_ROW(truncating_and_copying_into_make_dirty)
      TEST_ROW(renaming_linking_and_setting_attributes_do_not)
      TEST_ROW(an_edit_behind_our_back_is_seen)
      TEST_ROW(no_etag_is_given_twice_for_different_content)
      TEST_ROW(a_copy_made_behind_our_back_gets_a_gfid_of_its_own)
      TEST_ROW(a_damaged_record_is_an_error_and_no_crash)
      TEST_ROW(a_retained_inode_is_read_by_its_handle_until_it_is_due))
