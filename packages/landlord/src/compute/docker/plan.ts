import type { ComputeSpec, Observation, PlannedChange } from "../provider.ts";
import { changedFields } from "../../domain/plan.ts";
import type { EngineConfig } from "./engine-config.ts";
import { type DockerConfig, dockerConfigSchema, exclusivesOf } from "./tenant-config.ts";

/** True when the two cannot run side by side, so that one has to stop before the other starts. */
export function areRivals(a: DockerConfig, b: DockerConfig): boolean {
  const ofB = exclusivesOf(b);
  return [...exclusivesOf(a)].some((each) => ofB.has(each));
}

/**
 * What an apply would do: every change replaces the container, for labels, mounts and limits of one are fixed. A
 * higher generation of the same config replaces it too, because only one generation may serve.
 */
export function planDocker(
  spec: ComputeSpec,
  config: DockerConfig,
  observation: Observation,
  settings: EngineConfig,
): readonly PlannedChange[] {
  const container = containerChange(spec, config, observation);
  const hasNetwork = observation.resourceIds["network"] !== undefined;
  const wantsNetwork = settings.perTenantNetwork && config.network_mode === undefined;
  const network: readonly PlannedChange[] =
    hasNetwork || wantsNetwork
      ? [{ action: hasNetwork ? "none" : "create", resource: "network", fields: [], downtime: false }]
      : [];
  const before = new Set(volumesIn(observation));
  const volumes = namesOfVolumes(config)
    .filter((name) => !before.has(name))
    .map((name) => ({
      action: "create" as const,
      resource: `volume ${name}`,
      fields: ["/volumes"],
      downtime: false,
    }));
  return [container, ...network, ...volumes];
}

function containerChange(spec: ComputeSpec, config: DockerConfig, observation: Observation): PlannedChange {
  const { presence, configHash, generation, config: before } = observation;
  const resource = "container";
  if (presence !== "present" || generation === null || before === null) {
    return { action: "create", resource, fields: [], downtime: false };
  }
  if (configHash === spec.configHash && generation === spec.generation) {
    return { action: "none", resource, fields: [], downtime: false };
  }
  const parsed = dockerConfigSchema.safeParse(before);
  // What was made by another version and cannot be read counts as a rival: a plan must not promise too much.
  const downtime = !parsed.success || areRivals(config, parsed.data);
  return { action: "replace", resource, fields: changedFields(before, spec.config), downtime };
}

function namesOfVolumes(config: DockerConfig): readonly string[] {
  return (config.volumes ?? []).flatMap(({ type = "volume", source }) =>
    type === "volume" && source !== undefined ? [source] : [],
  );
}

function volumesIn(observation: Observation): readonly string[] {
  const parsed = dockerConfigSchema.safeParse(observation.config);
  return parsed.success ? namesOfVolumes(parsed.data) : [];
}
