// The package's default export is what Landlord loads, in servers and in workers.
import { z } from "zod";

/** @import { ComputePlugin } from "landlord/compute" */

const tenantConfig = z.strictObject({
  compute_provider: z.string().optional().describe("The resolved provider; set by the control plane."),
  files: z
    .record(
      z.string().regex(/^(?!.*(?:^|\/)\.)[A-Za-z0-9._/-]{1,200}$/, {
        error: "must be a relative path without hidden parts",
      }),
      z.string().max(1_000_000),
    )
    .refine((files) => Object.keys(files).length <= 1_000, { error: "must be at most 1000 files" })
    .refine((files) => "index.html" in files, { error: "must have an index.html" })
    .describe("Path to text of every file; needs an index.html."),
});

const engineConfig = z.strictObject({
  root: z.string().min(1).describe("Folder of all sites, the same for all workers; a web server serves it."),
  defaults: z
    .record(z.string(), z.json())
    .optional()
    .describe("Keys of compute_config for tenants that leave them out."),
});

/** @type {ComputePlugin} */
export default {
  kind: "compute",
  portVersion: 1,
  name: "static",
  engineConfigSchema: /** @type {any} */ (engineConfig),
  secretKeys: [],
  describe: (block) => ({
    name: "static",
    configSchema: /** @type {any} */ (z.toJSONSchema(tenantConfig, { target: "draft-2020-12", io: "input" })),
    configDefaults: /** @type {any} */ (engineConfig.parse(block).defaults ?? null),
    immutableKeys: [],
    validateConfig,
  }),
  async create(block) {
    // Only workers come here: what a server does not need is not loaded there.
    const { StaticProvider } = await import("./provider.js");
    return new StaticProvider({ root: engineConfig.parse(block).root, validateConfig });
  },
};

/** @param {unknown} config */
function validateConfig(config) {
  const parsed = tenantConfig.safeParse(config);
  if (parsed.success) return [];
  return parsed.error.issues.map(({ path, message }) => ({
    pointer: path.map((key) => `/${String(key).replaceAll("~", "~0").replaceAll("/", "~1")}`).join(""),
    message,
  }));
}
