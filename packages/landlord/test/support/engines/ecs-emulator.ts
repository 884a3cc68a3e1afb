export function findEcsEmulator(): null {
  return null;
}
