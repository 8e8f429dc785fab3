/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <uuid/uuid.h>

#include "errors.h"
#include "types.h"

const wg_gfid WG_ROOT_GFID = { { [15] = 1 } };

wg_gfid wg_gfid_new(void)
{
    wg_gfid g;

    uuid_generate_random(g.b);
    return g;
}

char *wg_etag_show(const struct wg_etag *e, char *buf)
{
    char *at = buf;

    for (int i = 0; i < 16; i++)
        at += sprintf(at, "%02x", e->md5[i]);
    if (e->synthetic)
        strcpy(at, "-0");
    else if (e->parts)
        sprintf(at, "-%u", e->parts);
    return buf;
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int wg_etag_parse(struct wg_str text, struct wg_etag *ret)
{
    struct wg_etag e = { .valid = true };
    uint32_t i;

    if (text.len >= 2 && text.s[0] == '"' && text.s[text.len - 1] == '"')
        text = (struct wg_str){ text.s + 1, text.len - 2 };
    if (text.len < 32)
        return EINVAL;
    for (i = 0; i < 16; i++) {
        int hi = hex(text.s[2 * i]), lo = hex(text.s[2 * i + 1]);

        if (hi < 0 || lo < 0)
            return EINVAL;
        e.md5[i] = (uint8_t)(hi << 4 | lo);
    }
    if (text.len > 32) {
        if (text.s[32] != '-' || text.len == 33 || text.len > 32 + 1 + 5)
            return EINVAL;
        for (i = 33; i < text.len; i++) {
            if (text.s[i] < '0' || text.s[i] > '9')
                return EINVAL;
            e.parts = e.parts * 10 + (uint32_t)(text.s[i] - '0');
        }
        e.synthetic = e.parts == 0;
    }
    *ret = e;
    return 0;
}
