/** The wire shapes under short names; they are what the API's OpenAPI document says. */
import type { components } from "./schema.ts";

type Schemas = components["schemas"];

export type Tenant = Schemas["Tenant"];
export type TenantList = Schemas["TenantList"];
export type Condition = Schemas["Condition"];
export type Endpoint = Tenant["endpoints"][number];
export type CreateTenant = Schemas["CreateTenant"];
export type UpdateTenant = Schemas["UpdateTenant"];
export type PatchTenant = Schemas["PatchTenant"];
export type ApplyTenant = Schemas["ApplyTenant"];
export type DeletedTenant = Schemas["DeletedTenant"];
export type Plan = Schemas["Plan"];
export type Explanation = Schemas["Explanation"];
export type Generation = Schemas["Generation"];
export type OperationEvent = Schemas["OperationEvents"]["events"][number];
export type Summary = Schemas["Summary"];
export type Worker = Schemas["Worker"];
export type WorkflowProvider = Schemas["WorkflowProviderList"]["providers"][number];
export type Identity = Schemas["Identity"];
export type CreateToken = Schemas["CreateToken"];
export type Token = Schemas["Token"];
export type NewToken = Schemas["NewToken"];
export type TokenList = Schemas["TokenList"];
export type AuditEntry = Schemas["AuditEntry"];
export type AuditList = Schemas["AuditList"];
export type Problem = Schemas["Problem"];
export type Transition = Schemas["Transition"];
/** A transition as a watch brings it. */
export interface TenantEvent extends Transition {
  /** The tenant's, as they were with the transition. */
  readonly labels: Readonly<Record<string, string>>;
  /** To resume after this event. */
  readonly token: string;
}
export type History = Schemas["History"];
export type Operation = Schemas["Operation"];
export type OperationList = Schemas["OperationList"];
export type ComputeConfig = Schemas["ComputeConfig"];
export type ComputeEngine = Schemas["ComputeEngine"];
export type ComputeEngineList = Schemas["ComputeEngineList"];
export type Sweep = Schemas["Sweep"];
export type Health = Schemas["Health"];
export type Readiness = Schemas["Readiness"];
