/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a fuzz target over the files given, without libFuzzer: to look at a finding with any compiler. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int argc, char **argv)
{
    static uint8_t data[1 << 20];

    for (int i = 1; i < argc; i++) {
        FILE *f = fopen(argv[i], "re");
        uint8_t *exact;
        size_t n;

        if (!f) {
            perror(argv[i]);
            return 1;
        }
        n = fread(data, 1, sizeof data, f);
        fclose(f);
        exact = malloc(n ? n : 1); /* its end is the end of the memory, so that overreads show */
        if (!exact)
            return 1;
        for (size_t j = 0; j < n; j++)
            exact[j] = data[j];
        LLVMFuzzerTestOneInput(exact, n);
        free(exact);
    }
    return 0;
}
