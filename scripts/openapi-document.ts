/** The OpenAPI document of the app: built without a database, since no request is ever answered. */
import type { AppDependencies } from "../packages/landlord/src/http/dependencies.ts";
import { createApp } from "../packages/landlord/src/http/app.ts";
import { silentLogger } from "../packages/landlord/src/telemetry/logger.ts";

export interface OpenApiDocument {
  readonly openapi: string;
  readonly info: object;
  readonly servers: readonly object[];
  readonly tags: readonly { readonly name: string }[];
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: Readonly<Record<string, Readonly<Record<string, object>>>>;
}

export interface Operation {
  readonly operationId?: string;
  readonly summary?: string;
  readonly tags?: readonly string[];
  readonly parameters?: readonly {
    readonly in: string;
    readonly name: string;
    readonly required?: boolean;
  }[];
  readonly requestBody?: { readonly content: Readonly<Record<string, object>> };
  readonly responses: Readonly<Record<string, Response>>;
}

interface Response {
  readonly description?: string;
  readonly "x-problem-codes"?: readonly string[];
  readonly content?: Readonly<Record<string, { readonly schema: { readonly $ref?: string } }>>;
}

/** With paths and components in alphabetical order, so that moving a route changes nothing. */
export async function openApiDocument(): Promise<OpenApiDocument> {
  const app = await createApp(inertDependencies(), {
    bodyLimitBytes: 1,
    maxRequestsInFlight: 1,
    maxConnections: 1,
    maxWatchers: 1,
    eventHeartbeatMs: 1,
    eventBufferBytes: 1,
    readTimeoutMs: 1,
    writeTimeoutMs: 1,
    idleTimeoutMs: 1,
    loopbackOnly: true,
  });
  try {
    await app.ready();
    const { paths, components, ...head } = app.swagger() as unknown as OpenApiDocument;
    const ordered = Object.entries(components)
      .filter(([, group]) => Object.keys(group).length > 0)
      .map(([name, group]) => [name, sorted(group)] as const);
    return { ...head, paths: sorted(paths), components: Object.fromEntries(ordered) };
  } finally {
    await app.close();
  }
}

function inertDependencies(): AppDependencies {
  const inert = (name: string): never =>
    new Proxy(
      {},
      {
        get(_, key) {
          throw new Error(`the OpenAPI document is made without ${name}.${String(key)}`);
        },
      },
    ) as never;
  return {
    store: inert("store"),
    events: inert("events"),
    access: { authenticator: null, store: inert("access"), audit: inert("audit"), rateLimit: null },
    catalog: inert("catalog"),
    conditions: inert("conditions"),
    idempotencyRetentionMs: 0,
    tombstoneRetentionMs: 0,
    fleet: inert("fleet"),
    compute: inert("compute"),
    engine: { name: "", names: [], workflowName: "", linkTo: () => null },
    openBreakers: () => Promise.resolve([]),
    onWrite: () => undefined,
    readiness: () => Promise.resolve({}),
    logger: silentLogger,
  };
}

function sorted<Value>(group: Readonly<Record<string, Value>>): Readonly<Record<string, Value>> {
  return Object.fromEntries(Object.entries(group).toSorted(([a], [b]) => (a < b ? -1 : 1)));
}
