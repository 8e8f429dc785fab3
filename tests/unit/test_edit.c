/* SPDX-License-Identifier: Apache-2.0 */
/* gateway/edit.c: what a graph's text is after an edit, what survives parsing it again, and what is refused. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edit.h"
#include "options.h"

static const struct wg_option options[] = {
    { "alpha", WG_OPT_STR, 0, 0, "", "A word.", true },
    { "beta", WG_OPT_INT, 0, 100, "1", "A number.", true },
    { 0 },
};
static const struct wg_class leaf = { .type = "test/leaf", .help = "a store", .options = options };
static const struct wg_class line = {
    .type = "test/line", .help = "a layer", .options = options, .min_children = 1, .max_children = 1,
};
static const struct wg_class fork_class = { .type = "test/fork", .help = "on several", .min_children = 1, .max_children = -1 };
static const struct wg_class door = {
    .type = "test/door", .help = "on top", .min_children = 1, .max_children = 1, .door = true,
};

static char why[300];

static void note(void *arg, const char *text)
{
    (void)arg;
    snprintf(why, sizeof why, "%s", text);
}

static struct wg_graph *parse(const char *text)
{
    return wg_graph_parse("edit.vol", text, strlen(text), note, NULL);
}

#define STORE "volume s\n type test/leaf\nend-volume\n"
#define ON(name, type, below) "volume " name "\n type test/" type "\n subvolumes " below "\nend-volume\n"

/* "top[alpha=x] middle s": names from the top down (the first child's line), with the options given. */
static const char *shape(const struct wg_graph *g)
{
    static char text[2000];
    size_t n = 0;

    for (const struct wg_xlator *xl = g->top; xl; xl = xl->nchildren ? xl->children[0] : NULL) {
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%s", n ? " " : "", xl->name);
        for (const struct wg_option *o = xl->class->options; o && o->name; o++)
            if (wg_kv_find(xl, o->name)->given)
                n += (size_t)snprintf(text + n, sizeof text - n, "[%s=%s]", o->name, wg_kv_find(xl, o->name)->text);
        for (unsigned i = 1; i < xl->nchildren; i++)
            n += (size_t)snprintf(text + n, sizeof text - n, "+%s", xl->children[i]->name);
    }
    return text;
}

/* The shape after the edit; or why it was refused, after "no: ". */
static const char *edited(const char *text, struct wg_edit e)
{
    static char ret[2100];
    struct wg_graph *g = parse(text), *again;
    char *now;

    ck_assert_msg(g != NULL, "%s", why);
    now = wg_edit_text(g, &e, why, sizeof why);
    wg_graph_free(g);
    if (!now) {
        snprintf(ret, sizeof ret, "no: %s", why);
        return ret;
    }
    again = parse(now);
    ck_assert_msg(again != NULL, "%s: %s", why, now);
    free(now);
    snprintf(ret, sizeof ret, "%s", shape(again));
    wg_graph_free(again);
    return ret;
}

#define IS(text, want, ...) ck_assert_str_eq(edited((text), (struct wg_edit){ __VA_ARGS__ }), (want))
#define OPT(...) .options = (const struct wg_edit_option[]){ __VA_ARGS__ }

#define TWO STORE ON("a", "line", "s") ON("b", "line", "a")
#define BRICK TWO ON("d", "door", "b")

START_TEST(without_an_edit_it_is_the_same)
{
    const char *hard = "volume \"a b\"\n type test/leaf\n option alpha \"say \\\"x\\\" \\\\ # {\"\n option beta 7\nend-volume\n"
                       "volume t\n type test/line\n option alpha \"\"\n subvolumes \"a b\"\nend-volume\n";

    IS(BRICK, "d b a s", .what = WG_EDIT_NOTHING);
    IS(hard, "t[alpha=] a b[alpha=say \"x\" \\ # {][beta=7]", .what = WG_EDIT_NOTHING);
    IS(STORE "volume z\n type test/leaf\nend-volume\n" ON("f", "fork", "s z"), "f+z s", .what = WG_EDIT_NOTHING);
}
END_TEST

START_TEST(options_are_set_and_set_again)
{
    IS(TWO, "b a[alpha=x y] s", .what = WG_EDIT_SET, .name = "a", OPT({ "alpha", "x y" }), .noptions = 1);
    IS("volume s\n type test/leaf\n option alpha old\n option beta 3\nend-volume\n", "s[alpha=new][beta=3]",
       .what = WG_EDIT_SET, .name = "s", OPT({ "alpha", "new" }), .noptions = 1);
    IS(TWO, "no: there is no translator 'aa' (did you mean 'a'?)", .what = WG_EDIT_SET, .name = "aa",
       OPT({ "alpha", "x" }), .noptions = 1);
}
END_TEST

START_TEST(a_layer_is_inserted_where_it_is_told)
{
    IS(TWO, "line b a s", .what = WG_EDIT_INSERT, .type = "test/line");
    IS(BRICK, "d line b a s", .what = WG_EDIT_INSERT, .type = "test/line");
    IS(TWO, "b n[beta=9] a s", .what = WG_EDIT_INSERT, .type = "test/line", .name = "n", .above = "a",
       OPT({ "beta", "9" }), .noptions = 1);
    IS(TWO, "b a n s", .what = WG_EDIT_INSERT, .type = "test/line", .name = "n", .below = "a");
    IS(TWO, "b a n s", .what = WG_EDIT_INSERT, .type = "test/line", .name = "n", .above = "s");
    IS(BRICK, "d n b a s", .what = WG_EDIT_INSERT, .type = "test/line", .name = "n", .below = "d");
    IS(STORE ON("line", "line", "s"), "line-2 line s", .what = WG_EDIT_INSERT, .type = "test/line");
    IS(STORE "volume z\n type test/leaf\nend-volume\n" ON("f", "fork", "s z"), "f+n s",
       .what = WG_EDIT_INSERT, .type = "test/line", .name = "n", .above = "z");
}
END_TEST

START_TEST(or_it_is_said_why_not)
{
    IS(BRICK, "no: d (test/door) must stay on top", .what = WG_EDIT_INSERT, .type = "test/line", .above = "d");
    IS(TWO, "no: either above or below, not both", .what = WG_EDIT_INSERT, .type = "test/line", .above = "a", .below = "b");
    IS(TWO, "no: there is a translator 'a' already", .what = WG_EDIT_INSERT, .type = "test/line", .name = "a");
    IS(STORE "volume z\n type test/leaf\nend-volume\n" ON("f", "fork", "s z"),
       "no: f (test/fork) does not stand on one other: say above which of its subvolumes",
       .what = WG_EDIT_INSERT, .type = "test/line", .below = "f");
    IS(TWO, "no: s (test/leaf) does not stand on one other: say above which of its subvolumes",
       .what = WG_EDIT_INSERT, .type = "test/line", .below = "s");
    IS(TWO, "no: a name has at most 64 bytes", .what = WG_EDIT_INSERT, .type = "test/line",
       .name = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
}
END_TEST

START_TEST(a_layer_is_left_out)
{
    IS(BRICK, "d b s", .what = WG_EDIT_REMOVE, .name = "a");
    IS(BRICK, "d a s", .what = WG_EDIT_REMOVE, .name = "b");
    IS(TWO, "a s", .what = WG_EDIT_REMOVE, .name = "b");
    IS(STORE ON("a", "line", "s") "volume z\n type test/leaf\nend-volume\n" ON("f", "fork", "a z"), "f+z s",
       .what = WG_EDIT_REMOVE, .name = "a");
    IS(BRICK, "no: d (test/door) must stay on top", .what = WG_EDIT_REMOVE, .name = "d");
    IS(BRICK, "no: s (test/leaf) does not stand on one other: it can't be left out", .what = WG_EDIT_REMOVE, .name = "s");
}
END_TEST

/* What a client of the control socket sends is text, not syntax. */
START_TEST(names_and_values_cannot_add_lines)
{
    struct wg_graph *g = parse(TWO);
    struct wg_edit e = { .what = WG_EDIT_INSERT, .type = "test/leaf\nend-volume\n", .name = "n" };
    char *text = wg_edit_text(g, &e, why, sizeof why);

    ck_assert_ptr_null(text ? parse(text) : NULL);
    free(text);
    e = (struct wg_edit){ .what = WG_EDIT_INSERT, .type = "test/line", .name = "n\"\n type test/leaf" };
    text = wg_edit_text(g, &e, why, sizeof why);
    ck_assert_ptr_null(text ? parse(text) : NULL);
    free(text);
    wg_graph_free(g);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("edit");
    TCase *t = tcase_create("edit");
    SRunner *r;
    int failed;

    if (wg_class_add(&leaf) || wg_class_add(&line) || wg_class_add(&fork_class) || wg_class_add(&door))
        return 1;
    tcase_add_test(t, without_an_edit_it_is_the_same);
    tcase_add_test(t, options_are_set_and_set_again);
    tcase_add_test(t, a_layer_is_inserted_where_it_is_told);
    tcase_add_test(t, or_it_is_said_why_not);
    tcase_add_test(t, a_layer_is_left_out);
    tcase_add_test(t, names_and_values_cannot_add_lines);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
