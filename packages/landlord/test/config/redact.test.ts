import { describe, expect, it } from "vitest";
import { isSecretKey, redact, redactText } from "../../src/domain/redact.ts";

describe("redaction", () => {
  it.each([
    "password",
    "auth_token",
    "apiKey",
    "API_KEY",
    "PGPASSWORD",
    "AWS_SECRET_ACCESS_KEY",
    "clientSecret",
    "private-key",
    "credentials",
  ])("takes %s for a secret", (key) => expect(isSecretKey(key)).toBe(true));
  it.each(["name", "key", "worker_identity_keys", "port", "monkey", "compass", "tokenizer", "path", "image"])(
    "takes %s for none",
    (key) => expect(isSecretKey(key)).toBe(false),
  );

  it("hides values, URL passwords and assignments at any depth, and changes nothing else", () => {
    const value = {
      image: "nginx:1",
      env: ["A=1", "DB_PASSWORD=x", "URL=postgres://u:p@ss@h/d?sslpassword=q"],
      list: [
        { name: "API_TOKEN", value: "x" },
        { name: "HOST", value: "h" },
      ],
      secret: { nested: 1 },
      token: null,
      password: "",
    };
    expect(redact(value)).toEqual({
      image: "nginx:1",
      env: ["A=1", "DB_PASSWORD=[redacted]", "URL=postgres://u:[redacted]@h/d?sslpassword=[redacted]"],
      list: [
        { name: "API_TOKEN", value: "[redacted]" },
        { name: "HOST", value: "h" },
      ],
      secret: "[redacted]",
      token: null,
      password: "",
    });
    expect(redactText("--api-key=abc")).toBe("--api-key=[redacted]");
    expect(redactText("see http://host:80/a@b")).toBe("see http://host:80/a@b");
  });
});
