import type { Config } from "../config/schema.ts";
import { LandlordError } from "../domain/errors.ts";

/** One URL from `database.url`, or from host, port, user, password and database. */
export function databaseUrl(database: Config["database"]): string {
  if (database.url !== undefined) return database.url;
  if (database.host === undefined) {
    throw new LandlordError(
      "database_missing",
      "Set database.url (or database.host), or use `landlord dev`.",
    );
  }
  const url = new URL(`postgres://${database.host.includes(":") ? `[${database.host}]` : database.host}`);
  url.port = String(database.port);
  url.username = encodeURIComponent(database.user ?? "postgres");
  if (database.password !== undefined) url.password = encodeURIComponent(database.password);
  url.pathname = `/${encodeURIComponent(database.database ?? database.user ?? "postgres")}`;
  url.searchParams.set("sslmode", database.ssl_mode);
  return url.toString();
}
