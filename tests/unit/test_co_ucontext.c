/* SPDX-License-Identifier: Apache-2.0 */
/* The tests of coroutines again, with the portable switch: what machines other than x86-64 and arm64 get. */
#define WG_CO_UCONTEXT 1
#include "gateway/co_stack.c" /* in place of the library's */

#define lock test_lock
#include "test_co.c"
