/** Encryption on Step Functions, where it meets what only this engine does: same input, phases, limits of size. */
import { conformanceCases, workflowBehaviours } from "../../../src/plugin/testing.ts";
import { sealed } from "../../auth/sealed-harness.ts";
import { conformanceTests } from "../../conformance/kit.ts";
import { stepFunctionsWorkflow } from "./harness.ts";

const BEHAVIOURS = [
  "runs-jobs",
  "idempotent-invoke",
  "waiting-visible",
  "query",
  "large-requests",
  "stop-occupies",
];

const encrypted = {
  ...stepFunctionsWorkflow,
  name: `${stepFunctionsWorkflow.name}, encrypted`,
  open: async () => sealed(await stepFunctionsWorkflow.open()),
};
conformanceTests(
  "workflow",
  conformanceCases(workflowBehaviours, encrypted).filter(({ behaviour }) => BEHAVIOURS.includes(behaviour)),
);
