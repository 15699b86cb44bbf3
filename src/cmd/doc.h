/* cmd/doc.h - help, manual pages and shell completion, all made from the tables of verbs and options */
#ifndef PARE_CMD_DOC_H
#define PARE_CMD_DOC_H

#include "cmd/options.h"

#include <stdio.h>

void cmd_doc_overview(FILE *out);                      /* pare help */
void cmd_doc_verb(FILE *out, const cmd_verb *verb);    /* pare help VERB: examples first */
void cmd_doc_version(FILE *out);                       /* pare --version */
void cmd_doc_man(FILE *out, const cmd_verb *verb);     /* pare-VERB(1) in troff; NULL: pare(1) */
void cmd_doc_completion(FILE *out, const char *shell); /* bash, zsh or fish */

#endif
