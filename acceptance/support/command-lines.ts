/** Command lines in documents, held against what the program itself says in `--help`. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { LANDLORD } from "./dev.ts";

const run = promisify(execFile);

interface Help {
  readonly commands: ReadonlySet<string>;
  readonly options: ReadonlySet<string>;
}

const helps = new Map<string, Promise<Help>>();

function helpOf(command: readonly string[]): Promise<Help> {
  const key = command.join(" ");
  let help = helps.get(key);
  if (help === undefined) {
    help = readHelp(command);
    helps.set(key, help);
  }
  return help;
}

async function readHelp(command: readonly string[]): Promise<Help> {
  const { stdout } = await run(process.execPath, [LANDLORD, ...command, "--help"], { encoding: "utf8" });
  const commands = (/^Commands:\n([\s\S]*?)(?:\n\n|$(?![\s\S]))/m.exec(stdout)?.[1] ?? "")
    .split("\n")
    .flatMap((line) => (/^ {2}([a-z][a-z|-]*)/.exec(line)?.[1] ?? "").split("|"));
  const options = [...stdout.matchAll(/^ {2}(-[^ ].*?)(?: {2}|$)/gm)].flatMap(([, words = ""]) =>
    [...words.matchAll(/(?:^|, )(--?[a-zA-Z][a-zA-Z-]*)/g)].map(([, option]) => option ?? ""),
  );
  return { commands: new Set(commands.filter((name) => name !== "")), options: new Set(options) };
}

/** What is wrong with the calls of `landlord` in a document; nothing when all is well. */
export async function commandProblems(text: string): Promise<readonly string[]> {
  const problems: string[] = [];
  for (const line of commandLines(text)) {
    const problem = await problemOf(line);
    if (problem !== null) problems.push(`${line}: ${problem}`);
  }
  return problems;
}

/** From shell blocks and from code in sentences. */
function commandLines(text: string): readonly string[] {
  const blocks = [...text.matchAll(/^ *```(?:sh|bash)\n([\s\S]*?)^ *```/gm)].map(([, block]) => block ?? "");
  const inline = [...text.replace(/^ *```[\s\S]*?^ *```/gm, "").matchAll(/`([^`\n]+)`/g)].map(
    ([, code]) => code ?? "",
  );
  return (
    [...blocks.map((block) => block.replaceAll("\\\n", " ")), ...inline]
      .flatMap((code) => code.split(/\n|&&|\|\||[|;()]/))
      .map((part) => part.replace(/#.*$/, "").trim())
      .map((part) => part.replace(/^(?:[A-Z_]+=\S+ +)+/, ""))
      .map((part) => /^(?:npx |npm run (?:--silent )?)?landlord (?:-- )?(.+)$/.exec(part)?.[1] ?? "")
      // A name for any command is not a call.
      .filter((words) => /^[a-z-]/.test(words))
  );
}

async function problemOf(line: string): Promise<string | null> {
  const words = withoutQuoted(line).split(/\s+/);
  const command: string[] = [];
  for (const word of words) {
    const { commands } = await helpOf(command);
    if (commands.size === 0) break;
    if (word.startsWith("-")) break;
    if (!commands.has(word)) return `there is no command "${[...command, word].join(" ")}"`;
    command.push(word);
  }
  const { options } = await helpOf(command);
  const used = words.filter((word) => /^--?[a-zA-Z]/.test(word)).map((word) => word.split("=")[0] ?? "");
  const unknown = used.filter((option) => !options.has(option));
  return unknown.length === 0 ? null : `${command.join(" ")} has no ${unknown.join(", ")}`;
}

/** What is in quotes is a value. */
function withoutQuoted(line: string): string {
  return line.replace(/'[^']*'?|"[^"]*"?/g, "VALUE").trim();
}
