/* cmd/quantize_report.h - what quantize tells of a run */
#ifndef PARE_CMD_QUANTIZE_REPORT_H
#define PARE_CMD_QUANTIZE_REPORT_H

#include "cmd/kv_ready_run.h"
#include "cmd/outputs.h"
#include "recipe/plan_summary.h"
#include "recipe/refine.h"

typedef struct cmd_quantize_run {
    const cmd_args *args;
    const char *output;
    const pare_model *out;
    const pare_plan *plan;
    const pare_refine_report *refined;
    bool refitted; /* the gains of the first norm */
    const cmd_kv_ready *kv_ready;
    const pare_pin *pin;
    const cmd_pinning *pinning;
    uint64_t planned; /* bytes of all files */
    bool dry;
} cmd_quantize_run;

/* Before anything is written: warn of a source that is quantized already, with what it costs, and in a dry run of
 * importances that lack. These warnings are no errors in strict mode: --allow-requantize and --dry-run asked for it. */
pare_status cmd_quantize_warn(const cmd_quantize_run *run, pare_error *err);

/* The report behind the run, as text or as JSON. */
pare_status cmd_quantize_report(const cmd_quantize_run *run, pare_error *err);

#endif
