/** A real Restate server. Workers of one harness share one address, as replicas behind a load balancer do. */
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { inject } from "vitest";
import { createRestateWorkerEngine } from "../../../src/worker/restate/restate-worker-engine.ts";
import { createRestateProvider } from "../../../src/workflow/restate/restate-provider.ts";
import {
  startFaultProxy,
  type ConformanceSubject,
  type FaultProxy,
  type ProxiedRequest,
  type WorkflowHarness,
} from "../../../src/plugin/testing.ts";
import { randomNamespace } from "../../support/system.ts";

interface Balancer {
  readonly url: string;
  add(port: number): void;
  /** Connections to it end at once, as with a host that lost power; new ones go to others. */
  remove(port: number): void;
  close(): Promise<void>;
}

/** Gives each connection to the next worker, and holds connections while there is none. */
async function startBalancer(): Promise<Balancer> {
  const ports: number[] = [];
  const links = new Map<Socket, number>();
  let next = 0;
  const server = createServer((client) => {
    client.on("error", () => undefined);
    const port = ports[next++ % Math.max(1, ports.length)];
    if (port === undefined) {
      client.resetAndDestroy();
      return;
    }
    const worker = connect(port, "127.0.0.1");
    links.set(client, port);
    worker.on("error", () => client.destroy());
    worker.on("close", () => client.destroy());
    client.on("close", () => {
      links.delete(client);
      worker.destroy();
    });
    client.pipe(worker).pipe(client);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    add: (port) => ports.push(port),
    remove(port) {
      const index = ports.indexOf(port);
      if (index >= 0) ports.splice(index, 1);
      for (const [client, of] of links) if (of === port) client.resetAndDestroy();
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const client of links.keys()) client.destroy();
      }),
  };
}

/** Restate's SQL is a POST that reads. */
const isEffect = ({ method, path }: ProxiedRequest): boolean =>
  method !== "GET" && !path.startsWith("/query");

async function openRestateHarness(): Promise<WorkflowHarness> {
  const namespace = randomNamespace();
  const balancer = await startBalancer();
  const closers: (() => Promise<void>)[] = [() => balancer.close()];
  const openAt = (ingressUrl: string, adminUrl: string) => {
    const provider = createRestateProvider({
      ingressUrl,
      adminUrl,
      authToken: null,
      requestTimeoutMs: 5_000,
      queryTimeoutMs: 2_000,
      namespace,
      servicePrefix: "",
    });
    closers.push(() => provider.close());
    return provider;
  };
  const proxied = async (target: string, faults: FaultOf): Promise<FaultProxy> => {
    const proxy = await startFaultProxy({ target, faults, isEffect });
    closers.push(() => proxy.close());
    return proxy;
  };
  return {
    async open(faults) {
      const [ingress, admin] = await Promise.all([
        proxied(inject("restateIngressUrl"), faults),
        proxied(inject("restateAdminUrl"), faults),
      ]);
      return openAt(ingress.url, admin.url);
    },
    openUnreachable: () => Promise.resolve(openAt("http://127.0.0.1:1", "http://127.0.0.1:1")),
    async startWorker(context) {
      const engine = createRestateWorkerEngine(
        {
          namespace,
          servicePrefix: "",
          listenHost: "127.0.0.1",
          listenPort: 0,
          advertisedUrl: balancer.url,
          adminUrl: inject("restateAdminUrl"),
          authToken: null,
          requestTimeoutMs: 5_000,
          identityKeys: [],
          failFast: false,
          drainTimeoutMs: 2_000,
          resultRetentionMs: 3_600_000,
        },
        context,
      );
      await engine.start();
      const port = Number(new URL(engine.status().listenAddress ?? "").port);
      balancer.add(port);
      await engine.register(AbortSignal.timeout(30_000));
      const leave = async (): Promise<void> => {
        balancer.remove(port);
        await engine.stop();
      };
      closers.push(leave);
      return { engine: { ...engine, stop: leave }, kill: () => Promise.resolve(balancer.remove(port)) };
    },
    jobTimeoutMs: 15_000,
    takeOverTimeoutMs: 30_000,
    async close() {
      for (const close of closers.reverse()) await close();
    },
  };
}

type FaultOf = Parameters<WorkflowHarness["open"]>[0];

export const restateWorkflow: ConformanceSubject<WorkflowHarness> = {
  name: "restate",
  open: openRestateHarness,
};
