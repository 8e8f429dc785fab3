/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Structured logs, one line an event:
 *     2026-11-21T08:58:29.123Z warning transport peer="b1" error="certificate expired" closed
 * Each .c file names its part first:  #define WG_LOG_PART "transport"
 * Levels are set for all parts or one ("info,transport=debug"). With NOTIFY/journald the
 * priority prefix <N> is added. Secrets never enter a log.
 */
#ifndef WG_LOG_H
#define WG_LOG_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

enum wg_level { WG_ERROR, WG_WARNING, WG_NOTICE, WG_INFO, WG_DEBUG, WG_TRACE };

/* 0, or EINVAL for a level that is none. Any thread, at any time. */
int wg_log_set(const char *levels);
/* The same without setting anything. */
int wg_log_check(const char *levels);
/* NULL: stderr. Reopened on SIGHUP by calling it again. 0 or errno. */
int wg_log_file(const char *path);
bool wg_log_on(const char *part, enum wg_level level);
void wg_log_(const char *part, enum wg_level level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Control bytes in text become '?': what a message shows of others' text stays on its line. */
void wg_one_line(char *text);
/* Until it is called with NULL, the first error that this thread logs is also written to buf. */
void wg_log_capture(char *buf, size_t size);

/* fmt: a plain sentence with its objects in it. Control bytes are escaped. */
#define wg_log(level, ...)                                    \
    do {                                                      \
        if (wg_log_on(WG_LOG_PART, (level)))                  \
            wg_log_(WG_LOG_PART, (level), __VA_ARGS__);       \
    } while (0)
#define wg_error(...) wg_log(WG_ERROR, __VA_ARGS__)
#define wg_warning(...) wg_log(WG_WARNING, __VA_ARGS__)
#define wg_notice(...) wg_log(WG_NOTICE, __VA_ARGS__)
#define wg_info(...) wg_log(WG_INFO, __VA_ARGS__)
#define wg_debug(...) wg_log(WG_DEBUG, __VA_ARGS__)

#endif
