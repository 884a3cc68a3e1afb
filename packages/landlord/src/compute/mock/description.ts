import { z } from "zod";
import { jsonObject } from "../../contract/job.ts";
import type { JsonObject } from "../../domain/json.ts";
import type { ComputeDescription, ConfigProblem } from "../provider.ts";

export const MOCK_PROVIDER_NAME = "mock";

const tenantSchema = z.looseObject({
  fail: z
    .enum(["retryable", "terminal"])
    .optional()
    .describe("Makes every apply of this tenant fail: to be tried again, or for good"),
});

const engineSchema = z.strictObject({
  latency_ms: z
    .number()
    .min(0)
    .max(600_000)
    .optional()
    .meta({ default: 0, description: "How long every call takes" }),
  failure_rate: z
    .number()
    .min(0)
    .max(1)
    .optional()
    .meta({ default: 0, description: "Share of applies and destroys that fail and are to be tried again" }),
  fail_apply: z
    .enum(["none", "retryable", "terminal"])
    .optional()
    .meta({ default: "none", description: "Makes every apply fail: to be tried again, or for good" }),
  health_after_ms: z
    .number()
    .min(0)
    .max(3_600_000)
    .optional()
    .meta({ default: 0, description: "How long after its start compute becomes healthy" }),
  defaults: jsonObject.optional().describe("Keys of compute_config for tenants that leave them out"),
});

/** The block `compute.mock`. */
export const mockEngineConfigSchema = engineSchema as unknown as z.ZodType<JsonObject>;

/** The block with every default filled in. Throws a ZodError when it is invalid. */
export function resolveMockConfig(engineConfig: JsonObject) {
  const parsed = engineSchema.parse(engineConfig);
  return {
    latencyMs: parsed.latency_ms ?? 0,
    failureRate: parsed.failure_rate ?? 0,
    failApply: parsed.fail_apply ?? "none",
    healthAfterMs: parsed.health_after_ms ?? 0,
  };
}
export type MockEngineConfig = ReturnType<typeof resolveMockConfig>;

export function describeMock(engineConfig: JsonObject): ComputeDescription {
  return {
    name: MOCK_PROVIDER_NAME,
    configSchema: z.toJSONSchema(tenantSchema, {
      target: "draft-2020-12",
      io: "input",
    }) as unknown as JsonObject,
    configDefaults: engineSchema.parse(engineConfig).defaults ?? null,
    immutableKeys: [],
    validateConfig: validateMockConfig,
  };
}

export function validateMockConfig(config: JsonObject): readonly ConfigProblem[] {
  const parsed = tenantSchema.safeParse(config);
  if (parsed.success) return [];
  return parsed.error.issues.map(({ path, message }) => ({
    pointer: path.map((key) => `/${String(key)}`).join(""),
    message,
  }));
}
