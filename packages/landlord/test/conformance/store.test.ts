/** The store, on a real PostgreSQL. */
import { conformanceCases, storeBehaviours } from "../../src/plugin/testing.ts";
import { postgresStore } from "./harnesses/postgres-store.ts";
import { simulatedStore } from "./harnesses/simulated-store.ts";
import { conformanceTests } from "./kit.ts";

conformanceTests("store", conformanceCases(storeBehaviours, postgresStore));
conformanceTests("store", conformanceCases(storeBehaviours, simulatedStore));
