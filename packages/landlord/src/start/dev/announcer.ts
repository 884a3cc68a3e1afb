/** What `landlord dev` says to the person in front of it. */
import type { SupervisorLog } from "../../os/supervised.ts";

export interface Announcer {
  /** Waits for a start and says how long it took and where it is. */
  starting<T>(name: string, started: Promise<T>, where: (started: T) => string): Promise<T>;
  note(name: string, text: string): void;
  ready(apiUrl: string, folder: string): void;
  lost(name: string, reason: string): void;
  back(name: string): void;
  stopping(): void;
  stopped(): void;
  /** Warnings of a supervisor are shown; what it merely tells is not. */
  log(name: string): SupervisorLog;
}

const NAME_WIDTH = 12;

export function createAnnouncer(output: { write(text: string): unknown }): Announcer {
  const startedMs = performance.now();
  const say = (text: string): void => void output.write(`${text}\n`);
  const line = (mark: string, name: string, text: string): void =>
    say(`  ${mark} ${name.padEnd(NAME_WIDTH)} ${text}`);
  say("Starting Landlord …");
  return {
    async starting(name, started, where) {
      const beganMs = performance.now();
      const result = await started;
      line("✓", name, `${where(result)}  (${seconds(performance.now() - beganMs)})`);
      return result;
    },
    note: (name, text) => line("·", name, text),
    ready(apiUrl, folder) {
      say(`
Ready in ${seconds(performance.now() - startedMs)}: ${apiUrl}
  API reference   ${apiUrl}/v1/docs
  data and logs   ${folder}

In another terminal:
  export LANDLORD_API_URL=${apiUrl}
  npx landlord create --tenant-name hello --wait --config '{
    "command": ["${process.execPath}", "-e", "require(\\"http\\").createServer((q, r) => r.end(\\"hello\\\\n\\")).listen(process.env.PORT, \\"127.0.0.1\\")"],
    "ports": [{}]
  }'
  npx landlord list
  npx landlord delete hello --wait

Ctrl-C stops everything; tenants' processes go on, and are found again at the next start.
`);
    },
    lost: (name, reason) => line("!", name, `${reason}; starting it again`),
    back: (name) => line("✓", name, "is back"),
    stopping: () => say("Stopping …"),
    stopped: () => say("Stopped."),
    log: (name) => ({
      info: () => undefined,
      warn: (_fields, message) => line("!", name, message),
    }),
  };
}

function seconds(durationMs: number): string {
  return `${(durationMs / 1_000).toFixed(1)} s`;
}
