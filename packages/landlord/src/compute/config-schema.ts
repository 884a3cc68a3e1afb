/** What the schemas of several providers' configurations have in common. */
import { z } from "zod";
import { pointerSegment } from "../domain/json.ts";
import type { ConfigProblem } from "./provider.ts";

/** Text that can travel through exec(2), where a NUL would cut it short. */
export const text = (max: number) =>
  z
    .string()
    .max(max)
    .regex(/^[^\0]*$/, "must not hold a NUL character");

/** A number of seconds that may be left out. */
export const seconds = (min: number, max: number, fallback: number, what: string) =>
  z.number().min(min).max(max).optional().meta({ default: fallback, description: what });

const MAX_ENV_ENTRIES = 256;

/** Environment variables of a workload, by name. */
export const environment = z
  .record(
    z.string().regex(/^[A-Za-z_][A-Za-z0-9_]{0,254}$/, "must be a name of letters, digits and _"),
    text(32_768),
  )
  .refine(
    (env) => Object.keys(env).length <= MAX_ENV_ENTRIES,
    `must have at most ${MAX_ENV_ENTRIES} entries`,
  );

/** A JSON pointer (RFC 6901) to a path in a config. */
export function pointerOf(path: readonly PropertyKey[]): string {
  return path.map((key) => pointerSegment(String(key))).join("");
}

/** One problem for each issue of a failed parse; each unknown key is a problem of its own. */
export function schemaProblems(error: z.ZodError): ConfigProblem[] {
  return error.issues.flatMap((issue) => {
    if (issue.code === "unrecognized_keys") {
      return issue.keys.map((key) => ({
        pointer: pointerOf([...issue.path, key]),
        message: "is not a known key",
      }));
    }
    const message =
      issue.code === "invalid_key" ? (issue.issues[0]?.message ?? issue.message) : issue.message;
    return [{ pointer: pointerOf(issue.path), message }];
  });
}

/** Variables that the control plane itself sets. */
export function reservedEnvProblems(env: Readonly<Record<string, string>> | undefined): ConfigProblem[] {
  return Object.keys(env ?? {})
    .filter((name) => name.startsWith("LANDLORD_"))
    .map((name) => ({
      pointer: pointerOf(["env", name]),
      message: "names that start with LANDLORD_ are reserved",
    }));
}
