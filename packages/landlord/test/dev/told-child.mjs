// A child that writes to its log what its supervisor tells it, and how much it knew when it was started.
import { appendFileSync } from "node:fs";

let said = `started ${process.env["SUPERVISED_OVER_IPC"] ?? "by nobody"}\n`;
let file = null;
process.on("message", (message) => {
  said += `${JSON.stringify(message)}\n`;
  file ??= message.logFile;
  appendFileSync(file, said);
  said = "";
  if (message.kind === "up" && message.part === "api") process.send({ kind: "ready" });
});
