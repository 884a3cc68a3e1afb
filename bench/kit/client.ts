/** A client of the API that costs as little as one can: kept connections, no parsing that nobody reads. */
import { Pool } from "undici";

export interface BenchClient {
  /** Answers the id. */
  create(priority?: "interactive" | "bulk"): Promise<string>;
  /** From the request to ready. Answers ms. */
  createAndWait(): Promise<number>;
  close(): Promise<void>;
}

/** A create that takes longer has gone wrong: the benchmark ends with it. */
const WAIT_SECONDS = 30;

let counter = 0;

/** A name that no other tenant of this machine's runs has. */
export const nextName = (): string => `bench-${process.pid}-${counter++}`;

export function openClient(url: string, connections = 16): BenchClient {
  const pool = new Pool(url, { connections, pipelining: 1 });
  async function ask(method: "GET" | "POST", path: string, body?: object, headers = {}): Promise<unknown> {
    const answer = await pool.request({
      method,
      path,
      ...(body === undefined
        ? { headers }
        : { headers: { "content-type": "application/json", ...headers }, body: JSON.stringify(body) }),
    });
    const text = await answer.body.text();
    if (answer.statusCode >= 300) throw new Error(`${method} ${path} answered ${answer.statusCode}: ${text}`);
    return JSON.parse(text) as unknown;
  }
  const create: BenchClient["create"] = async (priority = "interactive") => {
    const body = { name: nextName(), compute_config: {} };
    return ((await ask("POST", "/v1/tenants", body, { "landlord-priority": priority })) as { id: string }).id;
  };
  return {
    create,
    async createAndWait() {
      const startedMs = performance.now();
      const id = await create();
      const path = `/v1/tenants/${id}?wait=ready&timeout=${WAIT_SECONDS}s`;
      const { status } = (await ask("GET", path)) as { status: string };
      if (status !== "ready") throw new Error(`a tenant is ${status} after ${WAIT_SECONDS} s`);
      return performance.now() - startedMs;
    },
    close: () => pool.close(),
  };
}
