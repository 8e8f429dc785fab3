/* SPDX-License-Identifier: Apache-2.0 */
#include "brick.h"
START_TEST(t1)
{
    struct brick b;
    struct wg_ref d, f;
    brick_start(&b);
    d = mkdir_(&b, brick_root(), "d", 0777);
    be(&b, 1000, 1000);
    f = mkfile(&b, d, "f", 0644);
    OK(put_text(&b, f, 0, "hello", WG_UNSTABLE));
    ck_assert_str_eq(get_text(&b, f), "hello");
    OK(FOP_(&b, commit, .at = f));
    OK(FOP_(&b, rename, .from = at(d, "f"), .to = at(d, "g")));
    lookup(&b, d, "g");
    OK(FOP_(&b, readdir, .at = d, .size = 4096, .plus = true));
    ck_assert_int_eq(OUT_(&b, readdir)->entries.count, 3);
    OK(FOP_(&b, unlink, .at = at(d, "g")));
    ERR(FOP_(&b, getattr, .at = f), ESTALE);
    brick_restart(&b);
    OK(FOP_(&b, getattr, .at = d));
    brick_end(&b);
}
END_TEST
int main(void)
{
    Suite *s = suite_create("posix");
    TCase *t = tcase_create("a");
    tcase_add_test(t, t1);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_set_fork_status(r, CK_NOFORK);
    srunner_run_all(r, CK_NORMAL);
    return srunner_ntests_failed(r) != 0;
}
