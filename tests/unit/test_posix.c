/* SPDX-License-Identifier: Apache-2.0 */
/* storage/posix: what each fop does, and what it answers to a replay. */
#include <sys/xattr.h>

#include "brick.h"
#include "dump.h"

START_TEST(a_name_is_made_found_and_removed)
{
    struct brick b;
    struct wg_ref f;
    wg_gfid g = wg_gfid_new();

    brick_start(&b);
    ERR(FOP_(&b, lookup, .at = at(brick_root(), "f")), ENOENT);
    ck_assert(OUT_(&b, lookup)->parent.valid);
    OK(FOP_(&b, create, .at = at(brick_root(), "f"), .gfid = g, .how = WG_GUARDED, .attrs = mode_of(0640)));
    ck_assert(wg_gfid_eq(OUT_(&b, create)->ref.gfid, g));
    ck_assert_uint_eq(OUT_(&b, create)->attr.mode, 0640);
    ck_assert_uint_eq(OUT_(&b, create)->attr.nlink, 1);
    ck_assert(OUT_(&b, create)->parent.pre_valid && OUT_(&b, create)->parent.post.valid);
    f = lookup(&b, brick_root(), "f");
    ck_assert(wg_gfid_eq(f.gfid, g));
    OK(FOP_(&b, unlink, .at = at(brick_root(), "f")));
    ERR(FOP_(&b, lookup, .at = at(brick_root(), "f")), ENOENT);
    ERR(FOP_(&b, getattr, .at = f), ESTALE);
    ERR(FOP_(&b, unlink, .at = at(brick_root(), "f")), ENOENT);
    brick_end(&b);
}
END_TEST

START_TEST(dot_and_dotdot_are_looked_up)
{
    struct brick b;
    struct wg_ref d, e;

    brick_start(&b);
    d = mkdir_(&b, brick_root(), "d", 0755);
    e = mkdir_(&b, d, "e", 0755);
    ck_assert(wg_gfid_eq(lookup(&b, e, ".").gfid, e.gfid));
    ck_assert(wg_gfid_eq(lookup(&b, e, "..").gfid, d.gfid));
    ck_assert(wg_gfid_eq(lookup(&b, d, "..").gfid, WG_ROOT_GFID));
    ck_assert(wg_gfid_eq(lookup(&b, brick_root(), "..").gfid, WG_ROOT_GFID));
    ERR(FOP_(&b, rmdir, .at = at(d, ".")), EINVAL);
    ERR(FOP_(&b, rmdir, .at = at(e, "..")), ENOTEMPTY);
    ERR(FOP_(&b, unlink, .at = at(e, "..")), EINVAL);
    ERR(FOP_(&b, rename, .from = at(d, "."), .to = at(d, "x")), EINVAL);
    ERR(FOP_(&b, mkdir, .at = at(d, "..")), EEXIST);
    brick_end(&b);
}
END_TEST

START_TEST(bad_names_are_refused)
{
    static char longest[257];
    struct brick b;
    struct wg_ref f;

    brick_start(&b);
    memset(longest, 'n', 256);
    f = mkfile(&b, brick_root(), "f", 0644);
    ERR(FOP_(&b, lookup, .at = at(brick_root(), "")), EINVAL);
    ERR(FOP_(&b, lookup, .at = at(brick_root(), "a/b")), EINVAL);
    ERR(FOP_(&b, lookup, .at = { brick_root(), { "a\0b", 3 } }), EINVAL);
    ERR(FOP_(&b, lookup, .at = at(brick_root(), longest)), ENAMETOOLONG);
    ERR(FOP_(&b, mkdir, .at = at(brick_root(), longest)), ENAMETOOLONG);
    ERR(FOP_(&b, lookup, .at = at(f, "x")), ENOTDIR);
    ERR(FOP_(&b, getattr, .at = { .gfid = wg_gfid_new() }), ESTALE);
    ERR(FOP_(&b, getattr, .at = { .hint_len = 4 }), EBADHANDLE);
    longest[255] = '\0';
    mkfile(&b, brick_root(), longest, 0644);
    lookup(&b, brick_root(), longest);
    brick_end(&b);
}
END_TEST

START_TEST(only_canonical_escapes_may_be_made)
{
    struct brick b;
    struct wg_ref d;

    brick_start(&b);
    d = mkdir_(&b, brick_root(), "bucket", 0755);
    mkfile(&b, d, ".@fa", 0644);
    ERR(FOP_(&b, create, .at = at(d, ".@x"), .how = WG_GUARDED), EINVAL);
    ERR(FOP_(&b, mkdir, .at = at(d, ".@=plain")), EINVAL);
    mkfile(&b, d, "plain", 0644);
    ERR(FOP_(&b, rename, .from = at(d, "plain"), .to = at(d, ".@zz")), EINVAL);
    ERR(FOP_(&b, link, .at = lookup(&b, d, "plain"), .to = at(d, ".@zz")), EINVAL);
    brick_end(&b);
}
END_TEST

START_TEST(the_private_directory_is_out_of_reach)
{
    struct brick b;
    struct wg_ref d;
    struct wg_cursor c;
    struct wg_dirent e;

    brick_start(&b);
    d = mkdir_(&b, brick_root(), "d", 0755);
    ERR(FOP_(&b, lookup, .at = at(brick_root(), ".windgate")), ENOENT);
    ERR(FOP_(&b, rmdir, .at = at(brick_root(), ".windgate")), ENOENT);
    ERR(FOP_(&b, mkdir, .at = at(brick_root(), ".windgate")), EACCES);
    ERR(FOP_(&b, rename, .from = at(brick_root(), ".windgate"), .to = at(d, "w")), ENOENT);
    ERR(FOP_(&b, rename, .from = at(brick_root(), "d"), .to = at(brick_root(), ".windgate")), EACCES);
    mkdir_(&b, d, ".windgate", 0755); /* elsewhere it is a name like others */
    OK(FOP_(&b, readdir, .at = brick_root(), .size = 65536));
    c = wg_cursor(&OUT_(&b, readdir)->entries);
    while (wg_next_dirent(&c, &e))
        ck_assert(!wg_str_eq(e.name, WG_STR(".windgate")));
    if (brick_px(&b)->handles) { /* and by a handle that somebody made up */
        struct wg_ref made = { .gfid = wg_gfid_new() };
        int fd = open(brick_path(&b, ".windgate/format"), O_RDONLY);

        made.hint_len = wg_px_hint(brick_px(&b), fd, made.hint);
        close(fd);
        ERR(FOP_(&b, getattr, .at = made), ESTALE);
    }
    brick_end(&b);
}
END_TEST

START_TEST(create_follows_rfc_1813)
{
    struct wg_sattr trunc = { .valid = WG_SET_SIZE | WG_SET_MODE, .mode = 0600 };
    struct brick b;
    struct wg_ref f;

    brick_start(&b);
    f = mkfile(&b, brick_root(), "f", 0644);
    OK(put_text(&b, f, 0, "content", WG_FILE_SYNC));
    ERR(FOP_(&b, create, .at = at(brick_root(), "f"), .gfid = wg_gfid_new(), .how = WG_GUARDED), EEXIST);
    OK(FOP_(&b, create, .at = at(brick_root(), "f"), .gfid = wg_gfid_new(), .how = WG_UNCHECKED));
    ck_assert(wg_gfid_eq(OUT_(&b, create)->ref.gfid, f.gfid));
    ck_assert_str_eq(get_text(&b, f), "content");
    OK(FOP_(&b, create, .at = at(brick_root(), "f"), .gfid = wg_gfid_new(), .how = WG_UNCHECKED,
            .attrs = trunc));
    ck_assert_uint_eq(OUT_(&b, create)->attr.size, 0);
    ck_assert_uint_eq(OUT_(&b, create)->attr.mode, 0644);
    mkdir_(&b, brick_root(), "d", 0755);
    ERR(FOP_(&b, create, .at = at(brick_root(), "d"), .gfid = wg_gfid_new(), .how = WG_UNCHECKED), EEXIST);

    OK(FOP_(&b, create, .at = at(brick_root(), "x"), .gfid = wg_gfid_new(), .how = WG_EXCLUSIVE, .verf = 77));
    f = OUT_(&b, create)->ref;
    OK(FOP_(&b, create, .at = at(brick_root(), "x"), .gfid = wg_gfid_new(), .how = WG_EXCLUSIVE, .verf = 77));
    ck_assert(wg_gfid_eq(OUT_(&b, create)->ref.gfid, f.gfid));
    ERR(FOP_(&b, create, .at = at(brick_root(), "x"), .gfid = wg_gfid_new(), .how = WG_EXCLUSIVE, .verf = 78), EEXIST);
    brick_restart(&b);
    OK(FOP_(&b, create, .at = at(brick_root(), "x"), .gfid = wg_gfid_new(), .how = WG_EXCLUSIVE, .verf = 77));
    ck_assert(wg_gfid_eq(OUT_(&b, create)->ref.gfid, f.gfid));
    brick_end(&b);
}
END_TEST

START_TEST(a_replayed_creation_is_known_by_its_gfid)
{
    wg_gfid g[4] = { wg_gfid_new(), wg_gfid_new(), wg_gfid_new(), wg_gfid_new() };
    struct brick b;

    brick_start(&b);
    for (int round = 0; round < 2; round++) {
        OK(FOP_(&b, create, .at = at(brick_root(), "f"), .gfid = g[0], .how = WG_GUARDED));
        OK(FOP_(&b, mkdir, .at = at(brick_root(), "d"), .gfid = g[1]));
        ck_assert(wg_gfid_eq(OUT_(&b, mkdir)->ref.gfid, g[1]));
        OK(FOP_(&b, symlink, .at = at(brick_root(), "s"), .gfid = g[2], .target = WG_STR("to/there")));
        OK(FOP_(&b, mknod, .at = at(brick_root(), "p"), .gfid = g[3], .type = WG_FIFO));
        ck_assert_int_eq(OUT_(&b, mknod)->attr.type, WG_FIFO);
        brick_restart(&b);
        b.replay = true;
    }
    b.replay = false;
    ERR(FOP_(&b, mkdir, .at = at(brick_root(), "d"), .gfid = wg_gfid_new()), EEXIST);
    ERR(FOP_(&b, symlink, .at = at(brick_root(), "s"), .gfid = wg_gfid_new(), .target = WG_STR("x")), EEXIST);
    ERR(FOP_(&b, mknod, .at = at(brick_root(), "q"), .type = WG_REG), EBADTYPE);
    brick_end(&b);
}
END_TEST

START_TEST(a_replayed_removal_is_known)
{
    struct brick b;
    struct wg_ref f, d;

    brick_start(&b);
    f = mkfile(&b, brick_root(), "f", 0644);
    d = mkdir_(&b, brick_root(), "d", 0755);
    ERR(FOP_(&b, unlink, .at = at(brick_root(), "f"), .expect = d.gfid), ENOTEXPECTED);
    ERR(FOP_(&b, unlink, .at = at(brick_root(), "d")), EISDIR);
    ERR(FOP_(&b, rmdir, .at = at(brick_root(), "f")), ENOTDIR);
    OK(FOP_(&b, unlink, .at = at(brick_root(), "f"), .expect = f.gfid));
    OK(FOP_(&b, rmdir, .at = at(brick_root(), "d"), .expect = d.gfid));
    ERR(FOP_(&b, unlink, .at = at(brick_root(), "f"), .expect = f.gfid), ENOENT);
    b.replay = true;
    OK(FOP_(&b, unlink, .at = at(brick_root(), "f"), .expect = f.gfid));
    OK(FOP_(&b, rmdir, .at = at(brick_root(), "d"), .expect = d.gfid));
    /* Somebody made the name again: that one is not the victim. */
    mkfile(&b, brick_root(), "f", 0644);
    OK(FOP_(&b, unlink, .at = at(brick_root(), "f"), .expect = f.gfid));
    lookup(&b, brick_root(), "f");
    brick_end(&b);
}
END_TEST

START_TEST(rename_keeps_gfid_and_hint)
{
    struct brick b;
    struct wg_ref f, g, d;

    brick_start(&b);
    d = mkdir_(&b, brick_root(), "d", 0755);
    f = mkfile(&b, brick_root(), "f", 0644);
    g = mkfile(&b, d, "g", 0644);
    OK(put_text(&b, f, 0, "moved", WG_UNSTABLE));
    ERR(FOP_(&b, rename, .from = at(brick_root(), "f"), .to = at(d, "g"), .flags = WG_RENAME_NOREPLACE), EEXIST);
    ERR(FOP_(&b, rename, .from = at(brick_root(), "f"), .to = at(d, "g"), .moved = g.gfid), ENOTEXPECTED);
    ERR(FOP_(&b, rename, .from = at(brick_root(), "f"), .to = at(d, "g"), .victim = f.gfid), ENOTEXPECTED);
    OK(FOP_(&b, rename, .from = at(brick_root(), "f"), .to = at(d, "g"), .moved = f.gfid, .victim = g.gfid));
    ck_assert(OUT_(&b, rename)->from_parent.post.valid && OUT_(&b, rename)->to_parent.post.valid);
    ck_assert(wg_gfid_eq(lookup(&b, d, "g").gfid, f.gfid));
    ERR(FOP_(&b, getattr, .at = g), ESTALE);
    ERR(FOP_(&b, rename, .from = at(brick_root(), "f"), .to = at(d, "g"), .moved = f.gfid), ENOENT);
    b.replay = true;
    OK(FOP_(&b, rename, .from = at(brick_root(), "f"), .to = at(d, "g"), .moved = f.gfid, .victim = g.gfid));
    b.replay = false;
    brick_restart(&b);
    ck_assert_str_eq(get_text(&b, f), "moved");
    ERR(FOP_(&b, rename, .from = at(brick_root(), "d"), .to = at(d, "inside")), EINVAL);
    brick_end(&b);
}
END_TEST

START_TEST(rename_exchanges)
{
    struct brick b;
    struct wg_ref f, d;

    brick_start(&b);
    f = mkfile(&b, brick_root(), "f", 0644);
    d = mkdir_(&b, brick_root(), "d", 0755);
    OK(FOP_(&b, rename, .from = at(brick_root(), "f"), .to = at(brick_root(), "d"), .moved = f.gfid,
            .victim = d.gfid, .flags = WG_RENAME_EXCHANGE));
    ck_assert(wg_gfid_eq(lookup(&b, brick_root(), "d").gfid, f.gfid));
    ck_assert(wg_gfid_eq(lookup(&b, brick_root(), "f").gfid, d.gfid));
    b.replay = true;
    OK(FOP_(&b, rename, .from = at(brick_root(), "f"), .to = at(brick_root(), "d"), .moved = f.gfid,
            .victim = d.gfid, .flags = WG_RENAME_EXCHANGE));
    ck_assert(wg_gfid_eq(lookup(&b, brick_root(), "d").gfid, f.gfid));
    ERR(FOP_(&b, rename, .from = at(brick_root(), "f"), .to = at(brick_root(), "d"), .flags = 3), EINVAL);
    brick_end(&b);
}
END_TEST

START_TEST(two_names_of_one_file_stay_when_renamed_over_each_other)
{
    struct brick b;
    struct wg_ref f;

    brick_start(&b);
    f = mkfile(&b, brick_root(), "f", 0644);
    OK(FOP_(&b, link, .at = f, .to = at(brick_root(), "g")));
    ck_assert_uint_eq(OUT_(&b, link)->attr.nlink, 2);
    ERR(FOP_(&b, link, .at = f, .to = at(brick_root(), "g")), EEXIST);
    b.replay = true;
    OK(FOP_(&b, link, .at = f, .to = at(brick_root(), "g")));
    b.replay = false;
    OK(FOP_(&b, rename, .from = at(brick_root(), "f"), .to = at(brick_root(), "g")));
    lookup(&b, brick_root(), "f");
    OK(FOP_(&b, unlink, .at = at(brick_root(), "f")));
    OK(FOP_(&b, getattr, .at = f));
    ck_assert_uint_eq(OUT_(&b, getattr)->attr.nlink, 1);
    ERR(FOP_(&b, link, .at = brick_root(), .to = at(brick_root(), "r")), EISDIR);
    brick_end(&b);
}
END_TEST

START_TEST(a_symlink_is_made_read_linked_and_dated)
{
    static char longest[4097];
    struct brick b;
    struct wg_ref s;

    brick_start(&b);
    OK(FOP_(&b, symlink, .at = at(brick_root(), "s"), .gfid = wg_gfid_new(), .target = WG_STR("/etc/passwd"),
            .attrs = { .valid = WG_SET_MODE | WG_SET_MTIME, .mode = 0777, .mtime = { 1000, 5 } }));
    s = OUT_(&b, symlink)->ref;
    ck_assert_int_eq(OUT_(&b, symlink)->attr.mtime.sec, 1000);
    OK(FOP_(&b, readlink, .at = s));
    ck_assert(wg_str_eq(OUT_(&b, readlink)->target, WG_STR("/etc/passwd")));
    ERR(FOP_(&b, read, .at = s, .size = 10), EINVAL);
    OK(FOP_(&b, setattr, .at = s, .attrs = { .valid = WG_SET_ATIME, .atime = { 7, 0 } }));
    ck_assert_int_eq(OUT_(&b, setattr)->wcc.post.atime.sec, 7);
    OK(FOP_(&b, link, .at = s, .to = at(brick_root(), "t")));
    ck_assert(wg_gfid_eq(lookup(&b, brick_root(), "t").gfid, s.gfid));
    ERR(FOP_(&b, readlink, .at = brick_root()), EINVAL);
    memset(longest, 'x', 4096);
    ERR(FOP_(&b, symlink, .at = at(brick_root(), "l"), .target = wg_str_of(longest)), ENAMETOOLONG);
    longest[4095] = '\0';
    OK(FOP_(&b, symlink, .at = at(brick_root(), "l"), .target = wg_str_of(longest)));
    OK(FOP_(&b, readlink, .at = OUT_(&b, symlink)->ref));
    ck_assert_uint_eq(OUT_(&b, readlink)->target.len, 4095);
    brick_end(&b);
}
END_TEST

START_TEST(special_files_are_never_opened)
{
    struct brick b;
    struct wg_ref p;

    brick_start(&b);
    OK(FOP_(&b, mknod, .at = at(brick_root(), "p"), .gfid = wg_gfid_new(), .type = WG_FIFO,
            .attrs = mode_of(0666)));
    p = OUT_(&b, mknod)->ref;
    ERR(FOP_(&b, read, .at = p, .size = 1), EINVAL); /* at once: an open would wait for a writer */
    ERR(put_text(&b, p, 0, "x", WG_UNSTABLE), EINVAL);
    ERR(FOP_(&b, commit, .at = p), EINVAL);
    ERR(FOP_(&b, setattr, .at = p, .attrs = { .valid = WG_SET_SIZE }), EINVAL);
    ERR(FOP_(&b, setattr, .at = brick_root(), .attrs = { .valid = WG_SET_SIZE }), EISDIR);
    ERR(FOP_(&b, read, .at = brick_root(), .size = 1), EISDIR);
    brick_end(&b);
}
END_TEST

START_TEST(reads_end_where_the_file_ends)
{
    struct brick b;
    struct wg_ref f;

    brick_start(&b);
    f = mkfile(&b, brick_root(), "f", 0644);
    OK(FOP_(&b, read, .at = f, .size = 10));
    ck_assert(OUT_(&b, read)->eof && OUT_(&b, read)->data.len == 0);
    OK(put_text(&b, f, 0, "0123456789", WG_UNSTABLE));
    OK(FOP_(&b, read, .at = f, .offset = 2, .size = 3));
    ck_assert(!OUT_(&b, read)->eof && OUT_(&b, read)->data.len == 3);
    OK(FOP_(&b, read, .at = f, .offset = 7, .size = 3));
    ck_assert(OUT_(&b, read)->eof && OUT_(&b, read)->data.len == 3);
    OK(FOP_(&b, read, .at = f, .offset = 10, .size = 5));
    ck_assert(OUT_(&b, read)->eof && OUT_(&b, read)->data.len == 0);
    OK(FOP_(&b, read, .at = f, .offset = 4, .size = 0));
    ck_assert(!OUT_(&b, read)->eof && OUT_(&b, read)->data.len == 0);
    OK(FOP_(&b, read, .at = f, .offset = INT64_MAX, .size = 5));
    ck_assert(OUT_(&b, read)->eof);
    OK(FOP_(&b, read, .at = f, .offset = UINT64_MAX, .size = 5));
    ck_assert(OUT_(&b, read)->eof);
    OK(FOP_(&b, read, .at = f, .size = UINT32_MAX));
    ck_assert_uint_eq(OUT_(&b, read)->data.len, 10);
    b.nowait = true;
    OK(FOP_(&b, read, .at = f, .size = 10));
    ck_assert_uint_eq(OUT_(&b, read)->data.len, 10);
    ERR(FOP_(&b, commit, .at = f), EWOULDBLOCK);
    brick_end(&b);
}
END_TEST

START_TEST(writes_reach_past_4_gib_and_leave_holes)
{
    struct brick b;
    struct wg_ref f;

    brick_start(&b);
    f = mkfile(&b, brick_root(), "f", 0644);
    OK(put_text(&b, f, 5ull << 30, "far", WG_UNSTABLE));
    ck_assert_uint_eq(OUT_(&b, write)->count, 3);
    ck_assert_uint_eq(OUT_(&b, write)->wcc.post.size, (5ull << 30) + 3);
    ck_assert_uint_lt(OUT_(&b, write)->wcc.post.used, 1 << 20);
    ERR(put_text(&b, f, INT64_MAX, "x", WG_UNSTABLE), EFBIG);
    ERR(put_text(&b, f, UINT64_MAX - 1, "x", WG_UNSTABLE), EFBIG);
    OK(FOP_(&b, write, .at = f, .offset = 9));
    ck_assert_uint_eq(OUT_(&b, write)->count, 0);
    ERR(FOP_(&b, write, .at = f, .stable = 3), EINVAL);
    ERR(FOP_(&b, setattr, .at = f, .attrs = { .valid = WG_SET_SIZE, .size = UINT64_MAX }), EFBIG);
    brick_end(&b);
}
END_TEST

START_TEST(segments_are_written_in_order)
{
    struct wg_seg seg[70];
    struct brick b;
    struct wg_ref f;
    char text[71] = "";

    brick_start(&b);
    for (int i = 0; i < 70; i++) {
        text[i] = (char)('0' + i);
        seg[i] = (struct wg_seg){ NULL, &text[i], i == 3 ? 0 : 1 };
    }
    f = mkfile(&b, brick_root(), "f", 0644);
    OK(FOP_(&b, write, .at = f, .data = { seg, 70, 69 }));
    ck_assert_uint_eq(OUT_(&b, write)->count, 69);
    memmove(text + 3, text + 4, 67);
    ck_assert_str_eq(get_text(&b, f), text);
    brick_end(&b);
}
END_TEST

START_TEST(the_verifier_lasts_until_a_restart)
{
    struct brick b;
    struct wg_ref f;
    uint64_t verf;

    brick_start(&b);
    f = mkfile(&b, brick_root(), "f", 0644);
    OK(put_text(&b, f, 0, "data", WG_UNSTABLE));
    ck_assert_uint_eq(OUT_(&b, write)->committed, WG_UNSTABLE);
    verf = OUT_(&b, write)->verf;
    ck_assert_uint_eq(atomic_load(&brick_px(&b)->unstable_fds), 1);
    OK(FOP_(&b, commit, .at = f));
    ck_assert_uint_eq(OUT_(&b, commit)->verf, verf);
    ck_assert_uint_eq(atomic_load(&brick_px(&b)->unstable_fds), 0);
    OK(put_text(&b, f, 0, "sync", WG_FILE_SYNC));
    ck_assert_uint_eq(OUT_(&b, write)->committed, WG_FILE_SYNC);
    ck_assert_uint_eq(atomic_load(&brick_px(&b)->unstable_fds), 0);
    brick_restart(&b);
    OK(FOP_(&b, commit, .at = f));
    ck_assert_uint_ne(OUT_(&b, commit)->verf, verf);
    brick_end(&b);
}
END_TEST

/* The store's syncs come here: the disk fails when told. */
static int disk_error;

int fdatasync(int fd)
{
    if (disk_error)
        return errno = disk_error, -1;
    return fsync(fd);
}

START_TEST(a_failed_sync_changes_the_verifier_for_everybody)
{
    struct brick b;
    struct wg_ref f, g;
    uint64_t verf;

    brick_start(&b);
    f = mkfile(&b, brick_root(), "f", 0644);
    g = mkfile(&b, brick_root(), "g", 0644);
    OK(put_text(&b, f, 0, "data", WG_UNSTABLE));
    OK(put_text(&b, g, 0, "data", WG_UNSTABLE));
    verf = OUT_(&b, write)->verf;
    disk_error = EIO;
    ERR(FOP_(&b, commit, .at = f), EIO);
    ERR(put_text(&b, f, 0, "sync", WG_DATA_SYNC), EIO);
    disk_error = 0;
    OK(FOP_(&b, commit, .at = g));
    ck_assert_uint_ne(OUT_(&b, commit)->verf, verf); /* its client sends the data again */
    brick_end(&b);
}
END_TEST

START_TEST(beyond_its_bound_the_brick_syncs_by_itself)
{
    struct brick b;
    char name[16];

    brick_mkdir(&b);
    OK(brick_try(&b, " option init yes\n option unstable-files 8\n option inode-cache 64\n"));
    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof name, "f%d", i);
        OK(put_text(&b, mkfile(&b, brick_root(), name, 0644), 0, "x", WG_UNSTABLE));
    }
    ck_assert_uint_le(atomic_load(&brick_px(&b)->unstable_fds), 10);
    ck_assert_uint_le(atomic_load(&brick_px(&b)->inodes), 64 + 2 * PX_SHARDS);
    ck_assert_uint_gt(atomic_load(&brick_px(&b)->evicted), 100);
    ck_assert_str_eq(get_text(&b, lookup(&b, brick_root(), "f7")), "x");
    brick_end(&b);
}
END_TEST

START_TEST(setattr_sets_what_it_is_told)
{
    struct wg_sattr a = { .valid = WG_SET_MODE | WG_SET_SIZE | WG_SET_MTIME | WG_SET_ATIME,
                          .mode = 04711, .size = 100, .mtime = { 12345, 678 }, .atime = { 999, 1 } };
    struct brick b;
    struct wg_time ctime;
    struct wg_ref f;

    brick_start(&b);
    f = mkfile(&b, brick_root(), "f", 0644);
    OK(FOP_(&b, setattr, .at = f, .attrs = a));
    ck_assert(OUT_(&b, setattr)->wcc.pre_valid);
    ck_assert_uint_eq(OUT_(&b, setattr)->wcc.post.mode, 04711);
    ck_assert_uint_eq(OUT_(&b, setattr)->wcc.post.size, 100);
    ck_assert_int_eq(OUT_(&b, setattr)->wcc.post.mtime.sec, 12345);
    ck_assert_uint_eq(OUT_(&b, setattr)->wcc.post.mtime.nsec, 678);
    ck_assert_int_eq(OUT_(&b, setattr)->wcc.post.atime.sec, 999);
    ctime = OUT_(&b, setattr)->wcc.post.ctime;
    a = (struct wg_sattr){ .valid = WG_SET_GUARD | WG_SET_MODE, .mode = 0600, .guard = { 1, 1 } };
    ERR(FOP_(&b, setattr, .at = f, .attrs = a), ENOTSYNC);
    a.guard = ctime;
    OK(FOP_(&b, setattr, .at = f, .attrs = a));
    a = (struct wg_sattr){ .valid = WG_SET_MTIME_NOW };
    OK(FOP_(&b, setattr, .at = f, .attrs = a));
    ck_assert_int_gt(OUT_(&b, setattr)->wcc.post.mtime.sec, 1000000000);
    ck_assert_int_eq(OUT_(&b, setattr)->wcc.post.atime.sec, 999);
    a = (struct wg_sattr){ .valid = WG_SET_MTIME, .mtime = { 1, 2000000000 } };
    ERR(FOP_(&b, setattr, .at = f, .attrs = a), EINVAL);
    brick_end(&b);
}
END_TEST

START_TEST(xattrs_are_those_of_users)
{
    struct brick b;
    struct wg_cursor c;
    struct wg_xattr x;
    struct wg_ref f;

    brick_start(&b);
    f = mkfile(&b, brick_root(), "f", 0644);
    OK(FOP_(&b, setxattr, .at = f, .name = WG_STR("user.color"), .value = WG_STR("blue")));
    ERR(FOP_(&b, setxattr, .at = f, .name = WG_STR("user.color"), .value = WG_STR("red"), .flags = XATTR_CREATE), EEXIST);
    ERR(FOP_(&b, setxattr, .at = f, .name = WG_STR("trusted.wg"), .value = WG_STR("x")), ENOTSUP);
    ERR(FOP_(&b, setxattr, .at = f, .name = WG_STR("user.wg"), .value = WG_STR("x")), EACCES);
    ERR(FOP_(&b, getxattr, .at = f, .name = WG_STR("user.wg")), ENODATA);
    OK(FOP_(&b, getxattr, .at = f, .name = WG_STR("user.color")));
    c = wg_cursor(&OUT_(&b, getxattr)->xattrs);
    ck_assert(wg_next_xattr(&c, &x) && wg_str_eq(x.value, WG_STR("blue")));
    OK(FOP_(&b, getxattr, .at = f));
    ck_assert_uint_eq(OUT_(&b, getxattr)->xattrs.count, 1);
    OK(FOP_(&b, removexattr, .at = f, .name = WG_STR("user.color")));
    ERR(FOP_(&b, removexattr, .at = f, .name = WG_STR("user.color")), ENODATA);
    brick_end(&b);
}
END_TEST

START_TEST(ranges_are_copied_and_digested)
{
    struct brick b;
    struct wg_ref f, g;
    uint8_t md[16];

    brick_start(&b);
    f = mkfile(&b, brick_root(), "f", 0644);
    g = mkfile(&b, brick_root(), "g", 0644);
    OK(put_text(&b, f, 0, "abcdefgh", WG_UNSTABLE));
    OK(FOP_(&b, copy_range, .from = f, .from_offset = 2, .to = g, .to_offset = 1, .size = 4));
    ck_assert_uint_eq(OUT_(&b, copy_range)->copied, 4);
    OK(FOP_(&b, copy_range, .from = f, .from_offset = 6, .to = g, .to_offset = 5, .size = 100));
    ck_assert_uint_eq(OUT_(&b, copy_range)->copied, 2);
    OK(FOP_(&b, copy_range, .from = f, .from_offset = 60, .to = g, .to_offset = 5, .size = 100));
    ck_assert_uint_eq(OUT_(&b, copy_range)->copied, 0);
    OK(FOP_(&b, read, .at = g, .offset = 1, .size = 100));
    ck_assert_mem_eq(OUT_(&b, read)->data.seg[0].base, "cdefgh", 6);
    OK(FOP_(&b, checksum, .at = f, .offset = 2, .size = 4, .algorithm = WG_STR("md5")));
    ck_assert_uint_eq(OUT_(&b, checksum)->value.len, 16);
    memcpy(md, OUT_(&b, checksum)->value.s, 16);
    OK(FOP_(&b, checksum, .at = g, .offset = 1, .size = 4, .algorithm = WG_STR("md5")));
    ck_assert_mem_eq(OUT_(&b, checksum)->value.s, md, 16);
    OK(FOP_(&b, checksum, .at = f, .size = UINT64_MAX, .algorithm = WG_STR("sha256")));
    ck_assert_uint_eq(OUT_(&b, checksum)->value.len, 32);
    OK(FOP_(&b, checksum, .at = f, .size = UINT64_MAX, .algorithm = WG_STR("md5,crc32c,CRC64NVME")));
    ck_assert_uint_eq(OUT_(&b, checksum)->value.len, 4 + 8 + 16);
    ERR(FOP_(&b, checksum, .at = f, .size = 1, .algorithm = WG_STR("crc8")), ENOTSUP);
    ERR(FOP_(&b, checksum, .at = f, .size = 1, .algorithm = WG_STR("md5,md5")), ENOTSUP);
    ERR(FOP_(&b, checksum, .at = f, .size = 1, .algorithm = WG_STR("")), ENOTSUP);
    OK(FOP_(&b, copy_range, .from = f, .from_offset = 0, .to = f, .to_offset = 8, .size = 8));
    ck_assert_str_eq(get_text(&b, f), "abcdefghabcdefgh");
    brick_end(&b);
}
END_TEST

START_TEST(statfs_leaves_the_reserve_out)
{
    struct brick b;
    uint64_t avail;

    brick_mkdir(&b);
    OK(brick_try(&b, " option init yes\n option reserve 0\n"));
    OK(FOP_(&b, statfs, .at = brick_root()));
    avail = OUT_(&b, statfs)->fs.avail_bytes;
    ck_assert_uint_gt(OUT_(&b, statfs)->fs.total_bytes, avail);
    brick_stop(&b);
    OK(brick_try(&b, " option reserve 1M\n"));
    OK(FOP_(&b, statfs, .at = brick_root()));
    ck_assert_uint_lt(OUT_(&b, statfs)->fs.avail_bytes, avail + (64 << 20));
    ck_assert_uint_eq(OUT_(&b, statfs)->fs.name_max, 255);
    brick_end(&b);
}
END_TEST

START_TEST(a_directory_moved_out_shows_nothing_outside)
{
    struct brick b;
    char out[300];
    struct wg_ref d;

    brick_start(&b);
    d = mkdir_(&b, brick_root(), "d", 0755);
    snprintf(out, sizeof out, "%s.out", b.dir);
    OK(mkdir(out, 0755));
    strcat(out, "/d");
    OK(rename(brick_path(&b, "d"), out));
    ERR(FOP_(&b, lookup, .at = at(d, "..")), ESTALE);
    ERR(FOP_(&b, lookup, .at = at(brick_root(), "d")), ENOENT);
    OK(rmdir(out));
    *strrchr(out, '/') = '\0';
    OK(rmdir(out));
    brick_end(&b);
}
END_TEST

START_TEST(files_from_behind_get_a_gfid_and_keep_it)
{
    struct brick b;
    struct wg_ref f, d;
    int fd;

    brick_start(&b);
    OK(mkdir(brick_path(&b, "hand"), 0755));
    fd = open(brick_path(&b, "hand/made"), O_CREAT | O_WRONLY, 0644);
    ck_assert_int_eq(write(fd, "by hand", 7), 7);
    close(fd);
    d = lookup(&b, brick_root(), "hand");
    f = lookup(&b, d, "made");
    ck_assert_str_eq(get_text(&b, f), "by hand");
    brick_restart(&b);
    ck_assert(wg_gfid_eq(lookup(&b, d, "made").gfid, f.gfid));
    OK(unlink(brick_path(&b, "hand/made")));
    ERR(FOP_(&b, getattr, .at = f), ESTALE);
    ERR(FOP_(&b, lookup, .at = at(d, "made")), ENOENT);
    brick_end(&b);
}
END_TEST

START_TEST(a_dump_shows_caches_and_verifier)
{
    struct brick b;
    char *text;

    brick_start(&b);
    OK(put_text(&b, mkfile(&b, brick_root(), "f", 0644), 0, "x", WG_UNSTABLE));
    wg_call_unref(b.call); /* its arguments were on our stack */
    b.call = NULL;
    text = wg_dump_process(b.graph, true);
    ck_assert_ptr_nonnull(text);
    ck_assert_ptr_nonnull(strstr(text, "write_verifier"));
    ck_assert_ptr_nonnull(strstr(text, "replaced"));
    ck_assert_ptr_nonnull(strstr(text, "unstable"));
    free(text);
    brick_end(&b);
}
END_TEST

TESTS("posix",
      TEST_ROW(a_dump_shows_caches_and_verifier)
      TEST_ROW(a_name_is_made_found_and_removed)
      TEST_ROW(dot_and_dotdot_are_looked_up)
      TEST_ROW(bad_names_are_refused)
      TEST_ROW(only_canonical_escapes_may_be_made)
      TEST_ROW(the_private_directory_is_out_of_reach)
      TEST_ROW(create_follows_rfc_1813)
      TEST_ROW(a_replayed_creation_is_known_by_its_gfid)
      TEST_ROW(a_replayed_removal_is_known)
      TEST_ROW(rename_keeps_gfid_and_hint)
      TEST_ROW(rename_exchanges)
      TEST_ROW(two_names_of_one_file_stay_when_renamed_over_each_other)
      TEST_ROW(a_symlink_is_made_read_linked_and_dated)
      TEST_ROW(special_files_are_never_opened)
      TEST_ROW(reads_end_where_the_file_ends)
      TEST_ROW(writes_reach_past_4_gib_and_leave_holes)
      TEST_ROW(segments_are_written_in_order)
      TEST_ROW(the_verifier_lasts_until_a_restart)
      TEST_ROW(a_failed_sync_changes_the_verifier_for_everybody)
      TEST_ROW(beyond_its_bound_the_brick_syncs_by_itself)
      TEST_ROW(setattr_sets_what_it_is_told)
      TEST_ROW(xattrs_are_those_of_users)
      TEST_ROW(ranges_are_copied_and_digested)
      TEST_ROW(statfs_leaves_the_reserve_out)
      TEST_ROW(a_directory_moved_out_shows_nothing_outside)
      TEST_ROW(files_from_behind_get_a_gfid_and_keep_it))
