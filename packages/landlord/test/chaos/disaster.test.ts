/** The database or the engine comes back with less than the world remembers, and everything converges all the same. */
import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { findRunningExecutions, findWrongProcesses, listTenants } from "../../../../chaos/checks.ts";
import { signalGroup } from "../../../../chaos/faults.ts";
import { startFleet, type Fleet } from "../../../../chaos/fleet.ts";
import type { TenantBody } from "../../src/contract/tenant.ts";
import type { JsonObject } from "../../src/domain/json.ts";
import { apiOf, type Api } from "../support/api.ts";
import { livingTenants, watchInstanceForDoubles } from "../support/census.ts";
import { eventually } from "../support/eventually.ts";
import { openSql } from "../support/sql.ts";
import { webServer } from "../support/workloads.ts";

let fleet: Fleet;
let api: Api;
let instanceId: string;
beforeEach(async () => {
  fleet = await startFleet({ "controller.orphan_grace": "0s" });
  api = apiOf(fleet.directApiUrls[0] ?? "");
  const [row] = await fleet.sql.query<{ id: string }>("SELECT id FROM instance");
  instanceId = row?.id ?? "";
}, 120_000);
afterEach(async () => {
  await fleet.stop({ keep: false });
  for (const { pid } of livingTenants().filter((each) => each.instanceId === instanceId)) {
    signalGroup(pid, "SIGKILL");
  }
}, 60_000);

const parts = (...names: readonly string[]) => fleet.parts.filter(({ name }) => names.includes(name));
const servers = () => parts("server-1", "server-2");

const sleeping = (tag: string): JsonObject => ({ command: ["sleep", "100000"], env: { CHAOS_TAG: tag } });
/** Takes seconds to become healthy, so that its execution is in flight for as long. */
const slow = (tag: string, startMs: number): JsonObject => ({
  ...webServer(tag, { startMs }),
  env: { CHAOS_TAG: tag },
});

async function create(name: string, config: JsonObject = sleeping(`${name}.1`)): Promise<string> {
  const answer = await api.call<TenantBody>("POST", "/v1/tenants", {
    name,
    compute_provider: "process",
    compute_config: config,
  });
  expect(answer.status).toBe(201);
  return answer.body.id;
}

async function change(method: string, path: string, config?: JsonObject): Promise<void> {
  const body = config === undefined ? undefined : { compute_config: config };
  expect((await api.call(method, `/v1/tenants/${path}`, body)).status).toBe(202);
}

async function untilInFlight(name: string): Promise<void> {
  await eventually(
    async () =>
      (
        await fleet.sql.query(
          "SELECT 1 FROM operations WHERE tenant_name = $1 AND finished_at IS NULL AND invoked_at IS NOT NULL",
          [name],
        )
      ).length > 0,
    { what: `an operation of ${name} is in flight` },
  );
}

/** Everything is as the database says, and nothing runs besides what `orphans` names. */
async function untilConverged(wanted: Readonly<Record<string, string>>, orphans: readonly string[] = []) {
  let last: unknown = null;
  const converged = async (): Promise<readonly TenantBody[] | null> => {
    const tenants = await listTenants(fleet.directApiUrls[0] ?? "");
    const processes = findWrongProcesses(tenants, instanceId);
    const strangers = processes.orphaned.filter((text) => !orphans.some((id) => text.includes(id)));
    const running = await findRunningExecutions(fleet.restateAdminUrl, fleet.namespace);
    const statuses = Object.fromEntries(
      tenants.map(({ name, status, generation, observed_generation: observed }) => [
        name,
        observed === generation ? status : `${status}, at ${observed} of ${generation}`,
      ]),
    );
    last = { statuses, ...processes, orphaned: strangers, running };
    const isClean = [processes.lost, processes.duplicated, strangers, running].every(
      (each) => each.length === 0,
    );
    const isThere =
      JSON.stringify(Object.entries(statuses).toSorted()) ===
      JSON.stringify(Object.entries(wanted).toSorted());
    return isClean && isThere ? tenants : null;
  };
  try {
    return await eventually(converged, { what: "everything converged", timeoutMs: 120_000, everyMs: 500 });
  } catch (error) {
    expect(last, String(error)).toEqual({
      statuses: wanted,
      lost: [],
      duplicated: [],
      orphaned: [],
      running: [],
    });
    throw error;
  }
}

/** Runs statements while nobody is connected to the database. */
async function asAdministrator(...statements: readonly string[]): Promise<void> {
  const url = new URL(fleet.databaseUrl);
  url.pathname = "/postgres";
  const admin = openSql(url.toString());
  try {
    await admin.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'landlord'");
    for (const statement of statements) await admin.query(statement);
  } finally {
    await admin.close();
  }
}

async function withoutServers(act: () => Promise<void>): Promise<void> {
  await Promise.all(servers().map((part) => part.stop()));
  await act();
  await Promise.all(servers().map((part) => part.start()));
}

describe("an older backup of the database, under living compute and a newer engine", () => {
  test(
    "converges: generations are recovered, nothing is doubled, what came after it is reported",
    { timeout: 300_000 },
    async () => {
      await Promise.all(["steady", "updated", "deleted", "archived", "busy"].map((name) => create(name)));
      for (const name of ["steady", "updated", "deleted", "archived", "busy"])
        await api.waitFor(name, "ready");
      await create("starting", slow("starting.1", 4_000));
      await untilInFlight("starting");
      await withoutServers(() => asAdministrator("CREATE DATABASE backup TEMPLATE landlord"));
      await api.waitFor("starting", "ready");

      // What the backup will not know.
      await change("PUT", "updated", sleeping("updated.2"));
      await change("PUT", "updated", sleeping("updated.3"));
      await change("DELETE", "deleted");
      await change("POST", "archived/archive");
      const late = await create("late");
      await api.waitFor("late", "ready");
      await api.waitFor("updated", "ready");
      await api.waitFor("archived", "archived");
      await api.waitGone("deleted");
      const doubles = watchInstanceForDoubles(instanceId, 50);
      await change("PUT", "busy", slow("busy.2", 5_000));
      await untilInFlight("busy");

      await withoutServers(() =>
        asAdministrator("DROP DATABASE landlord", "ALTER DATABASE backup RENAME TO landlord"),
      );

      const names = ["steady", "updated", "deleted", "archived", "busy", "starting"];
      const ready = Object.fromEntries(names.map((name) => [name, "ready"]));
      const tenants = await untilConverged(ready, [late]);
      expect(doubles.stop()).toEqual([]);
      const generations = Object.fromEntries(tenants.map(({ name, generation }) => [name, generation]));
      expect(generations["steady"]).toBe(1);
      // Above whatever compute had seen: 3 of the updates, 2 of the others.
      expect(generations["updated"]).toBeGreaterThan(3);
      for (const name of ["deleted", "archived", "busy"]) expect(generations[name], name).toBeGreaterThan(2);
      const recovered = await fleet.sql.query(
        "SELECT DISTINCT tenant_name AS name FROM transitions WHERE reason = 'generation_recovered' ORDER BY 1",
      );
      expect(recovered.map(({ name }) => name)).toEqual(["archived", "busy", "deleted", "updated"]);

      expect((await api.call("POST", "/v1/sweep", {})).status).toBe(202);
      await eventually(
        async () => {
          const answer = await api.call<{ orphans: { tenant_id: string }[] }>("GET", "/v1/sweep");
          return answer.body.orphans.map(({ tenant_id: id }) => id).join() === late;
        },
        { what: "the tenant that is younger than the backup is reported", timeoutMs: 30_000 },
      );
      expect((await api.call("POST", "/v1/sweep", { remove_orphans: true })).status).toBe(202);
      await untilConverged(ready);
    },
  );
});

describe("an engine without its data, under a living database", () => {
  test(
    "converges: what it forgot is attempted anew, and nothing is doubled",
    { timeout: 300_000 },
    async () => {
      await Promise.all(["steady", "updating", "deleting"].map((name) => create(name)));
      for (const name of ["steady", "updating", "deleting"]) await api.waitFor(name, "ready");
      const before = await api.tenant("steady");
      const doubles = watchInstanceForDoubles(instanceId, 50);
      await create("creating", slow("creating.1", 6_000));
      await change("PUT", "updating", slow("updating.2", 6_000));
      await create("deleting-late", slow("deleting-late.1", 6_000));
      for (const name of ["creating", "updating", "deleting-late"]) await untilInFlight(name);
      const executions = await fleet.sql.query<{ execution_id: string }>(
        "SELECT execution_id FROM operations WHERE finished_at IS NULL",
      );

      const [restate] = parts("restate");
      await restate?.kill();
      const data = join(fleet.folder, "restate");
      for (const entry of await readdir(data)) {
        // Its ports and version are the supervisor's, not the engine's.
        if (entry !== "ports.json" && entry !== "version") await rm(join(data, entry), { recursive: true });
      }
      await Promise.all([change("DELETE", "deleting"), change("DELETE", "deleting-late")]);
      await restate?.start();

      await untilConverged({ steady: "ready", updating: "ready", creating: "ready" });
      expect(doubles.stop()).toEqual([]);
      expect((await api.tenant("steady"))?.observed_resource_ids).toEqual(before?.observed_resource_ids);
      const ended = await fleet.sql.query<{ outcome: string }>(
        "SELECT outcome FROM operations WHERE execution_id = ANY($1)",
        [executions.map((row) => row.execution_id)],
      );
      expect(ended).toHaveLength(executions.length);
      // None of them can have succeeded: the engine that knew of them is gone.
      const outcomes = new Set(ended.map(({ outcome }) => outcome));
      expect(outcomes).toContain("lost");
      expect([...outcomes].filter((each) => each !== "lost" && each !== "superseded")).toEqual([]);
    },
  );
});
