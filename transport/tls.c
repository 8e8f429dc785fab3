/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS identity, checks of the peer, and the BIO between OpenSSL and a lane's buffers. A tls_state is
 * immutable and shared by the connections begun under it; reload replaces it whole.
 */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define WG_LOG_PART "transport"
#include "internal.h"
#include "log.h"

struct wg_tls {
    atomic_uint refs;
    pthread_mutex_t lock; /* state and allow */
    struct tls_state *state;
    char *cert, *key, *ca, *crl, *allow_file;
    char **allow; /* the config's */
    unsigned nallow;
    uint32_t drain_ms;
    pthread_mutex_t reload_lock; /* one reload at a time */
};

/* ---- lists of names ---- */

static void names_free(char **v, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        free(v[i]);
    free(v);
}

static int names_add(char ***v, unsigned *n, const char *name, size_t len)
{
    char **w = realloc(*v, (*n + 1) * sizeof *w);

    if (!w)
        return ENOMEM;
    *v = w;
    w[*n] = strndup(name, len);
    if (!w[*n])
        return ENOMEM;
    ++*n;
    return 0;
}

static int names_copy(char ***v, unsigned *n, const char *const *from, unsigned nfrom)
{
    int err = 0;

    for (unsigned i = 0; i < nfrom && !err; i++)
        err = names_add(v, n, from[i], strlen(from[i]));
    return err;
}

/* One name a line; blanks around it and '#' comments are dropped. */
static int names_read(char ***v, unsigned *n, const char *path)
{
    FILE *f = fopen(path, "re");
    char *line = NULL;
    size_t cap = 0;
    int err = 0;

    if (!f)
        return errno;
    while (!err && getline(&line, &cap, f) >= 0) {
        char *at = line + strspn(line, " \t\r\n");
        size_t len = strcspn(at, " \t\r\n#");

        if (len)
            err = names_add(v, n, at, len);
    }
    if (!err && ferror(f))
        err = EIO;
    free(line);
    fclose(f);
    return err;
}

static bool name_matches(const char *pattern, const char *name)
{
    const char *dot;

    if (strcmp(pattern, "*") == 0)
        return true;
    if (strncmp(pattern, "*.", 2) != 0)
        return strcasecmp(pattern, name) == 0;
    dot = strchr(name, '.');
    return dot && dot != name && strcasecmp(pattern + 1, dot) == 0;
}

/* ---- names of a certificate ---- */

/* Calls each name of cert until one is liked: the DNS names, or the common name when there are none. */
static bool cert_names(X509 *cert, bool (*like)(const char *name, void *arg), void *arg)
{
    GENERAL_NAMES *san = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    bool any = false, liked = false;
    char cn[256];

    for (int i = 0; i < sk_GENERAL_NAME_num(san) && !liked; i++) {
        GENERAL_NAME *g = sk_GENERAL_NAME_value(san, i);
        const char *s;

        if (g->type != GEN_DNS)
            continue;
        s = (const char *)ASN1_STRING_get0_data(g->d.dNSName);
        any = true;
        /* A name with a NUL inside is somebody's trick. */
        liked = strlen(s) == (size_t)ASN1_STRING_length(g->d.dNSName) && like(s, arg);
    }
    GENERAL_NAMES_free(san);
    if (!any && X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, cn, sizeof cn) > 0)
        liked = like(cn, arg);
    return liked;
}

static bool like_allowed(const char *name, void *arg)
{
    const struct tls_state *s = arg;

    for (unsigned i = 0; i < s->nallow; i++)
        if (name_matches(s->allow[i], name))
            return true;
    return false;
}

static bool like_equal(const char *name, void *arg)
{
    return strcasecmp(name, arg) == 0;
}

static bool like_first(const char *name, void *arg)
{
    snprintf(arg, 256, "%s", name);
    return true;
}

static bool peer_allowed(struct tls_state *s, X509 *cert, const char *peer_name)
{
    return cert_names(cert, like_allowed, s) && (!peer_name || cert_names(cert, like_equal, (void *)peer_name));
}

/* In the handshake, so that the peer gets an alert and knows. */
static int verify_cb(int ok, X509_STORE_CTX *ctx)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(ctx, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct wg_lane *l = SSL_get_app_data(ssl);

    if (!ok || X509_STORE_CTX_get_error_depth(ctx) != 0)
        return ok;
    if (peer_allowed(l->tls_state, X509_STORE_CTX_get_current_cert(ctx), l->o.peer_name))
        return 1;
    if (!cert_names(X509_STORE_CTX_get_current_cert(ctx), like_first, l->refused))
        l->refused[0] = '\0';
    X509_STORE_CTX_set_error(ctx, X509_V_ERR_HOSTNAME_MISMATCH);
    return 0;
}

int tls_recheck(struct tls_state *s, X509 *cert, STACK_OF(X509) *chain, bool server, char *text, size_t size)
{
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    int err = 0;

    if (!ctx || !X509_STORE_CTX_init(ctx, SSL_CTX_get_cert_store(s->ctx), cert, chain) ||
        !X509_STORE_CTX_set_default(ctx, server ? "ssl_client" : "ssl_server"))
        err = ENOMEM;
    else if (X509_verify_cert(ctx) != 1)
        err = EACCES;
    if (err)
        snprintf(text, size, "%s", err == ENOMEM ? "can't check it" : X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
    X509_STORE_CTX_free(ctx);
    ERR_clear_error();
    if (err || cert_names(cert, like_allowed, s))
        return err;
    snprintf(text, size, "its name is no longer on the allow list");
    return EACCES;
}

/* ---- state ---- */

__attribute__((format(printf, 3, 4)))
static void complain(char *errbuf, size_t errsize, const char *fmt, ...)
{
    char text[400];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    wg_error("TLS: %s", text);
    if (errbuf && errsize)
        snprintf(errbuf, errsize, "%s", text);
    ERR_clear_error();
}

void tls_state_unref(struct tls_state *s)
{
    if (atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
        return;
    SSL_CTX_free(s->ctx);
    names_free(s->allow, s->nallow);
    free(s);
}

static int no_passphrase(char *buf, int size, int rw, void *arg)
{
    (void)buf, (void)size, (void)rw, (void)arg;
    return 0; /* a daemon can't ask */
}

static void ctx_settle(SSL_CTX *c)
{
    SSL_CTX_set_min_proto_version(c, TLS1_3_VERSION);
    SSL_CTX_set_ciphersuites(c, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256");
    SSL_CTX_set_options(c, SSL_OP_NO_TICKET | SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_num_tickets(c, 0);
    SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(c, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_default_passwd_cb(c, no_passphrase);
    SSL_CTX_set_verify(c, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, verify_cb);
}

/* What can't be opened is told by its errno; what can't be read as PEM is EINVAL. */
static int readable(const char *path, char *errbuf, size_t errsize)
{
    int err = access(path, R_OK) ? errno : 0;

    if (err)
        complain(errbuf, errsize, "%s: %s", path, strerror(err));
    return err;
}

static int load_crl(SSL_CTX *c, const char *path)
{
    X509_STORE *store = SSL_CTX_get_cert_store(c);
    X509_LOOKUP *lookup = X509_STORE_add_lookup(store, X509_LOOKUP_file());

    if (!lookup || X509_load_crl_file(lookup, path, X509_FILETYPE_PEM) < 1)
        return EINVAL;
    return X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK) ? 0 : EINVAL;
}

static int load_files(const struct wg_tls *t, SSL_CTX *c, char *errbuf, size_t errsize)
{
    int err = readable(t->cert, errbuf, errsize);

    if (!err)
        err = readable(t->key, errbuf, errsize);
    if (!err)
        err = readable(t->ca, errbuf, errsize);
    if (!err && t->crl)
        err = readable(t->crl, errbuf, errsize);
    if (err)
        return err;
    if (SSL_CTX_use_certificate_chain_file(c, t->cert) != 1)
        complain(errbuf, errsize, "%s: no certificate in PEM form", t->cert);
    else if (SSL_CTX_use_PrivateKey_file(c, t->key, SSL_FILETYPE_PEM) != 1)
        complain(errbuf, errsize, "%s: no private key in PEM form, or not the one of %s", t->key, t->cert);
    else if (SSL_CTX_check_private_key(c) != 1)
        complain(errbuf, errsize, "%s is not the key of %s", t->key, t->cert);
    else if (SSL_CTX_load_verify_file(c, t->ca) != 1)
        complain(errbuf, errsize, "%s: no CA certificate in PEM form", t->ca);
    else if (t->crl && load_crl(c, t->crl))
        complain(errbuf, errsize, "%s: no revocation list in PEM form", t->crl);
    else
        return 0;
    return EINVAL;
}

static int64_t not_after(SSL_CTX *c)
{
    X509 *x = SSL_CTX_get0_certificate(c);
    struct tm tm;

    return x && ASN1_TIME_to_tm(X509_get0_notAfter(x), &tm) ? timegm(&tm) : 0;
}

static int load_names(const struct wg_tls *t, struct tls_state *s, char *errbuf, size_t errsize)
{
    int err = names_copy(&s->allow, &s->nallow, (const char *const *)t->allow, t->nallow);

    if (!err && t->allow_file) {
        err = names_read(&s->allow, &s->nallow, t->allow_file);
        if (err)
            complain(errbuf, errsize, "%s: %s", t->allow_file, strerror(err));
    }
    if (!err && s->nallow == 0) {
        complain(errbuf, errsize, "the list of allowed names is empty (use \"*\" for every name)");
        err = EINVAL;
    }
    return err;
}

/* Under t->reload_lock. */
static int state_build(const struct wg_tls *t, struct tls_state **ret, char *errbuf, size_t errsize)
{
    struct tls_state *s = calloc(1, sizeof *s);
    int err;

    if (!s)
        return ENOMEM;
    atomic_init(&s->refs, 1);
    s->ctx = SSL_CTX_new(TLS_method());
    if (!s->ctx) {
        free(s);
        return ENOMEM;
    }
    ctx_settle(s->ctx);
    err = load_files(t, s->ctx, errbuf, errsize);
    if (!err)
        err = load_names(t, s, errbuf, errsize);
    if (err) {
        tls_state_unref(s);
        return err;
    }
    s->expires = not_after(s->ctx);
    *ret = s;
    return 0;
}

struct tls_state *tls_current(struct wg_tls *t)
{
    struct tls_state *s;

    pthread_mutex_lock(&t->lock);
    s = t->state;
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    pthread_mutex_unlock(&t->lock);
    return s;
}

/* ---- the identity ---- */

static bool copy(char **to, const char *from)
{
    *to = from ? strdup(from) : NULL;
    return !from || *to;
}

int wg_tls_new(const struct wg_tls_config *c, struct wg_tls **ret, char *errbuf, size_t errsize)
{
    struct wg_tls *t;
    int err;

    if (!c->cert || !c->key || !c->ca) {
        complain(errbuf, errsize, "certificate, key and CA are all needed");
        return EINVAL;
    }
    t = calloc(1, sizeof *t);
    if (!t)
        return ENOMEM;
    atomic_init(&t->refs, 1);
    pthread_mutex_init(&t->lock, NULL);
    pthread_mutex_init(&t->reload_lock, NULL);
    t->drain_ms = c->drain_ms ? c->drain_ms : 2000;
    err = copy(&t->cert, c->cert) && copy(&t->key, c->key) && copy(&t->ca, c->ca) && copy(&t->crl, c->crl) &&
                  copy(&t->allow_file, c->allow_file)
              ? names_copy(&t->allow, &t->nallow, c->allow, c->nallow)
              : ENOMEM;
    if (!err)
        err = state_build(t, &t->state, errbuf, errsize);
    if (err) {
        wg_tls_unref(t);
        return err;
    }
    *ret = t;
    return 0;
}

struct wg_tls *wg_tls_ref(struct wg_tls *t)
{
    atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
    return t;
}

void wg_tls_unref(struct wg_tls *t)
{
    if (atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (t->state)
        tls_state_unref(t->state);
    names_free(t->allow, t->nallow);
    free(t->cert);
    free(t->key);
    free(t->ca);
    free(t->crl);
    free(t->allow_file);
    pthread_mutex_destroy(&t->lock);
    pthread_mutex_destroy(&t->reload_lock);
    free(t);
}

struct recheck {
    struct wg_tls *tls;
    struct tls_state *now;
};

static void recheck_one(struct wg_lane *l, void *arg)
{
    struct recheck *r = arg;

    if (l->o.tls == r->tls && wg_lane_conn(l) != 0)
        lane_recheck(l, r->now);
}

/* Under reload_lock. */
static int reload(struct wg_tls *t, char *errbuf, size_t errsize)
{
    struct recheck r = { .tls = t };
    struct tls_state *old;
    int err = state_build(t, &r.now, errbuf, errsize);

    if (err)
        return err;
    atomic_fetch_add(&r.now->refs, 1); /* ours while we look */
    pthread_mutex_lock(&t->lock);
    old = t->state;
    t->state = r.now;
    pthread_mutex_unlock(&t->lock);
    tls_state_unref(old);
    registry_each(recheck_one, &r);
    tls_state_unref(r.now);
    return 0;
}

int wg_tls_reload(struct wg_tls *t, char *errbuf, size_t errsize)
{
    int err;

    pthread_mutex_lock(&t->reload_lock);
    err = reload(t, errbuf, errsize);
    pthread_mutex_unlock(&t->reload_lock);
    return err;
}

int wg_tls_set_allow(struct wg_tls *t, const char *const *allow, unsigned nallow, char *errbuf, size_t errsize)
{
    char **fresh = NULL, **old;
    unsigned n = 0, nold;
    int err = names_copy(&fresh, &n, allow, nallow);

    if (err) {
        names_free(fresh, n);
        return err;
    }
    pthread_mutex_lock(&t->reload_lock);
    old = t->allow;
    nold = t->nallow;
    t->allow = fresh;
    t->nallow = n;
    err = reload(t, errbuf, errsize);
    if (err) {
        t->allow = old;
        t->nallow = nold;
        old = fresh;
        nold = n;
    }
    pthread_mutex_unlock(&t->reload_lock);
    names_free(old, nold);
    return err;
}

int64_t wg_tls_expires(struct wg_tls *t)
{
    struct tls_state *s = tls_current(t);
    int64_t at = s->expires;

    tls_state_unref(s);
    return at;
}

uint32_t tls_drain_ms(const struct wg_tls *t)
{
    return t->drain_ms;
}

/* ---- between OpenSSL and the lane's buffers: all under ssl_lock ---- */

static int bio_read(BIO *b, char *to, size_t size, size_t *got)
{
    struct wg_lane *l = BIO_get_data(b);
    size_t n = l->cipher_len - l->cipher_at;

    BIO_clear_retry_flags(b);
    if (n == 0) {
        BIO_set_retry_read(b);
        return 0;
    }
    n = n < size ? n : size;
    memcpy(to, l->cipher + l->cipher_at, n);
    l->cipher_at += n;
    *got = n;
    return 1;
}

static int bio_write(BIO *b, const char *from, size_t size, size_t *put)
{
    struct wg_lane *l = BIO_get_data(b);

    BIO_clear_retry_flags(b);
    if (size > OUT_CAP - l->out_len) {
        BIO_set_retry_write(b);
        return 0;
    }
    memcpy(l->out + l->out_len, from, size);
    l->out_len += size;
    l->bio_wrote = true;
    *put = size;
    return 1;
}

static long bio_ctrl(BIO *b, int cmd, long n, void *p)
{
    (void)b, (void)n, (void)p;
    return cmd == BIO_CTRL_FLUSH;
}

static BIO_METHOD *bio_method;

static void bio_method_make(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "lane");

    if (!m || !BIO_meth_set_read_ex(m, bio_read) || !BIO_meth_set_write_ex(m, bio_write) ||
        !BIO_meth_set_ctrl(m, bio_ctrl)) {
        BIO_meth_free(m);
        return;
    }
    bio_method = m;
}

int tls_attach(struct wg_lane *l, bool server)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    BIO *b;
    SSL *ssl;

    pthread_once(&once, bio_method_make);
    l->tls_state = tls_current(l->o.tls);
    ssl = SSL_new(l->tls_state->ctx);
    b = bio_method ? BIO_new(bio_method) : NULL;
    if (!ssl || !b) {
        SSL_free(ssl);
        BIO_free(b);
        return ENOMEM;
    }
    BIO_set_data(b, l);
    BIO_set_init(b, 1);
    SSL_set_bio(ssl, b, b);
    SSL_set_app_data(ssl, l);
    if (server)
        SSL_set_accept_state(ssl);
    else
        SSL_set_connect_state(ssl);
    pthread_mutex_lock(&l->ssl_lock);
    l->ssl = ssl;
    pthread_mutex_unlock(&l->ssl_lock);
    return 0;
}

void tls_peer_kept(struct wg_lane *l)
{
    X509 *cert;
    STACK_OF(X509) *chain;
    char name[256] = "";

    pthread_mutex_lock(&l->ssl_lock);
    cert = SSL_get1_peer_certificate(l->ssl);
    chain = SSL_get_peer_cert_chain(l->ssl);
    chain = chain ? X509_chain_up_ref(chain) : NULL;
    if (cert)
        cert_names(cert, like_first, name);
    pthread_mutex_lock(&l->qlock);
    l->peer_cert = cert;
    l->peer_chain = chain;
    memcpy(l->peer_name, name, sizeof name);
    snprintf(l->tls_text, sizeof l->tls_text, "%s %s", SSL_get_version(l->ssl), SSL_get_cipher_name(l->ssl));
    pthread_mutex_unlock(&l->qlock);
    pthread_mutex_unlock(&l->ssl_lock);
}

void tls_peer_forget(struct wg_lane *l)
{
    X509 *cert;
    STACK_OF(X509) *chain;

    pthread_mutex_lock(&l->qlock);
    cert = l->peer_cert;
    chain = l->peer_chain;
    l->peer_cert = NULL;
    l->peer_chain = NULL;
    l->peer_name[0] = l->tls_text[0] = '\0';
    pthread_mutex_unlock(&l->qlock);
    X509_free(cert);
    sk_X509_pop_free(chain, X509_free);
}

/* ---- errors ---- */

/* The alerts by which a peer refuses our certificate (RFC 8446, 6.2). */
static bool alert_is_refusal(int alert)
{
    return (alert >= 42 && alert <= 46) || alert == 48 || alert == 49 || alert == 116;
}

int tls_error(SSL *ssl, char *text, size_t size)
{
    unsigned long e = ERR_peek_error();
    int reason = ERR_GET_REASON(e);
    long verify = SSL_get_verify_result(ssl);
    const char *said = e ? ERR_reason_error_string(e) : NULL;
    int err = EPROTO;

    if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED && verify == X509_V_ERR_HOSTNAME_MISMATCH) {
        const struct wg_lane *l = SSL_get_app_data(ssl);

        snprintf(text, size, "the peer's name is not on the allow list: %.100s", l->refused);
        err = EACCES;
    } else if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED) {
        snprintf(text, size, "the peer's certificate is refused: %s", X509_verify_cert_error_string(verify));
        err = EACCES;
    } else if (reason == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE) {
        snprintf(text, size, "the peer has no certificate");
        err = EACCES;
    } else if (reason >= SSL_AD_REASON_OFFSET && alert_is_refusal(reason - SSL_AD_REASON_OFFSET)) {
        snprintf(text, size, "the peer refuses our certificate or name: %s", said);
        err = EACCES;
    } else {
        snprintf(text, size, "TLS: %s", said ? said : "connection broken");
    }
    ERR_clear_error();
    return err;
}

bool wg_lane_peer_listed(struct wg_lane *l, const char *const *allow, unsigned nallow, const char *allow_file)
{
    X509 *cert = l->ssl ? SSL_get0_peer_certificate(l->ssl) : NULL;
    struct tls_state list = { 0 };
    bool listed = false;

    if (!cert)
        return false;
    if (!names_copy(&list.allow, &list.nallow, allow, nallow) &&
        !(allow_file && names_read(&list.allow, &list.nallow, allow_file)))
        listed = cert_names(cert, like_allowed, &list);
    names_free(list.allow, list.nallow);
    return listed;
}
