/** What the provider believes, whom it obeys, and what it leaves alone. */
import { inject, expect, test } from "vitest";
import { ecsComputeFactory } from "../../../src/compute/ecs/factory.ts";
import { askEcs, ECS_CLUSTER_ARN, taskDefinitionArn } from "../../support/engines/ecs-emulator.ts";
import { eventually } from "../../support/eventually.ts";
import {
  censusOf,
  converge,
  type EcsService,
  newProvider,
  newSpec,
  next,
  observe,
  options,
  refOf,
  remove,
  servicesOf,
  webConfig,
} from "./ecs-kit.ts";

const cluster = ECS_CLUSTER_ARN;
const ask = <Answer>(action: string, body: object): Promise<Answer> =>
  askEcs<Answer>(inject("ecsEndpoint"), action, { cluster, ...body });

const ROLE = "arn:aws:iam::000000000000:role/tenants";
const withRole = { ...webConfig(), assume_role: { role_arn: ROLE, external_id: "acme" } };

test("a role that the operator did not allow is refused by the server and by the worker", async () => {
  const allowed = { allowed_cluster_arns: [cluster], allowed_role_arns: [ROLE] };
  const refused = { allowed_cluster_arns: [cluster] };
  expect(ecsComputeFactory.describe(allowed).validateConfig(withRole)).toEqual([]);
  expect(ecsComputeFactory.describe(refused).validateConfig(withRole)).toMatchObject([
    { pointer: "/assume_role/role_arn" },
  ]);
  const provider = await newProvider();
  const spec = newSpec(withRole);
  await expect(provider.apply(spec, options)).rejects.toMatchObject({ retryable: false });

  // A scope is what a job reported, perhaps when another list was in force: the credentials are not for it either.
  const ref = refOf(spec, [await provider.scopeOf(withRole)]);
  expect(await provider.observe([ref], options.signal)).toMatchObject([
    { presence: "unknown", message: expect.stringContaining("allowed_role_arns") as string },
  ]);
  await expect(provider.destroy({ ...ref, generation: 1 }, options)).rejects.toMatchObject({
    code: "role_not_allowed",
    retryable: true,
  });
});

test("tags are not trusted: what somebody else changed is not at its generation, and is repaired", async () => {
  const provider = await newProvider();
  const spec = newSpec();
  await converge(provider, spec);
  const [service] = await servicesOf(spec);
  const changes = [
    { taskDefinition: taskDefinitionArn("web", 2) },
    { desiredCount: 2 },
    { desiredCount: 0 },
    { networkConfiguration: { awsvpcConfiguration: { subnets: ["subnet-1"] } } },
  ];
  for (const change of changes) {
    await ask("UpdateService", { service: service?.serviceName, ...change });
    const seen = await observe(provider, spec);
    expect(seen).toMatchObject({ presence: "present", configHash: null, health: "unhealthy" });
    const repaired = await converge(provider, spec);
    expect(repaired).toMatchObject({ generation: 1, configHash: spec.configHash });
    await eventually(async () => (await censusOf(spec)).join() === "1", {
      what: "one set of compute is left",
    });
  }
  // The config that observe compares with is a tag itself.
  const resourceArn = (await servicesOf(spec))[0]?.serviceArn;
  await ask("TagResource", { resourceArn, tags: [{ key: "landlord:config-0", value: "1:bm90IGpzb24" }] });
  expect(await observe(provider, spec)).toMatchObject({
    configHash: null,
    config: null,
    health: "unhealthy",
  });
  await remove(provider, spec);
});

test("a service of somebody else is never touched, and does not keep a tenant from being absent", async () => {
  const provider = await newProvider();
  const config = { ...webConfig(), service_name: `theirs-${crypto.randomUUID()}` };
  const spec = newSpec(config);
  await ask("CreateService", {
    serviceName: config.service_name,
    taskDefinition: taskDefinitionArn("web", 2),
    desiredCount: 1,
    launchType: "EC2",
    tags: [{ key: "team", value: "others" }],
  });
  const look = async (): Promise<EcsService | undefined> => {
    const answer = await ask<{ services: EcsService[] }>("DescribeServices", {
      services: [config.service_name],
      include: ["TAGS"],
    });
    return answer.services[0];
  };
  const before = await eventually(
    async () => {
      const service = (await look()) as (EcsService & { runningCount: number }) | undefined;
      return service?.runningCount === 1 && service;
    },
    { what: "their task runs" },
  );
  await expect(provider.apply(spec, options)).rejects.toMatchObject({
    code: "service_name_taken",
    retryable: false,
  });
  expect(await observe(provider, spec)).toMatchObject({ presence: "absent" });
  await remove(provider, spec);
  expect(await look()).toEqual(before);

  // Nor is one of the same tenant in another database.
  const restored = newSpec(config, { tenantId: spec.tenantId });
  await ask("TagResource", {
    resourceArn: before.serviceArn,
    tags: [
      { key: "landlord:instance", value: "the old database" },
      { key: "landlord:tenant", value: spec.tenantId },
      { key: "landlord:generation", value: "1" },
      { key: "landlord:config-hash", value: "hash" },
    ],
  });
  await expect(provider.apply(restored, options)).rejects.toMatchObject({ code: "service_name_taken" });
  await remove(provider, restored);
  expect(await look()).toMatchObject({ status: "ACTIVE", desiredCount: 1 });
  await ask("DeleteService", { service: config.service_name, force: true });
});

test("a changed launch type makes the service anew; the plan says so", async () => {
  const provider = await newProvider();
  const spec = newSpec();
  const first = await converge(provider, spec);
  const external = next(spec, { ...webConfig(), launch_type: "EXTERNAL" });
  expect(await provider.plan(external, first)).toEqual([
    { action: "replace", resource: "service", fields: ["/launch_type"], downtime: true },
  ]);
  await converge(provider, external);
  expect(await servicesOf(spec)).toMatchObject([{ launchType: "EXTERNAL", desiredCount: 1 }]);
  expect(await provider.plan(next(external, webConfig(2)), await observe(provider, external))).toMatchObject([
    { action: "replace", fields: ["/launch_type", "/task_definition_arn"] },
  ]);
  await remove(provider, external);
});

test("a tenant's own tags come and go with its config; those of others stay", async () => {
  const provider = await newProvider();
  const spec = newSpec({ ...webConfig(), tags: { cost: "42", team: "blue" } });
  await converge(provider, spec);
  const [service] = await servicesOf(spec);
  const resourceArn = service?.serviceArn;
  await ask("TagResource", { resourceArn, tags: [{ key: "audit", value: "theirs" }] });
  const changed = next(spec, { ...webConfig(), tags: { cost: "43" } });
  await converge(provider, changed);
  const tags = (await servicesOf(spec))[0]?.tags?.filter(({ key }) => !key.startsWith("landlord:"));
  expect(tags).toEqual([
    { key: "cost", value: "43" },
    { key: "audit", value: "theirs" },
  ]);
  await remove(provider, changed);
});
