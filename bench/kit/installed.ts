/** The package as npm would install it: users run compiled programs, and a checkout compiles its sources at every start. */
import { spawn } from "node:child_process";
import { cpSync, mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/**
 * Compiles without checking types, which changes nothing of what comes out. Answers the file of the program.
 *
 * @param folder an empty one
 */
export async function installPackage(folder: string): Promise<string> {
  // Packages that are not ours are found one folder up.
  symlinkSync(join(ROOT, "node_modules"), join(folder, "node_modules"));
  const modules = join(folder, "installed/node_modules");
  await Promise.all([
    compile("packages/client", join(modules, "@landlord/client")),
    compile("packages/landlord", join(modules, "landlord")),
  ]);
  cpSync(join(ROOT, "packages/landlord/bin"), join(modules, "landlord/bin"), { recursive: true });
  return join(modules, "landlord/bin/landlord.mjs");
}

async function compile(source: string, target: string): Promise<void> {
  mkdirSync(target, { recursive: true });
  cpSync(join(ROOT, source, "package.json"), join(target, "package.json"));
  const compiler = join(ROOT, "node_modules/typescript/bin/tsc");
  const project = join(ROOT, source, "tsconfig.build.json");
  const flags = ["--noCheck", "--declaration", "false", "--outDir", join(target, "dist")];
  const child = spawn(process.execPath, [compiler, "-p", project, ...flags], { stdio: "inherit" });
  const code = await new Promise((resolve) => child.once("exit", resolve));
  if (code !== 0) throw new Error(`${source} does not compile`);
}
