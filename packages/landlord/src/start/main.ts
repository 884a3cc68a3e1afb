/** The file that is started. */
import { fileURLToPath } from "node:url";
import { PROCESS_COMMANDS } from "../cli/processes.ts";
import { cacheCode } from "./code-cache.ts";
import { startServerAhead } from "./dev/ahead.ts";
import { limitHeapGrowth } from "./heap.ts";

const main = fileURLToPath(import.meta.url);
const role = process.argv.slice(2).find((word) => PROCESS_COMMANDS.includes(word)) ?? "command";
// First: V8 takes no code from a cache that was made under other flags.
if (role === "serve") limitHeapGrowth();
if (main.endsWith(".cjs")) cacheCode(main, role);
const ahead = startServerAhead(main, process.argv.slice(2));
void import("./program.ts").then(({ runProgram }) => runProgram(main, ahead));
