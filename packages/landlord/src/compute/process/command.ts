/** What a workload is started with: its environment, its folder, and the script that turns into it. */
import { constants } from "node:fs";
import { access, stat } from "node:fs/promises";
import { isAbsolute, join } from "node:path";
import { ComputeError, type ComputeSpec } from "../provider.ts";
import { type ProcessConfig, portVariable } from "./description.ts";
import { FIXED_PATH } from "./launcher.ts";

export interface NamedPort {
  readonly name: string;
  readonly port: number;
}

/** The whole environment of a workload. Nothing of the worker's own is in it. */
export function workloadEnv(
  spec: Pick<ComputeSpec, "tenantId" | "tenantName" | "generation">,
  config: ProcessConfig,
  place: { readonly cwd: string; readonly ports: readonly NamedPort[] },
): Record<string, string> {
  const env: Record<string, string> = { PATH: FIXED_PATH, HOME: place.cwd, ...config.env };
  const [first] = place.ports;
  if (first !== undefined) env["PORT"] = String(first.port);
  for (const { name, port } of place.ports) env[portVariable(name)] = String(port);
  env["LANDLORD_TENANT_ID"] = spec.tenantId;
  env["LANDLORD_TENANT_NAME"] = spec.tenantName;
  env["LANDLORD_GENERATION"] = String(spec.generation);
  return env;
}

function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** The lines that the launcher reads last: they replace it by the workload. */
export function launchScript(
  command: readonly string[],
  place: { readonly cwd: string; readonly env: Readonly<Record<string, string>> },
): string {
  const exports = Object.entries(place.env).map(([name, value]) => `export ${name}=${quote(value)}`);
  return [
    "umask 022",
    `cd ${quote(place.cwd)} || exit 126`,
    "unset OLDPWD",
    ...exports,
    `exec ${command.map(quote).join(" ")}`,
    "",
  ].join("\n");
}

async function isExecutable(file: string): Promise<boolean> {
  try {
    await access(file, constants.X_OK);
    return (await stat(file)).isFile();
  } catch {
    return false;
  }
}

/**
 * Looks whether the command could run, before anything is stopped for it. Both failures are retryable, because a
 * program may be installed later: `cwd_missing` and `command_not_found`.
 */
export async function checkCommand(config: ProcessConfig, defaultCwd: string): Promise<void> {
  const cwd = config.cwd ?? defaultCwd;
  if (config.cwd !== undefined && !(await stat(cwd).catch(() => null))?.isDirectory()) {
    throw new ComputeError(
      "cwd_missing",
      `The folder ${cwd} (compute_config.cwd) does not exist on this host. Create it, or change cwd.`,
      {
        retryable: true,
      },
    );
  }
  const program = config.command[0] ?? "";
  const path = config.env?.["PATH"] ?? FIXED_PATH;
  const candidates = program.includes("/")
    ? [isAbsolute(program) ? program : join(cwd, program)]
    : path.split(":").map((folder) => join(isAbsolute(folder) ? folder : join(cwd, folder), program));
  for (const candidate of candidates.slice(0, 256)) {
    if (await isExecutable(candidate)) return;
  }
  throw new ComputeError(
    "command_not_found",
    `The program "${program.slice(0, 200)}" (compute_config.command) does not exist on this host or is not executable. Install it, or change command.`,
    { retryable: true },
  );
}
