import { defineConfig } from "vitest/config";
import { HOW_TO_INSTALL, missingEngines } from "./packages/landlord/test/support/engines/availability.ts";

/** Folders whose tests need neither the shared PostgreSQL nor the shared Restate; all others get them. */
const unit = [
  "packages/client/test/**/*.test.ts",
  "packages/landlord/test/{cli,compute,config,contract,dev,domain,embedded,plugin,testing,tidy}/**/*.test.ts",
  "bench/**/*.test.ts",
  "scripts/**/*.test.ts",
  "simulation/**/*.test.ts",
];
/** These need engines that npm does not bring. */
const engines = ["packages/landlord/test/engines/**/*.test.ts"];

const missing = missingEngines();
if (missing.size > 0 && process.env["CI"] !== undefined) {
  throw new Error(
    `Every test has to run here, and ${[...missing.values()].join(", ")} was found: ${HOW_TO_INSTALL}.`,
  );
}

export default defineConfig({
  resolve: { conditions: ["source"] },
  ssr: { resolve: { conditions: ["source"] } },
  test: {
    testTimeout: 60_000,
    hookTimeout: 60_000,
    pool: "forks",
    // Each system test runs a server, a worker and their tenants besides; more workers only wait for each other.
    maxWorkers: 2,
    sequence: { shuffle: { files: true } },
    reporters: ["default", "./scripts/conformance-reporter.ts", "./scripts/summary-reporter.ts"],
    projects: [
      { extends: true, test: { name: "unit", include: unit } },
      {
        extends: true,
        test: {
          name: "system",
          include: ["packages/*/test/**/*.test.ts", "acceptance/**/*.test.ts"],
          exclude: [...unit, ...engines, "**/node_modules/**"],
          globalSetup: ["packages/landlord/test/support/global-setup.ts"],
        },
      },
      {
        extends: true,
        test: {
          name: "engines",
          include: engines,
          exclude: [...missing.keys()].map((name) => `packages/landlord/test/engines/${name}/**`),
          globalSetup: ["packages/landlord/test/support/engines/global-setup.ts"],
        },
      },
    ],
  },
});
