// Tests for prove: each is one line of TAP on stdout; why one failed goes to stderr, where prove shows it. Not node:test: the YAML that its
// TAP holds for a failed test is more than prove's parser reads.
'use strict';

const assert = require('node:assert/strict');
const { AssertionError } = assert;

const before = [], tests = [], last = [], after = [], onFailure = [];
const time_limit = 60_000;

/** One test; they run one after the other, in the order they stand in. */
const test = (name, run, { limit = time_limit } = {}) => tests.push({ name, run, limit });

function within(limit, run) {
  let timer;
  const up = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no end after ${limit / 1000} s`)), limit);
  });
  return Promise.race([Promise.resolve().then(run), up]).finally(() => clearTimeout(timer));
}

const comment = (text) => process.stderr.write(String(text).trimEnd().replace(/^/gm, '# ') + '\n');

async function one(number, { name, run, limit }) {
  try {
    await within(limit, run);
    console.log(`ok ${number} - ${name}`);
    return true;
  } catch (error) {
    console.log(`not ok ${number} - ${name}`);
    comment(`${name}\n${(error && error.stack) || error}`);
    return false;
  }
}

async function main() {
  let failed = 0, number = 0;
  try {
    for (const run of before) await within(time_limit, run);
    for (const each of [...tests, ...last]) if (!(await one(++number, each))) failed++;
  } catch (error) {
    comment(error.stack);
    console.log(`not ok ${++number} - before the first test`);
    failed++;
  }
  if (failed) for (const tell of onFailure) comment(tell());
  for (const run of after.reverse()) await within(time_limit, run).catch((error) => { comment(error.stack); failed++; });
  console.log(`1..${number}`);
  process.exit(failed ? 1 : 0);
}
setImmediate(main);

const strays = (error) => {
  comment(`nobody awaited: ${(error && error.stack) || error}`);
  console.log('not ok - an error that no test waited for');
  process.exit(1);
};
process.on('uncaughtException', strays);
process.on('unhandledRejection', strays);
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));

/** Waits until condition() is true (or any value that counts as true) and gives its value; asks again and again, but not for ever. */
async function until(condition, what = String(condition), limit = 10_000) {
  const deadline = Date.now() + limit;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > deadline) throw new AssertionError({ message: `waited ${limit / 1000} s in vain for: ${what}` });
    await new Promise((go) => setTimeout(go, 15));
  }
}

module.exports = {
  test, assert, until, comment,
  /** Before the first test, after the tests of the file, after everything, and what to show when something failed. */
  before: (run) => before.push(run),
  last: (name, run) => last.push({ name, run, limit: time_limit }),
  after: (run) => after.push(run),
  onFailure: (tell) => onFailure.push(tell),
};
