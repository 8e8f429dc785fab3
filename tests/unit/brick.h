/* SPDX-License-Identifier: Apache-2.0 */
/* A real storage/posix over a fresh directory, and fops on it, for tests. One thread. */
#ifndef WG_TEST_BRICK_H
#define WG_TEST_BRICK_H

#include <check.h>
#include <fcntl.h>
#include <ftw.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "graph.h"
#include "iobuf.h"
#include "list.h"
#include "xlators/storage/posix/posix.h"

struct brick {
    char dir[256];
    struct wg_graph *graph;
    struct wg_call *call; /* the last fop's: results live until the next */
    struct wg_cred cred;
    bool replay, nowait;
    const char *peer; /* whose certificate the fop came with */
    uint64_t request; /* the front end's name of the next fop; 0: none */
};

static char brick_error[512];

static void brick_note(void *arg, const char *text)
{
    (void)arg;
    snprintf(brick_error, sizeof brick_error, "%s", text);
}

/* extra: more option lines of the volfile. 0 or the errno of init. */
static inline int brick_try(struct brick *b, const char *extra)
{
    char text[2048];
    int n = snprintf(text, sizeof text,
                     "volume brick\n type storage/posix\n option directory %s\n%s\nend-volume\n", b->dir,
                     extra);
    int err;

    b->graph = wg_graph_parse("test", text, (size_t)n, brick_note, NULL);
    if (!b->graph)
        return EINVAL;
    err = wg_graph_init(b->graph);
    if (err) {
        wg_graph_free(b->graph);
        b->graph = NULL;
        return err;
    }
    return wg_graph_start(b->graph);
}

static inline void brick_stop(struct brick *b)
{
    if (b->call)
        wg_call_unref(b->call);
    b->call = NULL;
    if (!b->graph)
        return;
    wg_graph_stop(b->graph);
    wg_graph_free(b->graph);
    b->graph = NULL;
}

static inline struct posix *brick_px(struct brick *b)
{
    return b->graph->top->priv;
}

static inline void brick_mkdir(struct brick *b)
{
    const char *tmp = getenv("TMPDIR");

    memset(b, 0, sizeof *b);
    snprintf(b->dir, sizeof b->dir, "%s/wg-brick.XXXXXX", tmp ? tmp : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(b->dir));
    ck_assert_int_eq(chmod(b->dir, 0777), 0);
}

static inline void brick_start(struct brick *b)
{
    brick_mkdir(b);
    ck_assert_int_eq(brick_try(b, " option init yes\n"), 0);
}

static inline void brick_restart(struct brick *b)
{
    brick_stop(b);
    ck_assert_int_eq(brick_try(b, ""), 0);
}

static int brick_rm(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st, (void)flag, (void)ftw;
    return remove(path);
}

static inline void brick_end(struct brick *b)
{
    brick_stop(b);
    nftw(b->dir, brick_rm, 64, FTW_DEPTH | FTW_PHYS);
}

/* Answers may come on another thread: those that wait for a sync do. */
static inline void brick_finish(struct wg_call *call)
{
    sem_post(call->owner);
}

/* Runs a fop in b->call, and waits for its answer. */
static inline int brick_go(struct brick *b, unsigned op, const void *in)
{
    sem_t done;

    sem_init(&done, 0, 0);
    b->call->owner = &done;
    wg_start(b->call, b->graph->top, op, in, brick_finish);
    while (sem_wait(&done) != 0)
        continue;
    sem_destroy(&done);
    return b->call->root->err;
}

static inline int brick_run(struct brick *b, unsigned op, const void *in)
{
    if (b->call)
        wg_call_unref(b->call);
    b->call = wg_call_new(b->graph, WG_FROM_INTERNAL, "test");
    ck_assert_ptr_nonnull(b->call);
    b->call->cred = b->cred;
    b->call->replay = b->replay;
    b->call->nowait = b->nowait;
    b->call->peer = b->peer;
    b->call->request_id[0] = b->call->request_id[1] = b->request;
    return brick_go(b, op, in);
}

/* FOP(b, lookup, .at = { root, name }) is the errno; its results are OUT(b, lookup)->... */
#define FOP_(b, name, ...) brick_run((b), WG_OP_##name, &(struct wg_##name##_in){ __VA_ARGS__ })
#define OUT_(b, name) wg_result((b)->call, name)

#define OK(expr) ck_assert_int_eq((expr), 0)
#define ERR(expr, want) ck_assert_int_eq((expr), (want))

static inline struct wg_ref brick_root(void)
{
    return (struct wg_ref){ .gfid = WG_ROOT_GFID };
}

static inline struct wg_loc at(struct wg_ref dir, const char *name)
{
    return (struct wg_loc){ dir, wg_str_of(name) };
}

static inline struct wg_sattr mode_of(uint32_t mode)
{
    return (struct wg_sattr){ .valid = WG_SET_MODE, .mode = mode };
}

static inline void be(struct brick *b, uint32_t uid, uint32_t gid)
{
    b->cred = (struct wg_cred){ .uid = uid, .gid = gid };
}

static inline struct wg_ref lookup(struct brick *b, struct wg_ref dir, const char *name)
{
    OK(FOP_(b, lookup, .at = at(dir, name)));
    return OUT_(b, lookup)->ref;
}

static inline struct wg_ref mkfile(struct brick *b, struct wg_ref dir, const char *name, uint32_t mode)
{
    OK(FOP_(b, create, .at = at(dir, name), .gfid = wg_gfid_new(), .how = WG_GUARDED,
            .attrs = mode_of(mode)));
    return OUT_(b, create)->ref;
}

static inline struct wg_ref mkdir_(struct brick *b, struct wg_ref dir, const char *name, uint32_t mode)
{
    OK(FOP_(b, mkdir, .at = at(dir, name), .gfid = wg_gfid_new(), .attrs = mode_of(mode)));
    return OUT_(b, mkdir)->ref;
}

static inline int put_text(struct brick *b, struct wg_ref file, uint64_t offset, const char *text,
                           uint32_t stable)
{
    struct wg_seg seg = { NULL, (void *)(uintptr_t)text, (uint32_t)strlen(text) };

    return FOP_(b, write, .at = file, .offset = offset, .stable = stable, .data = { &seg, 1, seg.len });
}

/* The file's first bytes, as text. */
static inline const char *get_text(struct brick *b, struct wg_ref file)
{
    static char text[4096];
    const struct wg_data *d;
    uint32_t n = 0;

    OK(FOP_(b, read, .at = file, .size = sizeof text - 1));
    d = &OUT_(b, read)->data;
    for (uint32_t i = 0; i < d->nseg; i++) {
        memcpy(text + n, d->seg[i].base, d->seg[i].len);
        n += d->seg[i].len;
    }
    text[n] = '\0';
    return text;
}

static inline char *brick_path(struct brick *b, const char *name)
{
    static char path[1024];

    snprintf(path, sizeof path, "%s/%s", b->dir, name);
    return path;
}

/* Every test of a file: TESTS(name, X(one) X(two)) after the tests, X being TEST_ROW. */
#define TEST_ROW(name) tcase_add_test(t, name);
#define TESTS(suite, rows)                            \
    int main(void)                                    \
    {                                                 \
        Suite *s = suite_create(suite);               \
        TCase *t = tcase_create(suite);               \
        SRunner *r;                                   \
        int failed;                                   \
                                                      \
        tcase_set_timeout(t, 120);                    \
        rows                                          \
        suite_add_tcase(s, t);                        \
        r = srunner_create(s);                        \
        srunner_run_all(r, CK_NORMAL);                \
        failed = srunner_ntests_failed(r);            \
        srunner_free(r);                              \
        return failed != 0;                           \
    }

/* For tests that only root can do. */
#define NEEDS_ROOT(name)                                                 \
    if (geteuid() != 0) {                                                \
        printf("skipped " name ": needs root\n");                        \
        return;                                                          \
    }

#endif
