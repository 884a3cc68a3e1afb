import { describe, expect, it } from "vitest";
import { parseCsv } from "../../src/cli/csv.ts";
import { parseJsonPath } from "../../src/cli/jsonpath.ts";
import { newText } from "../../src/cli/logs-command.ts";
import { parseSettings } from "../../src/cli/plan-commands.ts";

describe("JSONPath", () => {
  const value = {
    items: [
      { name: "a", labels: { "app.io/x": "1" }, n: [1, 2] },
      { name: "b", labels: {}, n: [] },
    ],
    status: "ready",
  };

  it.each([
    [".status", "ready"],
    ["status", "ready"],
    ["$.status", "ready"],
    ["{.items[*].name}", "a b"],
    ["{.items[0].name}", "a"],
    ["{.items[-1].name}", "b"],
    ["{.items[0].n}", "[1,2]"],
    ["{.items[*].labels.app\\.io/x}", "1"],
    ["{.items[0].labels['app.io/x']}", "1"],
    ['{.items[0]["name"]}', "a"],
    ['{.status}{"\\n"}{.items[1].name}', "ready\nb"],
    ["status is {.status}!", "status is ready!"],
    ["{.nothing.at.all}", ""],
    ["{.items[7]}", ""],
    ["{.__proto__}", ""],
    ["{.items[0].*}", 'a {"app.io/x":"1"} [1,2]'],
    ["{}", JSON.stringify(value)],
  ])("%s", (template, expected) => {
    expect(parseJsonPath(template).read(value)).toBe(expected);
  });

  it.each(["{.items", "{.a}}", ".items[?(@.x)]", ".a[", ".a..b", "x".repeat(1_025)])(
    "refuses %s",
    (template) => {
      expect(() => parseJsonPath(template)).toThrow();
    },
  );
});

describe("CSV", () => {
  const cells = (text: string) => parseCsv(text).map((row) => row.cells);

  it.each([
    [
      "a,b\n1,2\n",
      [
        ["a", "b"],
        ["1", "2"],
      ],
    ],
    [
      "a,b\r\n1,2",
      [
        ["a", "b"],
        ["1", "2"],
      ],
    ],
    ["\ufeffa\n1\n", [["a"], ["1"]]],
    ['"a ""b""","c,\nd"\n', [['a "b"', "c,\nd"]]],
    [
      "a,\n,b\n",
      [
        ["a", ""],
        ["", "b"],
      ],
    ],
    ["a,", [["a", ""]]],
    ["a\n\nb\n", [["a"], ["b"]]],
    ['""\n', []],
    ["", []],
  ])("reads %j", (text, expected) => {
    expect(cells(text)).toEqual(expected);
  });

  it("knows the line that a row begins in", () => {
    expect(parseCsv('a\n"x\ny"\nb\n').map(({ line }) => line)).toEqual([1, 2, 4]);
  });

  it.each([
    ['a\n"b', "line 2"],
    ['a\n"b"c\n', "line 2"],
    ['a\nb"c\n', "line 2: a quote within a cell"],
    ["a\rb\n", "line 1"],
  ])("refuses %j", (text, line) => {
    expect(() => parseCsv(text)).toThrow(line);
  });
});

describe("what is new in a log", () => {
  it.each([
    ["a\nb\n", "a\nb\nc\n", "c\n", false],
    ["a\nb\n", "b\nc\n", "c\n", false],
    ["a\n", "a\n", "", false],
    ["", "a\n", "a\n", false],
    ["a\nb\n", "x\ny\n", "x\ny\n", true],
    ["aab", "abaab", "aab", false],
    ["abcabd", "abdabcabd", "abcabd", false],
    ["a\n", "", "", false],
  ])("after %j, of %j", (seen, now, text, isGap) => {
    expect(newText(seen, now)).toEqual({ text, isGap });
  });

  it("is the same as the plain way to find it", () => {
    const plain = (seen: string, now: string): string => {
      for (let length = Math.min(seen.length, now.length); length > 0; length -= 1)
        if (seen.endsWith(now.slice(0, length))) return now.slice(length);
      return now;
    };
    for (let round = 0; round < 3_000; round += 1) {
      const text = Array.from({ length: 24 }, () => (Math.random() < 0.5 ? "a" : "b")).join("");
      const [from, to] = [Math.floor(Math.random() * 12), 12 + Math.floor(Math.random() * 12)];
      const [seen, now] = [text.slice(0, to), text.slice(from)];
      expect([seen, now, newText(seen, now).text]).toEqual([seen, now, plain(seen, now)]);
    }
  });
});

describe("--set", () => {
  it("makes one patch of all", () => {
    expect(parseSettings(["env.A=x", "env.B=null", "env.C='1'", "n=2", "l=[a, b]"])).toEqual({
      env: { A: "x", B: null, C: "1" },
      n: 2,
      l: ["a", "b"],
    });
    expect(() => parseSettings(["=1"])).toThrow("key=value");
    expect(() => parseSettings(["a={"])).toThrow("no YAML");
  });
});
