/** Encryption is no matter of the engine: with it every engine does all that it does without. */
import { conformanceCases, workflowBehaviours } from "../../src/plugin/testing.ts";
import { mockWorkflow } from "../conformance/harnesses/mock-workflow.ts";
import { restateWorkflow } from "../conformance/harnesses/restate-workflow.ts";
import { conformanceTests } from "../conformance/kit.ts";
import { sealed } from "./sealed-harness.ts";

for (const subject of [mockWorkflow, restateWorkflow]) {
  const encrypted = {
    ...subject,
    name: `${subject.name}, encrypted`,
    open: async () => sealed(await subject.open()),
  };
  conformanceTests("workflow", conformanceCases(workflowBehaviours, encrypted));
}
