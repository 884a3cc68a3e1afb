/** Which of the engines that tests need are on this machine. A developer may go without; a CI run may not. */
import { findDockerd } from "./docker-daemon.ts";
import { findEcsEmulator } from "./ecs-emulator.ts";
import { findStepFunctionsEmulator } from "./step-functions-emulator.ts";

/** Folder below test/engines to why its tests cannot run here. */
export function missingEngines(): ReadonlyMap<string, string> {
  const missing = new Map<string, string>();
  const noDocker = "no dockerd, or not root";
  if (findDockerd() === null) missing.set("docker", noDocker);
  if (findStepFunctionsEmulator() === null) missing.set("step-functions", "no Step Functions emulator");
  if (findEcsEmulator() === null) missing.set("ecs", "no ECS emulator");
  else if (missing.has("docker")) missing.set("ecs", noDocker);
  // A tenant's whole life is tried on both of AWS's.
  else if (missing.has("step-functions")) missing.set("ecs", "no Step Functions emulator");
  return missing;
}

export const HOW_TO_INSTALL = "scripts/test-engines/install.sh installs it";
