/* SPDX-License-Identifier: Apache-2.0 */
/* libFuzzer: any bytes as windgate.conf. It is refused with messages, or it makes volfiles that parse. */
#include <stdlib.h>
#include <string.h>

#include "graph.h"
#include "module.h"
#include "settings.h"
#include "transport/internal.h"
#include "volgen.h"

static void ignore(void *arg, const char *text)
{
    (void)arg;
    if (strchr(text, '\n'))
        abort(); /* one line each */
}

/* A quoted text is a string of the file that means the text. */
static void quote(const uint8_t *data, size_t size)
{
    char *text = calloc(1, size + 1), *quoted, *file;
    struct wg_settings *s;

    memcpy(text, data, size);
    quoted = wg_settings_quote(text);
    if (!quoted || asprintf(&file, "log = { file = \"/\" %s; };", quoted) < 0)
        abort();
    s = wg_settings_parse("fuzz.conf", file, strlen(file), ignore, NULL);
    if (!s || strcmp(s->log.file + 1, text) != 0)
        abort();
    wg_settings_free(s);
    free(file);
    free(quoted);
    free(text);
}

/* Any bytes as the address of a peer. */
static void show_address(const uint8_t *data, size_t size)
{
    static const sa_family_t families[] = { AF_INET, AF_INET6, AF_UNIX, AF_UNSPEC };
    struct sockaddr_storage ss = { 0 };
    char text[64];

    if (size > sizeof ss)
        size = sizeof ss;
    memcpy(&ss, data, size);
    for (unsigned i = 0; i < 4; i++) {
        ss.ss_family = families[i];
        sockaddr_show(&ss, (socklen_t)size, text, sizeof text);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wg_settings *s;
    const struct wg_set_volume *v;

    wg_module_forbid(); /* module-path may name any directory, and a layer a file in it: none is to be loaded */
    s = wg_settings_parse("fuzz.conf", (const char *)data, size, ignore, NULL);
    v = s ? s->volumes.items : NULL;
    show_address(data, size);
    if (size < 4096)
        quote(data, size);
    if (!s)
        return 0;
    if (wg_settings_check_gateway(s, ignore, NULL) == 0) {
        for (unsigned i = 0; i < s->volumes.n; i++) {
            struct wg_graph *g = wg_volgen_graph(s, &v[i], ignore, NULL);

            if (g)
                wg_graph_free(g);
        }
    }
    wg_settings_check_brick(s, ignore, NULL);
    wg_settings_free(s);
    return 0;
}
