/* SPDX-License-Identifier: Apache-2.0 */
/*
 * S3 users: who may sign requests, and as which uid, gid and groups their files are made. The
 * database is one JSON file, mode 0600, replaced whole (written beside, synced, renamed), with
 * secrets encrypted by AES-256-GCM under the key file beside it ("<file>.key", mode 0600, made
 * with the first user). Gateways notice a change within two seconds, and at SIGHUP.
 */
#ifndef WG_S3_USERS_H
#define WG_S3_USERS_H

#include "arena.h"

#define WG_USER_NAME_MAX 64    /* bytes: a-z A-Z 0-9 . _ - @ + = , */
#define WG_ACCESS_KEY_MAX 128  /* 3 to 128 of A-Z a-z 0-9 _ - . */
#define WG_SECRET_MAX 128      /* 8 to 128 printable characters without blanks */
#define WG_USER_KEYS_MAX 8     /* keys of one user */

struct wg_users; /* the database, as held by a process */

/* A user and one of its keys: what a lookup gives. Memory of the arena it was asked with. */
struct wg_user {
    struct wg_str name;
    uint32_t uid, gid;
    uint32_t ngroups;
    const uint32_t *groups;
    struct wg_str access_key;
    struct wg_str secret;    /* in clear; cleansed when the arena ends */
    uint64_t generation;     /* of the database: changes whenever any user does */
};

/* One user as the file has it; for listings. Secrets are not among it. */
struct wg_user_info {
    const char *name;
    uint32_t uid, gid;
    uint32_t ngroups;
    const uint32_t *groups;
    unsigned nkeys;
    const char *keys[WG_USER_KEYS_MAX];
    const char *created[WG_USER_KEYS_MAX]; /* of each key, "2026-11-21T08:58:29Z" */
};

/*
 * Opens the database at path; a file that does not exist is an empty one. 0, or an errno after
 * one log line that says what is wrong (EPERM when file or key can be read by others, EBADMSG when
 * it is malformed or does not decrypt). Any thread; for changing it no other process's hold is
 * needed (a lock file orders writers).
 */
int wg_users_open(const char *path, struct wg_users **ret);
void wg_users_close(struct wg_users *users);
/* Reads it again if it changed on disk; keeps the old content, and says so, when it can't. */
int wg_users_reload(struct wg_users *users);

/*
 * The user of an access key, copied to the arena: 0, ENOENT, ENOMEM. Takes no lock and does not
 * block; any thread.
 */
int wg_users_find(struct wg_users *users, struct wg_str access_key, struct wg_arena *arena,
                  const struct wg_user **ret);
unsigned wg_users_count(const struct wg_users *users);

/* Changes; each is on disk when it returns 0. */
struct wg_user_new {
    const char *name;
    uint32_t uid, gid;
    uint32_t ngroups;        /* <= WG_NGROUPS_MAX */
    const uint32_t *groups;
    const char *access_key;  /* NULL: made up (20 characters) */
    const char *secret;      /* NULL: made up (40 characters) */
};

/*
 * Each says what is wrong through err (one line, errlen bytes with the NUL): EEXIST (the name or
 * access key is taken), ENOENT, EINVAL (a name, key or secret that is none), E2BIG (too many keys).
 */
/* Adds a user; ret_access and ret_secret (WG_ACCESS_KEY_MAX + 1, WG_SECRET_MAX + 1) get its key. */
int wg_users_add(struct wg_users *users, const struct wg_user_new *user, char *ret_access,
                 char *ret_secret, char *err, size_t errlen);
int wg_users_remove(struct wg_users *users, const char *name, char *err, size_t errlen);
/* Key rotation: a second key (access and secret may be NULL: made up), then the old one's removal. */
int wg_users_add_key(struct wg_users *users, const char *name, const char *access,
                     const char *secret, char *ret_access, char *ret_secret, char *err, size_t errlen);
int wg_users_remove_key(struct wg_users *users, const char *name, const char *access, char *err,
                        size_t errlen);
/* Calls each(info, arg) for every user in order of name, over the content of one moment. */
void wg_users_each(struct wg_users *users, void (*each)(const struct wg_user_info *u, void *arg),
                   void *arg);

#endif
