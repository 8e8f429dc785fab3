#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test: the examples of docs/coroutines.md are the code that the unit tests run
. "$(dirname "$0")/lib.sh"
need python3
python3 - "$TOP/docs/coroutines.md" "$TOP/tests/unit/test_co_examples.c" <<'P'
import re, sys
guide, source = (open(p).read() for p in sys.argv[1:])
examples = [text for text in re.findall(r"/\* --- example: \w+ --- \*/\n(.*?)/\* --- end --- \*/", source, re.S)]
shown = re.findall(r"```c\n(.*?)```\n", guide, re.S)
if sorted(examples) != sorted(shown) or not shown:
    sys.exit("guide and code differ: " + "; ".join(t.split("\n")[0] for t in set(examples) ^ set(shown)))
P
