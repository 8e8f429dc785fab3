/* SPDX-License-Identifier: Apache-2.0 */
#include "userdb.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"

#define WG_LOG_PART "s3"
#define NONCE 12u
#define TAG 16u
#define FILE_MAX (64 << 20)
#define SEALED_MAX (NONCE + WG_SECRET_MAX + TAG)

struct master {
    unsigned char key[32];
};

/* ---- The master key ---- */

static int key_path(const char *path, char *buf, size_t size)
{
    return (size_t)snprintf(buf, size, "%s.key", path) < size ? 0 : ENAMETOOLONG;
}

static int make_master(const char *file, struct master *ret)
{
    if (RAND_bytes(ret->key, sizeof ret->key) != 1)
        return EIO;
    int fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return errno;
    int err = write(fd, ret->key, sizeof ret->key) == (ssize_t)sizeof ret->key && fsync(fd) == 0
                  ? 0 : EIO;
    if (close(fd) < 0 && !err)
        err = EIO;
    if (err)
        unlink(file);
    return err;
}

/* A file of secrets that others may read is an error of its owner, best found at once. */
static int check_private(int fd, const char *file, struct stat *st)
{
    if (fstat(fd, st) < 0)
        return errno;
    if (!S_ISREG(st->st_mode))
        return EINVAL;
    if (st->st_mode & 077) {
        wg_error("%s can be read by others (mode %o); it must be 0600", file, st->st_mode & 07777);
        return EPERM;
    }
    return 0;
}

static int load_master(const char *path, bool make, struct master *ret)
{
    char file[4096];
    int err = key_path(path, file, sizeof file);
    if (err)
        return err;
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT && make)
        return make_master(file, ret);
    if (fd < 0) {
        err = errno;
        wg_error("can't open the key of the user database, %s: %s", file, strerror(err));
        return err;
    }
    struct stat st;
    err = check_private(fd, file, &st);
    if (!err && read(fd, ret->key, sizeof ret->key) != (ssize_t)sizeof ret->key) {
        wg_error("%s is too short to be a key", file);
        err = EBADMSG;
    }
    close(fd);
    return err;
}

/* ---- Sealing secrets: AES-256-GCM, the access key as associated data ---- */

static int gcm(bool seal, const struct master *m, const unsigned char *nonce, const char *access,
               const unsigned char *in, int len, unsigned char *out, unsigned char *tag)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int n = 0, ok = ctx != NULL;

    ok = ok && EVP_CipherInit_ex(ctx, EVP_aes_256_gcm(), NULL, m->key, nonce, seal) == 1;
    ok = ok && EVP_CipherUpdate(ctx, NULL, &n, (const unsigned char *)access, (int)strlen(access)) == 1;
    ok = ok && EVP_CipherUpdate(ctx, out, &n, in, len) == 1 && n == len;
    if (!seal)
        ok = ok && EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_SET_TAG, TAG, tag) == 1;
    ok = ok && EVP_CipherFinal_ex(ctx, out + len, &n) == 1;
    if (seal)
        ok = ok && EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, TAG, tag) == 1;
    EVP_CIPHER_CTX_free(ctx);
    return ok ? 0 : EBADMSG;
}

char *userdb_seal(const char *path, const char *access, const char *secret)
{
    struct master m;
    unsigned char box[SEALED_MAX];
    size_t len = strlen(secret);
    char *text = NULL;

    if (len > WG_SECRET_MAX || load_master(path, true, &m) != 0)
        return NULL;
    if (RAND_bytes(box, NONCE) == 1 &&
        gcm(true, &m, box, access, (const unsigned char *)secret, (int)len, box + NONCE,
            box + NONCE + len) == 0 &&
        (text = malloc(4 * (SEALED_MAX / 3 + 1) + 1)))
        EVP_EncodeBlock((unsigned char *)text, box, (int)(NONCE + len + TAG));
    OPENSSL_cleanse(&m, sizeof m);
    return text;
}

static char *unseal(const struct master *m, const char *access, const char *text)
{
    unsigned char box[SEALED_MAX + 4];
    size_t n = strlen(text), pad = 0;

    if (n % 4 || n < 4 || n / 4 * 3 > sizeof box)
        return NULL;
    while (pad < 2 && text[n - 1 - pad] == '=')
        pad++;
    int len = EVP_DecodeBlock(box, (const unsigned char *)text, (int)n);
    if (len < (int)(NONCE + TAG + pad))
        return NULL;
    size_t clear = (size_t)len - pad - NONCE - TAG;
    char *secret = calloc(1, clear + 1);
    if (secret && gcm(false, m, box, access, box + NONCE, (int)clear, (unsigned char *)secret,
                      box + NONCE + clear) != 0) {
        free(secret);
        return NULL;
    }
    return secret;
}

/* ---- JSON to users ---- */

static bool get_id(const cJSON *json, uint32_t *ret)
{
    if (!cJSON_IsNumber(json) || json->valuedouble < 0 || json->valuedouble >= 4294967295.0 ||
        json->valuedouble != (double)(uint32_t)json->valuedouble)
        return false;
    *ret = (uint32_t)json->valuedouble;
    return true;
}

static int build_groups(const cJSON *list, struct userdb_user *u)
{
    int n = cJSON_GetArraySize(list);
    const cJSON *g;

    if (list && (!cJSON_IsArray(list) || n > WG_NGROUPS_MAX))
        return EBADMSG;
    if (n == 0)
        return 0;
    u->groups = calloc((size_t)n, sizeof *u->groups);
    if (!u->groups)
        return ENOMEM;
    cJSON_ArrayForEach(g, list)
        if (!get_id(g, &u->groups[u->ngroups++]))
            return EBADMSG;
    return 0;
}

static int build_keys(const struct master *m, const cJSON *list, struct userdb_user *u)
{
    int n = cJSON_GetArraySize(list);
    const cJSON *k;

    if (!cJSON_IsArray(list) || n > WG_USER_KEYS_MAX)
        return EBADMSG;
    u->keys = calloc((size_t)n + 1, sizeof *u->keys);
    if (!u->keys)
        return ENOMEM;
    cJSON_ArrayForEach(k, list) {
        struct userdb_key *key = &u->keys[u->nkeys++];
        const char *sealed = cJSON_GetStringValue(cJSON_GetObjectItem(k, "secret"));

        key->access = cJSON_GetStringValue(cJSON_GetObjectItem(k, "access"));
        key->created = cJSON_GetStringValue(cJSON_GetObjectItem(k, "created"));
        if (!key->access || !sealed)
            return EBADMSG;
        key->secret = unseal(m, key->access, sealed);
        if (!key->secret) {
            wg_error("the secret of access key %s does not decrypt with this key file", key->access);
            return EBADMSG;
        }
    }
    return 0;
}

static int build_user(const struct master *m, const cJSON *json, struct userdb_user *u)
{
    u->name = cJSON_GetStringValue(cJSON_GetObjectItem(json, "name"));
    if (!u->name || !get_id(cJSON_GetObjectItem(json, "uid"), &u->uid) ||
        !get_id(cJSON_GetObjectItem(json, "gid"), &u->gid))
        return EBADMSG;
    int err = build_groups(cJSON_GetObjectItem(json, "groups"), u);
    return err ? err : build_keys(m, cJSON_GetObjectItem(json, "keys"), u);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct userdb_user *)a)->name, ((const struct userdb_user *)b)->name);
}

static int by_access(const void *a, const void *b)
{
    return strcmp(((const struct userdb_slot *)a)->key->access,
                  ((const struct userdb_slot *)b)->key->access);
}

/* Two users of one name, or one access key twice, would make "who signed this?" a matter of luck. */
static int index_users(struct userdb *db)
{
    size_t n = 0;

    qsort(db->users, db->nusers, sizeof *db->users, by_name);
    for (unsigned i = 0; i < db->nusers; i++) {
        if (i && by_name(&db->users[i - 1], &db->users[i]) == 0)
            return EEXIST;
        n += db->users[i].nkeys;
    }
    db->slots = calloc(n + 1, sizeof *db->slots);
    if (!db->slots)
        return ENOMEM;
    for (unsigned i = 0; i < db->nusers; i++)
        for (unsigned k = 0; k < db->users[i].nkeys; k++)
            db->slots[db->nslots++] = (struct userdb_slot){ &db->users[i], &db->users[i].keys[k] };
    qsort(db->slots, db->nslots, sizeof *db->slots, by_access);
    for (unsigned i = 1; i < db->nslots; i++)
        if (by_access(&db->slots[i - 1], &db->slots[i]) == 0)
            return EEXIST;
    return 0;
}

static int build_users(const char *path, struct userdb *db)
{
    const cJSON *list = cJSON_GetObjectItem(db->json, "users"), *u;
    const cJSON *version = cJSON_GetObjectItem(db->json, "version");
    int n = cJSON_GetArraySize(list), err = 0;
    struct master m;

    if (!cJSON_IsNumber(version) || version->valueint != 1 || !cJSON_IsArray(list))
        return EBADMSG;
    db->users = calloc((size_t)n + 1, sizeof *db->users);
    if (!db->users)
        return ENOMEM;
    if (n > 0 && (err = load_master(path, false, &m)) != 0)
        return err;
    cJSON_ArrayForEach(u, list) {
        err = build_user(&m, u, &db->users[db->nusers++]);
        if (err)
            break;
    }
    OPENSSL_cleanse(&m, sizeof m);
    return err ? err : index_users(db);
}

int userdb_build(const char *path, cJSON *json, struct userdb **ret)
{
    struct userdb *db = calloc(1, sizeof *db);

    if (!db) {
        cJSON_Delete(json);
        return ENOMEM;
    }
    db->json = json;
    int err = build_users(path, db);
    if (err) {
        userdb_free(db);
        return err;
    }
    *ret = db;
    return 0;
}

void userdb_free(struct userdb *db)
{
    if (!db)
        return;
    for (unsigned i = 0; db->users && i < db->nusers; i++) {
        struct userdb_user *u = &db->users[i];

        for (unsigned k = 0; u->keys && k < u->nkeys; k++)
            if (u->keys[k].secret)
                OPENSSL_clear_free(u->keys[k].secret, strlen(u->keys[k].secret));
        free(u->keys);
        free(u->groups);
    }
    free(db->users);
    free(db->slots);
    cJSON_Delete(db->json);
    free(db);
}

/* ---- The file ---- */

static int read_all(const char *path, char **ret_text, struct stat *st)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    int err = check_private(fd, path, st);
    if (!err && st->st_size > FILE_MAX)
        err = EFBIG;
    char *text = err ? NULL : calloc(1, (size_t)st->st_size + 1);
    if (!err && !text)
        err = ENOMEM;
    if (!err && read(fd, text, (size_t)st->st_size) != st->st_size)
        err = EIO;
    close(fd);
    if (err)
        free(text);
    else
        *ret_text = text;
    return err;
}

int userdb_read(const char *path, struct userdb **ret)
{
    struct stat st = { 0 };
    char *text = NULL;
    cJSON *json = NULL;
    int err = read_all(path, &text, &st);

    if (err == ENOENT) {
        err = 0;
        memset(&st, 0, sizeof st);
        json = cJSON_Parse("{\"version\": 1, \"users\": []}");
    } else if (!err) {
        json = cJSON_Parse(text);
        free(text);
        if (!json)
            err = EBADMSG;
    }
    if (!err)
        err = json ? userdb_build(path, json, ret) : ENOMEM;
    if (err)
        wg_error("can't use the user database %s: %s", path, strerror(err));
    else
        (*ret)->seen = st;
    return err;
}

static int sync_parent(const char *path)
{
    char dir[4096];
    const char *slash = strrchr(path, '/');

    if (!slash)
        snprintf(dir, sizeof dir, ".");
    else
        snprintf(dir, sizeof dir, "%.*s", slash == path ? 1 : (int)(slash - path), path);
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    int err = fsync(fd) < 0 ? errno : 0;
    close(fd);
    return err;
}

static int write_all(int fd, const char *text)
{
    size_t len = strlen(text);

    while (len > 0) {
        ssize_t n = write(fd, text, len);
        if (n < 0 && errno != EINTR)
            return errno;
        if (n > 0) {
            text += n;
            len -= (size_t)n;
        }
    }
    return fsync(fd) < 0 ? errno : 0;
}

int userdb_write(const char *path, const cJSON *json)
{
    char temp[4096];

    if ((size_t)snprintf(temp, sizeof temp, "%s.XXXXXX", path) >= sizeof temp)
        return ENAMETOOLONG;
    char *text = cJSON_Print(json);
    if (!text)
        return ENOMEM;
    int fd = mkostemp(temp, O_CLOEXEC); /* mode 0600 */
    if (fd < 0) {
        int err = errno;
        cJSON_free(text);
        return err;
    }
    int err = write_all(fd, text);
    cJSON_free(text);
    if (close(fd) < 0 && !err)
        err = errno;
    if (!err && rename(temp, path) < 0)
        err = errno;
    if (err)
        unlink(temp);
    return err ? err : sync_parent(path);
}
