#include "cmd/kv_choose.h"

#include "cmd/cache_options.h"

pare_estimate cmd_kv_worst(const cmd_kv_run *r, size_t form, uint32_t *depth)
{
    size_t worst = 0;
    for (size_t d = 1; d < r->request.n_depths; d++)
        if (cmd_kv_result(r, d, form)->kld_mean.value > cmd_kv_result(r, worst, form)->kld_mean.value)
            worst = d;
    *depth = r->request.depths[worst];
    return cmd_kv_result(r, worst, form)->kld_mean;
}

static bool is_eligible(const cmd_kv_run *r, size_t form, bool research, uint64_t n_ctx)
{
    if (cmd_cache_recent(&r->request.forms[form].form) >= r->request.depths[r->request.n_depths - 1])
        return false; /* nothing of it was seen */
    if (r->request.forms[form].programs[0] == '\0')
        return research && n_ctx == 0; /* nobody can say what context it leaves room for */
    return r->contexts == NULL || r->contexts[form] >= (n_ctx > 0 ? n_ctx : 1);
}

/* Is a the better choice of two below the limit? */
static bool is_better(const cmd_kv_run *r, size_t a, size_t b)
{
    const uint64_t x = r->request.forms[a].bytes_1024, y = r->request.forms[b].bytes_1024;
    uint32_t depth;
    return x != y ? x < y : cmd_kv_worst(r, a, &depth).value < cmd_kv_worst(r, b, &depth).value;
}

cmd_kv_choice cmd_kv_choose(const cmd_kv_run *r, double limit, bool research, uint64_t n_ctx)
{
    cmd_kv_choice c = {CMD_KV_NONE, CMD_KV_NONE};
    uint32_t depth;
    for (size_t i = 0; i < r->request.n_forms; i++) {
        if (!is_eligible(r, i, research, n_ctx))
            continue;
        const double kld = cmd_kv_worst(r, i, &depth).value;
        if (kld <= limit && (c.form == CMD_KV_NONE || is_better(r, i, c.form)))
            c.form = i;
        if (c.closest == CMD_KV_NONE || kld < cmd_kv_worst(r, c.closest, &depth).value)
            c.closest = i;
    }
    return c;
}
