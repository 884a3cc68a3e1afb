import { defineConfig } from "vitest/config";

/** Folders whose tests need neither the shared PostgreSQL nor the shared Restate; all others get them. */
const unit = [
  "packages/client/test/**/*.test.ts",
  "packages/landlord/test/{cli,compute,config,contract,dev,domain,embedded,testing,tidy}/**/*.test.ts",
  "scripts/**/*.test.ts",
];

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
    reporters: ["default", "./scripts/summary-reporter.ts"],
    projects: [
      { extends: true, test: { name: "unit", include: unit } },
      {
        extends: true,
        test: {
          name: "system",
          include: ["packages/*/test/**/*.test.ts", "acceptance/**/*.test.ts"],
          exclude: [...unit, "**/node_modules/**"],
          globalSetup: ["packages/landlord/test/support/global-setup.ts"],
        },
      },
    ],
  },
});
