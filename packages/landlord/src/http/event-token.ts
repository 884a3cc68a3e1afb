/**
 * Resume tokens. A position alone would not do: a database that was restored gives its positions out again, to other
 * transitions. So a token also says which transition it saw there.
 */
import { createHash } from "node:crypto";
import type { SequencedTransition } from "../store/store.ts";

/** A place in the order of all events: after the one with this position. Position 0 is before the first. */
export interface EventCursor {
  readonly position: number;
  /** 12 characters of base64url. */
  readonly fingerprint: string;
}

const FORMAT = "1";
const TOKEN_PATTERN = /^1\.(0|[1-9]\d{0,14})\.([A-Za-z0-9_-]{12})$/;
const FINGERPRINT_BYTES = 9;

export function cursorOf(instanceId: string, transition: SequencedTransition): EventCursor {
  const { position, id, tenantId, at } = transition;
  return { position, fingerprint: fingerprint(instanceId, String(id), tenantId, at.toISOString()) };
}

/** Before the first event of this database. */
export function firstCursor(instanceId: string): EventCursor {
  return { position: 0, fingerprint: fingerprint(instanceId) };
}

function fingerprint(...facts: readonly string[]): string {
  const digest = createHash("sha256").update(facts.join("\n")).digest();
  return digest.subarray(0, FINGERPRINT_BYTES).toString("base64url");
}

export function formatToken(cursor: EventCursor): string {
  return Buffer.from(`${FORMAT}.${cursor.position}.${cursor.fingerprint}`).toString("base64url");
}

/** Null for what is no token. */
export function parseToken(text: string): EventCursor | null {
  const [, position, print] = TOKEN_PATTERN.exec(Buffer.from(text, "base64url").toString("latin1")) ?? [];
  return position === undefined || print === undefined
    ? null
    : { position: Number(position), fingerprint: print };
}
