/**
 * What must not come back: the highest generation of a tenant that was deleted. ECS keeps nothing of a service that is
 * gone, so the fence is a family of task definitions which nobody runs: revisions stay after they were deregistered,
 * cannot be changed, and cost nothing. A higher fence is a further revision, and the highest counts.
 */
import type { Owner } from "../provider.ts";
import type { Send } from "./client.ts";

const FAMILY_PREFIX = "landlord-fence-";
const GENERATION = "LANDLORD_FENCE";
/** Revisions that are looked at: writers look before they write, so only racing ones can be out of order. */
const NEWEST = 5;

/** A family has at most 255 letters, digits, - and _. */
function familyOf({ instanceId, tenantId }: Owner): string {
  return `${FAMILY_PREFIX}${instanceId.replaceAll(/[^A-Za-z0-9_-]/g, "_").slice(0, 100)}-${tenantId}`;
}

/** The generation up to which everything is refused; 0 for none. */
export async function readFence(send: Send, owner: Owner): Promise<number> {
  const family = familyOf(owner);
  const lists = await Promise.all(
    // A worker that died between register and deregister leaves an active one.
    (["INACTIVE", "ACTIVE"] as const).map((status) =>
      send((ecs, options) =>
        ecs.listTaskDefinitions({ familyPrefix: family, status, sort: "DESC", maxResults: NEWEST }, options),
      ),
    ),
  );
  const arns = lists
    .flatMap(({ taskDefinitionArns = [] }) => taskDefinitionArns)
    .filter((arn) => arn.includes(`:task-definition/${family}:`));
  const generations = await Promise.all(
    arns.map(async (taskDefinition) => {
      const described = await send((ecs, options) => ecs.describeTaskDefinition({ taskDefinition }, options));
      const variables = described.taskDefinition?.containerDefinitions?.[0]?.environment ?? [];
      return Number(variables.find(({ name }) => name === GENERATION)?.value ?? 0);
    }),
  );
  return Math.max(0, ...generations);
}

/** Refuses everything up to `generation` from now on. */
export async function writeFence(send: Send, owner: Owner, generation: number): Promise<void> {
  if ((await readFence(send, owner)) >= generation) return;
  const { taskDefinition } = await send((ecs, options) =>
    ecs.registerTaskDefinition(
      {
        family: familyOf(owner),
        containerDefinitions: [
          {
            name: "fence",
            // Never run, so never pulled.
            image: "landlord/fence",
            memory: 6,
            environment: [{ name: GENERATION, value: String(generation) }],
          },
        ],
      },
      options,
    ),
  );
  const arn = taskDefinition?.taskDefinitionArn;
  if (arn !== undefined) {
    await send((ecs, options) => ecs.deregisterTaskDefinition({ taskDefinition: arn }, options));
  }
}
