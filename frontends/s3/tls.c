/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The certificate of the https listener. libmicrohttpd speaks GnuTLS and asks for the certificate
 * at each handshake, so a new one is simply given to the next connection. An old one may still be
 * in a handshake's hands; it is kept until the end (some kilobytes a renewal).
 */
#include <errno.h>
#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <stdlib.h>
#include <string.h>

#include "conn.h"
#include "log.h"

#define WG_LOG_PART "s3"
#define CHAIN_MAX 16

struct pair {
    gnutls_pcert_st chain[CHAIN_MAX];
    unsigned n;
    gnutls_privkey_t key;
    struct pair *older;
};

struct s3_tls {
    char *cert_file, *key_file;
    _Atomic(struct pair *) now;
};

/* GnuTLS's callback has no argument of ours; there is one https front door in a process. */
static _Atomic(struct s3_tls *) used;

static int retrieve(gnutls_session_t session, const gnutls_datum_t *req_ca, int nreqs,
                    const gnutls_pk_algorithm_t *algos, int nalgos, gnutls_pcert_st **chain,
                    unsigned *n, gnutls_privkey_t *key)
{
    struct s3_tls *t = atomic_load(&used);
    struct pair *p = t ? atomic_load(&t->now) : NULL;

    (void)session, (void)req_ca, (void)nreqs, (void)algos, (void)nalgos;
    if (!p)
        return -1;
    *chain = p->chain;
    *n = p->n;
    *key = p->key;
    return 0;
}

void *s3_tls_callback(void)
{
    return (void *)(uintptr_t)retrieve;
}

void s3_tls_use(struct s3_tls *t)
{
    atomic_store(&used, t);
}

static void free_pair(struct pair *p)
{
    for (unsigned i = 0; i < p->n; i++)
        gnutls_pcert_deinit(&p->chain[i]);
    if (p->key)
        gnutls_privkey_deinit(p->key);
    free(p);
}

static int load_chain(const char *file, struct pair *p)
{
    gnutls_datum_t pem = { 0 };
    int err = gnutls_load_file(file, &pem);

    p->n = CHAIN_MAX;
    if (err >= 0)
        err = gnutls_pcert_list_import_x509_raw(p->chain, &p->n, &pem, GNUTLS_X509_FMT_PEM, 0);
    if (err < 0)
        p->n = 0;
    gnutls_free(pem.data);
    return err;
}

static int load_key(const char *file, struct pair *p)
{
    gnutls_datum_t pem = { 0 };
    int err = gnutls_load_file(file, &pem);

    if (err >= 0)
        err = gnutls_privkey_init(&p->key);
    if (err >= 0)
        err = gnutls_privkey_import_x509_raw(p->key, &pem, GNUTLS_X509_FMT_PEM, NULL, 0);
    if (pem.data)
        gnutls_memset(pem.data, 0, pem.size);
    gnutls_free(pem.data);
    return err;
}

/* A pair that does not belong together would fail every handshake. */
static bool belong_together(struct pair *p)
{
    gnutls_pubkey_t pub;
    unsigned char a[64], b[64];
    size_t na = sizeof a, nb = sizeof b;
    bool same;

    if (gnutls_pubkey_init(&pub) < 0)
        return false;
    same = gnutls_pubkey_import_privkey(pub, p->key, 0, 0) >= 0 &&
           gnutls_pubkey_get_key_id(pub, GNUTLS_KEYID_USE_SHA256, a, &na) >= 0 &&
           gnutls_pubkey_get_key_id(p->chain[0].pubkey, GNUTLS_KEYID_USE_SHA256, b, &nb) >= 0 &&
           na == nb && memcmp(a, b, na) == 0;
    gnutls_pubkey_deinit(pub);
    return same;
}

static struct pair *load_pair(const struct s3_tls *t)
{
    struct pair *p = calloc(1, sizeof *p);
    const char *file = t->cert_file;

    if (!p)
        return NULL;
    int err = load_chain(file, p);
    if (err >= 0)
        err = load_key(file = t->key_file, p);
    if (err < 0)
        wg_error("can't use %s for https: %s", file, gnutls_strerror(err));
    else if (!belong_together(p))
        wg_error("the certificate %s and the key %s do not belong together", t->cert_file, t->key_file);
    else
        return p;
    free_pair(p);
    return NULL;
}

int s3_tls_reload(struct s3_tls *t)
{
    struct pair *p = load_pair(t);

    if (!p)
        return EINVAL;
    p->older = atomic_load(&t->now);
    atomic_store(&t->now, p);
    return 0;
}

int s3_tls_open(const char *cert_file, const char *key_file, struct s3_tls **ret)
{
    struct s3_tls *t = calloc(1, sizeof *t);

    if (!t)
        return ENOMEM;
    t->cert_file = strdup(cert_file);
    t->key_file = strdup(key_file);
    int err = t->cert_file && t->key_file ? s3_tls_reload(t) : ENOMEM;
    if (err)
        s3_tls_close(t);
    else
        *ret = t;
    return err;
}

void s3_tls_close(struct s3_tls *t)
{
    if (!t)
        return;
    struct s3_tls *mine = t;
    atomic_compare_exchange_strong(&used, &mine, NULL);
    for (struct pair *p = atomic_load(&t->now), *older; p; p = older) {
        older = p->older;
        free_pair(p);
    }
    free(t->cert_file);
    free(t->key_file);
    free(t);
}
