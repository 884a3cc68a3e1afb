/** What wrappers around ports need. */
export function abandoned(): AbortSignal {
  return new AbortController().signal;
}
