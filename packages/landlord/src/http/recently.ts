/** Remembers the answer of a read for a while; callers that come together share one read. Failures are not kept. */
export function recently<T>(read: () => Promise<T>, maxAgeMs: number, nowMs: () => number): () => Promise<T> {
  let answer: Promise<T> | null = null;
  let freshUntilMs = 0;
  return () => {
    if (answer === null || nowMs() >= freshUntilMs) {
      const reading = read();
      answer = reading;
      freshUntilMs = nowMs() + maxAgeMs;
      reading.catch(() => {
        if (answer === reading) answer = null;
      });
    }
    return answer;
  };
}
