// One installation at a time in this checkout: a lock directory that its owner keeps fresh.
import { randomUUID } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const HEARTBEAT_MS = 2_000;
const STALE_MS = 20_000;
const RETRY_MS = 250;

/** Runs `task` while holding the lock and answers what it answers; waits for another holder first. */
export async function withInstallLock(lock, task) {
  const token = randomUUID();
  for (let waits = 0; !acquire(lock, token); waits += 1) {
    if (waits === 0) process.stderr.write("Waiting for another run that installs the dependencies …\n");
    removeIfStale(lock);
    await sleep(RETRY_MS);
  }
  const heartbeat = setInterval(() => touch(lock), HEARTBEAT_MS);
  try {
    return await task();
  } finally {
    clearInterval(heartbeat);
    if (ownerOf(lock)?.token === token) rmSync(lock, { recursive: true, force: true });
  }
}

/** The directory appears with its owner's name inside, in one step: renaming onto one that is not empty fails. */
function acquire(lock, token) {
  const draft = `${lock}.${token}`;
  mkdirSync(draft);
  writeFileSync(join(draft, "owner.json"), JSON.stringify({ token, pid: process.pid, host: hostname() }));
  try {
    renameSync(draft, lock);
    return true;
  } catch (error) {
    rmSync(draft, { recursive: true, force: true });
    if (["EEXIST", "ENOTEMPTY", "EPERM"].includes(error.code)) return false;
    throw error;
  }
}

function removeIfStale(lock) {
  const owner = ownerOf(lock);
  if (owner === null || !isStale(lock, owner)) return;
  const aside = `${lock}.${randomUUID()}`;
  try {
    renameSync(lock, aside);
    // Between the look and the move another run may have taken over; then this one gives it back.
    if (ownerOf(aside)?.token !== owner.token) renameSync(aside, lock);
  } catch {
    // Somebody else removed it, or holds it by now.
  }
  rmSync(aside, { recursive: true, force: true });
}

function isStale(lock, owner) {
  if (owner.host === hostname() && !isAlive(owner.pid)) return true;
  try {
    return Date.now() - statSync(lock).mtimeMs > STALE_MS;
  } catch {
    return false;
  }
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === "EPERM";
  }
}

function ownerOf(lock) {
  try {
    return JSON.parse(readFileSync(join(lock, "owner.json"), "utf8"));
  } catch {
    return null;
  }
}

function touch(lock) {
  const now = new Date();
  try {
    utimesSync(lock, now, now);
  } catch {
    // Gone: somebody took this run for dead. The installation goes on all the same.
  }
}
