/** What is not even HTTP is answered like everything else. */
import { connect } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestSystem, type TestSystem } from "../support/system.ts";

let system: TestSystem;
beforeAll(async () => {
  system = await startTestSystem({ worker: false, server: { "controller.enabled": "false" } });
});
afterAll(() => system.stop());

function send(text: string): Promise<string> {
  const { hostname, port } = new URL(system.url);
  return new Promise((resolve, reject) => {
    let answer = "";
    const socket = connect(Number(port), hostname, () => socket.write(text));
    socket.on("data", (chunk) => (answer += chunk.toString()));
    socket.on("error", reject);
    socket.on("close", () => resolve(answer));
  });
}

test.each([
  ["no HTTP at all", "hello\r\n\r\n", 400, "malformed_request"],
  [
    "headers without end",
    `GET /health HTTP/1.1\r\nhost: localhost\r\nx: ${"y".repeat(40_000)}\r\n\r\n`,
    431,
    "headers_too_large",
  ],
])("%s", async (_, text, status, code) => {
  const answer = await send(text);
  const [head = "", body = ""] = answer.split("\r\n\r\n");
  expect(head).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
  expect(head).toContain("application/problem+json");
  expect(JSON.parse(body)).toMatchObject({ status, code, details: [] });
});
