/** JWTs of a real issuer over HTTP, with real keys: what is let in, what is not, and what an issuer may do meanwhile. */
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { createHmac } from "node:crypto";
import { exportJWK, exportSPKI, generateKeyPair, SignJWT, UnsecuredJWT, type JWTPayload } from "jose";
import { afterAll, beforeAll, beforeEach, describe, expect, it, test } from "vitest";
import { createOidcVerifier, type OidcSettings, type OidcVerifier } from "../../src/auth/oidc.ts";
import { apiOf } from "../support/api.ts";
import type { TestSystem } from "../support/system.ts";
import { expectProblem } from "../http/kit.ts";
import { bearer, fromElsewhere, newKey, startAccessSystem } from "./access-system.ts";

interface IssuerKey {
  readonly kid: string;
  readonly pair: Awaited<ReturnType<typeof generateKeyPair>>;
}

class Issuer {
  url = "";
  keys: IssuerKey[] = [];
  /** What it answers to everything instead; null: as it should. */
  status: number | null = null;
  claimedIssuer: string | null = null;
  discoveries = 0;
  jwksReads = 0;
  readonly #server: Server;

  constructor() {
    this.#server = createServer((request, response) => {
      const isJwks = request.url === "/jwks";
      if (isJwks) this.jwksReads += 1;
      else this.discoveries += 1;
      void this.#answer(isJwks).then((body) => {
        response.writeHead(this.status ?? 200, { "content-type": "application/json" });
        response.end(JSON.stringify(body));
      });
    });
  }

  async #answer(isJwks: boolean): Promise<unknown> {
    if (!isJwks) return { issuer: this.claimedIssuer ?? this.url, jwks_uri: `${this.url}/jwks` };
    const jwks = this.keys.map(async ({ kid, pair }) => ({
      ...(await exportJWK(pair.publicKey)),
      kid,
      use: "sig",
    }));
    return { keys: await Promise.all(jwks) };
  }

  async listen(port = 0): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(port, "127.0.0.1", resolve));
    this.url = `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  close(): Promise<void> {
    this.#server.closeAllConnections();
    return new Promise((resolve) => this.#server.close(() => resolve()));
  }

  async addKey(kid: string, algorithm = "RS256"): Promise<IssuerKey> {
    const key = { kid, pair: await generateKeyPair(algorithm, { extractable: true }) };
    this.keys.push(key);
    return key;
  }

  sign(
    key: IssuerKey,
    claims: JWTPayload = {},
    options: { readonly algorithm?: string; readonly expiresInS?: number | null } = {},
  ): Promise<string> {
    const { algorithm = "RS256", expiresInS = 300 } = options;
    const now = Math.floor(Date.now() / 1_000);
    return new SignJWT({ sub: "ada", roles: ["dev"], iss: this.url, aud: "landlord", ...claims })
      .setProtectedHeader({ alg: algorithm, kid: key.kid })
      .setIssuedAt(now)
      .setExpirationTime(expiresInS === null ? now + 1e6 : now + expiresInS)
      .sign(key.pair.privateKey);
  }
}

const issuer = new Issuer();
let key: IssuerKey;
let nowMs: number;
let verifier: OidcVerifier;

const settings = (change: Partial<OidcSettings> = {}): OidcSettings => ({
  issuer: issuer.url,
  audience: "landlord",
  roleClaim: "roles",
  roleMapping: { dev: "operator", boss: "admin", guest: "viewer", machine: "worker" },
  scopeClaim: null,
  clockSkewSeconds: 30,
  jwksCacheMs: 600_000,
  jwksCooldownMs: 30_000,
  timeoutMs: 2_000,
  ...change,
});
const code = (expected: string): unknown => expect.objectContaining({ code: expected });

beforeAll(async () => {
  await issuer.listen();
  key = await issuer.addKey("first");
});
beforeEach(() => {
  nowMs = 0;
  issuer.status = null;
  issuer.claimedIssuer = null;
  verifier = createOidcVerifier(settings(), () => nowMs);
});
afterAll(() => issuer.close());

describe("a JWT", () => {
  it("makes its subject the principal, with the mapped role", async () => {
    const identity = await verifier.verify(await issuer.sign(key));
    expect(identity).toMatchObject({
      principal: { name: "ada", role: "operator", scope: null },
      method: "oidc",
    });
    expect(identity.expiresAt?.getTime()).toBeGreaterThan(Date.now());
    expect(await identity.stillValid()).toBe(true);
  });

  it.each(["ES256", "EdDSA", "PS256"])("may be signed with %s", async (algorithm) => {
    const own = await issuer.addKey(`key of ${algorithm}`, algorithm);
    // The key set was read by nobody yet: the verifier is new.
    expect((await verifier.verify(await issuer.sign(own, {}, { algorithm }))).principal.name).toBe("ada");
  });

  it("with several roles has the one that may do most, and a path leads to nested claims", async () => {
    const jwt = await issuer.sign(key, { roles: ["guest", "boss", "unheard-of", "machine"] });
    expect((await verifier.verify(jwt)).principal.role).toBe("admin");
    expect((await verifier.verify(await issuer.sign(key, { roles: "machine" }))).principal.role).toBe(
      "worker",
    );
    const nested = createOidcVerifier(settings({ roleClaim: "realm_access.roles" }), () => 0);
    const claims = { realm_access: { roles: ["guest"] } };
    expect((await nested.verify(await issuer.sign(key, claims))).principal.role).toBe("viewer");
    const url = createOidcVerifier(settings({ roleClaim: "https://example.com/roles" }), () => 0);
    const flat = { "https://example.com/roles": "guest" };
    expect((await url.verify(await issuer.sign(key, flat))).principal.role).toBe("viewer");
  });

  it.each([
    ["no role", { roles: undefined }],
    ["no mapped role", { roles: ["stranger"] }],
    ["a role that is no text", { roles: [{ dev: true }] }],
    ["a name out of every object", { roles: ["constructor", "__proto__"] }],
  ])("with %s is not admitted, and told what to do", async (_, claims) => {
    const refused = verifier.verify(await issuer.sign(key, claims));
    await expect(refused).rejects.toThrow(code("forbidden"));
    await expect(refused).rejects.toThrow(/dev, boss.*auth\.oidc\.role_mapping/);
  });

  it.each([
    ["of another issuer", { iss: "https://evil.example" }, {}],
    ["for another audience", { aud: "somebody-else" }, {}],
    ["without an audience", { aud: undefined }, {}],
    ["without a subject", { sub: undefined }, {}],
    ["with an empty subject", { sub: "" }, {}],
    ["that is not valid yet", { nbf: Math.floor(Date.now() / 1_000) + 120 }, {}],
  ])("%s is refused", async (_, claims, options) => {
    await expect(verifier.verify(await issuer.sign(key, claims as JWTPayload, options))).rejects.toThrow(
      code("unauthenticated"),
    );
  });

  it("is expired only beyond the skew of clocks", async () => {
    expect((await verifier.verify(await issuer.sign(key, {}, { expiresInS: -20 }))).principal.name).toBe(
      "ada",
    );
    await expect(verifier.verify(await issuer.sign(key, {}, { expiresInS: -40 }))).rejects.toThrow(
      code("token_expired"),
    );
  });

  it("without an expiry is refused", async () => {
    const jwt = await new SignJWT({ sub: "ada", roles: ["boss"], iss: issuer.url, aud: "landlord" })
      .setProtectedHeader({ alg: "RS256", kid: key.kid })
      .sign(key.pair.privateKey);
    await expect(verifier.verify(jwt)).rejects.toThrow(code("unauthenticated"));
  });

  it("that is unsigned, or signed with the public key as a secret, or by a stranger, is refused", async () => {
    const claims = { sub: "ada", roles: ["boss"], iss: issuer.url, aud: "landlord" };
    const unsigned = new UnsecuredJWT(claims).setExpirationTime("5m").encode();
    await expect(verifier.verify(unsigned)).rejects.toThrow(code("unauthenticated"));
    const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
    const pem = await exportSPKI(key.pair.publicKey);
    const exp = Math.floor(Date.now() / 1_000) + 300;
    const text = `${part({ alg: "HS256", kid: key.kid })}.${part({ ...claims, exp })}`;
    const confused = `${text}.${createHmac("sha256", pem).update(text).digest("base64url")}`;
    await expect(verifier.verify(confused)).rejects.toThrow(code("unauthenticated"));
    const stranger = { kid: key.kid, pair: await generateKeyPair("RS256") };
    await expect(verifier.verify(await issuer.sign(stranger))).rejects.toThrow(code("unauthenticated"));
  });
});

describe("a scope", () => {
  beforeEach(() => {
    verifier = createOidcVerifier(settings({ scopeClaim: "landlord_scope" }), () => nowMs);
  });

  it("comes from its claim; empty means all tenants", async () => {
    const scoped = await verifier.verify(await issuer.sign(key, { landlord_scope: "team=a" }));
    expect(scoped.principal.scope).toEqual([{ kind: "in", key: "team", values: ["a"] }]);
    expect(
      (await verifier.verify(await issuer.sign(key, { landlord_scope: "" }))).principal.scope,
    ).toBeNull();
  });

  it.each([
    ["that is missing", {}],
    ["that is no selector", { landlord_scope: "a in (" }],
    ["that is no text", { landlord_scope: ["team=a"] }],
  ])("%s admits nobody", async (_, claims) => {
    await expect(verifier.verify(await issuer.sign(key, claims))).rejects.toThrow(code("forbidden"));
  });
});

describe("the issuer", () => {
  it("is asked once, however many JWTs come", async () => {
    const [discoveries, reads] = [issuer.discoveries, issuer.jwksReads];
    const jwt = await issuer.sign(key);
    await Promise.all(Array.from({ length: 50 }, () => verifier.verify(jwt)));
    expect(issuer.discoveries - discoveries).toBe(1);
    expect(issuer.jwksReads - reads).toBe(1);
  });

  it("may change its keys: an unknown one is looked for, but not with every JWT", async () => {
    verifier = createOidcVerifier(settings({ jwksCooldownMs: 0 }), () => nowMs);
    await verifier.verify(await issuer.sign(key));
    const fresh = await issuer.addKey("second");
    expect((await verifier.verify(await issuer.sign(fresh))).principal.name).toBe("ada");

    verifier = createOidcVerifier(settings({ jwksCooldownMs: 60_000 }), () => nowMs);
    await verifier.verify(await issuer.sign(key));
    const reads = issuer.jwksReads;
    const invented = { kid: "invented", pair: await generateKeyPair("RS256") };
    for (let count = 0; count < 20; count++)
      await expect(verifier.verify(await issuer.sign(invented))).rejects.toThrow(code("unauthenticated"));
    expect(issuer.jwksReads - reads).toBe(0);
  });

  it.each([500, 404, 302])("that answers %i: 503 for JWTs, and it is asked again soon", async (status) => {
    issuer.status = status;
    const jwt = await issuer.sign(key);
    await expect(verifier.verify(jwt)).rejects.toThrow(code("oidc_unavailable"));
    const asked = issuer.discoveries;
    await expect(verifier.verify(jwt)).rejects.toThrow(code("oidc_unavailable"));
    expect(issuer.discoveries).toBe(asked);
    issuer.status = null;
    nowMs += 1_500;
    expect((await verifier.verify(jwt)).principal.name).toBe("ada");
  });

  it("that goes away between discovery and its keys: 503, and no refusal", async () => {
    const jwt = await issuer.sign(key);
    await expect(
      createOidcVerifier(settings({ issuer: "http://127.0.0.1:1" }), () => 0).verify(jwt),
    ).rejects.toThrow(code("oidc_unavailable"));
    issuer.claimedIssuer = issuer.url;
    const own = createOidcVerifier(settings(), () => nowMs);
    const garbled = own.verify(`${jwt.slice(0, -8)}AAAAAAAA`);
    await expect(garbled).rejects.toThrow(code("unauthenticated"));
  });

  it("that names itself differently is not believed", async () => {
    issuer.claimedIssuer = "https://other.example";
    const refused = verifier.verify(await issuer.sign(key));
    await expect(refused).rejects.toThrow(code("oidc_unavailable"));
    await expect(refused).rejects.toThrow(/https:\/\/other\.example.*auth\.oidc\.issuer/);
  });
});

describe("at a server", () => {
  let system: TestSystem;
  beforeAll(async () => {
    system = await startAccessSystem({
      server: {
        "auth.oidc.issuer": issuer.url,
        "auth.oidc.audience": "landlord",
        "auth.oidc.role_mapping": { dev: "operator", guest: "viewer" },
      },
    });
  });
  afterAll(() => system.stop());
  const whoAmI = (jwt: string) =>
    apiOf(system.url).call("GET", "/v1/identity", undefined, { ...bearer(jwt), ...fromElsewhere() });

  test("JWTs are let in beside keys, and refused with 401 or 403", async () => {
    expect((await whoAmI(await issuer.sign(key))).body).toMatchObject({
      name: "ada",
      role: "operator",
      authenticated_by: "oidc",
    });
    expectProblem(await whoAmI(await issuer.sign(key, {}, { expiresInS: -100 })), 401, "token_expired");
    expectProblem(await whoAmI(await issuer.sign(key, { roles: ["stranger"] })), 403, "forbidden");
    const viewer = await issuer.sign(key, { roles: ["guest"] });
    const write = await apiOf(system.url).call(
      "POST",
      "/v1/tenants",
      {},
      { ...bearer(viewer), ...fromElsewhere() },
    );
    expectProblem(write, 403, "forbidden");
  });

  test("an issuer that is away: 503 for JWTs, and nothing for keys", async () => {
    issuer.status = 500;
    const second = await system.startServer();
    const jwt = await issuer.sign(key);
    const refused = await apiOf(second.url).call("GET", "/v1/identity", undefined, bearer(jwt));
    expectProblem(refused, 503, "oidc_unavailable");
    expect(refused.headers.get("retry-after")).not.toBeNull();
    const { secret } = await newKey(second.url, "viewer");
    expect((await apiOf(second.url).call("GET", "/v1/identity", undefined, bearer(secret))).status).toBe(200);
  });
});
