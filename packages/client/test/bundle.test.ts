/** What of the client gets into a web page: nothing of Node's, and nothing that is not used. */
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { expect, it } from "vitest";

const ENTRY = fileURLToPath(new URL("../src/index.ts", import.meta.url));

/** A module for browsers; an import of one of Node's modules fails the build. */
async function bundle(code: string): Promise<string> {
  const { outputFiles } = await build({
    stdin: { contents: code.replace("CLIENT", JSON.stringify(ENTRY)), resolveDir: "/", loader: "ts" },
    bundle: true,
    write: false,
    format: "esm",
    platform: "browser",
    target: "es2022",
    minifySyntax: true,
  });
  const text = outputFiles[0]?.text ?? "";
  expect(text).not.toMatch(/\b(process|Buffer|require)\b/);
  return text;
}

it("is bundled for browsers without anything of Node's", async () => {
  const text = await bundle("import { createClient } from CLIENT; globalThis.client = createClient;");
  expect(text).toContain("/v1/tenants");
  // A browser has all of these.
  for (const name of ["fetch", "AbortSignal", "TextDecoderStream"]) expect(text).toContain(name);
});

it("leaves out what a page does not use", async () => {
  const whole = await bundle("import { createClient } from CLIENT; globalThis.client = createClient;");
  const watching = await bundle("import { watch } from CLIENT; globalThis.watch = watch;");
  expect(watching).toContain("/v1/events");
  expect(watching).not.toContain("/v1/tenants");
  expect(watching.length).toBeLessThan(whole.length / 1.5);
  const errors = await bundle(
    "import { LandlordApiError } from CLIENT; globalThis.error = LandlordApiError;",
  );
  expect(errors).not.toContain("/v1/");
});
