/* SPDX-License-Identifier: Apache-2.0 */
/* The frame parser under any bytes at any split: the first byte of the input chooses the step. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wg_parser p;
    struct wg_parsed m;
    uint32_t step;
    int r;

    if (size < 1 || wg_parser_init(&p, 65536, 65536))
        return 0;
    step = 1 + (uint32_t)data[0] * data[0];
    data++;
    size--;
    for (;;) {
        uint8_t *dst;
        uint32_t room;

        while ((r = wg_parser_next(&p, &m)) == 1) {
            uint8_t header[WG_MSG_HEADER];
            struct wg_msg_hdr again;
            volatile uint8_t sum = 0;

            wg_frame_encode(header, &m.hdr);
            if (wg_frame_decode(header, 65536, 65536, &again) || again.type != m.hdr.type || again.id != m.hdr.id ||
                again.low != m.hdr.low || again.flags != m.hdr.flags || again.body_len != m.hdr.body_len)
                abort();

            for (uint32_t i = 0; i < m.hdr.body_len; i++)
                sum = (uint8_t)(sum + m.body[i]);
            if ((m.payload != NULL) != (m.hdr.payload_len > 0) || (m.payload && m.payload->size < m.hdr.payload_len))
                abort();
            if (m.hdr.id % 3 == 0) { /* as wg_lane_handoff does in a callback */
                struct wg_stage *fresh = malloc(sizeof *fresh), *old;
                uint8_t *body;

                if (!fresh)
                    abort();
                wg_parser_split(&p, fresh, &old, &body);
                free(old);
                free(body);
            }
            wg_iobuf_unref(m.payload);
        }
        if (r < 0 || size == 0)
            break;
        wg_parser_room(&p, &dst, &room);
        if (room == 0)
            abort();
        room = room < step ? room : step;
        room = room < size ? room : (uint32_t)size;
        memcpy(dst, data, room);
        wg_parser_put(&p, room);
        data += room;
        size -= room;
    }
    wg_parser_fini(&p);
    return 0;
}
