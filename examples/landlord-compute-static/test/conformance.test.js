// The whole conformance kit, on node:test. Any other runner works the same way.
import { existsSync, readdirSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { computeBehaviours, conformanceCases } from "landlord/testing";
import plugin from "../src/index.js";
import { StaticProvider } from "../src/provider.js";

/** @import { ComputeHarness } from "landlord/testing" */

/** @returns {Promise<ComputeHarness>} */
async function open() {
  const root = await mkdtemp(join(tmpdir(), "landlord-static-"));
  const { validateConfig } = plugin.describe({ root });
  const provider = (/** @type {string} */ at, /** @type {any} */ faults) =>
    new StaticProvider({
      root: at,
      validateConfig: /** @type {any} */ (validateConfig),
      ...(faults === null ? {} : { effect: (name, perform) => faults.call(name, perform) }),
    });
  return {
    factory: plugin,
    engineConfig: { root },
    open: (faults) => Promise.resolve(provider(root, faults)),
    // A disk that is not mounted.
    openUnreachable: () => Promise.resolve(provider(join(root, "not-mounted"), null)),
    config: (variant) => ({ files: { "index.html": `<h1>${variant}</h1>`, "css/site.css": "" } }),
    unhealthyConfig: null,
    rejectedConfig: null,
    invalidConfig: { files: { "../index.html": "out of the folder" } },
    loggedText: () => null,
    async census({ instanceId, tenantId }) {
      const folder = join(root, instanceId, tenantId);
      if (!existsSync(folder)) return [];
      return readdirSync(folder)
        .filter((name) => name.endsWith(".site"))
        .map((name) => Number.parseInt(name, 10));
    },
    endWorkload: null,
    convergeTimeoutMs: 5_000,
    parallel: 4,
    close: () => rm(root, { recursive: true, force: true }),
  };
}

const subject = {
  name: "static",
  gaps: {
    logs: "files write no logs",
    "restarts-what-ended": "files do not end by themselves",
  },
  open,
};

for (const each of conformanceCases(computeBehaviours, subject)) {
  test(`${each.behaviour}: ${each.gap ?? each.title}`, each.run);
}
