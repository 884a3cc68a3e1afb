/** What `landlord doctor` looks at on this machine: ports, database, engine, data folder. */
import type { Finding } from "../cli/context.ts";
import type { Config } from "../config/schema.ts";

export async function examine(_config: Config): Promise<readonly Finding[]> {
  return [];
}
