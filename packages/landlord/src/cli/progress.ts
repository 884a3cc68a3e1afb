import type { Tenant } from "@landlord/client";
import { printable, truncate, type Output } from "./output.ts";

const FRAMES = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
const FRAME_MS = 100;
const DEFAULT_COLUMNS = 80;
const CLEAR_LINE = "\r\u001b[2K";

export interface Progress {
  update(tenant: Tenant): void;
  /** Ends the display and leaves the cursor on an empty line. */
  stop(): void;
}

/** Shows how a tenant gets on: one live line on a terminal, one line for each change elsewhere. */
export function startProgress(output: Output, live: boolean, first: Tenant): Progress {
  return live ? liveProgress(output, first) : plainProgress(output);
}

function stateOf(tenant: Tenant): string {
  // A sub-state that says "ended" belongs to the operation before, until the next one has begun.
  const hasEnded = tenant.workflow_sub_state === "succeeded" || tenant.workflow_sub_state === "failed";
  const subState = tenant.workflow_sub_state && !hasEnded ? ` (${tenant.workflow_sub_state})` : "";
  const message = tenant.workflow_error_message || tenant.status_message;
  return printable(`${tenant.name} ${tenant.status}${subState}${message ? `: ${message}` : ""}`);
}

function plainProgress(output: Output): Progress {
  let last = "";
  return {
    update(tenant) {
      const state = stateOf(tenant);
      if (state !== last) output.write(`${state}\n`);
      last = state;
    },
    stop() {},
  };
}

function liveProgress(output: Output, first: Tenant): Progress {
  const start = Date.now();
  let state = stateOf(first);
  let frame = 0;
  const draw = (): void => {
    const elapsed = ((Date.now() - start) / 1000).toFixed(1);
    const line = `${FRAMES[frame % FRAMES.length]} ${elapsed}s ${state}`;
    // One column stays free: a line that is exactly full wraps on some terminals.
    output.write(CLEAR_LINE + truncate(line, (output.columns || DEFAULT_COLUMNS) - 1));
    frame += 1;
  };
  draw();
  const timer = setInterval(draw, FRAME_MS);
  return {
    update(tenant) {
      state = stateOf(tenant);
    },
    stop() {
      clearInterval(timer);
      output.write(CLEAR_LINE);
    },
  };
}
