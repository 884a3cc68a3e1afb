/** Every part as an operating system process of its own, each of which a test may kill and start again. */
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startEmbeddedPostgres, type EmbeddedPostgres } from "../../src/store/embedded/embedded-postgres.ts";
import {
  startEmbeddedRestate,
  type EmbeddedRestate,
} from "../../src/workflow/restate/embedded/embedded-restate.ts";
import { pickFreePorts } from "../../src/os/supervised.ts";
import { startHoldingProxy, type HoldingProxy } from "./holding-proxy.ts";
import { startLandlord, type LandlordProcess } from "./landlord-process.ts";
import { eventually } from "./eventually.ts";
import { isAlivePid } from "./census.ts";

export type Victim = "server" | "worker" | "restate" | "postgres";

export interface Cluster {
  readonly url: string;
  readonly databaseUrl: () => string;
  /** Between server and Restate's ingress. */
  readonly ingress: HoldingProxy;
  /** SIGKILL, then a new one on the same ports and data. */
  killAndRestart(victim: Victim): Promise<void>;
  pidOf(victim: Victim): number;
  stop(): Promise<void>;
}

const quiet = { info: () => undefined, warn: () => undefined };

export async function startCluster(settings: Readonly<Record<string, unknown>> = {}): Promise<Cluster> {
  const folder = await mkdtemp(join(tmpdir(), "landlord-cluster-"));
  await chmod(folder, 0o711);
  const launchPostgres = (): Promise<EmbeddedPostgres> =>
    startEmbeddedPostgres({
      dataDir: join(folder, "postgres"),
      port: null,
      logFile: join(folder, "postgres.log"),
      log: quiet,
    });
  const launchRestate = (): Promise<EmbeddedRestate> =>
    startEmbeddedRestate({
      dataDir: join(folder, "restate"),
      ports: null,
      requestIdentityKeyFile: null,
      logFile: join(folder, "restate.log"),
      log: quiet,
    });
  let [postgres, restate] = await Promise.all([launchPostgres(), launchRestate()]);
  const ingress = await startHoldingProxy(restate.ingressUrl);
  const [apiPort = 0, workerPort = 0] = await pickFreePorts(2);
  const url = `http://127.0.0.1:${apiPort}`;
  const launchServer = (): Promise<LandlordProcess> =>
    startLandlord("serve", {
      data_dir: folder,
      "http.port": apiPort,
      "database.url": postgres.url,
      "workflow.restate.endpoint": ingress.url,
      "workflow.restate.admin_endpoint": restate.adminUrl,
      "controller.status_poll_interval": "200ms",
      "controller.backoff_initial": "200ms",
      "controller.backoff_max": "2s",
      "controller.lease_duration": "6s",
      "controller.workflow_trigger_timeout": "2s",
      "compute.process": {},
      ...settings,
    });
  const launchWorker = (): Promise<LandlordProcess> =>
    startLandlord("worker", {
      data_dir: folder,
      "workflow.restate.endpoint": restate.ingressUrl,
      "workflow.restate.admin_endpoint": restate.adminUrl,
      "workflow.restate.worker_listen_port": workerPort,
      "worker.api_url": url,
      "worker.absence_settle": "50ms",
      "worker.shutdown_timeout": "2s",
    });
  let [server, worker] = await Promise.all([launchServer(), launchWorker()]);

  return {
    url,
    databaseUrl: () => postgres.url,
    ingress,
    pidOf: (victim) =>
      ({ server: server.pid, worker: worker.pid, restate: restate.pid, postgres: postgres.pid })[victim],
    async killAndRestart(victim) {
      switch (victim) {
        case "server":
          await server.kill();
          server = await launchServer();
          return;
        case "worker":
          await worker.kill();
          worker = await launchWorker();
          return;
        case "restate": {
          const { pid } = restate;
          process.kill(pid, "SIGKILL");
          await eventually(() => !isAlivePid(pid), { what: "restate is dead" });
          restate = await launchRestate();
          return;
        }
        case "postgres": {
          const { pid } = postgres;
          process.kill(pid, "SIGKILL");
          await eventually(() => !isAlivePid(pid), { what: "postgres is dead" });
          postgres = await launchPostgres();
        }
      }
    },
    async stop() {
      await Promise.all([server.stop(), worker.stop()]);
      await Promise.all([postgres.stop(), restate.stop(), ingress.stop()]);
      await rm(folder, { recursive: true, force: true });
    },
  };
}
