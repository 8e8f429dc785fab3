/* SPDX-License-Identifier: Apache-2.0 */
/* windgate user add, list, remove: who may use S3. */
#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#include "users_option.h"

/* "1000,4,27" into groups. The number of them, or -1 after a message. */
static int parse_groups(const char *text, uint32_t *groups)
{
    int n = 0;

    while (text && *text) {
        char *end;
        unsigned long long v = strtoull(text, &end, 10);

        if (end == text || (*end && *end != ',') || v > UINT32_MAX || n == WG_NGROUPS_MAX) {
            wg_fail("--groups must be at most %d numbers with commas between them", WG_NGROUPS_MAX);
            return -1;
        }
        groups[n++] = (uint32_t)v;
        text = *end ? end + 1 : end;
    }
    return n;
}

static void print_key(const struct wg_args *a, const char *name, const char *access,
                      const char *secret)
{
    cJSON *j;
    char *text;

    if (!wg_arg_given(a, "json")) {
        printf("user        %s\naccess key  %s\nsecret key  %s\n", name, access, secret);
        return;
    }
    j = cJSON_CreateObject();
    cJSON_AddStringToObject(j, "user", name);
    cJSON_AddStringToObject(j, "access_key", access);
    cJSON_AddStringToObject(j, "secret_key", secret);
    text = cJSON_Print(j);
    puts(text ? text : "null");
    cJSON_free(text);
    cJSON_Delete(j);
}

static int add(const struct wg_args *a)
{
    char access[WG_ACCESS_KEY_MAX + 1], secret[WG_SECRET_MAX + 1], why[300];
    uint32_t groups[WG_NGROUPS_MAX];
    struct wg_user_new user = { .name = a->operand[0], .groups = groups,
                                .access_key = wg_arg(a, "access-key"),
                                .secret = wg_arg(a, "secret-key") };
    struct wg_users *users;
    int64_t uid, gid;
    int n, err;

    n = parse_groups(wg_arg(a, "groups"), groups);
    if (n < 0 || wg_arg_int(a, "uid", 0, UINT32_MAX - 1, &uid) ||
        wg_arg_int(a, "gid", 0, UINT32_MAX - 1, &gid))
        return WG_EXIT_USAGE;
    user.uid = (uint32_t)uid;
    user.gid = (uint32_t)gid;
    user.ngroups = (uint32_t)n;
    users = wg_users_of_args(a);
    if (!users)
        return WG_EXIT_FAILED;
    err = wg_users_add(users, &user, access, secret, why, sizeof why);
    wg_users_close(users);
    if (err)
        return wg_fail("user %s: %s", user.name, why);
    print_key(a, user.name, access, secret);
    return WG_EXIT_OK;
}

static int remove_user(const struct wg_args *a)
{
    struct wg_users *users = wg_users_of_args(a);
    char why[300];
    int err;

    if (!users)
        return WG_EXIT_FAILED;
    err = wg_users_remove(users, a->operand[0], why, sizeof why);
    wg_users_close(users);
    return err ? wg_fail("user %s: %s", a->operand[0], why) : WG_EXIT_OK;
}

static void list_text(const struct wg_user_info *u, void *arg)
{
    (void)arg;
    printf("%-20s uid %-6u gid %-6u groups ", u->name, u->uid, u->gid);
    for (uint32_t i = 0; i < u->ngroups; i++)
        printf("%s%u", i ? "," : "", u->groups[i]);
    printf("%s  keys ", u->ngroups ? "" : "-");
    for (unsigned i = 0; i < u->nkeys; i++)
        printf("%s%s", i ? "," : "", u->keys[i]);
    printf("%s\n", u->nkeys ? "" : "-");
}

static void list_json(const struct wg_user_info *u, void *arg)
{
    cJSON *item = cJSON_CreateObject(), *list;

    cJSON_AddStringToObject(item, "user", u->name);
    cJSON_AddNumberToObject(item, "uid", u->uid);
    cJSON_AddNumberToObject(item, "gid", u->gid);
    list = cJSON_AddArrayToObject(item, "groups");
    for (uint32_t i = 0; i < u->ngroups; i++)
        cJSON_AddItemToArray(list, cJSON_CreateNumber(u->groups[i]));
    list = cJSON_AddArrayToObject(item, "keys");
    for (unsigned i = 0; i < u->nkeys; i++) {
        cJSON *key = cJSON_CreateObject();

        cJSON_AddStringToObject(key, "access_key", u->keys[i]);
        cJSON_AddStringToObject(key, "created", u->created[i] ? u->created[i] : "");
        cJSON_AddItemToArray(list, key);
    }
    cJSON_AddItemToArray(arg, item);
}

static int list(const struct wg_args *a)
{
    struct wg_users *users = wg_users_of_args(a);
    cJSON *all = cJSON_CreateArray();
    char *text;

    if (users && wg_arg_given(a, "json")) {
        wg_users_each(users, list_json, all);
        text = cJSON_Print(all);
        puts(text ? text : "null");
        cJSON_free(text);
    } else if (users) {
        wg_users_each(users, list_text, NULL);
    }
    cJSON_Delete(all);
    if (users)
        wg_users_close(users);
    return users ? WG_EXIT_OK : WG_EXIT_FAILED;
}

static const struct wg_cmd_option add_options[] = {
    { "uid", "NUMBER", "1000", "User id that owns the user's files." },
    { "gid", "NUMBER", "1000", "Group id of the user's files." },
    { "groups", "LIST", NULL, "Further group ids, with commas between them; at most 64." },
    { "access-key", "KEY", NULL, "Access key, 3 to 128 of A-Z a-z 0-9 _ - . ; without it, one is made." },
    { "secret-key", "SECRET", NULL, "Secret key, 8 to 128 characters; without it, one is made." },
    { "json", NULL, NULL, "JSON instead of text." },
    WG_USERS_OPTIONS,
    { NULL }
};

static const struct wg_cmd_option list_options[] = {
    { "json", NULL, NULL, "JSON instead of text." },
    WG_USERS_OPTIONS,
    { NULL }
};

static const struct wg_cmd_option remove_options[] = {
    WG_USERS_OPTIONS,
    { NULL }
};

const struct wg_command wg_cmd_user_add = {
    .name = "user add", .operands = "NAME", .min_operands = 1, .max_operands = 1,
    .options = add_options, .run = add,
    .help = "Adds an S3 user and prints its key.",
    .about = "A running gateway notices within two seconds. The secret is shown only now.",
};

const struct wg_command wg_cmd_user_list = {
    .name = "user list", .operands = "", .options = list_options, .run = list,
    .help = "Lists the S3 users.",
};

const struct wg_command wg_cmd_user_remove = {
    .name = "user remove", .operands = "NAME", .min_operands = 1, .max_operands = 1,
    .options = remove_options, .run = remove_user,
    .help = "Removes an S3 user and its keys; its files stay.",
};
