import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { askDocker } from "../../support/engines/docker-daemon.ts";
import { eventually } from "../../support/eventually.ts";
import {
  applied,
  containersOf,
  converge,
  destroy,
  dockerHost,
  fetchText,
  newProvider,
  newSpec,
  next,
  observe,
  options,
  runningOf,
  sleeper,
  cleanUpAfterEach,
  web,
} from "./docker-kit.ts";

cleanUpAfterEach();

const PROBE_EVERY_MS = 50;
const deaf = { ...web, command: ["sleep", "1000"], stop_grace_seconds: 0 };

/** A client that asks the endpoint that the API names at that moment, every 50 ms. */
function startProber(url: () => string | undefined) {
  const failures: string[] = [];
  const asked: Promise<void>[] = [];
  const timer = setInterval(() => {
    asked.push(
      fetchText(url()).then(
        () => undefined,
        (error: unknown) => void failures.push(String((error as Error).cause ?? error)),
      ),
    );
  }, PROBE_EVERY_MS);
  return {
    async stop() {
      clearInterval(timer);
      await Promise.all(asked);
      return { probes: asked.length, failures };
    },
  };
}

const port = (hostPort: number) => ({
  ...web,
  ports: [{ container_port: 8080, host_port: hostPort }],
});
const somePort = () => 20_000 + Math.floor(Math.random() * 9_000);

describe("an update", () => {
  it("shows no failure to a client that follows the endpoint", async () => {
    const provider = await newProvider({ drain_seconds: 2 });
    let spec = newSpec();
    let url = (await converge(provider, spec)).endpoints[0]?.url;
    const prober = startProber(() => url);
    for (const tag of ["2", "1", "2"]) {
      spec = next(spec, { ...web, image: `landlord-test:${tag}` });
      const updated = await converge(provider, spec);
      // The result travels to the database, and from there to clients, while the old container serves on.
      await delay(500);
      url = updated.endpoints[0]?.url;
    }
    await eventually(async () => (await containersOf(spec)).length === 1, {
      what: "old generations are gone",
    });
    const { probes, failures } = await prober.stop();
    expect(failures).toEqual([]);
    expect(probes).toBeGreaterThan(40);
    expect(await fetchText(url)).toBe("landlord-test:2");
  });

  it("leaves the old generation alone until the new one is healthy, and keeps no failed attempts", async () => {
    const provider = await newProvider();
    const first = newSpec();
    const { endpoints } = await converge(provider, first);
    let spec = first;
    for (let attempt = 0; attempt < 3; attempt += 1) {
      spec = next(spec, { ...deaf, env: { ATTEMPT: String(attempt) } });
      const observation = await applied(provider, spec);
      expect(observation).toMatchObject({ generation: spec.generation, health: "starting" });
      expect(observation.message).toContain("Generation 1 goes on running");
    }
    await applied(provider, spec);
    expect(await runningOf(spec)).toEqual([1, 4]);
    expect(await fetchText(endpoints[0]?.url)).toBe("landlord-test:1");
    await converge(provider, next(spec, web));
    expect(await destroy(provider, next(spec))).toMatchObject({ presence: "absent" });
  });

  it("leaves what serves alone when the new one is rejected", async () => {
    const provider = await newProvider();
    const spec = newSpec();
    const { endpoints } = await converge(provider, spec);
    const broken = next(spec, { ...web, command: ["no-such-program"] });
    await expect(provider.apply(broken, options)).rejects.toMatchObject({ code: "command_invalid" });
    await expect(provider.apply(broken, options)).rejects.toMatchObject({ code: "command_invalid" });
    expect(await containersOf(spec)).toHaveLength(2);
    expect(await fetchText(endpoints[0]?.url)).toBe("landlord-test:1");
    await converge(provider, next(broken, web));
    expect((await runningOf(spec)).at(-1)).toBe(3);
  });
});

describe("an update with a fixed host port", () => {
  it("stops first, as its plan says, and keeps the port", async () => {
    const provider = await newProvider();
    const spec = newSpec(port(somePort()));
    const first = await converge(provider, spec);
    const second = next(spec, { ...spec.config, image: "landlord-test:2" });
    expect(await provider.plan(second, first)).toMatchObject([{ action: "replace", downtime: true }]);
    const updated = await converge(provider, second);
    expect(updated.endpoints).toEqual(first.endpoints);
    expect(await fetchText(updated.endpoints[0]?.url)).toBe("landlord-test:2");
    expect(await containersOf(spec)).toHaveLength(1);
  });

  it("starts the old one again when the new one cannot start", async () => {
    const provider = await newProvider();
    const spec = newSpec(port(somePort()));
    const first = await converge(provider, spec);
    const broken = next(spec, { ...spec.config, command: ["no-such-program"] });
    await expect(provider.apply(broken, options)).rejects.toMatchObject({
      code: "command_invalid",
      retryable: false,
    });
    expect(await runningOf(spec)).toEqual([1]);
    await eventually(async () => (await fetchText(first.endpoints[0]?.url)) === "landlord-test:1", {
      what: "generation 1 serves again",
    });
  });

  it("says which port is taken, tries again, and leaves nothing more behind", async () => {
    const provider = await newProvider();
    const spec = newSpec(port(somePort()));
    await converge(provider, spec);
    const other = newSpec(spec.config);
    for (let attempt = 0; attempt < 2; attempt += 1) {
      await expect(provider.apply(other, options)).rejects.toMatchObject({
        code: "port_in_use",
        retryable: true,
      });
    }
    expect(await containersOf(other)).toHaveLength(1);
    await destroy(provider, spec);
    await converge(provider, other);
  });

  it("takes a port over from a replaced container that is still draining", async () => {
    const provider = await newProvider({ drain_seconds: 600 });
    const number = somePort();
    const spec = newSpec(port(number));
    await converge(provider, spec);
    const second = next(spec, web);
    await converge(provider, second);
    expect(await runningOf(spec)).toEqual([1, 2]);
    const third = next(second, port(number));
    expect((await converge(provider, third)).endpoints[0]?.port).toBe(number);
    expect(await runningOf(spec)).toEqual([2, 3]);
    expect(await destroy(provider, third)).toMatchObject({ presence: "absent" });
  });
});

describe("a volume", () => {
  it("is never written to by two generations, unless it is shared", async () => {
    const provider = await newProvider({ drain_seconds: 600 });
    const withVolume = (shared: boolean) => ({
      ...web,
      volumes: [{ source: "data", target: "/data", shared }],
    });
    const spec = newSpec(withVolume(false));
    const first = await converge(provider, spec);
    const second = next(spec, { ...withVolume(false), image: "landlord-test:2" });
    expect(await provider.plan(second, first)).toMatchObject([{ action: "replace", downtime: true }]);
    await converge(provider, second);
    expect(await runningOf(spec)).toEqual([2]);
    const shared = newSpec(withVolume(true));
    const before = await converge(provider, shared);
    const after = next(shared, { ...withVolume(true), image: "landlord-test:2" });
    expect(await provider.plan(after, before)).toMatchObject([{ action: "replace", downtime: false }]);
    await converge(provider, after);
    expect(await runningOf(shared)).toEqual([1, 2]);
  });
});

describe("a replaced container", () => {
  const rename = async (id: string | undefined, name: string) =>
    askDocker(dockerHost(), "POST", `/containers/${id}/rename?name=${name}`);

  async function expired(): Promise<ReturnType<typeof newSpec>> {
    const provider = await newProvider({ drain_seconds: 3600 });
    const spec = newSpec(sleeper);
    await converge(provider, spec);
    await converge(provider, next(spec));
    const old = (await containersOf(spec)).find(({ Names }) => Names[0]?.includes("-until-"));
    const [name = ""] = old?.Names ?? [];
    const renamed = await rename(old?.Id, `${name.slice(1, name.indexOf("-until-"))}-until-1000`);
    expect(renamed.status).toBe(204);
    return spec;
  }
  const gone = (spec: ReturnType<typeof newSpec>) =>
    eventually(async () => (await containersOf(spec)).length === 1, {
      what: "the replaced container is gone",
    });

  it("is removed by a worker that starts later, without being asked", async () => {
    const spec = await expired();
    await newProvider();
    await gone(spec);
  });

  it.each(["observe", "apply", "list"] as const)(
    "is removed after its time when a worker comes to %s",
    async (call) => {
      const bystander = await newProvider();
      const spec = await expired();
      if (call === "observe") expect(await observe(bystander, spec)).toMatchObject({ generation: 2 });
      if (call === "apply") await applied(bystander, next(spec));
      if (call === "list") await bystander.list(spec.instanceId, options.signal);
      await gone(spec);
      expect(await runningOf(spec)).toEqual([2]);
    },
  );

  it("is removed at once by a destroy", async () => {
    const provider = await newProvider({ drain_seconds: 3600 });
    const spec = newSpec(sleeper);
    await converge(provider, spec);
    await converge(provider, next(spec));
    expect(await containersOf(spec)).toHaveLength(2);
    expect(await destroy(provider, next(spec))).toMatchObject({ presence: "absent" });
    expect(await containersOf(spec)).toEqual([]);
  });
});
