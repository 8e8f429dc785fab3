/* SPDX-License-Identifier: Apache-2.0 */
#include "module.h"

#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define WG_LOG_PART "module"
#include "log.h"

#define DIRECTORIES_MAX 16

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* one module at a time; outside of the registry's */
static char *directories[DIRECTORIES_MAX];
static int ndirectories;
static bool forbidden;

int wg_module_path_add(const char *directory)
{
    int err = 0;

    pthread_mutex_lock(&lock);
    if (forbidden)
        goto out;
    for (int i = 0; i < ndirectories; i++)
        if (strcmp(directories[i], directory) == 0)
            goto out;
    if (ndirectories < DIRECTORIES_MAX)
        directories[ndirectories] = strdup(directory);
    if (ndirectories < DIRECTORIES_MAX && directories[ndirectories])
        ndirectories++;
    else
        err = ENOMEM;
out:
    pthread_mutex_unlock(&lock);
    return err;
}

void wg_module_forbid(void)
{
    pthread_mutex_lock(&lock);
    forbidden = true;
    pthread_mutex_unlock(&lock);
}

/* "category/name": no dots, so a type never leaves the directory. */
static bool is_type(const char *type)
{
    static const char bytes[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    size_t category = strspn(type, bytes), name;

    if (category == 0 || type[category] != '/')
        return false;
    name = strspn(type + category + 1, bytes);
    return name > 0 && type[category + 1 + name] == '\0' && category + name < 100;
}

static bool is_there(const char *directory, size_t len, const char *type, char *path, size_t size)
{
    return len > 0 && snprintf(path, size, "%.*s/%s.so", (int)len, directory, type) < (int)size &&
           access(path, F_OK) == 0;
}

/* The file of a type: the first there is. */
static bool find(const char *type, char *path, size_t size)
{
    const char *env = secure_getenv("WG_MODULE_PATH");

    for (int i = 0; i < ndirectories; i++)
        if (is_there(directories[i], strlen(directories[i]), type, path, size))
            return true;
    while (env && *env) {
        size_t len = strcspn(env, ":");

        if (is_there(env, len, type, path, size))
            return true;
        env += len + (env[len] == ':');
    }
    return is_there(WG_LIBDIR "/xlators", strlen(WG_LIBDIR "/xlators"), type, path, size);
}

/* What is wrong with a module, or NULL. abi is read first: the rest of another version may lie elsewhere. */
static const char *unfit(const struct wg_module *m, const char *type, const char *path, char *why, size_t size)
{
    static const uint32_t layout[] = WG_MODULE_LAYOUT;

    if (!m)
        snprintf(why, size, "%s is no translator: it has no symbol wg_module", path);
    else if (m->abi != WG_MODULE_ABI)
        snprintf(why, size, "%s was built for version %u of the translator interface, this program has %u: "
                 "build it again", path, m->abi, WG_MODULE_ABI);
    else if (memcmp(m->layout, layout, sizeof layout) != 0)
        snprintf(why, size, "%s was built against headers of another windgate: build it again", path);
    else if (strcmp(m->class->type, type) != 0)
        snprintf(why, size, "%s holds the translator %s, not %s", path, m->class->type, type);
    else
        return NULL;
    return why;
}

static const struct wg_class *load(const char *type, const char *path, char *why, size_t size)
{
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    const struct wg_module *m;
    int err;

    if (!handle) {
        const char *text = dlerror();

        /* The loader's text begins with the path, mostly. */
        snprintf(why, size, "%s%s%s", text && strstr(text, path) ? "" : path, text && strstr(text, path) ? "" : ": ",
                 text ? text : "can't be loaded");
        return NULL;
    }
    m = dlsym(handle, "wg_module");
    if (unfit(m, type, path, why, size)) {
        dlclose(handle);
        return NULL;
    }
    err = wg_class_add(m->class);
    if (err) {
        snprintf(why, size, "%s can't be added: %s", path, wg_error_name(err));
        dlclose(handle);
        return NULL;
    }
    wg_debug("%s is from %s", type, path);
    return m->class; /* the handle stays open: graphs point into it */
}

const struct wg_class *wg_module_load(const char *type, char *why, size_t size)
{
    const struct wg_class *class;
    char path[PATH_MAX];

    why[0] = '\0';
    if (!is_type(type))
        return NULL;
    pthread_mutex_lock(&lock);
    class = wg_class_find(type); /* another thread may have been here */
    if (!class && !forbidden && find(type, path, sizeof path))
        class = load(type, path, why, size);
    pthread_mutex_unlock(&lock);
    return class;
}
