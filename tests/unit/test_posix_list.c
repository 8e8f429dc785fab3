/* SPDX-License-Identifier: Apache-2.0 */
/* list against a sorted model: random keys, prefixes, delimiters, markers and page sizes. */
#include "brick.h"

#include "keymap.h"
#include "xlators/storage/posix/index.h"

#define KEYS_MAX 400

static struct brick b;
static struct wg_ref bucket;
static struct wg_str key[KEYS_MAX];
static unsigned nkeys;
static uint64_t seed;

static void setup(void)
{
    brick_start(&b);
    bucket = mkdir_(&b, brick_root(), "bucket", 0755);
    nkeys = 0;
    seed = 88172645463325252u;
}

static void teardown(void)
{
    for (unsigned i = 0; i < nkeys; i++)
        free((void *)(uintptr_t)key[i].s);
    brick_end(&b);
}

static uint32_t rnd(uint32_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 32) % n;
}

static int cmp(const void *x, const void *y)
{
    const struct wg_str *a = x, *c = y;
    int d = memcmp(a->s, c->s, a->len < c->len ? a->len : c->len);

    return d ? d : (a->len > c->len) - (a->len < c->len);
}

static bool begins(struct wg_str a, struct wg_str p)
{
    return a.len >= p.len && (p.len == 0 || memcmp(a.s, p.s, p.len) == 0);
}

/* Few components, so that keys collide in every way; some near the limits of a name. */
static struct wg_str random_key(void)
{
    static const char *const words[] = { "a", "b", "a!", "a0", "ab", ".", "..", "", ".@", ".@fa", "\xff", "z" };
    char text[2000], *at = text;

    do {
        if (rnd(8) == 0) {
            static const unsigned len[] = { 250, 252, 253, 255, 256, 300, 510 };
            unsigned n = len[rnd(7)];

            memset(at, 'x', n);
            if (rnd(3) == 0)
                memcpy(at, ".@", 2);
            at += n;
            if (rnd(2))
                *at++ = "!0"[rnd(2)];
        } else {
            at = stpcpy(at, words[rnd(sizeof words / sizeof *words)]);
        }
        *at++ = '/';
    } while (rnd(3) > 0 && at - text < 500);
    if (at - text > 1 && rnd(5) > 0)
        at--;
    return (struct wg_str){ memcpy(malloc((size_t)(at - text)), text, (size_t)(at - text)), (uint32_t)(at - text) };
}

static bool known(struct wg_str k)
{
    for (unsigned i = 0; i < nkeys; i++)
        if (wg_str_eq(key[i], k))
            return true;
    return false;
}

static void add_keys(unsigned n)
{
    while (n-- > 0) {
        struct wg_str k = random_key();
        struct wg_seg seg = { NULL, "x", 1 };

        if (nkeys == KEYS_MAX || k.len > WG_KEY_MAX || known(k)) {
            free((void *)(uintptr_t)k.s);
            continue;
        }
        OK(FOP_(&b, put, .bucket = bucket, .key = k, .gfid = wg_gfid_new(),
                .data = rnd(2) ? (struct wg_data){ &seg, 1, 1 } : (struct wg_data){ 0 },
                .etag = { .valid = true }));
        key[nkeys++] = k;
    }
    qsort(key, nkeys, sizeof *key, cmp);
}

static void del_key(unsigned i)
{
    OK(FOP_(&b, del, .bucket = bucket, .key = key[i]));
    ck_assert(OUT_(&b, del)->existed);
    free((void *)(uintptr_t)key[i].s);
    memmove(&key[i], &key[i + 1], (--nkeys - i) * sizeof *key);
}

struct query {
    struct wg_str prefix, delimiter, marker;
    bool start_at;
    uint32_t max;
};

/* The part of k that it shares with its group; empty: none. */
static struct wg_str group(const struct query *q, struct wg_str k)
{
    const char *at = q->delimiter.len && begins(k, q->prefix)
                         ? memmem(k.s + q->prefix.len, k.len - q->prefix.len, q->delimiter.s, q->delimiter.len)
                         : NULL;

    return (struct wg_str){ k.s, at ? (uint32_t)(at - k.s) + q->delimiter.len : 0 };
}

static unsigned model(const struct query *q, struct wg_str *rows, bool *truncated)
{
    struct wg_str skip = q->start_at || !q->marker.len ? (struct wg_str){ 0 } : group(q, q->marker);
    unsigned n = 0;

    *truncated = false;
    for (unsigned i = 0; i < nkeys; i++) {
        struct wg_str k = key[i], g = group(q, k);
        int c = q->marker.len ? cmp(&k, &q->marker) : 1;

        if (!begins(k, q->prefix) || c < 0 || (c == 0 && !q->start_at) ||
            (skip.len && begins(k, skip)))
            continue;
        if (g.len && n > 0 && wg_str_eq(rows[n - 1], g))
            continue;
        if (n == q->max) {
            *truncated = q->max > 0;
            break;
        }
        rows[n++] = g.len ? g : k;
    }
    return n;
}

static void show(const char *what, struct wg_str s)
{
    fprintf(stderr, "  %s (%u) \"%.*s\"\n", what, s.len, s.len < 40 ? (int)s.len : 40, s.s);
}

static void failed(const struct query *q, const struct wg_str *want, unsigned n)
{
    struct wg_cursor c = wg_cursor(&OUT_(&b, list)->entries);
    struct wg_objent e;

    show("prefix", q->prefix);
    show("delimiter", q->delimiter);
    show("marker", q->marker);
    for (unsigned i = 0; i < n; i++)
        show("want", want[i]);
    while (wg_next_objent(&c, &e))
        show("got", e.key);
    ck_abort_msg("the page differs (max %u, start_at %d)", q->max, q->start_at);
}

static void check(const struct query *q, struct wg_str *next, bool *more)
{
    static struct wg_str want[KEYS_MAX];
    static char last[WG_KEY_MAX];
    struct wg_objent e;
    struct wg_cursor c;
    bool truncated;
    unsigned n = model(q, want, &truncated), i = 0;

    OK(FOP_(&b, list, .bucket = bucket, .prefix = q->prefix, .delimiter = q->delimiter,
            .marker = q->marker, .start_at = q->start_at, .max = q->max));
    c = wg_cursor(&OUT_(&b, list)->entries);
    while (wg_next_objent(&c, &e)) {
        if (i == n || !wg_str_eq(e.key, want[i]))
            failed(q, want, n);
        i++;
    }
    if (i != n || OUT_(&b, list)->truncated != truncated)
        failed(q, want, n);
    *more = truncated;
    if (truncated) {
        *next = OUT_(&b, list)->next;
        ck_assert(wg_str_eq(*next, want[n - 1]));
        memcpy(last, next->s, next->len);
        next->s = last;
    }
}

static struct wg_str part_of(struct wg_str k)
{
    return (struct wg_str){ k.s, rnd(k.len + 1) };
}

static void random_queries(unsigned n)
{
    static const struct wg_str delimiters[] = { { "/", 1 }, { "", 0 }, { "!", 1 }, { "x", 1 }, { "a/", 2 }, { "\xff", 1 } };

    while (n-- > 0 && nkeys > 0) {
        struct query q = { .max = rnd(3) ? 1 + rnd(20) : 1000, .start_at = rnd(8) == 0 };
        bool more;

        if (rnd(2))
            q.prefix = part_of(key[rnd(nkeys)]);
        if (rnd(3))
            q.delimiter = delimiters[rnd(6)];
        if (rnd(2))
            q.marker = rnd(2) ? key[rnd(nkeys)] : part_of(key[rnd(nkeys)]);
        check(&q, &q.marker, &more);
        q.start_at = false;
        for (unsigned page = 0; more && page < 40; page++)
            check(&q, &q.marker, &more);
    }
}

static unsigned rounds(unsigned n)
{
    const char *f = getenv("WG_LIST_ROUNDS");

    return f ? n * (unsigned)atoi(f) : n;
}

START_TEST(pages_are_those_of_a_sorted_model)
{
    for (unsigned i = rounds(4); i > 0; i--) {
        add_keys(50);
        random_queries(300);
        for (unsigned k = rnd(40); k > 0 && nkeys > 0; k--)
            del_key(rnd(nkeys));
        random_queries(100);
    }
    while (nkeys > 0)
        del_key(rnd(nkeys));
    OK(FOP_(&b, list, .bucket = bucket, .max = 10));
    ck_assert_uint_eq(OUT_(&b, list)->entries.count, 0);
    OK(FOP_(&b, rmdir, .at = at(brick_root(), "bucket"))); /* nothing is left behind */
}
END_TEST

START_TEST(pages_come_from_directories_while_the_index_is_rebuilt)
{
    add_keys(150);
    brick_stop(&b);
    OK(unlink(brick_path(&b, ".windgate/index/journal")));
    OK(brick_try(&b, ""));
    random_queries(200);
    for (int i = 0; i < 500 && !atomic_load(&brick_px(&b)->index->complete); i++)
        usleep(10000);
    ck_assert(atomic_load(&brick_px(&b)->index->complete));
    random_queries(200);
}
END_TEST

START_TEST(a_restart_keeps_the_index)
{
    add_keys(100);
    brick_restart(&b);
    ck_assert(atomic_load(&brick_px(&b)->index->complete));
    random_queries(100);
    /* Some of the hundreds share a place in the table of directories, by chance; without the index each is scanned. */
    ck_assert_uint_lt(atomic_load(&brick_px(&b)->index->scanned), 25);
}
END_TEST

static unsigned count_keys(void)
{
    OK(FOP_(&b, list, .bucket = bucket, .max = 1000));
    return OUT_(&b, list)->entries.count;
}

START_TEST(files_put_on_the_brick_by_others_are_listed)
{
    struct wg_objent e;
    struct wg_cursor c;
    FILE *f;

    add_keys(5);
    count_keys();
    OK(mkdir(brick_path(&b, "bucket/others"), 0755));
    f = fopen(brick_path(&b, "bucket/others/file"), "w");
    ck_assert(f && fputs("hello", f) >= 0 && fclose(f) == 0);
    OK(FOP_(&b, list, .bucket = bucket, .prefix = WG_STR("others/"), .max = 10));
    c = wg_cursor(&OUT_(&b, list)->entries);
    ck_assert(wg_next_objent(&c, &e));
    ck_assert(wg_str_eq(e.key, WG_STR("others/file")));
    ck_assert_uint_eq(e.size, 5);
    ck_assert(e.etag.synthetic && !wg_gfid_is_zero(e.ref.gfid));
    OK(unlink(brick_path(&b, "bucket/others/file")));
    OK(rmdir(brick_path(&b, "bucket/others")));
    OK(FOP_(&b, list, .bucket = bucket, .prefix = WG_STR("others"), .max = 10));
    ck_assert_uint_eq(OUT_(&b, list)->entries.count, 0);
    random_queries(20);
}
END_TEST

START_TEST(renames_of_nfs_move_keys)
{
    struct wg_ref d = mkdir_(&b, bucket, "dir", 0755);

    for (int i = 0; i < 10; i++) {
        char name[16];

        snprintf(name, sizeof name, "f%d", i);
        mkfile(&b, d, name, 0644);
    }
    OK(FOP_(&b, rename, .from = at(bucket, "dir"), .to = at(bucket, "moved")));
    OK(FOP_(&b, list, .bucket = bucket, .prefix = WG_STR("moved/"), .max = 100));
    ck_assert_uint_eq(OUT_(&b, list)->entries.count, 10);
    OK(FOP_(&b, list, .bucket = bucket, .prefix = WG_STR("dir/"), .max = 100));
    ck_assert_uint_eq(OUT_(&b, list)->entries.count, 0);
    OK(FOP_(&b, rename, .from = at(d, "f1"), .to = at(bucket, "up")));
    OK(FOP_(&b, unlink, .at = at(d, "f2")));
    ck_assert_uint_eq(count_keys(), 9);
}
END_TEST

START_TEST(a_full_page_of_bytes_is_continued)
{
    struct wg_str marker = { 0 };
    char last[WG_KEY_MAX];
    unsigned seen = 0;

    add_keys(60);
    do {
        int err = FOP_(&b, list, .bucket = bucket, .marker = marker, .max = 1000, .size = 2048);

        OK(err);
        seen += OUT_(&b, list)->entries.count;
        ck_assert_uint_le(OUT_(&b, list)->entries.len, 2048);
        if (!OUT_(&b, list)->truncated)
            break;
        marker = OUT_(&b, list)->next;
        memcpy(last, marker.s, marker.len);
        marker.s = last;
    } while (seen < 1000);
    ck_assert_uint_eq(seen, nkeys);
    OK(FOP_(&b, list, .bucket = bucket, .max = 0));
    ck_assert(!OUT_(&b, list)->truncated);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("posix_list");
    TCase *t = tcase_create("list");
    SRunner *r = srunner_create(s);
    int bad;

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 300);
    tcase_add_test(t, pages_are_those_of_a_sorted_model);
    tcase_add_test(t, pages_come_from_directories_while_the_index_is_rebuilt);
    tcase_add_test(t, a_restart_keeps_the_index);
    tcase_add_test(t, files_put_on_the_brick_by_others_are_listed);
    tcase_add_test(t, renames_of_nfs_move_keys);
    tcase_add_test(t, a_full_page_of_bytes_is_continued);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_NORMAL);
    bad = srunner_ntests_failed(r);
    srunner_free(r);
    return bad ? EXIT_FAILURE : EXIT_SUCCESS;
}
