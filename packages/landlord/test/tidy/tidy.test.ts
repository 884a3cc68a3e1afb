import { describe, expect, it } from "vitest";
import { tidyLockfile } from "../../../../scripts/lockfile.ts";
import { tidyProblems } from "../../../../scripts/tidy-checkout.ts";
import { tidyText, tidyTypeScript } from "../../../../scripts/tidy.ts";

const source = (text: string, path = "packages/landlord/src/domain/a.ts") => tidyTypeScript({ path, text });
const inTest = (text: string) => source(text, "packages/landlord/test/a.test.ts");

describe("this checkout", () => {
  it("is tidy", () => {
    expect(tidyProblems()).toEqual([]);
  });
});

describe("sizes", () => {
  it("allows 450 lines in a file and 80 in a function", () => {
    expect(source("const a = 1;\n".repeat(450))).toEqual([]);
    expect(source("const a = 1;\n".repeat(451))[0]).toContain("451 lines");
    const body = (lines: number) => `function f() {\n${"  g();\n".repeat(lines - 2)}}\n`;
    expect(source(body(80))).toEqual([]);
    expect(source(`const a = 1;\n${body(81)}`)).toEqual([
      "packages/landlord/src/domain/a.ts:2: a function of 81 lines; 80 are allowed",
    ]);
    expect(source(`const f = () => {\n${"g();\n".repeat(90)}};`)).toHaveLength(1);
    expect(source(`class A {\n  f() {\n${"g();\n".repeat(90)}}\n}`)).toHaveLength(1);
    const factory = `const make = () => {\n${body(60)}${body(60)}};`;
    expect(source(factory)).toEqual([]);
    expect(inTest(body(200))).toEqual([]);
  });
});

describe("names and barrels", () => {
  it.each(["a-b.ts", "0001-initial.ts", "a.test.ts", "a-b.config.ts"])("takes %s", (name) => {
    expect(source("const a = 1;", `packages/landlord/src/${name}`)).toEqual([]);
  });
  it.each(["aB.ts", "A.ts", "a_b.ts", "a-.ts"])("refuses %s", (name) => {
    expect(source("const a = 1;", `packages/landlord/src/${name}`)).toHaveLength(1);
  });
  it("refuses files that only re-export, except a package's entry", () => {
    const text = 'export * from "./b.ts";\nexport { c } from "./c.ts";';
    expect(source(text)).toHaveLength(1);
    expect(source(text, "packages/client/src/index.ts")).toEqual([]);
    expect(source(`${text}\nexport const a = 1;`)).toEqual([]);
  });
});

describe("tests that do not run", () => {
  it.each(["only", "skip", "todo", "each([1]).skip", "concurrent.only"])("refuses it.%s", (modifier) => {
    expect(inTest(`it.${modifier}("a", () => {});`)).toHaveLength(1);
    expect(inTest(`describe.${modifier}("a", () => {});`)).toHaveLength(1);
  });
  it("refuses a skip from inside that gives no reason", () => {
    expect(inTest('it("a", (context) => context.skip());')).toHaveLength(1);
    expect(inTest('it("a", (context) => context.skip("no cgroups here"));')).toEqual([]);
  });
  it("takes each and concurrent, and other things that are called so", () => {
    expect(inTest('it.each([1])("a", () => {}); it.concurrent("b", () => {}); page.skip();')).toEqual([]);
  });
});

describe("texts", () => {
  const text = (line: string) => tidyText({ path: "docs/a.md", text: `first\n${line}\n` });
  it.each(["// TODO: later", "FIXME"])("refuses %s", (line) => {
    expect(text(line)).toEqual(["docs/a.md:2: leaves work for later"]);
  });
  it.each(["home/alice/src", "Users/alice/x", "root/x"])("refuses paths of one machine: %s", (path) => {
    expect(text(`see /${path} there`)).toEqual(["docs/a.md:2: names a path of one machine"]);
    expect(text(`"/${path}"`)).toHaveLength(1);
  });
  it("takes other paths", () => {
    expect(text("/etc/landlord /var/lib/landlord ./home/x https://a.example/home/x /tmp")).toEqual([]);
  });
});

describe("the lockfile", () => {
  it("names no registry", () => {
    const lock = (resolved: string) => JSON.stringify({ packages: { "node_modules/a": { resolved } } });
    expect(tidyLockfile(lock("packages/client"))).toEqual([]);
    expect(tidyLockfile(lock("https://registry.example/a.tgz"))).toHaveLength(1);
  });

  it("has an entry for every platform", () => {
    const lock = (...paths: readonly string[]) =>
      JSON.stringify({
        packages: {
          "node_modules/a/node_modules/b": { optionalDependencies: { c: "1" } },
          ...Object.fromEntries(paths.map((path) => [path, {}])),
        },
      });
    expect(tidyLockfile(lock())[0]).toContain("c, which node_modules/a/node_modules/b may need");
    expect(tidyLockfile(lock("node_modules/c"))).toEqual([]);
    expect(tidyLockfile(lock("node_modules/a/node_modules/c"))).toEqual([]);
    expect(tidyLockfile(lock("node_modules/other/node_modules/c"))).toHaveLength(1);
  });
});
