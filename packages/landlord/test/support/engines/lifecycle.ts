/** A tenant's whole life over HTTP: create, update, archive, delete, and another that is deleted while it is changed. */
import { expect } from "vitest";
import type { TenantBody } from "../../../src/contract/tenant.ts";
import type { JsonObject } from "../../../src/domain/json.ts";
import { apiOf } from "../api.ts";
import { eventually } from "../eventually.ts";

export interface LifecycleOptions {
  readonly computeProvider: string;
  config(variant: number): JsonObject;
  /** Generations that really run for a tenant, by the backend's own word. */
  running(tenantId: string): Promise<readonly number[]>;
  /** Called at each change of the tenant, with the name of the operation that has just been asked for. */
  readonly during?: (
    operation: "create" | "update" | "archive" | "delete",
    tenantId: string,
  ) => Promise<void>;
  readonly timeoutMs?: number;
}

/** Creates, updates, archives and deletes one tenant, and checks what really runs after each. */
export async function liveWholeLife(url: string, name: string, options: LifecycleOptions): Promise<void> {
  const api = apiOf(url);
  const { timeoutMs = 60_000, during = () => Promise.resolve() } = options;
  const untilRuns = (id: string, generations: readonly number[]): Promise<unknown> =>
    eventually(
      async () => {
        const found = await options.running(id);
        return JSON.stringify(found) === JSON.stringify(generations);
      },
      { what: `generations that run are ${JSON.stringify(generations)}`, timeoutMs },
    );
  const created = await api.call<TenantBody>("POST", "/v1/tenants", {
    name,
    compute_provider: options.computeProvider,
    compute_config: options.config(1),
  });
  expect([created.status, created.body]).toEqual([201, expect.anything()]);
  const { id } = created.body;
  await during("create", id);
  const ready = await api.waitFor(id, "ready", timeoutMs);
  expect(ready.observed_generation).toBe(1);
  await untilRuns(id, [1]);

  await api.call("PUT", `/v1/tenants/${id}`, { compute_config: options.config(2) });
  await during("update", id);
  const updated = await eventually(
    async () => {
      const tenant = await api.waitFor(id, "ready", timeoutMs);
      return tenant.observed_generation === 2 && tenant;
    },
    { what: "the update is ready", timeoutMs },
  );
  expect(updated.observed_resource_ids).not.toEqual({});
  await untilRuns(id, [2]);

  await api.call("POST", `/v1/tenants/${id}/archive`);
  await during("archive", id);
  await api.waitFor(id, "archived", timeoutMs);
  expect(await options.running(id)).toEqual([]);
  await api.call("DELETE", `/v1/tenants/${id}`);
  await during("delete", id);
  await api.waitGone(id, timeoutMs);
  expect(await options.running(id)).toEqual([]);

  // A delete of what runs, too.
  const second = await api.call<TenantBody>("POST", "/v1/tenants", {
    name,
    compute_provider: options.computeProvider,
    compute_config: options.config(1),
  });
  await api.waitFor(second.body.id, "ready", timeoutMs);
  await api.call("DELETE", `/v1/tenants/${second.body.id}`);
  await during("delete", second.body.id);
  await api.waitGone(second.body.id, timeoutMs);
  expect(await options.running(second.body.id)).toEqual([]);
}
