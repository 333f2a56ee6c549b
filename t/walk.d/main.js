// Runs a walk on a stage of its own, for t/walk and t/walk.t.
'use strict';

const path = require('node:path');
const { test, assert, comment } = require('../lib/tap');
const { stage } = require('../lib/stage');
const { realHomeserver } = require('../lib/synapse');
const { Walk } = require('./walk');
const { Difference } = require('./difference');

const top = path.join(__dirname, '../..');
const seconds_a_step = 20;

/** `streams`: names, when not all of them. With `keepGoing` a difference does not end the walk: all are told at its end. */
function walk({ seed, steps, streams, keepGoing }) {
  // Every comparison opens sessions on the devices it compares, and those that are compared must outlive them.
  const s = stage({ workers: 2, directives: 'matrix_sync_sessions_per_device 1000;' });
  const synapse = realHomeserver(s);

  test(`walk --seed ${seed} --steps ${steps}: clients have what fresh sessions and the homeserver have, after every step`, async () => {
    const run = new Walk({ stage: s, synapse, seed, streams, directory: process.env.TAP_LOGS || path.join(top, 'build') });
    comment(`seed ${seed}, ${steps} steps; all of them: ${run.trace.file}`);
    try {
      await tellDifference(run, false, () => run.begin());
      for (let i = 0; i < steps; i++) await tellDifference(run, keepGoing, () => run.step());
    } finally {
      run.close();
    }
    comment(JSON.stringify({ ...run.count, ...run.world.tally }));
    assert.equal(run.differences, 0, 'differences');
    assert.ok(20 * run.count.untold <= run.count.compared, 'the homeserver says what is true');
  }, { limit: (60 + steps * seconds_a_step) * 1000 });
}

/** A difference ends the walk, or its clients begin anew. */
async function tellDifference(run, keepGoing, step) {
  try {
    await step();
  } catch (error) {
    const known = error instanceof Difference;
    comment(keepGoing && known ? run.trace.note(error) : run.trace.report(error));
    if (!keepGoing || !known) throw error;
    run.recover(error);
  }
}

module.exports = { walk };
