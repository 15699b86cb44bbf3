/* completion.c - scripts for bash, zsh and fish from the same rows as the help */
#include "cmd/doc.h"

#include <string.h>

/* The words that may follow an option, divided by spaces; false when they are files or free text. */
static bool put_values(FILE *out, const cmd_option *o)
{
    const pare_preset *preset;
    if (o->kind == CMD_KIND_PRESET)
        for (size_t i = 0; (preset = cmd_preset_at(i)) != NULL; i++)
            fprintf(out, i > 0 ? " %s" : "%s", preset->name);
    else if (o->choices != NULL)
        fputs(o->choices, out);
    else
        return false;
    return true;
}

static bool has_values(const cmd_option *o)
{
    return o->kind == CMD_KIND_PRESET || o->choices != NULL;
}

static void put_verbs(FILE *out)
{
    const cmd_verb *verb;
    for (size_t i = 0; (verb = cmd_verb_at(i)) != NULL; i++)
        fprintf(out, i > 0 ? " %s" : "%s", verb->name);
}

/* Text inside single quotes of a shell: quotes and, for zsh, brackets and colons are escaped. */
static void put_quoted(FILE *out, const char *text, const char *escaped)
{
    for (; *text != '\0'; text++) {
        if (*text == '\'')
            fputs("'\\'", out);
        else if (strchr(escaped, *text) != NULL)
            fputc('\\', out);
        fputc(*text, out);
    }
}

static void bash_values(FILE *out, const cmd_verb *verb)
{
    const cmd_option *o;
    for (size_t i = 0; (o = cmd_option_at(verb->id, i)) != NULL; i++)
        if (o->argument != NULL && !(o->traits & CMD_MAY_LACK) && (has_values(o) || o->kind != CMD_KIND_PATH)) {
            fprintf(out, "    %s:--%s", verb->name, o->name);
            if (o->letter != 0)
                fprintf(out, "|%s:-%c", verb->name, o->letter);
            fputs(") COMPREPLY=($(compgen -W '", out);
            put_values(out, o);
            fputs("' -- \"$cur\")); return ;;\n", out);
        }
}

static void bash(FILE *out)
{
    const cmd_verb *verb;
    const cmd_option *o;
    fputs("# bash completion for pare\n_pare()\n{\n"
          "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} verb=${COMP_WORDS[1]} options=\n"
          "    if [ \"$COMP_CWORD\" -eq 1 ] || { [ \"$verb\" = help ] && [ \"${cur#-}\" = \"$cur\" ]; }; then\n"
          "    COMPREPLY=($(compgen -W '",
          out);
    put_verbs(out);
    fputs(" --help --version' -- \"$cur\")); return\n    fi\n    case $verb:$prev in\n", out);
    for (size_t i = 0; (verb = cmd_verb_at(i)) != NULL; i++)
        bash_values(out, verb);
    fputs("    esac\n    case $verb in\n", out);
    for (size_t i = 0; (verb = cmd_verb_at(i)) != NULL; i++) {
        fprintf(out, "    %s) options='", verb->name);
        for (size_t k = 0; (o = cmd_option_at(verb->id, k)) != NULL; k++)
            if (!(o->traits & CMD_HIDDEN))
                fprintf(out, k > 0 ? " --%s" : "--%s", o->name);
        fputs("' ;;\n", out);
    }
    fputs("    esac\n    case $cur in\n    -*) COMPREPLY=($(compgen -W \"$options\" -- \"$cur\")) ;;\n"
          "    *) compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- \"$cur\")) ;;\n    esac\n}\n"
          "complete -F _pare pare\n",
          out);
}

static void zsh_option(FILE *out, const cmd_option *o)
{
    fputs(" \\\n        '", out);
    if (o->traits & CMD_REPEATS)
        fputc('*', out);
    if (o->letter != 0)
        fprintf(out, "'{-%c,--%s}'", o->letter, o->name);
    else
        fprintf(out, "--%s", o->name);
    if (o->argument != NULL && (o->traits & CMD_MAY_LACK))
        fputs("=-", out);
    fputc('[', out);
    put_quoted(out, o->help, "[]:\\");
    fputc(']', out);
    if (o->argument != NULL) {
        fprintf(out, o->traits & CMD_MAY_LACK ? "::%s:" : ":%s:", o->argument);
        if (has_values(o)) {
            fputc('(', out);
            put_values(out, o);
            fputc(')', out);
        } else if (o->kind == CMD_KIND_PATH)
            fputs("_files", out);
    }
    fputc('\'', out);
}

static void zsh(FILE *out)
{
    const cmd_verb *verb;
    const cmd_option *o;
    fputs("#compdef pare\n_pare()\n{\n    if (( CURRENT == 2 )); then\n        local -a verbs=(", out);
    for (size_t i = 0; (verb = cmd_verb_at(i)) != NULL; i++) {
        fprintf(out, "\n            '%s:", verb->name);
        put_quoted(out, verb->summary, ":\\");
        fputc('\'', out);
    }
    fputs(")\n        _describe command verbs\n        return\n    fi\n    local verb=$words[2]\n    shift words\n    "
          "(( CURRENT-- ))\n    case $verb in\n",
          out);
    for (size_t i = 0; (verb = cmd_verb_at(i)) != NULL; i++) {
        fprintf(out, "    %s) _arguments -s", verb->name);
        for (size_t k = 0; (o = cmd_option_at(verb->id, k)) != NULL; k++)
            if (!(o->traits & CMD_HIDDEN))
                zsh_option(out, o);
        if (verb->id == CMD_HELP) {
            fputs(" \\\n        '1:command:(", out);
            put_verbs(out);
            fputs(")' ;;\n", out);
        } else
            fputs(" \\\n        '*:file:_files' ;;\n", out);
    }
    fputs("    esac\n}\nif [ \"$funcstack[1]\" = _pare ]; then _pare \"$@\"; else compdef _pare pare; fi\n", out);
}

static void fish_option(FILE *out, const cmd_verb *verb, const cmd_option *o)
{
    fprintf(out, "complete -c pare -n '__fish_seen_subcommand_from %s' -l %s", verb->name, o->name);
    if (o->letter != 0)
        fprintf(out, " -s %c", o->letter);
    if (o->argument != NULL && !(o->traits & CMD_MAY_LACK))
        fputs(o->kind == CMD_KIND_PATH ? " -r -F" : " -x", out);
    if (has_values(o)) {
        fputs(" -a '", out);
        put_values(out, o);
        fputc('\'', out);
    }
    fputs(" -d '", out);
    put_quoted(out, o->help, "");
    fputs("'\n", out);
}

static void fish(FILE *out)
{
    const cmd_verb *verb;
    const cmd_option *o;
    fputs("# fish completion for pare\n", out);
    for (size_t i = 0; (verb = cmd_verb_at(i)) != NULL; i++) {
        fprintf(out, "complete -c pare -f -n __fish_use_subcommand -a %s -d '", verb->name);
        put_quoted(out, verb->summary, "");
        fputs("'\n", out);
    }
    fputs("complete -c pare -f -n '__fish_seen_subcommand_from help' -a '", out);
    put_verbs(out);
    fputs("'\n", out);
    for (size_t i = 0; (verb = cmd_verb_at(i)) != NULL; i++)
        for (size_t k = 0; (o = cmd_option_at(verb->id, k)) != NULL; k++)
            if (!(o->traits & CMD_HIDDEN))
                fish_option(out, verb, o);
}

void cmd_doc_completion(FILE *out, const char *shell)
{
    static const struct {
        const char *name;
        void (*print)(FILE *out);
    } shells[] = {{"bash", bash}, {"zsh", zsh}, {"fish", fish}};
    for (size_t i = 0; i < sizeof shells / sizeof shells[0]; i++)
        if (strcmp(shells[i].name, shell) == 0)
            shells[i].print(out);
}
