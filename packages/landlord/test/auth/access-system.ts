/** A server that asks for credentials, and keys of every role. */
import type { Role } from "../../src/domain/principal.ts";
import { apiOf, type Answer, type Api } from "../support/api.ts";
import { startTestSystem, type TestSystem, type TestSystemOptions } from "../support/system.ts";

export const ADMIN_TOKEN = "test-admin-token-0123456789";

export function bearer(token: string): { readonly authorization: string } {
  return { authorization: `Bearer ${token}` };
}

/** The API, as somebody with this token sees it. */
export function as(url: string, token: string): Api {
  const api = apiOf(url);
  const call: Api["call"] = (method, path, body, headers = {}) =>
    api.call(method, path, body, { ...bearer(token), ...headers });
  return { ...api, call };
}

/** As from an address of its own: failed attempts of one test must not slow down another. */
export function fromElsewhere(): { readonly "x-forwarded-for": string } {
  counter += 1;
  return {
    "x-forwarded-for": `192.0.2.${counter % 250}, 198.51.${Math.floor(counter / 250)}.${counter % 250}`,
  };
}

let counter = 0;

export interface NewKey {
  readonly id: string;
  readonly name: string;
  readonly secret: string;
}

export async function newKey(
  url: string,
  role: Role,
  more: { readonly scope?: string; readonly expires_at?: string; readonly name?: string } = {},
): Promise<NewKey> {
  counter += 1;
  const body = { name: `${role}-${process.pid}-${counter}`, role, ...more };
  const answer: Answer<NewKey> = await as(url, ADMIN_TOKEN).call("POST", "/v1/tokens", body);
  if (answer.status !== 201) throw new Error(JSON.stringify(answer.body));
  return answer.body;
}

export function startAccessSystem(options: TestSystemOptions = {}): Promise<TestSystem> {
  return startTestSystem({
    worker: false,
    ...options,
    server: {
      "controller.enabled": "false",
      "auth.enabled": "true",
      "auth.admin_token": ADMIN_TOKEN,
      "http.trusted_proxies": ["127.0.0.1"],
      ...options.server,
    },
  });
}
