/** The built-in compute providers that need nothing but this machine. */
import { computeBehaviours, conformanceCases } from "../../src/plugin/testing.ts";
import { mockCompute } from "./harnesses/mock-compute.ts";
import { processCompute } from "./harnesses/process-compute.ts";
import { conformanceTests } from "./kit.ts";

conformanceTests("compute", conformanceCases(computeBehaviours, mockCompute));
conformanceTests("compute", conformanceCases(computeBehaviours, processCompute));
