#include "cmd/pack_method.h"
#include "cmd/console.h"
#include "cmd/quantize_options.h"
#include "core/progress.h"
#include "formats/imatrix_file.h"
#include "quant/output_error.h"
#include "recipe/calibration.h"

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
    if (strcmp(name, "awq") == 0)
        return PARE_GROUP_CLIP;
    return strcmp(name, "search") == 0 ? PARE_GROUP_SEARCH : PARE_GROUP_FEEDBACK;
}

/* What the methods that need second-order statistics lack. */
static pare_status check_statistics(const cmd_pack_method *m, const char *method, pare_error *err)
{
    if (m->imatrix.grams.n == 0 && (m->scales || strcmp(method, "feedback") == 0))
        return pare_fail(err, PARE_ERR_USAGE,
                         "convert: --method %s needs second-order statistics: collect them with pare imatrix --full "
                         "and give --imatrix",
                         method);
    if (m->scales && (m->settings.group < 0 || m->settings.group % PARE_PANEL != 0))
        return pare_fail(err, PARE_ERR_USAGE,
                         "convert: --method %s needs groups of a multiple of %d columns, not whole rows", method,
                         PARE_PANEL);
    return PARE_OK;
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
    m->scales = strncmp(method, "awq", 3) == 0;
    if (m->settings.method == PARE_GROUP_RTN && (cmd_has(args, OPT_EFFORT) || cmd_has(args, OPT_IMATRIX)))
        return pare_fail(err, PARE_ERR_USAGE,
                         "convert: --method rtn does not search, so --effort and --imatrix say nothing");
    if (m->settings.method == PARE_GROUP_CLIP && cmd_has(args, OPT_EFFORT))
        return pare_fail(err, PARE_ERR_USAGE, "convert: the grids of --method awq are fixed, so --effort says nothing");
    if (cmd_has(args, OPT_IMATRIX)) {
        st = pare_imatrix_open(&m->imatrix, cmd_text(args, OPT_IMATRIX), err);
        m->settings.imatrix = &m->imatrix;
    }
    return st == PARE_OK ? check_statistics(m, method, err) : st;
}

void cmd_pack_method_close(cmd_pack_method *m)
{
    pare_spool_close(&m->spool);
    pare_fold_close(&m->fold);
    pare_imatrix_close(&m->imatrix);
}

static bool fits(const pare_tensor *t, void *pack)
{
    const pare_pack *p = pack;
    return p->format->fits == NULL || p->format->fits(p, t, NULL) == PARE_OK;
}

static void show(const char *what, uint32_t done, uint32_t n, const char *tensor)
{
    if (cmd_shows_progress())
        pare_progress(what, done, n, tensor);
    else if (done < n)
        cmd_note("%s: %" PRIu32 " of %" PRIu32 ", %s", what, done + 1, n, tensor);
}

static void show_tensor(uint32_t done, uint32_t n, const char *tensor, void *user)
{
    (void)user;
    show("matrices", done, n, tensor);
}

static void show_pair(uint32_t done, uint32_t n, const char *tensor, void *user)
{
    (void)user;
    show("scales", done, n, tensor);
}

pare_status cmd_pack_method_scale(cmd_pack_method *m, pare_model *in, pare_error *err)
{
    if (!m->scales || in->arch == NULL)
        return PARE_OK;
    const pare_awq_settings settings = {.shape = m->settings.shape,
                                        .group = (uint64_t)m->settings.group,
                                        .imatrix = &m->imatrix,
                                        .fits = fits,
                                        .format = &m->pack,
                                        .each = show_pair};
    pare_status st = pare_calibration_check(&m->imatrix, in, err);
    if (st == PARE_OK)
        st = pare_fold_find(&m->fold, in, err);
    if (st == PARE_OK && m->fold.left != NULL)
        st = pare_warn(err, "%s: %s", in->path, m->fold.left);
    if (st == PARE_OK)
        st = pare_awq_search(&m->fold, in, &settings, &m->awq, err);
    m->settings.fold = &m->fold;
    return st == PARE_OK ? pare_fold_apply(in, &m->fold, err) : st;
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
