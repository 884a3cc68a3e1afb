/** The part of the Restate worker that needs the SDK. */
import "./with-resolvers.ts";
import * as restate from "@restatedev/restate-sdk";
import type { WorkerContext } from "../worker-context.ts";
import { createRestateServices, type InFlight, type RestateServicesSettings } from "./services.ts";

/** An HTTP/2 request handler that verifies who asks and serves the services. */
export function createRestateHandler(
  settings: RestateServicesSettings & { readonly identityKeys: readonly string[] },
  context: WorkerContext,
  inFlight: InFlight,
  scopes: readonly string[],
): ReturnType<typeof restate.createEndpointHandler> {
  const { logger } = context;
  return restate.createEndpointHandler({
    services: createRestateServices(settings, context, inFlight, scopes),
    ...(settings.identityKeys.length === 0 ? {} : { identityKeys: [...settings.identityKeys] }),
    logger: (meta, ...message: unknown[]) => {
      const fields = { invocation_id: meta.context?.invocationId, source: meta.source };
      const text = message.map(String).join(" ");
      // The SDK reports each failed attempt as an error; the engine retries it, so it is a warning here.
      if (meta.level === "error" || meta.level === "warn") logger.warn(fields, text);
      else logger.trace(fields, text);
    },
  });
}
