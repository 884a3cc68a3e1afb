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
export type Problem = Schemas["Problem"];
export type Transition = Schemas["Transition"];
export type History = Schemas["History"];
export type Operation = Schemas["Operation"];
export type OperationList = Schemas["OperationList"];
export type ComputeConfig = Schemas["ComputeConfig"];
export type ComputeEngine = Schemas["ComputeEngine"];
export type ComputeEngineList = Schemas["ComputeEngineList"];
export type Sweep = Schemas["Sweep"];
export type Health = Schemas["Health"];
export type Readiness = Schemas["Readiness"];
