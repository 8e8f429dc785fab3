/* SPDX-License-Identifier: Apache-2.0 */
#include "volumes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WG_LOG_PART "gateway"
#include "log.h"
#include "volgen.h"
#include "volume.h"

static bool differs(const struct wg_settings *old, const struct wg_set_volume *a, const struct wg_settings *new,
                    const struct wg_set_volume *b)
{
    char *x = wg_volgen_volume(old, a), *y = wg_volgen_volume(new, b);
    bool same = x && y && strcmp(x, y) == 0;

    free(x);
    free(y);
    return !same;
}

static int change_to(const struct wg_settings *s, const struct wg_set_volume *set)
{
    struct wg_graph *g = wg_volgen_graph(s, set, wg_settings_log, NULL);
    char why[300];
    int err;

    if (!g)
        return EINVAL;
    err = wg_volume_change(wg_volume_find(set->name), g, why, sizeof why);
    if (err)
        wg_error("%s:%d: volume %s stays as it is: %s", s->file, set->line, set->name, why);
    else
        wg_notice("volume %s has a new graph", set->name);
    return err;
}

static int start(const struct wg_settings *s, const struct wg_set_volume *set)
{
    struct wg_graph *g = wg_volgen_graph(s, set, wg_settings_complain, NULL);
    struct wg_volume *v;

    return g ? wg_volume_start(set->name, g, &v) : EINVAL;
}

/* One volume; forth is false on the way back after an error with another. */
static int apply_one(const struct wg_settings *old, const struct wg_settings *new, unsigned i, bool forth)
{
    const struct wg_set_volume *to = (const struct wg_set_volume *)new->volumes.items + i;
    const struct wg_set_volume *from = old ? wg_settings_volume(old, to->name) : NULL;

    if (!from && forth)
        return start(new, to);
    if (!from) {
        wg_volume_close(wg_volume_find(to->name));
        return 0;
    }
    if (!differs(old, from, new, to))
        return 0;
    return forth ? change_to(new, to) : change_to(old, from);
}

int wg_volumes_apply(const struct wg_settings *old, const struct wg_settings *new)
{
    for (unsigned i = 0; i < new->volumes.n; i++) {
        int err = apply_one(old, new, i, true);

        while (err && i-- > 0)
            apply_one(old, new, i, false);
        if (err)
            return err;
    }
    return 0;
}

void wg_volumes_close(const struct wg_settings *old, const struct wg_settings *new)
{
    const struct wg_set_volume *v = old->volumes.items;

    for (unsigned i = 0; i < old->volumes.n; i++)
        if (!wg_settings_volume(new, v[i].name)) {
            wg_volume_close(wg_volume_find(v[i].name));
            wg_notice("volume %s is closed", v[i].name);
        }
}
