/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#define WG_LOG_PART "slow"
#include "call.h"
#include "log.h"
#include "slow.h"
#include "target.h"
#include "xlator.h"

#define EACH_NS 1000000000u
#define LINES 10 /* at a time; when a brick hangs, thousands of calls do */

static _Atomic uint64_t limit_ns;
static struct wg_timer timer;

struct found {
    uint64_t now;
    unsigned n;
    char line[LINES][400];
};

void wg_slow_limit(int64_t ms)
{
    atomic_store(&limit_ns, (uint64_t)ms * 1000000u);
}

static const struct wg_frame *deepest(const struct wg_call *call)
{
    const struct wg_frame *f = atomic_load(&call->frames);

    while (f && atomic_load(&f->complete))
        f = f->next;
    return f;
}

static void describe(const struct wg_call *call, const struct wg_frame *f, uint64_t now, char *line, size_t size)
{
    const struct wg_xlator *xl = __atomic_load_n(&f->this, __ATOMIC_RELAXED);
    struct wg_target target;
    char about[160];

    wg_target_of(f->op, f->in, &target);
    snprintf(line, size, "call %llu (%s of %.*s, uid %u, %.*s %s) is under way for %llu s; %s (%s) has its %s",
             (unsigned long long)call->id, call->what ? call->what : "?", (int)call->client.len,
             call->client.len ? call->client.s : "", call->cred.uid, (int)call->share.len,
             call->share.len ? call->share.s : "", wg_target_show(&target, about, sizeof about),
             (unsigned long long)((now - call->begin_ns) / 1000000000u), xl ? xl->name : "?",
             xl ? xl->class->type : "?", wg_op_name(f->op));
}

/* Under a shard's lock: a call that is seen here stays, with all its frames. */
static void look(struct wg_call *call, void *arg)
{
    struct found *found = arg;
    const struct wg_frame *f;

    if (found->now - call->begin_ns < atomic_load(&limit_ns) || found->now < call->begin_ns ||
        atomic_load_explicit(&call->logged, memory_order_relaxed) ||
        !atomic_load_explicit(&call->told, memory_order_acquire))
        return;
    /* Without a frame under way it waits for its client, who may take as long as he likes. */
    f = deepest(call);
    if (!f)
        return;
    if (found->n < LINES) {
        describe(call, f, found->now, found->line[found->n], sizeof *found->line);
        atomic_store_explicit(&call->logged, true, memory_order_relaxed);
    }
    found->n++;
}

static void tick(struct wg_timer *t)
{
    struct found found = { .now = wg_now_ns() };

    if (atomic_load(&limit_ns) > 0 && wg_log_on(WG_LOG_PART, WG_WARNING))
        wg_calls_each(look, &found);
    for (unsigned i = 0; i < found.n && i < LINES; i++)
        wg_warning("%s", found.line[i]);
    if (found.n > LINES)
        wg_warning("and %u calls more; see windgate top", found.n - LINES);
    wg_timer_arm(t, wg_now_ns() + EACH_NS, tick);
}

void wg_slow_start(void)
{
    wg_timer_arm(&timer, wg_now_ns() + EACH_NS, tick);
}

void wg_slow_ended(const struct wg_call *call)
{
    wg_warning("call %llu (%s) has ended after %.1f s%s%s", (unsigned long long)call->id,
               call->what ? call->what : "?", (double)(wg_now_ns() - call->begin_ns) / 1e9,
               call->root && call->root->err ? " with " : "",
               call->root && call->root->err ? wg_error_name(call->root->err) : "");
}
