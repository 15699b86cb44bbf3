/* recipe/lookup_gram.h - what errors in the rows of the token embedding cost, made of what reads them
 *
 * A row of the embedding is no factor of a product: it is the first state of the residual stream, and its error e goes
 * through the norms (gain g) into the matrices W that read the stream. Beside what W makes of its inputs (mean products
 * H) that is
 *
 *     e diag(g) W^T W diag(g) e^T / tr(W H W^T)
 *
 * and the sum of that over the first readers, those of layer 0's attention and, by the embedding's share in what it
 * reads, those of its FFN, is the form of e. What it costs as a row of the output matrix, where the table is that, too,
 * comes on top. docs/methods/FEEDBACK.md
 */
#ifndef PARE_RECIPE_LOOKUP_GRAM_H
#define PARE_RECIPE_LOOKUP_GRAM_H

#include "model/imatrix.h"
#include "model/model.h"

/* Make *out for token_embd.weight of m. *found: false where something else comes between it and its readers, and where
 * these, or it as the output matrix, have no statistics. The triangle is freed by
 * pare_lookup_gram_close. Errors: PARE_ERR_NUMBER (statistics that are not finite), PARE_ERR_MEMORY, those of reading
 * weights */
pare_status pare_lookup_gram_open(pare_gram *out, bool *found, const pare_model *m, const pare_imatrix *im,
                                  pare_error *err);
void pare_lookup_gram_close(pare_gram *g);

#endif
