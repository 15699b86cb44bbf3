#include "cmd/doc.h"
#include "cmd/build.h"

#include <ctype.h>
#include <string.h>

enum { WIDTH = 80, HELP_COLUMN = 26 };

/* One row an exit code, for help and manual pages. */
static const struct {
    const char *code, *text;
} exits[] = {
    {"0", "all went well"},
    {"1", "a difference was found: a file is not what was pinned, or a limit was passed"},
    {"2", "the command line makes no sense, or an output exists already"},
    {"3", "an input is absent, damaged or breaks its format"},
    {"4", "the input is valid, but pare does not support it"},
    {"5", "writing failed: disk full, no permission"},
    {"6", "no memory, or no such device"},
    {"129, 130, 143", "interrupted by SIGHUP, SIGINT or SIGTERM"},
};

static void upper(char *dst, size_t size, const char *src)
{
    size_t i = 0;
    for (; src[i] != '\0' && i + 1 < size; i++)
        dst[i] = (char)toupper((unsigned char)src[i]);
    dst[i] = '\0';
}

/* text with lines broken before WIDTH; the first starts at column `at`, the others at `indent`. */
static void wrap(FILE *out, const char *text, int at, int indent)
{
    while (*text != '\0') {
        int len = (int)strcspn(text, " \n");
        if (at + len > WIDTH && at > indent) {
            fprintf(out, "\n%*s", indent, "");
            at = indent;
        }
        fprintf(out, "%.*s", len, text);
        at += len;
        text += len;
        if (*text == '\n') {
            fprintf(out, "\n%*s", indent, "");
            at = indent;
            text++;
        } else if (*text == ' ') {
            text++;
            if (at + 1 + (int)strcspn(text, " \n") <= WIDTH) {
                fputc(' ', out);
                at++;
            } else {
                fprintf(out, "\n%*s", indent, "");
                at = indent;
            }
        }
    }
    fputc('\n', out);
}

enum { OPTION_TEXT = 4096 }; /* the longest has a quarter of it */

/* "--tensor REGEX=TYPE", "--metadata[=KEY]", "--force" */
static void long_form(char *dst, size_t size, const cmd_option *o)
{
    if (o->argument == NULL)
        snprintf(dst, size, "--%s", o->name);
    else if (o->traits & CMD_MAY_LACK)
        snprintf(dst, size, "--%s[=%s]", o->name, o->argument);
    else
        snprintf(dst, size, "--%s %s", o->name, o->argument);
}

/* What an option's help says, with its choices. */
static void option_text(char dst[OPTION_TEXT], const cmd_option *o)
{
    int n = snprintf(dst, OPTION_TEXT, "%s", o->help);
    if (o->kind == CMD_KIND_CHOICE)
        snprintf(dst + n, OPTION_TEXT - (size_t)n, " (%s%s%s)", o->choices,
                 o->otherwise != NULL ? "; without it: " : "", o->otherwise != NULL ? o->otherwise : "");
    else if (o->otherwise != NULL)
        snprintf(dst + n, OPTION_TEXT - (size_t)n, " (default %s)", o->otherwise);
}

static void help_option(FILE *out, const cmd_option *o)
{
    char name[96], text[OPTION_TEXT];
    long_form(name, sizeof name, o);
    option_text(text, o);
    int at = o->letter != 0 ? fprintf(out, "  -%c, %s", o->letter, name) : fprintf(out, "      %s", name);
    if (at + 2 > HELP_COLUMN)
        at = fprintf(out, "\n") - 1;
    fprintf(out, "%*s", HELP_COLUMN - at, "");
    wrap(out, text, HELP_COLUMN, HELP_COLUMN);
}

static void help_presets(FILE *out)
{
    const pare_preset *preset;
    fputs("\nPresets:\n", out);
    for (size_t i = 0; (preset = cmd_preset_at(i)) != NULL; i++) {
        int at = fprintf(out, "  %s", preset->name);
        fprintf(out, "%*s", at < 12 ? 12 - at : 1, "");
        wrap(out, preset->text, 12, 12);
    }
}

static void help_exits(FILE *out)
{
    fputs("\nExit codes:\n", out);
    for (size_t i = 0; i < sizeof exits / sizeof exits[0]; i++) {
        int at = fprintf(out, "  %-9s ", exits[i].code);
        wrap(out, exits[i].text, at, at);
    }
}

void cmd_doc_verb(FILE *out, const cmd_verb *verb)
{
    const cmd_option *o;
    fputs("Examples:\n", out);
    for (int i = 0; i < CMD_MAX_EXAMPLES && verb->examples[i].command != NULL; i++)
        fprintf(out, "  # %s\n  %s\n", verb->examples[i].text, verb->examples[i].command);
    fprintf(out, "\nUsage: pare %s [options] %s\n\n", verb->name, verb->operands);
    wrap(out, verb->text, 0, 0);
    fputs("\nOptions:\n", out);
    for (size_t i = 0; (o = cmd_option_at(verb->id, i)) != NULL; i++)
        if (!(o->traits & CMD_HIDDEN))
            help_option(out, o);
    if (verb->lists_presets)
        help_presets(out);
    help_exits(out);
}

void cmd_doc_overview(FILE *out)
{
    const cmd_verb *verb;
    fputs("Examples:\n"
          "  # a model that fits: four bits a weight, with its checksums\n"
          "  pare quantize ./model -t q4_k_m -o model-q4_k_m.gguf --pin\n"
          "  # what that cost\n"
          "  pare eval model-q4_k_m.gguf --reference ./model -f text.txt\n"
          "  # is it still the file that was pinned?\n"
          "  pare verify pare.lock\n"
          "\nUsage: pare COMMAND [options] ARGUMENT...\n"
          "\nMake a language model fit the memory you have, prove what it cost, pin the result.\n"
          "\nCommands:\n",
          out);
    for (size_t i = 0; (verb = cmd_verb_at(i)) != NULL; i++)
        fprintf(out, "  %-10s %s\n", verb->name, verb->summary);
    fputs("\n"
          "A MODEL is a GGUF file (any part of a split set), a Hub folder with config.json and\n"
          "safetensors, or a single .safetensors file. 'pare help COMMAND' says more.\n",
          out);
    help_exits(out);
}

/* Text for troff: hyphens of options stay hyphens, backslashes are kept, no line starts with a control character. */
static void troff(FILE *out, const char *text)
{
    bool start = true;
    for (; *text != '\0'; text++) {
        if (start && (*text == '.' || *text == '\''))
            fputs("\\&", out);
        start = *text == '\n';
        if (*text == '\\')
            fputs("\\e", out);
        else if (*text == '-')
            fputs("\\-", out);
        else if (*text == '\n')
            fputs("\n.PP\n", out);
        else
            fputc(*text, out);
    }
    fputc('\n', out);
}

static void man_option(FILE *out, const cmd_option *o)
{
    char text[OPTION_TEXT];
    fputs(".TP\n.B ", out);
    if (o->letter != 0)
        fprintf(out, "\\-%c\\fR, \\fB", o->letter);
    fputs("\\-\\-", out);
    for (const char *c = o->name; *c != '\0'; c++)
        fputs(*c == '-' ? "\\-" : (char[]){*c, '\0'}, out);
    if (o->argument != NULL)
        fprintf(out, o->traits & CMD_MAY_LACK ? "\\fR[=\\fI%s\\fR]" : "\\fR \\fI%s\\fR", o->argument);
    fputc('\n', out);
    option_text(text, o);
    troff(out, text);
}

static void man_example(FILE *out, const cmd_example *example)
{
    troff(out, example->text);
    fputs(".PP\n.RS 4\n.nf\n", out);
    troff(out, example->command);
    fputs(".fi\n.RE\n.PP\n", out);
}

static void man_exits(FILE *out)
{
    fputs(".SH EXIT STATUS\n", out);
    for (size_t i = 0; i < sizeof exits / sizeof exits[0]; i++) {
        fprintf(out, ".TP\n.B %s\n", exits[i].code);
        troff(out, exits[i].text);
    }
}

static void man_presets(FILE *out)
{
    const pare_preset *preset;
    fputs(".SH PRESETS\n", out);
    for (size_t i = 0; (preset = cmd_preset_at(i)) != NULL; i++) {
        fprintf(out, ".TP\n.B %s\n", preset->name);
        troff(out, preset->text);
    }
}

static void man_overview(FILE *out)
{
    const cmd_verb *verb;
    fprintf(out,
            ".TH PARE 1 \"\" \"pare %s\" \"pare manual\"\n.SH NAME\npare \\- make a language model fit the memory "
            "you have, prove what it cost, pin the result\n.SH SYNOPSIS\n.B pare\n.I COMMAND\n[options] "
            ".\\|.\\|.\n.SH COMMANDS\n",
            CMD_BUILD_VERSION);
    for (size_t i = 0; (verb = cmd_verb_at(i)) != NULL; i++) {
        fprintf(out, ".TP\n.BR pare\\-%s (1)\n", verb->name);
        troff(out, verb->summary);
    }
    man_exits(out);
}

void cmd_doc_man(FILE *out, const cmd_verb *verb)
{
    const cmd_option *o;
    char title[32];
    if (verb == NULL) {
        man_overview(out);
        return;
    }
    upper(title, sizeof title, verb->name);
    fprintf(out, ".TH PARE\\-%s 1 \"\" \"pare %s\" \"pare manual\"\n.SH NAME\npare\\-%s \\- ", title, CMD_BUILD_VERSION,
            verb->name);
    troff(out, verb->summary);
    fprintf(out, ".SH SYNOPSIS\n.B pare %s\n[options] ", verb->name);
    troff(out, verb->operands);
    fputs(".SH EXAMPLES\n", out);
    for (int i = 0; i < CMD_MAX_EXAMPLES && verb->examples[i].command != NULL; i++)
        man_example(out, &verb->examples[i]);
    fputs(".SH DESCRIPTION\n", out);
    troff(out, verb->text);
    fputs(".SH OPTIONS\n", out);
    for (size_t i = 0; (o = cmd_option_at(verb->id, i)) != NULL; i++)
        if (!(o->traits & CMD_HIDDEN))
            man_option(out, o);
    if (verb->lists_presets)
        man_presets(out);
    man_exits(out);
    fputs(".SH SEE ALSO\n.BR pare (1)\n", out);
}
