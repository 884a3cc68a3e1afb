/** Calls that fit any operation, or any change of a tenant; and what is less than a call. */
import { connect } from "node:net";
import { expect } from "vitest";
import { operationsWith, type Call, type Client, type Operation } from "./documented.ts";

export const SLEEP = { command: ["sleep", "600"] };

/** A uuid of nothing. */
export const UUID = "00000000-0000-4000-8000-000000000000";

/** Nothing is wrong with its form; whether there is what it names is another question. */
export function plain(operation: Operation): Call {
  const inPath = operation.parameters.filter((parameter) => parameter.in === "path");
  const parameters = Object.fromEntries(
    inPath.map(({ name }) => [name, /^(operation|token)_id$/.test(name) ? UUID : "nobody"]),
  );
  return operation.hasBody ? { parameters, body: {} } : { parameters };
}

export interface Facts {
  readonly present: string;
  readonly presentName: string;
  readonly archived: string;
}

/** Changes that succeed, of a tenant with two configurations and of one that is archived. */
export function changes({ present, presentName, archived }: Facts): Readonly<Record<string, Call>> {
  const config = { command: ["sleep", "1200"] };
  return {
    createTenant: { body: { name: "not-there-yet", compute_provider: "process", compute_config: config } },
    applyTenant: { parameters: { name: presentName }, body: { compute_config: config } },
    updateTenant: { parameters: { id: present }, body: { compute_config: config } },
    patchTenant: { parameters: { id: present }, body: { compute_config: config } },
    archiveTenant: { parameters: { id: present } },
    deleteTenant: { parameters: { id: present } },
    retryTenant: { parameters: { id: present } },
    pauseTenant: { parameters: { id: present } },
    resumeTenant: { parameters: { id: present } },
    restoreTenant: { parameters: { id: archived } },
    rollbackTenant: { parameters: { id: present }, body: {} },
    planTenant: { parameters: { id: present }, body: {} },
    getTenantLogs: { parameters: { id: present } },
  };
}

/** The change with something besides. */
export function besides(call: Call | undefined, more: Call): Call {
  return { ...call, ...more, parameters: { ...call?.parameters, ...more.parameters } };
}

/** What a server says to these bytes, until it ends the connection. */
export function spoken(url: string, text: string): Promise<string> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    let received = "";
    const socket = connect(Number(port), hostname, () => socket.write(text));
    socket.on("data", (chunk: Buffer) => (received += chunk.toString()));
    socket.on("error", reject);
    socket.on("close", () => resolve(received));
  });
}

/** A request that does not come to its end. */
export function hold(url: string, token: string): Promise<() => void> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname, () => {
      const head = [
        "POST /v1/tenants HTTP/1.1",
        "host: 127.0.0.1",
        `authorization: Bearer ${token}`,
        "content-type: application/json",
        "content-length: 100",
      ];
      socket.write(`${head.join("\r\n")}\r\n\r\n{`, () => resolve(() => socket.destroy()));
    });
    socket.on("error", reject);
  });
}

/** Sends each of them the same and expects the same. */
export async function expectOfAll(
  code: string,
  client: Client,
  ask: (operation: Operation) => Call,
  operations = operationsWith(code),
): Promise<void> {
  expect(operations.length, code).toBeGreaterThan(0);
  for (const operation of operations) {
    const answer = await client.call(operation.id, ask(operation));
    expect(`${operation.id} ${answer.code}`).toBe(`${operation.id} ${code}`);
  }
}

export async function tenant(client: Client, name: string, more: object = {}): Promise<string> {
  const body = { name, compute_provider: "process", compute_config: SLEEP, ...more };
  const { status, body: created } = await client.call("createTenant", { body });
  expect(status, JSON.stringify(created)).toBe(201);
  return String(created["id"]);
}

export async function newKey(admin: Client, role: string, more: object = {}): Promise<string> {
  keys += 1;
  const { body } = await admin.call("createToken", { body: { name: `key-${keys}`, role, ...more } });
  return String(body["secret"]);
}
let keys = 0;
