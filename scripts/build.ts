/** Makes the packages' `dist` folders. */
import { execFileSync } from "node:child_process";
import { chmodSync, rmSync } from "node:fs";
import { join } from "node:path";
import { bundleProgram } from "./bundle.ts";
import { ROOT } from "./source-files.ts";

/** In order: the second takes the types of the first, and of itself only types are compiled: its code is bundled. */
const PACKAGES = ["packages/client", "packages/landlord"];

const startedMs = performance.now();
for (const folder of PACKAGES) {
  rmSync(join(ROOT, folder, "dist"), { recursive: true, force: true });
  compile(folder);
}
await bundleProgram(join(ROOT, "packages/landlord/dist"));
chmodSync(join(ROOT, "packages/landlord/bin/landlord.mjs"), 0o755);
process.stdout.write(
  `built ${PACKAGES.map((folder) => `${folder}/dist`).join(" and ")} in ${((performance.now() - startedMs) / 1_000).toFixed(1)} s\n`,
);

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
