/**
 * Imports a module of somebody else's. In a file of its own, which the built program loads as it is: code that comes from
 * V8's cache (see code-cache.ts) cannot import on Node 20.
 *
 * @param url of a file
 */
export function importModule(url: string): Promise<unknown> {
  return import(url);
}
