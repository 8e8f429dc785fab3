/* SPDX-License-Identifier: Apache-2.0 */
/* The worked examples of bindings/python over a real store; each does what its first lines say. */
#include "brick.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "log.h"
#include "python_kit.h"

/*
 * The leak checker stops all threads to look at them, and now and then crashes over one of CPython's that is
 * just ending. What the binding keeps is counted in test_python; here it is switched off.
 */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
    return 1;
}

static struct brick b;
static char side[PATH_MAX]; /* what an example keeps beside the store: a file, a socket */

/* Answers may come on another thread. */
static void answered(struct wg_call *call)
{
    sem_post(call->owner);
}

static int ask(unsigned op, const void *in)
{
    sem_t done;
    int err;

    if (b.call)
        wg_call_unref(b.call);
    b.call = wg_call_new(b.graph, WG_FROM_INTERNAL, "Test");
    ck_assert_ptr_nonnull(b.call);
    b.call->cred = b.cred;
    b.call->client = WG_STR("192.0.2.1");
    sem_init(&done, 0, 0);
    b.call->owner = &done;
    wg_start(b.call, b.graph->top, op, in, answered);
    sem_wait(&done);
    err = b.call->root->err;
    sem_destroy(&done);
    return err;
}

#define FOP(name, ...) ask(WG_OP_##name, &(struct wg_##name##_in){ __VA_ARGS__ })

static void begin(const char *example, const char *options)
{
    char text[PATH_MAX + 512], file[256];

    snprintf(file, sizeof file, "xlators/bindings/python/examples/%s.py", example);
    snprintf(text, sizeof text, " option init yes\nend-volume\nvolume py\n type bindings/python\n option module %s\n"
             "%s subvolumes brick\n", python_source(file), options);
    OK(wg_work_start(2));
    wg_log_file("/dev/null");
    brick_mkdir(&b);
    snprintf(side, sizeof side, "%s.side", b.dir);
    ck_assert_msg(brick_try(&b, text) == 0, "%s", brick_error);
}

static void end(void)
{
    brick_end(&b);
    wg_work_stop();
    unlink(side);
}

static struct wg_ref make(struct wg_ref dir, const char *name)
{
    OK(FOP(create, .at = at(dir, name), .gfid = wg_gfid_new(), .how = WG_GUARDED, .attrs = mode_of(0644)));
    return OUT_(&b, create)->ref;
}

static int write_text(struct wg_ref file, const char *text)
{
    struct wg_seg seg = { NULL, (void *)(uintptr_t)text, (uint32_t)strlen(text) };

    return FOP(write, .at = file, .data = { &seg, 1, seg.len });
}

static int put(struct wg_ref bucket, const char *key, const char *text)
{
    struct wg_seg seg = { NULL, (void *)(uintptr_t)text, (uint32_t)strlen(text) };

    return FOP(put, .bucket = bucket, .key = wg_str_of(key), .gfid = wg_gfid_new(), .etag = { .valid = true },
               .data = { &seg, seg.len > 0, seg.len });
}

static uint64_t asked(unsigned op)
{
    return wg_stats_sum(wg_graph_find(b.graph, "brick"), op).calls;
}

/* --- negative lookup --- */

START_TEST(negative_lookup_asks_for_an_absent_name_once)
{
    struct wg_ref root = brick_root(), dir;
    uint64_t before;

    begin("negative_lookup", " option entries 100\n");
    OK(FOP(mkdir, .at = at(root, "d"), .gfid = wg_gfid_new(), .attrs = mode_of(0755)));
    dir = OUT_(&b, mkdir)->ref;
    before = asked(WG_OP_lookup);
    for (int i = 0; i < 10; i++)
        ERR(FOP(lookup, .at = at(dir, "none")), ENOENT);
    ck_assert_uint_eq(asked(WG_OP_lookup) - before, 1);
    before = asked(WG_OP_get);
    for (int i = 0; i < 10; i++)
        ERR(FOP(get, .bucket = dir, .key = WG_STR("a/b/c")), ENOENT);
    ck_assert_uint_eq(asked(WG_OP_get) - before, 1);

    make(dir, "none");
    OK(FOP(lookup, .at = at(dir, "none")));
    OK(put(dir, "a/b/c", "x"));
    OK(FOP(get, .bucket = dir, .key = WG_STR("a/b/c")));
    ERR(FOP(lookup, .at = at(dir, "new")), ENOENT);
    OK(FOP(rename, .from = at(dir, "none"), .to = at(dir, "new")));
    OK(FOP(lookup, .at = at(dir, "new")));
    ERR(FOP(lookup, .at = at(dir, "none")), ENOENT);
    ERR(FOP(lookup, .at = at(dir, "link")), ENOENT);
    OK(FOP(symlink, .at = at(dir, "link"), .gfid = wg_gfid_new(), .target = WG_STR("x")));
    OK(FOP(lookup, .at = at(dir, "link")));
    for (int i = 0; i < 300; i++) { /* more than it keeps */
        char name[16];

        snprintf(name, sizeof name, "n%d", i);
        ERR(FOP(lookup, .at = at(dir, name)), ENOENT);
    }
    if (geteuid() == 0) { /* what one user may not know, another's answer does not tell */
        OK(FOP(setattr, .at = dir, .attrs = mode_of(0700)));
        ERR(FOP(lookup, .at = at(dir, "n299")), ENOENT);
        be(&b, 1000, 1000);
        ERR(FOP(lookup, .at = at(dir, "n299")), EACCES);
    }
    end();
}
END_TEST

/* --- read-only by pattern --- */

START_TEST(read_only_keeps_what_matches)
{
    struct wg_ref root = brick_root(), kept, free_one;
    FILE *f;

    begin("read_only", " option patterns \"*.ro, legal-*\"\n");
    f = fopen(brick_path(&b, "x.ro"), "w"); /* on the disk of the store */
    ck_assert_ptr_nonnull(f);
    fputs("the law", f);
    fclose(f);
    free_one = make(root, "x.rw");
    OK(FOP(lookup, .at = at(root, "x.ro")));
    kept = OUT_(&b, lookup)->ref;
    ERR(write_text(kept, "changed"), EROFS);
    ERR(FOP(setattr, .at = kept, .attrs = mode_of(0666)), EROFS);
    ERR(FOP(copy_range, .from = free_one, .to = kept), EROFS);
    ERR(FOP(unlink, .at = at(root, "x.ro")), EROFS);
    ERR(FOP(rename, .from = at(root, "x.ro"), .to = at(root, "y")), EROFS);
    ERR(FOP(rename, .from = at(root, "x.rw"), .to = at(root, "x.ro")), EROFS);
    ERR(FOP(link, .at = kept, .to = at(root, "other")), EROFS);
    ERR(FOP(create, .at = at(root, "x.ro"), .gfid = wg_gfid_new(), .how = WG_UNCHECKED), EROFS);
    ERR(FOP(mkdir, .at = at(root, "legal-2027"), .gfid = wg_gfid_new()), EROFS);
    ck_assert_str_eq(get_text(&b, kept), "the law");
    OK(write_text(free_one, "changed"));
    OK(FOP(unlink, .at = at(root, "x.rw")));
    OK(FOP(mkdir, .at = at(root, "bucket"), .gfid = wg_gfid_new(), .attrs = mode_of(0755)));
    {
        struct wg_ref bucket = OUT_(&b, mkdir)->ref;

        ERR(put(bucket, "legal-2026/a", "1"), EROFS);
        ERR(put(bucket, "a/b.ro", "1"), EROFS);
        ERR(FOP(del, .bucket = bucket, .key = WG_STR("legal-2026/a")), EROFS);
        OK(put(bucket, "other/a", "1"));
        OK(put(bucket, "other/a", "2"));
        OK(FOP(del, .bucket = bucket, .key = WG_STR("other/a")));
    }
    end();
}
END_TEST

/* --- audit log --- */

static char *slurp(const char *path)
{
    static char text[65536];
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;

    if (f)
        fclose(f);
    text[n] = '\0';
    return text;
}

START_TEST(audit_log_has_a_line_for_each_change)
{
    char options[PATH_MAX + 64], dir[] = "/tmp/wg-audit.XXXXXX";
    struct wg_ref root = brick_root();
    char *text;
    int lines = 0;

    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(options, sizeof options, " option file %s/log\n", dir);
    begin("audit_log", options);
    snprintf(side, sizeof side, "%s/log", dir);
    make(root, "some\"name");
    ERR(FOP(unlink, .at = at(root, "absent")), ENOENT);
    OK(FOP(lookup, .at = at(root, "some\"name")));
    OK(FOP(getattr, .at = root));
    brick_end(&b);
    wg_work_stop();
    text = slurp(side);
    for (char *at_ = text; (at_ = strchr(at_, '\n')); at_++)
        lines++;
    ck_assert_int_eq(lines, 2); /* what only reads is not there */
    ck_assert_ptr_nonnull(strstr(text, "\"fop\": \"create\""));
    ck_assert_ptr_nonnull(strstr(text, "\"client\": \"192.0.2.1\""));
    ck_assert_ptr_nonnull(strstr(text, "\"fop\": \"unlink\""));
    ck_assert_ptr_nonnull(strstr(text, "absent"));
    ck_assert_ptr_nonnull(strstr(text, "\"errno\": 2"));
    unlink(side);
    rmdir(dir);
}
END_TEST

/* --- WORM --- */

START_TEST(worm_locks_what_has_rested_and_frees_it_again)
{
    struct wg_ref root = brick_root(), file, dir;
    int err = 0;

    begin("worm", " option grace 1s\n option retain 4s\n");
    file = make(root, "f");
    OK(FOP(mkdir, .at = at(root, "d"), .gfid = wg_gfid_new(), .attrs = mode_of(0755)));
    dir = OUT_(&b, mkdir)->ref;
    OK(put(dir, "key", "1"));
    OK(write_text(file, "first"));
    usleep(1200000);
    ERR(write_text(file, "again"), EPERM);
    ERR(FOP(setattr, .at = file, .attrs = mode_of(0600)), EPERM);
    ERR(FOP(unlink, .at = at(root, "f")), EPERM);
    ERR(FOP(rename, .from = at(root, "f"), .to = at(root, "g")), EPERM);
    ERR(FOP(rename, .from = at(root, "d"), .to = at(root, "e")), EPERM);
    ERR(FOP(create, .at = at(root, "f"), .gfid = wg_gfid_new(), .how = WG_UNCHECKED,
            .attrs = { .valid = WG_SET_SIZE }), EPERM);
    ERR(put(dir, "key", "2"), EPERM);
    ERR(FOP(del, .bucket = dir, .key = WG_STR("key")), EPERM);
    OK(put(dir, "new", "1"));
    ck_assert_str_eq(get_text(&b, file), "first");
    make(root, "g");
    OK(FOP(unlink, .at = at(root, "g")));
    for (int i = 0; i < 200 && (err = FOP(unlink, .at = at(root, "f"))) == EPERM; i++)
        usleep(100000);
    OK(err);
    end();
}
END_TEST

/* --- virus scan --- */

static int scanner = -1;
static _Atomic int scanned;

/* One conversation of clamd's INSTREAM. "SILENT" in the content: it never answers. */
static void converse(int fd)
{
    static char content[4 << 20];
    const char *answer = "stream: OK";
    uint32_t n, total = 0;
    char command[10];

    if (recv(fd, command, 10, MSG_WAITALL) != 10 || memcmp(command, "zINSTREAM", 10) != 0)
        return;
    while (recv(fd, &n, 4, MSG_WAITALL) == 4 && (n = ntohl(n)) > 0 && total + n < sizeof content) {
        if (recv(fd, content + total, n, MSG_WAITALL) != (ssize_t)n)
            return;
        total += n;
    }
    scanned = (int)total;
    if (total >= 6 && memmem(content, total, "SILENT", 6)) {
        char byte;

        (void)!recv(fd, &byte, 1, 0); /* until the other side gives up */
        return;
    }
    if (total >= 5 && memmem(content, total, "EICAR", 5))
        answer = "stream: Eicar-Signature FOUND";
    (void)!send(fd, answer, strlen(answer) + 1, MSG_NOSIGNAL);
}

static void *scanner_main(void *arg)
{
    int fd;

    (void)arg;
    while ((fd = accept(scanner, NULL, NULL)) >= 0) {
        converse(fd);
        close(fd);
    }
    return NULL;
}

static void scanner_start(pthread_t *thread)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };

    snprintf(addr.sun_path, sizeof addr.sun_path, "/tmp/wg-scanner.%d", getpid());
    scanner = socket(AF_UNIX, SOCK_STREAM, 0);
    OK(bind(scanner, (struct sockaddr *)&addr, sizeof addr));
    OK(listen(scanner, 8));
    OK(pthread_create(thread, NULL, scanner_main, NULL));
}

START_TEST(virus_scan_publishes_what_the_scanner_has_passed)
{
    char options[256];
    struct wg_ref bucket, part;
    wg_gfid staged = wg_gfid_new();
    pthread_t thread;

    scanner_start(&thread);
    snprintf(options, sizeof options, " option socket /tmp/wg-scanner.%d\n option timeout 2s\n", getpid());
    begin("virus_scan", options);
    OK(FOP(mkdir, .at = at(brick_root(), "b"), .gfid = wg_gfid_new(), .attrs = mode_of(0777)));
    bucket = OUT_(&b, mkdir)->ref;
    OK(put(bucket, "good", "harmless"));
    ck_assert_int_eq(scanned, 8);
    ERR(put(bucket, "bad", "xxEICARxx"), EACCES);
    ERR(FOP(get, .bucket = bucket, .key = WG_STR("bad")), ENOENT);
    ERR(put(bucket, "unseen", "SILENT"), EAGAIN);
    ERR(FOP(get, .bucket = bucket, .key = WG_STR("unseen")), ENOENT);

    /* Staged content is read back and shown to it, in pieces. */
    OK(FOP(stage, .bucket = bucket, .key = WG_STR("large"), .gfid = staged));
    part = OUT_(&b, stage)->ref;
    for (int i = 0; i < 30; i++) {
        static char text[100001];
        struct wg_seg seg = { NULL, text, 100000 };

        memset(text, 'a', 100000);
        if (i == 25)
            memcpy(text + 50000, "EICAR", 5);
        OK(FOP(write, .at = part, .offset = (uint64_t)i * 100000, .data = { &seg, 1, 100000 }));
    }
    ERR(FOP(put, .bucket = bucket, .key = WG_STR("large"), .gfid = staged, .from = part, .etag = { .valid = true }),
        EACCES);
    ck_assert_int_eq(scanned, 3000000);
    {
        struct wg_seg seg = { NULL, "aaaaa", 5 };

        OK(FOP(write, .at = part, .offset = 25 * 100000 + 50000, .data = { &seg, 1, 5 }));
    }
    OK(FOP(put, .bucket = bucket, .key = WG_STR("large"), .gfid = staged, .from = part, .etag = { .valid = true }));
    OK(FOP(get, .bucket = bucket, .key = WG_STR("large")));

    shutdown(scanner, SHUT_RDWR); /* the scanner is gone: nothing is published unseen */
    pthread_join(thread, NULL);
    close(scanner);
    ERR(put(bucket, "later", "harmless"), EAGAIN);
    snprintf(options, sizeof options, "/tmp/wg-scanner.%d", getpid());
    unlink(options);
    ERR(put(bucket, "later", "harmless"), EAGAIN);
    end();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("python-examples");
    TCase *t = tcase_create("python-examples");
    SRunner *r;
    int failed;

    if (!python_find())
        return 77;
    tcase_set_timeout(t, 120);
    tcase_add_test(t, negative_lookup_asks_for_an_absent_name_once);
    tcase_add_test(t, read_only_keeps_what_matches);
    tcase_add_test(t, audit_log_has_a_line_for_each_change);
    tcase_add_test(t, worm_locks_what_has_rested_and_frees_it_again);
    tcase_add_test(t, virus_scan_publishes_what_the_scanner_has_passed);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
