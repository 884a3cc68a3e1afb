/** What a worker asks of the Landlord API: engine configurations, older tenants, and a place for progress. */
import { z } from "zod";
import { request } from "undici";
import { jsonObject } from "../contract/job.ts";
import type { WorkerReport } from "../contract/fleet.ts";
import { LandlordError, messageOf, UnavailableError } from "../domain/errors.ts";
import type { JsonObject } from "../domain/json.ts";

export interface LandlordApiSettings {
  /** With or without `/v1`. */
  readonly baseUrl: string;
  readonly token: string | null;
  readonly timeoutMs: number;
  /** The API does not accept the token, or not for this; the message says what to do. */
  readonly onRefused?: (message: string) => void;
}

export interface LandlordApi {
  /** The provider's block of the server's configuration, without secrets. */
  getEngineConfig(name: string): Promise<{ readonly engineConfig: JsonObject; readonly hash: string }>;
  getTenant(id: string): Promise<{ readonly computeProvider: string; readonly generation: number }>;
  postProgress(executionId: string, phase: string, message: string): Promise<void>;
  putWorker(id: string, report: WorkerReport): Promise<void>;
  deleteWorker(id: string): Promise<void>;
}

const engineAnswer = z.object({ engine_config: jsonObject, engine_config_hash: z.string() });
const tenantAnswer = z.object({ compute_provider: z.string(), generation: z.int() });

/** Calls throw UnavailableError when the API does not answer, LandlordError when it refuses. */
export function createLandlordApi(settings: LandlordApiSettings): LandlordApi {
  const base = `${settings.baseUrl.replace(/\/+$/, "").replace(/\/v1$/, "")}/v1`;

  async function call(
    method: "GET" | "POST" | "PUT" | "DELETE",
    path: string,
    body?: unknown,
  ): Promise<unknown> {
    let status: number;
    let text: string;
    try {
      const response = await request(`${base}${path}`, {
        method,
        headers: {
          accept: "application/json",
          ...(body === undefined ? {} : { "content-type": "application/json" }),
          ...(settings.token === null ? {} : { authorization: `Bearer ${settings.token}` }),
        },
        body: body === undefined ? null : JSON.stringify(body),
        signal: AbortSignal.timeout(settings.timeoutMs),
      });
      status = response.statusCode;
      text = await response.body.text();
    } catch (error) {
      throw new UnavailableError(
        "api_unreachable",
        `The Landlord API at ${base} does not answer: ${messageOf(error)}`,
        {
          cause: error,
        },
      );
    }
    if (status >= 500)
      throw new UnavailableError("api_unavailable", `The Landlord API answered ${status} to ${path}.`);
    if (status === 401 || status === 403) {
      const what = settings.token === null ? "wants credentials" : "does not accept worker.api_token";
      const message = `The Landlord API at ${base} ${what} (${status} to ${path}): set worker.api_token to the secret of a key with the role worker.`;
      settings.onRefused?.(message);
      throw new LandlordError("api_refused", message);
    }
    if (status >= 400) {
      throw new LandlordError(
        "api_refused",
        `The Landlord API answered ${status} to ${path}: ${text.slice(0, 300)}`,
      );
    }
    return text === "" ? null : (JSON.parse(text) as unknown);
  }

  return {
    async getEngineConfig(name) {
      const answer = engineAnswer.parse(await call("GET", `/compute/engines/${encodeURIComponent(name)}`));
      return { engineConfig: answer.engine_config, hash: answer.engine_config_hash };
    },
    async getTenant(id) {
      const answer = tenantAnswer.parse(await call("GET", `/tenants/${encodeURIComponent(id)}`));
      return { computeProvider: answer.compute_provider, generation: answer.generation };
    },
    async postProgress(executionId, phase, message) {
      await call("POST", `/executions/${encodeURIComponent(executionId)}/progress`, { phase, message });
    },
    async putWorker(id, report) {
      await call("PUT", `/workers/${encodeURIComponent(id)}`, report);
    },
    async deleteWorker(id) {
      await call("DELETE", `/workers/${encodeURIComponent(id)}`);
    },
  };
}
