/**
 * Every code of a problem that the API can answer: the one catalogue. OpenAPI document, docs/errors.md and the types of
 * what is thrown follow from it.
 */

interface ProblemDescription {
  /** Those it comes with. */
  readonly statuses: readonly number[];
  /** What happened, in one sentence. */
  readonly meaning: string;
  /** What whoever gets it does next, in one or two sentences. */
  readonly remedy: string;
}

const CATALOGUE = {
  invalid_request: {
    statuses: [400],
    meaning: "Path, query, headers or body are not as the operation asks for.",
    remedy:
      "Each line of `details` names one problem, with a JSON pointer in front. Mend them all, then send it again.",
  },
  malformed_json: {
    statuses: [400],
    meaning: "The body is empty, or not JSON.",
    remedy: "Send one JSON document.",
  },
  invalid_compute_config: {
    statuses: [400],
    meaning: "The compute provider does not accept this `compute_config`.",
    remedy: "Each line of `details` names one problem. The schema is at `/v1/compute/config?provider=…`.",
  },
  compute_provider_required: {
    statuses: [400],
    meaning: "Several compute providers are configured, and the request names none.",
    remedy: "Send `compute_provider`; `details` lists the choices.",
  },
  unknown_compute_provider: {
    statuses: [400, 404],
    meaning: "The compute provider is not configured at this server.",
    remedy: "Use one of those that `/v1/compute/engines` lists, or configure it.",
  },
  invalid_page_token: {
    statuses: [400],
    meaning: "The page token was not given by this list, or by one with other filters.",
    remedy: "List again without `page_token`, and keep the filters while you page.",
  },
  invalid_token: {
    statuses: [400],
    meaning: "`after` is no resume token of an event stream.",
    remedy: "Send the id of an event, `oldest`, or nothing.",
  },
  version_required: {
    statuses: [400],
    meaning: "The path names no API version.",
    remedy: "Put `/v1` where `/api` is.",
  },
  unsupported_version: {
    statuses: [400],
    meaning: "There is no such API version.",
    remedy: "Use `/v1`.",
  },
  malformed_request: {
    statuses: [400],
    meaning: "What arrived is not HTTP.",
    remedy: "Look at the client, and at what is between it and the server.",
  },
  unauthenticated: {
    statuses: [401],
    meaning: "The request has no credentials, or none that this server accepts.",
    remedy:
      "Send `Authorization: Bearer <token>` with a key that is not revoked, or with a JWT of the configured issuer.",
  },
  token_expired: {
    statuses: [401],
    meaning: "The key or the JWT was good, and has expired.",
    remedy: "Get a new one.",
  },
  forbidden: {
    statuses: [403],
    meaning: "The caller's role may not do this.",
    remedy: "Use a token with one of the roles that the message names.",
  },
  outside_scope: {
    statuses: [403],
    meaning: "The token is bound to a part of the tenants, and this reaches beyond it.",
    remedy: "Keep the labels within the token's selector, or use a token without scope.",
  },
  host_not_allowed: {
    statuses: [403],
    meaning: "A server on loopback was addressed by another name.",
    remedy: "Use 127.0.0.1 or localhost; for other names, turn authentication on.",
  },
  origin_not_allowed: {
    statuses: [403],
    meaning: "A web page of another site called a server on loopback.",
    remedy: "Call it from a page on loopback or from no page; for others, turn authentication on.",
  },
  tenant_not_found: {
    statuses: [404],
    meaning: "There is no such tenant, or none that the caller may see.",
    remedy: "Look at `/v1/tenants`; what a tenant went through stays at `/v1/tenants/{name}/history`.",
  },
  generation_not_found: {
    statuses: [404],
    meaning: "The generation to roll back to is not kept, or there is no earlier configuration.",
    remedy: "Choose one of `/v1/tenants/{id}/generations`.",
  },
  operation_not_found: {
    statuses: [404],
    meaning: "The tenant has no operation with this id.",
    remedy: "Look at `/v1/tenants/{id}/operations`.",
  },
  execution_not_found: {
    statuses: [404],
    meaning: "No operation has this execution id.",
    remedy: "Nothing, for a worker: the record of the tenant may be gone.",
  },
  token_not_found: {
    statuses: [404],
    meaning: "There is no key with this id.",
    remedy: "Look at `/v1/tokens`.",
  },
  route_not_found: {
    statuses: [404],
    meaning: "There is no such path, or not with this method.",
    remedy: "Look at `/v1/docs`.",
  },
  request_timeout: {
    statuses: [408],
    meaning: "The request did not arrive in time.",
    remedy: "Send it again; `http.read_timeout` is the limit.",
  },
  name_taken: {
    statuses: [409],
    meaning: "Another one has this name.",
    remedy: "Choose another name. To create or change by name, use `PUT /v1/tenants/by-name/{name}`.",
  },
  immutable_field: {
    statuses: [409],
    meaning: "Compute provider and placement stay as they were at the creation.",
    remedy: "Create another tenant, and delete this one when the other is ready.",
  },
  tenant_archived: {
    statuses: [409],
    meaning: "The tenant is archived and has no compute to change.",
    remedy: "Restore it first.",
  },
  tenant_deleting: {
    statuses: [409],
    meaning: "The tenant is being deleted; nothing else can be asked of it any more.",
    remedy:
      "Wait until it is gone (`?wait=deleted`); then its name is free. `…/explain` says what it waits for.",
  },
  not_archived: {
    statuses: [409],
    meaning: "Only an archived tenant can be restored.",
    remedy: "Nothing: it was not archived.",
  },
  compute_provider_missing: {
    statuses: [409],
    meaning: "The tenant's compute provider is not configured at this server any more.",
    remedy: "Configure it again.",
  },
  write_contention: {
    statuses: [409],
    meaning: "Others write this tenant all the time; this write did not get its turn.",
    remedy: "Try again, and find out who writes it in a loop.",
  },
  watch_expired: {
    statuses: [410],
    meaning: "What follows the resume token is not kept any more, or the token is of another database.",
    remedy: "Watch without a token; once that watch is open, list the tenants again.",
  },
  precondition_failed: {
    statuses: [412],
    meaning: "The tenant is not at the version of `If-Match`, or exists in spite of `If-None-Match`.",
    remedy: "Read it again, and repeat the change on what it is now.",
  },
  plan_stale: {
    statuses: [412],
    meaning: "What the plan of `If-Plan` was based on has changed.",
    remedy: "Plan again, and look at what has changed.",
  },
  body_too_large: {
    statuses: [413],
    meaning: "The body has more bytes than `http.body_limit_bytes`.",
    remedy: "Send less.",
  },
  unsupported_media_type: {
    statuses: [415],
    meaning: "The body is not declared as JSON.",
    remedy: "Send `Content-Type: application/json`, or `application/merge-patch+json` with a PATCH.",
  },
  idempotency_key_reused: {
    statuses: [422],
    meaning: "The Idempotency-Key was used with another body.",
    remedy: "Use a new key for a new request.",
  },
  rate_limited: {
    statuses: [429],
    meaning: "Too many requests, or failed authentications, in too short a time.",
    remedy: "Wait as `Retry-After` says. `RateLimit` tells how many are left.",
  },
  headers_too_large: {
    statuses: [431],
    meaning: "The headers are too large.",
    remedy: "Send less; long filters of a list are better made shorter.",
  },
  internal: {
    statuses: [500],
    meaning: "A fault of Landlord.",
    remedy:
      "Its log has the details under the request id. Reads and declarative writes may simply be repeated.",
  },
  database_unavailable: {
    statuses: [503],
    meaning: "The server's database does not answer.",
    remedy: "Try again after `Retry-After`. `/ready` says so, too.",
  },
  overloaded: {
    statuses: [503],
    meaning: "The server works on `http.max_requests_in_flight` requests already.",
    remedy: "Try again after `Retry-After`, or at another server.",
  },
  oidc_unavailable: {
    statuses: [503],
    meaning: "The OIDC issuer does not give its keys, so JWTs cannot be checked.",
    remedy: "Try again, or use an API key.",
  },
  too_many_watchers: {
    statuses: [503],
    meaning: "`http.max_watchers` clients watch or wait at this server already.",
    remedy: "Try again after `Retry-After`, or at another server.",
  },
  events_unavailable: {
    statuses: [503],
    meaning: "The server is starting or stopping, or its database is away: it has no events now.",
    remedy: "Try again after `Retry-After`.",
  },
  no_worker: {
    statuses: [503],
    meaning: "No worker that could look at the compute is there, or none answered in time.",
    remedy: "Start one (`landlord worker`); `/v1/workers` lists those that are there.",
  },
  query_failed: {
    statuses: [503],
    meaning: "A worker was asked, and could not answer: compute is out of its reach, or misconfigured.",
    remedy: "The message has its words. Try again once that is mended.",
  },
  invalid_answer: {
    statuses: [503],
    meaning: "A worker's answer could not be understood.",
    remedy: "Run servers and workers of compatible versions.",
  },
  engine_unreachable: {
    statuses: [503],
    meaning: "The workflow engine does not answer.",
    remedy: "Try again; `/v1/workflow/providers` says since when it is away.",
  },
  engine_unavailable: {
    statuses: [503],
    meaning: "The workflow engine answers that it cannot serve now, or throttles.",
    remedy: "Try again. If it lasts, look at the engine.",
  },
  engine_unauthorized: {
    statuses: [503],
    meaning: "The workflow engine refuses the server's credentials.",
    remedy: "Mend the credentials in the block `workflow` of the server's configuration.",
  },
  engine_rejected: {
    statuses: [503],
    meaning: "The workflow engine refuses the server's request itself.",
    remedy:
      "The message has its words. See whether the engine is the one that the configuration names, and of a version that is supported.",
  },
} as const satisfies Readonly<Record<string, ProblemDescription>>;

export type ProblemCode = keyof typeof CATALOGUE;

export const PROBLEM_CODES: Readonly<Record<ProblemCode, ProblemDescription>> = CATALOGUE;

export function isProblemCode(code: string): code is ProblemCode {
  return Object.hasOwn(PROBLEM_CODES, code);
}

/** What no operation can help: it concerns the connection, a path that leads nowhere, or a fault of the server. */
export const PROBLEMS_OF_NO_OPERATION: readonly ProblemCode[] = [
  "invalid_request",
  "malformed_request",
  "request_timeout",
  "headers_too_large",
  "internal",
  "route_not_found",
  "version_required",
  "unsupported_version",
];
