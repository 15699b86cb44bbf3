#include "cmd/pack_method.h"
#include "cmd/console.h"
#include "cmd/quantize_options.h"
#include "core/progress.h"
#include "formats/imatrix_file.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static pare_status check_format(const cmd_args *args, const pare_pack_format *format, pare_error *err)
{
    static const cmd_option_id ids[] = {OPT_IMATRIX, OPT_METHOD, OPT_EFFORT};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        if ((format == NULL || format->shape == NULL) && cmd_has(args, ids[i]))
            return pare_fail(err, PARE_ERR_USAGE,
                             "convert: --imatrix, --method and --effort choose packed integers: they are for --format "
                             "awq, gptq and compressed-tensors");
    return PARE_OK;
}

static pare_group_method method_of(const char *name)
{
    if (strcmp(name, "rtn") == 0)
        return PARE_GROUP_RTN;
    return strcmp(name, "search") == 0 ? PARE_GROUP_SEARCH : PARE_GROUP_FEEDBACK;
}

pare_status cmd_pack_method_open(cmd_pack_method *m, const cmd_args *args, const pare_pack_format *format,
                                 const pare_pack_options *options, pare_error *err)
{
    const char *method = cmd_text(args, OPT_METHOD);
    m->report.mean_ratio = NAN;
    pare_status st = check_format(args, format, err);
    if (st != PARE_OK || format == NULL || format->shape == NULL)
        return st;
    m->pack = (pare_pack){.format = format, .options = *options};
    if ((st = format->check(&m->pack.options, err)) != PARE_OK)
        return st;
    m->settings = (pare_group_settings){.shape = format->shape(&m->pack.options),
                                        .group = m->pack.options.group,
                                        .method = method_of(method),
                                        .effort = cmd_effort(args)};
    if (m->settings.method == PARE_GROUP_RTN && (cmd_has(args, OPT_EFFORT) || cmd_has(args, OPT_IMATRIX)))
        return pare_fail(err, PARE_ERR_USAGE,
                         "convert: --method rtn does not search, so --effort and --imatrix say nothing");
    if (cmd_has(args, OPT_IMATRIX)) {
        st = pare_imatrix_open(&m->imatrix, cmd_text(args, OPT_IMATRIX), err);
        m->settings.imatrix = &m->imatrix;
    }
    if (st == PARE_OK && strcmp(method, "feedback") == 0 && m->imatrix.grams.n == 0)
        st = pare_fail(err, PARE_ERR_USAGE,
                       "convert: --method feedback needs second-order statistics: collect them with pare imatrix "
                       "--full and give --imatrix");
    return st;
}

void cmd_pack_method_close(cmd_pack_method *m)
{
    pare_spool_close(&m->spool);
    pare_imatrix_close(&m->imatrix);
}

static bool fits(const pare_tensor *t, void *pack)
{
    const pare_pack *p = pack;
    return p->format->fits == NULL || p->format->fits(p, t, NULL) == PARE_OK;
}

static void show_tensor(uint32_t done, uint32_t n, const char *tensor, void *user)
{
    (void)user;
    if (cmd_shows_progress())
        pare_progress("matrices", done, n, tensor);
    else if (done < n)
        cmd_note("packing: matrix %" PRIu32 " of %" PRIu32 ", %s", done + 1, n, tensor);
}

pare_status cmd_pack_method_choose(cmd_pack_method *m, pare_model *out, pare_plan *plan, const char *output,
                                   pare_error *err)
{
    if (m->pack.format == NULL)
        return PARE_OK;
    m->settings.fits = fits;
    m->settings.format = &m->pack;
    m->settings.output = output;
    m->settings.each = show_tensor;
    return pare_group_choose(out, plan, &m->settings, &m->spool, &m->report, err);
}
