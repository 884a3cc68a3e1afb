/**
 * A static site for each tenant. Everything is in the names of entries of the tenant's folder, so that every worker sees
 * the same and nothing is kept in memory:
 *
 *   7.claim       who generation 7 is: the hash of its config. The first to write it wins.
 *   7.site/       its files, put there whole by one rename
 *   7.destroyed   generation 7 and all below were deleted, and must not come back
 *
 * The highest generation is what is there. Whoever writes looks again afterwards, and takes back what is below it.
 */
import { randomUUID } from "node:crypto";
import { link, mkdir, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { ComputeError } from "landlord/compute";

/** @import { ComputeProvider, ComputeRef, ComputeSpec, EffectOptions, Observation, OwnedResource, Owner } from "landlord/compute" */

const ENTRY = /^(\d{1,15})\.(claim|site|destroyed)$/;
const TENANT = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const LIST_LIMIT = 100_000;

/**
 * @typedef {object} Options
 * @property {string} root
 * @property {(config: unknown) => readonly { pointer: string, message: string }[]} validateConfig
 * @property {<T>(name: string, perform: () => Promise<T>) => Promise<T>} [effect] every change of the disk passes
 *   through this; the conformance kit lets the worker die there
 */

/** @implements {ComputeProvider} */
export class StaticProvider {
  name = "static";
  /** @type {Options} */
  #options;

  /** @param {Options} options */
  constructor(options) {
    this.#options = options;
  }

  scopeOf() {
    return this.#guarded(() => this.#scope());
  }

  /** @param {readonly ComputeRef[]} refs */
  observe(refs) {
    return this.#guarded(() => Promise.all(refs.map((ref) => this.#look(ref))));
  }

  /**
   * @param {ComputeSpec} spec
   * @param {Observation} observation
   * @returns {ReturnType<ComputeProvider["plan"]>}
   */
  plan(spec, { presence, configHash }) {
    const change = { resource: "site", fields: ["/files"], downtime: false };
    if (presence !== "present") return Promise.resolve([{ ...change, action: "create", fields: [] }]);
    const action = configHash === spec.configHash ? "none" : "replace";
    return Promise.resolve([{ ...change, action }]);
  }

  /**
   * @param {ComputeSpec} spec
   * @param {EffectOptions} options
   * @returns {ReturnType<ComputeProvider["apply"]>}
   */
  apply(spec, { signal }) {
    return this.#guarded(async () => {
      refuseInvalid(this.#options.validateConfig(spec.config));
      await this.#scope();
      const folder = this.#folderOf(spec);
      const before = await this.#entries(folder);
      if (isBeyond(before, spec)) return { kind: "stale", generation: before.highest };
      if (signal.aborted) throw aborted();
      await this.#effect("claim", () => this.#claim(folder, spec));
      const claimed = await this.#entries(folder);
      if (isBeyond(claimed, spec)) return this.#withdraw(folder, spec, claimed.highest);
      if (!claimed.sites.includes(spec.generation)) {
        await this.#effect("publish", () => this.#publish(folder, spec));
      }
      const after = await this.#entries(folder);
      if (isBeyond(after, spec)) return this.#withdraw(folder, spec, after.highest);
      await this.#effect("tidy", () => this.#removeBelow(folder, spec.generation));
      return { kind: "applied", observation: await this.#look({ ...spec, scopes: [] }) };
    });
  }

  /**
   * @param {ComputeRef & { readonly generation: number }} ref
   * @param {EffectOptions} options
   */
  destroy(ref, { signal }) {
    return this.#guarded(async () => {
      if (signal.aborted) throw aborted();
      const folder = this.#folderOf(ref);
      await this.#scope();
      if ((await this.#entries(folder)).highest <= ref.generation) {
        // Before anything is removed: whoever publishes later finds it, and withdraws.
        await this.#effect("fence", async () => {
          await mkdir(folder, { recursive: true });
          await writeFile(join(folder, `${ref.generation}.destroyed`), "");
        });
        await this.#effect("remove", async () => {
          await this.#removeBelow(folder, ref.generation);
          for (const kind of ["site", "claim"]) {
            await rm(join(folder, `${ref.generation}.${kind}`), { recursive: true, force: true });
          }
        });
      }
      return this.#look(ref);
    });
  }

  /** @param {string} instanceId */
  list(instanceId) {
    return this.#guarded(async () => {
      const scope = await this.#scope();
      const tenants = await namesIn(join(this.#options.root, instanceId));
      /** @type {OwnedResource[]} */
      const owned = [];
      for (const tenantId of tenants.filter((name) => TENANT.test(name)).slice(0, LIST_LIMIT)) {
        const folder = this.#folderOf({ instanceId, tenantId });
        const { sites } = await this.#entries(folder);
        for (const generation of sites) {
          owned.push({
            instanceId,
            tenantId,
            generation,
            scope,
            resourceIds: { path: siteOf(folder, generation) },
          });
        }
      }
      return owned;
    });
  }

  /** Files write no logs. */
  logs() {
    return Promise.resolve("");
  }

  /**
   * @param {ComputeRef} ref
   * @returns {Promise<Observation>}
   */
  async #look(ref) {
    const scope = await this.#scope();
    /** @type {Observation} */
    const nothing = {
      presence: "absent",
      generation: null,
      configHash: null,
      health: "absent",
      message: null,
      config: null,
      resourceIds: {},
      endpoints: [],
      scope,
    };
    const foreign = ref.scopes.find((each) => each !== scope);
    if (foreign !== undefined) {
      return {
        ...nothing,
        presence: "unknown",
        health: "unknown",
        message: `This worker cannot see ${foreign}.`,
      };
    }
    const folder = this.#folderOf(ref);
    const generation = Math.max(...(await this.#entries(folder)).sites, 0);
    if (generation === 0) return nothing;
    const record = await readFile(join(folder, `${generation}.claim`), "utf8").catch(() => null);
    if (record === null) return { ...nothing, presence: "present", generation, health: "unknown" };
    const { configHash, config } = JSON.parse(record);
    const resourceIds = { path: siteOf(folder, generation) };
    return {
      ...nothing,
      presence: "present",
      generation,
      configHash,
      config,
      health: "healthy",
      resourceIds,
    };
  }

  /** The root's identity, made by whoever comes first. A root that is not there, such as an unmounted disk, fails. */
  async #scope() {
    const { root } = this.#options;
    await stat(root);
    const file = join(root, ".landlord-root");
    await writeFile(file, `static:${randomUUID()}`, { flag: "wx" }).catch(ignore("EEXIST"));
    return readFile(file, "utf8");
  }

  /** @param {Owner} owner */
  #folderOf({ instanceId, tenantId }) {
    if (!TENANT.test(tenantId) || !/^[A-Za-z0-9_-]{1,64}$/.test(instanceId)) {
      throw new ComputeError("invalid_owner", "Instance and tenant must be usable as names of folders.", {
        retryable: false,
      });
    }
    return join(this.#options.root, instanceId, tenantId);
  }

  /** @param {string} folder */
  async #entries(folder) {
    const found = (await namesIn(folder)).flatMap((name) => {
      const [, generation, kind] = ENTRY.exec(name) ?? [];
      return kind === undefined ? [] : [{ generation: Number(generation), kind }];
    });
    const highest = Math.max(0, ...found.map(({ generation }) => generation));
    const of = (/** @type {string} */ kind) =>
      found.filter((entry) => entry.kind === kind).map(({ generation }) => generation);
    const claim = await readFile(join(folder, `${highest}.claim`), "utf8").catch(() => null);
    return {
      highest,
      sites: of("site"),
      isDestroyed: of("destroyed").includes(highest),
      configHash: claim === null ? null : JSON.parse(claim).configHash,
    };
  }

  /**
   * @param {string} folder
   * @param {ComputeSpec} spec
   */
  async #claim(folder, { generation, configHash, config }) {
    await mkdir(folder, { recursive: true });
    const draft = join(folder, randomUUID());
    await writeFile(draft, JSON.stringify({ configHash, config }));
    try {
      // A link never replaces: the first claim of a generation stays, and is never seen half written.
      await link(draft, join(folder, `${generation}.claim`)).catch(ignore("EEXIST"));
    } finally {
      await rm(draft, { force: true });
    }
  }

  /**
   * @param {string} folder
   * @param {ComputeSpec} spec
   */
  async #publish(folder, { generation, config }) {
    const draft = join(folder, randomUUID());
    try {
      for (const [path, text] of Object.entries(/** @type {Record<string, string>} */ (config["files"]))) {
        await mkdir(dirname(join(draft, path)), { recursive: true });
        await writeFile(join(draft, path), text);
      }
      await rename(draft, join(folder, `${generation}.site`)).catch(ignore("ENOTEMPTY", "EEXIST"));
    } finally {
      await rm(draft, { recursive: true, force: true });
    }
  }

  /**
   * Somebody higher came in between: what was put here for a lower generation goes again.
   * @param {string} folder
   * @param {ComputeSpec} spec
   * @param {number} highest
   * @returns {Promise<{ kind: "stale", generation: number }>}
   */
  async #withdraw(folder, spec, highest) {
    await this.#effect("withdraw", () => this.#removeBelow(folder, highest));
    const { isDestroyed } = await this.#entries(folder);
    if (isDestroyed && highest === spec.generation) {
      await this.#effect("withdraw", async () => {
        for (const kind of ["site", "claim"]) {
          await rm(join(folder, `${highest}.${kind}`), { recursive: true, force: true });
        }
      });
    }
    return { kind: "stale", generation: highest };
  }

  /**
   * @param {string} folder
   * @param {number} generation
   */
  async #removeBelow(folder, generation) {
    for (const name of await namesIn(folder)) {
      const [, of] = ENTRY.exec(name) ?? [];
      if (of !== undefined && Number(of) < generation) {
        await rm(join(folder, name), { recursive: true, force: true });
      }
    }
  }

  /**
   * @template T
   * @param {string} name
   * @param {() => Promise<T>} perform
   */
  #effect(name, perform) {
    const { effect } = this.#options;
    return effect === undefined ? perform() : effect(name, perform);
  }

  /**
   * Whatever the disk says is worth another try.
   * @template T
   * @param {() => Promise<T>} work
   */
  async #guarded(work) {
    try {
      return await work();
    } catch (error) {
      if (error instanceof ComputeError) throw error;
      const message = error instanceof Error ? error.message : String(error);
      throw new ComputeError("disk_failed", `The folder of the sites could not be used: ${message}.`, {
        retryable: true,
        providerError: message,
        cause: error,
      });
    }
  }
}

/**
 * @param {{ highest: number, isDestroyed: boolean, configHash: string | null }} entries
 * @param {ComputeSpec} spec
 */
function isBeyond({ highest, isDestroyed, configHash }, spec) {
  if (highest !== spec.generation) return highest > spec.generation;
  return isDestroyed || (configHash !== null && configHash !== spec.configHash);
}

/** @param {readonly { pointer: string, message: string }[]} problems */
function refuseInvalid(problems) {
  if (problems.length === 0) return;
  const text = problems.map(({ pointer, message }) => `${pointer} ${message}`).join("; ");
  throw new ComputeError("invalid_config", `The compute_config is not valid for static: ${text}.`, {
    retryable: false,
  });
}

function aborted() {
  return new ComputeError("aborted", "The execution was cancelled before the provider was done.", {
    retryable: true,
  });
}

/**
 * @param {string} folder
 * @param {number} generation
 */
function siteOf(folder, generation) {
  return join(folder, `${generation}.site`);
}

/** @param {string} folder */
async function namesIn(folder) {
  try {
    return await readdir(folder);
  } catch (error) {
    // No folder yet is no tenant yet; anything else must not look like one.
    if (/** @type {NodeJS.ErrnoException} */ (error).code === "ENOENT") return [];
    throw error;
  }
}

/** @param {...string} codes */
function ignore(...codes) {
  return (/** @type {NodeJS.ErrnoException} */ error) => {
    if (!codes.includes(error.code ?? "")) throw error;
  };
}
