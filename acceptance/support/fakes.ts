/** What stands around a server, as far as it can be made to fail: its engine, its issuer of JWTs, its way to the database. */
import { generateKeyPairSync, sign } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { connect, createServer as createTcpServer, type AddressInfo, type Socket } from "node:net";

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

async function listen(server: Server | ReturnType<typeof createTcpServer>, port = 0): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "127.0.0.1", resolve);
  });
  return (server.address() as AddressInfo).port;
}

/** How an engine may answer a question to a worker, by the code that the API makes of it. */
const ENGINE_ANSWERS = {
  no_worker: (_request, response) => answer(response, 404, { message: "service not found" }),
  query_failed: (_request, response) =>
    answer(response, 400, { message: "out of reach" }, { "x-restate-error-source": "invocation" }),
  invalid_answer: (_request, response) => answer(response, 200, { nonsense: true }),
  engine_unreachable: (request) => void request.socket.destroy(),
  engine_unavailable: (_request, response) => answer(response, 503, { message: "starting" }),
  engine_unauthorized: (_request, response) => answer(response, 401, { message: "who are you?" }),
  engine_rejected: (_request, response) => answer(response, 422, { message: "what?" }),
} as const satisfies Record<string, Handler>;

export type EngineFailure = keyof typeof ENGINE_ANSWERS;
export const ENGINE_FAILURES = Object.keys(ENGINE_ANSWERS) as EngineFailure[];

export interface FakeEngine {
  readonly url: string;
  failWith(failure: EngineFailure): void;
  close(): void;
}

/** Something at the address of Restate that always fails. */
export async function startFakeEngine(): Promise<FakeEngine> {
  let failure: EngineFailure = "no_worker";
  const server = createServer((request, response) => {
    request.resume();
    ENGINE_ANSWERS[failure](request, response);
  });
  const port = await listen(server);
  return {
    url: `http://127.0.0.1:${port}`,
    failWith: (next) => void (failure = next),
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

function answer(response: ServerResponse, status: number, body: object, headers = {}): void {
  response.writeHead(status, { "content-type": "application/json", ...headers });
  response.end(JSON.stringify(body));
}

export interface Issuer {
  readonly url: string;
  /** Until then nobody is there. */
  open(): Promise<void>;
  jwt(claims: Readonly<Record<string, unknown>>): string;
  close(): void;
}

const AUDIENCE = "landlord";

/** An OpenID Connect issuer with one key. */
export async function prepareIssuer(port: number): Promise<Issuer> {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const url = `http://127.0.0.1:${port}`;
  const key = { ...publicKey.export({ format: "jwk" }), kid: "only", alg: "ES256", use: "sig" };
  const server = createServer((request, response) => {
    if (request.url === "/.well-known/openid-configuration")
      answer(response, 200, { issuer: url, jwks_uri: `${url}/keys` });
    else answer(response, 200, { keys: [key] });
  });
  return {
    url,
    open: async () => void (await listen(server, port)),
    jwt(claims) {
      const issuedAt = Math.floor(Date.now() / 1_000);
      const body = {
        iss: url,
        aud: AUDIENCE,
        sub: "somebody",
        iat: issuedAt,
        exp: issuedAt + 600,
        ...claims,
      };
      const parts = [{ alg: "ES256", kid: "only", typ: "JWT" }, body];
      const text = parts.map((part) => Buffer.from(JSON.stringify(part)).toString("base64url")).join(".");
      const signature = sign("sha256", Buffer.from(text), { key: privateKey, dsaEncoding: "ieee-p1363" });
      return `${text}.${signature.toString("base64url")}`;
    },
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

export interface Way {
  /** The database, through here. */
  readonly url: string;
  /** Ends every connection, and lets nobody through any more. */
  cut(): void;
  close(): void;
}

export async function startWayTo(databaseUrl: string): Promise<Way> {
  const { hostname, port } = new URL(databaseUrl);
  const open = new Set<Socket>();
  let isCut = false;
  const server = createTcpServer((client) => {
    if (isCut) return void client.destroy();
    const target = connect(Number(port), hostname);
    for (const [from, to] of [
      [client, target],
      [target, client],
    ] as const) {
      open.add(from);
      from.on("error", () => to.destroy());
      from.on("close", () => {
        open.delete(from);
        to.destroy();
      });
      from.pipe(to);
    }
  });
  const url = new URL(databaseUrl);
  url.port = String(await listen(server));
  const destroyAll = (): void => {
    for (const socket of open) socket.destroy();
  };
  return {
    url: url.toString(),
    cut() {
      isCut = true;
      destroyAll();
    },
    close() {
      destroyAll();
      server.close();
    },
  };
}
