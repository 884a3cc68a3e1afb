/** Bounds what one server works on at once: what cannot be done soon is refused now, and not queued. */
import type { FastifyReply } from "fastify";
import type { ProblemCode } from "../contract/problem-codes.ts";
import { HttpError } from "./problem.ts";

export interface Admission {
  /** Throws 503 with the code when there are too many; else the request counts until its connection is done with it. */
  enter(reply: Pick<FastifyReply, "raw">): void;
  /** Does not count any more from now on. */
  leave(reply: Pick<FastifyReply, "raw">): void;
}

export function createAdmission(limit: number, code: ProblemCode, refusal: string): Admission {
  // A number, and who listens is who counts: the tables that a set outgrows keep what was in them alive until a full
  // garbage collection, and with it most of every request.
  let admitted = 0;
  const onClose = (): void => {
    admitted -= 1;
  };
  return {
    enter({ raw }) {
      if (admitted >= limit) throw new HttpError(503, code, refusal);
      admitted += 1;
      // Comes once, whether the answer was sent or the client went away.
      raw.once("close", onClose);
    },
    leave({ raw }) {
      if (!raw.listeners("close").includes(onClose)) return;
      raw.off("close", onClose);
      onClose();
    },
  };
}
