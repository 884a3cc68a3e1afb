import { computeBehaviours, conformanceCases } from "../../../src/plugin/testing.ts";
import { conformanceTests } from "../../conformance/kit.ts";
import { dockerCompute } from "./harness.ts";

conformanceTests("compute", conformanceCases(computeBehaviours, dockerCompute));
