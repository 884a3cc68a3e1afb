/** Tenants' configurations for the process provider. */
import type { JsonObject } from "../../src/domain/json.ts";

/** Answers every request with `text` once `startMs` have passed. */
export function webServer(
  text: string,
  options: {
    readonly startMs?: number;
    readonly ignoreTerm?: boolean;
    readonly stopGraceSeconds?: number;
  } = {},
): JsonObject {
  const script = [
    options.ignoreTerm ? "process.on('SIGTERM', () => {});" : "",
    `setTimeout(() => require('http').createServer((_, r) => r.end(${JSON.stringify(text)})).listen(process.env.PORT, '127.0.0.1'), ${options.startMs ?? 0});`,
  ].join("");
  return {
    command: [process.execPath, "-e", script],
    ports: [{}],
    health_check: { type: "http", path: "/", interval_seconds: 1, timeout_seconds: 2, deadline_seconds: 30 },
    ...(options.stopGraceSeconds === undefined ? {} : { stop_grace_seconds: options.stopGraceSeconds }),
  };
}

/** The cheapest thing that lives. */
export function sleeper(seconds = 100_000): JsonObject {
  return { command: ["sleep", String(seconds)] };
}
