import { generateKeyPairSync } from "node:crypto";
import { readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { identityOf, isAlive } from "../../src/os/process-identity.ts";
import {
  type EmbeddedRestate,
  startEmbeddedRestate,
} from "../../src/workflow/restate/embedded/embedded-restate.ts";
import { atEnd, cleanUpAfterEach, newFolder, newLog, startSupervisor, until } from "./embedded-kit.ts";

cleanUpAfterEach();

async function start(
  dataDir: string,
  keyFile: string | null = null,
  log = newLog(),
): Promise<EmbeddedRestate> {
  const started = await startEmbeddedRestate({
    dataDir,
    ports: null,
    requestIdentityKeyFile: keyFile,
    logFile: `${dataDir}.log`,
    log,
  });
  atEnd(() => started.stop());
  return started;
}

const isRunning = (pid: number) => {
  const identity = identityOf(pid);
  return identity !== null && isAlive(identity);
};

/** How many invocations the server knows; fails while its partitions have no leader. */
async function countInvocations({ adminUrl }: EmbeddedRestate): Promise<string> {
  const response = await fetch(`${adminUrl}/query`, {
    method: "POST",
    headers: { accept: "application/json", "content-type": "application/json" },
    body: JSON.stringify({ query: "SELECT count(*) AS n FROM sys_invocation" }),
  });
  return response.text();
}

describe("embedded Restate", () => {
  it("starts, keeps ports over a restart, tells its exit, and refuses another version", async () => {
    const folder = newFolder();
    const dataDir = join(folder, "engine");
    const { privateKey } = generateKeyPairSync("ed25519");
    const keyFile = join(folder, "key.pem");
    await writeFile(keyFile, privateKey.export({ type: "pkcs8", format: "pem" }));
    const first = await start(dataDir, keyFile);
    const exits: unknown[] = [];
    first.onExit((exit) => exits.push(exit));
    expect((await fetch(`${first.ingressUrl}/restate/health`)).ok).toBe(true);
    expect(await countInvocations(first)).toContain(`"n":0`);
    expect(readFileSync(`/proc/${first.pid}/environ`, "utf8")).not.toMatch(/\0(NODE_ENV|npm_|VITEST)/);
    await first.stop();
    await first.stop();
    expect(isRunning(first.pid)).toBe(false);
    await until("its exit", () => exits.length === 1);
    const second = await start(dataDir, keyFile);
    expect(second.ports).toEqual(first.ports);
    await second.stop();
    await writeFile(join(dataDir, "version"), "0.9.0\n");
    await expect(start(dataDir, keyFile)).rejects.toMatchObject({ code: "restate_version_mismatch" });
  });

  it("adopts the one whose supervisor was killed, and ends one that was started otherwise", async () => {
    const dataDir = join(newFolder(), "engine");
    const { child, started } = startSupervisor("restate", dataDir);
    const { pid } = await started;
    child.kill("SIGKILL");
    await until("the supervisor's end", () => child.signalCode !== null);
    const log = newLog();
    const adopted = await start(dataDir, null, log);
    expect(adopted.pid).toBe(pid);
    expect(log.messages.join()).toMatch(/adopted/);
    const { privateKey } = generateKeyPairSync("ed25519");
    await writeFile(`${dataDir}.pem`, privateKey.export({ type: "pkcs8", format: "pem" }));
    const other = await start(dataDir, `${dataDir}.pem`);
    expect(other.pid).not.toBe(pid);
    expect(isRunning(pid)).toBe(false);
    await until("the exit of the adopted", async () => {
      let ended = false;
      adopted.onExit(() => (ended = true));
      await Promise.resolve();
      return ended;
    });
  });

  it("starts after a kill, and two run side by side", async () => {
    const folder = newFolder();
    const [a, b] = await Promise.all([start(join(folder, "a")), start(join(folder, "b"))]);
    expect(new Set([...Object.values(a.ports), ...Object.values(b.ports)]).size).toBe(6);
    process.kill(a.pid, "SIGKILL");
    await until("its end", () => !isRunning(a.pid));
    const again = await start(join(folder, "a"));
    expect(again.ports).toEqual(a.ports);
    expect((await fetch(`${again.adminUrl}/health`)).ok).toBe(true);
  });
});
