/* SPDX-License-Identifier: Apache-2.0 */
/* The index: killed bricks, damaged files, other boots, its size. */
#include "brick.h"

#include <signal.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>

#include "xlators/storage/posix/index.h"

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

static int put(const char *key)
{
    struct wg_seg seg = { NULL, "x", 1 };

    return FOP_(&b, put, .bucket = bucket, .key = wg_str_of(key), .gfid = wg_gfid_new(),
                .etag = { .valid = true }, .data = { &seg, 1, 1 });
}

static unsigned listed(void)
{
    int err;

    /* Without handles the bucket itself is found only when the rebuild has come by. */
    while ((err = FOP_(&b, list, .bucket = bucket, .max = 100000)) == EAGAIN && geteuid() != 0)
        usleep(1000);
    OK(err);
    ck_assert(!OUT_(&b, list)->truncated);
    return OUT_(&b, list)->entries.count;
}

static void wait_complete(void)
{
    for (int i = 0; i < 1000 && !atomic_load(&brick_px(&b)->index->complete); i++)
        usleep(10000);
    ck_assert(atomic_load(&brick_px(&b)->index->complete));
}

static unsigned files;

static int count_file(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)path, (void)st, (void)ftw;
    files += flag == FTW_F;
    return 0;
}

static unsigned on_disk(void)
{
    files = 0;
    nftw(brick_path(&b, "bucket"), count_file, 32, FTW_PHYS);
    return files;
}

/* Puts, deletes and NFS creates, until killed. */
static void busy(void)
{
    for (unsigned i = 0;; i++) {
        char key[64];

        snprintf(key, sizeof key, "d%u/k%u", i % 7, i);
        (void)put(key);
        if (i % 3 == 0)
            (void)FOP_(&b, del, .bucket = bucket, .key = wg_str_of(key));
        snprintf(key, sizeof key, "n%u", i);
        (void)FOP_(&b, create, .at = at(bucket, key), .gfid = wg_gfid_new(), .how = WG_GUARDED,
                   .attrs = mode_of(0644));
    }
}

START_TEST(a_killed_brick_loses_no_name)
{
    brick_stop(&b);
    for (int round = 0; round < 6; round++) {
        pid_t pid = fork();
        int status;

        if (pid == 0) {
            if (brick_try(&b, "") == 0)
                busy();
            _exit(1);
        }
        ck_assert_int_gt(pid, 0);
        usleep(150000 + 70000 * (unsigned)round);
        kill(pid, SIGKILL);
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert(WIFSIGNALED(status));
        OK(brick_try(&b, ""));
        wait_complete();
        ck_assert_uint_eq(listed(), on_disk());
        ck_assert_uint_eq(atomic_load(&brick_px(&b)->index->resets), 0);
        brick_stop(&b);
    }
}
END_TEST

static struct wg_time bucket_mtime(void)
{
    struct stat st;

    OK(stat(brick_path(&b, "bucket"), &st));
    return (struct wg_time){ st.st_mtim.tv_sec, (uint32_t)st.st_mtim.tv_nsec };
}

/* Somebody makes a file on the brick, later than then by the clock of the file system. */
static void stranger(struct wg_time then)
{
    struct wg_time now = then;

    while (now.sec == then.sec && now.nsec == then.nsec) {
        int fd = open(brick_path(&b, "bucket/stranger"), O_WRONLY | O_CREAT | O_EXCL, 0644);

        ck_assert_int_ge(fd, 0);
        close(fd);
        now = bucket_mtime();
        if (now.sec == then.sec && now.nsec == then.nsec)
            OK(unlink(brick_path(&b, "bucket/stranger")));
    }
}

START_TEST(what_others_make_behind_a_scan_is_not_missed)
{
    struct px_jrow r = { .op = PX_J_SEEN, .dir = bucket.gfid };
    struct px_index *ix = brick_px(&b)->index;

    wait_complete();
    for (unsigned other = 0; other < 2; other++) {
        uint64_t scans;
        uint32_t lost;

        OK(put("before"));
        ck_assert_uint_eq(listed(), 1 + other);
        r.mtime = bucket_mtime();
        lost = wg_px_seen_scanning(ix, bucket.gfid, r.mtime); /* a scan that has read all there was */
        if (other)
            stranger(r.mtime);
        OK(put("ours"));
        OK(wg_px_index_log(ix, &r, NULL));
        wg_px_seen_scanned(ix, bucket.gfid, r.mtime, lost);
        scans = atomic_load(&ix->scanned);
        ck_assert_uint_eq(listed(), 2 + other);
        ck_assert_uint_eq(atomic_load(&ix->scanned), scans + other); /* for our own there is no need */
    }
}
END_TEST

/* The record of a file: what it was before goes to old. */
static void set_record(const char *path, const void *bytes, size_t n, void *old, size_t *old_n)
{
    ssize_t was = getxattr(brick_path(&b, path), brick_px(&b)->rec_name, old, 64);

    ck_assert_int_gt(was, 0);
    *old_n = (size_t)was;
    OK(setxattr(brick_path(&b, path), brick_px(&b)->rec_name, bytes, n, XATTR_REPLACE));
}

/* Waits until n directories are to be tried again; *ret: the first of them. */
static void wait_failed(unsigned n, wg_gfid *ret)
{
    struct px_index *ix = brick_px(&b)->index;
    bool are = false;

    for (unsigned i = 0; i < 3000 && !are; i++) {
        usleep(10000);
        pthread_mutex_lock(&ix->mutex);
        are = ix->nfailed == n && ix->ntodo == 0 && ix->retry_ns > wg_now_ns();
        *ret = ix->failed[0];
        pthread_mutex_unlock(&ix->mutex);
    }
    ck_assert(are);
}

START_TEST(a_directory_that_fails_for_ever_keeps_no_other_from_its_scan)
{
    static const char *const file[2] = { "bucket/d0/f", "bucket/d1/f" };
    static const char damaged[64] = "no record";
    struct wg_ref dir[2];
    uint8_t was[2][64], now[64];
    wg_gfid first, last;
    size_t n[2], len;
    unsigned mend;

    for (unsigned i = 0; i < 2; i++) {
        OK(put(i ? "d1/f" : "d0/f"));
        OK(FOP_(&b, lookup, .at = at(bucket, i ? "d1" : "d0")));
        dir[i] = OUT_(&b, lookup)->ref;
        set_record(file[i], damaged, sizeof damaged, was[i], &n[i]);
    }
    brick_stop(&b); /* it knew them */
    OK(brick_try(&b, " option reindex yes\n"));
    wait_failed(2, &first);
    mend = wg_gfid_eq(first, dir[1].gfid);
    set_record(file[mend], was[mend], n[mend], now, &len);
    wait_failed(1, &last);
    ck_assert(wg_gfid_eq(last, dir[!mend].gfid));
    set_record(file[!mend], was[!mend], n[!mend], now, &len);
    wait_complete();
}
END_TEST

static void overwrite(const char *path, off_t at_byte, const void *bytes, size_t n)
{
    int fd = open(brick_path(&b, path), O_WRONLY);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(pwrite(fd, bytes, n, at_byte), (ssize_t)n);
    close(fd);
}

static void fill(unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        char key[32];

        snprintf(key, sizeof key, "a%u/b%u/c%u", i % 3, i % 5, i);
        OK(put(key));
    }
}

START_TEST(a_file_that_is_no_index_is_replaced)
{
    char junk[8192];

    fill(40);
    brick_stop(&b);
    memset(junk, 0x5a, sizeof junk);
    overwrite(".windgate/index/data.mdb", 0, junk, sizeof junk);
    OK(brick_try(&b, ""));
    ck_assert_uint_eq(listed(), 40); /* from the directories at once */
    wait_complete();
    ck_assert_uint_eq(listed(), 40);
}
END_TEST

START_TEST(after_a_machine_crash_the_index_is_rebuilt)
{
    pid_t pid;
    int status;

    fill(40);
    brick_stop(&b);
    pid = fork();
    if (pid == 0) {
        OK(brick_try(&b, ""));
        _exit(put("last"));
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
    overwrite(".windgate/index/journal", 8, "another boot", 12);
    OK(brick_try(&b, ""));
    ck_assert_uint_eq(listed(), 41);
    wait_complete();
    ck_assert_uint_gt(atomic_load(&brick_px(&b)->index->scanned), 5);
    ck_assert_uint_eq(listed(), 41);
}
END_TEST

START_TEST(a_rebuild_finds_everything)
{
    struct px_where w;
    struct wg_ref ref;

    fill(30);
    ref = lookup(&b, bucket, "a1");
    wg_px_index_rebuild(brick_px(&b));
    ck_assert_uint_eq(listed(), 30);
    wait_complete();
    ck_assert_uint_eq(listed(), 30);
    OK(wg_px_index_find(brick_px(&b), ref.gfid, &w));
    ck_assert(wg_gfid_eq(w.parent, bucket.gfid));
    ck_assert_str_eq(w.name, "a1");
}
END_TEST

static void copy(const char *from, const char *to)
{
    char cmd[1024];

    snprintf(cmd, sizeof cmd, "cp -a --preserve=xattr %s/bucket/%s %s/bucket/%s", b.dir, from, b.dir, to);
    OK(system(cmd));
}

/* Copies whose names come before and behind, in whatever order the directory is read. */
START_TEST(copies_with_xattrs_get_gfids_of_their_own)
{
    static const char *const names[] = { "f", "d", "d/x", "d/sub", "d/sub/y" };
    static const char *const copies[] = { "e", "g", "h" };
    struct wg_ref first[5], ref;
    char path[64];

    OK(put("f"));
    OK(put("d/x"));
    OK(put("d/sub/y"));
    for (unsigned i = 0; i < 5; i++) {
        first[i] = bucket;
        snprintf(path, sizeof path, "%s", names[i]);
        for (char *at = path, *name; (name = strsep(&at, "/"));)
            first[i] = lookup(&b, first[i], name);
    }
    brick_stop(&b);
    for (unsigned i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "f%s", copies[i]);
        copy("f", path);
        snprintf(path, sizeof path, "%sd", copies[i]);
        copy("d", path);
    }
    OK(unlink(brick_path(&b, ".windgate/index/data.mdb")));
    OK(brick_try(&b, ""));
    wait_complete();
    for (unsigned i = 0; i < 5; i++) {
        ref = bucket;
        snprintf(path, sizeof path, "%s", names[i]);
        for (char *at = path, *name; (name = strsep(&at, "/"));)
            ref = lookup(&b, ref, name);
        ck_assert_msg(wg_gfid_eq(ref.gfid, first[i].gfid), "%s has another gfid", names[i]);
        ref.hint_len = 0;
        OK(FOP_(&b, getattr, .at = ref));
    }
    for (unsigned i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "f%s", copies[i]);
        ck_assert(!wg_gfid_eq(lookup(&b, bucket, path).gfid, first[0].gfid));
        snprintf(path, sizeof path, "%sd", copies[i]);
        ref = lookup(&b, bucket, path);
        ck_assert(!wg_gfid_eq(ref.gfid, first[1].gfid));
        ck_assert(!wg_gfid_eq(lookup(&b, ref, "x").gfid, first[2].gfid));
        ref = lookup(&b, ref, "sub");
        ck_assert(!wg_gfid_eq(ref.gfid, first[3].gfid));
        ck_assert(!wg_gfid_eq(lookup(&b, ref, "y").gfid, first[4].gfid));
    }
    ck_assert_uint_eq(listed(), 12);
}
END_TEST

/* Rows of a gfid with a name of 20 bytes and a handle; printed, for docs/performance.md. */
START_TEST(rows_are_small_and_the_map_grows)
{
    struct posix *px = brick_px(&b);
    unsigned n = getenv("WG_INDEX_ROWS") ? (unsigned)atol(getenv("WG_INDEX_ROWS")) : 20000;
    uint8_t hint[9] = { 1 };
    struct timespec t0, t1;
    struct px_where w;
    MDB_envinfo info;
    wg_gfid g = { { 0 } };

    clock_gettime(CLOCK_MONOTONIC, &t0);
    for (unsigned i = 0; i < n; i++) {
        char name[32];

        g = wg_gfid_new();
        snprintf(name, sizeof name, "object-%013u", i);
        OK(wg_px_index_add(px, bucket.gfid, name, g, WG_REG, hint, sizeof hint));
    }
    OK(wg_px_index_flush(px));
    clock_gettime(CLOCK_MONOTONIC, &t1);
    OK(wg_px_index_find(px, g, &w));
    mdb_env_info(px->index->env, &info);
    fprintf(stderr, "index: %u objects, %.0f bytes each, %.0f thousand/s\n", n,
            (double)info.me_last_pgno * 4096 / n,
            n / 1e3 / ((double)(t1.tv_sec - t0.tv_sec) + (double)(t1.tv_nsec - t0.tv_nsec) / 1e9));
    ck_assert_uint_lt(info.me_last_pgno * 4096 / n, 400);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("posix_index");
    TCase *t = tcase_create("index");
    SRunner *r = srunner_create(s);
    int bad;

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 300);
    tcase_add_test(t, a_killed_brick_loses_no_name);
    tcase_add_test(t, what_others_make_behind_a_scan_is_not_missed);
    tcase_add_test(t, a_directory_that_fails_for_ever_keeps_no_other_from_its_scan);
    tcase_add_test(t, a_file_that_is_no_index_is_replaced);
    tcase_add_test(t, after_a_machine_crash_the_index_is_rebuilt);
    tcase_add_test(t, a_rebuild_finds_everything);
    tcase_add_test(t, copies_with_xattrs_get_gfids_of_their_own);
    tcase_add_test(t, rows_are_small_and_the_map_grows);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_NORMAL);
    bad = srunner_ntests_failed(r);
    srunner_free(r);
    return bad ? EXIT_FAILURE : EXIT_SUCCESS;
}
