/** Every command of the command line, against one `landlord dev` that runs for all of them. */
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createCli, leavesOf, type Cli, type Run } from "./support/cli.ts";
import { startDev, until, type Dev } from "./support/dev.ts";

let folder: string;
let dev: Dev;
let cli: Cli;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "landlord-acceptance-"));
  chmodSync(folder, 0o711);
  dev = await startDev(join(folder, "data"), {
    cwd: folder,
    env: {
      LANDLORD_COMPUTE__PROCESS: "{}",
      LANDLORD_COMPUTE__MOCK: "{}",
      LANDLORD_COMPUTE__DEFAULT_PROVIDER: "process",
    },
  });
  cli = createCli(folder, { LANDLORD_API_URL: dev.url });
}, 180_000);
afterAll(async () => {
  await dev.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** What a command printed; fails when it failed. */
async function ok(run: Promise<Run>): Promise<string> {
  const { status: code, stdout, stderr } = await run;
  expect([code, stderr.includes("error:") ? stderr : ""]).toEqual([0, ""]);
  return stdout;
}

function write(name: string, text: string): string {
  writeFileSync(join(folder, name), text);
  return name;
}

const mock = (name: string, text = "one", fleet = "f1"): string =>
  JSON.stringify({
    name,
    compute_provider: "mock",
    compute_config: { note: text },
    labels: { fleet },
  });

function status(run: Run): number | null {
  return run.status;
}

test("apply, plan and diff: what files say is shown, asked for, made so, and pruned", async () => {
  mkdirSync(join(folder, "fleet/more"), { recursive: true });
  write("fleet/a.yaml", `${mock("one")}\n---\n${mock("two")}\n`);
  write("fleet/more/b.json", mock("three"));
  write(
    "fleet/kind.yml",
    "kind: Tenant\nmetadata: {name: four, labels: {fleet: f1}}\nspec: {compute_provider: mock, compute_config: {}}\n",
  );
  const before = await cli.run("diff", "-f", "fleet", "-R");
  expect(before.status).toBe(1);
  expect(before.stdout).toMatch(/^--- \/dev\/null\n\+\+\+ one\tgeneration 1\n/);
  expect(before.stdout.match(/^\+\+\+ /gm)).toHaveLength(4);

  const asked = await cli.run("apply", "-f", "fleet");
  expect([asked.status, asked.stderr]).toEqual([2, expect.stringContaining("Pass --yes") as string]);
  expect(await ok(cli.run("apply", "-f", "fleet", "--dry-run"))).toContain(
    "3 to create, 0 to change, 0 unchanged\n",
  );
  expect(await ok(cli.run("ls", "-o", "name"))).toBe("");
  const applied = await cli.run("apply", "-f", "fleet", "-R", "--yes", "--wait");
  expect(applied.status).toBe(0);
  expect(applied.stderr).toContain("one created\n");
  expect(applied.stderr).toContain("three ready\n");
  expect((await ok(cli.run("list", "-l", "fleet=f1", "-o", "name"))).split("\n").sort().join(" ")).toBe(
    " four one three two",
  );
  expect(await cli.run("diff", "-f", "fleet", "-R")).toMatchObject({ status: 0, stdout: "" });
  expect(await ok(cli.run("apply", "-f", "fleet"))).toBe("0 to create, 0 to change, 3 unchanged\n");

  write("fleet/a.yaml", mock("one", "changed"));
  expect(await ok(cli.run("plan", "-f", "fleet"))).toMatch(
    /~ one: change, generation 2, .*\n +\/compute_config\/note +"one" → "changed"/,
  );
  const pruned = ["-f", "fleet", "-R", "--prune", "--selector", "fleet=f1"];
  expect(await ok(cli.run("apply", ...pruned, "--dry-run"))).toMatch(
    /- two: delete[^]*0 to create, 1 to change, 1 to delete, 2 unchanged\n$/,
  );
  expect(await cli.run("apply", ...pruned)).toMatchObject({ status: 2 });
  const json = await ok(cli.run("apply", ...pruned, "--yes", "--wait", "-o", "json"));
  expect(JSON.parse(json)).toEqual({
    results: expect.arrayContaining([
      { name: "one", outcome: "changed", generation: 2 },
      { name: "two", outcome: "deleting", generation: 2 },
      { name: "three", outcome: "unchanged", generation: 1 },
    ]) as unknown,
  });
  expect(status(await cli.run("get", "two"))).toBe(3);
  expect(await ok(cli.pipe(mock("five"), "apply", "-f", "-", "--yes", "--no-plan", "--wait"))).toContain(
    "+ five: create, not planned",
  );

  write("bad.yaml", `${mock("ok")}\n---\nname: Bad\n---\nname: ok\ncompute_config: {}\nlabel: {}\n`);
  const bad = await cli.run("apply", "-f", "bad.yaml", "--yes");
  expect(bad.status).toBe(2);
  expect(bad.stderr).toContain('bad.yaml, document 2: name "Bad" must be');
  expect(bad.stderr).toContain("bad.yaml, document 3: label is unknown; did you mean labels?");
  write("refused.yaml", `${mock("ok")}\n---\nname: not-ok\ncompute_provider: process\ncompute_config: {}\n`);
  const refused = await cli.run("apply", "-f", "refused.yaml", "--yes");
  expect([refused.status, refused.stderr]).toEqual([
    2,
    expect.stringContaining("/compute_config/command") as string,
  ]);
  const [unmade, undiffed, unread] = await Promise.all([
    cli.run("get", "ok"),
    cli.run("diff", "-f", "refused.yaml"),
    cli.run("diff", "-f", "none.yaml"),
  ]);
  expect([unmade.status, undiffed.status, unread.status]).toEqual([3, 2, 2]);
});

test("get and list in every format, and as things change", async () => {
  expect(await ok(cli.run("get", "one", "four"))).toMatch(/^NAME .*\none +ready[^]*\nfour +ready/);
  expect(await ok(cli.run("get", "one"))).toMatch(/^Name: +one\n/);
  expect(await ok(cli.run("get", "one", "-o", "jsonpath={.status} {.labels.fleet}"))).toBe("ready f1\n");
  expect(await ok(cli.run("list", "-o", "wide", "--prefix", "fo"))).toMatch(/^ID +NAME[^]* four .* fleet=f1/);
  const page = JSON.parse(await ok(cli.run("list", "--all", "--status", "ready", "-o", "json"))) as object;
  expect(page).toMatchObject({ total: 4, next_page_token: null });
  const live = cli.start("list", "-w", "-l", "fleet=f1");
  await live.sees(/three +ready/);
  await ok(cli.run("set", "three", "--config", "{note: two}", "--wait"));
  await live.sees(/three {2}updating → ready {2}generation 2/);
  await live.kill();
});

test("a tenant's life: create, set, rollback, pause, resume, retry, archive, restore, delete", async () => {
  const config = JSON.stringify({ command: ["sleep", "600"] });
  await ok(cli.run("create", "acme", "--config", config, "--label", "plan=pro", "--wait"));
  expect(await ok(cli.run("plan", "acme", "--set", "env.A=x"))).toContain("compute: replace, with downtime");
  expect(await ok(cli.run("set", "acme", "--config", '{"env": {"A": "x"}}', "--patch", "--wait"))).toContain(
    "2/2",
  );
  const [generations, history, operations] = await Promise.all([
    ok(cli.run("generations", "acme")),
    ok(cli.run("history", "acme", "-o", "json")),
    ok(cli.run("operations", "acme", "--events")),
  ]);
  expect(generations).toMatch(/\n2 .*"env":\{"A":"x"\}[^]*\n1 /);
  expect((JSON.parse(history) as { to_status: string }[])[0]?.to_status).toBe("ready");
  expect(operations).toMatch(/update +2 +succeeded[^]* succeeded {2}/);
  expect(await ok(cli.run("rollback", "acme", "--to-generation", "1", "--wait"))).toContain("3/3");
  expect(await ok(cli.run("get", "acme", "-o", "jsonpath={.compute_config.env}"))).toBe("\n");

  expect(await ok(cli.run("pause", "acme"))).toMatch(/acme +ready/);
  expect(await ok(cli.run("get", "acme", "-o", "jsonpath={.paused}"))).toBe("true\n");
  await ok(cli.run("resume", "acme", "one"));
  expect(await ok(cli.run("explain", "acme"))).toContain("  ready: ");
  await ok(cli.run("retry", "acme", "--wait"));
  await ok(cli.run("archive", "acme", "--wait"));
  await ok(cli.run("restore", "acme", "--wait"));
  expect(status(await cli.run("archive", "--selector", "plan=pro"))).toBe(2);
  expect(await ok(cli.run("archive", "--selector", "plan=pro", "--yes", "--wait"))).toMatch(/acme +archived/);
  await ok(cli.run("restore", "--selector", "plan=pro", "--yes"));
  await ok(cli.run("wait", "acme", "--for=ready", "--timeout", "1m"));
  expect(status(await cli.run("wait", "acme", "--for=archived", "--timeout", "100ms"))).toBe(6);
  const forced = await cli.run("delete", "five", "--force");
  expect([forced.status, forced.stderr]).toEqual([2, expect.stringContaining("What may be left") as string]);
  expect(await ok(cli.run("delete", "five", "--force", "--yes"))).toMatch(/^five deleted\n/);
  expect(await ok(cli.run("delete", "acme", "--wait"))).toBe("acme deleted\n");
});

test("watch tells what happens, and what happened", async () => {
  const live = cli.start("watch", "-l", "fleet=w", "-o", "json");
  const past = cli.start("watch", "acme", "--after", "oldest");
  await past.sees(/acme {2}deleting → removed/);
  await past.kill();
  // A watch says nothing when it opens: write until it tells.
  let count = 0;
  await until("the watch tells of a new tenant", 30_000, async () => {
    if (live.output().includes("requested")) return true;
    count += 1;
    await ok(cli.pipe(mock(`watched-${count}`, "one", "w"), "apply", "-f", "-", "--yes", "--no-plan"));
    return false;
  });
  await live.sees(/"tenant_name":"watched-\d+".*"to_status":"ready"/);
  await live.kill();
  await ok(cli.run("delete", "--selector", "fleet=w", "--yes", "--wait"));
});

test("logs -f prints each line once", async () => {
  const script = "let i = 0; setInterval(() => console.log('line', ++i), 100)";
  const config = JSON.stringify({ command: [process.execPath, "-e", script] });
  await ok(cli.run("create", "chatty", "--config", config, "--wait"));
  await until("there is output", 20_000, async () =>
    (await ok(cli.run("logs", "chatty"))).includes("line 3"),
  );
  expect(Buffer.byteLength(await ok(cli.run("logs", "chatty", "--tail", "20")))).toBeLessThanOrEqual(20);
  const live = cli.start("logs", "chatty", "-f", "--tail", "100000");
  await live.sees(/line 40\n/);
  await live.kill();
  const numbers = [...live.output().matchAll(/^line (\d+)$/gm)].map(([, number]) => Number(number));
  expect(numbers).toEqual(Array.from({ length: numbers.length }, (_, index) => index + 1));
  await ok(cli.run("delete", "chatty", "--wait"));
});

test("import: nothing of a bad file, and a run that was killed is taken up again", async () => {
  const rows = 60;
  const names = Array.from({ length: rows }, (_, index) => `import-${index + 1}`);
  const template = write(
    "template.yaml",
    'name: ${name}\ncompute_provider: mock\ncompute_config: {note: "${note}"}\nlabels: {batch: "7"}\n',
  );
  write("bad.csv", "name,note\r\nimport-1,x\r\nImport-2,x\r\nimport-1,x\r\nimport-4\r\n");
  const bad = await cli.run("import", "bad.csv", "--template", template, "--yes");
  expect(bad.status).toBe(2);
  for (const line of ["bad.csv:3", "bad.csv:4", "bad.csv:5"]) expect(bad.stderr).toContain(line);
  expect(await ok(cli.run("list", "-l", "batch=7", "-o", "name"))).toBe("");

  const csv = write(
    "tenants.csv",
    `name,note\n${names.map((name) => `${name},"a ""note"", of ${name}"`).join("\n")}\n`,
  );
  const report = join(folder, "report.ndjson");
  const lines = () =>
    existsSync(report)
      ? readFileSync(report, "utf8")
          .split("\n")
          .filter((line) => line.includes("applied")).length
      : 0;
  const words = [csv, "--template", template, "--report", report, "--yes"];
  const first = cli.start("import", ...words, "--concurrency", "1");
  await until("some rows are in", 60_000, () => lines() >= 2);
  await first.kill();
  const done = lines();
  expect(done).toBeLessThan(rows);
  // As a crash in the middle of a line leaves it.
  writeFileSync(report, '{"row":59,"name":"import-', { flag: "a" });
  const second = await cli.run("import", ...words, "--wait");
  expect(second.stderr).toContain(
    `${rows} rows are valid, ${done} went well before; ${rows - done} to apply`,
  );
  expect(second.status).toBe(0);
  const tenants = await ok(
    cli.run("list", "--all", "-l", "batch=7", "-o", "jsonpath={.tenants[*].generation}"),
  );
  expect(tenants.trim().split(" ")).toEqual(names.map(() => "1"));
  expect(await ok(cli.run("get", "import-9", "-o", "jsonpath={.compute_config.note}"))).toBe(
    'a "note", of import-9\n',
  );
  const third = await ok(cli.run("import", ...words));
  expect(third).toContain(`0 applied, 0 failed, ${rows} skipped`);
  await ok(cli.run("delete", "-l", "batch=7", "--yes"));
});

test("contexts: login, whoami, logout, and which of them counts", async () => {
  const bare = createCli(folder, {});
  expect(await ok(bare.run("login", dev.url, "--name", "here"))).toContain("Logged in at");
  expect(statSync(join(folder, "config/landlord/contexts.yaml")).mode & 0o777).toBe(0o600);
  expect(await ok(bare.run("whoami"))).toContain(`at ${dev.url}, context here`);
  expect(await ok(bare.pipe("a-key\n", "login", dev.url, "--name", "other", "--token-stdin"))).toContain(
    "other",
  );
  expect(await ok(bare.run("context list"))).toMatch(/here .* none\n\* +other .* kept\n/);
  await ok(bare.run("context use", "here"));
  expect(await ok(bare.run("context show", "-o", "jsonpath={.context}"))).toBe("here\n");
  const [away, other] = await Promise.all([
    bare.run("list", "--server", "http://127.0.0.1:9"),
    bare.run("list", "--context", "other"),
  ]);
  expect([away.status, other.status]).toEqual([5, 0]);
  await ok(bare.run("logout", "--context", "other"));
  expect(await ok(bare.run("context list", "-o", "jsonpath={[1].has_token}"))).toBe("false\n");
  await ok(bare.run("context delete", "other"));
  const [gone, refused] = await Promise.all([
    bare.run("list", "--context", "other"),
    bare.run("login", "http://127.0.0.1:9"),
  ]);
  expect([gone.status, refused.status]).toEqual([2, 5]);
  for (const command of bare.called) called.add(command);
});

const called = new Set<string>();

test("keys and the audit log", async () => {
  const secret = await ok(
    cli.run(
      "token create",
      "ci",
      "--role",
      "operator",
      "--scope",
      "team=a",
      "--expires",
      "90d",
      "-o",
      "jsonpath={.secret}",
    ),
  );
  expect(secret).toMatch(/^ll_\S+\n$/);
  const rotated = await ok(cli.run("token rotate", "ci", "--grace", "1h", "-o", "jsonpath={.secret}"));
  expect(rotated).not.toBe(secret);
  expect(await ok(cli.run("token list"))).toMatch(/ci +operator +team=a/);
  await ok(cli.run("token revoke", "ci"));
  expect(await ok(cli.run("token list", "-o", "name"))).not.toContain("ci");
  await until("the audit log has it", 10_000, async () =>
    (await ok(cli.run("audit", "--since", "1h", "--action", "revokeToken", "-o", "ndjson"))).includes(
      "revokeToken",
    ),
  );
});

test("status, workers, compute, sweep, config and completion", async () => {
  const [fleet, workers, compute, sweep, config] = await Promise.all([
    ok(cli.run("status")),
    ok(cli.run("workers")),
    ok(cli.run("compute", "--provider", "process")),
    ok(cli.run("sweep")),
    ok(cli.run("config print", "-o", "json")),
  ]);
  expect(fleet).toMatch(/tenants?, 0 paused[^]*restate \(default\) +reachable[^]* live /);
  expect(workers).toMatch(/ live +restate +process,/);
  expect(compute).toContain("command");
  expect(sweep).toContain("resources of this instance");
  expect((JSON.parse(config) as { http: { port: number } }).http.port).toBe(8081);
  const bash = write("completion.bash", await ok(cli.run("completion bash")));
  const complete = (...words: readonly string[]): string[] =>
    execFileSync(
      "bash",
      [
        "-c",
        `source ${bash}; COMP_WORDS=(landlord "$@"); COMP_CWORD=$#; _landlord; printf '%s\\n' "\${COMPREPLY[@]}"`,
        "-",
        ...words,
      ],
      { cwd: folder, encoding: "utf8" },
    )
      .trim()
      .split("\n");
  execFileSync("bash", ["-n", join(folder, bash)]);
  expect(complete("ex")).toEqual(["explain"]);
  expect(complete("--server", "list", "token", "cr")).toEqual(["create"]);
  expect(complete("wait", "acme", "--for", "")).toEqual(["ready", "archived", "deleted"]);
  expect(complete("rollback", "--to-")).toEqual(["--to-generation"]);
  expect(complete("apply", "-f", "completion")).toEqual(["completion.bash"]);
  expect(await ok(cli.run("completion zsh"))).toMatch(/^#compdef landlord\n[^]*token create/);
});

function databaseOf(password?: string): string {
  const place = join(folder, "data/postgres");
  const [, port = ""] = /PostgreSQL +127\.0\.0\.1:(\d+)/.exec(dev.output()) ?? [];
  const right = readFileSync(join(place, "password"), "utf8").trim();
  return `postgres://postgres:${password ?? right}@127.0.0.1:${port}/landlord`;
}

test("doctor finds nothing, and exactly what is wrong", async () => {
  const port = new URL(dev.url).port;
  const problems = async (...words: readonly string[]): Promise<readonly string[]> => {
    const place = words.some((word) => word.startsWith("http.port")) ? [] : ["--port", port];
    const run = await cli.run("doctor", ...place, "-o", "json", ...words);
    const { findings } = JSON.parse(run.stdout) as {
      findings: { check: string; status: string; mend?: string }[];
    };
    const found = findings.filter((finding) => finding.status === "problem");
    expect(run.status).toBe(found.length === 0 ? 0 : 1);
    for (const finding of found) expect(finding.mend).toMatch(/\w/);
    return found.map(({ check }) => check);
  };
  expect(await ok(cli.run("doctor", "--port", port, "--set", `database.url=${databaseOf()}`))).toMatch(
    /database +ok[^]*worker +ok[^]*All is well\.\n$/,
  );
  write("file", "");
  const stranger = createServer((_, response) => void response.end("hello"));
  await new Promise<void>((resolve) => stranger.listen(0, "127.0.0.1", resolve));
  const taken = String((stranger.address() as AddressInfo).port);
  const [database, closed, engine, data, config, api, held] = await Promise.all([
    problems("--set", `database.url=${databaseOf("wrong")}`),
    problems("--set", "database.url=postgres://landlord@127.0.0.1:9/landlord"),
    problems("--set", "workflow.restate.admin_endpoint=http://127.0.0.1:9"),
    problems("--data-dir", "file/below"),
    problems("--set", "http.prt=1"),
    problems("--server", "http://127.0.0.1:9"),
    problems("--set", `http.port=${taken}`),
  ]);
  stranger.close();
  expect([database, closed, engine, data, config, api, held]).toEqual([
    ["database"],
    ["database"],
    ["engine's admin API"],
    ["data folder"],
    ["configuration"],
    ["API"],
    ["port"],
  ]);
});

test("migrate, serve and worker", async () => {
  const database = ["--set", `database.url=${databaseOf()}`];
  expect(await ok(cli.run("migrate", ...database))).toMatch(/^schema version \d+: nothing to do\n$/);
  const [, restate = ""] = /Restate +(http:\S+)/.exec(dev.output()) ?? [];
  const server = cli.start(
    "serve",
    ...database,
    "--set",
    "http.port=0",
    "--set",
    "controller.enabled=false",
    "--set",
    "compute.mock={}",
  );
  await server.sees("server is up");
  expect(await server.stop()).toBe(0);
  // One that serves nobody: names of its own, at an engine that this server does not use.
  const worker = cli.start(
    "worker",
    "--set",
    `workflow.restate.endpoint=${restate}`,
    "--set",
    "workflow.restate.worker_register_on_startup=false",
    "--set",
    "workflow.restate.worker_listen_port=0",
    "--set",
    "compute.mock={}",
  );
  await worker.sees(/listen/);
  expect(await worker.stop()).toBe(0);
});

test("every command was called", async () => {
  const leaves = leavesOf(await ok(cli.run("completion fish")));
  expect(leaves).toContain("token create");
  const missed = leaves.filter((leaf) => !cli.called.has(leaf) && !called.has(leaf));
  // It runs beneath all of this.
  expect(missed).toEqual(["dev"]);
});
