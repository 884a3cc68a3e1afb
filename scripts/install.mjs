// Installs the dependencies when they are missing or belong to another lockfile. Plain JavaScript, no dependencies.
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { withInstallLock } from "./install-lock.mjs";

const STILL_INSTALLING_MS = 15_000;

/** Answers the exit code of the installation: 0 also when there was nothing to do. */
export async function installDependencies(root) {
  if (isCurrent(root)) return 0;
  return withInstallLock(join(root, ".install.lock"), async () => {
    // Another run may have installed while this one waited.
    if (isCurrent(root)) return 0;
    process.stderr.write(
      "Installing dependencies with npm ci; this happens once and takes about a minute.\n",
    );
    const code = await npmCi(root);
    if (code === 0) stamp(root);
    else process.stderr.write(`error: npm ci failed with exit code ${code}; its messages are above.\n`);
    return code;
  });
}

/** File times prove nothing after a clone or a copy, so contents are compared. */
function isCurrent(root) {
  try {
    if (readFileSync(stampPath(root), "utf8") === lockHash(root)) return true;
  } catch {
    // No stamp: never installed, or installed by npm itself.
  }
  if (!matchesInstalled(root)) return false;
  stamp(root);
  return true;
}

/** npm notes what it installed; after somebody's own `npm install` that is all the proof needed. */
function matchesInstalled(root) {
  const notes = join(root, "node_modules/.package-lock.json");
  if (!existsSync(notes)) return false;
  try {
    const installed = JSON.parse(readFileSync(notes, "utf8")).packages;
    const wanted = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8")).packages;
    return Object.entries(wanted)
      .filter(([path]) => path.startsWith("node_modules/"))
      .every(([path, entry]) => {
        const found = installed[path];
        if (found === undefined) return entry.optional === true || entry.devOptional === true;
        return found.version === entry.version && found.integrity === entry.integrity;
      });
  } catch {
    return false;
  }
}

function stampPath(root) {
  return join(root, "node_modules/.landlord-lock-hash");
}

function lockHash(root) {
  return createHash("sha256")
    .update(readFileSync(join(root, "package-lock.json")))
    .digest("hex");
}

function stamp(root) {
  mkdirSync(join(root, "node_modules"), { recursive: true });
  writeFileSync(stampPath(root), lockHash(root));
}

function npmCi(root) {
  // The development dependencies run everything here, also where NODE_ENV says "production". The log level is set
  // because this npm would inherit `npm run --silent` and fail without a word.
  const args = ["ci", "--include=dev", "--no-audit", "--no-fund", "--loglevel=notice"];
  const given = process.env.npm_execpath ?? "";
  const [command, first] = given.endsWith("npm-cli.js") ? [process.execPath, [given]] : ["npm", []];
  // Standard output belongs to the script that comes afterwards.
  const child = spawn(command, [...first, ...args], { cwd: root, stdio: ["ignore", 2, 2] });
  const start = Date.now();
  const notice = setInterval(() => {
    process.stderr.write(`… still installing, ${Math.round((Date.now() - start) / 1000)} s\n`);
  }, STILL_INSTALLING_MS);
  return new Promise((resolve) => {
    child.on("error", (error) => {
      clearInterval(notice);
      process.stderr.write(`error: cannot start npm: ${error.message}\n`);
      resolve(1);
    });
    child.on("exit", (code) => {
      clearInterval(notice);
      resolve(code ?? 1);
    });
  });
}
