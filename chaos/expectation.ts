/**
 * What the world owes its users. A write whose answer arrived is accepted, and its answer says at which version; a
 * write whose answer was lost may count, at any later time, or may not. From that follows what each tenant may be in
 * the end, and nothing else.
 */
import type { TenantBody } from "../packages/landlord/src/contract/tenant.ts";

export type Wanted = "present" | "archived" | "deleted";

/** What clients decide of a tenant; everything else is Landlord's. */
export interface Desired {
  readonly wanted: Wanted;
  /** Value of CHAOS_TAG in the tenant's environment: which write the config comes from. */
  readonly tag: string;
  /** The label that patches set. */
  readonly note: string;
}

/** The part of a desired state that a write sets. */
export type OpenWrite = Partial<Desired>;

export interface TenantRecord {
  readonly id: string;
  readonly name: string;
  /** By version: what an answer said. */
  readonly answered: Map<number, Desired>;
  /** By generation: the tag of its configuration. */
  readonly generations: Map<number, string>;
  /** Writes that have no answer, yet or for ever. */
  readonly open: Set<OpenWrite>;
  /** A DELETE was accepted. */
  isDeleted: boolean;
  /** Somebody read that it is gone. */
  isGone: boolean;
}

/** A creation that was sent, answered or not. */
export interface SentCreate {
  readonly name: string;
  readonly tag: string;
}

export const TAG_VARIABLE = "CHAOS_TAG";
export const NOTE_LABEL = "note";

export interface Expectations {
  readonly tenants: ReadonlyMap<string, TenantRecord>;
  readonly sentCreates: readonly SentCreate[];
  /** Writes to whatever has the name: which tenant that was, a lost answer does not tell. */
  byName(name: string): ReadonlySet<OpenWrite>;
  sentByName(name: string, effect: OpenWrite): void;
  /** What must never have been answered, seen while the run went on. */
  readonly violations: readonly string[];
  violation(text: string): void;
  /** Takes note of a tenant that an answer showed. */
  answered(body: TenantBody): TenantRecord;
  sentCreate(create: SentCreate): void;
}

export function createExpectations(): Expectations {
  const tenants = new Map<string, TenantRecord>();
  const sentCreates: SentCreate[] = [];
  const violations: string[] = [];
  const named = new Map<string, Set<OpenWrite>>();
  return {
    byName: (name) => named.get(name) ?? new Set(),
    sentByName(name, effect) {
      named.set(name, (named.get(name) ?? new Set<OpenWrite>()).add(effect));
    },
    tenants,
    sentCreates,
    violations,
    violation: (text) => void violations.push(text),
    sentCreate: (create) => void sentCreates.push(create),
    answered(body) {
      const record = tenants.get(body.id) ?? recordOf(body);
      tenants.set(body.id, record);
      const desired = desiredOf(body);
      const before = record.answered.get(body.version);
      if (before !== undefined && !isSame(before, desired)) {
        violations.push(
          `lost: ${body.name} (${body.id}) was ${describe(before)} at version ${body.version}, and is ${describe(desired)} at the same version`,
        );
      }
      record.answered.set(body.version, desired);
      record.generations.set(body.generation, desired.tag);
      if (desired.wanted === "deleted") record.isDeleted = true;
      return record;
    },
  };
}

function recordOf({ id, name }: TenantBody): TenantRecord {
  return {
    id,
    name,
    answered: new Map(),
    generations: new Map(),
    open: new Set(),
    isDeleted: false,
    isGone: false,
  };
}

/** What a tenant's body says of its clients' wishes. */
export function desiredOf(body: TenantBody): Desired {
  const environment = body.desired_config["env"] as Record<string, string> | undefined;
  return {
    wanted: body.intent,
    tag: environment?.[TAG_VARIABLE] ?? "",
    note: body.labels[NOTE_LABEL] ?? "",
  };
}

/** A sweep found what a forced delete had left, and has it deleted: to its users the tenant is gone. */
export function isAdopted(body: TenantBody): boolean {
  return body.name.startsWith("orphan-");
}

/** The newest version that an answer showed. */
export function newestOf(record: TenantRecord): number {
  return Math.max(...record.answered.keys());
}

/** Why the end of a known tenant is not what its users are owed; null when it is. */
export function problemOf(
  record: TenantRecord,
  found: TenantBody | null,
  byName: ReadonlySet<OpenWrite> = new Set(),
): string | null {
  const who = `${record.name} (${record.id})`;
  const lostDelete = [...record.open].some(({ wanted }) => wanted === "deleted");
  if (found === null) {
    return record.isDeleted || lostDelete ? null : `${who} is gone, and nobody asked for it`;
  }
  if (record.isGone) return `${who} was gone, and is there again as ${found.status}`;
  if (record.isDeleted) return `${who} is ${found.status}, and its deletion was accepted`;
  const newest = newestOf(record);
  const desired = desiredOf(found);
  if (found.version < newest) {
    return `${who} is at version ${found.version}, and version ${newest} was answered (${describe(record.answered.get(newest))})`;
  }
  const answered = record.answered.get(found.version);
  if (answered !== undefined) {
    return isSame(answered, desired)
      ? null
      : `${who} is ${describe(desired)}, and ${describe(answered)} was accepted at version ${found.version}`;
  }
  const lost = [...record.open, ...byName];
  if (found.version - newest > lost.length) {
    return `${who} is at version ${found.version}; ${newest} was answered and ${lost.length} answers were lost`;
  }
  const allowed: readonly Partial<Desired>[] = [record.answered.get(newest) ?? {}, ...lost];
  const unexplained = (["wanted", "tag", "note"] as const).filter(
    (key) => !allowed.some((each) => each[key] === desired[key]),
  );
  return unexplained.length === 0
    ? null
    : `${who} is ${describe(desired)}: nobody asked for its ${unexplained.join(", ")}`;
}

function isSame(one: Desired, other: Desired): boolean {
  return one.wanted === other.wanted && one.tag === other.tag && one.note === other.note;
}

function describe(desired: Desired | undefined): string {
  return desired === undefined
    ? "nothing"
    : `${desired.wanted} with config ${desired.tag} and note "${desired.note}"`;
}
