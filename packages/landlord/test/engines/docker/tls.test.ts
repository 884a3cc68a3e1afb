import { execFileSync } from "node:child_process";
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { dockerComputeFactory } from "../../../src/compute/docker/factory.ts";
import { type DockerDaemon, loadTestImage, startDockerDaemon } from "../../support/engines/docker-daemon.ts";
import { converge, destroy, fetchText, newProvider, newSpec, observe } from "./docker-kit.ts";

const folder = mkdtempSync("/tmp/llt-");
const at = (name: string) => join(folder, `${name}.pem`);
const openssl = (...args: string[]) => execFileSync("openssl", args, { cwd: folder, stdio: "pipe" });
let daemon: DockerDaemon;
let host: string;

/** A certificate for loopback, by the authority of this test. */
function certify(name: string): void {
  openssl(
    "req",
    "-newkey",
    "rsa:2048",
    "-nodes",
    "-keyout",
    at(`${name}-key`),
    "-out",
    at(`${name}-csr`),
    "-subj",
    `/CN=${name}`,
  );
  writeFileSync(at("extensions"), "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n");
  openssl(
    "x509",
    "-req",
    "-in",
    at(`${name}-csr`),
    "-CA",
    at("ca"),
    "-CAkey",
    at("ca-key"),
    "-CAcreateserial",
    "-days",
    "1",
    "-extfile",
    at("extensions"),
    "-out",
    at(name),
  );
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

beforeAll(async () => {
  openssl(
    "req",
    "-x509",
    "-newkey",
    "rsa:2048",
    "-nodes",
    "-keyout",
    at("ca-key"),
    "-out",
    at("ca"),
    "-days",
    "1",
    "-subj",
    "/CN=ca",
  );
  certify("daemon");
  certify("worker");
  host = `tcp://127.0.0.1:${await freePort()}`;
  const tls = [
    "--tlsverify",
    `--tlscacert=${at("ca")}`,
    `--tlscert=${at("daemon")}`,
    `--tlskey=${at("daemon-key")}`,
  ];
  daemon = await startDockerDaemon({ args: [`--host=${host}`, ...tls] });
  await loadTestImage(daemon.host);
});
afterAll(async () => {
  await daemon.stop();
  rmSync(folder, { recursive: true });
});

it("works with a daemon over TLS, and endpoints name the daemon's host", async () => {
  const files = { tls_ca_file: at("ca"), tls_cert_file: at("worker"), tls_key_file: at("worker-key") };
  const provider = await newProvider({ host, ...files });
  const spec = newSpec();
  const { endpoints } = await converge(provider, spec);
  expect(endpoints).toMatchObject([{ address: "127.0.0.1" }]);
  expect(await fetchText(endpoints[0]?.url)).toBe("landlord-test:1");
  expect(await destroy(provider, spec)).toMatchObject({ presence: "absent" });
});

it("takes host and certificates from the worker's environment, and says unknown without them", async () => {
  copyFileSync(at("worker"), at("cert"));
  copyFileSync(at("worker-key"), at("key"));
  const environment = { DOCKER_HOST: host, DOCKER_TLS_VERIFY: "1", DOCKER_CERT_PATH: folder };
  const provider = await dockerComputeFactory.create({}, { dataDir: "/nonexistent", environment });
  expect(await observe(provider, newSpec())).toMatchObject({ presence: "absent" });
  const stranger = await newProvider({ host, tls_ca_file: at("ca") });
  expect(await observe(stranger, newSpec())).toMatchObject({ presence: "unknown" });
});
