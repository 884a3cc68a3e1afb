import { expect, it, vi } from "vitest";
import { createProgressReporter } from "../../src/worker/progress.ts";
import type { LandlordApi } from "../../src/worker/landlord-api.ts";
import type { ProvisionRequest } from "../../src/contract/job.ts";
import { silentLogger } from "../../src/telemetry/logger.ts";

const REQUEST = { execution_id: "e1" } as ProvisionRequest;

function reporter() {
  vi.useFakeTimers();
  const posted: string[] = [];
  const api = {
    postProgress: (_id: string, phase: string) => {
      posted.push(phase);
      return Promise.resolve();
    },
  } as unknown as LandlordApi;
  return { report: createProgressReporter(api, silentLogger), posted };
}

it("says nothing of a job that is over at once", async () => {
  const { report, posted } = reporter();
  report(REQUEST, "started", "");
  report(REQUEST, "succeeded", "");
  await vi.advanceTimersByTimeAsync(10_000);
  expect(posted).toEqual([]);
});

it("tells everything of one that takes its time, in order", async () => {
  const { report, posted } = reporter();
  report(REQUEST, "started", "");
  report(REQUEST, "applying", "pulling");
  await vi.advanceTimersByTimeAsync(1_000);
  expect(posted).toEqual(["started", "applying"]);
  report(REQUEST, "waiting", "");
  report(REQUEST, "succeeded", "");
  await vi.advanceTimersByTimeAsync(1_000);
  expect(posted).toEqual(["started", "applying", "waiting", "succeeded"]);
});
