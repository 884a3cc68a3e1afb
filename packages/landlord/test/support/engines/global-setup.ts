/** What test/support/global-setup.ts starts, and besides every engine that is installed here: one of each, shared. */
import type { TestProject } from "vitest/node";
import setUpSystem from "../global-setup.ts";
import { missingEngines } from "./availability.ts";
import { loadTestImage, startDockerDaemon } from "./docker-daemon.ts";
import { startEcsEmulator } from "./ecs-emulator.ts";
import { startStepFunctionsEmulator } from "./step-functions-emulator.ts";

declare module "vitest" {
  export interface ProvidedContext {
    /** `unix://…`; has the images `landlord-test:1` and `:2`. */
    dockerHost: string;
    stepFunctionsEndpoint: string;
    /** Its services run containers on `dockerHost`. */
    ecsEndpoint: string;
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const missing = missingEngines();
  const starts: (() => Promise<() => Promise<void>>)[] = [() => setUpSystem(project)];
  if (!missing.has("docker")) {
    starts.push(async () => {
      const daemon = await startDockerDaemon();
      await loadTestImage(daemon.host);
      project.provide("dockerHost", daemon.host);
      if (missing.has("ecs")) return () => daemon.stop();
      const emulator = await startEcsEmulator({ dockerHost: daemon.host });
      project.provide("ecsEndpoint", emulator.endpoint);
      return async () => {
        await emulator.stop();
        await daemon.stop();
      };
    });
  }
  if (!missing.has("step-functions")) {
    starts.push(async () => {
      const emulator = await startStepFunctionsEmulator();
      project.provide("stepFunctionsEndpoint", emulator.endpoint);
      return () => emulator.stop();
    });
  }
  const started = await Promise.allSettled(starts.map((start) => start()));
  const stops = started.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
  const stop = async (): Promise<void> => {
    await Promise.all(stops.map((each) => each()));
  };
  const failed = started.find((result) => result.status === "rejected");
  if (failed !== undefined) {
    await stop();
    throw failed.reason;
  }
  return stop;
}
