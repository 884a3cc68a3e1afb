/**
 * A Docker daemon of the tests' own: its data, containerd, bridge and addresses are nobody else's, so several run
 * side by side and beside the machine's. Needs root, Linux and Debian's docker.io; leaves nothing behind after `stop`.
 */
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { randomBytes, randomInt } from "node:crypto";
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { copyFile } from "node:fs/promises";
import { request } from "node:http";
import { join } from "node:path";
import { eventually } from "../eventually.ts";

const START_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 45_000;
const BUSYBOX = "/bin/busybox";
const APPLETS = [
  "sh",
  "httpd",
  "sleep",
  "cat",
  "echo",
  "wget",
  "true",
  "false",
  "kill",
  "id",
  "ls",
  "touch",
  "nc",
];

export interface DockerDaemonOptions {
  /** Containers survive the daemon. */
  readonly liveRestore?: boolean;
  /** Further arguments of dockerd, such as a TCP listener with TLS. */
  readonly args?: readonly string[];
}

export interface DockerDaemon {
  /** `unix://…` */
  readonly host: string;
  readonly pid: number;
  /** Network of containers without a network of their own, and its gateway: the host. */
  readonly bridge: { readonly name: string; readonly gateway: string };
  /** Resolves when the daemon, not its containers, has ended. */
  kill(signal: NodeJS.Signals): Promise<void>;
  /** Ends it if it runs, and starts it again on the same data. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

/** Where dockerd is, or null when tests with a real daemon cannot run here. */
export function findDockerd(): string | null {
  if (process.platform !== "linux" || process.getuid?.() !== 0 || !existsSync(BUSYBOX)) return null;
  const folders = [...(process.env["PATH"] ?? "").split(":"), "/usr/sbin", "/usr/bin", "/usr/local/bin"];
  return folders.map((folder) => join(folder, "dockerd")).find((file) => existsSync(file)) ?? null;
}

/** @throws when dockerd is not installed, or is not ready within a minute */
export async function startDockerDaemon(options: DockerDaemonOptions = {}): Promise<DockerDaemon> {
  const dockerd = findDockerd();
  if (dockerd === null)
    throw new Error("dockerd is not installed: apt-get install docker.io iptables busybox-static");
  // Paths of sockets are limited to 107 bytes, and containerd makes long ones below this.
  const folder = mkdtempSync("/tmp/lld-");
  const host = `unix://${folder}/docker.sock`;
  const network = addBridge();
  // The default key lies in /etc/docker and would give every daemon of a host the same ID.
  writeFileSync(
    join(folder, "config.json"),
    JSON.stringify({ "deprecated-key-path": join(folder, "key.json") }),
  );
  const args = [
    `--config-file=${folder}/config.json`,
    `--data-root=${folder}/data`,
    `--exec-root=${folder}/exec`,
    `--pidfile=${folder}/pid`,
    `--host=${host}`,
    `--bridge=${network.name}`,
    `--default-address-pool=base=${network.prefix}.128.0/17,size=24`,
    // Rules of the packet filter are shared by all daemons of a host; published ports work without, by docker-proxy.
    "--iptables=false",
    "--ip-masq=false",
    "--log-level=warn",
    ...(options.liveRestore === true ? ["--live-restore"] : []),
    ...(options.args ?? []),
  ];
  let child = await launch(dockerd, args, { folder, host });

  async function kill(signal: NodeJS.Signals): Promise<void> {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
    child.kill(signal);
    await ended;
  }
  return {
    host,
    bridge: { name: network.name, gateway: `${network.prefix}.0.1` },
    get pid() {
      return child.pid ?? 0;
    },
    kill,
    async restart() {
      await kill("SIGTERM");
      child = await launch(dockerd, args, { folder, host });
    },
    async stop() {
      const forced = setTimeout(() => child.kill("SIGKILL"), STOP_TIMEOUT_MS);
      await kill("SIGTERM");
      clearTimeout(forced);
      await removeLeftovers(folder, network);
    },
  };
}

async function launch(
  dockerd: string,
  args: readonly string[],
  place: { readonly folder: string; readonly host: string },
): Promise<ChildProcess> {
  // A daemon that was killed leaves its pid file, and a new one would refuse to start beside it. Its containerd ends
  // with it; where nobody reaps orphans, its pid stays taken, and a new daemon would wait for it to answer.
  rmSync(join(place.folder, "pid"), { force: true });
  rmSync(join(place.folder, "exec", "containerd", "containerd.pid"), { force: true });
  const log = openSync(join(place.folder, "log"), "a");
  const child = spawn(dockerd, args, { stdio: ["ignore", log, log] });
  closeSync(log);
  const logTail = () => readFileSync(join(place.folder, "log"), "utf8").slice(-2_000);
  await eventually(
    async () => {
      if (child.exitCode !== null || child.signalCode !== null) return true;
      return (await askDocker(place.host, "GET", "/_ping")).status === 200;
    },
    { what: "dockerd answers", timeoutMs: START_TIMEOUT_MS, everyMs: 50 },
  ).catch((cause: unknown) => {
    child.kill("SIGKILL");
    throw new Error(`dockerd did not start: ${logTail()}`, { cause });
  });
  if (child.exitCode !== null) throw new Error(`dockerd ended with ${child.exitCode}: ${logTail()}`);
  return child;
}

interface Network {
  readonly name: string;
  /** The first two numbers of its addresses. */
  readonly prefix: string;
}

function ip(...args: readonly string[]): string {
  return execFileSync("ip", args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

interface Link {
  readonly ifname: string;
  readonly addr_info: readonly { readonly local?: string }[];
}

function linksIn(prefix: string): readonly string[] {
  const links = JSON.parse(ip("-json", "-4", "address", "show")) as readonly Link[];
  return links
    .filter(({ addr_info }) => addr_info.some(({ local }) => local?.startsWith(`${prefix}.`) === true))
    .map(({ ifname }) => ifname);
}

/** A bridge whose /16 no other link of this host has. */
function addBridge(): Network {
  for (;;) {
    const network = { name: `lld${randomBytes(4).toString("hex")}`, prefix: `10.${randomInt(64, 250)}` };
    ip("link", "add", network.name, "type", "bridge");
    ip("address", "add", `${network.prefix}.0.1/17`, "dev", network.name);
    ip("link", "set", network.name, "up");
    if (linksIn(network.prefix).length === 1) return network;
    ip("link", "delete", network.name);
  }
}

/** What outlives a daemon that was killed: shims, containers, mounts, bridges of networks. */
async function removeLeftovers(folder: string, network: Network): Promise<void> {
  await eventually(
    () => {
      const left = processesOf(folder);
      for (const pid of left) killQuietly(pid);
      return left.length === 0;
    },
    { what: `the end of all processes below ${folder}` },
  );
  for (const name of linksIn(network.prefix)) ip("link", "delete", name);
  const mounts = readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .map((line) => line.split(" ")[4] ?? "")
    .filter((target) => target.startsWith(`${folder}/`));
  for (const target of mounts.reverse()) execFileSync("umount", ["--lazy", target]);
  await eventually(
    () => {
      rmSync(folder, { recursive: true, force: true });
      return true;
    },
    { what: `${folder} is removed` },
  );
}

/** Daemon, containerd and shims name the folder in their arguments; containers have their root below it. */
function processesOf(folder: string): readonly number[] {
  const read = (file: string): string => {
    try {
      return readFileSync(file, "utf8");
    } catch {
      return "";
    }
  };
  const pids = readdirSync("/proc").filter(
    (entry) => /^[0-9]+$/.test(entry) && Number(entry) !== process.pid,
  );
  return pids
    .filter((pid) => {
      const root = read(`/proc/${pid}/mountinfo`)
        .split("\n")
        .find((line) => line.split(" ")[4] === "/");
      return read(`/proc/${pid}/cmdline`).includes(folder) || root?.includes(`${folder}/`) === true;
    })
    .map(Number);
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

export interface DockerAnswer {
  readonly status: number;
  readonly body: string;
}

/** One plain request to a daemon: what tests do behind the provider's back, and what they look at. */
export function askDocker(
  host: string,
  method: "GET" | "POST" | "DELETE" | "PUT",
  path: string,
  body?: Buffer | string,
): Promise<DockerAnswer> {
  const type = Buffer.isBuffer(body) ? "application/x-tar" : "application/json";
  return new Promise((resolve, reject) => {
    const asked = request(
      {
        socketPath: host.replace("unix://", ""),
        method,
        path,
        agent: false,
        headers: body === undefined ? {} : { "content-type": type },
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("error", reject);
        response.on("end", () =>
          resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString("utf8") }),
        );
      },
    );
    asked.on("error", reject);
    asked.end(body);
  });
}

/**
 * Imports `landlord-test:1` and `landlord-test:2`: a static busybox whose web server on port 8080 answers the name of
 * its image, and ends at once at SIGTERM.
 */
export async function loadTestImage(host: string): Promise<void> {
  for (const tag of ["1", "2"]) {
    const root = mkdtempSync("/tmp/lli-");
    for (const folder of ["bin", "www", "tmp", "etc"]) mkdirSync(join(root, folder));
    await copyFile(BUSYBOX, join(root, "bin", "busybox"));
    for (const applet of APPLETS) symlinkSync("busybox", join(root, "bin", applet));
    writeFileSync(join(root, "www", "index.html"), `landlord-test:${tag}`);
    writeFileSync(join(root, "serve"), '#!/bin/sh\ntrap "exit 0" TERM\nhttpd -f -p 8080 -h /www &\nwait\n', {
      mode: 0o755,
    });
    const tar = execFileSync("tar", ["-C", root, "-c", "."], { maxBuffer: 64 * 1024 * 1024 });
    rmSync(root, { recursive: true });
    const changes = ["ENV PATH=/bin", 'CMD ["/serve"]'].map(
      (change) => `changes=${encodeURIComponent(change)}`,
    );
    const path = `/images/create?fromSrc=-&repo=landlord-test&tag=${tag}&${changes.join("&")}`;
    const answer = await askDocker(host, "POST", path, tar);
    if (answer.status !== 200 || answer.body.includes("error"))
      throw new Error(`image not imported: ${answer.body}`);
  }
}
