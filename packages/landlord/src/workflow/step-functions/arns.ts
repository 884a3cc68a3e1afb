/** Addresses of our things in one account and region. */
import {
  STEP_FUNCTIONS_NAME,
  stepFunctionsName,
  type StepFunctionsNaming,
} from "../../contract/step-functions-names.ts";
import { EngineRejectedError } from "../provider.ts";

export interface StepFunctionsArns {
  /** What state machine and activity of a workflow are called. */
  name(workflowName: string): string;
  stateMachine(workflowName: string): string;
  execution(workflowName: string, executionId: string): string;
}

/**
 * Account and partition come from the ARN of the execution role, which must be of the account that the state machines
 * are in: so the address of an execution is known without a call, also when the answer of its start was lost.
 *
 * @throws EngineRejectedError when the role's ARN or a name is none
 */
export function createArns(
  settings: StepFunctionsNaming & { readonly region: string; readonly roleArn: string },
): StepFunctionsArns {
  const role = /^arn:(aws[a-z-]*):iam::(\d{12}):role\/.+$/.exec(settings.roleArn);
  if (role === null) {
    throw new EngineRejectedError(
      "invalid_role_arn",
      `"${settings.roleArn}" is not the ARN of an IAM role, like arn:aws:iam::123456789012:role/landlord-executions.`,
    );
  }
  const address = (kind: string): string => `arn:${role[1]}:states:${settings.region}:${role[2]}:${kind}`;
  const name = (workflowName: string): string =>
    checked(stepFunctionsName(settings, workflowName), "the name of a state machine");
  return {
    name,
    stateMachine: (workflowName) => `${address("stateMachine")}:${name(workflowName)}`,
    execution: (workflowName, executionId) =>
      `${address("execution")}:${name(workflowName)}:${checked(executionId, "the name of an execution")}`,
  };
}

function checked(name: string, what: string): string {
  if (STEP_FUNCTIONS_NAME.test(name)) return name;
  throw new EngineRejectedError(
    "invalid_name",
    `"${name}" cannot be ${what}: 1 to 80 letters, digits, hyphens and underscores.`,
  );
}
