/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The user database's file: JSON with encrypted secrets (users.h). Only users.c uses this.
 *
 *     {"version": 1, "users": [{"name": "ann", "uid": 1000, "gid": 1000, "groups": [100],
 *       "keys": [{"access": "AK...", "secret": "<base64 of nonce, ciphertext, tag>",
 *                 "created": "2026-11-21T08:58:29Z"}]}]}
 */
#ifndef WG_S3_USERDB_H
#define WG_S3_USERDB_H

#include <cjson/cJSON.h>
#include <stdint.h>
#include <sys/stat.h>

#include "users.h"

struct userdb_key {
    const char *access, *created;
    char *secret; /* in clear; cleansed by userdb_free */
};

struct userdb_user {
    const char *name;
    uint32_t uid, gid, ngroups;
    uint32_t *groups;
    unsigned nkeys;
    struct userdb_key *keys;
};

struct userdb_slot {
    const struct userdb_user *user;
    const struct userdb_key *key;
};

/* The file's content, checked and decrypted. Read-only once built. */
struct userdb {
    unsigned nusers, nslots;
    struct userdb_user *users;  /* in order of name */
    struct userdb_slot *slots;  /* in order of access key */
    uint64_t generation;
    struct stat seen; /* of the file when it was read; all zero: it was not there */
    cJSON *json;      /* owns the strings */
};

/* Reads path (absent: an empty database): 0, or an errno after a log line. */
int userdb_read(const char *path, struct userdb **ret);
/* Checks and decrypts json, which it takes over also on an error. */
int userdb_build(const char *path, cJSON *json, struct userdb **ret);
/* Replaces path by json, durably. 0 or errno. */
int userdb_write(const char *path, const cJSON *json);
void userdb_free(struct userdb *db);

/* Text of a secret in the file, bound to its access key; the caller frees. NULL after a log line. */
char *userdb_seal(const char *path, const char *access, const char *secret);

#endif
