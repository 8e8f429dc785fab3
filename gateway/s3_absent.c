/* SPDX-License-Identifier: Apache-2.0 */
/* Until the S3 front end is in the tree: a gateway that asks for it does not start, and says why. */
#include <errno.h>

#include "frontends/s3/server.h"
#include "log.h"

#define WG_LOG_PART "s3"

int wg_s3_start(const struct wg_s3_config *config, struct wg_s3 **ret)
{
    (void)config;
    (void)ret;
    wg_error("S3 is not built into this program; set s3.enabled = false");
    return ENOTSUP;
}

void wg_s3_reload(struct wg_s3 *s3)
{
    (void)s3;
}

void wg_s3_stop(struct wg_s3 *s3, unsigned drain_ms)
{
    (void)s3;
    (void)drain_ms;
}

uint16_t wg_s3_port(const struct wg_s3 *s3, bool https)
{
    (void)s3;
    (void)https;
    return 0;
}
