/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every daemon does alike: process limits, signals, readiness, stopping. Daemons stay in
 * the foreground; systemd (or quickstart) puts them where they belong.
 *
 * Signals: SIGHUP reloads, SIGTERM and SIGINT drain and stop, a second one ends at once. They are
 * blocked before any thread starts and taken by sigwait on the main thread, so no handler runs.
 */
#ifndef WG_DAEMON_H
#define WG_DAEMON_H

#include <stdint.h>

/*
 * Before anything else, before any thread: umask 0 (modes are the clients'), SIGPIPE ignored,
 * signals blocked, no core files (they would hold keys), descriptors raised to want (0: the
 * hard limit, at most 1048576). 0, or an errno after a message.
 */
int wg_daemon_begin(int64_t want_descriptors);

/* Tells the service manager, when there is one ($NOTIFY_SOCKET): "READY=1\nSTATUS=...". */
void wg_daemon_notify(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/*
 * Says READY and waits for a stop. reload(arg) runs on this thread at each SIGHUP. Returns the
 * signal that asked for the stop.
 */
int wg_daemon_wait(void (*reload)(void *arg), void *arg);

/* From any thread: as if SIGTERM had come. */
void wg_daemon_request_stop(void);

/*
 * The stop begins: from now on a second SIGTERM or SIGINT, or deadline_ms from now, ends the process at once
 * with status 1, whatever hangs.
 */
void wg_daemon_stopping(int64_t deadline_ms);

#endif
