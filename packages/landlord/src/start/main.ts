/** The file that is started. */
import { fileURLToPath } from "node:url";
import { cacheCode } from "./code-cache.ts";

const main = fileURLToPath(import.meta.url);
const role = process.argv[2] ?? "";
if (main.endsWith(".cjs")) cacheCode(main, ["dev", "serve", "worker"].includes(role) ? role : "command");
void import("./program.ts").then(({ runProgram }) => runProgram(main));
