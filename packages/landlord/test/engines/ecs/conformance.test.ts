import { computeBehaviours, conformanceCases } from "../../../src/plugin/testing.ts";
import { conformanceTests } from "../../conformance/kit.ts";
import { ecsCompute } from "./harness.ts";

conformanceTests("compute", conformanceCases(computeBehaviours, ecsCompute));
