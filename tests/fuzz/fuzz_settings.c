/* SPDX-License-Identifier: Apache-2.0 */
/* libFuzzer: any bytes as windgate.conf. It is refused with messages, or it makes volfiles that parse. */
#include <stdlib.h>
#include <string.h>

#include "graph.h"
#include "settings.h"
#include "volgen.h"

static void ignore(void *arg, const char *text)
{
    (void)arg;
    if (strchr(text, '\n'))
        abort(); /* one line each */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wg_settings *s = wg_settings_parse("fuzz.conf", (const char *)data, size, ignore, NULL);
    const struct wg_set_volume *v = s ? s->volumes.items : NULL;

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
