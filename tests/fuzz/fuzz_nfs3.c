/* SPDX-License-Identifier: Apache-2.0 */
/* libFuzzer: a procedure (first byte) and its arguments, through the whole dispatcher; and a credential. */
#include "nfs_harness.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool started;
    struct nfs_authsys sys;

    if (!started)
        fz_start();
    started = true;
    if (size == 0 || size > 60000)
        return 0;
    nfs_get_authsys(data, (uint32_t)size, &sys);
    fz_call(NFS_PROGRAM, data[0] < 250 ? NFS_V3 : data[0], data[0] % 23, data + 1, size - 1);
    return 0;
}
