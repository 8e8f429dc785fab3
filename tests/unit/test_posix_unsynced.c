/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mark "this directory's name may not be on disk", against renames at the worst moment. fsync is
 * replaced here, so that a test can act between a sync and what is concluded from it.
 */
#include <dirent.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <time.h>

#include "brick.h"

static struct brick b;
static struct wg_ref bucket;
static void (*at_sync)(void); /* runs once, in the sync of the directory that at_ino says */
static ino_t at_ino;
static unsigned syncs_of_it;
static unsigned syncs_of_files, syncs_of_dirs;

int fsync(int fd)
{
    struct stat st;
    void (*now)(void) = at_sync;
    int r = (int)syscall(SYS_fsync, fd);

    if (fstat(fd, &st) != 0)
        return r;
    syncs_of_files += S_ISREG(st.st_mode);
    syncs_of_dirs += S_ISDIR(st.st_mode);
    if (st.st_ino == at_ino) {
        syncs_of_it++;
        if (now) {
            at_sync = NULL;
            now();
        }
    }
    return r;
}

static ino_t ino_of(const char *name)
{
    struct stat st;

    OK(stat(brick_path(&b, name), &st));
    return st.st_ino;
}

static void setup(void)
{
    brick_start(&b);
    bucket = mkdir_(&b, brick_root(), "bucket", 0755);
}

static int put(const char *key)
{
    static char text[] = "text";
    struct wg_seg seg = { NULL, text, 4 };

    return FOP_(&b, put, .bucket = bucket, .key = wg_str_of(key), .gfid = wg_gfid_new(),
                .data = { &seg, 1, 4 });
}

static bool is_marked(const char *name)
{
    struct px_rec rec;
    int fd = open(b.dir, O_RDONLY | O_DIRECTORY);

    ck_assert_int_ge(fd, 0);
    OK(wg_px_rec_get_at(brick_px(&b), fd, name, &rec));
    close(fd);
    return rec.flags & PX_REC_UNSYNCED;
}

/* ---- a rename between a PUT's sync of the bucket's parent and the end of the mark ---- */

static pthread_t renamer;
static atomic_bool renamed;

static void *rename_bucket(void *arg)
{
    struct brick mine = { .graph = b.graph };

    (void)arg;
    OK(FOP_(&mine, rename, .from = at(brick_root(), "bucket"), .to = at(brick_root(), "moved")));
    atomic_store(&renamed, true);
    wg_call_unref(mine.call);
    return NULL;
}

/* Either it is done within the sync, or it waits for the PUT to be through with the mark. */
static void begin_rename(void)
{
    OK(pthread_create(&renamer, NULL, rename_bucket, NULL));
    for (int i = 0; i < 100 && !atomic_load(&renamed); i++)
        nanosleep(&(struct timespec){ 0, 5000000 }, NULL);
}

START_TEST(a_rename_beside_a_put_keeps_the_buckets_mark)
{
    setup();
    ck_assert(is_marked("bucket"));
    at_ino = ino_of("");
    at_sync = begin_rename;
    OK(put("key"));
    ck_assert_ptr_null(at_sync);
    OK(pthread_join(renamer, NULL));
    ck_assert(is_marked("moved"));
    syncs_of_it = 0;
    OK(put("key2")); /* which answers for the new name */
    ck_assert_uint_ge(syncs_of_it, 1);
    ck_assert(!is_marked("moved"));
    syncs_of_it = 0;
    OK(put("key3"));
    ck_assert_uint_eq(syncs_of_it, 0);
    brick_end(&b);
}
END_TEST

/* The index does not know the bucket: moved by hand, beside a running brick. */
START_TEST(a_bucket_that_was_moved_behind_our_back_is_synced_each_time)
{
    char from[300], to[300];

    setup();
    snprintf(from, sizeof from, "%s/bucket", b.dir);
    snprintf(to, sizeof to, "%s/elsewhere", b.dir);
    OK(rename(from, to));
    at_ino = ino_of("");
    syncs_of_it = 0;
    OK(put("key"));
    ck_assert_uint_ge(syncs_of_it, 1);
    brick_end(&b);
}
END_TEST

/* ---- names that are synced before the answer ---- */

START_TEST(with_sync_names_each_answer_is_on_disk)
{
    struct wg_ref d, fifo;

    brick_mkdir(&b);
    OK(brick_try(&b, " option init yes\n option sync-names yes\n"));
    d = mkdir_(&b, brick_root(), "d", 0755);
    at_ino = ino_of("d");
#define SYNCS(fop) do { syncs_of_it = 0; fop; ck_assert_uint_ge(syncs_of_it, 1); } while (0)
    SYNCS(mkfile(&b, d, "f", 0644));
    SYNCS(OK(FOP_(&b, link, .at = lookup(&b, d, "f"), .to = at(d, "l"))));
    SYNCS(OK(FOP_(&b, symlink, .at = at(d, "s"), .gfid = wg_gfid_new(), .target = WG_STR("f"))));
    SYNCS(OK(FOP_(&b, rename, .from = at(d, "f"), .to = at(brick_root(), "g"))));
    SYNCS(OK(FOP_(&b, rename, .from = at(brick_root(), "g"), .to = at(d, "f"))));
    SYNCS(OK(FOP_(&b, unlink, .at = at(d, "l"))));
    SYNCS(OK(FOP_(&b, setattr, .at = d, .attrs = mode_of(0700))));
    OK(FOP_(&b, mknod, .at = at(d, "fifo"), .gfid = wg_gfid_new(), .type = WG_FIFO));
    fifo = OUT_(&b, mknod)->ref;
    OK(FOP_(&b, setattr, .at = fifo, .attrs = mode_of(0600))); /* is not opened for it */
    brick_end(&b);
}
END_TEST

/* What was made has a record of its own, set after the name; and a CREATE may cut a file that is there. */
START_TEST(with_sync_names_what_was_made_is_on_disk_too)
{
    struct wg_sattr cut = { .valid = WG_SET_SIZE, .size = 0 };

    brick_mkdir(&b);
    OK(brick_try(&b, " option init yes\n option sync-names yes\n"));
    syncs_of_files = syncs_of_dirs = 0;
    mkfile(&b, brick_root(), "f", 0644);
    ck_assert_uint_eq(syncs_of_files, 1);
    ck_assert_uint_eq(syncs_of_dirs, 1);
    mkdir_(&b, brick_root(), "d", 0755);
    ck_assert_uint_eq(syncs_of_dirs, 3);
    OK(FOP_(&b, create, .at = at(brick_root(), "f"), .gfid = wg_gfid_new(), .how = WG_UNCHECKED, .attrs = cut));
    ck_assert_uint_eq(syncs_of_files, 2);
    brick_end(&b);
}
END_TEST

START_TEST(without_it_no_answer_waits_for_the_disk)
{
    brick_start(&b);
    syncs_of_files = syncs_of_dirs = 0;
    mkfile(&b, mkdir_(&b, brick_root(), "d", 0755), "f", 0644);
    OK(FOP_(&b, rename, .from = at(brick_root(), "d"), .to = at(brick_root(), "e")));
    ck_assert_uint_eq(syncs_of_files, 0);
    ck_assert_uint_eq(syncs_of_dirs, 0);
    brick_end(&b);
}
END_TEST

TESTS("posix unsynced", TEST_ROW(with_sync_names_what_was_made_is_on_disk_too)
      TEST_ROW(without_it_no_answer_waits_for_the_disk)
      TEST_ROW(with_sync_names_each_answer_is_on_disk) TEST_ROW(a_rename_beside_a_put_keeps_the_buckets_mark)
      TEST_ROW(a_bucket_that_was_moved_behind_our_back_is_synced_each_time))
