/** `landlord dev`: one command, the whole system, and what happens when its parts die. */
import { chmodSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "node:net";
import { afterEach, beforeEach, expect, test } from "vitest";
import {
  getTenant,
  isAlive,
  landlord,
  LANDLORD,
  startDev,
  until,
  waitForStatus,
  webServer,
  type Dev,
} from "./support/dev.ts";

const running: Dev[] = [];
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "landlord-acceptance-"));
  chmodSync(folder, 0o711);
});
afterEach(async () => {
  await Promise.all(running.splice(0).map((dev) => dev.stop()));
  rmSync(folder, { recursive: true, force: true });
});

async function start(name = "data", options: Parameters<typeof startDev>[1] = {}): Promise<Dev> {
  const dev = await startDev(join(folder, name), { cwd: folder, ...options });
  running.push(dev);
  return dev;
}

function create(dev: Dev, name: string, text = name): void {
  const run = landlord(dev.url, "create", "--tenant-name", name, "--config", webServer(text), "--wait");
  expect(run.stderr + run.stdout).toContain("ready");
  expect(run.status).toBe(0);
}

test("the command line drives a tenant through its life", { timeout: 180_000 }, async () => {
  const dev = await start();
  create(dev, "acme", "one");
  const first = await waitForStatus(dev.url, "acme", "ready");
  expect(await (await fetch(first.endpoints[0]?.url ?? "")).text()).toBe("one");

  expect(
    landlord(dev.url, "set", "--tenant-name", "acme", "--config", webServer("two"), "--wait").status,
  ).toBe(0);
  const second = await waitForStatus(dev.url, "acme", "ready");
  expect(await (await fetch(second.endpoints[0]?.url ?? "")).text()).toBe("two");

  expect(JSON.parse(landlord(dev.url, "get", "acme", "-o", "json").stdout)).toMatchObject({
    name: "acme",
    status: "ready",
  });
  expect(landlord(dev.url, "list").stdout).toMatch(/acme\s+ready\s+2\/2\s+process/);
  expect(landlord(dev.url, "compute", "--provider", "process").stdout).toContain("command");
  expect(landlord(dev.url, "archive", "acme", "--wait").status).toBe(0);
  expect(landlord(dev.url, "list").stdout).not.toContain("acme");
  expect(landlord(dev.url, "list", "--include-deleted").stdout).toContain("archived");
  expect(landlord(dev.url, "delete", "acme", "--wait").status).toBe(0);
  expect(landlord(dev.url, "get", "acme").status).toBe(3);
  expect(landlord(dev.url, "history", "acme").stdout).toContain("archived");
  expect(isAlive(Number(second.observed_resource_ids["pid"]))).toBe(false);
});

test("two run side by side, each worker without a way to any database", { timeout: 180_000 }, async () => {
  const [one, two] = await Promise.all([start("one"), start("two")]);
  create(one, "same-name", "from one");
  create(two, "same-name", "from two");
  const [first, second] = [
    await waitForStatus(one.url, "same-name", "ready"),
    await waitForStatus(two.url, "same-name", "ready"),
  ];
  expect(await (await fetch(first.endpoints[0]?.url ?? "")).text()).toBe("from one");
  expect(await (await fetch(second.endpoints[0]?.url ?? "")).text()).toBe("from two");

  const { worker, postgres, server } = one.parts();
  expect(new Set([worker, postgres, server, one.supervisorPid()]).size).toBe(4);
  const environment = readFileSync(`/proc/${worker}/environ`, "latin1");
  expect(environment).toContain("SUPERVISED_OVER_IPC");
  expect(environment).not.toMatch(/DATABASE|postgres:\/\//i);
  expect(readFileSync(`/proc/${worker}/cmdline`, "latin1")).not.toMatch(/database/i);
  // What they write, and what Node writes of them when they crash, is in their logs.
  for (const [name, pid] of Object.entries({ server, worker })) {
    const log = join(folder, "one/logs", `${name}.log`);
    for (const descriptor of [1, 2]) expect(readlinkSync(`/proc/${pid}/fd/${descriptor}`)).toBe(log);
    expect(readFileSync(log, "utf8")).toMatch(/"server is up"|"worker registered with Restate"/);
  }
  expect(one.output()).not.toMatch(/"msg":/);
  // It has no connection to PostgreSQL, and without the password it could not make one.
  const databasePort = Number(/PostgreSQL\s+127\.0\.0\.1:(\d+)/.exec(one.output())?.[1]);
  expect(databasePort).toBeGreaterThan(0);
  expect(connectionsOf(worker)).not.toContain(databasePort);
  expect(connectionsOf(server)).toContain(databasePort);
  expect(await startupAnswer(databasePort)).toBe("R");

  for (const dev of [one, two]) landlord(dev.url, "delete", "same-name", "--wait");
});

/** Remote ports of a process's TCP connections. */
function connectionsOf(pid: number): readonly number[] {
  return ["tcp", "tcp6"].flatMap((family) => {
    const sockets = new Set<string>();
    try {
      for (const descriptor of readdirOf(`/proc/${pid}/fd`)) sockets.add(descriptor);
    } catch {
      return [];
    }
    return readFileSync(`/proc/${pid}/net/${family}`, "utf8")
      .trim()
      .split("\n")
      .slice(1)
      .flatMap((line) => {
        const fields = line.trim().split(/\s+/);
        const inode = fields[9] ?? "";
        const port = Number.parseInt(fields[2]?.split(":")[1] ?? "0", 16);
        return sockets.has(`socket:[${inode}]`) ? [port] : [];
      });
  });
}

function readdirOf(path: string): readonly string[] {
  return readdirSync(path).flatMap((entry) => {
    try {
      return [readlinkSync(`${path}/${entry}`)];
    } catch {
      return [];
    }
  });
}

/** The first byte with which PostgreSQL answers somebody without a password: R, a demand to authenticate. */
function startupAnswer(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const parameters = Buffer.from("user\0postgres\0database\0landlord\0\0");
    const head = Buffer.alloc(8);
    head.writeInt32BE(8 + parameters.length, 0);
    head.writeInt32BE(196_608, 4);
    const socket = connect(port, "127.0.0.1", () => socket.write(Buffer.concat([head, parameters])));
    socket.once("error", reject);
    socket.once("data", (data) => {
      socket.destroy();
      // R with code 0 would mean: come in.
      resolve(data.readInt32BE(5) === 0 ? "no password asked" : String.fromCharCode(data[0] ?? 0));
    });
  });
}

test(
  "a folder is held by one supervisor, and a taken port says what to do",
  { timeout: 120_000 },
  async () => {
    const dev = await start();
    await expect(startDev(join(folder, "data"), { cwd: folder })).rejects.toThrow(
      /in use by another `landlord dev` \(pid \d+\)/,
    );
    const port = Number(new URL(dev.url).port);
    await expect(startDev(join(folder, "other"), { cwd: folder, port })).rejects.toThrow(
      /Port \d+ of 127\.0\.0\.1 is in use\. Choose another with --port/,
    );
  },
);

test(
  "each part that dies comes back, and ready tenants keep their process",
  { timeout: 180_000 },
  async () => {
    const dev = await start();
    create(dev, "steady");
    const before = await waitForStatus(dev.url, "steady", "ready");
    for (const part of ["server", "worker", "restate", "postgres"] as const) {
      const pid = dev.parts()[part];
      process.kill(pid, "SIGKILL");
      await until(`${part} is another process`, 60_000, () => !isAlive(pid) && dev.parts()[part] !== pid);
      await until("ready again", 60_000, async () => (await fetch(`${dev.url}/ready`)).status === 200);
      create(dev, `after-${part}`);
    }
    expect(dev.output()).toMatch(/starting it again/);
    const after = await getTenant(dev.url, "steady");
    expect(after?.observed_resource_ids["pid"]).toBe(before.observed_resource_ids["pid"]);
    for (const name of ["steady", "after-server", "after-worker", "after-restate", "after-postgres"]) {
      expect(landlord(dev.url, "delete", name, "--wait").status).toBe(0);
    }
  },
);

test(
  "a killed supervisor leaves nothing that the next one cannot take over",
  { timeout: 180_000 },
  async () => {
    const first = await startDev(join(folder, "data"), {
      cwd: folder,
      command: [process.execPath, LANDLORD, "dev"],
    });
    create(first, "survivor");
    const before = await waitForStatus(first.url, "survivor", "ready");
    const parts = first.parts();
    process.kill(first.supervisorPid(), "SIGKILL");
    // Server and worker notice that nobody watches over them.
    await until(
      "server and worker have ended",
      60_000,
      () => !isAlive(parts.server) && !isAlive(parts.worker),
    );
    const second = await start("data", { port: Number(new URL(first.url).port) });
    const after = await getTenant(second.url, "survivor");
    expect(after).toMatchObject({
      id: before.id,
      status: "ready",
      observed_resource_ids: before.observed_resource_ids,
    });
    expect(isAlive(Number(before.observed_resource_ids["pid"]))).toBe(true);
    expect(landlord(second.url, "set", "survivor", "--config", webServer("changed"), "--wait").status).toBe(
      0,
    );
    expect(landlord(second.url, "delete", "survivor", "--wait").status).toBe(0);
    expect(isAlive(Number(before.observed_resource_ids["pid"]))).toBe(false);
  },
);
