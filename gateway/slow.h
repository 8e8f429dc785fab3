/* SPDX-License-Identifier: Apache-2.0 */
/* Says in the log which calls take long, while they do, and again when they have ended. */
#ifndef WG_SLOW_H
#define WG_SLOW_H

#include <stdint.h>

struct wg_call;

/* From which age on, ms; 0: never. Any thread, at any time. */
void wg_slow_limit(int64_t ms);
/* Looks every second from now on, until the workers stop. Once, after wg_work_start. */
void wg_slow_start(void);
/* The end of a call that was logged. */
void wg_slow_ended(const struct wg_call *call);

#endif
