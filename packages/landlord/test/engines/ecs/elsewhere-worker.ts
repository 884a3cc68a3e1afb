/** A worker somewhere else: applies until healthy, or destroys until absent, and says how it went. */
import { ecsComputeFactory } from "../../../src/compute/ecs/factory.ts";
import type { ComputeSpec } from "../../../src/compute/provider.ts";
import type { JsonObject } from "../../../src/domain/json.ts";
import { eventually } from "../../support/eventually.ts";

const { engine, spec, scopes, action } = JSON.parse(process.argv[2] ?? "") as {
  engine: JsonObject;
  spec: ComputeSpec;
  scopes: readonly string[];
  action: "apply" | "destroy";
};
const provider = await ecsComputeFactory.create(engine, { dataDir: "/nonexistent" });
const options = { idempotencyKey: "elsewhere", signal: new AbortController().signal };
const observation = await eventually(
  async () => {
    if (action === "destroy") {
      const left = await provider.destroy({ ...spec, scopes }, options);
      return left.presence === "absent" && left;
    }
    const result = await provider.apply(spec, options);
    return result.kind === "applied" && result.observation.health === "healthy" && result.observation;
  },
  { what: `${action} is done`, everyMs: 100 },
);
process.stdout.write(JSON.stringify(observation));
