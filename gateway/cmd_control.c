/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd_control.h"

#include <stdio.h>
#include <stdlib.h>

#include "control.h"

cJSON *wg_ask(const struct wg_args *args, const char *name, cJSON *more)
{
    const char *path = wg_arg(args, "control");
    cJSON *request = more ? more : cJSON_CreateObject(), *answer;
    int64_t seconds;

    if (!path)
        path = getenv("WG_CONTROL");
    if (!path || !*path)
        path = WG_CONTROL_DEFAULT;
    if (wg_arg_int(args, "timeout", 1, 3600, &seconds)) {
        cJSON_Delete(request);
        return NULL;
    }
    cJSON_AddStringToObject(request, "command", name);
    answer = wg_control_ask(path, request, (int)seconds * 1000);
    if (answer && !cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(answer, "ok"))) {
        const char *error = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(answer, "error"));

        wg_fail("%s: %s", name, error ? error : "refused");
        cJSON_Delete(answer);
        return NULL;
    }
    return answer;
}

void wg_print_answer(cJSON *answer)
{
    char *text;

    cJSON_DeleteItemFromObjectCaseSensitive(answer, "ok");
    text = cJSON_Print(answer);
    puts(text ? text : "null");
    cJSON_free(text);
}
