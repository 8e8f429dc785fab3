/* SPDX-License-Identifier: Apache-2.0 */
/* storage/posix: which directories are bricks, and what survives a restart. */
#include <sys/wait.h>
#include <sys/xattr.h>

#include "brick.h"

START_TEST(a_directory_is_no_brick_until_told)
{
    struct brick b;

    brick_mkdir(&b);
    ERR(brick_try(&b, ""), ENOENT);
    ck_assert_int_ne(access(brick_path(&b, ".windgate"), F_OK), 0);
    OK(brick_try(&b, " option init yes\n"));
    brick_stop(&b);
    OK(brick_try(&b, " option init yes\n")); /* a second time it just starts */
    brick_end(&b);
}
END_TEST

START_TEST(what_is_no_directory_is_refused)
{
    struct brick b = { .dir = "/nowhere/at/all" };

    ERR(brick_try(&b, " option init yes\n"), ENOENT);
    snprintf(b.dir, sizeof b.dir, "/dev/null");
    ERR(brick_try(&b, " option init yes\n"), ENOTDIR);
    snprintf(b.dir, sizeof b.dir, "/proc");
    ck_assert_int_ne(brick_try(&b, " option init yes\n"), 0); /* nor what can't hold one */
}
END_TEST

START_TEST(a_second_brick_on_one_root_is_refused)
{
    struct brick b, other;
    int status;

    brick_start(&b);
    memset(&other, 0, sizeof other);
    strcpy(other.dir, b.dir);
    ERR(brick_try(&other, ""), EBUSY);
    if (fork() == 0)
        _exit(brick_try(&other, "") == EBUSY ? 0 : 1);
    wait(&status);
    ck_assert_int_eq(status, 0);
    brick_stop(&b);
    OK(brick_try(&other, ""));
    brick_end(&other);
}
END_TEST

static void rewrite(struct brick *b, const char *from, const char *to)
{
    char text[2048], out[4096], *at_;
    int fd = open(brick_path(b, ".windgate/format"), O_RDWR);
    ssize_t n = read(fd, text, sizeof text - 1);

    ck_assert_int_gt(n, 0);
    text[n] = '\0';
    at_ = strstr(text, from);
    ck_assert_ptr_nonnull(at_);
    *at_ = '\0';
    snprintf(out, sizeof out, "%s%s%s", text, to, at_ + strlen(from));
    OK(ftruncate(fd, 0));
    ck_assert_int_eq(pwrite(fd, out, strlen(out), 0), (ssize_t)strlen(out));
    close(fd);
}

START_TEST(formats_that_are_not_understood_are_refused)
{
    struct brick b;

    brick_start(&b);
    brick_stop(&b);
    rewrite(&b, "version = 1", "version = 2");
    ERR(brick_try(&b, ""), EINVAL);
    rewrite(&b, "version = 2", "version = 1");
    rewrite(&b, "incompatible = [ ]; }", "incompatible = [ \"erasure\" ]; }");
    ERR(brick_try(&b, ""), EINVAL);
    rewrite(&b, "[ \"erasure\" ]", "[ ]");
    rewrite(&b, "{ compatible = [ ]", "{ compatible = [ \"hints\" ]");
    OK(brick_try(&b, ""));
    brick_stop(&b);
    rewrite(&b, "read_only_compatible = [ ]", "read_only_compatible = [ \"deltas\" ]");
    OK(brick_try(&b, ""));
    ERR(FOP_(&b, mkdir, .at = at(brick_root(), "d")), EROFS);
    ERR(FOP_(&b, unlink, .at = at(brick_root(), "d")), EROFS);
    OK(FOP_(&b, getattr, .at = brick_root()));
    brick_stop(&b);
    rewrite(&b, "version", "versio(n");
    ERR(brick_try(&b, ""), EINVAL);
    brick_end(&b);
}
END_TEST

START_TEST(ids_must_agree)
{
    struct brick b, copy;
    char cmd[700];

    brick_mkdir(&b);
    ERR(brick_try(&b, " option init yes\n option volume-id rubbish\n"), EINVAL);
    OK(brick_try(&b, " option init yes\n option volume-id 6ba7b810-9dad-11d1-80b4-00c04fd430c8\n"));
    brick_stop(&b);
    OK(brick_try(&b, " option volume-id 6ba7b810-9dad-11d1-80b4-00c04fd430c8\n"));
    brick_stop(&b);
    ERR(brick_try(&b, " option volume-id 6ba7b810-9dad-11d1-80b4-00c04fd430c9\n"), EINVAL);
    ERR(brick_try(&b, " option brick-id 6ba7b810-9dad-11d1-80b4-00c04fd430c9\n"), EINVAL);
    brick_mkdir(&copy); /* a copy without xattrs is another directory */
    snprintf(cmd, sizeof cmd, "cp -r %s/.windgate %s/", b.dir, copy.dir);
    OK(system(cmd));
    ERR(brick_try(&copy, ""), EINVAL);
    brick_end(&copy);
    brick_end(&b);
}
END_TEST

START_TEST(hints_and_gfids_survive_restart_and_rename)
{
    struct brick b;
    struct wg_ref d, f, bare;

    brick_start(&b);
    d = mkdir_(&b, brick_root(), "d", 0755);
    f = mkfile(&b, d, "f", 0644);
    OK(put_text(&b, f, 0, "kept", WG_FILE_SYNC));
    OK(FOP_(&b, rename, .from = at(brick_root(), "d"), .to = at(brick_root(), "e")));
    brick_restart(&b);
    ck_assert_str_eq(get_text(&b, f), "kept");
    OK(FOP_(&b, getattr, .at = d));
    ck_assert(wg_gfid_eq(lookup(&b, d, "f").gfid, f.gfid));
    if (!brick_px(&b)->handles) {
        brick_end(&b);
        return;
    }
    brick_restart(&b); /* somebody else's hint is not believed */
    bare = f;
    memcpy(bare.hint, d.hint, sizeof bare.hint);
    bare.gfid = wg_gfid_new();
    ERR(FOP_(&b, getattr, .at = bare), ESTALE);
    bare.hint_len = 200;
    ERR(FOP_(&b, getattr, .at = bare), ESTALE);
    brick_end(&b);
}
END_TEST

START_TEST(the_record_is_64_bytes_beside_the_inode)
{
    struct brick b;
    char name[32];
    ssize_t n;

    brick_start(&b);
    mkfile(&b, brick_root(), "f", 0644);
    snprintf(name, sizeof name, "%s", brick_px(&b)->rec_name);
    n = lgetxattr(brick_path(&b, "f"), name, NULL, 0);
    ck_assert_int_eq(n, 64);
    brick_end(&b);
}
END_TEST

START_TEST(a_kill_leaves_a_brick_that_starts)
{
    struct brick b;
    struct wg_ref d;
    int status;
    pid_t pid;

    brick_start(&b);
    brick_stop(&b);
    pid = fork();
    if (pid == 0) {
        if (brick_try(&b, "") == 0) {
            mkdir_(&b, brick_root(), "d", 0755);
            raise(SIGKILL);
        }
        _exit(1);
    }
    waitpid(pid, &status, 0);
    ck_assert(WIFSIGNALED(status));
    OK(brick_try(&b, ""));
    d = lookup(&b, brick_root(), "d");
    OK(FOP_(&b, getattr, .at = d));
    brick_end(&b);
}
END_TEST

START_TEST(a_gfid_alone_finds_its_inode)
{
    struct brick b;
    struct wg_ref d, e, f;

    brick_start(&b);
    d = mkdir_(&b, brick_root(), "d", 0755);
    e = mkdir_(&b, d, "e", 0755);
    f = mkfile(&b, e, "f", 0644);
    OK(put_text(&b, f, 0, "found", WG_FILE_SYNC));
    OK(FOP_(&b, link, .at = f, .to = at(d, "other")));
    d.hint_len = f.hint_len = 0;
    brick_restart(&b);
    ck_assert_str_eq(get_text(&b, f), "found");
    brick_restart(&b);
    OK(FOP_(&b, rename, .from = at(d, "e"), .to = at(brick_root(), "moved")));
    brick_restart(&b);
    ck_assert_str_eq(get_text(&b, f), "found");
    OK(FOP_(&b, unlink, .at = at(brick_root(), "moved")) == EISDIR ? 0 : 1);
    OK(FOP_(&b, unlink, .at = at(lookup(&b, brick_root(), "moved"), "f")));
    OK(FOP_(&b, rmdir, .at = at(brick_root(), "moved")));
    e.hint_len = 0;
    brick_restart(&b);
    ERR(FOP_(&b, getattr, .at = e), ESTALE);
    ck_assert(wg_gfid_eq(lookup(&b, d, "other").gfid, f.gfid));
    brick_end(&b);
}
END_TEST

/* What a brick leaves that is killed between a call and the record: the name, and its row. */
START_TEST(a_half_made_inode_gets_the_gfid_it_was_to_have)
{
    wg_gfid g = wg_gfid_new(), h = wg_gfid_new();
    struct brick b;
    int fd;

    brick_start(&b);
    OK(wg_px_index_add(brick_px(&b), WG_ROOT_GFID, "d", g, WG_DIR, NULL, 0));
    OK(wg_px_index_add(brick_px(&b), WG_ROOT_GFID, "f", h, WG_REG, NULL, 0));
    brick_restart(&b);
    OK(mkdir(brick_path(&b, "d"), 0755));
    fd = open(brick_path(&b, "f"), O_CREAT | O_WRONLY, 0644);
    close(fd);
    OK(FOP_(&b, mkdir, .at = at(brick_root(), "d"), .gfid = g)); /* the replay */
    ck_assert(wg_gfid_eq(OUT_(&b, mkdir)->ref.gfid, g));
    OK(FOP_(&b, create, .at = at(brick_root(), "f"), .gfid = h, .how = WG_GUARDED));
    ck_assert(wg_gfid_eq(OUT_(&b, create)->ref.gfid, h));
    ERR(FOP_(&b, mkdir, .at = at(brick_root(), "d"), .gfid = wg_gfid_new()), EEXIST);
    brick_end(&b);
}
END_TEST

/* A brick killed at any moment of its work answers every replay with what it had begun. */
START_TEST(replays_after_kills_have_one_effect)
{
    struct brick b;
    int pipe_[2], status;
    wg_gfid g;

    brick_start(&b);
    brick_stop(&b);
    for (int round = 0; round < 12; round++) {
        unsigned n = 0, done = 0;
        char name[32];
        pid_t pid;

        OK(pipe(pipe_));
        pid = fork();
        if (pid == 0) {
            if (brick_try(&b, ""))
                _exit(1);
            for (unsigned i = 0; i < 1000; i++) { /* gfids that the parent can name again */
                memset(&g, round + 1, sizeof g);
                memcpy(g.b, &i, sizeof i);
                snprintf(name, sizeof name, "r%d.%u", round, i);
                if (FOP_(&b, mkdir, .at = at(brick_root(), name), .gfid = g))
                    _exit(1);
                if (write(pipe_[1], "x", 1) != 1)
                    _exit(1);
            }
            pause();
        }
        close(pipe_[1]);
        while (n < 20u + (unsigned)round * 7 && read(pipe_[0], name, 1) == 1)
            n++;
        kill(pid, SIGKILL);
        while (read(pipe_[0], name, 1) == 1)
            n++;
        close(pipe_[0]);
        waitpid(pid, &status, 0);
        OK(brick_try(&b, ""));
        b.replay = true;
        for (done = 0; done <= n; done++) { /* what was answered, and the one that was not */
            memset(&g, round + 1, sizeof g);
            memcpy(g.b, &done, sizeof done);
            snprintf(name, sizeof name, "r%d.%u", round, done);
            OK(FOP_(&b, mkdir, .at = at(brick_root(), name), .gfid = g));
            ck_assert(wg_gfid_eq(OUT_(&b, mkdir)->ref.gfid, g));
        }
        brick_stop(&b);
    }
    brick_end(&b);
}
END_TEST

TESTS("posix format",
      TEST_ROW(a_gfid_alone_finds_its_inode)
      TEST_ROW(a_half_made_inode_gets_the_gfid_it_was_to_have)
      TEST_ROW(replays_after_kills_have_one_effect)
      TEST_ROW(a_directory_is_no_brick_until_told)
      TEST_ROW(what_is_no_directory_is_refused)
      TEST_ROW(a_second_brick_on_one_root_is_refused)
      TEST_ROW(formats_that_are_not_understood_are_refused)
      TEST_ROW(ids_must_agree)
      TEST_ROW(hints_and_gfids_survive_restart_and_rename)
      TEST_ROW(the_record_is_64_bytes_beside_the_inode)
      TEST_ROW(a_kill_leaves_a_brick_that_starts))
