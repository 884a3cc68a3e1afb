/** The Fastify application: plugins, hooks, routes. Constructed without a socket; `start/` listens. */
import Fastify, {
  type FastifyReply,
  type FastifyRequest,
  type FastifyBaseLogger,
  type FastifyInstance,
  type RawReplyDefaultExpression,
  type RawRequestDefaultExpression,
  type RawServerDefault,
} from "fastify";
import swagger from "@fastify/swagger";
import {
  jsonSchemaTransform,
  jsonSchemaTransformObject,
  type ZodTypeProvider,
} from "fastify-type-provider-zod";
import { randomUUID } from "node:crypto";
import type { Socket } from "node:net";
import type { AppDependencies, HttpSettings, TlsSettings } from "./dependencies.ts";
import type { ProblemCode } from "../contract/problem-codes.ts";
import { registerJsonBodies } from "./json-body.ts";
import { createAdmission } from "./admission.ts";
import { registerAccess } from "./authentication.ts";
import { answerCompiler, requestCompiler } from "./compilers.ts";
import { guardLoopback } from "./loopback-guard.ts";
import { documentInfo, finishDocument } from "./openapi.ts";
import { buildProblem, PROBLEM_CONTENT_TYPE, sendError } from "./problem.ts";
import { registerAuditRoutes } from "./routes/audit.ts";
import { registerEventRoutes } from "./routes/events.ts";
import { registerIdentityRoutes } from "./routes/identity.ts";
import { registerComputeRoutes } from "./routes/compute.ts";
import { registerSweepRoutes } from "./routes/sweep.ts";
import { registerSystemRoutes } from "./routes/system.ts";
import { registerTokenRoutes } from "./routes/tokens.ts";
import { endUnusedConnections } from "./unused-connections.ts";
import { createWatching } from "./watching.ts";
import { registerFleetRoutes } from "./routes/fleet.ts";
import { registerHistoryRoutes } from "./routes/history.ts";
import { registerInspectRoutes } from "./routes/inspect.ts";
import { registerTenantRoutes } from "./routes/tenants.ts";
import { registerTenantVerbRoutes } from "./routes/tenant-verbs.ts";
import { registerTenantWriteRoutes } from "./routes/tenant-writes.ts";

export type App = FastifyInstance<
  RawServerDefault,
  RawRequestDefaultExpression,
  RawReplyDefaultExpression,
  FastifyBaseLogger,
  ZodTypeProvider
>;

const SUPPORTED_VERSIONS = ["v1"];
const REQUEST_ID_PATTERN = /^[A-Za-z0-9._:-]{1,128}$/;
const URL_LIMIT_BYTES = 8_192;

export async function createApp(dependencies: AppDependencies, settings: HttpSettings): Promise<App> {
  const { logger } = dependencies;
  const app = Fastify({
    ...tlsOptions(settings.tls ?? null),
    trustProxy: [...(settings.trustedProxies ?? [])],
    bodyLimit: settings.bodyLimitBytes,
    requestTimeout: settings.readTimeoutMs,
    connectionTimeout: settings.writeTimeoutMs,
    keepAliveTimeout: settings.idleTimeoutMs,
    forceCloseConnections: "idle",
    // A request id of the client's is honoured when it is safe to log and to send back.
    genReqId: (request) => {
      const given = request.headers["x-request-id"];
      return typeof given === "string" && REQUEST_ID_PATTERN.test(given) ? given : randomUUID();
    },
    routerOptions: { maxParamLength: 255, ignoreTrailingSlash: true },
    http: { maxHeaderSize: URL_LIMIT_BYTES * 2 },
    logger: false,
    clientErrorHandler: (error, socket) => answerBrokenRequest(error, socket),
    frameworkErrors: (error, request, reply) => sendError(error, request, reply, logger),
  }).withTypeProvider<ZodTypeProvider>() as App;

  app.setValidatorCompiler(requestCompiler);
  app.setSerializerCompiler(answerCompiler);
  app.setErrorHandler((error, request, reply) => sendError(error, request, reply, logger));
  registerJsonBodies(app);

  app.server.maxConnections = settings.maxConnections;
  endUnusedConnections(app, (settings.tls ?? null) !== null);
  const admission = createAdmission(
    settings.maxRequestsInFlight,
    "overloaded",
    `This server works on ${settings.maxRequestsInFlight} requests already. Try again in a moment.`,
  );
  const watching = createWatching(dependencies, settings, admission);
  // Hooks call back: a promise in each would cost every request more than what most of them do.
  app.addHook("onRequest", (request, reply, done) => {
    void reply.header("x-request-id", request.id);
    // Whether it lives, an overloaded server still says.
    if (request.url.startsWith("/v1/")) admission.enter(reply);
    if (settings.loopbackOnly) guardLoopback(request);
    done();
  });
  registerAccess(app, dependencies.access);
  app.addHook("onResponse", (request, reply, done) => {
    const fields = {
      request_id: request.id,
      method: request.method,
      path: request.url,
      status: reply.statusCode,
      duration_ms: Math.round(reply.elapsedTime * 10) / 10,
      // The new tenant's address, or the one that was written to.
      tenant: tenantOf(request, reply),
    };
    // Writes are what an operator looks for; reads are too many.
    if (request.method === "GET" || request.method === "HEAD") logger.debug(fields, "request");
    else logger.info(fields, "request");
    done();
  });

  await app.register(swagger, {
    openapi: documentInfo(),
    transform: jsonSchemaTransform,
    transformObject: (document) => finishDocument(jsonSchemaTransformObject(document)),
  });
  // Registered as a plugin: swagger's hook sees only routes that come after it.
  await app.register((scope, _options, done) => {
    const typed = scope.withTypeProvider<ZodTypeProvider>();
    registerSystemRoutes(typed, dependencies);
    registerComputeRoutes(typed, dependencies);
    registerTenantRoutes(typed, dependencies, watching);
    registerTenantWriteRoutes(typed, dependencies);
    registerTenantVerbRoutes(typed, dependencies);
    registerInspectRoutes(typed, dependencies);
    registerHistoryRoutes(typed, dependencies);
    registerFleetRoutes(typed, dependencies);
    registerEventRoutes(typed, watching);
    registerSweepRoutes(typed, dependencies);
    registerIdentityRoutes(typed);
    registerTokenRoutes(typed, dependencies.access.store);
    registerAuditRoutes(typed, dependencies.access.store);
    done();
  });

  app.setNotFoundHandler((request, reply) => {
    const { status, code, message, details } = unknownRoute(request.method, request.url);
    void reply
      .status(status)
      .header("content-type", PROBLEM_CONTENT_TYPE)
      .send(
        JSON.stringify({ ...buildProblem(request, status, code, message, details), ...legacyError(code) }),
      );
  });
  return app;
}

/** The port is the same to everything above it, so the app's type does not tell. */
function tlsOptions(tls: TlsSettings | null): { readonly https?: object } {
  if (tls === null) return {};
  const { cert, key, clientCa } = tls;
  const clients = clientCa === null ? {} : { ca: clientCa, requestCert: true, rejectUnauthorized: true };
  return { https: { cert, key, minVersion: "TLSv1.2", ...clients } };
}

function tenantOf(request: FastifyRequest, reply: FastifyReply): string | undefined {
  const location = reply.getHeader("location");
  if (typeof location === "string") return location.split("/").at(-1);
  const { params } = request;
  return typeof params === "object" && params !== null && "id" in params ? String(params.id) : undefined;
}

/** For these two, older clients read the code itself in `error`. */
function legacyError(code: string): { error?: string } {
  return code === "version_required" || code === "unsupported_version" ? { error: code } : {};
}

function unknownRoute(
  method: string,
  url: string,
): {
  readonly status: number;
  readonly code: ProblemCode;
  readonly message: string;
  readonly details: readonly string[];
} {
  const path = url.split("?")[0] ?? url;
  const supported = SUPPORTED_VERSIONS.map((version) => `supported: ${version}`);
  if (/^\/api(\/|$)/.test(path)) {
    return {
      status: 400,
      code: "version_required",
      message: "Name the API version in the path: /v1/…",
      details: supported,
    };
  }
  const version = /^\/(v\d+)(\/|$)/.exec(path)?.[1];
  if (version !== undefined && !SUPPORTED_VERSIONS.includes(version)) {
    return {
      status: 400,
      code: "unsupported_version",
      message: `There is no API version ${version}.`,
      details: supported,
    };
  }
  return {
    status: 404,
    code: "route_not_found",
    message: `There is no ${method} ${path}; the routes are at /v1/docs.`,
    details: [],
  };
}

/** What is not even HTTP never becomes a request, so there is no reply to answer with, only the socket. */
function answerBrokenRequest(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === "ECONNRESET" || !socket.writable) return;
  const [status, code, message] = BROKEN_REQUESTS[error.code ?? ""] ?? [
    400,
    "malformed_request",
    "The request is not valid HTTP.",
  ];
  const problem = buildProblem({ id: randomUUID(), url: "" }, status, code, message);
  const body = JSON.stringify(problem);
  socket.end(
    `HTTP/1.1 ${status} ${problem.title}\r\ncontent-type: ${PROBLEM_CONTENT_TYPE}\r\nx-request-id: ${problem.request_id}\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  );
}

const BROKEN_REQUESTS: Readonly<
  Record<string, readonly [status: number, code: ProblemCode, message: string]>
> = {
  HPE_HEADER_OVERFLOW: [431, "headers_too_large", "The headers are too large."],
  ERR_HTTP_REQUEST_TIMEOUT: [408, "request_timeout", "The request did not arrive in time."],
};
