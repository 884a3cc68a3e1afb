import { z } from "zod";

/** Any object on the wire. */
export const looseObject = z.record(z.string(), z.unknown());

export const timestamp = z.string().meta({ format: "date-time", description: "RFC 3339, UTC" });
