/** Several servers and workers as a deployment has them: one dies and the others take over; all are replaced under load. */
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, expect, inject, test } from "vitest";
import { runChaos, type ChaosOptions } from "../../../../chaos/chaos.ts";
import type { Fault } from "../../../../chaos/faults.ts";
import { apiOf } from "../support/api.ts";
import { createTestDatabase } from "../support/database.ts";
import { eventually } from "../support/eventually.ts";
import { startLandlord } from "../support/landlord-process.ts";
import { randomNamespace } from "../support/system.ts";

const closers: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

const LEASE_MS = 3_000;
/** A due tenant is found within reconciliation_interval; the rest is this machine's. */
const INTERVAL_MS = 500;
const SLACK_MS = 1_000;

test(
  "the leases of a killed server are taken over when they run out, and not before",
  { timeout: 120_000 },
  async () => {
    const database = await createTestDatabase();
    closers.push(() => database.drop());
    const folder = await mkdtemp(join(tmpdir(), "landlord-replicas-"));
    await chmod(folder, 0o711);
    closers.push(() => rm(folder, { recursive: true, force: true }));
    const settings = {
      data_dir: folder,
      "http.port": 0,
      "database.url": database.url,
      "workflow.restate.endpoint": inject("restateIngressUrl"),
      "workflow.restate.admin_endpoint": inject("restateAdminUrl"),
      "workflow.restate.worker_namespace": randomNamespace(),
      "controller.lease_duration": `${LEASE_MS}ms`,
      "controller.workflow_trigger_timeout": "900ms",
      "controller.reconciliation_interval": `${INTERVAL_MS}ms`,
      "compute.mock": {},
    };
    const first = await startLandlord("serve", settings);
    closers.push(() => first.kill());
    const second = await startLandlord("serve", settings);
    closers.push(() => second.kill());
    // Every claim is written down by the database itself, in its own time.
    await database.query(
      `CREATE TABLE claims (tenant_id uuid, lease_holder text, at timestamptz NOT NULL DEFAULT clock_timestamp())`,
    );
    await database.query(`
    CREATE FUNCTION note_claim() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN INSERT INTO claims (tenant_id, lease_holder) VALUES (new.tenant_id, new.lease_holder); RETURN new; END $$`);
    await database.query(`
    CREATE TRIGGER note_claim AFTER UPDATE ON tenant_work FOR EACH ROW
    WHEN (new.lease_token > old.lease_token) EXECUTE FUNCTION note_claim()`);
    const api = apiOf(first.url);
    const created = await Promise.all(
      Array.from({ length: 60 }, (_, index) =>
        api.call("POST", "/v1/tenants", { name: `t-${index}`, compute_config: {} }),
      ),
    );
    expect(created.map(({ status }) => status)).toEqual(created.map(() => 201));
    // No worker is there: every tenant is looked at again and again, so that leases are always held.
    const heldBy = `SELECT tenant_id, lease_until, now() AS now FROM tenant_work WHERE lease_holder LIKE '%/${first.pid}/%' AND lease_until > now()`;
    const held = await eventually(
      async () => {
        first.signal("SIGSTOP");
        const rows = await database.query(heldBy);
        if (rows.length >= 3) return rows as { tenant_id: string; lease_until: Date; now: Date }[];
        first.signal("SIGCONT");
        return null;
      },
      { what: "the server holds leases", timeoutMs: 30_000, everyMs: 15 },
    );
    await first.kill();
    const heldAt = held[0]?.now;
    // The database may have committed what the server had sent before it was stopped: a lease may be shorter by that.
    const leases = await database.query(
      `SELECT tenant_id, lease_until FROM tenant_work WHERE lease_holder LIKE '%/${first.pid}/%'`,
    );
    const untilOf = (id: string): Date | undefined =>
      (leases as { tenant_id: string; lease_until: Date }[]).find((row) => row.tenant_id === id)?.lease_until;

    const takeovers = await eventually(
      async () => {
        const rows = await database.query(
          `SELECT DISTINCT ON (tenant_id) tenant_id, at FROM claims
         WHERE at > $1 AND tenant_id = ANY($2) AND lease_holder LIKE '%/${second.pid}/%' ORDER BY tenant_id, at`,
          [heldAt, held.map((row) => row.tenant_id)],
        );
        return rows.length === held.length && (rows as { tenant_id: string; at: Date }[]);
      },
      { what: "every lease was taken over", timeoutMs: 30_000 },
    );
    for (const { tenant_id, at } of takeovers) {
      const until = untilOf(tenant_id)?.getTime() ?? 0;
      expect(at.getTime(), "a lease was taken while it was held").toBeGreaterThanOrEqual(until);
      expect(at.getTime() - until, "a lease was taken late").toBeLessThan(INTERVAL_MS + SLACK_MS);
    }
  },
);

/** Every server and worker is stopped as a deployment does it, and started again, one after the other, in whole rounds. */
const rollingRestart: NonNullable<ChaosOptions["disturb"]> = async ({ fleet, signal, onFault }) => {
  while (!signal.aborted) {
    for (const part of fleet.parts.filter(({ kind }) => kind === "server" || kind === "worker")) {
      const beganAt = new Date();
      await part.stop();
      await part.start();
      onFault({ kind: "stop", target: part.name, detail: "restarted", beganAt, endedAt: new Date() });
      await delay(1_000, undefined, { signal }).catch(() => undefined);
    }
  }
};

test("a rolling restart under load loses nothing and fails nobody", { timeout: 300_000 }, async () => {
  const lines: string[] = [];
  const restarts: Fault[] = [];
  const report = await runChaos({
    minutes: 0.7,
    seed: 5,
    users: 6,
    namesPerUser: 5,
    settleWithinMs: 60_000,
    say: (line) => void lines.push(line),
    disturb: (options) =>
      rollingRestart({
        ...options,
        onFault(fault) {
          restarts.push(fault);
          options.onFault(fault);
        },
      }),
  });
  const { lost, duplicated, orphaned, stuck, broken, outcomes } = report;
  expect({ lost, duplicated, orphaned, stuck, broken }, lines.join("\n")).toEqual({
    lost: [],
    duplicated: [],
    orphaned: [],
    stuck: [],
    broken: [],
  });
  expect(new Set(restarts.map(({ target }) => target))).toEqual(
    new Set(["server-1", "server-2", "worker-1", "worker-2"]),
  );
  expect(report.operations).toBeGreaterThan(25);
  // No operation failed: what was in flight went on at another worker.
  expect(outcomes).not.toHaveProperty("failed");
  expect(outcomes).not.toHaveProperty("rejected");
  expect(outcomes).not.toHaveProperty("lost");
});
