import { existsSync, readFileSync, statSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import {
  applied,
  cleanUpAfterEach,
  httpServer,
  instanceId,
  newDataDir,
  newProvider,
  newSpec,
  next,
  observe,
  options,
  pidOf,
  processesOf,
  refOf,
  sleeper,
  until,
  untilHealthy,
} from "./process-kit.ts";

cleanUpAfterEach();

const fetchText = async (url: string) => (await fetch(url)).text();

describe("process provider", () => {
  it("creates, updates and destroys", async () => {
    const provider = await newProvider();
    const spec = newSpec({
      command: httpServer("one "),
      ports: [{ name: "web-ui" }],
      health_check: { type: "http", path: "/" },
    });
    expect(await observe(provider, spec)).toMatchObject({
      presence: "absent",
      health: "absent",
      generation: null,
    });
    expect(await applied(provider, spec)).toMatchObject({
      presence: "present",
      health: "starting",
      generation: 1,
    });
    const first = await untilHealthy(provider, spec);
    const [endpoint] = first.endpoints;
    expect(endpoint).toMatchObject({
      name: "web-ui",
      address: "127.0.0.1",
      url: `http://127.0.0.1:${endpoint?.port}`,
    });
    expect(await fetchText(endpoint?.url ?? "")).toBe(`one ${pidOf(first)}`);
    expect(await applied(provider, spec)).toMatchObject({
      resourceIds: first.resourceIds,
      health: "healthy",
    });
    expect(await provider.list(instanceId, options.signal)).toMatchObject([
      { tenantId: spec.tenantId, generation: 1 },
    ]);

    const second = next(spec, { ...spec.config, command: httpServer("two ") });
    expect(await provider.plan(second, first)).toMatchObject([
      { action: "replace", fields: ["/command"], downtime: true },
    ]);
    await applied(provider, second);
    const updated = await untilHealthy(provider, second);
    expect(updated).toMatchObject({ generation: 2, configHash: second.configHash, config: second.config });
    expect(await provider.plan(second, updated)).toMatchObject([{ action: "none" }]);
    expect(updated.endpoints[0]?.port).toBe(endpoint?.port);
    expect(await fetchText(endpoint?.url ?? "")).toBe(`two ${pidOf(updated)}`);
    expect(processesOf(spec.tenantId)).toEqual([pidOf(updated)]);
    expect(await provider.apply(spec, options)).toEqual({ kind: "stale", generation: 2 });

    const gone = await provider.destroy({ ...refOf(spec), generation: 2 }, options);
    expect(gone).toMatchObject({ presence: "absent", health: "absent", endpoints: [] });
    expect(processesOf(spec.tenantId)).toEqual([]);
    await expect(fetch(endpoint?.url ?? "")).rejects.toThrow();
    expect(await provider.list(instanceId, options.signal)).toEqual([]);
  });

  it("never starts what was destroyed, also not a higher generation that a lower destroy meets", async () => {
    const provider = await newProvider();
    const spec = newSpec({ command: sleeper });
    await applied(provider, spec);
    await provider.destroy({ ...refOf(spec), generation: 1 }, options);
    expect(await provider.apply(spec, options)).toEqual({ kind: "stale", generation: 1 });
    expect(processesOf(spec.tenantId)).toEqual([]);
    const second = next(spec);
    const started = await applied(provider, second);
    const seen = await provider.destroy({ ...refOf(spec), generation: 1 }, options);
    expect(seen).toMatchObject({ presence: "present", generation: 2 });
    expect(processesOf(spec.tenantId)).toEqual([pidOf(started)]);
  });

  it("destroys what was never there, and then refuses to start it", async () => {
    const provider = await newProvider();
    const spec = newSpec({ command: sleeper });
    expect(await provider.destroy({ ...refOf(spec), generation: 3 }, options)).toMatchObject({
      presence: "absent",
    });
    expect(await provider.apply({ ...spec, generation: 3 }, options)).toEqual({
      kind: "stale",
      generation: 3,
    });
  });

  it("answers stale for the same generation with another config", async () => {
    const provider = await newProvider();
    const spec = newSpec({ command: sleeper });
    const started = await applied(provider, spec);
    const other = { ...next(spec, { command: ["sleep", "999"] }), generation: 1 };
    expect(await provider.apply(other, options)).toEqual({ kind: "stale", generation: 1 });
    expect(processesOf(spec.tenantId)).toEqual([pidOf(started)]);
  });

  it("gives the workload its own environment only", async () => {
    process.env["LANDLORD_TEST_SECRET"] = "leak";
    const provider = await newProvider();
    const spec = newSpec({
      command: ["sh", "-c", "exec sleep 1000"],
      env: { QUOTED: `it's "$HOME" \n\\ \`x\``, text: "own" },
      ports: [{ name: "a" }, { name: "b-c" }],
      health_check: { type: "none" },
    });
    const observation = await applied(provider, spec);
    delete process.env["LANDLORD_TEST_SECRET"];
    const environ = await until("the workload", () => {
      const raw = readFileSync(`/proc/${pidOf(observation)}/environ`, "utf8");
      return raw.includes("LANDLORD_TENANT_ID") ? raw : null;
    });
    const env = Object.fromEntries(
      environ
        .split("\0")
        .filter(Boolean)
        .map((entry) => entry.split(/=(.*)/s).slice(0, 2)),
    );
    const ports = Object.fromEntries(observation.endpoints.map(({ name, port }) => [name, String(port)]));
    // What shells export by themselves.
    delete env["PWD"];
    delete env["SHLVL"];
    expect(env).toEqual({
      PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
      HOME: expect.stringMatching(/\/run\/work$/),
      LANDLORD_TENANT_ID: spec.tenantId,
      LANDLORD_TENANT_NAME: "acme",
      LANDLORD_GENERATION: "1",
      QUOTED: `it's "$HOME" \n\\ \`x\``,
      text: "own",
      PORT: ports["a"],
      PORT_A: ports["a"],
      PORT_B_C: ports["b-c"],
    });
  });

  it("hands no lock and no pipe to the workload", async () => {
    const provider = await newProvider();
    const spec = newSpec({
      command: ["sh", "-c", "ls -l /proc/self/fd; exec sleep 1000"],
      health_check: { type: "none" },
    });
    await applied(provider, spec);
    const text = await until("output", async () => {
      const log = await provider.logs(refOf(spec), { tailBytes: 4096, signal: options.signal });
      return log.includes("2 ->") && log.endsWith("\n") ? log : null;
    });
    // 3 and 9 were the launcher's; `ls` itself reads its folder through the first free one.
    expect(text).toMatch(/ 3 -> \/proc\//);
    expect(text).not.toMatch(/ 9 -> |lock$/m);
  });

  it("reports an ended workload, starts it again, and recovers", async () => {
    const dir = newDataDir();
    const provider = await newProvider({}, dir);
    const flag = join(dir, "fixed");
    const spec = newSpec({
      command: ["sh", "-c", `echo out of luck; [ -e ${flag} ] || exit 3; exec sleep 1000`],
    });
    await applied(provider, spec);
    const ended = () =>
      until("its end", async () => {
        const observation = await observe(provider, spec);
        return observation.health === "exited" ? observation : null;
      });
    expect(await ended()).toMatchObject({
      presence: "absent",
      generation: null,
      message: expect.stringContaining("out of luck"),
    });
    const report = {
      code: "workload_exited",
      retryable: true,
      message: expect.stringContaining("out of luck"),
    };
    await expect(provider.apply(spec, options)).rejects.toMatchObject(report);
    await ended();
    await writeFile(flag, "");
    await expect(provider.apply(spec, options)).rejects.toMatchObject(report);
    expect(await untilHealthy(provider, spec)).toMatchObject({ generation: 1 });
    expect((await provider.apply(spec, options)).kind).toBe("applied");
  });

  it("leaves what serves alone when the new command does not exist, and is repaired by the next", async () => {
    const provider = await newProvider();
    const spec = newSpec({ command: sleeper });
    const started = await applied(provider, spec);
    const broken = next(spec, { command: ["no-such-program"] });
    await expect(provider.apply(broken, options)).rejects.toMatchObject({
      code: "command_not_found",
      retryable: true,
    });
    expect(processesOf(spec.tenantId)).toEqual([pidOf(started)]);
    const lost = next(spec, { command: sleeper, cwd: "/no/such/folder" });
    await expect(provider.apply(lost, options)).rejects.toMatchObject({
      code: "cwd_missing",
      retryable: true,
    });
    expect(await applied(provider, { ...next(next(spec)) })).toMatchObject({ generation: 3 });
    const invalid = newSpec({ command: [] });
    await expect(provider.apply(invalid, options)).rejects.toMatchObject({
      code: "invalid_config",
      retryable: false,
    });
  });

  it("answers unknown for a scope that is not its own, and keeps its scope", async () => {
    const dir = newDataDir();
    const provider = await newProvider({}, dir);
    const spec = newSpec({ command: sleeper });
    const { scope } = await applied(provider, spec);
    expect(scope).toMatch(/^process:.+:[0-9a-f-]{36}$/);
    const again = await newProvider({}, dir);
    expect(
      await again.observe(
        [refOf(spec, [scope]), refOf(spec, [scope, "process:elsewhere:1"])],
        options.signal,
      ),
    ).toMatchObject([
      { presence: "present", scope },
      { presence: "unknown", health: "unknown", generation: null },
    ]);
    const gone = await again.destroy({ ...refOf(spec, ["process:elsewhere:1"]), generation: 1 }, options);
    expect(gone.presence).toBe("unknown");
    expect(processesOf(spec.tenantId)).toEqual([]);
  });

  it("keeps the log within its bound and answers its tail", async () => {
    const dir = newDataDir();
    const provider = await newProvider({ log_limit_bytes: 4096 }, dir);
    const script =
      "i=0; while [ $i -lt 3000 ]; do echo line $i é; i=$((i+1)); done; while :; do echo line 2999 é; sleep 0.1; done";
    // A cut loses what is written while it happens, so the last line is said again and again.
    const spec = newSpec({ command: ["sh", "-c", script] });
    await applied(provider, spec);
    const logFile = join(dir, "instances", instanceId, spec.tenantId, "run", "output.log");
    await until("all output", async () => {
      await observe(provider, spec);
      const log = await provider.logs(refOf(spec), { tailBytes: 100, signal: options.signal });
      return log.endsWith("line 2999 é\n");
    });
    await observe(provider, spec);
    expect(statSync(logFile).size).toBeLessThanOrEqual(4096);
    expect(statSync(`${logFile}.1`).size).toBeLessThanOrEqual(4096);
    const tail = await provider.logs(refOf(spec), { tailBytes: 2, signal: options.signal });
    expect(Buffer.byteLength(tail)).toBeLessThanOrEqual(2);
    expect(tail).toBe("\n");
  });

  it("asks health over tcp, exec and http without following redirects", async () => {
    const provider = await newProvider();
    const redirecting = `require("http").createServer((q,s)=>{s.writeHead(q.url==="/ok"?204:302,{location:"/ok"});s.end()}).listen(process.env.PORT_B,"127.0.0.1")`;
    const base = { command: [process.execPath, "-e", redirecting], ports: [{ name: "a" }, { name: "b" }] };
    const spec = newSpec({ ...base, health_check: { type: "http", path: "/ok", port: "b" } });
    await applied(provider, spec);
    await untilHealthy(provider, spec);
    const variants = [
      {
        check: { type: "http", path: "/elsewhere", port: "b", deadline_seconds: 1 },
        health: "unhealthy",
        message: /answered 302/,
      },
      { check: { type: "tcp", port: "b" }, health: "healthy", message: null },
      {
        check: { type: "tcp", port: "a", deadline_seconds: 1 },
        health: "unhealthy",
        message: /does not accept/,
      },
      {
        check: { type: "exec", command: ["sh", "-c", `[ "$LANDLORD_TENANT_ID" = ${spec.tenantId} ]`] },
        health: "healthy",
        message: null,
      },
      {
        check: { type: "exec", command: ["sh", "-c", "exit 4"], deadline_seconds: 1 },
        health: "unhealthy",
        message: /ended with 4/,
      },
      {
        check: { type: "exec", command: sleeper, timeout_seconds: 0.2, deadline_seconds: 1 },
        health: "unhealthy",
        message: /timed out/,
      },
    ];
    let current = spec;
    for (const { check, health, message } of variants) {
      current = next(current, { ...base, health_check: check });
      await applied(provider, current);
      const seen = await until(`${health} of ${JSON.stringify(check)}`, async () => {
        const observation = await observe(provider, current);
        return observation.health === health && (message === null || message.test(observation.message ?? ""))
          ? observation
          : null;
      });
      expect(seen.generation).toBe(current.generation);
      expect(processesOf(spec.tenantId)).toEqual([pidOf(seen)]);
    }
  });

  it("takes another port when a stranger listens on the kept one, and keeps it otherwise", async () => {
    const provider = await newProvider();
    const spec = newSpec({ command: ["true"], ports: [{}] });
    const first = (await applied(provider, spec)).endpoints[0]?.port ?? 0;
    await until("its end", () => processesOf(spec.tenantId).length === 0);
    await expect(provider.apply(spec, options)).rejects.toMatchObject({ code: "workload_exited" });
    await until("its end", () => processesOf(spec.tenantId).length === 0);
    const stranger = createServer().listen({ host: "127.0.0.1", port: first });
    await until("the stranger", () => stranger.listening);
    const second = next(spec, { ...spec.config, command: sleeper });
    const moved = (await applied(provider, second)).endpoints[0]?.port;
    stranger.close();
    expect(moved).not.toBe(first);
    expect((await applied(provider, next(second))).endpoints[0]?.port).toBe(moved);
  });

  it("removes the work folder and the launch files with the tenant, and keeps the fence", async () => {
    const dir = newDataDir();
    const provider = await newProvider({}, dir);
    const spec = newSpec({
      command: ["sh", "-c", "touch kept; exec sleep 1000"],
      ports: [{}],
      health_check: { type: "none" },
    });
    const { endpoints } = await applied(provider, spec);
    const tenantDir = join(dir, "instances", instanceId, spec.tenantId);
    await until("the work", () => existsSync(join(tenantDir, "run", "work", "kept")));
    expect(statSync(dir).mode & 0o777).toBe(0o700);
    await provider.destroy({ ...refOf(spec), generation: 1 }, options);
    expect(existsSync(join(tenantDir, "run"))).toBe(false);
    expect(existsSync(join(dir, "ports", String(endpoints[0]?.port)))).toBe(false);
    expect(readFileSync(join(tenantDir, "fence"), "utf8")).toBe("v1 1 destroy -\n");
  });

  it("refuses ids that are not safe in a path", async () => {
    const provider = await newProvider();
    const spec = newSpec({ command: sleeper }, { tenantId: "../../../etc" });
    await expect(provider.apply(spec, options)).rejects.toMatchObject({
      code: "invalid_owner",
      retryable: false,
    });
    await expect(provider.list("../x", options.signal)).rejects.toMatchObject({ code: "invalid_owner" });
  });
});
