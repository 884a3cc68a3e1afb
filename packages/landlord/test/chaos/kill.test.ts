/**
 * SIGKILL of each part, at each of five moments of a tenant's life. Five tenants are brought to their moments, a sixth
 * is ready and must not notice; then one part dies and comes back, and all must end as their clients asked.
 */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import pg from "pg";
import { apiOf, type Api } from "../support/api.ts";
import { takeCensus, watchForDoubles } from "../support/census.ts";
import { startCluster, type Cluster, type Victim } from "../support/cluster.ts";
import { eventually } from "../support/eventually.ts";
import { webServer } from "../support/workloads.ts";
import type { TenantBody } from "../../src/contract/tenant.ts";

let cluster: Cluster;
let api: Api;

beforeEach(async () => {
  cluster = await startCluster();
  api = apiOf(cluster.url);
});
afterEach(() => cluster.stop());

async function create(name: string, config: Record<string, unknown>): Promise<string> {
  const answer = await api.call<TenantBody>("POST", "/v1/tenants", {
    name,
    compute_provider: "process",
    compute_config: config,
  });
  expect(answer.status).toBe(201);
  return answer.body.id;
}

interface LedgerRow {
  readonly kind: string;
  readonly execution_handle: string | null;
  readonly execution_id: string;
}

async function unfinishedOperation(tenantId: string): Promise<LedgerRow | undefined> {
  const client = new pg.Client({ connectionString: cluster.databaseUrl() });
  await client.connect();
  try {
    const rows = await client.query<LedgerRow>(
      "SELECT kind, execution_id, execution_handle FROM operations WHERE tenant_id = $1 AND finished_at IS NULL",
      [tenantId],
    );
    return rows.rows[0];
  } finally {
    await client.end();
  }
}

const stubborn = (text: string): Record<string, unknown> =>
  webServer(text, { ignoreTerm: true, stopGraceSeconds: 2 });

async function servedText(tenant: TenantBody): Promise<string> {
  return (await fetch(tenant.endpoints[0]?.url ?? "")).text();
}

describe("SIGKILL of", () => {
  test.each<Victim>(["server", "worker", "restate", "postgres"])(
    "%s, in the middle of everything",
    { timeout: 120_000 },
    async (victim) => {
      // Three live already: one bystander, and two that take two seconds to stop, so that a kill hits inside the step.
      const [bystander, updating, deleting] = await Promise.all([
        create("bystander", webServer("still here")),
        create("updating", stubborn("old")),
        create("deleting", stubborn("old")),
      ]);
      const before = await api.waitFor(bystander, "ready");
      await Promise.all([api.waitFor(updating, "ready"), api.waitFor(deleting, "ready")]);

      // Two never hear from the engine: one's invoke does not arrive, the other's answer does not.
      cluster.ingress.holdRequests(
        (path, body) => path.includes("/run/send") && body.includes('"not-invoked"'),
      );
      cluster.ingress.holdAnswers(
        (path, body) => path.includes("/run/send") && body.includes('"not-recorded"'),
      );
      const [notInvoked, notRecorded, applying] = await Promise.all([
        create("not-invoked", webServer("one")),
        create("not-recorded", webServer("two")),
        create("applying", webServer("three", { startMs: 1_500 })),
      ]);
      const ids = new Set([bystander, updating, deleting, notInvoked, notRecorded, applying]);
      const doubles = watchForDoubles(ids);
      await api.call("PUT", `/v1/tenants/${updating}`, { compute_config: stubborn("new") });
      await api.call("DELETE", `/v1/tenants/${deleting}`);

      await eventually(() => cluster.ingress.held().length >= 2, { what: "both calls are held" });
      await eventually(() => takeCensus(ids).leaders.has(applying), {
        what: "a process is being made healthy",
      });
      await eventually(async () => (await unfinishedOperation(updating))?.execution_handle, {
        what: "the update runs",
      });
      await eventually(async () => (await unfinishedOperation(deleting))?.kind === "delete", {
        what: "the delete runs",
      });

      // The moment of the kill, as the database has it.
      const statuses = Object.fromEntries(
        await Promise.all(
          [...ids].map(async (id) => {
            const tenant = await api.tenant(id);
            return [tenant?.name ?? "gone", tenant?.status] as const;
          }),
        ),
      );
      expect(statuses).toEqual({
        bystander: "ready",
        updating: "updating",
        deleting: "deleting",
        "not-invoked": "provisioning",
        "not-recorded": "provisioning",
        applying: "provisioning",
      });
      expect((await unfinishedOperation(notInvoked))?.execution_handle).toBeNull();
      const unrecorded = await unfinishedOperation(notRecorded);
      expect(unrecorded?.execution_handle).toBeNull();

      await cluster.killAndRestart(victim);
      cluster.ingress.release();

      const settled = { timeoutMs: 60_000 };
      await Promise.all(
        [notInvoked, notRecorded, applying].map((id) => api.waitFor(id, "ready", settled.timeoutMs)),
      );
      await api.waitGone(deleting, settled.timeoutMs);
      const updated = await eventually(
        async () => {
          const tenant = await api.tenant(updating);
          return tenant?.status === "ready" && tenant.observed_generation === 2 && tenant;
        },
        { what: "the update arrived", ...settled },
      );
      expect(await servedText(updated)).toBe("new");

      expect(doubles.stop()).toEqual([]);
      const { leaders } = takeCensus(ids);
      const alive = [...ids].filter((id) => id !== deleting);
      expect(new Set(leaders.keys())).toEqual(new Set(alive));
      for (const id of alive) expect(leaders.get(id)).toHaveLength(1);

      const after = await api.tenant(bystander);
      expect(after?.observed_resource_ids["pid"]).toBe(before.observed_resource_ids["pid"]);
      expect(leaders.get(bystander)).toEqual([Number(before.observed_resource_ids["pid"])]);
      expect(await servedText(before)).toBe("still here");
      const history = await api.call<{ transitions: { to_status: string | null }[] }>(
        "GET",
        `/v1/tenants/${deleting}/history`,
      );
      expect(history.body.transitions[0]?.to_status).toBeNull();

      // The answer was lost, not the execution: the same id was asked for again, and nothing ran twice.
      const operations = await api.call<{ operations: { execution_id: string }[] }>(
        "GET",
        `/v1/tenants/${notRecorded}/operations`,
      );
      expect(operations.body.operations.map((operation) => operation.execution_id)).toEqual([
        unrecorded?.execution_id,
      ]);

      await Promise.all(alive.map((id) => api.call("DELETE", `/v1/tenants/${id}`)));
      await Promise.all(alive.map((id) => api.waitGone(id, settled.timeoutMs)));
      expect(takeCensus(ids).leaders.size).toBe(0);
    },
  );
});
