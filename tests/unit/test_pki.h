/* SPDX-License-Identifier: Apache-2.0 */
/* For tests: a CA and certificates in a folder of their own. */
#ifndef TEST_PKI_H
#define TEST_PKI_H

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct pki {
    char dir[64];
    X509 *ca;
    EVP_PKEY *ca_key;
    long serial;
};

static inline void pki_write(const struct pki *p, const char *name, const char *suffix, X509 *cert,
                             EVP_PKEY *key)
{
    char path[160];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s.%s", p->dir, name, suffix);
    f = fopen(path, "w");
    if (!f || !(cert ? PEM_write_X509(f, cert) : PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL)))
        abort();
    fclose(f);
}

/* Makes name.crt and name.key, signed by the CA (by itself when there is none yet). */
static inline void pki_issue(struct pki *p, const char *name)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *c = X509_new();
    X509_NAME *subject = X509_get_subject_name(c);
    char san[128];
    X509V3_CTX ctx;
    X509_EXTENSION *ext;

    X509_set_version(c, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(c), ++p->serial);
    X509_gmtime_adj(X509_getm_notBefore(c), -3600);
    X509_gmtime_adj(X509_getm_notAfter(c), 86400);
    X509_set_pubkey(c, key);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(c, p->ca ? X509_get_subject_name(p->ca) : subject);
    X509V3_set_ctx(&ctx, p->ca ? p->ca : c, c, NULL, NULL, 0);
    snprintf(san, sizeof san, "DNS:%s", name);
    ext = p->ca ? X509V3_EXT_conf_nid(NULL, &ctx, NID_subject_alt_name, san)
                : X509V3_EXT_conf_nid(NULL, &ctx, NID_basic_constraints, "critical,CA:TRUE");
    X509_add_ext(c, ext, -1);
    X509_EXTENSION_free(ext);
    if (!X509_sign(c, p->ca ? p->ca_key : key, EVP_sha256()))
        abort();
    pki_write(p, name, "crt", c, NULL);
    pki_write(p, name, "key", NULL, key);
    if (p->ca) {
        X509_free(c);
        EVP_PKEY_free(key);
    } else {
        p->ca = c;
        p->ca_key = key;
    }
}

static inline void pki_start(struct pki *p)
{
    *p = (struct pki){ .dir = "/tmp/wg-test-XXXXXX" };
    if (!mkdtemp(p->dir))
        abort();
    pki_issue(p, "ca");
}

static inline void pki_end(struct pki *p)
{
    char command[128];

    X509_free(p->ca);
    EVP_PKEY_free(p->ca_key);
    snprintf(command, sizeof command, "rm -rf %s", p->dir);
    if (system(command))
        perror(command);
}

#endif
