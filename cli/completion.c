/* SPDX-License-Identifier: Apache-2.0 */
#include "completion.h"
#include "cli.h"
#include <stdio.h>

static const char *const kinds[] = {
	[OPERAND_NONE] = "none",  [OPERAND_MACHINE] = "machine", [OPERAND_DISK] = "disk",
	[OPERAND_FILE] = "file", [OPERAND_VERB] = "verb",
	[OPERAND_LAUNCH] = "launch",
};

static void print_verbs(void)
{
	for (size_t i = 0; verbs[i]; i++)
		printf("%s%s", i ? " " : "", verbs[i]->name);
}

/* One `case` branch: options, and what the operands are. */
static void print_verb(const struct verb *v)
{
	const struct verb_option *o;

	printf("\t%s)\n\t\toptions=\"", v->name);
	for (size_t i = 0; (o = verb_option_get(v, i)); i++)
		printf("%s--%s", i ? " " : "", o->name);
	printf("\"\n\t\tfirst=%s others=%s ;;\n", kinds[v->first], kinds[v->others]);
}

/* Values of the option before the cursor; the same name means the same in all verbs. */
static void print_values(void)
{
	printf("\tcase $verb$previous in\n");
	for (size_t i = 0; verbs[i]; i++) {
		const struct verb_option *o;

		for (size_t j = 0; (o = verb_option_get(verbs[i], j)); j++) {
			if (!o->value)
				continue;
			printf("\t%s--%s) ", verbs[i]->name, o->name);
			if (o->words)
				printf("COMPREPLY=($(compgen -W '%s' -- \"$word\"))", o->words);
			else if (strcmp(o->value, "FILE") == 0)
				printf("COMPREPLY=($(compgen -f -- \"$word\"))");
			else if (strcmp(o->value, "DIR") == 0)
				printf("COMPREPLY=($(compgen -d -- \"$word\"))");
			else
				printf(":");
			printf("; return ;;\n");
		}
	}
	printf("\tesac\n");
}

void completion_print(void)
{
	printf("# bash completion for godwit; made by `godwit help --completion`\n"
	       "_godwit()\n{\n"
	       "\tlocal word=${COMP_WORDS[COMP_CWORD]} previous= verb=${COMP_WORDS[1]} options first others kind data=() i n=0\n"
	       "\tif ((COMP_CWORD == 1)); then\n"
	       "\t\tCOMPREPLY=($(compgen -W '");
	print_verbs();
	printf("' -- \"$word\"))\n\t\treturn\n\tfi\n"
	       "\t((COMP_CWORD > 2)) && previous=${COMP_WORDS[COMP_CWORD-1]}\n");
	print_values();
	printf("\tcase $verb in\n");
	for (size_t i = 0; verbs[i]; i++)
		print_verb(verbs[i]);
	printf("\t*) return ;;\n\tesac\n"
	       "\tif [[ $word == -* ]]; then\n"
	       "\t\tCOMPREPLY=($(compgen -W \"$options\" -- \"$word\"))\n\t\treturn\n\tfi\n"
	       "\tfor ((i = 2; i < COMP_CWORD; i++)); do\n"
	       "\t\t[[ ${COMP_WORDS[i]} == --data ]] && data=(--data \"${COMP_WORDS[i+1]}\")\n"
	       "\t\t[[ ${COMP_WORDS[i]} != -* && ${COMP_WORDS[i-1]} != --* ]] && ((n++))\n"
	       "\tdone\n"
	       "\tkind=$first\n\t((n > 0)) && kind=$others\n"
	       "\tcase $kind in\n"
	       "\tmachine) COMPREPLY=($(compgen -W \"$(godwit status --names \"${data[@]}\" 2>/dev/null)\" -- \"$word\")) ;;\n"
	       "\tlaunch) COMPREPLY=($(compgen -W \"$(godwit launches --ids \"${data[@]}\" 2>/dev/null)\" -- \"$word\")) ;;\n"
	       "\tdisk) COMPREPLY=($(compgen -W \"$(lsblk -dnpo NAME 2>/dev/null)\" -- \"$word\")) ;;\n"
	       "\tfile) COMPREPLY=($(compgen -f -- \"$word\")) ;;\n"
	       "\tverb) COMPREPLY=($(compgen -W '");
	print_verbs();
	printf("' -- \"$word\")) ;;\n\tesac\n}\ncomplete -F _godwit godwit\n");
}
