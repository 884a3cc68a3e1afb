/**
 * The versions of the job that a worker serves, by the workflow's name. What an execution has journaled belongs to one
 * version: a job with other steps is a new entry under a new name, and the one before stays for a release, so that what
 * began under it ends under it.
 */
import { WORKFLOW_NAME } from "../contract/job.ts";
import { runJob } from "./job.ts";

export type Job = typeof runJob;

export const JOB_VERSIONS: ReadonlyMap<string, Job> = new Map([[WORKFLOW_NAME, runJob]]);
