import { conformanceCases, workflowBehaviours } from "../../../src/plugin/testing.ts";
import { conformanceTests } from "../../conformance/kit.ts";
import { stepFunctionsWorkflow } from "./harness.ts";

conformanceTests("workflow", conformanceCases(workflowBehaviours, stepFunctionsWorkflow));
