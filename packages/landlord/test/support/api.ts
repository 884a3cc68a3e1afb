/** Plain HTTP for tests: what a client sees, without our client. */
import type { TenantBody } from "../../src/contract/tenant.ts";
import { eventually } from "./eventually.ts";

export interface Answer<Body = Record<string, unknown>> {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Body;
}

export interface Api {
  call<Body = Record<string, unknown>>(
    method: string,
    path: string,
    body?: unknown,
    headers?: Record<string, string>,
  ): Promise<Answer<Body>>;
  tenant(id: string): Promise<TenantBody | null>;
  waitFor(id: string, status: TenantBody["status"], timeoutMs?: number): Promise<TenantBody>;
  waitGone(id: string, timeoutMs?: number): Promise<void>;
}

export function apiOf(url: string): Api {
  const call: Api["call"] = async <Body>(
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<Answer<Body>> => {
    const response = await fetch(`${url}${path}`, {
      method,
      headers: { ...(body === undefined ? {} : { "content-type": "application/json" }), ...headers },
      ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
    });
    const text = await response.text();
    const json = (response.headers.get("content-type") ?? "").includes("json") && text !== "";
    return {
      status: response.status,
      headers: response.headers,
      body: (json ? JSON.parse(text) : text) as Body,
    };
  };
  const tenant = async (id: string): Promise<TenantBody | null> => {
    const answer = await call<TenantBody>("GET", `/v1/tenants/${id}`);
    return answer.status === 404 ? null : answer.body;
  };
  return {
    call,
    tenant,
    waitFor: async (id, status, timeoutMs) => {
      let last: TenantBody | null = null;
      try {
        return await eventually(
          async () => {
            last = await tenant(id);
            return last?.status === status && last;
          },
          { what: `tenant ${id} is ${status}`, ...(timeoutMs === undefined ? {} : { timeoutMs }) },
        );
      } catch (error) {
        throw new Error(`${String(error)}; last seen: ${JSON.stringify(last)}`, { cause: error });
      }
    },
    waitGone: async (id, timeoutMs) => {
      await eventually(async () => (await tenant(id)) === null, {
        what: `tenant ${id} is gone`,
        ...(timeoutMs === undefined ? {} : { timeoutMs }),
      });
    },
  };
}
