/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The examples of docs/coroutines.md, over a real store. What stands between "example" marks is
 * in the guide word for word (tests/e2e/test-coroutine-guide.sh looks).
 */
#include "brick.h"

#include "co.h"

/* --- example: same_content --- */
struct pair {
    struct wg_xlator *top;
    struct wg_ref a, b;
};

static int same_content(struct wg_co *co, void *arg)
{
    struct pair *p = arg;
    struct wg_checksum_in in = { .at = p->a, .size = UINT64_MAX, .algorithm = WG_STR("sha256") };
    const struct wg_checksum_out *a, *b;
    int err = wg_co_checksum(co, p->top, &in, &a); /* looks blocking, is not */

    if (err)
        return err;
    wg_co_keep(co); /* the next fop would drop what a points to */
    in.at = p->b;
    err = wg_co_checksum(co, p->top, &in, &b);
    return err ? err : wg_str_eq(a->value, b->value) ? 0 : EINVAL;
}
/* --- end --- */

/* --- example: total_size --- */
struct scan {
    struct wg_xlator *top;
    struct wg_ref dir;
    struct wg_co_queue *names;
    uint64_t bytes;
};

/* A consumer: one of several, all on one worker, so that s needs no lock. */
static int add_sizes(struct wg_co *co, void *arg)
{
    struct scan *s = arg;
    void *item;

    while (wg_co_pop(co, s->names, &item) == 0) {
        struct wg_lookup_in in = { .at = { s->dir, *(struct wg_str *)item } };
        const struct wg_lookup_out *out;
        int err = wg_co_lookup(co, s->top, &in, &out);

        if (err && err != ENOENT) { /* ENOENT: removed meanwhile */
            wg_co_queue_close(s->names);
            return err;
        }
        if (!err && out->attr.type == WG_REG)
            s->bytes += out->attr.size;
    }
    return wg_co_cancelled(co);
}

/* The producer. The page goes with the next fop, so the names are copied. */
static int push_names(struct wg_co *co, struct scan *s)
{
    struct wg_arena *arena = &wg_co_call(co)->arena;
    const struct wg_readdir_out *page;
    uint64_t cookie = 0;

    do {
        struct wg_readdir_in in = { .at = s->dir, .cookie = cookie, .size = 65536 };
        int err = wg_co_readdir(co, s->top, &in, &page);
        struct wg_cursor c;
        struct wg_dirent e;

        if (err)
            return err;
        for (c = wg_cursor(&page->entries); wg_next_dirent(&c, &e); cookie = e.cookie) {
            struct wg_str *name = WG_NEW(arena, struct wg_str);

            err = name ? wg_strdup(arena, e.name, name) : ENOMEM;
            if (!err)
                err = wg_co_push(co, s->names, name); /* waits while the queue is full */
            if (err)
                return err;
        }
    } while (!page->eof);
    return 0;
}

static int total_size(struct wg_co *co, void *arg)
{
    struct scan *s = arg;
    struct wg_co_group *g = wg_co_group(co, 4);
    int err = 0, joined;

    s->names = wg_co_queue_new(16);
    if (!g || !s->names)
        err = ENOMEM;
    for (int i = 0; i < 4 && !err; i++)
        err = wg_co_spawn(g, "add sizes", add_sizes, s);
    if (!err)
        err = push_names(co, s);
    if (s->names)
        wg_co_queue_close(s->names); /* the consumers end when it is empty */
    joined = g ? wg_co_collect(g) : 0;
    wg_co_queue_free(s->names);
    return joined ? joined : err;
}
/* --- end --- */

/* --- example: label_shards --- */
struct shards {
    struct wg_xlator *top;
    struct wg_ref root;
    unsigned n;
    struct shard {
        struct shards *all;
        struct wg_str name; /* of a directory in root */
    } shard[16];
};

static int label_shard(struct wg_co *co, void *arg)
{
    const struct shard *s = arg;
    const struct wg_lookup_out *found;
    const struct wg_setxattr_out *set;
    int err = wg_co_lookup(co, s->all->top, &(struct wg_lookup_in){ .at = { s->all->root, s->name } }, &found);

    if (err)
        return err;
    struct wg_setxattr_in in = { .at = found->ref, .name = WG_STR("user.shard"), .value = s->name };
    return wg_co_setxattr(co, s->all->top, &in, &set);
}

/* At most one gateway does this at a time; it does eight shards at a time. */
static int label_shards(struct wg_co *co, void *arg)
{
    struct shards *s = arg;
    struct wg_co_lease_args args = { .at = s->root, .name = WG_STR("label shards"), .ttl_ms = 10000, .wait_ms = 5000 };
    struct wg_co_lease *lease;
    struct wg_co_group *g;
    int err = wg_co_lease_take(co, s->top, &args, &lease), joined;

    if (err)
        return err; /* EBUSY: for five seconds somebody else was at it */
    g = wg_co_group(co, 8);
    if (!g)
        return ENOMEM; /* the lease goes with the flow */
    for (unsigned i = 0; i < s->n && !err; i++)
        err = wg_co_spawn(g, "label shard", label_shard, &s->shard[i]); /* waits for a place */
    joined = wg_co_collect(g);
    wg_co_lease_drop(lease);
    return joined ? joined : err;
}
/* --- end --- */

/* --- example: rewrite --- */
struct rewrite {
    struct wg_xlator *top;
    struct wg_ref dir;
    wg_gfid temporary;
    int lost; /* what its last step answered */
};

static int steps(struct wg_co *co, struct rewrite *r)
{
    struct wg_create_in in = { .at = { r->dir, WG_STR("new") }, .gfid = r->temporary, .how = WG_GUARDED };
    const struct wg_create_out *made;
    int err = wg_co_create(co, r->top, &in, &made);

    while (!err) { /* much work: one piece after the other */
        const struct wg_getattr_out *out;

        err = wg_co_getattr(co, r->top, &(struct wg_getattr_in){ .at = { .gfid = r->temporary } }, &out);
        if (!err)
            err = wg_co_sleep(co, 10000000);
    }
    return err;
}

static int rewrite(struct wg_co *co, void *arg)
{
    struct rewrite *r = arg;
    struct wg_co_lease_args args = { .at = r->dir, .name = WG_STR("rewrite"), .ttl_ms = 300, .wait_ms = 5000, .fence = true };
    struct wg_co_lease *lease;
    int err = wg_co_lease_take(co, r->top, &args, &lease);

    if (err)
        return err;
    r->temporary = wg_gfid_new();
    err = r->lost = steps(co, r); /* ENOLCK: somebody else may be at it by now */
    if (err) {
        struct wg_unlink_in in = { .at = { r->dir, WG_STR("new") }, .expect = r->temporary };
        const struct wg_unlink_out *out;

        wg_co_shield(co, true); /* without this, unlink would answer ENOLCK as well */
        wg_co_unlink(co, r->top, &in, &out); /* only if it is still ours */
        wg_co_shield(co, false);
    }
    return err;
}
/* --- end --- */

/* --- the tests --- */

static struct brick b;
static int result = -1;
static atomic_bool ended;

static void done(void *arg, int err)
{
    (void)arg;
    result = err;
    atomic_store(&ended, true);
}

/* A brick's graph, with what is to fail on top. */
static void up(const char *fault)
{
    char text[1024];

    brick_mkdir(&b);
    snprintf(text, sizeof text,
             "volume store\n type storage/posix\n option directory %s\n option init yes\nend-volume\n"
             "volume io\n type performance/io-threads\n subvolumes store\nend-volume\n"
             "volume locks\n type features/locks\n subvolumes io\nend-volume\n"
             "volume fault\n type debug/fault\n option fops lock_renew\n option error ENOLCK\n option rate %s\n"
             " subvolumes locks\nend-volume\n", b.dir, fault);
    b.graph = wg_graph_parse("test", text, strlen(text), brick_note, NULL);
    ck_assert_msg(b.graph != NULL, "%s", brick_error);
    OK(wg_graph_init(b.graph));
    OK(wg_graph_start(b.graph));
}

static int run(wg_co_fn *fn, void *arg)
{
    struct wg_call *call = wg_call_new(b.graph, WG_FROM_INTERNAL, "test");

    atomic_store(&ended, false);
    OK(wg_co_start(call, "example", fn, arg, done));
    wg_call_unref(call);
    while (!atomic_load(&ended))
        usleep(1000);
    OK(wg_co_drain(wg_now_ns() + 30000000000u));
    return result;
}

/* Files and directories are made by the file system: the store finds what is there. */
static void file_of(const char *name, int size)
{
    int fd = open(brick_path(&b, name), O_CREAT | O_WRONLY, 0644);

    ck_assert_int_ge(fd, 0);
    OK(ftruncate(fd, size));
    close(fd);
}

static void text_of(const char *name, const char *text)
{
    int fd = open(brick_path(&b, name), O_CREAT | O_WRONLY, 0644);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

START_TEST(two_steps)
{
    struct pair p;

    up("0%");
    p.top = b.graph->top;
    text_of("a", "same");
    text_of("b", "same");
    text_of("c", "other");
    p.a = lookup(&b, brick_root(), "a");
    p.b = lookup(&b, brick_root(), "b");
    OK(run(same_content, &p));
    p.b = lookup(&b, brick_root(), "c");
    ERR(run(same_content, &p), EINVAL);
    brick_end(&b);
}
END_TEST

START_TEST(producer_and_consumer)
{
    struct scan s = { .dir = brick_root() };
    char name[32];
    uint64_t sum = 0;

    up("0%");
    s.top = b.graph->top;
    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof name, "file%d", i);
        file_of(name, i);
        sum += (uint64_t)i;
    }
    OK(run(total_size, &s));
    ck_assert_uint_eq(s.bytes, sum);
    brick_end(&b);
}
END_TEST

START_TEST(fan_out_under_a_lease)
{
    static const char *const names[16] = { "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p" };
    struct shards s = { .root = brick_root(), .n = 16 };

    up("0%");
    s.top = b.graph->top;
    for (int i = 0; i < 16; i++) {
        OK(mkdir(brick_path(&b, names[i]), 0755));
        s.shard[i] = (struct shard){ &s, wg_str_of(names[i]) };
    }
    OK(run(label_shards, &s));
    OK(rmdir(brick_path(&b, "p")));
    ERR(run(label_shards, &s), ENOENT);
    brick_end(&b);
}
END_TEST

START_TEST(what_a_lost_lease_does)
{
    struct rewrite r = { .dir = brick_root() };

    up("100%");
    r.top = b.graph->top;
    ERR(run(rewrite, &r), ENOLCK);
    ERR(r.lost, ENOLCK);
    ck_assert_int_ne(access(brick_path(&b, "new"), F_OK), 0);
    brick_end(&b);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("co examples");
    TCase *t = tcase_create("co examples");
    SRunner *r;
    int failed;

    wg_work_start(2);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, two_steps);
    tcase_add_test(t, producer_and_consumer);
    tcase_add_test(t, fan_out_under_a_lease);
    tcase_add_test(t, what_a_lost_lease_does);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_set_fork_status(r, CK_NOFORK);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    wg_work_stop();
    return failed != 0;
}
