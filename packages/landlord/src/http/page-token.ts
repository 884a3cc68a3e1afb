/** Where a list goes on: opaque to clients, and good only for the filters it was made with. */
import { createHash } from "node:crypto";
import { z } from "zod";
import { HttpError } from "./problem.ts";

/** `after`: the store's own words. `total`: as counted for the first page. */
const tokenSchema = z.object({
  after: z.string().max(200),
  total: z.int().min(0),
  filter: z.string(),
});

export type PagePosition = Omit<z.infer<typeof tokenSchema>, "filter">;

export function sealPageToken(position: PagePosition, filter: object): string {
  return Buffer.from(JSON.stringify({ ...position, filter: digest(filter) })).toString("base64url");
}

/** @throws HttpError 400 `invalid_page_token` */
export function openPageToken(token: string, filter: object): PagePosition {
  const parsed = tokenSchema.safeParse(decode(token));
  if (!parsed.success) throw invalid("is not one that this API gave");
  if (parsed.data.filter !== digest(filter)) throw invalid("belongs to a list with other filters");
  return parsed.data;
}

function decode(token: string): unknown {
  try {
    return JSON.parse(Buffer.from(token, "base64url").toString("utf8")) as unknown;
  } catch {
    return null;
  }
}

/** Enough to tell an honest mix-up: nothing is protected by it. */
function digest(filter: object): string {
  return createHash("sha256").update(JSON.stringify(filter)).digest("base64url").slice(0, 12);
}

function invalid(problem: string): HttpError {
  return new HttpError(400, "invalid_page_token", `The page token ${problem}; list again without one.`, [
    `/page_token: ${problem}`,
  ]);
}
