/** Deployments that fail, and what ECS says that the emulator never does. */
import { inject, expect, test } from "vitest";
import type { ComputeError } from "../../../src/compute/provider.ts";
import { taskDefinitionArn, type TestFamily } from "../../support/engines/ecs-emulator.ts";
import { eventually } from "../../support/eventually.ts";
import {
  censusOf,
  converge,
  newProvider,
  newSpec,
  next,
  observe,
  options,
  remove,
  servicesOf,
  webConfig,
} from "./ecs-kit.ts";
import { refusal, startEcsProxy } from "./ecs-proxy.ts";

const configOf = (family: TestFamily) => ({ ...webConfig(), task_definition_arn: taskDefinitionArn(family) });

test.each([
  ["ends", /The deployment failed: .*app ended with 7/],
  ["no-image", /The deployment failed: .*CannotPullContainerError/],
] as const)("a deployment of %s fails, says why, and is tried again", async (family, why) => {
  const provider = await newProvider();
  const spec = newSpec(configOf(family));
  await provider.apply(spec, options);
  const seen = await eventually(
    async () => {
      const observation = await observe(provider, spec);
      return observation.message?.includes("failed:") === true && observation;
    },
    { what: "the deployment failed", timeoutMs: 45_000 },
  );
  expect(seen).toMatchObject({ presence: "present", health: "unhealthy", generation: 1 });
  expect(seen.message).toMatch(why);
  await expect(provider.apply(spec, options)).rejects.toMatchObject({
    code: "workload_exited",
    retryable: true,
    message: expect.stringMatching(why) as string,
  });
  expect((await observe(provider, spec)).message).toContain("IN_PROGRESS");
  const mended = next(spec, webConfig());
  await converge(provider, mended);
  await remove(provider, mended);
});

test("an update that fails leaves nothing behind that the next one does not replace", async () => {
  const provider = await newProvider();
  const spec = newSpec();
  await converge(provider, spec);
  const broken = next(spec, configOf("ends"));
  await provider.apply(broken, options);
  await eventually(async () => /failed:/.test((await observe(provider, broken)).message ?? ""), {
    what: "the deployment failed",
    timeoutMs: 45_000,
  });
  expect(await provider.apply(spec, options)).toEqual({ kind: "stale", generation: 2 });
  const mended = next(broken, webConfig(2));
  await converge(provider, mended);
  await eventually(async () => (await censusOf(spec)).join() === "3", { what: "only generation 3 is left" });
  await remove(provider, mended);
});

/** The emulator's services are gone at once. */
test("a service that drains is present, and its name is not free", async () => {
  const spec = newSpec();
  const provider = await newProvider();
  await converge(provider, spec);
  let draining = true;
  const proxied = await newProvider(
    {},
    await startEcsProxy(inject("ecsEndpoint"), (action, ask) => {
      if (action !== "DescribeServices") return null;
      return ask().then(({ status, body }) => {
        const { services } = body as { services: { status: string }[] };
        for (const service of services)
          if (draining && service.status === "INACTIVE") service.status = "DRAINING";
        return { status, body };
      });
    }),
  );
  const ref = { ...spec, scopes: [await provider.scopeOf(spec.config)] };
  expect(await proxied.destroy({ ...ref, generation: 1 }, options)).toMatchObject({
    presence: "present",
    message: "The service is DRAINING.",
  });
  expect(await proxied.destroy({ ...ref, generation: 1 }, options)).toMatchObject({ presence: "present" });
  const restored = next(spec);
  await expect(proxied.apply(restored, options)).rejects.toMatchObject({
    code: "service_draining",
    retryable: true,
  });
  draining = false;
  expect(await proxied.destroy({ ...ref, generation: 1 }, options)).toMatchObject({ presence: "absent" });
  await converge(proxied, restored);
  await remove(proxied, restored);
});

test("tasks that are still stopping are not absent, also when their service is gone", async () => {
  const spec = newSpec();
  const provider = await newProvider();
  await converge(provider, spec);
  let stopping = true;
  const proxied = await newProvider(
    {},
    await startEcsProxy(inject("ecsEndpoint"), (action, ask) => {
      if (action !== "DescribeTasks") return null;
      return ask().then(({ status, body }) => {
        for (const task of (body as { tasks: { lastStatus: string }[] }).tasks) {
          if (stopping) task.lastStatus = "STOPPING";
        }
        return { status, body };
      });
    }),
  );
  const ref = { ...spec, scopes: [await provider.scopeOf(spec.config)], generation: 1 };
  expect(await proxied.destroy(ref, options)).toMatchObject({
    presence: "present",
    message: expect.stringContaining("1 of its tasks are still stopping") as string,
  });
  stopping = false;
  expect(await proxied.destroy(ref, options)).toMatchObject({ presence: "absent" });
});

test.each([
  ["AccessDeniedException", "User is not authorized to perform: ecs:CreateService", "aws_unauthorized", true],
  [
    "ExpiredTokenException",
    "The security token included in the request is expired",
    "aws_unauthorized",
    true,
  ],
  ["ThrottlingException", "Rate exceeded", "aws_throttled", true],
  ["ServerException", "Service Unavailable", "compute_unreachable", true],
  ["ClusterNotFoundException", "Cluster not found.", "cluster_not_found", false],
  ["ClientException", "TaskDefinition is inactive", "task_definition_invalid", false],
  ["InvalidParameterException", "Subnet not found", "ecs_rejected", false],
  ["InvalidParameterException", "Unable to assume the service linked role.", "aws_unauthorized", true],
  ["ClientException", "Unable to Start a service that is still Draining.", "service_draining", true],
])("%s (%s) is %s", async (type, message, code, retryable) => {
  const endpoint = await startEcsProxy(inject("ecsEndpoint"), (action) =>
    action === "CreateService"
      ? Promise.resolve(refusal(type, message, type === "ServerException" ? 500 : 400))
      : null,
  );
  const provider = await newProvider({}, endpoint);
  const spec = newSpec();
  const error = await provider.apply(spec, options).then(
    () => null,
    (thrown: unknown) => thrown as ComputeError,
  );
  expect(error).toMatchObject({ code, retryable, providerError: expect.stringContaining(message) as string });
  expect(await servicesOf(spec)).toEqual([]);
});

test("a delete of what AWS refuses to show is never absent, and never a reason to reject", async () => {
  for (const type of ["AccessDeniedException", "ClusterNotFoundException", "ThrottlingException"]) {
    const endpoint = await startEcsProxy(inject("ecsEndpoint"), () => Promise.resolve(refusal(type, "no")));
    const provider = await newProvider({}, endpoint);
    const spec = newSpec();
    const ref = { ...spec, scopes: [await provider.scopeOf(spec.config)] };
    expect(await provider.observe([ref], options.signal)).toMatchObject([{ presence: "unknown" }]);
    await expect(provider.destroy({ ...ref, generation: 1 }, options)).rejects.toMatchObject({
      retryable: true,
    });
  }
});
