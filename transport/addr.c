/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses: "host:port", "[::1]:port", "unix:/path". */
#include <errno.h>
#include <netinet/in.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>

#include "internal.h"

static bool port_valid(const char *port)
{
    char *end;
    long n;

    if (*port < '0' || *port > '9')
        return false;
    n = strtol(port, &end, 10);
    return *end == '\0' && n >= 0 && n <= 65535;
}

static int parse_unix(const char *path, struct addr *a)
{
    if (path[0] != '/' || strlen(path) >= sizeof((struct sockaddr_un *)0)->sun_path)
        return EINVAL;
    a->path = strdup(path);
    return a->path ? 0 : ENOMEM;
}

static int parse_inet(const char *text, struct addr *a)
{
    const char *host = text, *end, *colon;

    if (*text == '[') {
        host++;
        end = strchr(host, ']');
        colon = end ? end + 1 : NULL;
    } else {
        end = colon = strchr(text, ':');
    }
    if (!colon || *colon != ':' || !port_valid(colon + 1) || (size_t)(end - host) > 255)
        return EINVAL;
    a->host = strndup(host, (size_t)(end - host));
    a->port = strdup(colon + 1);
    return a->host && a->port ? 0 : ENOMEM;
}

int addr_parse(const char *text, struct addr *ret)
{
    struct addr a = { .text = strdup(text) };
    int err;

    if (!a.text)
        return ENOMEM;
    err = strncmp(text, "unix:", 5) == 0 ? parse_unix(text + 5, &a) : parse_inet(text, &a);
    if (err) {
        addr_free(&a);
        return err;
    }
    *ret = a;
    return 0;
}

bool wg_addr_ok(const char *text)
{
    struct addr a;

    if (addr_parse(text, &a))
        return false;
    addr_free(&a);
    return true;
}

void addr_free(struct addr *a)
{
    free(a->text);
    free(a->host);
    free(a->port);
    free(a->path);
    *a = (struct addr){ 0 };
}

void sockaddr_show(const struct sockaddr_storage *ss, socklen_t len, char *buf, size_t size)
{
    const struct sockaddr_in *v4 = (const void *)ss;
    const struct sockaddr_in6 *v6 = (const void *)ss;
    const struct sockaddr_un *un = (const void *)ss;
    char ip[INET6_ADDRSTRLEN] = "?";

    if (ss->ss_family == AF_INET) {
        inet_ntop(AF_INET, &v4->sin_addr, ip, sizeof ip);
        snprintf(buf, size, "%s:%u", ip, ntohs(v4->sin_port));
    } else if (ss->ss_family == AF_INET6) {
        inet_ntop(AF_INET6, &v6->sin6_addr, ip, sizeof ip);
        snprintf(buf, size, "[%s]:%u", ip, ntohs(v6->sin6_port));
    } else if (ss->ss_family == AF_UNIX) {
        size_t path = len > offsetof(struct sockaddr_un, sun_path) ? strnlen(un->sun_path, len - offsetof(struct sockaddr_un, sun_path)) : 0;

        snprintf(buf, size, "unix:%.*s", (int)path, un->sun_path);
    } else {
        snprintf(buf, size, "?");
    }
}
