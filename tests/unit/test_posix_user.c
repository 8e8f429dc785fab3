/* SPDX-License-Identifier: Apache-2.0 */
/* storage/posix without privileges: one uid, user.wg, no handles. Root becomes nobody for it. */
#include <grp.h>
#include <sys/resource.h>
#include <sys/xattr.h>

#include "brick.h"
#include "xlators/storage/posix/index.h"

static void be_nobody(void)
{
    if (geteuid() != 0)
        return;
    OK(setgroups(0, NULL));
    OK(setgid(65534));
    OK(setuid(65534));
}

START_TEST(an_unprivileged_brick_says_so)
{
    struct brick b;

    be_nobody();
    brick_start(&b);
    ck_assert(!brick_px(&b)->handles && !brick_px(&b)->switches);
    ck_assert_str_eq(brick_px(&b)->rec_name, "user.wg");
    brick_end(&b);
}
END_TEST

START_TEST(files_live_and_are_found_again)
{
    struct brick b;
    struct wg_ref d, f;

    be_nobody();
    brick_start(&b);
    be(&b, 1000, 1000); /* whoever asks, it is done as the brick */
    d = mkdir_(&b, brick_root(), "d", 0755);
    f = mkfile(&b, d, "f", 0644);
    ck_assert_uint_eq(OUT_(&b, create)->attr.uid, geteuid());
    ck_assert_uint_eq(f.hint_len, 0);
    OK(put_text(&b, f, 0, "content", WG_UNSTABLE));
    OK(FOP_(&b, commit, .at = f));
    OK(FOP_(&b, rename, .from = at(d, "f"), .to = at(d, "g"), .moved = f.gfid));
    ck_assert_str_eq(get_text(&b, f), "content");
    brick_restart(&b);
    ck_assert_str_eq(get_text(&b, f), "content"); /* by the index: nobody has looked it up yet */
    brick_restart(&b);
    ck_assert(wg_gfid_eq(lookup(&b, brick_root(), "d").gfid, d.gfid));
    ck_assert(wg_gfid_eq(lookup(&b, d, "g").gfid, f.gfid));
    ck_assert_str_eq(get_text(&b, f), "content");
    OK(FOP_(&b, unlink, .at = at(d, "g"), .expect = f.gfid));
    ERR(FOP_(&b, getattr, .at = f), ESTALE);
    brick_end(&b);
}
END_TEST

START_TEST(modes_do_not_stand_in_the_way)
{
    static const uint32_t modes[] = { 0444, 0200, 0000, 0111 };
    struct brick b;
    char name[8];

    be_nobody();
    brick_start(&b);
    for (unsigned i = 0; i < 4; i++) {
        struct wg_ref f;

        snprintf(name, sizeof name, "f%u", i);
        f = mkfile(&b, brick_root(), name, modes[i]);
        OK(put_text(&b, f, 0, "git", WG_UNSTABLE));
        ck_assert_uint_eq(OUT_(&b, write)->wcc.post.mode, modes[i]);
        ck_assert_str_eq(get_text(&b, f), "git");
        brick_restart(&b);
        ck_assert(wg_gfid_eq(lookup(&b, brick_root(), name).gfid, f.gfid));
        ck_assert_uint_eq(OUT_(&b, lookup)->attr.mode, modes[i]);
        OK(put_text(&b, f, 3, "!", WG_FILE_SYNC));
        OK(FOP_(&b, setattr, .at = f, .attrs = { .valid = WG_SET_SIZE, .size = 1 }));
        ck_assert_uint_eq(OUT_(&b, setattr)->wcc.post.mode, modes[i]);
    }
    OK(FOP_(&b, readdir, .at = brick_root(), .size = 65536, .plus = true));
    ck_assert_uint_eq(OUT_(&b, readdir)->entries.count, 6);
    brick_end(&b);
}
END_TEST

START_TEST(what_holds_no_xattr_keeps_its_derived_gfid)
{
    struct brick b;
    struct wg_ref s, p;
    wg_gfid asked = wg_gfid_new();

    be_nobody();
    brick_start(&b);
    OK(FOP_(&b, symlink, .at = at(brick_root(), "s"), .gfid = asked, .target = WG_STR("to")));
    s = OUT_(&b, symlink)->ref;
    OK(FOP_(&b, mknod, .at = at(brick_root(), "p"), .gfid = wg_gfid_new(), .type = WG_FIFO));
    p = OUT_(&b, mknod)->ref;
    ck_assert(!wg_gfid_eq(s.gfid, p.gfid));
    ERR(FOP_(&b, symlink, .at = at(brick_root(), "s"), .gfid = wg_gfid_new(), .target = WG_STR("to")), EEXIST);
    b.replay = true;
    OK(FOP_(&b, symlink, .at = at(brick_root(), "s"), .gfid = asked, .target = WG_STR("to")));
    ERR(FOP_(&b, symlink, .at = at(brick_root(), "s"), .gfid = asked, .target = WG_STR("other")), EEXIST);
    b.replay = false;
    brick_restart(&b);
    ck_assert(wg_gfid_eq(lookup(&b, brick_root(), "s").gfid, s.gfid));
    ck_assert(wg_gfid_eq(lookup(&b, brick_root(), "p").gfid, p.gfid));
    OK(FOP_(&b, readlink, .at = s));
    OK(FOP_(&b, setattr, .at = s, .attrs = { .valid = WG_SET_MTIME, .mtime = { 77, 0 } }));
    ck_assert_int_eq(OUT_(&b, setattr)->wcc.post.mtime.sec, 77);
    brick_end(&b);
}
END_TEST

static void wait_complete(struct brick *b)
{
    for (int i = 0; i < 6000 && !atomic_load(&brick_px(b)->index->complete); i++)
        usleep(10000);
    ck_assert(atomic_load(&brick_px(b)->index->complete));
}

START_TEST(while_the_index_is_rebuilt_no_handle_is_stale)
{
    struct wg_ref d, f, never = { .gfid = wg_gfid_new() };
    struct px_names held;
    struct posix *px;
    struct brick b;

    be_nobody();
    brick_start(&b);
    d = mkdir_(&b, brick_root(), "d", 0755);
    f = mkfile(&b, d, "f", 0644);
    brick_restart(&b);
    px = brick_px(&b);
    wait_complete(&b);
    ERR(FOP_(&b, getattr, .at = never), ESTALE);
    /* The rows are lost, and the rebuild can't get past d. */
    OK(wg_px_index_remove(px, d.gfid, "f", f.gfid, true));
    OK(wg_px_index_remove(px, brick_root().gfid, "d", d.gfid, true));
    wg_px_lock_names(px, &held, &(struct px_at){ brick_root().gfid, "d" }, 1);
    wg_px_index_rebuild(px);
    ERR(FOP_(&b, getattr, .at = f), EAGAIN);
    ERR(FOP_(&b, getattr, .at = never), EAGAIN);
    OK(FOP_(&b, getattr, .at = brick_root()));
    wg_px_unlock_names(px, &held);
    wait_complete(&b);
    OK(FOP_(&b, getattr, .at = f));
    OK(FOP_(&b, lookup, .at = at(d, "f")));
    ERR(FOP_(&b, getattr, .at = never), ESTALE);
    brick_end(&b);
}
END_TEST

START_TEST(a_rebuild_that_lacks_descriptors_is_not_complete)
{
    struct rlimit limit, none;
    struct wg_ref d, f;
    struct brick b;

    be_nobody();
    brick_start(&b);
    d = mkdir_(&b, brick_root(), "d", 0755);
    f = mkfile(&b, d, "f", 0644);
    brick_restart(&b);
    wait_complete(&b);
    OK(wg_px_index_remove(brick_px(&b), d.gfid, "f", f.gfid, true));
    OK(getrlimit(RLIMIT_NOFILE, &limit));
    none = (struct rlimit){ 3, limit.rlim_max };
    OK(setrlimit(RLIMIT_NOFILE, &none));
    wg_px_index_rebuild(brick_px(&b));
    for (unsigned i = 0, failed = 0; i < 6000 && failed == 0; i++) {
        usleep(10000);
        pthread_mutex_lock(&brick_px(&b)->index->mutex);
        failed = brick_px(&b)->index->nfailed;
        pthread_mutex_unlock(&brick_px(&b)->index->mutex);
    }
    ck_assert(!atomic_load(&brick_px(&b)->index->complete));
    OK(setrlimit(RLIMIT_NOFILE, &limit));
    wait_complete(&b);
    OK(FOP_(&b, getattr, .at = f));
    brick_end(&b);
}
END_TEST

START_TEST(any_name_that_is_left_leads_to_a_file)
{
    struct wg_ref d, e, f, g, deep;
    struct brick b;

    be_nobody();
    brick_start(&b);
    d = mkdir_(&b, brick_root(), "d", 0755);
    e = mkdir_(&b, brick_root(), "e", 0755);
    f = mkfile(&b, d, "f", 0644);
    g = mkfile(&b, e, "g", 0644);
    OK(FOP_(&b, link, .at = f, .to = at(d, "f2")));
    OK(FOP_(&b, link, .at = f, .to = at(e, "f3")));
    OK(FOP_(&b, link, .at = g, .to = at(d, "g2")));
    OK(FOP_(&b, unlink, .at = at(e, "f3"))); /* the latest name */
    OK(FOP_(&b, unlink, .at = at(e, "g")));  /* the first */
    brick_restart(&b);
    OK(FOP_(&b, getattr, .at = f));
    ck_assert_uint_eq(OUT_(&b, getattr)->attr.nlink, 2);
    OK(FOP_(&b, getattr, .at = g));
    brick_restart(&b);
    OK(FOP_(&b, rename, .from = at(d, "f"), .to = at(d, "g2"))); /* replaces g's last name */
    OK(FOP_(&b, unlink, .at = at(d, "f2")));
    ERR(FOP_(&b, rename, .from = at(brick_root(), "e"), .to = at(brick_root(), "d")), ENOTEMPTY);
    brick_restart(&b);
    OK(FOP_(&b, getattr, .at = e));
    OK(FOP_(&b, getattr, .at = f));
    ERR(FOP_(&b, getattr, .at = g), ESTALE);
    /* Between the row of a rename and the rename itself. */
    OK(wg_px_index_add(brick_px(&b), e.gfid, "later", f.gfid, WG_REG, NULL, 0));
    brick_restart(&b);
    OK(FOP_(&b, getattr, .at = f));
    deep = e;
    for (int i = 0; i < 300; i++)
        deep = mkdir_(&b, deep, "deeper", 0755);
    brick_restart(&b);
    OK(FOP_(&b, getattr, .at = deep));
    brick_end(&b);
}
END_TEST

START_TEST(a_rebuild_finds_uploads_too)
{
    struct wg_seg seg = { NULL, "x", 1 };
    struct wg_ref d, part;
    struct brick b;

    be_nobody();
    brick_start(&b);
    d = mkdir_(&b, brick_root(), "bucket", 0755);
    OK(FOP_(&b, put, .bucket = d, .space = WG_SPACE_UPLOADS, .key = WG_STR("id/part.00001"), .gfid = wg_gfid_new(),
            .etag = { .valid = true }, .data = { &seg, 1, 1 }));
    part = OUT_(&b, put)->ref;
    brick_stop(&b);
    OK(unlink(brick_path(&b, ".windgate/index/data.mdb")));
    OK(brick_try(&b, ""));
    wait_complete(&b);
    OK(FOP_(&b, getattr, .at = part));
    brick_end(&b);
}
END_TEST

/* A process was killed in the midst of an unlink, or (done) after it and before the answer. */
static void killed(struct brick *b, unsigned op, struct wg_ref dir, const char *name, uint64_t request, bool done)
{
    struct wg_call call = { .request_id = { request, request } };
    struct wg_frame f = { .call = &call, .op = op };
    struct px_inode *ino;
    uint64_t id[2];

    if (b->call)
        wg_call_unref(b->call); /* the effect was its */
    b->call = NULL;
    OK(wg_px_find(brick_px(b), &dir, &ino));
    wg_px_done_id(&f, ino, name, id);
    wg_px_done_mark(brick_px(b), id);
    if (done)
        wg_px_done_end(brick_px(b), id, true);
    wg_px_release(brick_px(b), ino);
}

/* An NFS client sends again what a killed process had done: it is told the same. Not what it had not done. */
START_TEST(what_was_done_before_a_restart_is_not_done_again)
{
    struct wg_ref d, f;
    struct brick b;

    brick_start(&b);
    d = mkdir_(&b, brick_root(), "d", 0755);
    f = mkfile(&b, d, "f", 0644);
    b.request = 1;
    OK(FOP_(&b, link, .at = f, .to = at(d, "g")));
    killed(&b, WG_OP_link, d, "g", 1, true);
    b.request = 2;
    OK(FOP_(&b, rename, .from = at(d, "g"), .to = at(d, "h")));
    killed(&b, WG_OP_rename, d, "g", 2, true);
    b.request = 3;
    OK(FOP_(&b, unlink, .at = at(d, "h")));
    killed(&b, WG_OP_unlink, d, "h", 3, true);
    b.request = 0;
    OK(FOP_(&b, link, .at = f, .to = at(d, "h"))); /* somebody else's */
    brick_restart(&b);
    b.request = 3;
    OK(FOP_(&b, unlink, .at = at(d, "h")));
    b.request = 2;
    OK(FOP_(&b, rename, .from = at(d, "g"), .to = at(d, "h")));
    b.request = 1;
    OK(FOP_(&b, link, .at = f, .to = at(d, "g")));
    b.request = 0;
    lookup(&b, d, "h");
    ERR(FOP_(&b, lookup, .at = at(d, "g")), ENOENT);
    /* Begun, and killed before and after the effect. */
    killed(&b, WG_OP_unlink, d, "h", 5, false);
    killed(&b, WG_OP_unlink, d, "h", 6, false);
    killed(&b, WG_OP_rename, d, "g", 8, true);
    brick_restart(&b);
    b.request = 5;
    OK(FOP_(&b, unlink, .at = at(d, "h")));
    b.request = 6;
    OK(FOP_(&b, unlink, .at = at(d, "h")));
    b.request = 8; /* another name of a request that had an effect */
    ERR(FOP_(&b, unlink, .at = at(d, "g")), ENOENT);
    b.request = 7;
    ERR(FOP_(&b, unlink, .at = at(d, "h")), ENOENT);
    brick_end(&b);
}
END_TEST

/* A program that counts its requests from one, each time it is started, means another request each time. */
START_TEST(what_was_answered_before_a_restart_is_done_again)
{
    struct wg_ref d, f;
    struct brick b;

    brick_start(&b);
    d = mkdir_(&b, brick_root(), "d", 0755);
    f = mkfile(&b, d, "f", 0644);
    for (unsigned start = 0; start < 3; start++) {
        b.request = 1;
        OK(FOP_(&b, link, .at = f, .to = at(d, "g")));
        b.request = 2;
        OK(FOP_(&b, rename, .from = at(d, "g"), .to = at(d, "h")));
        b.request = 3;
        OK(FOP_(&b, unlink, .at = at(d, "h")));
        ERR(FOP_(&b, unlink, .at = at(d, "h")), ENOENT);
        ERR(FOP_(&b, lookup, .at = at(d, "g")), ENOENT);
        b.request = 4;
        ERR(FOP_(&b, rmdir, .at = at(brick_root(), "d")), ENOTEMPTY);
        brick_restart(&b);
    }
    brick_end(&b);
}
END_TEST

START_TEST(the_modes_of_bricks_do_not_mix)
{
    struct brick b;

    NEEDS_ROOT("the_modes_of_bricks_do_not_mix");
    brick_start(&b);
    brick_stop(&b);
    OK(chown(b.dir, 65534, 65534));
    OK(chown(brick_path(&b, ".windgate"), 65534, 65534));
    OK(chown(brick_path(&b, ".windgate/format"), 65534, 65534));
    OK(chown(brick_path(&b, ".windgate/lock"), 65534, 65534));
    be_nobody();
    ERR(brick_try(&b, ""), EPERM);
    brick_end(&b);
}
END_TEST

TESTS("posix unprivileged",
      TEST_ROW(an_unprivileged_brick_says_so)
      TEST_ROW(files_live_and_are_found_again)
      TEST_ROW(modes_do_not_stand_in_the_way)
      TEST_ROW(what_holds_no_xattr_keeps_its_derived_gfid)
      TEST_ROW(while_the_index_is_rebuilt_no_handle_is_stale)
      TEST_ROW(a_rebuild_that_lacks_descriptors_is_not_complete)
      TEST_ROW(any_name_that_is_left_leads_to_a_file)
      TEST_ROW(a_rebuild_finds_uploads_too)
      TEST_ROW(what_was_done_before_a_restart_is_not_done_again)
      TEST_ROW(what_was_answered_before_a_restart_is_done_again)
      TEST_ROW(the_modes_of_bricks_do_not_mix))
