/* SPDX-License-Identifier: Apache-2.0 */
#include <openssl/evp.h>
#include <pthread.h>

#include "mac.h"

static pthread_key_t thread_end;
static EVP_MAC *siphash;

static void free_context(void *ctx)
{
    EVP_MAC_CTX_free(ctx);
}

static void init(void)
{
    pthread_key_create(&thread_end, free_context);
    siphash = EVP_MAC_fetch(NULL, "SIPHASH", NULL);
}

static EVP_MAC_CTX *context(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    static __thread EVP_MAC_CTX *mine;

    if (!mine) {
        pthread_once(&once, init);
        mine = siphash ? EVP_MAC_CTX_new(siphash) : NULL;
        pthread_setspecific(thread_end, mine);
    }
    return mine;
}

bool nfs_mac(const uint8_t key[NFS_KEY], const struct wg_str *parts, unsigned n,
             uint8_t ret[NFS_MAC])
{
    EVP_MAC_CTX *ctx = context();
    size_t len = 0;

    if (!ctx || !EVP_MAC_init(ctx, key, NFS_KEY, NULL))
        return false;
    for (unsigned i = 0; i < n; i++)
        if (!EVP_MAC_update(ctx, (const unsigned char *)parts[i].s, parts[i].len))
            return false;
    return EVP_MAC_final(ctx, ret, &len, NFS_MAC) && len == NFS_MAC;
}
