/** The file that is started. */
import { fileURLToPath } from "node:url";
import { cacheCode } from "./code-cache.ts";
import { limitHeapGrowth } from "./heap.ts";

const main = fileURLToPath(import.meta.url);
const role = process.argv[2] ?? "";
// First: V8 takes no code from a cache that was made under other flags.
if (role === "serve") limitHeapGrowth();
if (main.endsWith(".cjs")) cacheCode(main, ["dev", "serve", "worker"].includes(role) ? role : "command");
void import("./program.ts").then(({ runProgram }) => runProgram(main));
