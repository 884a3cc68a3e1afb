/** The systems that acceptance/api.test.ts asks. */
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { clientOf, type Client } from "./documented.ts";
import { freePort, startDev, type Dev } from "./dev.ts";
import {
  prepareIssuer,
  startFakeEngine,
  startWayTo,
  type FakeEngine,
  type Issuer,
  type Way,
} from "./fakes.ts";
import { createDatabase, startServe, type Serve } from "./serve.ts";

const ADMIN_TOKEN = "acceptance-admin-token";
const IN_FLIGHT_LIMIT = 4;

export interface Worlds {
  /** Everything real, no authentication. */
  readonly dev: Dev;
  /** With authentication, an engine that always fails, and nobody who reconciles. */
  readonly closed: Serve;
  /** Over the same database, with narrow limits and another compute provider. */
  readonly narrow: Serve;
  readonly engine: FakeEngine;
  readonly issuer: Issuer;
  /** To the database of the two. */
  readonly way: Way;
  /** At `dev`, as anonymous. */
  readonly open: Client;
  /** At `closed`. */
  readonly admin: Client;
  stop(): Promise<void>;
}

/** @param seen gets every answer of every client */
export async function startWorlds(postgresUrl: string, seen: Set<string>): Promise<Worlds> {
  const folder = mkdtempSync(join(tmpdir(), "landlord-api-"));
  chmodSync(folder, 0o711);
  const [database, engine, issuer] = await Promise.all([
    createDatabase(postgresUrl),
    startFakeEngine(),
    freePort().then(prepareIssuer),
  ]);
  const way = await startWayTo(database.url);
  const oidc = { issuer: issuer.url, audience: "landlord", role_mapping: { platform: "admin" } };
  const common = {
    database: { url: way.url },
    controller: { enabled: false },
    workflow: { restate: { endpoint: engine.url, admin_endpoint: engine.url } },
    auth: { enabled: true, admin_token: ADMIN_TOKEN, oidc },
  };
  const http = { trusted_proxies: ["127.0.0.1"] };
  const dev = await startDev(join(folder, "dev"), { cwd: folder });
  const closed = await startServe(folder, { ...common, http, compute: { process: {}, mock: {} } });
  const narrow = await startServe(folder, {
    ...common,
    http: {
      ...http,
      max_requests_in_flight: IN_FLIGHT_LIMIT,
      max_watchers: 0,
      rate_limit: { requests_per_second: 0.1, burst: 1 },
    },
    compute: { mock: {} },
  });
  return {
    dev,
    closed,
    narrow,
    engine,
    issuer,
    way,
    open: clientOf(dev.url, seen),
    admin: clientOf(closed.url, seen, { token: ADMIN_TOKEN }),
    async stop() {
      await Promise.all([dev.stop(), closed.stop(), narrow.stop()]);
      way.close();
      engine.close();
      issuer.close();
      await database.drop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
