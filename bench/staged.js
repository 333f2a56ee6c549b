'use strict';

const { Stage } = require('../t/lib/stage');

/** Runs with a stage and a database of its own. */
async function staged(run, options) {
  const stage = new Stage({ level: 'warn', ...options });
  try {
    await stage.start();
    return await run(stage);
  } finally {
    await stage.end();
  }
}

module.exports = { staged };
