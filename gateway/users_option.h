/* SPDX-License-Identifier: Apache-2.0 */
/* What the commands on users and keys share: finding and opening the file of users. */
#ifndef WG_USERS_OPTION_H
#define WG_USERS_OPTION_H

#include "command.h"
#include "frontends/s3/users.h"

#define WG_USERS_OPTIONS                                                                         \
    { "users", "FILE", NULL, "The file of users; without it, the one that --config names." },  \
    WG_CONFIG_OPTION

/* The users of --users or --config; NULL after a message. Close with wg_users_close. */
struct wg_users *wg_users_of_args(const struct wg_args *a);

#endif
