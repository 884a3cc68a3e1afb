/** Where a person looks at an execution: the engine's own page for it. */
import type { Config } from "../config/schema.ts";
import type { Operation } from "../domain/tenant.ts";

/** Null for an engine without a page that we know, and for an execution whose address the engine has not told yet. */
export function executionLink(config: Config, operation: Operation): string | null {
  const { executionHandle, workflowProvider } = operation;
  if (executionHandle === null) return null;
  switch (workflowProvider) {
    case "restate": {
      const base = config.workflow.restate.admin_endpoint.replace(/\/+$/, "");
      return `${base}/ui/invocations/${encodeURIComponent(executionHandle)}`;
    }
    case "step-functions": {
      // arn:aws:states:REGION:ACCOUNT:execution:MACHINE:NAME
      const region = executionHandle.split(":")[3] ?? "";
      return `https://${region}.console.aws.amazon.com/states/home?region=${region}#/v2/executions/details/${executionHandle}`;
    }
    default:
      return null;
  }
}
