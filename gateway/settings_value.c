/* SPDX-License-Identifier: Apache-2.0 */
/* What a text must be besides a text: addresses, networks, names. Nothing here asks a name server. */
#include <netdb.h>
#include <string.h>
#include <uuid/uuid.h>

#include "frontends/nfs/nfs.h"
#include "log.h"
#include "settings_table.h"
#include "transport.h"

const char *wg_set_wants_endpoint(const char *text)
{
    return wg_addr_ok(text) ? NULL : "host:port, [v6]:port or unix:/path";
}

static bool numeric(const char *text)
{
    struct addrinfo hints = { .ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM }, *ai;

    if (!*text || getaddrinfo(text, NULL, &hints, &ai))
        return false;
    freeaddrinfo(ai);
    return true;
}

const char *wg_set_wants_address(const char *text)
{
    return numeric(text) ? NULL : "a numeric address without port, such as 192.0.2.1 or ::";
}

const char *wg_set_wants_host(const char *text)
{
    /* Brackets are taken off where the port is put on. */
    char inner[64];
    size_t len = strlen(text);

    if (len > 2 && len < sizeof inner && text[0] == '[' && text[len - 1] == ']') {
        memcpy(inner, text + 1, len - 2);
        inner[len - 2] = '\0';
        text = inner;
    }
    return strcmp(text, "localhost") == 0 ? NULL : wg_set_wants_address(text);
}

const char *wg_set_wants_clients(const char *text)
{
    return wg_nfs_clients_ok(text) ? NULL : "\"*\", an address or a network such as 10.0.0.0/8";
}

const char *wg_set_wants_levels(const char *text)
{
    return wg_log_check(text) == 0 ? NULL
         : "error, warning, notice, info, debug or trace, or such for parts (\"info,nfs=debug\")";
}

const char *wg_set_wants_uuid(const char *text)
{
    uuid_t id;

    return uuid_parse(text, id) == 0 ? NULL : "a UUID";
}

const char *wg_set_wants_absolute(const char *text)
{
    return text[0] == '/' ? NULL : "a path that begins with '/'";
}

const char *wg_set_wants_text(const char *text)
{
    return *text ? NULL : "given: it is empty";
}
