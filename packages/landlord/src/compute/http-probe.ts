/** One look at whether a workload serves HTTP. */
import { request } from "node:http";

const HEADERS_LIMIT_BYTES = 16_384;

export interface HttpTarget {
  readonly host: string;
  readonly port: number;
  readonly path: string;
}

/** `answered`: something spoke HTTP there. `failure`: why it is not healthy, or null. */
export interface HttpProbe {
  readonly answered: boolean;
  readonly failure: string | null;
}

/** GETs once. Any 2xx is healthy; redirects are not followed, since they would lead away from the tenant. Never throws. */
export function probeHttp({ host, port, path }: HttpTarget, signal: AbortSignal): Promise<HttpProbe> {
  return new Promise((resolve) => {
    const url = `http://${host.includes(":") ? `[${host}]` : host}:${port}${path}`;
    const asked = request(
      { host, port, path, method: "GET", agent: false, signal, maxHeaderSize: HEADERS_LIMIT_BYTES },
      (response) => {
        const status = response.statusCode ?? 0;
        // The status line is the answer; the body may be endless and is not read.
        response.destroy();
        resolve({
          answered: true,
          failure: status >= 200 && status < 300 ? null : `${url} answered ${status}.`,
        });
      },
    );
    asked.once("error", (error) => {
      const reason = signal.aborted ? "timed out" : error.message;
      resolve({ answered: false, failure: `${url} did not answer: ${reason}.` });
    });
    asked.end();
  });
}
