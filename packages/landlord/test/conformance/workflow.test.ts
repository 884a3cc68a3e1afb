/** The engine in memory, and a real Restate server. */
import { conformanceCases, workflowBehaviours } from "../../src/plugin/testing.ts";
import { mockWorkflow } from "./harnesses/mock-workflow.ts";
import { restateWorkflow } from "./harnesses/restate-workflow.ts";
import { simulatedWorkflow } from "./harnesses/simulated-workflow.ts";
import { conformanceTests } from "./kit.ts";

conformanceTests("workflow", conformanceCases(workflowBehaviours, mockWorkflow));
conformanceTests("workflow", conformanceCases(workflowBehaviours, restateWorkflow));
conformanceTests("workflow", conformanceCases(workflowBehaviours, simulatedWorkflow));
