/* model/stock.h - what stock llama.cpp's loader wants of a GGUF file, and what it will not load
 *
 * Its loader has a list of tensors for each architecture: one that is missing, one more, or another shape than its own
 * arithmetic gives is an error (llama.cpp src/models/<name>.cpp, llama-model-loader.cpp: done_getting_tensors). The
 * descriptions say where a model of the family may differ from that list: flags PARE_STOCK_... of a weight,
 * stock_... of the family. */
#ifndef PARE_MODEL_STOCK_H
#define PARE_MODEL_STOCK_H

#include "model/model.h"

/* Add the tensors that the loader wants and m lacks, behind the others: zeros, which change nothing, and for a tied
 * output matrix a copy of the embedding. To be called before a GGUF file is made of m; twice is once. Pointers into
 * m->tensors are not valid any more. Errors: PARE_ERR_MEMORY. */
pare_status pare_stock_complete(pare_model *m, pare_error *err);

/* Whether output.weight of a family whose GGUF files always have it holds the very bytes of the embedding. Errors: as
 * reading. */
pare_status pare_stock_is_copy(const pare_model *m, bool *copy, pare_error *err);

/* Whether stock's graph multiplies the products of a weight, which pare_arch_has_factor, by NAME.scale. It loads such a
 * tensor for any family, but only some of its graphs use it, and behind a bias of the FFN none can. */
bool pare_stock_has_factor(const pare_model *m, pare_weight id, uint32_t layer);

/* Warn of what in m keeps stock from loading a file of it, or makes it compute something else, by the key of
 * config.json. path names the file. */
pare_status pare_stock_warn(const pare_model *m, const char *path, pare_error *err);

#endif
