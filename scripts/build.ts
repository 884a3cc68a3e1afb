/** Compiles the packages into their `dist` folders. */
import { execFileSync } from "node:child_process";
import { chmodSync, cpSync, rmSync } from "node:fs";
import { join } from "node:path";
import { listFiles, ROOT } from "./source-files.ts";

/** In order: the second takes the types of the first. */
const PACKAGES = ["packages/client", "packages/landlord"];

for (const folder of PACKAGES) {
  const start = Date.now();
  rmSync(join(ROOT, folder, "dist"), { recursive: true, force: true });
  compile(folder);
  const assets = listFiles().filter((path) => path.startsWith(`${folder}/src/`) && !path.endsWith(".ts"));
  for (const path of assets) {
    cpSync(join(ROOT, path), join(ROOT, path.replace(`${folder}/src/`, `${folder}/dist/`)));
  }
  process.stdout.write(`built ${folder}/dist in ${((Date.now() - start) / 1000).toFixed(1)} s\n`);
}
chmodSync(join(ROOT, "packages/landlord/bin/landlord.mjs"), 0o755);

function compile(folder: string): void {
  const compiler = join(ROOT, "node_modules/typescript/bin/tsc");
  try {
    execFileSync(process.execPath, [compiler, "-p", join(ROOT, folder, "tsconfig.build.json")], {
      stdio: "inherit",
    });
  } catch {
    process.stderr.write(`error: ${folder} does not compile; the reasons are above\n`);
    process.exit(1);
  }
}
