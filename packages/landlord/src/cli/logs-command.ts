/** `logs`: the newest output of a tenant's compute, and what follows. */
import type { Command } from "commander";
import { setTimeout as delay } from "node:timers/promises";
import { example, withTenant } from "./command.ts";
import { clientOf, type CliDeps, type GlobalOptions } from "./context.ts";
import { parseTenant, parseWhole, type TenantReference } from "./input.ts";
import { printable } from "./output.ts";

const TAIL_LIMIT_BYTES = 262_144;
/** As much as can be had: the more two looks share, the more can be printed between them without a gap. */
const FOLLOW_BYTES = TAIL_LIMIT_BYTES;
const POLL_MIN_MS = 500;
const POLL_MAX_MS = 3_000;

interface LogsFlags {
  readonly tail: string;
  readonly follow?: boolean;
}

export function addLogsCommand(program: Command, deps: CliDeps): void {
  const command = withTenant(
    program.command("logs").description("Print the newest output of a tenant's compute"),
  )
    .option("--tail <bytes>", `how much at most, up to ${TAIL_LIMIT_BYTES}`, "16384")
    .option("-f, --follow", "go on with what it prints from now on, until Ctrl-C")
    .addHelpText("after", example("logs acme", "logs acme --tail 1000", "logs acme -f"));
  command.action(async (positional: string | undefined) => {
    const options = command.optsWithGlobals<GlobalOptions & TenantReference & LogsFlags>();
    const name = parseTenant(positional, options);
    const tailBytes = parseWhole("--tail", options.tail, 1, TAIL_LIMIT_BYTES);
    const client = clientOf(deps, options);
    const write = (text: string): unknown => deps.stdout.write(forOutput(text, deps));
    if (options.follow !== true) {
      write(await client.getLogs(name, { tailBytes }));
      return;
    }
    let seen = await client.getLogs(name, { tailBytes: FOLLOW_BYTES });
    write(seen.slice(-tailBytes));
    for (let pauseMs = POLL_MIN_MS; await pause(pauseMs, deps.signal);) {
      const now = await client.getLogs(name, { tailBytes: FOLLOW_BYTES });
      const fresh = newText(seen, now);
      if (fresh.isGap) deps.stderr.write("(output in between was not seen, or it began anew)\n");
      write(fresh.text);
      pauseMs = fresh.text === "" ? Math.min(pauseMs * 1.5, POLL_MAX_MS) : POLL_MIN_MS;
      // Compute that is being replaced has no output for a moment.
      if (now !== "") seen = now;
    }
  });
}

/** False when the signal ended it. */
async function pause(milliseconds: number, signal: AbortSignal | undefined): Promise<boolean> {
  await delay(milliseconds, undefined, signal === undefined ? {} : { signal }).catch(() => undefined);
  return signal?.aborted !== true;
}

/** A program's output may be anything: on a terminal it must not move the cursor or recolour what is there. */
function forOutput(text: string, deps: CliDeps): string {
  if (deps.stdout.columns === undefined) return text;
  return text
    .split("\n")
    .map((line) => line.split("\t").map(printable).join("\t"))
    .join("\n");
}

/**
 * What of `now`, the newest output, comes after `seen`, the newest output of a while ago: what follows the longest piece
 * that ends the one and begins the other. Where the output repeats itself without end, that may be too little.
 */
export function newText(seen: string, now: string): { readonly text: string; readonly isGap: boolean } {
  if (seen === "" || now === "") return { text: now, isGap: false };
  const shared = overlap(seen, now);
  return { text: now.slice(shared), isGap: shared === 0 };
}

/** The length of the longest end of `before` that is a beginning of `after`; linear, after Knuth, Morris and Pratt. */
function overlap(before: string, after: string): number {
  const failure = new Uint32Array(after.length);
  const longest = (matched: number, character: string): number => {
    let length = matched;
    while (length > 0 && (length === after.length || after[length] !== character))
      length = failure[length - 1] ?? 0;
    return after[length] === character ? length + 1 : length;
  };
  for (let index = 1; index < after.length; index += 1)
    failure[index] = longest(failure[index - 1] ?? 0, after[index] ?? "");
  let matched = 0;
  for (const character of before.slice(-after.length).split("")) matched = longest(matched, character);
  return matched;
}
