/* SPDX-License-Identifier: Apache-2.0 */
#include "users.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "log.h"
#include "userdb.h"

#define WG_LOG_PART "s3"
#define SHARDS 64

/*
 * Readers announce themselves in a counter of (nearly) their own and then load the snapshot's
 * pointer; a writer swaps the pointer and waits until each counter has been zero once. Who counted
 * before that moment is done; who counts after it sees the new pointer.
 */
struct shard {
    _Alignas(64) atomic_uint readers;
};

struct wg_users {
    char *path;
    _Atomic(struct userdb *) db;
    struct shard shards[SHARDS];
    pthread_mutex_t writer;
    uint64_t generation;
};

/* ---- Snapshots ---- */

static struct shard *my_shard(struct wg_users *u)
{
    static atomic_uint threads;
    static _Thread_local unsigned mine;

    if (mine == 0)
        mine = 1 + atomic_fetch_add_explicit(&threads, 1, memory_order_relaxed);
    return &u->shards[mine % SHARDS];
}

static const struct userdb *enter(struct wg_users *u, struct shard **ret)
{
    *ret = my_shard(u);
    atomic_fetch_add(&(*ret)->readers, 1);
    return atomic_load(&u->db);
}

static void leave(struct shard *s)
{
    atomic_fetch_sub(&s->readers, 1);
}

/* Under u->writer. */
static void publish(struct wg_users *u, struct userdb *db)
{
    db->generation = ++u->generation;
    struct userdb *old = atomic_exchange(&u->db, db);
    for (unsigned i = 0; i < SHARDS; i++)
        while (atomic_load(&u->shards[i].readers) != 0)
            usleep(100);
    userdb_free(old);
}

int wg_users_open(const char *path, struct wg_users **ret)
{
    struct userdb *db;
    int err = userdb_read(path, &db);

    if (err)
        return err;
    struct wg_users *u = aligned_alloc(64, sizeof *u);
    if (u)
        memset(u, 0, sizeof *u);
    if (!u || !(u->path = strdup(path))) {
        free(u);
        userdb_free(db);
        return ENOMEM;
    }
    pthread_mutex_init(&u->writer, NULL);
    publish(u, db);
    *ret = u;
    return 0;
}

void wg_users_close(struct wg_users *u)
{
    if (!u)
        return;
    userdb_free(atomic_load(&u->db));
    pthread_mutex_destroy(&u->writer);
    free(u->path);
    free(u);
}

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

int wg_users_reload(struct wg_users *u)
{
    struct userdb *db = NULL;
    struct stat st = { 0 };
    int err = 0;

    pthread_mutex_lock(&u->writer);
    struct userdb *old = atomic_load(&u->db);
    if (stat(u->path, &st) < 0 && errno != ENOENT)
        err = errno;
    if (!err && !same_file(&st, &old->seen)) {
        err = userdb_read(u->path, &db);
        if (err)
            old->seen = st; /* say it once, not every second */
        else
            publish(u, db);
    }
    pthread_mutex_unlock(&u->writer);
    return err;
}

/* ---- Lookup ---- */

static int compare_key(struct wg_str key, const char *access)
{
    size_t len = strlen(access);
    int c = memcmp(key.s, access, key.len < len ? key.len : len);

    return c ? c : (key.len > len) - (key.len < len);
}

static const struct userdb_slot *find_slot(const struct userdb *db, struct wg_str key)
{
    unsigned lo = 0, hi = db->nslots;

    while (lo < hi) {
        unsigned mid = lo + (hi - lo) / 2;
        int c = compare_key(key, db->slots[mid].key->access);
        if (c == 0)
            return &db->slots[mid];
        if (c < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return NULL;
}

static void cleanse(void *arg)
{
    struct wg_user *user = arg;

    OPENSSL_cleanse((char *)(uintptr_t)user->secret.s, user->secret.len);
}

static int copy_user(const struct userdb *db, const struct userdb_slot *slot,
                     struct wg_arena *arena, const struct wg_user **ret)
{
    const struct userdb_user *from = slot->user;
    struct wg_user *user = WG_NEW(arena, struct wg_user);
    uint32_t *groups = wg_alloc(arena, (from->ngroups + 1) * sizeof *groups);

    if (!user || !groups ||
        wg_strdup(arena, wg_str_of(from->name), &user->name) != 0 ||
        wg_strdup(arena, wg_str_of(slot->key->access), &user->access_key) != 0 ||
        wg_strdup(arena, wg_str_of(slot->key->secret), &user->secret) != 0)
        return ENOMEM;
    if (from->ngroups)
        memcpy(groups, from->groups, from->ngroups * sizeof *groups);
    user->uid = from->uid;
    user->gid = from->gid;
    user->ngroups = from->ngroups;
    user->groups = groups;
    user->generation = db->generation;
    *ret = user;
    return wg_on_release(arena, cleanse, user);
}

int wg_users_find(struct wg_users *u, struct wg_str key, struct wg_arena *arena,
                  const struct wg_user **ret)
{
    struct shard *shard;
    const struct userdb *db = enter(u, &shard);
    const struct userdb_slot *slot = key.len ? find_slot(db, key) : NULL;
    int err = slot ? copy_user(db, slot, arena, ret) : ENOENT;

    leave(shard);
    return err;
}

unsigned wg_users_count(const struct wg_users *u)
{
    struct shard *shard;
    unsigned n = enter((struct wg_users *)(uintptr_t)u, &shard)->nusers;

    leave(shard);
    return n;
}

void wg_users_each(struct wg_users *u, void (*each)(const struct wg_user_info *info, void *arg),
                   void *arg)
{
    pthread_mutex_lock(&u->writer); /* keeps the snapshot; each may take its time */
    const struct userdb *db = atomic_load(&u->db);
    for (unsigned i = 0; i < db->nusers; i++) {
        const struct userdb_user *from = &db->users[i];
        struct wg_user_info info = { .name = from->name, .uid = from->uid, .gid = from->gid,
                                     .ngroups = from->ngroups, .groups = from->groups,
                                     .nkeys = from->nkeys };

        for (unsigned k = 0; k < from->nkeys; k++) {
            info.keys[k] = from->keys[k].access;
            info.created[k] = from->keys[k].created;
        }
        each(&info, arg);
    }
    pthread_mutex_unlock(&u->writer);
}

/* ---- Changes ---- */

static int say(int code, char *err, size_t errlen, const char *fmt, const char *a)
{
    if (errlen)
        snprintf(err, errlen, fmt, a);
    return code;
}

static bool all_of(const char *s, size_t min, size_t max, const char *others)
{
    size_t n = strlen(s);

    if (n < min || n > max)
        return false;
    for (; *s; s++)
        if (!(isascii((unsigned char)*s) && isalnum((unsigned char)*s)) && !strchr(others, *s))
            return false;
    return true;
}

static bool secret_ok(const char *s)
{
    size_t n = strlen(s);

    if (n < 8 || n > WG_SECRET_MAX)
        return false;
    for (; *s; s++)
        if (*s <= ' ' || *s > '~')
            return false;
    return true;
}

/* n characters out of the first `base` of the alphabet, without bias. */
static int make_up(char *to, size_t n, unsigned base)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
                                   "abcdefghijklmnopqrstuvwxyz018+9/";
    unsigned char raw[64];

    if (n > sizeof raw || RAND_bytes(raw, (int)n) != 1)
        return EIO;
    for (size_t i = 0; i < n; i++)
        to[i] = alphabet[raw[i] % base];
    to[n] = '\0';
    OPENSSL_cleanse(raw, sizeof raw);
    return 0;
}

static int choose_key(const char *access, const char *secret, char *ret_access, char *ret_secret,
                      char *err, size_t errlen)
{
    if (access && !all_of(access, 3, WG_ACCESS_KEY_MAX, "_-."))
        return say(EINVAL, err, errlen, "\"%s\" is no access key (3 to 128 of A-Z a-z 0-9 _ - .)", access);
    if (secret && !secret_ok(secret))
        return say(EINVAL, err, errlen, "the secret must have 8 to 128 printable characters%s", "");
    memcpy(ret_access, "WG", 3);
    if ((access ? snprintf(ret_access, WG_ACCESS_KEY_MAX + 1, "%s", access) < 0
                : make_up(ret_access + 2, 18, 32) != 0) ||
        (secret ? snprintf(ret_secret, WG_SECRET_MAX + 1, "%s", secret) < 0
                : make_up(ret_secret, 40, 64) != 0))
        return say(EIO, err, errlen, "no random numbers%s", "");
    return 0;
}

static cJSON *new_key(const char *path, const char *access, const char *secret)
{
    char created[32];
    time_t now = time(NULL);
    struct tm tm;
    char *sealed = userdb_seal(path, access, secret);
    cJSON *key = sealed ? cJSON_CreateObject() : NULL;

    strftime(created, sizeof created, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
    if (key && !(cJSON_AddStringToObject(key, "access", access) &&
                 cJSON_AddStringToObject(key, "secret", sealed) &&
                 cJSON_AddStringToObject(key, "created", created))) {
        cJSON_Delete(key);
        key = NULL;
    }
    free(sealed);
    return key;
}

/* What a change is made of: edit(json, arg) alters the file's JSON; 0 or an errno it has explained. */
struct edit {
    struct wg_users *users;
    const char *name;
    const struct wg_user_new *add;
    const char *access, *secret;
    char *err;
    size_t errlen;
};

typedef int editor(cJSON *users, struct edit *e);

static int lock_file(const char *path)
{
    char file[4096];

    if ((size_t)snprintf(file, sizeof file, "%s.lock", path) >= sizeof file)
        return -1;
    int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd >= 0 && flock(fd, LOCK_EX) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static int edit_locked(struct edit *e, editor *edit)
{
    struct wg_users *u = e->users;
    struct userdb *now, *next;
    int err = userdb_read(u->path, &now);

    if (err)
        return say(err, e->err, e->errlen, "can't read %s", u->path);
    cJSON *json = cJSON_Duplicate(now->json, 1);
    userdb_free(now);
    if (!json)
        return say(ENOMEM, e->err, e->errlen, "out of memory%s", "");
    err = edit(cJSON_GetObjectItem(json, "users"), e);
    if (err) {
        cJSON_Delete(json);
        return err;
    }
    err = userdb_build(u->path, json, &next); /* a mistake of ours must not reach the disk */
    if (err)
        return say(err, e->err, e->errlen,
                   err == EEXIST ? "the name or the access key is taken%s" : "can't use the change%s", "");
    err = userdb_write(u->path, next->json);
    if (err) {
        userdb_free(next);
        return say(err, e->err, e->errlen, "can't write %s", u->path);
    }
    if (stat(u->path, &next->seen) < 0)
        memset(&next->seen, 0, sizeof next->seen);
    publish(u, next);
    return 0;
}

static int change(struct edit *e, editor *edit)
{
    pthread_mutex_lock(&e->users->writer);
    int lock = lock_file(e->users->path);
    int err = lock < 0 ? say(errno ? errno : EIO, e->err, e->errlen, "can't lock %s.lock", e->users->path)
                       : edit_locked(e, edit);
    if (lock >= 0)
        close(lock);
    pthread_mutex_unlock(&e->users->writer);
    return err;
}

static int find_user(const cJSON *users, struct edit *e, cJSON **ret, int *ret_index)
{
    cJSON *u;
    int i = 0;

    cJSON_ArrayForEach(u, users) {
        const char *name = cJSON_GetStringValue(cJSON_GetObjectItem(u, "name"));
        if (name && strcmp(name, e->name) == 0) {
            *ret = u;
            *ret_index = i;
            return 0;
        }
        i++;
    }
    return say(ENOENT, e->err, e->errlen, "there is no user \"%s\"", e->name);
}

static int edit_add(cJSON *users, struct edit *e)
{
    cJSON *u = cJSON_CreateObject(), *groups, *keys, *key;
    bool ok = u && cJSON_AddItemToArray(users, u);

    ok = ok && cJSON_AddStringToObject(u, "name", e->name) &&
         cJSON_AddNumberToObject(u, "uid", e->add->uid) &&
         cJSON_AddNumberToObject(u, "gid", e->add->gid) &&
         (groups = cJSON_AddArrayToObject(u, "groups"));
    for (uint32_t i = 0; ok && i < e->add->ngroups; i++)
        ok = cJSON_AddItemToArray(groups, cJSON_CreateNumber(e->add->groups[i]));
    ok = ok && (keys = cJSON_AddArrayToObject(u, "keys")) &&
         (key = new_key(e->users->path, e->access, e->secret)) && cJSON_AddItemToArray(keys, key);
    return ok ? 0 : say(EIO, e->err, e->errlen, "can't make the user \"%s\"", e->name);
}

static int edit_remove(cJSON *users, struct edit *e)
{
    cJSON *u;
    int index, err = find_user(users, e, &u, &index);

    if (!err)
        cJSON_DeleteItemFromArray(users, index);
    return err;
}

static int edit_add_key(cJSON *users, struct edit *e)
{
    cJSON *u, *keys, *key;
    int index, err = find_user(users, e, &u, &index);

    if (err)
        return err;
    keys = cJSON_GetObjectItem(u, "keys");
    if (cJSON_GetArraySize(keys) >= WG_USER_KEYS_MAX)
        return say(E2BIG, e->err, e->errlen, "the user \"%s\" has 8 keys already", e->name);
    key = new_key(e->users->path, e->access, e->secret);
    return key && cJSON_AddItemToArray(keys, key)
               ? 0 : say(EIO, e->err, e->errlen, "can't make a key for \"%s\"", e->name);
}

static int edit_remove_key(cJSON *users, struct edit *e)
{
    cJSON *u, *k;
    int index, i = 0, err = find_user(users, e, &u, &index);

    if (err)
        return err;
    cJSON *keys = cJSON_GetObjectItem(u, "keys");
    cJSON_ArrayForEach(k, keys) {
        const char *access = cJSON_GetStringValue(cJSON_GetObjectItem(k, "access"));
        if (access && strcmp(access, e->access) == 0) {
            cJSON_DeleteItemFromArray(keys, i);
            return 0;
        }
        i++;
    }
    return say(ENOENT, e->err, e->errlen, "the user has no access key \"%s\"", e->access);
}

int wg_users_add(struct wg_users *u, const struct wg_user_new *user, char *ret_access,
                 char *ret_secret, char *err, size_t errlen)
{
    struct edit e = { .users = u, .name = user->name, .add = user, .access = ret_access,
                      .secret = ret_secret, .err = err, .errlen = errlen };

    if (!all_of(user->name, 1, WG_USER_NAME_MAX, "._-@+=,"))
        return say(EINVAL, err, errlen, "\"%s\" is no user name (1 to 64 of a-z A-Z 0-9 . _ - @ + = ,)",
                   user->name);
    if (user->ngroups > WG_NGROUPS_MAX || user->uid == UINT32_MAX || user->gid == UINT32_MAX)
        return say(EINVAL, err, errlen, "too many groups, or an id out of range, for \"%s\"", user->name);
    int code = choose_key(user->access_key, user->secret, ret_access, ret_secret, err, errlen);
    return code ? code : change(&e, edit_add);
}

int wg_users_remove(struct wg_users *u, const char *name, char *err, size_t errlen)
{
    struct edit e = { .users = u, .name = name, .err = err, .errlen = errlen };

    return change(&e, edit_remove);
}

int wg_users_add_key(struct wg_users *u, const char *name, const char *access, const char *secret,
                     char *ret_access, char *ret_secret, char *err, size_t errlen)
{
    struct edit e = { .users = u, .name = name, .access = ret_access, .secret = ret_secret,
                      .err = err, .errlen = errlen };
    int code = choose_key(access, secret, ret_access, ret_secret, err, errlen);

    return code ? code : change(&e, edit_add_key);
}

int wg_users_remove_key(struct wg_users *u, const char *name, const char *access, char *err,
                        size_t errlen)
{
    struct edit e = { .users = u, .name = name, .access = access, .err = err, .errlen = errlen };

    return change(&e, edit_remove_key);
}
