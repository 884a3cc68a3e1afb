/** The raw limit: a bare Restate workflow with as many journaled steps as a tenant job, and nothing else. */
import { createServer } from "node:http2";
import type { AddressInfo } from "node:net";
import type { WorkflowContext } from "@restatedev/restate-sdk";

/** Node 20 lacks it, and Restate's SDK hangs without an error when it is missing. */
if (!("withResolvers" in Promise)) {
  Object.defineProperty(Promise, "withResolvers", {
    value<T>(this: PromiseConstructor) {
      let resolve: (value: T | PromiseLike<T>) => void = () => undefined;
      let reject: (reason?: unknown) => void = () => undefined;
      const promise = new this<T>((onResolve, onReject) => {
        resolve = onResolve;
        reject = onReject;
      });
      return { promise, resolve, reject };
    },
  });
}
const restate = await import("@restatedev/restate-sdk");

const raw = restate.workflow({
  name: "RawBench",
  handlers: {
    run: async (context: WorkflowContext, steps: number): Promise<string> => {
      for (let step = 0; step < steps; step++) await context.run(`step-${step}`, () => Promise.resolve(step));
      return "done";
    },
  },
});

const server = createServer(restate.createEndpointHandler({ services: [raw], logger: () => undefined }));
server.listen(0, "127.0.0.1", () => process.send?.({ port: (server.address() as AddressInfo).port }));
process.on("disconnect", () => process.exit(0));
