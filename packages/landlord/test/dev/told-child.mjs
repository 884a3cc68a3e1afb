// A child that says on standard output what its supervisor tells it, and how much it knew when it was started.
process.stdout.write(`started ${process.env["SETTINGS_OVER_IPC"] ?? "with settings"}\n`);
process.on("message", (message) => {
  process.stdout.write(`${JSON.stringify(message)}\n`);
  if (message.kind === "up" && message.part === "api") process.send({ kind: "ready" });
});
