/** Real processes: the backend is this machine, and a census asks its kernel. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { processComputeFactory } from "../../../src/compute/process/factory.ts";
import { ProcessComputeProvider } from "../../../src/compute/process/provider.ts";
import { detectCgroups } from "../../../src/compute/process/cgroup.ts";
import type { Owner } from "../../../src/compute/provider.ts";
import { Faults, type ComputeHarness, type ConformanceSubject } from "../../../src/plugin/testing.ts";
import { livingTenants } from "../../support/census.ts";
import { eventually } from "../../support/eventually.ts";

const SERVER =
  "require('http').createServer((_, r) => r.end('ok')).listen(process.env.PORT, '127.0.0.1', () => console.log('variant ' + process.env.VARIANT + ' is up'))";

async function openProcessHarness(): Promise<ComputeHarness> {
  const dataDir = await mkdtemp(join(tmpdir(), "landlord-process-kit-"));
  // Made once by the real factory, so that the scope is its own.
  const first = await processComputeFactory.create({ data_dir: dataDir }, { dataDir });
  const scope = await first.scopeOf({});
  const cgroups = await detectCgroups();
  const instances = new Set<string>();
  const open = (faults: Faults, dir: string): ProcessComputeProvider =>
    new ProcessComputeProvider({
      dataDir: dir,
      scope,
      cgroups,
      logLimitBytes: 1_000_000,
      portMin: 20_000,
      portMax: 29_999,
      random: Math.random,
      effect: (name, perform) => faults.call(name, perform),
    });
  const leadersOf = (owner: Owner): readonly { readonly pid: number; readonly generation: number }[] => {
    instances.add(owner.instanceId);
    return livingTenants().filter(
      (living) => living.tenantId === owner.tenantId && living.instanceId === owner.instanceId,
    );
  };
  return {
    factory: processComputeFactory,
    engineConfig: { data_dir: dataDir },
    open: (faults) => Promise.resolve(open(faults, dataDir)),
    // A folder that is a file: the host does not do what is asked of it.
    openUnreachable: () => Promise.resolve(open(new Faults(), "/dev/null")),
    config: (variant) => ({
      command: [process.execPath, "-e", SERVER],
      env: { VARIANT: String(variant) },
      ports: [{}],
      health_check: {
        type: "http",
        path: "/",
        interval_seconds: 1,
        timeout_seconds: 5,
        deadline_seconds: 30,
      },
    }),
    unhealthyConfig: {
      command: ["sleep", "1000"],
      ports: [{}],
      health_check: { type: "http", path: "/", timeout_seconds: 1 },
    },
    // A program that is missing may be installed: the host decides, and it is tried again.
    rejectedConfig: null,
    invalidConfig: { command: [] },
    loggedText: (variant) => `variant ${variant} is up`,
    census: (owner) => Promise.resolve(leadersOf(owner).map(({ generation }) => generation)),
    async endWorkload(owner) {
      for (const { pid } of leadersOf(owner)) process.kill(-pid, "SIGKILL");
      await eventually(() => leadersOf(owner).length === 0, { what: "the workload has ended" });
    },
    convergeTimeoutMs: 20_000,
    parallel: 4,
    async close() {
      const provider = open(new Faults(), dataDir);
      const { signal } = new AbortController();
      for (const instanceId of instances) {
        for (const { tenantId } of await provider.list(instanceId, signal)) {
          const everything = { instanceId, tenantId, scopes: [], generation: Number.MAX_SAFE_INTEGER };
          await provider.destroy(everything, { idempotencyKey: "close", signal });
        }
      }
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}

export const processCompute: ConformanceSubject<ComputeHarness> = {
  name: "process",
  open: openProcessHarness,
};
