export interface Sample {
  readonly atMs: number;
  readonly value: number;
}

/** The slope of the straight line nearest to the samples, in their unit per minute; null for fewer than two moments. */
export function slopePerMinute(samples: readonly Sample[]): number | null {
  const count = samples.length;
  const meanAt = samples.reduce((sum, { atMs }) => sum + atMs, 0) / count;
  const meanValue = samples.reduce((sum, { value }) => sum + value, 0) / count;
  let covariance = 0;
  let variance = 0;
  for (const { atMs, value } of samples) {
    covariance += (atMs - meanAt) * (value - meanValue);
    variance += (atMs - meanAt) ** 2;
  }
  return variance > 0 ? (covariance / variance) * 60_000 : null;
}
