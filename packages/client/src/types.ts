export interface components {
  schemas: {
    Endpoint: { name: string; address: string; port: number; url: string };
    Condition: {
      type: string;
      status: "True" | "False" | "Unknown";
      reason: string;
      message: string;
      observed_generation: number;
      since: string;
    };
    Tenant: {
      id: string;
      name: string;
      status:
        | "requested"
        | "provisioning"
        | "ready"
        | "updating"
        | "archiving"
        | "archived"
        | "deleting"
        | "failed";
      status_message: string;
      compute_provider: string;
      desired_config: Record<string, unknown>;
      compute_config: Record<string, unknown>;
      observed_config: Record<string, unknown> | null;
      observed_resource_ids: Record<string, string>;
      endpoints: components["schemas"]["Endpoint"][];
      workflow_execution_id?: string | null;
      workflow_sub_state?: string | null;
      workflow_retry_count?: number | null;
      workflow_error_message?: string | null;
      generation: number;
      observed_generation: number;
      paused: boolean;
      conditions: components["schemas"]["Condition"][];
      labels: Record<string, string>;
      annotations: Record<string, string>;
      version: number;
      created_at: string;
      updated_at: string;
    };
    TenantList: { tenants: components["schemas"]["Tenant"][]; total: number; limit: number; offset: number };
    CreateTenant: {
      name: string;
      compute_config: Record<string, unknown>;
      compute_provider?: string;
      labels?: Record<string, string>;
      annotations?: Record<string, string>;
    };
    UpdateTenant: {
      name?: string;
      compute_config: Record<string, unknown>;
      compute_provider?: string;
      labels?: Record<string, string>;
      annotations?: Record<string, string>;
    };
    Problem: {
      type: string;
      title: string;
      status: number;
      detail: string;
      instance?: string;
      error: string;
      details?: string[];
      code: string;
      request_id: string;
    };
    Transition: {
      tenant_id: string;
      from: string | null;
      to: string;
      reason: string;
      message?: string;
      actor: string | null;
      request_id?: string | null;
      generation: number;
      created_at: string;
    };
    Operation: {
      id: string;
      tenant_id: string;
      kind: string;
      generation: number;
      execution_id: string;
      workflow_provider: string;
      sub_state: string | null;
      retry_count: number;
      outcome: string | null;
      error?: { code: string; message: string } | null;
      created_at: string;
      ended_at: string | null;
    };
    ComputeConfig: { provider: string; schema: unknown; defaults?: unknown };
    ComputeEngine: { name: string; schema: unknown; defaults?: unknown; config?: Record<string, unknown> };
    Health: { status: string; time: string };
    Readiness: { status: string; checks: Record<string, unknown>; time?: string; error?: string };
  };
}

export type Tenant = components["schemas"]["Tenant"];
export type TenantList = components["schemas"]["TenantList"];
export type CreateTenant = components["schemas"]["CreateTenant"];
export type UpdateTenant = components["schemas"]["UpdateTenant"];
export type Problem = components["schemas"]["Problem"];
export type Transition = components["schemas"]["Transition"];
export type Operation = components["schemas"]["Operation"];
export type ComputeConfig = components["schemas"]["ComputeConfig"];
export type ComputeEngine = components["schemas"]["ComputeEngine"];
export type Health = components["schemas"]["Health"];
export type Readiness = components["schemas"]["Readiness"];
