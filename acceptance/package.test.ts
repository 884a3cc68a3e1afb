/** The package as users install it: built, in a folder of its own, next to nothing but what it says that it needs. */
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import nodeModule from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { spawnSync } from "node:child_process";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { bundleProgram, EXTERNAL_PACKAGES } from "../scripts/bundle.ts";
import { getTenant, ROOT, startDev, until, waitForStatus, webServer, type Dev } from "./support/dev.ts";

let folder: string;
let program: string;
const running: Dev[] = [];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "landlord-package-"));
  chmodSync(folder, 0o711);
  const installed = join(folder, "node_modules/landlord");
  mkdirSync(installed, { recursive: true });
  for (const part of ["package.json", "bin"]) {
    cpSync(join(ROOT, "packages/landlord", part), join(installed, part), { recursive: true });
  }
  await bundleProgram(join(installed, "dist"));
  // What was bundled is not there: whatever was forgotten is missed.
  for (const name of EXTERNAL_PACKAGES) link(name);
  program = join(installed, "bin/landlord.mjs");
}, 120_000);
afterEach(async () => {
  await Promise.all(running.splice(0).map((dev) => dev.stop()));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function link(name: string): void {
  const target = join(folder, "node_modules", name);
  mkdirSync(dirname(target), { recursive: true });
  symlinkSync(join(ROOT, "node_modules", name), target);
}

async function start(data: string): Promise<Dev> {
  const dev = await startDev(join(folder, data), {
    cwd: folder,
    command: [process.execPath, program, "dev"],
    env: { HOME: folder, XDG_CACHE_HOME: "" },
  });
  running.push(dev);
  return dev;
}

function landlord(dev: Dev, ...words: string[]): { readonly status: number | null; readonly stdout: string } {
  return spawnSync(process.execPath, [program, "--api-url", dev.url, ...words], {
    encoding: "utf8",
    env: { HOME: folder, PATH: process.env["PATH"] },
  });
}

/** Files below a folder, with when they were written. */
function filesOf(root: string): Record<string, number> {
  const entries = existsSync(root) ? readdirSync(root, { recursive: true, encoding: "utf8" }) : [];
  const paths = entries.map((path) => join(root, path)).filter((path) => statSync(path).isFile());
  return Object.fromEntries(paths.map((path) => [path, statSync(path).mtimeMs]));
}

test("runs everything, and loads what it compiled at the start before", { timeout: 180_000 }, async () => {
  const first = await start("data");
  expect(
    landlord(first, "create", "--tenant-name", "acme", "--config", webServer("hi"), "--wait").stdout,
  ).toContain("ready");
  const tenant = await waitForStatus(first.url, "acme", "ready");
  expect(await (await fetch(tenant.endpoints[0]?.url ?? "")).text()).toBe("hi");
  await running.pop()?.stop();
  const compiled = filesOf(join(folder, ".cache/landlord"));
  expect(Object.keys(compiled).length).toBeGreaterThan(3);

  const second = await start("data");
  await waitForStatus(second.url, "acme", "ready");
  expect(landlord(second, "delete", "acme", "--wait").status).toBe(0);
  await running.pop()?.stop();
  // What was refused, or not looked for, would have been written again.
  expect(filesOf(join(folder, ".cache/landlord"))).toMatchObject(compiled);
});

test("uses no compiled code from where others may write", { timeout: 180_000 }, async () => {
  // From version 22 on Node itself keeps compiled code, and checks what it reads.
  const isKeptByNode = "enableCompileCache" in nodeModule;
  landlordVersion();
  const cache = join(folder, ".cache/landlord");
  const roles = readdirSync(cache).map((build) => join(cache, build, "command"));
  for (const role of isKeptByNode ? [] : roles) {
    rmSync(role, { recursive: true });
    mkdirSync(role);
    chmodSync(role, 0o777);
    landlordVersion();
    expect(readdirSync(role)).toEqual([]);
  }
});

function landlordVersion(): void {
  const run = spawnSync(process.execPath, [program, "--version"], {
    encoding: "utf8",
    env: { HOME: folder, PATH: process.env["PATH"] },
  });
  expect(run.stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
}

test("shares its errors with packages of providers", { timeout: 180_000 }, async () => {
  // Copied: a linked one would find the checkout's `landlord`.
  cpSync(
    join(ROOT, "examples/landlord-compute-static"),
    join(folder, "node_modules/landlord-compute-static"),
    {
      recursive: true,
    },
  );
  link("zod");
  writeFileSync(
    join(folder, "full.mjs"),
    `import example from "landlord-compute-static";
     import { ComputeError } from "landlord/compute";
     export default {
       ...example,
       name: "full",
       describe: (block) => ({ ...example.describe(block), name: "full" }),
       async create(block) {
         const provider = await example.create(block);
         provider.apply = () => Promise.reject(new ComputeError("no_room", "There is no room.", { retryable: false }));
         return provider;
       },
     };`,
  );
  mkdirSync(join(folder, "sites"));
  writeFileSync(
    join(folder, "landlord.yaml"),
    `compute: {full: {package: ./full.mjs, root: ${join(folder, "sites")}}}\n`,
  );
  const dev = await start("plugin");
  const config = JSON.stringify({ files: { "index.html": "hello" } });
  landlord(dev, "create", "--tenant-name", "acme", "--config", config);
  // An error of another copy of the class would be tried again, as one that nobody knows.
  await until("the tenant is told off at once", 20_000, async () => {
    const tenant = await getTenant(dev.url, "acme");
    return tenant?.status === "failed" && JSON.stringify(tenant).includes("There is no room.");
  });
});
