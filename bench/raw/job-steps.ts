/** Journaled steps of a create whose compute is healthy at once; latency.test.ts holds the job to it. */
export const JOB_STEPS = 2;
