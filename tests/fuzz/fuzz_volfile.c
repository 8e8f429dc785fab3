/* SPDX-License-Identifier: Apache-2.0 */
/* libFuzzer: any bytes as a volfile: messages of one line each, or a graph. Nothing is started. */
#include <stdlib.h>
#include <string.h>

#include "graph.h"
#include "module.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void one_line(void *arg, const char *text)
{
    ++*(int *)arg;
    if (strchr(text, '\n'))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int errors = 0;
    struct wg_graph *g;

    wg_module_forbid(); /* a type may name a file of the machine's: it is not to be loaded */
    g = wg_graph_parse("fuzz.vol", (const char *)data, size, one_line, &errors);

    if ((g == NULL) != (errors > 0))
        abort();
    if (g)
        wg_graph_free(g);
    return 0;
}
