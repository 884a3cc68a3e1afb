/** The package as npm would install it: users run built programs, and a checkout compiles its sources at every start. */
import { cpSync, mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { bundleProgram } from "../../scripts/bundle.ts";
import { ROOT } from "../../scripts/source-files.ts";

/**
 * Builds the program without checking types, which changes nothing of what comes out. Answers the file of the program.
 *
 * @param folder an empty one
 */
export async function installPackage(folder: string): Promise<string> {
  // Packages that are not ours are found one folder up.
  symlinkSync(join(ROOT, "node_modules"), join(folder, "node_modules"));
  const installed = join(folder, "installed/node_modules/landlord");
  mkdirSync(installed, { recursive: true });
  for (const part of ["package.json", "bin"]) {
    cpSync(join(ROOT, "packages/landlord", part), join(installed, part), { recursive: true });
  }
  await bundleProgram(join(installed, "dist"));
  return join(installed, "bin/landlord.mjs");
}
