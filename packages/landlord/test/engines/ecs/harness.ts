/** ECS on its emulator: every request of the provider passes a proxy, and a census asks the emulator and Docker. */
import { randomUUID } from "node:crypto";
import { inject } from "vitest";
import { ecsComputeFactory } from "../../../src/compute/ecs/factory.ts";
import {
  startFaultProxy,
  type ComputeHarness,
  type ConformanceSubject,
} from "../../../src/plugin/testing.ts";
import { askDocker } from "../../support/engines/docker-daemon.ts";
import { askEcs, ECS_CLUSTER_ARN, taskDefinitionArn } from "../../support/engines/ecs-emulator.ts";
import { censusOf, containersOf, ecsEngineConfig, newProvider, servicesOf, webConfig } from "./ecs-kit.ts";

/** Everything is a POST; what it does is said in a header. */
const READS = /\.(?:Describe|List)/;

async function openEcsHarness(): Promise<ComputeHarness> {
  const closers: (() => Promise<unknown>)[] = [];
  const instances = new Set<string>();
  const ask = (action: string, body: object): Promise<unknown> =>
    askEcs(inject("ecsEndpoint"), action, { cluster: ECS_CLUSTER_ARN, ...body });
  const theirs = `theirs-${randomUUID()}`;
  await ask("CreateService", {
    serviceName: theirs,
    taskDefinition: taskDefinitionArn("web"),
    desiredCount: 0,
    launchType: "EC2",
  });
  closers.push(() => ask("DeleteService", { service: theirs, force: true }));
  return {
    factory: ecsComputeFactory,
    engineConfig: ecsEngineConfig,
    async open(faults) {
      const proxy = await startFaultProxy({
        target: inject("ecsEndpoint"),
        faults,
        isEffect: ({ headers }) => !READS.test(String(headers["x-amz-target"])),
      });
      closers.push(() => proxy.close());
      return newProvider({}, proxy.url);
    },
    openUnreachable: () => newProvider({}, "http://127.0.0.1:1"),
    config: webConfig,
    unhealthyConfig: { ...webConfig(), task_definition_arn: taskDefinitionArn("ends") },
    // The emulator takes task definitions that do not exist.
    rejectedConfig: { ...webConfig(), service_name: theirs },
    invalidConfig: { cluster_arn: "not a cluster" },
    loggedText: () => null,
    census(owner) {
      instances.add(owner.instanceId);
      return censusOf(owner);
    },
    async endWorkload(owner) {
      for (const { id } of await containersOf(owner)) {
        await askDocker(inject("dockerHost"), "POST", `/containers/${id}/kill?signal=KILL`);
      }
    },
    convergeTimeoutMs: 60_000,
    parallel: 4,
    async close() {
      for (const instanceId of instances) {
        for (const { serviceName } of await servicesOf({ instanceId })) {
          await ask("DeleteService", { service: serviceName, force: true });
        }
      }
      for (const close of closers.reverse()) await close();
    },
  };
}

export const ecsCompute: ConformanceSubject<ComputeHarness> = {
  name: "ecs",
  gaps: { logs: "ECS keeps no output: a task's log driver sends it elsewhere, such as to CloudWatch Logs" },
  open: openEcsHarness,
};
