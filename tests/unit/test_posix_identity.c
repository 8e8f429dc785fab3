/* SPDX-License-Identifier: Apache-2.0 */
/* storage/posix: names are operated on as the caller, and NFS's own rules come after EACCES. */
#include <sys/xattr.h>

#include "brick.h"

START_TEST(the_kernel_decides_who_may)
{
    struct brick b;
    struct wg_ref d, f;

    NEEDS_ROOT("the_kernel_decides_who_may");
    brick_start(&b);
    be(&b, 1000, 1000);
    d = mkdir_(&b, brick_root(), "d", 0700);
    ck_assert_uint_eq(OUT_(&b, mkdir)->attr.uid, 1000);
    f = mkfile(&b, d, "f", 0600);
    ck_assert_uint_eq(OUT_(&b, create)->attr.gid, 1000);
    OK(put_text(&b, f, 0, "mine", WG_UNSTABLE));
    be(&b, 1001, 1001);
    ERR(FOP_(&b, lookup, .at = at(d, "f")), EACCES);
    ERR(FOP_(&b, read, .at = f, .size = 10), EACCES);
    ERR(put_text(&b, f, 0, "theirs", WG_UNSTABLE), EACCES);
    ERR(FOP_(&b, create, .at = at(d, "g"), .how = WG_GUARDED), EACCES);
    ERR(FOP_(&b, mkdir, .at = at(d, "g")), EACCES);
    ERR(FOP_(&b, unlink, .at = at(d, "f")), EACCES);
    ERR(FOP_(&b, setattr, .at = f, .attrs = mode_of(0777)), EPERM);
    ERR(FOP_(&b, readdir, .at = d, .size = 4096), EACCES);
    OK(FOP_(&b, getattr, .at = f));
    be(&b, 0, 0);
    ck_assert_str_eq(get_text(&b, f), "mine");
    brick_end(&b);
}
END_TEST

START_TEST(groups_count)
{
    static const uint32_t groups[] = { 7, 2000, 9 };
    struct brick b;
    struct wg_ref f;

    NEEDS_ROOT("groups_count");
    brick_start(&b);
    f = mkfile(&b, brick_root(), "f", 0640);
    OK(FOP_(&b, setattr, .at = f, .attrs = { .valid = WG_SET_GID, .gid = 2000 }));
    be(&b, 1000, 1000);
    ERR(FOP_(&b, read, .at = f, .size = 1), EACCES);
    b.cred.groups = groups;
    b.cred.ngroups = 3;
    OK(FOP_(&b, read, .at = f, .size = 1));
    b.cred.ngroups = 1;
    ERR(FOP_(&b, read, .at = f, .size = 1), EACCES);
    brick_end(&b);
}
END_TEST

START_TEST(an_owner_may_read_write_and_truncate_whatever_the_mode)
{
    struct brick b;
    struct wg_ref f;

    NEEDS_ROOT("an_owner_may_read_write_and_truncate_whatever_the_mode");
    brick_start(&b);
    be(&b, 1000, 1000);
    f = mkfile(&b, brick_root(), "f", 0444);
    brick_restart(&b);
    OK(put_text(&b, f, 0, "git", WG_UNSTABLE));
    OK(FOP_(&b, setattr, .at = f, .attrs = { .valid = WG_SET_SIZE, .size = 2 }));
    OK(FOP_(&b, setattr, .at = f, .attrs = mode_of(0)));
    ck_assert_str_eq(get_text(&b, f), "gi");
    be(&b, 1001, 1000);
    ERR(put_text(&b, f, 0, "no", WG_UNSTABLE), EACCES);
    ERR(FOP_(&b, setattr, .at = f, .attrs = { .valid = WG_SET_SIZE }), EACCES);
    brick_end(&b);
}
END_TEST

START_TEST(execute_permission_allows_reading)
{
    struct brick b;
    struct wg_ref f;

    NEEDS_ROOT("execute_permission_allows_reading");
    brick_start(&b);
    f = mkfile(&b, brick_root(), "program", 0711);
    OK(put_text(&b, f, 0, "code", WG_UNSTABLE));
    be(&b, 1000, 1000);
    ck_assert_str_eq(get_text(&b, f), "code");
    ERR(put_text(&b, f, 0, "virus", WG_UNSTABLE), EACCES);
    brick_end(&b);
}
END_TEST

START_TEST(a_cached_fd_serves_only_who_it_was_opened_for)
{
    struct brick b;
    struct wg_ref f;

    NEEDS_ROOT("a_cached_fd_serves_only_who_it_was_opened_for");
    brick_start(&b);
    be(&b, 1000, 1000);
    f = mkfile(&b, brick_root(), "f", 0604);
    OK(put_text(&b, f, 0, "secret", WG_UNSTABLE));
    be(&b, 1001, 1001);
    ck_assert_str_eq(get_text(&b, f), "secret");
    be(&b, 1000, 1000);
    OK(FOP_(&b, setattr, .at = f, .attrs = mode_of(0600)));
    be(&b, 1001, 1001);
    ERR(FOP_(&b, read, .at = f, .size = 6), EACCES); /* though its fd was open */
    OK(wg_px_as_brick(brick_px(&b))); /* this thread is still who it was in the store */
    OK(chmod(brick_path(&b, "f"), 0604)); /* behind our back, too */
    OK(FOP_(&b, read, .at = f, .size = 6));
    brick_end(&b);
}
END_TEST

static uint32_t mode_now(struct brick *b, struct wg_ref f)
{
    OK(FOP_(b, getattr, .at = f));
    return OUT_(b, getattr)->attr.mode & 07777;
}

/* The second change finds the fd that the first one has left, and a thread that was root meanwhile. */
START_TEST(set_id_bits_go_when_others_than_root_change_the_content)
{
    struct wg_ref f;
    struct brick b;

    NEEDS_ROOT("set_id_bits_go_when_others_than_root_change_the_content");
    brick_start(&b);
    f = mkfile(&b, brick_root(), "f", 0755);
    OK(FOP_(&b, setattr, .at = f, .attrs = { .valid = WG_SET_UID, .uid = 1000 }));
    for (unsigned i = 0; i < 4; i++) {
        be(&b, 0, 0);
        OK(FOP_(&b, setattr, .at = f, .attrs = mode_of(06755)));
        be(&b, 1000, 1000);
        if (i < 2)
            OK(put_text(&b, f, 0, "text", WG_UNSTABLE));
        else
            OK(FOP_(&b, setattr, .at = f, .attrs = { .valid = WG_SET_SIZE, .size = i }));
        ck_assert_uint_eq(mode_now(&b, f), 0755);
    }
    OK(FOP_(&b, setattr, .at = f, .attrs = mode_of(0755)));
    be(&b, 0, 0);
    OK(FOP_(&b, setattr, .at = f, .attrs = mode_of(06755)));
    OK(put_text(&b, f, 0, "root", WG_UNSTABLE));
    ck_assert_uint_eq(mode_now(&b, f), 06755);
    brick_end(&b);
}
END_TEST

START_TEST(access_answers_what_the_kernel_says)
{
    struct brick b;
    struct wg_ref f, d;

    NEEDS_ROOT("access_answers_what_the_kernel_says");
    brick_start(&b);
    f = mkfile(&b, brick_root(), "f", 0654);
    d = mkdir_(&b, brick_root(), "d", 0751);
    OK(FOP_(&b, setattr, .at = f, .attrs = { .valid = WG_SET_GID, .gid = 1000 }));
    be(&b, 1000, 1000);
    OK(FOP_(&b, access, .at = f, .mask = 0x3f));
    ck_assert_uint_eq(OUT_(&b, access)->granted, 0x21); /* READ, EXECUTE */
    OK(FOP_(&b, access, .at = d, .mask = 0x3f));
    ck_assert_uint_eq(OUT_(&b, access)->granted, 0x02); /* LOOKUP */
    be(&b, 0, 0);
    OK(FOP_(&b, access, .at = d, .mask = 0x3f));
    ck_assert_uint_eq(OUT_(&b, access)->granted, 0x1f);
    OK(FOP_(&b, access, .at = d, .mask = 0x01));
    ck_assert_uint_eq(OUT_(&b, access)->granted, 0x01);
    brick_end(&b);
}
END_TEST

START_TEST(setgid_directories_and_default_acls_are_inherited)
{
    /* version 2, then tag, permissions, id: user::rwx user:1002:rw- group::r-- mask::rw- other::--- */
    static const uint16_t acl[] = { 2, 0, 1, 7, 0xffff, 0xffff, 2, 6, 1002, 0, 4, 4, 0xffff, 0xffff,
                                    0x10, 6, 0xffff, 0xffff, 0x20, 0, 0xffff, 0xffff };
    struct brick b;
    struct wg_ref d;

    NEEDS_ROOT("setgid_directories_and_default_acls_are_inherited");
    brick_start(&b);
    d = mkdir_(&b, brick_root(), "d", 02777);
    ck_assert_uint_eq(OUT_(&b, mkdir)->attr.mode, 02777);
    OK(FOP_(&b, setattr, .at = d, .attrs = { .valid = WG_SET_GID, .gid = 2000 }));
    OK(FOP_(&b, setattr, .at = d, .attrs = mode_of(02777)));
    be(&b, 1000, 1000);
    mkfile(&b, d, "f", 0644);
    ck_assert_uint_eq(OUT_(&b, create)->attr.gid, 2000);
    mkdir_(&b, d, "sub", 0755);
    ck_assert_uint_eq(OUT_(&b, mkdir)->attr.gid, 2000);
    ck_assert_uint_eq(OUT_(&b, mkdir)->attr.mode, 02755);
    if (setxattr(brick_path(&b, "d"), "system.posix_acl_default", acl, sizeof acl, 0) == 0) {
        mkfile(&b, d, "g", 0666);
        ck_assert_uint_eq(OUT_(&b, create)->attr.mode, 0660);
        ck_assert_int_gt(getxattr(brick_path(&b, "d/g"), "system.posix_acl_access", NULL, 0), 0);
        be(&b, 1002, 1002);
        OK(put_text(&b, lookup(&b, d, "g"), 0, "by acl", WG_UNSTABLE));
    }
    brick_end(&b);
}
END_TEST

START_TEST(sticky_directories_protect_names)
{
    struct brick b;
    struct wg_ref d;

    NEEDS_ROOT("sticky_directories_protect_names");
    brick_start(&b);
    d = mkdir_(&b, brick_root(), "d", 01777);
    be(&b, 1000, 1000);
    mkfile(&b, d, "f", 0666);
    be(&b, 1001, 1001);
    ERR(FOP_(&b, unlink, .at = at(d, "f")), EPERM);
    ERR(FOP_(&b, rename, .from = at(d, "f"), .to = at(d, "g")), EPERM);
    ERR(FOP_(&b, mknod, .at = at(d, "dev"), .type = WG_BLK, .major = 8), EPERM);
    ERR(FOP_(&b, setattr, .at = lookup(&b, d, "f"), .attrs = { .valid = WG_SET_UID, .uid = 1001 }), EPERM);
    be(&b, 0, 0);
    OK(FOP_(&b, mknod, .at = at(d, "null"), .gfid = wg_gfid_new(), .type = WG_CHR, .major = 1, .minor = 3));
    ck_assert_uint_eq(OUT_(&b, mknod)->attr.rdev_major, 1);
    ERR(FOP_(&b, read, .at = OUT_(&b, mknod)->ref, .size = 1), EINVAL);
    brick_end(&b);
}
END_TEST

/* A new thread has its creator's identity, which is not what the store takes for granted. */
static struct brick *shared;
static int thread_err;

static void *read_as_brick(void *arg)
{
    struct wg_ref *f = arg;

    be(shared, 0, 0);
    thread_err = FOP_(shared, read, .at = *f, .size = 1);
    return NULL;
}

START_TEST(a_new_thread_does_not_inherit_a_caller)
{
    struct brick b;
    struct wg_ref f;
    pthread_t t;

    NEEDS_ROOT("a_new_thread_does_not_inherit_a_caller");
    brick_start(&b);
    shared = &b;
    f = mkfile(&b, brick_root(), "f", 0600);
    be(&b, 1000, 1000);
    ERR(FOP_(&b, read, .at = f, .size = 1), EACCES);
    OK(pthread_create(&t, NULL, read_as_brick, &f));
    OK(pthread_join(t, NULL));
    OK(thread_err);
    b.cred.uid = UINT32_MAX;
    ERR(FOP_(&b, lookup, .at = at(brick_root(), "f")), EPERM);
    be(&b, 0, 0);
    brick_end(&b);
}
END_TEST

TESTS("posix identity",
      TEST_ROW(the_kernel_decides_who_may)
      TEST_ROW(groups_count)
      TEST_ROW(an_owner_may_read_write_and_truncate_whatever_the_mode)
      TEST_ROW(execute_permission_allows_reading)
      TEST_ROW(a_cached_fd_serves_only_who_it_was_opened_for)
      TEST_ROW(set_id_bits_go_when_others_than_root_change_the_content)
      TEST_ROW(access_answers_what_the_kernel_says)
      TEST_ROW(setgid_directories_and_default_acls_are_inherited)
      TEST_ROW(sticky_directories_protect_names)
      TEST_ROW(a_new_thread_does_not_inherit_a_caller))
