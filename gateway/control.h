/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket: how an operator looks inside a running daemon. A Unix socket of mode 0600;
 * a client sends one line of JSON, {"command":"status"}, and gets one JSON value back:
 * {"ok":true,...} or {"ok":false,"error":"..."}; then the connection is closed. A thread of its own serves it and
 * takes no lock that a call can hold, so it answers while bricks hang. Clients who say or read nothing don't hold
 * up others: 32 are served side by side, each is cut after 2 seconds without progress, and when more come, the
 * one that waits longest makes room. Commands are run one after the other.
 */
#ifndef WG_CONTROL_H
#define WG_CONTROL_H

struct cJSON;
struct wg_graph;

/* Answers one command: adds to answer; 0, or an errno (then "error" may be added for its text). */
typedef int wg_control_fn(const struct cJSON *request, struct cJSON *answer, void *arg);

struct wg_control_command {
    const char *name;
    wg_control_fn *fn;
    void *arg;
};

/*
 * Makes the socket at path (of any length) and starts its thread. A stale socket is replaced;
 * one that answers is an error (EADDRINUSE). commands ends with a NULL name and outlives it;
 * "ping" is always there. 0, or an errno after a log line.
 */
int wg_control_start(const char *path, const struct wg_control_command *commands);
/* Ends the thread and removes the socket. */
void wg_control_stop(void);

/*
 * The client's side: sends request, waits for at most timeout_ms. The answer, which the caller
 * frees (cJSON_Delete); NULL after a line on stderr. request is freed.
 */
struct cJSON *wg_control_ask(const char *path, struct cJSON *request, int timeout_ms);

#endif
