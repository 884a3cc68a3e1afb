// Loaded into a server by NODE_OPTIONS: tells the soak, over IPC, what its memory holds after a full collection.
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc");

process.on("message", (message) => {
  if (message?.kind !== "memory?") return;
  collect();
  process.send?.({ kind: "memory", heapBytes: process.memoryUsage().heapUsed });
});
