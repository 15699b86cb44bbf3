/* pare.h - everything that a C program which links libpare may call: libpare.so exports what the headers named here, and
 * those that they include, declare (scripts/public_api.sh), and nothing else
 *
 * Each header is the contract of its module. The order of use is in docs/ARCHITECTURE.md: open a model
 * (formats/open.h), derive another from it (recipe/recipe.h), write it (formats/gguf.h, formats/hf.h), measure it
 * (eval/measure.h), pin and verify it (formats/lock.h); ask beforehand what it takes to run it (memory/placement.h).
 * Functions return a pare_status and describe a failure in a pare_error. */
#ifndef PARE_H
#define PARE_H

#include "core/error.h"
#include "core/progress.h"
#include "core/threads.h"
#include "core/version.h"
#include "eval/forward.h"
#include "eval/measure.h"
#include "eval/tokenizer.h"
#include "formats/bundle.h"
#include "formats/cyclonedx.h"
#include "formats/gguf.h"
#include "formats/hf.h"
#include "formats/imatrix_file.h"
#include "formats/lock.h"
#include "formats/open.h"
#include "memory/inverse.h"
#include "memory/launch.h"
#include "memory/speed.h"
#include "model/model.h"
#include "quant/preset.h"
#include "quant/registry.h"
#include "recipe/meta_edit.h"
#include "recipe/plan_summary.h"
#include "recipe/recipe.h"

#endif
