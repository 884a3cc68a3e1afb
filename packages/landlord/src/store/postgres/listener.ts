/** Hears of transitions that other servers committed. A hint: whoever misses one finds the same by polling. */
import pg from "pg";
import { messageOf } from "../../domain/errors.ts";
import type { Logger } from "../../telemetry/logger.ts";
import { EVENTS_CHANNEL } from "./work-store.ts";

export interface EventListener {
  /** Notifications come: whoever polls may take its time. */
  isListening(): boolean;
  stop(): Promise<void>;
}

const RECONNECT_MS = 2_000;
const CONNECT_TIMEOUT_MS = 10_000;
const GOODBYE_MS = 1_000;

/**
 * Listens on a connection of its own and reconnects for ever.
 *
 * @param url a direct connection: LISTEN does not work through a transaction pooler
 * @param senderId whose notifications are left out: what a server has committed itself, it knows already
 */
export function startEventListener(
  url: string,
  senderId: string,
  onEvent: () => void,
  logger: Logger,
): EventListener {
  let stopped = false;
  let listening = false;
  let client: pg.Client | null = null;
  let timer: NodeJS.Timeout | null = null;

  async function connect(): Promise<void> {
    const connecting = new pg.Client({
      connectionString: url,
      application_name: "landlord-listen",
      keepAlive: true,
      connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    });
    client = connecting;
    connecting.on("error", () => undefined);
    connecting.on("end", () => {
      if (!stopped && client === connecting) retry();
    });
    connecting.on("notification", ({ payload }) => {
      if (payload !== senderId) onEvent();
    });
    try {
      await connecting.connect();
      await connecting.query(`LISTEN ${EVENTS_CHANNEL}`);
      listening = true;
      // What was committed while nobody listened.
      onEvent();
    } catch (error) {
      logger.debug({ error: messageOf(error) }, "cannot listen for events; polling meanwhile");
      if (!stopped && client === connecting) retry();
      connecting.end().catch(() => undefined);
    }
  }

  function retry(): void {
    client = null;
    listening = false;
    timer = setTimeout(() => void connect(), RECONNECT_MS);
  }

  void connect();
  return {
    isListening: () => listening,
    async stop() {
      stopped = true;
      listening = false;
      if (timer !== null) clearTimeout(timer);
      const ending = client;
      if (ending === null) return;
      // A backend that went silent would never confirm the goodbye.
      const timeout = new Promise((resolve) => setTimeout(resolve, GOODBYE_MS).unref());
      await Promise.race([ending.end().catch(() => undefined), timeout]);
      ending.connection.stream.destroy();
    },
  };
}
