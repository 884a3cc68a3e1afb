export {
  healthyObservation,
  scriptedCompute,
  transient,
  type ScriptedCompute,
} from "../../src/testing/index.ts";
