/** What makes a lockfile work for everybody and not only for who wrote it. */

interface Entry {
  readonly resolved?: string;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

type Packages = Readonly<Record<string, Entry>>;

export function tidyLockfile(text: string): readonly string[] {
  const { packages } = JSON.parse(text) as { readonly packages: Packages };
  return [...boundEntries(packages), ...missingEntries(packages)];
}

/** An address would send everybody to the registry of whoever wrote it. */
function boundEntries(packages: Packages): readonly string[] {
  return Object.entries(packages)
    .filter(([, entry]) => entry.resolved?.includes("://") === true)
    .map(([path, entry]) => `package-lock.json: ${path} is bound to ${entry.resolved ?? ""}`);
}

/**
 * npm leaves out binaries for other platforms that it cannot find at the moment
 * (https://github.com/npm/cli/issues/4828), and `npm ci` then refuses the lockfile everywhere.
 */
function missingEntries(packages: Packages): readonly string[] {
  return Object.entries(packages).flatMap(([path, entry]) =>
    Object.keys(entry.optionalDependencies ?? {})
      .filter((name) => !foldersAbove(path).some((folder) => `${folder}node_modules/${name}` in packages))
      .map((name) => `package-lock.json lacks ${name}, which ${path} may need on some platform`),
  );
}

/** Where Node looks for the dependencies of a package: in itself first, in the root last. */
function foldersAbove(path: string): readonly string[] {
  const folders: string[] = [];
  for (let rest = path; rest !== ""; rest = rest.slice(0, Math.max(rest.lastIndexOf("/node_modules/"), 0))) {
    folders.push(`${rest}/`);
  }
  return [...folders, ""];
}
