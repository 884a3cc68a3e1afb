/**
 * A user with some names, its own and some that it shares with all others. It creates, changes, archives and deletes
 * tenants of these names for ever, at either server, and keeps the expectations: what was sent, and what was answered.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { TenantBody } from "../packages/landlord/src/contract/tenant.ts";
import type { JsonObject } from "../packages/landlord/src/domain/json.ts";
import {
  desiredOf,
  isAdopted,
  newestOf,
  type Desired,
  type Expectations,
  type TenantRecord,
  type Wanted,
} from "./expectation.ts";
import type { Random } from "./random.ts";
import { mayBeRefused, VERBS, workload } from "./verbs.ts";

export interface UserFigures {
  requests: number;
  accepted: number;
  refused: number;
  lost: number;
}

export interface UserOptions {
  /** Unlike all others: part of the tags of its writes. */
  readonly id: string;
  readonly names: readonly string[];
  readonly apiUrls: readonly string[];
  readonly expectations: Expectations;
  readonly random: Random;
  readonly figures: UserFigures;
  readonly thinkMs: readonly [low: number, high: number];
  readonly signal: AbortSignal;
}

/** Longer than a server's own answer to a silent database would take is not waited. */
const REQUEST_TIMEOUT_MS = 4_000;
const DUEL_CHANCE = 0.2;

/** What a name stands for, as far as its user knows. */
type Slot =
  | { readonly kind: "free" }
  | { readonly kind: "tenant"; readonly record: TenantRecord }
  /** A POST had no answer: the tenant may be there, or come late. */
  | {
      readonly kind: "unknown";
      readonly body: JsonObject;
      readonly tag: string;
      readonly key: string | null;
    };

interface Answered {
  readonly status: number;
  readonly body: unknown;
}

/** Runs until `signal` aborts; the request in flight is waited for. */
export async function runUser(options: UserOptions): Promise<void> {
  const { names, random, signal, thinkMs } = options;
  const slots = new Map<string, Slot>(names.map((name) => [name, { kind: "free" }]));
  const user = createUser(options);
  while (!signal.aborted) {
    const name = random.pick(names);
    slots.set(name, await user.step(name, slots.get(name) ?? { kind: "free" }));
    await delay(random.between(...thinkMs), undefined, { signal }).catch(() => undefined);
  }
}

function createUser({ id, apiUrls, expectations, random, figures }: UserOptions): {
  step(name: string, slot: Slot): Promise<Slot>;
} {
  let counter = 0;
  const freshTag = (name: string): string => `${name}.${id}.${++counter}`;

  /** Null when there was no answer, or one that leaves open whether the request took effect. */
  async function send(
    method: string,
    path: string,
    body?: JsonObject,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<Answered | null> {
    figures.requests += 1;
    try {
      const response = await fetch(`${random.pick(apiUrls)}${path}`, {
        method,
        headers: { ...(body === undefined ? {} : { "content-type": "application/json" }), ...headers },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
      });
      const answered: Answered = { status: response.status, body: await response.json() };
      if (answered.status < 500) return answered;
      if (answered.status !== 503) {
        expectations.violation(`broken: ${method} ${path} was answered ${JSON.stringify(answered)}`);
      }
    } catch {
      // The connection broke, or nobody answered in time.
    }
    figures.lost += 1;
    return null;
  }

  async function create(name: string): Promise<Slot> {
    const tag = freshTag(name);
    const body = { name, compute_provider: "process", compute_config: workload(tag, random), labels: {} };
    return post(name, { kind: "unknown", body, tag, key: random.chance(0.7) ? `key-${tag}` : null });
  }

  async function post(name: string, slot: Extract<Slot, { kind: "unknown" }>): Promise<Slot> {
    const headers: Record<string, string> = slot.key === null ? {} : { "idempotency-key": slot.key };
    expectations.sentCreate({ name, tag: slot.tag });
    const answer = await send("POST", "/v1/tenants", slot.body, headers);
    if (answer === null) return slot;
    if (answer.status === 201) {
      figures.accepted += 1;
      return { kind: "tenant", record: expectations.answered(answer.body as TenantBody) };
    }
    figures.refused += 1;
    const code = codeOf(answer);
    if (code !== "name_taken" && code !== "tenant_deleting") {
      expectations.violation(`broken: POST of ${name} was refused with ${answer.status} ${code}`);
    }
    return look(name, slot);
  }

  /** Finds out what a name stands for. */
  async function look(name: string, before: Slot): Promise<Slot> {
    const answer = await send("GET", `/v1/tenants/${name}`);
    if (answer === null) return before;
    if (answer.status === 404) return { kind: "free" };
    const body = answer.body as TenantBody;
    const isKnown =
      expectations.tenants.has(body.id) ||
      expectations.sentCreates.some((lost) => lost.name === name && lost.tag === desiredOf(body).tag);
    if (!isKnown) expectations.violation(`unknown: nobody created ${name} (${body.id}), and it is there`);
    return { kind: "tenant", record: expectations.answered(body) };
  }

  async function read(name: string, record: TenantRecord): Promise<Slot> {
    const newest = newestOf(record);
    const answer = await send("GET", `/v1/tenants/${record.id}`);
    if (answer === null) return { kind: "tenant", record };
    if (answer.status === 404 || isAdopted(answer.body as TenantBody)) {
      if (!possible(record).has("deleted")) {
        expectations.violation(`lost: ${name} (${record.id}) is gone, and nobody asked for it`);
      }
      record.isGone = true;
      return { kind: "free" };
    }
    const body = answer.body as TenantBody;
    if (body.version < newest) {
      expectations.violation(
        `lost: ${name} (${record.id}) was at version ${newest}, and is at ${body.version}`,
      );
    }
    return { kind: "tenant", record: expectations.answered(body) };
  }

  async function change(name: string, record: TenantRecord): Promise<Slot> {
    const newest = newestOf(record);
    const known = record.answered.get(newest);
    const wanted = known?.wanted ?? "present";
    const verb = random.weighted(VERBS.map((each) => [each.weight[wanted], each] as const));
    const request = verb.request(freshTag(name), random, record);
    const headers: Record<string, string> = random.chance(0.6) ? { "if-match": `"${newest}"` } : {};
    record.open.add(request.effect);
    if (request.isByName === true) {
      expectations.sentByName(name, request.effect);
      expectations.sentCreate({ name, tag: request.effect.tag ?? "" });
    }
    const own = request.isByName === true ? `by-name/${name}` : record.id;
    const answer = await send(request.method, `/v1/tenants/${own}${request.path}`, request.body, headers);
    if (answer === null) return { kind: "tenant", record };
    if (answer.status >= 400) {
      figures.refused += 1;
      const code = codeOf(answer);
      record.open.delete(request.effect);
      // Of a name, another tenant may have refused.
      const refusers: readonly Wanted[] =
        request.isByName === true ? ["present", "archived", "deleted"] : [...possible(record)];
      if (!refusers.some((each) => mayBeRefused(each, code, request.effect))) {
        expectations.violation(
          `broken: ${verb.operationId} of ${name} (${record.id}) was refused with ${answer.status} ${code}`,
        );
      }
      return read(name, record);
    }
    figures.accepted += 1;
    const body = answer.body as TenantBody;
    const next = expectations.answered(body);
    record.open.delete(request.effect);
    const ignored = ignoredBy(next.answered.get(body.version), request.effect);
    if (ignored !== null || (body.id === record.id && body.version < newest)) {
      expectations.violation(
        `lost: ${verb.operationId} of ${name} (${record.id}) was accepted, and its answer ignores ${ignored ?? "newer versions"}`,
      );
    }
    return { kind: "tenant", record: next };
  }

  return {
    async step(name, slot) {
      switch (slot.kind) {
        case "free":
          return create(name);
        case "unknown":
          // With a key the same request may be repeated; without one the user has to look first.
          if (slot.key !== null && random.chance(0.7)) return post(name, slot);
          return look(name, slot);
        case "tenant": {
          const wanted = slot.record.answered.get(newestOf(slot.record))?.wanted;
          if (wanted === "deleted" && random.chance(0.5)) return create(name);
          if (random.chance(wanted === "deleted" ? 0.8 : 0.15)) return read(name, slot.record);
          if (random.chance(DUEL_CHANCE)) {
            // Both know the same version, and go to any server: both can only be accepted one after the other.
            const [one] = await Promise.all([change(name, slot.record), change(name, slot.record)]);
            return one;
          }
          return change(name, slot.record);
        }
      }
    },
  };
}

/** What clients may have made of it, by answers and by requests that have none. */
function possible(record: TenantRecord): ReadonlySet<Wanted> {
  const writes = [...record.answered.values(), ...record.open];
  return new Set(writes.flatMap(({ wanted }) => wanted ?? []));
}

function ignoredBy(answered: Desired | undefined, effect: Partial<Desired>): string | null {
  for (const key of ["wanted", "tag", "note"] as const) {
    if (effect[key] !== undefined && answered?.[key] !== effect[key]) return key;
  }
  return null;
}

function codeOf({ body }: Answered): string {
  const code = (body as { readonly code?: unknown } | null)?.code;
  return typeof code === "string" ? code : "without a code";
}
