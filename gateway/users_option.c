/* SPDX-License-Identifier: Apache-2.0 */
#include "users_option.h"

#include <limits.h>
#include <string.h>

#include "process.h"
#include "settings.h"

struct wg_users *wg_users_of_args(const struct wg_args *a)
{
    const char *file = wg_arg(a, "users");
    struct wg_settings *s = NULL;
    struct wg_users *users = NULL;
    char path[PATH_MAX];
    int err;

    if (!file) {
        s = wg_settings_load(wg_arg(a, "config"), wg_settings_complain, NULL);
        if (!s)
            return NULL;
        if (!s->s3.users && !s->state) {
            wg_fail("%s: neither s3.users nor state is set", s->file);
            wg_settings_free(s);
            return NULL;
        }
        /* Users may be added before the gateway's first start. */
        if (!s->s3.users && wg_process_directory(s->state)) {
            wg_settings_free(s);
            return NULL;
        }
        snprintf(path, sizeof path, "%s%s", s->s3.users ? s->s3.users : s->state,
                 s->s3.users ? "" : "/users.db");
        file = path;
    }
    err = wg_users_open(file, &users);
    if (err)
        wg_fail("%s: can't be opened: %s", file, strerror(err));
    wg_settings_free(s);
    return err ? NULL : users;
}
