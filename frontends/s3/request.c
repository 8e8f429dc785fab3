/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the request line and headers to an authenticated, routed request. All on the
 * connection's thread, before the body; nothing here blocks.
 */
#include <ctype.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>

#include "conn.h"
#include "graph.h"
#include "log.h"

#define WG_LOG_PART "s3"

static void count_down(void *s3)
{
    atomic_fetch_sub(&((struct wg_s3 *)s3)->requests, 1);
}

struct s3_req *s3_req_new(struct s3_listener *l, struct MHD_Connection *mhd, const char *target)
{
    struct wg_call *call = wg_volume_call(l->s3->volume[0], WG_FROM_S3, "S3");

    if (!call)
        return NULL;
    atomic_fetch_add(&l->s3->requests, 1);
    if (wg_on_release(&call->arena, count_down, l->s3) != 0) { /* first in, so it runs last */
        wg_call_unref(call);
        return NULL;
    }
    struct s3_req *r = WG_NEW(&call->arena, struct s3_req);
    struct s3_conn *c = WG_NEW(&call->arena, struct s3_conn);
    struct s3_answer *a = WG_NEW(&call->arena, struct s3_answer);
    if (!r || !c || !a || wg_strdup(&call->arena, wg_str_of(target), &r->target) != 0) {
        wg_call_unref(call);
        return NULL;
    }
    pthread_mutex_init(&c->lock, NULL);
    c->mhd = mhd;
    c->target = target;
    a->last = &a->headers;
    r->call = call;
    r->conn = c;
    r->answer = a;
    r->s3 = l->s3;
    r->top = call->graph->entry;
    r->tls = l->tls;
    r->now = time(NULL);
    r->length = S3_UNKNOWN;
    /* Ids only have to be told apart: the call's number under a random start of this process. */
    static uint64_t salt;
    if (!__atomic_load_n(&salt, __ATOMIC_RELAXED)) {
        uint64_t x = 0;
        if (RAND_bytes((unsigned char *)&x, sizeof x) == 1)
            __atomic_store_n(&salt, x | 1, __ATOMIC_RELAXED);
    }
    snprintf(r->id, sizeof r->id, "%016llX",
             (unsigned long long)(call->id + __atomic_load_n(&salt, __ATOMIC_RELAXED)));
    return r;
}

/* ---- Headers ---- */

struct gather {
    struct s3_req *r;
    unsigned room;
    bool bad, oom;
    const char *end; /* of the last line, where the library put a NUL; of the request line at first */
};

/*
 * The library (0.9.75) cuts a line at a NUL byte in it, takes a bare CR or LF for a line's end, and tells nobody. Lines
 * lie side by side in its buffer, with a NUL for each byte of their ends, so what was cut off shows as a gap.
 * (Folded lines are copied elsewhere, and so refused too, as RFC 9112 5.2 has it.) Its successor reads headers by other
 * code, which refuses all these by itself at the strictness that server.c asks for.
 */
static bool follows(const char *end, const char *line)
{
    return MHD_VERSION >= 0x01000000 || line == end + 2;
}

/* The last line has to be followed by nothing but its end and the empty line, up to the body. */
static bool ends_headers(const char *end, const char *method, struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *i = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);

    return MHD_VERSION >= 0x01000000 || (i && end + 4 == method + i->header_size);
}

static enum MHD_Result count_header(void *arg, enum MHD_ValueKind kind, const char *name,
                                    const char *value)
{
    (void)kind, (void)name, (void)value;
    ++*(unsigned *)arg;
    return MHD_YES;
}

static bool is_token(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)s[i]) && !strchr("!#$%&'*+-.^_`|~", s[i]))
            return false;
    return len > 0;
}

/* RFC 9110 5.5: visible characters, blanks and bytes above 127; nothing else, NUL least of all. */
static bool is_field_value(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (((unsigned char)s[i] < ' ' && s[i] != '\t') || s[i] == 127)
            return false;
    return true;
}

static enum MHD_Result take_header(void *arg, enum MHD_ValueKind kind, const char *name, size_t nlen,
                                   const char *value, size_t vlen)
{
    struct gather *g = arg;
    struct s3_req *r = g->r;
    struct s3_pair *p;

    (void)kind;
    if (g->end && !follows(g->end, name)) {
        g->bad = true;
        return MHD_NO;
    }
    g->end = value ? value + vlen : NULL;
    if (r->nheaders == g->room || !is_token(name, nlen) || (vlen && !is_field_value(value, vlen))) {
        g->bad = true;
        return MHD_NO;
    }
    while (vlen && (value[vlen - 1] == ' ' || value[vlen - 1] == '\t'))
        vlen--;
    while (vlen && (*value == ' ' || *value == '\t')) {
        value++;
        vlen--;
    }
    p = &r->headers[r->nheaders++];
    char *lower = wg_memdup(&r->call->arena, name, nlen);
    char *copy = wg_memdup(&r->call->arena, vlen ? value : "", vlen);
    if (!lower || !copy) {
        g->oom = true;
        return MHD_NO;
    }
    for (size_t i = 0; i < nlen; i++)
        lower[i] = (char)tolower((unsigned char)lower[i]);
    p->name = (struct wg_str){ lower, (uint32_t)nlen };
    p->value = (struct wg_str){ copy, (uint32_t)vlen };
    return MHD_YES;
}

static int gather_headers(struct s3_req *r, const char *method, const char *version)
{
    struct gather g = { .r = r };
    unsigned n = 0;

    MHD_get_connection_values(r->conn->mhd, MHD_HEADER_KIND, count_header, &n);
    if (n > S3_HEADERS_MAX)
        return S3E(RequestHeaderSectionTooLarge);
    r->headers = wg_alloc(&r->call->arena, (n + 1) * sizeof *r->headers);
    if (!r->headers)
        return ENOMEM;
    g.room = n;
    if (version != r->conn->target + r->target.len + 1)
        return S3E(InvalidURI); /* a NUL in it */
    g.end = version + strlen(version);
    MHD_get_connection_values_n(r->conn->mhd, MHD_HEADER_KIND, take_header, &g);
    if (!g.bad && g.end && !ends_headers(g.end, method, r->conn->mhd))
        g.bad = true;
    return g.oom ? ENOMEM : g.bad ? S3E(BadRequest) : 0;
}

const struct wg_str *wg_s3_header(const struct s3_req *r, const char *name)
{
    size_t len = strlen(name);

    for (unsigned i = 0; i < r->nheaders; i++)
        if (r->headers[i].name.len == len && memcmp(r->headers[i].name.s, name, len) == 0)
            return &r->headers[i].value;
    return NULL;
}

const struct wg_str *wg_s3_header_joined(struct s3_req *r, const char *name)
{
    struct wg_str want = wg_str_of(name);
    size_t total = 0;
    unsigned found = 0;

    for (unsigned i = 0; i < r->nheaders; i++)
        if (wg_str_eq(r->headers[i].name, want)) {
            total += r->headers[i].value.len + 2;
            found++;
        }
    if (found < 2)
        return found ? wg_s3_header(r, name) : NULL;
    struct wg_str *ret = WG_NEW(&r->call->arena, struct wg_str);
    char *text = wg_alloc(&r->call->arena, total + 1);
    if (!ret || !text)
        return NULL;
    ret->s = text;
    for (unsigned i = 0; i < r->nheaders; i++)
        if (wg_str_eq(r->headers[i].name, want)) {
            if (ret->len) {
                memcpy(text + ret->len, ", ", 2);
                ret->len += 2;
            }
            memcpy(text + ret->len, r->headers[i].value.s, r->headers[i].value.len);
            ret->len += r->headers[i].value.len;
        }
    return ret;
}

static unsigned count_of(const struct s3_req *r, const char *name)
{
    struct wg_str want = wg_str_of(name);
    unsigned n = 0;

    for (unsigned i = 0; i < r->nheaders; i++)
        n += wg_str_eq(r->headers[i].name, want);
    return n;
}

static bool same_text(const struct wg_str *s, const char *lower)
{
    size_t len = strlen(lower);

    if (s->len != len)
        return false;
    for (size_t i = 0; i < len; i++)
        if (tolower((unsigned char)s->s[i]) != lower[i])
            return false;
    return true;
}

/* What the library accepts but a server behind a proxy must not (notes, section 6). */
static int check_framing(struct s3_req *r)
{
    const struct wg_str *te = wg_s3_header(r, "transfer-encoding");
    unsigned lengths = count_of(r, "content-length");

    if (count_of(r, "host") > 1 || lengths > 1 || count_of(r, "transfer-encoding") > 1 ||
        (lengths && te))
        return S3E(BadRequest);
    if (te && !same_text(te, "chunked"))
        return S3E(NotImplemented);
    /* With a blank behind it the library takes it for another coding: a body that ends with the connection. */
    const char *raw = te ? MHD_lookup_connection_value(r->conn->mhd, MHD_HEADER_KIND, "Transfer-Encoding") : NULL;
    if (te && (!raw || strlen(raw) != te->len))
        return S3E(BadRequest);
    if (count_of(r, "authorization") > 1 || count_of(r, "expect") > 1)
        return S3E(BadRequest);
    for (uint32_t i = 0; i < r->target.len; i++)
        if ((unsigned char)r->target.s[i] <= ' ' || (unsigned char)r->target.s[i] >= 127)
            return S3E(InvalidURI);
    return 0;
}

static enum s3_method method_of(const char *m)
{
    static const char *const names[] = { [S3_GET] = "GET", [S3_HEAD] = "HEAD", [S3_PUT] = "PUT",
                                         [S3_POST] = "POST", [S3_DELETE] = "DELETE",
                                         [S3_OPTIONS] = "OPTIONS" };

    for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(m, names[i]) == 0)
            return (enum s3_method)i;
    return S3_METHOD_OTHER;
}

/* ---- Who ---- */

static int secret_of(void *arg, struct wg_str access_key, struct wg_str *ret)
{
    struct s3_req *r = arg;
    int err = wg_users_find(r->s3->users, access_key, &r->call->arena, &r->user);

    if (!err)
        *ret = r->user->secret;
    return err;
}

static void cleanse_auth(void *auth)
{
    OPENSSL_cleanse(auth, sizeof(struct wg_s3_auth));
}

static int authenticate(struct s3_req *r)
{
    struct wg_s3_auth_in in = {
        .method = wg_str_of(r->method_text), .uri = &r->uri, .headers = r->headers,
        .nheaders = r->nheaders, .now = r->now, .secret = secret_of, .arg = r,
    };

    r->auth = WG_NEW(&r->call->arena, struct wg_s3_auth);
    if (!r->auth || wg_on_release(&r->call->arena, cleanse_auth, r->auth) != 0)
        return ENOMEM;
    enum wg_s3_code code = wg_s3_authenticate(&in, r->auth);
    if (code != WG_S3_OK) {
        r->user = NULL;
        return r->auth->message ? wg_s3_fail(r, s3_err(code), "%s", r->auth->message) : s3_err(code);
    }
    if (!r->user)
        return S3E(AccessDenied);
    r->call->cred = (struct wg_cred){ .uid = r->user->uid, .gid = r->user->gid,
                                      .ngroups = r->user->ngroups, .groups = r->user->groups,
                                      .principal = r->user->access_key };
    return 0;
}

/* ---- What ---- */

static int route(struct s3_req *r)
{
    r->op = wg_s3_route(r);
    if (!r->op)
        return S3E(MethodNotAllowed);
    r->call->what = r->op->name;
    if (!r->op->run && !r->op->start)
        return S3E(NotImplemented);
    return 0;
}

/*
 * A bucket is a directory, but not every name of a directory is a bucket's: "..", ".windgate", "A B".
 * AWS answers 404 to reads of such names and InvalidBucketName when one is to be made.
 */
static int check_bucket(const struct s3_req *r)
{
    if (r->uri.bucket.len == 0 || wg_s3_bucket_name_ok(r->uri.bucket))
        return 0;
    return r->method == S3_PUT && r->uri.key.len == 0 ? S3E(InvalidBucketName) : S3E(NoSuchBucket);
}

int s3_req_begin(struct s3_req *r, const char *method, const char *version)
{
    int err;

    r->method_text = wg_memdup(&r->call->arena, method, strlen(method));
    if (!r->method_text)
        return ENOMEM;
    r->method = method_of(method);
    r->http10 = strcmp(version, "HTTP/1.0") == 0;
    err = gather_headers(r, method, version);
    if (!err)
        err = check_framing(r);
    if (err) {
        r->conn->close = true; /* where this request ends is a guess */
        return err;
    }
    const struct wg_str *host = wg_s3_header(r, "host");
    if (host)
        r->host = *host;
    else if (!r->http10)
        return S3E(BadRequest);
    char *space = wg_alloc(&r->call->arena, r->target.len + 1);
    if (!space)
        return ENOMEM;
    err = s3_err(wg_s3_uri_parse(r->target, r->host, r->s3->domains, r->s3->ndomains, space, &r->uri));
    if (!err)
        err = authenticate(r);
    if (!err)
        err = check_bucket(r);
    if (!err) {
        r->call->share = r->uri.bucket;
        r->call->object = r->uri.key;
        err = route(r);
    }
    wg_call_told(r->call);
    if (!err)
        err = s3_body_prepare(r);
    if (!err && r->op->check)
        err = r->op->check(r);
    return err;
}
