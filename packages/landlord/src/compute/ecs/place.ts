/**
 * Where a tenant's service is: the scope of its compute. A delete has no config any more, only scopes, so a scope says
 * everything that is needed to find the service again: cluster, naming, and the role to take on. An external id is no
 * secret (IAM User Guide, "How to use an external ID").
 */
import { createHash } from "node:crypto";
import type { Owner } from "../provider.ts";
import type { EcsConfig } from "./description.ts";

export interface Cluster {
  readonly arn: string;
  readonly region: string;
  readonly account: string;
}

export interface Role {
  readonly roleArn: string;
  readonly externalId: string | null;
  readonly sessionName: string;
}

export interface Place {
  readonly cluster: Cluster;
  /** Exact name of the service, or the prefix before the tenant's id. */
  readonly naming: { readonly name: string } | { readonly prefix: string };
  readonly role: Role | null;
}

const DEFAULT_PREFIX = "landlord-";
const DEFAULT_SESSION = "landlord";
const SCOPE =
  /^ecs:(name|prefix)=([^;]+);(?:role=([^;]+);external_id=([^;]*);session=([^;]+);)?cluster=(arn:.+)$/;

/** Region and account of an ARN that was checked before. */
export function parseClusterArn(arn: string): Cluster {
  const [, , , region = "", account = ""] = arn.split(":");
  return { arn, region, account };
}

export function placeOf(config: EcsConfig): Place {
  const role = config.assume_role;
  return {
    cluster: parseClusterArn(config.cluster_arn),
    naming:
      config.service_name === undefined
        ? { prefix: config.service_name_prefix ?? DEFAULT_PREFIX }
        : { name: config.service_name },
    role:
      role === undefined
        ? null
        : {
            roleArn: role.role_arn,
            externalId: role.external_id ?? null,
            sessionName: role.session_name ?? DEFAULT_SESSION,
          },
  };
}

/** Where a service would be that no job ever reported: under the worker's own identity and the default name. */
export function standardPlace(clusterArn: string): Place {
  return { cluster: parseClusterArn(clusterArn), naming: { prefix: DEFAULT_PREFIX }, role: null };
}

export function scopeOf({ cluster, naming, role }: Place): string {
  const name = "name" in naming ? `name=${naming.name}` : `prefix=${naming.prefix}`;
  const identity =
    role === null
      ? ""
      : `role=${role.roleArn};external_id=${role.externalId ?? ""};session=${role.sessionName};`;
  return `ecs:${name};${identity}cluster=${cluster.arn}`;
}

/** Null for a scope of another provider, or of a version that writes it otherwise. */
export function parseScope(scope: string): Place | null {
  const [, kind, name = "", roleArn, externalId, sessionName, clusterArn = ""] = SCOPE.exec(scope) ?? [];
  if (kind === undefined) return null;
  return {
    cluster: parseClusterArn(clusterArn),
    naming: kind === "name" ? { name } : { prefix: name },
    role:
      roleArn === undefined
        ? null
        : { roleArn, externalId: externalId || null, sessionName: sessionName ?? DEFAULT_SESSION },
  };
}

/** A database that was restored beside the old one has the same tenants: the end of the name tells them apart. */
export function serviceNameOf({ naming }: Place, { instanceId, tenantId }: Owner): string {
  if ("name" in naming) return naming.name;
  const instance = createHash("sha256").update(instanceId).digest("hex").slice(0, 8);
  return `${naming.prefix}${tenantId}-${instance}`;
}
