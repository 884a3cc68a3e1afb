/** What a store brings to the kit. */
import type { Store } from "../../store/store.ts";
import type { ConformanceHarness } from "../behaviour.ts";

/** An empty database for one behaviour. */
export interface StoreHarness extends ConformanceHarness {
  /** Another server over the same database. */
  open(): Promise<Store>;
  /**
   * A server whose next commit takes place and whose answer is then lost; after that it works as any other. The lost
   * call rejects.
   */
  openLosingAnswer(): Promise<Store>;
  /** Lets the database's clock go on by at least this much. A simulated one may jump. */
  pass(durationMs: number): Promise<void>;
}
