// Stands in for `landlord` in the test of the demo: does what it is asked, except for the one thing that it spoils.
import { spawn, spawnSync } from "node:child_process";
import { createServer } from "node:http";
import { readFileSync, writeFileSync } from "node:fs";

const [spoiled, real, stateFile] = JSON.parse(
  readFileSync(new URL(import.meta.url.replace("saboteur.mjs", "saboteur.json")), "utf8"),
);
const words = process.argv.slice(2);
const command = words.find((word) => ["dev", "create", "set", "archive", "delete"].includes(word)) ?? "";
const apiUrl = words[words.indexOf("--api-url") + 1];

if (process.argv[2] === "--squat") {
  // Sits on the port that a deleted tenant gave back.
  createServer((_, answer) => answer.end("squatter")).listen(Number(process.argv[3]), "127.0.0.1");
  setTimeout(() => process.exit(0), 20_000);
} else if (command === "dev") {
  runDev();
} else {
  await runCommand();
}

function runDev() {
  if (spoiled === "start") process.exit(0);
  const child = spawn(process.execPath, [real, ...words], { stdio: "inherit" });
  for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, () => child.kill(signal));
  // A system that stops, and says that it did not stop well.
  child.on("exit", (code) => process.exit(spoiled === "stop" ? 3 : (code ?? 1)));
}

async function runCommand() {
  if (spoiled === command) process.exit(0);
  const config = words.indexOf("--config") + 1;
  if (spoiled === "first-answer" && command === "create")
    words[config] = words[config].replace("hello", "something else");
  if (spoiled === "second-answer" && command === "set")
    words[config] = words[config].replace("good evening", "something else");
  if (command === "archive") await rememberPort();
  const run = spawnSync(process.execPath, [real, ...words], { stdio: "inherit" });
  if (spoiled === "leftover" && command === "delete") {
    const port = readFileSync(stateFile, "utf8");
    spawn(process.execPath, [new URL(import.meta.url).pathname, "--squat", port], {
      detached: true,
      stdio: "ignore",
    }).unref();
    await waitForPort(port);
  }
  process.exit(run.status ?? 1);
}

async function rememberPort() {
  const tenant = await (await fetch(`${apiUrl}/v1/tenants/demo`)).json();
  writeFileSync(stateFile, String(tenant.endpoints[0].port));
}

async function waitForPort(port) {
  for (;;) {
    try {
      await fetch(`http://127.0.0.1:${port}`);
      return;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}
