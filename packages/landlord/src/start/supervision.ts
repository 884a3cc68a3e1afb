/** What `landlord dev` and the processes that it supervises say to each other, over IPC. Imports nothing: it is loaded first. */

/**
 * In the environment of a process that was started before anybody knew what it is to do: it loads its program, is told
 * everything else by its supervisor, and ends with it.
 */
export const SUPERVISED_VARIABLE = "SUPERVISED_OVER_IPC";

/** What processes of ours may be started before: the database, the workflow engine, and the server's API. */
export type SupervisedPart = "database" | "engine" | "api";

export type SupervisorMessage =
  /** The first one. */
  | {
      readonly kind: "orders";
      /** The command line. */
      readonly words: readonly string[];
      /** Environment variables. */
      readonly settings: Readonly<Record<string, string>>;
      /** Absolute path of the file that takes its output from now on. */
      readonly logFile: string;
    }
  /** From now on this can be used. */
  | { readonly kind: "up"; readonly part: SupervisedPart };

/** Of a supervised process that does its work. */
export interface ReadyMessage {
  readonly kind: "ready";
}
