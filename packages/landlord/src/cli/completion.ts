/** `completion`: scripts for bash, zsh and fish, made from the tree of commands itself. */
import type { Command, Option } from "commander";
import { example } from "./command.ts";
import type { CliDeps } from "./context.ts";
import { parseOutputFormat } from "./output.ts";

export interface CompletionNode {
  /** Words from the program on: "token create". Empty for the program itself. */
  readonly path: string;
  readonly description: string;
  readonly commands: readonly { readonly name: string; readonly description: string }[];
  readonly options: readonly CompletionOption[];
}

export interface CompletionOption {
  /** As they are typed: "-o", "--output". */
  readonly flags: readonly string[];
  readonly description: string;
  readonly takesValue: boolean;
  readonly choices: readonly string[];
}

/** Every command of a program, groups included, each with what it takes. */
export function commandTree(program: Command): readonly CompletionNode[] {
  const shared = program.options.map(optionOf);
  const visit = (command: Command, path: readonly string[]): CompletionNode[] => {
    const own = command === program ? [] : command.options.map(optionOf);
    const commands = command.commands.filter((each) => each.name() !== "help");
    const node: CompletionNode = {
      path: path.join(" "),
      description: command.description(),
      commands: commands.flatMap((each) =>
        [each.name(), ...each.aliases()].map((name) => ({ name, description: each.description() })),
      ),
      options: [
        ...own,
        ...shared,
        { flags: ["-h", "--help"], description: "show help", takesValue: false, choices: [] },
      ],
    };
    const below = commands.flatMap((each) =>
      [each.name(), ...each.aliases()].flatMap((name) => visit(each, [...path, name])),
    );
    return [node, ...below];
  };
  return visit(program, []);
}

function optionOf(option: Option): CompletionOption {
  const flags = [option.short, option.long].filter((flag) => flag !== undefined && flag !== null);
  const isOutput = option.long === "--output";
  return {
    flags,
    description: option.description,
    takesValue: option.required || option.optional,
    choices: isOutput ? OUTPUT_NAMES : (option.argChoices ?? []),
  };
}

const OUTPUT_NAMES = ["table", "wide", "json", "yaml", "ndjson", "name"].filter(
  (name) => typeof parseOutputFormat(name) === "string",
);

const SHELLS = { bash: bashScript, zsh: zshScript, fish: fishScript } as const;

export function addCompletionCommand(program: Command, deps: CliDeps): void {
  const group = program
    .command("completion")
    .description("Print a script that completes commands in your shell");
  for (const [shell, script] of Object.entries(SHELLS)) {
    const load = {
      bash: "source <(landlord completion bash)",
      zsh: "source <(landlord completion zsh)",
      fish: "landlord completion fish | source",
    }[shell];
    group
      .command(shell)
      .description(`For ${shell}; to load it now and in each new shell, add to its start-up file: ${load}`)
      .addHelpText("after", example(`completion ${shell}`))
      .action(() => void deps.stdout.write(script(commandTree(program))));
  }
}

/** One quoted word of a POSIX shell. */
function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** Words that are options with a value: what follows them is not the name of a command. */
function valueFlags(tree: readonly CompletionNode[]): readonly string[] {
  const flags = tree.flatMap(({ options }) =>
    options.filter(({ takesValue }) => takesValue).flatMap((option) => option.flags),
  );
  return [...new Set(flags)].sort();
}

function choiceCases(tree: readonly CompletionNode[]): readonly string[] {
  const choices = new Map<string, string>();
  for (const { path, options } of tree)
    for (const option of options)
      if (option.choices.length > 0)
        for (const flag of option.flags) choices.set(`${path}:${flag}`, option.choices.join(" "));
  return [...choices].map(([key, words]) => `    ${quote(key)}) words=${quote(words)} ;;`);
}

function nodeCases(tree: readonly CompletionNode[]): readonly string[] {
  return tree.map(({ path, commands, options }) => {
    const flags = options.flatMap((option) => option.flags).join(" ");
    return `    ${quote(path)}) commands=${quote(commands.map(({ name }) => name).join(" "))}; flags=${quote(flags)} ;;`;
  });
}

/** What bash and zsh have in common: from the words so far to the words that may follow. */
function posixCore(tree: readonly CompletionNode[]): string {
  return `# Sets \`words\` to what may come after the words given; \`files\` is 1 where a file may.
_landlord_candidates() {
  local path='' word='' before='' commands='' flags='' skip=0
  words='' files=0
  for word in "$@"; do
    if [ "$skip" = 1 ]; then skip=0; before=''; continue; fi
    before="$word"
    case "$word" in
      ${valueFlags(tree).join("|")}) skip=1 ;;
      -*) ;;
      *) case "$path $word" in
${tree
  .filter(({ path }) => path !== "")
  .map(({ path }) => `        ${quote(path.includes(" ") ? path : ` ${path}`)}) path=${quote(path)} ;;`)
  .join("\n")}
      esac ;;
    esac
  done
  case "$path" in
${nodeCases(tree).join("\n")}
  esac
  if [ "$skip" = 1 ]; then
    case "$path:$before" in
${choiceCases(tree).join("\n")}
    *) files=1 ;;
    esac
    return
  fi
  if [ -n "$commands" ]; then words="$commands $flags"; else words="$flags"; files=1; fi
}
`;
}

function bashScript(tree: readonly CompletionNode[]): string {
  return `# bash completion of landlord
${posixCore(tree)}
_landlord() {
  local current="\${COMP_WORDS[COMP_CWORD]}" words files
  _landlord_candidates "\${COMP_WORDS[@]:1:COMP_CWORD-1}"
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  if [ "$files" = 1 ] && [ "\${#COMPREPLY[@]}" = 0 ]; then COMPREPLY=($(compgen -f -- "$current")); fi
}
complete -o filenames -F _landlord landlord
`;
}

function zshScript(tree: readonly CompletionNode[]): string {
  return `#compdef landlord
${posixCore(tree)}
_landlord() {
  local -a given=("\${(@)words[2,CURRENT-1]}")
  local words files
  _landlord_candidates "\${given[@]}"
  compadd -- \${=words}
  if [ "$files" = 1 ]; then _files; fi
}
compdef _landlord landlord
`;
}

function fishScript(tree: readonly CompletionNode[]): string {
  const fish = (text: string): string => `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
  const lines = tree.flatMap(({ path, commands, options }) => {
    const condition = `-n ${fish(`__landlord_at ${fish(path)}`)}`;
    return [
      ...commands.map(
        ({ name, description }) =>
          `complete -c landlord ${condition} -f -a ${fish(name)} -d ${fish(description)}`,
      ),
      ...options.map(({ flags, description, takesValue, choices }) => {
        const names = flags.map((flag) =>
          flag.startsWith("--") ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`,
        );
        const values = choices.length > 0 ? ` -f -a ${fish(choices.join(" "))}` : "";
        return `complete -c landlord ${condition} ${names.join(" ")}${takesValue ? " -r" : ""}${values} -d ${fish(description)}`;
      }),
    ];
  });
  const paths = tree.filter(({ path }) => path !== "").map(({ path }) => fish(path));
  return `# fish completion of landlord
function __landlord_at
    set -l at ''
    set -l skip 0
    for word in (commandline -opc)[2..-1]
        if test $skip = 1
            set skip 0
            continue
        end
        if contains -- $word ${valueFlags(tree).join(" ")}
            set skip 1
            continue
        end
        set -l next (string trim -- "$at $word")
        if contains -- $next ${paths.join(" ")}
            set at $next
        end
    end
    test "$at" = "$argv[1]"
end
${lines.join("\n")}
`;
}
