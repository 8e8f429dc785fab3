/* SPDX-License-Identifier: Apache-2.0 */
#include "certs.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct errout {
    char *buf;
    size_t size;
};

__attribute__((format(printf, 3, 4)))
static int fail(struct errout e, int err, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    if (e.buf && e.size)
        vsnprintf(e.buf, e.size, fmt, ap);
    va_end(ap);
    ERR_clear_error();
    return err;
}

static char *path_of(const char *dir, const char *name, const char *suffix)
{
    char *p;

    return asprintf(&p, "%s/%s%s", dir, name, suffix) < 0 ? NULL : p;
}

/* ---- files ---- */

static int write_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t k = write(fd, p, n);

        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return k < 0 ? errno : EIO;
        p += k;
        n -= (size_t)k;
    }
    return 0;
}

static void sync_dir(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return;
    (void)fsync(fd); /* the file is whole either way */
    close(fd);
}

/* Written beside, synced, then linked (which refuses an existing name) or renamed over. */
static int write_file(const char *dir, const char *path, BIO *from, mode_t mode, bool overwrite)
{
    char *data, *tmp;
    long n = BIO_get_mem_data(from, &data);
    int fd, err;

    if (asprintf(&tmp, "%s.XXXXXX", path) < 0)
        return ENOMEM;
    fd = mkostemp(tmp, O_CLOEXEC);
    if (fd < 0) {
        err = errno;
        free(tmp);
        return err;
    }
    err = write_all(fd, data, (size_t)n);
    if (!err && (fchmod(fd, mode) || fsync(fd)))
        err = errno;
    if (close(fd) && !err)
        err = errno;
    if (!err && (overwrite ? rename(tmp, path) : link(tmp, path)))
        err = errno;
    if (err || !overwrite)
        unlink(tmp);
    if (!err)
        sync_dir(dir);
    free(tmp);
    return err;
}

static X509 *read_cert(const char *path, struct errout e, int *err)
{
    FILE *f = fopen(path, "re");
    X509 *x;

    if (!f) {
        *err = fail(e, errno, "%s: %s", path, strerror(errno));
        return NULL;
    }
    x = PEM_read_X509(f, NULL, NULL, NULL);
    fclose(f);
    *err = x ? 0 : fail(e, EINVAL, "%s: no certificate in PEM form", path);
    return x;
}

static int no_passphrase(char *buf, int size, int rw, void *arg)
{
    (void)buf, (void)size, (void)rw, (void)arg;
    return 0;
}

static EVP_PKEY *read_key(const char *path, struct errout e, int *err)
{
    FILE *f = fopen(path, "re");
    EVP_PKEY *k;

    if (!f) {
        *err = fail(e, errno, "%s: %s", path, strerror(errno));
        return NULL;
    }
    k = PEM_read_PrivateKey(f, NULL, no_passphrase, NULL);
    fclose(f);
    *err = k ? 0 : fail(e, EINVAL, "%s: no private key in PEM form", path);
    return k;
}

/* Key first: a certificate without its key would look finished. On an error neither is new. */
static int write_pair(const char *dir, const char *name, X509 *x, EVP_PKEY *key, bool overwrite, struct errout e)
{
    char *cert_path = path_of(dir, name, ".pem"), *key_path = path_of(dir, name, ".key");
    BIO *c = BIO_new(BIO_s_mem()), *k = BIO_new(BIO_s_secmem());
    int err = ENOMEM;

    if (cert_path && key_path && c && k && PEM_write_bio_X509(c, x) &&
        PEM_write_bio_PKCS8PrivateKey(k, key, NULL, NULL, 0, NULL, NULL)) {
        err = !overwrite && access(cert_path, F_OK) == 0 ? EEXIST : 0;
        if (!err)
            err = write_file(dir, key_path, k, 0600, overwrite);
        if (!err) {
            err = write_file(dir, cert_path, c, 0644, overwrite);
            if (err && !overwrite)
                unlink(key_path);
        }
    }
    if (err)
        fail(e, err, "%s/%s.pem and .key: %s", dir, name, strerror(err));
    BIO_free(c);
    BIO_free(k);
    free(cert_path);
    free(key_path);
    return err;
}

/* ---- certificates ---- */

static bool add_ext(X509 *x, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509_EXTENSION *ext;
    bool ok;

    X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
    ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    ok = ext && X509_add_ext(x, ext, -1);
    X509_EXTENSION_free(ext);
    return ok;
}

static bool random_serial(X509 *x)
{
    BIGNUM *n = BN_new();
    bool ok = n && BN_rand(n, 127, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) &&
              BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x));

    BN_free(n);
    return ok;
}

/* A day's grace for clocks that are behind. */
static bool set_validity(X509 *x, int days)
{
    long from = days < 0 ? (long)days - 1 : -1;

    return X509_time_adj_ex(X509_getm_notBefore(x), (int)from, 0, NULL) &&
           X509_time_adj_ex(X509_getm_notAfter(x), days, 0, NULL);
}

/* Everything but issuer, extensions and signature. */
static X509 *cert_begin(const char *cn, int days, EVP_PKEY *key)
{
    X509 *x = X509_new();
    X509_NAME *name = x ? X509_get_subject_name(x) : NULL;

    if (x && X509_set_version(x, X509_VERSION_3) && random_serial(x) && set_validity(x, days) &&
        X509_set_pubkey(x, key) &&
        X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8, (const unsigned char *)cn, -1, -1, 0))
        return x;
    X509_free(x);
    return NULL;
}

static X509 *sign_ca(const char *cn, int days, EVP_PKEY *key)
{
    X509 *x = cert_begin(cn, days, key);

    if (x && X509_set_issuer_name(x, X509_get_subject_name(x)) &&
        add_ext(x, x, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
        add_ext(x, x, NID_key_usage, "critical,keyCertSign,cRLSign") &&
        add_ext(x, x, NID_subject_key_identifier, "hash") && X509_sign(x, key, EVP_sha256()))
        return x;
    X509_free(x);
    return NULL;
}

static X509 *sign_node(const char *cn, int days, EVP_PKEY *key, const char *san, X509 *ca, EVP_PKEY *ca_key)
{
    X509 *x = cert_begin(cn, days, key);

    if (x && X509_set_issuer_name(x, X509_get_subject_name(ca)) &&
        add_ext(x, ca, NID_basic_constraints, "critical,CA:FALSE") &&
        add_ext(x, ca, NID_key_usage, "critical,digitalSignature") &&
        add_ext(x, ca, NID_ext_key_usage, "serverAuth,clientAuth") &&
        add_ext(x, ca, NID_subject_key_identifier, "hash") &&
        add_ext(x, ca, NID_authority_key_identifier, "keyid") && add_ext(x, ca, NID_subject_alt_name, san) &&
        X509_sign(x, ca_key, EVP_sha256()))
        return x;
    X509_free(x);
    return NULL;
}

static bool name_valid(const char *name)
{
    size_t n = strlen(name);

    if (n == 0 || n > 64 || name[0] == '.' || name[0] == '-' || strcmp(name, "ca") == 0)
        return false;
    for (; *name; name++)
        if (!isalnum((unsigned char)*name) && !strchr("._-", *name))
            return false;
    return true;
}

static bool is_ip(const char *s)
{
    unsigned char a[16];

    return inet_pton(AF_INET, s, a) == 1 || inet_pton(AF_INET6, s, a) == 1;
}

/* The characters of host names and wildcards: nothing that OpenSSL's list syntax would take for its own. */
static bool dns_valid(const char *s)
{
    size_t n = strlen(s);

    return n > 0 && n <= 253 && strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_*") == n;
}

/* "DNS:name,DNS:host,IP:10.0.0.1"; *bad is set to a SAN that is none. */
static char *san_list(const char *name, const char *const *sans, unsigned n, const char **bad)
{
    char *list, *more;

    *bad = NULL;
    if (asprintf(&list, "DNS:%s", name) < 0)
        return NULL;
    for (unsigned i = 0; i < n; i++) {
        const char *s = sans[i];
        bool ip = strncasecmp(s, "IP:", 3) == 0;

        s += ip ? 3 : strncasecmp(s, "DNS:", 4) == 0 ? 4 : 0;
        if (ip ? !is_ip(s) : !is_ip(s) && !dns_valid(s)) {
            *bad = sans[i];
            free(list);
            return NULL;
        }
        if (strcmp(s, name) == 0)
            continue;
        if (asprintf(&more, "%s,%s:%s", list, is_ip(s) ? "IP" : "DNS", s) < 0) {
            free(list);
            return NULL;
        }
        free(list);
        list = more;
    }
    return list;
}

static struct wg_certs_opts opts_or_default(const struct wg_certs_opts *o, int days)
{
    struct wg_certs_opts r = o ? *o : (struct wg_certs_opts){ 0 };

    if (r.days == 0)
        r.days = days;
    return r;
}

int wg_certs_make_ca(const char *dir, const char *cn, const struct wg_certs_opts *opts, char *errbuf,
                     size_t errsize)
{
    struct wg_certs_opts o = opts_or_default(opts, 3650);
    struct errout e = { errbuf, errsize };
    EVP_PKEY *key;
    X509 *x;
    int err;

    if (mkdir(dir, 0700) && errno != EEXIST)
        return fail(e, errno, "%s: %s", dir, strerror(errno));
    key = EVP_EC_gen("P-256");
    x = key ? sign_ca(cn ? cn : "Windgate CA", o.days, key) : NULL;
    err = x ? write_pair(dir, "ca", x, key, o.overwrite, e) : fail(e, ENOMEM, "can't make a CA certificate");
    X509_free(x);
    EVP_PKEY_free(key);
    return err;
}

/* dir's CA: certificate and key. */
static int ca_load(const char *dir, X509 **ca, EVP_PKEY **key, struct errout e)
{
    char *cert_path = path_of(dir, "ca", ".pem"), *key_path = path_of(dir, "ca", ".key");
    int err = ENOMEM;

    *ca = NULL;
    *key = NULL;
    if (cert_path && key_path) {
        *ca = read_cert(cert_path, e, &err);
        if (!err)
            *key = read_key(key_path, e, &err);
        if (!err && X509_check_private_key(*ca, *key) != 1)
            err = fail(e, EINVAL, "%s is not the key of %s", key_path, cert_path);
    }
    if (err) {
        X509_free(*ca);
        EVP_PKEY_free(*key);
    }
    free(cert_path);
    free(key_path);
    return err;
}

int wg_certs_make_node(const char *dir, const char *name, const char *const *sans, unsigned nsans,
                       const struct wg_certs_opts *opts, char *errbuf, size_t errsize)
{
    struct wg_certs_opts o = opts_or_default(opts, 825);
    struct errout e = { errbuf, errsize };
    const char *bad;
    char *san;
    EVP_PKEY *ca_key, *key;
    X509 *ca, *x;
    int err;

    if (!name_valid(name))
        return fail(e, EINVAL, "\"%s\" can't name a node: use letters, digits, '.', '_' and '-'", name);
    san = san_list(name, sans, nsans, &bad);
    if (!san)
        return bad ? fail(e, EINVAL, "\"%s\" is no host name or IP address", bad) : fail(e, ENOMEM, "out of memory");
    err = ca_load(dir, &ca, &ca_key, e);
    if (err) {
        free(san);
        return err;
    }
    key = EVP_EC_gen("P-256");
    x = key ? sign_node(name, o.days, key, san, ca, ca_key) : NULL;
    err = x ? write_pair(dir, name, x, key, o.overwrite, e) : fail(e, EINVAL, "can't make the certificate of %s", name);
    X509_free(x);
    EVP_PKEY_free(key);
    X509_free(ca);
    EVP_PKEY_free(ca_key);
    free(san);
    return err;
}

/* ---- revocation ---- */

static X509_CRL *crl_load(const char *path, struct errout e, int *err)
{
    FILE *f = fopen(path, "re");
    X509_CRL *crl;

    *err = 0;
    if (!f && errno == ENOENT) {
        crl = X509_CRL_new();
        if (!crl || !X509_CRL_set_version(crl, X509_CRL_VERSION_2)) {
            X509_CRL_free(crl);
            *err = fail(e, ENOMEM, "out of memory");
            return NULL;
        }
        return crl;
    }
    if (!f) {
        *err = fail(e, errno, "%s: %s", path, strerror(errno));
        return NULL;
    }
    crl = PEM_read_X509_CRL(f, NULL, NULL, NULL);
    fclose(f);
    if (!crl)
        *err = fail(e, EINVAL, "%s: no revocation list in PEM form", path);
    return crl;
}

static bool crl_add(X509_CRL *crl, X509 *x)
{
    X509_REVOKED *r = NULL;
    ASN1_TIME *now = X509_gmtime_adj(NULL, 0);
    bool ok = true;

    if (X509_CRL_get0_by_cert(crl, &r, x) != 1) {
        r = X509_REVOKED_new();
        ok = r && now && X509_REVOKED_set_serialNumber(r, X509_get_serialNumber(x)) &&
             X509_REVOKED_set_revocationDate(r, now) && X509_CRL_add0_revoked(crl, r);
        if (!ok)
            X509_REVOKED_free(r);
    }
    ASN1_TIME_free(now);
    return ok;
}

static bool crl_sign(X509_CRL *crl, X509 *ca, EVP_PKEY *key, int days)
{
    ASN1_TIME *from = X509_gmtime_adj(NULL, -60), *to = X509_time_adj_ex(NULL, days, 0, NULL);
    bool ok = from && to && X509_CRL_set_issuer_name(crl, X509_get_subject_name(ca)) &&
              X509_CRL_set1_lastUpdate(crl, from) && X509_CRL_set1_nextUpdate(crl, to) && X509_CRL_sort(crl) &&
              X509_CRL_sign(crl, key, EVP_sha256());

    ASN1_TIME_free(from);
    ASN1_TIME_free(to);
    return ok;
}

int wg_certs_revoke(const char *dir, const char *file, int days, char *errbuf, size_t errsize)
{
    struct errout e = { errbuf, errsize };
    char *path = path_of(dir, "ca", ".crl");
    X509_CRL *crl = NULL;
    EVP_PKEY *key;
    X509 *ca, *x;
    BIO *out;
    int err = ca_load(dir, &ca, &key, e);

    if (err) {
        free(path);
        return err;
    }
    x = read_cert(file, e, &err);
    if (!err && X509_NAME_cmp(X509_get_issuer_name(x), X509_get_subject_name(ca)) != 0)
        err = fail(e, EINVAL, "%s was not issued by the CA in %s", file, dir);
    if (!err)
        crl = path ? crl_load(path, e, &err) : NULL;
    out = BIO_new(BIO_s_mem());
    if (!err && crl && out) {
        if (crl_add(crl, x) && crl_sign(crl, ca, key, days ? days : 3650) && PEM_write_bio_X509_CRL(out, crl))
            err = write_file(dir, path, out, 0644, /* overwrite */ true);
        else
            err = EINVAL;
        if (err)
            fail(e, err, "%s: %s", path, strerror(err));
    } else if (!err) {
        err = fail(e, ENOMEM, "out of memory");
    }
    BIO_free(out);
    X509_CRL_free(crl);
    X509_free(x);
    X509_free(ca);
    EVP_PKEY_free(key);
    free(path);
    return err;
}

/* ---- looking ---- */

static int64_t seconds(const ASN1_TIME *t)
{
    struct tm tm;

    return ASN1_TIME_to_tm(t, &tm) ? timegm(&tm) : 0;
}

static void show_names(X509 *x, char *buf, size_t size)
{
    int at = X509_get_ext_by_NID(x, NID_subject_alt_name, -1);
    BIO *b = BIO_new(BIO_s_mem());
    char *p;
    long n;

    buf[0] = '\0';
    if (at >= 0 && b && X509V3_EXT_print(b, X509_get_ext(x, at), 0, 0)) {
        n = BIO_get_mem_data(b, &p);
        snprintf(buf, size, "%.*s", (int)n, p);
    }
    BIO_free(b);
}

static void show_hex(const unsigned char *p, unsigned n, char *buf)
{
    buf[0] = '\0';
    for (unsigned i = 0; i < n; i++)
        sprintf(buf + 3 * i - (i > 0), i ? ":%02X" : "%02X", p[i]);
}

int wg_certs_info(const char *file, struct wg_cert_info *ret, char *errbuf, size_t errsize)
{
    unsigned char md[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    BIGNUM *serial;
    char *hex = NULL;
    int err;
    X509 *x = read_cert(file, (struct errout){ errbuf, errsize }, &err);

    if (err)
        return err;
    *ret = (struct wg_cert_info){
        .not_before = seconds(X509_get0_notBefore(x)),
        .not_after = seconds(X509_get0_notAfter(x)),
        .is_ca = X509_check_ca(x) > 0,
    };
    X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, ret->subject, sizeof ret->subject);
    X509_NAME_get_text_by_NID(X509_get_issuer_name(x), NID_commonName, ret->issuer, sizeof ret->issuer);
    show_names(x, ret->names, sizeof ret->names);
    serial = ASN1_INTEGER_to_BN(X509_get0_serialNumber(x), NULL);
    if (serial)
        hex = BN_bn2hex(serial);
    snprintf(ret->serial, sizeof ret->serial, "%s", hex ? hex : "");
    OPENSSL_free(hex);
    BN_free(serial);
    if (X509_digest(x, EVP_sha256(), md, &n))
        show_hex(md, n < 32 ? n : 32, ret->sha256);
    X509_free(x);
    return 0;
}
