import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach } from "vitest";
import { z } from "zod";
import { runCli, type CliDeps, type RunOptions } from "../../src/cli/app.ts";
import { startStubServer, type StubServer } from "./stub-server.ts";

export interface Result {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

export type Given = Partial<CliDeps> & {
  readonly columns?: number;
  /** What a person types, line by line; with it there is a terminal to ask on. */
  readonly answers?: readonly string[];
  /** What standard input holds. */
  readonly piped?: string;
};

export interface CliHarness {
  readonly server: StubServer;
  readonly cwd: string;
  /** The processes that were started, with their options. */
  readonly runs: [string, RunOptions][];
  deps(written: { out: string; err: string }, given: Given): CliDeps;
  run(argv: readonly string[], given?: Given): Promise<Result>;
}

/** A stub server, a folder and a command line for each test of the file. */
export function cliHarness(): CliHarness {
  let server: StubServer;
  let cwd: string;
  let runs: [string, RunOptions][];
  beforeEach(async () => {
    server = await startStubServer();
    cwd = mkdtempSync(path.join(tmpdir(), "landlord-cli-"));
    runs = [];
  });
  afterEach(async () => {
    await server.close();
    rmSync(cwd, { recursive: true });
  });

  function deps(written: { out: string; err: string }, given: Given): CliDeps {
    const { columns, answers, piped, ...changes } = given;
    const record = (name: string) => async (options: RunOptions) => {
      runs.push([name, options]);
      return name === "worker" ? 9 : 0;
    };
    const left = [...(answers ?? [])];
    return {
      runServe: record("serve"),
      runWorker: record("worker"),
      runDev: record("dev"),
      runMigrate: record("migrate"),
      examine: () => Promise.resolve([]),
      configSchemas: () =>
        Promise.resolve({
          computeSchemas: { process: z.strictObject({ port_min: z.int().default(1).describe("Port.") }) },
          workflowSchemas: {},
        }),
      input: {
        isTerminal: answers !== undefined,
        readLine: () => Promise.resolve(left.shift() ?? ""),
        readAll: () => Promise.resolve(piped ?? ""),
      },
      stdout: { write: (text) => (written.out += text), columns },
      stderr: { write: (text) => (written.err += text), columns },
      env: { LANDLORD_API_URL: server.url, HOME: cwd },
      isTerminal: false,
      cwd,
      ...changes,
    };
  }

  return {
    get server() {
      return server;
    },
    get cwd() {
      return cwd;
    },
    get runs() {
      return runs;
    },
    deps,
    async run(argv, given = {}) {
      const written = { out: "", err: "" };
      const code = await runCli(argv, deps(written, given));
      return { code, ...written };
    },
  };
}
