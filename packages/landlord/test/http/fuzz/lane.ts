/**
 * One of the clients of the fuzz: it has tenants and keys that no other writes, so what it reads has to be what it wrote.
 */
import type { Dispatcher } from "undici";
import type { TenantBody } from "../../../src/contract/tenant.ts";
import { eventually } from "../../support/eventually.ts";
import type { ApiDocument, DocumentOperation, Received } from "./document.ts";
import { isRecord, spoiled, wireRequest, type Draw, type Intended, type WireRequest } from "./draws.ts";

/** What a lane counts and where it takes its draws from; shared by all. */
export interface Run {
  readonly document: ApiDocument;
  readonly http: Dispatcher;
  readonly failures: string[];
  /** Before each request. */
  readonly count: (operation: DocumentOperation) => void;
  readonly record: (operation: DocumentOperation, status: number) => void;
}

interface Answer extends Received {
  readonly request: WireRequest;
}

const TENANTS_LIMIT = 12;
const SELECTORS = ["env=prod", "a!=b,!x", "env in (prod,dev)", "team notin (a)", ""];
const STATUSES = ["ready", "failed,updating", "archived", "requested,provisioning"];
/** What a client's writes decide; the rest is for the reconciler. */
const CLIENTS_OWN = [
  "id",
  "name",
  "intent",
  "compute_provider",
  "compute_config",
  "labels",
  "annotations",
  "generation",
  "version",
  "paused",
] as const;
/** Operations that write the tenant of their path. */
const TENANT_WRITES = new Set([
  "applyTenant",
  "updateTenant",
  "patchTenant",
  "archiveTenant",
  "deleteTenant",
  "retryTenant",
  "pauseTenant",
  "resumeTenant",
  "restoreTenant",
  "rollbackTenant",
]);

export class Lane {
  readonly #run: Run;
  readonly #number: number;
  #counter = 0;
  #tenants: TenantBody[] = [];
  #tokens: string[] = [];
  #workers: string[] = [];

  constructor(run: Run, number: number) {
    this.#run = run;
    this.#number = number;
  }

  /** Fits a draw to what there is, sends it, and looks at what became of it. */
  async perform(operation: DocumentOperation, draw: Draw): Promise<void> {
    if (this.#tenants.length > TENANTS_LIMIT) await this.#forget();
    const target = await this.#targetOf(operation, draw);
    const intended = await this.#fitted(operation, draw, target);
    const isDryRun = intended.parameters["dry_run"] === "true";
    const request = draw.isAdversarial ? spoiled(intended, draw) : wireRequest(intended);
    const answer = await this.#send(operation, request);
    await this.#follow(operation, answer, { target, isDryRun, intended, isPlain: !draw.isAdversarial });
  }

  async #follow(
    operation: DocumentOperation,
    answer: Answer,
    facts: { target: TenantBody | null; isDryRun: boolean; intended: Intended; isPlain: boolean },
  ): Promise<void> {
    const { id } = operation;
    const { target, isDryRun, intended, isPlain } = facts;
    const isDone = answer.status < 300;
    if (isDone && !isDryRun && (id === "createTenant" || id === "applyTenant") && isTenant(answer.body)) {
      const { id: tenantId } = answer.body;
      if (!this.#tenants.some((tenant) => tenant.id === tenantId)) this.#tenants.push(answer.body);
    }
    if (id === "createTenant" || TENANT_WRITES.has(id) || id === "planTenant")
      await this.#agree(answer, target, isPlain && !isDryRun ? intended.body : undefined);
    if (!isPlain || !isDone) return;
    if (id === "createToken" || id === "rotateToken" || id === "revokeToken")
      await this.#agreeOnToken(id, answer);
    if (id === "reportWorker" || id === "removeWorker") await this.#agreeOnWorker(id, intended);
    if (id === "reportProgress") await this.#agreeOnProgress(intended, target);
    if (id === "requestSweep") await this.#agreeOnSweep(answer);
  }

  /** A tenant that was written is read as it was answered; one that was not is read as it was. */
  async #agree(answer: Answer, target: TenantBody | null, sent: unknown): Promise<void> {
    const written = answer.status < 300 && isTenant(answer.body) ? answer.body : null;
    const expected = written ?? target;
    if (expected === null) return;
    const read = await this.#call("getTenant", { id: expected.id });
    const known = this.#tenants.findIndex((tenant) => tenant.id === expected.id);
    if (read.status === 404 && expected.intent === "deleted") {
      if (known >= 0) this.#tenants.splice(known, 1);
      return;
    }
    const found = read.body as TenantBody;
    const [want, have] = [ownOf(expected), ownOf(found)];
    if (want !== have) this.#fail(answer, `a GET disagrees: ${have} was read, and ${want} is right`);
    if (known >= 0) this.#tenants[known] = found;
    if (written !== null && isRecord(sent)) this.#reflects(answer, written, sent);
  }

  /** What was sent is in what was answered. A merge patch is not as simple. */
  #reflects(answer: Answer, written: TenantBody, sent: Record<string, unknown>): void {
    if (answer.request.method === "PATCH") return;
    const { compute_provider: _provider, ...config } = written.compute_config;
    const wanted = { compute_config: config, labels: written.labels, annotations: written.annotations };
    for (const [key, value] of Object.entries(wanted)) {
      if (sent[key] === undefined || canonical(sent[key]) === canonical(value)) continue;
      this.#fail(answer, `${key} is ${canonical(value)}, and ${canonical(sent[key])} was sent`);
    }
  }

  async #agreeOnToken(id: string, answer: Answer): Promise<void> {
    const { id: tokenId } = answer.body as { id: string };
    if (id === "createToken") this.#tokens.push(tokenId);
    if (id === "revokeToken") this.#tokens = this.#tokens.filter((each) => each !== tokenId);
    const list = await this.#call("listTokens", { limit: "500" });
    const found = (list.body as { tokens: { id: string }[] }).tokens.some((token) => token.id === tokenId);
    if (found === (id === "revokeToken")) this.#fail(answer, `the key is ${found ? "" : "not "}in the list`);
  }

  async #agreeOnWorker(id: string, { parameters, body }: Intended): Promise<void> {
    const list = await this.#call("listWorkers", {});
    const { workers } = list.body as { workers: { id: string; engine: string }[] };
    const found = workers.find((worker) => worker.id === parameters["id"]);
    if (id === "reportWorker" && found?.engine !== (body as { engine: string }).engine)
      this.#run.failures.push(
        `worker ${parameters["id"]} was reported, and ${JSON.stringify(found)} is listed`,
      );
    if (id === "removeWorker" && found !== undefined)
      this.#run.failures.push(`worker ${parameters["id"]} was removed, and is listed`);
    this.#workers = this.#workers.filter((worker) => worker !== parameters["id"]);
    if (id === "reportWorker") this.#workers.push(parameters["id"] ?? "");
  }

  async #agreeOnProgress({ parameters, body }: Intended, target: TenantBody | null): Promise<void> {
    if (target === null) return;
    const operation = await this.#operationOf(target, parameters["execution_id"]);
    const path = { id: target.id, operation_id: operation.id };
    const { events } = (await this.#call("listOperationEvents", path)).body as { events: object[] };
    const { phase, message } = body as { phase: string; message: string };
    const isThere = events.some(
      (event) => canonical({ ...event, at: 0 }) === canonical({ phase, message, at: 0 }),
    );
    if (!isThere)
      this.#run.failures.push(`progress ${JSON.stringify(body)} is not among ${JSON.stringify(events)}`);
  }

  async #agreeOnSweep(answer: Answer): Promise<void> {
    const { requested_at: requested } = answer.body as { requested_at: string };
    const { requested_at: read } = (await this.#call("getSweep", {})).body as { requested_at: string };
    if (read < requested) this.#fail(answer, `the sweep was requested at ${read}`);
  }

  /** The tenant that an operation is about, in a state in which it can succeed. */
  async #targetOf(operation: DocumentOperation, draw: Draw): Promise<TenantBody | null> {
    const { id, path } = operation;
    const isAbout = path.startsWith("/v1/tenants/{id}") || id === "applyTenant" || id === "reportProgress";
    if (!isAbout || (id === "applyTenant" && draw.roll % 2 === 0)) return null;
    const wanted = id === "restoreTenant" ? "archived" : NEED_PRESENT.has(id) ? "present" : null;
    const fitting = this.#tenants.filter(
      ({ intent }) => intent === (wanted ?? intent) && intent !== "deleted",
    );
    const found = fitting[draw.roll % Math.max(1, fitting.length)] ?? (await this.#made(wanted));
    // One that was paused before the reconciler came to it has no operation.
    if (found.paused && ("operation_id" in draw.parameters || "execution_id" in draw.parameters))
      return this.#change("resumeTenant", found);
    if (id !== "rollbackTenant") return found;
    // So that there is a configuration to go back to.
    return this.#change("updateTenant", found, { compute_config: { step: this.#counter++ } });
  }

  async #made(wanted: "archived" | "present" | null): Promise<TenantBody> {
    const body = { name: this.#name(""), compute_provider: "mock", compute_config: {} };
    const tenant = (await this.#call("createTenant", {}, body)).body as TenantBody;
    this.#tenants.push(tenant);
    return wanted === "archived" ? this.#change("archiveTenant", tenant) : tenant;
  }

  async #change(id: string, tenant: TenantBody, body?: unknown): Promise<TenantBody> {
    const changed = (await this.#call(id, { id: tenant.id }, body)).body as TenantBody;
    this.#tenants = this.#tenants.map((each) => (each.id === tenant.id ? changed : each));
    return changed;
  }

  async #forget(): Promise<void> {
    const [oldest] = this.#tenants.splice(0, 1);
    // One that is being deleted may have gone by itself.
    if (oldest !== undefined && oldest.intent !== "deleted")
      await this.#call("deleteTenant", { id: oldest.id, force: "true" });
  }

  #name(drawn: string): string {
    return `${drawn.slice(0, 20).replace(/[^a-z0-9-]/g, "")}z${this.#number}-${this.#counter++}`;
  }

  async #fitted(operation: DocumentOperation, draw: Draw, target: TenantBody | null): Promise<Intended> {
    const { roll } = draw;
    const parameters: Record<string, string | undefined> = { ...draw.parameters };
    const choose = (name: string, value: string | undefined): void => {
      if (name in parameters) parameters[name] = value;
    };
    const sometimes = (value: string): string | undefined => (roll % 3 === 0 ? value : undefined);
    choose("id", target?.id ?? parameters["id"]);
    if (operation.id === "getTenant" && roll % 2 === 0) choose("id", target?.name);
    choose("limit", sometimes(String(1 + (roll % 500))));
    choose("offset", sometimes(String(roll % 20)));
    choose("min_retry_count", sometimes(String(roll % 3)));
    choose("tail_bytes", sometimes(String(1 + (roll % 262_144))));
    choose("grace_seconds", sometimes(String(roll % 100_000)));
    choose("selector", sometimes(SELECTORS[roll % SELECTORS.length] ?? ""));
    choose("status", sometimes(STATUSES[roll % STATUSES.length] ?? ""));
    choose("page_token", undefined);
    choose("after", sometimes("oldest"));
    choose("last-event-id", undefined);
    if (parameters["wait"] === undefined) choose("timeout", undefined);
    else choose("timeout", `${1 + (roll % 30)}ms`);
    choose("if-match", sometimes(target === null ? "*" : `"${target.version}"`));
    if (target === null) choose("if-match", undefined);
    choose("if-none-match", undefined);
    choose("if-plan", undefined);
    choose("dry_run", roll % 16 === 0 ? "true" : undefined);
    choose("idempotency-key", sometimes(`key-${this.#number}-${this.#counter++}`));
    choose("provider", roll % 2 === 0 ? "mock" : "process");
    if (operation.id === "getComputeEngine") choose("name", "mock");
    if (operation.id === "applyTenant") choose("name", target?.name ?? this.#name(parameters["name"] ?? ""));
    if (operation.id === "reportWorker") choose("id", `w${this.#number}-${roll % 5}`);
    if (operation.id === "removeWorker") choose("id", this.#workers.at(-1) ?? "nobody");
    if ("token_id" in parameters) parameters["token_id"] = await this.#tokenId();
    if (target !== null && ("operation_id" in parameters || "execution_id" in parameters)) {
      const { id, execution_id: executionId } = await this.#operationOf(target);
      choose("operation_id", id);
      choose("execution_id", executionId);
    }
    return { operation, parameters, body: this.#fittedBody(draw) };
  }

  #fittedBody({ body, roll }: Draw): unknown {
    if (!isRecord(body)) return body;
    const fitted = { ...body };
    if ("compute_provider" in body) fitted["compute_provider"] = "mock";
    else if ("compute_config" in body && "name" in body) fitted["compute_provider"] = "mock";
    if (isRecord(body["compute_config"]) && roll % 20 === 0)
      fitted["compute_config"] = { ...body["compute_config"], fail: "terminal" };
    if (typeof body["name"] === "string") fitted["name"] = this.#name(body["name"]);
    if ("role" in body) {
      if ("scope" in body) fitted["scope"] = SELECTORS[roll % 4];
      if ("scope" in body && body["role"] === "worker") fitted["role"] = "viewer";
      if ("expires_at" in body) fitted["expires_at"] = "2099-01-01T00:00:00Z";
    }
    if ("generation" in body) delete fitted["generation"];
    return fitted;
  }

  async #tokenId(): Promise<string> {
    const known = this.#tokens.at(-1);
    if (known !== undefined) return known;
    const made = await this.#call("createToken", {}, { name: this.#name(""), role: "viewer" });
    const { id } = made.body as { id: string };
    this.#tokens.push(id);
    return id;
  }

  /** The newest, or that of an execution; the reconciler may not have come to the tenant yet. */
  #operationOf(tenant: TenantBody, executionId?: string): Promise<{ id: string; execution_id: string }> {
    return eventually(
      async () => {
        const list = await this.#call("listOperations", { id: tenant.id });
        const { operations } = list.body as { operations: { id: string; execution_id: string }[] };
        const found = operations.find((each) => each.execution_id === (executionId ?? each.execution_id));
        if (found !== undefined) return found;
        const { body } = await this.#call("getTenant", { id: tenant.id });
        throw new Error(JSON.stringify({ operations, tenant: body }));
      },
      { what: `tenant ${tenant.name} has an operation`, everyMs: 50, timeoutMs: 30_000 },
    );
  }

  /** A request of which it is known that it has to succeed. */
  async #call(id: string, parameters: Record<string, string>, body?: unknown): Promise<Answer> {
    const operation = this.#run.document.operations.find((each) => each.id === id) as DocumentOperation;
    const answer = await this.#send(operation, wireRequest({ operation, parameters, body }));
    const isExpected = answer.status < 300 || (id === "getTenant" && answer.status === 404);
    if (!isExpected) this.#fail(answer, "it had to succeed");
    return answer;
  }

  async #send(operation: DocumentOperation, request: WireRequest): Promise<Answer> {
    this.#run.count(operation);
    const {
      statusCode: status,
      headers,
      body,
    } = await this.#run.http.request({
      method: request.method,
      path: request.path,
      headers: request.headers,
      body: request.body ?? null,
    });
    const type = String(headers["content-type"] ?? "");
    // A stream of events has no end.
    const text = type.startsWith("text/event-stream") ? await firstOf(body) : await body.text();
    const isJson = /^application\/(problem\+)?json/.test(type) && text !== "";
    const answer: Answer = { status, headers, body: isJson ? JSON.parse(text) : text, request };
    this.#run.record(operation, status);
    const complaint = this.#run.document.complaint(operation, answer);
    if (complaint !== null) this.#fail(answer, complaint);
    else if (status >= 500) this.#fail(answer, "a 5xx");
    return answer;
  }

  #fail({ request, status, body }: Answer, what: string): void {
    const sent = JSON.stringify(request).slice(0, 2_000);
    this.#run.failures.push(
      `${what}\n  sent ${sent}\n  got ${status} ${JSON.stringify(body).slice(0, 2_000)}`,
    );
  }
}

/** They are refused for a tenant that is archived. */
const NEED_PRESENT = new Set(["updateTenant", "patchTenant", "applyTenant", "planTenant", "rollbackTenant"]);

async function firstOf(body: AsyncIterable<Buffer>): Promise<string> {
  for await (const chunk of body) return chunk.toString();
  return "";
}

function isTenant(body: unknown): body is TenantBody {
  return isRecord(body) && "version" in body && "conditions" in body;
}

function ownOf(tenant: TenantBody): string {
  return canonical(Object.fromEntries(CLIENTS_OWN.map((key) => [key, tenant[key]])));
}

/** JSON with keys in order: objects that mean the same are the same text. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) =>
    isRecord(inner)
      ? Object.fromEntries(Object.entries(inner).toSorted(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}
