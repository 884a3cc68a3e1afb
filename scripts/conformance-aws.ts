/** `npm run conformance:aws`: the compute kit against ECS in a real account. It starts tasks, which cost money. */
import { pathToFileURL } from "node:url";
import {
  computeBehaviours,
  conformanceCases,
  conformanceTable,
  runConformance,
} from "../packages/landlord/src/plugin/testing.ts";
import { awsCompute, type AwsSettings } from "../packages/landlord/test/aws/harness.ts";

const PREFIX = "LANDLORD_TEST_AWS_";
const REQUIRED = ["CLUSTER_ARN", "TASK_DEFINITION_ARN_1", "TASK_DEFINITION_ARN_2"] as const;

const HELP = `usage: npm run conformance:aws [-- BEHAVIOUR…]

Runs the conformance kit of compute against ECS in a real account: all behaviours, or those that are named. It creates
and deletes services (landlord-…), runs up to eight tasks at once for one to two hours, and these cost money.
Credentials come from where AWS's tools find them. See docs/ecs-compute.md.

  ${PREFIX}CLUSTER_ARN            the cluster
  ${PREFIX}TASK_DEFINITION_ARN_1  a task definition with its revision, whose tasks stay up
  ${PREFIX}TASK_DEFINITION_ARN_2  another one
  ${PREFIX}LAUNCH_TYPE            FARGATE (default), EC2 or EXTERNAL
  ${PREFIX}SUBNETS                separated by commas; FARGATE needs one
  ${PREFIX}SECURITY_GROUPS        separated by commas
  ${PREFIX}ASSIGN_PUBLIC_IP       "true" where tasks pull their image over a public address
  ${PREFIX}ROLE_ARN               a role to take on
  ${PREFIX}EXTERNAL_ID            its external id
  ${PREFIX}ENDPOINT               another endpoint than AWS's own
`;

/** What to run against, or what is wrong with the environment. */
export function readSettings(env: Readonly<Record<string, string | undefined>>): AwsSettings | string {
  const read = (name: string): string => env[`${PREFIX}${name}`] ?? "";
  const list = (name: string): readonly string[] => read(name).split(",").filter(Boolean);
  const missing = REQUIRED.filter((name) => read(name) === "").map((name) => `${PREFIX}${name}`);
  const launchType = read("LAUNCH_TYPE") || "FARGATE";
  if (launchType === "FARGATE" && list("SUBNETS").length === 0) missing.push(`${PREFIX}SUBNETS`);
  if (missing.length > 0) return `set ${missing.join(", ")}`;
  if (launchType !== "FARGATE" && launchType !== "EC2" && launchType !== "EXTERNAL") {
    return `${PREFIX}LAUNCH_TYPE is FARGATE, EC2 or EXTERNAL, not ${launchType}`;
  }
  const first = read("TASK_DEFINITION_ARN_1");
  const second = read("TASK_DEFINITION_ARN_2");
  if (first === second) return "the two task definitions have to differ";
  return {
    clusterArn: read("CLUSTER_ARN"),
    taskDefinitionArns: [first, second],
    launchType,
    subnets: list("SUBNETS"),
    securityGroups: list("SECURITY_GROUPS"),
    assignPublicIp: read("ASSIGN_PUBLIC_IP") === "true",
    role:
      read("ROLE_ARN") === "" ? null : { roleArn: read("ROLE_ARN"), externalId: read("EXTERNAL_ID") || null },
    endpoint: read("ENDPOINT") || null,
  };
}

/** Exit code: 0 when every behaviour holds, 1 when one does not, 2 when it cannot begin. */
async function main(names: readonly string[]): Promise<number> {
  if (names.includes("--help")) {
    process.stdout.write(HELP);
    return 0;
  }
  const settings = readSettings(process.env);
  const known = computeBehaviours.map(({ id }) => id);
  const unknown = names.filter((name) => !known.includes(name));
  if (typeof settings === "string" || unknown.length > 0) {
    const why =
      typeof settings === "string"
        ? settings
        : `unknown: ${unknown.join(", ")}; known are ${known.join(", ")}`;
    process.stderr.write(`error: ${why}\n\n${HELP}`);
    return 2;
  }
  const behaviours = computeBehaviours.filter(({ id }) => names.length === 0 || names.includes(id));
  const results = await runConformance(
    conformanceCases(behaviours, { ...awsCompute(settings), gaps: gapsAmong(behaviours, settings) }),
    ({ behaviour, verdict, durationMs }) => {
      process.stdout.write(`${verdict} ${behaviour} ${Math.round(durationMs / 1_000)} s\n`);
    },
  );
  process.stdout.write(`\n${conformanceTable(results)}\n`);
  return results.some(({ verdict }) => verdict === "FAIL") ? 1 : 0;
}

/** The kit refuses gaps of behaviours that it was not given. */
function gapsAmong(behaviours: typeof computeBehaviours, settings: AwsSettings): Record<string, string> {
  const gaps = Object.entries(awsCompute(settings).gaps ?? {});
  return Object.fromEntries(gaps.filter(([id]) => behaviours.some((behaviour) => behaviour.id === id)));
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  process.exitCode = await main(process.argv.slice(2));
}
