/** What all writes have in common on the wire: their headers, their dry run, and their answers. */
import type { FastifyRequest } from "fastify";
import { z } from "zod";
import { planSchema } from "../contract/plan.ts";
import { tenantSchema } from "../contract/tenant.ts";
import type { Lane } from "../domain/tenant.ts";
import { etagOf, type WriteContext, type WriteResult } from "./change.ts";
import { actorOf, principalOf } from "./principal.ts";
import { renderTenant } from "./render.ts";

const prioritySchema = z.enum(["interactive", "bulk"]);

const planned = {
  "if-plan": z
    .string()
    .regex(/^[0-9a-f]{64}$/, "must be the hash of a plan")
    .optional()
    .meta({
      description: "The hash of the plan that the write is based on; 412 `plan_stale` once it does not hold.",
    }),
};

/** On every write. */
const writeHeaders = z.object({
  ...planned,
  "landlord-priority": prioritySchema
    .optional()
    .meta({ description: "`bulk` work waits while there is interactive work; without it: `interactive`." }),
});

export const createHeaders = writeHeaders.extend({
  "idempotency-key": z.string().min(1).max(255).optional().meta({
    description:
      "The same key and body answers the first answer again, for a day unless configured otherwise.",
  }),
});

/** RFC 9110, section 13.1.1. */
const IF_MATCH_PATTERN = /^\s*(?:\*|(?:W\/)?"[\x21\x23-\x7e]*"(?:\s*,\s*(?:W\/)?"[\x21\x23-\x7e]*")*)\s*$/;

export const matchHeaders = writeHeaders.extend({
  "if-match": z
    .string()
    .max(1_024)
    .regex(IF_MATCH_PATTERN, 'must be * or entity tags in quotes, such as "3"')
    .optional()
    .meta({ description: "The ETag that the write is based on; else 412.", example: '"3"' }),
});

export const applyHeaders = matchHeaders.extend({
  "if-none-match": z
    .literal("*")
    .optional()
    .meta({ description: "Only create; 412 when the name is taken." }),
});

const dryRun = z
  .enum(["true", "false"])
  .transform((text) => text === "true")
  .optional()
  .meta({ description: "Answer the plan and store nothing." });

export const writeQuery = z.strictObject({ dry_run: dryRun });
export const deleteQuery = writeQuery.extend({
  force: z
    .enum(["true", "false"])
    .transform((text) => text === "true")
    .optional()
    .meta({
      description:
        "Remove the record at once, without a proof that its compute is gone. For admins; the answer lists what may be left.",
    }),
});

/** The tenant, or with `dry_run=true` the plan. */
export const tenantOrPlan = z.union([tenantSchema, planSchema]);

interface WriteRequest {
  readonly headers: {
    readonly "if-match"?: string | undefined;
    readonly "if-plan"?: string | undefined;
    readonly "landlord-priority"?: z.infer<typeof prioritySchema> | undefined;
  };
}

export function contextOf(
  request: WriteRequest & Pick<FastifyRequest, "id">,
  { dry_run: isDryRun = false }: { readonly dry_run?: boolean | undefined },
): WriteContext {
  const { headers } = request;
  return {
    // A route's own types narrow the headers and the query; everything else is a request like any other.
    actor: actorOf(request as unknown as FastifyRequest),
    principal: principalOf(request as unknown as FastifyRequest),
    ifMatch: headers["if-match"],
    ifPlan: headers["if-plan"],
    isDryRun,
    lane: laneOf(headers["landlord-priority"]),
  };
}

/** Bulk work waits behind what somebody waits for. */
function laneOf(priority: z.infer<typeof prioritySchema> | undefined): Lane {
  return priority === "bulk" ? "background" : "interactive";
}

/** As much of a reply as the sender needs; every write route's own reply type has it. */
interface WriteReply<Sent> {
  header(name: string, value: string): unknown;
  status(code: 200 | 202): { send(body: z.infer<typeof tenantOrPlan>): Sent };
}

/** 202 when work was started, 200 when nothing has to run, and for a plan. */
export function sendResult<Sent>(reply: WriteReply<Sent>, result: WriteResult): Sent {
  if (result.kind === "planned") return reply.status(200).send(result.plan);
  reply.header("etag", etagOf(result.tenant));
  return reply.status(result.isStarted ? 202 : 200).send(renderTenant(result.tenant));
}

interface CreateReply<Sent> {
  header(name: string, value: string): unknown;
  status(code: 201): { send(body: z.infer<typeof tenantSchema>): Sent };
}

export function sendCreated<Sent>(
  reply: CreateReply<Sent>,
  { tenant, isReplayed }: Extract<WriteResult, { kind: "written" }>,
): Sent {
  reply.header("etag", etagOf(tenant));
  reply.header("location", `/v1/tenants/${tenant.id}`);
  if (isReplayed) reply.header("idempotent-replayed", "true");
  return reply.status(201).send(renderTenant(tenant));
}
