/** Of its own environment, what a process gives to those that it starts. Imports nothing: it is asked before anything is loaded. */

/** What any program may need; everything else stays out. */
const PASSED_ON = [
  "PATH",
  "HOME",
  "USER",
  "LANG",
  "TZ",
  "TMPDIR",
  "XDG_CACHE_HOME",
  "NODE_OPTIONS",
  "NODE_EXTRA_CA_CERTS",
];
/** What tells the libraries of Docker and AWS where to go and as whom. */
const VENDORS = /^(?:DOCKER|AWS)_/;

export function passedOn(): Record<string, string> {
  const passed = Object.entries(process.env).filter(
    (entry): entry is [string, string] =>
      entry[1] !== undefined && (PASSED_ON.includes(entry[0]) || VENDORS.test(entry[0])),
  );
  return Object.fromEntries(passed);
}
