/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libFuzzer: a request as lines (method, target, then "name:value" headers). Nothing but the right
 * signature may pass, and the fuzzer does not find a SHA-256 preimage; the secret is not given to it.
 */
#include <errno.h>
#include <stdlib.h>

#include "frontends/s3/auth.h"
#include "frontends/s3/checksum.h"
#include "frontends/s3/meta.h"
#include "frontends/s3/s3.h"

#define HEADERS 32

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int find_secret(void *arg, struct wg_str key, struct wg_str *ret)
{
    (void)arg;
    if (key.len == 0 || key.s[0] != 'A')
        return ENOENT;
    *ret = WG_STR("a secret that no input knows: 9c1185a5c5e9fc54612808977ee8f548b2258d31");
    return 0;
}

static bool next_line(const char **at, const char *end, struct wg_str *ret)
{
    const char *nl;

    if (*at >= end)
        return false;
    nl = memchr(*at, '\n', (size_t)(end - *at));
    *ret = (struct wg_str){ *at, (uint32_t)((nl ? nl : end) - *at) };
    *at = nl ? nl + 1 : end;
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct wg_s3_uri uri;
    static struct wg_s3_meta meta;
    const char *at = (const char *)data, *end = at + size;
    struct s3_pair pair[HEADERS];
    struct wg_s3_auth_in in = { .uri = &uri, .headers = pair, .now = 1369353600, .secret = find_secret };
    struct wg_str target, line, host = { "", 0 };
    struct wg_s3_auth auth;
    struct wg_s3_sum_req sums;
    const char *message;
    char *space;

    if (size > 1u << 16 || !next_line(&at, end, &in.method) || !next_line(&at, end, &target))
        return 0;
    while (in.nheaders < HEADERS && next_line(&at, end, &line)) {
        const char *colon = line.len ? memchr(line.s, ':', line.len) : NULL;

        if (!colon)
            continue;
        pair[in.nheaders].name = (struct wg_str){ line.s, (uint32_t)(colon - line.s) };
        pair[in.nheaders].value = (struct wg_str){ colon + 1, line.len - pair[in.nheaders].name.len - 1 };
        if (wg_str_eq(pair[in.nheaders].name, WG_STR("host")))
            host = pair[in.nheaders].value;
        in.nheaders++;
    }
    space = malloc(target.len + 1);
    if (wg_s3_uri_parse(target, host, NULL, 0, space, &uri) == WG_S3_OK &&
        wg_s3_authenticate(&in, &auth) == WG_S3_OK)
        abort();
    wg_s3_sum_request(pair, in.nheaders, &sums, &message);
    wg_s3_meta_start(&meta);
    wg_s3_meta_put_headers(&meta, pair, in.nheaders);
    free(space);
    return 0;
}
