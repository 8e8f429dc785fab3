/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A workload runs with its Nth fop failing, N from 1 up until it runs through: once with the fop not
 * executed, once executed with its answer lost. Each time nothing leaks, the tree on disk is what the
 * workload had made when it stopped, and the brick that starts again agrees. First single fops on the
 * store, then a multipart upload through the S3 front end.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <signal.h>
#include <sys/socket.h>
#include <time.h>

#include "brick.h"
#include "frontends/s3/server.h"
#include "frontends/s3/users.h"
#include "log.h"
#include "options.h"
#include "work.h"

static const char *const modes[] = { "before", "after" };

/* --- the tree on disk, as text --- */

static char *at_end(char *to, char *end, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static char *at_end(char *to, char *end, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    to += vsnprintf(to, (size_t)(end - to), fmt, ap);
    va_end(ap);
    ck_assert(to < end);
    return to;
}

static char *describe_file(char *to, char *end, const char *path, const struct stat *st)
{
    char text[64] = "";
    FILE *f = S_ISREG(st->st_mode) ? fopen(path, "r") : NULL;

    if (f && fread(text, 1, sizeof text - 1, f) == 0)
        text[0] = '\0';
    if (f)
        fclose(f);
    if (S_ISLNK(st->st_mode) && readlink(path, text, sizeof text - 1) < 0)
        text[0] = '\0';
    return at_end(to, end, " %o %llu '%s'\n", st->st_mode, S_ISDIR(st->st_mode) ? 0ull : (unsigned long long)st->st_size,
                  text);
}

static char *describe_tree(char *to, char *end, const char *dir, size_t skip)
{
    struct dirent **names;
    int n = scandir(dir, &names, NULL, alphasort);

    ck_assert_int_ge(n, 0);
    for (int i = 0; i < n; i++) {
        char path[PATH_MAX];
        struct stat st;

        snprintf(path, sizeof path, "%s/%s", dir, names[i]->d_name);
        if (strcmp(names[i]->d_name, ".") != 0 && strcmp(names[i]->d_name, "..") != 0 &&
            strcmp(names[i]->d_name, ".windgate") != 0) {
            OK(lstat(path, &st));
            to = at_end(to, end, "%s", path + skip);
            to = describe_file(to, end, path, &st);
            if (S_ISDIR(st.st_mode))
                to = describe_tree(to, end, path, skip);
        }
        free(names[i]);
    }
    free(names);
    return to;
}

static char *tree_of(const char *dir)
{
    static char text[65536];

    text[0] = '\0';
    describe_tree(text, text + sizeof text, dir, strlen(dir));
    return text;
}

static unsigned open_fds(void)
{
    DIR *d = opendir("/proc/self/fd");
    unsigned n = 0;

    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static uint64_t payload_used(void)
{
    uint64_t used, pooled;

    wg_iobuf_stats(&used, &pooled);
    return used;
}

/* --- the workload on the store: a step is a fop --- */

static struct brick b;
static struct wg_ref d, f, sub, staged;
static wg_gfid staged_gfid;

static struct wg_etag etag_of(char c)
{
    struct wg_etag e = { .valid = true };

    memset(e.md5, c, sizeof e.md5);
    return e;
}

static int s_mkdir(void)
{
    int err = FOP_(&b, mkdir, .at = at(brick_root(), "d"), .gfid = wg_gfid_new(), .attrs = mode_of(0755));

    if (!err)
        d = OUT_(&b, mkdir)->ref;
    return err;
}

static int s_create(void)
{
    int err = FOP_(&b, create, .at = at(d, "f"), .gfid = wg_gfid_new(), .how = WG_GUARDED, .attrs = mode_of(0644));

    if (!err)
        f = OUT_(&b, create)->ref;
    return err;
}

static int s_write(void) { return put_text(&b, f, 0, "hello", WG_UNSTABLE); }
static int s_commit(void) { return FOP_(&b, commit, .at = f); }
static int s_append(void) { return put_text(&b, f, 5, " world", WG_FILE_SYNC); }
static int s_setattr(void) { return FOP_(&b, setattr, .at = f, .attrs = mode_of(0600)); }
static int s_setxattr(void) { return FOP_(&b, setxattr, .at = f, .name = WG_STR("user.a"), .value = WG_STR("b")); }
static int s_read(void) { return FOP_(&b, read, .at = f, .size = 100); }
static int s_getattr(void) { return FOP_(&b, getattr, .at = f); }
static int s_readdir(void) { return FOP_(&b, readdir, .at = d, .size = 4096, .plus = true); }

static int s_mkdir_sub(void)
{
    int err = FOP_(&b, mkdir, .at = at(d, "sub"), .gfid = wg_gfid_new(), .attrs = mode_of(0755));

    if (!err)
        sub = OUT_(&b, mkdir)->ref;
    return err;
}

static int s_rename(void) { return FOP_(&b, rename, .from = at(d, "f"), .to = at(sub, "g"), .moved = f.gfid); }
static int s_link(void) { return FOP_(&b, link, .at = f, .to = at(d, "h")); }

static int s_symlink(void)
{
    return FOP_(&b, symlink, .at = at(d, "l"), .gfid = wg_gfid_new(), .target = WG_STR("sub/g"));
}

static int s_mknod(void)
{
    return FOP_(&b, mknod, .at = at(d, "p"), .gfid = wg_gfid_new(), .type = WG_FIFO, .attrs = mode_of(0600));
}

static int s_stage(void)
{
    int err;

    staged_gfid = wg_gfid_new();
    err = FOP_(&b, stage, .bucket = d, .key = WG_STR("deep/er/object"), .gfid = staged_gfid);
    if (!err)
        staged = OUT_(&b, stage)->ref;
    return err;
}

static int s_fill(void) { return put_text(&b, staged, 0, "object", WG_UNSTABLE); }

static int s_publish(void)
{
    return FOP_(&b, put, .bucket = d, .key = WG_STR("deep/er/object"), .gfid = staged_gfid, .from = staged,
                .etag = etag_of('1'));
}

static int s_get(void) { return FOP_(&b, get, .bucket = d, .key = WG_STR("deep/er/object"), .size = 100); }

static int s_replace(void)
{
    static const struct wg_seg seg = { NULL, (void *)(uintptr_t)"newer", 5 };

    return FOP_(&b, put, .bucket = d, .key = WG_STR("deep/er/object"), .gfid = wg_gfid_new(), .etag = etag_of('2'),
                .data = { &seg, 1, 5 });
}

static int s_setmeta(void)
{
    return FOP_(&b, setmeta, .bucket = d, .key = WG_STR("deep/er/object"), .meta = WG_STR("tags"));
}

static int s_list(void) { return FOP_(&b, list, .bucket = d, .max = 100, .size = 65536); }
static int s_del(void) { return FOP_(&b, del, .bucket = d, .key = WG_STR("deep/er/object")); }
static int s_unlink(void) { return FOP_(&b, unlink, .at = at(sub, "g")); }
static int s_rmdir(void) { return FOP_(&b, rmdir, .at = at(d, "sub")); }

static int (*const steps[])(void) = {
    s_mkdir, s_create, s_write, s_commit, s_append, s_setattr, s_setxattr, s_read, s_getattr, s_readdir,
    s_mkdir_sub, s_rename, s_link, s_symlink, s_mknod, s_stage, s_fill, s_publish, s_get, s_replace, s_setmeta,
    s_list, s_del, s_unlink, s_rmdir,
};
#define STEPS (sizeof steps / sizeof *steps)

/* How many steps went well; *err: what ended it. */
static size_t run_steps(int *err)
{
    for (size_t i = 0; i < STEPS; i++) {
        *err = steps[i]();
        if (*err)
            return i;
    }
    return STEPS;
}

static void start_faulty(const char *when, size_t nth)
{
    char extra[400];

    snprintf(extra, sizeof extra, " option init yes\nend-volume\nvolume fault\n type debug/fault\n option nth %zu\n"
             " option when %s\n subvolumes brick", nth, when);
    brick_mkdir(&b);
    OK(brick_try(&b, extra));
}

/* All keys of the bucket d after a restart, as the index has them; "" when there is no d. */
static char *keys_after_restart(void)
{
    static char text[4096];
    char *to = text;
    struct wg_cursor c;
    struct wg_objent e;

    text[0] = '\0';
    brick_restart(&b);
    if (FOP_(&b, lookup, .at = at(brick_root(), "d")))
        return text;
    d = OUT_(&b, lookup)->ref;
    OK(s_list());
    for (c = wg_cursor(&OUT_(&b, list)->entries); wg_next_objent(&c, &e);)
        to = at_end(to, text + sizeof text, "%.*s ", (int)e.key.len, e.key.s);
    return text;
}

static char *trees[STEPS + 1], *keys[STEPS + 1]; /* after so many steps, when none fails */

static void learn_states(void)
{
    for (size_t n = 0; n <= STEPS; n++) {
        start_faulty("before", 0);
        for (size_t i = 0; i < n; i++)
            OK(steps[i]());
        trees[n] = strdup(tree_of(b.dir));
        keys[n] = strdup(keys_after_restart());
        brick_end(&b);
    }
}

START_TEST(the_nth_fop_of_a_workload_fails)
{
    bool after = strcmp(modes[_i], "after") == 0;
    unsigned fds;
    size_t nth = 1, done;
    int err = 0;

    learn_states();
    fds = open_fds();
    for (;; nth++) {
        start_faulty(modes[_i], nth);
        done = run_steps(&err);
        if (done < STEPS) {
            ck_assert_int_eq(err, EIO);
            ck_assert_uint_eq(done, nth - 1);
        }
        /* Where it stopped, the store is as if the workload had ended there; one step on if that was executed. */
        ck_assert_str_eq(tree_of(b.dir), trees[done < STEPS && after ? done + 1 : done]);
        for (int i = 0; i < 10000 && wg_calls_live() > 1; i++)
            usleep(2000); /* the answer comes before the thread below has let go of its call */
        ck_assert_uint_eq(wg_calls_live(), 1); /* brick.h keeps the last for its results */
        ck_assert_str_eq(keys_after_restart(), keys[done < STEPS && after ? done + 1 : done]);
        brick_stop(&b);
        ck_assert_uint_eq(wg_calls_live(), 0);
        ck_assert_uint_eq(payload_used(), 0);
        ck_assert_uint_eq(open_fds(), fds);
        brick_end(&b);
        if (done == STEPS)
            break;
    }
    ck_assert_uint_eq(nth, STEPS + 1);
    for (size_t i = 0; i <= STEPS; i++) {
        free(trees[i]);
        free(keys[i]);
    }
}
END_TEST

/* --- a multipart upload through the S3 front end --- */

static struct wg_s3 *s3;
static struct wg_s3_config config;
static char dir[64], answer[1 << 20];
static size_t answered;
static struct wg_graph *graph;

static void add_user(const char *path)
{
    struct wg_user_new n = { .name = "demo", .uid = getuid(), .gid = getgid(), .access_key = "AKDEMO",
                             .secret = "secretsecret" };
    char key[WG_ACCESS_KEY_MAX + 1], secret[WG_SECRET_MAX + 1], err[200];
    struct wg_users *u;

    OK(wg_users_open(path, &u));
    OK(wg_users_add(u, &n, key, secret, err, sizeof err));
    wg_users_close(u);
}

static void start_s3(const char *when)
{
    static char users[100];
    char text[700];

    signal(SIGPIPE, SIG_IGN);
    snprintf(dir, sizeof dir, "/tmp/wg-walk-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(text, sizeof text, "%s/data", dir);
    OK(mkdir(text, 0755));
    snprintf(text, sizeof text,
             "volume store\n type storage/posix\n option directory %s/data\n option init yes\nend-volume\n"
             "volume io\n type performance/io-threads\n subvolumes store\nend-volume\n"
             "volume fault\n type debug/fault\n option when %s\n subvolumes io\nend-volume\n", dir, when);
    graph = wg_graph_parse("test", text, strlen(text), brick_note, NULL);
    ck_assert_ptr_nonnull(graph);
    OK(wg_graph_init(graph));
    OK(wg_graph_start(graph));
    snprintf(text, sizeof text, "%s/data/bkt", dir);
    OK(mkdir(text, 0755));
    snprintf(users, sizeof users, "%s/users.json", dir);
    add_user(users);
    config.volume = graph->volume;
    config.http = "127.0.0.1:0";
    config.users_file = users;
    OK(wg_s3_start(&config, &s3));
}

static void stop_s3(void)
{
    wg_s3_stop(s3, 1000);
    ck_assert_uint_eq(wg_calls_live(), 0);
    wg_graph_stop(graph);
    wg_graph_free(graph);
    nftw(dir, brick_rm, 64, FTW_DEPTH | FTW_PHYS);
}

static void fail_nth(unsigned n)
{
    struct wg_xlator *xl = wg_graph_find(graph, "fault");
    char text[16];

    snprintf(text, sizeof text, "%u", n);
    for (struct wg_kv *kv = xl->options; kv; kv = kv->next)
        if (strcmp(kv->option->name, "nth") == 0) {
            free(kv->text);
            kv->text = strdup(text);
            kv->number = n;
        }
    OK(xl->class->reload(xl));
}

/* path (with its sub-resources in order) and a V2 signature, good for five minutes. */
static const char *sign(const char *method, const char *path)
{
    static char url[1200];
    char text[1000], b64[64], *to;
    unsigned char mac[32];
    unsigned n;
    long until = (long)time(NULL) + 300;

    snprintf(text, sizeof text, "%s\n\n\n%ld\n%s", method, until, path);
    HMAC(EVP_sha1(), "secretsecret", 12, (unsigned char *)text, strlen(text), mac, &n);
    EVP_EncodeBlock((unsigned char *)b64, mac, (int)n);
    to = url + sprintf(url, "%s%cAWSAccessKeyId=AKDEMO&Expires=%ld&Signature=", path, strchr(path, '?') ? '&' : '?',
                       until);
    for (const char *c = b64; *c; c++)
        to += sprintf(to, *c == '+' ? "%%2B" : *c == '/' ? "%%2F" : *c == '=' ? "%%3D" : "%c", *c);
    return url;
}

static void push(int fd, const char *at, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, at, len, MSG_NOSIGNAL);

        if (n <= 0)
            return; /* the server has closed: its answer says why */
        at += n;
        len -= (size_t)n;
    }
}

/* The status, or 500 when the answer tells of an error later on; the answer's head and body in answer. */
static int ask(const char *method, const char *path, const char *body, size_t len)
{
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(wg_s3_port(s3, false)),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct timeval tv = { .tv_sec = 60 };
    int fd = socket(AF_INET, SOCK_STREAM, 0), code = 0;
    char head[1600];

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
    OK(connect(fd, (struct sockaddr *)&in, sizeof in));
    snprintf(head, sizeof head, "%s %s HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n", method,
             sign(method, path), len);
    push(fd, head, strlen(head));
    push(fd, body, len);
    for (answered = 0; answered < sizeof answer - 1;) {
        ssize_t n = recv(fd, answer + answered, sizeof answer - 1 - answered, 0);

        if (n <= 0)
            break;
        answered += (size_t)n;
    }
    answer[answered] = '\0';
    close(fd);
    sscanf(answer, "HTTP/1.1 %d", &code);
    return code == 200 && strstr(answer, "<Error>") ? 500 : code;
}

static const char *body(void)
{
    const char *end = strstr(answer, "\r\n\r\n");

    return end ? end + 4 : "";
}

/* The text between tag and the next '<' or quote of the answer; "" when it is not there. */
static const char *field(const char *tag)
{
    static char text[300];
    const char *at = strstr(answer, tag);

    text[0] = '\0';
    if (at)
        snprintf(text, sizeof text, "%.*s", (int)strcspn(at + strlen(tag), "<\"\r"), at + strlen(tag));
    return text;
}

enum { PART = 5 << 20, TAIL = 1000 };
static char part[PART];
static char upload[300];

/* Begins, sends two parts, completes. The first status that is not 200, or 200. */
static int upload_object(void)
{
    char path[600], etag[2][64], xml[600];
    int code = ask("POST", "/bkt/dir/m?uploads", "", 0);

    upload[0] = '\0';
    if (code != 200)
        return code;
    snprintf(upload, sizeof upload, "%s", field("<UploadId>"));
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "/bkt/dir/m?partNumber=%d&uploadId=%s", i + 1, upload);
        code = ask("PUT", path, part, i ? TAIL : PART);
        if (code != 200)
            return code;
        snprintf(etag[i], sizeof etag[i], "%s", field("ETag: \""));
    }
    snprintf(path, sizeof path, "/bkt/dir/m?uploadId=%s", upload);
    snprintf(xml, sizeof xml, "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>%s</ETag></Part>"
             "<Part><PartNumber>2</PartNumber><ETag>%s</ETag></Part></CompleteMultipartUpload>", etag[0], etag[1]);
    return ask("POST", path, xml, strlen(xml));
}

/* Whether the object is there; when it is, it is whole. */
static bool object_is_there(void)
{
    int code = ask("GET", "/bkt/dir/m?partNumber=2", "", 0); /* of the second part on: the first is long */

    if (code == 404)
        return false;
    code = ask("HEAD", "/bkt/dir/m", "", 0);
    ck_assert_int_eq(code, 200);
    ck_assert_ptr_nonnull(strstr(answer, "-2\"\r\n")); /* an ETag of two parts, as the client knows it */
    ck_assert_int_eq(atoi(field("Content-Length: ")), PART + TAIL);
    return true;
}

static void wait_for_no_call(void)
{
    for (int i = 0; i < 10000 && (wg_calls_live() > 0 || payload_used() > 0); i++)
        usleep(2000);
    ck_assert_uint_eq(wg_calls_live(), 0);
    ck_assert_uint_eq(payload_used(), 0);
}

START_TEST(the_nth_fop_of_a_multipart_upload_fails)
{
    unsigned fds, nth = 1;
    int code;

    for (size_t i = 0; i < sizeof part; i++)
        part[i] = (char)(i * 7 + i / 255);
    fds = open_fds();
    start_s3(modes[_i]);
    for (;; nth++) {
        fail_nth(nth);
        code = upload_object();
        fail_nth(0);
        wait_for_no_call();
        if (code == 200) {
            ck_assert_msg(object_is_there(), "fop %u: completed, and not there", nth);
        } else {
            ck_assert_msg(code >= 500, "fop %u: %d", nth, code);
            object_is_there(); /* if it was published before the failure, as a whole */
            if (upload[0]) {
                char path[400];

                snprintf(path, sizeof path, "/bkt/dir/m?uploadId=%s", upload);
                code = ask("DELETE", path, "", 0);
                ck_assert_msg(code == 204 || code == 404, "fop %u: abort answers %d", nth, code);
            }
            ck_assert_msg(upload_object() == 200, "fop %u: again: %.300s", nth, answer);
            ck_assert(object_is_there());
            code = 0;
        }
        ck_assert_int_eq(ask("DELETE", "/bkt/dir/m", "", 0), 204);
        ck_assert_int_eq(ask("GET", "/bkt?uploads", "", 0), 200);
        if (strstr(answer, "<Upload>")) { /* begun, and its id was lost: a client finds and aborts it */
            char path[400];

            snprintf(path, sizeof path, "/bkt/dir/m?uploadId=%s", field("<UploadId>"));
            ck_assert_int_eq(ask("DELETE", path, "", 0), 204);
        }
        ck_assert_int_eq(ask("GET", "/bkt", "", 0), 200);
        ck_assert_msg(!strstr(answer, "<Contents>"), "fop %u: %s", nth, body());
        if (code == 200)
            break;
        ck_assert_uint_lt(nth, 500);
    }
    ck_assert_uint_gt(nth, 10);
    stop_s3();
    ck_assert_uint_eq(payload_used(), 0);
    ck_assert_uint_eq(open_fds(), fds);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("fault walk");
    TCase *t = tcase_create("fault walk");
    SRunner *r;
    int failed;

    wg_log_set("error");
    wg_work_start(2);
    tcase_set_timeout(t, 240);
    tcase_add_loop_test(t, the_nth_fop_of_a_workload_fails, 0, 2);
    tcase_add_loop_test(t, the_nth_fop_of_a_multipart_upload_fails, 0, 2);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_set_fork_status(r, CK_NOFORK);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    wg_work_stop();
    return failed != 0;
}
