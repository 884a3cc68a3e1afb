/** Bounds what one server works on at once: what cannot be done soon is refused now, and not queued. */
import type { FastifyReply } from "fastify";
import { HttpError } from "./problem.ts";

export interface Admission {
  /** Throws 503 `overloaded` when there are too many; else the request counts until its connection is done with it. */
  enter(reply: Pick<FastifyReply, "raw">): void;
}

export function createAdmission(maxInFlight: number): Admission {
  let inFlight = 0;
  return {
    enter({ raw }) {
      if (inFlight >= maxInFlight) {
        throw new HttpError(
          503,
          "overloaded",
          `This server works on ${maxInFlight} requests already. Try again in a moment.`,
        );
      }
      inFlight += 1;
      // Comes once, whether the answer was sent or the client went away.
      raw.once("close", () => (inFlight -= 1));
    },
  };
}
