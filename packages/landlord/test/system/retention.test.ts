import { expect, inject, test } from "vitest";
import { scriptedCompute } from "../../src/plugin/testing.ts";
import { randomNamespace, restateWorker, signal } from "../support/restate.ts";

test("x", async () => {
  const ns = randomNamespace();
  const w = restateWorker(ns, scriptedCompute(), { resultRetentionMs: 7_200_000 });
  await w.start(); await w.register(signal());
  console.log(await (await fetch(`${inject("restateAdminUrl")}/services/${ns}_LandlordTenantV1`)).text());
  console.log(await (await fetch(`${inject("restateAdminUrl")}/services/${ns}_LandlordTenantV1`, {method: "PATCH", headers: {"content-type": "application/json"}, body: JSON.stringify({workflow_completion_retention: "3h"})})).text());
  console.log(await (await fetch(`${inject("restateAdminUrl")}/services/${ns}_LandlordQueryV1`)).text());
  await w.stop();
});
