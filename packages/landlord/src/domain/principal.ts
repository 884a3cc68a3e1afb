/** Who asks, and what that one may see. */
import type { Selector } from "./selector.ts";

/** `worker` may do only what a worker needs; the others each include the one before. */
export const ROLES = ["viewer", "operator", "admin", "worker"] as const;
export type Role = (typeof ROLES)[number];

export interface Principal {
  /** As history and audit log show it: the name of a key, the subject of a JWT, `anonymous`. */
  readonly name: string;
  readonly role: Role;
  /** Tenants outside of it do not exist for this principal. Null for all tenants. */
  readonly scope: Selector | null;
}

/** Everybody, as long as authentication is not configured: the server then listens on loopback only. */
export const ANONYMOUS: Principal = { name: "anonymous", role: "admin", scope: null };
