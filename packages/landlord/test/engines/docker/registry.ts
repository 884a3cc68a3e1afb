/** A registry on loopback with one image of one small layer, public or behind a password. */
import { createHash } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdtempSync, mkdirSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

export interface Registry {
  /** host:port */
  readonly host: string;
  /** Requests for manifests so far. */
  readonly pulls: number;
  /** Sends layers this slowly from now on. */
  slowDown(bytesPerSecond: number): void;
  stop(): Promise<void>;
}

const digestOf = (bytes: Buffer) => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
const MANIFEST = "application/vnd.docker.distribution.manifest.v2+json";

function imageOf(): { readonly manifest: Buffer; readonly blobs: ReadonlyMap<string, Buffer> } {
  const root = mkdtempSync("/tmp/llr-");
  mkdirSync(join(root, "bin"));
  copyFileSync("/bin/busybox", join(root, "bin", "busybox"));
  symlinkSync("busybox", join(root, "bin", "sleep"));
  const tar = execFileSync("tar", ["-C", root, "-c", "."], { maxBuffer: 64 * 1024 * 1024 });
  rmSync(root, { recursive: true });
  const layer = gzipSync(tar);
  const config = Buffer.from(
    JSON.stringify({
      architecture: "amd64",
      os: "linux",
      config: { Env: ["PATH=/bin"], Cmd: ["sleep", "1000"] },
      rootfs: { type: "layers", diff_ids: [digestOf(tar)] },
      history: [{ created_by: "test" }],
    }),
  );
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: MANIFEST,
      config: {
        mediaType: "application/vnd.docker.container.image.v1+json",
        size: config.length,
        digest: digestOf(config),
      },
      layers: [
        {
          mediaType: "application/vnd.docker.image.rootfs.diff.tar.gzip",
          size: layer.length,
          digest: digestOf(layer),
        },
      ],
    }),
  );
  return { manifest, blobs: new Map([config, layer].map((blob) => [digestOf(blob), blob])) };
}

/** @param login `user:password`, or null for a public registry */
export async function startRegistry(login: string | null): Promise<Registry> {
  const { manifest, blobs } = imageOf();
  let pulls = 0;
  let bytesPerSecond = Number.POSITIVE_INFINITY;
  const server = createServer((incoming, outgoing) => {
    const path = incoming.url ?? "/";
    const expected = login === null ? null : `Basic ${Buffer.from(login).toString("base64")}`;
    if (expected !== null && incoming.headers.authorization !== expected) {
      const body = JSON.stringify({ errors: [{ code: "UNAUTHORIZED", message: "authentication required" }] });
      outgoing
        .writeHead(401, { "www-authenticate": 'Basic realm="test"', "content-type": "application/json" })
        .end(body);
      return;
    }
    const blob = blobs.get(path.split("/").at(-1) ?? "");
    if (path === "/v2/") outgoing.writeHead(200).end("{}");
    else if (path === "/v2/app/manifests/1" || path === `/v2/app/manifests/${digestOf(manifest)}`) {
      pulls += incoming.method === "GET" ? 1 : 0;
      outgoing.writeHead(200, {
        "content-type": MANIFEST,
        "docker-content-digest": digestOf(manifest),
        "content-length": manifest.length,
      });
      outgoing.end(incoming.method === "HEAD" ? undefined : manifest);
    } else if (blob !== undefined) {
      outgoing.writeHead(200, { "content-length": blob.length });
      let sent = 0;
      const send = (): void => {
        const piece = Math.max(1, Math.min(blob.length, Math.floor(bytesPerSecond / 10)));
        outgoing.write(blob.subarray(sent, sent + piece));
        sent += piece;
        if (sent >= blob.length) outgoing.end();
        else if (!outgoing.destroyed) setTimeout(send, 100);
      };
      send();
    } else {
      const body = JSON.stringify({ errors: [{ code: "MANIFEST_UNKNOWN", message: "manifest unknown" }] });
      outgoing.writeHead(404, { "content-type": "application/json" }).end(body);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    get pulls() {
      return pulls;
    },
    slowDown: (rate) => (bytesPerSecond = rate),
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
