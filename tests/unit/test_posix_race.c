/* SPDX-License-Identifier: Apache-2.0 */
/* storage/posix: many threads on the same names; then an independent look at what is there. */
#include <dirent.h>
#include <sys/xattr.h>

#include "brick.h"

#define THREADS 4
#define ROUNDS 1500
#define NAMES 7

static struct wg_graph *graph;
static struct wg_ref dirs[2];

static void *work(void *arg)
{
    struct brick b = { .graph = graph };
    unsigned seed = (unsigned)(uintptr_t)arg;
    char one[8], two[8];

    be(&b, geteuid() ? geteuid() : 1000 + seed % 2, 1000);
    for (int i = 0; i < ROUNDS; i++) {
        struct wg_loc a, c;
        int err = 0;

        snprintf(one, sizeof one, "n%d", rand_r(&seed) % NAMES);
        snprintf(two, sizeof two, "n%d", rand_r(&seed) % NAMES);
        a = at(dirs[rand_r(&seed) % 2], one);
        c = at(dirs[rand_r(&seed) % 2], two);
        switch (rand_r(&seed) % 9) {
        case 0:
        case 1:
            err = FOP_(&b, create, .at = a, .gfid = wg_gfid_new(), .how = WG_UNCHECKED,
                       .attrs = mode_of(0666));
            break;
        case 2: err = FOP_(&b, mkdir, .at = a, .gfid = wg_gfid_new(), .attrs = mode_of(0777)); break;
        case 3: err = FOP_(&b, unlink, .at = a); break;
        case 4: err = FOP_(&b, rmdir, .at = a); break;
        case 5: err = FOP_(&b, rename, .from = a, .to = c); break;
        case 6: err = FOP_(&b, readdir, .at = a.parent, .size = 8192, .plus = true); break;
        case 7:
            err = FOP_(&b, lookup, .at = a);
            if (err == 0)
                err = FOP_(&b, link, .at = OUT_(&b, lookup)->ref, .to = c);
            break;
        case 8:
            err = FOP_(&b, lookup, .at = a);
            if (err == 0 && OUT_(&b, lookup)->attr.type == WG_REG) {
                struct wg_ref f = OUT_(&b, lookup)->ref;

                err = put_text(&b, f, 0, "text", WG_UNSTABLE);
                if (err == 0)
                    err = FOP_(&b, commit, .at = f);
                if (err == 0)
                    err = FOP_(&b, read, .at = f, .size = 10);
            }
            break;
        }
        switch (err) { /* what may come of it; EIO and the like may not */
        case 0: case ENOENT: case EEXIST: case EISDIR: case ENOTDIR: case ENOTEMPTY: case ESTALE:
        case EINVAL:
            break;
        default:
            ck_abort_msg("round %d: %s answered %s", i, wg_op_name(b.call->root->op), wg_error_name(err));
        }
    }
    if (b.call)
        wg_call_unref(b.call);
    return NULL;
}

/* What the store says of each name is what the disk says. */
static unsigned check_dir(struct brick *b, struct wg_ref d, const char *path)
{
    DIR *dp = opendir(path);
    struct dirent *e;
    unsigned n = 0;

    ck_assert_ptr_nonnull(dp);
    while ((e = readdir(dp)) != NULL) {
        struct px_rec rec;
        struct wg_ref r;

        if (e->d_name[0] == '.')
            continue;
        r = lookup(b, d, e->d_name);
        OK(wg_px_rec_get_at(brick_px(b), dirfd(dp), e->d_name, &rec));
        ck_assert(wg_gfid_eq(rec.gfid, r.gfid));
        OK(FOP_(b, getattr, .at = r));
        n++;
    }
    closedir(dp);
    return n;
}

START_TEST(the_store_and_the_disk_agree_after_a_race)
{
    struct brick b;
    pthread_t t[THREADS];

    brick_start(&b);
    graph = b.graph;
    dirs[0] = mkdir_(&b, brick_root(), "a", 0777);
    dirs[1] = mkdir_(&b, brick_root(), "b", 0777);
    for (uintptr_t i = 0; i < THREADS; i++)
        OK(pthread_create(&t[i], NULL, work, (void *)(i + 1)));
    for (int i = 0; i < THREADS; i++)
        pthread_join(t[i], NULL);
    for (int round = 0; round < 2; round++) {
        check_dir(&b, dirs[0], brick_path(&b, "a"));
        check_dir(&b, dirs[1], brick_path(&b, "b"));
        brick_restart(&b);
    }
    brick_end(&b);
}
END_TEST


#define CREATED 400
static struct wg_time seen[CREATED]; /* the directory's ctime after each of the other's names */

static void *make_names(void *arg)
{
    struct brick b = { .graph = graph };
    char name[24];

    for (int i = 0; i < CREATED; i++) {
        snprintf(name, sizeof name, "x%d", i);
        mkfile(&b, dirs[0], name, 0666);
        seen[i] = OUT_(&b, create)->parent.post.ctime;
    }
    (void)arg;
    if (b.call)
        wg_call_unref(b.call);
    return NULL;
}

static bool later(struct wg_time a, struct wg_time b)
{
    return a.sec > b.sec || (a.sec == b.sec && a.nsec > b.nsec);
}

/*
 * A client that finds its cached attributes as "before" keeps its cache: then no change of others may
 * lie between the two. What others saw as the directory's ctime in between would be such a change.
 */
START_TEST(wcc_never_hides_the_changes_of_others)
{
    static struct { struct wg_time from, to; } kept[CREATED];
    struct wg_time cached = { 0 };
    struct brick b;
    char name[24];
    pthread_t t;
    int n = 0;

    brick_start(&b);
    graph = b.graph;
    dirs[0] = mkdir_(&b, brick_root(), "a", 0777);
    OK(pthread_create(&t, NULL, make_names, NULL));
    for (int i = 0; i < CREATED; i++) {
        const struct wg_wcc *w;

        snprintf(name, sizeof name, "y%d", i);
        mkfile(&b, dirs[0], name, 0666);
        w = &OUT_(&b, create)->parent;
        if (w->pre_valid && w->pre_ctime.sec == cached.sec && w->pre_ctime.nsec == cached.nsec) {
            kept[n].from = cached;
            kept[n++].to = w->post.ctime;
        }
        cached = w->post.ctime;
    }
    pthread_join(t, NULL);
    for (int i = 0; i < n; i++)
        for (int j = 0; j < CREATED; j++)
            ck_assert(!later(seen[j], kept[i].from) || !later(kept[i].to, seen[j]));
    mkfile(&b, dirs[0], "alone", 0666);
    ck_assert(OUT_(&b, create)->parent.pre_valid);
    brick_end(&b);
}
END_TEST

TESTS("posix race",
      TEST_ROW(wcc_never_hides_the_changes_of_others) TEST_ROW(the_store_and_the_disk_agree_after_a_race))
