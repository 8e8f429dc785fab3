/* SPDX-License-Identifier: Apache-2.0 */
/* storage/posix on a small file system of another kind: full disks, exact readdir cookies. */
#include <sched.h>
#include <sys/mount.h>

#include "brick.h"

/* A tmpfs of our own, in a mount name space of our own; false (skipped) where that can't be had. */
static bool small_disk(struct brick *b, const char *size)
{
    char how[64];

    brick_mkdir(b);
    snprintf(how, sizeof how, "size=%s,nr_inodes=5000", size);
    if (geteuid() == 0 && unshare(CLONE_NEWNS) == 0 &&
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
        mount("small", b->dir, "tmpfs", 0, how) == 0) {
        if (brick_try(b, " option init yes\n option reserve 100K\n") == 0)
            return true;
        umount(b->dir);
    }
    printf("skipped: no tmpfs that holds xattrs\n");
    rmdir(b->dir);
    return false;
}

static void done(struct brick *b)
{
    brick_stop(b);
    umount(b->dir);
    rmdir(b->dir);
}

START_TEST(a_full_disk_says_so_and_works_again_when_there_is_room)
{
    static char block[65537];
    struct brick b;
    struct wg_ref f;
    uint64_t offset = 0;
    int err;

    if (!small_disk(&b, "40M"))
        return;
    memset(block, 'x', sizeof block - 1);
    f = mkfile(&b, brick_root(), "f", 0644);
    while ((err = put_text(&b, f, offset, block, WG_UNSTABLE)) == 0) {
        ck_assert_uint_gt(OUT_(&b, write)->count, 0);
        offset += OUT_(&b, write)->count;
        ck_assert_uint_lt(offset, 48 << 20);
    }
    ck_assert_int_eq(err, ENOSPC);
    ck_assert_uint_gt(offset, 8 << 20);
    OK(FOP_(&b, statfs, .at = brick_root()));
    ck_assert_uint_lt(OUT_(&b, statfs)->fs.avail_bytes, 65536);
    OK(FOP_(&b, commit, .at = f));
    ck_assert_int_eq(get_text(&b, f)[100], 'x');
    OK(FOP_(&b, setattr, .at = f, .attrs = { .valid = WG_SET_SIZE, .size = 1 }));
    OK(put_text(&b, f, 0, block, WG_FILE_SYNC));
    OK(FOP_(&b, unlink, .at = at(brick_root(), "f")));
    mkdir_(&b, brick_root(), "d", 0755);
    done(&b);
}
END_TEST

START_TEST(without_inodes_nothing_half_made_stays)
{
    struct brick b;
    char name[16];
    int err = 0, n;

    if (!small_disk(&b, "64M"))
        return;
    for (n = 0; err == 0 && n < 6000; n++) {
        snprintf(name, sizeof name, "n%d", n);
        err = n % 2 ? FOP_(&b, mkdir, .at = at(brick_root(), name), .gfid = wg_gfid_new())
                    : FOP_(&b, create, .at = at(brick_root(), name), .gfid = wg_gfid_new());
    }
    ck_assert_int_eq(err, ENOSPC);
    ERR(FOP_(&b, lookup, .at = at(brick_root(), name)), ENOENT);
    OK(FOP_(&b, unlink, .at = at(brick_root(), "n0")));
    mkdir_(&b, brick_root(), "again", 0755);
    done(&b);
}
END_TEST

START_TEST(exact_cookies_resume_exactly)
{
    static uint8_t met[3000];
    struct brick b;
    struct wg_cursor c;
    struct wg_dirent e;
    struct wg_ref d;
    uint64_t cookie = 0;
    char name[16];
    bool eof = false;

    if (!small_disk(&b, "64M"))
        return;
    d = mkdir_(&b, brick_root(), "d", 0755);
    for (int i = 0; i < 3000; i++) {
        snprintf(name, sizeof name, "n%d", i);
        mkfile(&b, d, name, 0644);
    }
    while (!eof) {
        OK(FOP_(&b, readdir, .at = d, .cookie = cookie, .size = 3000, .plus = true));
        eof = OUT_(&b, readdir)->eof;
        c = wg_cursor(&OUT_(&b, readdir)->entries);
        while (wg_next_dirent(&c, &e)) {
            cookie = e.cookie;
            ck_assert_uint_lt(cookie, 1ull << 55);
            if (e.name.s[0] == 'n') {
                snprintf(name, sizeof name, "%.*s", (int)e.name.len, e.name.s);
                ck_assert_uint_eq(met[atoi(name + 1)]++, 0);
            }
        }
        OK(FOP_(&b, unlink, .at = at(d, name))); /* the last one met */
        wg_px_streams_stop(brick_px(&b));
        wg_px_streams_start(brick_px(&b));
    }
    for (int i = 0; i < 3000; i++)
        ck_assert_uint_eq(met[i], 1);
    done(&b);
}
END_TEST

START_TEST(a_mount_inside_the_brick_is_not_entered)
{
    struct brick b;
    struct wg_ref d;

    if (!small_disk(&b, "64M"))
        return;
    d = mkdir_(&b, brick_root(), "d", 0755);
    mkdir_(&b, d, "mnt", 0755);
    OK(mount("other", brick_path(&b, "d/mnt"), "tmpfs", 0, "size=1M"));
    ERR(FOP_(&b, lookup, .at = at(d, "mnt")), EXDEV);
    OK(FOP_(&b, readdir, .at = d, .size = 4096, .plus = true));
    ck_assert_uint_eq(OUT_(&b, readdir)->entries.count, 3);
    OK(umount(brick_path(&b, "d/mnt")));
    lookup(&b, d, "mnt");
    done(&b);
}
END_TEST

TESTS("posix full",
      TEST_ROW(a_full_disk_says_so_and_works_again_when_there_is_room)
      TEST_ROW(without_inodes_nothing_half_made_stays)
      TEST_ROW(exact_cookies_resume_exactly)
      TEST_ROW(a_mount_inside_the_brick_is_not_entered))
