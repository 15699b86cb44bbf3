/* recipe/type_rules.h - types that the user gives to tensors by name: --tensor, --output-type, --embedding-type
 *
 * Patterns are PCRE2, searched in the GGUF name, the first match decides. What a pattern met is counted, so that one
 * without any effect is told instead of passed over. */
#ifndef PARE_RECIPE_TYPE_RULES_H
#define PARE_RECIPE_TYPE_RULES_H

#include "recipe/recipe.h"

/* Zeroed is closed, as it must be before it is opened. Borrows the patterns. */
typedef struct pare_type_rules {
    struct pare_type_rule *items;
    size_t n;
    void *match;        /* pcre2_match_data */
    const char *option; /* that gives the patterns, for messages, set before they are opened; NULL: --tensor */
} pare_type_rules;

/* Errors: PARE_ERR_USAGE (a pattern that PCRE2 cannot compile, with the place), PARE_ERR_MEMORY */
pare_status pare_type_rules_open(pare_type_rules *r, const pare_type_override *overrides, size_t n, pare_error *err);
void pare_type_rules_close(pare_type_rules *r);

/* The pattern that decides the type of this tensor, NULL without one. To be asked for every tensor of the model once.
 *   quantizable  whether the tensor can have another type than it has
 *   taken        its type is decided by something else, which is counted
 * Errors: PARE_ERR_USAGE (a pattern that exceeds PCRE2's limits on this name) */
pare_status pare_type_rules_find(pare_type_rules *r, const char *name, bool quantizable, bool taken,
                                 const pare_type_override **found, pare_error *err);

/* Behind the last tensor: did every pattern meet one that it can change? Warns of patterns whose tensors were all
 * decided by an earlier one. Errors: PARE_ERR_USAGE, those of warnings in strict mode. */
pare_status pare_type_rules_check(const pare_type_rules *r, const char *path, pare_error *err);

#endif
