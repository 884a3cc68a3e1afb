import { problemSchema } from "../contract/system.ts";

/** The problem schema under each of the statuses, for a route's `response`. */
export function problems<Status extends number>(
  ...statuses: readonly Status[]
): Record<Status, typeof problemSchema> {
  return Object.fromEntries(statuses.map((status) => [status, problemSchema])) as Record<
    Status,
    typeof problemSchema
  >;
}
