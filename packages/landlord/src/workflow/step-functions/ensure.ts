/**
 * Makes activities and state machines be as this version of Landlord needs them. Every call may be repeated, and several
 * servers may do so at once. Executions in flight keep the definition that they were started with.
 */
import { canonicalJson, type Json, type JsonObject } from "../../domain/json.ts";
import { EngineRejectedError } from "../provider.ts";
import { awsErrorName, type StepFunctionsClient } from "./client.ts";
import { definitionVersion } from "./definition.ts";

export interface EnsureSettings {
  readonly client: StepFunctionsClient;
  readonly roleArn: string;
  readonly tags: Readonly<Record<string, string>>;
}

/** The activity's ARN. CreateActivity is idempotent by name. */
export async function ensureActivity(
  settings: EnsureSettings,
  name: string,
  signal: AbortSignal,
): Promise<string> {
  const { activityArn } = await settings.client.call(
    (sfn, options) => sfn.createActivity({ name, tags: tagList(settings.tags) }, options),
    signal,
  );
  if (activityArn !== undefined) return activityArn;
  throw new EngineRejectedError(
    "engine_answer_invalid",
    "Step Functions made an activity without naming it.",
  );
}

/** Two servers may create at once; whoever comes second looks again. */
const LOOKS = 3;

export async function ensureStateMachine(
  settings: EnsureSettings,
  wanted: { readonly arn: string; readonly name: string; readonly definition: JsonObject },
  signal: AbortSignal,
): Promise<void> {
  for (let look = 1; ; look++) {
    try {
      const found = await describe(settings.client, wanted.arn, signal);
      if (found === null) await create(settings, wanted, signal);
      else if (differs(found, settings, wanted.definition)) await update(settings, wanted, signal);
      return;
    } catch (error) {
      const raced = ["StateMachineAlreadyExists", "StateMachineDoesNotExist"].includes(
        awsErrorName(error) ?? "",
      );
      if (!raced || look >= LOOKS) throw error;
    }
  }
}

interface Found {
  readonly definition: Json;
  readonly roleArn: string | undefined;
}

async function describe(
  client: StepFunctionsClient,
  stateMachineArn: string,
  signal: AbortSignal,
): Promise<Found | null> {
  try {
    const found = await client.call(
      (sfn, options) => sfn.describeStateMachine({ stateMachineArn }, options),
      signal,
    );
    if (found.type !== "STANDARD") {
      throw new EngineRejectedError(
        "state_machine_type",
        `State machine ${stateMachineArn} is of type ${found.type}, and activities need STANDARD: delete it, or choose another name prefix.`,
      );
    }
    return { definition: parsed(found.definition), roleArn: found.roleArn };
  } catch (error) {
    if (awsErrorName(error) === "StateMachineDoesNotExist") return null;
    throw error;
  }
}

function differs(found: Found, settings: EnsureSettings, definition: JsonObject): boolean {
  // While servers of two versions run, the older one must not take back what the newer one defined.
  if (definitionVersion(found.definition) > definitionVersion(definition)) return false;
  return found.roleArn !== settings.roleArn || canonicalJson(found.definition) !== canonicalJson(definition);
}

async function create(
  settings: EnsureSettings,
  wanted: { readonly name: string; readonly definition: JsonObject },
  signal: AbortSignal,
): Promise<void> {
  await settings.client.call(
    (sfn, options) =>
      sfn.createStateMachine(
        {
          name: wanted.name,
          definition: canonicalJson(wanted.definition),
          roleArn: settings.roleArn,
          type: "STANDARD",
          tags: tagList(settings.tags),
        },
        options,
      ),
    signal,
  );
}

async function update(
  settings: EnsureSettings,
  wanted: { readonly arn: string; readonly definition: JsonObject },
  signal: AbortSignal,
): Promise<void> {
  await settings.client.call(
    (sfn, options) =>
      sfn.updateStateMachine(
        {
          stateMachineArn: wanted.arn,
          definition: canonicalJson(wanted.definition),
          roleArn: settings.roleArn,
        },
        options,
      ),
    signal,
  );
}

function parsed(definition: string | undefined): Json {
  try {
    return JSON.parse(definition ?? "null") as Json;
  } catch {
    // Not JSON is not ours: it is replaced like any other definition that differs.
    return null;
  }
}

function tagList(tags: Readonly<Record<string, string>>): { key: string; value: string }[] {
  return Object.entries(tags).map(([key, value]) => ({ key, value }));
}
