/** `landlord serve` as an operator starts it, over a database of its own. */
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import pg from "pg";
import { freePort, LANDLORD, until } from "./dev.ts";

export interface Serve {
  readonly url: string;
  stop(): Promise<void>;
}

/** @param config the configuration file; its `http.port` is chosen here */
export async function startServe(
  folder: string,
  config: Readonly<Record<string, unknown>> & { readonly http?: object },
): Promise<Serve> {
  const port = await freePort();
  const file = join(folder, `${randomUUID()}.yaml`);
  // JSON is YAML.
  writeFileSync(file, JSON.stringify({ data_dir: folder, ...config, http: { ...config.http, port } }));
  const child = spawn(process.execPath, [LANDLORD, "serve", "--config-file", file], {
    cwd: folder,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const output: string[] = [];
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (chunk: Buffer) => output.push(chunk.toString()));
  const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  const url = `http://127.0.0.1:${port}`;
  await until("landlord serve is ready", 60_000, async () => {
    if (child.exitCode !== null)
      throw new Error(`landlord dev ended with ${child.exitCode}: ${output.join("")}`);
    return (await fetch(`${url}/ready`)).status === 200;
  });
  return {
    url,
    async stop() {
      child.kill("SIGTERM");
      await exited;
    },
  };
}

export interface Database {
  readonly url: string;
  drop(): Promise<void>;
}

/** @param serverUrl of a PostgreSQL server and somebody who may create databases there */
export async function createDatabase(serverUrl: string): Promise<Database> {
  const name = `a_${randomUUID().replaceAll("-", "")}`;
  await run(serverUrl, `CREATE DATABASE ${name}`);
  const url = new URL(serverUrl);
  url.pathname = `/${name}`;
  return {
    url: url.toString(),
    drop: () => run(serverUrl, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`),
  };
}

async function run(url: string, statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}
