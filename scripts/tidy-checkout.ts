/** The tidy rules applied to this checkout. */
import { listFiles, readSource } from "./source-files.ts";
import { tidyLockfile } from "./lockfile.ts";
import { isText, tidyFile, tidyText, tidyTypeScript } from "./tidy.ts";
import { findUnreachable } from "./reachable.ts";

/** A generated file is as long as what it is made from. */
const GENERATED = new Set(["packages/client/src/schema.ts"]);

/** These have to spell out what they look for. */
const ABOUT_WORDS = new Set(["scripts/tidy.ts", "packages/landlord/test/tidy/tidy.test.ts"]);

export function tidyProblems(): readonly string[] {
  const paths = listFiles();
  const sources = paths.filter((path) => path.endsWith(".ts") && !GENERATED.has(path)).map(readSource);
  return [
    ...paths.flatMap(tidyFile),
    ...paths
      .filter((path) => isText(path) && !ABOUT_WORDS.has(path))
      .flatMap((path) => tidyText(readSource(path))),
    ...sources.flatMap(tidyTypeScript),
    ...findUnreachable(sources),
    ...tidyLockfile(readSource("package-lock.json").text),
  ];
}
