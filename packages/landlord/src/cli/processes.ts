/** Commands that start processes of ours. Imports nothing: it is asked before anything is loaded. */
export const PROCESS_COMMANDS: readonly string[] = ["dev", "serve", "worker"];
