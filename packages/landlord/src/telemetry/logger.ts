/** Structured logs. Every part takes a Logger; only the composition root makes one. */
import { pino, stdTimeFunctions, type DestinationStream } from "pino";

export type LogLevel = "trace" | "debug" | "info" | "warn" | "error";

/** What the rest of the code needs of a logger. Fields are snake_case; the message is a plain sentence. */
export interface Logger {
  trace(fields: object, message: string): void;
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
  child(fields: Record<string, unknown>): Logger;
}

export interface LoggerSettings {
  readonly level: LogLevel | "silent";
  readonly format: "json" | "pretty";
}

/** Logs to `destination`, by default standard error: standard output belongs to the command. */
export function createLogger(settings: LoggerSettings, destination?: DestinationStream): Logger {
  const target = destination ?? { write: (line: string) => void process.stderr.write(line) };
  return pino(
    {
      level: settings.level,
      base: null,
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      // Belt and braces: nothing logs these on purpose.
      redact: {
        paths: ["*.password", "*.token", "*.auth_token", "*.authorization", "req.headers.authorization"],
      },
    },
    settings.format === "json" ? target : prettyDestination(target),
  );
}

/** A logger that drops everything. */
export const silentLogger: Logger = createLogger({ level: "silent", format: "json" });

/** One readable line a record, for terminals: time, level, message, then the fields. */
function prettyDestination(target: DestinationStream): DestinationStream {
  return {
    write(line: string) {
      const { time, level, msg, ...fields } = JSON.parse(line) as Record<string, unknown>;
      const clock = String(time).slice(11, 23);
      const rest = Object.entries(fields)
        .map(([key, value]) => `${key}=${typeof value === "string" ? value : JSON.stringify(value)}`)
        .join(" ");
      target.write(
        `${clock} ${String(level).toUpperCase().padEnd(5)} ${String(msg)}${rest === "" ? "" : `  ${rest}`}\n`,
      );
    },
  };
}
