/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libFuzzer: any bytes as a fop's record: the first byte picks the fop, the second arguments or
 * results and how much of the rest is payload. What decodes must print, encode, and decode again.
 */
#include <stdlib.h>
#include <string.h>

#include "fop.h"
#include "iobuf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int decode(struct wg_arena *a, unsigned op, bool out, const uint8_t *body, size_t len,
                  struct wg_iobuf *payload, size_t payload_len, void **ret)
{
    struct wg_dec d = { .at = body, .end = body + len, .arena = a, .payload = payload };

    if (payload) {
        d.pat = payload->base;
        d.pend = d.pat + payload_len;
    }
    return wg_get_record(&d, op, out, ret);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t again[1 << 17];
    struct wg_iobuf *payload = NULL;
    struct wg_arena a;
    char text[300];
    void *rec;
    unsigned op;
    size_t extra;
    bool out;

    if (size < 2 || !wg_fops[data[0] % WG_OP_MAX].kind)
        return 0;
    op = data[0] % WG_OP_MAX;
    out = data[1] & 1;
    extra = (size_t)(data[1] >> 1) % (size - 1);
    wg_arena_init(&a, NULL, 0);
    if (extra) {
        payload = wg_iobuf_get((uint32_t)extra);
        if (!payload)
            abort();
        memcpy(payload->base, data + size - extra, extra);
    }
    if (decode(&a, op, out, data + 2, size - 2 - (extra < size - 2 ? extra : size - 2), payload, extra, &rec) == 0) {
        struct wg_enc e = { .at = again, .end = again + sizeof again };

        wg_show_record(op, out, rec, text, sizeof text);
        wg_put_record(&e, op, out, rec);
        if (!e.overflow && e.payload == 0 && decode(&a, op, out, again, (size_t)(e.at - again), NULL, 0, &rec))
            abort();
    }
    wg_iobuf_unref(payload);
    wg_arena_fini(&a);
    return 0;
}
