/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What storage/posix tells caches: whatever it answers a second time in another way, it has said
 * before that the answer depends on it, and after that it has changed.
 */
#include "brick.h"
#include "lease.h"

#define ITEMS 256

struct item {
    wg_gfid gfid;
    char name[64];
};

struct items {
    struct item at[ITEMS];
    unsigned n;
};

static void add(struct items *to, const wg_gfid *gfid, struct wg_str name)
{
    struct item *it = &to->at[to->n++];

    ck_assert(to->n <= ITEMS && name.len < sizeof it->name);
    it->gfid = *gfid;
    memcpy(it->name, name.s ? name.s : "", name.len);
    it->name[name.len] = '\0';
}

static struct items used, changed;

static void note_use(struct wg_watch *w, struct wg_frame *f, const wg_gfid *gfid, struct wg_str name)
{
    (void)w, (void)f;
    add(&used, gfid, name);
}

static void note_change(struct wg_watch *w, struct wg_frame *f, const wg_gfid *gfid, struct wg_str name)
{
    (void)w, (void)f;
    add(&changed, gfid, name);
}

static struct wg_watch watch = { note_use, note_change };

/* Runs a fop as protocol/server does. */
static int run(struct brick *b, unsigned op, const void *in, bool want)
{
    used.n = changed.n = 0;
    if (b->call)
        wg_call_unref(b->call);
    b->call = wg_call_new(b->graph, WG_FROM_INTERNAL, "test");
    ck_assert_ptr_nonnull(b->call);
    b->call->cred = b->cred;
    b->call->watch = &watch;
    b->call->want_lease = want;
    return brick_go(b, op, in);
}

#define READ(b, name, ...) run((b), WG_OP_##name, &(struct wg_##name##_in){ __VA_ARGS__ }, true)
#define DO(b, name, ...) run((b), WG_OP_##name, &(struct wg_##name##_in){ __VA_ARGS__ }, false)

static bool has(const struct items *items, wg_gfid gfid, const char *name)
{
    for (unsigned i = 0; i < items->n; i++)
        if (wg_gfid_eq(items->at[i].gfid, gfid) && !strcmp(items->at[i].name, name))
            return true;
    return false;
}

START_TEST(nothing_is_said_unasked)
{
    struct brick b;

    brick_start(&b);
    ERR(run(&b, WG_OP_lookup, &(struct wg_lookup_in){ .at = at(brick_root(), "n") }, false), ENOENT);
    ck_assert_uint_eq(used.n, 0);
    ck_assert_ptr_null(b.call->root->lease);
    brick_end(&b);
}
END_TEST

START_TEST(an_absent_name_depends_on_that_name)
{
    struct brick b;

    brick_start(&b);
    ERR(READ(&b, lookup, .at = at(brick_root(), "n")), ENOENT);
    ck_assert_uint_eq(used.n, 1);
    ck_assert(has(&used, WG_ROOT_GFID, "n"));
    ck_assert_ptr_eq(b.call->root->lease, &wg_lease_always);
    OK(DO(&b, create, .at = at(brick_root(), "n")));
    ck_assert(has(&changed, WG_ROOT_GFID, "n"));
    ck_assert(has(&changed, WG_ROOT_GFID, ""));
    ck_assert(!has(&changed, WG_ROOT_GFID, "/"));
    brick_end(&b);
}
END_TEST

START_TEST(what_changes_nothing_says_nothing)
{
    struct brick b;

    brick_start(&b);
    OK(DO(&b, mkdir, .at = at(brick_root(), "d")));
    ERR(DO(&b, mkdir, .at = at(brick_root(), "d")), EEXIST);
    ck_assert_uint_eq(changed.n, 0);
    ERR(DO(&b, unlink, .at = at(brick_root(), "absent")), ENOENT);
    ck_assert_uint_eq(changed.n, 0);
    ERR(DO(&b, rename, .from = at(brick_root(), "absent"), .to = at(brick_root(), "x")), ENOENT);
    ck_assert_uint_eq(changed.n, 0);
    OK(DO(&b, create, .at = at(brick_root(), "f")));
    OK(DO(&b, create, .at = at(brick_root(), "f")));
    ck_assert_uint_eq(changed.n, 0);
    brick_end(&b);
}
END_TEST

START_TEST(a_replay_says_what_its_first_sending_changed)
{
    struct wg_rename_in mv = { .from = at(brick_root(), "a"), .to = at(brick_root(), "b") };
    struct brick b;

    brick_start(&b);
    OK(DO(&b, create, .at = at(brick_root(), "a")));
    mv.moved = OUT_(&b, create)->ref.gfid;
    OK(run(&b, WG_OP_rename, &mv, false));
    used.n = changed.n = 0;
    wg_call_unref(b.call);
    b.call = wg_call_new(b.graph, WG_FROM_INTERNAL, "test");
    b.call->watch = &watch;
    b.call->replay = true;
    (void)brick_go(&b, WG_OP_rename, &mv);
    OK(b.call->root->err);
    ck_assert(has(&changed, WG_ROOT_GFID, "a") && has(&changed, WG_ROOT_GFID, "b"));
    ck_assert(has(&changed, mv.moved, ""));
    brick_end(&b);
}
END_TEST

START_TEST(who_may_search_a_directory_concerns_its_names)
{
    struct brick b;
    struct wg_ref d;

    brick_start(&b);
    OK(DO(&b, mkdir, .at = at(brick_root(), "d")));
    d = OUT_(&b, mkdir)->ref;
    OK(DO(&b, setattr, .at = d, .attrs = mode_of(0700)));
    ck_assert(has(&changed, d.gfid, "/"));
    OK(DO(&b, setattr, .at = d, .attrs = { .valid = WG_SET_MTIME_NOW }));
    ck_assert(!has(&changed, d.gfid, "/") && has(&changed, d.gfid, ""));
    brick_end(&b);
}
END_TEST

START_TEST(answers_about_more_than_can_be_told_come_without_a_promise)
{
    struct brick b;

    brick_start(&b);
    OK(READ(&b, readdir, .at = brick_root(), .size = 4096));
    ck_assert_ptr_null(b.call->root->lease);
    OK(READ(&b, statfs, .at = brick_root()));
    ck_assert_ptr_null(b.call->root->lease);
    brick_end(&b);
}
END_TEST

/* ---- anything that happens --------------------------------------------------------------------- */

#define NAMES 5
#define KEYS 6
#define REMEMBERED 48

static const char *const names[NAMES] = { "a", "b", "c", ".@a", "d" };
static const char *const keys[KEYS] = { "a", "a/b", "a/b/c", "b/", "c//d", "d/a" };

struct world {
    struct brick b;
    struct wg_ref bucket;
    struct wg_ref ino[64]; /* directories and files met, the bucket first */
    unsigned nino;
    unsigned seed;
};

static unsigned pick(struct world *w, unsigned n)
{
    return (unsigned)rand_r(&w->seed) % n;
}

static struct wg_ref any(struct world *w)
{
    return w->ino[pick(w, w->nino)];
}

static struct wg_loc any_name(struct world *w)
{
    return at(any(w), names[pick(w, NAMES)]);
}

static void met(struct world *w, struct wg_ref ref)
{
    if (wg_gfid_is_zero(ref.gfid))
        return;
    w->ino[w->nino < 64 ? w->nino++ : 1 + pick(w, 63)] = ref;
}

/* A question, and what it was answered. */
struct asked {
    unsigned op;
    union {
        struct wg_lookup_in lookup;
        struct wg_getattr_in getattr;
        struct wg_access_in access;
        struct wg_getxattr_in getxattr;
        struct wg_get_in get;
    } in;
    bool promised;
    struct items uses;
    char answer[2048];
};

static void choose(struct world *w, struct asked *q)
{
    memset(q, 0, sizeof *q);
    switch (pick(w, 5)) {
    case 0:
        q->op = WG_OP_lookup;
        q->in.lookup.at = any_name(w);
        if (pick(w, 8) == 0)
            q->in.lookup.at.name = WG_STR("..");
        break;
    case 1:
        q->op = WG_OP_getattr;
        q->in.getattr.at = any(w);
        break;
    case 2:
        q->op = WG_OP_access;
        q->in.access = (struct wg_access_in){ any(w), 0x3f };
        break;
    case 3:
        q->op = WG_OP_getxattr;
        q->in.getxattr = (struct wg_getxattr_in){ any(w), WG_STR("user.x") };
        break;
    default:
        q->op = WG_OP_get;
        q->in.get = (struct wg_get_in){ .bucket = w->bucket, .key = wg_str_of(keys[pick(w, KEYS)]) };
    }
}

/* The answer as text, less what is not promised: the parent of a lookup, atime, blocks. */
static void ask(struct world *w, const struct asked *q, char *answer, size_t size)
{
    int err = run(&w->b, q->op, &q->in, true), n;
    struct wg_iatt *attr = NULL;
    void *out = w->b.call->root->out;

    n = snprintf(answer, size, "%d ", err);
    if (q->op == WG_OP_lookup && !err) {
        struct wg_lookup_out *l = out;

        memset(&l->parent, 0, sizeof l->parent);
        attr = &l->attr;
        met(w, l->ref);
    } else if (q->op == WG_OP_getattr && !err) {
        attr = &((struct wg_getattr_out *)out)->attr;
    } else if (q->op == WG_OP_access && !err) {
        attr = &((struct wg_access_out *)out)->attr;
    } else if (q->op == WG_OP_get && !err) {
        attr = &((struct wg_get_out *)out)->attr;
    }
    if (attr) {
        attr->atime = (struct wg_time){ 0 };
        attr->used = 0;
    }
    if (!err)
        wg_show_record(q->op, true, out, answer + n, size - (size_t)n);
}

static void remember(struct world *w, struct asked *q)
{
    choose(w, q);
    ask(w, q, q->answer, sizeof q->answer);
    q->promised = w->b.call->root->lease && used.n > 0;
    q->uses = used;
}

static void put(struct world *w)
{
    struct wg_put_in in = { .bucket = w->bucket, .key = wg_str_of(keys[pick(w, KEYS)]), .gfid = wg_gfid_new() };
    char x = (char)pick(w, 256);
    struct wg_seg seg = { NULL, &x, 1 };

    in.etag = (struct wg_etag){ .md5 = { (uint8_t)x }, .valid = true };
    if (pick(w, 3))
        in.data = (struct wg_data){ &seg, 1, 1 };
    else
        in.meta = (struct wg_str){ &x, 1 };
    if (run(&w->b, WG_OP_put, &in, false) == 0)
        met(w, OUT_(&w->b, put)->ref);
}

static void change_s3(struct world *w)
{
    struct wg_str key = wg_str_of(keys[pick(w, KEYS)]);

    switch (pick(w, 4)) {
    case 0:
        DO(&w->b, del, .bucket = w->bucket, .key = key);
        break;
    case 1:
        DO(&w->b, setmeta, .bucket = w->bucket, .key = key, .meta = WG_STR("m"));
        break;
    default:
        put(w);
    }
}

static void change(struct world *w)
{
    char x = (char)pick(w, 256);
    struct wg_seg seg = { NULL, &x, 1 };
    struct wg_loc l = any_name(w);

    switch (pick(w, 14)) {
    case 0:
        if (DO(&w->b, create, .at = l, .attrs = mode_of(0600 + pick(w, 64))) == 0)
            met(w, OUT_(&w->b, create)->ref);
        break;
    case 1:
        DO(&w->b, create, .at = l, .attrs = { .valid = WG_SET_SIZE, .size = pick(w, 9) });
        break;
    case 2:
        if (DO(&w->b, mkdir, .at = l) == 0)
            met(w, OUT_(&w->b, mkdir)->ref);
        break;
    case 3:
        DO(&w->b, symlink, .at = l, .target = WG_STR("a"));
        break;
    case 4:
        DO(&w->b, link, .at = any(w), .to = l);
        break;
    case 5:
        DO(&w->b, unlink, .at = l);
        break;
    case 6:
        DO(&w->b, rmdir, .at = l);
        break;
    case 7:
        DO(&w->b, rename, .from = l, .to = any_name(w), .flags = pick(w, 4) ? 0 : WG_RENAME_EXCHANGE);
        break;
    case 8:
        DO(&w->b, setattr, .at = any(w), .attrs = { .valid = WG_SET_MODE | WG_SET_MTIME_NOW,
                                                    .mode = 0700 + pick(w, 64) });
        break;
    case 9:
        DO(&w->b, write, .at = any(w), .offset = pick(w, 5), .data = { &seg, 1, 1 });
        break;
    case 10:
        DO(&w->b, setxattr, .at = any(w), .name = WG_STR("user.x"), .value = { &x, 1 });
        break;
    case 11:
        DO(&w->b, removexattr, .at = any(w), .name = WG_STR("user.x"));
        break;
    default:
        change_s3(w);
    }
}

static bool told(const struct asked *q)
{
    for (unsigned i = 0; i < q->uses.n; i++)
        if (has(&changed, q->uses.at[i].gfid, q->uses.at[i].name) ||
            (q->uses.at[i].name[0] && has(&changed, q->uses.at[i].gfid, "/")))
            return true;
    return false;
}

static void check(struct world *w, struct asked *q, const struct items *what)
{
    char now[2048];

    ask(w, q, now, sizeof now);
    changed = *what;
    if (!q->promised || !strcmp(now, q->answer) || told(q))
        return;
    ck_abort_msg("%s: was %s\nis %s\nand nobody was told", wg_op_name(q->op), q->answer, now);
}

START_TEST(every_change_of_an_answer_is_told)
{
    static struct asked q[REMEMBERED];
    struct world w = { .seed = 7 + (unsigned)_i };
    unsigned promised = 0;

    brick_start(&w.b);
    OK(DO(&w.b, mkdir, .at = at(brick_root(), "bucket")));
    w.bucket = OUT_(&w.b, mkdir)->ref;
    met(&w, w.bucket);
    for (unsigned round = 0; round < 400; round++) {
        unsigned i = pick(&w, REMEMBERED);
        struct items what;

        change(&w);
        what = changed;
        for (unsigned k = 0; k < REMEMBERED; k++) {
            if (!q[k].op)
                continue;
            check(&w, &q[k], &what);
            if (told(&q[k]))
                q[k].op = 0;
        }
        for (unsigned k = 0; k < 4; k++, i = (i + 1) % REMEMBERED) {
            remember(&w, &q[i]);
            promised += q[i].promised;
        }
    }
    ck_assert_uint_gt(promised, 400);
    memset(q, 0, sizeof q);
    brick_end(&w.b);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("posix-lease");
    TCase *t = tcase_create("posix-lease");
    SRunner *r;
    int failed;

    tcase_set_timeout(t, 300);
    tcase_add_test(t, nothing_is_said_unasked);
    tcase_add_test(t, an_absent_name_depends_on_that_name);
    tcase_add_test(t, what_changes_nothing_says_nothing);
    tcase_add_test(t, a_replay_says_what_its_first_sending_changed);
    tcase_add_test(t, who_may_search_a_directory_concerns_its_names);
    tcase_add_test(t, answers_about_more_than_can_be_told_come_without_a_promise);
    tcase_add_loop_test(t, every_change_of_an_answer_is_told, 0, 8);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
