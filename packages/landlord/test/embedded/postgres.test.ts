import { existsSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import pg from "pg";
import { describe, expect, it } from "vitest";
import { identityOf, isAlive } from "../../src/os/process-identity.ts";
import { type EmbeddedPostgres, startEmbeddedPostgres } from "../../src/store/embedded/embedded-postgres.ts";
import { atEnd, cleanUpAfterEach, newFolder, newLog, startSupervisor, until } from "./embedded-kit.ts";

cleanUpAfterEach();

async function start(dataDir: string, log = newLog(), port: number | null = null): Promise<EmbeddedPostgres> {
  const started = await startEmbeddedPostgres({ dataDir, port, logFile: `${dataDir}.log`, log });
  atEnd(() => started.stop());
  return started;
}

async function query(url: string, text: string): Promise<unknown[]> {
  const client = new pg.Client({ connectionString: url });
  client.on("error", () => undefined);
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(text)).rows.map((row) => Object.values(row)[0]);
  } finally {
    await client.end();
  }
}

const isRunning = (pid: number) => {
  const identity = identityOf(pid);
  return identity !== null && isAlive(identity);
};

describe("embedded PostgreSQL", () => {
  it("starts, keeps data, port and password over a restart, and stops", async () => {
    const dataDir = join(newFolder(), "db");
    const first = await start(dataDir);
    const exits: unknown[] = [];
    first.onExit((exit) => exits.push(exit));
    await query(first.url, "CREATE TABLE kept AS SELECT 42 AS answer");
    const maintenanceUrl = first.url.replace(/landlord$/, "postgres");
    await until("the database that tools expect", () =>
      query(maintenanceUrl, "CREATE TABLE theirs AS SELECT 1").then(
        () => true,
        () => false,
      ),
    );
    expect(
      await query(
        first.url,
        "SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = current_database()",
      ),
    ).toEqual(["UTF8"]);
    expect(await query(first.url, "SHOW fsync")).toEqual(["on"]);
    expect(await query(first.url, "SHOW max_connections")).toEqual(["200"]);
    await expect(query(first.url.replace(/:[^:@]+@/, ":wrong@"), "SELECT 1")).rejects.toThrow(/password/);
    await first.stop();
    await first.stop();
    expect(isRunning(first.pid)).toBe(false);
    await until("its exit", () => exits.length === 1);
    expect(exits).toEqual([{ code: 0, signal: null }]);
    expect(statSync(join(dataDir, "password")).mode & 0o777).toBe(0o600);
    const second = await start(dataDir);
    expect(second.url).toBe(first.url);
    expect(await query(second.url, "SELECT answer FROM kept")).toEqual([42]);
    // One that is lost is made anew, and what tools have is left to them.
    await query(maintenanceUrl, "DROP DATABASE landlord");
    await second.stop();
    const third = await start(dataDir);
    expect(await query(third.url, "SELECT count(*)::int FROM pg_tables WHERE schemaname = 'public'")).toEqual(
      [0],
    );
    expect(await query(maintenanceUrl, "SELECT count(*)::int FROM theirs")).toEqual([1]);
  });

  it("says its address before it answers, also of one that it adopts", async () => {
    const dataDir = join(newFolder(), "db");
    const addresses: string[] = [];
    const onAddress = (url: string): void => void addresses.push(url);
    const options = { dataDir, port: null, logFile: `${dataDir}.log`, log: newLog(), onAddress };
    const first = await startEmbeddedPostgres(options);
    atEnd(() => first.stop());
    const adopted = await startEmbeddedPostgres(options);
    expect(adopted.pid).toBe(first.pid);
    expect(addresses).toEqual([first.url, first.url]);
  });

  it("adopts the one whose supervisor was killed, and may stop it", async () => {
    const dataDir = join(newFolder(), "db");
    const { child, started } = startSupervisor("postgres", dataDir);
    const { pid } = await started;
    child.kill("SIGKILL");
    await until("the supervisor's end", () => child.signalCode !== null);
    const log = newLog();
    const adopted = await start(dataDir, log);
    expect(adopted.pid).toBe(pid);
    expect(log.messages.join()).toMatch(/adopted/);
    expect(await query(adopted.url, "SELECT 1")).toEqual([1]);
    let ended = false;
    adopted.onExit(() => (ended = true));
    await adopted.stop();
    await until("its exit", () => ended);
    expect(isRunning(pid)).toBe(false);
  });

  it("ends one that does not answer to our password, and begins anew", async () => {
    const dataDir = join(newFolder(), "db");
    const first = await start(dataDir);
    process.kill(first.pid, "SIGSTOP");
    const log = newLog();
    const second = await start(dataDir, log);
    expect(second.pid).not.toBe(first.pid);
    expect(isRunning(first.pid)).toBe(false);
    expect(log.messages.join()).toMatch(/does not answer/);
    expect(await query(second.url, "SELECT 1")).toEqual([1]);
  });

  it("starts after the postmaster was killed, with a pid file that names another process", async () => {
    const dataDir = join(newFolder(), "db");
    const first = await start(dataDir);
    await query(first.url, "CREATE TABLE kept AS SELECT 7 AS answer");
    process.kill(first.pid, "SIGKILL");
    const place = existsSync(join(dataDir, "location"))
      ? readFileSync(join(dataDir, "location"), "utf8").trim()
      : dataDir;
    const pidFile = join(place, "pgdata", "postmaster.pid");
    const text = readFileSync(pidFile, "utf8").split("\n").slice(1).join("\n");
    await writeFile(pidFile, `${process.pid}\n${text}`);
    const second = await start(dataDir);
    expect(await query(second.url, "SELECT answer FROM kept")).toEqual([7]);
  });

  it("begins anew after an interrupted initdb", async () => {
    const dataDir = join(newFolder(), "db");
    const { child, started } = startSupervisor("postgres", dataDir);
    started.catch(() => undefined);
    const half = () =>
      (existsSync(dataDir) ? readdirSync(dataDir) : []).filter((entry) => entry.startsWith("pgdata"));
    await until("a half-made cluster", () =>
      half().some((entry) => existsSync(join(dataDir, entry, "cluster", "base"))),
    );
    child.kill("SIGKILL");
    const started2 = await start(dataDir);
    expect(await query(started2.url, "SELECT 1")).toEqual([1]);
    expect(half()).toEqual(["pgdata"]);
  });

  it("runs two side by side", async () => {
    const folder = newFolder();
    const [a, b] = await Promise.all([start(join(folder, "a")), start(join(folder, "b"))]);
    expect(a.port).not.toBe(b.port);
    expect(await Promise.all([query(a.url, "SELECT 1"), query(b.url, "SELECT 1")])).toEqual([[1], [1]]);
  });

  it("keeps its files elsewhere when its user cannot reach the folder", async () => {
    const dataDir = join(newFolder(0o700), "db");
    const log = newLog();
    const first = await start(dataDir, log);
    if (process.getuid?.() !== 0) {
      // Not root: PostgreSQL runs as the same user, who can reach it.
      expect(existsSync(join(dataDir, "location"))).toBe(false);
      return;
    }
    const location = readFileSync(join(dataDir, "location"), "utf8").trim();
    atEnd(() => rmSync(location, { recursive: true, force: true }));
    expect(location).toMatch(/^\/var\/tmp\/landlord-[0-9a-f]{16}$/);
    expect(statSync(location).mode & 0o777).toBe(0o700);
    expect(log.messages.filter((message) => message.includes(location))).toHaveLength(1);
    expect(await query(first.url, "SELECT 1")).toEqual([1]);
    await first.stop();
  });

  it("refuses the files of another major version, and a port that is taken", async () => {
    const folder = newFolder();
    const old = join(folder, "old");
    await mkdir(join(old, "pgdata"), { recursive: true });
    await writeFile(join(old, "pgdata", "PG_VERSION"), "12\n");
    await expect(start(old)).rejects.toMatchObject({ code: "postgres_version_mismatch" });
    const server = createServer();
    await new Promise<void>((resolve) => server.listen({ host: "127.0.0.1", port: 0 }, resolve));
    atEnd(() => void server.close());
    const address = server.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    await expect(start(join(folder, "taken"), newLog(), port)).rejects.toMatchObject({
      code: "postgres_port_taken",
    });
  });
});
