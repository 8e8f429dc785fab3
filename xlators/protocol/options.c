/* SPDX-License-Identifier: Apache-2.0 */
#include "xlators/protocol/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <uuid/uuid.h>

#include "log.h"
#include "gateway/options.h"

#define WG_LOG_PART "protocol"

char **wg_protocol_words(const char *list, unsigned *ret_n)
{
    size_t len = strlen(list);
    char **words = malloc((len / 2 + 2) * sizeof *words + len + 1);
    char *text, *save = NULL;
    unsigned n = 0;

    if (!words)
        return NULL;
    text = (char *)(words + len / 2 + 2);
    memcpy(text, list, len + 1);
    for (char *w = strtok_r(text, " ,\t", &save); w; w = strtok_r(NULL, " ,\t", &save))
        words[n++] = w;
    words[n] = NULL;
    *ret_n = n;
    return words;
}

static const char *optional(struct wg_xlator *xl, const char *name)
{
    const char *v = wg_opt_str(xl, name);

    return v && *v ? v : NULL;
}

/* Who may connect: tls-allow, and of a server, those who may only pull. */
static char **allowed_words(struct wg_xlator *xl, unsigned *ret_n)
{
    bool pulls = wg_option_find(xl->class->options, "pull-allow") != NULL;
    char **words = NULL, *both;

    if (asprintf(&both, "%s %s", wg_opt_str(xl, "tls-allow"), pulls ? wg_opt_str(xl, "pull-allow") : "") < 0)
        return NULL;
    words = wg_protocol_words(both, ret_n);
    free(both);
    return words;
}

int wg_protocol_tls(struct wg_xlator *xl, struct wg_tls **ret)
{
    struct wg_tls_config config = {
        .cert = optional(xl, "tls-cert"),
        .key = optional(xl, "tls-key"),
        .ca = optional(xl, "tls-ca"),
        .crl = optional(xl, "tls-crl"),
        .allow_file = optional(xl, "tls-allow-file"),
    };
    char text[256] = "";
    char **allow;
    int err;

    *ret = NULL;
    if (!wg_opt_bool(xl, "tls"))
        return 0;
    if (!config.cert || !config.key || !config.ca) {
        wg_error("%s: tls-cert, tls-key and tls-ca are needed (or tls off)", xl->name);
        return EINVAL;
    }
    allow = allowed_words(xl, &config.nallow);
    if (!allow)
        return ENOMEM;
    config.allow = (const char *const *)allow;
    err = wg_tls_new(&config, ret, text, sizeof text);
    if (err)
        wg_error("%s: %s", xl->name, text);
    free(allow);
    return err;
}

int wg_protocol_tls_reload(struct wg_xlator *xl, struct wg_tls *tls)
{
    char text[256] = "";
    char **allow;
    unsigned n;
    int err;

    if (!tls)
        return 0;
    allow = allowed_words(xl, &n);
    if (!allow)
        return ENOMEM;
    err = wg_tls_set_allow(tls, (const char *const *)allow, n, text, sizeof text);
    if (err)
        wg_error("%s: %s", xl->name, text);
    free(allow);
    return err;
}

int wg_protocol_uuid(struct wg_xlator *xl, const char *option, uint8_t ret[16])
{
    const char *text = optional(xl, option);

    memset(ret, 0, 16);
    if (!text)
        return 0;
    if (uuid_parse(text, ret) == 0)
        return 0;
    wg_error("%s: option %s: \"%s\" is no UUID", xl->name, option, text);
    return EINVAL;
}
