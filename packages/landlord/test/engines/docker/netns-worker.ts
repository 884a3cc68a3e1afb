/** A worker somewhere else: applies until healthy, or destroys, and says how it went. */
import { dockerComputeFactory } from "../../../src/compute/docker/factory.ts";
import type { ComputeSpec } from "../../../src/compute/provider.ts";
import type { JsonObject } from "../../../src/domain/json.ts";
import { eventually } from "../../support/eventually.ts";

const { engine, spec, action } = JSON.parse(process.argv[2] ?? "") as {
  engine: JsonObject;
  spec: ComputeSpec;
  action: "apply" | "destroy";
};
const provider = await dockerComputeFactory.create(engine, { dataDir: "/nonexistent" });
const options = { idempotencyKey: "key", signal: new AbortController().signal };
const observation =
  action === "apply"
    ? await eventually(
        async () => {
          const result = await provider.apply(spec, options);
          return result.kind === "applied" && result.observation.health === "healthy"
            ? result.observation
            : null;
        },
        { what: "it is healthy", everyMs: 100 },
      )
    : await provider.destroy({ ...spec, scopes: [], generation: spec.generation }, options);
process.stdout.write(JSON.stringify(observation));
