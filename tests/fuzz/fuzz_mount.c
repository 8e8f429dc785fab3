/* SPDX-License-Identifier: Apache-2.0 */
/* libFuzzer: a MOUNT procedure and version (first byte) and its arguments. */
#include "nfs_harness.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool started;

    if (!started)
        fz_start();
    started = true;
    if (size == 0 || size > 60000)
        return 0;
    fz_call(MOUNT_PROGRAM, data[0] / 8 % 5, data[0] % 8, data + 1, size - 1);
    return 0;
}
