/** A process that tries to hold a folder of `landlord dev`, says how it went, and holds it until it is killed. */
import { openDevFolder } from "../../src/start/dev/folder.ts";

const folder = process.argv[2] ?? "";
try {
  await openDevFolder(folder);
  process.stdout.write("held\n");
  setInterval(() => undefined, 60_000);
} catch (error) {
  process.stdout.write(`refused: ${error instanceof Error ? error.message : String(error)}\n`);
}
