/** Every write that the API offers on tenants, and what it does to a desired state. */
import type { JsonObject } from "../packages/landlord/src/domain/json.ts";
import { NOTE_LABEL, TAG_VARIABLE, type OpenWrite, type TenantRecord, type Wanted } from "./expectation.ts";
import type { Random } from "./random.ts";

export interface Request {
  readonly method: "PUT" | "PATCH" | "POST" | "DELETE";
  /** Below the tenant's own path; of one that is named and not numbered, below the path of its name. */
  readonly path: string;
  readonly isByName?: boolean;
  readonly body?: JsonObject;
  /** What it sets, if it is accepted. */
  readonly effect: OpenWrite;
}

export interface Verb {
  /** As in the OpenAPI document. */
  readonly operationId: string;
  /** How often it is chosen, among those that suit the tenant. */
  readonly weight: Readonly<Record<Wanted, number>>;
  request(tag: string, random: Random, record: TenantRecord): Request;
}

/** A workload that costs next to nothing; one in four is deaf to SIGTERM, so that its end takes a second. */
export function workload(tag: string, random: Random): JsonObject {
  const isDeaf = random.chance(0.25);
  return {
    command: isDeaf ? ["sh", "-c", "trap '' TERM; while :; do sleep 1000; done"] : ["sleep", "100000"],
    env: { [TAG_VARIABLE]: tag },
    stop_grace_seconds: isDeaf ? 1 : 5,
  };
}

/** Besides createTenant, which has no tenant yet. A request that a tenant's state forbids must be refused. */
export const VERBS: readonly Verb[] = [
  {
    operationId: "updateTenant",
    weight: { present: 40, archived: 5, deleted: 5 },
    request: (tag, random) => ({
      method: "PUT",
      path: "",
      body: { compute_config: workload(tag, random) },
      effect: { tag },
    }),
  },
  {
    operationId: "patchTenant",
    weight: { present: 25, archived: 20, deleted: 5 },
    request: (tag, random) =>
      random.chance(0.5)
        ? { method: "PATCH", path: "", body: { labels: { [NOTE_LABEL]: tag } }, effect: { note: tag } }
        : {
            method: "PATCH",
            path: "",
            body: { compute_config: { env: { [TAG_VARIABLE]: tag } } },
            effect: { tag },
          },
  },
  {
    operationId: "applyTenant",
    weight: { present: 15, archived: 5, deleted: 5 },
    request: (tag, random) => ({
      method: "PUT",
      path: "",
      isByName: true,
      body: { compute_provider: "process", compute_config: workload(tag, random) },
      // What is left out goes.
      effect: { tag, note: "" },
    }),
  },
  {
    operationId: "rollbackTenant",
    weight: { present: 10, archived: 3, deleted: 2 },
    request: (_tag, random, { generations }) => {
      const [generation, before] = random.pick([...generations]);
      return { method: "POST", path: "/rollback", body: { generation }, effect: { tag: before } };
    },
  },
  {
    operationId: "retryTenant",
    weight: { present: 6, archived: 3, deleted: 3 },
    request: () => ({ method: "POST", path: "/retry", effect: {} }),
  },
  {
    operationId: "pauseTenant",
    weight: { present: 4, archived: 2, deleted: 1 },
    request: () => ({ method: "POST", path: "/pause", effect: {} }),
  },
  {
    operationId: "resumeTenant",
    weight: { present: 10, archived: 6, deleted: 6 },
    request: () => ({ method: "POST", path: "/resume", effect: {} }),
  },
  {
    operationId: "restoreTenant",
    weight: { present: 2, archived: 30, deleted: 2 },
    request: () => ({ method: "POST", path: "/restore", effect: { wanted: "present" } }),
  },
  {
    operationId: "archiveTenant",
    weight: { present: 10, archived: 5, deleted: 2 },
    request: () => ({ method: "POST", path: "/archive", effect: { wanted: "archived" } }),
  },
  {
    operationId: "deleteTenant",
    weight: { present: 15, archived: 30, deleted: 3 },
    request: (_tag, random) => ({
      method: "DELETE",
      path: random.chance(0.25) ? "?force=true" : "",
      effect: { wanted: "deleted" },
    }),
  },
];

/** Refusals that are right for a tenant in this state; anything else is a violation. */
export function mayBeRefused(wanted: Wanted, code: string, effect: OpenWrite): boolean {
  switch (code) {
    case "precondition_failed":
    case "write_contention":
      return true;
    case "tenant_deleting":
    case "tenant_not_found":
      return wanted === "deleted";
    case "tenant_archived":
      return wanted === "archived" && effect.tag !== undefined;
    case "not_archived":
      return wanted === "present" && effect.wanted === "present";
    default:
      return false;
  }
}
