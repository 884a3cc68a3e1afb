/**
 * A server on loopback without authentication is still reachable from every web page that a browser on this machine
 * shows. These three checks keep pages out: a rebound DNS name fails the Host check, a page of another site fails the
 * Origin check, and a form cannot send JSON.
 */
import type { FastifyRequest } from "fastify";
import { HttpError } from "./problem.ts";

const WRITES = new Set(["POST", "PUT", "PATCH", "DELETE"]);

/** @throws HttpError 403 or 415 */
export function guardLoopback(request: Pick<FastifyRequest, "headers" | "method">): void {
  const host = request.headers.host ?? "";
  if (!isLoopbackHost(host)) {
    throw new HttpError(
      403,
      "host_not_allowed",
      `Host "${host}" is not a loopback address; use 127.0.0.1 or localhost.`,
    );
  }
  const { origin } = request.headers;
  if (origin !== undefined && !isLoopbackOrigin(origin)) {
    throw new HttpError(403, "origin_not_allowed", "Requests from web pages of other sites are refused.");
  }
  const contentType = request.headers["content-type"];
  const hasBody = contentType !== undefined || Number(request.headers["content-length"] ?? 0) > 0;
  if (
    WRITES.has(request.method) &&
    hasBody &&
    !/^application\/(merge-patch\+)?json\b/i.test(contentType ?? "")
  ) {
    throw new HttpError(
      415,
      "unsupported_media_type",
      "Send application/json (or application/merge-patch+json for PATCH).",
    );
  }
}

function isLoopbackHost(host: string): boolean {
  const name = host.replace(/:\d+$/, "").toLowerCase();
  return name === "localhost" || name === "[::1]" || /^127(\.\d{1,3}){3}$/.test(name);
}

function isLoopbackOrigin(origin: string): boolean {
  try {
    return isLoopbackHost(new URL(origin).host);
  } catch {
    return false;
  }
}
