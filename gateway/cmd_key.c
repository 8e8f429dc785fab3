/* SPDX-License-Identifier: Apache-2.0 */
/* windgate key add, remove: rotating the keys of an S3 user. */
#include "users_option.h"

static int add(const struct wg_args *a)
{
    char access[WG_ACCESS_KEY_MAX + 1], secret[WG_SECRET_MAX + 1], why[300];
    struct wg_users *users = wg_users_of_args(a);
    int err;

    if (!users)
        return WG_EXIT_FAILED;
    err = wg_users_add_key(users, a->operand[0], wg_arg(a, "access-key"), wg_arg(a, "secret-key"),
                           access, secret, why, sizeof why);
    wg_users_close(users);
    if (err)
        return wg_fail("user %s: %s", a->operand[0], why);
    printf("user        %s\naccess key  %s\nsecret key  %s\n", a->operand[0], access, secret);
    return WG_EXIT_OK;
}

static int remove_key(const struct wg_args *a)
{
    struct wg_users *users = wg_users_of_args(a);
    char why[300];
    int err;

    if (!users)
        return WG_EXIT_FAILED;
    err = wg_users_remove_key(users, a->operand[0], a->operand[1], why, sizeof why);
    wg_users_close(users);
    return err ? wg_fail("user %s: %s", a->operand[0], why) : WG_EXIT_OK;
}

static const struct wg_cmd_option add_options[] = {
    { "access-key", "KEY", NULL, "Access key; without it, one is made." },
    { "secret-key", "SECRET", NULL, "Secret key; without it, one is made." },
    WG_USERS_OPTIONS,
    { NULL }
};

static const struct wg_cmd_option remove_options[] = {
    WG_USERS_OPTIONS,
    { NULL }
};

const struct wg_command wg_cmd_key_add = {
    .name = "key add", .operands = "USER", .min_operands = 1, .max_operands = 1,
    .options = add_options, .run = add,
    .help = "Gives an S3 user another key.",
    .about = "To change a key without an interruption: add one, change the programs, remove the old one.",
};

const struct wg_command wg_cmd_key_remove = {
    .name = "key remove", .operands = "USER ACCESS-KEY", .min_operands = 2, .max_operands = 2,
    .options = remove_options, .run = remove_key,
    .help = "Takes a key from an S3 user.",
};
